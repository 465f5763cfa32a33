"""When to ask again."""

import math
from datetime import UTC, datetime, timedelta
from email.utils import formatdate

import pytest

from etl.extract.retry import (
    MAX_BACKOFF_SECONDS,
    RETRYABLE,
    Failure,
    asked_pause,
    next_try,
    pause_after,
    wait_before_retry,
)
from tests.unit.builders import NOW

MINUTE_AHEAD = str(int((NOW + 60) * 1000))
GARBAGE = ["soon", "", "nan", "inf", "1e999", "Mon, 01 Jan 2024 00:00:00 +99999999999999999999"]


def wait(status=429, attempt=1, jitter=0.0, **headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    failure = Failure(reason="x", status=status, headers=named)
    return wait_before_retry(failure, attempt, now=NOW, jitter=jitter)


def test_retry_after_in_seconds_is_waited():
    assert wait(retry_after="30") == 30.0


def test_retry_after_may_have_a_fraction():
    assert wait(retry_after="2.5") == 2.5


def test_retry_after_as_a_date_is_waited():
    assert wait(retry_after=formatdate(NOW + 30, usegmt=True)) == pytest.approx(30)


def test_a_date_without_a_zone_is_utc():
    assert wait(retry_after=formatdate(NOW + 30)[:-6]) == pytest.approx(30)


@pytest.mark.parametrize("text", ["0", "-5", formatdate(NOW - 3600, usegmt=True)])
def test_a_pause_that_is_over_still_waits_a_second(text):
    assert wait(retry_after=text) == 1.0


def test_a_day_is_asked_for_as_a_day():
    assert wait(retry_after="86400") == 86400.0


@pytest.mark.parametrize("text", ["31536000", formatdate(NOW + 31_536_000, usegmt=True)])
def test_a_year_is_asked_again_after_a_day(text):
    assert wait(retry_after=text) == 86400.0


def test_a_reset_in_a_year_is_asked_again_after_a_day():
    headers = {"x-ratelimit-reset": str((NOW + 31_536_000) * 1000)}
    assert asked_pause(headers, now=NOW) == 86400.0


def test_jitter_comes_on_top_of_what_is_asked():
    assert wait(retry_after="30", jitter=0.5) == 30.5


@pytest.mark.parametrize("text", GARBAGE)
def test_a_retry_after_that_says_nothing_waits_the_default(text):
    assert wait(retry_after=text) == 10.0


@pytest.mark.parametrize("text", [*GARBAGE, "Mon, 01 Jan 99999999999999999999 00:00:00 GMT"])
def test_a_reset_that_says_nothing_waits_the_default(text):
    assert wait(x_ratelimit_reset=text) == 10.0


def test_the_default_grows_with_the_attempts():
    assert wait(attempt=3) == 30.0


def test_a_reset_is_epoch_milliseconds():
    assert wait(x_ratelimit_reset=MINUTE_AHEAD) == pytest.approx(60)


def test_a_reset_in_the_past_waits_a_second():
    assert wait(x_ratelimit_reset=str(int((NOW - 60) * 1000))) == 1.0


def test_the_later_of_two_resets_counts():
    later = str(int((NOW + 90) * 1000))
    pause = wait(x_ratelimit_reset=MINUTE_AHEAD, x_ratelimit_auth_token_reset=later)
    assert pause == pytest.approx(90)


def test_retry_after_goes_before_the_resets():
    assert wait(retry_after="5", x_ratelimit_reset=MINUTE_AHEAD) == 5.0


def test_a_garbled_retry_after_leaves_the_reset():
    assert wait(retry_after="soon", x_ratelimit_reset=MINUTE_AHEAD) == pytest.approx(60)


def test_a_503_may_ask_for_a_pause_too():
    assert wait(status=503, retry_after="7") == 7.0


@pytest.mark.parametrize("status", sorted(RETRYABLE))
def test_a_passing_trouble_is_asked_again(status):
    assert wait(status=status) is not None


@pytest.mark.parametrize("status", [204, 301, 302, 400, 401, 403, 404, 405, 409, 410, 422, 501])
def test_another_status_is_not_asked_again(status):
    assert wait(status=status, retry_after="1") is None


def test_no_answer_at_all_is_asked_again():
    assert wait(status=None) is not None


def test_a_backoff_doubles():
    waits = [wait(status=500, attempt=attempt, jitter=1.0) for attempt in (1, 2, 3)]
    assert waits == [1.0, 2.0, 4.0]


@pytest.mark.parametrize("attempt", [7, 100, 10_000])
def test_a_backoff_has_an_end(attempt):
    assert wait(status=500, attempt=attempt, jitter=1.0) == MAX_BACKOFF_SECONDS


def test_nothing_asked_is_nothing():
    assert asked_pause({}, now=NOW) is None


def test_remaining_zero_pauses_until_the_reset():
    headers = {"x-ratelimit-global-remaining": "0", "x-ratelimit-reset": MINUTE_AHEAD}
    assert pause_after(headers, now=NOW) == pytest.approx(60)


def test_a_route_that_is_used_up_pauses_too():
    headers = {"x-ratelimit-route-remaining": " 0 ", "x-ratelimit-reset": MINUTE_AHEAD}
    assert pause_after(headers, now=NOW) == pytest.approx(60)


def test_a_token_that_is_used_up_has_its_own_reset():
    headers = {
        "x-ratelimit-auth-token-remaining": "0",
        "x-ratelimit-auth-token-reset": MINUTE_AHEAD,
        "x-ratelimit-reset": str(int((NOW + 600) * 1000)),
    }
    assert pause_after(headers, now=NOW) == pytest.approx(60)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-ratelimit-reset": MINUTE_AHEAD},
        {"x-ratelimit-global-remaining": "1", "x-ratelimit-reset": MINUTE_AHEAD},
        {"x-ratelimit-global-remaining": "0"},
        {"x-ratelimit-global-remaining": "0", "x-ratelimit-reset": "soon"},
        {"x-ratelimit-global-remaining": "0", "x-ratelimit-reset": "1"},
    ],
)
def test_without_an_empty_budget_and_a_reset_ahead_nothing_pauses(headers):
    assert pause_after(headers, now=NOW) == 0.0


@pytest.mark.parametrize("text", ["1e308", "9" * 400])
def test_an_absurd_reset_is_a_finite_wait_or_none(text):
    assert math.isfinite(wait(x_ratelimit_reset=text))


MOMENT = datetime(2026, 11, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize(
    ("exit_code", "failures", "rests"),
    [
        (0, 1, None),
        (5, 1, None),  # partial: the rest landed
        (3, 1, None),  # deletions held back: the rest landed
        (2, 1, None),
        (4, 1, None),
        (1, 1, MINUTE),
        (1, 4, 8 * MINUTE),
        (1, 5, None),  # given up until the next tick
        (75, 1, MINUTE),
        (75, 5, 16 * MINUTE),
        (75, 1000, 360 * MINUTE),
    ],
)
def test_a_run_is_tried_again_by_the_kind_of_its_end(exit_code, failures, rests):
    again = next_try(exit_code, failures, retry_at=None, now=MOMENT)
    assert again == (None if rests is None else MOMENT + rests)


def test_a_parked_run_is_tried_again_when_the_vendor_allows_it():
    allowed = MOMENT + 90 * MINUTE
    assert next_try(75, 3, retry_at=allowed, now=MOMENT) == allowed


@pytest.mark.parametrize(("left", "pause"), [("21", 0.0), ("20", 10.0), ("0", 10.0)])
def test_a_share_of_an_announced_limit_is_left_to_others(left: str, pause: float) -> None:
    headers = {
        "x-ratelimit-route-remaining": left,
        "x-ratelimit-route-limit": "40",
        "x-ratelimit-reset": "110000",
    }
    assert pause_after(headers, now=100.0, spared=0.5) == pause
