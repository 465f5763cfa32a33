"""When to ask again, as pure decisions: what came back and the time -> seconds to wait, or None.

Vendors differ in how they ask for a pause, so every documented form is read in one place:
Retry-After in seconds or as a date (RFC 9110), LaunchDarkly's X-Ratelimit-Reset family in epoch
milliseconds. The same for a whole run: when a source is tried again that did not come to its end.
Nothing here sleeps.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from etl.errors import OK, PARTIAL, TRY_AGAIN, AccessDenied, ConfigError, UnsafeChange
from etl.json_text import http_date

NEVER_PASSES = frozenset({501, 505})  # not implemented, another HTTP version
RETRYABLE = frozenset({408, 425, 429, *range(500, 600)}) - NEVER_PASSES
DEFAULT_PAUSE = 10.0  # LaunchDarkly's window; sent without any header by all three vendors
FIRST_BACKOFF = 0.5
MAX_BACKOFF_SECONDS = 30.0
JITTER_SHARE = 0.1
LEAST_PAUSE = 1.0
FIRST_REST = timedelta(minutes=1)  # of a source whose run failed
MAX_REST = timedelta(hours=6)
MAX_FAILURES = 5  # in a row, until a job is given up; the next tick of its schedule is a new one
COMMITTED_EXIT_CODES = (OK, PARTIAL, UnsafeChange.exit_code)
FOR_PEOPLE = (ConfigError.exit_code, AccessDenied.exit_code)
MAX_RETRY_AFTER_SECONDS = 86_400.0  # a refusal that asks for more is asked again after a day
ABSURD_RETRY_AFTER_SECONDS = (
    366 * 86_400.0
)  # nobody means a longer wait: it is asked again after an hour
AFTER_ABSURD = 3600.0
MAX_ANNOUNCED_SECONDS = 60.0  # beyond the vendor's windows; a refusal would say it again

_RESETS = ("x-ratelimit-reset", "x-ratelimit-auth-token-reset")
_REMAINING = (
    ("x-ratelimit-global-remaining", "x-ratelimit-global-limit", "x-ratelimit-reset"),
    ("x-ratelimit-route-remaining", "x-ratelimit-route-limit", "x-ratelimit-reset"),
    (
        "x-ratelimit-auth-token-remaining",
        "x-ratelimit-auth-token-limit",
        "x-ratelimit-auth-token-reset",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A request that brought no usable answer; status None when no answer came at all.

    remedy: what a person can do about it. lasting: no retry can help. broken: an answer came, and
    its body was not what its headers promise.
    """

    reason: str
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    remedy: str = ""
    lasting: bool = False
    broken: bool = False


def wait_before_retry(failure: Failure, attempt: int, *, now: float, jitter: float) -> float | None:
    """Seconds to wait before try number `attempt` + 1; None when another try makes no sense.

    now is epoch seconds, jitter a random number in [0, 1).
    """
    if failure.lasting or not (failure.status is None or is_retryable(failure.status)):
        return None
    asked = asked_pause(failure.headers, now=now)
    if asked is not None or failure.status == 429:
        pause = max(asked if asked is not None else DEFAULT_PAUSE * attempt, LEAST_PAUSE)
        return pause * (1 + JITTER_SHARE * jitter) if asked is None else pause + jitter
    return jitter * min(MAX_BACKOFF_SECONDS, FIRST_BACKOFF * 2.0 ** min(attempt, 16))


def is_retryable(status: int) -> bool:
    """Whether a retry can help; a status above 599 is read as a 5xx (RFC 9110, 15)."""
    return status in RETRYABLE or status >= 600


def is_asked(failure: Failure, *, now: float) -> bool:
    """Whether the wait before a retry is what the provider asks for, and not our own backoff."""
    return failure.status == 429 or asked_pause(failure.headers, now=now) is not None


def asked_pause(headers: Mapping[str, str], *, now: float) -> float | None:
    """The seconds that a refusal asks to wait, 0 to a day; None when it does not say."""
    retry_after = _retry_after(headers.get("retry-after"), now)
    if retry_after is not None:
        return _bounded(retry_after)
    resets = [_reset(headers.get(name), now) for name in _RESETS]
    known = [wait for wait in resets if wait is not None]
    return _bounded(max(known)) if known else None


def _bounded(wait: float) -> float:
    return AFTER_ABSURD if wait > ABSURD_RETRY_AFTER_SECONDS else min(wait, MAX_RETRY_AFTER_SECONDS)


def pause_after(
    headers: Mapping[str, str], *, now: float, others: int = 0, spared: float = 0.0
) -> float:
    """Seconds to wait before the next request when the headers say that the budget is empty.

    others: how many more may be on their way; what remains may be theirs. spared: the share of
    the limit that is not touched.
    """
    waits = [
        _reset(headers.get(reset), now) or 0.0
        for remaining, limit, reset in _REMAINING
        if (left := min(_numbers(headers.get(remaining)), default=None)) is not None
        and left <= others + spared * max(_numbers(headers.get(limit)), default=0.0)
    ]
    return min(max(waits, default=0.0), MAX_ANNOUNCED_SECONDS)


def rest(failures: int) -> timedelta:
    """How long a source rests after so many failures in a row."""
    return min(MAX_REST, FIRST_REST * 2.0 ** min(failures - 1, 16))


def next_try(
    exit_code: int, failures: int, *, retry_at: datetime | None, now: datetime
) -> datetime | None:
    """When a run that ended so is tried again; None when it landed, or only people can help.

    failures: in a row, this one too. retry_at: when the vendor allows the next request.
    """
    if exit_code in COMMITTED_EXIT_CODES or exit_code in FOR_PEOPLE:
        return None
    if exit_code == TRY_AGAIN:
        return retry_at or now + rest(failures)
    return now + rest(failures) if failures < MAX_FAILURES else None


def _retry_after(text: str | None, now: float) -> float | None:
    """The longest wait of a Retry-After, which may come several times: they arrive as one list."""
    waits = [_seconds_until(one, now) for one in _VALUES.findall(text or "")]
    return max((wait for wait in waits if wait is not None), default=None)


def _seconds_until(text: str, now: float) -> float | None:
    """Seconds, or a date of HTTP."""
    seconds = _finite(text)
    if seconds is not None:
        return max(0.0, seconds)
    moment = http_date(text)
    return None if moment is None else max(0.0, moment - now)


# a value of a list; the comma behind the day of a date does not end it
_VALUES = re.compile(r"((?:\s*[A-Za-z]{3,9},)?[^,]+)")


def _reset(text: str | None, now: float) -> float | None:
    """Epoch milliseconds -> seconds from now. A reset in the past asks for no wait."""
    millis = max(_numbers(text), default=None)
    return None if millis is None else max(0.0, millis / 1000 - now)


def _numbers(text: str | None) -> list[float]:
    """The numbers of a header that may come several times."""
    found = (_finite(one) for one in (text or "").split(","))
    return [number for number in found if number is not None]


def _finite(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
