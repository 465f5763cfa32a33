"""LaunchDarkly REST API v2: projects with their environments, layers with their reservations.

https://launchdarkly.com/docs/api/projects/get-projects and get-project,
https://launchdarkly.com/docs/api/layers/get-layers. Version 20240415 is always asked for: older
ones send projects unpaged and environments as an array.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import FailFast, Field, field_validator, model_validator

from etl.json_text import path_step, vendor_message
from etl.model import Child, Record
from etl.providers.kit import Embedded, Json, Options, Partition, Provider, Request, Stream
from etl.providers.paging import count_of, earlier, echoed_link, is_object, read_linked
from etl.providers.wire import (
    MAX_CHILDREN,
    EpochMillis,
    Key,
    NullIsEmptyList,
    StoredInteger,
    TextList,
    Wire,
    drift_of,
)

VERSION = "20240415"
ENVIRONMENTS_PAGE_SIZE = 100
MAX_ID_BYTES = 2500  # below PostgreSQL's limit of an index entry; three keys of 800 bytes fit
MAX_LETTER_BYTES = 7  # bytes of a letter in JSON; \u001f is 6, and there are quotes and commas


class ProjectsOptions(Options):
    """The query of GET /api/v2/projects."""

    filter: str | None = Field(
        default=None, description="e.g. query:abc,tags:ops+team-a or keys:one|two, not encoded"
    )
    sort: str = Field(
        default="createdOn",
        description="createdOn or name, `-` first for descending; only createdOn is stable",
    )
    page_size: int = Field(default=100, ge=1, le=1000, description="projects per request")
    environments: bool = Field(default=True, description="read the environments too")


class EnvironmentsOptions(Options):
    """Environments have no query of their own: they follow projects.environments."""


class LayersOptions(Options):
    """The query of GET /api/v2/projects/{key}/layers."""

    filter: str | None = Field(
        default=None, description="e.g. reservations.experimentKey contains my-experiment"
    )


class WireAvailability(Wire):
    """Which client-side SDKs see new flags by default."""

    using_mobile_key: bool | None = Field(default=None, alias="usingMobileKey")
    using_environment_id: bool | None = Field(default=None, alias="usingEnvironmentId")


class WireProject(Wire):
    """An item of GET /api/v2/projects."""

    id: str = Field(alias="_id")
    key: Key
    name: str
    tags: TextList
    include_in_snippet_by_default: bool = Field(alias="includeInSnippetByDefault")
    default_client_side_availability: WireAvailability | None = Field(
        default=None, alias="defaultClientSideAvailability"
    )
    default_release_pipeline_key: str | None = Field(
        default=None, alias="defaultReleasePipelineKey"
    )
    links: Any = Field(default=None, alias="_links")
    access: Any = Field(default=None, alias="_access")
    environments: Any = None


class WireEnvironment(Wire):
    """An environment, embedded in a project or listed; its keys are fingerprints by now."""

    id: str = Field(alias="_id")
    key: Key
    name: str
    color: str
    api_key: str | None = Field(default=None, alias="apiKey")
    mobile_key: str | None = Field(default=None, alias="mobileKey")
    default_ttl: StoredInteger = Field(alias="defaultTtl")
    secure_mode: bool = Field(alias="secureMode")
    default_track_events: bool = Field(alias="defaultTrackEvents")
    require_comments: bool = Field(alias="requireComments")
    confirm_changes: bool = Field(alias="confirmChanges")
    critical: bool = False
    tags: TextList
    approval_settings: dict[str, Any] | None = Field(default=None, alias="approvalSettings")
    resource_approval_settings: dict[str, Any] | None = Field(
        default=None, alias="resourceApprovalSettings"
    )
    links: Any = Field(default=None, alias="_links")
    access: Any = Field(default=None, alias="_access")


class WireReservation(Wire):
    """A share of a layer's traffic in one environment."""

    experiment_key: Key = Field(alias="experimentKey")
    flag_key: Key = Field(alias="flagKey")
    reservation_percent: StoredInteger = Field(alias="reservationPercent")


class WireLayerEnvironment(Wire):
    """One environment of a layer."""

    reservations: Annotated[list[WireReservation], FailFast(), NullIsEmptyList] = []

    @field_validator("reservations")
    @classmethod
    def reservations_are_unique(cls, held: list[WireReservation]) -> list[WireReservation]:
        """An experiment holds one reservation of a flag in an environment."""
        if len(held) > 1 and len({(one.experiment_key, one.flag_key) for one in held}) != len(held):
            raise ValueError("a reservation stands twice")
        return held


def _objects(value: Any) -> list[dict[str, Any]]:
    """The objects in an object."""
    return [one for one in value.values() if is_object(one)] if is_object(value) else []


class WireLayer(Wire):
    """LayerRep; it has no id and does not repeat its project."""

    key: Key
    name: str
    description: str | None = None
    created_at: EpochMillis = Field(alias="createdAt")
    randomization_unit: str | None = Field(default=None, alias="randomizationUnit")
    environments: dict[Key, WireLayerEnvironment] = Field(default={}, max_length=MAX_CHILDREN)

    @field_validator("environments", mode="before")
    @classmethod
    def reservations_are_countable(cls, value: Any) -> Any:
        """Refuses more reservations than a layer can have before a model is made of each."""
        held = [one.get("reservations") for one in _objects(value)]
        if sum(len(one) for one in held if isinstance(one, list)) > MAX_CHILDREN:
            raise ValueError(f"more than {MAX_CHILDREN} reservations")
        return value

    @model_validator(mode="after")
    def ids_of_reservations_fit_an_index(self) -> "WireLayer":
        """The id of a reservation is made of three keys, each of which may be short enough."""
        for environment, layer in self.environments.items():
            keys = [(one.experiment_key, one.flag_key) for one in layer.reservations]
            if any(_too_long(environment, one) for one in keys):
                raise ValueError(f"the keys of a reservation are longer than {MAX_ID_BYTES} bytes")
        return self


def first_projects(_partition: Partition, options: ProjectsOptions) -> Request:
    """Page one, in the order of creation: a rename does not move a project between pages."""
    asked = [("limit", str(options.page_size)), ("offset", "0"), ("sort", options.sort)]
    asked += [("filter", options.filter)] if options.filter else []
    asked += [("expand", "environments")] if options.environments else []
    return Request("/api/v2/projects", tuple(asked))


def one_project(_external_id: str, key: str) -> Request:
    """GET /api/v2/projects/{projectKey}; 404 means that the project is gone."""
    return Request(f"/api/v2/projects/{path_step(key)}")


def project_by_key(key: str, options: ProjectsOptions) -> Request:
    """The same route, with the environments where the list would bring them too."""
    expand = (("expand", "environments"),) if options.environments else ()
    return Request(one_project("", key).path, expand)


def first_environments(partition: Partition, _options: EnvironmentsOptions) -> Request:
    """All environments of a project, for one whose embedded list was cut."""
    key = path_step(partition.parent_key)
    limit = ("limit", str(ENVIRONMENTS_PAGE_SIZE))
    return Request(
        f"/api/v2/projects/{key}/environments", (limit, ("offset", "0"), ("sort", "createdOn"))
    )


def first_layers(partition: Partition, options: LayersOptions) -> Request:
    """All layers of a project: one response, the vendor does not page them."""
    key = path_step(partition.parent_key)
    asked = (("filter", options.filter),) if options.filter else None
    return Request(f"/api/v2/projects/{key}/layers", asked)


def project_echo(body: Json, request: Request) -> str | None:
    """As the self link says; a single project also tells by its key whether it was asked for."""
    said = echoed_link(body, request)
    key = None if said is not None or "items" in body else body.get("key")
    if not isinstance(key, str) or request.path == one_project("", key).path:
        return said
    return f"project {key}"


def split_project(item: Json) -> tuple[Json, Sequence[Embedded]]:
    """A project without its environments, and these: 20 at most, with the total and a next link.

    Without a total and without links nothing says that these are all. They are records of their
    own, so the project is kept without the field.
    """
    listed = item.get("environments")
    if not is_object(listed) or not isinstance(listed.get("items"), list):
        return item, ()
    if not isinstance(item.get("key"), str):
        return item, ()  # it will be a reject
    items, envelope = listed["items"], {k: v for k, v in listed.items() if k != "items"}
    total, links = count_of(envelope.get("totalCount")), envelope.get("_links")
    short = total is not None and total > len(items)
    more = "next" in links if is_object(links) else total is None
    partition = Partition(parent_id=item["_id"], parent_key=item["key"])
    embedded = Embedded(
        stream="environments", partition=partition, items=items, complete=not (short or more)
    )
    return {name: value for name, value in item.items() if name != "environments"}, (embedded,)


def identity(item: Json) -> str:
    """`_id`, which stays when the key of a project or environment changes."""
    found: str = item["_id"]
    return found


def layer_identity(item: Json) -> str:
    """The key: a layer has no id."""
    found: str = item["key"]
    return found


def project_record(item: Json, _partition: Partition) -> Record:
    """A LaunchDarkly project in the unified schema."""
    wire = WireProject.model_validate(item)
    return Record(
        key=wire.key,
        name=wire.name,
        columns={
            "tags": sorted(wire.tags),
            "include_in_snippet_by_default": wire.include_in_snippet_by_default,
            "default_client_side_availability": item.get("defaultClientSideAvailability"),
            "default_release_pipeline_key": wire.default_release_pipeline_key,
        },
        drift=drift_of(wire, item),
    )


def environment_record(item: Json, _partition: Partition) -> Record:
    """A LaunchDarkly environment in the unified schema."""
    wire = WireEnvironment.model_validate(item)
    return Record(
        key=wire.key,
        name=wire.name,
        columns={
            "color": wire.color,
            "default_ttl": wire.default_ttl,
            "secure_mode": wire.secure_mode,
            "default_track_events": wire.default_track_events,
            "require_comments": wire.require_comments,
            "confirm_changes": wire.confirm_changes,
            "critical": wire.critical,
            "tags": sorted(wire.tags),
            "approval_settings": wire.approval_settings,
            "resource_approval_settings": wire.resource_approval_settings,
            "sdk_key_fingerprint": wire.api_key,
            "mobile_key_fingerprint": wire.mobile_key,
        },
        drift=drift_of(wire, item),
    )


def layer_record(item: Json, _partition: Partition) -> Record:
    """A LaunchDarkly layer in the unified schema; its reservations are child rows."""
    wire = WireLayer.model_validate(item)
    return Record(
        key=wire.key,
        name=wire.name,
        created_at=wire.created_at,
        columns={
            "description": wire.description,
            "randomization_unit": wire.randomization_unit,
            "tags": [],
            "target_apps": [],
            "holdout_ids": [],
        },
        children={
            "layer_reservations": [
                reservation_child(environment_key, reservation, raw)
                for environment_key, environment in sorted(wire.environments.items())
                for reservation, raw in zip(
                    environment.reservations,
                    item["environments"][environment_key].get("reservations") or (),
                    strict=True,
                )
            ]
        },
        drift=drift_of(wire, item),
    )


def reservation_id(*keys: str) -> str:
    """The JSON of its three keys, which cannot collide."""
    return f"[{', '.join(map(_quoted, keys))}]"


_quoted = json.encoder.encode_basestring


def _too_long(environment_key: str, keys: tuple[str, str]) -> bool:
    letters = len(environment_key) + len(keys[0]) + len(keys[1])
    if letters < MAX_ID_BYTES // MAX_LETTER_BYTES:
        return False
    return len(reservation_id(environment_key, *keys).encode()) > MAX_ID_BYTES


def reservation_child(environment_key: str, reservation: WireReservation, raw: Json) -> Child:
    """One reservation as a row."""
    experiment_key, flag_key = reservation.experiment_key, reservation.flag_key
    return Child(
        external_id=reservation_id(environment_key, experiment_key, flag_key),
        key=experiment_key,
        name=experiment_key,
        columns={
            "environment_key": environment_key,
            "experiment_key": experiment_key,
            "flag_key": flag_key,
            "reservation_percent": reservation.reservation_percent,
        },
        raw=raw,
    )


def headers(key: str) -> Mapping[str, str]:
    """The token without a `Bearer ` prefix, and the version."""
    return {"Authorization": key, "LD-API-Version": VERSION}


def whose(body: Json) -> Json:
    """The account and what kind of key it is; a new token of the same kind is the same caller."""
    named = ("accountId", "authKind", "tokenKind", "memberId", "serviceToken", "scopes")
    return {name: body.get(name) for name in named}


PROVIDER = Provider(
    name="launchdarkly",
    base_url="https://app.launchdarkly.com",
    headers=headers,
    whoami=Request("/api/v2/caller-identity"),
    identity=whose,
    error_message=vendor_message,
    concurrency=4,
    streams=(
        Stream(
            name="projects",
            options=ProjectsOptions,
            first_request=first_projects,
            read_page=read_linked,
            item_id=identity,
            echo=project_echo,
            to_record=project_record,
            item_request=one_project,
            asks_by_key=True,
            list_item_request=project_by_key,
            bare_options={"environments": False},
            split_item=split_project,
            earlier_request=earlier,
            has_stable_order=lambda options: options.sort in ("createdOn", "-createdOn"),
            volatile_fields=frozenset({"_links", "_access", "environments"}),
            unordered_lists=(("tags",),),
            filter_options=frozenset({"filter"}),
        ),
        Stream(
            name="environments",
            options=EnvironmentsOptions,
            parent="projects",
            first_request=first_environments,
            read_page=read_linked,
            item_id=identity,
            echo=echoed_link,
            to_record=environment_record,
            is_wanted=lambda options: options["projects"].environments,
            earlier_request=earlier,
            has_stable_order=lambda _options: True,
            volatile_fields=frozenset({"_links", "_access"}),
            secret_fields={"apiKey": "sdk_key_fingerprint", "mobileKey": "mobile_key_fingerprint"},
            unordered_lists=(
                ("tags",),
                ("approvalSettings", "requiredApprovalTags"),
                ("resourceApprovalSettings", "*", "requiredApprovalTags"),
            ),
        ),
        Stream(
            name="layers",
            options=LayersOptions,
            parent="projects",
            first_request=first_layers,
            read_page=read_linked,
            item_id=layer_identity,
            echo=echoed_link,
            to_record=layer_record,
            has_created_at=True,
            is_single_page=True,
            unordered_lists=(("environments", "*", "reservations"),),
            list_keys={"reservations": ("experimentKey", "flagKey")},
            filter_options=frozenset({"filter"}),
        ),
    ),
)
