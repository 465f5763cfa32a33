"""One run of one source: lease, survey of its streams, proof of deletions, merge, report.

Whatever ends a run, the report says it and the database holds it; only the last transaction is
seen by readers.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from etl import __version__
from etl.db import statistics
from etl.db.engine import in_transaction, reading, store_error
from etl.errors import (
    OK,
    PARTIAL,
    TRY_AGAIN,
    AccessDenied,
    EtlError,
    LeaseLost,
    NoRoom,
    ProtocolError,
    RateLimited,
    RunInProgress,
    SourceError,
    StoreError,
    TransientError,
    UnsafeChange,
)
from etl.extract.pages import PageReader
from etl.load import missing, runs, staging
from etl.load import scope_store as scopes
from etl.load.commit import RunCommit, land
from etl.load.runs import Holder, OpenRun
from etl.load.stager import Stager
from etl.log_fields import fields
from etl.model import RunKind, RunReport, RunStatus, StreamReport, StreamStatus
from etl.pipeline.crawl import Crawl, Progress, confirm_keys, survey
from etl.pipeline.deletions import TROUBLE, StreamResult, conclude, report_of
from etl.pipeline.job import Job
from etl.pipeline.scope_check import Scopes, asked_identity, known_identity, scopes_of
from etl.providers.kit import Json, Stream, Traffic
from etl.signals import hearing, to_its_end, undisturbed

log = logging.getLogger(__name__)

AFTER_ANOTHER_RUN = timedelta(seconds=5)  # until the next look whether the lease is free


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayTimes:
    """When that was observed which a replay brings. clock: so far; at: all of it."""

    clock: Callable[[], datetime]
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContext:
    """What a run takes from the world around it.

    alive: a Holder -> whether its process runs; None when it is on another host.
    learn_limits: takes what the provider says of the key; None: its rate limits are known.
    planned: is told what a dry run would land, and when, while it is still staged.
    past: of a replay; its lease and its own times are still those of `clock`.
    """

    engine: Engine
    reader: PageReader
    traffic: Traffic
    holder: Holder
    alive: Callable[[Holder], bool | None]
    clock: Callable[[], datetime]
    past: ReplayTimes | None = None
    learn_limits: Callable[[Json], None] | None = None
    progress: Callable[[Progress], None] = lambda _progress: None
    planned: Callable[[Connection, RunCommit, datetime], None] = lambda *_planned: None


@undisturbed
def run(job: Job, shell: RunContext) -> RunReport:
    """Runs a source once. Raises only StoreError; every other end is told by the report.

    A signal, as the exception of its handler, goes on its way when the run is parked.
    """
    try:
        with _leased(job, shell) as opened:
            return _run(job, shell, opened)
    except SQLAlchemyError as error:
        raise store_error(error, f"syncing {job.source}") from error


@contextmanager
def _leased(job: Job, shell: RunContext) -> Iterator[OpenRun]:
    """The run's row and the lease of its source; the lease is given back at the end."""
    try:
        opened = _opened(job, shell)
    except RunInProgress:
        with shell.engine.begin() as connection:
            runs.bound_lease(connection, job.source, shell.clock())
        raise
    try:
        yield opened
    except SQLAlchemyError as error:
        _note_failure(shell, opened, store_error(error, f"syncing {job.source}"))
        raise
    except NoRoom as error:
        _note_failure(shell, opened, error)
        raise
    finally:
        _release(job, shell)


@to_its_end
def _note_failure(shell: RunContext, opened: OpenRun, why: StoreError) -> None:
    """A run that could not be stored stands as parked, with the reason; the next goes on."""
    with suppress(SQLAlchemyError), shell.engine.begin() as connection:
        runs.break_off(connection, opened.key.run_id, str(why), shell.clock())


def _opened(job: Job, shell: RunContext) -> OpenRun:
    def opened(connection: Connection) -> OpenRun:
        now = shell.clock()
        renewed = hearing(
            runs.acquire, connection, job.source, shell.holder, now, shell.alive, kind=job.kind
        )
        return runs.open_run(
            connection,
            {
                "source": job.source,
                "provider": job.provider.name,
                "kind": job.kind,
                "scope": job.scope,
                "etl_version": __version__,
            },
            now=now,
            resume_within=job.resume_within,
            renewed=renewed,
        )

    return in_transaction(shell.engine, opened)


@to_its_end
def _release(job: Job, shell: RunContext) -> None:
    try:
        with shell.engine.begin() as connection:
            runs.release(connection, job.source, shell.holder)
    except SQLAlchemyError as error:  # whoever comes next sees that its run is over
        why = store_error(error, f"giving back the lease of {job.source}")
        log.warning("%s", why, extra=fields("lease not released", source=job.source, error=why))


def _run(job: Job, shell: RunContext, opened: OpenRun) -> RunReport:
    def beat(connection: Connection, now: datetime) -> None:
        runs.renew(connection, job.source, shell.holder, shell.clock() if shell.past else now)

    intake = Stager(
        engine=shell.engine,
        run=opened.key,
        streams={stream.name: stream for stream in job.streams},
        clock=shell.past.clock if shell.past else shell.clock,
        keeps_findings=not job.dry_run,
        beat=beat,
        every_page=job.kind == RunKind.BACKFILL,
        keeps=lambda stream, staged: job.selection.keeps(
            stream, staged.operation, staged.record.created_at
        ),
    )
    course = _Course(job=job, shell=shell, opened=opened, intake=intake, reader=shell.reader)
    try:
        return _ended(course)
    except LeaseLost as error:
        if job.kind != RunKind.BACKFILL:
            raise
        return course.made_way(error)
    finally:
        intake.close()


def _ended(course: "_Course") -> RunReport:
    """How the run ended; a signal ends it too, and goes on its way."""
    try:
        course.know_scopes()
        course.survey_all()
        return course.land(course.conclude_all())
    except SourceError as error:
        return course.stop(error)
    except (KeyboardInterrupt, SystemExit):
        with suppress(LeaseLost, SQLAlchemyError):
            course.stop(TransientError("stopped by a signal; the next run goes on from here"))
        raise


@dataclass(slots=True, kw_only=True)
class _Course:
    """A run that is going on: what each stream cost so far, and what people should know."""

    job: Job
    shell: RunContext
    opened: OpenRun
    intake: Stager
    reader: PageReader
    cost: dict[str, Traffic] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    scopes: Scopes = field(default_factory=Scopes)

    def know_scopes(self) -> None:
        """What this run can see; the provider is asked about the key when it is new."""
        job = self.job
        with reading(self.shell.engine) as connection:
            before = scopes.stored(connection, job.source)
            self._raise_if_known(connection)
            for stream in job.streams:
                outside = scopes.outside(connection, job.source, stream.name)
                self.intake.outside[stream.name] = outside
        identity = job.identity or known_identity(job, before) or self.opened.identity
        if identity is None or self.shell.learn_limits is not None:
            with self._billed_to(job.streams[0]):
                said, self.reader = asked_identity(job, self.reader, self.shell.learn_limits)
            identity = identity or said
            with self.shell.engine.begin() as connection:
                self.intake.beat(connection, self.shell.clock())
                runs.know_identity(connection, self.opened.key.run_id, identity)
        self.scopes = scopes_of(job, identity, before)

    def _raise_if_known(self, connection: Connection) -> None:
        """A replay brings what is later than all that is known, or nothing; see replay_archive."""
        past, source = self.shell.past, self.job.source
        if past is not None and runs.merge_time(connection, source, past.at) != past.at:
            raise ProtocolError(
                f"another run of {source} landed since, so {past.at:%Y-%m-%d %H:%M:%S}Z is older "
                "than what is known; load dumps where no other run is"
            )

    @contextmanager
    def _billed_to(self, stream: Stream) -> Iterator[None]:
        """What is asked meanwhile is counted with this stream."""
        before = replace(self.shell.traffic)
        try:
            yield
        finally:
            old = self.cost.get(stream.name, Traffic())
            self.cost[stream.name] = _billed(old, before, self.shell.traffic)

    def conclude_all(self) -> list[StreamResult]:
        """What the walks of every stream came to."""
        found = []
        for stream in self.job.streams:
            new_scope = self.scopes.is_new(stream.name)
            with self._billed_to(stream):
                concluded = conclude(
                    self.job, self.reader, self.intake, stream, new_scope=new_scope
                )
            if concluded.left:
                why = "another key or filter" if new_scope else "the filter"
                left = len(concluded.left)
                records = "1 record is" if left == 1 else f"{left:,} records are"
                self.notes.append(
                    f"{stream.name}: {records} outside of what {why} shows; kept, not deleted"
                )
            found.append(concluded)
        return found

    def survey_all(self) -> None:
        """Every stream in its order, and a checkpoint at the end of each."""
        if self.opened.attempts > 1:
            self.intake.resume(self.opened.started_at, attempt=self.opened.attempts)
            self.notes.append("gone on from the checkpoint of an earlier process")
        work = Crawl(
            provider=self.job.provider,
            source=self.job.source,
            options=self.job.options,
            reader=self.reader,
            intake=self.intake,
            traffic=self.shell.traffic,
            progress=self.shell.progress,
        )
        for stream in self.job.streams:
            with self._billed_to(stream):
                self.notes += survey(work, stream)
            self.intake.drop_vanished(stream.name)
            self.intake.flush()
            log.info(
                "%s: %s walked",
                self.job.source,
                stream.name,
                extra=fields("stream read", source=self.job.source, stream=stream.name),
            )
        for stream in self.job.streams:
            if stream.parent is None:
                with self._billed_to(stream):
                    confirm_keys(work, stream)

    def land(self, conclusions: Sequence[StreamResult]) -> RunReport:
        """Merges what was found in one transaction, and tells what it was."""
        engine = self.shell.engine
        report = in_transaction(
            engine, lambda connection: hearing(self._merged, connection, conclusions)
        )
        if not self.job.dry_run and report.changed >= statistics.LARGE:
            statistics.refresh(engine)
        return report

    def _merged(self, connection: Connection, conclusions: Sequence[StreamResult]) -> RunReport:
        beyond = [found.held for found in conclusions if found.held is not None]
        held = beyond[0] if beyond and not self.job.plans else None
        now = self.shell.clock()
        runs.renew(connection, self.job.source, self.shell.holder, now)
        streams, partitions = self._reports(connection, conclusions, now)
        report = self._report(*_standing(streams, held), now, streams, error=held)
        landing = self._landing(conclusions, replace(report, partitions=partitions), beyond)
        at = self.shell.past.at if self.shell.past else now
        observed_at = runs.merge_time(connection, self.job.source, at)
        if not self.job.dry_run:
            land(connection, landing, observed_at)
            return landing.report
        self.shell.planned(connection, landing, observed_at)
        report = replace(landing.report, status=RunStatus.DRY_RUN, exit_code=OK)
        runs.close_run(connection, report, observed_at=None)
        staging.clear(connection, self.opened.key.run_id)
        return report

    def _landing(
        self, conclusions: Sequence[StreamResult], report: RunReport, held: Sequence[UnsafeChange]
    ) -> RunCommit:
        """New scopes count from a complete walk on; who left and who is back is kept always."""
        complete = {stream.stream for stream in report.streams if stream.complete}
        complete = complete if self.job.keeps_scopes else set()
        now, before = self.scopes.now, self.scopes.before
        return RunCommit(
            run=self.opened.key,
            streams=self.intake.streams,
            report=report,
            left={found.stream.name: found.left for found in conclusions},
            back={found.stream.name: found.back for found in conclusions},
            scopes={name: now[name] for name in complete if before.get(name) != now[name]},
            held=held,
            unwritten=self.intake.unwritten,
        )

    def _reports(
        self, connection: Connection, conclusions: Sequence[StreamResult], now: datetime
    ) -> tuple[list[StreamReport], list[StreamReport]]:
        """Every stream's report and those of telling partitions; orphans are staged before.

        Which lists a stream has, its parents tell; so it is no fresher than they are. Where
        deletions are held back, what is known to be gone is still live: that is not fresh.
        """
        key = self.opened.key
        for name in staging.BELOW_PROJECTS:
            missing.stage_orphans(connection, key, name)
        streams: dict[str, StreamReport] = {}
        partitions: list[StreamReport] = []
        for found in conclusions:
            name, parent = found.stream.name, streams.get(found.stream.parent or "")
            cost = self.cost[name]
            summary, telling = report_of(found, connection, key.run_id, cost, parent)
            reads = (
                self.intake.oldest_read(name, now=now),
                None if parent is None else parent.oldest_read_at,
            )
            oldest = min((read for read in reads if read is not None), default=None)
            if summary.status == StreamStatus.HELD and not self.job.plans:
                oldest = None
            streams[name] = replace(summary, oldest_read_at=oldest)
            partitions += telling
        return list(streams.values()), partitions

    @to_its_end
    def stop(self, error: SourceError) -> RunReport:
        """Ends the run without a merge; what was staged stays where another run may go on."""
        status, exit_code = _ending(error)
        if status != RunStatus.FAILED:
            self.intake.flush()
        with self.shell.engine.begin() as connection:
            now = self.shell.clock()
            runs.renew(connection, self.job.source, self.shell.holder, now)
            streams = [self._unfinished(stream.name) for stream in self.job.streams]
            report = self._report(status, exit_code, now, streams, error=error)
            runs.close_run(connection, report, observed_at=None)
            if status == RunStatus.FAILED:
                staging.clear(connection, self.opened.key.run_id)
        return report

    def made_way(self, error: LeaseLost) -> RunReport:
        """A backfill whose lease was taken writes nothing; it goes on when the lease is free."""
        now = self.shell.clock()
        log.info(
            "%s: %s",
            self.job.source,
            error,
            extra=fields("backfill made way", source=self.job.source, reason=error),
        )
        report = self._report(RunStatus.PARKED, TRY_AGAIN, now, [], error=None)
        made_way = f"it makes way for another run of {self.job.source}"
        return replace(report, error=made_way, retry_at=now + AFTER_ANOTHER_RUN)

    def _unfinished(self, stream: str) -> StreamReport:
        cost = self.cost.get(stream, Traffic())
        return StreamReport(
            stream=stream,
            status="unfinished",
            complete=False,
            incomplete_reason="the run ended before it was read to its end",
            requests=cost.requests,
            retries=cost.retries,
            waited_seconds=cost.waited,
            pages=sum(walk.pages for walk in self.intake.walks[stream].values()),
        )

    def _report(
        self,
        status: str,
        exit_code: int,
        now: datetime,
        streams: Sequence[StreamReport],
        *,
        error: EtlError | None,
    ) -> RunReport:
        return RunReport(
            run_id=self.opened.key.run_id,
            source=self.job.source,
            provider=self.job.provider.name,
            kind=self.job.kind,
            status=status,
            exit_code=exit_code,
            started_at=self.opened.started_at,
            finished_at=now,
            attempts=self.opened.attempts,
            error=None if error is None else str(error),
            retry_at=error.retry_at if isinstance(error, RateLimited) else None,
            notes=tuple(self.notes),
            identity=next((one.credential.identity for one in self.scopes.now.values()), None),
            streams=streams,
        )


def _standing(streams: Sequence[StreamReport], held: UnsafeChange | None) -> tuple[str, int]:
    """The status and exit code of a run that came to its end."""
    if held is not None:
        return RunStatus.HELD, held.exit_code
    if any(stream.status in TROUBLE or stream.rejected for stream in streams):
        return RunStatus.PARTIAL, PARTIAL
    return RunStatus.OK, OK


def _ending(error: SourceError) -> tuple[str, int]:
    """The status and exit code of a run that an error ended."""
    if isinstance(error, TransientError):
        return RunStatus.PARKED, TRY_AGAIN
    return (
        RunStatus.DENIED if isinstance(error, AccessDenied) else RunStatus.FAILED
    ), error.exit_code


def _billed(old: Traffic, before: Traffic, after: Traffic) -> Traffic:
    return Traffic(
        requests=old.requests + after.requests - before.requests,
        retries=old.retries + after.retries - before.retries,
        waited=old.waited + after.waited - before.waited,
    )
