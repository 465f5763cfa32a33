"""What a process costs, and the server that it asks: one command measured from start to end."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent

# A small process of its own: what its child may have inherited of memory is less than the child's.
# Of a process that has children of its own, the memory of all is added up ten times a second, what
# they share counted once.
_WRAPPER = """
import json, os, sys, threading, time

def watch():
    while not ended.wait(0.1):
        all_of_it = family(child)
        if len(all_of_it) > 1:
            peak[0] = max(peak[0], sum(map(used, all_of_it)))

def family(process):
    try:
        with open(f"/proc/{process}/task/{process}/children") as found:
            return [process, *(one for child in found.read().split() for one in family(child))]
    except OSError:
        return []

def used(process):
    try:
        with open(f"/proc/{process}/smaps_rollup") as found:
            words = found.read().split()
            return int(words[words.index("Pss:") + 1])
    except (OSError, ValueError):
        return 0

quiet, peak, ended = os.open(os.devnull, os.O_WRONLY), [0], threading.Event()
began = time.perf_counter()
actions = [(os.POSIX_SPAWN_DUP2, quiet, 1)]
child = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=actions)
threading.Thread(target=watch, daemon=True).start()
os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
wall = time.perf_counter() - began
ended.set()
try:
    lines = open(f"/proc/{child}/io").read().split()
    written = int(lines[lines.index("wchar:") + 1])
except (OSError, ValueError):
    written = 0
_, status, spent = os.wait4(child, 0)
print(json.dumps({"wall": wall, "cpu": spent.ru_utime + spent.ru_stime,
                  "memory": max(spent.ru_maxrss, *peak), "written": written,
                  "status": os.waitstatus_to_exitcode(status)}))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """One run: seconds, MB of memory, bytes it wrote, requests it sent, rows (Postgres only)."""

    wall: float
    cpu: float
    memory: float
    written: int
    requests: int = 0
    rows: int | None = None


class Failed(Exception):
    """A command did not end well, or not in time."""


def measured(command: list[str], environ: dict[str, str], *, most: float = 1800.0) -> Cost:
    """What it costs to run a command to its end; Failed when it takes longer than `most`."""
    with subprocess.Popen(
        [sys.executable, "-S", "-c", _WRAPPER, *command],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as wrapper:
        try:
            out, error = wrapper.communicate(timeout=most)
        except subprocess.TimeoutExpired:
            os.killpg(wrapper.pid, signal.SIGKILL)
            raise Failed(f"{command[:4]} took more than {most:.0f} s") from None
    told = json.loads(out.splitlines()[-1])
    if told["status"] != 0:
        raise Failed(f"{command[:4]} ended with {told['status']}: {error[-2000:]}")
    return Cost(
        wall=told["wall"], cpu=told["cpu"], memory=told["memory"] / 1024, written=told["written"]
    )


@contextmanager
def served(sizes: dict[str, int], latency: float = 0.0) -> Iterator[str]:
    """The URL of a bench server with a world of that size, in its own process."""
    command = [sys.executable, str(HERE / "served.py"), json.dumps(sizes), str(latency)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip()
        finally:
            server.kill()


def asked(url: str, path: str) -> Any:
    """The JSON that the server says of itself: requests, bytes and CPU since it was asked last."""
    with urllib.request.urlopen(f"{url}/_bench/{path}") as answer:  # noqa: S310  loopback
        return json.load(answer)
