"""`etl worker`: takes source runs from the queue until a signal ends it; sets the queue up."""

import logging
import signal
from typing import TYPE_CHECKING, Annotated

import typer

from etl.cli import context, terminal
from etl.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine

    from etl.config import Settings
    from etl.report import RunReport

log = logging.getLogger(__name__)


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    app.command("worker")(run)


def run(
    ctx: typer.Context,
    concurrency: Annotated[
        int, typer.Option(min=1, max=64, help="How many sources run at once in this process.")
    ] = 4,
    setup: Annotated[
        bool, typer.Option("--setup", help="Make the tables of the queue, or bring them up; exit.")
    ] = False,
) -> None:
    """Run sources from the queue that `etl schedule --enqueue` fills (Postgres; etl[worker]).

    Start one a core, on as many machines as it takes. SIGHUP reads the configuration again; SIGTERM
    ends it within seconds: its runs keep their pages, and their jobs wait for another worker.
    """
    from etl.db import queue

    engine = context.database(ctx.obj, at_once=concurrency)
    try:
        queue.require(engine)
        if setup:
            _set_up(engine)
        else:
            _serve(ctx.obj, engine, concurrency)
    finally:
        engine.dispose()


def _set_up(engine: "Engine") -> None:
    from etl.db import queue

    with engine.begin() as connection:
        made = queue.set_up(connection)
    terminal.say(f"the queue ({queue.SCHEMA}) is {'set up' if made else 'as it should be'}")


def _serve(common: context.Common, engine: "Engine", concurrency: int) -> None:
    from etl.app import Running, Watch, Wish, sync
    from etl.notify import tell
    from etl.worker import Worker

    running = Running()
    known = _Known(lambda: context.settings(common, secrets=True))

    def run_one(name: str) -> "RunReport":
        settings = known.having(name)
        report = sync(engine, settings, name, Wish(), watch=Watch(running=running))
        tell(engine, settings, [report])
        return report

    worker = Worker(
        engine=engine,
        sync=run_one,
        interrupt=running.stop,
        concurrency=concurrency,
    )
    signal.signal(signal.SIGHUP, lambda *_: known.forget())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: worker.stop())
    _share_logs()
    terminal.say(
        f"{terminal.count(len(known.settings.sources), 'source')}, {concurrency} at once; "
        "waiting for jobs"
    )
    worker.run()
    terminal.say("stopped; jobs that were at work wait for another worker")


class _Known:
    """The configuration as it was last read; read again on demand, or for a source it has not."""

    def __init__(self, load: "Callable[[], Settings]") -> None:
        self._load, self._old = load, False
        self.settings = load()

    def forget(self) -> None:
        """The next run reads it again."""
        self._old = True

    def having(self, source: str) -> "Settings":
        """The settings with that source; a broken new configuration is told, and not taken."""
        if self._old or source not in self.settings.sources:
            self._old = False
            try:
                self.settings = self._load()
            except ConfigError as error:
                log.error("the new configuration is not taken: %s", error)  # noqa: TRY400
        if source not in self.settings.sources:
            raise ConfigError(f"a job is for {source}, which the configuration does not have")
        return self.settings


def _share_logs() -> None:
    """What procrastinate has to say goes where our logs go."""
    ours, theirs = logging.getLogger("etl"), logging.getLogger("procrastinate")
    theirs.handlers, theirs.propagate = ours.handlers, False
    theirs.setLevel(logging.WARNING)
