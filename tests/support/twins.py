"""The same rows in another database: what comes out of both can be compared byte by byte."""

import json
from collections.abc import Iterator
from typing import Any

from sqlalchemy import JSON, Connection, Engine, Table, Text, cast, insert, select

from etl.db.tables import STAGING
from etl.db.types import metadata


def copy_rows(one: Engine, other: Engine) -> None:
    """All rows of one database, ids included, in the other one, which is empty."""
    with one.connect() as here, other.begin() as there:
        for table in metadata.sorted_tables:
            rows = list(_rows(here, table))
            if rows and table not in STAGING:
                there.execute(insert(table), rows)


def _rows(connection: Connection, table: Table) -> Iterator[dict[str, Any]]:
    documents = {column.name for column in table.c if isinstance(column.type, JSON)}
    columns = [cast(c, Text).label(c.name) if c.name in documents else c for c in table.c]
    for row in connection.execute(select(*columns)).mappings():
        yield {name: _json(value) if name in documents else value for name, value in row.items()}


def _json(text: str | None) -> Any:
    return JSON.NULL if text == "null" else None if text is None else json.loads(text)
