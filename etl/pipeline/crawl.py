"""Crawls one stream: reads all its lists into the stager, and decides what a failure ends.

A failure of a list that everything depends on ends the run. A failure in one project's list ends
that walk only: the partition is incomplete, the others land.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from etl.errors import (
    AccessDenied,
    MisdirectedAnswer,
    RateLimited,
    RequestRejected,
    SourceError,
)
from etl.extract.list_walk import (
    MAX_WALKS,
    ListWalk,
    again,
    begin,
    brought,
    give_up,
    go_back,
    note_page,
    settled,
    unproved,
)
from etl.extract.pages import OVERLAP, PageReader, fetched, gathered, marks_of, pages
from etl.load.stager import Stager
from etl.model import StreamStatus
from etl.pipeline.moved_keys import moved_keys
from etl.providers.kit import (
    Page,
    Partition,
    Provider,
    Request,
    Response,
    Stream,
    Traffic,
    fans_out,
)

FAILURES_IN_A_ROW = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One step of a survey: what it added, and what the run has cost so far."""

    stream: str
    records: int
    pages: int
    partitions_done: int
    partitions: int
    requests: int = 0
    waited: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Crawl:
    """What surveying a source needs."""

    provider: Provider
    source: str
    options: Mapping[str, Any]
    reader: PageReader
    intake: Stager
    traffic: Traffic
    progress: Callable[[Progress], None]


def survey(work: Crawl, stream: Stream) -> list[str]:
    """Walks every partition of a stream that this run has not walked yet; -> notes for people."""
    if stream.extra_requests:
        return _gather(work, stream)
    todo = [walk for walk in _walks(work, stream) if not walk.ended]
    if not fans_out(work.provider, stream):
        for walk in todo:
            _walk(work, stream, walk, None)
        return []
    work.intake.expect(stream.name, [walk.parent_id for walk in todo])
    failures = 0
    with_requests = ((walk, _start(work, stream, walk)) for walk in todo)
    for walk, answer in fetched(work.reader, with_requests):
        error = _try(work, stream, walk, answer)
        failures = 0 if error is None else failures + 1
        if error is not None and failures >= FAILURES_IN_A_ROW:
            raise error
    return []


def _walks(work: Crawl, stream: Stream) -> Iterator[ListWalk]:
    """The walk of every partition, begun where there is none."""
    partitions = [Partition()]
    if stream.parent is not None:
        work.intake.flush()  # the parents of this run are read from what is staged
        found = work.intake.parents(stream.parent)
        partitions = [Partition(parent_id=id_, parent_key=key) for id_, key in found.items()]
    walks = work.intake.walks[stream.name]
    for partition in partitions:
        walk = walks.get(partition.parent_id) or begin(partition)
        if walk.parent_key != partition.parent_key:  # read by an earlier process, by another key
            work.intake.forget(stream.name, walk, "its project has another key now")
            walk = work.intake.walk(stream.name, begin(partition))
        cut = walk.embedded and not walk.ended and walk.number == 0
        anew = cut or _is_unsettled(work, stream, walk)
        current = work.intake.walk(stream.name, again(walk) if anew else walk)
        steady = stream.has_stable_order(work.options[stream.name])
        current.overlapping = stream.earlier_request is not None and steady
        yield current


def confirm_keys(work: Crawl, stream: Stream) -> None:
    """Looks the keys of a stream up again by which the lists below were asked for.

    A list whose key was another record's meanwhile is forgotten; its partition is incomplete.
    """
    below = [
        (name, walk)
        for name, one in work.intake.streams.items()
        if one.parent == stream.name and fans_out(work.provider, one)
        for walk in work.intake.walks[name].values()
        if walk.number > 0 and walk.pages > 0
    ]
    asked = {walk.parent_id: walk.parent_key for _, walk in below}
    if not asked:
        return
    pages = work.intake.walks[stream.name][""].pages
    moved = moved_keys(work.reader, stream, work.options, asked, pages)
    for name, walk in below:
        if walk.parent_id in moved:
            work.intake.forget(name, walk, moved[walk.parent_id])


def _is_unsettled(work: Crawl, stream: Stream, walk: ListWalk) -> bool:
    """Whether an earlier process ended just before the next walk of the same list."""
    ended = walk.ended and 0 < walk.number < MAX_WALKS
    return ended and not _settled(work, stream, walk)


def _start(work: Crawl, stream: Stream, walk: ListWalk) -> Request:
    """Where the walk begins, or goes on: an overlapping one at the last record it has."""
    if walk.next is None:
        return stream.first_request(walk.partition, work.options[stream.name])
    if walk.last and stream.earlier_request is not None:
        return stream.earlier_request(walk.next, OVERLAP) or walk.next
    return walk.next


def _walk(work: Crawl, stream: Stream, walk: ListWalk, first: Response | None) -> None:
    """Walks until another walk would prove nothing more, or the walks are used up."""
    while True:
        whole = _read_whole(work, stream, walk, first)
        if whole and _settled(work, stream, walk):
            return
        if walk.number >= MAX_WALKS:
            if unproved(walk) is None:
                give_up(walk, StreamStatus.INCOMPLETE, f"{walk.number} walks of it did not agree")
            return
        walk, first = work.intake.walk(stream.name, again(walk)), None


def _read_whole(work: Crawl, stream: Stream, walk: ListWalk, first: Response | None) -> bool:
    """Reads the pages of a walk; False where only another walk can bring the rest."""
    try:
        _read(work, stream, walk, first)
    except RequestRejected:
        # a cursor or offset that is no longer taken: once more from the first page
        if walk.next is None or walk.number >= MAX_WALKS:
            raise
        return False
    except MisdirectedAnswer as error:
        if walk.number >= MAX_WALKS:
            give_up(walk, StreamStatus.INCOMPLETE, str(error))
            work.intake.checkpoint(stream.name, walk)
        return False
    return True


def _settled(work: Crawl, stream: Stream, walk: ListWalk) -> bool:
    if stream.is_single_page:
        # an emptied list is asked for once more before it is believed
        emptied = (
            stream.page_of_404 is None
            and walk.distinct == 0
            and work.intake.stored_in(stream.name, walk) > 0
        )
        return walk.number > 1 or not emptied
    if walk.resumed and not walk.overlapping:
        work.intake.recount(stream.name, walk)
    walk.agreed = walk.before == brought(walk)
    return settled(walk, quiet=work.intake.quiet(stream.name, walk))


def _read(work: Crawl, stream: Stream, walk: ListWalk, first: Response | None) -> None:
    recall = None if work.reader.keep is not None else work.intake.recall(stream, walk)
    found = pages(
        replace(
            work.reader, parent_key=walk.parent_key, recall=None if recall is None else recall.page
        ),
        stream,
        _start(work, stream, walk),
        first=first,
        before=walk.last,
        overlapping=walk.overlapping,
    )
    for page in found:
        before = replace(walk)
        try:
            note_page(walk, page, marks_of(page, stream) if walk.overlapping else ())
            work.intake.take_page(stream, walk, page)
        except (KeyboardInterrupt, SystemExit):
            go_back(walk, before)  # of a page that is taken in half, none is counted
            raise
        work.intake.checkpoint(stream.name, walk)
        _tell(work, stream, page)


def _tell(work: Crawl, stream: Stream, page: Page) -> None:
    work.progress(
        Progress(
            stream=stream.name,
            records=len(page.items if page.ids is None else page.ids),
            pages=1,
            partitions_done=int(page.next is None),
            partitions=len(work.intake.walks[stream.name]),
            requests=work.traffic.requests,
            waited=work.traffic.waited,
        )
    )


def _try(
    work: Crawl, stream: Stream, walk: ListWalk, answer: Response | SourceError
) -> SourceError | None:
    """Walks one of many partitions; a failure of it alone is noted and given back."""
    try:
        _walk(work, stream, walk, _answered(answer))
    except SourceError as error:
        if isinstance(error, RateLimited) or error.status == 401:
            raise
        current = work.intake.walks[stream.name][walk.parent_id]
        give_up(current, _standing(current, error), str(error))
        work.intake.checkpoint(stream.name, current)
        refused = isinstance(error, AccessDenied | RequestRejected)
        return None if refused else error
    return None


def _answered(answer: Response | SourceError) -> Response:
    if isinstance(answer, SourceError):
        raise answer
    return answer


def _standing(walk: ListWalk, error: SourceError) -> str:
    """unavailable: the key may not read it; incomplete: its project went away; failed: the rest."""
    if error.status == 403 or (error.status == 404 and walk.embedded):
        return StreamStatus.UNAVAILABLE
    return StreamStatus.INCOMPLETE if error.status == 404 else StreamStatus.FAILED


def _gather(work: Crawl, stream: Stream) -> list[str]:
    """The one record that helps tell of; where they do not answer, what is stored stays."""
    walks = work.intake.walks[stream.name]
    if "" in walks and walks[""].ended:
        return []
    walk = work.intake.walk(stream.name, begin(Partition()))
    item, refused = gathered(work.reader, stream, work.source)
    walk.pages, walk.ended = 1, True
    head = work.intake.head(stream.name, stream.item_id(item))
    if refused and head is not None and not head.deleted:
        work.intake.meet(stream.name, walk, head.row_id)
    else:
        work.intake.take(stream, [(walk, [item])])
    work.intake.checkpoint(stream.name, walk)
    _tell(work, stream, Page(items=[item], next=None))
    kept = "kept as stored" if refused and head is not None else "named after the source"
    return [f"{stream.name}: {error}; {kept}" for error in refused[:1]]
