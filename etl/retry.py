"""When to ask again, as pure decisions: what came back and the time -> seconds to wait, or None.

Vendors differ in how they ask for a pause, so every documented form is read in one place:
Retry-After in seconds or as a date (RFC 9110), LaunchDarkly's X-Ratelimit-Reset family in epoch
milliseconds. Nothing here sleeps.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime

RETRYABLE = frozenset({408, 425, 429, 500, 502, 503, 504})
DEFAULT_PAUSE = 10.0  # LaunchDarkly's window; sent without any header by all three vendors
FIRST_BACKOFF = 0.5
LONGEST_BACKOFF = 30.0
JITTER_SHARE = 0.1
LEAST_PAUSE = 1.0
LONGEST_ANNOUNCED = 60.0  # beyond the vendor's windows; a refusal would say it again

_RESETS = ("x-ratelimit-reset", "x-ratelimit-auth-token-reset")
_REMAINING = (
    ("x-ratelimit-global-remaining", "x-ratelimit-reset"),
    ("x-ratelimit-route-remaining", "x-ratelimit-reset"),
    ("x-ratelimit-auth-token-remaining", "x-ratelimit-auth-token-reset"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A request that brought no usable answer; status None when no answer came at all."""

    reason: str
    status: int | None = None
    headers: Mapping[str, str]


def wait_before_retry(failure: Failure, attempt: int, *, now: float, jitter: float) -> float | None:
    """Seconds to wait before try number `attempt` + 1; None when another try makes no sense.

    now is epoch seconds, jitter a random number in [0, 1).
    """
    if failure.status is not None and failure.status not in RETRYABLE:
        return None
    asked = asked_pause(failure.headers, now=now)
    if asked is not None or failure.status == 429:
        pause = max(asked if asked is not None else DEFAULT_PAUSE * attempt, LEAST_PAUSE)
        return pause * (1 + JITTER_SHARE * jitter) if asked is None else pause + jitter
    return jitter * min(LONGEST_BACKOFF, FIRST_BACKOFF * 2.0 ** min(attempt, 16))


def asked_pause(headers: Mapping[str, str], *, now: float) -> float | None:
    """The seconds that a refusal asks to wait, never negative; None when it does not say."""
    retry_after = _retry_after(headers.get("retry-after"), now)
    if retry_after is not None:
        return retry_after
    resets = [_reset(headers.get(name), now) for name in _RESETS]
    known = [wait for wait in resets if wait is not None]
    return max(known) if known else None


def pause_after(headers: Mapping[str, str], *, now: float, others: int = 0) -> float:
    """Seconds to wait before the next request when the headers say that the budget is empty.

    others: how many more may be on their way; what remains may be theirs.
    """
    waits = [
        _reset(headers.get(reset), now) or 0.0
        for remaining, reset in _REMAINING
        if (left := _finite(headers.get(remaining, ""))) is not None and left <= others
    ]
    return min(max(waits, default=0.0), LONGEST_ANNOUNCED)


def _retry_after(text: str | None, now: float) -> float | None:
    if text is None:
        return None
    seconds = _finite(text)
    if seconds is not None:
        return max(0.0, seconds)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, aware.timestamp() - now)


def _reset(text: str | None, now: float) -> float | None:
    """Epoch milliseconds -> seconds from now. A reset in the past asks for no wait."""
    millis = _finite(text) if text is not None else None
    return None if millis is None else max(0.0, millis / 1000 - now)


def _finite(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
