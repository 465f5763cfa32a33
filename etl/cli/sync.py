"""`etl sync`: runs sources once; progress bars on a terminal, plain lines without one."""

import json
import signal
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from etl.cli import context, terminal
from etl.cli.progress import bars
from etl.cli.terminal import err
from etl.report import RunReport, StreamReport, as_json, exit_code_of

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from etl.config import Settings

STOPPED = 75


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    app.command()(sync)


def sync(
    ctx: typer.Context,
    source: Annotated[list[str] | None, typer.Argument(help="Sources; default: all.")] = None,
    stream: Annotated[
        list[str] | None,
        typer.Option(help="Only this stream, and what it hangs on; may be repeated."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Tell what would change; change nothing.")
    ] = False,
    full: Annotated[
        bool, typer.Option("--full", help="Start anew; do not go on with a stopped run.")
    ] = False,
    force_deletes: Annotated[
        bool, typer.Option("--force-deletes", help="Make deletions that were held back.")
    ] = False,
    as_json_report: Annotated[
        bool, typer.Option("--json", help="One JSON report on stdout.")
    ] = False,
) -> None:
    """Bring the database in step with the providers: one run a source. The cron job."""
    from etl.app import Watch, Wish, having
    from etl.app import sync as sync_one

    settings = context.settings(ctx.obj, source or (), secrets=True)
    wish = Wish(streams=stream or (), dry_run=dry_run, full=full, force_deletes=force_deletes)
    engine = context.database(ctx.obj)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    reports: list[RunReport] = []
    try:
        # named sources must have the stream, of all sources those that have it are meant
        for name in source or having(settings, stream or ()) or settings.sources:
            expected = announce(engine, settings, name, quiet=as_json_report)
            with bars(name, expected, quiet=as_json_report) as progress:
                report = sync_one(engine, settings, name, wish, watch=Watch(progress=progress))
            reports.append(report)
            if not as_json_report:
                show(report)
            notify(engine, settings, report)
    except KeyboardInterrupt:
        err.print("etl: stopped; what was read is kept, and the next run goes on from there")
        raise typer.Exit(STOPPED) from None
    finally:
        engine.dispose()
        if as_json_report:
            print(json.dumps({"runs": [as_json(one) for one in reports]}))
    raise typer.Exit(exit_code_of(reports))


def notify(engine: "Engine", settings: "Settings", report: RunReport) -> None:
    """People are told what they should know of a run; what cannot be sent is told on stderr."""
    if settings.notices.urls:
        from etl.notify import tell

        for trouble in tell(engine, settings, [report]):
            terminal.complain(f"etl: {trouble}; it is tried again after the next run")


def show(report: RunReport) -> None:
    """A run as a few lines: what it came to, and one a stream."""
    seconds = (report.finished_at - report.started_at).total_seconds()
    waited = sum(stream.waited_seconds for stream in report.streams)
    waits = f", {terminal.span(waited)} of it waiting" if waited >= 1 else ""
    run = f" (run {report.run_id})" if report.run_id is not None else ""
    changes = terminal.count(report.changed, "change") if report.changed else "nothing changed"
    terminal.say(
        f"{report.source}: {report.status}, {changes}, {terminal.span(seconds)}{waits}{run}",
        style=terminal.COLOURS.get(report.status, ""),
    )
    for stream in report.streams:
        show_stream(stream)
    for line in _remarks(report):
        terminal.say(" ", line)


def show_stream(stream: StreamReport) -> None:
    """A stream as one line: only what is not nothing."""
    counts = ("created", "updated", "deleted", "restored", "unchanged", "rejected")
    told = [f"{number:,} {name}" for name in counts if (number := getattr(stream, name))]
    told.append(terminal.count(stream.requests, "request"))
    state = "" if stream.status == "ok" else f" · {stream.status}"
    records = terminal.count(stream.received, "record")
    terminal.say(f"  {stream.stream:<13}{records:>14} · {' · '.join(told)}{state}")


def _remarks(report: RunReport) -> Iterator[str]:
    if report.error:
        yield report.error
    if report.retry_at:
        yield f"go on after {terminal.time(report.retry_at)} UTC"
    yield from report.notes
    for stream in report.streams:
        if stream.incomplete_reason:
            yield f"{stream.stream} not complete: {stream.incomplete_reason}"
    if any(stream.rejected for stream in report.streams):
        yield "rejected items kept their last good version; they are in the table rejects"


def announce(engine: "Engine", settings: "Settings", name: str, *, quiet: bool) -> int:
    """How many requests are expected; said before a run that the rate limits make long."""
    from etl.app import forecast, utc_now

    found = forecast(engine, settings, name)
    if found is None:
        return 0
    seconds = (found.ends_at - utc_now()).total_seconds()
    if seconds >= LONG and not quiet:
        terminal.complain(
            f"{name}: about {found.requests:,} requests; the rate limits let the last one go at "
            f"{terminal.time(found.ends_at)} UTC, in {terminal.span(seconds)}"
        )
    return found.requests


LONG = 20.0  # seconds
