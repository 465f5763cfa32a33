"""A week of the daemon, sped up, against a world that changes and vendors that fail.

`make soak` prints the figures and writes docs/soak.md; SOAK_DAYS and SOAK_SPEED shorten it.
Sources run every five virtual minutes. Each virtual hour the world changes; every few hours
answers fail, every other day a vendor is gone for three hours; the daemon is restarted, killed and
told to read its configuration again. On the last two days it is left alone, to see its memory.
"""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from random import Random
from statistics import median

from sqlalchemy import Engine

from etl.db import migrations
from etl.db.engine import open_engine
from etl.sandbox import Fault, Sandbox, Sizes, World
from tests.support.database import counts, rows
from tests.support.history import violations
from tests.support.runs import SOURCES, config_text, settings_for, sync_all

DAYS = float(os.environ.get("SOAK_DAYS", "7"))
SPEED = float(os.environ.get("SOAK_SPEED", "300"))  # virtual seconds in a second
INTERVAL = 300.0  # virtual seconds between two ticks
QUIET = min(2.0, DAYS / 3) * 86400  # at the end, without restarts
HOUR = 3600.0
STARTED_AT = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
SIZES = Sizes(ld_projects=4, ld_environments=2, ld_layers=3, statsig_layers=40, layers_projects=30)
FAULTS = (
    *(("status", code) for code in (500, 502, 503, 429)),
    *((kind, None) for kind in ("cut", "closed", "reset", "not_json", "html")),
    *((kind, None) for kind in ("same_page", "empty_list", "duplicate_item")),
    ("short_total", 1),
    ("rate_limited", "120"),
)
PAGE = Path(__file__).parents[1] / "docs" / "soak.md"


@dataclass(slots=True)
class Soak:
    """The daemon, its world and what happened to them, in virtual seconds since the start."""

    sandbox: Sandbox
    config: Path
    began: float
    random: Random = field(default_factory=lambda: Random(20261121))  # noqa: S311  no secret
    daemon: subprocess.Popen[str] | None = None
    happened: list[tuple[float, str]] = field(default_factory=list)
    recovered: list[float] = field(default_factory=list)
    memory: list[tuple[float, float]] = field(default_factory=list)

    def now(self) -> float:
        return (time.time() - self.began) * SPEED

    def start(self) -> None:
        """The daemon runs; a recovery of all sources begins."""
        command = [sys.executable, "-m", "bench.soaking", str(self.config)]
        self.daemon = subprocess.Popen(
            [*command, str(STARTED_AT), str(self.began), str(SPEED)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.daemon.stdout is not None
        with self.daemon.stdout as told:
            assert told.readline() == "started\n"
        self.recovered.append(self.now())

    def end(self, number: int) -> None:
        """The daemon gets that signal, and is gone."""
        assert self.daemon is not None
        assert self.daemon.poll() is None, "the daemon ended by itself"
        self.daemon.send_signal(number)
        code = self.daemon.wait(60)
        assert code == (0 if number == signal.SIGTERM else -number)
        self.daemon = None

    def note_memory(self) -> None:
        """Megabytes that the daemon has resident."""
        if self.daemon is not None:
            lines = Path(f"/proc/{self.daemon.pid}/status").read_text().splitlines()
            said = next(line for line in lines if line.startswith("VmRSS"))
            self.memory.append((self.now(), int(said.split()[1]) / 1024))

    def mend(self) -> None:
        """No vendor fails any more; a recovery of all sources begins, if the daemon is there."""
        self.sandbox.clear_faults()
        if self.daemon is not None:
            self.recovered.append(self.now())

    def happen(self, what: str) -> None:
        """One of the things that happen."""
        self.happened.append((self.now(), what))
        random, world = self.random, self.sandbox.world
        match what:
            case "change":
                world.evolve(changed=0.03, **{n: random.randint(0, 1) for n in KINDS})
            case "fault":
                kind, arg = random.choice(FAULTS)
                times = random.randint(1, 4)
                vendor = random.choice(list(SOURCES.values()))
                self.sandbox.add_fault(Fault(vendor, kind, times=times, arg=arg))
            case "outage":
                vendor = random.choice(list(SOURCES.values()))
                self.sandbox.add_fault(Fault(vendor, "status", times=None, arg=503))
            case "end of outage":
                self.mend()
            case "kill" | "restart" if self.daemon is not None:
                self.end(signal.SIGKILL if what == "kill" else signal.SIGTERM)
            case "start" if self.daemon is None:
                self.start()
            case "reload" if self.daemon is not None:
                self.daemon.send_signal(signal.SIGHUP)


KINDS = ("deleted", "renamed", "created", "restored")


def story(random: Random) -> list[tuple[float, str]]:
    """What happens when, in order: virtual seconds since the start, and what."""
    total = DAYS * 86400
    busy = total - QUIET
    found = [(hour * HOUR, "change") for hour in range(1, int(total / HOUR))]
    found += [(moment, "fault") for moment in _every(random, total - 2 * HOUR, 2 * HOUR, 5 * HOUR)]
    for moment in _every(random, busy - 4 * HOUR, 36 * HOUR, 48 * HOUR):
        found += [(moment, "outage"), (moment + 3 * HOUR, "end of outage")]
    for what, least, most in (("restart", 10, 16), ("kill", 6, 10)):
        for moment in _every(random, busy, least * HOUR, most * HOUR):
            found += [(moment, what), (moment + random.uniform(60, 1200), "start")]
    found += [(moment, "reload") for moment in _every(random, total, 8 * HOUR, 12 * HOUR)]
    return sorted(found)


def _every(random: Random, until: float, least: float, most: float) -> Iterator[float]:
    moment = random.uniform(least, most)
    while moment < until:
        yield moment
        moment += random.uniform(least, most)


@contextmanager
def soaking(folder: Path) -> Iterator[Soak]:
    """A daemon on the sandbox; gone at the end of the block."""
    began = time.time()

    def clock() -> float:
        return STARTED_AT + (time.time() - began) * SPEED

    with Sandbox(World(7, SIZES), clock=clock) as sandbox:
        config = folder / "etl.toml"
        limits = {"attempts": 3, "timeout": 20.0 * SPEED, "delete_confirmations": 50}
        tables = {name: {"limits": limits} for name in SOURCES}
        written = config_text(sandbox, f"sqlite:///{folder / 'soak.db'}", **tables)
        for provider in SOURCES.values():
            line = f'provider = "{provider}"\n'
            written = written.replace(line, f'{line}schedule = "*/5 * * * *"\n')
        config.write_text(written)
        soak = Soak(sandbox, config, began)
        soak.start()
        try:
            yield soak
        finally:
            if soak.daemon is not None:
                soak.daemon.kill()
                soak.daemon.wait()


def test_a_week_of_the_daemon(tmp_path: Path) -> None:
    with soaking(tmp_path) as soak:
        for moment, what in story(Random(7)):  # noqa: S311  no secret
            while soak.now() < moment:
                time.sleep(min(0.5, (moment - soak.now()) / SPEED + 0.001))
                soak.note_memory()
            soak.happen(what)
            if what == "change":
                soak.sandbox.reset_requests()
        soak.mend()
        time.sleep(3 * INTERVAL / SPEED)
        soak.end(signal.SIGTERM)
        engine = open_engine(f"sqlite:///{tmp_path / 'soak.db'}")
        with engine.connect() as connection:
            assert migrations.current(connection) == migrations.HEAD
        said = "\n".join(f"| {name} | {value} |" for name, value in measured(engine, soak).items())
        print(said)
        assert max(lateness(engine, soak)) <= INTERVAL + SPEED / 2  # threads start in real time
        first, last = memory(soak)
        assert last <= 1.1 * first
        assert overlaps(engine) == []
        assert violations(engine) == []
        assert counts(engine) == soak.sandbox.counts()
        fresh = open_engine(f"sqlite:///{tmp_path / 'fresh.db'}")
        migrations.ensure(fresh)
        sync_all(fresh, settings_for(soak.sandbox))
        assert live(engine) == live(fresh)
        if DAYS >= 7:
            write(said)


def live(engine: Engine) -> dict[str, set[tuple[str, str, str, str]]]:
    """Source, key and content of every record there is."""
    return {
        table: {
            (row["source"], row["parent_id"], row["external_id"], row["content_hash"])
            for row in rows(engine, table, "NOT is_deleted")
        }
        for table in ("projects", "environments", "layers")
    }


def overlaps(engine: Engine) -> list[str]:
    """Runs of one source that began before the one before them had ended.

    A run that was gone on with is as old as its first process; it may have begun at any time.
    """
    found = []
    for source in SOURCES:
        ended = [
            row
            for row in rows(engine, "runs", f"source = '{source}' AND finished_at IS NOT NULL")
            if row["attempts"] == 1
        ]
        lives = sorted((row["started_at"], row["finished_at"], row["run_id"]) for row in ended)
        found += [
            f"{source}: run {two[2]} began before run {one[2]} had ended"
            for one, two in pairwise(lives)
            if two[0] < one[1]
        ]
    return found


def measured(engine: Engine, soak: Soak) -> dict[str, str]:
    """The figures, with their units."""
    happened = [what for _, what in soak.happened]
    late = lateness(engine, soak)
    first, last = memory(soak)
    statuses = [row["status"] for row in rows(engine, "runs")]
    said = {name: statuses.count(name) for name in sorted(set(statuses))}
    return {
        "virtual days, at so many times the speed": f"{DAYS:g}, {SPEED:g}",
        "runs": f"{len(statuses)} ({', '.join(f'{n} {name}' for name, n in said.items())})",
        "changes recorded": str(len(rows(engine, "changes"))),
        "hourly changes of the world": str(happened.count("change")),
        "faults in answers; outages of three hours": (
            f"{happened.count('fault')}; {happened.count('outage')}"
        ),
        "restarts (SIGTERM); kills (SIGKILL); reloads (SIGHUP)": "; ".join(
            str(happened.count(what)) for what in ("restart", "kill", "reload")
        ),
        "from a recovery to the start of the next run that landed, virtual seconds (tick: 300)": (
            f"median {median(late):.0f}, longest {max(late):.0f}"
        ),
        "memory of the daemon on the quiet days, first third and last third": (
            f"{first:.1f} MB and {last:.1f} MB"
        ),
        "runs of one source that overlapped": "0",
        "findings of the audit": "0",
        "records that differ from a fresh sync at the end": "0",
    }


def lateness(engine: Engine, soak: Soak) -> list[float]:
    """From each recovery to the start of each source's next run that landed, virtual seconds."""
    landed = {
        source: sorted(
            (_seconds(row["finished_at"]), _seconds(row["started_at"]))
            for row in rows(engine, "runs", f"source = '{source}' AND observed_at IS NOT NULL")
        )
        for source in SOURCES
    }
    return [
        next((max(0.0, began - since) for ended, began in lives if ended >= since), float("inf"))
        for since in soak.recovered
        for lives in landed.values()
    ]


def memory(soak: Soak) -> tuple[float, float]:
    """Megabytes in the first and in the last third of the quiet days."""
    quiet = [megabytes for at, megabytes in soak.memory if at > (DAYS * 86400 - QUIET)]
    third = max(1, len(quiet) // 3)
    return median(quiet[:third]), median(quiet[-third:])


def _seconds(text: str) -> float:
    moment = datetime.fromisoformat(text).replace(tzinfo=UTC)
    return moment.timestamp() - STARTED_AT


def write(said: str) -> None:
    """docs/soak.md."""
    doc = (__doc__ or "").split("\n\n", 1)
    PAGE.write_text(
        f"# A week of the daemon\n\n{doc[0]}\n\n{doc[1].strip()}\n\nPython "
        f"{sys.version.split()[0]}, SQLite {sqlite3.sqlite_version}, {os.cpu_count()} cores.\n\n"
        f"| what | measured |\n|---|---|\n{said}\n"
    )
