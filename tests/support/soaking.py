"""The daemon with its time sped up: what `etl schedule` puts together, on a clock of its own.

`python -m tests.support.soaking CONFIG STARTED_AT BEGAN SPEED`: virtual time was STARTED_AT when
it was BEGAN (both epoch seconds), and runs SPEED times as fast. Only clocks and pauses differ from
`etl schedule`; the vendors' answers, the database, signals and threads are as slow as they are.
"""

import logging
import signal
import sys
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Self

from apscheduler.schedulers import background, base

from etl.app import Running, Watch, Wish, last_started, open_database, sync
from etl.config import load
from etl.schedule import Schedule
from tests.support.runs import environ

A_MONTH = timedelta(days=30)


def sped_up(started_at: float, began: float, speed: float) -> type[datetime]:
    """A datetime whose now() runs that much faster."""

    class Fast(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return cls.fromtimestamp(started_at + (time.time() - began) * speed, tz)

    return Fast


def shortened(speed: float) -> type[threading.Event]:
    """An event that waits that much shorter."""

    class Event(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            return super().wait(None if timeout is None else timeout / speed)

    return Event


def main(config: Path, started_at: float, began: float, speed: float) -> None:
    """Runs until SIGTERM."""
    fast = sped_up(started_at, began, speed)
    base.datetime = fast  # APScheduler takes no clock
    background.Event = shortened(speed)

    def clock() -> datetime:
        now = fast.now(UTC)
        return datetime.fromtimestamp(now.timestamp(), UTC)

    def settings(_config: Path = config):
        return load(_config, environ=environ())

    def run(given, name):
        report = sync(engine, given, name, Wish(), watch=Watch(running=running), clock=clock)
        if report.retry_at is None or report.retry_at - clock() < A_MONTH:
            return report
        # a vendor's word, told by the client's clock, which is not sped up
        return replace(report, retry_at=clock() + (report.retry_at - datetime.now(UTC)))

    engine = open_database(settings())
    running = Running()
    schedule = Schedule(
        load=settings,
        sync=run,
        last_started=lambda name: last_started(engine, name),
        interrupt=running.stop,
        clock=clock,
    )
    asked = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: asked.set())
    signal.signal(signal.SIGHUP, lambda *_: schedule.reload())
    schedule.start()
    print("started", flush=True)  # noqa: T201
    asked.wait()
    schedule.stop()
    engine.dispose()


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    main(Path(sys.argv[1]), *map(float, sys.argv[2:5]))
