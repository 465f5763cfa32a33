"""The past is shown as it was: every table at every moment, equal to what was there then."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, select

from etl.errors import ConfigError
from etl.sandbox import Sandbox
from tests.conftest import BOTH, Databases
from tests.support.internals.database import ASOF_TABLES as TABLES
from tests.support.internals.database import RECORDS, ensure_known, first_known, rows
from tests.support.internals.values import json_text
from tests.support.plans import plan
from tests.support.runs import hour, settings_for, small, sync, sync_all

INSTANT = timedelta(microseconds=1)
STEPS = 5
CHILDREN = ("layer_parameters", "layer_reservations")
ODD: dict[str, Any] = {
    "reservations": {
        'a "quoted" \\ key': [{"experimentKey": "é\t🚀", "flagKey": "[]", "reservationPercent": 7}]
    },
    "parameters": [
        {"name": "big", "type": "number", "defaultValue": 12345678901234567890},
        {"name": "tiny", "type": "number", "defaultValue": 1.5e-7},
        {"name": "none", "type": "object", "defaultValue": None},
        {"name": "yes", "type": "boolean", "defaultValue": True},
        {"name": "empty", "type": "string", "defaultValue": ""},
        {"name": 'text, with "$.x"', "type": "string", "defaultValue": '[1,"]🚀\\\n'},
        {"name": "deep", "type": "array", "defaultValue": [[], {"a": [1.0, None]}, "ü"]},
    ],
}

Found = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """A database, and what its tables showed after each sync."""

    engine: Engine
    shown: Mapping[datetime, Found]


@pytest.fixture(scope="module", params=BOTH)
def story(request: pytest.FixtureRequest, databases: Databases) -> Iterator[Story]:
    with Sandbox(small(5)) as sandbox, databases(request.param) as engine:
        settings, world = settings_for(sandbox), sandbox.world
        shown = {}
        for step in range(STEPS):
            if step == 1:
                key = world.live("launchdarkly", "layers", "my-project")[0].payload["key"]
                environments = {n: {"reservations": r} for n, r in ODD["reservations"].items()}
                world.update("launchdarkly", "layers", key, "my-project", environments=environments)
                world.update("statsig", "layers", "Checkout", parameters=ODD["parameters"])
            elif step == 3:
                world.rename_project("my-project", "our-project")
            sync_all(engine, settings, hour(step))
            shown[hour(step)] = contents(engine, None)
            world.evolve(changed=0.3, deleted=3, renamed=1, created=3, restored=2)
        yield Story(engine=engine, shown=shown)


def contents(engine: Engine, moment: datetime | None) -> Found:
    """Table -> its rows at a moment as text, with the columns that both now and then have."""
    found = {}
    with engine.connect() as connection:
        for name in TABLES:
            shown = rows(name, moment)
            wanted = [shown.c[one.name] for one in rows(name, hour(0)).c]
            rows_then = connection.execute(select(*wanted)).mappings()
            found[name] = sorted(_text(row) for row in rows_then)
    return found


def _text(row: Any) -> str:
    return json_text({k: v.isoformat() if isinstance(v, datetime) else v for k, v in row.items()})


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("step", range(STEPS))
def test_a_table_at_the_moment_of_a_sync_is_what_that_sync_left(
    story: Story, step: int, name: str
) -> None:
    found = contents(story.engine, hour(step))
    assert found[name] == story.shown[hour(step)][name]


@pytest.mark.parametrize("step", range(1, STEPS))
def test_an_instant_before_a_sync_all_is_as_the_sync_before_left_it(
    story: Story, step: int
) -> None:
    assert contents(story.engine, hour(step) - INSTANT) == story.shown[hour(step - 1)]


def test_the_odd_values_were_there(story: Story) -> None:
    shown = "".join(text for name in CHILDREN for text in story.shown[hour(1)][name])
    for odd in ("12345678901234567890", "1.5e-07", "big", "none", '\\"quoted\\"', "é\\t🚀"):
        assert odd in shown


def test_the_story_changed_every_table_at_every_step(story: Story) -> None:
    for name in TABLES:
        states = [json.dumps(found[name]) for found in story.shown.values()]
        assert len(set(states)) > STEPS // 2, name


def test_before_the_first_run_there_is_nothing(story: Story) -> None:
    assert not any(contents(story.engine, hour(0) - INSTANT).values())


def test_tombstones_come_when_they_are_asked_for(story: Story) -> None:
    with story.engine.connect() as connection:
        for name in RECORDS:
            then = rows(name, hour(STEPS - 1), deleted=True)
            gone = connection.execute(select(then).where(then.c.is_deleted)).all()
            assert gone
            assert all(row.deleted_at == row.changed_at for row in gone)


def test_the_key_of_a_project_is_the_one_it_had(story: Story) -> None:
    with story.engine.connect() as connection:
        for moment, key in ((hour(2), "my-project"), (hour(3), "our-project")):
            for name in ("environments", "layers"):
                then = rows(name, moment)
                query = select(then.c.project_key).where(then.c.project_key.like("%-project"))
                assert key in connection.execute(query).scalars().all()


def test_when_each_source_was_first_known(story: Story) -> None:
    with story.engine.connect() as connection:
        assert first_known(connection) == dict.fromkeys(("ld", "ly", "st"), hour(0))


def test_a_moment_before_the_first_run_is_refused(story: Story) -> None:
    before = hour(0) - INSTANT
    with (
        story.engine.connect() as connection,
        pytest.raises(ConfigError, match="nothing is known before 2026-11-01 00:00:00 UTC"),
    ):
        ensure_known(connection, before, now=hour(9))


def test_a_moment_that_has_not_come_is_refused(story: Story) -> None:
    with story.engine.connect() as connection, pytest.raises(ConfigError, match="not come yet"):
        ensure_known(connection, hour(10), now=hour(9))


def test_a_source_that_began_later_is_told(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        sync(engine, settings, "ld", hour(0))
        sync(engine, settings, "st", hour(2))
    with engine.connect() as connection:
        told = ensure_known(connection, hour(1), now=hour(9))
        assert told == ["nothing is known of st before 2026-11-01 02:00:00 UTC"]
        assert ensure_known(connection, hour(1), now=hour(9), sources=["ld"]) == []
        with pytest.raises(ConfigError, match="nothing is known of st before"):
            ensure_known(connection, hour(1), now=hour(9), sources=["st"])


def test_a_database_without_a_run_knows_nothing(engine: Engine) -> None:
    with engine.connect() as connection, pytest.raises(ConfigError, match="etl sync"):
        ensure_known(connection, hour(1), now=hour(9))


@pytest.mark.parametrize("name", ["projects", "environments", "layers"])
def test_the_closed_versions_of_a_moment_are_found_by_index(engine: Engine, name: str) -> None:
    tables = RECORDS[name]
    index = f"ix_{tables.history.name}_valid_to_valid_from"
    then = rows(name, hour(1))
    assert index in plan(engine, select(then.c[tables.id], then.c.name))


@pytest.mark.parametrize("name", CHILDREN)
def test_so_are_the_parts_of_closed_versions(engine: Engine, name: str) -> None:
    assert "ix_layer_history_valid_to_valid_from" in plan(engine, select(rows(name, hour(1))))


@pytest.mark.parametrize("name", ["environments", "layers"])
def test_a_condition_on_the_project_reaches_the_indexes(engine: Engine, name: str) -> None:
    then = rows(name, hour(1))
    told = plan(engine, select(then.c.key).where(then.c.project_id == 7))
    assert told.count(f"ix_{name}_project_id") == 2
