"""Writing and finding many rows: the one place, with the engine, where the databases differ."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import chain
from typing import Any, TypeVar

from sqlalchemy import (
    JSON,
    Column,
    ColumnElement,
    Connection,
    String,
    Table,
    Text,
    bindparam,
    collate,
    func,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite

from etl.db.types import Document, UtcDateTime
from etl.json_text import json_text

Row = tuple[Any, ...]
T = TypeVar("T")
MAX_TEXTS = 2**20  # letters of JSON that are written at once
MAX_ROWS = 10_000
LOOKUP = 500  # values of one IN list; SQLite's oldest limit is 999 parameters


def copy_rows(
    connection: Connection,
    table: Table,
    columns: Sequence[str],
    rows: Iterable[Row],
    *,
    texts: Collection[str] = (),
) -> None:
    """Inserts rows as fast as the database takes them: COPY on Postgres, executemany on SQLite.

    The rows may be made while they are written, so that not all of their texts are there at once.
    texts: columns that hold JSON text already. Only there a JSON null can be told from no value.
    """
    postgres = connection.dialect.name == "postgresql"
    encoders = [
        (place, encode)
        for place, name in enumerate(columns)
        if (encode := _text if name in texts else _encoder(table.c[name], postgres=postgres))
    ]
    encoded = (_encoded(row, encoders) for row in rows)
    first = next(encoded, None)
    if first is None:
        return
    names = ", ".join(f'"{name}"' for name in columns)
    if postgres:
        driver: Any = connection.connection.driver_connection
        with (
            driver.cursor() as cursor,
            cursor.copy(f'COPY "{table.name}" ({names}) FROM STDIN') as copy,
        ):
            for row in chain((first,), encoded):
                copy.write_row(row)
        return
    marks = ", ".join("?" * len(columns))
    statement = f'INSERT INTO "{table.name}" ({names}) VALUES ({marks})'  # noqa: S608  names are ours
    made = [place for place, _ in encoders]
    for part in _pieces(chain((first,), encoded), made):
        connection.exec_driver_sql(statement, part)


def _pieces(rows: Iterator[Row], made: Sequence[int]) -> Iterator[list[Row]]:
    """The rows, as many at a time as there is room for the texts that were made for them."""
    piece: list[Row] = []
    size = 0
    for row in rows:
        piece.append(row)
        size += sum(len(row[place] or "") for place in made)
        if size > MAX_TEXTS or len(piece) == MAX_ROWS:
            yield piece
            piece, size = [], 0
    if piece:
        yield piece


def upsert(
    connection: Connection,
    table: Table,
    rows: Sequence[dict[str, Any]],
    *,
    key: Sequence[str],
    update: Sequence[str],
) -> None:
    """Inserts rows; where the key is taken, sets the columns of `update` instead."""
    if not rows:
        return
    insert = (postgresql if connection.dialect.name == "postgresql" else sqlite).insert(table)
    connection.execute(
        insert.on_conflict_do_update(
            index_elements=list(key), set_={name: insert.excluded[name] for name in update}
        ),
        rows,
    )


def parts(values: Sequence[T]) -> Iterator[Sequence[T]]:
    """The values, as many at a time as one IN list may hold."""
    return (values[start : start + LOOKUP] for start in range(0, len(values), LOOKUP))


def one_of(column: Column[Any], name: str, dialect: str) -> ColumnElement[bool]:
    """Whether a text is in the list that a parameter brings; one statement for every length."""
    if dialect == "postgresql":
        return column == func.any(bindparam(name, type_=postgresql.ARRAY(Text)))
    listed = func.json_each(bindparam(name, type_=JSON)).table_valued("value")
    return column.in_(select(listed.c.value))


def _encoder(column: Column[Any], *, postgres: bool) -> Callable[[Any], Any] | None:
    if column.type is Document:
        return _document
    if isinstance(column.type, UtcDateTime) and not postgres:
        return _iso_text
    return None


def _encoded(row: Row, encoders: Sequence[tuple[int, Callable[[Any], Any]]]) -> Row:
    if not encoders:
        return row
    values = list(row)
    for place, encode in encoders:
        if values[place] is not None:
            values[place] = encode(values[place])
    return tuple(values)


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode()


def _document(value: Any) -> str:
    return "[]" if value == [] else json_text(value)  # most lists of most records are empty


def _iso_text(value: datetime) -> str:
    """As SQLAlchemy's DateTime stores it on SQLite."""
    utc = value.replace(tzinfo=None) if value.tzinfo is UTC else _without_zone(value)
    return utc.isoformat(" ", "microseconds")


def _without_zone(value: datetime) -> datetime:
    return value.astimezone(UTC).replace(tzinfo=None)


def bytewise(connection: Connection, value: Any) -> Any:
    """To sort by: texts by their bytes, on Postgres as on SQLite."""
    texts = isinstance(value.type, String) and connection.dialect.name == "postgresql"
    return collate(value, "C") if texts else value
