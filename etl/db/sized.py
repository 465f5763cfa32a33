"""Reading rows with large documents few at a time, so that their size does not add up in memory."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, Executable, Text, cast, func

from etl.db.upsert import LOOKUP

MOST_TEXT = 2**20  # characters of JSON that are read at once; a document that is larger, alone
_AT_ONCE = 5000  # sizes


def size_of(*documents: Any) -> Any:
    """The size of these columns' JSON together, in characters, as a SQL value."""
    sizes = (func.coalesce(func.length(cast(column, Text)), 0) for column in documents)
    return sum(sizes, 0)


def in_pieces(connection: Connection, sizes: Executable) -> Iterator[list[Any]]:
    """The keys of rows, as many at a time as may be read together.

    sizes: selects (key, size of its documents).
    """
    piece: list[Any] = []
    room = MOST_TEXT
    for key, size in connection.execute(sizes.execution_options(yield_per=_AT_ONCE)):
        if piece and (size > room or len(piece) == LOOKUP):
            yield piece
            piece, room = [], MOST_TEXT
        piece.append(key)
        room -= size
    if piece:
        yield piece
