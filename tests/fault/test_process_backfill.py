"""Rows 44 and 45 for backfills: killed twice, and other runs of the source in between.

A backfill keeps every page; it makes way for a sync, and undoes nothing that the sync has stored.
"""

import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from etl.sandbox import Fault, Sandbox, Sizes, World
from tests.cli.command import line, variables
from tests.support.database import count, counts, rows
from tests.support.history import violations
from tests.support.internals.running import Settings, app, to_the_end
from tests.support.internals.values import RunReport, Selection
from tests.support.runs import asked, config_text, settings_for, small, sync

LISTS = {
    "st": "statsig /console/v1/layers?limit=5*",
    "ly": "layers /v1/projects?*",
    "ld": "launchdarkly */layers",
}
PAGED: dict[str, Any] = {
    "st": {"layers": {"page_size": 5}, "limits": {"rate_limits": []}},
    "ly": {"projects": {"page_size": 3}, "limits": {"rate_limits": []}},
    "ld": {"limits": {"concurrency": 1}},
}
ALL = app.RunOptions(backfill=Selection())
LONG = pytest.mark.slow
MEANWHILE = [  # database, source, whether something is stored before
    *(("sqlite", name, first) for name, first in (("st", True), ("ly", True), ("ld", False))),
    ("postgres", "st", False),
    *(
        pytest.param("sqlite", name, first, marks=LONG)
        for name, first in (("st", False), ("ly", False), ("ld", True))
    ),
    pytest.param("postgres", "st", True, marks=LONG),
    *(
        pytest.param("postgres", name, first, marks=LONG)
        for name in ("ly", "ld")
        for first in (True, False)
    ),
]
LAYERS, PAGE = 100_000, 100


def backfill(engine: Engine, settings: Settings, name: str) -> RunReport:
    """One stretch of one, of everything."""
    return app.sync(engine, settings, name, ALL)


@pytest.mark.row(45)
@pytest.mark.parametrize(("engine", "name", "first"), MEANWHILE, indirect=["engine"])
def test_a_sync_neither_takes_nor_harms_a_parked_backfill(
    engine: Engine, name: str, first: bool
) -> None:
    """What the sync stored is newer than the pages that the backfill had read before."""
    with Sandbox(small()) as sandbox:
        settings, world = settings_for(sandbox, **PAGED), sandbox.world
        if not first:
            sync(engine, settings, name)
            world.evolve(changed=0.5, deleted=1, created=2)
        stopped = {"ld": 401}.get(name, 503)  # in one of many lists a 503 ends no run
        sandbox.add_fault(Fault(LISTS[name], "status", after=2, times=1, arg=stopped))
        parked = backfill(engine, settings, name)
        world.evolve(changed=0.5, deleted=1, created=2)
        synced = sync(engine, settings, name)
        done = backfill(engine, settings, name)
        again = sync(engine, settings, name)
        provider = settings.sources[name].provider
        assert counts(engine)[provider] == sandbox.counts()[provider]
    assert parked.status in ("parked", "denied")
    assert (synced.status, synced.attempts) == ("ok", 1)
    assert (done.run_id, done.status, done.attempts) == (parked.run_id, "ok", 2)
    assert (done.changed, again.changed) == (0, 0)
    assert violations(engine) == []


@pytest.mark.row(45)
def test_a_backfill_does_not_harm_a_parked_sync(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox, **PAGED)
        sandbox.add_fault(Fault(LISTS["st"], "status", after=2, times=1, arg=503))
        parked = sync(engine, settings, "st")
        sandbox.world.evolve(changed=0.5, deleted=1, created=2)
        assert backfill(engine, settings, "st").status == "ok"
        done = sync(engine, settings, "st")
        assert counts(engine)["statsig"] == sandbox.counts()["statsig"]
    assert (done.run_id, done.status, done.changed) == (parked.run_id, "ok", 0)
    assert violations(engine) == []


@pytest.mark.row(45)
def test_a_running_backfill_makes_way_for_a_sync_and_goes_on_behind_its_page(
    engine: Engine,
) -> None:
    synced: list[RunReport] = []
    pauses: list[float] = []

    def meanwhile(_world: World) -> None:
        synced.append(sync(engine, settings, "st"))

    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox, **PAGED)
        sandbox.add_fault(Fault(LISTS["st"], "mutate", after=2, times=1, arg=meanwhile))
        report = to_the_end(
            lambda wanted: app.sync(engine, settings, "st", wanted), ALL, sleep=pauses.append
        )
        pages = asked(sandbox, "/layers?")
        assert counts(engine)["statsig"] == sandbox.counts()["statsig"]
    assert [one.status for one in synced] == ["ok"]
    assert (report.status, report.attempts, report.changed) == ("ok", 2, 0)
    assert len(pauses) == 1
    assert len(pages) == 5 + 5 + 1  # the sync's, the backfill's, and the one it could not keep
    assert violations(engine) == []


@pytest.mark.row(45)
def test_a_second_backfill_of_a_source_is_sent_away(engine: Engine) -> None:
    second: list[RunReport] = []

    def meanwhile(_world: World) -> None:
        second.append(backfill(engine, settings, "st"))

    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox, **PAGED)
        sandbox.add_fault(Fault(LISTS["st"], "mutate", after=2, times=1, arg=meanwhile))
        assert backfill(engine, settings, "st").status == "ok"
    assert [(one.status, one.exit_code) for one in second] == [("busy", 75)]
    assert "st is being backfilled by process" in str(second[0].error)


@pytest.mark.slow
@pytest.mark.row(44)
def test_a_backfill_of_100_000_records_killed_twice_fetches_each_page_once(
    engine: Engine, tmp_path: Path
) -> None:
    """Real processes, SIGKILL; only the page that was on its way is asked for once more."""
    match = f"statsig /console/v1/layers?limit={PAGE}&*"
    children: list[subprocess.Popen[str]] = []

    def kill(_world: World) -> None:
        children[-1].kill()
        children[-1].wait(60)

    with Sandbox(World(7, Sizes(statsig_layers=LAYERS))) as sandbox:
        for page in (333, 666):
            sandbox.add_fault(Fault(match, "mutate", after=page, times=1, arg=kill))
            sandbox.add_fault(Fault(match, "closed", after=page, times=1))
        config = tmp_path / "etl.toml"
        url = engine.url.render_as_string(hide_password=False).replace("+psycopg", "")
        config.write_text(config_text(sandbox, url, st={"limits": {"rate_limits": []}}))
        words = ["--config", str(config), "backfill", "st"]
        ends, told = [], ""
        for more in ([], ["--resume", "1"], ["--resume", "1"]):
            child = subprocess.Popen(
                line(*words, *more), env=variables(), stdout=subprocess.PIPE, text=True
            )
            children.append(child)
            told, _ = child.communicate(timeout=900)
            ends.append(child.returncode)
        pages = Counter(
            seen.query
            for seen in sandbox.requests
            if f"limit={PAGE}&" in seen.query and seen.status
        )
        assert ends == [-9, -9, 0], told
        assert sorted(pages.values()) == [1] * (LAYERS // PAGE)
        assert counts(engine)["statsig"] == sandbox.counts()["statsig"]
    (run,) = rows(engine, "runs")
    assert (run["kind"], run["status"], run["attempts"]) == ("backfill", "ok", 3)
    assert count(engine, "changes", "operation = 'created'") == LAYERS + 1
    assert count(engine, "ledger") == 0
