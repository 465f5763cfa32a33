"""What a provider consists of: Provider, Stream, Request, Page, Partition.

Values only. A provider file fills them with data and pure functions; it never sees the network.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict

from etl.errors import ProviderError
from etl.json_text import Json as Json
from etl.json_text import http_date
from etl.model import Record

STREAMS = ("projects", "environments", "layers")  # each has its tables, see etl.db.tables
_NAME = re.compile("[a-z][a-z0-9_-]*")

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


def bearer(key: str) -> Mapping[str, str]:
    """Bearer authentication."""
    return {"Authorization": f"Bearer {key}"}


def _always(_options: Any) -> bool:
    return True


def _never(_options: Any) -> bool:
    return False


def _nothing(_body: Json) -> Json:
    return None


def _no_echo(_body: Json, _request: Request) -> str | None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """How one kind of record is read from one provider.

    Lists: `options` are its query options; `first_request` is the first request of a partition;
    `read_page` makes a Page of a parsed body and the request that brought it; `echo` says which
    other request a body says that it answers, None where it is this one or it does not say.
    `parent` is the stream whose records are the partitions. `extra_requests` are requests whose
    answers `combine` into one item (403 and 404 are allowed). `filter_options` leave records out;
    `is_wanted` decides by the options of the source, by stream, whether it is read at all.

    Items: `item_id` is the provider's id, and raises on an item without one; `split_item` gives the
    item by itself, and what it carries of other streams; `to_record` makes a Record of a redacted
    item, and raises ValidationError on an unknown shape. `volatile_fields` (top-level) differ from
    call to call and are no content; in `unordered_lists` (paths, `*` for any key) the order is
    none; `secret_fields` (top-level) hold keys, and name the columns of their fingerprints;
    `list_keys` name the items of lists in the paths of field diffs.

    Order: `is_single_page` where a partition comes in one response. `earlier_request` of an offset
    list begins so many records earlier, None where the paging does not allow it; where
    `has_stable_order` too, as these options sort by what never changes, pages are read so that they
    overlap, and a record that slips from one to the next is noticed.

    Single records: `item_request` (id, key) reads one again, so that a 404 proves its deletion; its
    body is the item, or an envelope on which `item_id` raises KeyError. `asks_by_key` where that is
    by a key, which may change. `list_item_request` (key, options) reads one for `--project`, as the
    list shows it and for `read_page`; else `without_item_request` tells people why there is none.
    `bare_options` leave out what items carry of other streams. `page_of_404` is the page that a 404
    of a list stands for, where absence is an answer. `has_created_at` where the provider says when
    a record was created.
    """

    name: str
    options: type[Options]
    first_request: Callable[[Partition, Any], Request]
    read_page: Callable[[Json, Request], Page]
    echo: Callable[[Json, Request], str | None] = _no_echo
    parent: str | None = None
    extra_requests: tuple[Request, ...] = ()
    combine: Callable[[Sequence[Json], str], Json] | None = None
    filter_options: frozenset[str] = frozenset()
    is_wanted: Callable[[Mapping[str, Any]], bool] = _always

    item_id: Callable[[Json], str]
    split_item: Callable[[Json], tuple[Json, Sequence[Embedded]]] = whole
    to_record: Callable[[Json, Partition], Record]
    volatile_fields: frozenset[str] = frozenset()
    unordered_lists: tuple[tuple[str, ...], ...] = ()
    secret_fields: Mapping[str, str] = field(default_factory=dict)
    list_keys: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    is_single_page: bool = False
    has_stable_order: Callable[[Any], bool] = _never
    earlier_request: Callable[[Request, int], Request | None] | None = None

    item_request: Callable[[str, str], Request] | None = None
    asks_by_key: bool = False
    list_item_request: Callable[[str, Any], Request] | None = None
    without_item_request: str = "this provider has no route for single projects; leave it out"
    bare_options: Mapping[str, Any] = field(default_factory=dict)
    page_of_404: Callable[[Request], Page] | None = None
    has_created_at: bool = False

    def filter_of(self, options: Any) -> dict[str, Any]:
        """The options that leave records out, with their values; empty when none is set."""
        return {
            name: said for name in sorted(self.filter_options) if (said := getattr(options, name))
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """A vendor: where it lives, how a key is presented, its streams in the order they are read.

    headers: of a request with that key. error_message: of a body that is an error; "" of others.
    whoami: asks what the key belongs to, identity: what of the answer tells accounts apart; where a
    provider has no such request or says nothing, a new key is taken for another account.
    rate_limits: the windows it documents, as `100/10s`; none where only its headers tell.
    granted_limits: the windows that whoami grants to the key; none where it does not say.
    """

    name: str
    base_url: str
    headers: Callable[[str], Mapping[str, str]]
    streams: tuple[Stream, ...]
    whoami: Request | None = None
    identity: Callable[[Json], Json] = _nothing
    error_message: Callable[[Json], str]
    concurrency: int = 1
    rate_limits: tuple[str, ...] = ()
    granted_limits: Callable[[Json], tuple[str, ...]] | None = None

    def __post_init__(self) -> None:
        """Raises ProviderError where it does not fit together."""
        if not _NAME.fullmatch(self.name):
            raise ProviderError(f"the provider {self.name!r} must be named by [a-z][a-z0-9_-]*")
        url = urlsplit(self.base_url)
        if url.scheme not in ("https", "http") or not url.netloc or url.path or url.query:
            raise ProviderError(f"the provider {self.name}: {self.base_url!r} is no https://host")
        known: set[str] = set()
        for stream in self.streams:
            where = f"the provider {self.name}, stream {stream.name!r}"
            if stream.name not in STREAMS:
                raise ProviderError(f"{where}: there are {', '.join(STREAMS)}")
            if stream.name in known:
                raise ProviderError(f"{where}: it has this stream twice")
            if stream.parent is not None and stream.parent not in known:
                raise ProviderError(f"{where}: its parent {stream.parent!r} must come before it")
            if odd := sorted(stream.filter_options - stream.options.model_fields.keys()):
                raise ProviderError(f"{where}: it has no option {', '.join(odd)} to filter by")
            known.add(stream.name)

    def stream(self, name: str) -> Stream:
        """The stream of that name; KeyError when this vendor has none."""
        for stream in self.streams:
            if stream.name == name:
                return stream
        raise KeyError(name)


def fans_out(provider: Provider, stream: Stream) -> bool:
    """Whether a stream has a partition for each of many projects, any of which may fail alone."""
    return stream.parent is not None and not provider.stream(stream.parent).extra_requests
