"""`etl worker` and `etl schedule --enqueue` as processes: set up, fill the queue, run it, stop."""

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from etl.sandbox import Fault, Sandbox, World
from tests.cli.command import Place, free_port, line, page, process, variables
from tests.conftest import Databases
from tests.support.database import count
from tests.support.internals.database import queue
from tests.support.runs import config_text, small

SECONDS = 60


@pytest.fixture
def engine(databases: Databases) -> Iterator[Engine]:
    """A Postgres without a queue."""
    with databases("postgres") as engine:
        yield engine


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A small one."""
    with Sandbox(small()) as sandbox:
        yield sandbox


@pytest.fixture
def place(engine: Engine, sandbox: Sandbox, tmp_path: Path) -> Place:
    """A configuration of three sources on Postgres, one of them on a cron line."""
    url = engine.url.render_as_string(hide_password=False).replace("+psycopg", "")
    statsig = 'provider = "statsig"\n'
    config = config_text(sandbox, url).replace(statsig, f'{statsig}schedule = "0 0 * * *"\n')
    path = tmp_path / "etl.toml"
    path.write_text(config)
    return Place(sandbox=sandbox, config=path)


def started(place: Place, *words: str) -> "subprocess.Popen[str]":
    """A command in a process of its own, its output in one pipe."""
    command = line("--config", str(place.config), "--log", "text", *words)
    return subprocess.Popen(
        command, env=variables(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def waiting(engine: Engine) -> list[tuple[str, str]]:
    """Source and status of every job."""
    query = f"SELECT lock, status FROM {queue.SCHEMA}.procrastinate_jobs ORDER BY id"  # noqa: S608
    with engine.connect() as connection:
        return [(row.lock, row.status) for row in connection.execute(text(query))]


def test_what_is_due_is_queued_and_a_worker_runs_it(engine: Engine, place: Place) -> None:
    assert place.etl("worker", "--setup").out == "the queue (etl_queue) is set up\n"
    assert "is as it should be" in place.etl("worker", "--setup").out
    with started(place, "schedule", "--enqueue", "--health-port", "0") as daemon:
        assert daemon.stdout is not None
        assert any("st: queued" in told for told in daemon.stdout)
        daemon.send_signal(signal.SIGTERM)
        assert "what is queued waits for a worker" in daemon.communicate(timeout=SECONDS)[0]
    assert waiting(engine) == [("st", "todo")]
    port = free_port()
    with started(place, "worker", "--health-port", str(port)) as worker:
        assert worker.stdout is not None
        assert any("st: ok" in told for told in worker.stdout)
        assert json.loads(page(port, "healthz"))["status"] == "ok"
        worker.send_signal(signal.SIGTERM)
        assert "stopped" in worker.communicate(timeout=SECONDS)[0]
    assert (daemon.returncode, worker.returncode, waiting(engine)) == (0, 0, [])
    assert count(engine, "layers") == place.sandbox.counts()["statsig"]["layers"]


def test_sigterm_parks_the_run_and_gives_lease_and_job_back(engine: Engine, place: Place) -> None:
    with engine.begin() as connection:
        queue.set_up(connection)
        queue.enqueue(connection, "st")

    def end(_world: World) -> None:
        worker.send_signal(signal.SIGTERM)

    place.sandbox.add_fault(Fault("statsig */layers*", "mutate", arg=end))
    place.sandbox.add_fault(Fault("statsig */layers*", "stall", arg=300))
    with started(place, "worker", "--concurrency", "1") as worker:
        told, _ = worker.communicate(timeout=SECONDS)
    assert worker.returncode == 0, told
    assert waiting(engine) == [("st", "todo")]
    assert count(engine, "leases") == 0
    assert count(engine, "runs", "status = 'parked'") == 1


def test_a_missing_key_keeps_no_other_job_from_its_run(engine: Engine, place: Place) -> None:
    place.config.write_text(place.config.read_text().replace("KEY_ly", "NO_SUCH_KEY"))
    with engine.begin() as connection:
        queue.set_up(connection)
        for name in ("ly", "st"):
            queue.enqueue(connection, name)
    port = free_port()
    with started(place, "worker", "--concurrency", "1", "--health-port", str(port)) as worker:
        assert worker.stdout is not None
        assert any("ly is left out" in told for told in worker.stdout)
        assert any("st: ok" in told for told in worker.stdout)
        assert json.loads(page(port, "healthz"))["left_out"] == ["ly"]
        worker.send_signal(signal.SIGTERM)
        worker.communicate(timeout=SECONDS)
    assert worker.returncode == 0


def test_a_worker_on_sqlite_is_told_what_to_do_instead(tmp_path: Path) -> None:
    config = tmp_path / "etl.toml"
    config.write_text('[sources.st]\nprovider = "statsig"\napi_key = { env = "KEY_st" }\n')
    ended = process("--config", str(config), "worker", at=tmp_path)
    assert (ended.code, ended.out) == (2, "")
    assert "needs Postgres" in ended.err
    assert "etl schedule" in ended.err


def test_a_queue_that_is_not_there_is_an_error_before_the_first_tick(place: Place) -> None:
    for words in (["worker"], ["schedule", "--enqueue"]):
        ended = place.etl(*words)
        assert (ended.code, "run `etl worker --setup`" in ended.err) == (2, True)
