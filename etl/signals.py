"""Signals to stop are heard where a run waits and in its merge, and nowhere else.

Python raises KeyboardInterrupt between any two steps: of a page that is noted and not yet taken
in, of a transaction that is written while its run does not know it, of a lock that is taken and
never given back. What is on its way is done first; it takes milliseconds.
"""

import _thread
import atexit
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial, wraps
from types import FrameType
from typing import Any, ParamSpec, TypeVar

from etl.errors import TRY_AGAIN

STOPS = (signal.SIGINT, signal.SIGTERM)
HEARD, HEARD_IN_WAITS, UNHEARD = range(3)
PIECE = 0.1  # seconds of a wait, after which a signal is heard

QUIET = ("--quiet", "-q")  # of the command line

P = ParamSpec("P")
T = TypeVar("T")
Handler = Callable[[int, FrameType | None], Any]

_now = HEARD  # of the process, as its signals are
_come: list[Callable[[], Any]] = []
_is_ending = False  # the command is over, and its exit code is known


def leave_at_once() -> None:
    """From now on a signal to stop ends the process: nothing was begun that it could break off.

    Once a command is over, the first signal is left to its end, which is near; the next one is not.
    """
    for number in STOPS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _leave)
    atexit.register(_ignore)  # the first one is done last


def _ignore() -> None:
    """Python puts its handlers away before it takes its modules apart; what it ignores stays so."""
    for number in STOPS:
        signal.signal(number, signal.SIG_IGN)


def _leave(_number: int, _frame: FrameType | None) -> None:
    global _is_ending
    if _is_ending:
        _is_ending = False
        return
    if not set(QUIET) & set(sys.argv):
        os.write(2, b"etl: stopped by a signal before it was done\n")
    os._exit(TRY_AGAIN)


@contextmanager
def interruptible() -> Iterator[None]:
    """The time of a command, in which a signal to stop raises KeyboardInterrupt."""
    global _is_ending
    before = {number: signal.getsignal(number) for number in STOPS} if _is_main() else {}
    hook = sys.unraisablehook
    try:
        sys.unraisablehook = partial(_told_again, hook)
        for number, handler in before.items():
            if number == signal.SIGTERM or handler is not signal.SIG_IGN:
                signal.signal(number, signal.default_int_handler)
        yield
    finally:
        _is_ending = True
        for number, handler in before.items():
            signal.signal(number, handler)
        sys.unraisablehook = hook


def _told_again(hook: Callable[[Any], object], lost: Any) -> None:
    """A signal that came where nothing can be raised, as while an object is deleted."""
    if lost.exc_type is KeyboardInterrupt:
        threading.Timer(PIECE / 10, _thread.interrupt_main, (signal.SIGTERM,)).start()
    else:
        hook(lost)


def undisturbed(work: Callable[P, T]) -> Callable[P, T]:
    """The work, during which signals to stop wait for its end, or for where one may be heard.

    Only Python's main thread meets signals; in others nothing changes.
    """
    return _during(work, HEARD_IN_WAITS)


def to_its_end(work: Callable[P, T]) -> Callable[P, T]:
    """The work, during which signals to stop wait for its end, whatever it waits for."""
    return _during(work, UNHEARD)


def hear() -> None:
    """A signal that came is heard here."""
    hearing(lambda: None)


def hearing(wait: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The outcome of a call that a signal may break off; one that came before does so at once.

    The call takes no lock of Python's.
    """
    call = partial(wait, *args, **kwargs)
    return _with(HEARD, call) if _now == HEARD_IN_WAITS and _is_main() else call()


def wait_in_pieces(wait: Callable[[float | None], object], seconds: float | None = None) -> None:
    """Waits; `wait` waits so many seconds at most, and is true when the wait is over.

    In pieces where a signal may be heard: in the middle of Python's own locks none may be.
    """
    if _now != HEARD_IN_WAITS or not _is_main():
        wait(seconds)
        return
    end = float("inf") if seconds is None else time.monotonic() + seconds
    hear()
    while not wait(min(PIECE, max(0.0, end - time.monotonic()))) and time.monotonic() < end:
        hear()


def _during(work: Callable[P, T], state: int) -> Callable[P, T]:
    @wraps(work)
    def done(*args: P.args, **kwargs: P.kwargs) -> T:
        if not _is_main():
            return work(*args, **kwargs)
        call = partial(work, *args, **kwargs)
        return _with(max(state, _now), call) if _now else _noting(partial(_with, state, call))

    return done


def _is_main() -> bool:
    return threading.current_thread() is threading.main_thread()


def _with(state: int, call: Callable[[], T]) -> T:
    global _now
    before = _now
    try:
        _now = state
        if state == HEARD:
            _answer()
        return call()
    finally:
        _now = before


def _noting(call: Callable[[], T]) -> T:
    """The outcome; signals that come while they are not heard are answered after it."""
    global _now
    before = {number: signal.getsignal(number) for number in STOPS}
    ours = {number: _noted(one) for number, one in before.items() if callable(one)}
    try:
        _now = UNHEARD
        for number, handler in ours.items():
            signal.signal(number, handler)
        return call()
    finally:
        for number, handler in ours.items():
            if signal.getsignal(number) is handler:  # a handler may have put another one there
                signal.signal(number, before[number])
        _now = HEARD
        _answer()


def _noted(handler: Handler) -> Handler:
    def note(number: int, frame: FrameType | None) -> None:
        global _now
        if _now:
            _come.append(partial(handler, number, None))
            return
        _now = HEARD_IN_WAITS  # what the first one breaks off, a second one does not disturb
        handler(number, frame)
        _now = HEARD

    return note


def _answer() -> None:
    come = _come.copy()
    _come.clear()
    for one in come:
        one()
