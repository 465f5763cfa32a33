"""The change feed tells exactly what happened at the vendors: no more, no less, field by field."""

from typing import Any

from sqlalchemy import Engine

from etl.sandbox import Fault, Sandbox, World
from tests.support.changes import last_change, told_by_feed, told_by_sandbox
from tests.support.database import count, counted_writes, counts, rows
from tests.support.runs import settings_for, small, sync, sync_all

KEY = "my-project"


def layer_of(world: World, project: str = KEY) -> str:
    key: str = world.live("launchdarkly", "layers", project)[0].payload["key"]
    return key


def fields(engine: Engine, stream: str, operation: str = "updated") -> list[tuple[str, str]]:
    found = rows(engine, "change_feed", f"stream = '{stream}' AND operation = '{operation}'")
    return [(row["key"], row["path"]) for row in sorted(found, key=lambda row: row["change_id"])]


def test_the_feed_tells_what_evolved_and_nothing_else(engine: Engine) -> None:
    seed = 1 if engine.dialect.name == "postgresql" else 0  # two stories, each on one database
    with Sandbox(small(seed, big_project=True)) as sandbox:
        settings = settings_for(sandbox)
        sync_all(engine, settings)
        for step in range(5):
            before = last_change(engine)
            done = sandbox.world.evolve(changed=0.1 * step, deleted=3, created=3)
            sync_all(engine, settings)
            assert told_by_feed(engine, before) == told_by_sandbox(done)


def test_the_first_sync_tells_every_record_as_created_once(engine: Engine) -> None:
    with Sandbox(small(big_project=True)) as sandbox:
        sync_all(engine, settings_for(sandbox))
        streams = ("projects", "environments", "layers")
        wanted = {
            stream: sum(found[stream] for found in sandbox.counts().values()) for stream in streams
        }
    told = {stream: count(engine, "changes", f"stream = '{stream}'") for stream in streams}
    assert told == wanted
    assert count(engine, "changes", "operation <> 'created'") == 0


def test_a_new_project_key_is_one_change_and_what_is_inside_follows_without_any(
    engine: Engine,
) -> None:
    with Sandbox(small(big_project=True)) as sandbox:
        settings = settings_for(sandbox)
        sync(engine, settings, "ld")
        before = last_change(engine)
        sandbox.world.rename_project("big-estate", "bigger-estate")
        with counted_writes(engine) as written:
            sync(engine, settings, "ld")
    assert told_by_feed(engine, before) == [
        (
            "launchdarkly",
            "projects",
            "updated",
            "",
            "bigger-estate",
            ('key: "big-estate" -> "bigger-estate"',),
        )
    ]
    moved = "project_key = 'bigger-estate'"
    assert (count(engine, "environments", moved), count(engine, "layers", moved)) == (28, 4)
    assert count(engine, "environments", "project_key = 'big-estate'") == 0
    assert (written["environment_history"], written["layer_history"]) == (0, 0)


def test_a_project_that_takes_the_key_of_another_gets_none_of_its_parts(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        sync(engine, settings, "ld")
        sandbox.world.rename_project("search", "retired")
        sandbox.world.create("launchdarkly", "projects", key="search")
        sync(engine, settings, "ld")
        sync(engine, settings, "ld")
        owners = {
            row["project_key"]: row["parent_id"]
            for row in rows(engine, "layers_current")
            if row["project_key"] in ("search", "retired")
        }
        ids = {row["key"]: row["external_id"] for row in rows(engine, "projects_current")}
    assert owners == {key: ids[key] for key in ("search", "retired")}
    assert count(engine, "changes", "operation = 'deleted'") == 0


def test_what_was_deleted_and_is_back_is_restored_and_has_both_lives(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        key = layer_of(sandbox.world)
        sync(engine, settings, "ld")
        sandbox.world.delete("launchdarkly", "layers", key, KEY)
        sync(engine, settings, "ld")
        sandbox.world.restore("launchdarkly", "layers", key, KEY)
        sync(engine, settings, "ld")
    lives = rows(engine, "layer_versions", f"key = '{key}' AND project_key = '{KEY}'")
    told = [(row["version"], row["operation"], bool(row["is_deleted"])) for row in lives]
    assert sorted(told) == [(1, "created", False), (2, "deleted", True), (3, "restored", False)]
    assert count(engine, "changes", "operation = 'restored'") == 1


def test_the_parts_of_a_restored_project_are_restored_with_it(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        sync(engine, settings, "ld")
        sandbox.world.delete("launchdarkly", "projects", "Mobile.App_2")
        sync(engine, settings, "ld")
        before = last_change(engine)
        done = sandbox.world.restore("launchdarkly", "projects", "Mobile.App_2")
        sync(engine, settings, "ld")
        assert told_by_feed(engine, before) == told_by_sandbox(done)


def test_what_comes_back_with_other_content_is_restored_with_its_fields(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        key = layer_of(sandbox.world)
        sync(engine, settings, "ld")
        sandbox.world.delete("launchdarkly", "layers", key, KEY)
        sync(engine, settings, "ld")
        sandbox.world.restore("launchdarkly", "layers", key, KEY)
        sandbox.world.update("launchdarkly", "layers", key, KEY, name="Back again")
        sync(engine, settings, "ld")
    assert fields(engine, "layers", "restored") == [(key, "name")]


def test_a_new_project_under_the_key_of_a_deleted_one_is_another_project(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        sync(engine, settings, "ld")
        sandbox.world.delete("launchdarkly", "projects", "search")
        sandbox.world.create("launchdarkly", "projects", key="search")
        sync(engine, settings, "ld")
        assert counts(engine) == {
            **counts(engine),
            "launchdarkly": sandbox.counts()["launchdarkly"],
        }
    found = rows(engine, "projects", "key = 'search'")
    assert sorted(bool(row["is_deleted"]) for row in found) == [False, True]
    (gone,) = rows(engine, "changes", "operation = 'deleted' AND stream = 'projects'")
    assert gone["reason"] == "its key belongs to another record now"
    live = {row["parent_id"] for row in rows(engine, "layers_current", "project_key = 'search'")}
    assert live == {row["external_id"] for row in found if not row["is_deleted"]}


def test_a_new_order_of_parameters_is_one_change_of_the_list(engine: Engine) -> None:
    world = small()
    row = next(r for r in world.live("statsig", "layers") if len(r.payload["parameters"]) > 2)
    with Sandbox(world) as sandbox:
        settings = settings_for(sandbox)
        sync(engine, settings, "st")
        turned = row.payload["parameters"][::-1]
        world.update("statsig", "layers", row.payload["id"], parameters=turned)
        sync(engine, settings, "st")
    assert fields(engine, "layers") == [(row.payload["id"], "parameters")]
    (layer,) = [found for found in rows(engine, "layers") if found["key"] == row.payload["id"]]
    kept = rows(engine, "layer_parameters_current", f"layer_id = {layer['layer_id']}")
    in_order = [found["name"] for found in sorted(kept, key=lambda found: found["position"])]
    assert in_order == [one["name"] for one in turned]


def test_there_and_back_again_is_two_changes(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        old = sandbox.world.live("launchdarkly", "projects")[0].payload["name"]
        sync(engine, settings, "ld")
        for name in ("Another name", old):
            sandbox.world.update("launchdarkly", "projects", KEY, name=name)
            sync(engine, settings, "ld")
    assert fields(engine, "projects") == [(KEY, "name"), (KEY, "name")]


def test_another_order_of_sets_is_no_change(engine: Engine) -> None:
    world = small()
    world.update("launchdarkly", "projects", KEY, tags=["ops", "team-a", "web"])
    world.update("launchdarkly", "environments", "production", KEY, tags=["web", "core", "ops"])
    with Sandbox(world) as sandbox:
        settings = settings_for(sandbox)
        for _ in range(3):  # the sandbox turns tags round and shows another _access each time
            sync(engine, settings, "ld")
            sync(engine, settings, "st")
        world.update("launchdarkly", "projects", KEY, tags=["web", "ops", "team-a"])
        sync(engine, settings, "ld")
    assert count(engine, "changes", "operation <> 'created'") == 0


def test_null_and_an_empty_text_are_two_values(engine: Engine) -> None:
    world = small()
    with Sandbox(world) as sandbox:
        settings = settings_for(sandbox)
        key = layer_of(world)
        world.update("launchdarkly", "layers", key, KEY, description=None)
        sync(engine, settings, "ld")
        row = world.find("launchdarkly", "layers", key, KEY)
        assert row is not None
        world.update("launchdarkly", "layers", key, KEY, description="")
        sync(engine, settings, "ld")
    assert fields(engine, "layers") == [(key, "description")]


def test_a_change_names_who_made_it_and_when_at_the_vendor(engine: Engine) -> None:
    world = small()
    with Sandbox(world) as sandbox:
        settings = settings_for(sandbox)
        sync(engine, settings, "st")
        key = world.live("statsig", "layers")[3].payload["id"]
        eve: dict[str, Any] = {"lastModifierEmail": "eve@example.com"}
        world.update("statsig", "layers", key, lastModifiedTime=1_788_300_000_000, **eve)
        sync(engine, settings, "st")
    (change,) = rows(engine, "changes", "operation = 'updated'")
    assert change["actor"] == "eve@example.com"
    assert str(change["provider_updated_at"]).startswith("2026-09-01 22:00:00")


def test_the_rows_of_a_changed_layer_follow_its_reservations(engine: Engine) -> None:
    world = small()
    with Sandbox(world) as sandbox:
        settings = settings_for(sandbox)
        key = layer_of(world)
        one = {"experimentKey": "exp-1", "flagKey": "flag", "reservationPercent": 20}
        two = {"experimentKey": "exp-2", "flagKey": "flag", "reservationPercent": 30}
        found, where = [], ""
        for held in ([one], [one | {"reservationPercent": 25}, two], [two], [two, one], [], [one]):
            environments = {"production": {"reservations": held}}
            world.update("launchdarkly", "layers", key, KEY, environments=environments)
            sync(engine, settings, "ld")
            (layer,) = rows(engine, "layers", f"project_key = '{KEY}' AND key = '{key}'")
            where = f"layer_id = {layer['layer_id']}"
            kept = rows(engine, "layer_reservations_current", where)
            found.append(sorted((row["key"], row["reservation_percent"]) for row in kept))
        stored = count(engine, "layer_reservations", where)
    assert found == [
        [("exp-1", 20)],
        [("exp-1", 25), ("exp-2", 30)],
        [("exp-2", 30)],
        [("exp-1", 20), ("exp-2", 30)],
        [],
        [("exp-1", 20)],
    ]
    assert stored == 2


def test_one_id_twice_in_a_page_is_one_record_with_the_last_content(engine: Engine) -> None:
    with Sandbox(small(), faults=[Fault("layers /v1/projects?*", "duplicate_item")]) as sandbox:
        report = sync(engine, settings_for(sandbox), "ly")
        wanted = sandbox.counts()["layers"]["projects"]
    again = [row for row in rows(engine, "projects") if row["name"].endswith("(again)")]
    assert (count(engine, "projects"), len(again), report.status) == (wanted, 1, "ok")
    assert count(engine, "schema_drift", "type = 'one id twice in a page'") == 1
