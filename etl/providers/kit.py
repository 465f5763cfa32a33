"""The vocabulary of extraction: Request, Response, Page, Partition, Stream, Provider.

Values only. A provider file fills them with data and pure functions; it never sees the network.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict

from etl.json_text import Json as Json
from etl.json_text import http_date
from etl.model import Record

Params = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Request:
    """One GET. `params` None means: the URL is complete, leave its query alone (a next link).

    alone: on a connection of its own, so that no other request's answer can be taken for its own.
    """

    path: str
    params: Params | None = None
    alone: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """A 2xx answer: the decoded body and the headers, names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str

    @property
    def sent_at(self) -> float | None:
        """When it was sent, in epoch seconds of the vendor's clock; None where it does not say."""
        return http_date(self.headers.get("date"))


Fetch = Callable[[Request], Response]


@dataclass(slots=True, kw_only=True)
class Traffic:
    """What a client did since it was made; waited: seconds in which any of its threads paused."""

    requests: int = 0
    retries: int = 0
    waited: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """A part of a stream that is walked by itself: all of it, or what belongs to one project."""

    parent_id: str = ""
    parent_key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page: its items, the next request (None: the provider said it is the end), its total.

    gap: it does not follow the page before it; records may have slipped through between them.
    ids: of a page that an earlier walk brought just so; it was not read again and has no items.
    mark: tells it from others, where an earlier or later walk may bring just the same.
    sent_at: when it was sent, in epoch seconds of the vendor's clock; None where nobody says.
    """

    items: Sequence[Json]
    next: Request | None
    total: int | None = None
    gap: bool = False
    ids: Sequence[str] | None = None
    mark: tuple[Request, bytes] | None = None
    sent_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedded:
    """Items of another stream that came inside an item: a whole partition, or its first part."""

    stream: str
    partition: Partition
    items: Sequence[Json]
    complete: bool


class Options(BaseModel):
    """The query options of one stream as the vendor offers them; unknown ones are an error."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def whole(item: Json) -> tuple[Json, tuple[Embedded, ...]]:
    """An item that carries nothing of other streams."""
    return item, ()


def _always(_options: Any) -> bool:
    return True


def _no_echo(_body: Json, _request: Request) -> str | None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """How one kind of record is read from one vendor.

    first       the first request of a partition
    read        a parsed body and the request that brought it -> Page
    identity    the vendor's id of an item; raises on an item that has none
    echo        a parsed body and the request sent -> what the body says it answers, where that is
                another request; None where it is this one, or the vendor does not say
    transform   a redacted item -> Record; raises ValidationError on an unknown shape
    volatile    top-level fields that differ from call to call and are no content
    sets        paths of lists whose order says nothing (`*` stands for any key)
    secrets     top-level fields that hold a key -> the columns of their fingerprints
    keyed       list name -> the fields that name its items, for the paths of field diffs
    one         the request that reads this one record again, where the vendor has such a route
    renamable   whether that request asks by a key, which a record may change
    by_key      the request that reads one record as the list would show it, by its key
    bare        the options with which the list shows the records by themselves
    alone       where there is none such: why, and the way out, for people
    missing     the page that a 404 of such a request is: absence is an answer there
    dated       whether the vendor tells when a record was created
    parent      the stream whose records are this stream's partitions
    split       an item -> the item by itself, and what it carries of other streams
    gather      requests whose answers make one item together (helps: 403 and 404 are allowed)
    atomic      a partition comes in one response, so that nothing can move while it is walked
    earlier     offset lists: a request -> the same one so many records earlier, for pages that
                overlap; None where the paging does not allow it
    steady      whether these options order the list by what never changes of a record
    narrowing   the options that leave records out
    wanted      whether the options of the source, by stream, ask for this stream at all
    """

    name: str
    options: type[Options]
    first: Callable[[Partition, Any], Request]
    read: Callable[[Json, Request], Page]
    identity: Callable[[Json], str]
    transform: Callable[[Json, Partition], Record]
    echo: Callable[[Json, Request], str | None] = _no_echo
    volatile: frozenset[str] = frozenset()
    sets: tuple[tuple[str, ...], ...] = ()
    secrets: Mapping[str, str] = field(default_factory=dict)
    keyed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    one: Callable[[str, str], Request] | None = None
    renamable: bool = False
    by_key: Callable[[str, Any], Request] | None = None
    bare: Mapping[str, Any] = field(default_factory=dict)
    alone: str = "this provider has no route for single projects; leave it out"
    missing: Callable[[Request], Page] | None = None
    dated: bool = False
    parent: str | None = None
    split: Callable[[Json], tuple[Json, Sequence[Embedded]]] = whole
    gather: tuple[Request, ...] = ()
    combine: Callable[[Sequence[Json], str], Json] | None = None
    atomic: bool = False
    earlier: Callable[[Request, int], Request | None] | None = None
    steady: Callable[[Any], bool] = _always
    narrowing: frozenset[str] = frozenset()
    wanted: Callable[[Mapping[str, Any]], bool] = _always

    def filter_of(self, options: Any) -> dict[str, Any]:
        """The options that leave records out, with their values; empty when none is set."""
        return {name: said for name in sorted(self.narrowing) if (said := getattr(options, name))}


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """A vendor: where it lives, how a key is presented, its streams in the order they are read.

    whoami: asks what the key belongs to; identity: what of the answer tells accounts apart.
    rate_limits: the windows it documents, as `100/10s`; none where only its headers tell.
    granted_limits: the windows that whoami grants to the key; none where it does not say.
    """

    name: str
    base_url: str
    headers: Callable[[str], Mapping[str, str]]
    streams: tuple[Stream, ...]
    whoami: Request
    identity: Callable[[Json], Json]
    error_message: Callable[[Json], str]
    concurrency: int = 1
    rate_limits: tuple[str, ...] = ()
    granted_limits: Callable[[Json], tuple[str, ...]] | None = None

    def stream(self, name: str) -> Stream:
        """The stream of that name; KeyError when this vendor has none."""
        for stream in self.streams:
            if stream.name == name:
                return stream
        raise KeyError(name)


def fans_out(provider: Provider, stream: Stream) -> bool:
    """Whether a stream has a partition for each of many projects, any of which may fail alone."""
    return stream.parent is not None and not provider.stream(stream.parent).gather
