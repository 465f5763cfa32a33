"""What a run costs, counted and not timed: statements, rows and requests.

The limits are what was counted, with a little room. Whoever needs more says why in the commit.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event

from etl.sandbox import Sandbox, Sizes, World
from tests.support.database import DATA, counted_writes
from tests.support.internals.database import absent, open_engine, schema
from tests.support.internals.values import RowSet
from tests.support.runs import asked, settings_for, small, sync, sync_all

PROJECTS, LAYERS = 10, 30
SIZES = Sizes(
    ld_projects=PROJECTS,
    ld_environments=3,
    ld_layers=LAYERS,
    statsig_layers=250,
    layers_projects=450,
)
# a page of projects and their keys again, one of the big project's environments
READING = (3 + PROJECTS) + (2 + 3) + 3
ASKING_WHOSE = 3 - 1  # Statsig's project tells it
SECOND_WALK = 3  # of a list without a total, while it is not known to be quiet
WRITES = ("INSERT", "UPDATE", "DELETE")
MOST_STATEMENTS = {"first": 175, "unchanged": 140}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(World(7, SIZES)) as running:
        yield running


@contextmanager
def counted_statements(engine: Engine) -> Iterator[list[str]]:
    """The statements that are sent meanwhile, but those of checkpoints: time makes these."""
    timed = ("BEGIN", "SET LOCAL", "UPDATE leases", 'INSERT INTO "staged_', 'INSERT INTO "ledger')
    found: list[str] = []

    def note(*arguments: Any) -> None:
        if not arguments[2].startswith(timed):
            found.append(arguments[2])

    event.listen(engine, "before_cursor_execute", note)
    yield found
    event.remove(engine, "before_cursor_execute", note)


def test_requests_statements_and_rows_stay_what_they_are(engine: Engine, sandbox: Sandbox) -> None:
    settings = settings_for(sandbox)
    start = len(sandbox.requests)
    with counted_statements(engine) as first:
        sync_all(engine, settings)
    middle = len(sandbox.requests)
    with counted_writes(engine) as written, counted_statements(engine) as unchanged:
        sync_all(engine, settings)
    asked = (middle - start, len(sandbox.requests) - middle)
    assert asked == (READING + ASKING_WHOSE + SECOND_WALK, READING)
    assert len(first) <= MOST_STATEMENTS["first"]
    assert len(unchanged) <= MOST_STATEMENTS["unchanged"]
    assert written.keys().isdisjoint(table.name for table in DATA)


def test_a_merge_sends_statements_only_where_there_is_something_to_do(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        sync_all(engine, settings)
        layer = sandbox.world.live("statsig", "layers")[0].payload
        sandbox.world.update("statsig", "layers", layer["id"], description="another one")
        with counted_statements(engine) as sent:
            assert sync(engine, settings, "st").changed == 1
    words = [re.sub('["(]', " ", one).split() for one in sent]
    written = {one[1] if one[0] == "UPDATE" else one[2] for one in words if one[0] in WRITES}
    # fields of changes are copied on Postgres, without a statement that could be counted
    assert written & {table.name for table in DATA} - {"change_fields"} == {
        *("layers", "layer_history", "layer_parameters", "layer_reservations"),
        *("changes", "rejects"),
    }


def test_a_changed_layer_costs_sqlite_the_same_however_many_change_with_it(tmp_path: Path) -> None:
    """In its instructions; where a row looks at all that is staged, these grow with the square."""
    few, many = 40, 160
    instructions = 0

    def count() -> int:
        nonlocal instructions
        instructions += 1
        return 0

    engine = open_engine(f"sqlite:///{tmp_path / 'etl.db'}")
    schema.ensure(engine)
    event.listen(engine, "checkout", lambda c, *_: c.set_progress_handler(count, 100))
    spent = []
    with Sandbox(World(7, Sizes(ld_projects=1, ld_layers=many))) as sandbox:
        settings, world = settings_for(sandbox), sandbox.world
        (project,) = world.parents("launchdarkly", "layers")
        keys = [row.payload["key"] for row in world.live("launchdarkly", "layers", project)]
        sync(engine, settings, "ld")
        for number in (0, few, many):
            for key in keys[:number]:
                world.update("launchdarkly", "layers", key, project, name=f"one of {number}")
            instructions = 0
            assert sync(engine, settings, "ld").changed == number
            spent.append(instructions)
    engine.dispose()
    unchanged, for_few, for_many = spent
    assert for_many - unchanged < 1.2 * (many / few) * (for_few - unchanged)


def test_live_rows_are_counted_and_the_missing_found_without_reading_rows(tmp_path: Path) -> None:
    """On SQLite; the plans of Postgres follow the sizes of tables and when they were vacuumed."""
    plans: list[str] = []

    def explain(*arguments: Any) -> None:
        cursor, statement, parameters = arguments[1:4]
        cursor.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
        plans.extend(row[-1] for row in cursor.fetchall() if " USING " in row[-1])

    engine = open_engine(f"sqlite:///{tmp_path / 'etl.db'}")
    schema.ensure(engine)
    with Sandbox(small()) as sandbox:
        sync(engine, settings_for(sandbox), "ly")
        for row in sandbox.world.live("layers", "projects")[:2]:
            sandbox.world.delete("layers", "projects", row.payload["id"])
        assert sync(engine, settings_for(sandbox), "ly").changed == 2
    with engine.connect() as connection:
        event.listen(engine, "before_cursor_execute", explain)
        live = absent.live_rows(connection, "projects", "ly")
        inside = absent.live_rows(connection, "projects", "ly", "")
        found = absent.unseen(connection, "projects", "ly", RowSet())
    engine.dispose()
    assert live == inside == len(found) == len(sandbox.world.live("layers", "projects"))
    *in_indexes, of_the_missing = plans
    assert len(in_indexes) == 6
    assert all("USING COVERING INDEX" in plan for plan in in_indexes)
    assert "INTEGER PRIMARY KEY" in of_the_missing


def test_a_second_walk_of_a_list_looks_up_no_page_again(engine: Engine) -> None:
    """It proves that nothing slipped through; what became of equal pages is known."""
    pages = 4
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox, ly={"projects": {"page_size": 3}})
        sync(engine, settings, "ly")
        gone = sandbox.world.live("layers", "projects")[0].payload["id"]
        sandbox.world.delete("layers", "projects", gone)
        sandbox.reset_requests()
        with counted_statements(engine) as sent:
            report = sync(engine, settings, "ly")
        walked = asked(sandbox, "projects?")
    looked = [one for one in sent if one.startswith("SELECT projects.parent_id, projects.external")]
    assert (report.status, report.changed, len(walked)) == ("ok", 1, 2 * pages)
    assert len(looked) == pages


def test_a_first_load_does_not_compare_every_layer_with_every_project(
    engine: Engine, sandbox: Sandbox
) -> None:
    plans: list[str] = []

    def explain(*arguments: Any) -> None:
        cursor, statement, parameters = arguments[1:4]
        if statement.startswith("INSERT INTO layers "):
            how = "EXPLAIN" if engine.dialect.name == "postgresql" else "EXPLAIN QUERY PLAN"
            cursor.execute(f"{how} {statement}", parameters)
            plans.append("\n".join(str(row[-1]) for row in cursor.fetchall()))

    event.listen(engine, "before_cursor_execute", explain)
    sync_all(engine, settings_for(sandbox))
    event.remove(engine, "before_cursor_execute", explain)
    joined = [plan for plan in plans if "projects" in plan]
    assert len(joined) == 2  # into a source without layers none are inserted
    if engine.dialect.name == "postgresql":
        assert all("Nested Loop" not in plan and "Hash" in plan for plan in joined)
    else:
        assert all("(source=? AND parent_id=? AND external_id=?)" in plan for plan in joined)
