"""`etl sync` of several sources: a process each, and still one command that can be stopped."""

import os
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from etl.sandbox import Fault, Sandbox
from tests.cli.command import SECONDS, Place, free_port, line, place, variables
from tests.support.internals.running import RunOptions, Watch, load, sync_alone
from tests.support.runs import asked, environ, small
from tests.support.waiting import gone, until

ALL = ("sync", "--concurrency", "3")
PAGED = {"st": {"layers": {"page_size": 10}}, "ly": {"projects": {"page_size": 3}}}
STALLS = {"statsig *page=3*": "page=3", "layers */projects?*cursor=*": "cursor="}


def stored(found: Place, query: str) -> list[Any]:
    with closing(sqlite3.connect(found.database)) as connection:
        return connection.execute(query).fetchall()


@contextmanager
def stalled(folder: Path) -> Iterator[tuple[Place, "subprocess.Popen[str]"]]:
    """A sync of three sources, of which one has ended and two wait for answers for ever."""
    with Sandbox(small()) as sandbox:
        found = place(folder, sandbox, **PAGED)
        for match in STALLS:
            sandbox.add_fault(Fault(match, "stall", times=None, arg=2 * SECONDS))
        with subprocess.Popen(
            line("--config", str(found.config), *ALL),
            env=variables(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as running:
            try:
                assert until(lambda: found.database.exists() and waiting(found))
                yield found, running
            finally:
                running.kill()


def waiting(found: Place) -> bool:
    """Whether one source has ended, and both others have asked for what does not come."""
    with suppress(sqlite3.OperationalError):  # as long as tables are being made
        ended = stored(found, "SELECT source FROM runs WHERE status = 'ok'")
        return ended == [("ld",)] and all(asked(found.sandbox, part) for part in STALLS.values())
    return False


def gone_on(found: Place) -> None:
    """The next sync ends what was begun, and all is there."""
    found.sandbox.clear_faults()
    again = found.etl(*ALL)
    assert (again.code, again.out.count("gone on from the checkpoint")) == (0, 2), again
    for table, provider in (("layers", "statsig"), ("projects", "layers")):
        query = f"SELECT count(*) FROM {table} WHERE provider = '{provider}'"  # noqa: S608
        assert stored(found, query) == [(found.sandbox.counts()[provider][table],)]
    assert found.etl("audit").code == 0


def test_reports_are_of_all_sources_in_the_order_of_the_configuration(here: Place) -> None:
    ended = here.process(*ALL, "--json")
    assert (ended.code, [run["source"] for run in ended.json["runs"]]) == (0, ["ld", "st", "ly"])
    again = here.process(*ALL)
    assert (again.code, again.err) == (0, "")
    told = [text for text in again.out.splitlines() if text[0] != " "]
    assert sorted(text.split(":")[0] for text in told) == ["ld", "ly", "st"]
    assert all("ok, nothing changed" in text for text in told)


def test_a_source_named_twice_is_synced_once(here: Place) -> None:
    ended = here.etl("sync", "st", "st", "ly", "--json")
    assert [run["source"] for run in ended.json["runs"]] == ["st", "ly"]


@pytest.mark.parametrize(
    ("number", "to_all"),
    [(signal.SIGTERM, False), (signal.SIGTERM, True), (signal.SIGINT, True)],
    ids=["kill", "a supervisor", "a terminal"],
)
def test_a_signal_parks_all_that_run(tmp_path: Path, number: int, *, to_all: bool) -> None:
    """`kill` sends it to the command only, the others to every process."""
    with stalled(tmp_path) as (found, running):
        (os.killpg if to_all else os.kill)(running.pid, number)
        _, err = running.communicate(timeout=SECONDS)
        assert (running.returncode, err.count("etl: stopped"), "Traceback" in err) == (75, 1, False)
        parked = stored(found, "SELECT source FROM runs WHERE status = 'parked' ORDER BY source")
        assert (parked, stored(found, "SELECT * FROM leases")) == ([("ly",), ("st",)], [])
        gone_on(found)


def test_a_process_that_is_killed_is_a_failure_of_its_source_only(tmp_path: Path) -> None:
    with stalled(tmp_path) as (found, running):
        leases = dict(stored(found, "SELECT source, pid FROM leases"))
        os.kill(leases["st"], signal.SIGKILL)
        assert running.stdout is not None
        told = iter(running.stdout.readline, "")
        line_of_st = next(text for text in told if text.startswith("st: "))
        assert line_of_st.startswith("st: failed, ")
        assert next(told) == (
            "  its process was killed by signal 9; what it read is kept, and the next run goes on "
            "from there\n"
        )
        assert running.poll() is None  # the other one is still at work
        running.send_signal(signal.SIGTERM)
        running.communicate(timeout=SECONDS)
        assert running.returncode == 75
        gone_on(found)


def test_a_run_that_cannot_open_the_database_is_a_report_as_any_other(here: Place) -> None:
    """As where a server has no connection left for it; the command itself had one."""
    settings = load(here.config, environ=environ())
    gone = replace(settings, database_url=f"postgresql://etl@127.0.0.1:{free_port()}/etl")
    report = sync_alone(gone, "st", RunOptions(), Watch())
    assert (report.status, report.exit_code, report.run_id) == ("failed", 1, None)
    assert (report.error or "").startswith("cannot open the database postgresql://")


def test_nothing_goes_on_when_the_command_is_killed(tmp_path: Path) -> None:
    with stalled(tmp_path) as (found, running):
        leases = dict(stored(found, "SELECT source, pid FROM leases"))
        assert sorted(leases) == ["ly", "st"]
        running.kill()
        running.communicate(timeout=SECONDS)
        assert until(lambda: all(map(gone, leases.values())))
        gone_on(found)
