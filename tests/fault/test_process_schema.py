"""Rows 48 to 50: schemas of other versions, two processes that migrate, upgrades with data."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, inspect, text

from etl.sandbox import Sandbox
from tests.cli.command import etl, line, variables
from tests.conftest import BOTH, Copies, Databases
from tests.support.database import contents, counts
from tests.support.history import violations
from tests.support.internals.database import schema
from tests.support.runs import config_text, settings_for, small, sync_all

MIGRATIONS = Path(__file__).parents[2] / "migrations"
EARLIER = [str(script.revision) for script in ScriptDirectory(str(MIGRATIONS)).walk_revisions()][1:]


def config_for(engine: Engine, sandbox: Sandbox, folder: Path) -> Path:
    config = folder / "etl.toml"
    url = engine.url.render_as_string(hide_password=False).replace("+psycopg", "")
    config.write_text(config_text(sandbox, url))
    return config


def shape(engine: Engine) -> tuple[set[str], set[str], str | None]:
    """Tables, views and the revision."""
    found = inspect(engine)
    with engine.connect() as connection:
        revision = schema.current(connection)
    return set(found.get_table_names()), set(found.get_view_names()), revision


@pytest.mark.row(48)
@pytest.mark.parametrize("command", ["sync", pytest.param("status", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("found", "remedy"), [(EARLIER[0], "run `etl db upgrade`"), ("9999", "install a newer etl")]
)
def test_no_command_touches_a_database_of_another_version(
    engine: Engine, tmp_path: Path, command: str, found: str, remedy: str
) -> None:
    with Sandbox(small()) as sandbox:
        sync_all(engine, settings_for(sandbox))
        if found in EARLIER:
            schema.downgrade(engine, found)
        else:
            with engine.begin() as connection:
                to = "UPDATE alembic_version SET version_num = :found"
                connection.execute(text(to), {"found": found})
        before = shape(engine), contents(engine)
        sandbox.reset_requests()
        config = config_for(engine, sandbox, tmp_path)
        ended = etl("--config", str(config), command)
        assert (ended.code, sandbox.requests, ended.out) == (2, [], "")
        needs = f"the database has schema {found}, this etl needs {schema.HEAD}: {remedy}"
        assert " ".join(ended.err.split()) == f"etl: {needs}"
    assert (shape(engine), contents(engine)) == before


@pytest.mark.row(49)
def test_of_processes_that_migrate_at_once_one_does_and_the_others_wait(
    empty_engine: Engine, tmp_path: Path
) -> None:
    """They are let go together: each of them stands before the same lock."""
    with Sandbox(small()) as sandbox:
        config = config_for(empty_engine, sandbox, tmp_path)
        command = line("--config", str(config), "db", "upgrade")
        with empty_engine.begin() as connection:  # on SQLite this alone keeps all others out
            if empty_engine.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(4702111734)"))
            pipe: Any = subprocess.PIPE
            processes = [
                subprocess.Popen(command, env=variables(), stdout=pipe, stderr=pipe, text=True)
                for _ in range(3)
            ]
            with pytest.raises(subprocess.TimeoutExpired):
                processes[0].wait(1.5)
            assert [one.poll() for one in processes] == [None, None, None]
        told = [one.communicate(timeout=60) for one in processes]
        assert [one.returncode for one in processes] == [0, 0, 0], told
        assert shape(empty_engine)[2] == schema.HEAD
        assert schema.differences(empty_engine) == []
        sync_all(empty_engine, settings_for(sandbox))
        assert counts(empty_engine) == sandbox.counts()


@pytest.mark.slow
@pytest.mark.row(49)
def test_two_first_runs_of_one_new_file_make_one_schema(tmp_path: Path) -> None:
    with Sandbox(small()) as sandbox:
        config = tmp_path / "etl.toml"
        config.write_text(config_text(sandbox, f"sqlite:///{tmp_path / 'new.db'}"))
        pipe: Any = subprocess.PIPE
        processes = [
            subprocess.Popen(
                line("--config", str(config), "sync", source),
                env=variables(),
                stdout=pipe,
                stderr=pipe,
                text=True,
            )
            for source in ("ld", "st", "ly")
        ]
        told = [one.communicate(timeout=60) for one in processes]
        assert [one.returncode for one in processes] == [0, 0, 0], told


@pytest.fixture(scope="module", params=BOTH)
def lived(request: pytest.FixtureRequest, databases: Databases) -> Iterator[tuple[Engine, Sandbox]]:
    """A database with three days of changes, and the vendors with a fourth one."""
    with databases(request.param) as engine, Sandbox(small(big_project=True)) as sandbox:
        for _ in range(3):
            sync_all(engine, settings_for(sandbox))
            sandbox.world.evolve(changed=0.3, deleted=3, created=3)
        yield engine, sandbox


@pytest.mark.row(50)
@pytest.mark.parametrize(
    "revision",  # the way from the first one passes all others
    [
        EARLIER[0],
        *(pytest.param(one, marks=pytest.mark.slow) for one in EARLIER[1:-1]),
        EARLIER[-1],
    ],
)
def test_an_upgrade_from_each_earlier_revision_keeps_its_data(
    lived: tuple[Engine, Sandbox], copies: Copies, revision: str
) -> None:
    """Down with history, and tombstones in it, up again: nothing else changed."""
    prepared, sandbox = lived
    settings = settings_for(sandbox)
    with copies(prepared) as engine:
        before = contents(engine), shape(engine)
        schema.downgrade(engine, revision)
        assert shape(engine)[2] == revision
        schema.upgrade(engine)
        assert (contents(engine), shape(engine)) == before
        assert violations(engine) == []
        sync_all(engine, settings)
        assert counts(engine) == sandbox.counts()
        after = contents(engine)
        sync_all(engine, settings)
        assert contents(engine) == after  # no change is seen twice
        assert violations(engine) == []
