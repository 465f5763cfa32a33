"""Reads rows with large documents a few at a time, so that memory stays bounded."""

from collections.abc import Generator, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Row, Select, Text, case, cast, func

from etl.batches import together

MAX_TEXT = 2**20  # characters of JSON that are read at once; a document that is larger, alone
MAX_ROWS = 500
MAX_QUERIES = 100
_AT_ONCE = 5000  # sizes


def pieces(
    connection: Connection, query: Select[Any], *documents: Any
) -> Generator[Sequence[Row[Any]], None, None]:
    """The rows of a query, as many at a time as may be in memory together.

    documents: the columns whose values may be large, as the query's tables name them. Their sizes
    are read first, by a second cursor over the same rows.
    """
    with connection.execute(query, execution_options={"yield_per": MAX_ROWS}) as found:
        if not documents:
            yield from found.partitions()
            return
        sizes = _sizes(query, documents, connection.dialect.name)
        with connection.execute(sizes, execution_options={"yield_per": _AT_ONCE}) as measured:
            for some in together(measured.scalars(), int, most=MAX_ROWS, room=MAX_TEXT):
                yield found.fetchmany(len(some))


def rows(connection: Connection, query: Select[Any], *documents: Any) -> Generator[Any, None, None]:
    """The same, row by row."""
    for piece in pieces(connection, query, *documents):
        yield from piece


def size_of(connection: Connection, *documents: Any) -> Any:
    """The size of these columns' JSON together, about in characters, as a SQL value."""
    return _size(documents, connection.dialect.name)


@lru_cache(maxsize=MAX_QUERIES)
def _sizes(query: Select[Any], documents: Sequence[Any], dialect: str) -> Select[Any]:
    """Put together once for a query that is kept."""
    return query.with_only_columns(_size(documents, dialect))


def _size(documents: Sequence[Any], dialect: str) -> Any:
    one = _on_postgres if dialect == "postgresql" else _in_characters
    return sum((func.coalesce(one(column), 0) for column in documents), 0)


def _in_characters(column: Any) -> Any:
    return func.length(cast(column, Text))


def _on_postgres(column: Any) -> Any:
    """As stored; of a value that is compressed the text's, which takes time."""
    compressed = func.pg_column_compression(column).is_not(None)
    return case((compressed, _in_characters(column)), else_=func.pg_column_size(column))
