"""What a question about the past costs on SQLite, with a million versions of 100,000 layers.

Every layer has changed in every run, which is the worst case: no current row answers for the past.
Prints seconds; asserts only that every layer is found. Never a time.
"""

import json
import sqlite3
import statistics
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, func, select

from etl.db import asof, reports, schema
from etl.db.engine import open_engine, snapshot

pytestmark = pytest.mark.bench

LAYERS, VERSIONS, PROJECTS, ROUNDS = 100_000, 10, 100, 3
START = datetime(2026, 1, 1, tzinfo=UTC)
IDENTITY = "source, provider, parent_id, external_id, key, name, content_hash"
LIFE = "version, operation, run_id, is_deleted, raw"


@pytest.fixture(scope="module")
def estate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    path = tmp_path_factory.mktemp("past") / "etl.db"
    engine = open_engine(f"sqlite:///{path}")
    schema.upgrade(engine)
    _fill(path)
    yield engine
    engine.dispose()


def hour(number: float) -> datetime:
    return START + timedelta(hours=number)


def _text(number: float) -> str:
    return f"{hour(number):%Y-%m-%d %H:%M:%S.%f}"


def _fill(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA synchronous = OFF")
        _insert(database, "runs", "run_id, source, provider, kind, status, scope, attempts, "
                "started_at, observed_at, etl_version",
                ((v, "ld", "launchdarkly", "sync", "ok", "{}", 1, _text(v), _text(v), "")
                 for v in range(1, VERSIONS + 1)))  # fmt: skip
        _insert(database, "projects", f"{IDENTITY}, {LIFE}, first_seen_at, changed_at",
                (("ld", "launchdarkly", "", f"{p:024x}", f"project-{p}", f"Project {p}", "1:",
                  1, "created", 1, 0, "{}", _text(1), _text(1))
                 for p in range(PROJECTS)))  # fmt: skip
        common = f"layer_id, project_id, project_key, {IDENTITY}, {LIFE}"
        _insert(database, "layers", f"{common}, first_seen_at, changed_at",
                ((*_layer(n, VERSIONS), _text(1), _text(VERSIONS))
                 for n in range(LAYERS)))  # fmt: skip
        _insert(database, "layer_history", f"{common}, valid_from, valid_to",
                ((*_layer(n, v), _text(v), _text(v + 1))
                 for v in range(1, VERSIONS) for n in range(LAYERS)))  # fmt: skip
        _insert(database, "layer_reservations", "layer_id, source, provider, external_id, key, "
                "name, content_hash, version, operation, run_id, first_seen_at, changed_at, "
                "is_deleted, environment_key, experiment_key, flag_key, reservation_percent, raw",
                ((n + 1, "ld", "launchdarkly", "[]", "e", "e", "1:", VERSIONS, "updated", VERSIONS,
                  _text(1), _text(VERSIONS), 0, "production", f"exp-{n}", "flag", 50, "{}")
                 for n in range(LAYERS)))  # fmt: skip
    database.close()


def _insert(
    database: sqlite3.Connection, table: str, columns: str, rows: Iterator[tuple[Any, ...]]
) -> None:
    marks = ", ".join("?" * (columns.count(",") + 1))
    statement = f"INSERT INTO {table} ({columns}) VALUES ({marks})"  # noqa: S608  names of ours
    database.executemany(statement, rows)


def _layer(number: int, version: int) -> tuple[Any, ...]:
    project = number % PROJECTS
    raw = {
        "key": f"layer-{number}",
        "name": f"Layer {number}",
        "description": f"Everything that is shown above the fold, edition {version}",
        "createdAt": 1_700_000_000_000,
        "randomizationUnit": "user",
        "environments": {
            "production": {
                "reservations": [
                    {
                        "experimentKey": f"exp-{number}",
                        "flagKey": "flag",
                        "reservationPercent": (number + version) % 100,
                    }
                ]
            }
        },
    }
    return (
        *(number + 1, project + 1, f"project-{project}"),
        *("ld", "launchdarkly", f"{project:024x}", f"layer-{number}", f"layer-{number}"),
        *(f"Layer {number}", f"1:{version:032x}", version, "updated", version, 0),
        json.dumps(raw, separators=(",", ":")),
    )


def seconds(connection: Connection, query: Any) -> tuple[str, Any]:
    """The medians of a few times by the clock and of the processor, and the answer."""
    clock, work, found = [], [], None
    for _ in range(ROUNDS):
        began, worked = time.perf_counter(), time.process_time()
        found = connection.execute(query).all()
        clock.append(time.perf_counter() - began)
        work.append(time.process_time() - worked)
    return f"{statistics.median(clock):8.3f}{statistics.median(work):8.3f}", found


MOMENTS = {
    "the first run": 1.5,
    "the middle": VERSIONS / 2 + 0.5,
    "the last but one": VERSIONS - 0.5,
}
NAMES = ("project_inventory", "layer_capacity", "layers_without_experiments", "stale_projects")


def test_the_past_of_a_million_versions(estate: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    lines = []
    with snapshot(estate) as connection:
        for label, at in MOMENTS.items():
            layers = asof.rows("layers", hour(at))
            count = select(func.count()).select_from(layers)
            spent, found = seconds(connection, count)
            assert found[0][0] == LAYERS
            lines.append((label, "all layers counted", spent))
            of_one = select(layers).where(layers.c.project_id == 7)
            lines.append((label, "the layers of one project", seconds(connection, of_one)[0]))
            one = select(layers).where(layers.c.layer_id == 7)
            lines.append((label, "one layer", seconds(connection, one)[0]))
            for name in NAMES:
                asked = reports.relation(connection, reports.named(name), hour(at)).rows
                total = select(func.count(), func.max(asked.c.source)).select_from(asked)
                lines.append((label, name, seconds(connection, total)[0]))
    with capsys.disabled():
        print(f"\n\n{LAYERS:,} layers, {LAYERS * VERSIONS:,} versions; median of {ROUNDS}")
        print(f"{'':48}{'wall s':>8}{'cpu s':>8}")
        for label, what, spent in lines:
            print(f"{label:18}{what:30}{spent}")
