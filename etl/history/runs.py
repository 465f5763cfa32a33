"""Queries on runs, freshness and changes, for commands, notifications and metrics. Reads only."""

import json
import unicodedata
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    Text,
    and_,
    case,
    cast,
    func,
    or_,
    select,
)
from sqlalchemy import Row as SqlRow

from etl.db import large_rows
from etl.db.run_tables import run_streams, runs
from etl.db.tables import RECORDS, change_fields, changes
from etl.errors import ConfigError
from etl.model import RunKind, RunStatus
from etl.transform.diff import MISSING

Rows = Sequence[SqlRow[Any]]

STREAMS = tuple(RECORDS)
MAX_KEYS = 20_000

CLOCK_DIFFERENCE = timedelta(minutes=2)  # between two machines that keep the time


def freshness(
    connection: Connection,
    sources: Sequence[str] = (),
    *,
    now: datetime,
    until: datetime | None = None,
) -> Rows:
    """A row a source and stream: how fresh it is, last start, how the last run ended.

    last_complete_at is the oldest read that the freshest complete snapshot rests on; what is later
    than `now` was read by a clock that was ahead and says nothing. future_at is such a time, of the
    last run; None without one.
    A backfill of a part says nothing of the whole stream, so it counts only when nothing else ran.
    until: of the runs that had begun by then.
    """
    asked: list[ColumnElement[bool]] = [runs.c.source.in_(sources)] if sources else []
    read = run_streams.c.oldest_read_at
    complete = and_(run_streams.c.complete, runs.c.observed_at.is_not(None))
    whole = and_(complete, read <= now)
    of_stream = or_(runs.c.kind != RunKind.BACKFILL, run_streams.c.complete)
    late = now + CLOCK_DIFFERENCE
    if until is not None:
        asked.append(runs.c.started_at <= until)
        whole = and_(whole, runs.c.observed_at <= until)
    per_stream = (
        select(
            runs.c.source,
            runs.c.provider,
            run_streams.c.stream,
            func.max(case((whole, read))).label("last_complete_at"),
            func.max(case((and_(complete, read > late), read))).label("future_at"),
            func.coalesce(
                func.max(case((of_stream, runs.c.run_id))), func.max(runs.c.run_id)
            ).label("last_run_id"),
        )
        .join(run_streams, run_streams.c.run_id == runs.c.run_id)
        .where(runs.c.kind != RunKind.DRY_RUN, run_streams.c.parent_id == "", *asked)
        .group_by(runs.c.source, runs.c.provider, run_streams.c.stream)
        .subquery()
    )
    last, last_stream = runs.alias("last"), run_streams.alias("last_stream")
    started = case((last.c.started_at > late, last.c.started_at))
    shown: list[Any] = [
        *(column for column in per_stream.c if column.name != "future_at"),
        func.coalesce(per_stream.c.future_at, started).label("future_at"),
        last.c.status.label("run_status"),
        last.c.error,
        last.c.started_at,
        last_stream.c.status.label("stream_status"),
        last_stream.c.incomplete_reason,
    ]
    query = (
        select(*shown)
        .join(last, last.c.run_id == per_stream.c.last_run_id)
        .join(
            last_stream,
            and_(
                last_stream.c.run_id == per_stream.c.last_run_id,
                last_stream.c.stream == per_stream.c.stream,
                last_stream.c.parent_id == "",
            ),
        )
        .order_by(per_stream.c.source, last_stream.c.stream)
    )
    return connection.execute(query).all()


def live_counts(connection: Connection) -> dict[tuple[str, str], int]:
    """(source, stream) -> how many records are stored and not deleted."""
    found: dict[tuple[str, str], int] = {}
    for stream, tables in RECORDS.items():
        table = tables.current
        query = (
            select(table.c.source, func.count().label("live"))
            .where(~table.c.is_deleted)
            .group_by(table.c.source)
        )
        found |= {(row.source, stream): row.live for row in connection.execute(query)}
    return found


def last_runs(connection: Connection, source: str | None, limit: int) -> Rows:
    """The newest runs, newest first, with what they changed."""
    totals = (
        select(
            run_streams.c.run_id,
            # Postgres sums bigints to a numeric
            *(cast(func.sum(run_streams.c[name]), BigInteger).label(name) for name in _SUMMED),
        )
        .where(run_streams.c.parent_id == "")
        .group_by(run_streams.c.run_id)
        .subquery()
    )
    query = (
        select(runs, *(totals.c[name] for name in _SUMMED))
        .outerjoin(totals, totals.c.run_id == runs.c.run_id)
        .order_by(runs.c.run_id.desc())
        .limit(limit)
    )
    return connection.execute(query.where(runs.c.source == source) if source else query).all()


_SUMMED = ("requests", "received", "created", "updated", "deleted", "restored", "rejected")


def last_started(connection: Connection, source: str) -> datetime | None:
    """When a source was last synced; a backfill and a dry run are no reason to leave one out."""
    started = select(runs.c.started_at).where(runs.c.source == source, runs.c.kind == RunKind.SYNC)
    return connection.execute(started.order_by(runs.c.run_id.desc()).limit(1)).scalar()


def last_ok(connection: Connection, source: str, *, now: datetime) -> datetime | None:
    """When the oldest page was read of the last run of a source that read everything.

    Never later than `now`.
    """
    read = (
        select(func.min(run_streams.c.oldest_read_at))
        .where(run_streams.c.run_id == runs.c.run_id)
        .correlate(runs)
        .scalar_subquery()
    )
    moment = func.coalesce(read, runs.c.finished_at)
    query = (
        select(moment)
        .where(runs.c.source == source, runs.c.kind == RunKind.SYNC, runs.c.status == RunStatus.OK)
        .where(moment <= now)
        .order_by(runs.c.run_id.desc())
    )
    return connection.execute(query.limit(1)).scalar()


def usual() -> ColumnElement[bool]:
    """Whether a run read everything in one process; of several, only the last one's are counted."""
    return and_(runs.c.status == RunStatus.OK, runs.c.kind == RunKind.SYNC, runs.c.attempts == 1)


def usual_requests(connection: Connection, source: str) -> int:
    """How many requests the last run of a source took that read everything at one go; 0 without."""
    last = (
        select(runs.c.run_id)
        .where(runs.c.source == source, usual())
        .order_by(runs.c.run_id.desc())
        .limit(1)
    )
    asked = func.sum(run_streams.c.requests)
    query = select(cast(func.coalesce(asked, 0), BigInteger)).where(
        run_streams.c.run_id.in_(last), run_streams.c.parent_id == ""
    )
    return int(connection.execute(query).scalar_one())


def one_run(connection: Connection, run_id: int) -> tuple[SqlRow[Any] | None, Rows]:
    """A run and its streams, the summaries before the partitions."""
    found = connection.execute(select(runs).where(runs.c.run_id == run_id)).first()
    streams = connection.execute(
        select(run_streams)
        .where(run_streams.c.run_id == run_id)
        .order_by(run_streams.c.parent_id != "", run_streams.c.stream, run_streams.c.parent_key)
    ).all()
    return found, streams


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One field of one change event; path None for an event without field diffs.

    old and new are MISSING where the field did not exist.
    """

    change_id: int
    run_id: int
    observed_at: datetime
    source: str
    provider: str
    stream: str
    record_id: int
    version: int
    project_key: str | None
    key: str
    operation: str
    actor: str | None
    reason: str | None
    provider_updated_at: datetime | None
    path: str | None
    old: Any
    new: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which changes are asked for; None: any. limit: only so many events, the newest."""

    since: datetime | None = None
    until: datetime | None = None
    source: str | None = None
    stream: str | None = None
    key: str | None = None
    run_id: int | None = None
    operations: Collection[str] = ()
    limit: int | None = None

    def on(self, query: Select[Any]) -> Select[Any]:
        """A query of changes, narrowed to these."""
        if self.since is not None:
            query = query.where(changes.c.observed_at >= self.since)
        if self.until is not None:
            query = query.where(changes.c.observed_at <= self.until)
        if self.operations:
            query = query.where(changes.c.operation.in_(self.operations))
        for column in ("source", "stream", "run_id"):
            value = getattr(self, column)
            if value is not None:
                query = query.where(changes.c[column] == value)
        if self.key is not None:
            query = query.where(changes.c.key.in_(forms_of(self.key)))
        return query

    def newest(self) -> Select[Any]:
        """The ids of the newest events, as many as the limit says."""
        ids = self.on(select(changes.c.change_id))
        return ids.order_by(changes.c.change_id.desc()).limit(self.limit)


def change_feed(connection: Connection, wanted: Filter) -> Generator[Change, None, None]:
    """The changes in the order they were observed, a value a field."""
    query = wanted.on(_feed())
    if wanted.limit is not None:
        query = query.where(changes.c.change_id.in_(wanted.newest()))
    return _changes(connection, query)


def forms_of(text: str) -> set[str]:
    """The forms in which Unicode may write a text; vendors' names are stored as they were sent."""
    return {text, *(unicodedata.normalize(form, text) for form in ("NFC", "NFD"))}


def has_key(connection: Connection, key: str, stream: str | None) -> bool:
    """Whether a record, of that stream or of any, has or had this key."""
    query = select(changes.c.change_id).where(changes.c.key.in_(forms_of(key))).limit(1)
    if stream is not None:
        query = query.where(changes.c.stream == stream)
    if connection.execute(query).first() is not None:
        return True
    return any(  # its changes may have been pruned
        connection.execute(
            select(tables.current.c.key).where(tables.current.c.key.in_(forms_of(key))).limit(1)
        ).first()
        for name, tables in RECORDS.items()
        if stream in (None, name)
    )


def keys(connection: Connection, stream: str) -> set[str]:
    """Keys of that stream to choose a similar one from: not more than a person waits for."""
    table = RECORDS[stream].current
    return set(connection.execute(select(table.c.key).distinct().limit(MAX_KEYS)).scalars())


def ensure_run(connection: Connection, run_id: int) -> None:
    """There is such a run, or ConfigError."""
    if connection.execute(select(runs.c.run_id).where(runs.c.run_id == run_id)).first() is None:
        raise ConfigError(f"there is no run {run_id}; `etl runs` lists them")


def history(connection: Connection, stream: str, key: str, source: str | None) -> Iterator[Change]:
    """The changes of every record that has, or ever had, this key, id or name; record by record."""
    tables = RECORDS[stream]
    found = []
    for table in (tables.current, tables.history):
        named = or_(*(table.c[name].in_(forms_of(key)) for name in ("key", "external_id", "name")))
        found.append(select(table.c[tables.id]).where(named))
    query = _feed().where(
        changes.c.stream == stream, or_(*(changes.c.record_id.in_(ids) for ids in found))
    )
    by_record = (changes.c.record_id, changes.c.change_id, change_fields.c.path)
    query = query.order_by(None).order_by(*by_record)
    return _changes(connection, query.where(changes.c.source == source) if source else query)


def records(connection: Connection, stream: str, ids: Collection[int]) -> Mapping[int, SqlRow[Any]]:
    """Row id -> the record as it is now, without its content."""
    tables = RECORDS[stream]
    names = ("key", "name", "external_id", "version", "first_seen_at", "is_deleted", "deleted_at")
    columns = [tables.current.c[name] for name in (tables.id, *names)]
    found = connection.execute(select(*columns).where(columns[0].in_(ids)))
    return {row[0]: row for row in found}


def _feed() -> Select[Any]:
    """Values as JSON text, so that null and no value are told apart."""
    return (
        select(
            changes,
            change_fields.c.path,
            cast(change_fields.c.old_value, Text).label("old_text"),
            cast(change_fields.c.new_value, Text).label("new_text"),
        )
        .select_from(changes)
        .outerjoin(change_fields, change_fields.c.change_id == changes.c.change_id)
        .order_by(changes.c.change_id, change_fields.c.path)
    )


def _changes(connection: Connection, query: Select[Any]) -> Generator[Change, None, None]:
    values = change_fields.c.old_value, change_fields.c.new_value
    with closing(large_rows.rows(connection, query, *values)) as found:
        for row in found:
            yield Change(
                change_id=row.change_id,
                run_id=row.run_id,
                observed_at=row.observed_at,
                source=row.source,
                provider=row.provider,
                stream=row.stream,
                record_id=row.record_id,
                version=row.version,
                project_key=row.project_key,
                key=row.key,
                operation=row.operation,
                actor=row.actor,
                reason=row.reason,
                provider_updated_at=row.provider_updated_at,
                path=row.path,
                old=json_value(row.old_text),
                new=json_value(row.new_text),
            )


def json_value(text: str | None) -> Any:
    """A value stored as JSON; MISSING where there is none, which is not null."""
    return MISSING if text is None else json.loads(text)
