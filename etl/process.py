"""This process, and whether another one still runs: what a lease needs to know of its holder."""

import os
import platform
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from etl.db.runs import Holder

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
        process_started=_started(os.getpid()) or "",
    )


def lives(holder: Holder) -> bool | None:
    """Whether the run of a lease still goes on; None when it is on another host."""
    if holder.host != _host():
        return None
    started = _started(holder.pid)
    if holder.pid == os.getpid() and started == holder.process_started:
        return holder.token in _AT_WORK
    if started is not None:
        return started == holder.process_started
    try:
        os.kill(holder.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not Path("/proc").is_dir()


@cache
def _host() -> str:
    """This machine since its last start: a container with a known name is not the same one."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    return f"{platform.node()}/{boot.read_text().strip()[:8] if boot.exists() else ''}"


def _started(pid: int) -> str | None:
    """When a process started, in the kernel's ticks; None where /proc does not say, or it is over.

    One that has ended stays in /proc until its parent asks, which in a container may be never.
    """
    try:
        state, *facts = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if state in ENDED else facts[18]
    except (OSError, IndexError, ValueError):
        return None
