"""Rows 1 to 6: lists that change while they are read, and totals that say too much or nothing."""

from typing import Any

import pytest
from sqlalchemy import Engine

from etl.sandbox import Fault, Sandbox, Sizes, World
from etl.sandbox.make_records import DAY
from tests.support.changes import last_change
from tests.support.database import contents, count, rows
from tests.support.lists import (
    ALL,
    BY_OFFSET,
    ENVIRONMENTS,
    KEY,
    LAYERS_COM,
    STATSIG,
    List,
    end,
    gone,
    keys_of,
    operations,
)
from tests.support.runs import of, settings_for, sync

each_list = pytest.mark.parametrize("listed", ALL, ids=str)


@pytest.mark.row(1)
@each_list
def test_a_deletion_under_a_first_walk_is_noticed_and_costs_no_live_record(
    engine: Engine, listed: List
) -> None:
    with listed.sandbox() as sandbox:
        (first, *others) = listed.keys(sandbox.world)
        fault = listed.fault("mutate", after=1, arg=lambda world: listed.delete(world, first))
        sandbox.add_fault(fault)
        report = listed.sync(engine, sandbox)
        asked = len(listed.asked(sandbox))
        assert (end(report), listed.told(report).complete) == (("ok", 0), True)
        assert set(others) <= set(listed.stored(engine)) <= {first, *others}
        sandbox.reset_requests()
        listed.sync(engine, sandbox)
        assert listed.stored(engine) == sorted(others)
        assert asked > len(listed.asked(sandbox))


@pytest.mark.row(1)
@each_list
def test_a_deletion_under_a_later_walk_is_the_only_one(engine: Engine, listed: List) -> None:
    with listed.sandbox() as sandbox:
        listed.sync(engine, sandbox)
        (first, *others) = listed.keys(sandbox.world)
        fault = listed.fault("mutate", after=1, arg=lambda world: listed.delete(world, first))
        sandbox.add_fault(fault)
        report = listed.sync(engine, sandbox)
        assert end(report) == ("ok", 0)
        assert {key for key, _ in gone(engine, listed.stream)} <= {first}
        listed.sync(engine, sandbox)
    assert [key for key, _ in gone(engine, listed.stream)] == [first]
    assert listed.stored(engine) == sorted(others)
    assert count(engine, "changes", "operation = 'restored'") == 0


@pytest.mark.row(2)
@pytest.mark.parametrize("stored", [False, True], ids=["first", "later"])
@each_list
def test_a_record_that_comes_twice_is_one_record_and_one_change(
    engine: Engine, listed: List, stored: bool
) -> None:
    with listed.sandbox() as sandbox:
        (newcomer, *others) = listed.keys(sandbox.world)
        listed.delete(sandbox.world, newcomer)
        before = 0
        if stored:
            listed.sync(engine, sandbox)
            before = last_change(engine)
        place = (listed.provider, listed.stream, newcomer, listed.parent)
        sandbox.add_fault(listed.fault("mutate", after=1, arg=lambda world: world.restore(*place)))
        report = listed.sync(engine, sandbox)
        came = {("created", key) for key in ([] if stored else others)}
        told = operations(engine, listed.stream, before)
        assert len(told) == len(set(told))
        assert came <= set(told) <= came | {("created", newcomer)}
        assert (end(report), gone(engine)) == (("ok", 0), [])
        listed.sync(engine, sandbox)
    assert listed.stored(engine) == sorted([newcomer, *others])
    assert count(engine, listed.stream, "version > 1") == 0


@pytest.mark.row(3)
@each_list
def test_a_deletion_that_an_insertion_hides_from_the_total_is_noticed(
    engine: Engine, listed: List
) -> None:
    with listed.sandbox() as sandbox:
        (first, *others) = listed.keys(sandbox.world)

        def swap(world: World) -> None:
            listed.delete(world, first)
            listed.create(world)

        sandbox.add_fault(listed.fault("mutate", after=1, arg=swap))
        report = listed.sync(engine, sandbox)
        asked = len(listed.asked(sandbox))
        told = listed.told(report)
        assert (end(report), told.complete) == (("ok", 0), True)
        assert set(others) <= set(listed.stored(engine))
        sandbox.reset_requests()
        listed.sync(engine, sandbox)
        assert listed.stored(engine) == sorted(listed.keys(sandbox.world))
        assert len(listed.asked(sandbox)) < asked
    assert ("pages overlap" in str(told.proof)) is (listed in BY_OFFSET)
    assert [key for key, _ in gone(engine)] == [first]


@pytest.mark.row(3)
def test_a_swap_between_numbered_pages_deletes_nothing_that_is_there(engine: Engine) -> None:
    """Numbers cannot overlap, and who comes is an old record: a single answer tells."""
    with STATSIG.sandbox() as sandbox:
        STATSIG.sync(engine, sandbox)
        (first, *_) = STATSIG.keys(sandbox.world)

        def swap(world: World) -> None:
            STATSIG.delete(world, first)
            STATSIG.create(world, createdTime=world.now - DAY)

        sandbox.add_fault(STATSIG.fault("mutate", after=1, arg=swap))
        report = STATSIG.sync(engine, sandbox)
        assert (end(report), gone(engine)) == (("partial", 5), [])
        assert "is still there" in str(STATSIG.told(report).incomplete_reason)
        assert end(STATSIG.sync(engine, sandbox)) == ("ok", 0)
    assert [key for key, _ in gone(engine)] == [first]


@pytest.mark.row(4)
@pytest.mark.parametrize(
    ("listed", "going"), [(ENVIRONMENTS, 1), (ENVIRONMENTS, 12), (STATSIG, 0), (LAYERS_COM, 0)]
)
def test_a_list_that_never_stands_still_is_stored_and_proves_nothing(
    engine: Engine, listed: List, going: int
) -> None:
    """Offsets survive some moves by stepping back: not one in every gap, nor two pages at once."""
    with listed.sandbox() as sandbox:
        listed.sync(engine, sandbox)

        def churn(world: World) -> None:
            for key in listed.keys(world)[:going]:
                listed.delete(world, key)
                listed.create(world)
            listed.create(world)

        sandbox.add_fault(listed.fault("mutate", times=None, arg=churn))
        report = listed.sync(engine, sandbox)
        sandbox.clear_faults()
        told = listed.told(report)
        assert (end(report), gone(engine)) == (("partial", 5), [])
        assert (told.status, told.complete) == ("incomplete", False)
        assert told.created > 0
        assert "3 walks" in str(told.proof)
        summary = f"run_id = {report.run_id} AND parent_id = '' AND NOT complete"
        (row, *_) = rows(engine, "run_streams", f"{summary} AND stream = '{listed.stream}'")
        assert row["incomplete_reason"] == told.incomplete_reason
        report = listed.sync(engine, sandbox, force_deletes=True)
        assert end(report) == ("ok", 0)
        assert listed.stored(engine) == sorted(listed.keys(sandbox.world))


@pytest.mark.row(5)
@pytest.mark.parametrize("listed", [*BY_OFFSET, STATSIG], ids=str)
def test_a_total_above_what_came_proves_nothing(engine: Engine, listed: List) -> None:
    with listed.sandbox() as sandbox:
        listed.sync(engine, sandbox)
        keys = listed.keys(sandbox.world)
        routeless = listed is ENVIRONMENTS
        if routeless:  # the others would be asked for one by one, and a 404 is proof
            listed.delete(sandbox.world, keys[2])
        newcomer = listed.create(sandbox.world)
        sandbox.add_fault(listed.fault("short_total", times=None))
        report = listed.sync(engine, sandbox)
    told, came = listed.told(report), len(keys) + 1 - routeless
    assert (end(report), gone(engine), told.created) == (("partial", 5), [], 1)
    assert listed.stored(engine) == sorted([*keys, newcomer])
    stored = rows(engine, "run_streams", f"run_id = {report.run_id} AND NOT complete")
    reason = f"the provider counts {came + 1} records, {came} came"
    assert stored
    assert all(row["incomplete_reason"].endswith(reason) for row in stored)


@pytest.mark.row(5)
def test_a_total_of_layers_above_what_came_keeps_that_projects_layers(engine: Engine) -> None:
    with Sandbox(World(7, Sizes(ld_projects=4, ld_environments=1, ld_layers=4))) as sandbox:
        settings = settings_for(sandbox)
        sync(engine, settings, "ld")
        kept, key = (
            keys_of(sandbox.world, "launchdarkly", "layers", project)[1]
            for project in (KEY, "search")
        )
        sandbox.world.delete("launchdarkly", "layers", kept, KEY)
        sandbox.world.delete("launchdarkly", "layers", key, "search")
        sandbox.add_fault(Fault(f"launchdarkly */{KEY}/layers", "short_total", times=None))
        report = sync(engine, settings, "ld")
    assert (end(report), of(report, "layers").incomplete_partitions) == (("partial", 5), 1)
    assert gone(engine) == [(key, "missing from a complete walk")]
    (row,) = rows(engine, "run_streams", f"parent_key = '{KEY}' AND NOT complete")
    assert row["incomplete_reason"] == "the provider counts 4 records, 3 came"


@pytest.mark.row(5)
def test_a_total_above_what_came_proves_nothing_as_a_text_either(engine: Engine) -> None:
    with Sandbox(World(7, Sizes(ld_projects=4, ld_environments=1, ld_layers=4))) as sandbox:
        settings = settings_for(sandbox)
        sync(engine, settings, "ld")
        _, key = keys_of(sandbox.world, "launchdarkly", "layers", KEY)[:2]
        sandbox.world.delete("launchdarkly", "layers", key, KEY)
        match = f"launchdarkly /api/v2/projects/{KEY}/layers"
        sandbox.add_fault(Fault(match, "patch_page", times=None, arg=(("totalCount",), "99")))
        report = sync(engine, settings, "ld")
    assert (end(report), of(report, "layers").incomplete_partitions) == (("partial", 5), 1)
    assert gone(engine) == []


@pytest.mark.row(6)
@pytest.mark.parametrize("listed", BY_OFFSET, ids=str)
def test_without_a_total_the_end_mark_decides_and_the_proof_says_so(
    engine: Engine, listed: List
) -> None:
    with listed.sandbox() as sandbox:
        listed.sync(engine, sandbox)
        keys = listed.keys(sandbox.world)
        listed.delete(sandbox.world, keys[2])
        sandbox.add_fault(listed.fault("no_total", times=None))
        report = listed.sync(engine, sandbox)
    told = listed.told(report)
    assert (end(report), told.complete, told.expected_total) == (("ok", 0), True, None)
    assert [key for key, _ in gone(engine)] == [keys[2]]
    said = f"end mark reached; {len(keys) - 1} came, no total is given; pages overlap"
    assert told.proof == said


@pytest.mark.row(6)
@pytest.mark.parametrize("total", ["seventeen", -1, 3.5, True, None, [17]], ids=repr)
def test_a_total_that_is_no_count_is_no_total(engine: Engine, total: Any) -> None:
    with ENVIRONMENTS.sandbox() as sandbox:
        ENVIRONMENTS.sync(engine, sandbox)
        before = contents(engine)
        sandbox.add_fault(ENVIRONMENTS.fault("no_total", times=None))
        match = f"launchdarkly /api/v2/projects/{KEY}/layers"
        sandbox.add_fault(Fault(match, "patch_page", times=None, arg=(("totalCount",), total)))
        report = ENVIRONMENTS.sync(engine, sandbox)
        assert ENVIRONMENTS.told(report).complete
        assert contents(engine) == before
