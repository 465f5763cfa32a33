"""What a page changes: its items against what is stored -> rows to stage, rows met, rejects. Pure.

An item whose hash is stored already costs a hash and nothing else.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from etl.json_text import parsed_text
from etl.model import Operation, Record, Reject
from etl.providers.kit import Json, Partition, Stream
from etl.providers.wire import is_fingerprint
from etl.transform.canonical import content_of, hash_of_text, identify, identity_of, transform

MAX_ITEM = 2 * 2**20  # bytes of one item; it is copied several times on its way to the database
_TOO_LARGE = f"the item is larger than {MAX_ITEM} bytes"


class Head(NamedTuple):
    """What is stored of a record: enough to see whether an item is news.

    fingerprints: column -> the last one that is known of a key.
    """

    row_id: int
    content_hash: str
    deleted: bool
    fingerprints: Mapping[str, str | None] = MappingProxyType({})


class Before(NamedTuple):
    """What an earlier walk of the same list has staged of a record; created: in epoch seconds."""

    content_hash: str
    fresh: bool
    created: float | None


@dataclass(slots=True, kw_only=True)  # not frozen, see etl.model
class StagedRecord:
    """A record that is new, changed or back; row_id is None for a new one.

    text: the JSON of `raw`, where the hash was made of just that. size: of its content, in bytes.
    """

    partition: Partition
    external_id: str
    row_id: int | None
    operation: str
    content_hash: str
    record: Record
    raw: Json
    text: bytes | None = None
    size: int = 0


@dataclass(slots=True, kw_only=True)
class PageChanges:
    """What the items of one partition's page came to; met: live rows, changed or not.

    again: records that an earlier walk of the list has staged just so.
    """

    staged: list[StagedRecord] = field(default_factory=list)
    again: list[Before] = field(default_factory=list)
    met: list[int] = field(default_factory=list)
    unchanged: int = 0
    rejects: list[Reject] = field(default_factory=list)


def named_items(
    items: Sequence[Json], stream: Stream, *, most_rejects: int | None = None
) -> tuple[list[tuple[str, Json]], list[Reject]]:
    """The items that have an id, with it, and the first of those that have none."""
    room = len(items) if most_rejects is None else most_rejects
    named: list[tuple[str, Json]] = []
    rejects: list[Reject] = []
    for item in items:
        identity, reason = identity_of(item, stream)
        if not reason:
            named.append((identity, item))
        elif len(rejects) < room and isinstance(reject := identify(item, stream), Reject):
            rejects.append(reject)
    return named, rejects


def compare(
    items: Sequence[tuple[str, Json]],
    stored: Mapping[tuple[str, str], Head],
    stream: Stream,
    partition: Partition,
    before: Mapping[str, Before] = MappingProxyType({}),
) -> PageChanges:
    """Each item against its stored hash: nothing, or a row to stage, or a reject."""
    outcome, parent_id = PageChanges(), partition.parent_id
    for external_id, came in items:
        head = stored.get((parent_id, external_id))
        item = _with_known_keys(came, stream, head)
        content = content_of(item, stream)
        text = parsed_text(content)
        content_hash = hash_of_text(text)
        if head is not None and not head.deleted:
            outcome.met.append(head.row_id)
            if head.content_hash == content_hash:
                outcome.unchanged += 1
                continue
        earlier = before.get(external_id)
        if earlier is not None and earlier.content_hash == content_hash:
            outcome.again.append(earlier)
            continue
        record = (
            transform(item, stream, partition)
            if len(text) <= MAX_ITEM
            else Reject(external_id=external_id, path="", reason=_TOO_LARGE, payload=item)
        )
        if isinstance(record, Reject):
            outcome.rejects.append(record)
            continue
        outcome.staged.append(
            StagedRecord(
                partition=partition,
                external_id=external_id,
                row_id=None if head is None else head.row_id,
                operation=_operation(head),
                content_hash=content_hash,
                record=record,
                raw=item,
                text=text if content is item else None,
                size=len(text),
            )
        )
    return outcome


def _with_known_keys(item: Json, stream: Stream, head: Head | None) -> Json:
    """The item with the last known fingerprint of each key that is hidden in it.

    Whether the caller may see a key is no content: where no fingerprint is known, its field goes.
    """
    hidden = [name for name in stream.secret_fields if not is_fingerprint(item.get(name))]
    if not hidden:
        return item
    known = {} if head is None else head.fingerprints
    found = {name: known.get(stream.secret_fields[name]) for name in hidden}
    seen = {name: value for name, value in item.items() if name not in found}
    return seen | {name: value for name, value in found.items() if value is not None}


def _operation(head: Head | None) -> str:
    if head is None:
        return Operation.CREATED
    return Operation.RESTORED if head.deleted else Operation.UPDATED
