"""Runs tests against a mutant: a fork of this process each, in a copy of the tree.

The fork has the libraries loaded already, and imports etl and the tests from the copy.
"""

import os
import select
import shutil
import signal
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

LEFT_OUT = shutil.ignore_patterns(".venv", ".git", ".mutants", "*_cache", "__pycache__")
EMPTY = 5  # pytest's exit code
ENDLESS = " (endless)"
PATIENCE, TIMES = 10.0, 3.0  # seconds of a processor + times what a test took: it runs in a circle
MOST_PATIENCE = 300.0  # the same by the clock on the wall, of a machine with other work: it hangs
LOADED = (
    *("alembic", "httpx", "httpcore", "orjson", "psycopg", "pydantic", "pytest", "rich", "psutil"),
    *("sqlalchemy.dialects.sqlite", "starlette", "structlog", "typer", "uvicorn", "jinja2"),
    *("apscheduler.triggers.cron", "trustme"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What a fork came to. killer: the test that failed; "" where none did."""

    passed: bool
    killer: str


@dataclass(slots=True)
class Copy:
    """A copy of the tree, in which one file at a time is changed."""

    root: Path
    folder: Path
    changes: Iterator[int] = field(default_factory=lambda: count(1_600_000_000, 10))

    def __post_init__(self) -> None:
        shutil.copytree(self.root, self.folder, ignore=LEFT_OUT)

    def write(self, file: str, source: bytes) -> None:
        """The file with that text; its time tells Python to compile it anew."""
        path = self.folder / file
        path.write_bytes(source)
        moment = next(self.changes)
        os.utime(path, (moment, moment))


def load_libraries() -> None:
    """What all forks need is loaded once."""
    for name in LOADED:
        __import__(name)


def start(copy: Copy, tests: Mapping[str, float]) -> int:
    """A fork that runs these tests, in this order, up to the first failure; -> its process id.

    tests: test -> seconds that it takes.
    """
    sys.stdout.flush()
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        os.setsid()
        log = os.open(copy.folder / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)
        code = _run(copy.folder, tests)
    except BaseException:  # noqa: BLE001  nothing may go on in the fork
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _run(folder: Path, tests: Mapping[str, float]) -> int:
    import pytest

    os.chdir(folder)
    for name in [name for name in sys.modules if name.partition(".")[0] in ("etl", "tests")]:
        del sys.modules[name]
    sys.path[:] = [str(folder), *sys.path[1:]]
    os.environ["PYTHONPATH"] = str(folder)
    (folder / "killer").unlink(missing_ok=True)
    for number in (signal.SIGALRM, signal.SIGPROF):
        signal.signal(number, signal.SIG_DFL)
    options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:cov", "--tb=short"]
    options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # they are loaded already
    return int(pytest.main([*options, *tests], plugins=[_Watch(folder / "killer", tests)]))


class _Watch:
    """A plugin that notes which test runs, and ends one that hangs."""

    def __init__(self, note: Path, seconds: Mapping[str, float]) -> None:
        self.note, self.seconds = note, seconds

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.note.write_text(nodeid)
        more = TIMES * self.seconds.get(nodeid, 1.0)
        signal.setitimer(signal.ITIMER_PROF, PATIENCE + more)
        signal.setitimer(signal.ITIMER_REAL, MOST_PATIENCE + more)


def wait_for_one(running: Sequence[int]) -> tuple[int, int]:
    """Waits until one of these processes ends; -> it, and its exit code."""
    poll, handles = select.poll(), {os.pidfd_open(process): process for process in running}
    for handle in handles:
        poll.register(handle, select.POLLIN)
    ended = handles[poll.poll()[0][0]]
    for handle in handles:
        os.close(handle)
    _, status = os.waitpid(ended, 0)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(ended, signal.SIGKILL)  # what it started and left behind
    return ended, os.waitstatus_to_exitcode(status)


def outcome(copy: Copy, code: int) -> Trial:
    """What a fork's exit code says."""
    if code in (0, EMPTY):
        return Trial(passed=True, killer="")
    note = copy.folder / "killer"
    killer = note.read_text() if note.exists() else "not loaded"
    return Trial(passed=False, killer=killer + (ENDLESS if code < 0 else ""))
