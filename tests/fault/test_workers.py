"""Rows 44 and 45 with a queue: two workers on one Postgres, each killed while it was at work."""

import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from sqlalchemy import Engine, text

from etl.sandbox import Sandbox
from tests.cli.command import variables
from tests.conftest import Databases
from tests.support.database import count, rows
from tests.support.history import violations
from tests.support.internals.database import open_engine, queue
from tests.support.own_postgres import own_postgres
from tests.support.runs import SOURCES, settings_for, small, sync_all
from tests.support.working import AT_ONCE

pytestmark = pytest.mark.slow

MANY, SOME = 200, 20
JOBS = f"{queue.SCHEMA}.procrastinate_jobs"
PATIENCE = 300  # seconds
PAGED: dict[str, Any] = {
    "ld": {"limits": {"rate_limits": []}},
    "st": {"layers": {"page_size": 5}, "limits": {"rate_limits": []}},
    "ly": {"projects": {"page_size": 3}, "limits": {"rate_limits": []}},
}
Start = Callable[..., "subprocess.Popen[str]"]
TABLES = ("projects", "environments", "layers")
NOTE_LEASES = """
CREATE SCHEMA proof;
CREATE TABLE proof.lease_log (n serial, operation text, source text, pid integer, tx xid8);
CREATE FUNCTION note_lease() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE lease leases := coalesce(NEW, OLD);
BEGIN
    INSERT INTO proof.lease_log (operation, source, pid, tx)
    VALUES (TG_OP, lease.source, lease.pid, pg_current_xact_id());
    RETURN NULL;
END $$;
CREATE TRIGGER noted AFTER INSERT OR DELETE ON leases
FOR EACH ROW EXECUTE FUNCTION note_lease();
"""


@pytest.fixture
def engine(databases: Databases) -> Iterator[Engine]:
    """A Postgres with a queue, which notes who held the lease of what."""
    with databases("postgres") as engine:
        with engine.begin() as connection:
            queue.set_up(connection)
            connection.connection.driver_connection.execute(NOTE_LEASES)  # type: ignore[union-attr]
        yield engine


@pytest.fixture
def reference(databases: Databases) -> Iterator[Engine]:
    """Another database, for one undisturbed run a provider."""
    with databases("postgres") as engine:
        yield engine


def many_sources(engine: Engine, sandbox: Sandbox, folder: Path) -> tuple[Path, list[str]]:
    """A configuration of many sources at one sandbox; their names."""
    url = engine.url.render_as_string(hide_password=False).replace("+psycopg", "")
    lines, names = [f'[database]\nurl = "{url}"'], []
    kinds = ("st", "ly", "st", "ly", "ld")
    for number in range(MANY):
        kind = kinds[number % len(kinds)]
        name = f"{kind}-{number:03}"
        names.append(name)
        lines += [f'[sources.{name}]\nprovider = "{SOURCES[kind]}"\nbase_url = "{sandbox.url}"']
        lines += [f'api_key = {{ env = "KEY_{kind}" }}']
        for table, values in PAGED[kind].items():
            lines += [f"[sources.{name}.{table}]"]
            lines += [f"{option} = {value}" for option, value in values.items()]
    config = folder / "many.toml"
    config.write_text("\n".join(lines))
    return config, names


@pytest.fixture
def working() -> Iterator[Start]:
    """Starts a worker in a process of its own; none outlives the test."""
    begun = []

    def start(config: Path, *words: object) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "tests.support.working", str(config), *map(str, words)]
        root = Path(__file__).parents[2]
        begun.append(subprocess.Popen(command, env=variables(), cwd=root, text=True))
        return begun[-1]

    yield start
    for process in begun:
        process.kill()
        process.wait()


def wait_until(
    engine: Engine, table: str, enough: Callable[[int], bool], *workers: "subprocess.Popen[str]"
) -> None:
    """Until the table has as many rows as it should, while the workers live."""
    until = time.monotonic() + PATIENCE
    while not enough(found := count(engine, table)):
        assert time.monotonic() < until, f"{found} rows in {table}"
        assert all(worker.poll() is None for worker in workers)
        Event().wait(0.05)


def stored(engine: Engine) -> dict[str, Counter[Any]]:
    """Source -> its records of every kind, by what they are and not by who read them."""
    found: dict[str, Counter[Any]] = defaultdict(Counter)
    for table in TABLES:
        for row in rows(engine, table):
            source, what = row["source"], (row["external_id"], row["content_hash"])
            if row["external_id"] == source:  # Statsig's project is identified by its source
                what = ("", "")
            found[source][table, row["key"], *what, row["is_deleted"]] += 1
    return found


def overlaps(engine: Engine, killed: set[int]) -> list[str]:
    """Sources whose lease went from one run to another while the first was alive."""
    holders: dict[str, Any] = {}
    found = []
    with engine.connect() as connection:
        log = connection.execute(text("SELECT * FROM proof.lease_log ORDER BY n")).all()
    for row in log:
        if row.operation == "DELETE":
            holders[row.source] = row
            continue
        before = holders.pop(row.source, None)
        taken_over = before is not None and before.tx == row.tx
        if taken_over and before.pid not in killed:
            found.append(row.source)
    return found


@pytest.mark.row(44, 45)
def test_two_workers_killed_at_work_lose_nothing_and_run_nothing_twice_at_once(
    engine: Engine, reference: Engine, working: Start, tmp_path: Path
) -> None:
    with Sandbox(small()) as sandbox:
        sync_all(reference, settings_for(sandbox, **PAGED))
        config, names = many_sources(engine, sandbox, tmp_path)
        with engine.begin() as connection:
            assert all(queue.enqueue(connection, name) for name in names)
        doomed = working(config, "merge", 12), working(config, "walk", 20)
        ends, heirs = [], []
        for one in doomed:
            ends.append(one.wait(PATIENCE))
            heirs.append(working(config))
        wait_until(engine, JOBS, lambda left: left == 0, *heirs)
        for heir in heirs:
            heir.send_signal(signal.SIGTERM)
        assert [heir.wait(PATIENCE) for heir in heirs] == [0, 0]
    assert ends == [-signal.SIGKILL, -signal.SIGKILL]
    wanted = {source.split("-")[0]: records for source, records in stored(reference).items()}
    found = stored(engine)
    assert set(found) == set(names)
    assert [name for name in names if found[name] != wanted[name.split("-")[0]]] == []
    runs = rows(engine, "runs")
    assert (len(runs), {row["status"] for row in runs}) == (MANY, {"ok"})
    again = sum(row["attempts"] - 1 for row in runs)
    assert 2 <= again <= 2 * AT_ONCE  # those that were at work when a worker was killed
    assert overlaps(engine, {one.pid for one in doomed}) == []
    assert count(engine, "leases") == 0
    assert violations(engine) == []


@pytest.mark.row(44, 47)
@pytest.mark.parametrize(("mode", "after"), [("fast", SOME), ("immediate", SOME // 2)])
def test_when_postgres_was_away_a_worker_goes_on_or_ends_with_an_error(
    mode: str, after: int, working: Start, tmp_path: Path
) -> None:
    """Near the end of its jobs, and amid them. procrastinate alone would end with 0.

    What was at work meanwhile is tried again after a minute.
    """
    with own_postgres() as server, Sandbox(small()) as sandbox:
        engine = open_engine(server.database("etl"))
        config, names = many_sources(engine, sandbox, tmp_path)
        with engine.begin() as connection:
            queue.set_up(connection)
            assert all(queue.enqueue(connection, name) for name in names[:SOME])
        worker = working(config)
        wait_until(engine, "runs", lambda ran: ran >= after, worker)
        engine.dispose()
        server.restart(mode)
        with engine.begin() as connection:
            queue.enqueue(connection, names[SOME])
        worker = kept(engine, lambda: working(config), worker)
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(PATIENCE) == 0
        done = {row["source"] for row in rows(engine, "runs", "status = 'ok'")}
        assert done == set(names[: SOME + 1])
        assert violations(engine) == []
        engine.dispose()


def kept(
    engine: Engine, start: Callable[[], "subprocess.Popen[str]"], worker: "subprocess.Popen[str]"
) -> "subprocess.Popen[str]":
    """As a supervisor does it: an error starts another worker; until the queue is empty."""
    until = time.monotonic() + PATIENCE
    while left := count(engine, JOBS):
        assert time.monotonic() < until, f"{left} jobs are left"
        if worker.poll() is not None:
            assert worker.returncode == 1
            worker = start()
        Event().wait(0.1)
    return worker
