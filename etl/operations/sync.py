"""Runs one sync of a source: makes engine, client and job of settings, clock and process."""

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from etl import __version__
from etl.archive.writer import Recorder
from etl.config.settings import Settings, SourceSettings
from etl.db import migrations
from etl.db.engine import (
    is_absent,
    open_empty,
    open_engine,
    open_reader,
    reading,
    require_file,
    sqlite_file,
    store_error,
)
from etl.errors import FAILED, TRY_AGAIN, ConfigError, EtlError
from etl.extract.client import Client, RateLimiter, RetryPolicy
from etl.extract.pages import PageReader
from etl.extract.rate_limit import Window, our_share, window_of
from etl.history.runs import freshness, usual_requests
from etl.history.runs import last_ok as last_ok_in
from etl.history.runs import last_started as last_started_in
from etl.json_text import json_text
from etl.load.commit import RunCommit
from etl.load.runs import record_failure
from etl.log_fields import log_run
from etl.model import CompleteReads, RunKind, RunReport, RunStatus
from etl.pipeline import rate_budget_rows
from etl.pipeline.crawl import Progress
from etl.pipeline.deletion_guard import DeleteLimits
from etl.pipeline.job import Job
from etl.pipeline.live_processes import at_work, give_large_blocks_back, lives
from etl.pipeline.rate_budget import RateBudget
from etl.pipeline.run import RunContext, run
from etl.pipeline.run_archive import archived, keep_archive, recorded, recorder_of
from etl.pipeline.selection import WHOLE, Selection, narrowed
from etl.pipeline.selection import as_json as selection_json
from etl.providers import PROVIDERS
from etl.providers.kit import Json, Provider, Stream
from etl.providers.wire import fingerprint_with
from etl.signals import undisturbed

log = logging.getLogger(__name__)

CONNECTIONS_A_RUN = 3  # one that reads, one that writes, one for the rate budget
LAST_PAGE_SECONDS = 2.0  # when all is to stop, the pages on their way may still come
SPARED = 0.5  # of every limit: a backfill leaves it to the runs that keep the database in step

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The time, in UTC."""
    return datetime.now(UTC)


def steady_clock() -> Callable[[], float]:
    """The time in epoch seconds, as it is now; it does not jump when the machine's clock does.

    Waits, deadlines and rate-limit slots of one run are counted by it.
    """
    ticks = partial(time.clock_gettime, time.CLOCK_BOOTTIME) if _COUNTS_SLEEP else time.monotonic
    began = time.time() - ticks()
    return lambda: began + ticks()


_COUNTS_SLEEP = hasattr(time, "CLOCK_BOOTTIME")  # on Linux; elsewhere a suspended machine is late


def open_database(settings: Settings, *, at_once: int = 1, make: bool = True) -> Engine:
    """The database with the schema this code needs; a new SQLite file gets it.

    at_once: how many runs share it. make: whether a file that is not there is made.
    """
    if not make:
        require_file(settings.database_url)
    engine = open_unchecked(settings, at_once=at_once)
    _checked(engine, migrations.ensure)
    return engine


def open_unchecked(settings: Settings, *, at_once: int = 1) -> Engine:
    """The database, whatever is in it."""
    return open_engine(
        settings.database_url,
        schema=settings.database_schema,
        connections=CONNECTIONS_A_RUN * at_once,
        file_mode=settings.database_file_mode,
    )


def open_to_read(settings: Settings, *, seconds: float | None = None) -> Engine:
    """The database for reading only: nothing is made, and no right to write is needed.

    seconds: the longest statement on Postgres.
    """
    return open_reader(settings.database_url, schema=settings.database_schema, seconds=seconds)


def open_or_empty(settings: Settings, *, tables: bool = True, absent: bool = False) -> Engine:
    """The same; an SQLite file that is empty is read as one without rows.

    tables: such a one has etl's tables all the same. absent: so is one that is not there yet;
    otherwise a mistyped path would look like a database of which all is deleted.
    """
    url = settings.database_url
    path = sqlite_file(url)
    if path is None or not (absent if is_absent(url) else _is_empty(path)):
        return open_to_read(settings)
    engine = open_empty()
    if tables:
        migrations.upgrade(engine)
    return engine


def _is_empty(path: Path) -> bool:
    """Whether it is an empty file; what cannot be read is for SQLite to tell."""
    try:
        return path.is_file() and path.stat().st_size == 0
    except OSError:
        return False


def _checked(engine: Engine, check: Callable[[Engine], None]) -> None:
    try:
        check(engine)
    except SQLAlchemyError as error:
        engine.dispose()
        raise store_error(error, "its schema was read") from error
    except EtlError:
        engine.dispose()
        raise


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What a person asks of a run.

    plan: a dry run that is kept, see etl.operations.plan. retry_now: requests are sent even if an
    earlier refusal asked to wait longer. backfill: the part of the source that is looked at once,
    see etl.operations.backfill.
    """

    streams: Collection[str] = ()
    dry_run: bool = False
    plan: bool = False
    full: bool = False
    force_deletes: bool = False
    retry_now: bool = False
    backfill: Selection | None = None

    @property
    def kind(self) -> str:
        """The kind of run this is."""
        if self.backfill is not None:
            return RunKind.BACKFILL
        return RunKind.DRY_RUN if self.dry_run else RunKind.SYNC

    @property
    def oldest(self) -> timedelta | None:
        """The oldest run that it goes on with; None: the configuration says."""
        if self.full or self.plan:
            return timedelta(seconds=-1)
        return None if self.backfill is None else timedelta.max


@dataclass(slots=True)
class Running:
    """The clients at work in this process, so that all can be stopped at once.

    begun: the stop has; no request is sent any more.
    """

    begun: threading.Event = field(default_factory=threading.Event, init=False)
    _clients: dict[int, Client] = field(default_factory=dict, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def stop(self) -> None:
        """Pages that are on their way are read to their end, if that is soon; then runs park."""
        with self._lock:
            clients = list(self._clients.values())
            for client in clients:
                client.finish()
            self.begun.set()
        end = time.monotonic() + LAST_PAGE_SECONDS
        for client in clients:
            client.answered(within=max(0.0, end - time.monotonic()))
            client.close()

    @contextmanager
    def holding(self, client: Client) -> Iterator[None]:
        """The client can be stopped while the block runs."""
        with self._lock:
            self._clients[id(client)] = client
            stopped = self.begun.is_set()
        if stopped:
            client.close()
        try:
            yield
        finally:
            with self._lock:
                del self._clients[id(client)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """Who is told of a run's progress and of what it would land, and who may stop it."""

    progress: Callable[[Progress], None] = lambda _progress: None
    planned: Callable[[Connection, RunCommit, datetime], None] = lambda *_planned: None
    running: Running = field(default_factory=Running)


@undisturbed
def sync(
    engine: Engine,
    settings: Settings,
    name: str,
    wish: RunOptions,
    *,
    watch: Watch | None = None,
    clock: Clock = utc_now,
) -> RunReport:
    """Runs one source once; whatever happens, the report says it."""
    source = settings.sources[name]
    watch = watch or Watch()
    started = clock()
    yields = wish.backfill is not None
    try:
        budget = budget_of(engine, source, settings, yields=yields)
    except EtlError as error:
        return _not_begun(source, wish, error, started, clock())
    client = client_of(source, budget, yields=yields)
    recorder: Recorder | None = None
    try:
        if wish.retry_now:
            budget.unblock()
        job = job_of(source, settings, wish)
        recorder = recorder_of(source, job, clock)
        with at_work() as holder, watch.running.holding(client):
            shell = RunContext(
                engine=engine,
                reader=recorded(reader_of(client, source, settings), recorder),
                traffic=client.traffic,
                holder=holder,
                alive=lives,
                clock=clock,
                progress=watch.progress,
                planned=watch.planned,
                learn_limits=_learn_limits(source, budget),
            )
            report = archived(run(job, shell), recorder)
    except EtlError as error:
        return _not_begun(source, wish, error, started, clock())
    else:
        log_run(log, report)
        return report
    finally:
        client.close()
        try:
            keep_archive(source, recorder, clock())
        finally:
            budget.close()  # last, as a signal is heard where it waits


def _not_begun(
    source: SourceSettings, wish: RunOptions, error: EtlError, began: datetime, now: datetime
) -> RunReport:
    report = not_run(source, wish, str(error), error.exit_code, began, now)
    log_run(log, report)
    return report


@undisturbed
def sync_alone(settings: Settings, name: str, wish: RunOptions, watch: Watch) -> RunReport:
    """The same with connections of its own: it may be in a process of its own."""
    began = utc_now()
    try:
        engine = open_database(settings)
    except EtlError as error:
        source = settings.sources[name]
        return not_run(source, wish, str(error), error.exit_code, began, utc_now())
    try:
        return sync(engine, settings, name, wish, watch=watch)
    finally:
        engine.dispose()


def not_run(
    source: SourceSettings,
    wish: RunOptions,
    why: str,
    exit_code: int,
    began: datetime,
    now: datetime,
) -> RunReport:
    """The report where there is none of a run: it could not begin, or not tell."""
    return RunReport(
        run_id=None,
        source=source.name,
        provider=source.provider,
        kind=wish.kind,
        status=RunStatus.BUSY if exit_code == TRY_AGAIN else RunStatus.FAILED,
        exit_code=exit_code,
        started_at=began,
        finished_at=now,
        error=why,
    )


def without_keys(settings: Settings, wish: RunOptions, now: datetime) -> list[RunReport]:
    """The reports of the sources that cannot run, as their keys are missing."""
    return [
        RunReport(
            run_id=None,
            source=name,
            provider=one.provider,
            kind=wish.kind,
            status=RunStatus.FAILED,
            exit_code=ConfigError.exit_code,
            started_at=now,
            finished_at=now,
            error=one.why,
        )
        for name, one in settings.unusable.items()
    ]


@dataclass(slots=True)
class Failures:
    """Runs that could not even begin, kept until the database can hold them."""

    engine: Engine
    _waiting: list[RunReport] = field(default_factory=list, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def record(self, *reports: RunReport) -> None:
        """Writes those of these that failed without a row of their own, and earlier ones."""
        with self._lock:
            self._waiting += [
                one for one in reports if one.run_id is None and one.exit_code == FAILED
            ]
            with suppress(SQLAlchemyError):
                while self._waiting:
                    with self.engine.begin() as connection:
                        record_failure(connection, self._waiting[0], __version__)
                    del self._waiting[0]


def last_started(engine: Engine, name: str) -> datetime | None:
    """When a source was last synced; None when it never was."""
    try:
        with reading(engine) as connection:
            return last_started_in(connection, name)
    except SQLAlchemyError as error:
        raise store_error(error, f"looking up the last run of {name}") from error


def landed(engine: Engine, names: Collection[str]) -> CompleteReads:
    """When these sources were last read whole, and each of their streams, as the database says."""
    with reading(engine) as connection:
        now = utc_now()
        ended = {name: last_ok_in(connection, name, now=now) for name in names}
        streams = freshness(connection, list(names), now=now) if names else ()
        return CompleteReads(
            sources={name: at for name, at in ended.items() if at is not None},
            streams={
                (row.source, row.stream): row.last_complete_at
                for row in streams
                if row.last_complete_at is not None
            },
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """About how many requests a run will take, and when the rate limits let it send the last."""

    requests: int
    ends_at: datetime


@undisturbed
def forecast(engine: Engine, settings: Settings, name: str) -> Forecast | None:
    """What a run of a source will take, by its last whole run; None before there is one."""
    try:
        with reading(engine) as connection:
            requests = usual_requests(connection, name)
        if not requests:
            return None
        ends_at = budget_of(engine, settings.sources[name], settings).last(requests)
    except SQLAlchemyError as error:
        raise store_error(error, f"looking up what a run of {name} takes") from error
    return Forecast(requests=requests, ends_at=datetime.fromtimestamp(ends_at, UTC))


def having(settings: Settings, streams: Collection[str]) -> list[str]:
    """The sources that have one of these streams; all when none is named."""
    return [
        name
        for name, source in settings.sources.items()
        if not streams or any(one.name in streams for one in PROVIDERS[source.provider].streams)
    ]


def job_of(
    source: SourceSettings, settings: Settings, wish: RunOptions, provider: Provider | None = None
) -> Job:
    """The run of a source that was asked for."""
    provider = provider or PROVIDERS[source.provider]
    selection, limits = wish.backfill or WHOLE, source.limits
    streams = narrowed(
        _chosen(provider, source, wish.streams),
        selection,
        named=wish.streams,
        options=source.options,
    )
    return Job(
        source=source.name,
        provider=provider,
        base_url=source.base_url,
        key=_fingerprint(source, settings),
        options=source.options,
        streams=streams,
        scope=_scope(source, settings, streams, wish),
        kind=wish.kind,
        limits=DeleteLimits(percent=limits.delete_percent, count=limits.delete_count),
        most_questions=limits.delete_confirmations,
        resume_within=wish.oldest or timedelta(seconds=limits.resume_within),
        force_deletes=wish.force_deletes,
        dry_run=wish.dry_run,
        plans=wish.plan,
        selection=selection,
    )


def _chosen(
    provider: Provider, source: SourceSettings, names: Collection[str]
) -> tuple[Stream, ...]:
    """The wanted streams of these names and what they hang on; all when there is no name."""
    known = [stream.name for stream in provider.streams]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ConfigError(
            f"{source.name} ({provider.name}) has no stream {', '.join(unknown)}; "
            f"it has {', '.join(known)}"
        )
    needed = set(names or known)
    for stream in reversed(provider.streams):
        if stream.name in needed and stream.parent is not None:
            needed.add(stream.parent)
    return tuple(
        stream
        for stream in provider.streams
        if stream.name in needed and stream.is_wanted(source.options)
    )


def _scope(
    source: SourceSettings, settings: Settings, streams: Sequence[Stream], wish: RunOptions
) -> str:
    """What a run sees, as text: the key's fingerprint, streams and their options, the host.

    A backfill's wish is in it, so that the run can be gone on with by its number.
    """
    options: Mapping[str, object] = {
        stream.name: source.options[stream.name].model_dump(exclude_none=True) for stream in streams
    }
    said: dict[str, object] = {
        "base_url": source.base_url,
        "key": _fingerprint(source, settings),
        "options": options,
        "kind": "plan" if wish.plan else wish.kind,
    }
    if wish.backfill is not None:
        said["wish"] = {"streams": sorted(wish.streams), **selection_json(wish.backfill)}
    return json_text(said)


def budget_of(
    engine: Engine, source: SourceSettings, settings: Settings, *, yields: bool = False
) -> RateBudget:
    """The rate budget of the source's key, shared through the database.

    yields: only half of each window is used, and others go first. An empty list in the
    configuration means no windows at all.
    """
    provider = PROVIDERS[source.provider]
    credential = f"{provider.name}:{source.base_url}:{_fingerprint(source, settings)}"
    limits: Sequence[str] | None = source.limits.rate_limits
    if limits is None and provider.granted_limits is not None:
        try:
            with reading(engine) as connection:
                known = rate_budget_rows.known_limits(connection, credential)[0].split()
                limits = known or None
        except SQLAlchemyError as error:
            raise store_error(error, f"looking up the rate limit of {source.name}") from error
    return RateBudget(
        engine=engine,
        credential=credential,
        windows=_windows(source, provider.rate_limits if limits is None else limits, yields=yields),
        clock=steady_clock(),
        yields=yields,
    )


def _windows(source: SourceSettings, limits: Sequence[str], *, yields: bool) -> tuple[Window, ...]:
    """Our share of rate limits."""
    windows = our_share([window_of(text) for text in limits], source.limits.reserve_percent)
    return our_share(windows, 100 * SPARED) if yields else windows


def _learn_limits(source: SourceSettings, budget: RateBudget) -> Callable[[Json], None] | None:
    """What to do with the answer to whoami; None where the limits of the key are known."""
    provider = PROVIDERS[source.provider]
    granted = provider.granted_limits
    if granted is None or source.limits.rate_limits is not None or budget.knows_limits():
        return None

    def learn(body: Json) -> None:
        limits = granted(body)
        windows = _windows(source, limits or provider.rate_limits, yields=budget.yields)
        budget.learn(limits, windows)

    return learn


def _fingerprint(source: SourceSettings, settings: Settings) -> str:
    fingerprint = fingerprint_with(settings.fingerprint_key.get_secret_value())
    return fingerprint(source.api_key.get_secret_value())


def client_of(
    source: SourceSettings, turns: RateLimiter, *, attempts: int | None = None, yields: bool = False
) -> Client:
    """A client of a source's provider, as patient as its limits say; close it when done."""
    provider, limits = PROVIDERS[source.provider], source.limits
    key = source.api_key.get_secret_value()
    give_large_blocks_back()
    return Client(
        source=source.name,
        base_url=source.base_url,
        headers=provider.headers(key),
        secret=key,
        error_message=provider.error_message,
        turns=turns,
        clock=steady_clock(),
        proxy=None if source.proxy is None else source.proxy.get_secret_value(),
        ignored_proxies=source.ignored_proxies,
        patience=RetryPolicy(
            seconds=limits.patience,
            attempts=attempts or limits.attempts,
            timeout=limits.timeout,
            max_body=limits.max_body,
            spared=SPARED if yields else 0.0,
        ),
    )


def reader_of(client: Client, source: SourceSettings, settings: Settings) -> PageReader:
    """What reading that source needs."""
    concurrency = source.limits.concurrency or PROVIDERS[source.provider].concurrency
    return PageReader(
        fetch=client.fetch,
        describe=client.said,
        fingerprint=fingerprint_with(settings.fingerprint_key.get_secret_value()),
        concurrency=concurrency,
    )
