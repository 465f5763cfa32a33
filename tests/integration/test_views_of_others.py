"""Other programs on the database: types, comments, views of users, upgrades."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, inspect, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.types import NullType

from tests.conftest import Databases
from tests.integration.test_schema import names
from tests.support.database import VIEWS
from tests.support.internals.database import RELATION_TABLES as TABLES
from tests.support.internals.database import comments, open_engine, schema, store_error

UNTYPED = {
    # SQLite computes all of it from JSON; the views *_versions of the same have types
    *("layer_parameter_history", "layer_reservation_history"),
    "stale_projects",
    "source_freshness",
}
"""What docs/reporting.md says has columns without a type on SQLite."""


@pytest.fixture
def postgres(databases: Databases) -> Iterator[Engine]:
    with databases("postgres") as engine:
        yield engine


def kinds(engine: Engine, name: str) -> dict[str, str]:
    """The types of the columns of a view, as both databases may be said to have them."""
    return {
        column["name"]: _KINDS[type(column["type"]).__name__]
        for column in inspect(engine).get_columns(name)
        if not isinstance(column["type"], NullType)
    }


_KINDS = {
    **dict.fromkeys(("INTEGER", "BIGINT", "SMALLINT"), "integer"),
    **dict.fromkeys(("DATETIME", "TIMESTAMP"), "time"),
    **dict.fromkeys(("TEXT", "VARCHAR", "JSONB", "JSON"), "text"),
    **dict.fromkeys(("NUMERIC", "FLOAT", "DOUBLE_PRECISION", "DOUBLE", "REAL"), "number"),
    "BOOLEAN": "flag",
}


@pytest.mark.parametrize("view", sorted(VIEWS - UNTYPED))
def test_a_column_of_a_view_has_the_same_type_on_both_databases(
    both: tuple[Engine, Engine], view: str
) -> None:
    sqlite, other = (kinds(engine, view) for engine in both)
    assert sqlite == other


def test_every_name_of_a_view_can_be_read_by_the_parser_of_duckdb(
    both: tuple[Engine, Engine],
) -> None:
    """It wants ON behind JOIN; one view that it cannot read makes its SHOW TABLES fail."""
    with both[0].connect() as connection:
        views = connection.execute(text("SELECT name, sql FROM sqlite_master WHERE type = 'view'"))
        assert [name for name, sql in views if "JOIN json_each" in sql] == []


@pytest.mark.parametrize("revision", ["0002", "0004", "0005", "0010", "0012"])
def test_an_upgrade_keeps_the_views_that_users_have_on_ours(
    empty_engine: Engine, revision: str
) -> None:
    schema.upgrade(empty_engine, revision)
    _, views = names(empty_engine)
    with empty_engine.begin() as connection:
        for view in views:
            statement = f"CREATE VIEW my_{view} AS SELECT * FROM {view}"  # noqa: S608  names of ours
            connection.execute(text(statement))
    schema.upgrade(empty_engine)
    with empty_engine.connect() as connection:
        for view in views:
            statement = f"SELECT * FROM my_{view}"  # noqa: S608  names of ours
            assert connection.execute(text(statement)).all() == []


def test_a_connection_that_is_closed_leaves_nothing_for_the_last_one_to_do(tmp_path: Path) -> None:
    """The last one locks out whoever has no busy timeout, as long as it moves the WAL."""
    path = tmp_path / "etl.db"
    engine = open_engine(f"sqlite:///{path}")
    schema.upgrade(engine)
    engine.dispose()
    other = sqlite3.connect(path)  # so that the engine's connection is not the last one
    other.execute("SELECT 1 FROM layers").fetchall()
    before = path.stat().st_size
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE written (value TEXT)"))
        connection.execute(text("INSERT INTO written VALUES (hex(randomblob(1000000)))"))
    assert path.stat().st_size == before
    engine.dispose()
    assert path.stat().st_size > before + 1_000_000
    other.close()


def test_what_stands_in_the_way_of_a_change_is_named(postgres: Engine) -> None:
    with postgres.begin() as connection:
        connection.execute(text("CREATE VIEW my_keys AS SELECT * FROM key_rotations"))
    with pytest.raises(SQLAlchemyError) as caught:
        schema.downgrade(postgres, "0004")
    told = str(store_error(caught.value, "upgrading its schema"))
    assert "view my_keys depends on view key_rotations" in told
    assert "create it again" in told
    assert "\n" not in told
    with postgres.begin() as connection:
        connection.execute(text("DROP VIEW my_keys"))


def test_whoever_could_read_a_view_can_do_so_when_it_was_made_anew(postgres: Engine) -> None:
    with postgres.begin() as connection:
        connection.execute(text("GRANT SELECT ON layer_capacity TO PUBLIC"))
    schema.downgrade(postgres, "0004")
    schema.upgrade(postgres)
    query = "SELECT array_to_string(relacl, ' ') FROM pg_class WHERE relname = 'layer_capacity'"
    with postgres.connect() as connection:
        assert " =r/" in f" {connection.execute(text(query)).scalar_one()}"


@pytest.mark.parametrize("name", sorted({*TABLES, *VIEWS}))
def test_comments_in_postgres_are_the_words_of_the_page(
    documented: dict[str, Any], name: str
) -> None:
    told, columns = documented[name]
    wanted = comments()[name]
    assert told == wanted.text
    assert told
    assert columns == {column: wanted.columns[column] or None for column in columns}
    assert columns.keys() == wanted.columns.keys()


@pytest.fixture(scope="module")
def documented(databases: Databases) -> dict[str, Any]:
    """Table or view -> its comment, and those of its columns."""
    query = """
        SELECT relname, obj_description(pg_class.oid) AS told, attname,
               col_description(pg_class.oid, attnum) AS meaning
        FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid
        WHERE relnamespace = CAST('public' AS regnamespace) AND relkind IN ('r', 'v') AND attnum > 0
    """
    found: dict[str, Any] = {}
    with databases("postgres") as engine, engine.connect() as connection:
        for row in connection.execute(text(query)):
            found.setdefault(row.relname, (row.told, {}))[1][row.attname] = row.meaning
    return found


def test_comments_are_plain_text_and_no_fault(postgres: Engine) -> None:
    assert comments()["layers"].columns["is_deleted"] == "never NULL"
    assert comments()["layers"].columns["team"] == "Statsig: team"
    every = [
        one for comment in comments().values() for one in (comment.text, *comment.columns.values())
    ]
    assert [one for one in every if "](" in one or "`" in one] == []
    with postgres.begin() as connection:
        connection.execute(text("COMMENT ON COLUMN layers.key IS 'of a user'"))
    assert schema.differences(postgres) == []
