"""The one place that changes current rows, history and the change feed, and the one that deletes.

Set by set, from what a run has staged: the old states move to history, the new ones take their
place. The caller's transaction is the run's only write that readers see, and its last statement is
`write_events` (etl.load.events); staged deletions are there only for proved ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Connection,
    Integer,
    Select,
    Text,
    and_,
    case,
    exists,
    func,
    insert,
    literal,
    or_,
    select,
    update,
)

from etl.db.engine import hashed_joins
from etl.db.tables import RECORDS, ChildTables, RecordTables
from etl.db.types import Flag, UtcDateTime
from etl.load.change_fields import read_fields
from etl.load.events import PendingEvents
from etl.load.merge_input import Kinds, changed_ids, gone_ids, kinds
from etl.load.staging import RunKey
from etl.model import Operation
from etl.providers.kit import Stream
from etl.spool import Spool


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeTime:
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
    connection: Connection,
    run: RunKey,
    streams: Mapping[str, Stream],
    now: datetime,
    fields: Spool,
) -> PendingEvents:
    """Applies everything a run has staged and returns its change events, not yet written.

    `now` must be later than every earlier merge. fields: takes the field diffs of the events.
    """
    moment = MergeTime(run=run, now=now)
    staged = kinds(connection, run.run_id)
    for tables in RECORDS.values():
        here = staged[tables.stream]
        _merge_rows(connection, tables, here, moment)
        if tables.has_project:
            _follow_projects(connection, tables, staged["projects"], moment)
        for child in tables.children:
            _merge_children(connection, tables, child, here, moment)
    found = [name for name in RECORDS if staged[name]]
    changed = [name for name in found if staged[name].changed]
    for name in changed:
        read_fields(connection, run, streams[name], now, fields)
    return PendingEvents(run=run, now=now, streams=found, with_fields=changed, fields=fields)


def _merge_rows(
    connection: Connection, tables: RecordTables, here: Kinds, moment: MergeTime
) -> None:
    """The records themselves: old states to history, new ones in their place, tombstones."""
    run_id = moment.run.run_id
    if here.changed:
        _close_versions(connection, tables, changed_ids(tables, run_id), moment)
    if here.gone:
        _close_versions(connection, tables, gone_ids(tables, run_id), moment)
    if here.changed:
        _update_rows(connection, tables, moment)
    if here.fresh:
        _insert_rows(connection, tables, moment)
    if here.gone:
        _bury_rows(connection, tables, moment)


def _close_versions(
    connection: Connection, tables: RecordTables, row_ids: Select[Any], moment: MergeTime
) -> None:
    """The rows that are about to change become closed versions."""
    current = tables.current
    renamed: dict[str, Any] = {"valid_from": current.c.changed_at, "valid_to": moment.time}
    names = [column.name for column in tables.history.columns]
    old: list[Any] = [renamed.get(name, current.c.get(name)) for name in names]
    closed = select(*old).where(current.c[tables.id].in_(row_ids))
    connection.execute(insert(tables.history).from_select(names, closed))


def _update_rows(connection: Connection, tables: RecordTables, moment: MergeTime) -> None:
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


def _insert_rows(connection: Connection, tables: RecordTables, moment: MergeTime) -> None:
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


def _bury_rows(connection: Connection, tables: RecordTables, moment: MergeTime) -> None:
    """Tombstones: the last values stay, so that what was lost can still be read."""
    current, gone = tables.current, gone_ids(tables, moment.run.run_id)
    connection.execute(
        update(current).values(_buried(current, moment)).where(current.c[tables.id].in_(gone))
    )


def _buried(table: Any, moment: MergeTime) -> dict[str, Any]:
    return {
        "version": table.c.version + 1,
        "operation": Operation.DELETED,
        "run_id": moment.run.run_id,
        "changed_at": moment.now,
        "is_deleted": True,
        "deleted_at": moment.now,
    }


def _follow_projects(
    connection: Connection, tables: RecordTables, projects: Kinds, moment: MergeTime
) -> None:
    """A project's new key goes to its environments and layers; that is no change of theirs.

    Those that were stored before their project get it when it comes. Two statements, as each finds
    its rows by the index of project_id.
    """
    current, project = tables.current, RECORDS["projects"].current
    if projects.changed:
        connection.execute(
            update(current)
            .values(project_key=project.c.key)
            .where(
                project.c.project_id.in_(changed_ids(RECORDS["projects"], moment.run.run_id)),
                project.c.project_id == current.c.project_id,
                project.c.key.is_distinct_from(current.c.project_key),
            )
        )
    if projects.changed or projects.fresh:
        connection.execute(
            update(current)
            .values(project_id=project.c.project_id, project_key=project.c.key)
            .where(
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
    connection: Connection, tables: RecordTables, child: ChildTables, here: Kinds, moment: MergeTime
) -> None:
    """The parameters or reservations of changed layers: gone ones buried, others set or added."""
    run_id, layer_id = moment.run.run_id, child.current.c.layer_id
    if here.gone:
        _bury_children(connection, child, layer_id.in_(gone_ids(tables, run_id)), moment)
    if here.changed:
        changed, kept = layer_id.in_(changed_ids(tables, run_id)), _is_kept(tables, child, run_id)
        _bury_children(connection, child, and_(changed, ~kept), moment)
    if child.current.name in here.children:
        wanted = _wanted_children(tables, child, moment)
        if here.changed:
            _update_children(connection, child, wanted, moment)
        _insert_children(connection, child, wanted, moment)


def _bury_children(
    connection: Connection, child: ChildTables, which: Any, moment: MergeTime
) -> None:
    current = child.current
    connection.execute(
        update(current).values(_buried(current, moment)).where(~current.c.is_deleted, which)
    )


def _is_kept(tables: RecordTables, child: ChildTables, run_id: int) -> Any:
    """Whether a stored child is staged again; asked by index, or each would look at all of them."""
    staged, again = tables.staged, child.staged
    return exists().where(
        staged.c.run_id == run_id,
        staged.c.row_id == child.current.c.layer_id,
        again.c.run_id == staged.c.run_id,
        again.c.ordinal == staged.c.ordinal,
        again.c.external_id == child.current.c.external_id,
    )


def _update_children(
    connection: Connection, child: ChildTables, wanted: Any, moment: MergeTime
) -> None:
    current = child.current
    connection.execute(
        update(current)
        .values(
            {name: wanted.c[name] for name in child.content}
            | {
                "version": current.c.version + 1,
                "operation": case(
                    (current.c.is_deleted, Operation.RESTORED.value), else_=Operation.UPDATED.value
                ),
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


def _wanted_children(tables: RecordTables, child: ChildTables, moment: MergeTime) -> Any:
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
    connection: Connection, child: ChildTables, wanted: Any, moment: MergeTime
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
        "operation": literal(Operation.CREATED, Text()),
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
