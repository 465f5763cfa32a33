"""What the vendors sent that was not used, or not expected: listed, tried again, summed up."""

import json
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import Engine, delete, update

from etl.sandbox import Fault, Sandbox, Sizes, World
from tests.support.database import contents, count
from tests.support.internals.database import (
    Drift,
    DriftAsked,
    Quarantined,
    drift,
    field_changes,
    quarantined,
    rejects,
    replay,
    schema_drift,
    snapshot,
)
from tests.support.internals.running import preview, reprocess, wanted_of
from tests.support.internals.values import Reject
from tests.support.runs import SMALL, hour, settings_for, small, sync, sync_all

STATSIG, LAYERS = "statsig /console/v1/layers[?]*", "layers /v1/projects[?]*"
LD_LAYERS = "launchdarkly */my-project/layers"
BAD = Fault(STATSIG, "patch", times=1, arg=(("idType",), None))
DELETE = "__delete__"


def patch(field: str, value: Any, match: str = LAYERS, times: int | None = 1) -> Fault:
    return Fault(match, "patch", times=times, arg=((field,), value))


def listed(engine: Engine, source: str | None = None, **options: bool) -> list[Quarantined]:
    with snapshot(engine) as connection:
        return list(quarantined(connection, source, **options))


def drifted(
    engine: Engine, source: str | None = None, since: datetime | None = None
) -> list[Drift]:
    with snapshot(engine) as connection:
        found, more = drift(connection, DriftAsked(source=source, since=since))
        assert more is None
    return sorted(found, key=lambda one: (one.source, one.stream, one.path))


def told(found: list[Drift]) -> list[tuple[str, str, str, str]]:
    return [(one.stream, one.path, one.kind, one.type) for one in found]


def mend(engine: Engine, **fields: Any) -> None:
    """The stored payload as a newer code might take it."""
    (item,) = listed(engine)
    with engine.begin() as connection:
        connection.execute(update(rejects).values(payload={**item.payload, **fields}))


def test_a_rejected_item_is_listed_with_its_project_place_and_times(engine: Engine) -> None:
    fault = patch("name", None, match=LD_LAYERS, times=2)
    with Sandbox(small(), faults=[fault]) as sandbox:
        settings = settings_for(sandbox)
        sync(engine, settings, "ld", hour(0))
        sync(engine, settings, "ld", hour(1))
    (found,) = listed(engine)
    place = (found.source, found.stream, found.project_key, found.path)
    assert place == ("ld", "layers", "my-project", "name")
    assert (found.first_seen_at, found.last_seen_at) == (hour(0), hour(1))
    assert (found.payload["key"], found.payload["name"]) == (found.external_id, None)


def test_a_resolved_item_is_listed_only_when_asked_for(engine: Engine) -> None:
    with Sandbox(small(), faults=[BAD]) as sandbox:
        settings = settings_for(sandbox)
        sync(engine, settings, "st", hour(0))
        sync(engine, settings, "st", hour(1))
    assert listed(engine) == []
    assert [one.resolved_at for one in listed(engine, resolved=True)] == [hour(1)]


def test_only_the_items_of_the_source_that_was_asked_for_are_listed(engine: Engine) -> None:
    with Sandbox(small(), faults=[BAD, patch("name", 7)]) as sandbox:
        settings = settings_for(sandbox)
        for name in settings.sources:
            sync(engine, settings, name)
    assert [one.source for one in listed(engine)] == ["ly", "st"]
    assert [one.source for one in listed(engine, "ly")] == ["ly"]
    assert listed(engine, "ld") == []


def test_an_item_that_this_code_rejects_is_rejected_again_for_the_same_reason(
    engine: Engine,
) -> None:
    with Sandbox(small(), faults=[BAD]) as sandbox:
        sync(engine, settings_for(sandbox), "st")
    (item,) = listed(engine)
    again = replay(item)
    assert isinstance(again, Reject)
    assert (again.path, again.reason) == (item.path, item.reason)


def test_an_item_without_an_id_is_rejected_again(engine: Engine) -> None:
    with Sandbox(small(), faults=[patch("id", DELETE)]) as sandbox:
        sync(engine, settings_for(sandbox), "ly")
    (item,) = listed(engine)
    again = replay(item)
    assert again is not None
    assert again.reason == item.reason


def test_an_item_that_this_code_would_accept_is_told_and_stored_by_the_next_sync(
    engine: Engine,
) -> None:
    with Sandbox(small(), faults=[BAD]) as sandbox:
        settings = settings_for(sandbox)
        sync(engine, settings, "st")
        mend(engine, idType="userID")
        before = contents(engine)
        (item,) = listed(engine)
        assert replay(item) is None
        assert contents(engine) == before
        sync(engine, settings, "st")
    assert count(engine, "layers_current") == SMALL.statsig_layers
    assert listed(engine) == []


def test_an_item_of_a_stream_that_is_no_more_is_rejected(engine: Engine) -> None:
    with Sandbox(small(), faults=[BAD]) as sandbox:
        sync(engine, settings_for(sandbox), "st")
    with engine.begin() as connection:
        connection.execute(update(rejects).values(provider="gone"))
    (item,) = listed(engine)
    again = replay(item)
    assert again is not None
    assert "knows no layers of gone" in again.reason


def test_a_database_without_surprises_has_no_drift(engine: Engine) -> None:
    with Sandbox(small(11)) as sandbox:
        settings = settings_for(sandbox)
        for _ in range(4):
            sync_all(engine, settings)
            sandbox.world.evolve(changed=0.4, deleted=2, renamed=1, created=2, restored=1)
    assert drifted(engine) == []


def test_added_fields_and_unusable_times_are_drift_of_their_source(engine: Engine) -> None:
    faults = [patch("newThing", {"deep": [1]}), patch("createdTime", -5, match=STATSIG)]
    with Sandbox(small(), faults=faults) as sandbox:
        settings = settings_for(sandbox)
        for name in settings.sources:
            sync(engine, settings, name)
    added, unusable = (
        ("projects", "newThing", "added", "object"),
        ("layers", "createdTime", "unusable", "number"),
    )
    assert told(drifted(engine)) == [added, unusable]
    assert told(drifted(engine, "st")) == [unusable]
    assert drifted(engine, "ld") == []


def test_a_new_field_with_a_dot_in_its_name_has_a_type(engine: Engine) -> None:
    with Sandbox(small(), faults=[patch("new.thing", {"deep": [1]})]) as sandbox:
        sync(engine, settings_for(sandbox), "ly")
    assert told(drifted(engine)) == [("projects", "new.thing", "added", "object")]


def test_drift_that_was_known_before_is_no_news(engine: Engine) -> None:
    with Sandbox(small(), faults=[patch("newThing", 1, times=None)]) as sandbox:
        sync(engine, settings_for(sandbox), "ly", hour(1))
    assert len(drifted(engine, since=hour(1))) == 1
    assert drifted(engine, since=hour(2)) == []


def drop(sandbox: Sandbox, name: str) -> None:
    """The vendor sends this field no more: neither of the two projects has it."""
    for row in sandbox.world.live("layers", "projects"):
        row.payload.pop(name)
    sandbox.world.version += 1


def test_a_field_that_no_record_has_any_more_has_vanished(engine: Engine) -> None:
    with Sandbox(World(7, Sizes(layers_projects=2))) as sandbox:
        settings = settings_for(sandbox)
        sync(engine, settings, "ly", hour(0))
        drop(sandbox, "ownerEmail")
        sync(engine, settings, "ly", hour(1))
    (found,) = drifted(engine)
    assert told([found]) == [("projects", "ownerEmail", "vanished", "string")]
    assert (found.records, found.first_seen_at) == (2, hour(1))


def test_a_field_that_only_some_records_lost_has_not_vanished(engine: Engine) -> None:
    with Sandbox(World(7, Sizes(layers_projects=2))) as sandbox:
        settings = settings_for(sandbox)
        sync(engine, settings, "ly")
        sandbox.add_fault(patch("ownerEmail", DELETE))
        assert sync(engine, settings, "ly").changed == 1
    assert drifted(engine) == []


@pytest.mark.parametrize(
    ("old", "new", "types"),
    [
        (1, "one", "number to string"),
        (True, [1], "boolean to array"),
        ("a", {}, "string to object"),
    ],
)
def test_a_field_whose_values_have_another_type_is_retyped(
    engine: Engine, old: Any, new: Any, types: str
) -> None:
    with Sandbox(small(), faults=[patch("newThing", old)]) as sandbox:
        settings = settings_for(sandbox)
        sync(engine, settings, "ly")
        sandbox.add_fault(patch("newThing", new))
        sync(engine, settings, "ly")
    assert ("projects", "newThing", "retyped", types) in told(drifted(engine))


def test_a_field_that_becomes_null_is_not_retyped(engine: Engine) -> None:
    with Sandbox(small(), faults=[patch("timezone", None)]) as sandbox:
        settings = settings_for(sandbox)
        sync(engine, settings, "ly")
        assert sync(engine, settings, "ly").changed == 1
    assert drifted(engine) == []


def test_a_field_that_goes_bit_by_bit_vanishes_with_the_last_record(engine: Engine) -> None:
    with Sandbox(World(7, Sizes(layers_projects=2))) as sandbox:
        settings = settings_for(sandbox)
        sync(engine, settings, "ly", hour(0))
        for step, row in enumerate(sandbox.world.live("layers", "projects"), start=1):
            row.payload.pop("ownerEmail")
            sandbox.world.version += 1
            sync(engine, settings, "ly", hour(step))
    (found,) = drifted(engine)
    assert (found.kind, found.records, found.first_seen_at) == ("vanished", 1, hour(2))


def test_only_the_fields_that_most_records_lost_are_looked_for(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(field_changes, "MAX_VANISHED_FIELDS", 1)
    with Sandbox(World(7, Sizes(layers_projects=2))) as sandbox:
        settings = settings_for(sandbox)
        sandbox.world.live("layers", "projects")[0].payload["aOnce"] = 1
        sync(engine, settings, "ly")
        sandbox.world.live("layers", "projects")[0].payload.pop("aOnce")
        drop(sandbox, "ownerEmail")
        sync(engine, settings, "ly")
    assert [one.path for one in drifted(engine) if one.kind == "vanished"] == ["ownerEmail"]


def test_drift_that_comes_again_adds_to_what_is_known(engine: Engine) -> None:
    with Sandbox(World(7, Sizes(layers_projects=1))) as sandbox:
        settings = settings_for(sandbox)
        (row,) = sandbox.world.live("layers", "projects")
        for step, value in enumerate([1, "one", 2, [3]]):
            row.payload["newThing"] = value
            sandbox.world.version += 1
            sync(engine, settings, "ly", hour(step))
    found = next(one for one in drifted(engine) if one.kind == "retyped")
    assert found.type == "number to string, string to number, number to array"
    assert (found.records, found.first_seen_at, found.last_seen_at) == (3, hour(1), hour(3))


def test_drift_is_found_again_in_the_past(engine: Engine) -> None:
    """As it is after an update of etl from one that did not note it."""
    with Sandbox(World(7, Sizes(layers_projects=2))) as sandbox:
        settings = settings_for(sandbox)
        sync(engine, settings, "ly", hour(0))
        drop(sandbox, "ownerEmail")
        sync(engine, settings, "ly", hour(1))
    noted = contents(engine)["schema_drift"]
    assert len(noted) == 1
    wanted = wanted_of(settings.sources["ly"])
    assert preview(engine, wanted).counts == {}
    with engine.begin() as connection:
        connection.execute(delete(schema_drift))
    assert reprocess(engine, wanted).counts == {("schema_drift", "added"): 1}
    assert contents(engine)["schema_drift"] == noted


def test_drift_comes_in_pages_and_as_it_was_known_at_a_moment(engine: Engine) -> None:
    with Sandbox(World(7, Sizes(layers_projects=2))) as sandbox:
        settings = settings_for(sandbox)
        for step in range(4):
            for row in sandbox.world.live("layers", "projects"):
                row.payload.update({"first": step, f"new{step}": True})
            sandbox.world.version += 1
            sync(engine, settings, "ly", hour(step))
    with snapshot(engine) as connection:
        first, more = drift(connection, most=3)
        rest, end = drift(connection, DriftAsked(before=more), most=3)
        then, _ = drift(connection, DriftAsked(until=hour(1)))
    assert [one.path for one in (*first, *rest)] == ["new3", "new2", "new1", "new0", "first"]
    assert end is None
    times = {one.path: (one.first_seen_at, one.last_seen_at) for one in then}
    assert times == {
        name: (hour(at), None) for name, at in (("new1", 1), ("new0", 0), ("first", 0))
    }


def test_a_payload_is_json_as_it_came(engine: Engine) -> None:
    with Sandbox(small(), faults=[patch("name", ["ä", {"b": None}])]) as sandbox:
        sync(engine, settings_for(sandbox), "ly")
    (item,) = listed(engine)
    assert json.loads(json.dumps(item.payload))["name"] == ["ä", {"b": None}]
