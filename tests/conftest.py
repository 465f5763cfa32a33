"""Databases for the tests: SQLite files and a real PostgreSQL, with the schema of this code."""

import gc
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import Engine

from tests.support import postgres
from tests.support.cached import share_authorities, share_comparisons
from tests.support.compiled import share_compiled_statements
from tests.support.forks import Fork, forks
from tests.support.internals.database import open_engine, schema
from tests.support.internals.values import redaction
from tests.support.pgbouncer import Pool, pgbouncer

pytest_plugins = ["tests.support.places"]  # of the tests of commands, here and as processes
TEMPLATE = "etl_test_template"
BOTH = ("sqlite", "postgres")
TWINS = (  # files about what a vendor sends, and when: decided before a database sees it
    *("test_pages_", "test_records_", "test_answers_", "test_identities_"),
    *("test_process_clock", "test_process_freshness"),
    *("test_outages", "test_quarantine", "test_rejects", "test_deletions", "test_backfill"),
    *("test_scopes", "test_hidden_keys", "test_stopping", "test_dry_run", "test_costs"),
    *("test_granted_limits", "test_blocks", "test_budget", "test_audit"),
)
ASKED_OF_BOTH = (  # of these files, what asks a database the most
    "test_a_database_after_changes_of_every_kind_is_clean",
    "test_a_backfill_of_everything_ends_as_a_sync",
    "test_a_deleted_project_takes_its_parts_along",
    "test_updates_land_while_deletions_are_held_back",
)
POOLED = "TEST_POOLED"  # PostgreSQL is reached through PgBouncer
LONGEST = (  # files that take more than ten seconds, the longest first
    *("test_state_machine", "test_web_browser", "test_audit", "test_records_texts"),
    *("test_printing", "test_process_schema", "test_web_connections", "test_reprocess_archive"),
    *("test_install", "test_replay", "test_sources_side_by_side", "test_vendor_schemas"),
    *("test_identities_moving", "test_budget", "test_retention", "test_every_command"),
)

Databases = Callable[[str], AbstractContextManager[Engine]]
Copies = Callable[[Engine], AbstractContextManager[Engine]]

share_compiled_statements()
share_comparisons()
share_authorities()


def pytest_configure() -> None:
    """Signals that the suite ignores, as in the background of a shell, its children still hear."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, _ignore)  # a handler is not inherited by a new program


def _ignore(_number: int, _frame: object) -> None:
    """For this process only."""


def pytest_xdist_auto_num_workers() -> int:
    """One worker more than processors, as tests wait for other processes too; at most four."""
    return min(len(os.sched_getaffinity(0)) + 1, 4)


@pytest.hookimpl(tryfirst=True)  # before tests are chosen by their marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, the quick ones last: no worker is alone at the end.

    With --no-loadscope-reorder, as files are else begun by how many tests they have. Of twins
    `make check` asks SQLite, `make fault` asks PostgreSQL as well.
    """
    items.sort(key=_place)
    for item in items:
        asked = item.path.name.startswith(TWINS) and not item.name.startswith(ASKED_OF_BOTH)
        if asked and "postgres" in item.name:
            item.add_marker(pytest.mark.slow)


def _place(item: pytest.Item) -> int:
    name = item.path.stem
    if name in LONGEST:
        return LONGEST.index(name)
    return len(LONGEST) + (item.path.parent.name in ("unit", "sandbox"))


def pytest_collection_finish() -> None:
    """What is there before the first test stays to the end: no later collection looks at it."""
    gc.collect()
    gc.freeze()


def pytest_runtest_teardown() -> None:
    """What was secret in one test is an ordinary word in the next one."""
    redaction.forget()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Engine]:
    """An engine that may create databases; a server that cannot start is an error."""
    with postgres.server() as url:
        admin = postgres.admin_engine(url)
        yield admin
        admin.dispose()


@pytest.fixture(scope="session")
def postgres_template(postgres_server: Engine) -> Iterator[str]:
    """The name of a migrated database without rows."""
    postgres.drop(postgres_server, TEMPLATE)
    migrated = open_engine(postgres.create(postgres_server, TEMPLATE))
    schema.upgrade(migrated)
    migrated.dispose()
    yield TEMPLATE
    postgres.drop(postgres_server, TEMPLATE)


@pytest.fixture(scope="session")
def postgres_pool(postgres_server: Engine) -> Iterator[Pool | None]:
    """What stands between the tests and their databases, where they are asked to run so."""
    if POOLED not in os.environ:
        yield None
        return
    with pgbouncer(postgres_server.url) as pool:
        yield pool


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated file without rows."""
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    engine = open_engine(f"sqlite:///{path}")
    schema.upgrade(engine)
    engine.dispose()
    return path


@pytest.fixture(scope="session")
def databases(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Databases:
    """`with databases("sqlite") as engine`: a database of one's own; `… empty`: without schema."""
    numbers = count(1)

    @contextmanager
    def database(kind: str) -> Iterator[Engine]:
        backend, _, empty = kind.partition(" ")
        if backend == "sqlite":
            path = tmp_path_factory.mktemp("etl") / "etl.db"
            if not empty:
                shutil.copyfile(request.getfixturevalue("sqlite_template"), path)
            engine = open_engine(f"sqlite:///{path}")
            yield engine
            engine.dispose()
            return
        template = "template0" if empty else request.getfixturevalue("postgres_template")
        admin, name = request.getfixturevalue("postgres_server"), f"etl_test_{next(numbers)}"
        with _of_postgres(request, admin, name, template) as engine:
            yield engine

    return database


@contextmanager
def _of_postgres(
    request: pytest.FixtureRequest, admin: Engine, name: str, template: str
) -> Iterator[Engine]:
    pool = request.getfixturevalue("postgres_pool")
    postgres.drop(admin, name)
    url = postgres.create(admin, name, template)
    engine = open_engine(pool.url(name) if pool else url)
    yield engine
    engine.dispose()
    postgres.drop(admin, name)


@pytest.fixture(scope="session")
def copies(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Copies:
    """`with copies(prepared) as engine`: a database with all that another one holds."""
    numbers = count(1)

    @contextmanager
    def copy(prepared: Engine) -> Iterator[Engine]:
        prepared.dispose()  # SQLite moves all of its log into the file
        source = str(prepared.url.database)
        if prepared.dialect.name == "sqlite":
            path = shutil.copyfile(source, tmp_path_factory.mktemp("etl") / "etl.db")
            engine = open_engine(f"sqlite:///{path}")
            yield engine
            engine.dispose()
            return
        admin = request.getfixturevalue("postgres_server")
        postgres.disconnect(admin, source)
        with _of_postgres(request, admin, f"etl_test_copy_{next(numbers)}", source) as engine:
            yield engine

    return copy


@pytest.fixture
def store(databases: Databases) -> Iterator[Engine]:
    """An SQLite file, for tests of what does not depend on the database: it is quicker."""
    with databases("sqlite") as engine:
        yield engine


@pytest.fixture(params=BOTH)
def engine(request: pytest.FixtureRequest, databases: Databases) -> Iterator[Engine]:
    """Runs the test on each database."""
    with databases(request.param) as engine:
        yield engine


@pytest.fixture
def undisturbed(
    request: pytest.FixtureRequest, engine: Engine, databases: Databases
) -> Iterator[Engine]:
    """A second database of the same kind."""
    with databases("sqlite" if engine.dialect.name == "sqlite" else "postgres") as other:
        yield other


@pytest.fixture
def both(databases: Databases) -> Iterator[tuple[Engine, Engine]]:
    """For tests that compare the two: SQLite, Postgres."""
    with databases("sqlite") as sqlite, databases("postgres") as other:
        yield sqlite, other


@pytest.fixture(params=BOTH)
def empty_engine(request: pytest.FixtureRequest, databases: Databases) -> Iterator[Engine]:
    """Runs the test on each database before its first migration."""
    with databases(f"{request.param} empty") as engine:
        yield engine


@pytest.fixture(scope="session")
def fork() -> Iterator[Fork]:
    """Runs in forked processes that may be killed; all of them have one parent."""
    with forks() as fork:
        yield fork
