"""However a command is ended from outside, it says so in one line, with its documented code."""

import os
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import Engine, event

from etl.sandbox import Sandbox
from tests.cli.command import Ended, Place, line, place, variables
from tests.support.internals.database import engine as engines
from tests.support.internals.database import open_engine
from tests.support.runs import small


@contextmanager
def signalled(statement: int) -> Iterator[None]:
    """SIGTERM comes to this process with that statement of whatever database."""
    numbers = count(1)

    def send(*_said: object) -> None:
        if next(numbers) == statement:
            os.kill(os.getpid(), signal.SIGTERM)

    event.listen(Engine, "before_cursor_execute", send)
    try:
        yield
    finally:
        event.remove(Engine, "before_cursor_execute", send)


LONG = [
    ("sync", "ly"),
    ("plan", "ly"),
    ("apply", "a.plan"),
    ("backfill", "ly"),
    ("reprocess", "ly"),
    ("reprocess", "ly", "--dry-run"),
    ("export", "projects", "--format", "csv", "--out", "projects.csv", "--force"),
    ("report", "project_inventory"),
    ("audit",),
    ("prune", "--runs-older-than", "1d"),
    ("changes",),
    ("diff", "2h"),
    ("status",),
    ("notices",),
    ("db", "vacuum"),
    ("db", "check"),
]


@pytest.mark.parametrize("words", LONG, ids=" ".join)
def test_sigterm_is_one_line_and_exit_75(
    words: tuple[str, ...], done: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done.sandbox.world.evolve(changed=0.4)
    if words[0] == "apply":
        assert done.etl("plan", "ly", "--out", "a.plan").code == 0
    with signalled(3):
        ended = done.etl(*words)
    assert ended.code == 75, ended
    assert "Traceback" not in ended.err
    said = [one for one in ended.err.splitlines() if "stopped" in one]
    assert len(said) == 1, ended.err
    assert list(tmp_path.glob("*.part")) == []
    assert done.etl("sync", "ly").code == 0


def limited(here: Place, *words: str, files: int) -> Ended:
    """A command that may open so many files."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))

    ended = subprocess.run(
        line("--config", str(here.config), *words),
        cwd=here.config.parent,
        env=variables(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        preexec_fn=limit,
    )
    return Ended(code=ended.returncode, out=ended.stdout, err=ended.stderr)


@pytest.mark.parametrize("files", [8, 12, 16])
def test_too_few_files_are_one_line(files: int, done: Place) -> None:
    ended = limited(done, "sync", "--concurrency", "3", files=files)
    assert ended.code in (0, 1, 75), ended
    told = ended.out + ended.err
    assert "Traceback" not in told
    assert "internal error" not in told
    assert ended.code == 0 or "too many open files" in told.lower() or "unable to open" in told


def test_no_processes_left_is_a_line_a_source(done: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def fork() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", fork)
    ended = done.etl("sync", "--concurrency", "2")
    assert ended.code == 1
    assert "Traceback" not in ended.out + ended.err
    assert ended.out.count("no more processes") == 3


def test_a_wait_for_another_writer_is_told(done: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "SILENT_SECONDS", 0.2)
    writer = sqlite3.connect(done.database, isolation_level=None, check_same_thread=False)
    writer.execute("BEGIN IMMEDIATE")
    release = threading.Timer(2.0, writer.rollback)
    release.start()
    ended = done.etl("sync", "ly")
    release.join()
    writer.close()
    assert ended.code == 0
    assert ended.err.count(f"etl: waiting for another process that writes to {done.database}") == 1


def test_a_thread_never_waits_for_its_own_transaction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "SILENT_SECONDS", 0.1)
    engine = open_engine(f"sqlite:///{tmp_path / 'etl.db'}")
    with engine.begin(), pytest.raises(RuntimeError, match="its own transaction"), engine.begin():
        pass
    with engine.begin():
        pass
    engine.dispose()


AMID_AN_IMPORT = """
import sys
from etl.cli import app, main

@app.command()
def stopped():
    try:
        exec("raise KeyboardInterrupt")  # as where a dataclass is made
    except KeyboardInterrupt:
        sys.exit(75)

main()
"""


def test_a_signal_amid_an_import_does_not_change_the_exit_code(tmp_path: Path) -> None:
    """CPython remembers it, and ends a `python -m` by SIGINT."""
    (tmp_path / "amid.py").write_text(AMID_AN_IMPORT)
    ended = subprocess.run(
        [sys.executable, "-m", "amid", "stopped"],
        env=variables(),
        cwd=tmp_path,
        capture_output=True,
    )
    assert ended.returncode == 75, ended


BEFORE_A_COMMAND = """
import os, sys

def signal_amid(event, arguments):
    if event == "import" and arguments[0] == {module!r}:
        os.kill(os.getpid(), {number})

sys.addaudithook(signal_amid)
sys.argv[0] = "etl"
from etl.__main__ import main
main()
"""
AFTER_A_COMMAND = """
import atexit, os

atexit.register(lambda: os.kill(os.getpid(), {number}))
from etl.__main__ import main
main()
"""
AT_THE_END = """
import os

class Last:
    def __del__(self, kill=os.kill, process=os.getpid()):
        kill(process, {number})

last = Last()
from etl.__main__ import main
main()
"""
WHERE_NOTHING_CAN_BE_RAISED = """
import os, sys

class Deleted:
    def __del__(self):
        os.kill(os.getpid(), {number})
        for _ in range(1000):
            pass

def signal_amid(event, arguments):
    if event == "import" and arguments[0] == "etl.operations.sync":
        Deleted()

sys.addaudithook(signal_amid)
from etl.__main__ import main
main()
"""
BOTH = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])


def scripted(script: str, here: Place, *words: str) -> Ended:
    """A command in a process that does something else before."""
    ended = subprocess.run(
        [sys.executable, "-c", script, "--config", str(here.config), *words],
        env=variables(),
        cwd=here.config.parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return Ended(code=ended.returncode, out=ended.stdout, err=ended.stderr)


@BOTH
@pytest.mark.parametrize("module", ["etl.cli", "etl.cli.backfill"])
def test_a_signal_before_a_command_begins_is_one_line(
    module: str, number: int, tmp_path: Path
) -> None:
    with Sandbox(small()) as sandbox:
        here = place(tmp_path, sandbox)
        script = BEFORE_A_COMMAND.format(module=module, number=int(number))
        ended = scripted(script, here, "status")
        silent = scripted(script, here, "status", "--quiet")
    assert (ended.code, ended.out) == (75, "")
    assert ended.err == "etl: stopped by a signal before it was done\n"
    assert silent == Ended(code=75, out="", err="")


@BOTH
def test_a_signal_where_nothing_can_be_raised_is_heard(number: int, tmp_path: Path) -> None:
    script = WHERE_NOTHING_CAN_BE_RAISED.format(number=int(number))
    with Sandbox(small()) as sandbox:
        ended = scripted(script, place(tmp_path, sandbox), "reprocess")
    assert ended.code == 75, ended
    assert "Traceback" not in ended.err
    assert ended.err.count("stopped by a signal") == 1


@BOTH
@pytest.mark.parametrize("script", [AFTER_A_COMMAND, AT_THE_END])
def test_a_signal_after_a_command_does_not_change_its_exit_code(
    script: str, number: int, tmp_path: Path
) -> None:
    with Sandbox(small()) as sandbox:
        ended = scripted(
            script.format(number=int(number)),
            place(tmp_path, sandbox),
            *("status", "--max-age", "1h"),
        )
    assert (ended.code, "Traceback" in ended.err) == (6, False), ended


def test_a_signal_that_is_ignored_stays_so_while_a_command_begins(tmp_path: Path) -> None:
    """As of a command that a shell started in the background."""
    script = BEFORE_A_COMMAND.format(module="etl.cli", number=int(signal.SIGINT))
    script = f"import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n{script}"
    with Sandbox(small()) as sandbox:
        assert scripted(script, place(tmp_path, sandbox), "status").code == 0


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("ImportError('/x.so: failed to map segment from shared object')", "out of memory"),
        ("ImportError('/x.so: cannot allocate memory in static TLS block')", "out of memory"),
        ("MemoryError()", "out of memory"),
        ("RuntimeError('broken')", "internal error: RuntimeError: broken"),
    ],
)
def test_a_library_that_cannot_be_loaded_is_one_line(fault: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "pydantic.py").write_text(f"raise {fault}\n")
    ended = subprocess.run(
        line("status"),
        env=variables() | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (1, "", 1), ended
    assert f"etl: {said}" in ended.stderr
