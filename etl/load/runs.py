"""Runs and leases: who is running, what ended how, and which run may be gone on with."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, delete, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from etl.db.bulk import parts
from etl.db.engine import told
from etl.db.run_tables import leases, rejects, run_streams, runs
from etl.errors import FAILED, TRY_AGAIN, LeaseLost, RunInProgress
from etl.load.staging import RunKey, clear
from etl.model import RunKind, RunReport, RunStatus, StreamReport

LEASE = timedelta(minutes=15)  # longer than one request with all its retries and waits
RESUMABLE = (RunStatus.RUNNING, RunStatus.PARKED, RunStatus.DENIED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """The process that runs a source; its start tells it from a later one with the same pid."""

    token: str
    host: str
    pid: int
    process_started: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenRun:
    """A run that is going on; attempts > 1 when it goes on from an earlier process.

    identity: whose the key is, where an earlier process has asked already.
    """

    key: RunKey
    attempts: int
    started_at: datetime
    identity: str | None = None


def acquire(
    connection: Connection,
    source: str,
    holder: Holder,
    now: datetime,
    alive: Any,
    *,
    kind: str = RunKind.SYNC,
) -> datetime:
    """Takes the lease of a source; RunInProgress when a live holder has it.

    -> when the holder before renewed it last, `now` when there was none.

    A backfill makes way for everything else: its lease is taken, and its run parked where it is.
    alive: a Holder -> whether that process still runs (None: it is on another host).
    """
    with told(f"another process that has the lease of {source} in hand"):
        row = connection.execute(
            select(leases).where(leases.c.source == source).with_for_update()
        ).first()
    renewed = now
    if row is not None:
        renewed = min(now, row.expires_at - LEASE)
        old = Holder(
            token=row.token, host=row.host, pid=row.pid, process_started=row.process_started
        )
        makes_way = row.kind == RunKind.BACKFILL != kind
        # an expired lease of a live holder is taken too: the token keeps it from writing
        if alive(old) is not False and row.expires_at > now and not makes_way:
            doing = "backfilled" if row.kind == RunKind.BACKFILL else "synced"
            raise RunInProgress(
                f"{source} is being {doing} by process {old.pid} on {old.host}; "
                f"wait for it, or until its lease ends at {row.expires_at:%H:%M:%S}Z"
            )
        connection.execute(delete(leases).where(leases.c.source == source))
        if makes_way:
            _park_backfills(connection, source, now)
    lease = {f.name: getattr(holder, f.name) for f in fields(holder)}
    try:
        with told(f"another process that takes the lease of {source}"):
            connection.execute(
                insert(leases).values(source=source, kind=kind, **lease, expires_at=now + LEASE)
            )
    except IntegrityError as error:  # on Postgres two may find no lease, and one waits here
        raise RunInProgress(f"{source} is being synced by a run that began just now") from error
    return renewed


def renew(connection: Connection, source: str, holder: Holder, now: datetime) -> None:
    """Proves that the lease is still held, and holds it longer; LeaseLost when it was lost."""
    held = connection.execute(
        update(leases)
        .where(leases.c.source == source, leases.c.token == holder.token)
        .values(expires_at=now + LEASE)
    )
    if held.rowcount != 1:
        raise LeaseLost(
            f"the lease of {source} was taken over by another run; this one writes nothing more"
        )


def bound_lease(connection: Connection, source: str, now: datetime) -> None:
    """A lease that a clock gave which has gone back since does not hold for longer than any other.

    A holder that lives renews it.
    """
    connection.execute(
        update(leases)
        .where(leases.c.source == source, leases.c.expires_at > now + LEASE)
        .values(expires_at=now + LEASE)
    )


def release(connection: Connection, source: str, holder: Holder) -> None:
    """Gives the lease back."""
    connection.execute(
        delete(leases).where(leases.c.source == source, leases.c.token == holder.token)
    )


def open_run(
    connection: Connection,
    run: dict[str, Any],
    *,
    now: datetime,
    resume_within: timedelta,
    renewed: datetime | None = None,
) -> OpenRun:
    """The source's unended run of the same scope, resumed, or a new one.

    Unended runs of another scope, or too old ones, are abandoned; not by a dry run, which abandons
    only other dry runs. Backfills and other runs leave each other alone, and a backfill those of
    another scope too.
    run: source, provider, kind, scope, etl_version. renewed: when the lease that was there before
    was renewed last; a run that died had come so far.
    """
    _forget_reads(connection, run["source"], now)
    rivals = connection.execute(
        select(runs)
        .where(runs.c.source == run["source"], unended(), _rivals(run))
        .order_by(runs.c.run_id.desc())
    ).all()
    resumed: OpenRun | None = None
    for row in rivals:
        fresh = now - row.started_at <= resume_within
        if resumed is None and fresh and row.scope == run["scope"]:
            resumed = _resume(connection, row, now)
        elif run["kind"] != RunKind.DRY_RUN or row.kind == RunKind.DRY_RUN:
            died_at = None if renewed is None else max(row.started_at, renewed)
            abandon(connection, row.run_id, now, died_at=died_at)
    if resumed is not None:
        return resumed
    made = connection.execute(
        insert(runs).values(**run, status=RunStatus.RUNNING, attempts=1, started_at=now)
    )
    key = made.inserted_primary_key
    return OpenRun(
        key=RunKey(
            run_id=int(key[0]) if key else 0, source=run["source"], provider=run["provider"]
        ),
        attempts=1,
        started_at=now,
    )


def unended() -> ColumnElement[bool]:
    """The runs that may be resumed."""
    return and_(runs.c.status.in_(RESUMABLE), runs.c.abandoned_at.is_(None))


def abandon(
    connection: Connection, run_id: int, now: datetime, *, died_at: datetime | None = None
) -> None:
    """A run is not resumed any more; how it ended stays as it is, and what it staged is dropped.

    One that did not end by itself was killed: it is aborted. died_at: when it was last alive.
    """
    this = runs.c.run_id == run_id
    connection.execute(update(runs).where(this).values(abandoned_at=now))
    connection.execute(
        update(runs)
        .where(this, runs.c.status == RunStatus.RUNNING)
        .values(status=RunStatus.ABORTED, finished_at=func.coalesce(died_at, now))
    )
    clear(connection, run_id)


def _forget_reads(connection: Connection, source: str, now: datetime) -> None:
    """When a clock that was ahead read something, nobody knows: it says nothing of freshness.

    Not even that it was before `now`, as what changed between may never have been read.
    """
    ahead = select(runs.c.run_id).where(runs.c.source == source, runs.c.finished_at > now)
    connection.execute(
        update(run_streams)
        .where(run_streams.c.run_id.in_(ahead), run_streams.c.oldest_read_at > now)
        .values(oldest_read_at=None)
    )


def _rivals(run: dict[str, Any]) -> ColumnElement[bool]:
    """The unended runs that a run of this kind and scope goes on with, or ends."""
    if run["kind"] == RunKind.BACKFILL:
        return and_(runs.c.kind == RunKind.BACKFILL, runs.c.scope == run["scope"])
    return runs.c.kind != RunKind.BACKFILL


def _park_backfills(connection: Connection, source: str, now: datetime) -> None:
    """What a backfill has stored waits for it; without the lease it cannot say so itself."""
    running = (
        runs.c.source == source,
        runs.c.kind == RunKind.BACKFILL,
        runs.c.status == RunStatus.RUNNING,
    )
    connection.execute(
        update(runs)
        .where(*running)
        .values(
            status=RunStatus.PARKED,
            finished_at=now,
            exit_code=TRY_AGAIN,
            error="made way for another run",
        )
    )


def know_identity(connection: Connection, run_id: int, identity: str) -> None:
    """Whose the key is, as soon as it is known: a process that goes on need not ask again."""
    connection.execute(update(runs).where(runs.c.run_id == run_id).values(identity=identity))


def merge_time(connection: Connection, source: str, now: datetime) -> datetime:
    """The instant of this merge: now, but later than every earlier one, whatever the clock did."""
    last = connection.execute(
        select(func.max(runs.c.observed_at)).where(runs.c.source == source)
    ).scalar()
    return now if last is None else max(now, last + timedelta(microseconds=1))


def abort(connection: Connection, run_id: int, now: datetime) -> None:
    """A run that will not be resumed, and did not end by itself, is closed."""
    connection.execute(
        update(runs)
        .where(runs.c.run_id == run_id, runs.c.status == RunStatus.RUNNING)
        .values(status=RunStatus.ABORTED, finished_at=now)
    )


def break_off(connection: Connection, run_id: int, why: str, now: datetime) -> None:
    """A run that the database broke off is parked where it was, with the reason."""
    connection.execute(
        update(runs)
        .where(runs.c.run_id == run_id, runs.c.status == RunStatus.RUNNING)
        .values(status=RunStatus.PARKED, finished_at=now, exit_code=FAILED, error=why)
    )


def record_failure(connection: Connection, report: RunReport, etl_version: str) -> None:
    """A run that could not even begin; nothing where one of its source has been there since."""
    since = select(runs.c.run_id).where(
        runs.c.source == report.source,
        or_(runs.c.started_at >= report.started_at, runs.c.finished_at >= report.started_at),
    )
    if connection.execute(since.limit(1)).first() is None:
        connection.execute(
            insert(runs).values(
                source=report.source,
                provider=report.provider,
                kind=report.kind,
                status=RunStatus.FAILED,
                scope="",
                attempts=1,
                started_at=report.started_at,
                finished_at=report.finished_at,
                exit_code=report.exit_code,
                error=report.error,
                notes=[],
                etl_version=etl_version,
            )
        )


def observed(connection: Connection, source: str) -> set[datetime]:
    """The moments at which something of a source was observed."""
    query = select(runs.c.observed_at).where(
        runs.c.source == source, runs.c.observed_at.is_not(None)
    )
    return set(connection.execute(query).scalars())


def close_run(connection: Connection, report: RunReport, *, observed_at: datetime | None) -> None:
    """Writes how a run ended; its streams and the partitions that had something to say."""
    connection.execute(
        update(runs)
        .where(runs.c.run_id == report.run_id)
        .values(
            status=report.status,
            finished_at=report.finished_at,
            observed_at=observed_at,
            retry_at=report.retry_at,
            exit_code=report.exit_code,
            error=report.error,
            notes=list(report.notes),
            identity=report.identity,
            attempts=report.attempts,
        )
    )
    connection.execute(delete(run_streams).where(run_streams.c.run_id == report.run_id))
    for part in parts((*report.streams, *report.partitions)):  # there may be very many
        rows = [{"run_id": report.run_id, **_values(stream)} for stream in part]
        connection.execute(insert(run_streams), rows)


def resolve_rejects(
    connection: Connection, run: RunKey, streams: Sequence[str], now: datetime
) -> None:
    """Rejects of completely walked streams that did not come again are resolved."""
    connection.execute(
        update(rejects)
        .where(
            rejects.c.source == run.source,
            rejects.c.stream.in_(streams),
            rejects.c.run_id != run.run_id,
            rejects.c.resolved_at.is_(None),
        )
        .values(resolved_at=now)
    )


def _resume(connection: Connection, row: Any, now: datetime) -> OpenRun:
    started_at = min(row.started_at, now)  # by a clock that was ahead
    connection.execute(
        update(runs)
        .where(runs.c.run_id == row.run_id)
        .values(status=RunStatus.RUNNING, attempts=row.attempts + 1, started_at=started_at, **_OPEN)
    )
    return OpenRun(
        key=RunKey(run_id=row.run_id, source=row.source, provider=row.provider),
        attempts=row.attempts + 1,
        started_at=started_at,
        identity=row.identity,
    )


_OPEN: dict[str, Any] = dict.fromkeys(("finished_at", "exit_code", "error", "retry_at"))


def _values(report: StreamReport) -> dict[str, Any]:
    return {field.name: getattr(report, field.name) for field in fields(report)}
