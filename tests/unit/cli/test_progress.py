"""On a terminal people see how far a run is, and how long it still takes."""

import io
import re
from collections.abc import Sequence

import pytest
from rich.console import Console

from etl.cli.progress import all_bars, bars, pace
from etl.pipeline.crawl import Progress


def step(requests: int, waited: float = 0.0, *, done: int = 0) -> Progress:
    return Progress(
        stream="layers",
        records=100,
        pages=1,
        partitions_done=done,
        partitions=1,
        requests=requests,
        waited=waited,
    )


@pytest.mark.parametrize(
    ("asked", "expected", "elapsed", "told"),
    [
        (step(1), 0, 5.0, "1 request"),
        (step(10), 40, 20.0, "10 of about 40 requests · 1 min left"),
        (step(10, waited=3.0), 20, 30.0, "10 of about 20 requests · 30 s left · waited 3.0 s"),
        (step(10), 20, 11.2, "10 of about 20 requests · 15 s left"),
        (step(10), 40, 37.1, "10 of about 40 requests · 1 min 55 s left"),
        (step(10), 11, 1.0, "10 of about 11 requests"),
        (step(40), 40, 20.0, "40 requests"),
        (step(50), 40, 20.0, "50 requests"),
    ],
)
def test_the_pace_tells_what_is_done_and_what_is_left(
    asked: Progress, expected: int, elapsed: float, told: str
) -> None:
    assert pace(asked, expected, elapsed) == told


def drawn(steps: Sequence[Progress], expected: int, *, terminal: bool = True) -> str:
    """What is on the screen in the course of a run whose requests take a second each."""
    seen = io.StringIO()
    console = Console(file=seen, force_terminal=terminal, width=120, color_system=None)
    seconds = iter(range(100))
    with bars(
        "ld", expected, quiet=False, console=console, clock=lambda: float(next(seconds))
    ) as advance:
        for one in steps:
            advance(one)
    return seen.getvalue()


def test_the_whole_run_has_a_bar_where_it_is_known_how_much_is_expected() -> None:
    assert "1 of about 2 requests · 5.0 s left" in drawn([step(1)], 2)
    assert "20 requests" in drawn([step(20)], 10)


def test_the_time_left_agrees_with_what_the_rate_limits_were_said_to_ask_for() -> None:
    assert pace(step(90), 150, 2.0, 112.0) == "90 of about 150 requests · 1 min 50 s left"
    assert pace(step(150), 150, 2.0, 112.0) == "150 requests"


def test_bars_are_seen_on_a_terminal_of_80_columns() -> None:
    seen = io.StringIO()
    console = Console(file=seen, force_terminal=True, width=80, color_system=None)
    name = "launchdarkly-of-the-company"
    clock = iter(range(0, 900, 80)).__next__
    with bars(name, 1500, 900.0, quiet=False, console=console, clock=clock) as go:
        go(step(1200, waited=63.0))
    lines = re.findall(r"[^\r\n]*requests[^\r\n]*", seen.getvalue())
    assert lines
    for line in lines:
        shown = re.sub(r"\x1b\[[^a-zA-Z]*[a-zA-Z]", "", line)
        assert ("━" * 6 in shown, " left" in shown) == (True, True)
        assert len(shown) <= 80


def test_every_stream_has_a_bar_of_its_own() -> None:
    assert "ld layers" in drawn([step(1), step(2, done=1)], 2)
    assert "200 records · 2 pages" in drawn([step(1), step(2, done=1)], 0)


def test_nothing_is_drawn_where_nobody_watches() -> None:
    assert drawn([step(1)], 2, terminal=False) == ""


def test_what_is_printed_between_stays_and_bars_of_others_come_back() -> None:
    """rich deletes as many lines as it drew; the report of a source is not among them."""
    seen = io.StringIO()
    console = Console(file=seen, force_terminal=True, width=120, color_system=None)
    with all_bars(quiet=False, console=console, clock=map(float, range(100)).__next__) as drawn:
        for name in ("ld", "st"):
            drawn.begin(name, 0)
            drawn.advance(name, step(1))
        with drawn.ended("ld"):
            before = seen.tell()
            seen.write("ld: ok\n  layers 100 records\n")
        drawn.advance("st", step(2))
    after = seen.getvalue()[before:]
    assert "st layers" in after
    assert "ld layers" not in after
    shown = lines_of(seen.getvalue())
    assert [line for line in shown if line.strip()] == ["ld: ok", "  layers 100 records"]


def lines_of(written: str) -> list[str]:
    """What a terminal shows in the end: cursor up, begin of line, delete line, and no more."""
    lines, row = [""], 0
    for part in re.findall(r"\x1b\[\??\d*[a-zA-Z]|\r|\n|[^\x1b\r\n]+", written):
        if part == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif part.endswith("A") and part.startswith("\x1b"):
            row -= int(part[2:-1] or 1)
        elif part == "\x1b[2K":
            lines[row] = ""
        elif not part.startswith(("\x1b", "\r")):
            lines[row] = part
    return lines
