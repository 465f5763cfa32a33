"""Reports as tables for people: the columns that matter, values as people read them."""

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from etl.cli import terminal
from etl.diff import MISSING
from etl.export import Column
from etl.text import json_text

if TYPE_CHECKING:
    from etl.db.reports import Report


def write_list(reports: "Iterable[Report]") -> None:
    """Every report and the question it answers."""
    rows = [
        (report.name, report.answers, "yes" if report.now_only is None else "no")
        for report in reports
    ]
    terminal.out.print(terminal.table(("report", "answers", "--as-of"), rows))
    terminal.say(
        "etl report NAME shows one; --as-of 7d as it was, --format csv or json for programs"
    )


def write(
    shown: Sequence[str], columns: Sequence[Column], batches: Iterable[Sequence[Any]], limit: int
) -> None:
    """At most so many rows, and whether there are more."""
    rows = (row for batch in batches for row in batch)
    first = list(islice(rows, limit))
    if not first:
        terminal.say("nothing")
        return
    places = {column.name: place for place, column in enumerate(columns)}
    kinds = {column.name: column.kind for column in columns}
    titles = [f"{name}#" if kinds[name] in ("integer", "number") else name for name in shown]
    terminal.out.print(
        terminal.table(titles, ([_shown(row[places[n]], kinds[n]) for n in shown] for row in first))
    )
    if next(rows, None) is not None:
        terminal.say(f"the first {limit:,} rows; --limit shows more, --format csv all")
    else:
        terminal.say(terminal.count(len(first), "row"))


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
