"""A set of row ids as a bitmap."""

from etl.load.row_set import RowSet


def seen(*ids):
    found = RowSet()
    for row_id in ids:
        found.add(row_id)
    return found


def test_a_new_id_is_new():
    assert seen().add(7) is True


def test_an_id_is_new_once():
    assert seen(7).add(7) is False


def test_an_id_that_was_added_is_there():
    assert 7 in seen(7)


def test_the_neighbours_of_an_id_are_not_there():
    assert not any(row_id in seen(8) for row_id in (0, 7, 9, 16, 10**9))


def test_nothing_is_in_an_empty_set():
    assert 0 not in seen()


def test_ids_are_counted_once():
    assert len(seen(1, 2, 2, 1, 1000)) == 3


def test_a_million_ids_are_small():
    assert len(seen(*range(1_000_000)).bits) < 300_000
