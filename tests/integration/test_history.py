"""What must hold of history after any sequence of changes: nothing lost, doubled or overlapping."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import Engine, select

from etl.sandbox import Sandbox
from tests.conftest import BOTH, Databases
from tests.support.database import count, rows
from tests.support.internals.database import RECORDS, change_fields, changes
from tests.support.internals.running import PROVIDERS
from tests.support.internals.values import content_of, hash_of, json_text
from tests.support.runs import settings_for, small, sync_all

STREAMS = {"projects": "project", "environments": "environment", "layers": "layer"}
NAMED_BY = {"parameters": "name", "reservations": "experimentKey"}
STEP = re.compile(r'\[("(?:[^"\\]|\\.)*"|[^\]]*)\]|("(?:[^"\\]|\\.)*")|([^.\[\]"]+)')

Versions = dict[int, list[dict[str, Any]]]


@pytest.fixture(scope="module", params=BOTH)
def evolved(request: pytest.FixtureRequest, databases: Databases) -> Iterator[Engine]:
    """A database after six syncs of a changing world; these tests only read it."""
    with Sandbox(small(11)) as sandbox, databases(request.param) as engine:
        settings = settings_for(sandbox)
        for _ in range(6):
            sync_all(engine, settings)
            sandbox.world.evolve(changed=0.3, deleted=3, renamed=1, created=3, restored=2)
        yield engine


def lives(engine: Engine, stream: str) -> Versions:
    """Row id -> its versions in order, as the view tells them."""
    found: Versions = defaultdict(list)
    identifier = f"{STREAMS[stream]}_id"
    for row in rows(engine, f"{STREAMS[stream]}_versions"):
        found[row[identifier]].append(row)
    return {id_: sorted(life, key=lambda row: row["version"]) for id_, life in found.items()}


def stored(engine: Engine, stream: str) -> dict[int, list[dict[str, Any]]]:
    """Row id -> its closed versions and the current row, with JSON as values."""
    tables = RECORDS[stream]
    found: Versions = defaultdict(list)
    for table in (tables.history, tables.current):
        for row in rows(engine, table):
            found[row[tables.id]].append(row)
    return {id_: sorted(life, key=lambda row: row["version"]) for id_, life in found.items()}


@pytest.mark.parametrize("stream", STREAMS)
def test_versions_follow_each_other_without_gap_or_overlap(evolved: Engine, stream: str) -> None:
    found = lives(evolved, stream)
    assert max(map(len, found.values())) > 2
    for life in found.values():
        assert [row["version"] for row in life] == list(range(1, len(life) + 1))
        assert [row["valid_to"] for row in life[:-1]] == [row["valid_from"] for row in life[1:]]
        assert all(row["valid_from"] < row["valid_to"] for row in life[:-1])
        assert [row["valid_to"] is None for row in life] == [False] * (len(life) - 1) + [True]


@pytest.mark.parametrize("stream", STREAMS)
def test_a_life_begins_with_created_and_a_deleted_one_can_only_be_restored(
    evolved: Engine, stream: str
) -> None:
    for life in lives(evolved, stream).values():
        told = [row["operation"] for row in life]
        assert told[0] == "created"
        assert [bool(row["is_deleted"]) for row in life] == [one == "deleted" for one in told]
        after = {new for old, new in pairwise(told) if old == "deleted"}
        assert after <= {"restored"}
        assert "restored" not in {new for old, new in pairwise(told) if old != "deleted"}


@pytest.mark.parametrize("stream", STREAMS)
def test_every_version_has_one_change_event_and_every_event_a_version(
    evolved: Engine, stream: str
) -> None:
    versions = {
        (id_, row["version"], row["operation"])
        for id_, life in lives(evolved, stream).items()
        for row in life
    }
    events = rows(evolved, "changes", f"stream = '{stream}'")
    told = [(row["record_id"], row["version"], row["operation"]) for row in events]
    assert sorted(told) == sorted(versions)


@pytest.mark.parametrize("stream", STREAMS)
def test_the_changes_of_a_record_replayed_give_its_current_content(
    evolved: Engine, stream: str
) -> None:
    with evolved.connect() as connection:
        query = select(
            changes.c.record_id,
            changes.c.version,
            change_fields,
            change_fields.c.new_value.is_(None).label("removed"),
        ).join_from(changes, change_fields)
        told: dict[tuple[int, int], list[Any]] = defaultdict(list)
        for found in connection.execute(query.where(changes.c.stream == stream)):
            told[found.record_id, found.version].append(found)
    replayed = 0
    for id_, life in stored(evolved, stream).items():
        how = PROVIDERS[life[0]["provider"]].stream(stream)
        content = content_of(life[0]["raw"], how)
        for row in life[1:]:
            for field in told[id_, row["version"]]:
                _apply(content, _steps(field.path), field.new_value, removed=field.removed)
                replayed += 1
            assert json_text(_sorted(content)) == json_text(_sorted(content_of(row["raw"], how)))
            assert row["content_hash"] == hash_of(content_of(row["raw"], how))
    assert replayed > 0


def test_the_feed_is_in_the_order_of_time(evolved: Engine) -> None:
    found = sorted(rows(evolved, "changes"), key=lambda row: row["change_id"])
    for source in ("ld", "st", "ly"):
        times = [row["observed_at"] for row in found if row["source"] == source]
        assert times == sorted(times)


def test_nothing_stays_staged_when_a_run_has_ended(evolved: Engine) -> None:
    staged = ("ledger", "staged_deletions", *(f"staged_{stream}" for stream in STREAMS))
    assert {table: count(evolved, table) for table in staged} == dict.fromkeys(staged, 0)
    assert count(evolved, "leases") == 0


def test_children_of_a_deleted_layer_are_deleted_with_it(evolved: Engine) -> None:
    for child in ("layer_parameters", "layer_reservations"):
        deleted = "layer_id IN (SELECT layer_id FROM layers WHERE is_deleted)"
        assert count(evolved, child, f"{deleted} AND NOT is_deleted") == 0


def test_live_parts_belong_to_the_live_project_with_their_key(evolved: Engine) -> None:
    projects = {row["project_id"]: row for row in rows(evolved, "projects_current")}
    for table in ("environments_current", "layers_current"):
        for row in rows(evolved, table):
            project = projects[row["project_id"]]
            told = (row["source"], row["parent_id"], row["project_key"])
            assert told == (project["source"], project["external_id"], project["key"])


def _steps(path: str) -> list[tuple[str, str]]:
    steps = []
    for label, quoted, plain in STEP.findall(path):
        kind = "label" if label else "name"
        text = label or quoted or plain
        steps.append((kind, json.loads(text) if text.startswith('"') else text))
    return steps


def _apply(content: Any, steps: list[tuple[str, str]], value: Any, *, removed: bool) -> None:
    """Sets or removes what is at the path; labels name items of lists."""
    inner, last = content, ""
    for kind, step in steps[:-1]:
        inner = inner[_index(inner, last, step)] if kind == "label" else inner[step]
        last = step if kind == "name" else last
    kind, step = steps[-1]
    if kind == "name":
        if removed:
            inner.pop(step)
        else:
            inner[step] = value
        return
    at = _index(inner, last, step)
    inner[at : at + 1] = [] if removed else [value]


def _index(items: list[Any], kind: str, label: str) -> int:
    names = [str(item[NAMED_BY[kind]]) for item in items]
    return names.index(label) if label in names else len(items)


def _sorted(content: Any) -> Any:
    """Reservations in the order of content_of, which a replay does not keep."""
    environments = content.get("environments")
    if not isinstance(environments, dict):
        return content
    ordered = {
        name: {**inner, "reservations": sorted(inner["reservations"], key=json_text)}
        for name, inner in environments.items()
        if "reservations" in inner
    }
    return {**content, "environments": ordered}
