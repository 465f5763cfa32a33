"""`etl schedule`: the daemon; every source on its cron line until a signal ends it."""

import signal
import threading
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from etl.cli import context, terminal

if TYPE_CHECKING:
    from etl.schedule import Schedule

PORT = 9464


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    app.command("schedule")(run)


def run(
    ctx: typer.Context,
    health_port: Annotated[
        int, typer.Option(help="Where /healthz and /metrics are, on loopback; 0: nowhere.")
    ] = PORT,
) -> None:
    """Run every source on its cron line; SIGHUP reads the configuration again, SIGTERM ends it."""
    from etl.app import Running, Watch, Wish, last_started, sync
    from etl.health import Metrics, served
    from etl.schedule import Schedule

    engine = context.database(ctx.obj)
    metrics = Metrics()
    running = Running()
    schedule = Schedule(
        load=lambda: context.settings(ctx.obj, secrets=True),
        sync=lambda settings, name: sync(
            engine, settings, name, Wish(), watch=Watch(running=running)
        ),
        last_started=lambda name: last_started(engine, name),
        interrupt=running.stop,
        done=metrics.note,
    )
    woken = threading.Event()
    asked: list[int] = []

    def note(caught: int, _frame: object) -> None:
        asked.append(caught)
        woken.set()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, note)
    schedule.start()
    _tell_plan(schedule)
    try:
        if health_port:
            with served(metrics, lambda: _health(schedule), health_port):
                _wait(schedule, woken, asked)
        else:
            _wait(schedule, woken, asked)
    finally:
        schedule.stop()
        engine.dispose()
    terminal.say("stopped; runs that were at work go on from where they were")


def _wait(schedule: "Schedule", woken: threading.Event, asked: list[int]) -> None:
    """Until a signal other than SIGHUP."""
    while True:
        woken.wait()
        woken.clear()
        while asked:
            if asked.pop(0) != signal.SIGHUP:
                return
            schedule.reload()
            _tell_plan(schedule)


def _tell_plan(schedule: "Schedule") -> None:
    for name, moment in sorted(schedule.next_runs().items()):
        terminal.say(f"{name}: next run {_when(moment)}")


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
    well = not schedule.stopping.is_set()
    return well, {"status": "ok" if well else "stopping", "sources": sources}


def _when(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")
