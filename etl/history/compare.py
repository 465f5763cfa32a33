"""What differs between two moments: the net effect, whatever happened in between. Reads only.

The change events of the time tell which records were touched, and the numbers of their versions;
the two versions are read by their keys. What became as it had been is no difference.
"""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, Text, and_, case, cast, func, not_, or_, select

from etl.db import large_rows
from etl.db.bulk import bytewise
from etl.db.tables import RECORDS, RecordTables, changes
from etl.history.retention import known_since
from etl.model import Operation
from etl.providers import PROVIDERS
from etl.providers.kit import Json
from etl.transform.canonical import content_of
from etl.transform.diff import FieldChange, field_changes, value_of


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordDifference:
    """A record that was another one at the second moment.

    observed_at, actor and reason are of its last change; changes: how many there were. record is
    its content at the second moment, of a deleted one that at the first.
    """

    source: str
    provider: str
    stream: str
    parent_id: str
    external_id: str
    project_key: str | None
    key: str
    name: str
    operation: str
    observed_at: datetime
    changes: int
    actor: str | None
    reason: str | None
    fields: Sequence[FieldChange]
    record: Json


def differences(
    connection: Connection,
    first: datetime,
    second: datetime,
    *,
    source: str | None = None,
    stream: str | None = None,
) -> Generator[RecordDifference, None, None]:
    """Every record that differs, by stream, source, project and key.

    Of a source whose history at the first moment was pruned nothing is told.
    """
    pruned = [name for name, moment in known_since(connection).items() if first < moment]
    for tables in RECORDS.values():
        if stream in (None, tables.stream):
            touched = touched_between(tables.stream, first, second, source)
            query, raws = _pairs(connection, tables, touched)
            query = query.where(tables.current.c.source.not_in(pruned))
            for row in large_rows.rows(connection, query, *raws):
                yield from _difference(row, tables)


def _pairs(
    connection: Connection, tables: RecordTables, touched: Any
) -> tuple[Select[Any], Sequence[Any]]:
    """The two states of each record that was touched, where they are not the same."""
    current, last = tables.current, changes.alias("last")
    before, closed = tables.history.alias("before"), tables.history.alias("closed")

    def after(name: str) -> Any:
        return func.coalesce(closed.c[name], current.c[name])

    was = and_(before.c.version.is_not(None), not_(func.coalesce(before.c.is_deleted, False)))
    live = not_(after("is_deleted"))
    operation = case(
        (before.c.version.is_(None), Operation.CREATED.value),
        (before.c.is_deleted, Operation.RESTORED.value),
        (not_(live), Operation.DELETED.value),
        else_=Operation.UPDATED.value,
    )
    place = [after("project_key")] if tables.has_project else [after("key")]
    query = (
        select(
            *(current.c[name] for name in ("source", "provider", "parent_id", "external_id")),
            *(place[0].label("project_key"), after("key").label("key")),
            *(after("name").label("name"), operation.label("operation")),
            *(last.c.observed_at, touched.c.events, last.c.actor, last.c.reason),
            cast(before.c.raw, Text).label("old"),
            func.coalesce(cast(closed.c.raw, Text), cast(current.c.raw, Text)).label("new"),
        )
        .select_from(touched)
        .join(current, current.c[tables.id] == touched.c.record_id)
        .join(
            last,
            and_(
                last.c.stream == tables.stream,
                last.c.record_id == touched.c.record_id,
                last.c.version == touched.c.last,
            ),
        )
        .outerjoin(before, _version(before, tables, touched, touched.c.first - 1))
        .outerjoin(closed, _version(closed, tables, touched, touched.c.last))
        .where(
            or_(
                and_(was, not_(live)),
                and_(not_(was), live),
                and_(was, live, before.c.content_hash != after("content_hash")),
            )
        )
        .order_by(
            *(bytewise(connection, one) for one in (current.c.source, *place, after("key"))),
            touched.c.record_id,
        )
    )
    return query, (before.c.raw, closed.c.raw, current.c.raw)


def touched_between(
    stream: str, first: datetime, second: datetime, source: str | None = None
) -> Any:
    """The records of a stream with changes after one moment until another, by the index on time."""
    # the coalesce keeps SQLite from the index on the stream, which would read all of it
    query = select(
        changes.c.record_id,
        func.min(changes.c.version).label("first"),
        func.max(changes.c.version).label("last"),
        func.count().label("events"),
    ).where(
        changes.c.observed_at > first,
        changes.c.observed_at <= second,
        func.coalesce(changes.c.stream, "") == stream,
    )
    if source is not None:
        query = query.where(changes.c.source == source)
    return query.group_by(changes.c.record_id).subquery("touched")


def _version(table: Any, tables: RecordTables, touched: Any, version: Any) -> Any:
    return and_(table.c[tables.id] == touched.c.record_id, table.c.version == version)


def _difference(row: Any, tables: RecordTables) -> Iterator[RecordDifference]:
    stream = PROVIDERS[row.provider].stream(tables.stream)
    old = None if row.old is None else content_of(value_of(row.old), stream)
    new = content_of(value_of(row.new), stream)
    both = row.operation in (Operation.UPDATED, Operation.RESTORED)
    fields = field_changes(old, new, stream.list_keys) if both else []
    if row.operation == Operation.UPDATED and not fields:
        return  # hashed by another rule
    yield RecordDifference(
        **{name: getattr(row, name) for name in _TOLD},
        stream=tables.stream,
        changes=row.events,
        fields=fields,
        record=old if row.operation == Operation.DELETED else new,
    )


_TOLD = (
    *("source", "provider", "parent_id", "external_id", "project_key", "key", "name"),
    *("operation", "observed_at", "actor", "reason"),
)
