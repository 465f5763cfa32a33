"""What is pruned is gone, all the rest is told as before, and the audit stays clean."""

from collections.abc import Iterator
from dataclasses import astuple
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, select

from etl.errors import ConfigError
from etl.sandbox import Fault, Sandbox, World
from tests.conftest import BOTH, Databases
from tests.support.database import contents, count, rows
from tests.support.history import unreplayed
from tests.support.internals.database import ASOF_TABLES as TABLES
from tests.support.internals.database import (
    PrunedRows,
    ensure_known,
    findings,
    freshness,
    known_since,
    retention,
    snapshot,
    usual_requests,
    vacuum,
)
from tests.support.internals.database import rows as rows_at
from tests.support.internals.running import utc_now
from tests.support.runs import hour, settings_for, small, sync

TURNS = 6
STATSIG = "statsig /console/v1/layers[?]*"


@pytest.fixture(scope="module", params=BOTH)
def story(request: pytest.FixtureRequest, databases: Databases) -> Iterator[Engine]:
    """Six hours of a changing world, each hour a second sync that finds nothing."""
    with Sandbox(small(5)) as sandbox, databases(request.param) as engine:
        settings = settings_for(sandbox)
        for turn in range(TURNS):
            for minutes in (0, 30):
                for name in ("ld", "st"):
                    sync(engine, settings, name, hour(turn) + timedelta(minutes=minutes))
            _evolve(sandbox.world, turn)
        yield engine


def _evolve(world: World, turn: int) -> None:
    """Changes, and a project that is deleted with its parts and comes back without them."""
    if turn == 1:
        world.delete("launchdarkly", "projects", "my-project")
    elif turn == 2:
        world.restore("launchdarkly", "projects", "my-project")
    else:
        world.evolve(changed=0.4, deleted=2, restored=2)


def pruned(engine: Engine, **before: Any) -> PrunedRows:
    moments = {"runs_before": None, "history_before": None} | before
    with engine.begin() as connection:
        return retention.prune(connection, now=hour(9), **moments)


def unsound(engine: Engine) -> list[str]:
    """What the audit finds, and what the replay of events does; nothing in a sound database."""
    with snapshot(engine) as connection:
        audited = [f"{one.check}: {what}" for one in findings(connection) for what in one.examples]
    return [*audited, *unreplayed(engine)]


def past(engine: Engine, moment: Any) -> dict[str, list[str]]:
    with engine.connect() as connection:
        found = {}
        for name in TABLES:
            query = select(rows_at(name, moment))
            found[name] = sorted(str(tuple(row)) for row in connection.execute(query))
        return found


def fresh(engine: Engine) -> list[Any]:
    with engine.connect() as connection:
        told = [tuple(row) for row in freshness(connection, now=utc_now())]
        usual = usual_requests(connection, "ld")
    return [*told, usual, *rows(engine, "source_freshness")]


def test_pruned_history_leaves_the_later_past_as_it_was_and_a_clean_audit(story: Engine) -> None:
    moments = [hour(3) + timedelta(minutes=10), hour(4), hour(9)]
    before = [past(story, moment) for moment in moments], contents(story)
    first = pruned(story, history_before=hour(3))
    assert first.versions > 0
    assert first.versions == first.changes
    assert [past(story, moment) for moment in moments] == before[0]
    assert unsound(story) == []
    now = contents(story)
    kept = [name for name in now if not name.endswith("_history") and "change" not in name]
    assert {name: now[name] for name in kept} == {name: before[1][name] for name in kept}
    assert pruned(story, history_before=hour(3)) == PrunedRows()
    with story.connect() as connection:
        assert known_since(connection) == {"ld": hour(3), "st": hour(3)}
        assert ensure_known(connection, hour(3), now=hour(9)) == []
        with pytest.raises(ConfigError, match=r"before 2026-11-01 03:00:00 UTC, when .* pruned"):
            ensure_known(connection, hour(2), now=hour(9))


def test_pruned_runs_change_no_answer(story: Engine) -> None:
    before = contents(story), fresh(story)
    number = count(story, "runs")
    found = pruned(story, runs_before=hour(5))
    assert found.runs > 0
    assert (contents(story), fresh(story)) == before
    assert count(story, "runs") == number - found.runs
    assert unsound(story) == []


def test_everything_may_be_pruned_and_the_current_rows_stay(story: Engine) -> None:
    current = past(story, None)
    pruned(story, runs_before=hour(8), history_before=hour(8))
    assert past(story, None) == current
    assert count(story, "layer_history") == 0
    assert unsound(story) == []


def test_a_sync_after_it_finds_what_it_would_have_found(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        for turn in range(3):
            sync(engine, settings, "st", hour(turn))
            sandbox.world.evolve(changed=0.4, deleted=2)
        pruned(engine, runs_before=hour(3), history_before=hour(3))
        report = sync(engine, settings, "st", hour(10))
        assert (report.exit_code, report.changed > 0) == (0, True)
    assert unsound(engine) == []


def test_without_a_moment_nothing_goes(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        sync(engine, settings_for(sandbox), "ly", hour(0))
    assert pruned(engine) == PrunedRows()
    assert pruned(engine, runs_before=hour(9)).runs == 0


def test_resolved_rejects_go_and_open_ones_stay(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        sandbox.add_fault(Fault(STATSIG, "patch", times=None, arg=(("idType",), None)))
        sync(engine, settings, "st", hour(0))
        assert pruned(engine, runs_before=hour(5)).rejects == 0
        sandbox.clear_faults()
        sync(engine, settings, "st", hour(1))
    assert count(engine, "rejects", "resolved_at IS NOT NULL") == 1
    assert pruned(engine, runs_before=hour(5)).rejects == 1


def test_a_run_that_nobody_goes_on_with_is_closed_and_its_ledger_emptied(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox, st={"layers": {"page_size": 5}})
        sandbox.add_fault(Fault("statsig */layers[?]*", "status", after=2, arg=503))
        assert sync(engine, settings, "st", hour(0)).status == "parked"
        assert pruned(engine, runs_before=hour(0)).aborted == 0
        assert pruned(engine, runs_before=hour(5)) == PrunedRows(aborted=1)
        assert count(engine, "ledger") == 0
        assert unsound(engine) == []
        assert sync(engine, settings, "st", hour(6)).attempts == 1


def test_a_vacuum_tells_its_bytes_and_keeps_the_rows(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        for turn in range(2):
            sync(engine, settings, "ld", hour(turn))
            sandbox.world.evolve(changed=0.9)
    pruned(engine, history_before=hour(8))
    before = contents(engine)
    size = vacuum(engine)
    assert all(number > 0 for number in astuple(size))
    assert contents(engine) == before
    assert unsound(engine) == []
