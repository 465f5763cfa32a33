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
    """A table; columns whose name ends in `#` hold numbers. Long cells are folded, titles are not.

    Where the titles do not fit side by side, a block of lines for each row, without the empty.
    """
    titles = [name.rstrip("#") for name in columns]
    cells = [[cell(value) for value in row] for row in rows]
    widths = _widths(titles, cells, out.width)
    if widths is None:
        return _blocks(titles, cells)
    made = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name, title, width in zip(columns, titles, widths, strict=True):
        justify: Literal["left", "right"] = "right" if name.endswith("#") else "left"
        made.add_column(title, justify=justify, width=width, overflow="fold")
    for row in cells:
        made.add_row(*row)
    return made


BETWEEN = 3  # what stands between two columns, and around all of them


def _widths(
    titles: Sequence[str], cells: Sequence[Sequence[Text]], room: int
) -> Sequence[int] | None:
    """How broad the columns are, the broadest ones folded where it must be; None: no room."""
    widths = [
        max([len(title), *(text.cell_len for text in column)])
        for title, *column in zip(titles, *cells, strict=True)
    ]
    for most in range(min(max(widths), room), 0, -1):
        folded = [max(len(t), min(w, most)) for t, w in zip(titles, widths, strict=True)]
        if sum(folded) + BETWEEN * len(titles) <= room:
            return folded
    return None


def _blocks(titles: Sequence[str], cells: Sequence[Sequence[Text]]) -> Table:
    made = Table.grid(padding=(0, BETWEEN, 0, 0))
    made.add_column(style=DULL, no_wrap=True)
    made.add_column(overflow="fold")
    for row in cells:
        made.add_row("")
        for title, text in zip(titles, row, strict=True):
            if text:
                made.add_row(title, text)
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
