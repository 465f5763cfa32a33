"""The change feed in pages, the newest changes first, for people who look. Reads only.

A page is found by its place, and a search reads at most so many changes at a time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, Text, cast, func, select

from etl.db.engine import walks_of_indexes
from etl.db.run_tables import runs
from etl.db.tables import change_fields, changes
from etl.history.runs import json_value

PAGE = 50
LOOK = 40_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeQuery:
    """Which changes are asked for; None and '': any. text: part of a key."""

    since: datetime | None = None
    until: datetime | None = None
    source: str | None = None
    stream: str | None = None
    operation: str | None = None
    text: str = ""
    run_id: int | None = None
    record_id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One field of a change; MISSING where it did not exist."""

    path: str
    old: Any
    new: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangePage:
    """A page of changes, the newest first. before: where to go on; searching: as in a walk."""

    rows: Sequence[Any]
    fields: Mapping[int, Sequence[Field]]
    before: int | None
    searching: bool = False


def events(
    connection: Connection,
    asked: ChangeQuery,
    before: int | None,
    *,
    most: int = PAGE,
    look: int = LOOK,
) -> ChangePage:
    """The next page of changes older than that one, with their fields."""
    first, last = _bounds(connection, asked)
    if first is None or last is None:
        return ChangePage(rows=(), fields={}, before=None)
    newest = last if before is None else min(last, before - 1)
    oldest = newest - look + 1 if asked.record_id is None else first
    query = (
        select(changes)
        .where(changes.c.change_id <= newest, changes.c.change_id >= oldest, *_conditions(asked))
        .order_by(changes.c.change_id.desc())
        .limit(most + 1)
    )
    with walks_of_indexes(connection):
        found = connection.execute(query).all()
    rows, searching = found[:most], False
    following = rows[-1].change_id if len(found) > most else None
    if following is None and oldest > first:
        following, searching = oldest, True
    fields = _fields(connection, [row.change_id for row in rows])
    return ChangePage(rows=rows, fields=fields, before=following, searching=searching)


def _bounds(connection: Connection, asked: ChangeQuery) -> tuple[int | None, int | None]:
    """No wanted change is older than the first or newer than the second; None: there is none."""
    first, last = (select(which(changes.c.change_id)) for which in (func.min, func.max))
    if asked.record_id is not None:
        same = (changes.c.record_id == asked.record_id, changes.c.stream == asked.stream)
        first, last = first.where(*same), last.where(*same)
    elif asked.run_id is not None:
        first, last = (one.where(changes.c.run_id == asked.run_id) for one in (first, last))
    else:
        if asked.since is not None:
            first = _of_runs(func.min, runs.c.observed_at >= asked.since)
        if asked.until is not None:
            last = _of_runs(func.max, runs.c.observed_at <= asked.until)
    return connection.execute(first).scalar(), connection.execute(last).scalar()


def _of_runs(which: Any, condition: ColumnElement[bool]) -> Select[Any]:
    """The first or last change of these runs: each is asked by index, whatever it changed."""
    of_run = select(which(changes.c.change_id)).where(changes.c.run_id == runs.c.run_id)
    return select(which(of_run.scalar_subquery())).where(condition)


def _conditions(asked: ChangeQuery) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if asked.since is not None:
        found.append(changes.c.observed_at >= asked.since)
    if asked.until is not None:
        found.append(changes.c.observed_at <= asked.until)
    names = ("source", "operation", "run_id", "record_id")
    told = {name: value for name in names if (value := getattr(asked, name)) is not None}
    found += [changes.c[name] == value for name, value in told.items()]
    if asked.stream is not None:
        # alone it is no reason to read the index of records instead of the newest changes
        stream = changes.c.stream if asked.record_id is not None else changes.c.stream.concat("")
        found.append(stream == asked.stream)
    if asked.text:
        found.append(changes.c.key.icontains(asked.text, autoescape=True))
    return found


def _fields(connection: Connection, ids: Sequence[int]) -> dict[int, list[Field]]:
    old, new = change_fields.c.old_value, change_fields.c.new_value
    query = (
        select(
            change_fields.c.change_id,
            change_fields.c.path,
            cast(old, Text).label("old_text"),
            cast(new, Text).label("new_text"),
        )
        .where(change_fields.c.change_id.in_(ids))
        .order_by(change_fields.c.change_id, change_fields.c.path)
    )
    found: dict[int, list[Field]] = {}
    for row in connection.execute(query):
        field = Field(path=row.path, old=json_value(row.old_text), new=json_value(row.new_text))
        found.setdefault(row.change_id, []).append(field)
    return found
