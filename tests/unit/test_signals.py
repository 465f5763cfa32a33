"""Signals to stop are heard where a run waits, and nowhere else."""

import signal
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from etl.signals import PIECE, STOPS, hear, hearing, to_its_end, undisturbed, wait_in_pieces
from tests.support.interrupting import heeding

done: list[str] = []


@pytest.fixture(autouse=True)
def both_heeded() -> Iterator[None]:
    done.clear()
    with heeding(signal.SIGINT), heeding(signal.SIGTERM):
        yield


def step(name: str) -> None:
    done.append(name)


def told(number: int = signal.SIGINT) -> None:
    signal.raise_signal(number)


@pytest.mark.parametrize("number", STOPS)
def test_what_is_at_work_is_done_first(number: int) -> None:
    @undisturbed
    def work() -> None:
        told(number)
        step("after the signal")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["after the signal"]


def test_without_a_signal_nothing_is_different() -> None:
    before = [signal.getsignal(number) for number in STOPS]
    assert undisturbed(lambda a, b: hearing(divmod, a, b))(17, b=5) == (3, 2)
    with pytest.raises(ZeroDivisionError):
        undisturbed(lambda: hearing(divmod, 1, 0))()
    assert [signal.getsignal(number) for number in STOPS] == before
    with pytest.raises(KeyboardInterrupt):
        told()


def test_a_wait_is_broken_off_and_what_tidies_up_after_it_is_not() -> None:
    def wait() -> None:
        told()
        step("never")

    @undisturbed
    def work() -> None:
        try:
            hearing(wait)
        finally:
            told(signal.SIGTERM)
            step("tidied up")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["tidied up"]


def test_one_that_came_before_a_wait_does_not_let_it_begin() -> None:
    @undisturbed
    def work() -> None:
        told()
        step("before")
        hearing(step, "never")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["before"]


def test_what_was_heard_is_not_heard_again() -> None:
    @undisturbed
    def work() -> str:
        for _ in range(2):
            told()
        with pytest.raises(KeyboardInterrupt):
            hearing(step, "never")
        return hearing(lambda: "heard once")

    assert work() == "heard once"
    assert done == []


def test_work_inside_of_work_waits_for_the_end_of_all() -> None:
    @undisturbed
    def inner() -> None:
        told()

    @undisturbed
    def outer() -> None:
        inner()
        step("after the inner one")

    with pytest.raises(KeyboardInterrupt):
        outer()
    assert done == ["after the inner one"]


def test_work_inside_of_a_wait_is_not_disturbed_either() -> None:
    @undisturbed
    def inner() -> None:
        told()
        step("inner one")

    def wait() -> None:
        inner()
        step("never")

    with pytest.raises(KeyboardInterrupt):
        undisturbed(hearing)(wait)
    assert done == ["inner one"]


def test_a_handler_that_puts_another_in_its_place_is_not_undone() -> None:
    def first_only(number: int, _frame: object) -> None:
        signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, first_only)
    with pytest.raises(KeyboardInterrupt):
        undisturbed(lambda: hearing(told, signal.SIGTERM))()
    told(signal.SIGTERM)  # would raise, or end the process
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN


@pytest.mark.parametrize("action", [signal.SIG_IGN, signal.SIG_DFL])
def test_what_python_does_not_handle_stays_as_it_is(action: signal.Handlers) -> None:
    signal.signal(signal.SIGTERM, action)
    assert undisturbed(lambda: signal.getsignal(signal.SIGTERM))() is action
    assert signal.getsignal(signal.SIGTERM) is action


@pytest.mark.parametrize("way", [undisturbed, lambda work: lambda: hearing(work)])
def test_other_threads_do_not_change_what_the_main_thread_hears(
    way: Callable[[Callable[[], None]], Callable[[], None]],
) -> None:
    begun, over = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        over.wait(60)

    def here() -> None:
        told()
        step("done")

    thread = threading.Thread(target=way(work))
    thread.start()
    assert begun.wait(60)
    try:
        with pytest.raises(KeyboardInterrupt):
            told()
        with pytest.raises(KeyboardInterrupt):
            undisturbed(here)()
    finally:
        over.set()
        thread.join()
    assert done == ["done"]


def test_what_goes_to_its_end_is_not_broken_off_in_its_waits() -> None:
    def wait() -> None:
        told()
        step("waited")

    @undisturbed
    def work() -> None:
        try:
            hearing(told)
        finally:
            to_its_end(lambda: hearing(wait))()
            hearing(step, "never")

    with pytest.raises(KeyboardInterrupt):
        work()
    with pytest.raises(KeyboardInterrupt):
        to_its_end(wait)()
    assert done == ["waited", "waited"]


def test_a_long_wait_hears_a_signal_between_its_pieces() -> None:
    event = threading.Event()
    pieces: list[float | None] = []

    def wait(seconds: float | None) -> bool:
        pieces.append(seconds)
        told()
        return event.wait(seconds)

    with pytest.raises(KeyboardInterrupt):
        undisturbed(lambda: wait_in_pieces(wait, 3600.0))()
    assert pieces == [PIECE]


@pytest.mark.parametrize("seconds", [0.0, 0.25, None])
def test_a_wait_in_pieces_lasts_as_long_as_it_is_asked_to(seconds: float | None) -> None:
    left = iter([False] * 4 + [True])
    pieces: list[float | None] = []

    def wait(piece: float | None) -> bool:
        pieces.append(piece)
        return next(left) if seconds is None else threading.Event().wait(piece)

    began = time.monotonic()
    undisturbed(lambda: wait_in_pieces(wait, seconds))()
    assert all(piece is not None and 0 <= piece <= PIECE for piece in pieces)
    assert (len(pieces) == 5) if seconds is None else time.monotonic() - began >= seconds


def test_a_wait_that_nothing_may_break_off_is_one_piece() -> None:
    pieces: list[float | None] = []
    wait_in_pieces(pieces.append, 5.0)
    to_its_end(lambda: wait_in_pieces(pieces.append, 6.0))()
    thread = threading.Thread(target=undisturbed(wait_in_pieces), args=(pieces.append,))
    thread.start()
    thread.join()
    assert pieces == [5.0, 6.0, None]


def test_a_signal_may_be_heard_where_nothing_is_waited_for() -> None:
    @undisturbed
    def work() -> None:
        hear()
        told()
        to_its_end(hear)()
        step("not yet")
        hear()
        step("never")

    with pytest.raises(KeyboardInterrupt):
        work()
    hear()
    assert done == ["not yet"]


def test_every_signal_that_came_is_answered_in_its_order() -> None:
    heard: list[int] = []
    for number in STOPS:
        signal.signal(number, lambda number, _frame: heard.append(number))

    @undisturbed
    def work() -> None:
        told(signal.SIGTERM)
        told(signal.SIGINT)
        step("not yet" if not heard else "too early")

    work()
    assert (done, heard) == (["not yet"], [signal.SIGTERM, signal.SIGINT])


def test_a_signal_is_heard_in_work_that_is_nested_in_a_wait() -> None:
    @undisturbed
    def inner() -> None:
        told()
        hear()
        step("never")

    with pytest.raises(KeyboardInterrupt):
        undisturbed(hearing)(inner)
    assert done == []


def test_a_second_signal_does_not_disturb_what_the_first_one_broke_off() -> None:
    def wait() -> None:
        try:
            told()
        finally:
            told(signal.SIGTERM)
            step("closed")

    with pytest.raises(KeyboardInterrupt):
        undisturbed(hearing)(wait)
    assert done == ["closed"]
