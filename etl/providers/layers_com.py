"""Layers.com Partner API: projects. https://developers.layers.com/docs/api (GET /v1/projects)."""

from typing import Literal

from pydantic import Field

from etl.json_text import path_step, vendor_message
from etl.model import Record
from etl.providers.kit import Json, Options, Partition, Provider, Request, Stream, bearer
from etl.providers.paging import is_object, read_cursor
from etl.providers.wire import Rfc3339, Wire, drift_of

STATUSES = frozenset({"active", "archived"})
_TIERS = {"standard": ("120/min",), "pilot": ("1200/min",), "partner": ("6000/min",)}  # of reads


class ProjectsOptions(Options):
    """The query of GET /v1/projects."""

    status: Literal["active", "archived"] | None = Field(
        default=None, description="only projects of this status; default: both"
    )
    search: str | None = Field(default=None, description="part of the name, any case")
    customer_external_id: str | None = Field(
        default=None, description="the project bound to this customer id of yours"
    )
    page_size: int = Field(default=200, ge=1, le=200, description="projects per request")


class WireProject(Wire):
    """An item of GET /v1/projects."""

    id: str
    name: str
    status: str
    customer_external_id: str | None = Field(default=None, alias="customerExternalId")
    timezone: str | None = None
    primary_language: str | None = Field(default=None, alias="primaryLanguage")
    owner_email: str | None = Field(default=None, alias="ownerEmail")
    created_at: Rfc3339 = Field(alias="createdAt")
    updated_at: Rfc3339 = Field(alias="updatedAt")


def first_projects(_partition: Partition, options: ProjectsOptions) -> Request:
    """Page one; the largest page size the vendor takes is the default."""
    asked = {
        "limit": str(options.page_size),
        "status": options.status,
        "search": options.search,
        "customerExternalId": options.customer_external_id,
    }
    return Request(
        "/v1/projects", tuple((name, value) for name, value in asked.items() if value is not None)
    )


def one_project(external_id: str, _key: str) -> Request:
    """GET /v1/projects/{id}; 404 means that the project is gone."""
    return Request(f"/v1/projects/prj_{path_step(external_id)}")


def project_identity(item: Json) -> Json:
    """The id without its `prj_` prefix: the vendor's pages show both forms for one project."""
    identity: Json = item["id"]
    return identity.removeprefix("prj_") if isinstance(identity, str) else identity


def project_echo(body: Json, request: Request) -> str | None:
    """A single project tells by its id whether it was asked for; a list says nothing of it."""
    said = body.get("id")
    if not isinstance(said, str) or request.path == one_project(project_identity(body), "").path:
        return None
    return f"project {said}"


def project_record(item: Json, _partition: Partition) -> Record:
    """A Layers.com project in the unified schema."""
    wire = WireProject.model_validate(item)
    return Record(
        key=wire.id,
        name=wire.name,
        created_at=wire.created_at,
        updated_at=wire.updated_at,
        columns={
            "status": wire.status,
            "timezone": wire.timezone,
            "primary_language": wire.primary_language,
            "owner_email": wire.owner_email,
            "customer_external_id": wire.customer_external_id,
        },
        drift=drift_of(wire, item) + new_status(wire),
    )


def new_status(wire: WireProject) -> tuple[tuple[str, str], ...]:
    """A status that is not documented is kept as it is, and reported as drift."""
    return () if wire.status in STATUSES else (("status", "new value"),)


def granted_limits(body: Json) -> tuple[str, ...]:
    """The reads a minute of the key's tier; none for a tier that is not documented."""
    tier = body.get("rateLimitTier") if is_object(body) else None
    return _TIERS.get(tier.strip().lower(), ()) if isinstance(tier, str) else ()


def whose(body: Json) -> Json:
    """The organisation, and what its key may do."""
    return {name: body.get(name) for name in ("organizationId", "workspaceId", "scopes")}


def error_message(body: Json) -> str:
    """`error.code: error.message (error.requestId)`."""
    error = body.get("error") if is_object(body) else None
    if not is_object(error):
        return ""
    said = vendor_message(error)
    return f"{said} ({error['requestId']})" if said and error.get("requestId") else said


PROVIDER = Provider(
    name="layers",
    base_url="https://api.layers.com",
    headers=bearer,
    whoami=Request("/v1/whoami"),
    identity=whose,
    rate_limits=_TIERS["standard"],
    granted_limits=granted_limits,
    error_message=error_message,
    streams=(
        Stream(
            name="projects",
            options=ProjectsOptions,
            first_request=first_projects,
            read_page=read_cursor,
            item_id=project_identity,
            echo=project_echo,
            to_record=project_record,
            item_request=one_project,
            without_item_request="Layers.com shows a single project with other fields than its "
            "list, so it would look changed; leave --project out (one request brings 200 "
            "projects), or narrow the list with --created-since",
            has_created_at=True,
            filter_options=frozenset({"status", "search", "customer_external_id"}),
        ),
    ),
)
