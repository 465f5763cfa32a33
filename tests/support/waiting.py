"""Waiting for what other processes do, with a limit that only a test that hangs reaches."""

import time
from collections.abc import Callable
from pathlib import Path

SECONDS = 60.0


def until(due: Callable[[], bool]) -> bool:
    """Whether something comes to be true in time."""
    end = time.monotonic() + SECONDS
    while not due() and time.monotonic() < end:
        time.sleep(0.005)
    return due()


def gone(pid: int) -> bool:
    """Whether a process has ended; one that nobody has waited for has too."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
