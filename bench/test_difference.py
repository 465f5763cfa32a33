"""What the difference between two moments costs on SQLite, with a million versions.

100,000 layers, of which a thousand change every hour for 900 hours. Prints seconds; asserts only
what is found. Never a time.
"""

import json
import sqlite3
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine

from etl.db import migrations
from etl.db.engine import open_engine, snapshot
from etl.history.compare import differences
from etl.reports import evidence_rows
from etl.reports.evidence_rows import EvidenceQuery

LAYERS, HOURS, AN_HOUR = 100_000, 900, 1000
START = datetime(2026, 1, 1, tzinfo=UTC)

LAYER = (
    "layer_id, source, provider, parent_id, external_id, key, name, content_hash, version, "
    "operation, run_id, is_deleted, raw"
)
CHANGE = (
    "run_id, source, provider, stream, record_id, version, project_key, key, operation, observed_at"
)


def hour(number: float) -> datetime:
    return START + timedelta(hours=number)


def _text(number: float) -> str:
    return f"{hour(number):%Y-%m-%d %H:%M:%S.%f}"


@pytest.fixture(scope="module")
def estate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    path = tmp_path_factory.mktemp("difference") / "etl.db"
    engine = open_engine(f"sqlite:///{path}")
    migrations.upgrade(engine)
    _fill(path)
    yield engine
    engine.dispose()


def _fill(path: Path) -> None:
    """Layer n changes in every hour h with h % 100 == n % 100."""
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA synchronous = OFF")
        runs = ((h + 1, _text(h), _text(h)) for h in range(HOURS + 1))
        database.executemany(
            "INSERT INTO runs (run_id, source, provider, kind, status, scope, attempts, "
            "started_at, observed_at, etl_version) "
            "VALUES (?, 'ld', 'launchdarkly', 'sync', 'ok', '{}', 1, ?, ?, '')",
            runs,
        )
        last = {n: max(h for h in range(HOURS + 1) if h % 100 == n) for n in range(100)}
        current = (
            (*_layer(n, _versions(n, HOURS), last[n % 100]), _text(0), _text(last[n % 100]))
            for n in range(LAYERS)
        )
        database.executemany(_insert("layers", f"{LAYER}, first_seen_at, changed_at"), current)
        closed = (
            (*_layer(n, _versions(n, h) - 1, 0), _text(_before(h)), _text(h))
            for h in range(1, HOURS + 1)
            for n in range(h % 100, LAYERS, 100)
        )
        database.executemany(_insert("layer_history", f"{LAYER}, valid_from, valid_to"), closed)
        created = (_change(n, 1, 0, "created") for n in range(LAYERS))
        changed = (
            _change(n, _versions(n, h), h, "updated")
            for h in range(1, HOURS + 1)
            for n in range(h % 100, LAYERS, 100)
        )
        for rows in (created, changed):
            database.executemany(_insert("changes", CHANGE), rows)
    database.close()


def _insert(table: str, columns: str) -> str:
    marks = ", ".join("?" * (columns.count(",") + 1))
    return f"INSERT INTO {table} ({columns}) VALUES ({marks})"  # noqa: S608  names of ours


def _versions(layer: int, until: int) -> int:
    """How many versions a layer has had until then."""
    return 1 + len(range(layer % 100 or 100, until + 1, 100))


def _before(hour: int) -> int:
    return max(0, hour - 100)


def _layer(number: int, version: int, run: int) -> tuple[object, ...]:
    raw = {
        "key": f"layer-{number}",
        "name": f"Layer {number}",
        "description": f"Everything that is shown above the fold, edition {version}",
        "environments": {},
    }
    return (
        *(number + 1, "ld", "launchdarkly", "p", f"layer-{number}", f"layer-{number}"),
        *(f"Layer {number}", f"1:{version:032x}", version, "updated", run + 1, 0),
        json.dumps(raw, separators=(",", ":")),
    )


def _change(number: int, version: int, at: int, operation: str) -> tuple[object, ...]:
    who = ("ld", "launchdarkly", "layers", number + 1)
    return (at + 1, *who, version, "p", f"layer-{number}", operation, _text(at))


def test_the_difference_of_a_short_time_does_not_read_the_long_past(estate: Engine) -> None:
    print(f"\n{LAYERS:,} layers, {HOURS * AN_HOUR:,} closed versions")
    for hours, found in ((1, 1000), (24, 24_000), (99, 99_000), (HOURS, LAYERS)):
        began, worked = time.perf_counter(), time.process_time()
        with snapshot(estate) as connection:
            told = sum(1 for _ in differences(connection, hour(HOURS - hours), hour(HOURS)))
        took = time.perf_counter() - began, time.process_time() - worked
        print(f"diff of {hours:>3} h: {told:>7,} records {took[0]:7.3f} s, cpu {took[1]:7.3f} s")
        assert told == found


def test_the_evidence_of_a_short_time_does_not_read_the_long_past(estate: Engine) -> None:
    for hours in (1, 24, HOURS):
        asked = EvidenceQuery(begin=hour(HOURS - hours + 0.5), end=hour(HOURS))
        began = time.perf_counter()
        with snapshot(estate) as connection:
            counts = evidence_rows.counts(connection, asked)
            evidence_rows.events(connection, asked, "updated", "restored")
            evidence_rows.completeness(connection, asked)
            evidence_rows.ran(connection, asked)
        took = time.perf_counter() - began
        print(f"evidence of {hours:>3} h: {sum(one.count for one in counts):>7,} {took:7.3f} s")
        assert sum(one.count for one in counts) == hours * AN_HOUR
