"""Rows 58 and 59: data that was read long before its commit, and clocks that jump.

Freshness is the time of the oldest read that a complete snapshot rests on; never in the future.
"""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, text

from etl.sandbox import Fault, Sandbox, World
from tests.support.database import contents, counts, rows
from tests.support.history import violations
from tests.support.internals.database import queries, reading, relation
from tests.support.internals.running import (
    NoticeSettings,
    app,
    apply,
    load_archive,
    plan,
    plan_load,
    tell,
)
from tests.support.internals.values import RunReport, Selection
from tests.support.planning import file_of
from tests.support.runs import asked, hour, of, settings_for, small, sync, sync_all

ONE_BY_ONE: dict[str, Any] = {
    "ld": {"limits": {"concurrency": 1}},
    "st": {"layers": {"page_size": 5}},
    "ly": {"projects": {"page_size": 3}},
}
STATSIG, LAYERS, LD_LAYERS = (
    "statsig /console/v1/layers?*",
    "layers /v1/projects?*",
    "launchdarkly */layers",
)
PARKS = {"ld": LD_LAYERS, "st": STATSIG, "ly": LAYERS}


def fresh(engine: Engine, source: str, now: datetime) -> dict[str, datetime | None]:
    """Stream -> how fresh it is."""
    with reading(engine) as connection:
        found = queries.freshness(connection, [source], now=now)
    return {row.stream: row.last_complete_at for row in found}


def future(engine: Engine, source: str, now: datetime) -> set[datetime | None]:
    with reading(engine) as connection:
        return {row.future_at for row in queries.freshness(connection, [source], now=now)}


def park(engine: Engine, sandbox: Sandbox, settings: Any, source: str, at: datetime) -> RunReport:
    """A run that reads two lists or pages, and then the key is refused for a while."""
    sandbox.add_fault(Fault(PARKS[source], "status", after=2, times=1, arg=401))
    report = sync(engine, settings, source, at)
    assert report.status == "denied", report
    sandbox.clear_faults()
    return report


@pytest.mark.row(58)
@pytest.mark.parametrize("source", ["ld", "st", "ly"])
def test_a_run_that_is_resumed_hours_later_reads_its_old_lists_again(
    engine: Engine, source: str
) -> None:
    with Sandbox(small(big_project=True)) as sandbox:
        settings = settings_for(sandbox, **ONE_BY_ONE)
        sync(engine, settings, source, hour(0))
        denied = park(engine, sandbox, settings, source, hour(1))
        sandbox.world.evolve(changed=0.4, deleted=2, created=2, renamed=1)
        report = sync(engine, settings, source, hour(6))
        assert (report.status, report.run_id) == ("ok", denied.run_id)
        assert counts(engine)[report.provider] == sandbox.counts()[report.provider]
        assert set(fresh(engine, source, hour(6)).values()) == {hour(6)}
        before = contents(engine)
        assert sync(engine, settings, source, hour(7)).changed == 0
        assert contents(engine) == before
    assert violations(engine) == []


@pytest.mark.row(58)
@pytest.mark.parametrize("source", ["ld", "st", "ly"])
def test_a_run_that_is_resumed_at_once_is_as_fresh_as_its_first_list(
    engine: Engine, source: str
) -> None:
    began, later = hour(1), hour(1) + timedelta(minutes=9)
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox, **ONE_BY_ONE)
        sync(engine, settings, source, hour(0))
        park(engine, sandbox, settings, source, began)
        sandbox.reset_requests()
        assert sync(engine, settings, source, later).exit_code == 0
    assert fresh(engine, source, later)["layers" if source != "ly" else "projects"] == began


@pytest.mark.row(58)
def test_a_first_load_keeps_its_lists_and_is_as_fresh_as_the_oldest(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox, **ONE_BY_ONE)
        park(engine, sandbox, settings, "st", hour(0))
        sandbox.reset_requests()
        report = sync(engine, settings, "st", hour(5))
        assert (report.status, len(asked(sandbox, "page="))) == ("ok", 3)
    assert fresh(engine, "st", hour(5))["layers"] == hour(0)
    view = {row["stream"]: row["last_complete_at"] for row in rows(engine, "source_freshness")}
    assert str(view["layers"])[:13] == str(hour(0))[:13]


@pytest.mark.row(58)
def test_a_backfill_keeps_its_lists_and_is_as_fresh_as_the_oldest(engine: Engine) -> None:
    from tests.support.internals.values import WHOLE

    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox, **ONE_BY_ONE)
        sync(engine, settings, "st", hour(0))
        sandbox.add_fault(Fault(STATSIG, "status", after=2, times=1, arg=503))
        assert sync(engine, settings, "st", hour(1), backfill=WHOLE).status == "parked"
        sandbox.clear_faults()
        sandbox.reset_requests()
        report = sync(engine, settings, "st", hour(9), backfill=WHOLE)
        assert (report.status, len(asked(sandbox, "page="))) == ("ok", 3)
    assert fresh(engine, "st", hour(9))["layers"] == hour(1)


@pytest.mark.row(58)
def test_a_run_that_others_overtook_reads_its_lists_again(engine: Engine) -> None:
    """Also where they are young: what the other run wrote may be gone again."""
    later = hour(1) + timedelta(minutes=2)
    with Sandbox(small()) as sandbox:
        settings, world = settings_for(sandbox, **ONE_BY_ONE), sandbox.world
        sync(engine, settings, "ld", hour(0))
        park(engine, sandbox, settings, "ld", hour(1))
        first, second = (row.payload["key"] for row in world.live("launchdarkly", "projects")[:2])
        world.create("launchdarkly", "layers", first, key="short-lived")
        part = Selection(projects=(first,))
        assert sync(engine, settings, "ld", hour(1), backfill=part).exit_code == 0
        world.delete("launchdarkly", "layers", "short-lived", first)
        world.delete("launchdarkly", "projects", second)
        report = sync(engine, settings, "ld", later)
        assert (report.status, report.attempts) == ("ok", 2)
        assert counts(engine)["launchdarkly"] == sandbox.counts()["launchdarkly"]
        assert set(fresh(engine, "ld", later).values()) == {later}
    assert violations(engine) == []


@pytest.mark.row(58)
def test_a_backfill_that_others_overtook_tells_what_it_cannot_know(engine: Engine) -> None:
    """It keeps its lists, and what is missing in them may be back since."""
    with Sandbox(small()) as sandbox:
        settings, world = settings_for(sandbox, **ONE_BY_ONE), sandbox.world
        sync(engine, settings, "ld", hour(0))
        first, second = (row.payload["key"] for row in world.live("launchdarkly", "projects")[:2])
        gone = world.live("launchdarkly", "layers", first)[0].payload["key"]
        world.delete("launchdarkly", "layers", gone, first)
        sandbox.add_fault(Fault(LD_LAYERS, "status", after=2, times=1, arg=401))
        assert sync(engine, settings, "ld", hour(1), backfill=Selection()).status == "denied"
        part = Selection(projects=(second,))
        assert sync(engine, settings, "ld", hour(2), backfill=part).exit_code == 0
        layers = of(sync(engine, settings, "ld", hour(2), backfill=Selection()), "layers")
        assert (layers.complete, layers.deleted) == (False, 0)
        assert "another run wrote" in (layers.incomplete_reason or "")
        assert fresh(engine, "ld", hour(2))["layers"] == hour(0)
        assert of(sync(engine, settings, "ld", hour(3)), "layers").deleted == 1


@pytest.mark.row(58)
@pytest.mark.parametrize(("stream", "below"), [("projects", 2), ("layers", 0)])
def test_what_is_withheld_is_not_fresh(engine: Engine, stream: str, below: int) -> None:
    """Records that are known to be gone are live: nor are those below them what they were."""
    with Sandbox(small()) as sandbox:
        few = {"delete_percent": 10, "delete_count": 1}
        settings, world = settings_for(sandbox, ld={"limits": few}), sandbox.world
        sync(engine, settings, "ld", hour(0))
        for project in world.live("launchdarkly", "projects")[1:]:
            key = project.payload["key"]
            if stream == "projects":
                world.delete("launchdarkly", "projects", key)
            for row in world.live("launchdarkly", "layers", key) if stream == "layers" else ():
                world.delete("launchdarkly", "layers", row.payload["key"], key)
        report = sync(engine, settings, "ld", hour(1))
        assert (report.status, report.exit_code) == ("held", 3)
        statuses = [one.status for one in report.streams]
        assert statuses.count("held") == 1 + below
        assert of(report, stream).status == "held"
        times = fresh(engine, "ld", hour(1))
        assert times == {
            one.stream: hour(0) if one.status == "held" else hour(1) for one in report.streams
        }
        deleting = sync(engine, settings, "ld", hour(2), force_deletes=True)
        assert (deleting.status, set(fresh(engine, "ld", hour(2)).values())) == ("ok", {hour(2)})
        assert counts(engine)["launchdarkly"] == sandbox.counts()["launchdarkly"]


@pytest.mark.row(58)
def test_a_run_that_is_stopped_again_and_again_comes_to_its_end(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox, **ONE_BY_ONE)
        sync(engine, settings, "st", hour(0))
        for number in range(6):  # each process reads one page more than the one before kept
            sandbox.add_fault(Fault(STATSIG, "status", after=1, times=1, arg=503))
            at = hour(1) + timedelta(minutes=20 * number)
            if sync(engine, settings, "st", at).status != "parked":
                break
            sandbox.clear_faults()
        sandbox.clear_faults()
        report = sync(engine, settings, "st", hour(4))
    assert report.status == "ok"
    assert fresh(engine, "st", hour(4))["layers"] != hour(4)


@pytest.mark.row(58)
def test_a_plan_that_is_applied_later_is_as_fresh_as_its_reads(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox, **ONE_BY_ONE)
        sync(engine, settings, "ly", hour(0))
        sandbox.world.evolve(changed=0.5)
        now = [hour(1)]

        def hours(_world: World) -> None:
            now[0] += timedelta(hours=2)

        sandbox.add_fault(Fault(LAYERS, "mutate", after=1, times=1, arg=hours))
        _, made = plan(engine, settings, "ly", app.RunOptions(), clock=lambda: now[0])
        assert made is not None
        assert json.loads(file_of([made]))["sources"]
        assert made.observed_at == hour(3)
        (report,) = apply(engine, settings, [made], clock=lambda: hour(6))
        assert report.changed
    assert fresh(engine, "ly", hour(6)) == {"projects": hour(1)}


@pytest.mark.row(58)
def test_a_run_whose_pages_take_hours_is_as_fresh_as_the_first_one(engine: Engine) -> None:
    """As at a rate limit: the clock goes on between two pages of one list."""
    now = [hour(1)]

    def hours(_world: World) -> None:
        now[0] += timedelta(hours=2)

    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox, **ONE_BY_ONE)
        sync_all(engine, settings, hour(0))
        for source, match in PARKS.items():
            now[0] = hour(1)
            sandbox.add_fault(Fault(match, "mutate", after=1, times=1, arg=hours))
            report = app.sync(engine, settings, source, app.RunOptions(), clock=lambda: now[0])
            assert (report.status, now[0]) == ("ok", hour(3))
            assert set(fresh(engine, source, hour(3)).values()) == {hour(1)}
            assert report.oldest_read_at == hour(1)


@pytest.mark.row(58)
def test_a_dump_is_as_fresh_as_its_oldest_answer(
    engine: Engine, undisturbed: Engine, tmp_path: Path
) -> None:
    now = [hour(1)]

    def hours(_world: World) -> None:
        now[0] += timedelta(hours=1)

    archive: dict[str, Any] = {
        name: {"archive": {"dir": str(tmp_path)}} for name in ("ld", "st", "ly")
    }
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox, **archive)
        sandbox.add_fault(Fault(LD_LAYERS, "mutate", after=1, times=1, arg=hours))
        app.sync(undisturbed, settings, "ld", app.RunOptions(), clock=lambda: now[0])
        load = plan_load(engine, settings, "ld", tmp_path)
        ((_, report),) = load_archive(
            engine, settings, load, app.RunOptions(), clock=lambda: hour(9)
        )
    assert report.exit_code == 0
    assert fresh(engine, "ld", hour(9)) == fresh(undisturbed, "ld", hour(9))
    assert set(fresh(engine, "ld", hour(9)).values()) == {hour(1)}


YEAR = timedelta(days=365)


@pytest.mark.row(59)
def test_a_run_under_a_clock_that_is_ahead_makes_nothing_fresh(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox, **ONE_BY_ONE)
        sync_all(engine, settings, hour(0))
        sync_all(engine, settings, hour(1) + YEAR)
        for source in settings.sources:
            assert set(fresh(engine, source, hour(2)).values()) == {hour(0)}
            assert future(engine, source, hour(2)) == {hour(1) + YEAR}
        view = rows(engine, "source_freshness")
        assert {str(row["last_complete_at"])[:13] for row in view} == {str(hour(0))[:13]}
        sync_all(engine, settings, hour(3))
        for source in settings.sources:  # also when the time has come
            for now in (hour(3), hour(2) + YEAR):
                assert set(fresh(engine, source, now).values()) == {hour(3)}
                assert future(engine, source, now) == {None}
    assert violations(engine) == []


@pytest.mark.row(59)
def test_after_a_failed_run_too_what_a_clock_that_was_ahead_has_read_says_nothing(
    engine: Engine,
) -> None:
    """It happened before the failed run, but what changed in between was never read."""
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox, **ONE_BY_ONE)
        sync(engine, settings, "ly", hour(1) + YEAR)
        sandbox.add_fault(Fault("layers", "status", arg=401))
        assert sync(engine, settings, "ly", hour(2)).status == "denied"
    assert fresh(engine, "ly", hour(3) + YEAR) == {"projects": None}


@pytest.mark.row(59)
def test_a_stopped_run_of_a_clock_that_was_ahead_is_read_again(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox, **ONE_BY_ONE)
        sync(engine, settings, "st", hour(0))
        denied = park(engine, sandbox, settings, "st", hour(1) + YEAR)
        sandbox.world.evolve(changed=0.4, deleted=2, created=2)
        report = sync(engine, settings, "st", hour(2))
        assert (report.status, report.run_id) == ("ok", denied.run_id)
        assert counts(engine)["statsig"] == sandbox.counts()["statsig"]
    assert set(fresh(engine, "st", hour(2)).values()) == {hour(2)}
    assert future(engine, "st", hour(2)) == {None}


@pytest.mark.row(59)
@pytest.mark.parametrize("jump", [timedelta(hours=-30), YEAR])
def test_a_clock_that_jumps_in_a_run_leaves_history_sound_and_freshness_honest(
    engine: Engine, jump: timedelta
) -> None:
    now = [hour(50)]

    def jumps(_world: World) -> None:
        now[0] += jump

    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox, **ONE_BY_ONE)
        sync_all(engine, settings, hour(0))
        sandbox.world.evolve(changed=0.3)
        for source, match in PARKS.items():
            now[0] = hour(50)
            sandbox.add_fault(Fault(match, "mutate", after=1, times=1, arg=jumps))
            report = app.sync(engine, settings, source, app.RunOptions(), clock=lambda: now[0])
            assert report.status == "ok"
            oldest = min(hour(50), hour(50) + jump)
            for moment in fresh(engine, source, now[0]).values():
                assert moment is not None
                assert oldest - timedelta(minutes=1) < moment <= oldest
        sandbox.world.evolve(changed=0.3)
        sync_all(engine, settings, hour(51))
        assert counts(engine) == sandbox.counts()
    assert violations(engine) == []


@pytest.mark.row(59)
def test_a_lease_of_a_clock_that_was_ahead_does_not_hold_for_a_year(engine: Engine) -> None:
    """Of a process on another host, of which nothing else is known."""
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        sync(engine, settings, "ly", hour(0))
        with engine.begin() as connection:
            connection.execute(
                text(
                    "INSERT INTO leases (source, token, host, pid, process_started, expires_at) "
                    "VALUES ('ly', 'another', 'elsewhere', 1, '1', :at)"
                ),
                {
                    "at": (hour(1) + YEAR).replace(tzinfo=None)
                    if _sqlite(engine)
                    else hour(1) + YEAR
                },
            )
        assert sync(engine, settings, "ly", hour(1)).status == "busy"
        assert sync(engine, settings, "ly", hour(1) + timedelta(minutes=16)).status == "ok"


def _sqlite(engine: Engine) -> bool:
    return engine.dialect.name == "sqlite"


@pytest.mark.row(59)
def test_a_refusal_of_a_clock_that_was_ahead_does_not_block_for_a_year(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        sync(engine, settings, "ly")
        ahead = datetime.now(UTC) + YEAR
        with engine.begin() as connection:
            connection.execute(
                text("UPDATE rate_budgets SET blocked_until = :until, updated_at = :at"),
                {
                    "at": ahead.replace(tzinfo=None) if _sqlite(engine) else ahead,
                    "until": (ahead + timedelta(seconds=1)).replace(tzinfo=None)
                    if _sqlite(engine)
                    else ahead + timedelta(seconds=1),
                },
            )
        assert sync(engine, settings, "ly").exit_code == 0


@pytest.mark.row(59)
def test_the_notice_of_stale_data_comes_also_where_a_time_is_in_the_future(
    engine: Engine, tmp_path: Path
) -> None:
    now = hour(2)
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        sync_all(engine, settings, hour(1) + YEAR)
        notices = NoticeSettings(urls={"env URL": SecretStr("json://127.0.0.1:1/")})
        tell(engine, replace(settings, notices=notices), [], clock=lambda: now)
    assert {row["kind"] for row in rows(engine, "notices")} == {"stale"}


@pytest.mark.row(59)
def test_the_view_tells_what_the_status_tells(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox, **ONE_BY_ONE)
        for at in (hour(0), hour(4), hour(2), hour(1) + YEAR):
            sync_all(engine, settings, at)
        park(engine, sandbox, settings, "st", hour(5))
    with reading(engine) as connection:
        view = relation(connection, "source_freshness").rows
        told = {
            (row.source, row.stream): (row.last_complete_at, row.last_run_id)
            for row in connection.execute(view.select())
        }
        status = {
            (row.source, row.stream): (row.last_complete_at, row.last_run_id)
            for row in queries.freshness(connection, now=app.utc_now())
        }
    assert told == status
