"""The change feed in the sandbox's words, and the sandbox's mutations as the feed should tell them.

The two differ in the open here:
- A list that is a set (tags, targetApps, holdoutIDs) has no order; one text is a list of one.
- Reservations stand in their canonical order.
- Of a rotated key the sandbox tells no values, the feed two fingerprints.
Paths are the same: `parameters[name].defaultValue`, `environments.production.reservations[exp-1]`.
"""

import re
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Engine, select

from etl.db.tables import change_fields, changes
from etl.json_text import json_text
from etl.sandbox import Mutation

SETS = ("tags", "targetApps", "holdoutIDs")
SECRETS = ("apiKey", "mobileKey")
FINGERPRINT = re.compile(r"fp:[0-9a-f]{16}")

Told = tuple[str, str, str, str, str, tuple[str, ...]]


def told_by_sandbox(mutations: Sequence[Mutation]) -> list[Told]:
    """(provider, stream, operation, project, key, fields) of each, sorted."""
    return sorted(
        (
            one.provider,
            one.stream,
            one.operation,
            one.parent_key or "",
            one.key,
            _fields([(path, old, new) for path, old, new in one.fields]),
        )
        for one in mutations
    )


def told_by_feed(engine: Engine, after: int = 0) -> list[Told]:
    """The same of the changes with a higher id than `after`."""
    with engine.connect() as connection:
        fields: dict[int, list[tuple[str, Any, Any]]] = {}
        for row in connection.execute(select(change_fields)):
            fields.setdefault(row.change_id, []).append((row.path, row.old_value, row.new_value))
        return sorted(
            (
                row.provider,
                row.stream,
                row.operation,
                _project(row),
                row.key,
                _fields(fields.get(row.change_id, [])),
            )
            for row in connection.execute(select(changes).where(changes.c.change_id > after))
        )


def last_change(engine: Engine) -> int:
    """The highest change id."""
    with engine.connect() as connection:
        return max(connection.execute(select(changes.c.change_id)).scalars(), default=0)


def _project(row: Any) -> str:
    """Only LaunchDarkly's parts of projects have one in the sandbox."""
    return row.project_key if row.provider == "launchdarkly" and row.stream != "projects" else ""


def _fields(fields: Sequence[tuple[str, Any, Any]]) -> tuple[str, ...]:
    """`path: old -> new`, in order, without what is the same in canonical form."""
    told = []
    for path, old, new in fields:
        last = path.rpartition(".")[2]
        if last in SECRETS:
            told.append(f"{path}: rotated")
            rotated = (old, new)
            assert rotated == (None, None) or all(map(FINGERPRINT.fullmatch, rotated))
            assert old is None or old != new
        elif (before := _canonical(last, old)) != (after := _canonical(last, new)):
            told.append(f"{path}: {before} -> {after}")
    return tuple(sorted(told))


def _canonical(name: str, value: Any) -> str:
    if name in SETS:
        value = [value] if isinstance(value, str) else sorted(value)
    return json_text(_ordered(value))


def _ordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: sorted(inner, key=json_text) if name == "reservations" else _ordered(inner)
            for name, inner in value.items()
        }
    return value
