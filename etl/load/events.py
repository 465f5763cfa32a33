"""Writes change events: last in their transaction, and in one transaction at a time.

So `change_id` increases in the order of commits, whatever the source: a consumer that remembers the
largest one it has read misses nothing. Whoever inserts into `changes` calls `lock_events` first.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Text, and_, case, func, insert, literal, null, select

from etl.db.bulk import Row, copy_rows
from etl.db.engine import lock_events
from etl.db.run_tables import staged_deletions
from etl.db.tables import RECORDS, RecordTables, change_fields, changes
from etl.db.types import UtcDateTime
from etl.load.change_fields import WITH_FIELDS
from etl.load.staging import RunKey
from etl.model import Operation
from etl.spool import Spool

AT_ONCE = 5000  # events

FieldsOf = tuple[int, Sequence[tuple[str, str | None, str | None]]]
"""Record id, its field diffs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingEvents:
    """The events of a merge, not yet written.

    streams: with events; with_fields: those of them in which records were updated or restored.
    fields: [record id, [[path, old, new], …]] of each record that was updated or restored, stream
    by stream in the order of ids; old and new as JSON text.
    """

    run: RunKey
    now: datetime
    streams: Sequence[str]
    with_fields: Collection[str]
    fields: Spool


def write_events(connection: Connection, events: PendingEvents) -> None:
    """One event for every record that the run changed, with its field diffs.

    Nothing but the commit should follow: until then other runs wait to write theirs.
    """
    lock_events(connection)
    fields = iter(events.fields)
    for name in events.streams:
        _insert_events(connection, RECORDS[name], events)
        if name in events.with_fields:
            _insert_fields(connection, events.run, name, fields)


def _insert_events(connection: Connection, tables: RecordTables, events: PendingEvents) -> None:
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
        "observed_at": literal(events.now, UtcDateTime()),
        "provider_updated_at": current.c.provider_updated_at,
        "actor": _actor(tables),
        "reason": staged_deletions.c.reason,
    }
    rows = (
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
        .where(current.c.run_id == events.run.run_id)
        .order_by(current.c[tables.id])
    )
    connection.execute(insert(changes).from_select(list(values), rows))


def _insert_fields(
    connection: Connection, run: RunKey, stream: str, fields: Iterator[FieldsOf]
) -> None:
    """Takes from `fields` what belongs to this stream."""
    query = (
        select(changes.c.record_id, changes.c.change_id)
        .where(
            changes.c.run_id == run.run_id,
            changes.c.stream == stream,
            changes.c.operation.in_(WITH_FIELDS),
        )
        .order_by(changes.c.record_id)
    )
    columns = ("change_id", "path", "old_value", "new_value")
    with connection.execute(query.execution_options(yield_per=AT_ONCE)) as found:
        for part in found.partitions():
            rows = _field_rows(part, fields)
            copy_rows(connection, change_fields, columns, rows, texts=("old_value", "new_value"))


def _field_rows(events: Sequence[Any], fields: Iterator[FieldsOf]) -> Iterator[Row]:
    for event in events:
        record_id, found = next(fields)
        if event.record_id != record_id:
            raise AssertionError(f"the fields of record {record_id} belong to no event")
        for change in found:
            yield event.change_id, *change


def _actor(tables: RecordTables) -> Any:
    """Who the vendor says made the change; nobody is known for a deletion."""
    columns = tables.current.c
    if "updated_by_id" not in columns:
        return null()
    names = [columns[f"{by}_by_{what}"] for by in ("updated", "created") for what in _WHO]
    return case((columns.operation == Operation.DELETED, null()), else_=func.coalesce(*names))


_WHO = ("email", "name", "id")
