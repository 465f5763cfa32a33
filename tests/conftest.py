"""Databases for the tests: a SQLite file and a real PostgreSQL, each with the schema of this code."""

import shutil
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import Engine

from etl.db import schema
from etl.db.engine import open_engine
from tests.support import postgres

TEMPLATE = "etl_test_template"
_NUMBERS = count(1)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Engine]:
    """An engine that may create databases; a server that cannot start is an error."""
    with postgres.server() as url:
        admin = postgres.admin_engine(url)
        postgres.drop(admin, TEMPLATE)
        migrated = open_engine(_text(postgres.create(admin, TEMPLATE)))
        schema.upgrade(migrated)
        migrated.dispose()
        yield admin
        postgres.drop(admin, TEMPLATE)
        admin.dispose()


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    engine = open_engine(f"sqlite:///{path}")
    schema.upgrade(engine)
    engine.dispose()
    return path


@pytest.fixture
def sqlite_engine(migrated_file: Path, tmp_path: Path) -> Iterator[Engine]:
    path = tmp_path / "etl.db"
    shutil.copyfile(migrated_file, path)
    engine = open_engine(f"sqlite:///{path}")
    yield engine
    engine.dispose()


@pytest.fixture
def postgres_engine(postgres_server: Engine) -> Iterator[Engine]:
    yield from _own_database(postgres_server, TEMPLATE)


@pytest.fixture(params=["sqlite", "postgres"])
def engine(request: pytest.FixtureRequest) -> Engine:
    """Runs the test on each database."""
    found: Engine = request.getfixturevalue(f"{request.param}_engine")
    return found


@pytest.fixture
def both(sqlite_engine: Engine, postgres_engine: Engine) -> tuple[Engine, Engine]:
    """For tests that compare the two."""
    return sqlite_engine, postgres_engine


@pytest.fixture(params=["sqlite", "postgres"])
def empty_engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """Each database before its first migration."""
    if request.param == "postgres":
        yield from _own_database(request.getfixturevalue("postgres_server"), "template0")
        return
    engine = open_engine(f"sqlite:///{tmp_path / 'empty.db'}")
    yield engine
    engine.dispose()


def _own_database(admin: Engine, template: str) -> Iterator[Engine]:
    name = f"etl_test_{next(_NUMBERS)}"
    postgres.drop(admin, name)
    engine = open_engine(_text(postgres.create(admin, name, template)))
    yield engine
    engine.dispose()
    postgres.drop(admin, name)


def _text(url: postgres.URL) -> str:
    return url.render_as_string(hide_password=False)
