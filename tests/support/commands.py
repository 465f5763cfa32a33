"""Every command of the command line, each run in a process forked from this one."""

import ctypes
import importlib
import os
import pkgutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import typer

import etl
from etl.cli import app, main
from tests.support.runs import environ
from tests.support.waiting import until

Stream = Literal["file", "closed", "full"]
LASTING = frozenset({"schedule", "worker", "web", "sandbox"})
DOCUMENTED = frozenset({0, 1, 2, 3, 4, 5, 6, 7, 75})
REQUIRED: Mapping[str, str] = {  # of a parameter that a command must be given -> its value
    "source": "ld",
    "file": "plan.json",
    "run": "1",
    "stream": "projects",
    "key": "search",
    "first": "1h",
    "name": "ld",
    "old": "ld",
    "new": "other",
}
MORE: Mapping[str, tuple[str, ...]] = {  # what the words alone do not reach
    "report": ("layer_capacity",),
    "export": ("layers", "--format", "jsonl", "--out", "-"),
    "plan": ("--out", "new-plan.json"),
    "web": ("--port", "0"),
    "sandbox": ("--port", "0"),
    "schedule": ("--health-port", "0"),
    "worker": ("--health-port", "0"),
    "sync": ("ld",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


def commands() -> Iterator[list[str]]:
    """The words of every command there is; a new one with parameters of its own must name them."""
    yield from _below(typer.main.get_command(app), ())


def _below(command: Any, path: tuple[str, ...]) -> Iterator[list[str]]:
    if hasattr(command, "commands"):
        for name, inner in command.commands.items():
            yield from _below(inner, (*path, name))
        return
    needed = [REQUIRED[one.name] for one in command.params if one.required]
    yield [*path, *needed, *MORE.get(" ".join(path), ())]


def run(
    *arguments: str,
    at: Path,
    stdout: Stream = "file",
    stderr: Stream = "file",
    powerless: bool = False,
    before: Callable[[], object] = lambda: None,
    awaited: str = "",
    **variables: str,
) -> Ended:
    """Runs a command in that folder; one that would last ends by SIGTERM once it says something.

    powerless: root obeys permissions, as everybody else. awaited: what it must say on stderr;
    default: anything on stdout.
    """
    _import_everything()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if child == 0:
            code = 99
            try:
                os.chdir(at)
                _clean_up()
                _become(1, out.fileno(), stdout)
                _become(2, err.fileno(), stderr)
                _drop_capabilities(powerless)
                os.environ.update({**environ(), **variables})
                before()
                code = _main(arguments)
            except BaseException:  # noqa: BLE001  whatever it is, the test must see it
                traceback.print_exc()
            finally:
                os._exit(code)

        def spoke() -> bool:
            if not LASTING & set(arguments):
                return False
            return awaited in _text(err) if awaited else bool(_text(out))

        code = _wait(child, spoke)
        told = [_text(one) for one in (out, err)]
    return Ended(code=code, out=told[0], err=told[1])


@cache
def _import_everything() -> None:
    """Nobody may not be able to read the code."""
    for module in pkgutil.walk_packages(etl.__path__, "etl."):
        if module.name != "etl.__main__":
            importlib.import_module(module.name)
    for name in ("psycopg", "alembic.command", "alembic.autogenerate", "typer.rich_utils"):
        importlib.import_module(name)


def _clean_up() -> None:
    """Nothing of the tests' own environment and signal handlers."""
    for name in list(os.environ):
        if name.startswith(("ETL_", "PG")):
            del os.environ[name]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _become(number: int, file: int, stream: Stream) -> None:
    """The stream of that number goes to the file, to a full disk, or nowhere."""
    name = {1: "stdout", 2: "stderr"}[number]
    if stream == "closed":
        os.close(number)
        setattr(sys, name, None)  # what Python makes of it
        return
    os.dup2(file if stream == "file" else os.open("/dev/full", os.O_WRONLY), number)
    setattr(sys, name, os.fdopen(number, "w", encoding="utf-8", closefd=False))


def _drop_capabilities(wanted: bool) -> None:
    """capabilities(7): the superuser's right to pass over permissions is one of them."""
    if wanted and os.geteuid() == 0:
        header = (ctypes.c_uint32 * 2)(0x20080522, 0)
        none = (ctypes.c_uint32 * 6)()
        assert ctypes.CDLL(None).capset(header, none) == 0


def _main(arguments: tuple[str, ...]) -> int:
    """The exit code as Python would give it."""
    sys.argv = ["etl", *arguments]
    code: Any = 0
    try:
        main()
    except SystemExit as end:
        code = end.code or 0
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except (OSError, ValueError):
        traceback.print_exc()
        code = 120
    if sys.stderr is not None and not sys.stderr.closed:
        sys.stderr.flush()
    return int(code)


def _wait(child: int, spoke: Callable[[], bool]) -> int:
    ended: list[int] = []

    def over() -> bool:
        pid, status = (0, 0) if ended else os.waitpid(child, os.WNOHANG)
        if pid:
            ended.append(os.waitstatus_to_exitcode(status))
        return bool(ended) or spoke()

    if not until(over):
        os.kill(child, signal.SIGKILL)
    elif not ended:
        os.kill(child, signal.SIGTERM)
    if not ended:
        ended.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    return ended[0]


def _text(file: Any) -> str:
    size = os.fstat(file.fileno()).st_size
    return os.pread(file.fileno(), size, 0).decode(errors="replace")
