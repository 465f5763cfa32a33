"""What the vendors sent that this code could not use, or did not expect. Reads only.

Rejects are items kept aside; drift is what changed in the shape of items that were stored.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, select

from etl.db import large_rows
from etl.db.run_tables import rejects, schema_drift
from etl.db.tables import RECORDS
from etl.model import Reject
from etl.providers import PROVIDERS
from etl.providers.kit import Partition
from etl.transform.canonical import identify, transform
from etl.transform.diff import RETYPED, VANISHED

KINDS = ("added", RETYPED, VANISHED, "new value", "unusable", "one id twice in a page")


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
    """One thing about the shape of a stream's items that is new.

    kind: of KINDS. records: how many showed it, where that is counted.
    last_seen_at, records: None where a moment is looked at and it was seen later too.
    """

    drift_id: int
    source: str
    provider: str
    stream: str
    path: str
    kind: str
    type: str
    first_seen_at: datetime
    last_seen_at: datetime | None
    records: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftAsked:
    """Which drift: first seen from since to until; before: older than the one of that id."""

    source: str | None = None
    kind: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    before: int | None = None


EVERYTHING = DriftAsked()


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
        .select_from(rejects)
        .outerjoin(project, own)
        .order_by(rejects.c.source, rejects.c.stream, rejects.c.parent_id, rejects.c.item)
    )
    if source is not None:
        query = query.where(rejects.c.source == source)
    if not resolved:
        query = query.where(rejects.c.resolved_at.is_(None))
    for row in large_rows.rows(connection, query, rejects.c.payload):
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


def drift(
    connection: Connection, asked: DriftAsked = EVERYTHING, *, most: int | None = None
) -> tuple[list[Drift], int | None]:
    """The newest drift first; and where to go on. What came after `until` is not told."""
    table = schema_drift
    query = select(table).order_by(table.c.drift_id.desc())
    for column, value in ((table.c.source, asked.source), (table.c.type, asked.kind)):
        if value is not None:
            query = query.where(column == value)
    if asked.since is not None:
        query = query.where(table.c.first_seen_at >= asked.since)
    if asked.until is not None:
        query = query.where(table.c.first_seen_at <= asked.until)
    if asked.before is not None:
        query = query.where(table.c.drift_id < asked.before)
    found = connection.execute(query if most is None else query.limit(most + 1)).all()
    told = [_drift(row, asked.until) for row in found[:most]]
    return told, told[-1].drift_id if len(found) > len(told) else None


def _drift(row: Any, until: datetime | None) -> Drift:
    later = until is not None and row.last_seen_at > until
    return Drift(
        drift_id=row.drift_id,
        source=row.source,
        provider=row.provider,
        stream=row.stream,
        path=row.path,
        kind=row.type,
        type=row.sample_type,
        first_seen_at=row.first_seen_at,
        last_seen_at=None if later else row.last_seen_at,
        records=None if later else row.records,
    )
