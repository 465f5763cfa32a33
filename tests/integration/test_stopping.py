"""How runs are stopped: a daemon's read what is on its way, and a signal loses nothing."""

import logging
import threading
from collections import Counter
from collections.abc import Callable

import pytest
from sqlalchemy import Engine

from etl import app
from etl.app import Running, Watch, Wish
from etl.sandbox import Fault, Sandbox, World
from tests.support.database import count, counts, rows
from tests.support.history import violations
from tests.support.interrupting import below, called, signal_when
from tests.support.runs import asked, settings_for, small

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
        parked = app.sync(engine, settings, "st", Wish(), watch=Watch(running=running))
        first = len(asked(sandbox, "page="))
        done = app.sync(engine, settings, "st", Wish())
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
        parked = app.sync(engine, settings, "st", Wish(), watch=Watch(running=running))
    assert (parked.status, parked.error is not None) == ("parked", True)
    assert count(engine, "leases") == 0


STEPS = {
    "before the lease": lambda: called("acquire"),
    "after the lease": lambda: called("open_run"),
    "a page is noted and not taken in": lambda: called("take_page", 4),
    "a page is half taken in": lambda: called("_stage", 3),
    "a page is taken in": lambda: called("checkpoint", 2),
    "a commit": lambda: called("do_commit", 3),
    "a connection is given back": lambda: called("_reset", 4),
    "a statement of the merge is answered": lambda: below("_merged", called("_init_metadata", 3)),
    "the end of the merge": lambda: called("close_run"),
    "the release of the lease": lambda: called("release"),
}


@pytest.mark.parametrize("step", STEPS)
def test_a_signal_between_any_two_steps_loses_nothing(
    engine: Engine, caplog: pytest.LogCaptureFixture, step: str
) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox, ly={"projects": {"page_size": 3}})
        with pytest.raises(KeyboardInterrupt), signal_when(STEPS[step]()) as came:
            app.sync(engine, settings, "ly", Wish())
        assert came
        assert [one for one in caplog.records if one.levelno > logging.WARNING] == []
        assert {run["status"] for run in rows(engine, "runs")} <= {"ok", "parked"}
        assert count(engine, "leases") == 0
        assert app.sync(engine, settings, "ly", Wish()).status == "ok"
        assert counts(engine)["layers"] == sandbox.counts()["layers"]
    assert violations(engine) == []
