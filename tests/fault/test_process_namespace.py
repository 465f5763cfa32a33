"""A lease in containers: process numbers say nothing across PID namespaces with one host name."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine

from etl.sandbox import Sandbox
from tests.support.database import count
from tests.support.internals.database import acquire
from tests.support.internals.running import at_work, lives, this_process, utc_now
from tests.support.runs import settings_for, small, sync

ROOT = Path(__file__).parents[2]
UNSHARE = ("unshare", "--pid", "--fork", "--kill-child")


def can_unshare() -> bool:
    """Whether this machine lets us make a PID namespace."""
    try:
        return subprocess.run((*UNSHARE, "true"), capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def in_another_namespace(code: str, *more: str) -> str:
    """What Python code prints there."""
    ended = subprocess.run(
        (*UNSHARE, *more, sys.executable, "-c", code),
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=60,
    )
    return ended.stdout.strip()


@pytest.mark.row(45)
@pytest.mark.skipif(not can_unshare(), reason="making a PID namespace needs root")
@pytest.mark.parametrize("more", [(), ("--mount-proc",)])
def test_a_process_of_another_pid_namespace_cannot_tell_that_a_run_is_over(
    more: tuple[str, ...],
) -> None:
    """Its /proc is that of the machine, or its own."""
    with at_work() as holder:
        code = f"from etl.pipeline.live_processes import *; print(lives({holder!r}))"
        assert in_another_namespace(f"from etl.load.runs import Holder; {code}", *more) == "None"


@pytest.mark.row(45)
@pytest.mark.skipif(not can_unshare(), reason="making a PID namespace needs root")
@pytest.mark.parametrize("more", [(), ("--mount-proc",)])
def test_within_a_pid_namespace_dead_and_live_runs_are_told_apart(more: tuple[str, ...]) -> None:
    code = """
import os, sys
from dataclasses import replace
from etl.pipeline.live_processes import at_work, lives, this_process
with at_work() as holder:
    said = [lives(holder)]
said.append(lives(holder))
read, write = os.pipe()
child = os.fork()
if child == 0:
    with at_work() as mine:
        os.write(write, mine.process_started.encode() or b"-")
        sys.stdin.read()
    os._exit(0)
started = os.read(read, 100).decode().strip("-")
other = replace(this_process(), pid=child, process_started=started)
said.append(lives(other))
os.kill(child, 9)
os.waitpid(child, 0)
said.append(lives(other))
print(said)
"""
    piped = subprocess.Popen(
        (*UNSHARE, *more, sys.executable, "-c", code),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    out = piped.stdout.read() if piped.stdout else ""
    piped.communicate(timeout=60)
    assert out.strip() == "[True, False, True, False]"


@pytest.mark.row(45)
def test_a_live_lease_of_another_pid_namespace_is_not_stolen(engine: Engine) -> None:
    here = this_process()
    boot, _, _ = here.host.rpartition("/")
    elsewhere = replace(here, host=f"{boot}/4026532999", pid=1, process_started="5")
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        with engine.begin() as connection:
            acquire(connection, "ly", elsewhere, utc_now(), lives)
        report = sync(engine, settings, "ly")
    assert (report.status, report.exit_code, count(engine, "leases")) == ("busy", 75, 1)
