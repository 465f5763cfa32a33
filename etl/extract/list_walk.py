"""How far one partition of a stream was read, and whether what was read proves anything. Pure.

A walk is a proof of completeness only when it reached the provider's own end mark, its counts
agree where the provider gives one, nothing moved while it was walked and every item had an id.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from hashlib import blake2b
from operator import itemgetter
from typing import Any

from etl.model import StreamStatus
from etl.providers.kit import Page, Partition, Request

MAX_REJECTS = 1000  # of one list that are kept; more of them are counted
MAX_WALKS = 3  # a list that moves while it is read is read again this often


@dataclass(slots=True, kw_only=True)
class ListWalk:
    """The state of one walk; as JSON it is the ledger's checkpoint.

    status: ok, unavailable (not offered to this key, nothing of it is stored), incomplete, failed.
    unstored: rejected items of which nothing is stored either.
    distinct, repeated: ids met for the first time, and again; nameless: items without an id.
    unkept: items that were rejected and are not kept, as there are too many of them.
    fresh: records that were not stored, or as deleted. passed: those of them that a backfill of a
    window leaves out. newcomers: those of them on a later page that were created since it began.
    began: epoch seconds of our clock. sent_at: the same of the vendor's, when the first page was
    sent; 0.0 where it does not say.
    oldest_read: epoch seconds of the first read whose records count; earlier walks of the same list
    are among them, as what one of them met counts as met.
    ids: a sum of all ids, whatever their order. before: what the walk before this one brought.
    agreed: it brought the same.
    overlapping: its pages share a record, so that it is seen when the list moves. last: the ids of
    the last page. gaps: pages that did not follow. moves: how often the total changed.
    embedded: its first items came inside the parent. segment: checkpoints written so far.
    resumed: pages of it were read by an earlier process, so something may have moved between.
    """

    parent_id: str = ""
    parent_key: str = ""
    next: Request | None = None
    ended: bool = False
    status: str = StreamStatus.OK
    reason: str | None = None
    number: int = 1
    pages: int = 0
    distinct: int = 0
    repeated: int = 0
    rejected: int = 0
    unstored: int = 0
    nameless: int = 0
    unkept: int = 0
    fresh: int = 0
    passed: int = 0
    began: float = 0.0
    sent_at: float = 0.0
    oldest_read: float = 0.0
    newcomers: int = 0
    before: list[Any] | None = None
    agreed: bool = False
    ids: str = "0"
    overlapping: bool = False
    last: list[Any] = field(default_factory=list)
    gaps: int = 0
    moves: int = 0
    total: int | None = None
    embedded: bool = False
    resumed: bool = False
    segment: int = 0

    @property
    def partition(self) -> Partition:
        """What is walked."""
        return Partition(parent_id=self.parent_id, parent_key=self.parent_key)


_FIELDS = tuple(field.name for field in fields(ListWalk))


def begin(partition: Partition) -> ListWalk:
    """A walk that has read nothing yet."""
    return ListWalk(parent_id=partition.parent_id, parent_key=partition.parent_key)


def again(walk: ListWalk) -> ListWalk:
    """The next walk of the same partition, from its first page."""
    return ListWalk(
        parent_id=walk.parent_id,
        parent_key=walk.parent_key,
        number=walk.number + 1,
        before=brought(walk) if walk.ended else walk.before,
        overlapping=walk.overlapping,
        embedded=walk.embedded,
        oldest_read=walk.oldest_read,
        segment=walk.segment,
    )


def note_page(walk: ListWalk, page: Page, marks: Sequence[Any] = ()) -> None:
    """Counts a page in: where the walk goes on, and what the provider says the total is."""
    walk.pages += 1
    walk.next = page.next
    walk.ended = page.next is None
    walk.last = list(marks) if walk.overlapping and not walk.ended else []
    walk.gaps += page.gap
    walk.sent_at = walk.sent_at or page.sent_at or 0.0
    if page.total is not None:
        walk.moves += walk.total is not None and walk.total != page.total
        walk.total = page.total


def note_ids(walk: ListWalk, ids: Collection[str]) -> None:
    """Adds ids met for the first time; two walks that met the same have the same sum."""
    walk.distinct += len(ids)
    met = (blake2b(one.encode("utf-8", "replace"), digest_size=8).digest() for one in ids)
    walk.ids = f"{(int(walk.ids, 16) + sum(map(_number, met))) % 2**64:x}"


def _number(digest: bytes) -> int:
    return int.from_bytes(digest, "big")


def settled(walk: ListWalk, *, quiet: bool) -> bool:
    """Whether another walk would prove nothing more.

    quiet: nothing came or went since the last run. Where pages neither overlap nor say a total, a
    record that slipped through leaves no trace; unless the list is quiet, two walks must agree.
    """
    if moved(walk):
        return walk.agreed and not walk.gaps
    traceless = not walk.overlapping and walk.total is None and walk.pages > 1
    return not traceless or quiet or walk.agreed


def moved(walk: ListWalk) -> bool:
    """Whether the list changed under the walk, so that something may have been missed."""
    if walk.overlapping:
        return walk.gaps > 0 or (walk.total is not None and walk.total > walk.distinct)
    short = walk.total is not None and walk.total != walk.distinct
    # a newcomer may stand for one that slipped through, so that the total is right
    return short or walk.repeated > 0 or walk.moves > 0 or walk.newcomers > 0


def brought(walk: ListWalk) -> list[Any]:
    """What a walk came to; two in a row alike say that the list stands still."""
    return [walk.ids, walk.distinct, walk.total]


def proves_absence(walk: ListWalk) -> bool:
    """Whether what the walk did not bring is not there, without a question for it."""
    traceable = walk.overlapping or walk.pages <= 1 or walk.agreed
    return unproved(walk) is None and traceable and (walk.overlapping or not walk.resumed)


def go_back(walk: ListWalk, to: ListWalk) -> None:
    """Makes the walk what it was, but for the checkpoints written since."""
    for name in _FIELDS:
        if name != "segment":
            setattr(walk, name, getattr(to, name))


def give_up(walk: ListWalk, status: str, reason: str) -> None:
    """The walk ends here without having seen everything."""
    walk.status, walk.reason = status, reason


def unproved(walk: ListWalk) -> str | None:
    """Why the walk does not prove that it saw everything; None when it does."""
    total, came = walk.total, walk.distinct
    counted = total is not None and (total > came if walk.overlapping else total != came)
    doubts = (
        (walk.reason is not None, walk.reason or ""),
        (not walk.ended, "the provider's end mark was not reached"),
        (
            walk.unkept > 0,
            f"{walk.rejected} items were rejected, of which {walk.unkept} are not kept",
        ),
        (walk.nameless > 0, f"{walk.nameless} items without a usable id"),
        (walk.gaps > 0, f"{walk.gaps} pages did not follow the page before them"),
        (
            walk.moves > 0 and not walk.overlapping,
            f"the total moved {walk.moves} times during the walk",
        ),
        (counted, f"the provider counts {total} records, {came} came"),
        (
            walk.repeated > 0 and not walk.overlapping,
            f"{walk.repeated} records came twice, so the list moved",
        ),
    )
    return next((reason for doubtful, reason in doubts if doubtful), None)


def proof_of(walk: ListWalk) -> str:
    """How it is known, or not, that the walk saw everything; for people."""
    known = [
        "end mark reached" if walk.ended else "end mark not reached",
        f"{walk.distinct} came, no total is given"
        if walk.total is None
        else f"{walk.distinct} of {walk.total} came",
    ]
    if walk.pages > 1 and walk.overlapping:
        known.append("pages overlap" + (f", {walk.gaps} gaps" if walk.gaps else ""))
    known += [f"{walk.number} walks"] if walk.number > 1 else []
    known += ["gone on from a checkpoint"] if walk.resumed else []
    return "; ".join(known)


def account(walk: ListWalk) -> dict[str, Any]:
    """The same as values, without those that say nothing: what run_streams.walks holds of a list.

    came: different records. expected: the provider's total. gaps: pages that did not follow, where
    pages overlap. walks: how many it took. end: whether the provider's end mark was reached.
    """
    said = {
        "end": walk.ended,
        "came": walk.distinct,
        "expected": walk.total,
        "pages": walk.pages,
        "walks": walk.number,
        "overlap": walk.overlapping and walk.pages > 1,
        "gaps": walk.gaps,
        "resumed": walk.resumed,
    }
    return {name: value for name, value in said.items() if value or name in ("end", "came")}


def lists(walks: Sequence[Mapping[str, Any]] | None) -> list[dict[str, Any]]:
    """Every list of run_streams.walks by its key: of, status, counts, how its end is known."""
    alike = [(key, walk) for walk in walks or () for key in walk["of"]]
    names = ("status", "expected", "came", "pages", "walks")
    return [
        {"of": key, "ended": _ended(walk), **{name: walk.get(name) for name in names}}
        for key, walk in sorted(alike, key=itemgetter(0))
    ]


def _ended(walk: Mapping[str, Any]) -> str:
    """Why a list is not known to be whole, or how its end is known; for people."""
    known = ["end mark reached" if walk["end"] else "end mark not reached"]
    known += ["pages overlap"] if walk.get("overlap") else []
    known += [f"{walk['gaps']} gaps"] if walk.get("gaps") else []
    known += ["gone on from a checkpoint"] if walk.get("resumed") else []
    return walk.get("reason") or "; ".join(known)


def as_json(walk: ListWalk) -> dict[str, Any]:
    """The walk as JSON values; `asdict` would copy each of them deeply, for every checkpoint."""
    said = {name: getattr(walk, name) for name in _FIELDS}
    return {**said, "next": walk.next and asdict(walk.next)}


def from_json(state: Mapping[str, Any]) -> ListWalk:
    """The walk of a checkpoint."""
    said = state["next"]
    params = said and said["params"]
    request = said and Request(
        said["path"], None if params is None else tuple((name, value) for name, value in params)
    )
    return ListWalk(**{**state, "next": request or None})
