"""A URL's parameters as values, or a ConfigError that says how to write them.

Pure: it reads no clock and no database.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, unquote_to_bytes, urlencode

from etl.errors import ConfigError
from etl.formatting import moment as moment_of
from etl.history.browse import Place

STREAMS = ("projects", "environments", "layers")
MAX_ID = 2**63 - 1
MAX_TEXT = 200  # characters of what is searched for
MAX_QUERY = 8192  # bytes of all parameters together
CURSORS = ("after", "before")
VENDOR = "provider:"  # before the name of a vendor: all sources of that
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")


@dataclass(frozen=True, slots=True)
class Parameter:
    """How the text of a parameter is read; default: its value when it is missing or empty.

    read: name, text, the moment looked at -> value; ConfigError with the reason.
    """

    read: Callable[[str, str, datetime], Any]
    default: Any = None


Parameters = Mapping[str, Parameter]


@dataclass(frozen=True, slots=True, kw_only=True)
class PageQuery:
    """A path with its parameters; moment: the past that is looked at, None: now.

    route: the parts of the path that name a record or a run. params: the texts that were given;
    values: what they mean, with the defaults of those that were not.
    """

    path: str
    route: Mapping[str, Any]
    params: Mapping[str, str]
    now: datetime
    moment: datetime | None
    values: Mapping[str, Any] = field(default_factory=dict)

    @property
    def then(self) -> datetime:
        """The moment that is looked at."""
        return self.moment or self.now

    def text(self, name: str) -> str:
        """The text of a parameter, '' when it is missing."""
        return self.params.get(name, "").strip()

    def link(self, path: str, **params: object) -> str:
        """A path of the console with these parameters, at the moment that is looked at."""
        told = {name.rstrip("_"): str(value) for name, value in params.items() if _is_told(value)}
        if self.moment is not None:
            told.setdefault("as_of", written(self.moment))
        query = urlencode({name: value for name, value in told.items() if value != ""})
        return quote(path) + (f"?{query}" if query else "")

    def here(self, **params: object) -> str:
        """This page with other parameters; without the place in a list unless it is given."""
        kept = {
            name: value for name, value in self.params.items() if name not in (*CURSORS, "as_of")
        }
        return self.link(self.path, **{**kept, **params})

    @property
    def path_now(self) -> str:
        """This page, now."""
        query = urlencode(self.kept("as_of"))
        return quote(self.path) + (f"?{query}" if query else "")

    def kept(self, *changed: str) -> dict[str, str]:
        """The parameters that a form of this page sends along; those that it changes are left out.

        as_of is one of them unless the form changes it.
        """
        return {
            name: value
            for name, value in self.params.items()
            if value and name not in (*CURSORS, *changed)
        }


def asked(
    path: str,
    route: Mapping[str, str],
    query: bytes,
    now: datetime,
    parameters: Parameters,
) -> PageQuery:
    """The question of a URL; ConfigError when a part of it has no meaning.

    parameters: those that the page has; the parts of the path are among them.
    """
    params = query_texts(query)
    for name in params:
        if name != "as_of" and (name not in parameters or name in route):
            known = ", ".join(sorted({"as_of", *parameters} - set(route)))
            raise ConfigError(f"there is no parameter {_short(name)}; this page has: {known}")
    text = params.get("as_of", "").strip()
    moment = _moment(text, now) if text else None
    then = moment or now
    values = {
        name: _value(parameter, name, {**params, **route}.get(name, "").strip(), then)
        for name, parameter in parameters.items()
    }
    return PageQuery(path=path, route=route, params=params, now=now, moment=moment, values=values)


def _value(parameter: Parameter, name: str, text: str, then: datetime) -> Any:
    return parameter.read(name, text, then) if text else parameter.default


def query_texts(query: bytes) -> dict[str, str]:
    """The parameters of a query string; ConfigError for what no form of ours sends."""
    if len(query) > MAX_QUERY:
        raise ConfigError(f"the address is too long: its parameters have over {MAX_QUERY:,} bytes")
    found: dict[str, str] = {}
    for part in query.split(b"&"):
        if not part:
            continue
        name, value = (decoded(one.replace(b"+", b" ")) for one in _halves(part))
        if name in found:
            raise ConfigError(f"the parameter {_short(name)} is given twice")
        found[name] = value
    return found


def _halves(part: bytes) -> tuple[bytes, bytes]:
    name, _, value = part.partition(b"=")
    return name, value


def decoded(text: bytes) -> str:
    """A percent-encoded part of a URL; ConfigError unless it is UTF-8 that a database stores."""
    if _BAD_ESCAPE.search(text):
        raise ConfigError("the address has a % without two hexadecimal digits; write %25 for it")
    try:
        found = unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise ConfigError("the address is not percent-encoded UTF-8") from None
    if "\0" in found:
        raise ConfigError("the address has a NUL (%00), which no stored text has")
    return found


def choice(*choices: str, default: str | None = None) -> Parameter:
    """A parameter with one of these values."""

    def read(name: str, text: str, _then: datetime) -> str:
        if text not in choices:
            raise ConfigError(f"{name}: there is no {_short(text)}; there are {', '.join(choices)}")
        return text

    return Parameter(read, default)


def texts(longest: int = MAX_TEXT) -> Parameter:
    """A parameter that is searched for as it is."""

    def read(name: str, text: str, _then: datetime) -> str:
        if len(text) > longest:
            raise ConfigError(f"{name}: longer than {longest} characters")
        return text

    return Parameter(read, "")


def _read_number(name: str, text: str, _then: datetime) -> int:
    return number(text, name)


def _read_time(name: str, text: str, then: datetime) -> datetime:
    return moment_of(text, then, name)


def _read_place(name: str, text: str, _then: datetime) -> Place:
    try:
        source, key, identifier = json.loads(text)
        return Place(source=_stored(source), key=_stored(key), id=number(str(identifier), name))
    except (ValueError, TypeError, RecursionError, ConfigError):
        raise ConfigError(f"{name}: not the end of a page; begin at the first one") from None


def _stored(text: object) -> str:
    """A text that a database can hold; ValueError for all else."""
    if not isinstance(text, str) or "\0" in text:
        raise ValueError("no text of a database")
    return text.encode().decode()


SEARCH = texts()
SOURCE = texts(1000)
SOURCES = texts(1000)  # one, or all of a vendor
NUMBER = Parameter(_read_number)
TIME = Parameter(_read_time)
PLACE = Parameter(_read_place)


def number(text: str, name: str) -> int:
    """A positive number that a database takes for an id."""
    digits = text.lstrip("0")
    if not (text.isascii() and text.isdigit()) or not 0 < len(digits) < 20 or int(digits) > MAX_ID:
        raise ConfigError(f"{name}: {_short(text)} is no number of a record")
    return int(digits)


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:39]}…")


def written(moment: datetime) -> str:
    """A moment as a field for date and time takes it: UTC, and never before the moment itself."""
    if moment.microsecond % 1000:
        moment += timedelta(microseconds=1000 - moment.microsecond % 1000)
    unit = "milliseconds" if moment.microsecond else "seconds"
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec=unit)


def _is_told(value: object) -> bool:
    return value is not None and value != ""


def _moment(text: str, now: datetime) -> datetime:
    found = moment_of(text, now, "as_of")
    if found > now:
        raise ConfigError(f"as_of {text}: it has not come yet; the database knows the past only")
    return found
