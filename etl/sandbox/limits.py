"""The vendors' rate limits: fixed windows, counted against a clock that is an argument."""

import math
from collections.abc import Callable, Mapping
from threading import Lock
from typing import Any

from etl.sandbox.message import Headers

Limit = tuple[int, float]  # so many requests in so many seconds

LIMITS: Mapping[str, Limit] = {
    "launchdarkly-global": (120, 10),
    "launchdarkly-route": (40, 10),
    "statsig": (100, 10),
    "statsig-long": (900, 900),
    "layers": (120, 60),
}


class Limits:
    """Counts requests; `limits` None announces LaunchDarkly's limits and enforces none."""

    def __init__(self, clock: Callable[[], float], limits: Mapping[str, Limit] | None) -> None:
        self._clock = clock
        self._enforced = limits is not None
        self._limits = {**LIMITS, **(limits or {})}
        self._lock = Lock()
        self._windows: dict[str, tuple[float, int]] = {}  # name -> its end, used in it

    def reset(self) -> None:
        """Every window is new."""
        with self._lock:
            self._windows.clear()

    def admit(self, provider: str, path: str) -> tuple[bool, Headers]:
        """Whether the request is let in (and then counted), and the headers that tell of it."""
        counters = _counters(provider, path)
        with self._lock:
            now = self._clock()
            state = {name: self._window(name, kind, now) for name, kind in counters.items()}
            free = all(used < self._limits[counters[name]][0] for name, (_, used) in state.items())
            if free and self._enforced:
                state = {name: (end, used + 1) for name, (end, used) in state.items()}
                self._windows.update(state)
        return free, self._headers(provider, counters, state, None if free else now)

    def _window(self, name: str, kind: str, now: float) -> tuple[float, int]:
        end, used = self._windows.get(name, (0.0, 0))
        return (end, used) if now < end else (now + self._limits[kind][1], 0)

    def _headers(
        self,
        provider: str,
        counters: Mapping[str, str],
        state: Mapping[str, tuple[float, int]],
        refused_at: float | None,
    ) -> Headers:
        if provider == "statsig":
            return ()
        if provider == "layers":
            kind: Headers = (("X-RateLimit-Endpoint-Class", "read-light"),)
            wait = 0 if refused_at is None else math.ceil(state["layers"][0] - refused_at)
            return kind if refused_at is None else (*kind, ("Retry-After", str(max(1, wait))))
        headers: list[tuple[str, str]] = []
        blocking = 0.0
        for name, (end, used) in state.items():
            limit = self._limits[counters[name]][0]
            title = "Global" if counters[name].endswith("global") else "Route"
            headers.append((f"X-Ratelimit-{title}-Limit", str(limit)))
            headers.append((f"X-Ratelimit-{title}-Remaining", str(limit - used)))
            if not blocking or used >= limit:
                blocking = max(blocking, end)
        return (*headers, ("X-Ratelimit-Reset", str(math.ceil(blocking * 1000))))


def checked_limits(value: Mapping[str, Any]) -> Mapping[str, Limit]:
    """The limits as (requests, seconds); ValueError for an unknown name or another form."""
    for name, limit in value.items():
        if name not in LIMITS:
            raise ValueError(f"no rate limit {name!r}; there are {', '.join(LIMITS)}")
        if not isinstance(limit, list | tuple) or len(limit) != 2 or min(limit) <= 0:
            raise ValueError(f"rate limit {name!r} must be (requests, seconds), not {limit!r}")
    return {name: (int(count), float(seconds)) for name, (count, seconds) in value.items()}


def _counters(provider: str, path: str) -> Mapping[str, str]:
    """The windows a request counts in -> which limit each has."""
    if provider == "statsig":
        return {"statsig": "statsig", "statsig-long": "statsig-long"}
    if provider == "layers":
        return {"layers": "layers"}
    parts = path.split("/")
    parts[4:5] = ["*"] * len(parts[4:5])  # the project key: a route is a pattern
    return {"global": "launchdarkly-global", "/".join(parts): "launchdarkly-route"}
