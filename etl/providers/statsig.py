"""Statsig Console API: layers, and the project a console key belongs to.

https://docs.statsig.com/api-reference/layers/get-layers, version 20240601.
A console key reads exactly one project, so that project is identified by its source.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import FailFast, Field, field_validator

from etl.json_text import path_step, vendor_message
from etl.model import Child, Record
from etl.providers.kit import Json, Options, Partition, Provider, Request, Stream
from etl.providers.paging import echoed_number, is_object, read_numbered, read_object
from etl.providers.wire import MAX_CHILDREN, EpochMillis, Key, Number, TextList, Wire, drift_of

VERSION = "20240601"
PARAMETER_TYPES = frozenset({"string", "number", "boolean", "object", "array"})


class LayersOptions(Options):
    """The query of GET /console/v1/layers."""

    tags: list[str] | None = Field(default=None, description="only layers with these tags")
    creator_name: str | None = Field(default=None, description="only layers made by this person")
    creator_id: str | None = Field(default=None, description="the same by the person's id")
    page_size: int = Field(default=100, ge=1, le=1000, description="layers per request")


class ProjectOptions(Options):
    """The project has no query."""


class WireParameter(Wire):
    """A parameter of a layer; the default may be any JSON value."""

    name: Key
    type: str
    default_value: Any = Field(alias="defaultValue")


class WireLayer(Wire):
    """LayerContractDto."""

    id: str
    name: str | None = None
    id_type: str = Field(alias="idType")
    description: str | None
    last_modifier_id: str | None = Field(alias="lastModifierID")
    last_modified_time: EpochMillis = Field(alias="lastModifiedTime")
    last_modifier_email: str | None = Field(alias="lastModifierEmail")
    last_modifier_name: str | None = Field(alias="lastModifierName")
    creator_id: str | None = Field(alias="creatorID")
    created_time: EpochMillis = Field(alias="createdTime")
    creator_name: str | None = Field(alias="creatorName")
    creator_email: str | None = Field(alias="creatorEmail")
    tags: TextList = []
    target_apps: TextList = Field(default=[], alias="targetApps")
    holdout_ids: TextList = Field(default=[], alias="holdoutIDs")
    team: str | None = None
    team_id: str | None = Field(default=None, alias="teamID")
    version: Number = None
    is_implicit: bool = Field(alias="isImplicitLayer")
    parameters: Annotated[list[WireParameter], FailFast()] = Field(max_length=MAX_CHILDREN)

    @field_validator("parameters")
    @classmethod
    def names_are_unique(cls, parameters: list[WireParameter]) -> list[WireParameter]:
        """A parameter is named by its name; two of one name cannot be told apart."""
        names = Counter(parameter.name for parameter in parameters)
        twice = sorted(name for name, times in names.items() if times > 1)
        if twice:
            raise ValueError(f"parameters named twice: {', '.join(twice)}")
        return parameters


class WireProject(Wire):
    """What the two routes about the project say, and the source they say it to."""

    source: str
    id: Key
    name: str


def first_layers(_partition: Partition, options: LayersOptions) -> Request:
    """Page one; old pages of the vendor call `page` and `limit` mandatory, so both are sent."""
    asked = [("limit", str(options.page_size)), ("page", "1")]
    asked += [("tags", tag) for tag in options.tags or ()]
    asked += [("creatorName", options.creator_name)] if options.creator_name else []
    asked += [("creatorID", options.creator_id)] if options.creator_id else []
    return Request("/console/v1/layers", tuple(asked))


def one_layer(external_id: str, _key: str) -> Request:
    """GET /console/v1/layers/{id}; ids hold spaces, `::` and `!`."""
    return Request(f"/console/v1/layers/{path_step(external_id)}")


def layer_echo(body: Json, request: Request) -> str | None:
    """As the page number says; a single layer tells by its id."""
    data = body.get("data")
    said = data.get("id") if is_object(data) else None
    if not isinstance(said, str) or request.path == one_layer(said, "").path:
        return echoed_number(body, request)
    return f"layer {said}"


def layer_identity(item: Json) -> str:
    """The layer's id, unique in its project."""
    identity: str = item["id"]
    return identity


def layer_record(item: Json, _partition: Partition) -> Record:
    """A Statsig layer in the unified schema; its parameters are child rows."""
    wire = WireLayer.model_validate(item)
    return Record(
        key=wire.id,
        name=wire.name or wire.id,
        created_at=wire.created_time,
        updated_at=wire.last_modified_time,
        columns={
            "description": wire.description,
            "randomization_unit": wire.id_type,
            "is_implicit": wire.is_implicit,
            "tags": sorted(wire.tags),
            "target_apps": sorted(wire.target_apps),
            "holdout_ids": sorted(wire.holdout_ids),
            "team": wire.team,
            "team_id": wire.team_id,
            "provider_version": None if wire.version is None else str(wire.version),
            "created_by_id": wire.creator_id,
            "created_by_name": wire.creator_name,
            "created_by_email": wire.creator_email,
            "updated_by_id": wire.last_modifier_id,
            "updated_by_name": wire.last_modifier_name,
            "updated_by_email": wire.last_modifier_email,
        },
        children={
            "layer_parameters": [
                Child(
                    external_id=parameter.name,
                    key=parameter.name,
                    name=parameter.name,
                    columns={
                        "type": parameter.type,
                        "default_value": parameter.default_value,
                        "position": position,
                    },
                    raw=raw,
                )
                for position, (parameter, raw) in enumerate(
                    zip(wire.parameters, item["parameters"], strict=True)
                )
            ]
        },
        drift=drift_of(wire, item) + new_types(wire),
    )


def new_types(wire: WireLayer) -> tuple[tuple[str, str], ...]:
    """A parameter type that is not documented is kept as it is, and told as drift."""
    known = all(parameter.type in PARAMETER_TYPES for parameter in wire.parameters)
    return () if known else (("parameters.type", "new value"),)


def project_echo(body: Json, request: Request) -> str | None:
    """The two answers tell each other apart by what they hold: the id, or the name."""
    data = body.get("data")
    wanted = "id" if request.path == _PROJECT[0].path else "name"
    return None if is_object(data) and wanted in data else f"it has no {wanted} of a project"


def combine_project(answers: Sequence[Json], source: str) -> Json:
    """The two answers as one item; what did not answer is named after the source."""
    said = {"id": source, "name": source, "source": source}
    for answer in answers:
        data = answer.get("data") if is_object(answer) else None
        said |= {k: v for k, v in data.items() if k != "source"} if is_object(data) else {}
    return said


def project_identity(item: Json) -> str:
    """The source: one console key, one project, whether or not the vendor tells its id."""
    identity: str = item["source"]
    return identity


def project_record(item: Json, _partition: Partition) -> Record:
    """The project of a console key; its key is the vendor's id for it."""
    wire = WireProject.model_validate(item)
    return Record(key=wire.id, name=wire.name, columns={})


def headers(key: str) -> Mapping[str, str]:
    """The console key and the only version there is."""
    return {"STATSIG-API-KEY": key, "STATSIG-API-VERSION": VERSION}


def whose(body: Json) -> Json:
    """The project."""
    data = body.get("data")
    return data.get("id") if is_object(data) else None


_PROJECT = (Request("/console/v1/project"), Request("/console/v1/settings/project"))

PROVIDER = Provider(
    name="statsig",
    base_url="https://statsigapi.net",
    headers=headers,
    whoami=_PROJECT[0],
    identity=whose,
    rate_limits=("100/10s", "900/15min"),
    error_message=vendor_message,  # on a 401 it echoes the key: the client redacts it
    streams=(
        Stream(
            name="projects",
            options=ProjectOptions,
            first_request=lambda _partition, _options: _PROJECT[0],
            read_page=read_object,
            item_id=project_identity,
            echo=project_echo,
            to_record=project_record,
            extra_requests=_PROJECT,
            combine=combine_project,
            without_item_request="a console key of Statsig reads one project and no other; leave "
            "--project out, and name the source that has the key of the project",
            is_single_page=True,
        ),
        Stream(
            name="layers",
            options=LayersOptions,
            parent="projects",
            first_request=first_layers,
            read_page=read_numbered,
            item_id=layer_identity,
            echo=layer_echo,
            to_record=layer_record,
            item_request=one_layer,
            has_created_at=True,
            unordered_lists=(("tags",), ("targetApps",), ("holdoutIDs",)),
            list_keys={"parameters": ("name",)},
            filter_options=frozenset({"tags", "creator_name", "creator_id"}),
        ),
    ),
)
