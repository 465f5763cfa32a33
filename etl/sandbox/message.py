"""What passes between the server, the vendors and the faults: Call, Question, Reply, Vendor."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote

if TYPE_CHECKING:
    from etl.sandbox.world import World

Headers = tuple[tuple[str, str], ...]

JSON_HEADERS: Headers = (("Content-Type", "application/json"),)


@dataclass(frozen=True, slots=True)
class Call:
    """A request as it came; the names of headers in lower case."""

    method: str
    target: str
    headers: Mapping[str, str] = field(repr=False)  # one of them is a key
    body: bytes = b""

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        """The query as it was written."""
        return self.target.partition("?")[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a vendor's answer depends on, apart from the world.

    audience    whose key it is
    variant     0 or 1: which of two harmless variations is shown
    page_cap    the largest page, whatever is asked for; None: the vendor's own
    dated       LaunchDarkly: an API version from before lists were paged
    """

    method: str
    target: str
    path: str
    segments: tuple[str, ...]
    query: tuple[tuple[str, str], ...]
    audience: str
    variant: int = 0
    page_cap: int | None = None
    dated: bool = False

    def one(self, name: str) -> str | None:
        """The value of a query parameter; the last one wins, as with the vendors."""
        return dict(self.query).get(name)

    def all(self, name: str) -> list[str]:
        """All values of a repeated query parameter."""
        return [value for key, value in self.query if key == name]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer, and how it goes over the wire.

    delivery    whole; or cut, reset, closed, slow, twice, after the last: see connection.deliver
    behind      bytes that are sent with the answer, behind its end
    filler      so many bytes of JSON white space go before the body
    pace        seconds a byte, when slow
    wait        seconds before anything is sent
    """

    status: int
    body: bytes
    headers: Headers = JSON_HEADERS
    delivery: str = "whole"
    behind: bytes = b""
    filler: int = 0
    pace: float = 0.0
    wait: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Vendor:
    """A vendor as data and pure functions; the last ones are what the paging faults need.

    audience    headers -> whose key, None when it is nobody's
    items, next, total      where a list answer has them
    index       which page is asked for, from 0
    pointer     the next pointer to the page so many pages on; 0: to the asked one itself
    detour      a next pointer that is new and yet skips nothing (Statsig's skips a page)
    """

    name: str
    prefix: str
    audience: Callable[[Mapping[str, str]], str | None]
    unauthorized: Callable[[Mapping[str, str]], Reply]
    answer: Callable[["World", Question], Any]
    error: Callable[[int, str], Reply]
    items: str
    next: tuple[str, ...]
    total: tuple[str, ...]
    index: Callable[[Question], int]
    pointer: Callable[[Question, int], str]
    detour: Callable[[Question], str]


class Refusal(Exception):
    """The vendor says no, with this status."""

    def __init__(self, status: int, message: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def reply_json(status: int, value: Any, headers: Headers = ()) -> Reply:
    """An answer with that JSON."""
    return Reply(status=status, body=encoded(value), headers=JSON_HEADERS + headers)


def encoded(value: Any) -> bytes:
    """JSON as the vendors write it: UTF-8, no white space; escaped where UTF-8 cannot say it."""
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:  # a lone surrogate
        return json.dumps(value, separators=(",", ":")).encode()


def segments_after(prefix: str, path: str) -> tuple[str, ...]:
    """The decoded parts of a path below the prefix."""
    return tuple(unquote(part) for part in path[len(prefix) :].strip("/").split("/"))


def parameters(query: str) -> tuple[tuple[str, str], ...]:
    """The decoded parameters of a query."""
    return tuple(parse_qsl(query, keep_blank_values=True))


def number(question: Question, name: str, default: int, *, status: int = 400) -> int:
    """A whole number of the query; Refusal when it is something else."""
    text = question.one(name)
    if text is None:
        return default
    if not text.lstrip("-").isdecimal():
        raise Refusal(status, f"{name} must be an integer, not {text!r}")
    return int(text)
