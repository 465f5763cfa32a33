"""The pages of records: lists, one record, capacity of layers."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection
from starlette.exceptions import HTTPException

from etl.db.tables import RECORDS
from etl.errors import ConfigError
from etl.history import browse, changes
from etl.history import record as life
from etl.history.browse import RecordQuery
from etl.providers import PROVIDERS
from etl.transform.canonical import content_of
from etl.transform.diff import FieldChange, field_changes
from etl.web.charts import Slice, slices
from etl.web.query import STREAMS, VENDOR, PageQuery

Values = Mapping[str, Any]

STATES = ("live", "deleted", "all")
LAYERS_A_PAGE = 20
LAYERS_SHOWN = 25
ENVIRONMENTS_SHOWN = 100
LEVELS = {"": "any", "80": "80 % or more", "101": "over 100 %"}
# what the head of a record's page says already, or what is no content
HEAD = frozenset(
    {
        *("source", "provider", "parent_id", "external_id", "project_id", "project_key", "key"),
        *("name", "content_hash", "version", "operation", "run_id", "first_seen_at", "changed_at"),
        *("is_deleted", "deleted_at", "raw"),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """How full a layer is in one environment."""

    environment: str
    used: int
    slices: tuple[Slice, ...]

    @property
    def free(self) -> int:
        """Below 0 when over-booked."""
        return 100 - self.used


def estate(connection: Connection, asked: PageQuery) -> Values:
    """Projects, environments or layers of all vendors, filtered, a page at a time."""
    stream = asked.values["stream"]
    project, sources = _chosen(connection, asked)
    wanted = RecordQuery(
        stream=stream,
        sources=sources,
        text=asked.values["q"],
        project_id=project.project_id if project else None,
        state=asked.values["state"],
        moment=asked.moment,
    )
    return {
        "stream": stream,
        "streams": STREAMS,
        "state": wanted.state,
        "states": STATES,
        "found": browse.records(connection, wanted, asked.values["after"]),
        "id": RECORDS[stream].id,
        "project": project,
        "all_sources": browse.sources(connection),
        "look": browse.LOOK,
    }


def record(connection: Connection, asked: PageQuery) -> Values:
    """One record: its fields, its life, what differs between two versions, what belongs to it."""
    stream = asked.route["stream"]
    if stream not in STREAMS:
        raise HTTPException(404, "There is no such record.")
    identifier: int = asked.values["id"]
    row = life.record(connection, stream, identifier, asked.moment)
    if row is None:
        raise HTTPException(404, _absent(connection, stream, identifier))
    versions = [
        one for one in life.versions(connection, stream, identifier) if one.valid_from <= asked.then
    ]
    events = changes.ChangeQuery(until=asked.moment, stream=stream, record_id=identifier)
    return {
        "stream": stream,
        "id": identifier,
        "row": row,
        "fields": _fields(row, stream),
        "project": _project(connection, asked, row, stream),
        "versions": versions,
        "diff": _diff(connection, asked, row.provider, versions),
        "events": changes.events(connection, events, asked.values["before"]),
        **_children(connection, asked, stream, row),
    }


def _absent(connection: Connection, stream: str, identifier: int) -> str:
    if life.record(connection, stream, identifier, None) is not None:
        return "This record was not known yet at that moment. Choose a later one, or now."
    return "There is no such record."


def _fields(row: Any, stream: str) -> list[tuple[str, Any]]:
    """The columns of content with their values."""
    names = [name for name in row._fields if name not in HEAD and name != RECORDS[stream].id]
    return [(name, getattr(row, name)) for name in names]


def _project(connection: Connection, asked: PageQuery, row: Any, stream: str) -> Any:
    if stream == "projects" or row.project_id is None:
        return None
    return life.record(connection, "projects", row.project_id, asked.moment)


@dataclass(frozen=True, slots=True, kw_only=True)
class Diff:
    """What differs between two versions of a record."""

    old: int
    new: int
    fields: Sequence[FieldChange]


def _diff(
    connection: Connection, asked: PageQuery, provider: str, versions: Sequence[Any]
) -> Diff | None:
    """Between the versions asked for; the last two where none is."""
    known = [one.version for one in versions]
    if len(known) < 2:
        return None
    old, new = asked.values["old"] or known[1], asked.values["new"] or known[0]
    stream = PROVIDERS[provider].stream(asked.route["stream"])
    states = []
    for version in (old, new):
        found = life.payload(connection, stream.name, asked.values["id"], version)
        if version not in known or found is None:
            raise ConfigError(f"there is no version {version} of this record")
        states.append(content_of(found, stream))
    return Diff(old=old, new=new, fields=field_changes(states[0], states[1], stream.list_keys))


def _children(connection: Connection, asked: PageQuery, stream: str, row: Any) -> Values:
    if stream == "layers":
        ids = [row.layer_id]
        reserved = life.children(connection, "layer_reservations", ids, asked.moment)
        return {
            "parameters": life.children(connection, "layer_parameters", ids, asked.moment),
            "reservations": reserved,
            "uses": list(_uses(reserved)),
        }
    if stream != "projects":
        return {}
    return {
        name: browse.records(
            connection,
            RecordQuery(
                stream=name,
                sources=(row.source,),
                project_id=row.project_id,
                moment=asked.moment,
            ),
            None,
            most=most,
        )
        for name, most in (("environments", ENVIRONMENTS_SHOWN), ("layers", LAYERS_SHOWN))
    }


def _uses(reservations: Sequence[Any]) -> Iterator[Use]:
    """A layer's reservations, environment by environment."""
    environments: dict[str, list[Any]] = {}
    for one in reservations:
        environments.setdefault(one.environment_key, []).append(one)
    for environment, held in sorted(environments.items()):
        percents = [(one.experiment_key, one.reservation_percent) for one in held]
        used = sum(percent for _, percent in percents)
        yield Use(environment=environment, used=used, slices=slices(percents))


def capacity(connection: Connection, asked: PageQuery) -> Values:
    """How full layers are: a bar for each environment, a colour for each experiment."""
    project, sources = _chosen(connection, asked)
    level = asked.values["level"]
    environment = asked.values["environment"]
    wanted = RecordQuery(
        stream="layers",
        sources=sources,
        text=asked.values["q"],
        project_id=project.project_id if project else None,
        reserved=int(level or 0),
        environment=environment,
        moment=asked.moment,
    )
    look = browse.LOOK_INTO if asked.moment is None else browse.LOOK_BACK
    found = browse.records(connection, wanted, asked.values["after"], most=LAYERS_A_PAGE, look=look)
    ids = [row.layer_id for row in found.rows]
    held: dict[int, list[Any]] = {}
    for one in life.children(connection, "layer_reservations", ids, asked.moment):
        if not environment or one.environment_key == environment:
            held.setdefault(one.layer_id, []).append(one)
    return {
        "found": found,
        "layers": [(row, list(_uses(held.get(row.layer_id, ())))) for row in found.rows],
        "project": project,
        "levels": LEVELS,
        "environments": sorted({one.environment_key for rows in held.values() for one in rows}),
        "all_sources": browse.sources(connection),
        "look": look,
    }


def _chosen(connection: Connection, asked: PageQuery) -> tuple[Any, tuple[str, ...]]:
    """The project that is asked for, and the sources: one, those of a vendor, or all."""
    source, known = asked.values["source"], browse.sources(connection)
    project_id = asked.values["project"]
    if project_id is not None:
        project = life.record(connection, "projects", project_id, asked.moment)
        if project is None:
            raise HTTPException(404, "There is no such project, or it was not known yet.")
        if source not in ("", project.source, f"{VENDOR}{project.provider}"):
            raise ConfigError(f"source: the project {project_id} is one of {project.source}")
        return project, (project.source,)
    vendor = source.removeprefix(VENDOR)
    if vendor != source:
        return None, tuple(row.source for row in known if row.provider == vendor)
    return None, (source,) if source else tuple(row.source for row in known)
