"""Which stored rows a run has met: a set of row ids as a bitmap, one bit a row."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class RowSet:
    """A growing set of small integers; a million of them take 125 kB."""

    bits: bytearray = field(default_factory=bytearray, repr=False)
    count: int = 0

    def add(self, row_id: int) -> bool:
        """Whether the id is new."""
        place, mask = row_id >> 3, 1 << (row_id & 7)
        if place >= len(self.bits):
            self.bits.extend(bytes(max(place + 1 - len(self.bits), len(self.bits))))
        if self.bits[place] & mask:
            return False
        self.bits[place] |= mask
        self.count += 1
        return True

    def discard(self, row_id: int) -> None:
        """The id is not in the set any more."""
        if row_id in self:
            self.bits[row_id >> 3] &= ~(1 << (row_id & 7))
            self.count -= 1

    def __contains__(self, row_id: int) -> bool:
        place = row_id >> 3
        return place < len(self.bits) and bool(self.bits[place] & (1 << (row_id & 7)))

    def __len__(self) -> int:
        return self.count
