"""People who read while runs go on, and the views that they read."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Engine

from etl.sandbox import Fault, Sandbox, World
from tests.support.database import contents, count, counts, rows
from tests.support.runs import hour, settings_for, small, sync, sync_all

REQUESTS = {"ld": 7, "st": 7, "ly": 4}  # of one run, up to its last page
PAGED: dict[str, Any] = {"st": {"layers": {"page_size": 5}}, "ly": {"projects": {"page_size": 3}}}


@pytest.mark.parametrize("source", ["ld", "st", "ly"])
def test_readers_see_the_last_finished_run_until_the_next_one_is_merged(
    engine: Engine, source: str
) -> None:
    seen = []

    def read(_world: World) -> None:
        seen.append(contents(engine))

    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox, **PAGED)
        sync(engine, settings, source)
        before = contents(engine)
        sandbox.world.evolve(changed=0.5)
        provider = settings.sources[source].provider
        sandbox.add_fault(Fault(provider, "mutate", times=REQUESTS[source], arg=read))
        report = sync(engine, settings, source)
    assert report.changed > 0
    assert len(seen) == REQUESTS[source]
    assert all(found == before for found in seen)


def test_all_sources_may_run_at_the_same_time(engine: Engine) -> None:
    with Sandbox(small(), latency=0.005) as sandbox, ThreadPoolExecutor(3) as pool:
        settings = settings_for(sandbox, **PAGED)
        for _ in range(3):
            reports = pool.map(lambda name: sync(engine, settings, name), settings.sources)
            assert [(report.status, report.error) for report in reports] == [("ok", None)] * 3
            assert counts(engine) == sandbox.counts()
            sandbox.world.evolve(changed=0.2)


def test_a_clock_that_steps_back_does_not_turn_history_round(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        for number in (5, 2, 2, 9):
            sync_all(engine, settings, hour(number))
            sandbox.world.evolve(changed=0.3)
    assert count(engine, "layer_history", "valid_from >= valid_to") == 0
    found = sorted(rows(engine, "changes", "source = 'ld'"), key=lambda row: row["change_id"])
    times = [row["observed_at"] for row in found]
    assert times == sorted(times)


def test_capacity_adds_up_the_reservations_of_the_vendor(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        sync(engine, settings_for(sandbox), "ld")
        wanted = {
            (layer["_project_key"], layer["key"], environment): sum(
                one["reservationPercent"] for one in held["reservations"]
            )
            for layer in sandbox.world.records("launchdarkly", "layers")
            for environment, held in layer.get("environments", {}).items()
            if held["reservations"]
        }
    names = ("project_key", "layer_key", "environment_key")
    found = {
        tuple(row[name] for name in names): (row["used_percent"], row["free_percent"])
        for row in rows(engine, "layer_capacity")
    }
    assert found == {place: (used, 100 - used) for place, used in wanted.items()}


def test_the_inventory_counts_what_is_in_each_project(engine: Engine) -> None:
    with Sandbox(small(big_project=True)) as sandbox:
        settings = settings_for(sandbox)
        sync_all(engine, settings)
        sandbox.world.delete("launchdarkly", "environments", "staging", "search")
        sync_all(engine, settings)
    found = {row["project_key"]: row for row in rows(engine, "project_inventory")}
    inside = [
        (found[key]["environments"], found[key]["layers"]) for key in ("search", "big-estate")
    ]
    assert inside == [(1, 4), (28, 4)]
    assert len(found) == 5 + 1 + 12


def test_freshness_tells_the_last_complete_walk_of_each_stream(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        sync(engine, settings, "ld", hour(1))
        sandbox.add_fault(Fault("launchdarkly */search/layers", "status", arg=500))
        sync(engine, settings, "ld", hour(2))
        sync(engine, settings, "ld", hour(3), dry_run=True)
    found = {row["stream"]: row for row in rows(engine, "source_freshness")}
    complete = {name: str(row["last_complete_at"])[:13] for name, row in found.items()}
    merged = {str(row["last_merged_at"])[:13] for row in found.values()}
    assert complete == {
        "projects": "2026-11-01 02",
        "environments": "2026-11-01 02",
        "layers": "2026-11-01 01",
    }
    assert merged == {"2026-11-01 02"}
