"""Work in processes side by side: its results, its losses, and how it is stopped."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.support.internals.running import Lost, Tell, processors, side_by_side
from tests.support.waiting import gone, until

FOR_EVER = 86_400


def done(
    names: Sequence[str], work: Callable[[str, Tell], Any], at_once: int = 2
) -> tuple[dict[str, Any], list[str], list[tuple[str, Any]]]:
    """The results, what was begun, and what was told on the way."""
    begun: list[str] = []
    told: list[tuple[str, Any]] = []
    results = side_by_side(
        names,
        work,
        at_once=at_once,
        begin=begun.append,
        told=lambda name, what: told.append((name, what)),
    )
    return dict(results), begun, told


def counting(name: str, tell: Tell) -> tuple[str, int]:
    for number in range(3):
        tell(number)
    return name.upper(), os.getpid()


@pytest.mark.parametrize("at_once", [1, 2, 5])
def test_every_name_is_done_once_and_tells_what_it_does_in_its_order(at_once: int) -> None:
    results, begun, told = done(["a", "b", "c"], counting, at_once)
    assert {name: result[0] for name, result in results.items()} == {"a": "A", "b": "B", "c": "C"}
    assert begun == ["a", "b", "c"]
    for name in begun:
        assert [what for of, what in told if of == name] == [0, 1, 2]


def test_one_at_once_is_done_here_and_several_are_not() -> None:
    here = {os.getpid()}
    assert {pid for _, pid in done(["a", "b"], counting, 1)[0].values()} == here
    assert {pid for _, pid in done(["a"], counting, 2)[0].values()} == here
    apart = {pid for _, pid in done(["a", "b"], counting, 2)[0].values()}
    assert (len(apart), apart & here) == (2, set())


def test_two_at_once_are_two_and_no_more(tmp_path: Path) -> None:
    begun, active = tmp_path / "begun", tmp_path / "active"

    def work(name: str, _tell: Tell) -> int:
        for folder in (active, begun):
            (folder / name).touch()
        if name in "ab":  # both are at work before one ends
            assert until(lambda: {"a", "b"} <= {one.name for one in begun.iterdir()})
        found = len(list(active.iterdir()))
        (active / name).unlink()
        return found

    begun.mkdir()
    active.mkdir()
    results, _, _ = done(["a", "b", "c", "d", "e"], work, 2)
    assert (max(results["a"], results["b"]), max(results.values())) == (2, 2)


def test_a_result_larger_than_a_pipe_comes_whole() -> None:
    results, _, _ = done(["a", "b"], lambda name, _tell: name * 1_000_000)
    assert {name: len(result) for name, result in results.items()} == {"a": 10**6, "b": 10**6}


def test_a_process_that_is_killed_is_told_and_the_others_end() -> None:
    def work(name: str, _tell: Tell) -> str:
        if name == "b":
            os.kill(os.getpid(), signal.SIGKILL)
        return name

    assert done(["a", "b", "c"], work)[0] == {"a": "a", "b": Lost(-signal.SIGKILL), "c": "c"}


def test_an_error_nobody_expected_is_a_loss_with_its_traceback(
    capfd: pytest.CaptureFixture[str],
) -> None:
    def work(name: str, _tell: Tell) -> float:
        return 1 / len(name.strip("b"))

    assert done(["a", "b"], work)[0] == {"a": 1.0, "b": Lost(1)}
    assert "ZeroDivisionError" in capfd.readouterr().err


def test_who_stops_it_ends_all_in_order_however_often_they_are_told(tmp_path: Path) -> None:
    def work(name: str, tell: Tell) -> None:
        try:
            tell("at work")
            time.sleep(FOR_EVER)
        except KeyboardInterrupt:
            os.kill(os.getpid(), signal.SIGTERM)  # a supervisor tells every process, and again
            os.kill(os.getpid(), signal.SIGINT)
            (tmp_path / name).write_text("tidied up")
            raise

    at_work: list[str] = []

    def told(name: str, _what: str) -> None:
        at_work.append(name)
        if len(at_work) == 2:
            raise KeyboardInterrupt

    with (
        pytest.raises(KeyboardInterrupt),
        closing(
            side_by_side(["a", "b", "c"], work, at_once=2, begin=lambda _: None, told=told)
        ) as results,
    ):
        list(results)
    assert sorted(at_work) == ["a", "b"]
    assert {one.name: one.read_text() for one in tmp_path.iterdir()} == {
        "a": "tidied up",
        "b": "tidied up",
    }


def test_a_signal_that_comes_when_the_work_is_done_takes_nothing_back(
    capfd: pytest.CaptureFixture[str],
) -> None:
    class Slow:
        """A result that is told while a supervisor stops everything."""

        def __reduce__(self) -> tuple[type, tuple[()]]:
            os.kill(os.getpid(), signal.SIGTERM)
            return Done, ()

    results, _, _ = done(["a", "b"], lambda _name, _tell: Slow())
    assert [type(result) for result in results.values()] == [Done, Done]
    assert capfd.readouterr().err == ""


class Done:
    """What comes of it."""


PARENT = """
import os, sys, time
from pathlib import Path
from etl.schedule.processes import side_by_side

def work(name, tell):
    (Path(sys.argv[1]) / name).write_text(str(os.getpid()))
    time.sleep(600)

list(side_by_side(["a", "b"], work, at_once=2, begin=print, told=print))
"""


def test_children_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    def pids() -> list[int]:
        return [int(text) for one in tmp_path.iterdir() if (text := one.read_text())]

    with subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path)]) as parent:
        assert until(lambda: len(pids()) == 2)
        parent.kill()
    assert until(lambda: all(map(gone, pids())))


def test_there_is_at_least_one_processor() -> None:
    assert 1 <= processors() <= (os.cpu_count() or 1)
