"""When the next requests may be sent, so that no window of a rate limit is overrun. Pure.

A window is so many requests in so many seconds. Grants are the moments (epoch seconds) at which
requests were or will be sent; whoever shares a credential shares its grants.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

MARGIN = 1.01  # the vendor's clock and the way to it are not ours

_WINDOW = re.compile(r"\s*(\d+)\s*/\s*(\d+(?:\.\d+)?)?\s*(s|min|h)\s*")
_SECONDS = {"s": 1, "min": 60, "h": 3600}


@dataclass(frozen=True, slots=True)
class Window:
    """At most `requests` in any `seconds`."""

    requests: int
    seconds: float


def window_of(text: str) -> Window:
    """`100/10s`, `900/15min`, `120/min`; ValueError when it is none."""
    found = _WINDOW.fullmatch(text)
    seconds = float(found[2] or 1) * _SECONDS[found[3]] if found else 0.0
    if found is None or int(found[1]) == 0 or seconds <= 0:
        raise ValueError(f'"{text}" is no rate limit: write e.g. "100/10s" or "900/15min"')
    return Window(int(found[1]), seconds)


def our_share(windows: Sequence[Window], reserve_percent: float) -> tuple[Window, ...]:
    """The windows without what is left to other users of the account; never less than one."""
    share = 1 - reserve_percent / 100
    return tuple(
        Window(max(1, math.floor(window.requests * share + 1e-9)), window.seconds)
        for window in windows
    )


def slots(
    grants: Sequence[float],
    windows: Sequence[Window],
    *,
    count: int,
    now: float,
    not_before: float = 0.0,
) -> list[float]:
    """The next `count` moments that overrun no window, after all earlier grants."""
    taken = list(grants)
    for _ in range(count):
        moment = max(now, not_before, taken[-1] if taken else 0.0)
        for window in windows:
            if len(taken) >= window.requests:
                moment = max(moment, taken[-window.requests] + window.seconds * MARGIN)
        taken.append(moment)
    return taken[len(grants) :]


def still_counting(grants: Sequence[float], windows: Sequence[Window], now: float) -> list[float]:
    """The grants that a window still sees, in order; those of a clock that ran ahead are not."""
    longest = max((window.seconds * MARGIN for window in windows), default=0.0)
    return sorted(grant for grant in grants if now - longest < grant <= now + longest)


def last_of(
    grants: Sequence[float], windows: Sequence[Window], *, requests: int, now: float
) -> float:
    """When the last of that many requests may be sent: the forecast of a run's end."""
    moments = slots(grants, windows, count=requests, now=now)
    return moments[-1] if moments else now
