"""`etl report`: the ready reports, now or as of a moment in the past."""

import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Annotated, Any, Literal

import typer

from etl.cli import context, report_table, terminal

IN_A_TABLE = 50


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    app.command()(report)


def report(
    ctx: typer.Context,
    name: Annotated[
        str | None, typer.Argument(help="Which one; without a name they are listed.")
    ] = None,
    as_of: Annotated[
        str | None, typer.Option(help="As it was 7d, 12h, 30min ago, or at an ISO date or time.")
    ] = None,
    source: Annotated[str | None, typer.Option(help="Only of this source.")] = None,
    form: Annotated[
        Literal["table", "csv", "json"],
        typer.Option("--format", help="How to print it; json: an object a line."),
    ] = "table",
    limit: Annotated[
        int | None,
        typer.Option(
            min=1, help=f"At most so many rows; default: {IN_A_TABLE} in a table, or all."
        ),
    ] = None,
) -> None:
    """A ready report: the view of this name, in an order that makes sense, also of the past."""
    from etl.db import relations, reports
    from etl.export import write_csv, write_jsonl

    if name is None:
        report_table.write_list(reports.REPORTS.values())
        return
    wanted = reports.named(name)
    with context.reading(ctx.obj) as connection:
        moment = None
        if as_of is not None:
            wanted.ensure_past()
            moment = context.past_moment(connection, as_of, source, option="--as-of")
        asked = reports.relation(connection, wanted, moment)
        batches = relations.batches(connection, asked, source)
        columns = relations.columns_of(asked.rows)
        if form == "table":
            terminal.say(wanted.title(moment), style="bold")
            report_table.write(wanted.shown, columns, batches, limit or IN_A_TABLE)
            return
        write = write_csv if form == "csv" else write_jsonl
        sys.stdout.flush()
        write(sys.stdout.buffer, columns, batches if limit is None else _first(batches, limit))
        sys.stdout.buffer.flush()


def _first(batches: Iterator[Sequence[Any]], limit: int) -> Iterator[Sequence[Any]]:
    yield list(islice((row for batch in batches for row in batch), limit))
