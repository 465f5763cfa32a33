"""Pieces of work side by side, each in a process of its own: one process parses one page at a time.

A child is forked with all that is imported, says what it does over a pipe, and ends with its
parent. A signal to stop goes to the parent, which hands it on, once: then a child stops in order.
"""

import gc
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from threading import Thread
from types import FrameType
from typing import Any

from etl.errors import FAILED, TRY_AGAIN
from etl.signals import STOPS, to_its_end, undisturbed

Tell = Callable[[Any], None]
Running = dict[Connection, tuple[str, ForkProcess]]


@dataclass(frozen=True, slots=True)
class Lost:
    """A process that ended without a result. code: its exit code; negative: of a signal.

    why: what kept it from beginning.
    """

    code: int
    why: OSError | None = None


def processors() -> int:
    """How many processes find work at once: 1 where forking is not safe, as on macOS."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else 1


def forks(names: Sequence[str], at_once: int) -> bool:
    """Whether so many names, so many at once, need processes of their own."""
    return min(len(names), at_once) > 1


def side_by_side(
    names: Sequence[str],
    work: Callable[[str, Tell], Any],
    *,
    at_once: int,
    begin: Callable[[str], None],
    told: Callable[[str, Any], None],
) -> Generator[tuple[str, Any]]:
    """Does the work of every name; -> name and result, or Lost, in the order in which they end.

    work: is given what tells `told` of the name what it does. begin: is called before each, here;
    nothing may be open that a forked process must not share. Close the iterator to stop it all.
    One at once is done in this process.
    """
    if not forks(names, at_once):
        for name in names:
            begin(name)
            yield name, work(name, partial(told, name))
        return
    waiting = list(reversed(names))
    running: Running = {}
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                begin(waiting[-1])
                name = waiting.pop()
                lost = _begin(work, name, running)
                if lost is not None:
                    yield name, lost
            for channel in _ready(running):
                name, process = running[channel]
                said = _heard(channel)
                if isinstance(said, _Step):
                    told(name, said.what)
                    continue
                process.join()
                del running[channel]
                channel.close()
                yield name, _outcome(said, process.exitcode or 0)
    finally:
        _stop(running)


@dataclass(frozen=True, slots=True)
class _Step:
    what: Any


@dataclass(frozen=True, slots=True)
class _Result:
    what: Any


def _begin(work: Callable[[str, Tell], Any], name: str, running: Running) -> Lost | None:
    """Starts the process of a name; -> why it could not."""
    try:
        with _signals_blocked():
            channel, process = _forked(work, name)
            running[channel] = name, process
    except OSError as error:
        return Lost(FAILED, error)
    return None


def _outcome(said: object, code: int) -> Any:
    return said.what if isinstance(said, _Result) else Lost(code)


def _ready(running: dict[Connection, Any]) -> Iterator[Connection]:
    ready = wait(list(running)) if running else []
    return (one for one in ready if isinstance(one, Connection))


@undisturbed
def _heard(channel: Connection) -> object:
    """What a child says next; None at its end."""
    try:
        return channel.recv()
    except (EOFError, OSError):
        return None


@to_its_end
def _stop(running: Running) -> None:
    for _, process in running.values():
        process.terminate()
    for channel, (_, process) in running.items():
        while _heard(channel) is not None:
            pass
        process.join()


def _forked(work: Callable[[str, Tell], Any], name: str) -> tuple[Connection, ForkProcess]:
    ours, theirs = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(
        target=_child, args=(work, name, theirs), name=name, daemon=True
    )
    gc.freeze()  # or a child's collector would write to, and so copy, all that it shares with us
    try:
        process.start()
    except OSError:
        ours.close()
        raise
    finally:
        gc.unfreeze()
        theirs.close()
    return ours, process


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """No signal comes between a fork and what must be ready for it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)


def _child(work: Callable[[str, Tell], Any], name: str, channel: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to parent and children
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        Thread(target=_end_with_parent, daemon=True).start()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
        result = work(name, lambda what: channel.send(_Step(what)))
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # what is done is done, and is told
    except KeyboardInterrupt:
        sys.exit(TRY_AGAIN)
    channel.send(_Result(result))


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    """The first signal stops the work; what it does then is not interrupted by a second one."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


def _end_with_parent() -> None:
    """A parent that was killed reports nothing any more; a run gone on with is as good."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGKILL)
