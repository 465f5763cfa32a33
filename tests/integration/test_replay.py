"""Dumps loaded in the order of time give the history of the syncs that made them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import Engine

from etl.app import Wish
from etl.config import Settings
from etl.replay import load_archive, plan_load
from etl.report import RunReport
from etl.sandbox import Sandbox
from tests.conftest import BOTH, Databases
from tests.support.database import contents, count
from tests.support.runs import START, SOURCES, hour, settings_for, small, sync, sync_all

DAYS = 30


def archives(folder: Path) -> dict[str, dict[str, dict[str, str]]]:
    return {name: {"archive": {"dir": str(folder)}} for name in SOURCES}


def load(engine: Engine, settings: Settings, name: str, folder: Path, **wish) -> list[RunReport]:
    planned = plan_load(engine, settings, name, folder)
    return [report for _, report in load_archive(engine, settings, planned, Wish(**wish))]


def load_all(engine: Engine, settings: Settings, folder: Path) -> None:
    for name in SOURCES:
        load(engine, settings, name, folder)


@dataclass(frozen=True)
class Month:
    """Thirty daily syncs, and their archive."""

    folder: Path
    settings: Settings
    engine: Engine


@pytest.fixture(scope="module")
def month(tmp_path_factory: pytest.TempPathFactory, databases: Databases) -> Iterator[Month]:
    folder = tmp_path_factory.mktemp("archive")
    with Sandbox(small(3)) as sandbox, databases("sqlite") as engine:
        settings = settings_for(sandbox, **archives(folder))
        for day in range(DAYS):
            sync_all(engine, settings, hour(24 * day))
            if day % 3:  # on some days nothing happens
                sandbox.world.evolve(changed=0.1, deleted=2, renamed=1, created=2, restored=1)
        yield Month(folder=folder, settings=settings, engine=engine)


def test_thirty_daily_dumps_give_the_history_of_thirty_daily_syncs(
    month: Month, engine: Engine
) -> None:
    load_all(engine, month.settings, month.folder)
    assert contents(engine) == contents(month.engine)
    for operation in ("created", "updated", "deleted", "restored"):
        assert count(engine, "changes", f"operation = '{operation}'") > 10
