"""`etl reprocess`: the tables made anew from stored payloads, as today's code takes them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from etl.cli import context, terminal
from etl.cli.quiet import Quiet

if TYPE_CHECKING:
    from etl.reprocess.reconcile import RowDifference
    from etl.reprocess.reprocess import ReprocessResult

COLUMNS = ("table", "row", "column", "before", "after")
WIDEST = 60  # letters of a value
_SIGNS = {"added": "+", "removed": "-"}


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    app.command()(reprocess)


def reprocess(
    ctx: typer.Context,
    source: Annotated[list[str] | None, typer.Argument(help="Sources; default: all.")] = None,
    stream: Annotated[
        list[str] | None, typer.Option(help="Only this stream; may be repeated.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Tell what would be different; change nothing.")
    ] = False,
    from_archive: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            readable=False,  # an error of the system tells more
            help="Take the past from dumps where there are any; docs/archive.md.",
        ),
    ] = None,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Rejected versions may go for good; the archive tells what was deleted."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON report on stdout.")] = False,
    _quiet: Quiet = False,
) -> None:
    """Make columns, current rows and history anew from stored payloads or archive; no network."""
    from etl.operations.sync import having
    from etl.reprocess import reprocess as work

    settings = context.settings(
        ctx.obj, source or (), secrets=False if from_archive is None else "fingerprint"
    )
    engine = context.database(ctx.obj, make=False)
    documents: list[dict[str, Any]] = []
    tell: Callable[[ReprocessResult], None] = _show
    if as_json:
        tell = lambda found: documents.append(_document(found))  # noqa: E731
    try:
        for name in source or having(settings, stream or ()):
            dumps = None if from_archive is None else work.dumps_of(settings, name, from_archive)
            wanted = work.wanted_of(settings.sources[name], stream or (), force=force, dumps=dumps)
            if dry_run:
                found = work.preview(engine, wanted)
                tell(found)
                if found.refusal is not None and not as_json:
                    terminal.complain(f"etl: not without --force: {found.refusal}")
            else:
                work.reprocess(engine, wanted, shown=tell)
    finally:
        engine.dispose()
        if as_json:
            print(json.dumps({"sources": documents}))


def _show(found: "ReprocessResult") -> None:
    for reason in found.left_out:
        terminal.complain(f"{found.source}: left out: {reason}")
    runs = terminal.count(found.moments, "run")
    dumps = f", {found.dumps:,} of them from the archive" if found.dumps else ""
    rows = f"{terminal.count(found.rows, 'row')} different" if found.rows else "no difference"
    terminal.say(f"{found.source}: {rows}, {runs} of its past made anew{dumps}")
    for (table, what), number in sorted(found.counts.items()):
        terminal.say(f"  {table:<20}{number:>10,} {what}")
    lines = [line for sample in found.samples for line in _lines(sample)]
    if lines:
        terminal.out.print(terminal.table(COLUMNS, lines))


def _lines(sample: "RowDifference") -> list[tuple[str, ...]]:
    if not sample.fields:
        return [(sample.table, sample.where, _SIGNS[sample.what], "", "")]
    return [
        (sample.table, sample.where, column, _shown(before), _shown(after))
        for column, (before, after) in sample.fields.items()
    ]


def _shown(value: object) -> str:
    text = "" if value is None else terminal.safe(value)
    return text if len(text) <= WIDEST else f"{text[:WIDEST]}…"


def _document(found: "ReprocessResult") -> dict[str, Any]:
    return {
        "source": found.source,
        "runs": found.moments,
        "dumps": found.dumps,
        "left_out": list(found.left_out),
        "refusal": None if found.refusal is None else str(found.refusal),
        "rows": found.rows,
        "counts": [
            {"table": table, "what": what, "rows": number}
            for (table, what), number in sorted(found.counts.items())
        ],
        "samples": [
            {
                "table": one.table,
                "what": one.what,
                "row": one.where,
                "fields": {name: [_plain(v) for v in pair] for name, pair in one.fields.items()},
            }
            for one in found.samples
        ],
    }


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool | None) else str(value)
