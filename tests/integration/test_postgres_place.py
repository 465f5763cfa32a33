"""A Postgres that others use too: their tables, settings, roles and encodings."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Engine, make_url

from etl.errors import ConfigError, SchemaOutOfDate, StoreError
from etl.sandbox import Sandbox
from tests.cli.command import IN_TURN, Place
from tests.conftest import POOLED, Databases
from tests.support import postgres
from tests.support.database import counts
from tests.support.history import violations
from tests.support.internals.database import open_engine, schema, schema_of
from tests.support.runs import config_text, settings_for, small, sync_all

direct = pytest.mark.skipif(POOLED in os.environ, reason="about connections to the server itself")


@pytest.fixture
def migrated(databases: Databases) -> Iterator[Engine]:
    with databases("postgres") as engine:
        yield engine


@pytest.fixture
def empty(databases: Databases) -> Iterator[Engine]:
    with databases("postgres empty") as engine:
        yield engine


def tell(engine: Engine, *statements: str) -> None:
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def url_of(engine: Engine) -> str:
    return engine.url.render_as_string(hide_password=False)


@contextmanager
def opened(engine: Engine, schema: str | None = None) -> Iterator[Engine]:
    found = open_engine(url_of(engine), schema=schema)
    yield found
    found.dispose()


def place(engine: Engine, sandbox: Sandbox, folder: Path, setting: str = "") -> Place:
    text = config_text(sandbox, url_of(engine).replace("+psycopg", ""))
    config = folder / "etl.toml"
    config.write_text(text.replace("[database]\n", f"[database]\n{setting}\n"))
    return Place(sandbox=sandbox, config=config)


def test_a_schema_named_as_the_role_shadows_nothing(migrated: Engine) -> None:
    names = ("runs", "projects", "layers", "leases", "alembic_version")
    tell(
        migrated,
        "CREATE SCHEMA postgres",
        *(f"CREATE TABLE postgres.{name} (version_num text, mine int)" for name in names),
    )
    with Sandbox(small()) as sandbox, opened(migrated) as engine:
        schema.ensure(engine)
        sync_all(engine, settings_for(sandbox))
        assert counts(engine) == sandbox.counts()
        assert violations(engine) == []


def test_etl_in_the_schema_named_as_its_role_is_found(empty: Engine) -> None:
    tell(empty, "CREATE SCHEMA postgres")
    with opened(empty, schema="postgres") as engine:
        schema.upgrade(engine)
    with opened(empty) as engine:
        assert schema_of(engine) == "postgres"
        schema.ensure(engine)


@direct
def test_settings_of_the_role_and_the_environment_change_nothing(
    migrated: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = migrated.url.database
    for setting in (
        *("DateStyle = 'German, DMY'", "IntervalStyle = 'sql_standard'", "bytea_output = 'escape'"),
        *("TimeZone = 'Asia/Kathmandu'", "default_transaction_read_only = on"),
        "default_transaction_isolation = 'serializable'",
        *("quote_all_identifiers = on", "extra_float_digits = -15"),
    ):
        tell(migrated, f'ALTER DATABASE "{database}" SET {setting}')
    migrated.dispose()
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    with Sandbox(small()) as sandbox, opened(migrated) as engine:
        settings = settings_for(sandbox)
        for _ in range(2):
            sync_all(engine, settings)
            sandbox.world.evolve(changed=0.3)
        assert violations(engine) == []
        with engine.connect() as connection:
            assert list(schema.compared(connection)) == []


ENVIRONMENT = {
    "PGDATESTYLE": "German",
    "PGCLIENTENCODING": "LATIN1",
    "PGTZ": "Asia/Kathmandu",
    "PGOPTIONS": "-c datestyle=SQL",
}


def test_a_database_that_is_not_utf8_is_refused(postgres_server: Engine) -> None:
    name = "etl_test_latin"
    postgres.drop(postgres_server, name)
    with postgres_server.connect() as connection:
        connection.exec_driver_sql(
            f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'"
        )
    with pytest.raises(ConfigError, match="LATIN1, and etl needs UTF8"):
        open_engine(url_of(postgres_server).replace("/postgres?", f"/{name}?"))
    postgres.drop(postgres_server, name)


def test_tables_of_others_are_ignored(migrated: Engine, tmp_path: Path) -> None:
    tell(
        migrated,
        "CREATE TABLE dbt_models (id int PRIMARY KEY, name text)",
        "CREATE INDEX mine ON dbt_models (name)",
        "CREATE VIEW dbt_view AS SELECT * FROM dbt_models",
    )
    with Sandbox(small()) as sandbox:
        here = place(migrated, sandbox, tmp_path)
        assert here.etl("sync", *IN_TURN).code == 0
        for command in ("audit", "db check", "db upgrade", "db vacuum", "status"):
            ended = here.etl(*command.split())
            assert (command, ended.code, ended.err) == (command, 0, "")


OTHERS = (
    "CREATE TABLE alembic_version (version_num text)",
    "INSERT INTO alembic_version VALUES ('0042')",
    "CREATE TABLE runs (id int)",
    "CREATE TABLE projects (id int)",
)


def test_migrations_of_others_are_told_and_left_alone(empty: Engine, tmp_path: Path) -> None:
    tell(empty, *OTHERS)
    with Sandbox(small()) as sandbox:
        here = place(empty, sandbox, tmp_path)
        for command in ("db upgrade", "sync", "status", "db current"):
            ended = here.etl(*command.split())
            assert (ended.code, ended.err.count("\n")) == (2, 1)
            assert "another application's (revision 0042)" in ended.err
            assert 'schema = "etl"' in ended.err
        here = place(empty, sandbox, tmp_path, 'schema = "etl"')
        assert here.etl("db", "upgrade").code == 0
        assert here.etl("sync", *IN_TURN).code == 0
        for command in ("audit", "db check", "status", "report layer_capacity", "changes"):
            ended = here.etl(*command.split())
            assert (command, ended.code, ended.err) == (command, 0, "")
    with opened(empty, schema="etl") as engine:
        assert counts(engine) == sandbox.counts()


def test_tables_of_the_same_names_are_told_before_anything_is_made(empty: Engine) -> None:
    tell(empty, *OTHERS[2:])
    with pytest.raises(SchemaOutOfDate, match="not etl's: projects, runs"):
        schema.upgrade(empty)


@direct
def test_the_remedy_where_public_may_not_be_written(empty: Engine) -> None:
    role = f"etl_test_{os.getpid()}"
    tell(empty, "REVOKE CREATE ON SCHEMA public FROM PUBLIC", f"CREATE ROLE {role} LOGIN")
    url = make_url(url_of(empty)).set(username=role)
    engine = open_engine(url.render_as_string(hide_password=False))
    try:
        with pytest.raises(Exception, match="GRANT USAGE, CREATE ON SCHEMA public"):
            schema.upgrade(engine)
        tell(empty, f"CREATE SCHEMA etl AUTHORIZATION {role}")
        with opened(engine, schema="etl") as own:
            schema.upgrade(own)
            schema.ensure(own)
    finally:
        engine.dispose()
        tell(empty, f"DROP OWNED BY {role}", f"DROP ROLE {role}")


@pytest.fixture
def closed(empty: Engine) -> Iterator[Engine]:
    """A database of its own, that tests close, and a role."""
    drop = ("DROP DATABASE IF EXISTS etl_test_closed", "DROP ROLE IF EXISTS etl_test_closed")
    made = ("CREATE ROLE etl_test_closed LOGIN", "CREATE DATABASE etl_test_closed")
    admin = postgres.admin_engine(empty.url)
    with admin.connect() as connection:
        for statement in (*drop, *made):
            connection.exec_driver_sql(statement)
        yield admin
        for statement in drop:
            connection.exec_driver_sql(statement)
    admin.dispose()


@direct
@pytest.mark.parametrize(
    ("statement", "remedy"),
    [
        ("ALTER ROLE etl_test_closed NOLOGIN", "not permitted to log in; .*ALTER ROLE .* LOGIN"),
        ("ALTER ROLE etl_test_closed CONNECTION LIMIT 0", "too many connections .*; end some"),
        ("ALTER DATABASE etl_test_closed CONNECTION LIMIT 0", "too many connections .*; end some"),
        (
            "ALTER DATABASE etl_test_closed ALLOW_CONNECTIONS false",
            "accepting connections; .*ALTER DATABASE .* ALLOW_CONNECTIONS",
        ),
        (
            "REVOKE CONNECT ON DATABASE etl_test_closed FROM PUBLIC",
            "permission denied .*; .*GRANT CONNECT ON DATABASE",
        ),
        ("DROP DATABASE etl_test_closed", "does not exist; .*CREATE DATABASE"),
        ("DROP ROLE etl_test_closed", "does not exist; .*CREATE ROLE"),
    ],
)
def test_a_database_that_lets_nobody_in_says_what_to_do(
    closed: Engine, statement: str, remedy: str
) -> None:
    tell(closed, statement)
    url = closed.url.set(username="etl_test_closed", database="etl_test_closed")
    with pytest.raises(StoreError, match=remedy):
        open_engine(url.render_as_string(hide_password=False))
