"""The queue and its worker on a real Postgres: who waits, who runs, who runs again, and when."""

import logging
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from etl.errors import ConfigError, SchemaOutOfDate, StoreError
from tests.conftest import Databases
from tests.support.internals.database import queue, schema
from tests.support.internals.running import Worker, load, queued
from tests.support.internals.values import RunReport
from tests.support.runs import ended

PATIENCE = 60.0  # seconds until a test gives up
NOW = datetime(2099, 11, 1, tzinfo=UTC)  # no job is due by the clock of the database


@pytest.fixture
def bare(databases: Databases) -> Iterator[Engine]:
    """A Postgres without a queue."""
    with databases("postgres") as engine:
        yield engine


@pytest.fixture
def engine(bare: Engine) -> Engine:
    """A Postgres with an empty queue."""
    with bare.begin() as connection:
        assert queue.set_up(connection)
    return bare


report = partial(ended, NOW)


def put(engine: Engine, source: str, **how: Any) -> bool:
    """Puts a source in the queue."""
    with engine.begin() as connection:
        return queue.enqueue(connection, source, **how)


def jobs(engine: Engine) -> list[Any]:
    """What is in the queue, as rows."""
    with engine.connect() as connection:
        query = f"SELECT * FROM {queue.SCHEMA}.procrastinate_jobs ORDER BY id"  # noqa: S608
        return list(connection.execute(text(query)).all())


def tell(engine: Engine, statement: str) -> list[Any]:
    """Runs a statement on the queue's tables; -> its rows."""
    with engine.begin() as connection:
        connection.exec_driver_sql(f"SET LOCAL search_path = {queue.SCHEMA}")
        result = connection.exec_driver_sql(statement)
        return list(result.all()) if result.returns_rows else []


@contextmanager
def working(
    engine: Engine, sync: Callable[[str], RunReport], **how: Any
) -> Iterator[Callable[[int], None]]:
    """A worker while the block runs; gives a function that waits until so many runs ended."""
    ended = threading.Semaphore(0)

    def counted(name: str) -> RunReport:
        try:
            return sync(name)
        finally:
            ended.release()

    def wait(count: int) -> None:
        assert all(ended.acquire(timeout=PATIENCE) for _ in range(count))

    worker = Worker(engine=engine, sync=counted, clock=lambda: NOW, **how)
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        yield wait
    finally:
        worker.stop()
        thread.join(PATIENCE)
        assert not thread.is_alive()


def test_a_queue_is_set_up_once(engine: Engine) -> None:
    with engine.begin() as connection:
        assert queue.set_up(connection) is False
        queue.ensure(connection)


def test_the_tables_of_the_queue_are_none_of_the_schema(engine: Engine) -> None:
    assert schema.differences(engine) == []
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SHOW search_path").scalar() == "public"


def test_a_queue_of_an_older_procrastinate_is_brought_up_and_keeps_its_jobs(
    engine: Engine,
) -> None:
    put(engine, "st")
    before = "03.04.00_01_pre_add_retry_failed_job_procedure"
    tell(engine, f"COMMENT ON SCHEMA {queue.SCHEMA} IS '{before}'")
    with engine.begin() as connection:
        with pytest.raises(SchemaOutOfDate, match=f"{before}.*etl worker --setup"):
            queue.ensure(connection)
        assert queue.set_up(connection)
        queue.ensure(connection)
    assert [job.lock for job in jobs(engine)] == ["st"]


def test_a_queue_of_a_newer_procrastinate_is_left_alone(engine: Engine) -> None:
    tell(engine, f"COMMENT ON SCHEMA {queue.SCHEMA} IS '99.00.00_01_pre'")
    with engine.begin() as connection:
        assert queue.set_up(connection) is False
        with pytest.raises(SchemaOutOfDate, match="install a newer procrastinate"):
            queue.ensure(connection)


def test_without_a_queue_it_is_said_how_to_make_one(bare: Engine) -> None:
    with bare.begin() as connection, pytest.raises(SchemaOutOfDate, match="etl worker --setup"):
        queue.ensure(connection)


def test_sqlite_has_no_queue(databases: Databases) -> None:
    with databases("sqlite") as engine, pytest.raises(ConfigError, match="needs Postgres"):
        queue.require(engine)


def test_a_missing_extra_is_named(bare: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "procrastinate", None)
    with pytest.raises(ConfigError, match=r"pip install '\.\[worker\]'"):
        queue.require(bare)


def test_a_source_waits_only_once(engine: Engine) -> None:
    assert [put(engine, name) for name in ("st", "ld", "st")] == [True, True, False]
    assert [job.lock for job in jobs(engine)] == ["st", "ld"]


def test_a_job_is_a_name_and_a_count(engine: Engine) -> None:
    put(engine, "st")
    assert [job.args for job in jobs(engine)] == [{"source": "st", "failures": 0}]


def test_scheduled_runs_go_before_backfills(engine: Engine) -> None:
    priorities = {"b": queue.BACKFILL, "s": queue.SCHEDULED, "c": queue.BACKFILL}
    for name, priority in priorities.items():
        put(engine, name, priority=priority)
    ran: list[str] = []

    def sync(name: str) -> RunReport:
        ran.append(name)
        return report(name)

    with working(engine, sync) as wait:
        wait(3)
    assert ran == ["s", "b", "c"]
    assert jobs(engine) == []


def test_a_failed_run_waits_again_longer_and_longer_and_then_no_more(engine: Engine) -> None:
    put(engine, "st", failures=1)
    put(engine, "ld", failures=4)
    with working(engine, lambda name: report(name, "failed", 1)) as wait:
        wait(2)
    (job,) = jobs(engine)
    assert (job.args, job.status) == ({"source": "st", "failures": 2}, "todo")
    assert job.scheduled_at == NOW + timedelta(minutes=2)


def test_a_run_that_breaks_is_a_failed_one(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    def breaks(name: str) -> RunReport:
        raise ZeroDivisionError(name)

    put(engine, "st")
    with working(engine, breaks) as wait:
        wait(1)
    assert [job.args["failures"] for job in jobs(engine)] == [1]
    assert ("etl.schedule.worker", logging.ERROR, "st: the run broke") in caplog.record_tuples


def test_a_parked_run_waits_until_the_vendor_allows_it(engine: Engine) -> None:
    allowed = NOW + timedelta(minutes=37)
    put(engine, "st", priority=queue.BACKFILL)
    with working(engine, lambda name: report(name, "parked", 75, retry_at=allowed)) as wait:
        wait(1)
    assert [(job.scheduled_at, job.priority) for job in jobs(engine)] == [(allowed, 0)]


def test_a_tick_does_not_wake_a_source_that_rests(engine: Engine) -> None:
    later = datetime.now(UTC) + timedelta(hours=1)
    put(engine, "st", at=later, failures=2)
    assert put(engine, "st") is False
    assert [(job.scheduled_at, job.args["failures"]) for job in jobs(engine)] == [(later, 2)]


@pytest.mark.parametrize(("status", "code"), [("denied", 4), ("failed", 2), ("held", 3)])
def test_what_only_people_can_mend_does_not_wait_again(
    engine: Engine, status: str, code: int
) -> None:
    put(engine, "st")
    with working(engine, lambda name: report(name, status, code)) as wait:
        wait(1)
    assert jobs(engine) == []


def test_a_source_that_is_queued_while_it_runs_runs_after_it(engine: Engine) -> None:
    inside = threading.Semaphore(1)
    alone: list[bool] = []

    def sync(name: str) -> RunReport:
        alone.append(inside.acquire(blocking=False))
        if len(alone) == 1:
            assert put(engine, "st")
            put(engine, "ld")
        inside.release()
        return report(name)

    put(engine, "st")
    with working(engine, sync) as wait:
        wait(3)
    assert alone == [True, True, True]


def test_a_stopped_worker_gives_its_jobs_back(engine: Engine) -> None:
    begun, interrupted = threading.Event(), threading.Event()

    def sync(name: str) -> RunReport:
        begun.set()
        interrupted.wait(PATIENCE)
        return report(name, "parked", 75)

    put(engine, "st", failures=3)
    put(engine, "ld")
    with working(engine, sync, interrupt=interrupted.set):
        assert begun.wait(PATIENCE)
    waiting = {job.lock: (job.status, job.scheduled_at, job.args) for job in jobs(engine)}
    assert waiting["st"] == ("todo", None, {"source": "st", "failures": 3})
    assert waiting["ld"][0] == "todo"
    assert tell(engine, "SELECT * FROM procrastinate_workers") == []


def test_jobs_of_the_dead_are_taken_over(engine: Engine) -> None:
    """One died long ago, and its entry was cleared away when the worker began; one just now."""
    for name in ("first", "st", "ld"):
        put(engine, name)
    tell(engine, DEAD)
    tell(engine, f"{TAKEN} 1 WHERE lock = 'ld'")
    put(engine, "ld")  # its next tick came before
    ran: list[str] = []

    def sync(name: str) -> RunReport:
        if name == "first":
            tell(engine, DEAD)
            tell(engine, f"{TAKEN} 3 WHERE lock = 'st'")
        ran.append(name)
        return report(name)

    with working(engine, sync, beat=0.1) as wait:
        wait(3)
    assert sorted(ran) == ["first", "ld", "st"]
    assert jobs(engine) == []


DEAD = "INSERT INTO procrastinate_workers (last_heartbeat) VALUES (now() - interval '1h')"
TAKEN = "UPDATE procrastinate_jobs SET status = 'doing', worker_id ="


def test_a_job_that_a_living_worker_lost_is_found_again(engine: Engine) -> None:
    ran: list[str] = []

    def sync(name: str) -> RunReport:
        ran.append(name)
        if name == "first":
            put(engine, "lost")
            tell(engine, f"{TAKEN} (SELECT id FROM procrastinate_workers) WHERE lock = 'lost'")  # noqa: S608
        return report(name)

    put(engine, "first")
    with working(engine, sync, beat=0.1) as wait:
        wait(2)
    assert ran == ["first", "lost"]


def test_a_worker_that_the_others_take_for_dead_ends(engine: Engine) -> None:
    def sync(name: str) -> RunReport:
        tell(engine, "DELETE FROM procrastinate_workers")
        return report(name)

    put(engine, "st")
    worker = Worker(engine=engine, sync=sync, beat=0.1)
    with pytest.raises(StoreError, match="take this worker for dead"):
        worker.run()


def test_putting_a_source_in_the_queue_is_a_report(engine: Engine, tmp_path: Path) -> None:
    config = tmp_path / "etl.toml"
    config.write_text('[sources.st]\nprovider = "statsig"\n')
    source = load(config, environ={}, secrets=False).sources["st"]
    told = queued(engine, source, priority=queue.SCHEDULED, clock=lambda: NOW)
    assert (told.status, told.exit_code, [job.lock for job in jobs(engine)]) == (
        *("queued", 0),
        ["st"],
    )


def test_a_queue_out_of_reach_is_a_failed_report(bare: Engine, tmp_path: Path) -> None:
    config = tmp_path / "etl.toml"
    config.write_text('[sources.st]\nprovider = "statsig"\n')
    source = load(config, environ={}, secrets=False).sources["st"]
    told = queued(bare, source, priority=queue.SCHEDULED, clock=lambda: NOW)
    assert (told.status, told.exit_code) == ("failed", 1)
    assert "the database failed while queueing st" in str(told.error)
