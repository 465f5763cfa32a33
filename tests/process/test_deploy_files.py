"""The lines of docs/deploy that a shell runs do what they say, with the real etl in its place."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from etl.sandbox import Fault, Sandbox
from tests.cli.command import SECONDS, Ended, etl, variables
from tests.support.runs import config_text, small

FOLDER = Path(__file__).parents[2] / "docs" / "deploy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """A folder in the place of /srv/etl: configuration, data, and etl in .venv/bin."""

    folder: Path
    sandbox: Sandbox

    def start(self, line: str) -> "subprocess.Popen[str]":
        """The line as typed, but for the folder and where `etl` is."""
        path = f"{self.folder}/.venv/bin:{variables()['PATH']}"
        return subprocess.Popen(
            ["/bin/sh", "-c", line.replace("/srv/etl", str(self.folder))],
            cwd=self.folder,
            env=variables(PATH=path),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, line: str) -> Ended:
        """To its end; nothing of it is left behind."""
        return ended(self.start(line))


def ended(shell: "subprocess.Popen[str]") -> Ended:
    try:
        out, err = shell.communicate(timeout=SECONDS)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(shell.pid, signal.SIGKILL)
        shell.wait(SECONDS)
    return Ended(code=shell.returncode, out=out, err=err)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    monkeypatch.chdir(tmp_path)
    program = tmp_path / ".venv" / "bin" / "etl"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m etl "$@"\n')
    program.chmod(0o755)
    with Sandbox(small()) as sandbox:
        (tmp_path / "config").mkdir()
        text = config_text(sandbox, "sqlite:///data/etl.db")
        (tmp_path / "config" / "etl.toml").write_text(text)
        yield Host(folder=tmp_path, sandbox=sandbox)


def pod() -> str:
    """The command of the pod."""
    [line] = re.findall(r'"sh", "-c", "(.*)"', (FOLDER / "cronjob.yaml").read_text())
    return str(line)


def test_a_pod_that_should_try_again_later_has_not_failed(host: Host) -> None:
    host.sandbox.add_fault(Fault("statsig", "status", times=None, arg=503))
    parked = host.run(pod())
    assert parked.code == 0
    assert '"status": "parked"' in parked.err
    assert {run["status"] for run in etl("runs", "--json").json} == {"ok", "parked"}


def test_a_pod_that_is_told_to_stop_parks_its_run(host: Host) -> None:
    started: list[subprocess.Popen[str]] = []
    stop = Fault("layers", "mutate", arg=lambda _world: started[0].send_signal(signal.SIGTERM))
    host.sandbox.add_fault(stop)
    host.sandbox.add_fault(Fault("layers", "stall", arg=10 * SECONDS))
    started.append(host.start(pod()))
    stopped = ended(started[0])
    assert (stopped.code, "etl: stopped; what was read is kept" in stopped.err) == (0, True)
    assert {run["source"]: run["status"] for run in etl("runs", "--json").json}["ly"] == "parked"
