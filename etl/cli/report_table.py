"""Reports as people read them, in a terminal or as a page; all columns for programs."""

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO

from etl.cli import terminal
from etl.json_text import json_text
from etl.reports.export import Batch, Column, CsvStyle, write_csv, write_jsonl
from etl.reports.html import tag
from etl.reports.paper import document, table
from etl.transform.diff import MISSING

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from etl.reports.ready import Report


def write_list(reports: "Iterable[Report]") -> None:
    """Every report and the question it answers."""
    rows = [
        (report.name, report.answers, "yes" if report.now_only is None else "no")
        for report in reports
    ]
    terminal.out.print(terminal.table(("report", "answers", "--as-of"), rows))
    for line in (
        "etl report NAME shows one; --as-of 7d as it was, --format csv, jsonl or html",
        "etl report changes --since 7d --format html --out FILE: the evidence of a time or a run",
    ):
        terminal.say(line)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """The rows of a report as they come, and the columns that people see."""

    shown: Sequence[str]
    columns: Sequence[Column]
    batches: Generator[Batch, None, None]

    @property
    def titles(self) -> list[str]:
        """The columns that people see; numbers have a # at their end."""
        kinds = {column.name: column.kind for column in self.columns}
        return [f"{name}#" if kinds[name] in ("integer", "number") else name for name in self.shown]

    def first(self, limit: int) -> tuple[list[list[str]], bool]:
        """At most so many rows as people read them, and whether there are more."""
        kinds = {column.name: (at, column.kind) for at, column in enumerate(self.columns)}
        places = [kinds[name] for name in self.shown]
        rows = (row for batch in self.batches for row in batch)
        found = [[_shown(row[at], kind) for at, kind in places] for row in islice(rows, limit)]
        return found, next(rows, None) is not None


def write(rows: Rows, limit: int, *, title: str) -> None:
    """At most so many rows under a title, and whether there are more."""
    terminal.say(title, style="bold")
    first, more = rows.first(limit)
    if not first:
        terminal.say("nothing")
        return
    terminal.out.print(terminal.table(rows.titles, first))
    if more:
        terminal.say(f"the first {limit:,} rows; --limit shows more, --format csv all")
    else:
        terminal.say(terminal.count(len(first), "row"))


def rows_of(
    connection: "Connection",
    report: "Report",
    moment: datetime | None,
    source: str | None,
    limit: int | None,
) -> Rows:
    """The rows of a report, now or at a moment, of all sources or of one; with a limit one more."""
    from etl.reports import ready as reports
    from etl.reports import relations

    most = None if limit is None else limit + 1
    asked = reports.relation(connection, report, moment, source=source, limit=most)
    return Rows(
        shown=report.shown,
        columns=relations.columns_of(asked.rows),
        batches=relations.batches(connection, asked, source, most),
    )


def write_rows(file: BinaryIO, rows: Rows, limit: int | None, style: CsvStyle | None) -> None:
    """All columns, for programs: CSV of that style, or JSON Lines without one."""
    every = (row for batch in rows.batches for row in batch)
    batches: Iterable[Batch] = rows.batches if limit is None else [list(islice(every, limit))]
    if style is None:
        write_jsonl(file, rows.columns, batches)
    else:
        write_csv(file, rows.columns, batches, style)


def write_page(file: BinaryIO, rows: Rows, title: str, limit: int) -> None:
    """The same as a page that is one file."""
    first, more = rows.first(limit)
    name, _, answers = title.partition(": ")
    there = f"The first {limit:,} rows." if more else f"{terminal.count(len(first), 'row')}."
    page = document(
        name,
        tag(
            "header",
            tag("h1", name.replace("_", " ").capitalize()),
            tag("p", f"{answers}. {there}", class_="lead"),
        ),
        table([one.replace("_", " ") for one in rows.titles], first) if first else None,
        broad=True,
    )
    file.write(page.encode())


def _shown(value: Any, kind: str) -> str:
    match kind:
        case "time":
            return terminal.time(value)
        case "flag":
            return "yes" if value else ""
        case "json" if isinstance(value, list) and all(isinstance(one, str) for one in value):
            return ", ".join(value)
        case "json":
            return "" if value is MISSING else json_text(value)
        case _:
            return "" if value is None else str(value)
