"""GrowthBook REST API: projects. https://docs.growthbook.io/api (GET /api/v1/projects)."""

from typing import Any

from pydantic import Field

from etl.json_text import path_step, vendor_message
from etl.model import Record
from etl.providers.kit import Json, Options, Partition, Provider, Request, Stream, bearer
from etl.providers.paging import earlier, read_offset
from etl.providers.wire import Key, Rfc3339, Wire, drift_of

PATH = "/api/v1/projects"


class ProjectsOptions(Options):
    """The query of GET /api/v1/projects."""

    page_size: int = Field(default=100, ge=1, le=100, description="projects per request")


class WireProject(Wire):
    """An item of GET /api/v1/projects."""

    id: Key
    name: str
    description: str | None = None
    settings: dict[str, Any] | None = None
    date_created: Rfc3339 = Field(alias="dateCreated")
    date_updated: Rfc3339 = Field(alias="dateUpdated")


def first_projects(_partition: Partition, options: ProjectsOptions) -> Request:
    """Page one."""
    return Request(PATH, (("limit", str(options.page_size)), ("offset", "0")))


def one_project(external_id: str, _key: str) -> Request:
    """GET /api/v1/projects/{id}: `{"project": {...}}`, or 404 where it is gone."""
    return Request(f"{PATH}/{path_step(external_id)}")


def project_id(item: Json) -> Json:
    """The id; KeyError on the envelope of a single project."""
    return item["id"]


def project_record(item: Json, _partition: Partition) -> Record:
    """A GrowthBook project in the unified schema; it has no key but its id."""
    wire = WireProject.model_validate(item)
    return Record(
        key=wire.id,
        name=wire.name,
        created_at=wire.date_created,
        updated_at=wire.date_updated,
        columns={},
        drift=drift_of(wire, item),
    )


PROVIDER = Provider(
    name="growthbook",
    base_url="https://api.growthbook.io",
    headers=bearer,
    error_message=vendor_message,
    rate_limits=("60/min",),
    streams=(
        Stream(
            name="projects",
            options=ProjectsOptions,
            first_request=first_projects,
            read_page=read_offset("projects", more="hasMore", total="total"),
            item_id=project_id,
            to_record=project_record,
            item_request=one_project,
            earlier_request=earlier,
            has_created_at=True,
        ),
    ),
)
