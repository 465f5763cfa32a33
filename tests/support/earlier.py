"""What the etl of an earlier version left behind: a database, an archive, a plan, a parked run.

`python -m tests.support.earlier` makes it anew in tests/samples/earlier, with the code of today:
to be done before stored names change, as an upgrade must not break what is there. Its sandbox has
an address of its own, as a source's scope names the host.
"""

import fcntl
import gzip
import json
import os
import re
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import typer

from etl.cli import app
from etl.sandbox import Fault, Sandbox, World
from tests.cli.command import IN_TURN, Place, place
from tests.support.runs import small

FOLDER = Path(__file__).parents[1] / "samples" / "earlier"
HOST, PORT = "127.83.14.1", 48314
PAGED: Mapping[str, Any] = {"st": {"layers": {"page_size": 2}}}
PAGES = "statsig /console/v1/layers?*"
READ = 3  # pages, before the parked run was stopped
ANSWERS = (  # lines whose output depends on nothing but the database
    *("runs --json", "show 1 --json", "show 4 --json", "changes --format json", "changes --run 5"),
    *("history layers search-home-2 --format json", "rejects --all --json", "drift --json"),
    *("audit --json", "report layer_capacity --format json"),
    *("report key_rotations --format csv", "report holdout_usage --format csv"),
    *("export layers --format jsonl --out -", "export change_feed --format csv --out -"),
    *("export layer_reservations --format csv --exact --out -", "source list --json"),
)


def world_after(steps: int) -> World:
    """The vendors after so many changes of each kind."""
    world = small()
    for _ in range(steps):
        world.evolve(changed=0.3, deleted=1, created=1)
    return world


@contextmanager
def sandbox_of(world: World) -> Iterator[Sandbox]:
    """The vendors at the address that the earlier code read them from; one test at a time."""
    with (Path(tempfile.gettempdir()) / f"etl-earlier-{os.getuid()}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with Sandbox(world, host=HOST, port=PORT) as sandbox:
            yield sandbox


def place_of(folder: Path, sandbox: Sandbox) -> Place:
    """The configuration that the earlier code had."""
    tables = {**PAGED, "ld": {"archive": {"dir": str(folder / "archive")}}}
    return place(folder, sandbox, **tables)


def unpack(folder: Path, name: str = "etl.db") -> None:
    """The earlier database, with its archive and its plan."""
    folder.joinpath("etl.db").write_bytes(gzip.decompress((FOLDER / f"{name}.gz").read_bytes()))
    shutil.unpack_archive(FOLDER / "archive.zip", folder / "archive")
    shutil.copyfile(FOLDER / "plan.json", folder / "plan.json")


def helps(done: Place) -> str:
    """What every command says of itself."""
    shown = {"COLUMNS": "100", "TERM": "dumb", "NO_COLOR": "1"}
    paths = _paths(typer.main.get_command(app), ())
    told = "\n".join(done.etl(*path, "--help", more=shown).out for path in paths)
    lines = "".join(f"{line.rstrip()}\n" for line in told.splitlines())
    return re.sub(r"Usage: .*?(?=( [a-z]+)* \[)", "Usage: etl", lines)


def _paths(command: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    yield path
    for name, inner in getattr(command, "commands", {}).items():
        yield from _paths(inner, (*path, name))


def answers(done: Place) -> dict[str, str]:
    """What is asked -> what is told."""
    ended = {line: done.etl(*line.split()) for line in ANSWERS}
    assert all(one.code in (0, 1) and one.out for one in ended.values()), ended
    return {line: one.out for line, one in ended.items()}


def schema(database: Path) -> str:
    """The tables, indexes and views, as SQLite keeps them."""
    query = "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY type, name"
    with closing(sqlite3.connect(database)) as connection:
        return "\n".join(sql for (sql,) in connection.execute(query)) + "\n"


def _make(folder: Path) -> None:
    FOLDER.mkdir(exist_ok=True)
    world = world_after(0)
    with sandbox_of(world) as sandbox:
        parked = place_of(folder, sandbox)
        sandbox.add_fault(Fault(PAGES, "status", after=READ, times=1, arg=503))
        assert parked.etl("sync", "st").code == 75
        _pack(parked.database, "parked.db")
        parked.database.unlink()
        done = place_of(folder, sandbox)
        assert done.etl("sync", *IN_TURN).code == 0
        world.evolve(changed=0.3, deleted=1, created=1)
        assert done.etl("sync", *IN_TURN).code == 0
        world.evolve(changed=0.3, deleted=1, created=1)
        assert done.etl("plan", "--out", str(FOLDER / "plan.json")).code in (0, 2)
    _pack(done.database, "etl.db")
    shutil.make_archive(str(FOLDER / "archive"), "zip", folder / "archive")
    (FOLDER / "help.txt").write_text(helps(done), encoding="utf-8")
    (FOLDER / "answers.json").write_text(json.dumps(answers(done), indent=1), encoding="utf-8")
    (FOLDER / "schema.sql").write_text(schema(done.database), encoding="utf-8")


def _pack(database: Path, name: str) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("VACUUM")
    (FOLDER / f"{name}.gz").write_bytes(gzip.compress(database.read_bytes(), mtime=0))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        _make(Path(made))
    sys.exit(0)
