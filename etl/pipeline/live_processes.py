"""This process, and whether another one still runs: what a lease needs to know of its holder."""

import ctypes
import os
import platform
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from etl.load.runs import Holder

ENDED = ("Z", "X")
_AT_WORK: set[str] = set()  # tokens of the runs of this process: it may outlive one that failed


@contextmanager
def at_work() -> Iterator[Holder]:
    """This process as the holder of a lease, for one run."""
    holder = this_process()
    _AT_WORK.add(holder.token)
    try:
        yield holder
    finally:
        _AT_WORK.discard(holder.token)


def this_process() -> Holder:
    """This process as the holder of a lease; each call is a holder of its own."""
    return Holder(
        token=secrets.token_hex(16),
        host=_host(),
        pid=os.getpid(),
        process_started=_started("self") or "",
    )


def lives(holder: Holder) -> bool | None:
    """Whether the run of a lease still goes on; None when this process cannot know.

    The number of a process says something only on its machine and in its PID namespace: two
    containers may well have the same host name.
    """
    if holder.host != _host():
        return None
    if holder.pid == os.getpid() and _started("self") == holder.process_started:
        return holder.token in _AT_WORK
    started = _started(holder.pid) if _sees_own_processes() else None
    if started is not None:
        return started == holder.process_started
    try:
        os.kill(holder.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not _sees_own_processes()


@cache
def _host() -> str:
    """This machine since its last start, and the namespace in which process numbers are unique."""
    return "/".join((platform.node(), _boot_id()[:8], _pid_namespace()))


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _pid_namespace() -> str:
    """The number of the kernel, from `pid:[4026531836]`; "" where there are no such namespaces."""
    try:
        return str(Path("/proc/self/ns/pid").readlink()).strip("pid:[]")
    except OSError:
        return ""


def _sees_own_processes() -> bool:
    """Whether /proc tells of the processes of this namespace: it may be that of the machine."""
    try:
        return str(Path("/proc/self").readlink()) == str(os.getpid())
    except OSError:
        return False


def _started(pid: int | str) -> str | None:
    """When a process started, in the kernel's ticks; None where /proc does not say, or it is over.

    One that has ended stays in /proc until its parent asks, which in a container may be never.
    """
    try:
        state, *facts = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if state in ENDED else facts[18]
    except (OSError, IndexError, ValueError):
        return None


_MMAP_THRESHOLD = -3  # of malloc.h
_LARGE = 2**17


def give_large_blocks_back() -> None:
    """From now on the system gets every large block of memory back as soon as it is free.

    glibc raises its own threshold with the first large block, and holes between what several
    threads read then take half as much memory again. Other C libraries do not do that.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, _LARGE)
