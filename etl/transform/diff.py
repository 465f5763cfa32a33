"""What differs between two states of a record, field by field. Pure.

Paths are those of the vendor's JSON: `tags`, `approvalSettings.minNumApprovals`,
`environments.production.reservations[checkout].reservationPercent`. Items of a keyed list are
named by their key, so that an insertion does not look like a change of everything behind it.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice
from typing import Any

from etl.json_text import Json, field_step, json_text, json_type

MAX_CHANGES = 5000  # of a record; a body may hold 250,000 values
_ANY_DEPTH = -1
MAX_PATH_LENGTH = 500  # letters; a path is part of a primary key, and an index entry has its limit

VANISHED, RETYPED = "vanished", "retyped"


class _Missing:
    """No value at all, which is not null."""

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Any = _Missing()


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One path and its two values; MISSING on the side where the path does not exist."""

    path: str
    old: Json
    new: Json


def field_changes(old: Json, new: Json, keyed: Mapping[str, Sequence[str]]) -> list[FieldChange]:
    """Every smallest difference between two JSON values, in the order of their paths.

    One whose path would be too long is reported as a change of its parent. Where there are more
    than `MAX_CHANGES`, only top-level fields are reported; where those are too many as well, the
    record as a whole, with the path "".
    """
    if _same(old, new):
        return []
    for depth in (_ANY_DEPTH, 1):
        found = _differences(old, new, "", keyed, depth)
        changes = list(islice(found, MAX_CHANGES + 1))
        if len(changes) <= MAX_CHANGES:
            return sorted(changes, key=lambda change: change.path)
    return [FieldChange("", old, new)]


def _same(old: Json, new: Json) -> bool:
    return old is new or (
        type(old) is type(new) and old == new and json_text(old) == json_text(new)
    )


def _differences(
    old: Json, new: Json, path: str, keyed: Mapping[str, Sequence[str]], depth: int
) -> Iterator[FieldChange]:
    """Of two values that are not the same."""
    if depth == 0:
        yield FieldChange(path, old, new)
        return
    before, after, listed = _parts(old, new, path, keyed)
    names = {**before, **after}
    if not names or any(len(_below(path, name, listed=listed)) > MAX_PATH_LENGTH for name in names):
        yield FieldChange(path, old, new)
        return
    for name in names:  # their paths are made one by one: of many long ones all would take much
        values = before.get(name, MISSING), after.get(name, MISSING)
        if not _same(*values):
            inner = _below(path, name, listed=listed)
            yield from _differences(*values, inner, keyed, depth - 1)
    order = [name for name in before if name in after]
    if listed and order != [name for name in after if name in before]:
        yield FieldChange(path, list(before), list(after))


def reshaped(changes: Iterable[FieldChange]) -> Iterator[tuple[str, str, str]]:
    """(path, vanished or retyped, of what JSON type): top-level fields that went or became another.

    A field of which there is nothing now but null is not retyped.
    """
    for change in changes:
        if change.old is MISSING or not change.path or set(change.path) & set('.["'):
            continue
        old = json_type(change.old)
        if change.new is MISSING:
            yield change.path, VANISHED, old
        elif "null" not in (old, new := json_type(change.new)) and old != new:
            yield change.path, RETYPED, f"{old} to {new}"


_Parts = tuple[Mapping[str, Json], Mapping[str, Json], bool]


def _parts(old: Json, new: Json, path: str, keyed: Mapping[str, Sequence[str]]) -> _Parts:
    """The named parts of two objects or two keyed lists (True); none where nothing names them."""
    if isinstance(old, dict) and isinstance(new, dict):
        return old, new, False
    labels = _labels(old, new, path, keyed)
    if labels is None:
        return {}, {}, False
    before, after = (dict(zip(names, items, strict=True)) for names, items in labels)
    return before, after, True


_Labelled = tuple[list[str], list[Json]]


def _labels(
    old: Json, new: Json, path: str, keyed: Mapping[str, Sequence[str]]
) -> tuple[_Labelled, _Labelled] | None:
    """The two lists with a unique name for each item, by the fewest key fields that do; or None."""
    fields = keyed.get(path.rpartition(".")[2])
    if fields is None or not (isinstance(old, list) and isinstance(new, list)):
        return None
    if not all(isinstance(item, dict) for item in (*old, *new)):
        return None
    for count in range(1, len(fields) + 1):
        named = [
            [",".join(str(item.get(field)) for field in fields[:count]) for item in items]
            for items in (old, new)
        ]
        if all(len(set(names)) == len(names) for names in named):
            return (named[0], old), (named[1], new)
    return None


def _below(path: str, name: str, *, listed: bool) -> str:
    if listed:
        return f"{path}[{_labelled(name)}]"
    return f"{path}.{field_step(name)}" if path else field_step(name)


def _labelled(label: str) -> str:
    return json_text(label) if "]" in label or '"' in label else label


def value_of(text: str | None) -> Any:
    """The value of a JSON text, the same for both databases; MISSING without a text.

    jsonb writes 1e300 as 301 digits and knows no -0.0.
    """
    return MISSING if text is None else json.loads(text, parse_float=_number)


def _number(text: str) -> float | int:
    return int(Decimal(text)) if "e+" in text else float(text) or 0.0
