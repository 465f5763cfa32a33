"""How far workers carry: many sources of twenty requests with latency, by 1, 2 and 4 workers.

Prints sources a second, initial and unchanged, and what each costs the database; asserts only that
everything was read. WORKERS_SOURCES and WORKERS_LATENCY change the size, WORKERS_OF the processes,
WORKERS_AT_ONCE the runs of each.
"""

import json
import os
import re
import resource
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import pytest
from sqlalchemy import Engine, text

from etl.schedule import queue
from tests.cli.command import line, variables
from tests.conftest import Databases
from tests.support.database import count

SOURCES = int(os.environ.get("WORKERS_SOURCES", "1000"))
LATENCY = float(os.environ.get("WORKERS_LATENCY", "0.1"))
PROCESSES = [int(number) for number in os.environ.get("WORKERS_OF", "1,2,4").split(",")]
AT_ONCE = int(os.environ.get("WORKERS_AT_ONCE", "8"))
SIZES = {
    "ld_projects": 18,
    "ld_environments": 2,
    "ld_layers": 5,
    "statsig_layers": 1,
    "layers_projects": 1,
}
KEYS = {f"KEY_{number}": f"api-bench-{number}" for number in range(SOURCES)}
SERVER = Path(__file__).with_name("served.py")
WRITTEN = """
SELECT xact_commit, tup_inserted + tup_updated + tup_deleted AS rows,
       pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0') AS wal, now() AS at
FROM pg_stat_database WHERE datname = current_database()
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """One wave of all sources."""

    wall: float
    queued: float  # seconds until all were in the queue
    requests: int
    commits: int
    rows: int
    wal: int
    connections: int


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The URL of a fast server that answers late."""
    command = [sys.executable, str(SERVER), json.dumps(SIZES), str(LATENCY)]
    root = str(Path(__file__).parents[1])
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": root}
    ) as serving:
        assert serving.stdout is not None
        found = re.search(r"http://[\d.:]+", serving.stdout.readline())
        assert found
        yield found.group()
        serving.terminate()


@contextmanager
def working(config: Path, number: int) -> Iterator[None]:
    """So many workers, each ready."""
    words = line("--config", str(config), "worker", "--concurrency", str(AT_ONCE))
    environ = variables(**KEYS, PYTHONUNBUFFERED="1")
    workers = [
        subprocess.Popen(words, stdout=subprocess.PIPE, env=environ, text=True)
        for _ in range(number)
    ]
    try:
        for worker in workers:
            assert worker.stdout is not None
            assert "waiting for jobs" in worker.stdout.readline()
        yield
    finally:
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.communicate(timeout=60)


def wave(engine: Engine, url: str) -> Cost:
    """All sources are queued, and run by whoever is there."""
    before, _ = written(engine), requests(url)
    began = time.perf_counter()
    for number in range(SOURCES):
        with engine.begin() as connection:
            queue.enqueue(connection, f"ld-{number}")
    queued = time.perf_counter() - began
    most = 0
    while count(engine, f"{queue.SCHEMA}.procrastinate_jobs"):
        most = max(most, count(engine, "pg_stat_activity", "datname = current_database()"))
        Event().wait(0.2)
    wall = time.perf_counter() - began
    Event().wait(1.5)  # until the server's statistics have all of it
    after = written(engine)
    return Cost(
        wall=wall,
        queued=queued,
        requests=requests(url),
        commits=after["commits"] - before["commits"],
        rows=after["rows"] - before["rows"],
        wal=after["wal"] - before["wal"],
        connections=most,
    )


def written(engine: Engine) -> dict[str, int]:
    """What the database has done so far."""
    with engine.connect() as connection:
        row = connection.execute(text(WRITTEN)).one()
    return {"commits": int(row.xact_commit), "rows": int(row.rows), "wal": int(row.wal)}


def requests(url: str) -> int:
    """What the server was asked since the last time."""
    with urllib.request.urlopen(f"{url}/_bench/requests", timeout=30) as answer:  # noqa: S310
        told = json.load(answer)
    return int(told["requests"])


def config_for(engine: Engine, url: str, path: Path) -> Path:
    """As many sources, each with a key and so with a budget of its own."""
    database = engine.url.render_as_string(hide_password=False).replace("+psycopg", "")
    lines = [f'[database]\nurl = "{database}"']
    lines += [
        f'[sources.ld-{number}]\nprovider = "launchdarkly"\nbase_url = "{url}"\n'
        f'api_key = {{ env = "KEY_{number}" }}'
        for number in range(SOURCES)
    ]
    path.write_text("\n".join(lines))
    return path


def test_sources_a_second_by_workers(
    databases: Databases, server: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    used: dict[int, float] = {}
    told: list[tuple[int, str, Cost]] = []
    for number in PROCESSES:
        with databases("postgres") as engine:
            with engine.begin() as connection:
                queue.set_up(connection)
            config = config_for(engine, server, tmp_path / f"{number}.toml")
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            with working(config, number):
                costs = {phase: wave(engine, server) for phase in ("initial", "unchanged")}
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            assert count(engine, "runs", "status = 'ok'") == 2 * SOURCES
        told += [(number, phase, cost) for phase, cost in costs.items()]
        used[number] = cpu / SOURCES / 2
    with capsys.disabled():
        print(f"\n\n{SOURCES:,} sources, {LATENCY * 1000:.0f} ms a request, {AT_ONCE} at once each")
        print("workers  phase        wall s  sources/s  requests  commits   rows  WAL KB  conn.")
        for number, phase, cost in told:
            each = [value / SOURCES for value in (cost.requests, cost.commits, cost.rows)]
            print(
                f"{number:>7}  {phase:10}{cost.wall:>9.1f}{SOURCES / cost.wall:>11.1f}"
                f"{each[0]:>10.1f}{each[1]:>9.1f}{each[2]:>7.1f}"
                f"{cost.wal / SOURCES / 1024:>8.1f}{cost.connections:>7}"
                f"   queued in {cost.queued:.1f} s"
            )
        spent = ", ".join(f"{seconds * 1000:.0f} ms by {n}" for n, seconds in used.items())
        print(f"processor time of the workers a run: {spent}")
