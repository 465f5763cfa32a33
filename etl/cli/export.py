"""`etl export`: a table or view as CSV, JSON Lines or Parquet, for other programs."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO, Literal

import typer

from etl.cli import context, lookup, output_streams, terminal
from etl.errors import ConfigError
from etl.reports.export import CsvStyle

Form = Literal["csv", "jsonl", "parquet", "json"]
STDOUT = ("-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")
SUFFIXES = {
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
    ".html": "html",
    ".htm": "html",
}
Out = Annotated[Path | None, typer.Option(help="The file; default, and `-`: stdout.")]
Exact = Annotated[
    bool, typer.Option("--exact", help="CSV: every text as it is stored; for programs.")
]
Spreadsheet = Annotated[
    bool, typer.Option("--spreadsheet", help="CSV: marks and times as spreadsheets read them.")
]


def add_to(app: typer.Typer) -> None:
    """Registers the command."""
    app.command()(export)


def export(
    ctx: typer.Context,
    table: Annotated[
        str | None, typer.Argument(help="A table or view; without a name they are listed.")
    ] = None,
    form: Annotated[
        Form | None,
        typer.Option("--format", help="How to write it; default: as the suffix of --out says."),
    ] = None,
    out: Out = None,
    as_of: Annotated[
        str | None, typer.Option(help="As it was 7d, 12h, 30min ago, or at an ISO date or time.")
    ] = None,
    source: Annotated[str | None, typer.Option(help="Only of this source.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
    exact: Exact = False,
    spreadsheet: Spreadsheet = False,
) -> None:
    """Write a table or view out, row by row: the file is whole, or it is not there."""
    from etl.reports import ready, relations
    from etl.reports.export import WRITERS, pyarrow, writer

    if table is None:
        if (form, out, as_of, source) != (None, None, None, None):
            raise ConfigError("name a table or view; `etl export` alone lists them")
        _write_list(ctx.obj)
        return
    wanted, out = form_of(form, out), file_of(out)
    if wanted not in WRITERS:
        raise ConfigError(f"name the format: --format {', '.join(WRITERS)}")
    style = csv_style(wanted, exact=exact, spreadsheet=spreadsheet)
    if wanted == "parquet":
        pyarrow()
        if out is None:
            raise ConfigError("Parquet is no text; name a file with --out")
    with context.reading(ctx.obj) as connection:
        lookup.ensure_source(ctx.obj, connection, source)
        if as_of is None:
            asked = relations.relation(connection, table)
        else:
            moment = context.past_moment(connection, as_of, source, option="--as-of")
            asked = ready.relation_at(connection, table, moment)
        batches = relations.batches(connection, asked, source)
        with closing(batches), opened(out, force=force) as file:
            columns = relations.columns_of(asked.rows)
            count = writer(wanted, style)(file, columns, batches)
    if out is not None:
        terminal.say(f"{terminal.count(count, 'row')} of {table} in {out}")


def file_of(out: Path | None) -> Path | None:
    """The file that is named; None for stdout, by whatever name."""
    return None if out is None or str(out) in STDOUT else out


def form_of(form: str | None, out: Path | None) -> str:
    """The format that is named, else the one that the name of the file has; `json` is `jsonl`.

    Empty where neither says.
    """
    if form is None and out is not None:
        suffixes = [one.lower() for one in out.suffixes]
        form = SUFFIXES.get(suffixes[-1], "") if suffixes else ""
    return "jsonl" if form == "json" else form or ""


def csv_style(form: str, *, exact: bool, spreadsheet: bool) -> CsvStyle:
    """The style of CSV that was asked for; ConfigError where it is not CSV, or two were."""
    if exact and spreadsheet:
        raise ConfigError("--exact is for programs, --spreadsheet for spreadsheets; choose one")
    if (exact or spreadsheet) and form != "csv":
        raise ConfigError("--exact and --spreadsheet go with --format csv")
    if exact:
        return CsvStyle.EXACT
    return CsvStyle.SPREADSHEET if spreadsheet else CsvStyle.SAFE


def _write_list(common: context.Common) -> None:
    """Every table and view, and what it holds."""
    from etl.reports.catalog import exportable

    with context.reading(common) as connection:
        rows = [
            (one.name, one.tells, "yes" if one.keeps_past else "no")
            for one in exportable(connection)
        ]
    terminal.out.print(terminal.table(("table or view", "holds", "--as-of"), rows))
    terminal.say(
        "etl export NAME --format csv, jsonl or parquet writes one; columns: docs/schema.md"
    )


@contextmanager
def opened(out: Path | None, *, force: bool) -> Iterator[BinaryIO]:
    """A file that is whole or not there, or stdout where none is named."""
    from etl.files import whole_file

    if out is not None and out.exists() and (out.is_fifo() or out.is_char_device()):
        with out.open("wb") as file:
            yield file
        return
    if out is not None:
        with whole_file(out, force=force) as file:
            yield file
        return
    with output_streams.data() as file:
        yield file
