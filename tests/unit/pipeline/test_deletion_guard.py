"""Which deletions are held back."""

import pytest

from etl.errors import UnsafeChange
from etl.pipeline.deletion_guard import DeleteLimits, raise_if_unsafe


def held_back(deleted, stored, **limits):
    try:
        raise_if_unsafe(
            "acme",
            stream="layers",
            deleted=deleted,
            stored=stored,
            limits=DeleteLimits(**limits),
        )
    except UnsafeChange:
        return True
    return False


@pytest.mark.parametrize(("deleted", "stored"), [(0, 0), (0, 50), (1, 2), (10, 11), (10, 50)])
def test_a_few_deletions_are_made(deleted, stored):
    assert not held_back(deleted, stored)


@pytest.mark.parametrize("stored", [1, 2, 10, 1000])
def test_a_stream_is_never_emptied(stored):
    assert held_back(stored, stored)


def test_the_limits_are_still_allowed():
    assert not held_back(20, 100)


def test_more_than_both_limits_is_held_back():
    assert held_back(21, 100)


def test_many_of_very_many_are_made():
    assert not held_back(1000, 10_000)


def test_limits_are_the_users():
    assert not held_back(80, 100, percent=90)


def test_the_refusal_says_how_much_and_the_way_out():
    with pytest.raises(UnsafeChange, match=r"40 of 50 layers of acme \(80 %.*--force-deletes"):
        raise_if_unsafe("acme", stream="layers", deleted=40, stored=50, limits=DeleteLimits())


def test_the_refusal_carries_its_numbers():
    with pytest.raises(UnsafeChange) as caught:
        raise_if_unsafe("acme", stream="layers", deleted=40, stored=50, limits=DeleteLimits())
    assert (caught.value.stream, caught.value.deleted, caught.value.stored) == ("layers", 40, 50)
