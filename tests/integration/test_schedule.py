"""The daemon's clockwork, on real triggers that come fast, without a real wait."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.interval import IntervalTrigger

from etl.errors import ConfigError
from tests.support.internals.running import SPREAD, Schedule, Settings, cron_of, load
from tests.support.internals.values import RunReport, rest
from tests.support.runs import ended

NOW = datetime.now(UTC)
PATIENCE = 60.0  # seconds until a test gives up

TICK = (NOW.minute + 30) % 60
HOURLY = f"{TICK} * * * *"  # half an hour away, or a test that runs just then would see the tick
CONFIG = f"""
[sources.one]
provider = "layers"
schedule = "{HOURLY}"
[sources.two]
provider = "layers"
schedule = "0 6 * * mon"
[sources.by-hand]
provider = "layers"
"""


report = partial(ended, NOW)


class Runs:
    """Notes every run, and lets a test wait for the n-th of a source."""

    def __init__(self, ends: Callable[[str, int], RunReport]) -> None:
        self.of: dict[str, int] = {}
        self._ends = ends
        self._changed = threading.Condition()

    def sync(self, _settings: Settings, name: str) -> RunReport:
        with self._changed:
            self.of[name] = self.of.get(name, 0) + 1
            count = self.of[name]
            self._changed.notify_all()
        return self._ends(name, count)

    def wait_for(self, name: str, count: int) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self.of.get(name, 0) >= count, PATIENCE)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "etl.toml"
    path.write_text(CONFIG)
    return path


@pytest.fixture
def begin(config: Path) -> Iterator[Callable[..., Schedule]]:
    """Starts a schedule; stopped at the end of the test."""
    started: list[Schedule] = []

    def start(runs: Runs, **fields: Any) -> Schedule:
        defaults: dict[str, Any] = {
            "load": lambda: load(config, environ={}, secrets=False),
            "sync": runs.sync,
            "last_started": lambda _name: NOW,
            "jitter": lambda: 0.0,
        }
        schedule = Schedule(**{**defaults, **fields})
        schedule.start()
        started.append(schedule)
        return schedule

    yield start
    for schedule in started:
        if not schedule.stopping.is_set():
            schedule.stop()


def often(source: Any) -> BaseTrigger | None:
    """Every scheduled source ten times a second."""
    return None if source.schedule is None else IntervalTrigger(seconds=0.1, timezone=UTC)


def test_every_source_with_a_schedule_is_due_at_its_cron_time(begin) -> None:
    schedule = begin(Runs(lambda name, _count: report(name)))
    due = schedule.next_runs()
    assert set(due) == {"one", "two"}
    assert (due["one"].minute, due["two"].weekday(), due["two"].hour) == (TICK, 0, 6)


def test_sources_of_the_same_minute_are_spread_over_some_seconds(config: Path) -> None:
    trigger = cron_of(load(config, environ={}, secrets=False).sources["one"])
    assert trigger is not None
    tick = datetime(2026, 11, 1, 12, TICK, tzinfo=UTC)
    late = {trigger.get_next_fire_time(None, tick) - tick for _ in range(20)}
    assert len(late) > 1
    assert timedelta() <= min(late) <= max(late) <= timedelta(seconds=SPREAD)


class Heard(logging.Handler):
    """Keeps the first line with these words; `there` is set when it comes."""

    def __init__(self, words: str) -> None:
        super().__init__()
        self.words, self.there = words, threading.Event()
        self.fields: dict[str, Any] = {}

    def emit(self, record: logging.LogRecord) -> None:
        if self.words in record.getMessage() and not self.there.is_set():
            self.fields = vars(record)["fields"]
            self.there.set()


@contextmanager
def heard(words: str) -> Iterator[Heard]:
    """What the schedule logs with these words."""
    listener, logger = Heard(words), logging.getLogger("etl.schedule.daemon")
    level = logger.level
    logger.addHandler(listener)
    logger.setLevel(logging.INFO)
    try:
        yield listener
    finally:
        logger.removeHandler(listener)
        logger.setLevel(level)


def test_the_log_tells_when_a_source_is_due_next(begin) -> None:
    with heard("one: next run 2") as line:
        begin(
            Runs(lambda name, _count: report(name)),
            last_started=lambda name: None if name == "one" else NOW,
        )
        assert line.there.wait(PATIENCE)
    assert (line.fields["event"], line.fields["source"]) == ("next run", "one")
    assert line.fields["at"].minute == TICK


def test_the_log_tells_which_source_has_no_schedule(begin) -> None:
    with heard("by-hand has no schedule") as line:
        begin(Runs(lambda name, _count: report(name)))
    assert line.fields == {"event": "no schedule", "source": "by-hand"}


def test_the_log_tells_that_a_source_is_still_at_work_when_it_is_due_again(begin) -> None:
    gate = threading.Event()

    def ends(name: str, _count: int) -> RunReport:
        gate.wait(PATIENCE)
        return report(name)

    runs = Runs(ends)
    with heard("one is still at work") as line:
        begin(runs, trigger=often, last_started=lambda _name: None)  # overdue, and each tick
        assert line.there.wait(PATIENCE)
    assert line.fields == {"event": "run still at work", "source": "one"}
    assert runs.of["one"] == 1
    gate.set()


def test_a_source_that_never_ran_runs_at_once(begin) -> None:
    runs = Runs(lambda name, _count: report(name))
    begin(runs, last_started=lambda _name: None)
    assert runs.wait_for("one", 1)
    assert runs.wait_for("two", 1)


def test_a_tick_that_passed_while_nothing_ran_is_made_up_for(begin) -> None:
    runs = Runs(lambda name, _count: report(name))
    begin(runs, last_started=lambda _name: NOW - timedelta(hours=1))
    assert runs.wait_for("one", 1)
    assert "two" not in runs.of  # due on Mondays only


def test_a_failing_source_does_not_stop_the_others(begin) -> None:
    def ends(name: str, _count: int) -> RunReport:
        return report(name, "failed", 1) if name == "one" else report(name)

    runs = Runs(ends)
    begin(runs, trigger=often)
    assert runs.wait_for("two", 5)


def test_a_failing_source_is_tried_again_between_its_ticks(begin) -> None:
    runs = Runs(lambda name, _count: report(name, "failed", 1))
    judged = threading.Event()
    schedule = begin(
        runs,
        last_started=lambda name: None if name == "two" else NOW,
        done=lambda _report: judged.set(),
    )
    assert judged.wait(PATIENCE)
    in_a_minute = datetime.now(UTC) + timedelta(seconds=60)
    assert schedule.next_runs()["two"] <= in_a_minute  # its tick is on Monday


def test_however_often_it_failed_a_source_is_tried_on_its_ticks(begin) -> None:
    runs = Runs(lambda name, _count: report(name, "failed", 1))
    begin(runs, trigger=often)
    assert runs.wait_for("one", 5)


def test_a_source_rests_until_its_vendor_allows_it(begin) -> None:
    later = NOW + timedelta(hours=1)
    runs = Runs(lambda name, _count: report(name, "parked", 75, retry_at=later))
    begin(runs, trigger=often)
    assert runs.wait_for("two", 1)
    assert runs.wait_for("one", 1)
    assert not threading.Event().wait(0.5)  # five ticks pass
    assert runs.of == {"one": 1, "two": 1}


def test_a_parked_source_goes_on_when_the_vendor_allows_it(begin) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=1)
    runs = Runs(
        lambda name, count: (
            report(name, "parked", 75, retry_at=soon) if count == 1 else report(name)
        )
    )
    schedule = begin(runs, last_started=lambda name: None if name == "one" else NOW)
    assert runs.wait_for("one", 2)
    assert datetime.now(UTC) >= soon
    assert schedule.stopping.is_set() is False


def test_a_parked_source_is_next_due_when_its_vendor_allows_it_not_at_a_tick(begin) -> None:
    later = datetime.now(UTC) + timedelta(minutes=40)  # two ticks of "one" are before
    runs = Runs(lambda name, _count: report(name, "parked", 75, retry_at=later))
    judged = threading.Event()
    schedule = begin(
        runs,
        last_started=lambda name: None if name == "one" else NOW,
        done=lambda _report: judged.set(),
    )
    assert judged.wait(PATIENCE)
    assert later <= schedule.next_runs()["one"] <= later + timedelta(seconds=1)


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now


def test_a_source_that_came_to_its_end_rests_no_more_where_the_clock_goes_back(begin) -> None:
    clock = Clock()
    start, later = clock.now, clock.now + timedelta(hours=1)

    def ends(name: str, count: int) -> RunReport:
        clock.now = start if count == 2 else later
        return report(name) if count == 2 else report(name, "parked", 75, retry_at=later)

    runs = Runs(ends)
    begin(runs, trigger=lambda source: often(source) if source.name == "one" else None, clock=clock)
    assert runs.wait_for("one", 3)


def test_a_source_that_parks_again_waits_for_what_its_vendor_said_last(begin) -> None:
    clock = Clock()
    first, second = clock.now + timedelta(hours=1), clock.now + timedelta(hours=2)
    judged = threading.Semaphore(0)

    def ends(name: str, count: int) -> RunReport:
        clock.now = first
        return report(name, "parked", 75, retry_at=first if count == 1 else second)

    schedule = begin(
        Runs(ends),
        trigger=lambda source: often(source) if source.name == "one" else None,
        clock=clock,
        done=lambda _report: judged.release(),
    )
    assert judged.acquire(timeout=PATIENCE)
    assert judged.acquire(timeout=PATIENCE)
    assert schedule.next_runs()["one"] == second


def test_a_failed_source_is_not_tried_again_after_a_tick_that_comes_before(
    begin, config: Path
) -> None:
    """Seen where a reload takes the ticks away, and leaves what else is planned."""
    judged, tick = threading.Event(), IntervalTrigger(seconds=30, timezone=UTC)
    schedule = begin(
        Runs(lambda name, _count: report(name, "failed", 1)),
        trigger=lambda source: tick if source.schedule == HOURLY else cron_of(source),
        last_started=lambda name: None if name == "one" else NOW,
        done=lambda _report: judged.set(),
    )
    assert judged.wait(PATIENCE)
    config.write_text(CONFIG.replace(HOURLY, "0 0 29 2 *"))  # years away, if need be
    schedule.reload()
    assert schedule.next_runs()["one"] > datetime.now(UTC) + timedelta(days=1)


def test_two_runs_of_one_source_never_overlap(begin) -> None:
    gate, inside, most = threading.Event(), threading.Semaphore(1), []

    def ends(name: str, _count: int) -> RunReport:
        most.append(inside.acquire(blocking=False))
        gate.wait(0.3)
        inside.release()
        return report(name)

    runs = Runs(ends)
    begin(runs, trigger=lambda source: often(source) if source.name == "one" else None)
    assert runs.wait_for("one", 3)
    gate.set()
    assert all(most)


def test_a_reload_takes_what_is_new(begin, config: Path) -> None:
    schedule = begin(Runs(lambda name, _count: report(name)))
    config.write_text(CONFIG.replace("[sources.two]", "[sources.three]"))
    schedule.reload()
    assert set(schedule.next_runs()) == {"one", "three"}


def test_a_source_that_is_new_after_a_reload_and_never_ran_runs_at_once(
    begin, config: Path
) -> None:
    runs = Runs(lambda name, _count: report(name))
    schedule = begin(runs, last_started=lambda name: None if name == "three" else NOW)
    config.write_text(CONFIG.replace("[sources.two]", "[sources.three]"))
    schedule.reload()
    assert runs.wait_for("three", 1)
    assert runs.of == {"three": 1}


@pytest.mark.parametrize(
    ("change", "due"),
    [
        (("[sources.two]", "[sources.three]"), "the retry"),
        ((HOURLY, "0 0 1 1 *"), "the retry"),
        ((f'schedule = "{HOURLY}"\n', ""), "nothing"),
        (("[sources.one]", "[sources.other]"), "nothing"),
    ],
)
def test_a_reload_keeps_the_try_that_a_parked_source_waits_for(
    begin, config: Path, change: tuple[str, str], due: str
) -> None:
    later = datetime.now(UTC) + timedelta(minutes=40)
    judged = threading.Event()
    schedule = begin(
        Runs(lambda name, _count: report(name, "parked", 75, retry_at=later)),
        last_started=lambda name: None if name == "one" else NOW,
        done=lambda _report: judged.set(),
    )
    assert judged.wait(PATIENCE)
    assert CONFIG.count(change[0]) == 1
    config.write_text(CONFIG.replace(*change))
    schedule.reload()
    found = schedule.next_runs().get("one")
    kept = found is not None and later <= found <= later + timedelta(seconds=1)
    assert ("the retry" if kept else "nothing") == due
    assert ("one" in schedule.last) == kept


def test_a_source_that_a_reload_takes_away_while_it_is_at_work_is_not_told_of(
    begin, config: Path
) -> None:
    gate, judged = threading.Event(), threading.Event()

    def ends(name: str, _count: int) -> RunReport:
        gate.wait(PATIENCE)
        return report(name)

    runs = Runs(ends)
    schedule = begin(
        runs,
        last_started=lambda name: None if name == "one" else NOW,
        done=lambda _report: judged.set(),
    )
    assert runs.wait_for("one", 1)
    config.write_text(CONFIG.replace("[sources.one]", "[sources.other]"))
    schedule.reload()
    gate.set()
    assert judged.wait(PATIENCE)
    assert schedule.last == {}


@contextmanager
def job_ended() -> Iterator[threading.Event]:
    """Set when APScheduler says that a job ended."""
    ended = threading.Event()

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "executed successfully" in record.getMessage():
                ended.set()

    log, listener = logging.getLogger("apscheduler.executors.default"), Listener()
    before = log.level
    log.addHandler(listener)
    log.setLevel(logging.INFO)
    try:
        yield ended
    finally:
        log.removeHandler(listener)
        log.setLevel(before)


def test_a_source_that_a_reload_takes_away_while_it_is_due_runs_no_more(
    begin, config: Path
) -> None:
    """It came due, and is taken out before its run begins: there is no key for it any more."""
    main, due, gone = threading.current_thread(), threading.Event(), threading.Event()

    def clock() -> datetime:
        if threading.current_thread() is not main:  # the run that came due looks at the time first
            due.set()
            gone.wait(PATIENCE)
        return NOW

    runs = Runs(lambda name, _count: report(name))
    with job_ended() as ended:
        schedule = begin(
            runs, clock=clock, last_started=lambda name: None if name == "one" else NOW
        )
        assert due.wait(PATIENCE)
        config.write_text("[sources.two]" + CONFIG.partition("[sources.two]")[2])
        schedule.reload()
        gone.set()
        assert ended.wait(PATIENCE)
    assert "one" not in runs.of


def test_a_reload_leaves_a_tick_that_is_seconds_away_where_it_is(begin, config: Path) -> None:
    schedule = begin(Runs(lambda name, _count: report(name)))
    before = schedule.next_runs()
    config.write_text(CONFIG + '[sources.four]\nprovider = "layers"\nschedule = "0 0 * * *"\n')
    schedule.reload()
    assert {name: schedule.next_runs()[name] for name in before} == before


def test_a_broken_configuration_changes_nothing(begin, config: Path) -> None:
    schedule = begin(Runs(lambda name, _count: report(name)))
    config.write_text("nonsense")
    schedule.reload()
    assert set(schedule.next_runs()) == {"one", "two"}


def test_a_broken_configuration_at_the_start_is_an_error(begin, config: Path) -> None:
    config.write_text("nonsense")
    with pytest.raises(ConfigError):
        begin(Runs(lambda name, _count: report(name)))


def test_stopping_interrupts_runs_and_waits_for_them(begin) -> None:
    interrupted, ended = threading.Event(), threading.Event()

    def ends(name: str, _count: int) -> RunReport:
        interrupted.wait(PATIENCE)
        ended.set()
        return report(name, "parked", 75)

    runs = Runs(ends)
    schedule = begin(
        runs,
        last_started=lambda name: None if name == "one" else NOW,
        interrupt=interrupted.set,
    )
    assert runs.wait_for("one", 1)
    schedule.stop()
    assert ended.is_set()


def test_the_rest_after_failures_doubles_up_to_a_limit() -> None:
    minutes = [rest(count).total_seconds() / 60 for count in (1, 2, 3, 10, 1000)]
    assert minutes == [1, 2, 4, 360, 360]


def test_a_source_without_a_schedule_has_no_trigger(config: Path) -> None:
    settings = load(config, environ={}, secrets=False)
    assert cron_of(settings.sources["by-hand"]) is None
