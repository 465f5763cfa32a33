"""The one place that changes current rows, history and the change feed, and the one that deletes.

Set by set, from what a run has staged: the old states move to history, the new ones take their
place, every change gets its event and its field diffs. The caller's transaction is the run's only
write that readers see; staged deletions are there only for proved ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Connection,
    Integer,
    Text,
    and_,
    case,
    exists,
    func,
    insert,
    literal,
    null,
    or_,
    select,
    update,
)

from etl.db.engine import hashed_joins
from etl.db.field_changes import record_fields
from etl.db.run_tables import staged_deletions
from etl.db.staging import RunKey
from etl.db.tables import RECORDS, ChildTables, RecordTables, changes
from etl.db.types import Flag, UtcDateTime
from etl.stream import Stream


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """A run and the one instant at which all its changes take effect."""

    run: RunKey
    now: datetime

    @property
    def time(self) -> Any:
        """The instant as a SQL value."""
        return literal(self.now, UtcDateTime())

    @property
    def run_id(self) -> Any:
        """The run as a SQL value."""
        return literal(self.run.run_id, BigInteger())


def merge(
    connection: Connection, run: RunKey, streams: Mapping[str, Stream], now: datetime
) -> None:
    """Applies everything a run has staged; `now` must be later than every earlier merge."""
    moment = Moment(run=run, now=now)
    staged = _staged(connection, run.run_id)
    projects = staged["projects"]
    for tables in RECORDS.values():
        here = staged[tables.stream]
        _merge_rows(connection, tables, here, moment)
        if tables.has_project and (projects.fresh or projects.changed):
            _follow_projects(connection, tables, moment)
        for child in tables.children:
            _merge_children(connection, tables, child, here, moment)
        if here.fresh or here.changed or here.gone:
            _record_changes(connection, tables, moment)
    for stream in streams.values():
        if staged[stream.name].changed:
            record_fields(connection, run, stream, now)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Staged:
    """Whether a run has staged new rows of a stream, changed ones, deletions; and which children.

    A statement for which there is nothing takes a millisecond all the same, and there are sixty.
    """

    fresh: bool
    changed: bool
    gone: bool
    children: frozenset[str]


def _staged(connection: Connection, run_id: int) -> dict[str, _Staged]:
    """What a run has staged of every stream, found out in one statement."""
    asked: dict[tuple[str, str], Any] = {}
    for stream, tables in RECORDS.items():
        row_id, of_run = tables.staged.c.row_id, tables.staged.c.run_id == run_id
        asked[stream, "fresh"] = exists().where(of_run, row_id.is_(None))
        asked[stream, "changed"] = exists().where(of_run, row_id.is_not(None))
        asked[stream, "gone"] = exists().where(
            staged_deletions.c.run_id == run_id, staged_deletions.c.stream == stream
        )
        for child in tables.children:
            asked[stream, child.current.name] = exists().where(child.staged.c.run_id == run_id)
    found = connection.execute(select(*asked.values())).one()
    held = {place for place, is_there in zip(asked, found, strict=True) if is_there}
    return {
        stream: _Staged(
            fresh=(stream, "fresh") in held,
            changed=(stream, "changed") in held,
            gone=(stream, "gone") in held,
            children=frozenset(
                child.current.name
                for child in tables.children
                if (stream, child.current.name) in held
            ),
        )
        for stream, tables in RECORDS.items()
    }


def _merge_rows(
    connection: Connection, tables: RecordTables, here: _Staged, moment: Moment
) -> None:
    """The records themselves: old states to history, new ones in their place, tombstones."""
    if here.changed:
        _close_versions(connection, tables, _changed(tables, moment), moment)
    if here.gone:
        _close_versions(connection, tables, _gone(tables, moment), moment)
    if here.changed:
        _update_rows(connection, tables, moment)
    if here.fresh:
        _insert_rows(connection, tables, moment)
    if here.gone:
        _bury_rows(connection, tables, moment)


def _changed(tables: RecordTables, moment: Moment) -> Any:
    """The ids of stored rows that come to have other values."""
    staged = tables.staged
    return select(staged.c.row_id).where(
        staged.c.run_id == moment.run.run_id, staged.c.row_id.is_not(None)
    )


def _gone(tables: RecordTables, moment: Moment) -> Any:
    """The ids of stored rows that become tombstones."""
    return select(staged_deletions.c.row_id).where(
        staged_deletions.c.run_id == moment.run.run_id,
        staged_deletions.c.stream == tables.stream,
    )


def _close_versions(
    connection: Connection, tables: RecordTables, row_ids: Any, moment: Moment
) -> None:
    """The rows that are about to change become closed versions."""
    current = tables.current
    renamed: dict[str, Any] = {"valid_from": current.c.changed_at, "valid_to": moment.time}
    names = [column.name for column in tables.history.columns]
    old: list[Any] = [renamed.get(name, current.c.get(name)) for name in names]
    closed = select(*old).where(current.c[tables.id].in_(row_ids))
    connection.execute(insert(tables.history).from_select(names, closed))


def _update_rows(connection: Connection, tables: RecordTables, moment: Moment) -> None:
    current, staged = tables.current, tables.staged
    project = {"project_key": staged.c.project_key} if tables.has_project else {}
    connection.execute(
        update(current)
        .values(
            {name: staged.c[name] for name in tables.content}
            | project
            | {
                "version": current.c.version + 1,
                "operation": staged.c.operation,
                "run_id": moment.run.run_id,
                "changed_at": moment.now,
                "is_deleted": False,
                "deleted_at": None,
            }
        )
        .where(staged.c.run_id == moment.run.run_id, current.c[tables.id] == staged.c.row_id)
    )


def _insert_rows(connection: Connection, tables: RecordTables, moment: Moment) -> None:
    staged, projects = tables.staged, RECORDS["projects"].current.alias("parent")
    run = moment.run
    values: dict[str, Any] = {
        "source": literal(run.source, Text()),
        "provider": literal(run.provider, Text()),
        "parent_id": staged.c.parent_id,
        "external_id": staged.c.external_id,
        "version": literal(1, Integer()),
        "operation": staged.c.operation,
        "run_id": moment.run_id,
        "first_seen_at": moment.time,
        "changed_at": moment.time,
        "is_deleted": literal(False, Flag),
        **{name: staged.c[name] for name in tables.content},
    }
    origin: Any = staged
    if tables.has_project:
        origin = staged.outerjoin(projects, _is_parent(projects, run.source, staged))
        values["project_id"] = projects.c.project_id
        values["project_key"] = func.coalesce(projects.c.key, staged.c.project_key)
    fresh = (
        select(*values.values())
        .select_from(origin)
        .where(staged.c.run_id == run.run_id, staged.c.row_id.is_(None))
        .order_by(staged.c.ordinal)
    )
    with hashed_joins(connection):
        connection.execute(insert(tables.current).from_select(list(values), fresh))


def _bury_rows(connection: Connection, tables: RecordTables, moment: Moment) -> None:
    """Tombstones: the last values stay, so that what was lost can still be read."""
    current, gone = tables.current, _gone(tables, moment)
    connection.execute(
        update(current).values(_buried(current, moment)).where(current.c[tables.id].in_(gone))
    )


def _buried(table: Any, moment: Moment) -> dict[str, Any]:
    return {
        "version": table.c.version + 1,
        "operation": "deleted",
        "run_id": moment.run.run_id,
        "changed_at": moment.now,
        "is_deleted": True,
        "deleted_at": moment.now,
    }


def _follow_projects(connection: Connection, tables: RecordTables, moment: Moment) -> None:
    """A project's new key goes to its environments and layers; that is no change of theirs.

    Two statements, as each finds its rows by the index of project_id.
    """
    current = tables.current
    project, staged = RECORDS["projects"].current, RECORDS["projects"].staged
    of_run = staged.c.run_id == moment.run.run_id
    updated = select(staged.c.row_id).where(of_run, staged.c.row_id.is_not(None))
    connection.execute(
        update(current)
        .values(project_key=project.c.key)
        .where(
            project.c.project_id.in_(updated),
            project.c.project_id == current.c.project_id,
            project.c.key.is_distinct_from(current.c.project_key),
        )
    )
    connection.execute(
        update(current)
        .values(project_id=project.c.project_id, project_key=project.c.key)
        .where(
            exists().where(of_run),
            current.c.project_id.is_(None),
            _is_parent(project, current.c.source, current),
            project.c.run_id == moment.run.run_id,
        )
    )


def _is_parent(project: Any, source: Any, child: Any) -> Any:
    return and_(
        project.c.source == source,
        project.c.parent_id == "",
        project.c.external_id == child.c.parent_id,
    )


def _merge_children(
    connection: Connection, tables: RecordTables, child: ChildTables, here: _Staged, moment: Moment
) -> None:
    """The parameters or reservations of changed layers: gone ones buried, others set or added."""
    wanted = _wanted_children(tables, child, moment)
    any_staged = child.current.name in here.children
    if here.changed or here.gone:
        _bury_children(connection, tables, child, wanted, moment)
    if here.changed and any_staged:
        _update_children(connection, child, wanted, moment)
    if any_staged:
        _insert_children(connection, child, wanted, moment)


def _bury_children(
    connection: Connection, tables: RecordTables, child: ChildTables, wanted: Any, moment: Moment
) -> None:
    current = child.current
    lost = and_(
        current.c.layer_id.in_(_changed(tables, moment)),
        ~exists().where(_same_child(current, wanted)),
    )
    connection.execute(
        update(current)
        .values(_buried(current, moment))
        .where(~current.c.is_deleted)
        .where(or_(current.c.layer_id.in_(_gone(tables, moment)), lost))
    )


def _update_children(
    connection: Connection, child: ChildTables, wanted: Any, moment: Moment
) -> None:
    current = child.current
    connection.execute(
        update(current)
        .values(
            {name: wanted.c[name] for name in child.content}
            | {
                "version": current.c.version + 1,
                "operation": case((current.c.is_deleted, "restored"), else_="updated"),
                "run_id": moment.run.run_id,
                "changed_at": moment.now,
                "is_deleted": False,
                "deleted_at": None,
            }
        )
        .where(_same_child(current, wanted))
        .where(wanted.c.row_before.is_not(None))  # a new layer had no children
        .where(or_(current.c.is_deleted, current.c.content_hash != wanted.c.content_hash))
    )


def _same_child(stored: Any, wanted: Any) -> Any:
    return and_(
        stored.c.layer_id == wanted.c.layer_id, stored.c.external_id == wanted.c.external_id
    )


def _wanted_children(tables: RecordTables, child: ChildTables, moment: Moment) -> Any:
    """The staged children with the ids of their layers."""
    layers, staged = tables.current, tables.staged
    return (
        select(
            layers.c[tables.id].label("layer_id"),
            layers.c.provider_created_at,
            layers.c.provider_updated_at,
            staged.c.row_id.label("row_before"),
            child.staged,
        )
        .select_from(
            child.staged.join(
                staged,
                and_(
                    staged.c.run_id == child.staged.c.run_id,
                    staged.c.ordinal == child.staged.c.ordinal,
                ),
            ).join(
                layers,
                and_(
                    layers.c.source == moment.run.source,
                    layers.c.parent_id == staged.c.parent_id,
                    layers.c.external_id == staged.c.external_id,
                ),
            )
        )
        .where(child.staged.c.run_id == moment.run.run_id)
        .subquery("wanted")
    )


def _insert_children(
    connection: Connection, child: ChildTables, wanted: Any, moment: Moment
) -> None:
    known = child.current.alias("known")
    values: dict[str, Any] = {
        "layer_id": wanted.c.layer_id,
        "source": literal(moment.run.source, Text()),
        "provider": literal(moment.run.provider, Text()),
        "external_id": wanted.c.external_id,
        "provider_created_at": wanted.c.provider_created_at,
        "provider_updated_at": wanted.c.provider_updated_at,
        "version": literal(1, Integer()),
        "operation": literal("created", Text()),
        "run_id": moment.run_id,
        "first_seen_at": moment.time,
        "changed_at": moment.time,
        "is_deleted": literal(False, Flag),
        **{name: wanted.c[name] for name in child.content},
    }
    fresh = (
        select(*values.values())
        .where(~exists().where(_same_child(known, wanted)))
        .order_by(wanted.c.ordinal, wanted.c.external_id)
    )
    connection.execute(insert(child.current).from_select(list(values), fresh))


def _record_changes(connection: Connection, tables: RecordTables, moment: Moment) -> None:
    """One event for every record of this stream that this run changed."""
    current = tables.current
    values: dict[str, Any] = {
        "run_id": current.c.run_id,
        "source": current.c.source,
        "provider": current.c.provider,
        "stream": literal(tables.stream, Text()),
        "record_id": current.c[tables.id],
        "version": current.c.version,
        "project_key": current.c.project_key if tables.has_project else current.c.key,
        "key": current.c.key,
        "operation": current.c.operation,
        "observed_at": moment.time,
        "provider_updated_at": current.c.provider_updated_at,
        "actor": _actor(tables),
        "reason": staged_deletions.c.reason,
    }
    events = (
        select(*values.values())
        .select_from(
            current.outerjoin(
                staged_deletions,
                and_(
                    staged_deletions.c.run_id == current.c.run_id,
                    staged_deletions.c.stream == tables.stream,
                    staged_deletions.c.row_id == current.c[tables.id],
                ),
            )
        )
        .where(current.c.run_id == moment.run.run_id)
        .order_by(current.c[tables.id])
    )
    connection.execute(insert(changes).from_select(list(values), events))


def _actor(tables: RecordTables) -> Any:
    """Who the vendor says made the change; nobody is known for a deletion."""
    columns = tables.current.c
    if "updated_by_id" not in columns:
        return null()
    names = [columns[f"{by}_by_{what}"] for by in ("updated", "created") for what in _WHO]
    return case((columns.operation == "deleted", null()), else_=func.coalesce(*names))


_WHO = ("email", "name", "id")
