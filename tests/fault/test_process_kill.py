"""Row 44, one kill at every commit; row 45, who may run a source when there are two."""

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import count as numbers
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from sqlalchemy import Engine, text

from etl.sandbox import Fault, Sandbox, World
from tests.cli.command import line, process, variables
from tests.conftest import BOTH, Databases
from tests.support.database import contents, count, counts, differing, rows
from tests.support.forks import Fork
from tests.support.history import violations
from tests.support.internals.running import lives, this_process
from tests.support.runs import asked, config_text, hour, settings_for, small, sync

PAGED: dict[str, Any] = {
    "ld": {"limits": {"concurrency": 1, "rate_limits": []}},
    "st": {"layers": {"page_size": 5}, "limits": {"rate_limits": []}},
    "ly": {"projects": {"page_size": 3}, "limits": {"rate_limits": []}},
}
EVERY_PAGE = {"checkpoint": 0.0}
LONG = pytest.mark.slow
KILLED = [  # database, source, its pages, how many may come again
    ("sqlite", "st", "/layers?", 1),
    pytest.param("postgres", "st", "/layers?", 1, marks=LONG),
    *(pytest.param(kind, "ld", "/layers", 1, marks=LONG) for kind in BOTH),
    # two whole walks must agree; the one before the kill is forgotten
    *(pytest.param(kind, "ly", "projects?", 1 + 5, marks=LONG) for kind in BOTH),
]


@pytest.fixture
def undisturbed(engine: Engine, databases: Databases) -> Iterator[Engine]:
    """A second database of the same kind."""
    with databases("sqlite" if engine.dialect.name == "sqlite" else "postgres") as other:
        yield other


def config_for(engine: Engine, sandbox: Sandbox, folder: Path, **tables: Any) -> Path:
    """The file for a process of its own."""
    config = folder / "etl.toml"
    url = engine.url.render_as_string(hide_password=False).replace("+psycopg", "")
    config.write_text(config_text(sandbox, url, **tables))
    return config


@pytest.mark.row(44)
@pytest.mark.parametrize(("engine", "source", "pages", "most_again"), KILLED, indirect=["engine"])
def test_a_run_killed_at_any_commit_ends_as_an_undisturbed_one(
    engine: Engine,
    undisturbed: Engine,
    tmp_path: Path,
    source: str,
    pages: str,
    most_again: int,
    fork: Fork,
) -> None:
    """Pages before the last checkpoint are not fetched again; the dead holder's lease is taken."""
    with Sandbox(small(big_project=True)) as sandbox:
        settings = settings_for(sandbox, **PAGED)
        config = config_for(engine, sandbox, tmp_path, **PAGED)
        for target in (engine, undisturbed):
            sync(target, settings, source)
        for commit in numbers(1):
            sandbox.world.evolve(changed=0.2, deleted=1, created=1, restored=0)
            sandbox.reset_requests()
            sync(undisturbed, settings, source)
            wanted = Counter(asked(sandbox, pages))
            sandbox.reset_requests()
            if not fork(config, source, commit=commit, **EVERY_PAGE).killed:
                break
            unended = count(engine, "runs", "status = 'running'")
            assert fork(config, source, **EVERY_PAGE).code == 0
            again = sum((Counter(asked(sandbox, pages)) - wanted).values())
            assert again <= most_again or not unended, f"killed at commit {commit}"
            assert fork(config, source).code == 0  # where a walk of two processes proves too little
            assert differing(engine, undisturbed) == set(), f"killed at commit {commit}"
    assert commit > 5
    assert violations(engine) == []


@pytest.mark.row(45)
def test_the_second_of_two_processes_is_sent_away_before_it_asks(
    engine: Engine, tmp_path: Path
) -> None:
    waiting, over = Event(), Event()

    def hold(_world: World) -> None:
        waiting.set()
        over.wait(60)

    with Sandbox(small()) as sandbox:
        config = config_for(engine, sandbox, tmp_path)
        sandbox.add_fault(Fault("statsig */layers*", "mutate", arg=hold))
        words = ("--config", str(config), "sync", "st")
        with subprocess.Popen(line(*words), env=variables(), stdout=subprocess.DEVNULL) as first:
            assert waiting.wait(60)
            before = len(sandbox.requests)
            second = process(*words, at=tmp_path)
            assert (second.code, len(sandbox.requests), first.poll()) == (75, before, None)
            over.set()
            assert first.wait(60) == 0
        assert f"is being synced by process {first.pid}" in second.out
        assert counts(engine)["statsig"] == sandbox.counts()["statsig"]


@pytest.mark.row(45)
def test_a_lease_of_another_host_is_kept_until_it_ends_and_taken_then(engine: Engine) -> None:
    held = {"source": "st", "token": "t", "host": "elsewhere", "pid": 1, "started": "", "at": None}
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        sync(engine, settings, "st", hour(0))
        with engine.begin() as connection:
            connection.execute(text(INSERT_LEASE), held | {"at": _moment(engine, 1)})
        sandbox.reset_requests()
        early = sync(engine, settings, "st", hour(0))
        assert (early.status, early.exit_code, asked(sandbox)) == ("busy", 75, [])
        late = sync(engine, settings, "st", hour(2))
    assert (late.status, count(engine, "leases")) == ("ok", 0)


INSERT_LEASE = """
INSERT INTO leases (source, token, host, pid, process_started, expires_at)
VALUES (:source, :token, :host, :pid, :started, :at)
"""


def _moment(engine: Engine, number: int) -> Any:
    moment = hour(number)
    if engine.dialect.name == "sqlite":
        return moment.replace(tzinfo=None).isoformat(sep=" ", timespec="microseconds")
    return moment


@pytest.mark.row(45)
@pytest.mark.parametrize(
    ("engine", "where", "after"),
    [
        ("sqlite", "statsig /console/v1/layers?*", 2),
        ("sqlite", "statsig /console/v1/layers/*", 0),
        pytest.param("postgres", "statsig /console/v1/layers?*", 2, marks=LONG),
        pytest.param("postgres", "statsig /console/v1/layers/*", 0, marks=LONG),
    ],
    indirect=["engine"],
)
def test_a_paused_holder_that_wakes_up_after_the_takeover_writes_nothing(
    engine: Engine, tmp_path: Path, where: str, after: int
) -> None:
    """Stopped in mid-walk, and while it proves deletions; its lease is as one of another host."""
    paused = Event()

    def pause(_world: World) -> None:
        os.kill(child.pid, signal.SIGSTOP)
        paused.set()

    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox, **PAGED)
        sync(engine, settings, "st")
        sandbox.world.evolve(changed=0.3, deleted=2, created=2)
        sandbox.add_fault(Fault(where, "mutate", after=after, arg=pause))
        config = config_for(engine, sandbox, tmp_path, **PAGED)
        words = ("--config", str(config), "sync", "st")
        with subprocess.Popen(
            line(*words), env=variables(), stdout=subprocess.PIPE, text=True
        ) as child:
            assert paused.wait(60)
            with engine.begin() as connection:
                lease = "UPDATE leases SET host = 'elsewhere', expires_at = :at"
                connection.execute(text(lease), {"at": _moment(engine, 0)})
            assert sync(engine, settings, "st").status == "ok"
            before = contents(engine), rows(engine, "runs"), rows(engine, "run_streams")
            os.kill(child.pid, signal.SIGCONT)
            told, _ = child.communicate(timeout=60)
            assert child.returncode == 75
        assert "was taken over by another run" in told
        assert counts(engine)["statsig"] == sandbox.counts()["statsig"]
    assert (contents(engine), rows(engine, "runs"), rows(engine, "run_streams")) == before
    assert violations(engine) == []


@pytest.mark.row(19, 44)
def test_a_project_replaced_between_two_halves_of_a_run_keeps_its_parts_apart(
    engine: Engine,
) -> None:
    """Found by the state machine: the new project's layers were stored as the old one's."""
    with Sandbox(small(big_project=True)) as sandbox:
        settings = settings_for(sandbox, **PAGED)
        world = sandbox.world
        old = next(
            one["_id"]
            for one in world.records("launchdarkly", "projects")
            if one["key"] == "search"
        )
        sandbox.add_fault(Fault("launchdarkly */layers", "status", arg=401))
        assert sync(engine, settings, "ld", hour(1)).status == "denied"
        world.delete("launchdarkly", "projects", "search")
        world.create("launchdarkly", "projects", key="search")
        assert sync(engine, settings, "ld", hour(2)).attempts == 2
    assert count(engine, "layers", f"parent_id = '{old}'") == 0


@pytest.mark.row(45)
def test_a_holder_that_nobody_has_waited_for_is_dead() -> None:
    """In a container whose first process waits for nobody it stays in /proc for ever."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        ticks = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[19]
        holder = replace(this_process(), pid=child.pid, process_started=ticks)
        assert lives(holder) is True
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert lives(holder) is False
