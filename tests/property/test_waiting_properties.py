"""What holds for every wait."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from etl.extract.retry import (
    DEFAULT_PAUSE,
    MAX_BACKOFF_SECONDS,
    Failure,
    asked_pause,
    pause_after,
    wait_before_retry,
)

FEW = settings(max_examples=150, deadline=None)
NOW = 1_780_000_000.0
WORDS = st.sampled_from(
    ["Mon,", "01", "Jan", "2024", "00:00:00", "GMT", "+0000", "+" + "9" * 20, "9" * 20, "0", "-1"]
)
VALUES = st.one_of(
    st.text(max_size=12),
    st.integers().map(str),
    st.floats().map(str),
    st.integers(int(NOW) - 1000, int(NOW) + 1000).map(lambda seconds: str(seconds * 1000)),
    st.lists(WORDS, max_size=7).map(" ".join),
)
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "retry-after": VALUES,
        "x-ratelimit-reset": VALUES,
        "x-ratelimit-auth-token-reset": VALUES,
        "x-ratelimit-global-remaining": st.just("0") | VALUES,
        "x-ratelimit-route-remaining": st.just("0") | VALUES,
        "x-ratelimit-auth-token-remaining": st.just("0") | VALUES,
    },
)
STATUSES = st.none() | st.integers(100, 599)
JITTERS = st.floats(0, 1, exclude_max=True)


def waits(headers, status, attempt, jitter):
    failure = Failure(reason="x", status=status, headers=headers)
    return wait_before_retry(failure, attempt, now=NOW, jitter=jitter)


@FEW
@given(HEADERS, STATUSES, st.integers(1, 10**6), JITTERS)
def test_a_wait_is_none_or_finite_and_not_negative(headers, status, attempt, jitter):
    wait = waits(headers, status, attempt, jitter)
    assert wait is None or (math.isfinite(wait) and wait >= 0)


@FEW
@given(HEADERS, st.integers(1, 10**6), JITTERS)
def test_a_429_waits_a_second_or_more(headers, attempt, jitter):
    wait = waits(headers, 429, attempt, jitter)
    assert wait is not None
    assert wait >= 1


@FEW
@given(HEADERS, st.sampled_from([429, 503]), JITTERS)
def test_a_wait_is_not_shorter_than_what_is_asked(headers, status, jitter):
    wait = waits(headers, status, 1, jitter)
    assert wait is not None
    assert wait >= (asked_pause(headers, now=NOW) or 0)


@FEW
@given(st.none() | st.integers(500, 504).filter(lambda status: status != 501), JITTERS)
def test_a_wait_that_nobody_asked_for_is_bounded(status, jitter):
    wait = waits({}, status, 10**6, jitter)
    assert wait is not None
    assert wait <= MAX_BACKOFF_SECONDS


@FEW
@given(st.integers(1, 100), JITTERS)
def test_a_429_that_asks_for_nothing_is_bounded_by_its_attempts(attempt, jitter):
    wait = waits({}, 429, attempt, jitter)
    assert wait is not None
    assert wait <= 1.11 * DEFAULT_PAUSE * attempt


@FEW
@given(HEADERS)
def test_a_pause_is_finite_and_not_negative(headers):
    pause = pause_after(headers, now=NOW)
    assert math.isfinite(pause)
    assert pause >= 0
