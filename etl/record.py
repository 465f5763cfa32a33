"""The unified records: what a vendor's item becomes, and what is kept of an item that fits nothing.

Values only; the columns are the contract of docs/schema.md. Those that are made for every item are
not frozen, because a frozen dataclass takes four times as long to make; nobody changes them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(slots=True, kw_only=True)
class Child:
    """A row of a child table (a parameter, a reservation); `external_id` is unique in its layer."""

    external_id: str
    key: str
    name: str
    columns: Mapping[str, Any]
    raw: Any


@dataclass(slots=True, kw_only=True)
class Record:
    """One project, environment or layer in the unified schema, without hash, raw and history.

    drift: (JSON path, what is new about it) of everything that this code does not know or use.
    """

    key: str
    name: str
    columns: Mapping[str, Any]
    created_at: datetime | None = None
    updated_at: datetime | None = None
    children: Mapping[str, Sequence[Child]] = field(default_factory=dict)
    drift: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reject:
    """An item that fits no known shape: kept whole, with where and why, never dropped.

    mark: what tells an item without an id from others, however its volatile fields differ.
    """

    external_id: str | None
    path: str
    reason: str
    payload: Any
    mark: str = ""
