"""`etl worker`: takes source runs from the queue until a signal ends it; sets the queue up."""

import logging
import signal
from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated, Any

import typer

from etl.cli import context, terminal
from etl.cli.context import LOOPBACK
from etl.errors import ConfigError
from etl.log_fields import fields

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine

    from etl.config.settings import Settings
    from etl.model import RunReport
    from etl.schedule.worker import Worker

log = logging.getLogger(__name__)


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    app.command("worker")(run)


def run(
    ctx: typer.Context,
    concurrency: Annotated[
        int, typer.Option(min=1, max=64, help="How many sources run at once in this process.")
    ] = 4,
    health_port: Annotated[
        int,
        typer.Option(min=0, max=65535, help="Port of /healthz and /metrics; 0: none."),
    ] = 0,
    health_host: context.HealthHost = LOOPBACK,
    setup: Annotated[
        bool, typer.Option("--setup", help="Make the tables of the queue, or bring them up; exit.")
    ] = False,
) -> None:
    """Run sources from the queue that `etl schedule --enqueue` fills; needs Postgres.

    One a core, on any number of machines. SIGHUP reads the configuration again.

    SIGTERM ends it within seconds: its runs park, their jobs wait for another worker.
    """
    from etl.schedule import queue

    engine = context.database(ctx.obj, at_once=concurrency)
    try:
        queue.require(engine)
        if setup:
            _set_up(engine)
            return
        with engine.begin() as connection:
            queue.ensure(connection)
        _serve(ctx.obj, engine, concurrency, (health_host, health_port))
    finally:
        engine.dispose()


def _set_up(engine: "Engine") -> None:
    from etl.schedule import queue

    with engine.begin() as connection:
        made = queue.set_up(connection)
    terminal.say(f"the queue ({queue.SCHEMA}) is {'set up' if made else 'as it should be'}")


def _serve(
    common: context.Common, engine: "Engine", concurrency: int, health: tuple[str, int]
) -> None:
    from etl.notify.send import tell
    from etl.operations.sync import Running, RunOptions, Watch, landed, sync
    from etl.schedule.health import Metrics, served
    from etl.schedule.worker import Worker

    running = Running()
    known = _Known(lambda: context.with_keys(common))
    metrics = Metrics(
        sources=lambda: [*known.settings.sources, *known.settings.unusable],
        landed=lambda names: landed(engine, names),
    )

    def run_one(name: str) -> "RunReport":
        settings = known.having(name)
        report = sync(engine, settings, name, RunOptions(), watch=Watch(running=running))
        tell(engine, settings, [report])
        return report

    worker = Worker(
        engine=engine,
        sync=run_one,
        interrupt=running.stop,
        done=metrics.note,
        concurrency=concurrency,
    )
    signal.signal(signal.SIGHUP, lambda *_: known.forget())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: worker.stop())
    _share_logs()
    host, port = health
    told = (
        served(metrics, lambda: _health(worker, known), port, host=host) if port else nullcontext()
    )
    with told:
        sources = list(known.settings.sources)
        context.announce(
            common,
            f"{terminal.count(len(sources), 'source')}, {concurrency} at once; waiting for jobs",
            "waiting for jobs",
            sources=sources,
            concurrency=concurrency,
        )
        worker.run()
    way_on = "jobs that were at work wait for another worker"
    context.announce(common, f"stopped; {way_on}", "stopped")


def _health(worker: "Worker", known: "_Known") -> tuple[bool, dict[str, Any]]:
    well = not worker.stopping
    return well, {
        "status": "ok" if well else "stopping",
        "at_work": worker.at_work,
        "left_out": sorted(known.settings.unusable),
    }


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
                log.error(  # noqa: TRY400
                    "the new configuration is not taken: %s",
                    error,
                    extra=fields("configuration refused", error=error),
                )
        if source in self.settings.unusable:
            raise ConfigError(self.settings.unusable[source].why)
        if source not in self.settings.sources:
            raise ConfigError(f"a job is for {source}, which the configuration does not have")
        return self.settings


def _share_logs() -> None:
    """What procrastinate has to say goes where our logs go."""
    ours, theirs = logging.getLogger("etl"), logging.getLogger("procrastinate")
    theirs.handlers, theirs.propagate = ours.handlers, False
    theirs.setLevel(logging.WARNING)
