"""The records as they were at a moment: what the `*_current` views would have shown then.

Selects and reads only. A moment before the first run of a source has no empty answer but none:
`ensure_known` says so. docs/decisions/0009-the-past.md tells why it is done this way.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Connection,
    FromClause,
    Select,
    Subquery,
    case,
    column,
    func,
    select,
    table,
    union_all,
)

from etl.db.run_tables import runs
from etl.db.tables import RECORDS, ChildTables, RecordTables
from etl.db.types import UtcDateTime
from etl.errors import ConfigError
from etl.history.retention import known_since
from etl.model import RunKind

_CHILDREN: Mapping[str, ChildTables] = {
    child.current.name: child for tables in RECORDS.values() for child in tables.children
}

TABLES = (*RECORDS, *_CHILDREN)


def rows(name: str, moment: datetime | None = None, *, deleted: bool = False) -> Subquery:
    """The rows of a table at a moment, or now without one, as a subquery with the table's name.

    projects, environments, layers have all their columns. layer_parameters, layer_reservations
    have at a moment no life of their own: no version, run, times or tombstones.
    deleted: tombstones too. A condition on source, project_id, parent_id or a row's id is served
    by an index; project_key is looked up row by row.
    """
    if name in RECORDS:
        every = union_all(*halves(name, moment)).subquery(name)
    elif moment is None:
        every = select(_CHILDREN[name].current).subquery(name)
    else:
        return _parts(_CHILDREN[name], moment).subquery(name)
    return every if deleted else select(every).where(~every.c.is_deleted).subquery(name)


def first_known(connection: Connection, sources: Sequence[str] = ()) -> Mapping[str, datetime]:
    """Source -> its first merge, or its horizon: before that nothing is known of it."""
    query = (
        select(runs.c.source, func.min(runs.c.observed_at).label("first"))
        .where(runs.c.observed_at.is_not(None), runs.c.kind != RunKind.DRY_RUN)
        .group_by(runs.c.source)
        .order_by(runs.c.source)
    )
    asked = query.where(runs.c.source.in_(sources)) if sources else query
    pruned = known_since(connection)
    return {
        row.source: max(row.first, pruned.get(row.source, row.first))
        for row in connection.execute(asked)
    }


def ensure_known(
    connection: Connection, moment: datetime, *, now: datetime, sources: Sequence[str] = ()
) -> Sequence[str]:
    """A sentence for each source of which nothing is known at a moment; ConfigError if for all."""
    if moment > now:
        raise ConfigError(f"{_told(moment)} has not come yet; the database knows the past only")
    begun = first_known(connection, sources)
    pruned = known_since(connection)
    missing = {source: first for source, first in begun.items() if moment < first}
    if not begun or len(missing) == len(begun):
        first = min(begun.values(), default=None)
        why = "when older history was pruned" if first in pruned.values() else "the first run"
        when = "yet: run etl sync" if first is None else f"before {_begun(first)}, {why}"
        of = f" of {', '.join(sources)}" if sources else ""
        raise ConfigError(f"nothing is known{of} {when}")
    return [
        f"nothing is known of {name} before {_begun(at)}"
        + (", its older history was pruned" if pruned.get(name) == at else "")
        for name, at in missing.items()
    ]


def _begun(moment: datetime) -> str:
    """The next full second: who asks for what is told finds something."""
    return _told(moment + timedelta(microseconds=-moment.microsecond % 1_000_000))


def _told(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def halves(name: str, moment: datetime | None) -> tuple[Select[Any], ...]:
    """The current rows that are as old as that, and the closed versions of the others.

    Tombstones too. Without a moment only the first half, of all current rows.
    """
    tables = RECORDS[name]
    current, history = tables.current, tables.history
    if moment is None:
        return (select(current),)
    closed = {
        "changed_at": history.c.valid_from,
        "deleted_at": case((history.c.is_deleted, history.c.valid_from)),
    }
    then, still = [], []
    for one in current.c:
        # what never changes is asked of the current row: its indexes are there for it
        fixed = one.name in _FIXED or one.name == tables.id
        old = closed.get(one.name, one if fixed else history.c.get(one.name, one))
        then.append(_as_told(tables, one.name, old, moment).label(one.name))
        still.append(_as_told(tables, one.name, one, moment).label(one.name))
    return (
        select(*still).where(current.c.changed_at <= moment),
        select(*then)
        .join_from(history, current, current.c[tables.id] == history.c[tables.id])
        .where(*_held(history, moment)),
    )


_FIXED = frozenset({"source", "provider", "parent_id", "external_id", "project_id"})


def _parts(child: ChildTables, moment: datetime) -> CompoundSelect[Any]:
    """The parts of layers that are as they were, and those in the payloads of closed versions."""
    layers, parts = RECORDS["layers"].current, child.current
    names = ("layer_id", "source", "provider", "external_id", *child.content)
    same = [parts.c[name] for name in names if name != "content_hash"]
    view = table(
        f"{parts.name.removesuffix('s')}_history",
        *(column(one.name, one.type) for one in same),
        column("valid_from", UtcDateTime),
        column("valid_to", UtcDateTime),
    )
    return union_all(
        select(*same)
        .join_from(parts, layers, layers.c.layer_id == parts.c.layer_id)
        .where(layers.c.changed_at <= moment, ~parts.c.is_deleted),
        select(*(view.c[one.name] for one in same)).where(*_held(view, moment)),
    )


def _held(closed: FromClause, moment: datetime) -> Sequence[ColumnElement[bool]]:
    """Conditions that find the one closed version of a record that held at a moment."""
    return closed.c.valid_from <= moment, closed.c.valid_to > moment


def _as_told(tables: RecordTables, name: str, value: Any, moment: datetime) -> Any:
    """A project's new key is no change of its layers, so their versions do not tell the old one."""
    if name != "project_key":
        return value
    projects = RECORDS["projects"].history.alias("project_then")
    renamed = (
        select(projects.c.key)
        .where(projects.c.project_id == tables.current.c.project_id, *_held(projects, moment))
        .correlate(tables.current)
        .scalar_subquery()
    )
    return func.coalesce(renamed, value)
