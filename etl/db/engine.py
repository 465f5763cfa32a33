"""Engines: one URL -> one engine, set up so that SQLite and Postgres keep the same promises."""

import logging
import os
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, Engine, ExceptionContext, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.pool import NullPool, QueuePool, StaticPool

from etl.db.failures import explained, store_error
from etl.db.postgres import NOTHING, SNAPSHOT, STATEMENT, WRITE, open_postgres, quoted
from etl.errors import ConfigError, StoreError
from etl.json_text import json_text
from etl.redaction import ENCODING_HINT, masked
from etl.signals import hear, to_its_end

__all__ = ["open_engine", "open_reader", "quoted", "reading", "relaxed", "snapshot", "store_error"]

BUSY_SECONDS = 30  # in which the driver waits by itself, and hears no signal
SILENT_SECONDS = 5  # a longer wait for another writer is told
WRITER_SECONDS = 600  # SQLite has one writer at a time, and the merge of a million layers is long
MIN_SQLITE = (3, 35)
CACHE_KIB = 16 * 1024  # SQLite's own 2 MB do not hold the indexes of a merge
CHECKPOINT_PAGES = 8192  # 32 MB of WAL; at SQLite's own 4 MB nearly every commit of a load waits

waits = logging.getLogger("etl.waits")  # shown on stderr whatever `--log` says

EVENTS_LOCK = 4_702_111_736  # any number of ours: transactions that write change events


T = TypeVar("T")
_SQLITE_BEGIN = {WRITE: "BEGIN IMMEDIATE", SNAPSHOT: "BEGIN"}


def open_engine(
    url: str, *, schema: str | None = None, connections: int = 5, file_mode: int = 0o600
) -> Engine:
    """An engine for a sqlite:/// or postgresql+psycopg:// URL; StoreError when out of reach.

    schema: where etl's tables are on Postgres; default: where they are found, else `public`.
    connections: how many are kept; ten more are opened when needed, and closed.
    file_mode: the permissions of a new SQLite file, and so of its -wal and -shm.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return _open_postgres(parsed, begin=WRITE, schema=schema, connections=connections)
    if sqlite3.sqlite_version_info < MIN_SQLITE:
        raise ConfigError(f"SQLite {sqlite3.sqlite_version} is too old: 3.35 or newer needed")
    _refuse_no_file(Path(parsed.database or ""))
    _make_folder(Path(parsed.database or "").parent)
    _create_file(Path(parsed.database or ""), file_mode)
    engine = create_engine(
        parsed, hide_parameters=True, json_serializer=json_text, pool_size=connections
    )
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "close", _checkpoint_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    for end in ("commit", "rollback"):
        event.listen(engine, end, _end_sqlite)
    event.listen(engine, "handle_error", _keep_sqlite)
    return _opened(engine)


def _create_file(path: Path, mode: int) -> None:
    """An empty file, which SQLite takes for a new database, unless there is one."""
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    except OSError:  # it is there, or SQLite says why it cannot be
        return
    os.fchmod(descriptor, mode)  # whatever the umask is
    os.close(descriptor)


def open_reader(url: str, *, schema: str | None = None, seconds: float | None = None) -> Engine:
    """An engine that cannot write, whatever is asked of it; the database has to be there.

    seconds: the longest statement on Postgres.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return _open_postgres(parsed, begin=SNAPSHOT, schema=schema, seconds=seconds)
    require_file(url)
    return open_sqlite_reader(parsed, Path(parsed.database or ""))


def sqlite_file(url: str) -> Path | None:
    """The file of an SQLite URL; None for the URL of another database."""
    parsed = make_url(url)
    return Path(parsed.database or "") if parsed.get_backend_name() == "sqlite" else None


def require_file(url: str) -> None:
    """ConfigError where the URL is of an SQLite file that is not there: a mistyped path, mostly."""
    path = sqlite_file(url)
    if path is None:
        return
    if is_absent(url):
        raise ConfigError(
            f"there is no database {path}; check database.url in the configuration, or "
            "ETL_DATABASE_URL; `etl sync` makes one"
        )
    _refuse_no_file(path)


def _refuse_no_file(path: Path) -> None:
    """ConfigError for a folder or a device, of which SQLite would say that the disk is broken."""
    try:
        wrong = path.exists() and not path.is_file()
    except OSError:
        return
    if wrong:
        raise ConfigError(
            f"{path} is no file, so no database; check database.url in the configuration, or "
            "ETL_DATABASE_URL"
        )


def is_absent(url: str) -> bool:
    """Whether the URL is of an SQLite file that is not there; what may not be looked at may be."""
    path = sqlite_file(url)
    try:
        return path is not None and not path.exists()
    except OSError:
        return False


def open_empty() -> Engine:
    """An empty SQLite database in memory: how a file that is not there yet is read."""
    engine = create_engine("sqlite://", poolclass=StaticPool, json_serializer=json_text)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def open_sqlite_reader(url: URL, path: Path) -> Engine:
    """An engine for a file that is there, which may belong to another user."""
    may_write = os.access(path.parent, os.W_OK)
    engine = create_engine(
        url,
        hide_parameters=True,
        json_serializer=json_text,
        creator=lambda: _connect_reader(path),
        # a connection that sees no change must not be used twice
        poolclass=QueuePool if may_write else NullPool,
    )
    event.listen(engine, "connect", _prepare_sqlite_reader)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    return _opened(engine)


class _Unchanging(sqlite3.Connection):
    """A connection that takes its file for unchangeable; seen: what tells whether it is true."""

    seen: tuple[object, ...] = ()


def _connect_reader(path: Path) -> sqlite3.Connection:
    """A connection that only reads.

    The write-ahead log has files of its own beside the database. Who may not make them can read
    while a writer has made them; and while there is none, the file itself, which nobody changes.
    """
    # a path is quoted as a URI's, or ? and # in it would end it
    uri = f"{path.absolute().as_uri()}?mode=ro"
    made = sqlite3.connect(uri, uri=True, check_same_thread=False, timeout=BUSY_SECONDS)
    try:
        made.execute("SELECT 1 FROM sqlite_master LIMIT 1").close()
    except sqlite3.OperationalError as error:
        made.close()
        said = str(error)
        if _log_of(path).exists() or ("readonly" not in said and "unable to open" not in said):
            raise
        seen = _state(path)
        made = sqlite3.connect(
            f"{uri}&immutable=1", uri=True, check_same_thread=False, factory=_Unchanging
        )
        made.seen = seen
        return made
    return made


def _log_of(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def _state(path: Path) -> tuple[object, ...]:
    """What is another as soon as anybody writes into the file."""
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns, _log_of(path).exists()


def _raise_if_changed(connection: Connection) -> None:
    driver, database = connection.connection.driver_connection, connection.engine.url.database
    if isinstance(driver, _Unchanging) and driver.seen != _state(Path(database or "")):
        raise StoreError(f"the database {database} was written while it was read; read it again")


def in_transaction(engine: Engine, work: Callable[[Connection], T]) -> T:
    """The outcome of work in one transaction; done again where the connection was lost before.

    Once, and not where the commit may have been heard. The work changes nothing but the database.
    """
    for again in (True, False):
        committing = False
        try:
            with engine.begin() as connection:
                done = work(connection)
                committing = True
        except DBAPIError as error:
            if not again or committing or not error.connection_invalidated:
                raise
        else:
            return done
    raise AssertionError  # the second time it is done or raised


def reading(engine: Engine) -> Connection:
    """A connection for reads without lock or snapshot: each statement sees the last commit.

    Not SQLAlchemy's AUTOCOMMIT on SQLite: given back to the pool it would turn on the driver's own
    transaction control for the next user.
    """
    return engine.connect().execution_options(etl_begin=STATEMENT)


@contextmanager
def snapshot(engine: Engine) -> Iterator[Connection]:
    """A connection whose reads all see one moment, and that blocks no writer."""
    with engine.connect().execution_options(etl_begin=SNAPSHOT) as connection:
        yield connection
        _raise_if_changed(connection)


def outside_transactions(engine: Engine) -> Connection:
    """A connection for statements that no transaction may hold, such as VACUUM.

    On Postgres none of etl's settings are in force: names need their schema.
    """
    return engine.connect().execution_options(etl_begin=NOTHING)


def schema_of(bind: Engine | Connection) -> str | None:
    """The Postgres schema that etl's tables are in; None on SQLite."""
    found: str | None = bind.get_execution_options().get("etl_schema")
    return found


@contextmanager
def within_schema(connection: Connection, name: str) -> Iterator[None]:
    """Meanwhile names without a schema mean tables of that Postgres schema."""
    connection.exec_driver_sql(f"SET LOCAL search_path = {quoted(name)}")
    yield
    connection.exec_driver_sql(f"SET LOCAL search_path = {quoted(schema_of(connection) or '')}")


def relaxed(connection: Connection) -> None:
    """This transaction may be lost with the power, never with the process: it is a checkpoint."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SET LOCAL synchronous_commit = off")


def lock_events(connection: Connection) -> None:
    """Waits until no other transaction writes change events; held until this one ends.

    The last lock of a transaction, which only inserts afterwards, so nothing can wait in a circle.
    It belongs to the transaction, not to the session, as a connection pooler needs it. SQLite has
    one writer at a time anyway.
    """
    if connection.dialect.name == "postgresql":
        with told("another run that writes its changes"):
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({EVENTS_LOCK})")


@contextmanager
def told(what: str) -> Iterator[None]:
    """Logs a wait for a lock of Postgres that takes longer than a few seconds.

    A signal may be heard meanwhile, but not amid the locks of the timer.
    """
    timer = threading.Timer(SILENT_SECONDS, waits.warning, ("waiting for %s", what))
    timer.daemon = True
    to_its_end(timer.start)()
    try:
        yield
    finally:
        to_its_end(timer.cancel)()


@contextmanager
def hashed_joins(connection: Connection) -> Iterator[None]:
    """Meanwhile Postgres joins by hash, not row by row.

    It takes a table that was never analysed for all but empty: in the first load of 2,000 projects
    with 500 layers each it would compare every layer with every project.
    """
    with _without(connection, "nestloop"):
        yield


@contextmanager
def walks_of_indexes(connection: Connection) -> Iterator[None]:
    """Meanwhile Postgres reads in the order of an index, as pages of a list are.

    Of a table that was never analysed, or of which a filter leaves little, it would read and sort
    all rows for each page.
    """
    with _without(connection, "seqscan", "bitmapscan"):
        yield


@contextmanager
def _without(connection: Connection, *methods: str) -> Iterator[None]:
    """Meanwhile Postgres has no choice of these methods; SQLite has none of them anyway."""
    if connection.dialect.name != "postgresql":
        yield
        return
    for method in methods:
        connection.exec_driver_sql(f"SET LOCAL enable_{method} = off")
    yield
    for method in methods:
        connection.exec_driver_sql(f"SET LOCAL enable_{method} TO DEFAULT")


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"the folder {folder} of the database cannot be made: {error.strerror}; make it, or "
            "name another under [database]"
        ) from error


def _open_postgres(
    url: URL, *, begin: str, schema: str | None, connections: int = 5, seconds: float | None = None
) -> Engine:
    try:
        return open_postgres(
            url, begin=begin, schema=schema, connections=connections, seconds=seconds
        )
    except SQLAlchemyError as error:
        raise _unopened(url, error) from error


def _opened(engine: Engine) -> Engine:
    """The engine, once it could connect."""
    try:
        with engine.connect():
            return engine
    except SQLAlchemyError as error:
        raise _unopened(engine.url, error) from error


def _unopened(url: URL, error: SQLAlchemyError) -> StoreError:
    where = masked(url.render_as_string(hide_password=False))
    said = explained(error)
    encoded = url.password and re.search(r"authentication|resolve|translate", said)
    hint = f"; {ENCODING_HINT}" if encoded else ""
    return StoreError(f"cannot open the database {where}: {said}{hint}")


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the driver's own transactions lose updates: see BEGIN below
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    cursor.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
    # Debian's SQLite writes zeros over all that is deleted; so much is staged and dropped again
    cursor.execute("PRAGMA secure_delete = FAST")
    # trusted_schema stays on: before 3.41 SQLite refuses JSON functions in views without it
    cursor.close()


def _prepare_sqlite_reader(connection: Any, _record: object) -> None:
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")
    cursor.execute("PRAGMA query_only = ON")
    cursor.close()


def _checkpoint_sqlite(connection: Any, _record: object) -> None:
    """Moves the WAL into the file while others may read it.

    Else the last connection that is closed does so, and locks everybody out meanwhile: programs
    without a busy timeout, as the sqlite3 shell, then fail with "database is locked".
    """
    with suppress(sqlite3.Error):
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").close()


def _begin_sqlite(connection: Connection) -> None:
    how = connection.get_execution_options().get("etl_begin", WRITE)
    begin = _SQLITE_BEGIN.get(how)
    if begin is None:
        return
    writer = (str(connection.engine.url.database), os.getpid(), threading.get_ident())
    began = time.monotonic()
    _set_busy_timeout(connection, min(SILENT_SECONDS, BUSY_SECONDS))
    told = False
    try:
        while True:
            try:
                connection.exec_driver_sql(begin)
                break
            except OperationalError as error:
                waited = time.monotonic() - began
                if waited >= WRITER_SECONDS or "database is locked" not in str(error.orig):
                    raise
                if writer in tuple(_WRITERS.values()):
                    raise RuntimeError("a thread waits for its own transaction") from error
                if not told:
                    waits.warning(
                        "waiting for another process that writes to %s, for %d minutes at most",
                        connection.engine.url.database,
                        WRITER_SECONDS // 60,
                    )
                    told = True
                hear()
    finally:
        _set_busy_timeout(connection, BUSY_SECONDS)
    if how == WRITE:
        _WRITERS[id(connection)] = writer


def _end_sqlite(connection: Connection) -> None:
    _WRITERS.pop(id(connection), None)


def _set_busy_timeout(connection: Connection, seconds: float) -> None:
    driver: Any = connection.connection.driver_connection
    driver.execute(f"PRAGMA busy_timeout = {int(seconds * 1000)}").close()


# connection -> file, process and thread of every transaction that writes
_WRITERS: dict[int, tuple[str, int, int]] = {}


def _keep_sqlite(context: ExceptionContext) -> None:
    """After a signal the connection is as good as before: no statement of SQLite's is broken off.

    SQLAlchemy would close it, and one that is closed with an open cursor keeps its lock.
    """
    if not isinstance(context.original_exception, Exception):
        context.is_disconnect = False
