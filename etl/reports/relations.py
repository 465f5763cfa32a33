"""What users may read: tables and views by name, their columns of one kind on both databases.

SQLite does not know of what type a view's computed column is, so a column's name says it.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any

from sqlalchemy import (
    JSON,
    Boolean,
    Connection,
    DateTime,
    Float,
    FromClause,
    Integer,
    Numeric,
    Select,
    String,
    Table,
    Text,
    cast,
    column,
    inspect,
    select,
    table,
)
from sqlalchemy.types import NullType, TypeEngine

from etl.db import large_rows, run_tables
from etl.db.bulk import bytewise
from etl.db.tables import RECORDS, change_fields, changes
from etl.db.types import BigId, Document, Flag, UtcDateTime
from etl.errors import ConfigError
from etl.history import as_of
from etl.json_text import near_or_some
from etl.reports.export import Column, Kind
from etl.transform.diff import value_of

EVENTS = ("changes", "change_feed")  # known at a moment by their times

TABLES: MappingProxyType[str, Table] = MappingProxyType(
    {
        one.name: one
        for one in (
            *(tables.current for tables in RECORDS.values()),
            *(child.current for tables in RECORDS.values() for child in tables.children),
            *(tables.history for tables in RECORDS.values()),
            *(changes, change_fields, run_tables.runs, run_tables.run_streams),
            *(run_tables.rejects, run_tables.schema_drift),
        )
    }
)
"""The tables with a contract; docs/schema.md tells of them."""

_COMPUTED: dict[str, Any] = {
    **dict.fromkeys(("last_complete_at", "last_merged_at", "last_started_at"), UtcDateTime()),
    "unchanged_since": UtcDateTime(),
    **dict.fromkeys(("last_run_id", "experiments", "used_percent", "free_percent"), BigId),
    **dict.fromkeys(("environments", "layers", "parameters", "fields", "unchanged_days"), BigId),
    **dict.fromkeys(("experiment_keys", "paths", "flag_defaults", "links"), Document),
    "over_booked": Flag,
}

TYPES: MappingProxyType[str, TypeEngine[Any]] = MappingProxyType(
    {
        **_COMPUTED,
        **{one.name: one.type for each in TABLES.values() for one in each.c},
        "valid_to": UtcDateTime(),
    }
)
"""Of a column with this name, in whatever table or view."""

_KEYS = {
    **{f"{stream}_current": (tables.id,) for stream, tables in RECORDS.items()},
    **{
        f"{child.current.name}_current": (child.id,)
        for tables in RECORDS.values()
        for child in tables.children
    },
    **{
        tables.history.name.replace("_history", "_versions"): (tables.id, "version")
        for tables in RECORDS.values()
    },
    "change_feed": ("change_id", "path"),
}


@dataclass(frozen=True, slots=True)
class Relation:
    """A table or view, and the columns whose order makes its rows always come the same way.

    A `-` before a column: the greatest first.
    """

    rows: FromClause
    order: tuple[str, ...]


def names(connection: Connection) -> list[str]:
    """Every table and view that users may read."""
    return sorted({*TABLES, *inspect(connection).get_view_names()})


def relation(connection: Connection, name: str) -> Relation:
    """The table or view of this name; ConfigError with all the names where there is none."""
    if name in TABLES:
        found = TABLES[name]
        return Relation(found, tuple(one.name for one in found.primary_key))
    known = names(connection)
    if name not in known:
        raise ConfigError(f"no table or view {name!r}{near_or_some(name, known)}")
    columns = [
        column(one["name"], TYPES.get(one["name"]) or _of_ours(one["type"]))
        for one in inspect(connection).get_columns(name)
    ]
    view = table(name, *columns)
    return Relation(view, _KEYS.get(name) or _comparable(view))


def relation_at(connection: Connection, name: str, moment: datetime) -> Relation:
    """The table or view as it was at a moment; ConfigError where its past is not kept."""
    now = relation(connection, name)
    table_name = name.removesuffix("_current")
    if table_name in as_of.TABLES:
        rows = as_of.rows(table_name, moment, deleted=name == table_name)
        own_ids = set(now.order) <= set(rows.c.keys())
        return Relation(rows, now.order if own_ids else ("layer_id", "external_id"))
    if name in EVENTS:
        return Relation(
            select(now.rows).where(now.rows.c.observed_at <= moment).subquery(name), now.order
        )
    known = (*as_of.TABLES, *(f"{one}_current" for one in as_of.TABLES), *EVENTS)
    goes_with = f"{', '.join(known)} and what `etl report` lists"
    raise ConfigError(f"{name} is of no other time; --as-of goes with {goes_with}")


def keeps_past(name: str) -> bool:
    """Whether `relation_at` knows it at a moment."""
    return name in EVENTS or name.removesuffix("_current") in as_of.TABLES


def _of_ours(reflected: TypeEngine[Any]) -> TypeEngine[Any]:
    """The type for a column of a view that is not etl's; all that is not known is read as text."""
    if isinstance(reflected, DateTime):
        return UtcDateTime()
    if isinstance(reflected, Numeric):
        return Float()
    known = isinstance(reflected, Integer | Boolean | JSON | String)
    return reflected if known else NullType()


def _comparable(source: FromClause) -> tuple[str, ...]:
    return tuple(one.name for one in source.c if not isinstance(one.type, JSON))


def columns_of(source: FromClause) -> list[Column]:
    """The columns and their kinds."""
    return [Column(one.name, _kind(one.type)) for one in source.c]


def _kind(type_: TypeEngine[Any]) -> Kind:
    for known, kind in _KINDS:
        if isinstance(type_, known):
            return kind
    return "text"


_KINDS: tuple[tuple[type[Any], Kind], ...] = (
    (UtcDateTime, "time"),
    (JSON, "json"),
    (Boolean, "flag"),
    (Integer, "integer"),
    (Float, "number"),
)


def of_source(asked: FromClause, name: str) -> Select[Any]:
    """Its rows of one source: by their own column, or by their run or change."""
    query = select(asked)
    if "source" in asked.c:
        return query.where(asked.c.source == name)
    for owner, key in ((changes, "change_id"), (run_tables.runs, "run_id")):
        if key in asked.c:
            return query.where(asked.c[key].in_(select(owner.c[key]).where(owner.c.source == name)))
    raise ConfigError(f"{asked.description} has no column source; leave out --source")


def in_order(
    connection: Connection, asked: Relation, source: str | None = None, limit: int | None = None
) -> Select[Any]:
    """The rows in one order on both databases, of all sources or of one, all or the first ones."""
    rows = asked.rows
    query = select(rows) if source is None else of_source(rows, source)
    query = query.order_by(*(_ordered(connection, rows, name) for name in asked.order))
    return query if limit is None else query.limit(limit)


def batches(
    connection: Connection, asked: Relation, source: str | None = None, limit: int | None = None
) -> Generator[Sequence[Sequence[Any]], None, None]:
    """The rows as of `in_order`, some at a time; JSON parsed, MISSING for none."""
    rows = asked.rows
    query = in_order(connection, asked, source, limit).with_only_columns(
        *(cast(one, Text).label(one.name) if _as_text(one) else one for one in rows.c)
    )
    places = [place for place, one in enumerate(rows.c) if _json(one)]
    documents = [one for one in rows.c if _json(one)]
    for part in large_rows.pieces(connection, query, *documents):
        yield [_parsed(row, places) for row in part]


def _json(one: Any) -> bool:
    return isinstance(one.type, JSON)


def _as_text(one: Any) -> bool:
    return isinstance(one.type, JSON | NullType)


def _ordered(connection: Connection, rows: FromClause, asked: str) -> Any:
    """Nothing before something, as SQLite does it; `-`: backwards."""
    name = asked.removeprefix("-")
    wanted = bytewise(connection, rows.c[name])
    if name == "source" and connection.dialect.name == "sqlite":
        wanted = wanted.concat("")  # or it reads all rows in the order of its index on that
    # where to put nothing is not said of what has to be there: it would keep indexes from use
    required = name.endswith("_id") or (isinstance(rows, Table) and not rows.c[name].nullable)
    if asked != name:
        return wanted.desc() if required else wanted.desc().nulls_last()
    return wanted if required else wanted.nulls_first()


def _parsed(row: Sequence[Any], places: Sequence[int]) -> Sequence[Any]:
    values = list(row)
    for place in places:
        values[place] = value_of(values[place])
    return values
