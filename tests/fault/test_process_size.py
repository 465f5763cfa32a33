"""Row 55: twenty times the layers take the same memory and twenty times the time."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Databases
from tests.support.database import count
from tests.support.forks import ROOT
from tests.support.runs import environ

PER_PROJECT = 500
FEW, MANY = 50_000, 1_000_000
MOST_MEMORY = 1.5
MOST_TIME = 1.25  # of the processor, above linear; a quadratic step would be 20


@contextmanager
def estate(layers: int) -> Iterator[str]:
    """The base URL of a LaunchDarkly that has so many layers."""
    command = ["-m", "tests.support.estate", str(layers // PER_PROJECT), str(PER_PROJECT)]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, *command], stdin=pipe, stdout=pipe, text=True, cwd=ROOT
    ) as server:
        assert server.stdout is not None
        yield f"http://127.0.0.1:{server.stdout.readline().strip()}"
        server.communicate()


def synced(base_url: str, config: Path, database: str) -> Any:
    """What one run took, in a process of its own."""
    config.write_text(
        f'[database]\nurl = "{database}"\n[sources.ld]\nprovider = "launchdarkly"\n'
        f'api_key = {{ env = "KEY_ld" }}\nbase_url = "{base_url}"\n'
        "limits = { rate_limits = [] }\nprojects = { page_size = 100 }\n"
    )
    command = [sys.executable, "-m", "tests.support.measured", str(config), "ld"]
    ended = subprocess.run(
        command, cwd=ROOT, env=environ(), stdout=subprocess.PIPE, check=True, timeout=1200
    )
    return json.loads(ended.stdout)


@pytest.mark.slow
@pytest.mark.row(55)
def test_a_million_layers_take_no_more_memory_than_fifty_thousand(
    databases: Databases, tmp_path: Path
) -> None:
    """The first run, which stores all of it, and the second, which changes nothing.

    Three to five minutes, and 2 GB of disk.
    """
    found: dict[int, list[Any]] = {}
    for layers in (FEW, MANY):
        with databases("sqlite") as engine, estate(layers) as base_url:
            url = engine.url.render_as_string()
            found[layers] = [synced(base_url, tmp_path / "etl.toml", url) for _ in range(2)]
            assert count(engine, "layers_current") == layers
            assert [run["status"] for run in found[layers]] == ["ok", "ok"], found
            assert found[layers][1]["changed"] == 0
    for few, many in zip(found[FEW], found[MANY], strict=True):
        assert many["peak"] / few["peak"] <= MOST_MEMORY, found
        assert many["work"] / few["work"] <= MOST_TIME * MANY / FEW, found
