"""How far from the floor: the same served data, read by a minimal script and by `etl sync`.

Prints medians and ratios of one run; asserts only that both read everything. Never a time.
"""

import json
import os
import re
import resource
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from etl.sandbox import KEYS

pytestmark = pytest.mark.bench

ROUNDS = 3
SIZES = {
    "small": {
        "ld_projects": 10,
        "ld_layers": 100,
        "statsig_layers": 1000,
        "layers_projects": 1000,
    },
    "medium": {
        "ld_projects": 500,
        "ld_layers": 100,
        "statsig_layers": 20000,
        "layers_projects": 20000,
    },
}
VARIABLES = {
    "SANDBOX_LAUNCHDARKLY_KEY": KEYS["launchdarkly"],
    "SANDBOX_STATSIG_KEY": KEYS["statsig"],
    "SANDBOX_LAYERS_KEY": KEYS["layers"],
}
ENVIRON = {**os.environ, **VARIABLES}
SOURCES = (("launchdarkly", "LAUNCHDARKLY"), ("statsig", "STATSIG"), ("layers", "LAYERS"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """One process: seconds by the clock and of the processor, peak memory in MB."""

    wall: float
    cpu: float
    memory: float


@pytest.fixture(params=SIZES)
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """The name of a size, and the URL of a sandbox of it in its own process."""
    scenario = tmp_path / "scenario.json"
    scenario.write_text(json.dumps({"sizes": SIZES[request.param]}))
    command = [sys.executable, "-m", "etl", "sandbox", "--port", "0", "--scenario", str(scenario)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**ENVIRON, "PYTHONUNBUFFERED": "1"}
    ) as sandbox:
        assert sandbox.stdout is not None
        first = sandbox.stdout.readline()
        url = re.search(r"http://[\d.:]+", first)
        assert url, first
        yield request.param, url.group()
        sandbox.terminate()


def measured(command: list[str]) -> Cost:
    """What it costs to run a command to its end."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", WRAPPER, *command], env=ENVIRON, check=True, capture_output=True
    )
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(wall=wall, cpu=cpu, memory=int(done.stderr.split()[-1]) / 1024)


WRAPPER = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
"""


def config(path: Path, url: str, database: Path) -> Path:
    """Three sources at that sandbox, without rate limits of their own."""
    lines = [f'[database]\nurl = "sqlite:///{database}"']
    lines += [
        f'[sources.{name}]\nprovider = "{name}"\napi_key = {{ env = "SANDBOX_{variable}_KEY" }}\n'
        f'base_url = "{url}"\n[sources.{name}.limits]\nrate_limits = []'
        for name, variable in SOURCES
    ]
    path.write_text("\n".join(lines))
    return path


def median(costs: list[Cost], what: str) -> float:
    """The middle of the rounds."""
    found: float = statistics.median(getattr(cost, what) for cost in costs)
    return found


def test_initial_and_unchanged_runs_against_the_floor(
    served: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, url = served
    counts = httpx.get(f"{url}/_sandbox/counts", timeout=60).json()  # builds the world
    costs: dict[str, list[Cost]] = {}
    for number in range(ROUNDS):
        ours, floors = tmp_path / f"etl{number}.db", tmp_path / f"floor{number}.db"
        configured = config(tmp_path / f"{number}.toml", url, ours)
        sync = [sys.executable, "-m", "etl", "--config", str(configured), "sync"]
        floor = [sys.executable, str(Path(__file__).with_name("floor.py")), url, str(floors)]
        for phase in ("initial", "unchanged"):
            costs.setdefault(f"floor {phase}", []).append(measured(floor))
            costs.setdefault(f"etl {phase}", []).append(measured(sync))
        with sqlite3.connect(ours) as database:
            layers = database.execute("SELECT COUNT(*) FROM layers").fetchone()[0]
        assert layers == sum(vendor["layers"] for vendor in counts.values())
    with capsys.disabled():
        print(f"\n\n{name}: median of {ROUNDS} rounds, processes from start to end")
        print(f"{'':18}{'wall s':>8}{'cpu s':>8}{'MB':>6}   ratio to the floor (wall)")
        for label, found in costs.items():
            against = median(costs[f"floor {label.split()[1]}"], "wall")
            print(
                f"{label:18}{median(found, 'wall'):>8.2f}{median(found, 'cpu'):>8.2f}"
                f"{median(found, 'memory'):>6.0f}   {median(found, 'wall') / against:.2f}"
            )
