"""What a request asks for: the text of a URL as values, or a ConfigError that says how to write it.

Pure: it reads no clock and no database.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, urlencode

from etl.db.browse import Place
from etl.errors import ConfigError
from etl.shown import moment as moment_of

STREAMS = ("projects", "environments", "layers")
LARGEST_ID = 2**63 - 1
LONGEST_TEXT = 200
CURSORS = ("after", "before")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A path with its parameters; moment: the past that is looked at, None: now.

    route: the parts of the path that name a record or a run.
    """

    path: str
    route: Mapping[str, str]
    params: Mapping[str, str]
    now: datetime
    moment: datetime | None

    @property
    def then(self) -> datetime:
        """The moment that is looked at."""
        return self.moment or self.now

    def text(self, name: str) -> str:
        """A parameter, '' when it is missing; a text to search for is not endless."""
        return self.params.get(name, "").strip()[:LONGEST_TEXT]

    def optional(self, name: str) -> str | None:
        """A parameter, None when it is missing or empty."""
        return self.text(name) or None

    def one_of(self, name: str, choices: tuple[str, ...]) -> str:
        """A parameter of these, the first one when it is missing."""
        found = self.text(name) or choices[0]
        if found not in choices:
            raise ConfigError(f"{name}: there is no {found!r}; there are {', '.join(choices)}")
        return found

    def number(self, name: str) -> int | None:
        """A parameter that is an id or a version."""
        text = self.text(name)
        return number(text, name) if text else None

    def past(self, name: str) -> datetime | None:
        """A parameter that is a time or an age before the moment looked at."""
        text = self.text(name)
        return moment_of(text, self.then, name) if text else None

    def place(self) -> Place | None:
        """Where the page before ended."""
        text = self.params.get("after")
        if not text:
            return None
        try:
            source, key, identifier = json.loads(text)
            return Place(source=str(source), key=str(key), id=number(str(identifier), "after"))
        except (ValueError, TypeError):
            raise ConfigError("after: not the end of a page; begin at the first one") from None

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


def asked(path: str, route: Mapping[str, str], params: Mapping[str, str], now: datetime) -> Asked:
    """The question of a URL; ConfigError for a moment that is none or has not come."""
    text = params.get("as_of", "").strip()
    moment = _moment(text, now) if text else None
    return Asked(path=path, route=route, params=params, now=now, moment=moment)


def number(text: str, name: str) -> int:
    """A positive number that a database takes for an id."""
    if not (text.isascii() and text.isdigit()) or not 0 < int(text) <= LARGEST_ID:
        raise ConfigError(f"{name}: {text[:40]!r} is no number of a record")
    return int(text)


def written(moment: datetime) -> str:
    """A moment as a field for date and time takes it: UTC, and never before the moment itself."""
    if moment.microsecond % 1000:
        moment += timedelta(microseconds=1000 - moment.microsecond % 1000)
    unit = "milliseconds" if moment.microsecond else "seconds"
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec=unit)


def _is_told(value: object) -> bool:
    return value is not None and value != ""


def _moment(text: str, now: datetime) -> datetime:
    found = moment_of(text, now, "as_of").astimezone(UTC)
    if found > now:
        raise ConfigError(f"as_of {text}: it has not come yet; the database knows the past only")
    return found
