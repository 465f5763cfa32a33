"""Row 57: keys that move between two requests of a run delete nothing and misplace nothing."""

from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from etl.sandbox import Fault, Sandbox, Sizes, World
from tests.conftest import Databases
from tests.support.database import counts, rows
from tests.support.dying import Killed, dying
from tests.support.internals.running import Settings
from tests.support.internals.values import Selection
from tests.support.lists import gone
from tests.support.moving import (
    MOVES,
    misplaced,
    missing,
    rotate,
    stored_contents,
    swap,
    true_contents,
)
from tests.support.runs import asked, hour, of, settings_for, sync

pytestmark = pytest.mark.row(57)

SIZES = Sizes(ld_projects=4, ld_environments=2, ld_layers=3)
ANY = "launchdarkly"
LAYERS = "launchdarkly */layers"


def told(sandbox: Sandbox, **more: Any) -> Settings:
    free = {"rate_limits": [], "delete_percent": 100, "delete_count": 1000}
    return settings_for(sandbox, ld={"projects": {"page_size": 2}, "limits": free | more})


def keys_of(world: World) -> list[str]:
    return [one["key"] for one in world.records("launchdarkly", "projects")]


def owners_of(world: World) -> dict[str, str]:
    return {one["key"]: one["_id"] for one in world.records("launchdarkly", "projects")}


def came_back(owners: list[dict[str, str]]) -> bool:
    """Whether a key was another project's for a while, and then its first owner's again."""
    first, last = owners[0], owners[-1]
    return any(
        last.get(key) == owner and between.get(key) != owner
        for between in owners
        for key, owner in first.items()
    )


def diverge(world: World) -> None:
    """Every project holds other layers than the others."""
    for number, key in enumerate(keys_of(world)):
        world.create("launchdarkly", "layers", key, key=f"only-{number}")
        for row in world.live("launchdarkly", "layers", key)[:number]:
            world.delete("launchdarkly", "layers", row.payload["key"], key)


@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("first", [True, False])
def test_a_move_after_any_request_deletes_and_misplaces_nothing(
    engine: Engine, move: str, first: bool
) -> None:
    """The requests of a run: 2 or 3 of the list, 1 of environments, 4 of layers, the look-up.

    Only one run of a database is its first one.
    """
    with Sandbox(World(7, SIZES)) as sandbox:
        world = sandbox.world
        diverge(world)
        if not first:
            sync(engine, told(sandbox), "ld")
        for after in (2,) if first else (2, 3, 5, 8):
            before, keys = true_contents(world), keys_of(world)

            def act(world: World, keys: list[str] = keys) -> None:
                MOVES[move](world, keys)

            sandbox.add_fault(Fault(ANY, "mutate", after=after, arg=act))
            report = sync(engine, told(sandbox), "ld", full=True)
            sandbox.clear_faults()
            now = true_contents(world)
            assert report.status in ("ok", "partial"), report
            assert misplaced(engine, before, now) == [], (after, report.status)
            if report.status == "ok":
                assert missing(engine, before, now) == [], after
            report = sync(engine, told(sandbox), "ld", full=True)
            assert (report.status, stored_contents(engine)) == ("ok", now)


def test_a_list_whose_project_lost_its_key_is_incomplete_and_says_so(engine: Engine) -> None:
    with Sandbox(World(7, SIZES)) as sandbox:
        diverge(sandbox.world)
        sync(engine, told(sandbox), "ld")
        before = true_contents(sandbox.world)
        one, other = keys_of(sandbox.world)[:2]
        sandbox.add_fault(Fault(LAYERS, "mutate", arg=lambda world: swap(world, one, other)))
        report = sync(engine, told(sandbox), "ld")
        layers = of(report, "layers")
        assert (report.status, report.exit_code, report.changed) == ("partial", 5, 0)
        assert (layers.complete, layers.incomplete_partitions) == (False, 2)
        assert f"the key {one} moved to another project" in (layers.incomplete_reason or "")
        assert (stored_contents(engine), gone(engine)) == (before, [])


@pytest.mark.parametrize("fault", ["next_self", "same_page", "no_list"])
def test_a_list_that_failed_is_no_more_believed_than_one_that_ended(
    engine: Engine, fault: str
) -> None:
    """The pages that came before are kept, so their project must have had the key too."""
    with Sandbox(World(7, SIZES)) as sandbox:
        diverge(sandbox.world)
        before = true_contents(sandbox.world)
        keys = keys_of(sandbox.world)
        sandbox.add_fault(Fault(LAYERS, "mutate", arg=lambda world: rotate(world, keys)))
        sandbox.add_fault(Fault(LAYERS, fault, times=None))
        report = sync(engine, told(sandbox), "ld")
        assert report.status == "partial", report
        assert misplaced(engine, before, true_contents(sandbox.world)) == []


def test_a_project_that_an_empty_one_took_the_place_of_is_not_read_as_empty(
    engine: Engine,
) -> None:
    """Nothing was stored of it, so an empty list is no change; its new layer would be missed."""
    with Sandbox(World(7, Sizes(ld_projects=4, ld_environments=1, ld_layers=0))) as sandbox:
        sync(engine, told(sandbox), "ld")
        key = keys_of(sandbox.world)[0]
        sandbox.world.create("launchdarkly", "layers", key)
        sandbox.add_fault(
            Fault(LAYERS, "mutate", arg=lambda world: MOVES["take over"](world, [key]))
        )
        report = sync(engine, told(sandbox), "ld")
        assert (report.status, of(report, "layers").complete) == ("partial", False)


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_process_that_dies_while_it_forgets_a_list_misses_nothing(
    databases: Databases, kind: str
) -> None:
    """What was staged of the list and how far it was read go together."""
    for commit in range(2, 12):
        with databases(kind) as engine, Sandbox(World(7, SIZES)) as sandbox:
            diverge(sandbox.world)
            bare = "launchdarkly /api/v2/projects?limit=2&offset=0&sort=createdOn"
            sandbox.add_fault(Fault(bare, "status", arg=403))
            with suppress(Killed), dying(engine, commit):
                sync(engine, told(sandbox), "ld", hour(1))
            sandbox.clear_faults()
            report = sync(engine, told(sandbox), "ld", hour(1) + timedelta(minutes=5))
            assert report.status == "ok"
            assert stored_contents(engine) == true_contents(sandbox.world), commit


def test_keys_are_looked_up_with_one_request_a_page_of_projects(engine: Engine) -> None:
    with Sandbox(World(7, Sizes(ld_projects=30, ld_environments=1, ld_layers=1))) as sandbox:
        settings = settings_for(sandbox)
        sync(engine, settings, "ld")
        lists = asked(sandbox, "/projects?")
        assert len(lists) == 2
        assert "expand" not in lists[1]
        assert asked(sandbox)[-1] == lists[1]


def test_of_one_project_only_that_one_is_looked_up(engine: Engine) -> None:
    with Sandbox(World(7, SIZES)) as sandbox:
        key = keys_of(sandbox.world)[1]
        report = sync(engine, told(sandbox), "ld", backfill=Selection(projects=(key,)))
        assert report.status == "ok"
        assert asked(sandbox, "/projects?") == []
        before = true_contents(sandbox.world)
        other = keys_of(sandbox.world)[0]
        sandbox.add_fault(Fault(LAYERS, "mutate", arg=lambda world: swap(world, key, other)))
        report = sync(engine, told(sandbox), "ld", backfill=Selection(projects=(key,)), full=True)
        assert (report.status, report.changed) == ("partial", 0)
        assert misplaced(engine, before) == []


def test_a_backfill_of_a_key_that_was_renamed_does_not_delete_its_project(engine: Engine) -> None:
    with Sandbox(World(7, SIZES)) as sandbox:
        sync(engine, told(sandbox), "ld")
        key, other = keys_of(sandbox.world)[:2]
        sandbox.world.rename_project(key, "elsewhere")
        report = sync(engine, told(sandbox), "ld", backfill=Selection(projects=(key,)))
        assert (report.changed, gone(engine)) == (0, [])
        assert "has the key elsewhere now" in (of(report, "projects").incomplete_reason or "")
        sandbox.world.delete("launchdarkly", "projects", other)
        report = sync(engine, told(sandbox), "ld", backfill=Selection(projects=(other,)))
        assert report.status == "ok"
        assert {key for key, _ in gone(engine, "projects")} == {other}


def test_a_look_up_that_is_refused_leaves_the_lists_incomplete(engine: Engine) -> None:
    with Sandbox(World(7, SIZES)) as sandbox:
        sync(engine, told(sandbox), "ld")
        one = keys_of(sandbox.world)[0]
        (layer, *_) = sandbox.world.live("launchdarkly", "layers", one)
        sandbox.world.delete("launchdarkly", "layers", layer.payload["key"], one)
        bare = "launchdarkly /api/v2/projects?limit=2&offset=0&sort=createdOn"
        sandbox.add_fault(Fault(bare, "status", arg=403))
        report = sync(engine, told(sandbox), "ld")
        assert (report.status, report.changed, gone(engine)) == ("partial", 0, [])
        report = sync(engine, told(sandbox), "ld")
        assert (report.status, len(gone(engine))) == ("ok", 1)


@pytest.mark.parametrize("minutes", [1, 30])
def test_a_move_between_two_processes_of_a_run_is_seen(engine: Engine, minutes: int) -> None:
    with Sandbox(World(7, SIZES)) as sandbox:
        world, settings = sandbox.world, told(sandbox)
        diverge(world)
        sync(engine, settings, "ld", hour(0))
        before = true_contents(world)
        one, other = keys_of(world)[:2]
        sandbox.add_fault(Fault(LAYERS, "status", after=2, arg=500))
        sandbox.add_fault(Fault(LAYERS, "status", after=3, times=9, arg=500))
        parked = sync(engine, settings, "ld", hour(1), full=True)
        sandbox.clear_faults()
        swap(world, one, other)
        at = hour(1) + timedelta(minutes=minutes)
        report = sync(engine, settings, "ld", at)
        assert parked.status in ("parked", "partial")
        assert misplaced(engine, before, true_contents(world)) == []
        assert missing(engine, before, true_contents(world)) == []
        assert report.status in ("ok", "partial")
        report = sync(engine, settings, "ld", hour(2), full=True)
        assert (report.status, stored_contents(engine)) == ("ok", true_contents(world))


MOMENTS = st.lists(
    st.tuples(st.integers(1, 10), st.sampled_from([one for one in MOVES if one != "delete"])),
    min_size=1,
    max_size=2,
)


@pytest.mark.parametrize(
    ("kind", "examples"),
    [("sqlite", 12), pytest.param("postgres", 60, marks=pytest.mark.slow)],
)
def test_moves_at_any_two_requests_delete_and_misplace_nothing(
    databases: Databases, kind: str, examples: int
) -> None:
    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    @given(MOMENTS, st.booleans(), st.sampled_from([1, 4]))
    def hold(moments: list[tuple[int, str]], first: bool, concurrency: int) -> None:
        with databases(kind) as engine, Sandbox(World(7, SIZES)) as sandbox:
            world, settings_ = sandbox.world, told(sandbox, concurrency=concurrency)
            diverge(world)
            if not first:
                sync(engine, settings_, "ld")
            truths, owners = [true_contents(world)], [owners_of(world)]

            def move(world: World, name: str) -> None:
                MOVES[name](world, keys_of(world))
                truths.append(true_contents(world))
                owners.append(owners_of(world))

            for after, name in moments:
                fault = Fault(ANY, "mutate", after=after, arg=lambda w, name=name: move(w, name))
                sandbox.add_fault(fault)
            report = sync(engine, settings_, "ld", full=True)
            if not came_back(owners):  # which nobody can see: decision 19
                assert misplaced(engine, *truths) == []
                if report.status == "ok" or not first:
                    assert missing(engine, *truths) == []
            sandbox.clear_faults()
            sync(engine, settings_, "ld", full=True)
            assert stored_contents(engine) == true_contents(world)
            assert counts(engine)["launchdarkly"] == sandbox.counts()["launchdarkly"]

    hold()


def test_rejects_of_a_list_that_moved_are_no_rejects_of_its_project(engine: Engine) -> None:
    with Sandbox(World(7, SIZES)) as sandbox:
        sync(engine, told(sandbox), "ld")
        one, other = keys_of(sandbox.world)[:2]
        sandbox.world.update(
            "launchdarkly",
            "layers",
            sandbox.world.live("launchdarkly", "layers", other)[0].payload["key"],
            other,
            createdAt="yesterday",
        )
        sandbox.add_fault(Fault(LAYERS, "mutate", arg=lambda world: swap(world, one, other)))
        sync(engine, told(sandbox), "ld")
        sync(engine, told(sandbox), "ld", full=True)
        ids = {row["key"]: row["external_id"] for row in rows(engine, "projects")}
        open_ = rows(engine, "rejects", "resolved_at IS NULL")
        assert {row["parent_id"] for row in open_} == {ids[one]}
