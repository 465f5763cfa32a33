"""When a daemon stops, pages on their way are read to their end, and none is asked for twice."""

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, event

from etl import app
from etl.app import Running, Watch, Wish
from etl.sandbox import Fault, Sandbox, World
from tests.support.database import count
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


def test_a_signal_while_the_lease_is_given_back_leaves_no_lease(engine: Engine) -> None:
    signals = [KeyboardInterrupt()]

    def interrupt(*arguments: Any) -> None:
        if arguments[2].startswith("DELETE FROM leases") and signals:
            raise signals.pop()

    with Sandbox(small()) as sandbox:
        event.listen(engine, "before_cursor_execute", interrupt)
        with pytest.raises(KeyboardInterrupt):
            app.sync(engine, settings_for(sandbox), "st", Wish())
    assert (signals, count(engine, "runs", "status = 'ok'")) == ([], 1)
    assert count(engine, "leases") == 0
