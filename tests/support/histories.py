"""Random histories through the real pipeline over the sandbox; the database against the truth.

A history is a small world, a database, and some steps: the vendors change, also between two
requests of a run, where projects are renamed, swapped, deleted and created again; answers fail, are
cut, lie, come twice, late, or are those of other requests; processes die at a commit; clocks jump.
After each run the database is compared with every state that the vendors had:

- false deletion: a record that was there all the time, from the first request of the run on;
- wrong place: a live environment or layer under a project that never held it;
- missed record: one that was there from before the time that its stream is said to be complete at;
- false freshness: that time has not come yet, or what was gone before it is live.
"""

import logging
import os
import shutil
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache, partial
from pathlib import Path
from random import Random
from typing import Any

from sqlalchemy import Engine, select, text

from etl.config.settings import Settings
from etl.db import migrations
from etl.db.engine import open_engine
from etl.db.run_tables import rejects, runs
from etl.db.tables import RECORDS
from etl.history.runs import freshness
from etl.operations import sync
from etl.pipeline.selection import Selection
from etl.sandbox import Fault, Sandbox, Sizes, World
from tests.support.compiled import share_compiled_statements
from tests.support.dying import Killed, dying
from tests.support.moving import MOVES
from tests.support.runs import SOURCES, START, settings_for

STREAMS = {
    "ld": ("projects", "environments", "layers"),
    "st": ("layers",),
    "ly": ("projects",),
}
LISTS = {
    "ld": ("launchdarkly", "launchdarkly /api/v2/projects?*", "launchdarkly */layers"),
    "st": ("statsig", "statsig /console/v1/layers?*", "statsig /console/v1/layers/*"),
    "ly": ("layers", "layers /v1/projects?*", "layers /v1/projects/*"),
}
# what spoils one answer; `empty_list` is not among them: nobody can tell it from an emptied list
SPOILERS: tuple[tuple[str, Any], ...] = (
    *(("status", code) for code in (400, 401, 403, 404, 429, 500, 503)),
    *((kind, None) for kind in ("cut", "truncated", "closed", "reset", "html", "not_json")),
    *((kind, None) for kind in ("no_list", "same_page", "next_self", "next_cycle", "no_total")),
    *((kind, None) for kind in ("duplicate_item", "duplicate_keys", "empty_last", "nan")),
    *(("short_total", by) for by in (-1, 1, 7)),
    *(("patch", ((field_,), None)) for field_ in ("key", "id", "_id", "name")),
)
# answers that come to the wrong request
MIXED: tuple[tuple[str, Any], ...] = (
    *((kind, None) for kind in ("twice", "delayed", "previous")),
    ("behind", b'HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n{"items":[]}'),
    ("behind", b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}"),
    ("behind", b"\r\n"),
)
JUMPS = (timedelta(days=365), timedelta(days=-1), timedelta(hours=-3))

Place = tuple[str, str]  # the parent's id, the record's
State = dict[tuple[str, str], frozenset[Place]]  # (source, stream) -> what is there


@dataclass(slots=True)
class Clock:
    """True time, which every look moves on by a second, and a clock that may be wrong."""

    true: datetime = START
    wrong_by: timedelta = timedelta()
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self) -> datetime:
        with self.lock:
            self.true += timedelta(seconds=1)
            return self.true + self.wrong_by


@dataclass(slots=True)
class Tally:
    """What histories came to."""

    histories: int = 0
    what: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)

    def add(self, other: "Tally") -> None:
        self.histories += other.histories
        self.what += other.what
        self.broken += other.broken


@dataclass(slots=True, kw_only=True)
class History:
    """One history; `tell` is given each step."""

    seed: int
    engine: Engine
    sandbox: Sandbox
    tell: Callable[[str], object] = lambda _text: None
    tally: Tally = field(default_factory=Tally)
    clock: Clock = field(default_factory=Clock)
    states: list[tuple[datetime, State]] = field(default_factory=list)
    begun: dict[int, int] = field(default_factory=dict)
    dice: Random = field(init=False)
    settings: Settings = field(init=False)

    def __post_init__(self) -> None:
        self.dice = Random(self.seed)  # noqa: S311  no secret
        free: dict[str, Any] = {
            "rate_limits": [],
            "concurrency": self.dice.choice((1, 1, 4)),
            "attempts": 2,
        }
        free |= {"delete_percent": 100, "delete_count": 1000, "patience": 0.4}
        size = {"page_size": self.dice.choice((2, 3, 50))}
        self.settings = settings_for(
            self.sandbox,
            ld={"limits": free, "projects": size},
            st={"limits": free, "layers": size},
            ly={"limits": free, "projects": size},
        )
        self.note()

    def play(self) -> Tally:
        """All of it."""
        self.tally.histories = 1
        for _ in range(self.dice.randint(3, 7)):
            self.step(self.dice.choices(list(SOURCES), (4, 2, 1))[0])
        return self.tally

    def step(self, source: str) -> None:
        """Time passes, the world moves, and a run of a source comes to whatever end it comes."""
        dice = self.dice
        self.clock.true += timedelta(minutes=dice.choice((1, 5, 30, 120, 600)))
        if dice.random() < 0.7:
            self.act(self.sandbox.world)
        if dice.random() < 0.15:
            self.clock.wrong_by = dice.choice(JUMPS)
            self.tell(f"  the clock is wrong by {self.clock.wrong_by}")
            self.tally.what["runs with a clock that jumped"] += 1
        for fault in self.faults(source):
            self.tally.what[f"faults: {fault.kind}"] += 1
            self.tell(f"  {fault.kind} in {fault.match}, after {fault.after}, times {fault.times}")
            self.sandbox.add_fault(fault)
        first = len(self.states) - 1
        status = self.run(source)
        self.sandbox.clear_faults()
        self.clock.wrong_by = timedelta()
        self.tell(f"{self.clock.true:%d %H:%M:%S} {source}: {status}")
        self.tally.what[f"runs: {status}"] += 1
        self.check(source, first)

    def act(self, world: World, *, in_run: bool = False) -> None:
        """Something happens at the vendors, by their clock, which is right.

        Not that a record comes back in mid-run that was born long before, as none does there.
        """
        dice = self.dice
        world.now = int(self.clock.true.timestamp() * 1000)
        keys = [row.payload["key"] for row in world.live("launchdarkly", "projects")]
        if dice.random() < 0.5 and len(keys) > 1:
            name = dice.choice(list(MOVES))
            dice.shuffle(keys)
            self.tell(f"  {name} {keys}")
            self.tally.what[f"moves: {name}"] += 1
            try:
                MOVES[name](world, keys)
            except ValueError:  # the new key is taken
                return
        else:
            self.tell("  evolve")
            self.tally.what["other changes of the world"] += 1
            many = {name: dice.randint(0, 2) for name in ("deleted", "created", "restored")}
            many["restored"] *= not in_run
            world.evolve(changed=dice.choice((0.0, 0.2)), renamed=dice.randint(0, 1), **many)
        self.note()

    def faults(self, source: str) -> Iterator[Fault]:
        """What goes wrong in the next run."""
        dice = self.dice
        if dice.random() < 0.4:
            act = partial(self.act, in_run=True)
            yield Fault(dice.choice(LISTS[source]), "mutate", after=dice.randint(0, 9), arg=act)
        for chance, kinds in ((0.3, SPOILERS), (0.4, MIXED)):
            if dice.random() < chance:
                kind, arg = dice.choice(kinds)
                match, after = dice.choice(LISTS[source]), dice.randint(0, 6)
                yield Fault(match, kind, after=after, times=dice.choice((1, 1, 2, None)), arg=arg)

    def run(self, source: str) -> str:
        """Runs a source; -> how it ended."""
        wish: dict[str, Any] = {"full": self.dice.random() < 0.2}
        wish["force_deletes"] = self.dice.random() < 0.3
        keys = [row.payload["key"] for row in self.sandbox.world.live("launchdarkly", "projects")]
        if source == "ld" and self.dice.random() < 0.1:
            wish["backfill"] = Selection(projects=(self.dice.choice(keys),))
        commit = self.dice.randint(1, 9) if self.dice.random() < 0.2 else None
        with self.engine.begin() as connection:  # what a 429 asked to wait is over
            connection.execute(text("UPDATE rate_budgets SET blocked_until = NULL"))
        try:
            with dying(self.engine, commit):
                told = sync.sync(
                    self.engine, self.settings, source, sync.RunOptions(**wish), clock=self.clock
                )
        except Killed:
            return "killed"
        if told.error:
            self.tell(f"  {told.error}")
        for one in told.streams:
            self.tell(
                f"  {one.stream} {one.status} complete={one.complete} {one.incomplete_reason}"
            )
        return told.status

    def note(self) -> None:
        """Remembers what is at the vendors from now on."""
        self.clock()
        self.states.append((self.clock.true, state_of(self.sandbox.world)))

    def check(self, source: str, first: int) -> None:
        """What the run has broken."""
        with self.engine.connect() as connection:
            ids = connection.execute(select(runs.c.run_id).where(runs.c.source == source))
            new = [run_id for (run_id,) in ids if run_id not in self.begun]
            self.begun |= dict.fromkeys(new, first)
            rows = freshness(connection, (source,), now=self.clock.true)
            spoiled = rejected(connection, source)
        fresh = {row.stream: row for row in rows}
        for stream in STREAMS[source]:
            live, deleted = stored(self.engine, source, stream)
            states = [state[source, stream] for _, state in self.states]
            there_always = {
                begun: frozenset.intersection(*states[begun:]) for begun in set(self.begun.values())
            }
            for place, run_id in deleted.items():
                if run_id in new and place in there_always[self.begun[run_id]]:
                    self.broke("false deletion", source, stream, place)
            if stream != "projects" and source == "ld":
                for place in live - frozenset.union(*states):
                    self.broke("wrong place", source, stream, place)
            row = fresh.get(stream)
            if row is not None and row.last_complete_at is not None and row.future_at is None:
                self.check_freshness(source, stream, row, live - spoiled, spoiled)

    def check_freshness(
        self, source: str, stream: str, row: Any, live: frozenset[Place], spoiled: frozenset[Place]
    ) -> None:
        at = row.last_complete_at
        if at > self.clock.true:
            self.broke("false freshness", source, stream, ("time", at.isoformat()))
        before = max((n for n, (when, _) in enumerate(self.states) if when < at), default=None)
        if before is None:
            return
        states = [state[source, stream] for _, state in self.states[before:]]
        for place in frozenset.intersection(*states) - live - spoiled:
            self.broke("missed record", source, stream, place)
        for place in live - frozenset.union(*states):
            self.broke("false freshness", source, stream, place)

    def broke(self, what: str, source: str, stream: str, place: Place) -> None:
        said = f"{what}: history {self.seed}: {source} {stream} {place}"
        self.tell(f"!! {said}")
        self.tally.what[what] += 1
        self.tally.broken.append(said)


def state_of(world: World) -> State:
    """What is at the vendors now."""
    with world.lock:
        projects = world.live("launchdarkly", "projects")
        inside = {
            stream: frozenset(
                (project.payload["_id"], row.payload["_id" if stream == "environments" else "key"])
                for project in projects
                for row in world.live("launchdarkly", stream, project.payload["key"])
            )
            for stream in ("environments", "layers")
        }
        return {
            ("ld", "projects"): frozenset(("", row.payload["_id"]) for row in projects),
            **{("ld", stream): places for stream, places in inside.items()},
            ("st", "layers"): frozenset(
                ("st", row.payload["id"]) for row in world.live("statsig", "layers")
            ),
            ("ly", "projects"): frozenset(
                ("", row.payload["id"].removeprefix("prj_"))
                for row in world.live("layers", "projects")
            ),
        }


def stored(engine: Engine, source: str, stream: str) -> tuple[frozenset[Place], dict[Place, int]]:
    """The live rows of a stream, and the deleted ones with the run that deleted them."""
    table = RECORDS[stream].current
    columns = (table.c.parent_id, table.c.external_id, table.c.is_deleted, table.c.run_id)
    with engine.connect() as connection:
        rows = connection.execute(select(*columns).where(table.c.source == source)).all()
    live = frozenset((parent, one) for parent, one, is_deleted, _ in rows if not is_deleted)
    return live, {(parent, one): run for parent, one, is_deleted, run in rows if is_deleted}


def rejected(connection: Any, source: str) -> frozenset[Place]:
    """What could not be stored as it was sent."""
    query = select(rejects.c.parent_id, rejects.c.external_id)
    rows = connection.execute(
        query.where(rejects.c.source == source, rejects.c.resolved_at.is_(None))
    )
    return frozenset((parent, one or "") for parent, one in rows)


@cache
def template() -> Path:
    """A migrated file without rows; one a process."""
    path = Path(tempfile.mkdtemp(prefix="etl-histories-", dir=memory())) / "template.db"
    engine = open_engine(f"sqlite:///{path}")
    migrations.upgrade(engine)
    engine.dispose()
    return path


def memory() -> str | None:
    """A folder in memory, where there is one."""
    shared = "/dev/shm"  # noqa: S108  the folders in it are private
    return shared if os.access(shared, os.W_OK) else None


def played(seed: int, tell: Callable[[str], object] = lambda _text: None) -> Tally:
    """One history on SQLite."""
    logging.disable(logging.CRITICAL)
    dice = Random(-seed)  # noqa: S311  no secret
    sizes = Sizes(
        ld_projects=dice.randint(2, 4),
        ld_environments=dice.randint(1, 2),
        ld_layers=dice.randint(0, 3),
        statsig_layers=dice.randint(2, 9),
        layers_projects=dice.randint(2, 7),
    )
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(dir=memory()))
        path = shutil.copyfile(template(), Path(folder) / "etl.db")
        engine = open_engine(f"sqlite:///{path}")
        stack.callback(engine.dispose)
        sandbox = stack.enter_context(Sandbox(World(seed, sizes)))
        return History(seed=seed, engine=engine, sandbox=sandbox, tell=tell).play()


def some(seeds: range) -> Tally:
    """Several histories in one process."""
    share_compiled_statements()
    found = Tally()
    for seed in seeds:
        try:
            found.add(played(seed))
        except Exception as error:  # noqa: BLE001  what ends a history is a finding too
            said = f"ended by an error: history {seed}: {type(error).__name__}: {error}"[:500]
            found.add(Tally(histories=1, what=Counter(["error"]), broken=[said]))
    if template.cache_info().currsize:
        shutil.rmtree(template().parent)
        template.cache_clear()
    return found
