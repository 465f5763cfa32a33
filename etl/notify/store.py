"""Open causes of notices in the database: what is there, who was told, and who tells it now."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, and_, column, delete, or_, select, table, update

from etl.db.bulk import upsert
from etl.db.run_tables import notices, runs
from etl.model import RunKind
from etl.notify.alerts import BACKFILL, EVENTS, FAILURE, TELLING, Cause, Findings

CLAIM = timedelta(minutes=10)  # longer than a notice takes to send


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """A cause with its life; told, recovered: the targets that know that it began, and ended."""

    cause: Cause
    first_seen_at: datetime
    last_seen_at: datetime
    notified_at: datetime | None
    ended_at: datetime | None
    told: Sequence[str]
    recovered: Sequence[str]


def note(connection: Connection, source: str, findings: Findings, now: datetime) -> None:
    """The causes that a run found are open, those that it disproved have ended."""
    for cause in findings.there:
        if cause.kind in (FAILURE, BACKFILL):  # another way to fail takes the place of the old one
            other = and_(notices.c.detail != cause.detail, notices.c.kind == cause.kind)
            connection.execute(delete(notices).where(notices.c.source == source, other))
        _open(connection, cause, now)
    for kind, detail in findings.gone:
        this = and_(
            notices.c.kind == kind,
            notices.c.source == source,
            notices.c.detail == detail,
            notices.c.ended_at.is_(None),
        )
        connection.execute(delete(notices).where(this, notices.c.notified_at.is_(None)))
        connection.execute(update(notices).where(this).values(ended_at=now))


def _open(connection: Connection, cause: Cause, now: datetime) -> None:
    known = connection.execute(select(notices).where(_is(cause))).first()
    if known is None:
        row = {
            **asdict(cause),
            "first_seen_at": now,
            "last_seen_at": now,
            "told": [],
            "recovered": [],
        }  # another process may have found it just now
        key = ("kind", "source", "detail")
        upsert(connection, notices, [row], key=key, update=("last_seen_at",))
        return
    again: dict[str, Any] = {"last_seen_at": now, "ended_at": None, "recovered": []}
    told = [target for target in known.told if target not in known.recovered]
    connection.execute(update(notices).where(_is(cause)).values(**again, told=told))


def waiting(connection: Connection, targets: Collection[str]) -> Iterator[Notice]:
    """The notices that some of these targets have not been given yet."""
    for notice in everything(connection):
        given = notice.told if notice.ended_at is None else notice.recovered
        if set(targets) - set(given):
            yield notice


def everything(connection: Connection) -> list[Notice]:
    """All causes, the oldest first."""
    query = select(notices).order_by(notices.c.first_seen_at, notices.c.kind, notices.c.source)
    return [
        Notice(
            cause=Cause(kind=row.kind, source=row.source, detail=row.detail, message=row.message),
            first_seen_at=row.first_seen_at,
            last_seen_at=row.last_seen_at,
            notified_at=row.notified_at,
            ended_at=row.ended_at,
            told=row.told,
            recovered=row.recovered,
        )
        for row in connection.execute(query)
    ]


def claim(connection: Connection, notice: Notice, now: datetime) -> bool:
    """Whether this process tells it now; another one that does so is left alone."""
    until = notices.c.claimed_until  # a later one is of a clock that has gone back since
    free = or_(until.is_(None), until < now, until > now + CLAIM)
    ended = notices.c.ended_at
    same = ended.is_(None) if notice.ended_at is None else ended == notice.ended_at
    taken = update(notices).where(_is(notice.cause), free, same).values(claimed_until=now + CLAIM)
    return connection.execute(taken).rowcount == 1


def given(
    connection: Connection, notice: Notice, done: Collection[str], *, all_done: bool, now: datetime
) -> None:
    """These targets were told; one that is over goes when all were."""
    over = notice.ended_at is not None or notice.cause.kind in EVENTS
    if over and all_done:
        connection.execute(delete(notices).where(_is(notice.cause)))
        return
    values: dict[str, Any] = {"claimed_until": None}
    if notice.ended_at is not None:
        values["recovered"] = [*notice.recovered, *done]
    else:
        values["told"] = [*notice.told, *done]
        values["notified_at"] = notice.notified_at or (now if done else None)
    connection.execute(update(notices).where(_is(notice.cause)).values(**values))


def _is(cause: Cause) -> Any:
    return and_(
        notices.c.kind == cause.kind,
        notices.c.source == cause.source,
        notices.c.detail == cause.detail,
    )


def rotated(connection: Connection, run_id: int) -> list[str]:
    """The SDK and mobile keys that a run saw change, as the report tells them."""
    query = (
        select(_ROTATIONS.c.project_key, _ROTATIONS.c.environment_key, _ROTATIONS.c.kind)
        .where(_ROTATIONS.c.run_id == run_id)
        .order_by(_ROTATIONS.c.change_id, _ROTATIONS.c.kind.desc())
    )
    return [
        f"{project}/{key}: {'apiKey' if kind == 'sdk' else 'mobileKey'}"
        for project, key, kind in connection.execute(query)
    ]


_ROTATIONS = table(
    "key_rotations",
    *map(column, ("project_key", "environment_key", "kind", "run_id", "change_id")),
)


def looked(connection: Connection, run_id: int) -> tuple[datetime, list[tuple[datetime, datetime]]]:
    """Since when a run looked, and the times in which later ones did: what is of then is theirs.

    A plan that was applied looked when it was made.
    """
    this = connection.execute(select(runs).where(runs.c.run_id == run_id)).one()
    query = select(runs.c.started_at, runs.c.finished_at).where(
        runs.c.source == this.source,
        runs.c.kind.in_(TELLING),
        runs.c.started_at > this.started_at,
        runs.c.observed_at.is_not(None),
        runs.c.run_id != run_id,
    )
    began = min(this.started_at, this.observed_at or this.started_at)
    return began, [(row.started_at, row.finished_at) for row in connection.execute(query)]


def first_started(connection: Connection, source: str) -> datetime | None:
    """When a source was run for the first time."""
    query = select(runs.c.started_at).where(runs.c.source == source, runs.c.kind != RunKind.DRY_RUN)
    return connection.execute(query.order_by(runs.c.started_at).limit(1)).scalar()
