"""How runs are stopped: a daemon's read what is on its way, and a signal loses nothing."""

import itertools
import logging
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event

from etl.sandbox import Fault, Sandbox, Sizes, World
from tests.support.database import count, counts, rows
from tests.support.history import violations
from tests.support.internals.database import engine as database
from tests.support.internals.database import schema
from tests.support.internals.running import Progress, Running, RunOptions, Watch, app, intake
from tests.support.interrupting import heeding
from tests.support.lists import LAYERS_COM
from tests.support.runs import asked, settings_for, small
from tests.support.waiting import until

PATIENCE = 60
PAGES = "statsig /console/v1/layers?*"


def stopping(running: Running) -> Callable[[World], None]:
    """Stops the run while a page of it is on its way; the page comes when the stop has begun."""

    def stop(_world: World) -> None:
        threading.Thread(target=running.stop).start()
        assert running.begun.wait(PATIENCE)

    return stop


def test_a_page_on_its_way_is_kept_and_the_next_run_asks_for_what_is_behind(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "LAST_PAGE_SECONDS", float(PATIENCE))
    running = Running()
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox, st={"layers": {"page_size": 2}})
        sandbox.add_fault(Fault(PAGES, "mutate", after=1, times=1, arg=stopping(running)))
        parked = app.sync(engine, settings, "st", RunOptions(), watch=Watch(running=running))
        first = len(asked(sandbox, "page="))
        done = app.sync(engine, settings, "st", RunOptions())
        pages = Counter(asked(sandbox, "page="))
    assert (parked.status, done.status, done.run_id) == ("parked", "ok", parked.run_id)
    assert first < len(pages)
    assert max(pages.values()) == 1
    assert count(engine, "leases") == 0


def test_a_page_that_does_not_come_is_not_waited_for(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "LAST_PAGE_SECONDS", 0.0)
    running = Running()
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        sandbox.add_fault(Fault(PAGES, "mutate", arg=stopping(running)))
        sandbox.add_fault(Fault(PAGES, "stall", arg=10 * PATIENCE))
        parked = app.sync(engine, settings, "st", RunOptions(), watch=Watch(running=running))
    assert (parked.status, parked.error is not None) == ("parked", True)
    assert count(engine, "leases") == 0


MOMENTS = [
    *(("before_cursor_execute", number) for number in (1, 4, 8, 16, 24)),
    *(("after_cursor_execute", number) for number in (5, 12, 20)),
    *(("commit", number) for number in (1, 2, 3)),
    ("checkin", 2),  # of a connection to its pool
]


@contextmanager
def signal_at(
    engine: Engine, moment: tuple[str, int], handler: Any = signal.default_int_handler
) -> Iterator[list[str]]:
    """The signal comes with the n-th statement, commit or connection given back; -> that it did."""
    what, number = moment
    numbers, came = itertools.count(1), []

    def due(*_: object) -> None:
        if next(numbers) == number:
            came.append(what)
            os.kill(os.getpid(), signal.SIGINT)

    event.listen(engine, what, due)
    try:
        with heeding(handler=handler):
            yield came
    finally:
        event.remove(engine, what, due)


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_signal_between_any_two_steps_loses_nothing(
    engine: Engine, caplog: pytest.LogCaptureFixture, moment: tuple[str, int]
) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox, ly={"projects": {"page_size": 3}})
        with pytest.raises(KeyboardInterrupt), signal_at(engine, moment) as came:
            app.sync(engine, settings, "ly", RunOptions())
        assert came
        assert [one for one in caplog.records if one.levelno > logging.WARNING] == []
        assert {run["status"] for run in rows(engine, "runs")} <= {"ok", "parked"}
        assert count(engine, "leases") == 0
        assert app.sync(engine, settings, "ly", RunOptions()).status == "ok"
        assert counts(engine)["layers"] == sandbox.counts()["layers"]
    assert violations(engine) == []


def leave(*_: object) -> None:
    """What many a program does with SIGTERM."""
    raise SystemExit(143)


@pytest.mark.parametrize(
    "moment", [("before_cursor_execute", 8), ("after_cursor_execute", 20), ("commit", 2)]
)
def test_a_handler_that_leaves_the_program_parks_the_run_too(
    engine: Engine, moment: tuple[str, int]
) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox, ly={"projects": {"page_size": 3}})
        with pytest.raises(SystemExit, match="143"), signal_at(engine, moment, leave):
            app.sync(engine, settings, "ly", RunOptions())
        (run,) = rows(engine, "runs")
        assert (run["status"], count(engine, "leases")) == ("parked", 0)
        assert app.sync(engine, settings, "ly", RunOptions()).status == "ok"
    assert violations(engine) == []


def test_a_walk_that_ended_just_before_the_next_one_proves_no_more_than_without_a_signal(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list moved under its first walk, so a second one must be made, if by the next run."""
    monkeypatch.setattr(intake, "CHECKPOINT_SECONDS", 0.0)
    with LAYERS_COM.sandbox() as sandbox, heeding():
        world, settings = sandbox.world, LAYERS_COM.settings(sandbox)
        newest, *others = LAYERS_COM.keys(world)
        pages = -(-len(others) // LAYERS_COM.page)
        for after, act in (
            (1, lambda moved: LAYERS_COM.delete(moved, newest)),
            (pages, lambda _: os.kill(os.getpid(), signal.SIGINT)),
        ):
            sandbox.add_fault(LAYERS_COM.fault("mutate", after=after, times=1, arg=act))
        sandbox.add_fault(LAYERS_COM.fault("stall", after=pages, arg=10 * PATIENCE))
        with pytest.raises(KeyboardInterrupt):
            app.sync(engine, settings, "ly", RunOptions())
        assert [run["status"] for run in rows(engine, "runs")] == ["parked"]
        sandbox.clear_faults()
        assert app.sync(engine, settings, "ly", RunOptions()).status == "ok"
        assert set(LAYERS_COM.keys(world)) <= set(LAYERS_COM.stored(engine))


def test_a_signal_is_heard_where_pages_wait_to_be_taken_in(engine: Engine) -> None:
    """Threads fetch faster than their pages are taken in, so nothing is ever waited for."""
    sizes = Sizes(ld_projects=30, ld_environments=1, ld_layers=1)
    taken = 0

    def progress(step: Progress) -> None:
        nonlocal taken
        if step.stream != "layers":
            return
        taken += 1
        assert until(lambda: len(asked(sandbox, "/layers")) >= min(30, taken + 7))
        if taken == 5:
            os.kill(os.getpid(), signal.SIGINT)

    with Sandbox(World(7, sizes)) as sandbox, heeding():
        with pytest.raises(KeyboardInterrupt):
            app.sync(
                engine, settings_for(sandbox), "ld", RunOptions(), watch=Watch(progress=progress)
            )
        assert taken == 5
        assert app.sync(engine, settings_for(sandbox), "ld", RunOptions()).status == "ok"
        assert counts(engine)["launchdarkly"] == sandbox.counts()["launchdarkly"]


def test_a_signal_is_not_lost_when_its_run_cannot_be_parked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Another program holds the lock of the file for longer than a writer waits."""
    for name in ("BUSY_SECONDS", "WRITER_SECONDS"):
        monkeypatch.setattr(database, name, 0)
    engine = database.open_engine(f"sqlite:///{tmp_path / 'etl.db'}")
    schema.upgrade(engine)
    with Sandbox(small()) as sandbox, engine.connect() as other, heeding():

        def lock_and_stop(_world: World) -> None:
            other.exec_driver_sql("SELECT 1")  # begins, as a writer does
            os.kill(os.getpid(), signal.SIGINT)

        sandbox.add_fault(Fault(PAGES, "mutate", after=1, times=1, arg=lock_and_stop))
        sandbox.add_fault(Fault(PAGES, "stall", after=1, arg=10 * PATIENCE))
        settings = settings_for(sandbox, st={"layers": {"page_size": 2}})
        with pytest.raises(KeyboardInterrupt):
            app.sync(engine, settings, "st", RunOptions())
        assert "giving back the lease of st" in caplog.text
        other.rollback()
        sandbox.clear_faults()
        assert app.sync(engine, settings, "st", RunOptions()).status == "ok"
        assert counts(engine)["statsig"] == sandbox.counts()["statsig"]
    engine.dispose()
