"""Extraction: a stream's pages through Fetch, in order, until the provider's own end mark.

Guards against walks that never end; knows no database. What it reads is redacted before anything
else sees it.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from etl.errors import AccessDenied, ProtocolError, RequestRejected, SourceError
from etl.paging import is_object
from etl.stream import Fetch, Json, Page, Request, Response, Stream
from etl.wire import clean, parse

MOST_PAGES = 1_000_000

Fingerprint = Callable[[str], str]
Place = TypeVar("Place")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """What reading needs: the fetch, and how secrets become fingerprints."""

    fetch: Fetch
    fingerprint: Fingerprint
    concurrency: int = 1


def pages(
    reader: Reader, stream: Stream, start: Request, first: Response | None = None
) -> Iterator[Page]:
    """The pages from `start` on; `first` is the answer to it where that was fetched already.

    Raises ProtocolError on a page that leads back, on a page that repeats the one before it, and
    on an answer that is not as documented.
    """
    visited: set[Request] = set()
    before: list[Json] = []
    request: Request | None = start
    while request is not None:
        if request in visited:
            raise ProtocolError(f"page {len(visited)} leads back to a page already read: a loop")
        if len(visited) >= MOST_PAGES:
            raise ProtocolError(f"no end after {MOST_PAGES} pages")
        visited.add(request)
        response = first if first is not None else reader.fetch(request)
        first = None
        page = stream.read(body_of(response, reader.fingerprint), request)
        marks = [_mark(item, stream) for item in page.items]
        if marks and marks == before:
            raise ProtocolError(f"pages {len(visited) - 1} and {len(visited)} are the same page")
        before = marks
        yield page
        request = page.next


def body_of(response: Response, fingerprint: Fingerprint) -> dict[str, Json]:
    """The parsed, redacted body; ProtocolError when it is no JSON object."""
    body = clean(parse(response.body), response.body, fingerprint)
    if not is_object(body):
        raise ProtocolError(f"the answer is {type(body).__name__}, not an object")
    return body


def gathered(reader: Reader, stream: Stream, source: str) -> tuple[Json, Sequence[SourceError]]:
    """The one item that several helps make together, and the helps that did not answer."""
    if stream.combine is None:
        raise TypeError(f"the stream {stream.name} has nothing to combine with")
    answers: list[Json] = []
    refused: list[SourceError] = []
    for request in stream.gather:
        try:
            answers.append(body_of(reader.fetch(request), reader.fingerprint))
        except (AccessDenied, RequestRejected) as error:
            if error.status not in (403, 404):
                raise
            refused.append(error)
    return stream.combine(answers, source), refused


def fetched(
    reader: Reader, wanted: Iterable[tuple[Place, Request]]
) -> Iterator[tuple[Place, Response | SourceError]]:
    """The answer to each request in the order asked, several in flight; errors come as values."""
    if reader.concurrency == 1:
        for place, request in wanted:
            yield place, _outcome(reader.fetch, request)
        return
    with ThreadPoolExecutor(reader.concurrency, "etl-fetch") as pool:
        waiting: deque[tuple[Place, Future[Response | SourceError]]] = deque()
        coming = iter(wanted)
        try:
            while True:
                for place, request in islice(coming, 2 * reader.concurrency - len(waiting)):
                    waiting.append((place, pool.submit(_outcome, reader.fetch, request)))
                if not waiting:
                    return
                place, answer = waiting.popleft()
                yield place, answer.result()
        finally:
            for _, answer in waiting:
                answer.cancel()


def _outcome(fetch: Fetch, request: Request) -> Response | SourceError:
    try:
        return fetch(request)
    except SourceError as error:
        return error


def _mark(item: Json, stream: Stream) -> Json:
    """What tells items apart: the id, or the item itself where it has none."""
    try:
        return stream.identity(item)
    except (KeyError, TypeError, AttributeError):
        return item
