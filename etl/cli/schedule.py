"""`etl schedule`: the daemon; every source on its cron line until a signal ends it."""

import signal
from contextlib import nullcontext
from datetime import datetime
from queue import SimpleQueue
from typing import TYPE_CHECKING, Annotated, Any

import typer

from etl.cli import context
from etl.cli.context import LOOPBACK
from etl.errors import EtlError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Engine

    from etl.config.settings import Settings
    from etl.model import RunReport
    from etl.operations.sync import Running
    from etl.schedule.daemon import Schedule

    Sync = Callable[[Settings, str], RunReport]

PORT = 9464


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    app.command("schedule")(run)


def run(
    ctx: typer.Context,
    health_port: Annotated[
        int,
        typer.Option(min=0, max=65535, help="Port of /healthz and /metrics; 0: none."),
    ] = PORT,
    health_host: context.HealthHost = LOOPBACK,
    enqueue: Annotated[
        bool, typer.Option("--enqueue", help="Put runs into the queue of `etl worker` (Postgres).")
    ] = False,
) -> None:
    """Run every source on its cron line; SIGHUP reads the configuration again, SIGTERM ends it."""
    from etl.operations.sync import Running, landed, last_started
    from etl.schedule.daemon import MAX_RUNS_AT_ONCE, Schedule
    from etl.schedule.health import Metrics, served

    engine = context.database(ctx.obj, at_once=MAX_RUNS_AT_ONCE)
    metrics = Metrics(
        sources=lambda: context.settings(ctx.obj).sources,
        landed=lambda names: landed(engine, names),
    )
    running = Running()
    schedule = Schedule(
        load=lambda: context.settings(ctx.obj) if enqueue else context.with_keys(ctx.obj),
        sync=_queueing(engine) if enqueue else sync_and_notify(engine, running),
        last_started=lambda name: last_started(engine, name),
        interrupt=running.stop,
        done=metrics.note,
    )
    page = served(metrics, lambda: _health(schedule), health_port, host=health_host)
    try:
        with page if health_port else nullcontext():
            _keep(schedule, ctx.obj)
    finally:
        engine.dispose()
    way_on = (
        "what is queued waits for a worker"
        if enqueue
        else "runs that were at work go on from where they were"
    )
    context.announce(ctx.obj, f"stopped; {way_on}", "stopped")


def sync_and_notify(engine: "Engine", running: "Running") -> "Sync":
    """What the daemon does for each tick: a sync in this process, then its notifications."""
    from etl.notify.send import tell
    from etl.operations.sync import Failures, RunOptions, Watch, sync

    failures = Failures(engine)

    def run_one(settings: "Settings", name: str) -> "RunReport":
        failures.record()
        report = sync(engine, settings, name, RunOptions(), watch=Watch(running=running))
        failures.record(report)
        tell(engine, settings, [report])
        return report

    return run_one


def _queueing(engine: "Engine") -> "Sync":
    """A run by whichever worker is free."""
    from etl.operations.sync import utc_now
    from etl.schedule import queue
    from etl.schedule.worker import queued

    try:
        queue.require(engine)
        with engine.begin() as connection:
            queue.ensure(connection)
    except EtlError:
        engine.dispose()
        raise
    return lambda settings, name: queued(
        engine, settings.sources[name], priority=queue.SCHEDULED, clock=utc_now
    )


def _keep(schedule: "Schedule", common: context.Common) -> None:
    """From its start until a signal other than SIGHUP, and its end."""
    asked: SimpleQueue[int] = SimpleQueue()  # no Event: a signal may come while its lock is held
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda caught, _frame: asked.put(caught))
    schedule.start()
    try:
        _tell_plan(schedule, common)
        while _caught(asked) == {signal.SIGHUP}:
            schedule.reload()
            _tell_plan(schedule, common)
    finally:
        schedule.stop()


def _caught(asked: SimpleQueue[int]) -> set[int]:
    """Waits for a signal; -> all that came since the last ones, each once."""
    caught = {asked.get()}
    while not asked.empty():
        caught.add(asked.get())
    return caught


def _tell_plan(schedule: "Schedule", common: context.Common) -> None:
    for name, moment in sorted(schedule.next_runs().items()):
        context.announce(
            common, f"{name}: next run {_when(moment)}", "next run", source=name, at=moment
        )


def _health(schedule: "Schedule") -> tuple[bool, dict[str, Any]]:
    due = schedule.next_runs()
    sources = {
        name: {
            "next_run": _when(due[name]) if name in due else None,
            "last_status": report.status if (report := schedule.last.get(name)) else None,
            "last_finished": _when(report.finished_at) if report else None,
        }
        for name in sorted(due.keys() | schedule.last.keys())
    }
    for name in schedule.left_out():
        sources[name] = {"next_run": None, "last_status": "left out", "last_finished": None}
    well = not schedule.stopping.is_set()
    return well, {"status": "ok" if well else "stopping", "sources": sources}


def _when(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")
