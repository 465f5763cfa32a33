"""Rate limits as windows: when the next requests may be sent."""

import pytest

from etl.extract.rate_limit import (
    MARGIN,
    Window,
    last_of,
    our_share,
    slots,
    still_counting,
    window_of,
)


@pytest.mark.parametrize(
    ("text", "window"),
    [
        ("100/10s", Window(100, 10)),
        ("900/15min", Window(900, 900)),
        ("120/min", Window(120, 60)),
        (" 1 / 0.5 s ", Window(1, 0.5)),
        ("5/2h", Window(5, 7200)),
    ],
)
def test_a_window_is_read(text, window):
    assert window_of(text) == window


@pytest.mark.parametrize("text", ["", "100", "100/10", "0/10s", "1/0s", "-1/10s", "100 per 10s"])
def test_what_is_no_window_is_refused_with_an_example(text):
    with pytest.raises(ValueError, match="100/10s"):
        window_of(text)


def test_an_empty_window_gives_its_slots_at_once():
    assert slots([], [Window(3, 10)], count=3, now=50.0) == [50.0, 50.0, 50.0]


def test_the_slot_after_a_full_window_comes_when_its_first_grant_leaves_it():
    assert slots([40.0, 45.0], [Window(2, 10)], count=1, now=50.0) == [
        pytest.approx(40.0 + 10 * MARGIN)
    ]


def test_the_narrowest_window_decides():
    grants = [50.0] * 5
    windows = [Window(5, 10), Window(5, 100)]
    assert slots(grants, windows, count=1, now=51.0) == [pytest.approx(50 + 100 * MARGIN)]


def test_nothing_is_granted_before_the_end_of_a_refusal():
    assert slots([], [Window(5, 10)], count=1, now=50.0, not_before=80.0) == [80.0]


def test_a_share_is_left_to_others():
    assert our_share([Window(100, 10), Window(900, 900)], 10) == (Window(90, 10), Window(810, 900))


def test_a_share_is_never_nothing():
    assert our_share([Window(1, 10)], 90) == (Window(1, 10),)


def test_grants_that_left_every_window_are_forgotten():
    assert still_counting([1.0, 95.0], [Window(5, 10)], now=100.0) == [95.0]


def test_grants_of_a_clock_that_ran_far_ahead_are_forgotten():
    assert still_counting([99.0, 9999.0], [Window(5, 10)], now=100.0) == [99.0]


def test_the_forecast_is_the_last_slot():
    assert last_of([], [Window(10, 10)], requests=25, now=0.0) == pytest.approx(2 * 10 * MARGIN)
