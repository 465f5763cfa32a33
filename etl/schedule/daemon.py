"""The daemon's clockwork: every source on its cron line, one run of it at a time.

APScheduler keeps the time; schedules come from the configuration at each start, no job is stored.
A tick that was missed (asleep, still running) is made up for once. A source that fails does not
stop the others; between its ticks it is tried again after longer and longer pauses, and not before
the vendor allows it.
"""

import logging
import random
import threading
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger

from etl.config.cron import cron_trigger
from etl.config.settings import Settings, SourceSettings
from etl.errors import ConfigError, StoreError
from etl.extract.retry import COMMITTED_EXIT_CODES, rest
from etl.log_fields import fields
from etl.model import RunReport

log = logging.getLogger(__name__)

MAX_RUNS_AT_ONCE = 16
SPREAD = 5  # seconds
MAX_REST = timedelta(days=1)


def cron_of(source: SourceSettings) -> BaseTrigger | None:
    """The trigger of a source's cron line; None for a source that is only run by hand.

    Sources of the same minute do not all begin in the same instant.
    """
    if source.schedule is None:
        return None
    trigger = cron_trigger(source.schedule, source.timezone)
    trigger.jitter = SPREAD
    return trigger


@dataclass(slots=True, kw_only=True)
class Schedule:
    """Runs sources when they are due; start(), reload(), stop().

    load: the settings as they are now. sync: runs a source once. interrupt: ends the runs at work
    as soon as their page is there. last_started: when a source was
    last run, or None. done: is told of every run. last: the newest report of each source.
    """

    load: Callable[[], Settings]
    sync: Callable[[Settings, str], RunReport]
    last_started: Callable[[str], datetime | None]
    interrupt: Callable[[], None] = lambda: None
    done: Callable[[RunReport], None] = lambda _report: None
    trigger: Callable[[SourceSettings], BaseTrigger | None] = cron_of
    clock: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))  # noqa: TID251
    jitter: Callable[[], float] = random.random
    last: dict[str, RunReport] = field(default_factory=dict)
    stopping: threading.Event = field(default_factory=threading.Event, init=False)
    _settings: Settings = field(init=False, repr=False)
    _failures: dict[str, int] = field(default_factory=dict, init=False)
    _rests_until: dict[str, datetime] = field(default_factory=dict, init=False)
    _planning: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)
    _turns: dict[str, threading.Lock] = field(default_factory=dict, init=False, repr=False)
    _scheduler: BackgroundScheduler = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._scheduler = BackgroundScheduler(
            timezone=UTC,
            executors={"default": ThreadPoolExecutor(MAX_RUNS_AT_ONCE)},
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        )

    def start(self) -> None:
        """Every source is scheduled; what is overdue runs at once. Raises ConfigError."""
        self._settings = self.load()
        self._plan(known=())
        self._scheduler.start()

    def reload(self) -> None:
        """The configuration as it is now; a broken one is told and changes nothing.

        What a source was about to do, it does, unless it is gone or has another schedule.
        """
        before = self._settings
        try:
            self._settings = self.load()
        except ConfigError as error:
            log.error(  # noqa: TRY400  no traceback
                "the new configuration is not taken: %s",
                error,
                extra=fields("configuration refused", error=error),
            )
            return
        for name, source in before.sources.items():
            self._forget(name, source, self._settings.sources.get(name))
        self._plan(known=before.sources)
        sources = self._settings.sources
        log.info(
            "the configuration was read again: %d sources",
            len(sources),
            extra=fields("configuration read", sources=list(sources)),
        )

    def stop(self) -> None:
        """No run begins any more; those at work finish their page, park, and are waited for."""
        with self._planning:
            self.stopping.set()
        self._scheduler.remove_all_jobs()  # one that came due in mid-shutdown would be an error
        self.interrupt()
        self._scheduler.shutdown(wait=True)

    def left_out(self) -> list[str]:
        """The sources that do not run, as their keys are missing."""
        return sorted(self._settings.unusable)

    def next_runs(self) -> dict[str, datetime]:
        """Source -> when it is due next."""
        found: dict[str, datetime] = {}
        for job in self._scheduler.get_jobs():
            (name,) = job.args
            # a job has no time of its own before the scheduler runs
            moment, rests_until = getattr(job, "next_run_time", None), self._rests_until.get(name)
            if moment is not None and (rests_until is None or moment >= rests_until):
                found[name] = min(found.get(name, moment), moment)
        return found

    def _forget(self, name: str, old: SourceSettings, new: SourceSettings | None) -> None:
        """What is planned of a source goes where its schedule is another; all where it is gone."""
        same = new is not None and (new.schedule, new.timezone) == (old.schedule, old.timezone)
        gone = not self._is_wanted(name)
        for job_id in (*(() if same else (name,)), *((_retry(name),) if gone else ())):
            with suppress(JobLookupError):  # there is none, or it came due just now
                self._scheduler.remove_job(job_id)
        if gone:
            self.last.pop(name, None)

    def _is_wanted(self, name: str) -> bool:
        """Whether a source is there and has a schedule, as the configuration is now."""
        source = self._settings.sources.get(name)
        return source is not None and source.schedule is not None

    def _plan(self, *, known: Collection[str]) -> None:
        """Sources without a job get one; what is overdue of those not known so far runs at once."""
        for name, source in self._settings.sources.items():
            trigger = self.trigger(source)
            if trigger is None:
                log.info("%s has no schedule", name, extra=fields("no schedule", source=name))
                continue
            if self._scheduler.get_job(name) is None:
                self._scheduler.add_job(self._run, trigger, args=[name], id=name)
            if name not in known and self._overdue(name, trigger):
                self._again(name, self.clock())

    def _overdue(self, name: str, trigger: BaseTrigger) -> bool:
        """Whether a tick passed since the last run, or there was none."""
        try:
            last = self.last_started(name)
        except StoreError as error:
            log.warning("%s: %s; it runs at its next tick", name, error)
            return False
        due = None if last is None else trigger.get_next_fire_time(last, last)
        now = self.clock()
        return last is None or last > now or (due is not None and due <= now)

    def _run(self, name: str) -> None:
        rests_until, now = self._rests_until.get(name), self.clock()
        # a longer rest was set by a clock that has gone back since
        rests = rests_until is not None and now < rests_until <= now + MAX_REST
        if self.stopping.is_set() or rests:
            moment = None if rests_until is None else rests_until.isoformat(timespec="seconds")
            log.info(
                "%s rests until %s",
                name,
                moment,
                extra=fields("run postponed", source=name, until=rests_until),
            )
            return
        if not self._is_wanted(name):
            return  # it was taken out of the configuration when it came due
        turn = self._turns.setdefault(name, threading.Lock())
        if not turn.acquire(blocking=False):
            log.info("%s is still at work", name, extra=fields("run still at work", source=name))
            return
        try:
            report = self.sync(self._settings, name)
            if self._is_wanted(name):
                self.last[name] = report
            self._judge(report)
            self.done(report)
            self._tell(name)
        finally:
            turn.release()

    def _tell(self, name: str) -> None:
        """When a source is due next, behind the line of its run."""
        with self._planning:
            due = None if self.stopping.is_set() else self.next_runs().get(name)
        if due is not None:
            log.info(
                "%s: next run %s",
                name,
                due.isoformat(timespec="seconds"),
                extra=fields("next run", source=name, at=due),
            )

    def _judge(self, report: RunReport) -> None:
        """When a source is tried again that did not come to its end."""
        name = report.source
        if report.exit_code in COMMITTED_EXIT_CODES:
            self._failures.pop(name, None)
            self._rests_until.pop(name, None)
            return
        self._failures[name] = self._failures.get(name, 0) + 1
        again = self.clock() + rest(self._failures[name])
        if report.retry_at is not None:
            self._rests_until[name] = again = report.retry_at
        if not self.stopping.is_set():
            moment = again.isoformat(timespec="seconds")
            tick = "" if report.retry_at else " or its next tick"
            log.warning(
                "%s: %s; again at %s%s",
                name,
                report.status,
                moment,
                tick,
                extra=fields("retry scheduled", source=name, status=report.status, retry_at=again),
            )
        with self._planning:  # APScheduler waits in shutdown for this run, and holds its own lock
            job = None if self.stopping.is_set() else self._scheduler.get_job(name)
            if job is not None and (report.retry_at or again < job.next_run_time):
                self._again(name, again + timedelta(seconds=self.jitter()))

    def _again(self, name: str, moment: datetime) -> None:
        """One more run, besides the cron line."""
        self._scheduler.add_job(
            self._run,
            "date",
            run_date=moment,
            args=[name],
            id=_retry(name),
            replace_existing=True,
        )


def _retry(name: str) -> str:
    """The job besides the cron line."""
    return f"{name} again"
