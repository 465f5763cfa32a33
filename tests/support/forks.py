"""Runs in forked processes that may be killed: cheap, as their parent has imported everything.

`with forks() as fork: fork(config, "st", commit=3)` is one run, killed for real when it is about to
make its third commit; with `delay`, so many seconds after its start. `born` gets its number.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event

from etl.config.settings import load
from etl.db import engine as engines
from etl.errors import EtlError
from etl.load import stager
from etl.operations import sync
from tests.support.runs import environ

ROOT = Path(__file__).parents[2]
KILLED = -signal.SIGKILL


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a run ended: its exit code (negative: the signal), what it told, how long it took."""

    code: int
    seconds: float
    status: str = ""
    error: str = ""

    @property
    def killed(self) -> bool:
        """Whether it could not end by itself."""
        return self.code == KILLED


Fork = Callable[..., Ended]


@contextmanager
def forks() -> Iterator[Fork]:
    """A function (config, source, **how) -> Ended; for `how` see `_run`."""
    command = [sys.executable, "-m", "tests.support.forks"]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT, env={**os.environ, **environ()}
    ) as parent:
        wanted, told = parent.stdin, parent.stdout
        assert wanted is not None
        assert told is not None

        def fork(
            config: Path, source: str, born: Callable[[int], object] | None = None, **how: Any
        ) -> Ended:
            asked = {"config": str(config), "source": source, "tell": born is not None, **how}
            wanted.write(json.dumps(asked) + "\n")
            wanted.flush()
            if born is not None:
                born(int(told.readline()))
            return Ended(**json.loads(told.readline()))

        yield fork
        wanted.close()


def _serve() -> None:
    """One run for each line of stdin."""
    for line in sys.stdin:
        job = json.loads(line)
        delay, tell = job.pop("delay", None), job.pop("tell", False)
        reading, writing = os.pipe()
        began = time.monotonic()
        child = os.fork()
        if child == 0:
            code = 70
            try:
                code, told = _run(**job)
                os.write(writing, json.dumps(told).encode())
            finally:
                os._exit(code)
        os.close(writing)
        if tell:
            print(child, flush=True)  # noqa: T201
        if delay is not None:
            time.sleep(delay)
            os.kill(child, signal.SIGKILL)
        with os.fdopen(reading, "rb") as pipe:
            said = json.loads(pipe.read() or b"{}")
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - began
        print(json.dumps({"code": code, "seconds": seconds, **said}), flush=True)  # noqa: T201


def _run(
    config: str,
    source: str,
    commit: int = 0,
    checkpoint: float | None = None,
    busy: int | None = None,
    pages: int | None = None,
    uid: int | None = None,
    wish: dict[str, Any] | None = None,
) -> tuple[int, dict[str, str]]:
    """commit: dies at its n-th; checkpoint: seconds between two; busy: SQLite's patience.

    pages: SQLite's file is full then; uid: whose process it is.
    """
    if checkpoint is not None:
        stager.CHECKPOINT_SECONDS = checkpoint
    if busy is not None:
        engines.BUSY_SECONDS = engines.WRITER_SECONDS = busy
    settings = load(Path(config), only=[source])
    if uid is not None:
        os.setgid(uid)
        os.setuid(uid)
    try:
        engine = engines.open_engine(settings.database_url)
    except EtlError as error:
        return error.exit_code, {"status": "", "error": str(error)}
    if pages is not None:
        _limit(engine, pages)
    _die_at(engine, commit)
    report = sync.sync(engine, settings, source, sync.RunOptions(**(wish or {})))
    return report.exit_code, {"status": report.status, "error": report.error or ""}


def _die_at(engine: Engine, commit: int) -> None:
    commits = count(1)

    def maybe_die(_connection: object) -> None:
        if next(commits) == commit:
            os.kill(os.getpid(), signal.SIGKILL)

    event.listen(engine, "commit", maybe_die)


def _limit(engine: Engine, pages: int) -> None:
    def limit(connection: Any, _record: object) -> None:
        connection.execute(f"PRAGMA max_page_count = {pages}")

    engine.dispose()
    event.listen(engine, "connect", limit)


if __name__ == "__main__":
    _serve()
