"""What keeps a merge's memory bounded: values in a temporary file, rows read by their size."""

from collections.abc import Sequence
from contextlib import closing
from itertools import zip_longest

from hypothesis import given
from hypothesis import strategies as st

from etl import spool
from etl.batches import together
from etl.db.large_rows import MAX_ROWS, MAX_TEXT
from etl.spool import Spool
from tests.property.strategies import JSON

SIZES = st.integers(0, 2 * MAX_TEXT) | st.integers(0, MAX_TEXT // 8) | st.just(MAX_TEXT)


@given(st.lists(JSON), st.booleans())
def test_a_spool_gives_back_what_was_added(values: Sequence[object], large: bool) -> None:
    with closing(Spool()) as kept:
        if large:
            kept.add("a" * spool.IN_MEMORY)  # from here on in a file
        for value in values:
            kept.add(value)
        before = ["a" * spool.IN_MEMORY] if large else []
        for _ in range(2):
            assert list(kept) == [*before, *values]
        assert len(kept) == len(before) + len(values)


@given(st.lists(SIZES, max_size=30), st.integers(0, 2 * MAX_ROWS))
def test_each_row_is_read_once_and_few_large_ones_together(
    sizes: Sequence[int], small: int
) -> None:
    sizes = [*sizes, *[1] * small]
    pieces = list(together(range(len(sizes)), sizes.__getitem__, most=MAX_ROWS, room=MAX_TEXT))
    assert [key for piece in pieces for key in piece] == list(range(len(sizes)))
    for piece, after in zip_longest(pieces, pieces[1:]):
        size = sum(sizes[key] for key in piece)
        assert size <= MAX_TEXT or len(piece) == 1
        assert len(piece) <= MAX_ROWS
        full = after is None or size + sizes[after[0]] > MAX_TEXT or len(piece) == MAX_ROWS
        assert full, "more would have had room"
