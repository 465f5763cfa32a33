"""`etl report`: the ready reports, now or as of a moment in the past; what changed, as a page."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from etl.cli import context, evidence, lookup, report_table, terminal
from etl.cli.export import Exact, Out, Spreadsheet, csv_style, file_of, form_of, opened
from etl.errors import ConfigError

if TYPE_CHECKING:
    from sqlalchemy import Connection

IN_A_TABLE = 50
IN_A_PAGE = 5000
Form = Literal["table", "csv", "jsonl", "html", "json"]


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
        Form | None,
        typer.Option(
            "--format",
            help="How to write it; default: as the suffix of --out says, else a table.",
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            min=1,
            help=f"At most so many rows; default: {IN_A_TABLE} in a table, {IN_A_PAGE} in HTML, "
            "or all.",
        ),
    ] = None,
    since: Annotated[
        str | None, typer.Option(help=f"Of `changes`: since when; default: {evidence.SINCE}.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Of `changes`: until when.")] = None,
    run: Annotated[int | None, typer.Option(help="Of `changes`: only of this run.")] = None,
    stream: Annotated[str | None, typer.Option(help="Of `changes`: only of this stream.")] = None,
    out: Out = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
    exact: Exact = False,
    spreadsheet: Spreadsheet = False,
) -> None:
    """A ready report: the view of this name, in an order that makes sense, also of the past.

    `etl report changes --format html` is the evidence of a time or a run: what changed, by whom,
    how completely it was read, how deletions are known; one file that opens offline.
    """
    from etl.reports import ready

    chosen, out = form_of(form, out) or "table", file_of(out)
    style = csv_style(chosen, exact=exact, spreadsheet=spreadsheet)
    wish = evidence.EvidenceOptions(since=since, until=until, run=run, stream=stream)
    if name == "changes":
        _ensure_page(chosen, as_of, limit)
        evidence.write(ctx.obj, replace(wish, source=source), out, force=force)
        return
    _ensure_report(wish, chosen, out)
    if name is None:
        report_table.write_list(ready.REPORTS.values())
        return
    wanted = ready.named(name)
    with context.reading(ctx.obj) as connection:
        lookup.ensure_source(ctx.obj, connection, source)
        moment = None
        if as_of is not None:
            wanted.ensure_past()
            moment = context.past_moment(connection, as_of, source, option="--as-of")
        most = limit or {"table": IN_A_TABLE, "html": IN_A_PAGE}.get(chosen)
        rows = report_table.rows_of(connection, wanted, moment, source, most)
        with closing(rows.batches):
            if chosen == "table":
                report_table.write(rows, limit or IN_A_TABLE, title=wanted.title(moment))
                _write_unconfigured(ctx.obj, connection, source)
                return
            with opened(out, force=force) as file:
                if chosen == "html":
                    report_table.write_page(file, rows, wanted.title(moment), limit or IN_A_PAGE)
                else:
                    report_table.write_rows(file, rows, limit, None if chosen == "jsonl" else style)


def _write_unconfigured(
    common: context.Common, connection: "Connection", source: str | None
) -> None:
    """The stored sources that the configuration does not have, as their rows are no longer read."""
    from etl.history.sources import names

    left = names(connection) - set(context.settings(common).sources)
    shown = sorted(left if source is None else left & {source})
    if shown:
        terminal.say(f"not configured: {', '.join(shown)}; see `etl source --help`")


def _ensure_report(wish: evidence.EvidenceOptions, form: str, out: Path | None) -> None:
    if wish != evidence.EvidenceOptions():
        raise ConfigError("--since, --until, --run and --stream go with `etl report changes`")
    if out is not None and form == "table":
        raise ConfigError("a table is for people; --out takes --format csv, jsonl or html")


def _ensure_page(form: str, as_of: str | None, limit: int | None) -> None:
    if form != "html":
        raise ConfigError(
            "`etl report changes` is a page: --format html; `etl changes` tells them in a terminal"
        )
    if as_of is not None or limit is not None:
        raise ConfigError("`etl report changes` takes --since, --until and --run")
