"""Row 51: SIGTERM and Ctrl-C end a run within seconds, whatever its threads wait for.

What was read is checkpointed, the lease is given back, the exit code is 75, and the next run goes
on behind the checkpoint.
"""

import logging
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest
from sqlalchemy import Engine, event, text

from etl.sandbox import Fault, Sandbox
from tests.cli.command import line, variables
from tests.conftest import Databases
from tests.support.database import contents, count, counts, rows
from tests.support.history import violations
from tests.support.interrupting import heeding, nth, signal_when
from tests.support.runs import asked, config_text, settings_for, small, sync

PAGED: dict[str, Any] = {"st": {"layers": {"page_size": 5}}, "ly": {"projects": {"page_size": 3}}}
FOR_EVER = 86_400  # seconds that a stalled answer takes
COMBINED = [
    ("sqlite", signal.SIGTERM),
    pytest.param("sqlite", signal.SIGINT, marks=pytest.mark.slow),
    pytest.param("postgres", signal.SIGTERM, marks=pytest.mark.slow),
    pytest.param("postgres", signal.SIGINT, marks=pytest.mark.slow),
]


def stopped(
    engine: Engine,
    sandbox: Sandbox,
    folder: Path,
    source: str,
    number: int,
    due: Callable[[], object],
) -> tuple[int, str]:
    """`etl sync` that gets a signal when that is due: exit code, stderr."""
    config = folder / "etl.toml"
    url = engine.url.render_as_string(hide_password=False).replace("+psycopg", "")
    config.write_text(config_text(sandbox, url, **PAGED))
    command = line("--config", str(config), "sync", source)
    out = subprocess.DEVNULL
    with subprocess.Popen(
        command,
        env=variables(),
        stdout=out,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        while not due() and process.poll() is None:
            time.sleep(0.01)
        assert process.poll() is None, "it ended before the signal"
        process.send_signal(number)
        _, told = process.communicate()
        return process.returncode, told


@pytest.mark.row(51)
@pytest.mark.parametrize(("engine", "number"), COMBINED, indirect=["engine"])
@pytest.mark.parametrize(
    ("source", "match", "after", "first"),
    [
        # four threads wait for layers; the lists of projects and environments are kept, and the
        # projects are only asked for their keys once more, without their environments
        ("ld", "launchdarkly */layers", 0, "expand=environments"),
        # the main thread waits for the fourth page; three are kept
        ("st", "statsig /console/v1/layers?*", 3, "page=1"),
    ],
)
def test_a_signal_ends_a_run_at_once_with_its_checkpoint(
    engine: Engine, tmp_path: Path, number: int, source: str, match: str, after: int, first: str
) -> None:
    with Sandbox(small(big_project=True)) as sandbox:
        sandbox.add_fault(Fault(match, "stall", after=after, times=None, arg=FOR_EVER))
        waiting = (lambda: len(asked(sandbox, "/layers")) > 3) if source == "ld" else None
        due = waiting or (lambda: len(asked(sandbox, "page=")) > after)
        code, told = stopped(engine, sandbox, tmp_path, source, number, due)
        assert code == 75, told
        assert told.startswith("etl: stopped; what was read is kept")
        (run,) = rows(engine, "runs")
        assert (run["status"], run["exit_code"]) == ("parked", 75)
        assert (count(engine, "leases"), count(engine, "ledger") > 0) == (0, True)
        assert sum(map(len, contents(engine).values())) == 0
        sandbox.clear_faults()
        sandbox.reset_requests()
        report = sync(engine, settings_for(sandbox, **PAGED), source)
        assert (report.status, report.attempts) == ("ok", 2)
        assert asked(sandbox, first) == []  # what was kept is not fetched again
        assert counts(engine)[report.provider] == sandbox.counts()[report.provider]
    assert violations(engine) == []


@pytest.mark.slow
@pytest.mark.row(51)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_in_the_merge_takes_all_of_it_back(
    databases: Databases, tmp_path: Path, number: int
) -> None:
    """On Postgres, where a merge can be made slow."""
    sleeping = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
    with databases("postgres") as engine, Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        sync(engine, settings, "st")
        sandbox.world.evolve(changed=0.3)
        before = contents(engine)
        with engine.begin() as connection:
            connection.execute(text(SLEEP))
            connection.execute(text(SLEEPS))
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as watching:

            def merging() -> object:
                return watching.execute(text(sleeping)).scalar()

            code, told = stopped(engine, sandbox, tmp_path, "st", number, merging)
        assert code == 75, told
        assert (contents(engine), count(engine, "leases")) == (before, 0)
        with engine.begin() as connection:
            connection.execute(text("DROP TRIGGER slow ON change_fields"))
        assert sync(engine, settings, "st").status == "ok"
        assert counts(engine)["statsig"] == sandbox.counts()["statsig"]
        assert violations(engine) == []


SLEEP = """
CREATE FUNCTION nap() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM pg_sleep(20); RETURN NEW; END $$
"""
SLEEPS = "CREATE TRIGGER slow BEFORE INSERT ON change_fields FOR EACH ROW EXECUTE FUNCTION nap()"


@pytest.mark.row(51)
def test_a_signal_that_comes_with_the_commit_of_the_merge_changes_nothing_of_it(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit waits for the disk, so this is where a signal finds a process; the run is over."""
    merged: list[bool] = []
    commit = engine.dialect.do_commit

    def note(_connection: Any, _cursor: Any, statement: str, *_: object) -> None:
        merged.extend([True] if statement.startswith("INSERT INTO changes") else [])

    def signalled(connection: Any) -> None:
        commit(connection)
        if merged:
            merged.clear()
            signal.raise_signal(signal.SIGINT)

    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        sync(engine, settings, "st")
        sandbox.world.evolve(changed=0.3)
        event.listen(engine, "before_cursor_execute", note)
        monkeypatch.setattr(engine.dialect, "do_commit", signalled)
        with heeding(), pytest.raises(KeyboardInterrupt):
            sync(engine, settings, "st")
        assert rows(engine, "runs")[-1]["status"] == "ok"
        after = contents(engine)
        again = sync(engine, settings, "st")
    assert (again.status, again.changed, contents(engine)) == ("ok", 0, after)
    assert violations(engine) == []


STRETCH = 40  # signals a test
EVERYWHERE = ("call", "c_return")


@pytest.mark.slow
@pytest.mark.row(51)
# a connection that is made in that very moment is left to the collector, which closes it
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("source", ["ld", "st", "ly"])
@pytest.mark.parametrize("seed", range(3))
def test_a_signal_at_any_call_loses_nothing(
    databases: Databases, caplog: pytest.LogCaptureFixture, source: str, seed: int
) -> None:
    """Each time in a new database: a signal at some call of the run, then a run to its end."""
    some = Random(seed)  # noqa: S311
    with Sandbox(small(big_project=True)) as sandbox:
        settings = settings_for(sandbox, **PAGED)
        calls = 0

        def count_it(_frame: object) -> bool:
            nonlocal calls
            calls += 1
            return False

        for time in range(STRETCH):
            with databases("sqlite") as engine:
                if not time:
                    with signal_when(count_it, at=EVERYWHERE):
                        sync(engine, settings, source)
                    continue
                due = nth(some.randint(1, calls))
                with suppress(KeyboardInterrupt), signal_when(due, at=EVERYWHERE) as came:
                    sync(engine, settings, source)
                assert [one for one in caplog.records if one.levelno > logging.WARNING] == [], came
                assert {run["status"] for run in rows(engine, "runs")} <= {"ok", "parked"}, came
                assert count(engine, "leases") == 0, came
                report = sync(engine, settings, source)
                assert report.status == "ok", came
                assert counts(engine)[report.provider] == sandbox.counts()[report.provider], came
                assert violations(engine) == [], came
