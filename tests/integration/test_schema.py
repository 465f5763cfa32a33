"""Migrations lead to the schema of the code and back; no run touches one it does not know."""

from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, inspect, text

from etl.errors import SchemaOutOfDate
from etl.sandbox import Sandbox
from tests.support.database import VIEWS, contents, counts
from tests.support.internals.database import changes, schema
from tests.support.internals.running import open_database
from tests.support.runs import settings_for, small, sync_all

METADATA = changes.metadata
MIGRATIONS = Path(__file__).parents[2] / "migrations"


def names(engine: Engine) -> tuple[set[str], set[str]]:
    """Tables and views."""
    found = inspect(engine)
    return set(found.get_table_names()), set(found.get_view_names())


def set_revision(engine: Engine, revision: str) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :to"), {"to": revision})


def revision(engine: Engine) -> str | None:
    with engine.connect() as connection:
        return schema.current(connection)


def test_the_migrations_lead_to_the_tables_of_the_code(empty_engine: Engine) -> None:
    schema.upgrade(empty_engine)
    assert schema.differences(empty_engine) == []
    tables, views = names(empty_engine)
    assert tables == {*METADATA.tables, "alembic_version"}
    assert views == VIEWS


def test_a_database_can_go_all_the_way_down_and_up_again(empty_engine: Engine) -> None:
    schema.upgrade(empty_engine)
    schema.downgrade(empty_engine, "base")
    assert names(empty_engine) == ({"alembic_version"}, set())
    schema.upgrade(empty_engine)
    assert schema.differences(empty_engine) == []
    assert revision(empty_engine) == schema.HEAD


def test_an_upgrade_keeps_the_rows(engine: Engine) -> None:
    scripts = ScriptDirectory(str(MIGRATIONS))
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        sync_all(engine, settings)
        sandbox.world.evolve()
        sync_all(engine, settings)
        before = contents(engine)
        for step in list(scripts.walk_revisions())[:-1]:  # the first one makes the tables
            schema.downgrade(engine, str(step.down_revision))
        schema.upgrade(engine)
        assert contents(engine) == before
        sync_all(engine, settings)
        assert (contents(engine), counts(engine)) == (before, sandbox.counts())


def test_the_head_in_the_code_is_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_heads() == [schema.HEAD]


@pytest.mark.parametrize(("found", "remedy"), [("0001", "etl db upgrade"), ("9999", "newer etl")])
def test_another_revision_is_refused_and_left_alone(
    engine: Engine, found: str, remedy: str
) -> None:
    set_revision(engine, found)
    before = names(engine)
    with pytest.raises(SchemaOutOfDate, match=remedy):
        schema.ensure(engine)
    assert (names(engine), revision(engine)) == (before, found)


def test_a_database_with_tables_of_somebody_else_is_left_alone(empty_engine: Engine) -> None:
    with empty_engine.begin() as connection:
        connection.execute(text("CREATE TABLE theirs (id INTEGER)"))
    with pytest.raises(SchemaOutOfDate, match="no schema"):
        schema.ensure(empty_engine)
    assert names(empty_engine) == ({"theirs"}, set())


def test_a_new_file_gets_its_schema_when_it_is_opened(tmp_path: Path) -> None:
    from dataclasses import replace

    with Sandbox(small()) as sandbox:
        url = f"sqlite:///{tmp_path / 'data' / 'new.db'}"
        engine = open_database(replace(settings_for(sandbox), database_url=url))
    assert schema.differences(engine) == []
    engine.dispose()


def test_every_constraint_and_index_has_the_name_of_the_code(engine: Engine) -> None:
    found = inspect(engine)
    for table in METADATA.sorted_tables:
        named = {str(one.name) for one in table.constraints} | {
            str(one.name) for one in table.indexes
        }
        there = {
            str(one["name"])
            for kind in (
                [found.get_pk_constraint(table.name)],
                found.get_foreign_keys(table.name),
                found.get_unique_constraints(table.name),
                found.get_check_constraints(table.name),
                found.get_indexes(table.name),
            )
            for one in kind
        }
        assert there == named
        assert "None" not in there
