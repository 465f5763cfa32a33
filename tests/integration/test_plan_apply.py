"""A plan tells exactly what its apply does; together they are a sync, and nothing more."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, update

from etl import __version__
from etl.errors import ConfigError, PlanOutOfDate, RunInProgress
from etl.sandbox import Fault, Sandbox
from tests.conftest import Databases
from tests.support.database import DATA, contents, count, counted_writes, rows
from tests.support.history import violations
from tests.support.internals.database import RECORDS, acquire, release
from tests.support.internals.database import runs_table as runs
from tests.support.internals.running import (
    RunOptions,
    Settings,
    apply,
    at_work,
    lives,
    plan,
    utc_now,
)
from tests.support.internals.values import RunReport, SourcePlan, read_plans
from tests.support.planning import file_of, lines_of, read
from tests.support.runs import SOURCES, hour, settings_for, small, sync, sync_all

STATSIG = "statsig /console/v1/layers[?]*"
BOOKKEEPING = {"runs", "run_streams", "leases", "ledger", "staged_deletions", "rate_budgets"}


@pytest.fixture
def sqlite(databases: Databases) -> Iterator[Engine]:
    with databases("sqlite") as engine:
        yield engine


def made(engine: Engine, settings: Settings, name: str, at: Any = None, **wish: Any) -> SourcePlan:
    """A plan that went through a file."""
    clock = utc_now if at is None else lambda: at
    report, found = plan(engine, settings, name, RunOptions(**wish), clock=clock)
    assert found is not None, report
    (again,) = read(file_of([found]))
    return again


def applied(engine: Engine, settings: Settings, one: SourcePlan, at: Any = None) -> RunReport:
    clock = utc_now if at is None else lambda: at
    (report,) = apply(engine, settings, [one], clock=clock)
    return report


def emptied(sandbox: Sandbox) -> None:
    for row in sandbox.world.live("layers", "projects"):
        sandbox.world.delete("layers", "projects", row.payload["id"])


@pytest.mark.parametrize(("seed", "kind"), [(2, "postgres"), (3, "sqlite")])
def test_plan_and_apply_are_a_sync(databases: Databases, seed: int, kind: str) -> None:
    with databases(kind) as planned, databases(kind) as synced:
        _live(planned, synced, seed)
        assert violations(planned) == []


def _live(planned: Engine, synced: Engine, seed: int) -> None:
    """A story of a few turns at two equal vendors, with the same rows in both after each."""
    with (
        Sandbox(small(seed, big_project=True)) as one,
        Sandbox(small(seed, big_project=True)) as other,
    ):
        here, there = settings_for(one), settings_for(other)
        for sandbox in (one, other) if seed == 3 else ():
            sandbox.add_fault(Fault(STATSIG, "patch", arg=(("idType",), None)))
            sandbox.add_fault(Fault("layers", "patch", times=None, arg=(("newThing",), 1)))
        for turn in range(seed):
            later = hour(turn) + timedelta(minutes=5)
            for name in SOURCES:
                sync(synced, there, name, hour(turn))
                applied(planned, here, made(planned, here, name, hour(turn)), later)
            rows_here, rows_there = contents(planned), contents(synced)
            assert [name for name in rows_here if rows_here[name] != rows_there[name]] == []
            for sandbox in (one, other):
                sandbox.world.evolve(changed=0.3, deleted=2)


def test_a_plan_writes_nothing_but_its_own_row(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        sync_all(engine, settings)
        sandbox.world.evolve(changed=0.3, deleted=3)
        sandbox.add_fault(Fault("layers", "patch", times=None, arg=(("newThing",), 1)))
        before = contents(engine)
        with counted_writes(engine) as written:
            for name in settings.sources:
                made(engine, settings, name)
    assert contents(engine) == before
    assert {name for name in written if not name.startswith("staged")} <= BOOKKEEPING


def test_the_changes_are_of_the_moment_of_the_plan(sqlite: Engine) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        one = made(sqlite, settings, "ly", hour(1))
    report = applied(sqlite, settings, one, hour(5))
    (run,) = rows(sqlite, "runs", "kind = 'apply'")
    moments = {row["observed_at"] for row in rows(sqlite, "changes")}
    assert moments == {run["observed_at"]}
    assert one.observed_at == hour(1)
    assert (report.kind, report.exit_code, report.started_at) == ("apply", 0, hour(5))


def test_an_apply_asks_no_provider(sqlite: Engine) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        one = made(sqlite, settings, "ld")
        sandbox.reset_requests()
        applied(sqlite, settings, one)
        assert sandbox.requests == []


def test_a_plan_applied_twice_is_applied_once(sqlite: Engine) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        one = made(sqlite, settings, "ly")
    applied(sqlite, settings, one)
    before = contents(sqlite)
    assert apply(sqlite, settings, [one]) == []
    assert contents(sqlite) == before


def test_what_landed_is_told_before_a_later_plan_is_refused(sqlite: Engine) -> None:
    told: list[str] = []
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        plans = [made(sqlite, settings, name) for name in ("ly", "st")]

        def landed(report: RunReport) -> None:
            told.append(report.source)
            sync(sqlite, settings, "st")  # the database moves on between the two

        with pytest.raises(PlanOutOfDate):
            apply(sqlite, settings, plans, landed=landed)
    assert told == ["ly"]


def test_held_back_deletions_are_in_the_plan_and_apply_makes_them(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        sync(engine, settings, "ly")
        emptied(sandbox)
        held = sync(engine, settings, "ly")
        one = made(engine, settings, "ly")
    stored = count(engine, "projects_current")
    assert (held.exit_code, stored > 0) == (3, True)
    assert f"{stored} of {stored} projects (100 %" in one.held["projects"]
    assert {change.reason for change in one.changes} == {"the provider answers 404 for it"}
    report = applied(engine, settings, one)
    assert (report.status, report.exit_code) == ("ok", 0)
    assert count(engine, "projects_current") == 0
    assert violations(engine) == []


def test_what_is_held_back_before_anything_is_asked_is_marked_in_the_plan(sqlite: Engine) -> None:
    few = {"delete_confirmations": 2}
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox, st={"layers": {"page_size": 5}, "limits": few})
        sync(sqlite, settings, "st")
        for row in sandbox.world.live("statsig", "layers"):
            sandbox.world.delete("statsig", "layers", row.payload["id"])
        sandbox.world.create("statsig", "layers", id="fresh", name="fresh")
        sandbox.add_fault(Fault(STATSIG, "patch", times=None, arg=(("id",), None)))
        assert sync(sqlite, settings, "st").exit_code == 3
        one = made(sqlite, settings, "st")
    assert [change.operation for change in one.changes] == ["deleted", "deleted"]
    assert "of" in one.held["layers"]


def test_a_list_that_only_came_empty_plans_no_deletion(sqlite: Engine) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        sync(sqlite, settings, "ly")
        sandbox.add_fault(Fault("layers /v1/projects[?]*", "empty_list", times=None))
        one = made(sqlite, settings, "ly")
    assert [change.operation for change in one.changes] == []


def test_a_merge_in_between_refuses_the_plan(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        one = made(engine, settings, "ly")
        sync(engine, settings, "ly")
        before = contents(engine)
        with pytest.raises(PlanOutOfDate, match=r"run 2 was merged since.*etl plan"):
            apply(engine, settings, [one])
    assert contents(engine) == before


def test_a_parked_backfill_that_is_merged_under_its_old_number_refuses_the_plan(
    sqlite: Engine,
) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        sync(sqlite, settings, "ly", hour(0))
        sync(sqlite, settings, "ly", hour(1))
        one = made(sqlite, settings, "ly", hour(2))
    with sqlite.begin() as connection:
        first = update(runs).where(runs.c.run_id == 1)
        connection.execute(first.values(observed_at=hour(3), finished_at=hour(3)))
    with pytest.raises(PlanOutOfDate, match="another run was merged since"):
        apply(sqlite, settings, [one])


def test_a_merge_of_another_source_does_not(sqlite: Engine) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        one = made(sqlite, settings, "ly")
        sync(sqlite, settings, "st")
    assert applied(sqlite, settings, one).exit_code == 0


def test_one_plan_that_does_not_fit_refuses_all(sqlite: Engine) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        plans = [made(sqlite, settings, name) for name in ("ly", "st")]
        sync(sqlite, settings, "st")
        with pytest.raises(PlanOutOfDate):
            apply(sqlite, settings, plans)
    assert count(sqlite, "projects", "source = 'ly'") == 0


def test_a_record_changed_by_hand_refuses_the_plan(sqlite: Engine) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        sync(sqlite, settings, "ly")
        sandbox.world.evolve(changed=0.5)
        one = made(sqlite, settings, "ly")
    changed = next(change for change in one.changes if change.row_id)
    with sqlite.begin() as connection:
        projects = RECORDS["projects"].current
        mine = projects.c.project_id == changed.row_id
        connection.execute(update(projects).where(mine).values(version=9))
    with pytest.raises(PlanOutOfDate, match="version 1 any more"):
        apply(sqlite, settings, [one])
    assert count(sqlite, "runs", "kind = 'apply'") == 0


def test_another_filter_in_the_configuration_refuses_the_plan(sqlite: Engine) -> None:
    with Sandbox(small()) as sandbox:
        one = made(sqlite, settings_for(sandbox), "ly")
        other = settings_for(sandbox, ly={"projects": {"status": "active"}})
    with pytest.raises(ConfigError, match="something else of ly"):
        apply(sqlite, other, [one])


def test_a_run_at_work_refuses_the_plan(sqlite: Engine) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        one = made(sqlite, settings, "ly")
        with at_work() as holder:
            with sqlite.begin() as connection:
                acquire(connection, "ly", holder, hour(0), lives)
            with pytest.raises(RunInProgress):
                apply(sqlite, settings, [one], clock=lambda: hour(0))
            with sqlite.begin() as connection:
                release(connection, "ly", holder)
    assert applied(sqlite, settings, one).exit_code == 0
    assert count(sqlite, "leases") == 0


def test_an_apply_ends_a_parked_sync_and_the_next_sync_is_whole(sqlite: Engine) -> None:
    paged: dict[str, Any] = {"st": {"layers": {"page_size": 5}}}
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox, **paged)
        one = made(sqlite, settings, "st")
        sandbox.add_fault(Fault("statsig */layers[?]*", "status", after=2, arg=503))
        assert sync(sqlite, settings, "st").status == "parked"
        applied(sqlite, settings, one)
        report = sync(sqlite, settings, "st")
    assert (report.status, report.changed, report.attempts) == ("ok", 0, 1)
    assert violations(sqlite) == []


@pytest.mark.parametrize("packed", [False, True])
def test_a_plan_is_the_same_after_its_file(sqlite: Engine, packed: bool) -> None:
    with Sandbox(small()) as sandbox:
        _, found = plan(sqlite, settings_for(sandbox), "ld", RunOptions())
    assert found is not None
    assert lines_of(*read(file_of([found], packed=packed))) == lines_of(found)


def test_what_was_read_is_applied_whatever_becomes_of_the_file(
    sqlite: Engine, tmp_path: Path
) -> None:
    place = tmp_path / "plan.json"
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        _, found = plan(sqlite, settings, "ld", RunOptions())
    assert found is not None
    place.write_bytes(file_of([found]))
    with place.open("rb") as file:
        (one,) = read_plans(file, str(place), __version__)
    place.write_bytes(b"other")
    assert applied(sqlite, settings, one).changed == len(one.changes)


def test_no_key_is_in_a_plan(sqlite: Engine) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        one = made(sqlite, settings, "ld")
        content = file_of([one]).decode()
        secrets = [
            row.payload[name]
            for row in sandbox.world.live("launchdarkly", "environments", "my-project")
            for name in ("apiKey", "mobileKey")
        ]
        keys = [source.api_key.get_secret_value() for source in settings.sources.values()]
    assert [secret for secret in (*secrets, *keys) if secret in content] == []
    assert '"apiKey": "fp:' in content


@pytest.mark.parametrize(
    ("edit", "why"),
    [
        (("sha256:", "sha256:0"), "edited or damaged"),
        (('"sources": [\n', '"sources": [\n1\n'), "edited or damaged"),
        (('"version": 2', '"version": 9'), "was made by"),
        ((__version__, "0.0.1"), "was made by etl 0.0.1"),
        (("etl plan", "soup"), "is not a plan"),
    ],
)
def test_an_edited_file_is_refused(edit: tuple[str, str], why: str) -> None:
    content = file_of([]).decode()
    with pytest.raises(ConfigError, match=why):
        read(content.replace(*edit).encode())


@pytest.mark.parametrize("content", [b"", b"[]", b"\x1f\x8bxx", b"NaN", b"[" * 100_000])
def test_what_is_no_plan_is_refused(content: bytes) -> None:
    with pytest.raises(ConfigError, match="is not a plan"):
        read(content)


def test_every_table_of_data_is_compared() -> None:
    assert {table.name for table in DATA} >= {"rejects", "schema_drift", "changes"}
