"""DuckDB, pandas and dlt on etl's databases and exports: `make clients`."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from etl.db.engine import snapshot
from etl.reports import relations
from etl.reports.export import WRITERS, CsvStyle, writer
from etl.sandbox import Sandbox
from tests.conftest import BOTH, Databases
from tests.support.database import count
from tests.support.runs import settings_for, small, sync_all

pytestmark = pytest.mark.clients

ROOT = Path(__file__).parents[2]
PEER = [str(ROOT / ".clients-venv" / "bin" / "python"), str(Path(__file__).with_name("peer.py"))]


def told(*words: str) -> str:
    """What the other programs say; each check of theirs that fails is shown."""
    ended = subprocess.run([*PEER, *words], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.fixture
def engine(request: pytest.FixtureRequest, databases: Databases) -> Iterator[Engine]:
    with databases(request.param) as engine:
        yield engine


def write(engine: Engine, name: str, folder: Path) -> None:
    """A table in every format."""
    for form in WRITERS:
        with snapshot(engine) as connection, (folder / f"{name}.{form}").open("wb") as file:
            found = relations.relation(connection, name)
            rows = relations.batches(connection, found)
            writer(form, CsvStyle.EXACT)(file, relations.columns_of(found.rows), rows)


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
def test_duckdb_and_pandas_read_what_is_there(engine: Engine, tmp_path: Path) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        for _ in range(3):
            sync_all(engine, settings)
            sandbox.world.evolve(changed=0.3)
    for name in ("layers", "change_feed"):
        write(engine, name, tmp_path)
    engine.dispose()
    (tmp_path / "etl.db").symlink_to(engine.url.database or "")
    told(str(tmp_path))


@pytest.mark.parametrize("engine", BOTH, indirect=True)
def test_dlt_copies_every_change_once(engine: Engine, tmp_path: Path) -> None:
    url = engine.url.render_as_string(hide_password=False)
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        for _ in range(2):
            sync_all(engine, settings)
            copied = told(str(tmp_path), url).split()[-2:]
            assert copied == [str(count(engine, "changes"))] * 2
            sandbox.world.evolve(changed=0.3)
