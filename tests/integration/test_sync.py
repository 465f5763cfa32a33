"""After a sync the database holds what the vendors hold, and the same in SQLite and Postgres."""

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Engine, event

from etl.sandbox import Sandbox
from tests.support.database import contents, count, counted_writes, counts
from tests.support.runs import hour, of, settings_for, small, sync, sync_all

BOOKKEEPING = {"runs", "run_streams", "leases", "ledger", "rate_budgets"}


def test_every_table_holds_what_the_vendors_hold(engine: Engine) -> None:
    with Sandbox(small(big_project=True)) as sandbox:
        sync_all(engine, settings_for(sandbox))
        assert counts(engine) == sandbox.counts()


def test_every_table_holds_what_the_vendors_hold_after_changes(engine: Engine) -> None:
    with Sandbox(small(big_project=True)) as sandbox:
        settings = settings_for(sandbox)
        sync_all(engine, settings)
        sandbox.world.evolve(changed=0.2, deleted=3, created=3)
        sync_all(engine, settings)
        assert counts(engine) == sandbox.counts()


def test_current_views_leave_out_the_deleted(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        sync_all(engine, settings)
        sandbox.world.evolve(deleted=3, created=0)
        sync_all(engine, settings)
        live = {
            table: count(engine, table, "NOT is_deleted")
            for table in ("projects", "environments", "layers", "layer_parameters")
        }
        assert live == {table: count(engine, f"{table}_current") for table in live}
        assert count(engine, "layers", "is_deleted") > 0


def test_both_databases_hold_the_same_rows(both: tuple[Engine, Engine]) -> None:
    with Sandbox(small(big_project=True)) as one, Sandbox(small(big_project=True)) as other:
        for number in range(4):
            for engine, sandbox in zip(both, (one, other), strict=True):
                sync_all(engine, settings_for(sandbox), hour(number))
                sandbox.world.evolve(changed=0.2, deleted=3, created=3)
            sqlite, postgres = map(contents, both)
            differing = {table for table in sqlite if sqlite[table] != postgres[table]}
            assert differing == set()


def test_a_sync_that_finds_nothing_new_writes_only_its_own_bookkeeping(engine: Engine) -> None:
    with Sandbox(small(big_project=True)) as sandbox:
        settings = settings_for(sandbox)
        sync_all(engine, settings)
        with counted_writes(engine) as written:
            sync_all(engine, settings)
        assert set(written) <= BOOKKEEPING


def test_writes_are_counted_at_all(engine: Engine) -> None:
    with Sandbox(small()) as sandbox, counted_writes(engine) as written:
        sync_all(engine, settings_for(sandbox))
    total = sum(found["layers"] for found in sandbox.counts().values())
    assert written["layers"] == total


def test_the_report_of_an_unchanged_source_counts_everything_as_unchanged(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        sync_all(engine, settings)
        report = sync(engine, settings, "st")
    layers = of(report, "layers")
    assert (layers.unchanged, layers.received, report.changed) == (25, 25, 0)


@pytest.mark.parametrize("name", ["ld", "st", "ly"])
def test_two_sources_of_one_vendor_do_not_touch_each_other(engine: Engine, name: str) -> None:
    with Sandbox(small()) as one, Sandbox(small(8)) as other:
        sync_all(engine, settings_for(one))
        before = contents(engine)
        renamed = settings_for(other)
        source = renamed.sources[name]
        own = replace(renamed, sources={"own": replace(source, name="own")})
        sync_all(engine, own)
        after = contents(engine)
    assert all(set(before[table]) <= set(after[table]) for table in before)


def test_a_second_walk_stages_nothing_twice_and_settles_in_one_statement(engine: Engine) -> None:
    statements: list[str] = []

    def note(_c: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        statements.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    with Sandbox(small()) as sandbox:
        report = sync(engine, settings_for(sandbox, ly={"projects": {"page_size": 3}}), "ly")
    event.remove(engine, "before_cursor_execute", note)
    settled = [text for text in statements if "DELETE FROM staged_projects" in text]
    assert "2 walks" in str(of(report, "projects").proof)
    assert len(settled) == 2  # one settles, one clears
