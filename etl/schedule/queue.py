"""The queue of source runs, on procrastinate: tables in a Postgres schema of their own.

A job is the name of a source and how often it failed in a row: no configuration, nothing secret.
It holds what waits and what is at work; what was done stands in `runs`.
"""

from collections.abc import Collection
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import IntegrityError

from etl.db.engine import within_schema
from etl.errors import ConfigError, SchemaOutOfDate, StoreError

if TYPE_CHECKING:
    from procrastinate import App

SCHEMA = "etl_queue"
QUEUE = "etl"
TASK = "etl.sync"
SCHEDULED, BACKFILL = 10, 0  # the greater goes first
# A queue that was empty when it was last analysed is full a moment later: the planner must not
# sort 20,000 jobs to take one (measured: 12 s a job; in the order of the index: under 1 ms).
SESSION = {"search_path": SCHEMA, "enable_sort": "off", "enable_bitmapscan": "off"}
SESSION |= {"enable_seqscan": "off"}
INDEX = """
CREATE INDEX IF NOT EXISTS etl_jobs_lock ON procrastinate_jobs (lock)
WHERE status IN ('todo', 'doing')
"""
SET_UP_LOCK = 4_702_111_735  # any number of ours: two processes never make the tables at once


def require(engine: Engine) -> None:
    """ConfigError where no queue can be: on SQLite, or without the extra."""
    if engine.dialect.name != "postgresql":
        raise ConfigError(
            "the queue needs Postgres, and the database is SQLite: put a postgresql:// url under "
            "[database], or let `etl schedule` run the sources in its own process"
        )
    try:
        import procrastinate  # noqa: F401
    except ImportError:
        raise ConfigError(
            "the queue needs procrastinate, which is not installed: "
            "pip install '.[worker]' in etl's checkout"
        ) from None


def set_up(connection: Connection) -> bool:
    """The tables of the queue are there, as this procrastinate wants them; whether any was made."""
    connection.execute(text(f"SELECT pg_advisory_xact_lock({SET_UP_LOCK})"))
    found, needed = _version(connection), _newest()
    if found is not None and found >= needed:
        return False
    connection.exec_driver_sql(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
    with _at_home(connection):
        for script in _scripts(found):
            # by the driver: a script is many statements, and its % are no places
            _driver(connection).execute(script)
        connection.exec_driver_sql(INDEX)
    connection.exec_driver_sql(f"COMMENT ON SCHEMA {SCHEMA} IS '{needed}'")
    return True


def ensure(connection: Connection) -> None:
    """The tables of the queue are as this procrastinate wants them, or SchemaOutOfDate."""
    found, needed = _version(connection), _newest()
    if found == needed:
        return
    if found is None:
        raise SchemaOutOfDate("the database has no queue: run `etl worker --setup`")
    newer = found > needed
    remedy = "install a newer procrastinate" if newer else "run `etl worker --setup`"
    raise SchemaOutOfDate(f"the queue is of {found}, this procrastinate needs {needed}: {remedy}")


def enqueue(
    connection: Connection,
    source: str,
    *,
    priority: int = SCHEDULED,
    at: datetime | None = None,
    failures: int = 0,
) -> bool:
    """The source is run soon, not before `at`; False when it waits in the queue already."""
    from procrastinate.exceptions import AlreadyEnqueued, ConnectorException

    try:
        with connection.begin_nested(), _at_home(connection):
            _app().configure_task(
                TASK,
                queue=QUEUE,
                lock=source,
                queueing_lock=source,
                priority=priority,
                schedule_at=at,
                connection=_driver(connection),
            ).defer(source=source, failures=failures)
    except AlreadyEnqueued:
        return False
    except ConnectorException as error:
        reason = str(error.__cause__ or error).strip().partition("\n")[0]
        raise StoreError(f"the database failed while queueing {source}: {reason}") from error
    return True


def take_back(connection: Connection, dead_after: timedelta, lost: Collection[int]) -> list[str]:
    """Jobs of workers without a heartbeat, and the lost ones, wait again; -> their sources."""
    found = connection.execute(
        text(STALLED), {"queue": QUEUE, "lost": list(lost), "dead_after": dead_after}
    ).all()
    for job in found:
        try:
            with connection.begin_nested(), _at_home(connection):
                connection.execute(text(WAIT_AGAIN), {"id": job.id})
        except IntegrityError:  # the source waits already, for its next tick
            with _at_home(connection):
                connection.execute(text(DROP), {"id": job.id})
    return [job.lock for job in found]


STALLED = f"""
SELECT id, lock FROM {SCHEMA}.procrastinate_jobs AS job
WHERE status = 'doing' AND queue_name = :queue AND (
    worker_id IS NULL OR id = ANY(:lost) OR EXISTS (
        SELECT FROM {SCHEMA}.procrastinate_workers AS worker
        WHERE worker.id = job.worker_id AND worker.last_heartbeat < now() - :dead_after))
FOR UPDATE SKIP LOCKED
"""  # noqa: S608  a name of ours
WAIT_AGAIN = """
UPDATE procrastinate_jobs SET status = 'todo', worker_id = NULL, attempts = attempts + 1
WHERE id = :id
"""
DROP = "DELETE FROM procrastinate_jobs WHERE id = :id"


def held_by(connection: Connection, worker: int) -> set[int]:
    """The jobs that the queue believes at work in that worker."""
    query = f"SELECT id FROM {SCHEMA}.procrastinate_jobs WHERE status = 'doing' AND worker_id = :id"  # noqa: S608
    return set(connection.execute(text(query), {"id": worker}).scalars())


def known_alive(connection: Connection, worker: int, within: timedelta) -> bool:
    """Whether that worker showed a sign of life in that time."""
    query = f"""
        SELECT FROM {SCHEMA}.procrastinate_workers
        WHERE id = :id AND last_heartbeat > now() - :within
    """
    return connection.execute(text(query), {"id": worker, "within": within}).first() is not None


def connector_options(engine: Engine) -> dict[str, Any]:
    """What procrastinate's own connections are made with: those of the engine, at home.

    The settings go with the request to connect. A pool such as PgBouncer refuses them, where SET
    would reach the sessions of others; the worker needs a direct connection.
    """
    _, given = engine.dialect.create_connect_args(engine.url)
    settings = " ".join(f"-c {name}={value}" for name, value in SESSION.items())
    options = {
        **given,
        "prepare_threshold": None,
        "client_encoding": "utf8",
        "options": f"{given.get('options', '')} {settings}".strip(),
    }
    return {"kwargs": options, "min_size": 1, "max_size": 4}


def _at_home(connection: Connection) -> AbstractContextManager[None]:
    """Names without a schema mean the queue's: procrastinate's functions need it."""
    return within_schema(connection, SCHEMA)


@cache
def _app() -> "App":
    from procrastinate import App, SyncPsycopgConnector

    return App(connector=SyncPsycopgConnector())


def _driver(connection: Connection) -> Any:
    return connection.connection.driver_connection


def _version(connection: Connection) -> str | None:
    """The last script that was run, as the comment of the schema has it."""
    query = f"SELECT obj_description(to_regnamespace('{SCHEMA}'), 'pg_namespace')"
    found: str | None = connection.execute(text(query)).scalar()
    return found


def _migrations() -> list[Path]:
    from procrastinate.schema import SchemaManager

    return sorted(Path(SchemaManager.get_migrations_path()).glob("*.sql"))


def _newest() -> str:
    return _migrations()[-1].stem


def _scripts(found: str | None) -> list[str]:
    """What makes the tables; or, of a queue that has some, what came later."""
    from procrastinate.schema import SchemaManager

    if found is None:
        return [str(SchemaManager.get_schema())]
    return [path.read_text(encoding="utf-8") for path in _migrations() if path.stem > found]
