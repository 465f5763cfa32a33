"""The fault matrix: what each row is about, and the table of rows at the end of a session.

A test says which rows it holds: `@pytest.mark.row(7)`, `@pytest.mark.row(16, 17)`.
"""

from collections.abc import Generator, Iterator
from dataclasses import dataclass, field

import pytest

ROWS = {
    1: "delete under an offset walk",
    2: "insert under an offset walk",
    3: "delete and insert, equal total",
    4: "a list that never stands still",
    5: "total above what came",
    6: "no total at all",
    7: "the same page for ever",
    8: "next links in a circle",
    9: "next link to a foreign host",
    10: "odd forms of Statsig's nextPage",
    11: "page size capped in silence",
    12: "empty pages",
    13: "environments cut at 20 of 28",
    14: "a project goes away in the run",
    15: "layers not available (403)",
    16: "an empty list with 200",
    17: "a key that sees less",
    18: "a real deletion",
    19: "deleted, then created again",
    20: "key renamed, same id",
    21: "A, then B, then A again",
    22: "sets in another order",
    23: "cursor repeated or refused",
    24: "429, every form of Retry-After",
    25: "429 with X-Ratelimit-Reset",
    26: "limit announced beforehand",
    27: "outages and broken transport",
    28: "401 at once and in the middle",
    29: "400 and 422",
    30: "200 with a wrong body",
    31: "redirect to another host",
    32: "huge, packed and dripping bodies",
    33: "charset and byte order mark",
    34: "required field missing or wrong",
    35: "unknown field",
    36: "one value in several types",
    37: "impossible times",
    38: "awkward text and numbers",
    39: "one id twice in a page",
    40: "ids with reserved characters",
    41: "keys that almost collide",
    42: "secrets in records",
    43: "hostile text in names",
    44: "kill -9 anywhere",
    45: "two runs of one source",
    46: "SQLite locked, read-only, full",
    47: "Postgres goes away",
    48: "schema of another version",
    49: "two migrations at once",
    50: "upgrade from each revision",
    51: "SIGTERM and Ctrl-C",
    52: "clock, daylight, missed ticks",
    53: "history after random faults",
    54: "configuration in error",
    55: "a million layers",
    56: "an answer of another request",
    57: "identities that move in a run",
    58: "data read long before the commit",
    59: "clocks that jump",
}


@dataclass(slots=True)
class Tally:
    """What became of the tests of one row."""

    tests: int = 0
    outcomes: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    def verdict(self) -> str:
        """One word, or two, for the table."""
        if not self.tests:
            return "no test"
        if "failed" in self.outcomes.values():
            return "FAILED"
        return "passed" if "passed" in self.outcomes.values() else "not run"


TALLIES = pytest.StashKey[dict[int, Tally]]()


def pytest_itemcollected(item: pytest.Item) -> None:
    for tally in _of(item):
        tally.tests += 1


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    for tally in _of(item):
        tally.seconds += report.duration
        done = report.failed or (report.when == "call" and report.passed)
        if done and tally.outcomes.get(item.nodeid) != "failed":
            tally.outcomes[item.nodeid] = report.outcome
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    tallies = _tallies(terminalreporter.config)
    if not any(tally.outcomes for tally in tallies.values()):
        return
    terminalreporter.section("fault matrix")
    for line in _table(tallies):
        terminalreporter.write_line(line)


def _table(tallies: dict[int, Tally]) -> Iterator[str]:
    yield f"{'row':>3}  {'fault':34}{'result':9}{'run':>5}{'of':>5}{'seconds':>9}"
    for number, name in ROWS.items():
        tally = tallies[number]
        line = f"{number:>3}  {name:34}{tally.verdict():9}"
        if tally.tests:
            line += f"{len(tally.outcomes):>5}{tally.tests:>5}{tally.seconds:>9.1f}"
        yield line


def _tallies(config: pytest.Config) -> dict[int, Tally]:
    return config.stash.setdefault(TALLIES, {number: Tally() for number in ROWS})


def _of(item: pytest.Item) -> Iterator[Tally]:
    tallies = _tallies(item.config)
    for number in sorted({number for mark in item.iter_markers("row") for number in mark.args}):
        if number not in tallies:
            raise pytest.UsageError(f"{item.nodeid}: the fault matrix has no row {number!r}")
        yield tallies[number]
