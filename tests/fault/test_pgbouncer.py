"""Postgres behind PgBouncer in transaction mode: nothing outlives a transaction of etl's."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Engine

from etl.sandbox import Sandbox
from tests.cli.command import IN_TURN, Place
from tests.conftest import Databases
from tests.support.database import counts
from tests.support.history import violations
from tests.support.internals.database import open_engine, open_reader
from tests.support.pgbouncer import Pool, pgbouncer
from tests.support.runs import config_text, settings_for, small, sync

READING = (
    *("status", "runs", "show 1", "changes", "drift", "rejects", "audit", "db check", "db current"),
    *("report", "report layer_capacity", "export layers --format jsonl", "notices"),
    *("history projects search", "check"),
)
STATE = """
SELECT current_setting('TimeZone'), current_setting('DateStyle'), current_setting('search_path'),
  current_setting('default_transaction_read_only'), current_setting('statement_timeout'),
  current_setting('enable_nestloop'), current_setting('synchronous_commit'),
  (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'),
  (SELECT count(*) FROM pg_prepared_statements),
  (SELECT count(*) FROM pg_listening_channels()),
  (SELECT count(*) FROM pg_class WHERE relnamespace = pg_my_temp_schema())
"""


@pytest.fixture(scope="module")
def pool(postgres_server: Engine) -> Iterator[Pool]:
    """One server connection for each database: whoever comes next gets the same one."""
    with pgbouncer(postgres_server.url, servers=1) as pool:
        yield pool


@pytest.fixture
def database(databases: Databases) -> Iterator[Engine]:
    """A database, reached directly."""
    with databases("postgres") as engine:
        yield engine


def url(pool: Pool, engine: Engine) -> str:
    assert engine.url.database is not None
    return pool.url(engine.url.database)


def place(
    pool: Pool, engine: Engine, sandbox: Sandbox, folder: Path, schema: str | None = None
) -> Place:
    config = folder / "etl.toml"
    text = config_text(sandbox, url(pool, engine))
    if schema is not None:
        text = text.replace("[database]\n", f'[database]\nschema = "{schema}"\n')
    config.write_text(text)
    return Place(sandbox=sandbox, config=config)


def state(pool: Pool, engine: Engine) -> list[tuple[object, ...]]:
    """What another application finds on the connection that etl had."""
    with psycopg.connect(url(pool, engine), autocommit=True, prepare_threshold=None) as other:
        return other.execute(STATE).fetchall()


@pytest.mark.parametrize("schema", [None, "Etl's own"])
def test_every_command_works_and_leaves_nothing_behind(
    pool: Pool, database: Engine, tmp_path: Path, schema: str | None
) -> None:
    fresh = state(pool, database)
    with Sandbox(small()) as sandbox:
        here = place(pool, database, sandbox, tmp_path, schema)
        assert here.etl("db", "upgrade").code == 0
        for _ in range(3):
            ended = here.etl("sync", *IN_TURN)
            assert (ended.code, ended.err) == (0, "")
            assert state(pool, database) == fresh
            sandbox.world.evolve(changed=0.3)
        for command in (*READING, "db vacuum", "reprocess", "prune"):
            ended = here.etl(*command.split())
            assert (command, ended.code, ended.err) == (command, 0, "")
            assert (command, state(pool, database)) == (command, fresh)


def test_sources_side_by_side_share_few_connections(
    postgres_server: Engine, database: Engine
) -> None:
    with pgbouncer(postgres_server.url, servers=3) as pool, Sandbox(small()) as sandbox:
        engine = open_engine(url(pool, database).replace(":", "+psycopg:", 1))
        settings = settings_for(sandbox)
        with ThreadPoolExecutor(3) as threads:
            for _ in range(3):
                reports = threads.map(lambda name: sync(engine, settings, name), settings.sources)
                assert [(report.status, report.error) for report in reports] == [("ok", None)] * 3
                assert counts(database) == sandbox.counts()
                sandbox.world.evolve(changed=0.2)
        engine.dispose()
    assert violations(database) == []


def test_a_reader_leaves_the_session_writable(pool: Pool, database: Engine) -> None:
    fresh = state(pool, database)
    reader = open_reader(url(pool, database).replace(":", "+psycopg:", 1))
    with reader.connect() as connection:
        connection.exec_driver_sql("SELECT 1 FROM layers")
        with pytest.raises(Exception, match="read-only transaction"):
            connection.exec_driver_sql("CREATE TABLE mine (id int)")
    reader.dispose()
    assert state(pool, database) == fresh
