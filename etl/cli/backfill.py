"""`etl backfill`: a one-off run of a source or a part of it; it may take hours and be stopped."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from etl.cli import context, terminal
from etl.cli.backfill_archive import load_dumps
from etl.cli.progress import bars
from etl.cli.quiet import Quiet
from etl.cli.sync import STOPPED, notify, show
from etl.errors import ConfigError
from etl.model import RunReport, as_json

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from etl.config.settings import Settings
    from etl.operations.backfill import Outlook
    from etl.operations.sync import RunOptions
    from etl.pipeline.selection import Selection


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    app.command()(backfill)


def backfill(
    ctx: typer.Context,
    source: Annotated[str, typer.Argument(help="The source.")],
    stream: Annotated[
        list[str] | None,
        typer.Option(help="Only this stream, and what it hangs on; may be repeated."),
    ] = None,
    project: Annotated[
        list[str] | None,
        typer.Option(help="Only this project, by its key, and what is in it; may be repeated."),
    ] = None,
    created_since: Annotated[
        str | None, typer.Option(help="Only what was created then or later: 2025-01-31, 90d.")
    ] = None,
    created_until: Annotated[
        str | None, typer.Option(help="Only what was created before: 2025-02-28, 30d.")
    ] = None,
    resume: Annotated[
        int | None, typer.Option(metavar="RUN", help="Go on with this run, as it was asked for.")
    ] = None,
    from_archive: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            readable=False,  # an error of the system tells more
            help="Load dumps of the past, in order, instead of asking; see docs/archive.md.",
        ),
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Start anew; do not go on with one of the same wish.")
    ] = False,
    as_json_report: Annotated[
        bool, typer.Option("--json", help="One JSON report on stdout.")
    ] = False,
    _quiet: Quiet = False,
) -> None:
    """Read a source once, or a part of it, for as long as it takes; syncs go first."""
    from etl.operations.backfill import wish_of
    from etl.operations.sync import RunOptions
    from etl.pipeline.selection import WHOLE

    settings = context.settings(ctx.obj, [source], secrets=True)
    selection = _selection(project or (), created_since, created_until)
    wish = RunOptions(streams=stream or (), full=full, backfill=selection)
    if resume is not None and wish != RunOptions(backfill=WHOLE):
        raise ConfigError("--resume goes on with what its run was asked for; give no other option")
    if from_archive is not None and wish != RunOptions(streams=stream or (), backfill=WHOLE):
        raise ConfigError("--from-archive loads dumps as they are; only --stream goes with it")
    engine = context.database(ctx.obj)
    try:
        if from_archive is not None:
            dumps = RunOptions(streams=stream or ())
            code = load_dumps(engine, settings, source, from_archive, dumps, quiet=as_json_report)
            raise typer.Exit(code)
        wish = wish if resume is None else wish_of(engine, settings, source, resume)
        code = _run(engine, settings, source, wish, quiet=as_json_report)
        if code == STOPPED:
            _tell_way_on(engine, settings, source, wish)
    except KeyboardInterrupt:
        terminal.complain("etl: stopped; what was read is kept")
        _tell_way_on(engine, settings, source, wish)
        raise typer.Exit(STOPPED) from None
    finally:
        engine.dispose()
    raise typer.Exit(code)


def _run(
    engine: "Engine", settings: "Settings", source: str, wish: "RunOptions", *, quiet: bool
) -> int:
    """The exit code; a wait is told once, however often it is looked whether it is over."""
    from etl.operations.backfill import outlook, to_the_end
    from etl.operations.sync import Watch, sync, utc_now

    told: list[str] = []

    def stretch(wanted: "RunOptions") -> RunReport:
        ahead = outlook(engine, settings, source, wanted)
        seconds = (ahead.ends_at - utc_now()).total_seconds()
        if not told and not quiet:
            _announce(source, ahead, seconds)
        with bars(source, ahead.requests or 0, seconds, quiet=quiet) as progress:
            return sync(engine, settings, source, wanted, watch=Watch(progress=progress))

    def waits(report: RunReport) -> None:
        if report.error not in told:
            told.append(report.error or "")
            terminal.complain(f"{source} waits and goes on by itself: {report.error}")

    report = to_the_end(stretch, wish, sleep=time.sleep, waits=waits)
    if quiet:
        print(json.dumps({"runs": [as_json(report)]}))
    else:
        show(report)
    notify(engine, settings, report)
    return report.exit_code


def _selection(projects: Sequence[str], since: str | None, until: str | None) -> "Selection":
    from etl.operations.sync import utc_now
    from etl.pipeline.selection import Selection

    now = utc_now()
    found = Selection(
        projects=tuple(projects),
        created_since=None if since is None else terminal.moment(since, now, "--created-since"),
        created_until=(
            None if until is None else terminal.moment(until, now, "--created-until", ahead=True)
        ),
    )
    begin, end = found.created_since, found.created_until
    if begin is not None and end is not None and begin >= end:
        raise ConfigError(f"--created-since {since} is not before --created-until {until}")
    return found


def _announce(source: str, ahead: "Outlook", seconds: float) -> None:
    """What it will take, before it begins."""
    if ahead.run_id is not None:
        pages = terminal.count(ahead.done, "page")
        terminal.complain(f"{source}: goes on with run {ahead.run_id}, which has read {pages}")
    if ahead.requests is None:
        terminal.complain(f"{source}: no forecast: the provider did not say how much there is")
        return
    limits = "the limits that are known let them go at once"
    if seconds >= 1:
        limits = (
            "half of the rate limits, the other half is for syncs, lets the last one go at "
            f"{terminal.time(ahead.ends_at)} UTC, in {terminal.span(seconds)}"
        )
    terminal.complain(f"{source}: about {terminal.count(ahead.requests, 'request')}; {limits}")


def _tell_way_on(engine: "Engine", settings: "Settings", source: str, wish: "RunOptions") -> None:
    from etl.operations.backfill import unended_run

    run_id = unended_run(engine, settings, source, wish)
    if run_id is not None:
        terminal.complain(f"go on with: etl backfill {source} --resume {run_id}")
