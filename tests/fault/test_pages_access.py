"""Rows 14 to 17: what a key is refused, or suddenly does not see."""

import pytest
from sqlalchemy import Engine

from etl.sandbox import KEYS, Fault, Sandbox, Sizes, World
from tests.support.database import contents, count, counts, rows
from tests.support.lists import LAYERS_COM, PROJECTS, STATSIG, List, end, gone
from tests.support.runs import SMALL, asked, of, settings_for, small, sync

LAYERS_OF_ALL = Fault("launchdarkly */layers", "status", times=None, arg=403)


@pytest.mark.row(14)
def test_a_project_that_goes_away_between_list_and_call_leaves_the_others_to_land(
    engine: Engine,
) -> None:
    with Sandbox(small(big_project=True)) as sandbox:
        settings = settings_for(sandbox)
        sync(engine, settings, "ld")
        layer = sandbox.world.create("launchdarkly", "layers", "my-project")

        def leave(world: World) -> None:
            world.delete("launchdarkly", "projects", "search")

        sandbox.add_fault(Fault("launchdarkly */search/layers", "mutate", arg=leave))
        report = sync(engine, settings, "ld")
        (told,) = [one for one in report.partitions if one.stream == "layers"]
        assert (end(report), gone(engine)) == (("partial", 5), [])
        assert (told.parent_key, told.status, told.complete) == ("search", "incomplete", False)
        assert "404" in str(told.incomplete_reason)
        assert count(engine, "layers_current", f"key = '{layer}'") == 1
        assert end(sync(engine, settings, "ld")) == ("ok", 0)
        assert counts(engine)["launchdarkly"] == sandbox.counts()["launchdarkly"]
    assert ("search", "the provider answers 404 for it") in gone(engine, "projects")
    parts = 1 + SMALL.ld_environments + SMALL.ld_layers
    assert len(gone(engine)) == parts


@pytest.mark.row(15)
def test_layers_that_a_key_may_not_read_are_not_available_and_not_none(engine: Engine) -> None:
    with Sandbox(small(), faults=[LAYERS_OF_ALL]) as sandbox:
        settings = settings_for(sandbox)
        first = sync(engine, settings, "ld")
        layers = of(first, "layers")
        assert (end(first), layers.status, layers.complete) == (("ok", 0), "unavailable", False)
        assert "not available to this key" in str(layers.incomplete_reason)
        assert [one.stream for one in first.streams if one.status == "unavailable"] == ["layers"]
        (row,) = rows(engine, "run_streams", "stream = 'layers' AND parent_id = ''")
        assert (row["status"], bool(row["complete"])) == ("unavailable", False)
        assert len(asked(sandbox, "/layers")) == SMALL.ld_projects  # nobody asks again
        sandbox.clear_faults()
        assert end(sync(engine, settings, "ld")) == ("ok", 0)
        before = contents(engine)
        sandbox.add_fault(LAYERS_OF_ALL)
        later = sync(engine, settings, "ld")
    assert (end(later), gone(engine)) == (("partial", 5), [])
    assert contents(engine) == before


@pytest.mark.row(16)
@pytest.mark.parametrize("listed", [PROJECTS, STATSIG, LAYERS_COM], ids=str)
def test_an_empty_list_where_there_were_records_deletes_none(engine: Engine, listed: List) -> None:
    with listed.sandbox() as sandbox:
        listed.sync(engine, sandbox)
        before, stored = contents(engine), len(listed.stored(engine))
        sandbox.add_fault(listed.fault("empty_list", times=None))
        report = listed.sync(engine, sandbox)
        assert end(report) == ("held", 3)
        assert f"would delete {stored} of {stored} {listed.stream}" in str(report.error)
        assert "--force-deletes" in str(report.error)
        assert contents(engine) == before
        sandbox.clear_faults()
        report = listed.sync(engine, sandbox)
    assert (end(report), contents(engine)) == (("ok", 0), before)


@pytest.mark.row(16)
def test_empty_lists_of_parts_that_cannot_be_asked_for_delete_none(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        sync(engine, settings, "ld")
        before = contents(engine)
        sandbox.add_fault(Fault("launchdarkly */layers", "empty_list", times=None))
        report = sync(engine, settings, "ld")
    assert (end(report), of(report, "layers").status) == (("held", 3), "held")
    assert contents(engine) == before


@pytest.mark.row(17)
def test_a_key_that_sees_3_of_45_projects_deletes_none_even_when_forced(engine: Engine) -> None:
    with Sandbox(World(7, Sizes(ld_projects=45, ld_environments=1, ld_layers=1))) as sandbox:
        sync(engine, settings_for(sandbox), "ld")
        before, stored = contents(engine), counts(engine)
        narrow = settings_for(sandbox, keys={"ld": KEYS["launchdarkly-narrow"]})
        held = sync(engine, narrow, "ld")
        assert end(held) == ("held", 3)
        assert "would delete 42 of 45 projects" in str(held.error)
        assert contents(engine) == before
        sandbox.reset_requests()
        forced = sync(engine, narrow, "ld", force_deletes=True)
        refused = [seen for seen in sandbox.requests if seen.status == 403]
    assert (end(forced), len(refused), gone(engine)) == (("partial", 5), 42, [])
    assert "403" in str(of(forced, "projects").incomplete_reason)
    assert (contents(engine), counts(engine)) == (before, stored)
