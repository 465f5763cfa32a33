"""The pages that a walk of a list brought: the next walk of it reads only those that differ. Pure.

A list that tells no total is walked twice where something came or went. The same request and the
same bytes are the same page, and what became of its records is known.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import orjson

from etl.load import Before
from etl.stream import Page, Request


class _Brought(NamedTuple):
    ids: bytes  # as JSON, which takes a quarter of the memory
    staged: Mapping[str, Before]
    next: Request | None
    total: int | None


@dataclass(slots=True)
class Recall:
    """What one list brought. staged: of its records, those that are staged, as they are by now."""

    staged: Mapping[str, Before]
    _pages: dict[tuple[Request, bytes], _Brought] = field(default_factory=dict)

    def note(self, page: Page, ids: Sequence[str]) -> None:
        """A page was read; every record of it has an id of its own, and is unchanged or staged."""
        if page.mark is not None:
            brought = _Brought(orjson.dumps(ids), self._staged(ids), page.next, page.total)
            self._pages[page.mark] = brought

    def page(self, mark: tuple[Request, bytes]) -> Page | None:
        """The page where it is known, with ids instead of items; None where it has to be read."""
        known = self._pages.get(mark)
        if known is None:
            return None
        ids = orjson.loads(known.ids)
        if self._staged(ids) != known.staged:
            return None  # another page brought other values of one of them meanwhile
        return Page(items=(), next=known.next, total=known.total, ids=ids)

    def _staged(self, ids: Sequence[str]) -> dict[str, Before]:
        return {one: self.staged[one] for one in ids if one in self.staged}
