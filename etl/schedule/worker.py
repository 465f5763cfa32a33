"""The worker: takes source runs from the queue, any number of processes on any number of machines.

procrastinate says whose turn it is; that a source never runs twice at once is the work of its lease
in the database, which holds even where a worker that was thought dead wakes up. Asynchronous only
where procrastinate is: a run is the same thread of plain code as in `etl sync`.
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from etl.config.settings import SourceSettings
from etl.db.engine import store_error
from etl.errors import FAILED, OK, TRY_AGAIN, EtlError, StoreError
from etl.extract.retry import next_try
from etl.log_fields import fields
from etl.model import RunKind, RunReport, RunStatus
from etl.schedule import queue

if TYPE_CHECKING:
    from procrastinate import JobContext
    from procrastinate.worker import Worker as Taker

log = logging.getLogger(__name__)

RETRY_SECONDS = 60
POLL_SECONDS = 2.0

Ended = tuple[int, datetime | None]  # exit code, when the vendor allows the next request


def queued(
    engine: Engine, source: SourceSettings, *, priority: int, clock: Callable[[], datetime]
) -> RunReport:
    """The source waits in the queue, if it did not before; whatever happens, the report says it."""
    started, error = clock(), None
    try:
        with engine.begin() as connection:
            new = queue.enqueue(connection, source.name, priority=priority)
        log.info(
            "%s: %s",
            source.name,
            "queued" if new else "waits in the queue already",
            extra=fields("run queued" if new else "run queued already", source=source.name),
        )
    except StoreError as found:
        error = str(found)
    except SQLAlchemyError as found:
        error = str(store_error(found, f"queueing {source.name}"))
    return RunReport(
        run_id=None,
        source=source.name,
        provider=source.provider,
        kind=RunKind.SYNC,
        status=RunStatus.QUEUED if error is None else RunStatus.FAILED,
        exit_code=OK if error is None else FAILED,
        started_at=started,
        finished_at=clock(),
        error=error,
    )


@dataclass(slots=True, kw_only=True)
class Worker:
    """Runs the sources that wait in the queue; run() until stop().

    sync: runs a source once. interrupt: ends the runs at work as soon as their page is there.
    beat: seconds between two signs of life, and between two looks at what became due or was lost;
    dead_after: seconds without a sign until the jobs of a worker are given to others.
    """

    engine: Engine
    sync: Callable[[str], RunReport]
    interrupt: Callable[[], None] = lambda: None
    done: Callable[[RunReport], None] = lambda _report: None
    concurrency: int = 1
    beat: float = 10.0
    dead_after: float = 60.0
    clock: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))  # noqa: TID251
    stopping: bool = field(default=False, init=False)  # no Event: its lock is not for signals
    _at_work: set[int] = field(default_factory=set, init=False)
    _missed: set[int] = field(default_factory=set, init=False)
    _wake: Callable[[], object] = field(default=lambda: None, init=False, repr=False)

    @property
    def at_work(self) -> int:
        """How many runs are at work."""
        return len(self._at_work)

    def run(self) -> None:
        """Until stop(). StoreError when the queue is out of reach: start the worker anew then."""
        from procrastinate.exceptions import ConnectorException
        from psycopg import Error as DriverError

        try:
            asked = asyncio.run(self._serve())
        except (ConnectorException, SQLAlchemyError, DriverError) as error:
            reason = str(error.__cause__ or error).strip().partition("\n")[0]
            raise StoreError(f"the queue is out of reach, the worker ends: {reason}") from error
        finally:
            self._wake = lambda: None
        if not asked:
            raise StoreError("the queue was out of reach for a moment, the worker ends")

    def stop(self) -> None:
        """No job is taken any more; runs at work park, and their jobs wait in the queue again."""
        self.stopping = True
        self._wake()

    async def _serve(self) -> bool:
        """Whether the end was asked for."""
        from procrastinate import App, PsycopgConnector, RetryStrategy
        from procrastinate.worker import Worker as Taker

        loop, asked = asyncio.get_running_loop(), asyncio.Event()
        self._wake = lambda: loop.call_soon_threadsafe(asked.set)
        if self.stopping:
            return True
        loop.set_default_executor(ThreadPoolExecutor(self.concurrency + 2))
        app = App(connector=PsycopgConnector(**queue.connector_options(self.engine)))
        # only a database that is away after a run makes a job fail; else the run's end decides
        retry = RetryStrategy(wait=RETRY_SECONDS)
        app.task(name=queue.TASK, queue=queue.QUEUE, pass_context=True, retry=retry)(self._work)
        async with app.open_async():
            taker = Taker(
                app=app,
                queues=[queue.QUEUE],
                concurrency=self.concurrency,
                delete_jobs="always",
                install_signal_handlers=False,
                listen_notify=False,  # its loss would not be noticed; a job can wait a moment
                fetch_job_polling_interval=min(self.beat, POLL_SECONDS),
                update_heartbeat_interval=self.beat,
                stalled_worker_timeout=self.dead_after,
            )
            taking = asyncio.create_task(taker.run())  # type: ignore[no-untyped-call]
            helpers = [asyncio.create_task(asked.wait()), asyncio.create_task(self._watch(taker))]
            await asyncio.wait([taking, *helpers], return_when=asyncio.FIRST_COMPLETED)
            was_asked = asked.is_set()
            self.stopping = True
            taking.cancel()  # it waits for the jobs at work
            await asyncio.to_thread(self.interrupt)
            for helper in helpers:
                helper.cancel()
            ends = await asyncio.gather(taking, *helpers, return_exceptions=True)
        for end in ends:
            if isinstance(end, Exception):
                raise end
        return was_asked

    async def _watch(self, taker: "Taker") -> None:
        """Every beat, what nobody works at any more waits in the queue again."""
        while True:
            await asyncio.sleep(self.beat)
            if taker.worker_id is not None:
                await asyncio.to_thread(self._take_back, taker.worker_id)

    def _take_back(self, worker: int) -> None:
        """Jobs of the dead, and those of ours that we do not know of at two looks in a row.

        The latter are rare: a job was taken, or ended, and the answer of the database was lost.
        """
        with self.engine.begin() as connection:
            dead_after = timedelta(seconds=self.dead_after)
            if not queue.known_alive(connection, worker, dead_after / 2):
                # procrastinate does not notice that its heart stopped: it watches no more once
                # its clock for periodic tasks, of which there is none, has ended
                raise StoreError("the others take this worker for dead, so it ends")
            missed = queue.held_by(connection, worker) - self._at_work
            taken = queue.take_back(connection, dead_after, missed & self._missed)
        self._missed = missed
        if taken:
            log.warning(
                "nobody is at work any more at %s; queued again",
                ", ".join(taken),
                extra=fields("runs queued again", sources=list(taken)),
            )

    def _work(self, context: "JobContext", source: str, failures: int = 0) -> None:
        job = context.job
        self._at_work.add(job.id or 0)
        try:
            again = self._again(source, failures)
            if again is not None:
                moment, count = again
                with self.engine.begin() as connection:
                    queue.enqueue(
                        connection, source, priority=job.priority, at=moment, failures=count
                    )
        finally:
            self._at_work.discard(job.id or 0)

    def _again(self, source: str, failures: int) -> tuple[datetime | None, int] | None:
        """Runs the source; -> when it waits for, and its failures in a row, if it waits again."""
        if self.stopping:
            return None, failures
        exit_code, retry_at = self._run(source)
        if self.stopping and exit_code == TRY_AGAIN:
            return retry_at, failures
        moment = next_try(exit_code, failures + 1, retry_at=retry_at, now=self.clock())
        if moment is not None:
            log.warning(
                "%s: again at %s",
                source,
                moment,
                extra=fields("retry scheduled", source=source, retry_at=moment),
            )
        return None if moment is None else (moment, failures + 1)

    def _run(self, source: str) -> Ended:
        try:
            report = self.sync(source)
        except EtlError as error:
            log.error(  # noqa: TRY400  no traceback
                "%s: %s",
                source,
                error,
                extra=fields("run failed", source=source, exit_code=error.exit_code, error=error),
            )
            return error.exit_code, None
        except Exception:
            log.exception("%s: the run broke", source, extra=fields("run broke", source=source))
            return FAILED, None
        self.done(report)
        return report.exit_code, report.retry_at
