"""Values as people read them: times, ages, spans, counts; what a vendor wrote commands nothing.

The command line and the web console share them. Pure.
"""

import re
import unicodedata
from datetime import UTC, datetime, timedelta

from etl.errors import ConfigError

_BIDI = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u061c")
_FORMULA = re.compile(r"[=+\-@\t\r\n\uff0b\uff0d\uff1d\uff20]")

_UNSAFE = ("Cc", "Cs", "Zl", "Zp")  # controls, lone surrogates, separators of lines and paragraphs
_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


def _escaped(found: re.Match[str]) -> str:
    return f"\\u{ord(found.group()):04x}"


def safe(value: object) -> str:
    """A text whose control and direction characters are shown, not obeyed."""
    return "".join(
        character
        if character not in _BIDI and unicodedata.category(character) not in _UNSAFE
        else f"\\u{ord(character):04x}"
        for character in str(value)
    )


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
    """A duration: 0.4 s, 12 s, 1 min 52 s, 30 min, 2 h 5 min, 4 d 3 h."""
    if seconds < 10:
        return f"{max(0.0, seconds):.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes_left = divmod(minutes, 60)
    days, hours_left = divmod(hours, 24)
    if days:
        return f"{days} d {hours_left} h"
    if hours:
        return f"{hours} h {minutes_left} min"
    if minutes >= 10 or not rest:
        return f"{round(seconds / 60)} min" if minutes else f"{rest} s"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def csv_safe(value: object) -> str:
    """A text that no spreadsheet takes for a formula and no terminal for a command."""
    text = _CONTROLS.sub(_escaped, "" if value is None else str(value))
    return f"'{text}" if _FORMULA.match(text) else text


def moment(text: str, now: datetime, option: str = "--since") -> datetime:
    """As since(); ConfigError with the forms there are."""
    try:
        return since(text, now)
    except ValueError:
        given = text if len(text) <= 60 else f"{text[:59]}…"
        raise ConfigError(f"{option} {given!r}: write 7d, 12h, 90min, or an ISO time") from None


def since(text: str, now: datetime) -> datetime:
    """7d, 12h, 30min, 45s ago, or an ISO date or time (UTC unless it says otherwise)."""
    ago = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|min|m|h|d|w)", text.strip())
    if ago:
        try:
            return now - timedelta(seconds=float(ago[1]) * _SECONDS[ago[2]])
        except OverflowError:
            return datetime.min.replace(tzinfo=now.tzinfo)
    moment = datetime.fromisoformat(text.strip())
    try:
        return (moment if moment.tzinfo else moment.replace(tzinfo=now.tzinfo)).astimezone(UTC)
    except OverflowError:
        raise ValueError("not a time of the years 1 to 9999 in UTC") from None


_SECONDS = {"s": 1, "min": 60, "m": 60, "h": 3600, "d": 86400, "w": 604800}
