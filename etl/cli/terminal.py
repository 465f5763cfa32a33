"""What a person sees: tables, times, ages, values; nothing a vendor wrote is taken as a command."""

import json
import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Literal

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from etl.errors import ConfigError
from etl.formatting import age as age
from etl.formatting import count as count
from etl.formatting import moment as _moment
from etl.formatting import safe as safe
from etl.formatting import since as since
from etl.formatting import span as span
from etl.formatting import time as time
from etl.transform.diff import MISSING

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
    """A table of the columns that hold anything; those whose name ends in `#` hold numbers.

    Where there is not enough room, titles and cells are broken between words, then within long
    ones, never below a readable width: then each row is a block of lines.
    """
    names, cells = _filled(columns, [[cell(value) for value in row] for row in rows])
    titles = [name.rstrip("#") for name in names]
    widths = _widths(titles, cells, out.width)
    if widths is None:
        return _blocks(titles, cells)
    made = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name, title, width in zip(names, titles, widths, strict=True):
        justify: Literal["left", "right"] = "right" if name.endswith("#") else "left"
        made.add_column(Text(_broken(title, width)), justify=justify, width=width, overflow="fold")
    for row in cells:
        made.add_row(*(_fitted(one, width) for one, width in zip(row, widths, strict=True)))
    return made


def _filled(names: Sequence[str], cells: list[list[Text]]) -> tuple[list[str], list[list[Text]]]:
    """The columns in which anything stands; all where there is no row."""
    kept = [at for at in range(len(names)) if not cells or any(row[at] for row in cells)]
    return [names[at] for at in kept], [[row[at] for at in kept] for row in cells]


BETWEEN = 2  # what stands between two columns, and around all of them
READABLE = 12  # a word is broken only into pieces of this width, or more
_BLANKS = re.compile(r"\S+")
_PARTS = re.compile(r"(?:[^\s_/-]|[_/-](?![A-Za-z]))*[_/-]?")


def _widths(
    titles: Sequence[str], cells: Sequence[Sequence[Text]], room: int
) -> Sequence[int] | None:
    """How broad the columns are; None: there is no room for readable ones.

    Broad columns are folded first, and none below its longest word, then its longest part of one.
    """
    columns = list(zip(titles, *([one.plain for one in row] for row in cells), strict=True))
    widths = [max(map(cell_len, column)) for column in columns]
    for words, most in ((_BLANKS, room), (_PARTS, room), (_PARTS, READABLE)):
        floors = [
            max(_longest(column[0], _PARTS), min(most, *_lengths(column[1:], words)))
            for column in columns
        ]
        for limit in range(min(max(widths), room), 0, -1):
            folded = [max(low, min(w, limit)) for low, w in zip(floors, widths, strict=True)]
            if sum(folded) + BETWEEN * len(titles) + 1 <= room:
                return folded
    return None


def _lengths(texts: Sequence[str], words: re.Pattern[str]) -> tuple[int, int]:
    """The longest word of all these texts, twice, so that there is one."""
    longest = max((_longest(text, words) for text in texts), default=0)
    return longest, longest


def _longest(text: str, words: re.Pattern[str]) -> int:
    return max((cell_len(one) for one in words.findall(text)), default=0)


def _fitted(text: Text, width: int) -> Text:
    return Text(_broken(text.plain, width), style=text.style)


def _broken(text: str, width: int) -> str:
    """The text in lines of that width, broken behind blanks, else behind other marks."""
    if cell_len(text) <= width:
        return text
    lines, line = [], ""
    for piece in re.findall(rf"\s+|{_PARTS.pattern}", text):
        if line and cell_len(line + piece.rstrip()) > width:
            lines.append(line.rstrip())
            line = piece.lstrip()
        else:
            line += piece
    return "\n".join([*lines, line.rstrip()])


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


def moment(text: str, now: datetime, option: str = "--since", *, ahead: bool = False) -> datetime:
    """A time or an age that an option gives; ConfigError for none, or one that has not come.

    ahead: it may be in the future, as the end of a window may.
    """
    found = _moment(text, now, option)
    if found > now and not ahead:
        raise ConfigError(f"{option} {text}: {time(found)} UTC is in the future")
    return found


def shown(value: Any) -> str:
    """A field's value: JSON, or a dash where the field did not exist."""
    return "-" if value is MISSING else json.dumps(value, ensure_ascii=False)
