"""What the vendors sent that this code could not use, or did not expect. Reads only.

Rejects are items kept aside; drift is what changed in the shape of items that were stored.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Text,
    and_,
    case,
    cast,
    exists,
    func,
    literal,
    select,
)

from etl.db.run_tables import rejects, schema_drift
from etl.db.tables import RECORDS, change_fields, changes
from etl.providers import PROVIDERS
from etl.record import Reject
from etl.stream import Partition
from etl.transform import identify, transform

AT_ONCE = 200  # payloads may be large


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantined:
    """An item that was rejected, and when; resolved_at: when it had gone or was good again."""

    source: str
    provider: str
    stream: str
    parent_id: str
    project_key: str | None
    item: str
    external_id: str | None
    path: str
    reason: str
    payload: Any
    run_id: int
    first_seen_at: datetime
    last_seen_at: datetime
    resolved_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """One thing about the shape of a stream's items that is new; records: how many show it.

    kind: added, unusable, one id twice in a page; vanished, retyped.
    """

    source: str
    provider: str
    stream: str
    path: str
    kind: str
    type: str
    first_seen_at: datetime
    last_seen_at: datetime
    records: int | None = None


def quarantined(
    connection: Connection, source: str | None, *, resolved: bool = False
) -> Iterator[Quarantined]:
    """The rejects that wait; `resolved`: those of the past too."""
    project = RECORDS["projects"].current
    own = and_(
        project.c.source == rejects.c.source,
        project.c.parent_id == "",
        project.c.external_id == rejects.c.parent_id,
    )
    query = (
        select(rejects, project.c.key.label("project_key"))
        .outerjoin(project, own)
        .order_by(rejects.c.source, rejects.c.stream, rejects.c.parent_id, rejects.c.item)
    )
    if source is not None:
        query = query.where(rejects.c.source == source)
    if not resolved:
        query = query.where(rejects.c.resolved_at.is_(None))
    for row in connection.execute(query.execution_options(yield_per=AT_ONCE)):
        values = row._mapping  # noqa: SLF001  SQLAlchemy's documented way
        yield Quarantined(**{name: values[name] for name in Quarantined.__dataclass_fields__})


def replay(item: Quarantined) -> Reject | None:
    """The item as today's code rejects it; None when it would be accepted."""
    try:
        stream = PROVIDERS[item.provider].stream(item.stream)
    except KeyError:
        reason = f"this etl knows no {item.stream} of {item.provider}"
        return Reject(external_id=item.external_id, path="", reason=reason, payload=item.payload)
    identity = identify(item.payload, stream)
    if isinstance(identity, Reject):
        return identity
    partition = Partition(parent_id=item.parent_id, parent_key=item.project_key or "")
    record = transform(item.payload, stream, partition)
    return record if isinstance(record, Reject) else None


def drift(connection: Connection, source: str | None, since: datetime | None) -> list[Drift]:
    """All drift first seen since then, by source, stream and path."""
    found = [
        *_noted(connection, source),
        *_vanished(connection, source),
        *_retyped(connection, source),
    ]
    return sorted(
        (one for one in found if since is None or one.first_seen_at >= since),
        key=lambda one: (one.source, one.stream, one.path, one.kind, one.type),
    )


def _noted(connection: Connection, source: str | None) -> Iterator[Drift]:
    """What the runs wrote down while they read."""
    query = select(schema_drift)
    for row in connection.execute(_of(query, schema_drift, source)):
        yield Drift(
            source=row.source,
            provider=row.provider,
            stream=row.stream,
            path=row.path,
            kind=row.type,
            type=row.sample_type,
            first_seen_at=row.first_seen_at,
            last_seen_at=row.last_seen_at,
        )


def _vanished(connection: Connection, source: str | None) -> Iterator[Drift]:
    """Top-level fields that updates took away, and that no live record of the stream has now."""
    old, new = change_fields.c.old_value, change_fields.c.new_value
    query = _changed_fields(old.is_not(None), new.is_(None), _json_type(old))
    for row in connection.execute(_of(query, changes, source)).all():
        if not _is_anywhere(connection, row):
            yield _drift(row, "vanished", row.old_type)


def _retyped(connection: Connection, source: str | None) -> Iterator[Drift]:
    """Top-level fields whose values came to have another JSON type, null aside."""
    old, new = (_json_type(column) for column in (change_fields.c.old_value, _NEW))
    query = _changed_fields(
        change_fields.c.old_value.is_not(None),
        and_(_NEW.is_not(None), old != new, old != "null", new != "null"),
        old,
        new,
    )
    for row in connection.execute(_of(query, changes, source)):
        yield _drift(row, "retyped", f"{row.old_type} to {row.new_type}")


_NEW = change_fields.c.new_value


def _changed_fields(
    before: ColumnElement[bool],
    after: ColumnElement[bool],
    old_type: ColumnElement[str],
    new_type: ColumnElement[str] | None = None,
) -> Select[Any]:
    """Top-level paths of updates with such values, grouped: when, how often, of what types."""
    kind = [old_type.label("old_type")]
    if new_type is not None:
        kind.append(new_type.label("new_type"))
    place = (changes.c.source, changes.c.provider, changes.c.stream, change_fields.c.path)
    return (
        select(
            *place,
            *kind,
            func.count().label("records"),
            func.min(changes.c.observed_at).label("first_seen_at"),
            func.max(changes.c.observed_at).label("last_seen_at"),
        )
        .select_from(change_fields)
        .join(changes, changes.c.change_id == change_fields.c.change_id)
        .where(before, after, *(~change_fields.c.path.contains(mark) for mark in '.["'))
        .group_by(*place, *kind)
    )


def _is_anywhere(connection: Connection, row: Any) -> bool:
    """Whether a live record of the stream still has a value at that top-level path."""
    table = RECORDS[row.stream].current
    value = func.coalesce(cast(table.c.raw[row.path], Text), "null")
    has = exists().where(table.c.source == row.source, ~table.c.is_deleted, value != "null")
    return bool(connection.execute(select(literal(1)).where(has)).first())


def _json_type(column: ColumnElement[Any]) -> ColumnElement[str]:
    """The JSON type of a stored value, told by the first letter of its text."""
    start = func.substr(cast(column, Text), 1, 1)
    named = {'"': "string", "{": "object", "[": "array", "t": "boolean", "f": "boolean"}
    return case(named | {"n": "null"}, value=start, else_="number")


def _of(query: Select[Any], table: Any, source: str | None) -> Select[Any]:
    return query if source is None else query.where(table.c.source == source)


def _drift(row: Any, kind: str, types: str) -> Drift:
    return Drift(
        source=row.source,
        provider=row.provider,
        stream=row.stream,
        path=row.path,
        kind=kind,
        type=types,
        first_seen_at=row.first_seen_at,
        last_seen_at=row.last_seen_at,
        records=row.records,
    )
