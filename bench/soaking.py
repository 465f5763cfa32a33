"""The daemon with its time sped up: what `etl schedule` puts together, on a clock of its own.

`python -m bench.soaking CONFIG STARTED_AT BEGAN SPEED`: virtual time was STARTED_AT when
it was BEGAN (both epoch seconds), and runs SPEED times as fast. Clocks and pauses of the whole
process are made so before anything of etl is imported; the vendors' answers, the database, signals
and threads are as slow as they are.
"""

import logging
import signal
import sys
import threading
import time
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Self


def speed_up(started_at: float, began: float, speed: float) -> type[datetime]:
    """Time runs that much faster, and waits are that much shorter; a datetime that knows it."""
    real = time.time

    def virtual() -> float:
        return started_at + (real() - began) * speed

    class Fast(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return cls.fromtimestamp(virtual(), tz)

    class Event(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            return super().wait(None if timeout is None else timeout / speed)

    time.time = virtual
    threading.Event = Event  # type: ignore[misc]  # for those who import it from here on
    return Fast


def main(config: Path, started_at: float, began: float, speed: float) -> None:
    """Runs until SIGTERM."""
    asked = threading.Event()
    fast = speed_up(started_at, began, speed)

    from apscheduler.schedulers import base

    from etl.config.settings import load
    from etl.operations.sync import Running, RunOptions, Watch, last_started, open_database, sync
    from etl.schedule.daemon import Schedule
    from tests.support.runs import environ

    base.datetime = fast  # APScheduler takes no clock

    def clock() -> datetime:
        return datetime.fromtimestamp(time.time(), UTC)

    def settings():
        return load(config, environ=environ())

    engine = open_database(settings())
    running = Running()
    schedule = Schedule(
        load=settings,
        sync=lambda given, name: sync(
            engine, given, name, RunOptions(), watch=Watch(running=running), clock=clock
        ),
        last_started=lambda name: last_started(engine, name),
        interrupt=running.stop,
        clock=clock,
    )
    signal.signal(signal.SIGTERM, lambda *_: asked.set())
    signal.signal(signal.SIGHUP, lambda *_: schedule.reload())
    schedule.start()
    print("started", flush=True)
    asked.wait()
    schedule.stop()
    engine.dispose()


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    main(Path(sys.argv[1]), *map(float, sys.argv[2:5]))
