"""What a question about the past costs on SQLite, with a million versions.

Of 100,000 layers ten each, or of 500,000 two. Every layer has changed in every run, which is the
worst case: no current row answers for the past. Reports are asked for as `etl report` does, for the
first 50 rows. Prints seconds; asserts only that every layer is found. Never a time.
"""

import json
import sqlite3
import statistics
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, func, select

from etl.db import migrations
from etl.db.engine import open_engine, snapshot
from etl.history import as_of
from etl.reports import ready, relations

SHAPES = ((100_000, 10), (500_000, 2))  # layers, versions of each
PROJECTS, ROUNDS, SHOWN = 100, 3, 51
START = datetime(2026, 1, 1, tzinfo=UTC)
IDENTITY = "source, provider, parent_id, external_id, key, name, content_hash"
LIFE = "version, operation, run_id, is_deleted, raw"


@pytest.fixture(params=SHAPES, ids=lambda shape: f"{shape[0]} layers")
def estate(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Engine, int, int]]:
    path = tmp_path / "etl.db"
    engine = open_engine(f"sqlite:///{path}")
    migrations.upgrade(engine)
    layers, versions = request.param
    fill(path, layers, versions)
    yield engine, layers, versions
    engine.dispose()
    path.unlink()


def hour(number: float) -> datetime:
    return START + timedelta(hours=number)


def _text(number: float) -> str:
    return f"{hour(number):%Y-%m-%d %H:%M:%S.%f}"


def fill(path: Path, layers: int, versions: int) -> None:
    """A run an hour, and every layer a version older with each."""
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA synchronous = OFF")
        _insert(database, "runs", "run_id, source, provider, kind, status, scope, attempts, "
                "started_at, observed_at, etl_version",
                ((v, "ld", "launchdarkly", "sync", "ok", "{}", 1, _text(v), _text(v), "")
                 for v in range(1, versions + 1)))  # fmt: skip
        _insert(database, "projects", f"{IDENTITY}, {LIFE}, first_seen_at, changed_at",
                (("ld", "launchdarkly", "", f"{p:024x}", f"project-{p}", f"Project {p}", "1:",
                  1, "created", 1, 0, "{}", _text(1), _text(1))
                 for p in range(PROJECTS)))  # fmt: skip
        common = f"layer_id, project_id, project_key, {IDENTITY}, {LIFE}"
        _insert(database, "layers", f"{common}, first_seen_at, changed_at",
                ((*_layer(n, versions), _text(1), _text(versions))
                 for n in range(layers)))  # fmt: skip
        _insert(database, "layer_history", f"{common}, valid_from, valid_to",
                ((*_layer(n, v), _text(v), _text(v + 1))
                 for v in range(1, versions) for n in range(layers)))  # fmt: skip
        _insert(database, "layer_reservations", "layer_id, source, provider, external_id, key, "
                "name, content_hash, version, operation, run_id, first_seen_at, changed_at, "
                "is_deleted, environment_key, experiment_key, flag_key, reservation_percent, raw",
                ((n + 1, "ld", "launchdarkly", "[]", "e", "e", "1:", versions, "updated", versions,
                  _text(1), _text(versions), 0, "production", f"exp-{n}", "flag", 50, "{}")
                 for n in range(layers)))  # fmt: skip
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


def seconds(ask: Callable[[], Any]) -> tuple[str, Any]:
    """The medians of a few times by the clock and of the processor, and the answer."""
    clock, work, found = [], [], None
    for _ in range(ROUNDS):
        began, worked = time.perf_counter(), time.process_time()
        found = ask()
        clock.append(time.perf_counter() - began)
        work.append(time.process_time() - worked)
    return f"{statistics.median(clock):8.3f}{statistics.median(work):8.3f}", found


def shown(connection: Connection, name: str, moment: datetime) -> int:
    """How many rows of a report come where a terminal shows the first ones."""
    asked = ready.relation(connection, ready.named(name), moment, limit=SHOWN)
    return sum(len(part) for part in relations.batches(connection, asked, limit=SHOWN))


def _all(connection: Connection, query: Any) -> Any:
    return connection.execute(query).all()


NAMES = (
    *("project_inventory", "layer_capacity", "layers_without_experiments", "stale_projects"),
    *("implicit_layers", "holdout_usage", "possible_same_project", "change_feed"),
)


def test_the_past_of_a_million_versions(
    estate: tuple[Engine, int, int], capsys: pytest.CaptureFixture[str]
) -> None:
    engine, number, versions = estate
    moments = {
        "the first run": 1.5,
        "the middle": versions / 2 + 0.5,
        "the last but one": versions - 0.5,
    }
    lines = []
    with snapshot(engine) as connection:
        for label, at in moments.items():
            layers = as_of.rows("layers", hour(at))
            queries = {
                "all layers counted": select(func.count()).select_from(layers),
                "the layers of one project": select(layers).where(layers.c.project_id == 7),
                "one layer": select(layers).where(layers.c.layer_id == 7),
            }
            for what, query in queries.items():
                spent, found = seconds(partial(_all, connection, query))
                lines.append((label, what, spent))
                assert what != "all layers counted" or found[0][0] == number
            for name in NAMES:
                spent, rows = seconds(partial(shown, connection, name, hour(at)))
                lines.append((label, name, spent))
                assert name != "layer_capacity" or rows == SHOWN
    with capsys.disabled():
        print(f"\n\n{number:,} layers, {number * versions:,} versions; median of {ROUNDS}")
        print(f"{'':48}{'wall s':>8}{'cpu s':>8}")
        for label, what, spent in lines:
            print(f"{label:18}{what:30}{spent}")
