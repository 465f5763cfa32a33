"""What a person sees: tables, times, ages, values; nothing a vendor wrote is taken as a command."""

import json
import re
import unicodedata
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from etl.diff import MISSING
from etl.errors import ConfigError

WIDE = 160  # where nobody looks, nothing need be folded


def _console(*, stderr: bool) -> Console:
    console = Console(stderr=stderr, highlight=False, emoji=False)
    if not console.is_terminal:
        console.width = WIDE
    return console


out = _console(stderr=False)
err = _console(stderr=True)

_BIDI = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u061c")
_FORMULA = re.compile(r"^[=+\-@\t\r]")

_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")

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


def _escaped(found: re.Match[str]) -> str:
    return f"\\u{ord(found.group()):04x}"


def safe(value: object) -> str:
    """A text whose control and direction characters are shown, not obeyed."""
    return "".join(
        character
        if character not in _BIDI and unicodedata.category(character) not in ("Cc", "Cs")
        else f"\\u{ord(character):04x}"
        for character in str(value)
    )


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


def count(number: int, what: str) -> str:
    """1 page, 2 pages."""
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def time(moment: datetime | None) -> str:
    """A time to the second, in UTC."""
    return "" if moment is None else f"{moment:%Y-%m-%d %H:%M:%S}"


def age(since: datetime | None, now: datetime) -> str:
    """How long ago, in the largest units that say enough."""
    if since is None:
        return "never"
    return span((now - since).total_seconds())


def span(seconds: float) -> str:
    """A duration: 0.4 s, 12 s, 3 min, 2 h 5 min, 4 d 3 h."""
    if seconds < 10:
        return f"{max(0.0, seconds):.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes_left = divmod(minutes, 60)
    days, hours_left = divmod(hours, 24)
    if days:
        return f"{days} d {hours_left} h"
    if hours:
        return f"{hours} h {minutes_left} min"
    return f"{minutes} min" if minutes else f"{rest} s"


def shown(value: Any) -> str:
    """A field's value: JSON, or a dash where the field did not exist."""
    return "-" if value is MISSING else json.dumps(value, ensure_ascii=False)


def csv_safe(value: object) -> str:
    """A text that no spreadsheet takes for a formula and no terminal for a command."""
    text = _CONTROLS.sub(_escaped, "" if value is None else str(value))
    return f"'{text}" if _FORMULA.match(text) else text


def moment(text: str, now: datetime, option: str = "--since") -> datetime:
    """As since(); ConfigError with the forms there are."""
    try:
        return since(text, now)
    except ValueError:
        raise ConfigError(f"{option} {text!r}: write 7d, 12h, 90min, or an ISO time") from None


def since(text: str, now: datetime) -> datetime:
    """7d, 12h, 30min, 45s ago, or an ISO date or time (UTC unless it says otherwise)."""
    ago = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|min|m|h|d|w)", text.strip())
    if ago:
        try:
            return now - timedelta(seconds=float(ago[1]) * _SECONDS[ago[2]])
        except OverflowError:
            return datetime.min.replace(tzinfo=now.tzinfo)
    moment = datetime.fromisoformat(text.strip())
    return moment if moment.tzinfo else moment.replace(tzinfo=now.tzinfo)


_SECONDS = {"s": 1, "min": 60, "m": 60, "h": 3600, "d": 86400, "w": 604800}
