"""The bitmap behaves like a set."""

from hypothesis import given, settings
from hypothesis import strategies as st

from etl.load.row_set import RowSet

FEW = settings(max_examples=60, deadline=None)
IDS = st.lists(st.integers(0, 300) | st.integers(0, 100_000), max_size=40)


def filled(ids):
    seen = RowSet()
    return seen, [seen.add(row_id) for row_id in ids]


@FEW
@given(IDS, IDS)
def test_it_holds_what_a_set_holds(ids, others):
    seen, _ = filled(ids)
    assert [one in seen for one in ids + others] == [one in set(ids) for one in ids + others]


@FEW
@given(IDS)
def test_it_is_as_large_as_a_set(ids):
    assert len(filled(ids)[0]) == len(set(ids))


@FEW
@given(IDS)
def test_an_id_is_new_when_it_is_new_to_a_set(ids):
    assert filled(ids)[1] == [one not in ids[:place] for place, one in enumerate(ids)]
