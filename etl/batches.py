"""Values in lists of a bounded number and size. Pure."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def together(
    values: Iterable[T], size: Callable[[T], int], *, most: int, room: int
) -> Iterator[list[T]]:
    """At most so many values a list, and as many as fit into `room`; a larger one alone."""
    some: list[T] = []
    left = room
    for value in values:
        needed = size(value)
        if some and (needed > left or len(some) == most):
            yield some
            some, left = [], room
        some.append(value)
        left -= needed
    if some:
        yield some
