"""`make mutants`: breaks the logic on purpose, change by change, and tells what no test notices.

Each change is tried on the test that noticed it before (killers.json). Only for those that this
test does not notice, or that have none, it is measured which tests execute their lines: first of
those that are about modules and runs, then of those about processes, commands and pages.

`python -m tests.mutants --only walk proof` looks at these modules; `--each 50` tries that many of
each, `--survivors` only those that nothing noticed last time. Exit 1: an unexplained survivor.
"""

import argparse
import importlib
import inspect
import json
import sys
import tempfile
import tomllib
from collections import defaultdict, deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

from tests.mutants import covering, trying
from tests.mutants.covering import Covering
from tests.mutants.mutations import Mutant, mutants_of
from tests.mutants.trying import ENDLESS

ROOT = Path(__file__).parents[2]
KEPT = ROOT / ".mutants"  # coverage
KILLERS = Path(__file__).parent / "killers.json"  # the sample: which test noticed what, or ""
EXPLAINED = Path(__file__).parent / "survivors.toml"
MODULES = (
    "extract/list_walk",
    "pipeline/evidence",
    "pipeline/deletions",
    "pipeline/deletion_guard",
    "load/stager",
    "transform/classify",
    "load/commit",
    "extract/pages",
    "extract/client",
    "pipeline/rate_budget",
    "providers/wire",
    "schedule/daemon",
    "load/staging",
    "load/merge",
    "load/resume",
    "reprocess/reconcile",
    "pipeline/rate_budget_rows",
    "web/guard",
)
EACH = 22  # mutants of a module
FIRST = 30  # tests that are tried first
UNKNOWN = 10.0  # seconds that a test may take of which nobody knows
SECONDS = 150.0  # of tests that are tried on a mutant that survived those
EXACT = {  # written for this: each test is about one thing, and quick
    f"tests/integration/test_{name}.py"
    for name in (
        *("walks", "questions", "going_on", "taking_in", "reading"),
        *("merged_rows", "rewritten_rows"),
    )
}
PROCESSES = 2
WANTED, WANTED_OF_EACH = 95.0, 90.0  # percent

Place = tuple[str, str, str]


@dataclass(slots=True, kw_only=True)
class Work:
    """A mutant and the tests that are still to be tried on it; killer: who noticed it.

    exact: how many of the first ones were written for this.
    source: the module without the change.
    """

    mutant: Mutant
    source: bytes
    waiting: deque[str] = field(default_factory=deque)
    exact: int = 0
    turns: int = 0
    killer: str = ""


@dataclass(slots=True, kw_only=True)
class Score:
    """What came of the mutants of a module."""

    killed: list[Work] = field(default_factory=list)
    survived: list[Work] = field(default_factory=list)
    equivalent: list[Work] = field(default_factory=list)

    @property
    def percent(self) -> float:
        """Killed, of those that change what the program does."""
        counted = len(self.killed) + len(self.survived)
        return 100.0 * len(self.killed) / counted if counted else 100.0


def main() -> int:
    """Tries the sample and prints the score of each module."""
    asked = _arguments()
    chosen = [name for name in MODULES if not asked.only or name.split("/")[-1] in asked.only]
    killers: dict[str, str] = json.loads(KILLERS.read_text()) if KILLERS.exists() else {}
    explained = {
        (one["module"], one["function"], one["change"]): one
        for one in tomllib.loads(EXPLAINED.read_text()).get("survivor", [])
    }
    wanted = [one for name in chosen for one in _sample(name, asked.each, killers)]
    if not asked.only:
        killers = {"|".join(one.place): killers.get("|".join(one.place), "") for one in wanted}
    if asked.survivors:
        wanted = [one for one in wanted if not killers.get("|".join(one.place))]
    work = [Work(mutant=one, source=(ROOT / _file(one.module)).read_bytes()) for one in wanted]
    equivalent = {p for p, one in explained.items() if one["kind"] == "equivalent"}
    tried = [one for one in work if one.mutant.place not in equivalent]
    trying.load_libraries()
    with tempfile.TemporaryDirectory(prefix="etl-mutants-") as folder:
        copies = [trying.Copy(ROOT, Path(folder) / str(n)) for n in range(PROCESSES)]
        there = covering.tests(ROOT)
        for one in tried:
            killer = killers.get("|".join(one.mutant.place), "").removesuffix(ENDLESS)
            one.waiting = deque([killer] if killer in there else [])
        _raise_if_failing(copies[0], tried, {})
        for one in _tried([one for one in tried if one.waiting], {}, copies):
            killers["|".join(one.mutant.place)] = one.killer
        for folders in (covering.QUICK, covering.SLOW):
            left = [one for one in tried if not one.killer]
            if not asked.survivors and {one.mutant.place for one in left} <= explained.keys():
                break
            found = covering.read(ROOT, KEPT, [_file(name) for name in MODULES], folders)
            for one in left:
                _await_covering(one, found)
            _raise_if_failing(copies[0], left, found.seconds)
            for one in _tried(left, found.seconds, copies):
                killers["|".join(one.mutant.place)] = one.killer
                _keep(killers)
    _keep(killers)
    return _tell(chosen, work, explained)


def _keep(killers: Mapping[str, str]) -> None:
    KILLERS.write_text(
        json.dumps(dict(sorted(killers.items())), indent=0, ensure_ascii=False) + "\n"
    )


def _arguments() -> Any:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants")
    parser.add_argument("--only", nargs="*", default=[], help="modules")
    parser.add_argument("--each", type=int, default=EACH, help="mutants of a module")
    parser.add_argument("--survivors", action="store_true", help="what survived last time")
    return parser.parse_args()


def _file(module: str) -> str:
    return f"etl/{module}.py"


def _sample(module: str, size: int, known: Collection[str]) -> list[Mutant]:
    """Those that are known, as far as they are still there, and as many others as are missing."""
    source = (ROOT / _file(module)).read_bytes()
    loaded = importlib.import_module(f"etl.{module.replace('/', '.')}")

    def needed(call: str, name: str) -> bool:
        try:
            known = inspect.signature(getattr(loaded, call)).parameters.get(name)
        except (AttributeError, TypeError, ValueError):
            return False
        return known is not None and known.default is inspect.Parameter.empty

    found = sorted(
        mutants_of(module, source, needed),
        key=lambda one: ("|".join(one.place) not in known, one.order),
    )
    return sorted(found[:size], key=lambda one: one.start)


def _await_covering(work: Work, found: Covering) -> None:
    """The tests that execute its lines: one for each way through the module, then the others."""
    mutant, file = work.mutant, _file(work.mutant.module)
    lines: Sequence[int] = mutant.lines
    if mutant.cached:  # executed once, for whoever came first
        lines = list(found.lines.get(file, {}))
    tests = found.of(file, lines)
    alike: dict[frozenset[int], list[str]] = defaultdict(list)
    for test in sorted(tests, key=lambda one: (found.seconds[one], one)):
        alike[found.ways[file][test]].append(test)
    groups = sorted(alike.values(), key=lambda some: found.seconds[some[0]])
    order = [one for turn in zip_longest(*groups) for one in turn if one is not None]
    exact = [one for some in groups for one in some if one.partition("::")[0] in EXACT]
    work.waiting = deque(dict.fromkeys([*exact, *order]))
    work.exact, work.turns = len(exact), 0


def _chunk(work: Work, seconds: Mapping[str, float]) -> dict[str, float]:
    """The next tests to try; none when it was tried enough."""
    work.turns += 1
    chosen, left = [], SECONDS
    if work.turns == 1:
        chosen = list(islice(work.waiting, max(FIRST, work.exact)))
    for test in work.waiting if work.turns == 2 else ():
        left -= seconds[test]
        if left < 0:
            break
        chosen.append(test)
    for _ in chosen:
        work.waiting.popleft()
    return {test: seconds.get(test, UNKNOWN) for test in chosen}


def _tried(
    work: Sequence[Work], seconds: Mapping[str, float], copies: Sequence[trying.Copy]
) -> Iterator[Work]:
    """Each of them, when it is over; as many at a time as there are copies."""
    waiting, free = deque(work), list(copies)
    running: dict[int, tuple[Work, trying.Copy]] = {}
    done = 0
    while waiting or running:
        over: list[Work] = []
        while waiting and free:
            one = waiting.popleft()
            chunk = _chunk(one, seconds)
            if not chunk:
                over.append(one)
                continue
            copy = free.pop()
            copy.write(_file(one.mutant.module), one.mutant.applied(one.source))
            running[trying.start(copy, chunk)] = one, copy
        if running:
            ended, code = trying.wait_for_one(list(running))
            one, copy = running.pop(ended)
            trial = trying.outcome(copy, code)
            copy.write(_file(one.mutant.module), one.source)
            free.append(copy)
            one.killer = trial.killer
            if trial.passed:
                waiting.appendleft(one)
            else:
                over.append(one)
        for one in over:
            done += 1
            _note(one, done, len(work))
            yield one


def _raise_if_failing(
    copy: trying.Copy, work: Sequence[Work], seconds: Mapping[str, float]
) -> None:
    """Tests that fail without a change would kill everything."""
    tests = {one.waiting[0] for one in work if one.waiting}
    process = trying.start(copy, {test: seconds.get(test, UNKNOWN) for test in sorted(tests)})
    trial = trying.outcome(copy, trying.wait_for_one([process])[1])
    if not trial.passed:
        raise SystemExit(f"{trial.killer} fails as it is:\n{(copy.folder / 'log').read_text()}")


def _note(work: Work, done: int, of: int) -> None:
    one = work.mutant
    said = work.killer or "SURVIVED"
    print(
        f"{done}/{of} {one.module}:{one.lines[0]} {one.function}: {one.change}: {said}", flush=True
    )


def _tell(
    modules: Sequence[str], work: Sequence[Work], explained: Mapping[Place, Mapping[str, str]]
) -> int:
    scores: dict[str, Score] = {name: Score() for name in modules}
    unexplained = []
    for one in work:
        score, reason = scores[one.mutant.module], explained.get(one.mutant.place)
        if one.killer:
            score.killed.append(one)
        elif reason is not None and reason["kind"] == "equivalent":
            score.equivalent.append(one)
        else:
            score.survived.append(one)
            unexplained += [one] if reason is None else []
    whole = Score()
    print(
        f"\n{'module':<14}{'mutants':>8}{'killed':>8}{'survived':>10}{'equivalent':>12}{'score':>9}"
    )
    for name, score in [*scores.items(), ("all", whole)]:
        counts = [len(score.killed), len(score.survived), len(score.equivalent)]
        print(
            f"{name:<14}{sum(counts):>8}{counts[0]:>8}{counts[1]:>10}{counts[2]:>12}"
            f"{score.percent:>7.1f} %"
        )
        if score is whole:
            break
        whole.killed += score.killed
        whole.survived += score.survived
        whole.equivalent += score.equivalent
    for one in unexplained:
        mutant = one.mutant
        print(f"\n[[survivor]]  # line {mutant.lines[0]}")
        print(f'module = "{mutant.module}"')
        print(f'function = "{mutant.function}"\nchange = {json.dumps(mutant.change)}')
    low = [name for name, score in scores.items() if score.percent < WANTED_OF_EACH]
    return int(bool(unexplained or low or whole.percent < WANTED))


if __name__ == "__main__":
    sys.exit(main())
