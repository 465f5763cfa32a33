"""A signal that comes at a chosen step of what a test does."""

import os
import signal
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

Due = Callable[[FrameType], bool]
Handler = Callable[[int, FrameType | None], Any]


@contextmanager
def heeding(
    number: int = signal.SIGINT, handler: Handler = signal.default_int_handler
) -> Iterator[None]:
    """The signal raises KeyboardInterrupt, also where a suite in the background is deaf to it."""
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)


@contextmanager
def signal_when(
    due: Due,
    number: int = signal.SIGINT,
    handler: Handler = signal.default_int_handler,
    at: Collection[str] = ("call",),
) -> Iterator[list[str]]:
    """The signal comes when a function is called of which that is due; -> where that was.

    at: what is looked at, as `sys.setprofile` names it.
    """
    came: list[str] = []

    def look(frame: FrameType, what: str, _: Any) -> None:
        if what in at and not came and due(frame):
            came.append(f"{frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_name}")
            os.kill(os.getpid(), number)

    with heeding(number, handler):
        sys.setprofile(look)
        try:
            yield came
        finally:
            sys.setprofile(None)


def nth(number: int) -> Due:
    """The n-th call of all."""
    left = iter(range(number - 1, -1, -1))
    return lambda _frame: next(left, 1) == 0
