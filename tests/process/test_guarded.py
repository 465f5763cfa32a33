"""A suite that is killed leaves no server and no folder behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.support import guarded
from tests.support.waiting import until

ROOT = Path(__file__).parents[2]
SERVER = """
import sys
from tests.support import postgres
with postgres.started() as server:
    print(server.pgdata.parent, flush=True)
    sys.stdin.read()
"""


def running(folder: Path) -> list[psutil.Process]:
    """The processes that name a folder in their command line."""
    return list(guarded.processes_in(folder))


def guard_of(folder: Path) -> psutil.Process:
    """The process that waits for the end of the folder's owner."""
    return next(one for one in running(folder) if one.cmdline()[-1] == str(folder))


def test_a_server_does_not_outlive_a_suite_that_is_killed() -> None:
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", SERVER]
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as suite:
        assert suite.stdout is not None
        folder = Path(suite.stdout.readline().strip())
        assert any("postgres" in one.name() for one in running(folder))
        suite.kill()
    assert until(lambda: not running(folder) and not folder.exists())


def test_a_server_whose_guard_was_killed_too_goes_with_the_next_suite() -> None:
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", SERVER]
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as suite:
        assert suite.stdout is not None
        folder = Path(suite.stdout.readline().strip())
        guard = guard_of(folder)
        guard.kill()
        suite.kill()
    assert running(folder)
    guarded.sweep()
    assert not running(folder)
    assert not folder.exists()


def test_a_folder_in_use_is_not_swept() -> None:
    with guarded.guarded_folder() as folder:
        guarded.sweep()
        assert folder.exists()
    assert not folder.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP, signal.SIGQUIT])
def test_children_hear_a_signal_that_the_suite_ignores(number: signal.Signals) -> None:
    command = "import os; from tests import conftest; conftest.pytest_configure(); " + (
        f"os.execv('/bin/sh', ['sh', '-c', 'kill -{int(number)} $$; exit 0'])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", command],
        cwd=ROOT,
        check=False,
        preexec_fn=lambda: signal.signal(number, signal.SIG_IGN),
        env=os.environ,
    )
    assert ended.returncode == -number
