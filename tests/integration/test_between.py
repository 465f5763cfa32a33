"""The difference between two moments: it leads from the one to the other, whatever was between."""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import combinations
from typing import Any

import pytest
from sqlalchemy import Engine, select, text

from etl.cli.diff import as_json
from etl.sandbox import Sandbox
from tests.conftest import BOTH, Databases
from tests.support.history import in_order, put
from tests.support.internals.database import (
    RECORDS,
    RecordDifference,
    asof,
    differences,
    prune,
    touched_between,
)
from tests.support.internals.running import PROVIDERS
from tests.support.internals.values import MISSING, content_of, json_text
from tests.support.runs import hour, settings_for, small, sync, sync_all
from tests.support.twins import copy_rows

STEPS = 4
MOMENTS = [hour(0) - timedelta(minutes=1), *(hour(step) for step in range(STEPS))]
PAIRS = list(combinations(range(len(MOMENTS)), 2))

Name = tuple[str, str, str, str]
Estate = Mapping[Name, Any]


@pytest.fixture(scope="module")
def twins(databases: Databases) -> Iterator[Mapping[str, Engine]]:
    """Four syncs of a changing world, an hour apart, in both databases; read only."""
    with databases("sqlite") as one, databases("postgres") as other:
        with Sandbox(small(11)) as sandbox:
            settings = settings_for(sandbox)
            for step in range(STEPS):
                sync_all(one, settings, hour(step))
                sandbox.world.evolve(changed=0.3, deleted=2, renamed=1, created=2, restored=2)
        copy_rows(one, other)
        yield {"sqlite": one, "postgres": other}


@pytest.fixture(scope="module", params=BOTH)
def story(request: pytest.FixtureRequest, twins: Mapping[str, Engine]) -> Engine:
    """Each of them."""
    return twins[request.param]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fates:
    """A database with four syncs of one source, and the keys of three records."""

    engine: Engine
    back: str  # was changed after the first sync, changed back after the second
    brief: str  # was created after the first sync, deleted after the second
    gone: str  # was deleted after the first sync, came back after the second

    def told(self, key: str, first: int, second: int) -> list[tuple[str, int]]:
        """What differs in that record, and how many changes there were."""
        found = between(self.engine, hour(first), hour(second))
        return [(one.operation, one.changes) for one in found if one.key == key]


@pytest.fixture(scope="module", params=BOTH)
def fates(request: pytest.FixtureRequest, databases: Databases) -> Iterator[Fates]:
    with Sandbox(small()) as sandbox, databases(request.param) as engine:
        settings, world = settings_for(sandbox), sandbox.world
        kept, gone = (one.payload for one in world.live("layers", "projects")[:2])
        old = {name: kept[name] for name in ("name", "updatedAt")}
        sync(engine, settings, "ly", hour(0))
        world.delete("layers", "projects", gone["id"])
        world.update("layers", "projects", kept["id"], name="another name")
        brief = world.create("layers", "projects", name="brief")
        sync(engine, settings, "ly", hour(1))
        world.restore("layers", "projects", gone["id"])
        world.update("layers", "projects", kept["id"], **old)
        world.delete("layers", "projects", brief)
        sync(engine, settings, "ly", hour(2))
        yield Fates(engine=engine, back=kept["id"], brief=brief, gone=gone["id"])


def estate(engine: Engine, moment: datetime) -> Estate:
    """What was live at a moment."""
    found = {}
    with engine.connect() as connection:
        for stream in RECORDS:
            for row in connection.execute(select(asof.rows(stream, moment))):
                how = PROVIDERS[row.provider].stream(stream)
                name = (stream, row.source, row.parent_id, row.external_id)
                found[name] = content_of(row.raw, how)
    return found


def between(
    engine: Engine, first: datetime, second: datetime, **asked: str
) -> list[RecordDifference]:
    """All differences."""
    with engine.connect() as connection:
        return list(differences(connection, first, second, **asked))


def applied(there: Estate, found: list[RecordDifference]) -> Estate:
    """The estate after the differences."""
    after = deepcopy(dict(there))
    for one in found:
        name = (one.stream, one.source, one.parent_id, one.external_id)
        if one.operation == "deleted":
            assert json_text(in_order(after.pop(name))) == json_text(in_order(one.record))
        elif one.operation == "updated":
            for field in one.fields:
                put(after[name], field.path, field.new, removed=field.new is MISSING)
        else:
            assert name not in after
            after[name] = one.record
    return after


def texts(there: Estate) -> Mapping[Name, str]:
    """As they are compared."""
    return {name: json_text(in_order(content)) for name, content in there.items()}


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_the_differences_applied_to_the_first_moment_give_the_second(
    story: Engine, first: int, second: int
) -> None:
    begin, end = MOMENTS[first], MOMENTS[second]
    found = between(story, begin, end)
    assert found
    there = applied(estate(story, begin), found)
    assert texts(there) == texts(estate(story, end))


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_no_record_is_told_that_is_the_same_at_both_moments(
    story: Engine, first: int, second: int
) -> None:
    before, after = (texts(estate(story, MOMENTS[one])) for one in (first, second))
    for one in between(story, MOMENTS[first], MOMENTS[second]):
        name = (one.stream, one.source, one.parent_id, one.external_id)
        assert before.get(name) != after.get(name)
        assert (one.operation == "deleted") == (name not in after)
        assert (one.operation in ("created", "restored")) == (name not in before)


def test_there_and_back_again_is_no_difference(fates: Fates) -> None:
    assert fates.told(fates.back, 0, 1) == fates.told(fates.back, 1, 2) == [("updated", 1)]
    assert fates.told(fates.back, 0, 2) == []


def test_what_came_and_went_is_no_difference(fates: Fates) -> None:
    assert fates.told(fates.brief, 0, 1) == [("created", 1)]
    assert fates.told(fates.brief, 1, 2) == [("deleted", 1)]
    assert fates.told(fates.brief, 0, 2) == []


def test_what_went_and_came_back_is_no_difference_but_to_the_time_without_it(fates: Fates) -> None:
    assert fates.told(fates.gone, 0, 1) == [("deleted", 1)]
    assert fates.told(fates.gone, 1, 2) == [("restored", 1)]
    assert fates.told(fates.gone, 0, 2) == []


def test_a_deletion_tells_its_evidence_and_an_update_who_did_it(story: Engine) -> None:
    found = between(story, hour(0), hour(3))
    assert all(one.reason for one in found if one.operation == "deleted")
    assert any(one.actor for one in found if one.operation == "updated" and one.source == "st")


def test_of_a_past_that_was_pruned_nothing_is_told_and_of_the_rest_the_same(
    databases: Databases, twins: Mapping[str, Engine]
) -> None:
    with databases("sqlite") as engine:
        copy_rows(twins["sqlite"], engine)
        with engine.begin() as connection:
            prune(connection, now=hour(9), runs_before=None, history_before=hour(2))
        assert between(engine, hour(1), hour(3)) == []
        for first, second in ((2, 3), (2, 4), (3, 4)):
            there = between(twins["sqlite"], hour(first), hour(second))
            assert between(engine, hour(first), hour(second)) == there


def test_a_moment_and_itself_do_not_differ(story: Engine) -> None:
    assert between(story, hour(2), hour(2)) == []


def test_one_source_and_one_stream_may_be_asked_for(story: Engine) -> None:
    whole = between(story, hour(0), hour(4))
    for source, stream in (("ld", "environments"), ("st", "layers"), ("ly", "projects")):
        part = [one for one in whole if (one.source, one.stream) == (source, stream)]
        assert part == between(story, hour(0), hour(4), source=source, stream=stream)
        assert part


def test_both_databases_tell_the_same_in_the_same_order(twins: Mapping[str, Engine]) -> None:
    told = [
        [json_text(as_json(one)) for one in found]
        for found in (between(engine, hour(0), hour(3)) for engine in twins.values())
    ]
    assert told[0] == told[1]


def test_the_records_are_found_by_the_index_on_time(engine: Engine) -> None:
    touched = touched_between("layers", hour(0), hour(1), "ld")
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":  # which reads an empty table from end to end
            connection.execute(text("SET enable_seqscan = off"))
        compiled = select(touched).compile(engine, compile_kwargs={"literal_binds": True})
        explain = "EXPLAIN QUERY PLAN" if engine.dialect.name == "sqlite" else "EXPLAIN"
        plan = connection.exec_driver_sql(f"{explain} {compiled}").all()
    assert "ix_changes_observed_at" in str(plan)
