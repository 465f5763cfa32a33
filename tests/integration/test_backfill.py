"""Backfills: a part of a source is looked at and nothing else, and syncs in between do no harm."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, select

from etl.errors import ConfigError
from etl.sandbox import Fault, Sandbox
from tests.conftest import Databases
from tests.support.database import contents, count, differing, rows
from tests.support.history import violations
from tests.support.internals.database import queries, reading, relations
from tests.support.internals.running import Outlook, Settings, app, outlook, to_the_end, wish_of
from tests.support.internals.values import RunReport, Selection
from tests.support.lists import gone
from tests.support.runs import asked, of, settings_for, small, sync, sync_all

KEY, BIG = "my-project", "big-estate"
PAGED: dict[str, Any] = {
    "st": {"layers": {"page_size": 5}, "limits": {"rate_limits": []}},
    "ly": {"projects": {"page_size": 3}, "limits": {"rate_limits": []}},
    "ld": {"limits": {"concurrency": 1}},
}
LISTS = {
    "st": "statsig /console/v1/layers?*",
    "ly": "layers /v1/projects?*",
    "ld": "launchdarkly */layers",
}


def wish(streams: tuple[str, ...] = (), *, full: bool = False, **part: Any) -> app.RunOptions:
    """A backfill of a part of a source."""
    return app.RunOptions(streams=streams, full=full, backfill=Selection(**part))


def backfill(
    engine: Engine, settings: Settings, name: str, *streams: str, **part: Any
) -> RunReport:
    """One stretch of one."""
    return app.sync(engine, settings, name, wish(streams, **part))


def of_project(engine: Engine, table: str, key: str = KEY) -> int:
    """How many live rows a project has."""
    return count(engine, table, f"project_key = '{key}' AND NOT is_deleted")


def test_a_backfill_of_everything_ends_as_a_sync(engine: Engine, databases: Databases) -> None:
    kind = "sqlite" if engine.dialect.name == "sqlite" else "postgres"
    with Sandbox(small(big_project=True)) as sandbox, databases(kind) as other:
        settings = settings_for(sandbox)
        for evolved in (False, True):
            if evolved:
                sandbox.world.evolve(changed=0.3, deleted=1, created=2)
            sync_all(other, settings)
            reports = [backfill(engine, settings, name) for name in settings.sources]
            assert [(one.kind, one.status) for one in reports] == [("backfill", "ok")] * 3
        assert differing(engine, other) == set()


def test_a_single_project_is_fetched_with_its_parts_and_nothing_else(engine: Engine) -> None:
    with Sandbox(small(big_project=True)) as sandbox:
        report = backfill(engine, settings_for(sandbox), "ld", projects=("search", BIG))
        paths = sorted({seen.path for seen in sandbox.requests})
        world = sandbox.world
    assert report.status == "ok"
    assert paths == [
        "/api/v2/caller-identity",
        f"/api/v2/projects/{BIG}",
        f"/api/v2/projects/{BIG}/environments",  # 28, of which 20 come inside the project
        f"/api/v2/projects/{BIG}/layers",
        "/api/v2/projects/search",
        "/api/v2/projects/search/layers",
    ]
    assert sorted(row["key"] for row in rows(engine, "projects")) == [BIG, "search"]
    for key in (BIG, "search"):
        for table in ("environments", "layers"):
            assert of_project(engine, table, key) == len(world.live("launchdarkly", table, key))
    assert violations(engine) == []


def test_what_left_a_selected_project_is_deleted_and_nothing_outside_of_it(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        settings, world = settings_for(sandbox), sandbox.world
        sync(engine, settings, "ld")
        before = contents(engine)
        for key in (KEY, "search"):
            layer = world.live("launchdarkly", "layers", key)[0].payload["key"]
            world.delete("launchdarkly", "layers", layer, key)
            world.update("launchdarkly", "projects", key, name="renamed")
        world.delete("launchdarkly", "projects", "search")
        report = backfill(engine, settings, "ld", projects=(KEY,))
        assert (report.status, report.changed) == ("ok", 2)
        assert before != contents(engine)
        assert [reason for _, reason in gone(engine, "layers")] == ["missing from a complete walk"]
        assert of_project(engine, "layers", "search") > 0
        assert rows(engine, "projects", "name = 'renamed'")[0]["key"] == KEY


def test_the_404_of_a_selected_project_deletes_it_with_its_parts(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        settings, world = settings_for(sandbox), sandbox.world
        sync(engine, settings, "ld")
        world.delete("launchdarkly", "projects", "search")
        world.delete("launchdarkly", "projects", KEY)
        report = backfill(engine, settings, "ld", projects=("search",))
    assert (report.status, of(report, "projects").deleted) == ("ok", 1)
    assert gone(engine, "projects") == [("search", "the provider answers 404 for it")]
    assert of_project(engine, "layers", "search") == of_project(engine, "environments", "search")
    assert of_project(engine, "layers") > 0
    assert violations(engine) == []


def test_a_project_that_nobody_knows_makes_the_run_partial(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        sync(engine, settings, "ld")
        before = contents(engine)
        report = backfill(engine, settings, "ld", projects=("no-such", KEY))
    assert (report.status, report.exit_code, contents(engine)) == ("partial", 5, before)
    assert "the provider has no no-such (404)" in str(of(report, "projects").incomplete_reason)


def test_a_mistyped_project_is_told_with_the_nearest(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        sync(engine, settings, "ld")
        report = backfill(engine, settings, "ld", projects=("my-projct",))
    assert "did you mean my-project?" in str(of(report, "projects").incomplete_reason)


def test_a_part_is_no_complete_snapshot(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        report = backfill(engine, settings, "ld", projects=(KEY,))
    reasons = {stream.incomplete_reason for stream in report.streams}
    assert reasons == {f"only records of {KEY} were asked for"}
    with reading(engine) as connection:
        assert {
            row.last_complete_at for row in queries.freshness(connection, now=app.utc_now())
        } == {None}


def fresh(engine: Engine) -> tuple[list[tuple[Any, ...]], ...]:
    """What `etl status` and the view say: stream, last complete snapshot, last start and run."""
    names = ("stream", "last_complete_at", "started_at", "last_run_id")
    with reading(engine) as connection:
        status = [
            tuple(row._mapping[n] for n in names)
            for row in queries.freshness(connection, now=app.utc_now())
        ]
        view = relations.relation(connection, "source_freshness").rows
        shown = select(view.c.stream, view.c.last_complete_at, view.c.last_started_at,
                       view.c.last_run_id).order_by(view.c.source, view.c.stream)  # fmt: skip
        return status, [tuple(row) for row in connection.execute(shown)]


def test_the_view_of_freshness_and_status_agree_about_backfills_of_a_part(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        backfill(engine, settings, "ld", projects=(KEY,))
        status, view = fresh(engine)
        assert view == status
        assert {row[3] for row in view} == {1}  # nothing else ran
        whole = sync(engine, settings, "ld").run_id
        after_sync = fresh(engine)
        assert after_sync[1] == after_sync[0]
        assert {row[3] for row in after_sync[1]} == {whole}
        backfill(engine, settings, "ld", projects=(KEY,))
        assert fresh(engine) == after_sync  # it says nothing of the whole
        full = backfill(engine, settings, "ld").run_id
        status, view = fresh(engine)
    assert view == status
    assert {row[3] for row in view} == {full}


def test_only_what_was_created_in_the_window_is_touched(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        settings, world = settings_for(sandbox, **PAGED), sandbox.world
        sync(engine, settings, "st")
        born = sorted(row.payload["createdTime"] for row in world.live("statsig", "layers"))
        since, until = (datetime.fromtimestamp(born[n] / 1000, UTC) for n in (5, 15))
        for row in world.live("statsig", "layers")[::5]:
            world.update("statsig", "layers", row.payload["id"], description="changed")
        world.delete("statsig", "layers", world.live("statsig", "layers")[7].payload["id"])
        report = backfill(engine, settings, "st", created_since=since, created_until=until)
        found = rows(engine, "layers", "description = 'changed'")
    assert (report.status, of(report, "layers").updated, of(report, "layers").deleted) == (
        *("ok", 2),
        0,
    )
    assert all(since <= _utc(row["provider_created_at"]) < until for row in found)
    assert violations(engine) == []


def _utc(value: Any) -> datetime:
    moment = datetime.fromisoformat(str(value))
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


@pytest.mark.parametrize("name", ["st", "ly", "ld"])
def test_a_first_backfill_of_a_window_stores_the_window(engine: Engine, name: str) -> None:
    middle = datetime(2025, 6, 1, tzinfo=UTC)
    stream = "projects" if name == "ly" else "layers"
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox, **PAGED)
        report = backfill(engine, settings, name, created_until=middle)
        assert report.status == "ok"
        before = count(engine, stream)
        assert all(_utc(row["provider_created_at"]) < middle for row in rows(engine, stream))
        rest = backfill(engine, settings, name, created_since=middle)
        assert (rest.status, of(rest, stream).created > 0, before > 0) == ("ok", True, True)
        assert count(engine, stream) == sandbox.counts()[settings.sources[name].provider][stream]
    assert count(engine, "environments") == 0  # nobody knows when they were created
    assert violations(engine) == []


@pytest.mark.parametrize(
    ("name", "streams", "part", "told"),
    [
        ("st", (), {"projects": ("x",)}, "a console key of Statsig reads one project"),
        ("ly", (), {"projects": ("x",)}, "one request brings 200 projects"),
        ("ld", ("projects",), {"created_since": datetime(2025, 1, 1, tzinfo=UTC)}, "when projects"),
        ("ld", (), {"projects": ("",)}, "is empty"),
    ],
)
def test_what_a_provider_cannot_do_is_told_with_the_way_out(
    name: str, streams: tuple[str, ...], part: Any, told: str
) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
    with pytest.raises(ConfigError, match=told):
        app.job_of(settings.sources[name], settings, wish(streams, **part))


def test_a_backfill_waits_while_a_sync_is_at_work(engine: Engine) -> None:
    reports = iter(
        [
            _ended("parked", retry_at=datetime(2026, 11, 1, tzinfo=UTC)),
            _ended("busy"),
            _ended("busy"),
            _ended("ok"),
        ]
    )
    asked_for: list[bool] = []

    def run(wanted: app.RunOptions) -> RunReport:
        asked_for.append(wanted.full)
        return next(reports)

    report = to_the_end(run, wish(full=True), sleep=lambda _seconds: None)
    assert (report.status, asked_for) == ("ok", [True, False, False, False])


def _ended(status: str, retry_at: datetime | None = None) -> RunReport:
    now = datetime(2026, 11, 1, tzinfo=UTC)
    return RunReport(
        run_id=1,
        source="st",
        provider="statsig",
        kind="backfill",
        status=status,
        exit_code=0,
        started_at=now,
        finished_at=now,
        retry_at=retry_at,
    )


def test_a_backfill_is_gone_on_with_by_its_number(engine: Engine) -> None:
    since = datetime(2025, 1, 1, 12, 30, tzinfo=UTC)
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox, **PAGED)
        sandbox.add_fault(Fault(LISTS["st"], "status", after=2, times=1, arg=503))
        parked = backfill(engine, settings, "st", "layers", created_since=since)
        other = backfill(engine, settings, "st")
        assert (other.status, other.run_id == parked.run_id) == ("ok", False)
        kept = wish_of(engine, settings, "st", parked.run_id or 0)
        done = app.sync(engine, settings, "st", kept)
    assert kept == wish(("layers",), created_since=since)
    assert (done.run_id, done.status, done.attempts) == (parked.run_id, "ok", 2)


def test_a_backfill_that_cannot_be_gone_on_with_says_why(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox, **PAGED)
        sandbox.add_fault(Fault(LISTS["st"], "status", after=2, times=1, arg=503))
        parked = backfill(engine, settings, "st").run_id or 0
        synced = sync(engine, settings, "ly").run_id or 0
        other = settings_for(sandbox, st={"layers": {"page_size": 25}})
        for of_source, number, told in (
            (settings, synced, f"run {synced} is no backfill of st"),
            (settings, 99, "run 99 is no backfill of st"),
            (other, parked, f"the options of st changed since run {parked} began"),
        ):
            with pytest.raises(ConfigError, match=told):
                wish_of(engine, of_source, "st", number)
        assert backfill(engine, settings, "st").status == "ok"
    with pytest.raises(ConfigError, match=r"has ended \(ok\)"):
        wish_of(engine, settings, "st", parked)


def test_a_full_backfill_begins_anew(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox, **PAGED)
        sandbox.add_fault(Fault(LISTS["st"], "status", after=2, times=1, arg=503))
        backfill(engine, settings, "st")
        report = app.sync(engine, settings, "st", wish(full=True))
    assert (report.status, report.attempts) == ("ok", 1)
    assert sorted(row["status"] for row in rows(engine, "runs")) == ["ok", "parked"]


def test_the_forecast_counts_the_pages_that_are_left(engine: Engine) -> None:
    tables = PAGED | {"st": {"layers": {"page_size": 5}, "limits": {"rate_limits": ["4/15min"]}}}
    with Sandbox(small(big_project=True)) as sandbox:
        settings = settings_for(sandbox, **tables)
        ahead = {name: outlook(engine, settings, name, wish()) for name in settings.sources}
        some = outlook(engine, settings, "ld", wish(projects=(KEY, "search")))
        sandbox.add_fault(Fault(LISTS["st"], "status", after=2, times=1, arg=503))
        free = settings_for(sandbox, **PAGED)
        parked = backfill(engine, free, "st")
        left = outlook(engine, free, "st", wish())
        sandbox.reset_requests()
        outlook(engine, free, "st", wish())
        assert asked(sandbox) == []  # its own pages say the total
    assert {name: one.requests for name, one in ahead.items()} == {
        "ld": 1 + 5,  # the projects, and the layers of each
        "st": 2 + 5,
        "ly": None,
    }
    assert some.requests == 2 + 2
    assert ahead["st"].ends_at - app.utc_now() > timedelta(minutes=30)
    assert left == Outlook(run_id=parked.run_id, done=3, requests=4, ends_at=left.ends_at)
