"""Extraction: a stream's pages through Fetch, in order, until the provider's own end mark.

Guards against walks that never end; knows no database. What it reads is redacted before anything
else sees it.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import blake2b
from itertools import islice
from typing import TypeVar

from etl.errors import (
    AccessDenied,
    MisdirectedAnswer,
    ProtocolError,
    RequestRejected,
    SourceError,
)
from etl.json_text import json_type, vendor_message
from etl.providers.kit import Fetch, Json, Page, Request, Response, Stream
from etl.providers.paging import is_object, leads_back
from etl.providers.wire import clean, parse
from etl.signals import wait_in_pieces
from etl.transform.canonical import hash_of

MAX_PAGES = 1_000_000
MAX_STEPS_BACK = 5  # in a row; a step back is earned again by two pages that follow
MAX_WAITING_BYTES = 16 * 2**20  # bytes of answers that wait for their turn
MAX_SINGLE = 2 * 2**20  # bytes of an answer that is about one thing, of which several are held
OVERLAP = 1  # records; a page that begins with the last one of the page before follows it

Fingerprint = Callable[[str], str]
Recalled = Callable[[tuple[Request, bytes]], Page | None]
Place = TypeVar("Place")


@dataclass(frozen=True, slots=True, kw_only=True)
class PageReader:
    """What reading needs: the fetch, and how secrets become fingerprints.

    keep: is given each redacted body, with its stream, the key of its project and its request.
    recall: gives the page with a mark (its request, a digest of its body) that is known already.
    describe: the code and message of a body that is an error, without secrets.
    """

    fetch: Fetch
    fingerprint: Fingerprint
    concurrency: int = 1
    keep: Callable[[str, str, Request, Json], None] | None = None
    recall: Recalled | None = None
    describe: Callable[[Json], str] = vendor_message
    parent_key: str = ""


def pages(
    reader: PageReader,
    stream: Stream,
    start: Request,
    *,
    first: Response | None = None,
    before: Sequence[Json] = (),
    overlapping: bool = False,
) -> Iterator[Page]:
    """The pages from `start` on; `first` is the answer to it where that was fetched already.

    overlapping: each page is asked for from the last record of the page before it (`before`: its
    ids). A page without any of them does not follow: records moved up between the two requests,
    and the walk steps back until a page follows again. In a list that moves faster than it can be
    read this and all later pages say `gap`, and the walk only goes on.
    Raises ProtocolError on a page that leads back, on a page that repeats the one before it, and
    on an answer that is not as documented.
    """
    visited: set[Request] = set()
    credit, stepped, spoiled = 2 * MAX_STEPS_BACK, False, False
    request: Request | None = start
    while request is not None:
        if request in visited:
            raise ProtocolError(f"page {len(visited)} leads back to a page already read: a loop")
        if len(visited) >= MAX_PAGES:
            raise ProtocolError(f"no end after {MAX_PAGES} pages")
        visited.add(request)
        page = _page_after(before, reader, stream, request, first=first, number=len(visited))
        first = None
        marks = marks_of(page, stream)
        if not stepped:
            _raise_if_same(marks, before, len(visited))
        if overlapping and marks and leads_back(page.next, request):
            raise ProtocolError(f"the link of page {len(visited)} leads back: a loop")
        back = _step_back(stream, request, before) if overlapping and not spoiled else None
        stepped = back is not None and credit > 1 and not follows(marks, before)
        if stepped:
            credit -= 2
            visited.clear()
            request = back
            continue
        spoiled = spoiled or (back is not None and not follows(marks, before))
        yield replace(page, gap=spoiled)
        credit, before = min(credit + 1, 2 * MAX_STEPS_BACK), marks
        request = _overlapped(stream, page) if overlapping else page.next


def _page_after(
    before: Sequence[Json],
    reader: PageReader,
    stream: Stream,
    request: Request,
    *,
    first: Response | None,
    number: int,
) -> Page:
    """The page of a request.

    Raises ProtocolError where it is the page before it again, also where the answer names another
    request: such a server repeats itself, and does not mix up its answers (MisdirectedAnswer).
    """
    try:
        return _page(reader, stream, request, first)
    except MisdirectedAnswer as error:
        _raise_if_same(marks_of(stream.read_page(error.body, request), stream), before, number)
        raise


def _raise_if_same(marks: Sequence[Json], before: Sequence[Json], number: int) -> None:
    if marks and marks == before:
        raise ProtocolError(f"page {number} is the same as the one before it")


def _page(reader: PageReader, stream: Stream, request: Request, first: Response | None) -> Page:
    """The page of a request, where `first` is not the answer already."""
    try:
        response = first if first is not None else reader.fetch(request)
        sent_at = response.sent_at
        mark = request, blake2b(response.body, digest_size=16).digest()
        known = None if reader.recall is None else reader.recall(mark)
        if known is not None:
            return replace(known, sent_at=sent_at)
        body = body_of(reader, stream.name, request, response)
        if stream.echo(body, request) is not None:  # no mark: the body is not the one digested
            del body, response  # two of them are not held at once
            body = body_for(reader, stream, replace(request, alone=True))
            return replace(stream.read_page(body, request), sent_at=sent_at)
    except RequestRejected as error:
        if stream.page_of_404 is None or error.status != 404:
            raise
        return stream.page_of_404(request)
    page = _read(reader, stream, request, body)
    return replace(page, mark=None if reader.recall is None else mark, sent_at=sent_at)


def body_for(reader: PageReader, stream: Stream, request: Request) -> dict[str, Json]:
    """The body of the answer to this request; one that says it is another's is asked for again.

    Raises MisdirectedAnswer where it says so on a connection of its own too.
    """
    body = body_of(reader, stream.name, request, reader.fetch(request))
    said = stream.echo(body, request)
    if said is None:
        return body
    if not request.alone:
        del body
        return body_for(reader, stream, replace(request, alone=True))
    said = f"the answer to {request.path} is of another request: {said}"
    raise MisdirectedAnswer(said, body=body)


def _read(reader: PageReader, stream: Stream, request: Request, body: dict[str, Json]) -> Page:
    """The page of an answer; an answer that is an error in disguise is told in its own words."""
    try:
        return stream.read_page(body, request)
    except ProtocolError as error:
        said = reader.describe(body)
        says = f", which says {said!r}" if said else ""
        raise ProtocolError(f"{error}; in the answer to {_place(request)}{says}") from error


def _place(request: Request) -> str:
    """The path of a request; its query may hold cursors and e-mail addresses."""
    return request.path.partition("?")[0]


def follows(marks: Sequence[Json], before: Sequence[Json]) -> bool:
    """Whether nothing can be missing between two pages: they share a record."""
    return not set(marks).isdisjoint(before)


def marks_of(page: Page, stream: Stream) -> list[Json]:
    """What tells the items of a page apart: their ids, or the items themselves without one."""
    return [_mark(item, stream) for item in page.items] if page.ids is None else list(page.ids)


def _step_back(stream: Stream, request: Request, before: Sequence[Json]) -> Request | None:
    """The request of the page's place one page earlier; None where pages need not follow."""
    if stream.earlier_request is None or len(before) <= OVERLAP:
        return None
    return stream.earlier_request(request, len(before))


def _overlapped(stream: Stream, page: Page) -> Request | None:
    """The next request, begun at the last record of this page."""
    if page.next is None or stream.earlier_request is None or len(page.items) <= OVERLAP:
        return page.next
    return stream.earlier_request(page.next, OVERLAP) or page.next


def remembering(reader: PageReader, request: Request, answer: Response) -> PageReader:
    """The reader with an answer it has already; for helps that are also asked who the key is."""

    def fetch(wanted: Request) -> Response:
        return answer if wanted == request else reader.fetch(wanted)

    return replace(reader, fetch=fetch)


def body_of(
    reader: PageReader, stream: str, request: Request, response: Response
) -> dict[str, Json]:
    """The parsed, redacted body; ProtocolError when it is no JSON object."""
    try:
        body = clean(parse(response.body), response.body, reader.fingerprint)
    except ProtocolError as error:
        raise ProtocolError(f"{error}; in the answer to {_place(request)}") from error
    if not is_object(body):
        where = f"in the answer to {_place(request)}"
        raise ProtocolError(f"the answer is a JSON {json_type(body)}, not an object; {where}")
    if reader.keep is not None:
        reader.keep(stream, reader.parent_key, request, body)
    return body


def single(fetch: Fetch) -> Fetch:
    """The same fetch for what is no list; ProtocolError on an answer as large as only a list is."""

    def fetch_single(request: Request) -> Response:
        answer = fetch(request)
        if len(answer.body) > MAX_SINGLE:
            why = f"the answer to {request.path} has more than {MAX_SINGLE} bytes and is no list"
            raise ProtocolError(why, url=answer.url, status=answer.status)
        return answer

    return fetch_single


def gathered(reader: PageReader, stream: Stream, source: str) -> tuple[Json, Sequence[SourceError]]:
    """The one item that several helps make together, and the helps that did not answer."""
    if stream.combine is None:
        raise TypeError(f"the stream {stream.name} has nothing to combine with")
    reader = replace(reader, fetch=single(reader.fetch))
    answers: list[Json] = []
    refused: list[SourceError] = []
    for request in stream.extra_requests:
        try:
            answers.append(body_for(reader, stream, request))
        except (AccessDenied, RequestRejected, MisdirectedAnswer) as error:
            if error.status not in (None, 403, 404):
                raise
            refused.append(error)
    return stream.combine(answers, source), refused


def fetched(
    reader: PageReader, wanted: Iterable[tuple[Place, Request]]
) -> Iterator[tuple[Place, Response | SourceError]]:
    """The answer to each request in the order asked, several in flight; errors come as values."""
    if reader.concurrency == 1:
        for place, request in wanted:
            yield place, _outcome(reader.fetch, request)
        return
    pool = ThreadPoolExecutor(reader.concurrency, "etl-fetch")
    waiting: deque[tuple[Place, Request, Future[Response | SourceError | None]]] = deque()
    coming, room = iter(wanted), _Room()
    try:
        while True:
            for place, request in islice(coming, 2 * reader.concurrency - len(waiting)):
                fetching = pool.submit(room.filled, reader.fetch, request)
                waiting.append((place, request, fetching))
            if not waiting:
                return
            place, request, answer = waiting.popleft()
            wait_in_pieces(partial(_is_done, answer))
            found = room.emptied(answer.result())
            del answer
            yield place, found or _outcome(reader.fetch, request)
    finally:
        # not waited for: whoever stops early closes the client, which ends the threads
        pool.shutdown(wait=False, cancel_futures=True)


@dataclass(slots=True)
class _Room:
    """Holds answers that wait for their turn; of more than fit, the rest is asked for again."""

    held: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def filled(self, fetch: Fetch, request: Request) -> Response | SourceError | None:
        """The outcome of a request, or None where there is no room for it."""
        outcome = _outcome(fetch, request)
        size = _size(outcome)
        with self.lock:
            if size and self.held + size > MAX_WAITING_BYTES:
                return None
            self.held += size
        return outcome

    def emptied(self, outcome: Response | SourceError | None) -> Response | SourceError | None:
        """The outcome, whose turn has come."""
        with self.lock:
            self.held -= _size(outcome)
        return outcome


def _size(outcome: Response | SourceError | None) -> int:
    return len(outcome.body) if isinstance(outcome, Response) else 0


def _is_done(answer: Future[Response | SourceError | None], seconds: float | None) -> bool:
    return answer.done() or bool(wait((answer,), seconds).done)


def _outcome(fetch: Fetch, request: Request) -> Response | SourceError:
    try:
        return fetch(request)
    except SourceError as error:
        return error


def _mark(item: Json, stream: Stream) -> str:
    """What tells items apart: the id, or a digest of the item where it has none."""
    try:
        found: object = stream.item_id(item)
    except (KeyError, TypeError, AttributeError):
        found = None
    return found if isinstance(found, str) else hash_of(item)
