"""Folders with servers in them that do not outlive the tests, however these end.

A guard in a session of its own waits for the end of the process that made the folder, stops what
runs in it, and removes it. Where the guard was killed too, the next suite does that.
"""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import disk_usage

import psutil

PREFIX = "etl-test-"
LOCK = "lock"  # held while somebody may use the folder
PLACES = (Path("/dev/shm"), Path("/tmp"))  # noqa: S108  the folders in them are private
ROOM = 1 << 30
SECONDS = 10.0


@contextmanager
def guarded_folder() -> Iterator[Path]:
    """A folder with a short path, as that of a socket must be; in memory where there is room."""
    sweep()
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=_quick_place()))
    lock = os.open(folder / LOCK, os.O_CREAT | os.O_RDWR, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    command = [sys.executable, str(Path(__file__)), str(folder)]
    guard = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
    try:
        yield folder
    finally:
        guard.communicate()  # closes its input
        os.close(lock)


def sweep() -> None:
    """Removes the folders that nobody uses any more, with what runs in them."""
    for place in PLACES:
        for folder in place.glob(f"{PREFIX}*"):
            with suppress(OSError), (folder / LOCK).open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                remove(folder)


def remove(folder: Path) -> None:
    """Stops what names the folder in its command line; a server is asked to clean up first."""
    for number in (signal.SIGQUIT, signal.SIGKILL, signal.SIGKILL):
        running = list(processes_in(folder))
        for process in running:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)
        psutil.wait_procs(running, timeout=SECONDS)
        shutil.rmtree(folder, ignore_errors=True)
        if not running and not folder.exists():
            return


def processes_in(folder: Path) -> Iterator[psutil.Process]:
    """What runs in that folder, or on it; not this process."""
    for process in psutil.process_iter(["pid", "cmdline"]):
        words = process.info["cmdline"] or []
        if process.pid != os.getpid() and any(str(folder) in word for word in words):
            yield process


def _quick_place() -> Path:
    """In memory a new database takes 10 ms, not 300."""
    memory, disk = PLACES
    roomy = memory.is_dir() and os.access(memory, os.W_OK) and disk_usage(memory).free > ROOM
    return memory if roomy else disk


if __name__ == "__main__":
    sys.stdin.read()
    remove(Path(sys.argv[1]))
