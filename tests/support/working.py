"""`python -m tests.support.working CONFIG [merge|walk N]`: a worker that may kill itself, for real.

In the middle of its n-th merge, before the commit; or at the third page of a walk, from the n-th
run on. It shows signs of life often, so that others need not wait long for its death.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event

from etl.config.settings import load
from etl.load import stager
from etl.model import RunReport
from etl.operations import sync as app
from etl.pipeline.crawl import Progress
from etl.schedule.worker import Worker

BEAT, DEAD_AFTER, AT_ONCE = 1.0, 10.0, 2
NEVER = 1 << 30


def main(path: str, where: str, count: int) -> None:
    """Works until SIGTERM."""
    settings = load(Path(path))
    engine = app.open_database(settings, at_once=AT_ONCE)
    stager.CHECKPOINT_SECONDS = 0.0  # every page
    running, begun = app.Running(), 0
    if where == "merge":
        _die_in_merge(engine, count)

    def sync(name: str) -> RunReport:
        nonlocal begun
        begun += 1
        fatal, pages = where == "walk" and begun >= count, 0

        def advance(step: Progress) -> None:
            nonlocal pages
            pages += step.pages
            if fatal and pages >= 3:
                os.kill(os.getpid(), signal.SIGKILL)

        watch = app.Watch(running=running, progress=advance)
        return app.sync(engine, settings, name, app.RunOptions(), watch=watch)

    worker = Worker(
        engine=engine,
        sync=sync,
        interrupt=running.stop,
        concurrency=AT_ONCE,
        beat=BEAT,
        dead_after=DEAD_AFTER,
    )
    signal.signal(signal.SIGTERM, lambda *_: worker.stop())
    worker.run()
    engine.dispose()


def _die_in_merge(engine: Engine, count: int) -> None:
    merges = 0

    def note(_connection: Any, _cursor: Any, statement: str, *_: object) -> None:
        nonlocal merges
        merges += statement.startswith("INSERT INTO changes")
        if merges >= count:
            os.kill(os.getpid(), signal.SIGKILL)

    event.listen(engine, "after_cursor_execute", note)


if __name__ == "__main__":
    asked = [*sys.argv[1:], "", str(NEVER)]
    main(asked[0], asked[1], int(asked[2]))
