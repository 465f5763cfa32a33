"""The world behind the sandbox: the same seed gives the same bytes, and reports are true."""

import json
import re
from typing import Any

import pytest

from etl.sandbox import Mutation, Sizes, World
from etl.sandbox.values import KEY_FIELD, STREAMS
from tests.sandbox.walks import SMALL

Place = tuple[str, str, str | None, str]  # provider, stream, the project's id, key or id


def snapshot(world: World) -> dict[Place, dict[str, Any]]:
    """Every live record; LaunchDarkly's projects by `_id`, which a renaming keeps."""
    ids = {one["key"]: one["_id"] for one in world.records("launchdarkly", "projects")}
    found = {}
    for provider, streams in STREAMS.items():
        for stream in streams:
            for record in world.records(provider, stream):
                parent = ids.get(record.pop("_project_key", ""))
                by_id = (provider, stream) == ("launchdarkly", "projects")
                key = record["_id" if by_id else KEY_FIELD[provider]]
                content = {k: v for k, v in record.items() if k not in ("_links", "_access")}
                found[provider, stream, parent, key] = content
    return found


def place(mutation: Mutation, ids: dict[str, str]) -> Place:
    """Where the snapshot has the record of this mutation."""
    if (mutation.provider, mutation.stream) == ("launchdarkly", "projects"):
        return "launchdarkly", "projects", None, ids[mutation.key]
    parent = ids[mutation.parent_key] if mutation.parent_key is not None else None
    return mutation.provider, mutation.stream, parent, mutation.key


def project_ids(*snapshots: dict[Place, dict[str, Any]]) -> dict[str, str]:
    """LaunchDarkly's project ids by every key that they had or have."""
    return {
        payload["key"]: where[3]
        for one in snapshots
        for where, payload in one.items()
        if where[:2] == ("launchdarkly", "projects")
    }


def changed_fields(old: dict[str, Any], new: dict[str, Any]) -> set[str]:
    return {name for name in {**old, **new} if old.get(name) != new.get(name)}


@pytest.mark.parametrize("seed", [1, 7, 23])
def test_the_report_of_evolve_equals_a_diff_of_before_and_after(seed: int) -> None:
    world = World(seed, Sizes(ld_projects=9, statsig_layers=40, layers_projects=30))
    for _ in range(6):
        before = snapshot(world)
        done = world.evolve(changed=0.05, deleted=4, renamed=2, created=4, restored=2)
        after = snapshot(world)
        ids = project_ids(before, after)
        told: dict[str, set[Place]] = {"created": set(), "restored": set(), "deleted": set()}
        updated = {}
        for mutation in done:
            if mutation.operation == "updated":
                names = {re.split(r"[.\[]", path)[0] for path, *_ in mutation.fields}
                updated[place(mutation, ids)] = names
            else:
                told[mutation.operation].add(place(mutation, ids))
        both = before.keys() & after.keys()
        assert told["created"] | told["restored"] == after.keys() - before.keys()
        assert told["deleted"] == before.keys() - after.keys()
        assert updated == {
            where: changed_fields(before[where], after[where])
            for where in both
            if before[where] != after[where]
        }


def test_the_same_seed_and_the_same_calls_give_the_same_bytes() -> None:
    worlds = [World(11, SMALL), World(11, SMALL)]
    for world in worlds:
        world.evolve()
        world.create("launchdarkly", "projects")
    assert snapshot(worlds[0]) == snapshot(worlds[1])


def test_another_seed_gives_another_world() -> None:
    assert snapshot(World(1, SMALL)) != snapshot(World(2, SMALL))


def test_two_worlds_tell_the_same_mutations() -> None:
    assert World(5, SMALL).evolve() == World(5, SMALL).evolve()


def test_reset_brings_back_the_first_state() -> None:
    world = World(3, SMALL)
    before = snapshot(world)
    world.evolve(deleted=3)
    world.reset()
    assert snapshot(world) == before


def test_counts_are_the_numbers_of_records() -> None:
    world = World(sizes=SMALL)
    counts = world.counts()
    found = {
        (provider, stream): len(world.records(provider, stream))
        for provider, streams in STREAMS.items()
        for stream in streams
    }
    assert found == {(provider, stream): counts[provider][stream] for provider, stream in found}


def test_a_deleted_record_comes_back_with_its_id_and_content() -> None:
    world = World(sizes=SMALL)
    before = snapshot(world)
    world.delete("launchdarkly", "projects", "search")
    assert len(snapshot(world)) < len(before)
    world.restore("launchdarkly", "projects", "search")
    assert snapshot(world) == before


def test_a_renamed_project_keeps_its_id_and_what_is_in_it() -> None:
    world = World(sizes=SMALL)
    before = snapshot(world)
    world.rename_project("search", "found")
    after = snapshot(world)
    assert before.keys() == after.keys()
    assert {where[1] for where in before if before[where] != after[where]} == {"projects"}


def test_a_rotated_key_is_told_without_its_values() -> None:
    world = World(sizes=SMALL)
    (told,) = world.update("launchdarkly", "environments", "production", "search", apiKey="sdk-x")
    assert told.fields == (("apiKey", None, None),)


def test_an_update_that_changes_nothing_is_not_told() -> None:
    world = World(sizes=SMALL)
    name = world.records("launchdarkly", "projects")[0]["name"]
    assert world.update("launchdarkly", "projects", "my-project", name=name) == []


def test_the_world_grows_a_version_with_every_change() -> None:
    world = World(sizes=SMALL)
    before = world.version
    world.create("statsig", "layers")
    assert world.version > before


def test_the_records_are_copies() -> None:
    world = World(sizes=SMALL)
    world.records("statsig", "layers")[1]["parameters"].clear()
    assert json.dumps(world.records("statsig", "layers")[1]["parameters"]) != "[]"
