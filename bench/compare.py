"""`make bench`: etl, dlt and the floor on the same served data; writes docs/benchmarks.md.

`python -m bench.compare [SIZE…] [--rounds N] [--without-dlt]`. Each size is kept in
docs/benchmarks.json when it is done, so are those that are not asked for; the page shows them all.
"""

import argparse
import compileall
import json
import os
import platform
import socket
import statistics
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench import contestants, page, stages
from bench.contestants import ENVIRON, EVERYONE, PEER, PHASES, ROOT, Contestant
from bench.measure import Cost, Failed, asked, measured, served
from tests.support import postgres

SIZES = {
    "tiny": (1, 1, 1, 1),
    "small": (10, 100, 1000, 1000),
    "medium": (500, 100, 20_000, 20_000),
    "large": (2000, 500, 20_000, 20_000),
    "latency": (400, 2, 2000, 4000),
}
NAMES = ("ld_projects", "ld_layers", "statsig_layers", "layers_projects")
RESULTS = ROOT / "docs" / "benchmarks.json"
LATENCY = 0.1  # seconds
CONCURRENCY = {"launchdarkly": 4, "statsig": 1, "layers": 1}  # what the providers' files allow
STARTS = 7
MOST_SECONDS = 120.0  # a peer that takes longer is left out, and that is said
MOST_SECONDS_AT_LARGE = 200.0


def sizes_of(name: str) -> dict[str, int]:
    """The size of a world, as the server takes it."""
    return dict(zip(NAMES, SIZES[name], strict=True))


def compare(size: str, rounds: int, admin: str, *, with_dlt: bool) -> dict[str, Any]:
    """Every contestant through all phases, in turns, so that all share the machine's moods."""
    costs: dict[str, dict[str, list[Cost]]] = defaultdict(lambda: defaultdict(list))
    failed: set[str] = set()
    entries = [one for one in EVERYONE if with_dlt or not one.name.startswith("dlt")]
    if size == "large":
        entries = [one for one in entries if one.name not in contestants.NOT_AT_LARGE]
    with served(sizes_of(size)) as url, tempfile.TemporaryDirectory(prefix="bench") as folder:
        speed = server_speed(url)
        for number in range(rounds):
            for entry in entries[number % 2 :] + entries[: number % 2]:
                if entry.label in failed:
                    continue
                try:
                    for phase, cost in lap(entry, size, url, admin, Path(folder) / "lap"):
                        costs[entry.label][phase].append(cost)
                        say(f"{size} {number + 1}/{rounds}", entry.label, phase, cost)
                except Failed as error:
                    if not entry.name.startswith("dlt"):
                        raise
                    print(f"{entry.label} is left out from here on: {error}", flush=True)
                    failed.add(entry.label)
    found = {
        label: {phase: asdict(median(laps)) for phase, laps in phases.items()}
        for label, phases in costs.items()
    }
    return {"rounds": rounds, "server": speed, "costs": found, "at": now()}


def lap(
    entry: Contestant, size: str, url: str, admin: str, folder: Path
) -> Iterator[tuple[str, Cost]]:
    """One contestant's phases on one database."""
    environ, most = ENVIRON, MOST_SECONDS
    if size == "large":
        most = MOST_SECONDS_AT_LARGE
        environ = ENVIRON | (contestants.DLT_AT_LARGE if entry.name.startswith("dlt") else {})
    with contestants.fresh(entry, admin, folder) as database:
        command = entry.command(url, database, folder)
        ours = entry.name.startswith("etl")
        if ours and entry.kind == "postgres":  # SQLite files get it by themselves
            measured(contestants.upgrade(command), ENVIRON)
        for phase, state in PHASES.items():
            asked(url, f"state?n={state}")
            before = contestants.written(database) if "://" in database else None
            cost = measured(command, environ, most=1800.0 if ours else most)
            cost = replace(cost, requests=asked(url, "requests")["requests"])
            if before is not None:
                time.sleep(1.1)  # the server's counters of rows come a second late
                after = contestants.written(database)
                cost = replace(cost, written=after[0] - before[0], rows=after[1] - before[1])
            yield phase, cost
        asked(url, "state?n=0")


def median(laps: Sequence[Cost]) -> Cost:
    """The middle of the rounds, figure by figure."""
    values: dict[str, Any] = {}
    for name in (field.name for field in fields(Cost)):
        found = [getattr(one, name) for one in laps]
        values[name] = None if None in found else statistics.median(found)
    return Cost(**values)


def server_speed(url: str) -> dict[str, float]:
    """How fast the server answers one bare client that parses nothing; LaunchDarkly's layers."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port)) as connection:

        def get(path: str) -> bytes:
            connection.sendall(f"GET {path} HTTP/1.1\r\n\r\n".encode())
            data = connection.recv(1 << 20)
            head, _, body = data.partition(b"\r\n\r\n")
            length = int(head.rpartition(b"content-length: ")[2])
            while len(body) < length:
                body += connection.recv(1 << 20)
            return body

        keys = [item["key"] for item in json.loads(get("/api/v2/projects?limit=500"))["items"]]
        start = time.perf_counter()
        got = sum(len(get(f"/api/v2/projects/{key}/layers")) for key in keys)
        took = time.perf_counter() - start
    asked(url, "requests")
    return {"requests": len(keys) / took, "megabytes": got / took / 1e6}


def starts() -> dict[str, float]:
    """Cold starts: `etl --help`, and a sync of sources that hold next to nothing."""
    with served(sizes_of("tiny")) as url, tempfile.TemporaryDirectory(prefix="bench") as folder:
        sync = contestants.etl(url, f"{folder}/bench.db", Path(folder))
        measured(sync, ENVIRON)
        helped = [measured([*sync[:3], "--help"], ENVIRON) for _ in range(STARTS)]
        synced = [measured(sync, ENVIRON) for _ in range(STARTS)]
    return {"help": median(helped).wall, "sync": median(synced).wall}


def latency() -> dict[str, float]:
    """A first load from a server that takes 100 ms for each answer: by one process, and abreast."""
    with (
        served(sizes_of("latency"), LATENCY) as url,
        tempfile.TemporaryDirectory(prefix="bench") as folder,
    ):
        together = contestants.etl(url, f"{folder}/abreast.db", Path(folder))
        measured(contestants.upgrade(together), ENVIRON)
        abreast = measured(together, ENVIRON)
        sync = contestants.alone(url, f"{folder}/bench.db", Path(folder))
        ideal, requests = 0.0, 0
        measured(contestants.upgrade(sync), ENVIRON)
        began = time.perf_counter()
        done = subprocess.run([*sync, "--json"], env=ENVIRON, check=True, capture_output=True)
        wall = time.perf_counter() - began
        for run in json.loads(done.stdout)["runs"]:
            asks = sum(stream["requests"] for stream in run["streams"])
            requests += asks
            ideal += asks * LATENCY / CONCURRENCY[run["source"]]
    return {"wall": wall, "ideal": ideal, "requests": requests, "abreast": abreast.wall}


def machine() -> dict[str, str]:
    """Where and with what it was measured."""
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
    cores = subprocess.run(["nproc"], capture_output=True, text=True).stdout.strip()  # noqa: S607
    asks = "import importlib.metadata as m; print(m.version('dlt'))"
    peer = subprocess.run([str(PEER), "-c", asks], capture_output=True, text=True)
    return {
        "machine": f"{model}, {cores} cores, {platform.system()} {platform.release()}",
        "load when it began": f"{os.getloadavg()[0]:.1f}",
        "python": platform.python_version(),
        **{
            name: version(name) for name in ("httpx", "orjson", "sqlalchemy", "psycopg", "pydantic")
        },
        "dlt": peer.stdout.strip() or "not installed",
    }


def now() -> str:
    """For the page."""
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")


def say(what: str, label: str, phase: str, cost: Cost) -> None:
    """A line for whoever waits."""
    shown = f"{cost.wall:7.2f} s {cost.cpu:7.2f} s CPU {cost.memory:5.0f} MB"
    print(f"{what:14} {label:28} {phase:12} {shown}", flush=True)


def main() -> None:
    """Measures, and writes the page anew from all that is known."""
    parser = argparse.ArgumentParser()
    parser.add_argument("sizes", nargs="*", default=["small", "medium"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--without-dlt", action="store_true")
    wanted = parser.parse_args()
    compileall.compile_dir(ROOT / "etl", quiet=1)  # as pip does with what it installs, dlt for one
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results["machine"] = machine()
    print("cold starts, and a first load with 100 ms a response ...", flush=True)
    results["starts"] = starts()
    results["latency"] = latency()
    with postgres.server() as url:
        admin = url.set(drivername="postgresql").render_as_string(hide_password=False)
        for size in wanted.sizes:
            compared = compare(size, wanted.rounds, admin, with_dlt=not wanted.without_dlt)
            results.setdefault("sizes", {})[size] = compared
            RESULTS.write_text(json.dumps(results, indent=1) + "\n")
        if "medium" in wanted.sizes:
            with served(sizes_of("medium")) as url_of:
                results["profile"] = stages.shares(url_of, admin)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    print(page.write(results, ROOT / "docs"))


if __name__ == "__main__":
    main()
