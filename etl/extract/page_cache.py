"""The pages that a walk of a list brought: the next walk of it reads only those that differ. Pure.

A list that tells no total is walked twice where something came or went. The same request and the
same bytes are the same page, and what became of its records is known.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import orjson

from etl.extract.list_content import ListContent
from etl.providers.kit import Page, Request


class _CachedPage(NamedTuple):
    ids: bytes  # as JSON, which takes a quarter of the memory
    staged: bytes  # a digest of what is staged of them
    next: Request | None
    total: int | None


@dataclass(slots=True)
class PageCache:
    """The pages that one list brought. listed: the records of its stream, as they are by now."""

    listed: ListContent
    parent_id: str = ""
    _pages: dict[tuple[Request, bytes], _CachedPage] = field(default_factory=dict)

    def note(self, page: Page, ids: Sequence[str]) -> None:
        """A page was read; every record of it has an id of its own, and is unchanged or staged."""
        if page.mark is not None:
            staged = self.listed.state(self.parent_id, ids)
            self._pages[page.mark] = _CachedPage(orjson.dumps(ids), staged, page.next, page.total)

    def page(self, mark: tuple[Request, bytes]) -> Page | None:
        """The page where it is known, with ids instead of items; None where it has to be read."""
        known = self._pages.get(mark)
        if known is None:
            return None
        ids = orjson.loads(known.ids)
        if self.listed.state(self.parent_id, ids) != known.staged:
            return None  # another page brought other values of one of them meanwhile
        return Page(items=(), next=known.next, total=known.total, ids=ids)
