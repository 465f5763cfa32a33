"""What goes on until it is stopped runs as README and docs/web.md type it, and ends on SIGTERM.

Real processes in an empty folder, with the configuration where `etl init` puts it. Only these
things are not as typed: ports are free ones, `--host 0.0.0.0` is loopback. What comes before runs
in this process, as it has tests of its own.
"""

import json
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from etl.sandbox import Sandbox
from tests.cli.command import etl, free_port, line, page, variables
from tests.conftest import Databases
from tests.process.test_readme import README, examples
from tests.support.runs import SOURCES, config_text, small

TOKEN = "correct-horse-battery-staple"  # noqa: S105  made up here
SECONDS = 60  # a wait is either over much sooner, or for ever
NOW_AND_THEN = {'provider = "statsig"\n', 'provider = "launchdarkly"\n', 'provider = "layers"\n'}
TYPED = {tuple(words): words for words in examples("Those that go on until they are stopped")}
GUARDED = Path(__file__).parents[2].joinpath("docs", "web.md").read_text(encoding="utf-8")


@dataclass(frozen=True, slots=True, kw_only=True)
class Lasting:
    """A command that goes on, and the file of what it says."""

    process: "subprocess.Popen[bytes]"
    told: Path

    def says(self, text: str, times: int = 1) -> None:
        """Waits until it has said that so often."""
        self.until(lambda: self.told.read_text().count(text) >= times)

    def until(self, holds: Callable[[], object]) -> None:
        """Waits, while it is at work."""
        end = time.monotonic() + SECONDS
        while not holds():
            assert self.process.poll() is None, self.told.read_text()
            assert time.monotonic() < end, self.told.read_text()
            time.sleep(0.02)

    def stopped(self) -> tuple[int, str]:
        """Its exit code after SIGTERM, and the last line."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(SECONDS)
        return code, self.told.read_text().splitlines()[-1]


@contextmanager
def started(at: Path, *typed: str, more: tuple[str, ...] = (), **environ: str) -> Iterator[Lasting]:
    """The line as typed, then what must be there besides; killed at the end, whatever happens."""
    told = at / f"{'-'.join(typed)}.txt"
    with told.open("wb") as file:
        made = subprocess.Popen(
            line(*typed, *more), cwd=at, env=variables(**environ), stdout=file, stderr=file
        )
    try:
        yield Lasting(process=made, told=told)
    finally:
        made.kill()
        made.wait(SECONDS)


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with nothing but a configuration: three sources, each on a cron line."""
    monkeypatch.chdir(tmp_path)
    with Sandbox(small()) as sandbox:
        config(tmp_path, sandbox, "sqlite:///data/etl.db")
        yield tmp_path


def config(folder: Path, sandbox: Sandbox, url: str) -> None:
    text = config_text(sandbox, url)
    for provider in NOW_AND_THEN:
        assert provider in text
        text = text.replace(provider, f'{provider}schedule = "0 0 1 1 *"\n')
    path = folder / "config" / "etl.toml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)


def health(port: int) -> Mapping[str, Any]:
    said: Mapping[str, Any] = json.loads(page(port, "healthz"))
    return said


def test_each_line_of_the_readme_has_a_test_here() -> None:
    assert set(TYPED) == {
        ("schedule",),
        ("schedule", "--enqueue"),
        ("worker",),
        ("web",),
        ("sandbox",),
    }


def test_the_daemon_runs_every_source_and_tells_how_it_is(empty: Path) -> None:
    port = str(free_port())
    with started(empty, "schedule", more=("--health-port", port)) as daemon:
        for name in SOURCES:
            daemon.says(f"{name}: ok")
            daemon.says(f"{name}: next run")
        daemon.until(
            lambda: all(one["last_status"] for one in health(int(port))["sources"].values())
        )
        said, metrics = health(int(port)), page(int(port), "metrics")
        assert daemon.stopped() == (0, "stopped; runs that were at work go on from where they were")
    assert {name: one["last_status"] for name, one in said["sources"].items()} == dict.fromkeys(
        SOURCES, "ok"
    )
    assert all(f'etl_runs_total{{source="{name}",status="ok"}} 1.0' in metrics for name in SOURCES)
    assert (empty / "data" / "etl.db").is_file()


def test_the_queue_is_filled_and_a_worker_empties_it(
    tmp_path: Path, databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    port = str(free_port())
    with Sandbox(small()) as sandbox, databases("postgres empty") as engine:
        url = engine.url.render_as_string(hide_password=False).replace("+psycopg", "")
        config(tmp_path, sandbox, url)
        assert "once before: etl db upgrade, etl worker --setup" in README
        for before in (["db", "upgrade"], ["worker", "--setup"]):
            assert etl(*before).code == 0
        with (
            started(tmp_path, "schedule", "--enqueue", more=("--health-port", "0")) as clock,
            started(tmp_path, "worker", more=("--health-port", port)) as worker,
        ):
            worker.says("waiting for jobs")
            for name in SOURCES:
                clock.says(f"{name}: queued")
                worker.says(f"{name}: ok")
            assert health(int(port))["status"] == "ok"
            assert clock.stopped() == (0, "stopped; what is queued waits for a worker")
            assert worker.stopped() == (
                0,
                "stopped; jobs that were at work wait for another worker",
            )
        runs = etl("runs", "--json").json
    assert {run["source"]: run["status"] for run in runs} == dict.fromkeys(SOURCES, "ok")


def test_the_console_shows_what_was_synced(empty: Path) -> None:
    assert etl("sync", "ly").code == 0
    port = free_port()
    with started(empty, "web", more=("--port", str(port))) as web:
        web.says(f"the console is at http://127.0.0.1:{port}; ctrl-c ends it")
        assert "ly" in page(port, "")
        assert web.stopped() == (0, "stopped")


def test_a_console_with_a_token_answers_those_who_have_it(empty: Path) -> None:
    typed = "etl web --host 0.0.0.0 --token-file token --allow-host etl.example.com"
    assert f"\n{typed}\n" in GUARDED
    assert etl("sync", "ly").code == 0
    token = empty / "token"
    token.touch(mode=0o600)
    token.write_text(TOKEN)
    port = free_port()
    words = typed.replace("0.0.0.0", "127.0.0.1").split()[1:]  # noqa: S104  not listened on
    with started(empty, *words, more=("--port", str(port))) as web:
        web.says("the console is at")
        asked = urllib.request.Request(
            f"http://127.0.0.1:{port}/changes.csv",
            headers={"Authorization": f"Bearer {TOKEN}", "Host": "etl.example.com"},
        )
        with urllib.request.urlopen(asked, timeout=SECONDS) as answer:  # noqa: S310
            assert answer.status == 200
        assert web.stopped() == (0, "stopped")


def test_the_sandbox_answers_the_keys_that_it_tells(tmp_path: Path) -> None:
    port = free_port()
    with started(tmp_path, "sandbox", more=("--port", str(port))) as sandbox:
        sandbox.says("_sandbox/evolve")
        told = sandbox.told.read_text()
        assert f"the sandbox listens on http://127.0.0.1:{port}; ctrl-c ends it" in told
        key = told.partition("SANDBOX_STATSIG_KEY=")[2].split()[0]
        asked = urllib.request.Request(
            f"http://127.0.0.1:{port}/console/v1/layers", headers={"STATSIG-API-KEY": key}
        )
        with urllib.request.urlopen(asked, timeout=SECONDS) as answer:  # noqa: S310
            assert json.loads(answer.read())["data"]
        code, _ = sandbox.stopped()
    assert code == 0
