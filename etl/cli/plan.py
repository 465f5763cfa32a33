"""`etl plan`, `etl apply`: look at what would change, one by one; then make exactly that."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from etl import __version__
from etl.cli import context, sync, terminal
from etl.cli.changes import SIGNS
from etl.cli.progress import bars
from etl.cli.quiet import Quiet
from etl.cli.terminal import COLOURS
from etl.errors import CHANGES, OK, ConfigError
from etl.model import Operation, RunReport, as_json, exit_code_of
from etl.transform.diff import MISSING

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from etl.config.settings import Settings
    from etl.operations.plan_document import PlannedChange, SourcePlan
    from etl.operations.sync import RunOptions

_TODO: Mapping[str, str] = {
    Operation.CREATED: "create",
    Operation.UPDATED: "update",
    Operation.DELETED: "delete",
    Operation.RESTORED: "restore",
}


def add_to(app: typer.Typer) -> None:
    """Registers the commands."""
    app.command("plan")(plan)
    app.command("apply")(apply)


def plan(
    ctx: typer.Context,
    source: Annotated[list[str] | None, typer.Argument(help="Sources; default: all.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Save it here, for `etl apply`; gzipped when it ends in .gz."),
    ] = None,
    stream: Annotated[
        list[str] | None,
        typer.Option(help="Only this stream, and what it hangs on; may be repeated."),
    ] = None,
    as_json_document: Annotated[
        bool, typer.Option("--json", help="The plan as JSON on stdout, with the reports.")
    ] = False,
    _quiet: Quiet = False,
    detailed_exitcode: Annotated[
        bool,
        typer.Option("--detailed-exitcode", help="Exit 7 when something would change, for CI."),
    ] = False,
) -> None:
    """Show what a sync would change, field by field, deletions with their evidence; save it."""
    from etl.files import raise_if_unwritable
    from etl.operations.sync import RunOptions, having, utc_now, without_keys

    if out is not None:
        raise_if_unwritable(out)
    settings = context.settings(ctx.obj, source or (), secrets=True, lenient=True)
    engine = context.database(ctx.obj)
    plans: list[SourcePlan] = []
    wish = RunOptions(streams=stream or ())
    reports = without_keys(settings, wish, utc_now())
    for report in reports:
        terminal.complain(f"etl: {report.source} is left out: {report.error}", style=terminal.BAD)
    names = dict.fromkeys(source or having(settings, stream or ()) or settings.sources)
    try:
        for name in (one for one in names if one in settings.sources):
            report, made = _plan_one(engine, settings, name, wish, quiet=as_json_document)
            reports.append(report)
            plans += [made] if made is not None else []
    except KeyboardInterrupt:
        terminal.complain("etl: stopped; a plan that was not made to its end is not kept")
        raise typer.Exit(sync.STOPPED) from None
    finally:
        engine.dispose()
    if out is not None and plans:
        _save(plans, out)
    if as_json_document:
        _print(plans, reports)
    else:
        _conclude(plans, out, [one.source for one in reports])
    would_change = detailed_exitcode and any(one.changes.counts for one in plans)
    raise typer.Exit(exit_code_of(reports) or (CHANGES if would_change else OK))


def _plan_one(
    engine: "Engine", settings: "Settings", name: str, wish: "RunOptions", *, quiet: bool
) -> "tuple[RunReport, SourcePlan | None]":
    from etl.operations.plan import plan as plan_source
    from etl.operations.sync import Watch

    expected = sync.announce(engine, settings, name, quiet=quiet)
    with bars(name, *expected, quiet=quiet) as progress:
        watch = Watch(progress=progress)
        report, made = plan_source(engine, settings, name, wish, watch=watch)
    if not quiet:
        _show(report, made)
    return report, made


def apply(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(help="What `etl plan --out` has saved.")],
    as_json_reports: Annotated[
        bool, typer.Option("--json", help="One JSON report on stdout.")
    ] = False,
    _quiet: Quiet = False,
) -> None:
    """Make exactly the changes of a plan, without asking a provider.

    Source by source. Nothing is written of one that was synced since (exit 3), nothing at all when
    the file was edited, is of another etl, or the configuration asks for something else (exit 2).
    """
    from etl.operations.plan import apply as apply_all

    plans = _read(file)
    settings = context.settings(ctx.obj, notices=True)
    engine = context.database(ctx.obj, make=False)
    reports: list[RunReport] = []

    def landed(report: RunReport) -> None:
        reports.append(report)
        if not as_json_reports:
            sync.show(report)
        sync.notify(engine, settings, report)

    try:
        apply_all(engine, settings, plans, landed=landed)
    finally:
        engine.dispose()
        if as_json_reports:
            print(json.dumps({"runs": [as_json(one) for one in reports]}))
    if not as_json_reports:
        for name in sorted({one.source for one in plans} - {one.source for one in reports}):
            terminal.say(f"{name}: this plan was applied before; nothing to do")
    raise typer.Exit(exit_code_of(reports))


def _read(path: Path) -> "list[SourcePlan]":
    from etl.operations.plan_document import read_plans

    try:
        with path.open("rb") as file:
            return read_plans(file, str(path), __version__)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None


def _save(plans: "Sequence[SourcePlan]", out: Path) -> None:
    """The file is there whole or not at all, and only its owner may read it."""
    from etl.files import FOR_OWNER, whole_file
    from etl.operations.plan_document import write_plans

    with whole_file(out, force=True, mode=FOR_OWNER) as file:
        write_plans(file, plans, __version__, packed=out.name.endswith(".gz"))


def _print(plans: "Sequence[SourcePlan]", reports: Sequence[RunReport]) -> None:
    """One JSON document: the plan as in its file, and the reports."""
    from etl.operations.plan_document import as_lines

    print('{"plan": ', end="")
    for line in as_lines(plans, __version__):
        print(line.decode(), end="")
    print(f', "runs": {json.dumps([as_json(one) for one in reports])}}}')


def _show(report: RunReport, made: "SourcePlan | None") -> None:
    if made is None:
        sync.show(report)
        return
    terminal.say(f"{made.source}, as of {terminal.time(made.observed_at)} UTC")
    for change in made.changes:
        _show_change(change)
    for much in made.held.values():
        terminal.say(
            f"  held back by `etl sync`: {much}; `etl apply` deletes them",
            style=COLOURS["held"],
        )
    for stream in made.report.streams:
        proof = stream.incomplete_reason or stream.proof
        state = "complete" if stream.complete else stream.status
        terminal.say(f"  {stream.stream}: {stream.unchanged:,} unchanged, {state}: {proof}")
    for note in report.notes:
        terminal.say(" ", note)
    if made.rejects:
        number = terminal.count(len(made.rejects), "item")
        terminal.say(f"  {number} could not be used; `etl apply` puts them into rejects")
    terminal.say("")


def _show_change(change: "PlannedChange") -> None:
    where = f"{change.project_key}/" if change.stream != "projects" and change.project_key else ""
    why = f"  ({change.reason})" if change.reason else ""
    line = f"  {SIGNS[change.operation]} {change.stream} {where}{change.key}{why}"
    terminal.say(line, style=COLOURS[change.operation])
    for field in change.fields:
        old, new = (terminal.shown(field.get(side, MISSING)) for side in ("old", "new"))
        terminal.say(f"      {field['path']}: {old} -> {new}")


def _conclude(plans: "Sequence[SourcePlan]", out: Path | None, sources: Sequence[str]) -> None:
    """What would change; and of which sources that is not known."""
    counts = sum((one.changes.counts for one in plans), Counter[str]())
    told = ", ".join(_told(counts)) or "nothing would change"
    planned = {one.source for one in plans}
    unknown = ", ".join(name for name in sources if name not in planned)
    if plans:
        terminal.say(f"plan: {told}" + (f"; not known of {unknown}" if unknown else ""))
    else:
        terminal.say("plan: none was made" + (f", and {out} was not written" if out else ""))
    if out is not None and plans:
        terminal.say(f"saved; `etl apply {out}` makes exactly these changes")


def _told(counts: Counter[str]) -> Iterator[str]:
    for operation, todo in _TODO.items():
        if counts[operation]:
            yield f"{counts[operation]:,} to {todo}"
