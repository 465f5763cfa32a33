"""A run that is killed or sent away goes on from its checkpoint and ends as if undisturbed."""

import os
import signal
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from etl.sandbox import Fault, Sandbox, World
from etl.sandbox.make_records import HOUR
from tests.conftest import Databases
from tests.support.database import count, counts, differing, rows
from tests.support.forks import Fork
from tests.support.history import violations
from tests.support.internals.database import STAGING, acquire, reading, usual_requests
from tests.support.internals.running import lives, this_process, utc_now
from tests.support.runs import (
    asked,
    config_text,
    hour,
    settings_for,
    small,
    sync,
    sync_all,
)

PAGED: dict[str, Any] = {
    "st": {"layers": {"page_size": 5}},
    "ly": {"projects": {"page_size": 3}},
    "ld": {"limits": {"concurrency": 1}},
}
STATSIG, LAYERS = "statsig /console/v1/layers?*", "layers /v1/projects?*"
SLOW = 0.3  # a page this slow is checkpointed: longer than intake.CHECKPOINT_SECONDS

# source, its list, the page that is slow, the page at which the process dies, what pages look like,
# how often a list that changed is walked: without totals two walks must agree
KILLS = [
    ("st", STATSIG, 3, 4, "page=", 1),
    ("st", STATSIG, 4, 5, "page=", 1),
    ("ly", LAYERS, 2, 3, "limit=", 2),
    ("ld", "launchdarkly */layers", 2, 3, "/layers", 1),
]


class Child:
    """A process that runs a source; the sandbox may kill it while it waits for an answer."""

    def __init__(self, fork: Fork, engine: Engine, sandbox: Sandbox, folder: Path, tables: Any):
        url = engine.url.render_as_string(hide_password=False)
        self._config = folder / "etl.toml"
        self._config.write_text(config_text(sandbox, url, **tables))
        self._fork = fork
        self._number: Future[int] = Future()

    def run(self, source: str, **how: Any) -> int:
        """The exit code; negative for the signal that ended it."""
        self._number = Future()
        return self._fork(self._config, source, born=self._number.set_result, **how).code

    def kill(self, _world: World) -> None:
        """Kills it with what no process can catch."""
        os.kill(self._number.result(60), signal.SIGKILL)


def asked_usually(engine: Engine, source: str) -> int:
    with reading(engine) as connection:
        return usual_requests(connection, source)


def test_a_run_that_lands_leaves_what_others_have_staged(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox, **PAGED)
        sandbox.add_fault(Fault(STATSIG, "status", after=2, times=None, arg=503))
        assert sync(engine, settings, "st").status == "parked"
        waiting = [count(engine, name) for name in ("ledger", "staged_layers")]
        sync(engine, settings, "ly")
        assert [count(engine, name) for name in ("ledger", "staged_layers")] == waiting
        sandbox.clear_faults()
        assert sync(engine, settings, "st").attempts == 2
    assert min(waiting) > 0
    assert [count(engine, table.name) for table in STAGING] == [0] * len(STAGING)


@pytest.mark.parametrize(("source", "match", "slow", "fatal", "page", "walks"), KILLS)
def test_a_killed_run_is_gone_on_with_behind_its_checkpoint(
    fork: Fork,
    engine: Engine,
    undisturbed: Engine,
    tmp_path: Path,
    source: str,
    match: str,
    slow: int,
    fatal: int,
    page: str,
    walks: int,
) -> None:
    with Sandbox(small(big_project=True)) as sandbox:
        settings = settings_for(sandbox, **PAGED)
        child = Child(fork, engine, sandbox, tmp_path, PAGED)
        for target in (engine, undisturbed):
            sync(target, settings, source)
        usual = asked_usually(engine, source)
        sandbox.world.evolve(changed=0.3, deleted=2, created=2)
        sandbox.world.now += HOUR  # what was created is none that came while the list was read
        sandbox.add_fault(Fault(match, "stall", after=slow - 1, arg=SLOW))
        sandbox.add_fault(Fault(match, "mutate", after=fatal - 1, arg=child.kill))
        before = len(asked(sandbox))
        assert child.run(source) == -signal.SIGKILL
        assert count(engine, "leases") == 1
        report = sync(engine, settings, source)
        times = sorted(Counter(t for t in asked(sandbox)[before:] if page in t).values())
        sync(undisturbed, settings, source)
    assert (report.status, report.attempts) == ("ok", 2)
    assert asked_usually(engine, source) == usual > 0  # not the few of the process that went on
    assert times == [walks] * (len(times) - 1) + [walks + 1]  # only the page that never came
    assert differing(engine, undisturbed) == set()


def test_the_first_run_of_all_may_be_killed_too(
    fork: Fork, engine: Engine, undisturbed: Engine, tmp_path: Path
) -> None:
    with Sandbox(small()) as sandbox:
        child = Child(fork, engine, sandbox, tmp_path, PAGED)
        sandbox.add_fault(Fault(STATSIG, "stall", after=1, arg=SLOW))
        sandbox.add_fault(Fault(STATSIG, "mutate", after=2, arg=child.kill))
        assert child.run("st") == -signal.SIGKILL
        assert count(engine, "layers") == 0
        settings = settings_for(sandbox, **PAGED)
        sync(engine, settings, "st")
        sync(undisturbed, settings, "st")
    assert differing(engine, undisturbed) == set()


def test_a_run_killed_before_its_first_checkpoint_is_no_finding_of_the_audit(
    fork: Fork, engine: Engine, tmp_path: Path
) -> None:
    with Sandbox(small()) as sandbox:
        child = Child(fork, engine, sandbox, tmp_path, PAGED)
        sandbox.add_fault(Fault(STATSIG, "mutate", arg=child.kill))
        assert child.run("st") == -signal.SIGKILL
        settings = settings_for(sandbox, **PAGED)
        for dry in (True, False):  # a dry run takes the dead one's lease and leaves its run alone
            sync(engine, settings, "st", dry_run=dry)
            assert violations(engine) == []
    assert count(engine, "runs", "kind = 'sync'") == 1


def test_a_process_killed_at_each_of_its_commits_leaves_what_an_undisturbed_one_leaves(
    fork: Fork, engine: Engine, undisturbed: Engine, tmp_path: Path
) -> None:
    with Sandbox(small(big_project=True)) as sandbox:
        settings = settings_for(sandbox)
        child = Child(fork, engine, sandbox, tmp_path, {})
        for target in (engine, undisturbed):
            sync(target, settings, "ld")
        sandbox.world.evolve(changed=0.3, deleted=2, created=2)
        ends = []
        for commit in range(2, 30):  # at the first one there is no run yet
            ends.append(child.run("ld", commit=commit))
            if ends[-1] == 0:
                break
        sync(undisturbed, settings, "ld")
    assert ends[-1] == 0
    assert len(ends) > 4
    assert set(ends[:-1]) == {-signal.SIGKILL}
    assert differing(engine, undisturbed) == set()


def test_a_lease_whose_process_is_dead_is_taken_over_at_once(
    fork: Fork, engine: Engine, tmp_path: Path
) -> None:
    with Sandbox(small()) as sandbox:
        child = Child(fork, engine, sandbox, tmp_path, {})
        sandbox.add_fault(Fault("layers", "mutate", arg=child.kill))
        child.run("ly")
        assert count(engine, "leases", "source = 'ly'") == 1
        report = sync(engine, settings_for(sandbox), "ly")
    assert (report.exit_code, count(engine, "leases")) == (0, 0)


def ends(engine: Engine) -> list[tuple[str, bool]]:
    """How each run ended, and whether it was abandoned later."""
    found = sorted(rows(engine, "runs"), key=lambda row: row["run_id"])
    return [(row["status"], row["abandoned_at"] is not None) for row in found]


def test_a_full_run_does_not_go_on_from_a_checkpoint(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox, **PAGED)
        sandbox.add_fault(Fault(STATSIG, "status", after=2, arg=503))
        sync(engine, settings, "st")
        sandbox.reset_requests()
        report = sync(engine, settings, "st", full=True)
    assert (report.attempts, len(asked(sandbox, "page="))) == (1, 5)
    assert ends(engine) == [("parked", True), ("ok", False)]


@pytest.mark.parametrize("options", [{"tags": ["ops"]}, {"page_size": 25}])
def test_a_run_with_other_options_begins_anew(engine: Engine, options: Any) -> None:
    with Sandbox(small()) as sandbox:
        sandbox.add_fault(Fault(STATSIG, "status", after=2, arg=503))
        sync(engine, settings_for(sandbox, **PAGED), "st")
        report = sync(engine, settings_for(sandbox, st={"layers": options}), "st")
    assert (report.attempts, report.status) == (1, "ok")


def test_a_checkpoint_that_is_too_old_is_dropped(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox, **PAGED)
        sandbox.add_fault(Fault(STATSIG, "status", after=2, arg=503))
        sync(engine, settings, "st", hour(0))
        report = sync(engine, settings, "st", hour(7))
        assert counts(engine)["statsig"] == sandbox.counts()["statsig"]
    assert (report.status, report.attempts) == ("ok", 1)
    assert ends(engine) == [("parked", True), ("ok", False)]
    assert count(engine, "ledger") == 0


def test_a_key_that_is_revoked_in_mid_walk_keeps_the_checkpoint(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox, **PAGED)
        sandbox.add_fault(Fault(STATSIG, "status", after=2, arg=401))
        denied = sync(engine, settings, "st")
        assert (denied.status, denied.exit_code, count(engine, "layers")) == ("denied", 4, 0)
        sandbox.reset_requests()
        report = sync(engine, settings, "st")
        pages = [t.rpartition("page=")[2] for t in asked(sandbox) if "page=" in t]
        assert (report.status, pages) == ("ok", ["3", "4", "5"])
        assert counts(engine)["statsig"] == sandbox.counts()["statsig"]


def test_what_a_stopped_run_has_read_stays_while_another_source_lands(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox, **PAGED)
        sandbox.add_fault(Fault(STATSIG, "status", after=2, arg=401))
        assert sync(engine, settings, "st").status == "denied"
        read = count(engine, "staged_layers")
        assert read > 0
        assert sync(engine, settings, "ly").status == "ok"
        assert count(engine, "staged_layers") == read
        assert sync(engine, settings, "st").status == "ok"
        assert counts(engine)["statsig"] == sandbox.counts()["statsig"]
        assert count(engine, "staged_layers") == 0


@pytest.mark.parametrize(
    ("source", "match", "left"),
    [
        ("st", STATSIG, 3),
        ("ly", LAYERS, 2 + 4),  # the rest, and the second walk of a list without totals
        ("ld", "launchdarkly */layers", 3 + 1),  # the keys of the projects are looked up
    ],
)
def test_a_longer_pause_than_a_run_waits_parks_it(
    engine: Engine, source: str, match: str, left: int
) -> None:
    tables = {name: {**table} for name, table in PAGED.items()}
    for table in tables.values():
        table["limits"] = {**table.get("limits", {}), "attempts": 3, "patience": 60.0}
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox, **tables)
        sandbox.add_fault(Fault(match, "rate_limited", after=2, arg=3600))
        parked = sync(engine, settings, source)
        (run,) = rows(engine, "runs")
        assert (parked.status, parked.exit_code) == ("parked", 75)
        assert parked.retry_at is not None
        assert run["retry_at"] is not None
        sandbox.reset_requests()
        assert sync(engine, settings, source).status == "parked"
        assert asked(sandbox) == []  # before its time nothing is asked
        with engine.begin() as connection:  # the hour has passed
            connection.execute(text("UPDATE rate_budgets SET blocked_until = NULL"))
        report = sync(engine, settings, source)
        assert (report.status, report.run_id, len(asked(sandbox))) == ("ok", parked.run_id, left)
        provider = report.provider
        assert counts(engine)[provider] == sandbox.counts()[provider]


def test_a_second_run_of_the_same_source_is_sent_away(engine: Engine) -> None:
    found = []
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        meanwhile = Fault(
            "statsig", "mutate", arg=lambda _world: found.append(sync(engine, settings, "st"))
        )
        sandbox.add_fault(meanwhile)
        report = sync(engine, settings, "st")
    assert [(one.status, one.exit_code, one.run_id) for one in found] == [("busy", 75, None)]
    assert (report.status, count(engine, "runs")) == ("ok", 1)


def test_of_two_runs_that_begin_at_the_same_moment_one_is_sent_away(databases: Databases) -> None:
    """On Postgres, where the second one waits in its INSERT; SQLite lets one in at a time."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    with databases("postgres") as engine, Sandbox(small()) as sandbox, ThreadPoolExecutor() as pool:
        settings = settings_for(sandbox)
        with engine.begin() as first, engine.connect() as watching:
            acquire(first, "st", this_process(), utc_now(), lives)
            second = pool.submit(sync, engine, settings, "st")
            while not watching.execute(text(waiting)).scalar() and not second.done():
                watching.rollback()
        report = second.result()
    assert (report.status, report.exit_code) == ("busy", 75)


def test_runs_of_different_sources_do_not_wait_for_each_other(engine: Engine) -> None:
    found = []
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        meanwhile = Fault(
            "statsig", "mutate", arg=lambda _world: found.append(sync(engine, settings, "ly"))
        )
        sandbox.add_fault(meanwhile)
        report = sync(engine, settings, "st")
    assert (report.status, [one.status for one in found]) == ("ok", ["ok"])


def test_a_run_that_lost_its_lease_writes_nothing_more(engine: Engine) -> None:
    def steal(_world: World) -> None:
        with engine.begin() as connection:
            connection.exec_driver_sql("UPDATE leases SET token = 'another'")

    with Sandbox(small(), faults=[Fault("layers", "mutate", arg=steal)]) as sandbox:
        report = sync(engine, settings_for(sandbox), "ly")
    assert (report.exit_code, count(engine, "projects")) == (75, 0)
    assert count(engine, "leases") == 1


def test_a_database_that_fails_in_mid_merge_holds_nothing_of_the_run(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        sync_all(engine, settings)
        before = counts(engine)
        sandbox.world.evolve(changed=0.3)
        with engine.begin() as connection:
            for statement in BROKEN[engine.dialect.name]:
                connection.exec_driver_sql(statement)
        report = sync(engine, settings, "ld")
        assert (report.exit_code, counts(engine)) == (1, before)
        with engine.begin() as connection:
            on = " ON change_fields" if engine.dialect.name == "postgresql" else ""
            connection.exec_driver_sql(f"DROP TRIGGER broken{on}")
        sync(engine, settings, "ld")
        assert counts(engine)["launchdarkly"] == sandbox.counts()["launchdarkly"]


BROKEN = {
    "sqlite": (
        "CREATE TRIGGER broken BEFORE INSERT ON change_fields "
        "BEGIN SELECT RAISE(ABORT, 'no room'); END",
    ),
    "postgresql": (  # the connection is cut, as by a server that stops
        "CREATE FUNCTION cut() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $$",
        "CREATE TRIGGER broken BEFORE INSERT ON change_fields FOR EACH ROW EXECUTE FUNCTION cut()",
    ),
}
