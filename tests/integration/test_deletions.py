"""Nothing is marked deleted without proof, and never many at once without a person's word."""

from typing import Any, ClassVar

import pytest
from sqlalchemy import Engine

from etl.sandbox import KEYS, Fault, Sandbox, Sizes, World
from tests.support.database import contents, count, counts, rows
from tests.support.internals.values import RunReport
from tests.support.runs import SMALL, asked, of, settings_for, small, sync, sync_all

KEY = "my-project"
STATSIG, LAYERS = "statsig /console/v1/layers[?]*", "layers /v1/projects[?]*"


def gone(engine: Engine) -> list[tuple[str, str, str]]:
    """(stream, key, reason) of every deletion in the feed."""
    found = rows(engine, "changes", "operation = 'deleted'")
    return sorted((row["stream"], row["key"], row["reason"]) for row in found)


def keys_of(world: World, provider: str, stream: str, project: str | None = None) -> list[str]:
    name = "key" if provider == "launchdarkly" else "id"
    return [row.payload[name] for row in world.live(provider, stream, project)]


def end(report: RunReport) -> tuple[str, int]:
    return report.status, report.exit_code


def test_a_record_without_a_route_of_its_own_is_deleted_by_a_complete_walk(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        sync(engine, settings, "ld")
        key = keys_of(sandbox.world, "launchdarkly", "layers", KEY)[1]
        sandbox.world.delete("launchdarkly", "layers", key, KEY)
        sandbox.reset_requests()
        report = sync(engine, settings, "ld")
        assert asked(sandbox, f"layers/{key}") == []
    assert gone(engine) == [("layers", key, "missing from a complete walk")]
    assert (end(report), of(report, "layers").deleted) == (("ok", 0), 1)


@pytest.mark.parametrize(
    ("source", "provider", "stream", "route"),
    [
        ("ld", "launchdarkly", "projects", "/api/v2/projects/{}"),
        ("st", "statsig", "layers", "/console/v1/layers/{}"),
        ("ly", "layers", "projects", "/v1/projects/{}"),
    ],
)
def test_a_missing_record_is_asked_for_and_deleted_on_404(
    engine: Engine, source: str, provider: str, stream: str, route: str
) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        sync(engine, settings, source)
        keys = [k for k in keys_of(sandbox.world, provider, stream) if k.isascii()]
        key = next(key for key in keys[3:] if "/" not in key and " " not in key)
        sandbox.world.delete(provider, stream, key)
        sandbox.reset_requests()
        sync(engine, settings, source)
        confirmed = [seen for seen in sandbox.requests if seen.status == 404]
    assert [seen.path for seen in confirmed] == [route.format(key)]
    assert (stream, key, "the provider answers 404 for it") in gone(engine)


def test_a_deleted_record_keeps_its_last_values_and_its_history_ends(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        sync(engine, settings, "ld")
        before = rows(engine, "layers", f"project_key = '{KEY}'")[0]
        sandbox.world.delete("launchdarkly", "layers", before["key"], KEY)
        sync(engine, settings, "ld")
    (after,) = rows(engine, "layers", f"layer_id = {before['layer_id']}")
    kept = ("key", "name", "description", "raw", "content_hash", "first_seen_at")
    assert [after[name] for name in kept] == [before[name] for name in kept]
    assert (bool(after["is_deleted"]), after["deleted_at"]) == (True, after["changed_at"])


def test_a_deleted_project_takes_its_parts_along(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        sync(engine, settings, "ld")
        sandbox.world.delete("launchdarkly", "projects", "search")
        report = sync(engine, settings, "ld")
        assert counts(engine)["launchdarkly"] == sandbox.counts()["launchdarkly"]
    parts = [found for found in gone(engine) if found[2] == "its project was deleted"]
    assert (len(parts), end(report)) == (6, ("ok", 0))


def test_a_list_that_comes_empty_is_held_back(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        sync(engine, settings, "st")
        before = contents(engine)
        sandbox.add_fault(Fault(STATSIG, "empty_list", times=None))
        report = sync(engine, settings, "st")
    assert end(report) == ("held", 3)
    assert report.error is not None
    assert "would delete 25 of 25 layers of st" in report.error
    assert "--force-deletes" in report.error
    assert contents(engine) == before


def test_an_emptied_list_is_asked_for_again_before_it_is_believed(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        sync(engine, settings, "ld")
        sandbox.add_fault(Fault("launchdarkly */search/layers", "empty_list"))
        assert end(sync(engine, settings, "ld")) == ("ok", 0)
    assert gone(engine) == []


def test_an_empty_list_of_which_nothing_is_stored_is_asked_for_once(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        sandbox.add_fault(Fault("launchdarkly */search/layers", "empty_list", times=None))
        sync(engine, settings_for(sandbox), "ld")
        asked_for = [seen for seen in sandbox.requests if seen.path.endswith("/search/layers")]
    assert len(asked_for) == 1


def test_updates_land_while_deletions_are_held_back(engine: Engine) -> None:
    strict: dict[str, Any] = {"ld": {"limits": {"delete_percent": 10.0, "delete_count": 0}}}
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox, **strict)
        sync(engine, settings, "ld")
        (layer, *_) = keys_of(sandbox.world, "launchdarkly", "layers", KEY)
        sandbox.world.update("launchdarkly", "layers", layer, KEY, name="Landed")
        sandbox.world.update("launchdarkly", "projects", "search", name="Landed")
        sandbox.add_fault(Fault("launchdarkly */search/layers", "empty_list", times=None))
        report = sync(engine, settings, "ld")
        assert end(report) == ("held", 3)
        assert (gone(engine), of(report, "layers").status) == ([], "held")
        sandbox.clear_faults()
        landed = count(engine, "projects", "name = 'Landed'")
        assert (landed, count(engine, "layers", "name = 'Landed'")) == (1, 1)
        assert end(sync(engine, settings, "ld")) == ("ok", 0)


def test_a_person_may_say_that_the_deletions_are_true(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        sync(engine, settings, "st")
        for key in keys_of(sandbox.world, "statsig", "layers")[1:]:
            sandbox.world.delete("statsig", "layers", key)
        assert end(sync(engine, settings, "st")) == ("held", 3)
        assert gone(engine) == []
        report = sync(engine, settings, "st", force_deletes=True)
    assert (end(report), len(gone(engine))) == (("ok", 0), 24)


def test_forcing_does_not_delete_what_still_answers(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        sync(engine, settings, "st")
        sandbox.add_fault(Fault(STATSIG, "empty_list", times=None))
        report = sync(engine, settings, "st", force_deletes=True)
    assert (end(report), gone(engine)) == (("partial", 5), [])


def test_a_short_list_deletes_nothing_that_still_answers(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox, ly={"projects": {"page_size": 3}})
        sync(engine, settings, "ly")
        sandbox.add_fault(Fault("layers *cursor*", "empty_list", times=None))
        report = sync(engine, settings, "ly")
        sandbox.clear_faults()
        assert (end(report), gone(engine)) == (("partial", 5), [])
        reason = of(report, "projects").incomplete_reason
        assert reason is not None
        assert reason.endswith("is still there though the walk did not bring it")
        assert end(sync(engine, settings, "ly")) == ("ok", 0)


def test_more_missing_than_may_be_asked_for_wait_where_pages_do_not_overlap(
    engine: Engine,
) -> None:
    with Sandbox(small()) as sandbox:
        tables = {"limits": {"delete_confirmations": 1}, "layers": {"page_size": 5}}
        settings = settings_for(sandbox, st=tables)
        sync(engine, settings, "st")
        for key in keys_of(sandbox.world, "statsig", "layers")[3:6]:
            sandbox.world.delete("statsig", "layers", key)
        counted = []
        for _ in range(3):
            report = sync(engine, settings, "st")
            counted.append((report.exit_code, len(gone(engine))))
    assert counted == [(5, 1), (5, 2), (0, 3)]


def test_more_missing_than_may_be_asked_for_rest_on_pages_that_overlap(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        tables = {"limits": {"delete_confirmations": 1}, "projects": {"page_size": 3}}
        settings = settings_for(sandbox, ld=tables)
        sync(engine, settings, "ld")
        for key in keys_of(sandbox.world, "launchdarkly", "projects")[3:5]:
            sandbox.world.delete("launchdarkly", "projects", key)
        sandbox.reset_requests()
        sync(engine, settings, "ld")
        asked_for = [seen for seen in sandbox.requests if seen.status == 404]
        projects = [found for found in gone(engine) if found[0] == "projects"]
    assert (len(asked_for), len(projects)) == (1, 2)


def test_a_key_that_sees_fewer_projects_deletes_nothing(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        sync(engine, settings_for(sandbox), "ld")
        before = counts(engine)
        narrow = settings_for(sandbox, keys={"ld": KEYS["launchdarkly-narrow"]})
        report = sync(engine, narrow, "ld")
        asked_for = [seen.path for seen in sandbox.requests if seen.status == 403]
    assert (end(report), counts(engine), gone(engine)) == (("partial", 5), before, [])
    assert sorted(asked_for) == ["/api/v2/projects/Search", "/api/v2/projects/search"]


def test_a_key_that_sees_fewer_of_many_projects_is_held_back(engine: Engine) -> None:
    sizes = Sizes(ld_projects=20, ld_environments=1, ld_layers=1)
    with Sandbox(World(7, sizes)) as sandbox:
        sync(engine, settings_for(sandbox), "ld")
        before = counts(engine)
        narrow = settings_for(sandbox, keys={"ld": KEYS["launchdarkly-narrow"]})
        report = sync(engine, narrow, "ld")
    assert (end(report), counts(engine), gone(engine)) == (("held", 3), before, [])


def test_what_leaves_a_filter_is_not_deleted(engine: Engine) -> None:
    world = small()
    first, second, third = keys_of(world, "statsig", "layers")[3:6]
    for key in (first, second, third):
        world.update("statsig", "layers", key, tags=["chosen"])
    with Sandbox(world) as sandbox:
        settings = settings_for(sandbox, st={"layers": {"tags": ["chosen"]}})
        sync(engine, settings, "st")
        assert count(engine, "layers") == 3
        world.update("statsig", "layers", first, tags=["other"])
        world.delete("statsig", "layers", second)
        report = sync(engine, settings, "st")
    assert gone(engine) == [("layers", second, "the provider answers 404 for it")]
    assert end(report) == ("ok", 0)


def test_a_narrower_filter_of_projects_deletes_neither_them_nor_their_parts(
    engine: Engine,
) -> None:
    with Sandbox(small(big_project=True)) as sandbox:
        sync(engine, settings_for(sandbox), "ld")
        before = counts(engine)
        narrow = settings_for(sandbox, ld={"projects": {"filter": "keys:my-project|big-estate"}})
        report = sync(engine, narrow, "ld")
    assert (end(report), counts(engine), gone(engine)) == (("ok", 0), before, [])


def test_layers_that_leave_a_filter_are_not_deleted_where_none_can_be_asked_for(
    engine: Engine,
) -> None:
    with Sandbox(small()) as sandbox:
        sync(engine, settings_for(sandbox), "ld")
        before = counts(engine)
        by_experiment = {"filter": "reservations.experimentKey contains exp-none"}
        report = sync(engine, settings_for(sandbox, ld={"layers": by_experiment}), "ld")
    assert (end(report), counts(engine), gone(engine)) == (("ok", 0), before, [])


def test_environments_that_are_no_longer_wanted_stay(engine: Engine) -> None:
    with Sandbox(small(big_project=True)) as sandbox:
        sync(engine, settings_for(sandbox), "ld")
        before = counts(engine)
        without = settings_for(sandbox, ld={"projects": {"environments": False}})
        report = sync(engine, without, "ld")
    assert (end(report), counts(engine), gone(engine)) == (("ok", 0), before, [])


def test_a_run_of_one_stream_leaves_the_others_alone(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        sync_all(engine, settings)
        sandbox.world.delete("launchdarkly", "environments", "production", "search")
        report = sync(engine, settings, "ld", streams=["layers"])
    assert ([found.stream for found in report.streams], gone(engine)) == (
        ["projects", "layers"],
        [],
    )


def test_a_total_that_is_larger_than_what_came_deletes_nothing(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        sync(engine, settings, "ld")
        key = keys_of(sandbox.world, "launchdarkly", "layers", KEY)[1]
        sandbox.world.delete("launchdarkly", "layers", key, KEY)
        sandbox.add_fault(Fault(f"launchdarkly */{KEY}/layers", "short_total", times=None))
        report = sync(engine, settings, "ld")
    assert (end(report), gone(engine)) == (("partial", 5), [])
    reason = of(report, "layers").incomplete_reason
    assert reason == f"{KEY} the provider counts 4 records, 3 came (in 1 of {SMALL.ld_projects})"
    (told,) = rows(engine, "run_streams", f"parent_key = '{KEY}' AND NOT complete")
    assert told["incomplete_reason"] == "the provider counts 4 records, 3 came"


def test_a_missing_total_leaves_the_decision_to_the_end_mark(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        sync(engine, settings, "ld")
        key = keys_of(sandbox.world, "launchdarkly", "layers", KEY)[1]
        sandbox.world.delete("launchdarkly", "layers", key, KEY)
        sandbox.add_fault(Fault("launchdarkly */layers", "no_total", times=None))
        report = sync(engine, settings, "ld")
    assert (end(report), len(gone(engine))) == (("ok", 0), 1)


@pytest.mark.parametrize(
    ("source", "provider", "stream", "tables"),
    [
        ("ld", "launchdarkly", "projects", {"ld": {"projects": {"page_size": 2}}}),
        ("st", "statsig", "layers", {"st": {"layers": {"page_size": 5}}}),
        ("ly", "layers", "projects", {"ly": {"projects": {"page_size": 3}}}),
    ],
)
class TestMovingLists:
    """Records come and go while the list is walked."""

    MATCH: ClassVar = {
        "ld": "launchdarkly /api/v2/projects[?]*",
        "st": STATSIG,
        "ly": LAYERS,
    }

    def story(
        self, engine: Engine, source: str, provider: str, tables: Any, arg: Any
    ) -> tuple[Sandbox, RunReport]:
        """A run in whose second page the world moves, after a good one."""
        with Sandbox(small()) as sandbox:
            settings = settings_for(sandbox, **tables)
            sync(engine, settings, source)
            sandbox.add_fault(Fault(self.MATCH[source], "mutate", after=1, arg=arg))
            moved = sync(engine, settings, source)
            last = sync(engine, settings, source)
            assert end(last) == ("ok", 0)
            assert counts(engine)[provider] == sandbox.counts()[provider]
            return sandbox, moved

    def test_a_record_deleted_in_mid_walk_makes_no_other_one_look_deleted(
        self, engine: Engine, source: str, provider: str, stream: str, tables: Any
    ) -> None:
        listed = keys_of(small(), provider, stream)
        key = listed[-1] if provider == "layers" else listed[0]  # on page one

        def delete(world: World) -> None:
            world.delete(provider, stream, key)

        self.story(engine, source, provider, tables, delete)
        told = [found for found in gone(engine) if found[0] == stream]
        assert [found[:2] for found in told] == [(stream, key)]
        assert count(engine, "changes", "operation = 'restored'") == 0

    def test_a_record_created_in_mid_walk_is_one_record_and_one_change(
        self, engine: Engine, source: str, provider: str, stream: str, tables: Any
    ) -> None:
        def create(world: World) -> None:
            world.create(provider, stream)

        self.story(engine, source, provider, tables, create)
        assert gone(engine) == []
        twice = "SELECT stream FROM changes GROUP BY stream, record_id, version HAVING count(*) > 1"
        assert count(engine, f"({twice}) AS twice") == 0
        assert count(engine, "changes", "operation NOT IN ('created')") == 0

    def test_a_record_that_goes_while_another_comes_leaves_no_false_deletion(
        self, engine: Engine, source: str, provider: str, stream: str, tables: Any
    ) -> None:
        listed = keys_of(small(), provider, stream)
        key = listed[-1] if provider == "layers" else listed[0]

        def swap(world: World) -> None:
            world.delete(provider, stream, key)
            world.create(provider, stream)

        self.story(engine, source, provider, tables, swap)
        told = [found[:2] for found in gone(engine) if found[0] == stream]
        assert told == [(stream, key)]


def test_a_swap_in_mid_walk_deletes_no_live_record_that_cannot_be_asked_for(
    engine: Engine,
) -> None:
    with Sandbox(small(big_project=True), page_cap=10) as sandbox:
        settings = settings_for(sandbox)
        sync(engine, settings, "ld")
        (first, *_) = keys_of(sandbox.world, "launchdarkly", "environments", "big-estate")

        def swap(world: World) -> None:
            world.delete("launchdarkly", "environments", first, "big-estate")
            world.create("launchdarkly", "environments", "big-estate")

        match = "launchdarkly */big-estate/environments*"
        sandbox.add_fault(Fault(match, "mutate", after=2, arg=swap))
        sync(engine, settings, "ld")
        sync(engine, settings, "ld")
    assert {found[:2] for found in gone(engine)} == {("environments", first)}


@pytest.mark.parametrize("swap", [False, True], ids=["gone", "swapped"])
def test_a_first_walk_of_layers_com_that_missed_a_project_does_not_call_itself_complete(
    engine: Engine,
    swap: bool,
) -> None:
    last = keys_of(small(), "layers", "projects")[-1]

    def move(world: World) -> None:
        world.delete("layers", "projects", last)
        if swap:
            world.create("layers", "projects")

    with Sandbox(small(), faults=[Fault(LAYERS, "mutate", after=1, arg=move)]) as sandbox:
        report = sync(engine, settings_for(sandbox, ly={"projects": {"page_size": 3}}), "ly")
        stored = {row["key"] for row in rows(engine, "projects")}
        missed = set(keys_of(sandbox.world, "layers", "projects")) - stored
    assert missed == set() or not of(report, "projects").complete


def test_a_list_that_moves_while_it_is_read_for_the_first_time_is_read_again(
    engine: Engine,
) -> None:
    (first, *_) = keys_of(small(), "statsig", "layers")
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox, st={"layers": {"page_size": 5}})
        sandbox.add_fault(
            Fault(STATSIG, "mutate", after=1, arg=lambda w: w.delete("statsig", "layers", first))
        )
        report = sync(engine, settings, "st")
        stored = {row["key"] for row in rows(engine, "layers_current")}
        assert set(keys_of(sandbox.world, "statsig", "layers")) <= stored
    assert end(report) == ("ok", 0)


def test_a_list_that_never_stands_still_is_stored_and_proves_nothing(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox, st={"layers": {"page_size": 5}})
        sync(engine, settings, "st")

        def move(world: World) -> None:
            world.create("statsig", "layers")

        sandbox.add_fault(Fault(STATSIG, "mutate", times=None, arg=move))
        report = sync(engine, settings, "st")
    assert (end(report), gone(engine)) == (("partial", 5), [])
    assert of(report, "layers").created > 0


@pytest.mark.parametrize("key_taken", [False, True])
def test_a_renamed_project_that_the_list_spoils_is_not_taken_for_gone(
    engine: Engine, *, key_taken: bool
) -> None:
    """Its new key came without an id; by the old one there is nothing, or another project."""
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        sync(engine, settings, "ld")
        first = sandbox.world.records("launchdarkly", "projects")[0]["key"]
        sandbox.world.rename_project(first, "moved")
        if key_taken:
            sandbox.world.create("launchdarkly", "projects", key=first)
        nameless = ("_id",), None
        sandbox.add_fault(
            Fault("launchdarkly /api/v2/projects[?]*", "patch", times=None, arg=nameless)
        )
        report = sync(engine, settings, "ld", force_deletes=True)
        assert (report.status, of(report, "projects").deleted) == ("partial", 0)
        sandbox.clear_faults()
        assert sync(engine, settings, "ld").status == "ok"
        assert counts(engine)["launchdarkly"] == sandbox.counts()["launchdarkly"]
    assert count(engine, "changes", "operation = 'deleted'") == 0
