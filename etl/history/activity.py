"""Runs and rejects in pages and by time, for the web console. Reads only."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Text,
    and_,
    case,
    cast,
    func,
    or_,
    select,
)

from etl.db.run_tables import COUNTS, rejects, run_streams, runs
from etl.model import Operation, RunKind

Rows = Sequence[Any]

PAGE = 50
OPERATIONS = tuple(Operation)


def run_page(
    connection: Connection,
    *,
    source: str | None = None,
    status: str | None = None,
    until: datetime | None = None,
    before: int | None = None,
    most: int = PAGE,
) -> tuple[Rows, int | None]:
    """The newest runs older than that one, newest first; and where to go on."""
    query = select(runs).order_by(runs.c.run_id.desc()).limit(most + 1)
    for column, value in ((runs.c.source, source), (runs.c.status, status)):
        if value is not None:
            query = query.where(column == value)
    if until is not None:
        query = query.where(runs.c.started_at <= until)
    if before is not None:
        query = query.where(runs.c.run_id < before)
    found = connection.execute(query).all()
    return found[:most], found[most - 1].run_id if len(found) > most else None


def has_run(connection: Connection, run_id: int) -> bool:
    """Whether there is a run of that number."""
    query = select(runs.c.run_id).where(runs.c.run_id == run_id)
    return connection.execute(query).first() is not None


def sums(connection: Connection, run_ids: Sequence[int]) -> Mapping[int, Any]:
    """Run -> its counts over all streams."""
    names = ("requests", *COUNTS)
    summed = (cast(func.sum(run_streams.c[name]), BigInteger).label(name) for name in names)
    query = (
        select(run_streams.c.run_id, *summed)
        .where(run_streams.c.run_id.in_(run_ids), run_streams.c.parent_id == "")
        .group_by(run_streams.c.run_id)
    )
    return {row.run_id: row for row in connection.execute(query)}


def last_complete(connection: Connection, until: datetime | None) -> Mapping[tuple[str, str], int]:
    """(source, stream) -> how many records the last complete walk of it saw."""
    asked = [] if until is None else [runs.c.observed_at <= until]
    last = (
        select(runs.c.source, run_streams.c.stream, func.max(runs.c.run_id).label("run_id"))
        .join(run_streams, run_streams.c.run_id == runs.c.run_id)
        .where(
            run_streams.c.complete,
            run_streams.c.parent_id == "",
            runs.c.observed_at.is_not(None),
            runs.c.kind != RunKind.DRY_RUN,
            *asked,
        )
        .group_by(runs.c.source, run_streams.c.stream)
        .subquery()
    )
    query = select(last.c.source, last.c.stream, run_streams.c.received).join(
        run_streams,
        and_(
            run_streams.c.run_id == last.c.run_id,
            run_streams.c.stream == last.c.stream,
            run_streams.c.parent_id == "",
        ),
    )
    return {(row.source, row.stream): row.received for row in connection.execute(query)}


def span(connection: Connection, until: datetime | None) -> tuple[datetime, datetime] | None:
    """When the first and the last run began; None when there was none."""
    asked = [] if until is None else [runs.c.started_at <= until]
    query = select(func.min(runs.c.started_at), func.max(runs.c.started_at)).where(*asked)
    first, last = connection.execute(query).one()
    return None if first is None else (first, last)


def runs_by_time(connection: Connection, begin: datetime, end: datetime, letters: int) -> Rows:
    """How many runs ended how in each piece of time, named by the first letters of its ISO text."""
    when = _piece(letters)
    query = (
        select(when, runs.c.status, func.count().label("number"))
        .where(runs.c.started_at >= begin, runs.c.started_at <= end, runs.c.kind != RunKind.DRY_RUN)
        .group_by(when, runs.c.status)
    )
    return connection.execute(query).all()


def changes_by_time(connection: Connection, begin: datetime, end: datetime, letters: int) -> Rows:
    """What the runs of each piece of time changed; from their counts, so without the changes."""
    when = _piece(letters)
    summed = (cast(func.sum(run_streams.c[name]), BigInteger).label(name) for name in OPERATIONS)
    query = (
        select(when, *summed)
        .join(run_streams, run_streams.c.run_id == runs.c.run_id)
        .where(runs.c.started_at >= begin, runs.c.started_at <= end, run_streams.c.parent_id == "")
        .where(runs.c.kind != RunKind.DRY_RUN, runs.c.observed_at.is_not(None))
        .group_by(when)
    )
    return connection.execute(query).all()


def _piece(letters: int) -> ColumnElement[str]:
    """Both databases write a time as ISO text in UTC."""
    return func.substr(cast(runs.c.started_at, Text), 1, letters).label("piece")


def reject_page(
    connection: Connection,
    *,
    source: str | None = None,
    state: str = "open",
    until: datetime | None = None,
    before: int | None = None,
    most: int = PAGE,
) -> tuple[Rows, int | None]:
    """The newest rejects that are, or at a moment were, open or resolved; and where to go on."""
    query = select(rejects).order_by(rejects.c.reject_id.desc()).limit(most + 1)
    resolved = rejects.c.resolved_at
    if until is not None:
        query = query.where(rejects.c.first_seen_at <= until)
    if state == "open":
        still = resolved.is_(None)
        query = query.where(still if until is None else or_(still, resolved > until))
    if source is not None:
        query = query.where(rejects.c.source == source)
    if before is not None:
        query = query.where(rejects.c.reject_id < before)
    found = connection.execute(query).all()
    return found[:most], found[most - 1].reject_id if len(found) > most else None


def open_rejects(connection: Connection, until: datetime | None) -> int:
    """How many items wait, or waited at a moment."""
    resolved = rejects.c.resolved_at
    waits: ColumnElement[bool] = resolved.is_(None)
    if until is not None:
        waits = and_(rejects.c.first_seen_at <= until, or_(waits, resolved > until))
    query = select(func.count(case((waits, 1))))
    return connection.execute(query.select_from(rejects)).scalar_one()
