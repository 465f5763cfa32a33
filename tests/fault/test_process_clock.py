"""Row 52, the clock of a run: it steps back, or ran ahead for a while.

Cron lines, daylight saving and missed ticks belong to the daemon: tests/unit/config/test_cron.py.
"""

import time
from array import array

import pytest
from sqlalchemy import Engine, text

from etl.sandbox import Fault, Sandbox
from tests.support.database import contents, count, counts, rows
from tests.support.history import violations
from tests.support.runs import hour, settings_for, small, sync, sync_all


@pytest.mark.row(52)
def test_history_goes_forward_when_the_clock_steps_back(engine: Engine) -> None:
    """By hours, by nothing at all, and between two halves of one run."""
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox, st={"layers": {"page_size": 5}})
        for number in (5, 2, 2):
            sync_all(engine, settings, hour(number))
            sandbox.world.evolve(changed=0.3)
        sandbox.add_fault(Fault("statsig /console/v1/layers?*", "status", after=2, arg=503))
        assert sync(engine, settings, "st", hour(4)).status == "parked"
        assert sync(engine, settings, "st", hour(1)).attempts == 2
        sync_all(engine, settings, hour(3))
        assert counts(engine) == sandbox.counts()
        runs = sorted(rows(engine, "runs", "source = 'st'"), key=lambda row: row["run_id"])
        times = [row["observed_at"] for row in runs]
        merged = [moment for moment in times if moment is not None]
        assert merged == sorted(set(merged))
        assert violations(engine) == []
        before = contents(engine)
        sync_all(engine, settings, hour(0))
        assert contents(engine) == before
    assert count(engine, "leases") == 0


@pytest.mark.row(52)
def test_requests_granted_by_a_clock_that_ran_ahead_hold_nobody_up(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        sync(engine, settings, "st")
        ahead = array("d", [time.time() + 86400.0] * 500).tobytes()
        with engine.begin() as connection:
            connection.execute(text("UPDATE rate_budgets SET grants = :grants"), {"grants": ahead})
        report = sync(engine, settings, "st")
    assert report.status == "ok"
