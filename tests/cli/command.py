"""The command line as its users run it: arguments in; exit code, stdout and stderr out."""

import io
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from etl.cli import main
from etl.sandbox import Sandbox, World
from tests.support.runs import config_text, environ, small

SECONDS = 60
IN_TURN = ("--concurrency", "1")  # changes of several sources are then in one order
ESCAPE = "\x1b"
BIDI = re.compile("[\u200e\u200f\u202a-\u202e\u2066-\u2069\u061c]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its stdout, which is one JSON document."""
        return json.loads(self.out)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A folder with a configuration of three sources at a sandbox, and their database."""

    sandbox: Sandbox
    config: Path

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.config.with_name("etl.db")

    def etl(self, *arguments: str, more: Mapping[str, str] | None = None, **keys: str) -> Ended:
        """Runs a command in this process."""
        return etl("--config", str(self.config), *arguments, more=more, **keys)

    def process(self, *arguments: str) -> Ended:
        """Runs a command in a process of its own."""
        return process("--config", str(self.config), *arguments, at=self.config.parent)


def place(folder: Path, sandbox: Sandbox, **tables: Any) -> Place:
    """A place without a database yet; `ld={"limits": {...}}` adds to a source."""
    config = folder / "etl.toml"
    config.write_text(config_text(sandbox, f"sqlite:///{folder / 'etl.db'}", **tables))
    return Place(sandbox=sandbox, config=config)


@contextmanager
def synced(folder: Path, world: World | None = None, **tables: Any) -> Iterator[Place]:
    """A place whose sources were synced once."""
    with Sandbox(world or small()) as sandbox:
        found = place(folder, sandbox, **tables)
        first = found.etl("sync", *IN_TURN)
        assert first.code == 0, first
        yield found


def etl(*arguments: str, more: Mapping[str, str] | None = None, **keys: str) -> Ended:
    """Runs a command in this process, errors and exit code as in one of its own.

    more: other variables of its environment.
    """
    raw = io.BytesIO(), io.BytesIO()
    out, err = (io.TextIOWrapper(one, encoding="utf-8", write_through=True) for one in raw)
    logger, before = logging.getLogger("etl"), signal.getsignal(signal.SIGTERM)
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        for name, value in environ(**keys).items():
            patch.setenv(name, value)
        for name in ("ETL_CONFIG", "ETL_DATABASE_URL", "FORCE_COLOR"):
            patch.delenv(name, raising=False)
        for name, value in (more or {}).items():
            patch.setenv(name, value)
        patch.setattr(sys, "argv", ["etl", *arguments])
        patch.setattr(logger, "handlers", [])
        patch.setattr(logger, "propagate", True)
        patch.setattr(logger, "level", logging.NOTSET)
        try:
            main()
            code: object = 0
        except SystemExit as end:
            code = end.code
        finally:
            signal.signal(signal.SIGTERM, before)
    assert isinstance(code, int)
    told = [one.getvalue().decode() for one in raw]
    return Ended(code=code, out=told[0], err=told[1])


def process(*arguments: str, at: Path, keys: Mapping[str, str] | None = None) -> Ended:
    """Runs a command in a process of its own."""
    ended = subprocess.run(
        line(*arguments),
        cwd=at,
        env=variables(**(keys or {})),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=SECONDS,
        check=False,
    )
    return Ended(code=ended.returncode, out=ended.stdout, err=ended.stderr)


def line(*arguments: str) -> list[str]:
    """The words of a command line."""
    return [sys.executable, "-m", "etl", *arguments]


def variables(**more: str) -> dict[str, str]:
    """An environment with the keys of all sources, and nothing that changes what is printed."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    root = str(Path(__file__).parents[2])
    return {**kept, "PYTHONPATH": root, **environ(), **more}


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def page(port: int, name: str) -> str:
    """What the daemon says there."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/{name}", timeout=60) as answer:
        found: bytes = answer.read()
        return found.decode()
