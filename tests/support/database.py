"""What a database holds, read as tests compare it, and what was written to it."""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, Table, select, text

from etl.db import run_tables
from etl.db.tables import RECORDS, change_fields, changes
from etl.json_text import json_text

COUNTED = ("projects", "environments", "layers", "layer_reservations", "layer_parameters")

CHILDREN = [child.current for tables in RECORDS.values() for child in tables.children]
DATA: tuple[Table, ...] = (
    *(tables.current for tables in RECORDS.values()),
    *(tables.history for tables in RECORDS.values()),
    *CHILDREN,
    changes,
    change_fields,
    run_tables.rejects,
    run_tables.schema_drift,
)
"""Tables that only news may touch."""

VIEWS = frozenset(
    {
        *(f"{table}_current" for table in COUNTED),
        *("project_versions", "environment_versions", "layer_versions"),
        *("layer_parameter_history", "layer_parameter_versions"),
        *("layer_reservation_history", "layer_reservation_versions"),
        *("change_feed", "source_freshness", "layer_capacity", "project_inventory"),
        *("stale_projects", "layers_without_experiments", "implicit_layers", "holdout_usage"),
        *("key_rotations", "possible_same_project", "who_changed_what"),
        *("launchdarkly_project", "launchdarkly_environment"),
    }
)
"""All there are."""

SURROGATES = frozenset(
    {
        *(tables.id for tables in RECORDS.values()),
        *(child.id for tables in RECORDS.values() for child in tables.children),
        *("change_id", "record_id", "reject_id", "drift_id", "run_id"),
    }
)

OBSERVED = frozenset(
    {
        *("first_seen_at", "last_seen_at", "changed_at", "deleted_at", "resolved_at"),
        *("observed_at", "valid_from", "valid_to", "raw"),
    }
)

Rows = list[dict[str, Any]]


def rows(engine: Engine, table: str | Table, where: str = "true") -> Rows:
    """The rows of a table or view, times and JSON as Python values where the table says so."""
    statement: Any = text(f"SELECT * FROM {table} WHERE {where}")  # noqa: S608  names of ours
    if isinstance(table, Table):
        statement = select(table).where(text(where))
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(statement).mappings()]


def count(engine: Engine, table: str, where: str = "true") -> int:
    """How many rows there are."""
    with engine.connect() as connection:
        query = text(f"SELECT count(*) FROM {table} WHERE {where}")  # noqa: S608  names of ours
        return int(connection.execute(query).scalar_one())


def counts(engine: Engine) -> dict[str, dict[str, int]]:
    """Live rows by provider and table, in the form of `sandbox.counts()`."""
    return {
        provider: {
            table: count(engine, f"{table}_current", f"provider = '{provider}'")
            for table in COUNTED
        }
        for provider in ("launchdarkly", "statsig", "layers")
    }


def contents(
    engine: Engine, *, exactly: bool = True, sources: Collection[str] = ()
) -> dict[str, list[str]]:
    """Table -> its rows as sorted JSON, without surrogate ids: what they refer to stands there.

    Not `exactly`: without times of observation and raw payloads; their hashes stay.
    sources: only theirs.
    """
    with engine.connect() as connection:
        return {table.name: _content(connection, table, exactly, sources) for table in DATA}


def differing(one: Engine, other: Engine) -> set[str]:
    """The tables whose rows are not the same, but for when they were seen."""
    here, there = contents(one, exactly=False), contents(other, exactly=False)
    return {table for table in here if here[table] != there[table]}


def _content(
    connection: Connection, table: Table, exactly: bool, sources: Collection[str]
) -> list[str]:
    left_out = SURROGATES if exactly else SURROGATES | OBSERVED
    columns: list[Any] = [column for column in table.c if column.name not in left_out]
    query: Any = select(*columns)
    if table in CHILDREN:
        layers = RECORDS["layers"].current
        query = select(*columns, layers.c.parent_id, layers.c.external_id.label("layer"))
        query = query.join_from(table, layers)
    elif table is change_fields:
        named = [changes.c[name] for name in ("source", "stream", "key", "version", "project_key")]
        query = select(*columns, *named).join_from(table, changes)
    found = connection.execute(query).mappings()
    return sorted(
        json_text(_plain(row)) for row in found if not sources or row["source"] in sources
    )


def _plain(row: Any) -> dict[str, Any]:
    return {
        name: value.isoformat() if hasattr(value, "isoformat") else value
        for name, value in row.items()
    }


@contextmanager
def counted_writes(engine: Engine) -> Iterator[Counter[str]]:
    """Table -> rows inserted, updated (even to the same values) or deleted; filled at the end."""
    metadata = changes.metadata
    with engine.begin() as connection:
        for statement in _triggers(connection, metadata.sorted_tables):
            connection.exec_driver_sql(statement)
    written: Counter[str] = Counter()
    yield written
    with engine.begin() as connection:
        found = connection.execute(text("SELECT name FROM written"))
        written.update(row.name for row in found)


def _triggers(connection: Connection, tables: Sequence[Table]) -> Iterator[str]:
    yield "CREATE TABLE written (name TEXT NOT NULL)"
    if connection.dialect.name == "postgresql":
        yield (
            "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN INSERT INTO written VALUES (TG_TABLE_NAME); RETURN NULL; END $$"
        )
        for table in tables:
            yield (
                f"CREATE TRIGGER noted AFTER INSERT OR UPDATE OR DELETE ON {table} "
                "FOR EACH ROW EXECUTE FUNCTION note()"
            )
        return
    for table in tables:
        for operation in ("INSERT", "UPDATE", "DELETE"):
            note = f"INSERT INTO written VALUES ('{table}')"  # noqa: S608  names of ours
            name = f"noted_{table}_{operation}"
            yield f"CREATE TRIGGER {name} AFTER {operation} ON {table} BEGIN {note}; END"
