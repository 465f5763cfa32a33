"""What the lists of one stream brought in a run: every id, and what is staged under it. Pure.

An id takes about 25 bytes, and what is staged 25 more; objects would take ten times as much, and a
list may have millions.
"""

from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import count

from etl.transform.canonical import HASH_RULE
from etl.transform.classify import Before

DIGEST = 16  # bytes of a content hash
_MIN_PLACES = 64  # places of the table of the smallest list
_NO_TIME = float("-inf")
_POSITIVE = 2**64 - 1


@dataclass(slots=True)
class ListContent:
    """The records of one stream by their list and id, found by a hash of both of 64 bits.

    Two that have the same hash are taken for one that came twice: then a list is read once more.
    """

    _places: "array[int]" = field(default_factory=lambda: _table(_MIN_PLACES), repr=False)
    _keys: "array[int]" = field(default_factory=lambda: array("Q"), repr=False)
    _readings: "array[int]" = field(default_factory=lambda: array("I"), repr=False)
    _staged: "array[int]" = field(default_factory=lambda: array("I"), repr=False)
    _digests: bytearray = field(default_factory=bytearray, repr=False)
    _fresh: bytearray = field(default_factory=bytearray, repr=False)
    _created: "array[float]" = field(default_factory=lambda: array("d"), repr=False)
    _forgotten: dict[str, int] = field(default_factory=dict, repr=False)
    _numbers: "count[int]" = field(default_factory=lambda: count(1), repr=False)

    def new_reading(self) -> int:
        """A number for a reading of a list, by which the records that it met are known."""
        return next(self._numbers)

    def meet(self, parent_id: str, reading: int, ids: Iterable[str]) -> list[str]:
        """Those of the ids of a list that this reading of it meets for the first time."""
        age = self._forgotten.get(parent_id, 0)
        new = []
        for external_id in ids:
            record = self._record(parent_id, age, external_id)
            if self._readings[record] != reading:
                self._readings[record] = reading
                new.append(external_id)
        return new

    def put(self, parent_id: str, external_id: str, before: Before) -> None:
        """Something is staged of a record."""
        record = self._record(parent_id, self._forgotten.get(parent_id, 0), external_id)
        digest = bytes.fromhex(before.content_hash.partition(":")[2])
        created = _NO_TIME if before.created is None else before.created
        place = self._staged[record] - 1
        if place < 0:
            self._digests.extend(digest)
            self._fresh.append(before.fresh)
            self._created.append(created)
            self._staged[record] = len(self._fresh)
        else:
            self._digests[place * DIGEST : (place + 1) * DIGEST] = digest
            self._fresh[place], self._created[place] = before.fresh, created

    def before(self, parent_id: str, ids: Iterable[str]) -> dict[str, Before]:
        """What is staged of these records of a list."""
        if not self._fresh:
            return {}
        found: dict[str, Before] = {}
        age = self._forgotten.get(parent_id, 0)
        for external_id in ids:
            record = self._known(parent_id, age, external_id)
            if record is not None and self._staged[record]:
                found[external_id] = self._before(self._staged[record] - 1)
        return found

    def forget(self, parent_id: str) -> None:
        """Nothing is known of a list any more."""
        self._forgotten[parent_id] = self._forgotten.get(parent_id, 0) + 1

    def state(self, parent_id: str, ids: Iterable[str]) -> bytes:
        """A digest of what is staged of these records of a list."""
        digest = blake2b(digest_size=DIGEST)
        for external_id, before in self.before(parent_id, ids).items():
            digest.update(f"{external_id}\0{before}\0".encode("utf-8", "replace"))
        return digest.digest()

    def _before(self, place: int) -> Before:
        digest, created = self._digests[place * DIGEST : (place + 1) * DIGEST], self._created[place]
        return Before(
            content_hash=f"{HASH_RULE}:{digest.hex()}",
            fresh=bool(self._fresh[place]),
            created=None if created == _NO_TIME else created,
        )

    def _known(self, parent_id: str, age: int, external_id: str) -> int | None:
        """The number of a record; None where it has none."""
        found = self._places[self._place(hash((parent_id, age, external_id)) & _POSITIVE)]
        return found - 1 if found else None

    def _record(self, parent_id: str, age: int, external_id: str) -> int:
        """The number of a record, a new one where it has none."""
        key = hash((parent_id, age, external_id)) & _POSITIVE
        place = self._place(key)
        found = self._places[place]
        if found:
            return found - 1
        self._keys.append(key)
        self._readings.append(0)
        self._staged.append(0)
        self._places[place] = number = len(self._keys)
        if 3 * number > 2 * len(self._places):
            self._grow()
        return number - 1

    def _place(self, key: int) -> int:
        """Where the table has the key, or has room for it."""
        places, keys = self._places, self._keys
        last = len(places) - 1
        place = key & last
        while (found := places[place]) and keys[found - 1] != key:
            place = (place + 1) & last
        return place

    def _grow(self) -> None:
        self._places = _table(2 * len(self._places))
        for number, key in enumerate(self._keys, 1):
            self._places[self._place(key)] = number


def _table(size: int) -> "array[int]":
    return array("I", bytes(size * array("I").itemsize))
