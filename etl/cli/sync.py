"""`etl sync`: runs sources once; progress bars on a terminal, plain lines without one."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from etl.cli import context, terminal
from etl.cli.error_messages import translated
from etl.cli.progress import all_bars
from etl.cli.quiet import Quiet
from etl.cli.terminal import err
from etl.errors import FAILED, TRY_AGAIN, StoreError
from etl.model import RunReport, RunStatus, StreamReport, StreamStatus, as_json, exit_code_of

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from etl.config.settings import Settings
    from etl.operations.sync import RunOptions
    from etl.pipeline.crawl import Progress
    from etl.schedule.processes import Lost

STOPPED = TRY_AGAIN


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
    concurrency: Annotated[
        int | None,
        typer.Option(min=1, help="Sources at once, a process each; default: one a processor."),
    ] = None,
    retry_now: Annotated[
        bool,
        typer.Option(
            "--retry-now", help="Send requests even if the provider asked to wait longer."
        ),
    ] = False,
    as_json_report: Annotated[
        bool, typer.Option("--json", help="One JSON report on stdout.")
    ] = False,
    _quiet: Quiet = False,
) -> None:
    """Bring the database in step with the providers: one run a source. The cron job."""
    from etl.operations.sync import RunOptions, having, utc_now, without_keys
    from etl.schedule.processes import processors

    settings = context.settings(ctx.obj, source or (), secrets=True, lenient=True)
    wish = RunOptions(
        streams=stream or (),
        dry_run=dry_run,
        full=full,
        force_deletes=force_deletes,
        retry_now=retry_now,
    )
    engine = context.database(ctx.obj)
    # named sources must have the stream, of all sources those that have it are meant
    names = list(dict.fromkeys(source or having(settings, stream or ()) or settings.sources))
    names = [name for name in names if name in settings.sources]
    keyless = without_keys(settings, wish, utc_now())
    for report in keyless:
        terminal.complain(f"etl: {report.source} is left out: {report.error}", style=terminal.BAD)
    reports: dict[str, RunReport] = {}
    try:
        for report in _runs(
            engine, settings, names, wish, concurrency or processors(), quiet=as_json_report
        ):
            reports[report.source] = report
    except KeyboardInterrupt:
        err.print("etl: stopped; what was read is kept, and the next run goes on from there")
        raise typer.Exit(STOPPED) from None
    finally:
        engine.dispose()
        told = [*(reports[name] for name in names if name in reports), *keyless]
        if as_json_report:
            print(json.dumps({"runs": [as_json(one) for one in told]}))
    raise typer.Exit(exit_code_of(told))


def _runs(
    engine: "Engine",
    settings: "Settings",
    names: Sequence[str],
    wish: "RunOptions",
    at_once: int,
    *,
    quiet: bool,
) -> Iterator[RunReport]:
    """Runs every source, and shows and tells each one that ended."""
    from etl.operations.sync import not_run, utc_now
    from etl.schedule.processes import Lost, forks, side_by_side

    began: dict[str, datetime] = {}
    with all_bars(quiet=quiet, by_itself=not forks(names, at_once)) as drawn:

        def begin(name: str) -> None:
            drawn.begin(name, *announce(engine, settings, name, quiet=quiet))
            engine.dispose()  # no process that is forked may share a connection
            began[name] = utc_now()

        work = partial(_run, settings, wish)
        told = side_by_side(names, work, at_once=at_once, begin=begin, told=drawn.advance)
        with closing(told):
            for name, report in told:
                if isinstance(report, Lost):
                    of = settings.sources[name]
                    code = TRY_AGAIN if report.code == TRY_AGAIN else FAILED
                    lost = not_run(of, wish, _loss(report), code, began[name], utc_now())
                    report = replace(lost, status=RunStatus.PARKED) if code == TRY_AGAIN else lost
                with drawn.ended(name):
                    if not quiet:
                        show(report)
                    notify(engine, settings, report)
                yield report


def _run(
    settings: "Settings", wish: "RunOptions", name: str, tell: "Callable[[Progress], None]"
) -> RunReport:
    from etl.operations.sync import Watch, not_run, sync_alone, utc_now

    began = utc_now()
    try:
        return sync_alone(settings, name, wish, Watch(progress=tell))
    except Exception as error:
        found = translated(error)
        if found is None:
            raise
        source = settings.sources[name]
        return not_run(source, wish, str(found), found.exit_code, began, utc_now())


def _loss(lost: "Lost") -> str:
    if lost.why is not None:
        return str(translated(lost.why))
    code = lost.code
    how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
    return f"its process {how}; what it read is kept, and the next run goes on from there"


def notify(engine: "Engine", settings: "Settings", report: RunReport) -> None:
    """People are told what they should know of a run; what cannot be sent is told on stderr."""
    from etl.notify.send import tell

    for trouble in tell(engine, settings, [report]):
        terminal.complain(f"etl: {trouble}; it is tried again after the next run")


def show(report: RunReport) -> None:
    """A run as a few lines: what it came to, and one a stream."""
    seconds = (report.finished_at - report.started_at).total_seconds()
    waited = report.waited_seconds
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
    state = "" if stream.status == StreamStatus.OK else f" · {stream.status}"
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


def announce(
    engine: "Engine", settings: "Settings", name: str, *, quiet: bool
) -> tuple[int, float]:
    """How many requests are expected, and how many seconds the rate limits ask for.

    Said before a run that the rate limits make long.
    """
    from etl.operations.sync import forecast, utc_now

    try:
        found = forecast(engine, settings, name)
    except StoreError:
        return 0, 0.0  # the run itself will tell
    if found is None:
        return 0, 0.0
    seconds = (found.ends_at - utc_now()).total_seconds()
    if seconds >= LONG and not quiet:
        terminal.complain(
            f"{name}: about {found.requests:,} requests; the rate limits let the last one go at "
            f"{terminal.time(found.ends_at)} UTC, in {terminal.span(seconds)}"
        )
    return found.requests, seconds


LONG = 20.0  # seconds
