"""The stored past of a source, moment by moment, as its runs observed it. Reads only."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from heapq import merge
from itertools import groupby
from operator import attrgetter
from typing import Any

from sqlalchemy import Connection, and_, literal, select

from etl.db import large_rows
from etl.db.tables import RECORDS, RecordTables, changes


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """What one run observed: rows with stream, parent_id, raw and its size, content_hash,
    is_deleted, reason.

    versions: the projects' first; they are to be read before the next moment is asked for.
    """

    run_id: int
    at: datetime
    versions: Iterator[Any]


def moments(connection: Connection, source: str) -> Iterator[Moment]:
    """Every moment at which something of a source changed, the first one first."""
    parts = (
        part(connection, source, tables)
        for tables in RECORDS.values()
        for part in (_versions, _closed_versions)
    )
    found = merge(*parts, key=attrgetter("at"))
    for (at, run_id), versions in groupby(found, attrgetter("at", "run_id")):
        yield Moment(run_id=run_id, at=at, versions=versions)


def lacking(connection: Connection, source: str) -> datetime | None:
    """When the first version of a record was, of which earlier ones were pruned; None: of none."""
    for tables in RECORDS.values():
        current, history = tables.current, tables.history
        first = select(history.c[tables.id]).where(history.c.version == 1)
        query = (
            select(current.c.changed_at)
            .where(current.c.source == source, current.c.version > 1)
            .where(current.c[tables.id].not_in(first))
            .order_by(current.c.changed_at)
        )
        found: datetime | None = connection.execute(query.limit(1)).scalar()
        if found is not None:
            return found
    return None


def _versions(connection: Connection, source: str, tables: RecordTables) -> Iterator[Any]:
    return _ordered(connection, source, tables, tables.current, tables.current.c.changed_at)


def _closed_versions(connection: Connection, source: str, tables: RecordTables) -> Iterator[Any]:
    return _ordered(connection, source, tables, tables.history, tables.history.c.valid_from)


def _ordered(
    connection: Connection, source: str, tables: RecordTables, table: Any, at: Any
) -> Iterator[Any]:
    event = and_(
        changes.c.stream == tables.stream,
        changes.c.record_id == table.c[tables.id],
        changes.c.version == table.c.version,
    )
    query = (
        select(
            literal(tables.stream).label("stream"),
            at.label("at"),
            *(table.c[name] for name in ("run_id", "parent_id", "is_deleted", "content_hash")),
            table.c.raw,
            large_rows.size_of(connection, table.c.raw).label("size"),
            changes.c.reason,
        )
        .select_from(table)
        .outerjoin(changes, event)
        .where(table.c.source == source)
        .order_by(at, table.c[tables.id])
    )
    return large_rows.rows(connection, query, table.c.raw)
