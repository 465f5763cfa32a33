"""Rows 18 to 22: what really happened to a record is told once, and what did not is not told."""

from typing import Any

import pytest
from sqlalchemy import Engine

from etl.sandbox import Sandbox
from tests.support.changes import last_change
from tests.support.database import DATA, contents, count, counted_writes, rows
from tests.support.history import violations
from tests.support.lists import ALL, KEY, List, end, gone, keys_of, operations
from tests.support.runs import hour, settings_for, small, sync, sync_all

NOT_LISTED, NOT_FOUND = "missing from a complete walk", "the provider answers 404 for it"
VERSIONS = {
    "projects": "project_versions",
    "environments": "environment_versions",
    "layers": "layer_versions",
}


def life(engine: Engine, stream: str, row_id: int) -> list[dict[str, Any]]:
    """The versions of a record, in order."""
    found = rows(engine, VERSIONS[stream], f"{stream[:-1]}_id = {row_id}")
    return sorted(found, key=lambda row: row["version"])


def only(engine: Engine, stream: str, key: str) -> dict[str, Any]:
    (row,) = rows(engine, stream, f"key = '{key}'")
    return row


@pytest.mark.row(18)
@pytest.mark.parametrize("listed", ALL, ids=str)
def test_a_real_deletion_is_a_tombstone_an_event_and_the_end_of_a_life(
    engine: Engine, listed: List
) -> None:
    with listed.sandbox() as sandbox:
        listed.sync(engine, sandbox)
        key = listed.keys(sandbox.world)[-1]
        before = only(engine, listed.stream, key)
        listed.delete(sandbox.world, key)
        report = listed.sync(engine, sandbox)
    evidence = NOT_FOUND if listed.parent is None else NOT_LISTED
    after = only(engine, listed.stream, key)
    kept = ("key", "name", "content_hash", "raw", "first_seen_at", "external_id")
    assert [after[name] for name in kept] == [before[name] for name in kept]
    assert (bool(after["is_deleted"]), after["deleted_at"]) == (True, after["changed_at"])
    assert (key, evidence) in gone(engine, listed.stream)
    one, two = life(engine, listed.stream, before[f"{listed.stream[:-1]}_id"])
    assert (one["operation"], two["operation"]) == ("created", "deleted")
    assert (one["valid_to"], two["valid_to"]) == (two["valid_from"], None)
    assert (end(report), list(violations(engine))) == (("ok", 0), [])


@pytest.mark.row(18)
def test_a_deleted_layer_of_launchdarkly_rests_on_its_whole_list(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        sync(engine, settings, "ld")
        key = keys_of(sandbox.world, "launchdarkly", "layers", KEY)[1]
        sandbox.world.delete("launchdarkly", "layers", key, KEY)
        report = sync(engine, settings, "ld")
    assert (end(report), gone(engine)) == (("ok", 0), [(key, NOT_LISTED)])
    assert violations(engine) == []


@pytest.mark.row(19)
def test_a_layer_that_is_created_again_with_its_id_is_restored(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        sync(engine, settings, "st")
        key = keys_of(sandbox.world, "statsig", "layers")[8]
        before = only(engine, "layers", key)
        sandbox.world.delete("statsig", "layers", key)
        sync(engine, settings, "st")
        sandbox.world.create("statsig", "layers", id=key, description="The second life")
        report = sync(engine, settings, "st")
    after = only(engine, "layers", key)
    told = [row["operation"] for row in life(engine, "layers", before["layer_id"])]
    assert told == ["created", "deleted", "restored"]
    assert (after["layer_id"], after["description"]) == (before["layer_id"], "The second life")
    assert (bool(after["is_deleted"]), after["deleted_at"]) == (False, None)
    assert (end(report), violations(engine)) == (("ok", 0), [])


@pytest.mark.row(19)
@pytest.mark.parametrize("seen", [True, False], ids=["seen-deleted", "between-two-runs"])
def test_a_project_that_is_created_again_with_another_id_is_another_record(
    engine: Engine, seen: bool
) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        sync(engine, settings, "ld")
        sandbox.world.delete("launchdarkly", "projects", "search")
        if seen:
            sync(engine, settings, "ld")
        sandbox.world.create("launchdarkly", "projects", key="search")
        report = sync(engine, settings, "ld")
    old, new = sorted(rows(engine, "projects", "key = 'search'"), key=lambda row: row["project_id"])
    assert old["external_id"] != new["external_id"]
    lives = [
        [v["operation"] for v in life(engine, "projects", r["project_id"])] for r in (old, new)
    ]
    assert lives == [["created", "deleted"], ["created"]]
    owners = {row["project_id"] for row in rows(engine, "layers_current", "project_key = 'search'")}
    assert owners == {new["project_id"]}
    assert (end(report), violations(engine)) == (("ok", 0), [])


@pytest.mark.row(20)
def test_a_new_key_is_one_change_and_the_children_follow(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        sync(engine, settings, "ld")
        before, told = only(engine, "projects", "search"), last_change(engine)
        parts = {stream: count(engine, stream) for stream in ("environments", "layers")}
        sandbox.world.rename_project("search", "find")
        report = sync(engine, settings, "ld")
    assert report.changed == 1
    assert operations(engine, "projects", told) == [("updated", "find")]
    after = only(engine, "projects", "find")
    assert (after["project_id"], after["version"]) == (before["project_id"], 2)
    for stream, number in parts.items():
        assert count(engine, stream) == number
        assert count(engine, stream, "version > 1 OR project_key = 'search'") == 0
        assert count(engine, stream, f"project_id = {after['project_id']}") == count(
            engine, stream, "project_key = 'find'"
        )
    assert count(engine, "layers", "project_key = 'find'") == 4
    assert violations(engine) == []


@pytest.mark.row(21)
def test_there_and_back_again_are_two_changes(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        payload = sandbox.world.live("statsig", "layers")[8].payload
        key, first = payload["id"], payload["description"]
        sync(engine, settings, "st", hour(0))
        told = last_change(engine)
        for number, text in enumerate(("B", first), 1):
            sandbox.world.update("statsig", "layers", key, description=text)
            assert sync(engine, settings, "st", hour(number)).changed == 1
        assert sync(engine, settings, "st", hour(3)).changed == 0
    a, b, again = life(engine, "layers", only(engine, "layers", key)["layer_id"])
    assert operations(engine, "layers", told) == [("updated", key)] * 2
    assert a["content_hash"] == again["content_hash"] != b["content_hash"]
    fields = rows(engine, "change_fields")
    moves = [(row["path"], row["old_value"], row["new_value"]) for row in fields]
    assert len(moves) == 2
    assert {path for path, _, _ in moves} == {"description"}
    assert violations(engine) == []


@pytest.mark.row(22)
def test_sets_in_another_order_and_other_links_are_no_change(engine: Engine) -> None:
    """The sandbox turns tags and `_access` over at every second call; the rest is turned here."""
    with Sandbox(small()) as sandbox:
        world, settings = sandbox.world, settings_for(sandbox)
        for row in world.live("statsig", "layers"):
            sets: dict[str, Any] = {
                "targetApps": ["ios", "web"],
                "holdoutIDs": ["one", "two"],
                "tags": ["a", "b"],
            }
            world.update("statsig", "layers", row.payload["id"], **sets)
        sync_all(engine, settings)
        before = contents(engine)
        for row in world.live("statsig", "layers"):
            names = ("targetApps", "holdoutIDs", "tags")
            turned: dict[str, Any] = {name: row.payload[name][::-1] for name in names}
            world.update("statsig", "layers", row.payload["id"], **turned)
        turned_reservations = 0
        for project in world.parents("launchdarkly", "layers"):
            for row in world.live("launchdarkly", "layers", project):
                environments = {
                    name: {"reservations": inner["reservations"][::-1]}
                    for name, inner in row.payload.get("environments", {}).items()
                }
                turned_reservations += len(environments)
                if environments:
                    place = (row.payload["key"], project)
                    world.update("launchdarkly", "layers", *place, environments=environments)
        with counted_writes(engine) as written:
            reports = sync_all(engine, settings)
    assert turned_reservations > 0
    assert [report.changed for report in reports] == [0, 0, 0]
    assert {table.name for table in DATA} & set(written) == set()
    assert contents(engine) == before
