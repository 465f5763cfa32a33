"""Places for the tests of commands: one with a past that is only read, one fresh for each test."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from etl.sandbox import Sandbox, World
from tests.cli.command import IN_TURN, Place, place, synced
from tests.support.runs import small

OVERRIDE = "\u202egnp.exe\u202c"
MARKUP = "[red]alarm[/red] :x:"


@pytest.fixture(scope="session")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Three syncs: all that there is, then changes of every kind, then a return. Read only."""
    world = small(big_project=True)
    gone = _first(world, "layers", "projects")
    world.create("layers", "projects", name=MARKUP)
    world.create("layers", "projects", name=OVERRIDE)
    with synced(tmp_path_factory.mktemp("story"), world) as found:
        world.rename_project("search", "search-new")
        world.update("launchdarkly", "projects", "my-project", name=OVERRIDE, tags=["ops"])
        world.update("statsig", "layers", "Checkout", description=MARKUP)
        world.create("statsig", "layers", id="@SUM(A1)", name="@SUM(A1)")
        world.delete("layers", "projects", gone)
        assert found.etl("sync", *IN_TURN).code == 0
        world.restore("layers", "projects", gone)
        assert found.etl("sync", *IN_TURN).code == 0
        yield found


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Place]:
    """A place whose sources were never synced."""
    with Sandbox(small()) as sandbox:
        yield place(tmp_path, sandbox)


@pytest.fixture
def migrated(here: Place, sqlite_template: Path) -> Place:
    """A place whose database has its tables already, and no rows."""
    shutil.copy(sqlite_template, here.database)
    return here


@pytest.fixture(scope="session")
def synced_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A place whose sources were synced once; `done` is a copy of it."""
    with synced(tmp_path_factory.mktemp("synced")) as found:
        yield found


@pytest.fixture
def done(tmp_path: Path, synced_once: Place) -> Place:
    """A place whose sources were synced once; nothing happened at the vendors since."""
    sandbox = synced_once.sandbox  # the same, as its address is part of what was synced
    sandbox.clear_faults()
    sandbox.reset()
    found = place(tmp_path, sandbox)
    shutil.copy(synced_once.database, found.database)
    return found


def _first(world: World, provider: str, stream: str) -> str:
    key: str = world.live(provider, stream)[0].payload["id"]
    return key
