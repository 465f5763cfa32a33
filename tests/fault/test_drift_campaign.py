"""Two hundred walks of lists that change while they are read, against what the world really held.

A walk may take a record that came in the middle of it or leave it. One that was there all the
time must be stored when the run calls the stream complete, and must never be called deleted.
What is stored is compared field by field with what the world held (tests.support.truth).
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

import pytest
from sqlalchemy import Engine

from etl.sandbox import Fault, Sandbox, Sizes, World
from tests.conftest import Databases
from tests.support.database import rows
from tests.support.internals.values import RunReport
from tests.support.runs import asked, of, settings_for, sync
from tests.support.truth import Truth, agree

pytestmark = [pytest.mark.slow, pytest.mark.row(1, 2, 3, 4)]

CHURN = (0.005, 0.02, 0.05, 0.15)
PROJECT = "my-project"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One list of one vendor, and how a run of it is set up."""

    name: str
    source: str
    provider: str
    stream: str
    match: str
    sized_by: str
    walks: int
    option: str | None = None  # the table of the page size; None: the server caps it
    parent: str | None = None

    def settings(self, sandbox: Sandbox, page_size: int) -> Any:
        tables: dict[str, Any] = {"limits": {"rate_limits": []}}
        if self.option:
            tables[self.option] = {"page_size": page_size}
        return settings_for(sandbox, **{self.source: tables})

    def keys(self, world: World) -> list[str]:
        name = "key" if self.provider == "launchdarkly" else "id"
        return [row.payload[name] for row in world.live(self.provider, self.stream, self.parent)]


KINDS = (
    Kind(
        name="LaunchDarkly projects",
        source="ld",
        provider="launchdarkly",
        stream="projects",
        match="/api/v2/projects?",
        sized_by="ld_projects",
        option="projects",
        walks=50,
    ),
    Kind(
        name="LaunchDarkly environments",
        source="ld",
        provider="launchdarkly",
        stream="environments",
        match=f"/api/v2/projects/{PROJECT}/environments?",
        sized_by="ld_environments",
        parent=PROJECT,
        walks=50,
    ),
    Kind(
        name="Statsig layers",
        source="st",
        provider="statsig",
        stream="layers",
        match="/console/v1/layers?",
        sized_by="statsig_layers",
        option="layers",
        walks=50,
    ),
    Kind(
        name="Layers.com projects",
        source="ly",
        provider="layers",
        stream="projects",
        match="/v1/projects?",
        sized_by="layers_projects",
        option="projects",
        walks=50,
    ),
)


@dataclass(slots=True, kw_only=True)
class Story:
    """What happened in one walk, and what it came to."""

    seed: int
    rerun: bool
    mutations: list[str]
    complete: bool
    walks: int
    requests: int
    least: int
    quiet_requests: int
    quiet_least: int
    falsely_deleted: set[str]
    missing: set[str]


class Churn:
    """Changes the list between two pages, at random; knows who was never away.

    note: called after each change.
    """

    def __init__(self, note: Callable[[], None], kind: Kind, dice: Random, rate: float) -> None:
        self.note, self.kind, self.dice, self.rate = note, kind, dice, rate
        self.done: list[str] = []
        self.deleted: list[str] = []

    def __call__(self, world: World) -> None:
        if self.dice.random() < self.rate:
            self.change(world)

    def change(self, world: World) -> None:
        """One record goes, or comes, or one goes and another comes."""
        what = self.dice.choice(("insert", "delete", "pair"))
        self.done.append(what)
        if what != "insert":
            key = self.dice.choice(self.kind.keys(world))
            world.delete(self.kind.provider, self.kind.stream, key, self.kind.parent)
            self.deleted.append(key)
        if what != "delete":
            world.create(self.kind.provider, self.kind.stream, self.kind.parent)
        if what != "insert" and self.dice.random() < 0.5:
            key = self.dice.choice(self.kind.keys(world))
            fields = {"name": f"changed {self.dice.random()}"}
            world.update(self.kind.provider, self.kind.stream, key, self.kind.parent, **fields)
        self.note()


def compared(truth: Truth, settings: Any, kind: Kind) -> RunReport:
    """A run of the list, compared field by field with what the world held in the meantime."""
    mark = truth.mark()
    report = sync(truth.engine, settings, kind.source, streams=[kind.stream])
    agree(truth.check(mark, report))
    agree(truth.check_past())
    return report


def told(kind: Kind, seed: int, engine: Engine) -> Story:
    """One walk of a list that changes under it, and a quiet run after it."""
    dice = Random(f"{kind.name} {seed}")  # noqa: S311  the same seed, the same story
    page_size, rerun = dice.randint(3, 20), seed % 2 == 1
    sizes = {"ld_projects": 1, "ld_environments": 1, "ld_layers": 1, "layers_projects": 1}
    world = World(seed, Sizes(**sizes | {kind.sized_by: dice.randint(60, 120)}))
    truth = Truth(engine, world)
    churn = Churn(truth.note, kind, dice, CHURN[seed // 2 % len(CHURN)])
    with Sandbox(world, page_cap=None if kind.option else page_size) as sandbox:
        settings = kind.settings(sandbox, page_size)
        if rerun:
            assert compared(truth, settings, kind).exit_code == 0
            for _ in range(dice.randint(0, 3)):
                churn.change(world)
            churn.done.clear()
            churn.deleted.clear()
        before = set(kind.keys(world))
        sandbox.reset_requests()
        glob = kind.match.replace("?", "[?]") + "*"
        sandbox.add_fault(Fault(f"{kind.provider} {glob}", "mutate", times=None, arg=churn))
        report = of(compared(truth, settings, kind), kind.stream)
        requests, live = len(asked(sandbox, kind.match)), set(kind.keys(world))
        steady = before & live - set(churn.deleted)
        stored = {row["key"]: bool(row["is_deleted"]) for row in rows(engine, kind.stream)}
        sandbox.clear_faults()
        sandbox.reset_requests()
        quiet = compared(truth, settings, kind)
        assert (seed, quiet.status, quiet.error) == (seed, "ok", None)
        current = {row["key"] for row in rows(engine, kind.stream, "NOT is_deleted")}
        assert (seed, current) == (seed, set(kind.keys(world)))
    walks = re.search(r"(\d+) walks", report.proof or "")
    return Story(
        seed=seed,
        rerun=rerun,
        mutations=churn.done,
        complete=report.complete,
        walks=int(walks[1]) if walks else 1,
        requests=requests,
        least=-(-len(live) // page_size),
        quiet_requests=len(asked(sandbox, kind.match)),
        quiet_least=-(-len(live) // page_size),
        falsely_deleted={key for key in live if stored.get(key)},
        missing={key for key in steady if stored.get(key, True)} if report.complete else set(),
    )


@pytest.fixture(scope="module")
def table(request: pytest.FixtureRequest) -> Iterator[dict[str, list[Story]]]:
    """Kind -> its stories; printed at the end."""
    stories: dict[str, list[Story]] = {}
    yield stories
    out = request.config.get_terminal_writer()
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        show(out, stories)


def show(out: Any, stories: dict[str, list[Story]]) -> None:
    """Requests are those of the list, over what one walk without overlap would cost."""
    out.line()
    heads = ("walks", "moves", "whole", "again")
    out.line(
        f"{'list':34}"
        + "".join(f"{head:>6}" for head in heads)
        + f"{'asked':>8}{'next':>8}{'false':>6}{'lost':>6}"
    )
    for name, told_of in stories.items():
        for label, part in (
            ("first", [s for s in told_of if not s.rerun]),
            ("rerun", [s for s in told_of if s.rerun]),
        ):
            out.line(line(f"{name}, {label}", part))


def line(name: str, stories: list[Story]) -> str:
    def ratio(a: str, b: str) -> str:
        total = sum(getattr(s, b) for s in stories)
        return f"{100 * sum(getattr(s, a) for s in stories) / total - 100:+.0f} %"

    return (
        f"{name:34}{len(stories):>6}{sum(len(s.mutations) for s in stories):>6}"
        f"{sum(s.complete for s in stories):>6}{sum(s.walks - 1 for s in stories):>6}"
        f"{ratio('requests', 'least'):>8}{ratio('quiet_requests', 'quiet_least'):>8}"
        f"{sum(len(s.falsely_deleted) for s in stories):>6}"
        f"{sum(len(s.missing) for s in stories):>6}"
    )


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name.replace(" ", "-"))
def test_a_list_that_changes_while_it_is_read_loses_no_record_and_deletes_none(
    kind: Kind, databases: Databases, table: dict[str, list[Story]]
) -> None:
    stories = table.setdefault(kind.name, [])
    for seed in range(kind.walks):
        with databases("postgres" if seed % 10 == 0 else "sqlite") as engine:
            stories.append(told(kind, seed, engine))
    assert [(s.seed, s.falsely_deleted) for s in stories if s.falsely_deleted] == []
    missed = [s for s in stories if s.missing]
    assert [(s.seed, s.rerun, s.mutations, s.missing) for s in missed] == []
