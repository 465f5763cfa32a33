"""People are told once of each cause and once of its end, whatever the channel does."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine

from etl.cli.schedule import sync_and_notify
from etl.sandbox import Fault, Sandbox
from tests.conftest import Databases
from tests.support.database import count
from tests.support.internals.database import claim, everything
from tests.support.internals.running import (
    NoticeSettings,
    Running,
    RunOptions,
    Settings,
    plan,
    tell,
)
from tests.support.internals.values import RunReport, Selection
from tests.support.receiver import Receiver, receiving
from tests.support.runs import hour, settings_for, small, sync

HELD = "etl: ly: deletions are held back"


@pytest.fixture
def sqlite(databases: Databases) -> Iterator[Engine]:
    with databases("sqlite") as engine:
        yield engine


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


def told(sandbox: Sandbox, *urls: str, **more: Any) -> Settings:
    """Settings whose notices go there."""
    notices = NoticeSettings(urls={f"env URL_{url[-6:]}": SecretStr(url) for url in urls})
    return replace(settings_for(sandbox, **more), notices=notices)


def synced(engine: Engine, settings: Settings, name: str, at: datetime) -> list[str]:
    """A run and what people are told after it; -> what could not be sent."""
    report = sync(engine, settings, name, at)
    return tell(engine, settings, [report], clock=lambda: at)


def failing() -> Fault:
    return Fault("layers /v1/projects[?]*", "status", times=None, arg=400)


def test_a_failure_is_told_once_and_its_end_once(engine: Engine, receiver: Receiver) -> None:
    with Sandbox(small()) as sandbox:
        settings = told(sandbox, receiver.url)
        sandbox.add_fault(failing())
        for number in range(3):
            assert synced(engine, settings, "ly", hour(number)) == []
        (came,) = receiver.came
        assert came["type"] == "warning"
        assert "(since 2026-11-01 00:00:00 UTC)" in came["message"]
        assert receiver.titles() == ["etl: ly: the sync failed"]
        sandbox.clear_faults()
        for number in range(3, 5):
            synced(engine, settings, "ly", hour(number))
        assert receiver.titles() == ["etl: ly: recovered, it is over: the sync failed"]
        assert count(engine, "notices") == 0
        sandbox.add_fault(failing())
        synced(engine, settings, "ly", hour(5))
        assert receiver.titles() == ["etl: ly: the sync failed"]


def test_held_back_deletions_are_told_with_the_way_out(engine: Engine, receiver: Receiver) -> None:
    with Sandbox(small()) as sandbox:
        settings = told(sandbox, receiver.url)
        synced(engine, settings, "ly", hour(0))
        sandbox.add_fault(Fault("layers /v1/projects[?]*", "empty_list", times=None))
        synced(engine, settings, "ly", hour(1))
        synced(engine, settings, "ly", hour(2))
        assert [one["title"] for one in receiver.came] == [HELD]
        assert "`etl apply FILE`" in receiver.came[0]["message"]


def test_a_channel_that_is_down_gets_it_with_the_next_run(
    engine: Engine, receiver: Receiver
) -> None:
    with Sandbox(small()) as sandbox:
        settings = told(sandbox, receiver.url)
        sandbox.add_fault(failing())
        receiver.refuses = True
        (trouble,) = synced(engine, settings, "ly", hour(0))
        assert "was not sent to env URL_" in trouble
        assert receiver.url not in trouble
        receiver.refuses = False
        assert synced(engine, settings, "st", hour(1)) == []
        assert receiver.titles() == ["etl: ly: the sync failed"]


def test_of_two_channels_only_the_one_that_was_down_gets_it_again(
    sqlite: Engine, receiver: Receiver
) -> None:
    with Sandbox(small()) as sandbox, receiving() as other:
        settings = told(sandbox, receiver.url, other.url)
        sandbox.add_fault(failing())
        other.refuses = True
        synced(sqlite, settings, "ly", hour(0))
        other.refuses = False
        synced(sqlite, settings, "ly", hour(1))
        assert (len(receiver.titles()), len(other.titles())) == (1, 1)


def test_what_ended_before_it_could_be_told_is_not_told(sqlite: Engine, receiver: Receiver) -> None:
    with Sandbox(small()) as sandbox:
        settings = told(sandbox, receiver.url)
        sandbox.add_fault(failing())
        receiver.refuses = True
        synced(sqlite, settings, "ly", hour(0))
        sandbox.clear_faults()
        receiver.refuses = False
        synced(sqlite, settings, "ly", hour(1))
    assert (receiver.titles(), count(sqlite, "notices")) == ([], 0)


def test_rotated_keys_and_drift_are_told_once_with_what_it_is(
    engine: Engine, receiver: Receiver
) -> None:
    with Sandbox(small()) as sandbox:
        settings = told(sandbox, receiver.url)
        synced(engine, settings, "ld", hour(0))
        receiver.titles()
        one, other = sandbox.world.live("launchdarkly", "environments", "my-project")[:2]
        key, another = one.payload["key"], other.payload["apiKey"]
        sandbox.world.update("launchdarkly", "environments", key, "my-project", apiKey=another)
        sandbox.add_fault(
            Fault("launchdarkly /api/v2/projects[?]*", "patch", times=None, arg=(("newThing",), 1))
        )
        for number in (1, 2):
            synced(engine, settings, "ld", hour(number))
        messages = {one["title"]: one["message"] for one in receiver.came}
        assert len(receiver.titles()) == 2
    assert f"my-project/{key}: apiKey" in messages["etl: ld: SDK or mobile keys were rotated"]
    assert "newThing" in messages["etl: ld: the shape of the records changed"]
    assert count(engine, "notices") == 0


def test_stale_data_is_told_although_its_runs_only_park(engine: Engine, receiver: Receiver) -> None:
    with Sandbox(small()) as sandbox:
        settings = told(sandbox, receiver.url)
        synced(engine, settings, "ly", hour(0))
        sandbox.add_fault(Fault("layers", "status", times=None, arg=503))
        for number in (10, 25, 40):
            synced(engine, settings, "ly", hour(number))
        assert receiver.titles() == ["etl: ly: the data is stale"]
        sandbox.clear_faults()
        synced(engine, settings, "ly", hour(41))
    assert receiver.titles() == ["etl: ly: recovered, it is over: the data is stale"]


def test_a_source_that_never_came_whole_is_stale_too(sqlite: Engine, receiver: Receiver) -> None:
    with Sandbox(small()) as sandbox:
        settings = told(sandbox, receiver.url)
        sandbox.add_fault(Fault("layers", "status", times=None, arg=503))
        for number in (0, 20, 30):
            synced(sqlite, settings, "ly", hour(number))
    assert receiver.titles() == ["etl: ly: the data is stale"]


def test_the_daemon_tells_too(engine: Engine, receiver: Receiver) -> None:
    with Sandbox(small()) as sandbox:
        sandbox.add_fault(failing())
        report = sync_and_notify(engine, Running())(told(sandbox, receiver.url), "ly")
    assert report.status == "failed"
    assert receiver.titles() == ["etl: ly: the sync failed"]


WHOLE = Selection()
SEARCH = Selection(projects=("search",))


def ran(
    engine: Engine, settings: Settings, at: datetime, selection: Selection | None = None
) -> RunReport:
    """A sync of LaunchDarkly, or a backfill, told of."""
    report = sync(engine, settings, "ld", at, backfill=selection)
    assert tell(engine, settings, [report], clock=lambda: at) == []
    return report


def test_a_part_that_works_shows_nothing_of_the_rest_and_the_whole_does(
    engine: Engine, receiver: Receiver
) -> None:
    with Sandbox(small()) as sandbox:
        settings = told(sandbox, receiver.url)
        sandbox.add_fault(Fault("launchdarkly /api/v2/projects[?]*", "status", times=None, arg=400))
        assert ran(engine, settings, hour(0)).status == "failed"
        assert receiver.titles() == ["etl: ld: the sync failed"]
        assert ran(engine, settings, hour(1), SEARCH).status == "ok"
        assert ran(engine, settings, hour(2), WHOLE).status == "failed"
        assert receiver.titles() == ["etl: ld: a backfill failed"]
        assert ran(engine, settings, hour(3), SEARCH).status == "ok"
        assert receiver.titles() == ["etl: ld: recovered, it is over: a backfill failed"]
        sandbox.clear_faults()
        assert ran(engine, settings, hour(4), WHOLE).status == "ok"
        assert receiver.titles() == ["etl: ld: recovered, it is over: the sync failed"]


def test_a_whole_sync_makes_up_for_a_backfill_that_failed(
    sqlite: Engine, receiver: Receiver
) -> None:
    with Sandbox(small()) as sandbox:
        settings = told(sandbox, receiver.url)
        sandbox.add_fault(Fault("launchdarkly", "status", times=None, arg=400))
        ran(sqlite, settings, hour(0), SEARCH)
        sandbox.clear_faults()
        ran(sqlite, settings, hour(1))
    assert receiver.titles() == [
        "etl: ld: a backfill failed",
        "etl: ld: recovered, it is over: a backfill failed",
    ]


def test_a_backfill_tells_rotated_keys_and_drift_and_no_sync_tells_them_again(
    engine: Engine, receiver: Receiver
) -> None:
    with Sandbox(small()) as sandbox:
        settings = told(sandbox, receiver.url)
        ran(engine, settings, hour(0))
        one, other = sandbox.world.live("launchdarkly", "environments", "search")[:2]
        key, another = one.payload["key"], other.payload["apiKey"]
        sandbox.world.update("launchdarkly", "environments", key, "search", apiKey=another)
        sandbox.world.update("launchdarkly", "projects", "search", newThing=1)
        ran(engine, settings, hour(1), SEARCH)
        assert sorted(receiver.titles()) == [
            "etl: ld: SDK or mobile keys were rotated",
            "etl: ld: the shape of the records changed",
        ]
        ran(engine, settings, hour(2))
    assert receiver.titles() == []


def test_drift_that_a_sync_found_while_a_backfill_waited_is_told_by_the_sync_only(
    engine: Engine, receiver: Receiver
) -> None:
    with Sandbox(small()) as sandbox:
        settings = told(sandbox, receiver.url, st={"layers": {"page_size": 5}})
        synced(engine, settings, "st", hour(0))
        sandbox.add_fault(Fault("statsig /console/v1/layers?*", "status", after=2, arg=503))
        parked = sync(engine, settings, "st", hour(1), backfill=WHOLE)
        first, *_, last = (one.payload["id"] for one in sandbox.world.live("statsig", "layers"))
        sandbox.world.update("statsig", "layers", first, newThing=1)
        sandbox.world.update("statsig", "layers", last, newThing=1)
        synced(engine, settings, "st", hour(2))
        assert receiver.titles() == ["etl: st: the shape of the records changed"]
        for name in (first, last):  # whichever page it is on
            sandbox.world.update("statsig", "layers", name, description="other")
        report = sync(engine, settings, "st", hour(3), backfill=WHOLE)
        assert tell(engine, settings, [report], clock=lambda: hour(3)) == []
    assert (parked.status, report.run_id, report.attempts) == ("parked", parked.run_id, 2)
    assert report.changed > 0
    assert receiver.titles() == []


def test_deletions_that_a_backfill_holds_back_are_told_until_a_sync_can_make_them(
    sqlite: Engine, receiver: Receiver
) -> None:
    with Sandbox(small()) as sandbox:
        settings = told(sandbox, receiver.url)
        synced(sqlite, settings, "ly", hour(0))
        fault = Fault("layers /v1/projects[?]*", "empty_list", times=None)
        sandbox.add_fault(fault)
        for number in (1, 2):
            report = sync(sqlite, settings, "ly", hour(number), backfill=WHOLE)
            tell(sqlite, settings, [report], clock=lambda: hour(number))  # noqa: B023
        assert receiver.titles() == [HELD]
        sandbox.clear_faults()
        synced(sqlite, settings, "ly", hour(3))
    assert receiver.titles() == ["etl: ly: recovered, it is over: deletions are held back"]


def test_a_plan_tells_nobody(sqlite: Engine, receiver: Receiver) -> None:
    with Sandbox(small()) as sandbox:
        settings = told(sandbox, receiver.url)
        sync(sqlite, settings, "ly", hour(0))
        report, _ = plan(sqlite, settings, "ly", RunOptions(), clock=lambda: hour(1))
        assert tell(sqlite, settings, [report], clock=lambda: hour(1)) == []
    assert receiver.titles() == []


def test_without_urls_what_lasts_is_noted_and_told_once_there_is_one(
    sqlite: Engine, receiver: Receiver
) -> None:
    with Sandbox(small()) as sandbox:
        sandbox.add_fault(failing())
        assert synced(sqlite, told(sandbox), "ly", hour(0)) == []
        with sqlite.connect() as connection:
            assert [one.cause.kind for one in everything(connection)] == ["failure"]
        synced(sqlite, told(sandbox, receiver.url), "ly", hour(1))
        assert receiver.titles() == ["etl: ly: the sync failed"]
        sandbox.clear_faults()
        synced(sqlite, told(sandbox, receiver.url), "ly", hour(2))
        sandbox.add_fault(failing())
        synced(sqlite, told(sandbox), "ly", hour(3))
        sandbox.clear_faults()
        synced(sqlite, told(sandbox), "ly", hour(4))
        assert count(sqlite, "notices") == 0


def test_what_another_process_is_telling_is_left_to_it(engine: Engine, receiver: Receiver) -> None:
    with Sandbox(small()) as sandbox:
        settings = told(sandbox, receiver.url)
        sandbox.add_fault(failing())
        receiver.refuses = True
        synced(engine, settings, "ly", hour(0))
        receiver.refuses = False
        with engine.begin() as connection:
            (notice,) = everything(connection)
            assert claim(connection, notice, hour(1))
            assert not claim(connection, notice, hour(1))
        synced(engine, settings, "ly", hour(1))
        assert receiver.titles() == []
        synced(engine, settings, "ly", hour(1) + timedelta(minutes=11))
        assert receiver.titles() == ["etl: ly: the sync failed"]


def test_an_url_that_apprise_does_not_know_changes_no_result(sqlite: Engine) -> None:
    with Sandbox(small()) as sandbox:
        settings = told(sandbox, "soup://secret-place:1")
        report: RunReport = sync(sqlite, settings, "ly", hour(0))
        (trouble,) = tell(sqlite, settings, [report], clock=lambda: hour(0))
    assert report.exit_code == 0
    assert "holds no URL that apprise knows" in trouble
    assert "secret-place" not in trouble
