"""The values of an evidence report: changes, how completely all was read, what ran. Reads only."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby, islice
from operator import attrgetter
from typing import Any

from sqlalchemy import BigInteger, Connection, Select, and_, case, cast, func, or_, select

from etl.db.run_tables import run_streams, runs
from etl.db.tables import changes
from etl.formatting import count, time
from etl.history.retention import known_since
from etl.history.runs import Filter, change_feed
from etl.model import Operation, RunKind, RunStatus
from etl.reports.evidence import OPERATIONS, Completeness, Count, Event, Evidence, RunFacts
from etl.transform.diff import FieldChange

MAX_EVENTS = 2000  # that are told one by one
MAX_RUNS = 200
MAX_GAPS = 200  # of a run


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceQuery:
    """Of which time, source or run; stream narrows the changes and their proofs."""

    begin: datetime
    end: datetime
    source: str | None = None
    stream: str | None = None
    run_id: int | None = None

    def changes(self, *operations: str) -> Filter:
        """Which changes that are."""
        return Filter(
            since=self.begin,
            until=self.end,
            source=self.source,
            stream=self.stream,
            run_id=self.run_id,
            operations=operations,
        )


def gather(
    connection: Connection, asked: EvidenceQuery, *, title: str, made_at: datetime, version: str
) -> Evidence:
    """All that a report tells."""
    found, (telling_runs, bad_runs, all_runs) = ran(connection, asked)
    return Evidence(
        title=title,
        begin=asked.begin,
        end=asked.end,
        made_at=made_at,
        version=version,
        asked={} if asked.run_id is not None else {"source": asked.source, "stream": asked.stream},
        notes=not_known(connection, asked),
        counts=counts(connection, asked),
        edits=events(connection, asked, Operation.UPDATED, Operation.RESTORED),
        deletions=events(connection, asked, Operation.DELETED),
        creations=events(connection, asked, Operation.CREATED),
        completeness=completeness(connection, asked),
        runs=found,
        telling_runs=telling_runs,
        bad_runs=bad_runs,
        all_runs=all_runs,
    )


def not_known(connection: Connection, asked: EvidenceQuery) -> list[str]:
    """Of which source the history of that time was pruned."""
    return [
        f"The changes of {name} before {time(moment)} were pruned."
        for name, moment in sorted(known_since(connection).items())
        if asked.source in (None, name) and asked.begin < moment
    ]


def counts(connection: Connection, asked: EvidenceQuery) -> list[Count]:
    """All changes, counted."""
    names = ("observed_at", "source", "stream", "actor", "operation")
    columns = [changes.c[name] for name in names]
    query = asked.changes().on(select(*columns, func.count().label("count")))
    found = connection.execute(query.group_by(*columns).order_by(changes.c.observed_at))
    return [Count(**row._mapping) for row in found]  # noqa: SLF001  SQLAlchemy's documented way


def events(connection: Connection, asked: EvidenceQuery, *operations: str) -> list[Event]:
    """The first changes of these kinds, with their fields."""
    wanted = asked.changes(*operations)
    proofs = _proofs(connection, wanted)
    with closing(change_feed(connection, wanted)) as feed:
        groups = groupby(feed, key=attrgetter("change_id"))
        return [_event(list(fields), proofs) for _, fields in islice(groups, MAX_EVENTS)]


def _event(told: Sequence[Any], proofs: dict[tuple[int, str], str | None]) -> Event:
    first = told[0]
    names = ("change_id", "run_id", "observed_at", "source", "stream", "project_key", "key")
    more = ("operation", "actor", "reason", "provider_updated_at")
    return Event(
        **{name: getattr(first, name) for name in (*names, *more)},
        proof=proofs.get((first.run_id, first.stream)),
        fields=[FieldChange(one.path, one.old, one.new) for one in told if one.path is not None],
    )


def _proofs(connection: Connection, wanted: Filter) -> dict[tuple[int, str], str | None]:
    ran = wanted.on(select(changes.c.run_id)).distinct()
    query = select(run_streams.c.run_id, run_streams.c.stream, run_streams.c.proof).where(
        run_streams.c.parent_id == "", run_streams.c.run_id.in_(ran)
    )
    return {(row.run_id, row.stream): row.proof for row in connection.execute(query)}


def completeness(connection: Connection, asked: EvidenceQuery) -> list[Completeness]:
    """How each stream was read in that time."""
    whole = and_(run_streams.c.complete, runs.c.observed_at.is_not(None))
    sums = (
        select(
            *(runs.c.source, run_streams.c.stream, func.count().label("runs")),
            func.sum(case((whole, 1), else_=0)).label("complete"),
            func.max(case((whole, run_streams.c.oldest_read_at))).label("last_complete_at"),
            func.max(runs.c.run_id).label("last_run"),
        )
        .join(run_streams, run_streams.c.run_id == runs.c.run_id)
        .where(run_streams.c.parent_id == "", *_ran(asked))
        .group_by(runs.c.source, run_streams.c.stream)
    )
    if asked.stream is not None:
        sums = sums.where(run_streams.c.stream == asked.stream)
    each = sums.subquery()
    query = (
        select(each, run_streams.c.proof, run_streams.c.incomplete_reason)
        .join(
            run_streams,
            and_(
                run_streams.c.run_id == each.c.last_run,
                run_streams.c.stream == each.c.stream,
                run_streams.c.parent_id == "",
            ),
        )
        .order_by(each.c.source, each.c.stream)
    )
    return [
        Completeness(
            source=row.source,
            stream=row.stream,
            runs=row.runs,
            complete=int(row.complete),
            last_complete_at=row.last_complete_at,
            proof=row.proof,
            incomplete_reason=row.incomplete_reason,
        )
        for row in connection.execute(query)
    ]


def ran(
    connection: Connection, asked: EvidenceQuery, *, most: int = MAX_RUNS
) -> tuple[list[RunFacts], tuple[int, int, int]]:
    """The newest runs that have something to tell; how many those are, how many not whole, all."""
    sums = _sums().subquery()
    told = or_(sums.c.changed > 0, runs.c.status != RunStatus.OK, sums.c.incomplete > 0)
    query = select(runs, sums).outerjoin(sums, sums.c.of_run == runs.c.run_id).where(*_ran(asked))
    if asked.run_id is None:
        query = query.where(told)
    found = connection.execute(query.order_by(runs.c.run_id.desc()).limit(most)).all()
    every = connection.execute(select(func.count()).select_from(runs).where(*_ran(asked)))
    telling = connection.execute(select(func.count()).select_from(query.subquery()))
    not_whole = or_(runs.c.status != RunStatus.OK, func.coalesce(sums.c.incomplete, 1) != 0)
    bad = connection.execute(select(func.count()).select_from(query.where(not_whole).subquery()))
    facts = [_run(connection, row) for row in found]
    return facts, (int(telling.scalar_one()), int(bad.scalar_one()), int(every.scalar_one()))


def _sums() -> Select[Any]:
    """What each run did, over its streams; Postgres sums bigints to a numeric."""
    names = ("requests", "received", *OPERATIONS)
    added = [cast(func.sum(run_streams.c[name]), BigInteger).label(name) for name in names]
    changed = sum((run_streams.c[name] for name in OPERATIONS[1:]), run_streams.c.created)
    missed = case((run_streams.c.complete, 0), else_=1)
    return (
        select(
            *(run_streams.c.run_id.label("of_run"), *added),
            cast(func.sum(changed), BigInteger).label("changed"),
            func.sum(missed).label("incomplete"),
        )
        .where(run_streams.c.parent_id == "")
        .group_by(run_streams.c.run_id)
    )


def _run(connection: Connection, row: Any) -> RunFacts:
    return RunFacts(
        run_id=row.run_id,
        source=row.source,
        status=row.status,
        started_at=row.started_at,
        finished_at=row.finished_at,
        requests=row.requests or 0,
        received=row.received or 0,
        changed={name: count for name in OPERATIONS if (count := getattr(row, name))},
        complete=row.incomplete == 0,
        remarks=[text for text in (row.error, *(row.notes or ()), *_gaps(connection, row)) if text],
    )


def _gaps(connection: Connection, row: Any) -> Iterator[str]:
    """Why its streams, or lists of them, are not known to be complete."""
    if not row.incomplete:
        return
    query = select(run_streams).where(run_streams.c.run_id == row.run_id, ~run_streams.c.complete)
    order = (run_streams.c.stream, run_streams.c.parent_key)
    for found in connection.execute(query.order_by(*order).limit(MAX_GAPS)):
        of = f" of {found.parent_key}" if found.parent_key else ""
        yield f"{found.stream}{of}: {found.incomplete_reason or found.status}"
    every = select(func.count()).select_from(query.subquery())
    more = int(connection.execute(every).scalar_one()) - MAX_GAPS
    if more > 0:
        told = f"`etl show {row.run_id} --partitions` tells all"
        yield f"and {count(more, 'more list')} not seen to the end; {told}"


def _ran(asked: EvidenceQuery) -> list[Any]:
    """Conditions: the runs of that time, dry ones left out."""
    if asked.run_id is not None:
        return [runs.c.run_id == asked.run_id]
    at = func.coalesce(runs.c.observed_at, runs.c.started_at)
    conditions = [at >= asked.begin, at <= asked.end, runs.c.kind != RunKind.DRY_RUN]
    return conditions if asked.source is None else [*conditions, runs.c.source == asked.source]
