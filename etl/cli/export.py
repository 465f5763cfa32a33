"""`etl export`: a table or view as CSV, JSON Lines or Parquet, for other programs."""

import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO, Literal

import typer

from etl.cli import context, terminal
from etl.errors import ConfigError


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    app.command()(export)


def export(
    ctx: typer.Context,
    table: Annotated[str, typer.Argument(help="A table or view of docs/schema.md.")],
    form: Annotated[
        Literal["csv", "jsonl", "parquet"], typer.Option("--format", help="How to write it.")
    ],
    out: Annotated[Path | None, typer.Option(help="The file; default: stdout.")] = None,
    as_of: Annotated[
        str | None, typer.Option(help="As it was 7d, 12h, 30min ago, or at an ISO date or time.")
    ] = None,
    source: Annotated[str | None, typer.Option(help="Only of this source.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
) -> None:
    """Write a table or view out, row by row: the file is whole, or it is not there."""
    from etl.db import relations, reports
    from etl.export import WRITERS, pyarrow

    if form == "parquet":
        pyarrow()
        if out is None:
            raise ConfigError("Parquet is no text; name a file with --out")
    with context.reading(ctx.obj) as connection:
        if as_of is None:
            asked = relations.relation(connection, table)
        else:
            moment = context.past_moment(connection, as_of, source, option="--as-of")
            asked = reports.relation_at(connection, table, moment)
        batches = relations.batches(connection, asked, source)
        with closing(batches), opened(out, force=force) as file:
            count = WRITERS[form](file, relations.columns_of(asked.rows), batches)
    if out is not None:
        terminal.say(f"{terminal.count(count, 'row')} of {table} in {out}")


@contextmanager
def opened(out: Path | None, *, force: bool) -> Iterator[BinaryIO]:
    """A file that is whole or not there, or stdout where none is named."""
    from etl.files import whole_file

    if out is not None:
        with whole_file(out, force=force) as file:
            yield file
        return
    sys.stdout.flush()
    yield sys.stdout.buffer
    sys.stdout.buffer.flush()
