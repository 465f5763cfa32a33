"""What a person sees: tables, times, ages, values; nothing a vendor wrote is taken as a command."""

import json
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from etl.diff import MISSING
from etl.shown import age as age
from etl.shown import count as count
from etl.shown import csv_safe as csv_safe
from etl.shown import moment as moment
from etl.shown import safe as safe
from etl.shown import since as since
from etl.shown import span as span
from etl.shown import time as time

WIDE = 160  # where nobody looks, nothing need be folded


def _console(*, stderr: bool) -> Console:
    console = Console(stderr=stderr, highlight=False, emoji=False)
    if not console.is_terminal:
        console.width = WIDE
    return console


out = _console(stderr=False)
err = _console(stderr=True)

GOOD, BAD, DULL = "green", "red", "bright_black"
COLOURS = {
    "ok": GOOD,
    "created": GOOD,
    "restored": GOOD,
    "updated": "yellow",
    "partial": "yellow",
    "parked": "yellow",
    "held": "yellow",
    "incomplete": "yellow",
    "unavailable": "yellow",
    "deleted": BAD,
    "failed": BAD,
    "denied": BAD,
}


def cell(value: object) -> Text:
    """A value as a table's cell: without markup, coloured where it is a state."""
    text = "" if value is None else safe(value)
    return Text(text, style=COLOURS.get(text, ""))


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """A table; columns whose name ends in `#` hold numbers."""
    made = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        title = name.rstrip("#")
        justify: Literal["left", "right"] = "right" if name.endswith("#") else "left"
        made.add_column(title, justify=justify, min_width=len(title), overflow="fold")
    for row in rows:
        made.add_row(*(cell(value) for value in row))
    return made


def say(*parts: object, style: str = "") -> None:
    """A line as it is: no markup, nothing folded, control characters shown."""
    _line(out, parts, style)


def complain(*parts: object, style: str = "") -> None:
    """The same on stderr."""
    _line(err, parts, style)


def _line(console: Console, parts: Sequence[object], style: str) -> None:
    console.print(Text(" ".join(safe(part) for part in parts), style=style), soft_wrap=True)


def shown(value: Any) -> str:
    """A field's value: JSON, or a dash where the field did not exist."""
    return "-" if value is MISSING else json.dumps(value, ensure_ascii=False)
