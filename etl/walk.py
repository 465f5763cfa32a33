"""How far one partition of a stream was read, and whether what was read proves anything. Pure.

A walk is a proof of completeness only when it reached the provider's own end mark, its counts
agree where the provider gives one, nothing moved while it was walked and every item had an id.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from etl.stream import Page, Partition, Request

MOST_WALKS = 3  # a list that moves while it is read is read again this often


@dataclass(slots=True, kw_only=True)
class Walk:
    """The state of one walk; as JSON it is the ledger's checkpoint.

    status: ok, unavailable (not offered to this key, nothing of it is stored), incomplete, failed.
    distinct, repeated: ids met for the first time, and again; nameless: items without an id.
    embedded: its first items came inside the parent. segment: checkpoints written so far.
    resumed: pages of it were read by an earlier process, so something may have moved between.
    """

    parent_id: str = ""
    parent_key: str = ""
    next: Request | None = None
    ended: bool = False
    status: str = "ok"
    reason: str | None = None
    number: int = 1
    pages: int = 0
    distinct: int = 0
    repeated: int = 0
    rejected: int = 0
    nameless: int = 0
    first_total: int | None = None
    last_total: int | None = None
    embedded: bool = False
    resumed: bool = False
    segment: int = 0

    @property
    def partition(self) -> Partition:
        """What is walked."""
        return Partition(parent_id=self.parent_id, parent_key=self.parent_key)


def begin(partition: Partition) -> Walk:
    """A walk that has read nothing yet."""
    return Walk(parent_id=partition.parent_id, parent_key=partition.parent_key)


def again(walk: Walk) -> Walk:
    """The next walk of the same partition, from its first page."""
    return Walk(
        parent_id=walk.parent_id,
        parent_key=walk.parent_key,
        number=walk.number + 1,
        pages=walk.pages,
        embedded=walk.embedded,
        segment=walk.segment,
    )


def note_page(walk: Walk, page: Page) -> None:
    """Counts a page in: where the walk goes on, and what the provider says the total is."""
    walk.pages += 1
    walk.next = page.next
    walk.ended = page.next is None
    if page.total is not None:
        walk.first_total = page.total if walk.first_total is None else walk.first_total
        walk.last_total = page.total


def agree(walk: Walk, earlier: Walk) -> bool:
    """Whether two walks of a list that does not add up brought the same: it is not moving."""
    return (walk.distinct, walk.last_total) == (earlier.distinct, earlier.last_total)


def give_up(walk: Walk, status: str, reason: str) -> None:
    """The walk ends here without having seen everything."""
    walk.status, walk.reason = status, reason


def moved(walk: Walk) -> bool:
    """Whether the list changed under the walk, so that something may have been missed."""
    if not walk.ended:
        return False
    counted = walk.last_total is not None and walk.last_total != walk.distinct
    return counted or walk.repeated > 0 or walk.first_total != walk.last_total


def unproved(walk: Walk) -> str | None:
    """Why the walk does not prove that it saw everything; None when it does."""
    first, last = walk.first_total, walk.last_total
    doubts = (
        (walk.reason is not None, walk.reason or ""),
        (not walk.ended, "the provider's end mark was not reached"),
        (walk.nameless > 0, f"{walk.nameless} items without a usable id"),
        (first != last, f"the total moved from {first} to {last} during the walk"),
        (
            last is not None and last != walk.distinct,
            f"the provider counts {last} records, {walk.distinct} came",
        ),
        (walk.repeated > 0, f"{walk.repeated} records came twice, so the list moved"),
    )
    return next((reason for doubtful, reason in doubts if doubtful), None)


def as_json(walk: Walk) -> dict[str, Any]:
    """The walk as JSON values."""
    return asdict(walk)


def from_json(state: Mapping[str, Any]) -> Walk:
    """The walk of a checkpoint."""
    said = state["next"]
    params = said and said["params"]
    request = said and Request(
        said["path"], None if params is None else tuple((name, value) for name, value in params)
    )
    return Walk(**{**state, "next": request or None})
