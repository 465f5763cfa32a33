"""A dry run tells what a run would do, and does nothing of it."""

from typing import Any

import pytest
from sqlalchemy import Engine

from etl.sandbox import Fault, Sandbox
from tests.support.database import contents, count, counted_writes, rows
from tests.support.internals.values import RunReport
from tests.support.runs import settings_for, small, sync, sync_all

COUNTS = ("received", "created", "updated", "unchanged", "deleted", "restored", "rejected")
TEMPORARY = {"runs", "run_streams", "leases", "ledger", "staged_deletions", "rate_budgets"}
STAGED = {f"staged_{name}" for name in ("projects", "environments", "layers")}
STAGED |= {"staged_layer_parameters", "staged_layer_reservations"}


def told(report: RunReport) -> list[Any]:
    return [
        (found.stream, found.complete, *(getattr(found, name) for name in COUNTS))
        for found in report.streams
    ]


@pytest.mark.parametrize("name", ["ld", "st", "ly"])
def test_a_dry_run_tells_the_same_as_the_run_after_it(engine: Engine, name: str) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        sync_all(engine, settings)
        sandbox.world.evolve(changed=0.3, deleted=3)
        dry = sync(engine, settings, name, dry_run=True)
        assert (dry.status, dry.exit_code, dry.changed > 0) == ("dry_run", 0, True)
        assert told(dry) == told(sync(engine, settings, name))


def test_a_dry_run_writes_nothing_but_its_own_row(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        sync_all(engine, settings)
        sandbox.world.evolve(changed=0.3, deleted=3)
        before = contents(engine)
        with counted_writes(engine) as written:
            for name in settings.sources:
                sync(engine, settings, name, dry_run=True)
    assert set(written) <= TEMPORARY | STAGED
    assert contents(engine) == before
    assert {table: count(engine, table) for table in STAGED} == dict.fromkeys(STAGED, 0)
    kinds = [row["kind"] for row in rows(engine, "runs")]
    assert sorted(kinds) == ["dry_run"] * 3 + ["sync"] * 3


def test_a_dry_run_keeps_neither_rejects_nor_drift(engine: Engine) -> None:
    list_of_layers = "statsig /console/v1/layers[?]*"
    with Sandbox(small()) as sandbox:
        sandbox.add_fault(Fault(list_of_layers, "patch", times=None, arg=(("idType",), None)))
        sandbox.add_fault(Fault("layers", "patch", times=None, arg=(("newThing",), 1)))
        settings = settings_for(sandbox)
        report = sync(engine, settings, "st", dry_run=True)
        sync(engine, settings, "ly", dry_run=True)
    assert sum(found.rejected for found in report.streams) == 1
    assert (count(engine, "rejects"), count(engine, "schema_drift")) == (0, 0)


def test_a_dry_run_does_not_go_on_with_a_real_run_nor_end_it(engine: Engine) -> None:
    paged: dict[str, Any] = {"st": {"layers": {"page_size": 5}}}
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox, **paged)
        sandbox.add_fault(Fault("statsig */layers[?]*", "status", after=2, arg=503))
        parked = sync(engine, settings, "st")
        dry = sync(engine, settings, "st", dry_run=True)
        report = sync(engine, settings, "st")
    assert (parked.status, dry.status, dry.attempts) == ("parked", "dry_run", 1)
    assert (report.run_id, report.attempts, report.status) == (parked.run_id, 2, "ok")


def test_a_dry_run_of_a_new_database_leaves_it_empty(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        dry = sync(engine, settings_for(sandbox), "ld", dry_run=True)
        assert dry.changed == sum(
            sandbox.counts()["launchdarkly"][table]
            for table in ("projects", "environments", "layers")
        )
    assert all(found == [] for found in contents(engine).values())
