"""What may go: old runs that nothing rests on, resolved rejects, and, when asked, old history.

A current row is never touched. Of history closed versions go, with the events that began them, when
they ended before the horizon; the horizon is kept, so that the past before it is not told wrongly.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, delete, exists, func, select, true

from etl.db.bulk import parts, upsert
from etl.db.run_tables import horizons, leases, rejects, run_streams, runs
from etl.db.tables import RECORDS, RecordTables, change_fields, changes
from etl.db.types import metadata
from etl.history.runs import usual
from etl.load.runs import abandon, unended
from etl.model import RunKind


@dataclass(frozen=True, slots=True, kw_only=True)
class PrunedRows:
    """How many rows went; aborted: unended runs that nobody goes on with, with their ledgers."""

    runs: int = 0
    aborted: int = 0
    rejects: int = 0
    versions: int = 0
    changes: int = 0


def prune(
    connection: Connection,
    *,
    now: datetime,
    runs_before: datetime | None,
    history_before: datetime | None,
) -> PrunedRows:
    """Takes away what is older than these moments; None: nothing of it. The caller commits."""
    versions = events = aborted = gone = resolved = 0
    if history_before is not None:
        versions, events = _prune_history(connection, history_before)
    if runs_before is not None:
        aborted = _abandon(connection, runs_before, now)
        old = and_(rejects.c.resolved_at.is_not(None), rejects.c.resolved_at < runs_before)
        resolved = connection.execute(delete(rejects).where(old)).rowcount
        gone = _prune_runs(connection, runs_before, now)
    return PrunedRows(
        runs=gone, aborted=aborted, rejects=resolved, versions=versions, changes=events
    )


def known_since(connection: Connection) -> dict[str, datetime]:
    """Source -> the moment before which its history was pruned."""
    return {row.source: row.known_since for row in connection.execute(select(horizons))}


def _prune_history(connection: Connection, before: datetime) -> tuple[int, int]:
    versions = events = 0
    sources: set[str] = set()
    for tables in RECORDS.values():
        old = tables.history.c.valid_to <= before
        sources |= set(connection.execute(select(tables.history.c.source).where(old)).scalars())
        events += _delete_events(connection, tables, old)
        versions += connection.execute(delete(tables.history).where(old)).rowcount
    known = known_since(connection)
    rows = [
        {"source": name, "known_since": max(before, known.get(name, before))}
        for name in sorted(sources)
    ]
    upsert(connection, horizons, rows, key=("source",), update=("known_since",))
    return versions, events


def _delete_events(connection: Connection, tables: RecordTables, old: Any) -> int:
    """The events of these versions, with their fields."""
    history = tables.history
    of_them = exists().where(
        changes.c.stream == tables.stream,
        history.c[tables.id] == changes.c.record_id,
        history.c.version == changes.c.version,
        old,
    )
    ids = select(changes.c.change_id).where(of_them)
    connection.execute(delete(change_fields).where(change_fields.c.change_id.in_(ids)))
    return connection.execute(delete(changes).where(of_them)).rowcount


def _abandon(connection: Connection, before: datetime, now: datetime) -> int:
    """Abandons unended runs that are too old to be resumed, with what they staged."""
    held = exists().where(leases.c.source == runs.c.source, leases.c.expires_at > now)
    stale = and_(unended(), runs.c.started_at < before, ~held)
    found = connection.execute(select(runs.c.run_id).where(stale)).scalars().all()
    for run_id in found:
        abandon(connection, run_id, now)
    return len(found)


def _prune_runs(connection: Connection, before: datetime, now: datetime) -> int:
    """Ended runs that no row refers to, and from which nothing is told of today."""
    old = and_(
        runs.c.started_at < before,
        ~unended(),
        *(runs.c.run_id.not_in(select(column)) for column in _references()),
    )
    candidates = set(connection.execute(select(runs.c.run_id).where(old)).scalars())
    gone = sorted(candidates - _telling(connection, now))
    for part in parts(gone):
        connection.execute(delete(run_streams).where(run_streams.c.run_id.in_(part)))
        connection.execute(delete(runs).where(runs.c.run_id.in_(part)))
    return len(gone)


def _references() -> Sequence[Any]:
    """Every column that names a run, but the run's own rows."""
    return [
        key.parent
        for table in metadata.sorted_tables
        for key in table.foreign_keys
        if key.column is runs.c.run_id and table is not run_streams
    ]


def _telling(connection: Connection, now: datetime) -> set[int]:
    """Of each source its first and last merge and last run, of each stream its last complete."""
    merged = runs.c.observed_at.is_not(None)
    real = runs.c.kind != RunKind.DRY_RUN
    whole = and_(merged, real, run_streams.c.complete, run_streams.c.parent_id == "")
    source, stream = (runs.c.source,), (runs.c.source, run_streams.c.stream)
    newest = [
        select(func.max(runs.c.run_id)).where(condition).group_by(*source)
        for condition in (true(), merged, usual())
    ]
    newest.append(select(func.max(runs.c.run_id)).join(run_streams).where(real).group_by(*stream))
    kept = {run_id for query in newest for run_id in connection.execute(query).scalars()}
    for moment, per, condition in (
        (func.min(runs.c.observed_at), select(*source), merged),
        (func.max(runs.c.observed_at), select(*source), merged),
        (func.max(runs.c.observed_at), select(*stream).join(run_streams), whole),
    ):
        told = per.add_columns(moment.label("moment")).where(condition)
        last = told.group_by(*per.selected_columns).subquery()
        same = and_(runs.c.source == last.c.source, runs.c.observed_at == last.c.moment)
        kept |= set(connection.execute(select(runs.c.run_id).join(last, same)).scalars())
    return kept | set(connection.execute(_freshest(whole, now)).scalars())


def _freshest(whole: ColumnElement[bool], now: datetime) -> Select[Any]:
    """The runs that say how fresh each stream is."""
    read = run_streams.c.oldest_read_at
    known = select(runs.c.source, run_streams.c.stream, func.max(read).label("moment"))
    known = known.join_from(runs, run_streams).where(whole, read <= now)
    last = known.group_by(runs.c.source, run_streams.c.stream).subquery()
    same = and_(
        runs.c.source == last.c.source,
        run_streams.c.stream == last.c.stream,
        read == last.c.moment,
    )
    return select(runs.c.run_id).join_from(runs, run_streams).join(last, same).where(whole)
