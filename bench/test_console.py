"""How soon the pages of the console come when there are a million layers in SQLite.

Prints medians; asserts only that every page answers. What they were: docs/web.md.
"""

import statistics
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from bench import million
from etl.db import migrations
from etl.db.engine import open_engine
from tests.support.console import served

ROUNDS = 9
LIMIT = 300  # ms
NOW = million.END + timedelta(hours=1)
THEN = "2026-11-05T00:00:00"
PAGES = (
    *("/", "/estate", "/estate?stream=environments", "/estate?stream=layers"),
    *("/estate?stream=layers&q=billing", "/estate?stream=layers&q=nothing-is-called-so"),
    *("/estate?stream=layers&state=deleted", "/estate?stream=layers&project=2001&q=nothing"),
    *("/records/projects/17", "/records/projects/2001", "/records/layers/20"),
    *("/records/layers/999999", "/capacity", "/capacity?level=80", "/capacity?level=101"),
    *(
        "/capacity?project=17",
        "/capacity?environment=nothing",
        "/changes",
        "/changes?operation=created&stream=layers",
    ),
    *("/changes?q=nothing", "/changes?since=7d", "/changes?run=1", "/changes.atom"),
    *("/runs", "/runs?status=failed", "/runs/1", "/rejects"),
    *("/drift", "/drift?source=acme-statsig&kind=vanished"),
)


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    path: Path = tmp_path_factory.mktemp("million") / "etl.db"
    engine = open_engine(f"sqlite:///{path}")
    migrations.upgrade(engine)
    engine.dispose()
    million.fill(path)
    with served(f"sqlite:///{path}", now=NOW) as url:
        yield url
    path.unlink()


def test_every_page_over_a_million_layers(console: str, capsys: pytest.CaptureFixture[str]) -> None:
    medians: list[float] = []
    with httpx.Client(base_url=console, timeout=60) as client, capsys.disabled():
        print(f"\n\n{million.LAYERS:,} layers: milliseconds, median of {ROUNDS}, worst")
        print(f"{'page':52}{'now':>8}{'worst':>8}{'then':>8}{'worst':>8}")
        for path in PAGES:
            line = f"{path:52}"
            for moment in ("", f"{'&' if '?' in path else '?'}as_of={THEN}"):
                times = sorted(_took(client, path + moment) for _ in range(ROUNDS))
                medians.append(statistics.median(times))
                line += f"{medians[-1]:>8.0f}{times[-1]:>8.0f}"
            print(line)
        over = sum(median > LIMIT for median in medians)
        print(f"{over} of {len(medians)} medians are over {LIMIT} ms")


def _took(client: httpx.Client, path: str) -> float:
    start = time.perf_counter()
    answer = client.get(path)
    took = 1000 * (time.perf_counter() - start)
    assert answer.status_code in (200, 404), answer.text
    return took
