"""Rows 24 to 26: a vendor that asks for a pause gets it, and never more requests than it takes."""

from collections import Counter
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from email.utils import formatdate
from typing import Any

import pytest
from sqlalchemy import Engine, text

from etl.errors import RateLimited, TransientError
from etl.sandbox import KEYS, Fault, Sandbox, Sizes, World
from tests.support.database import count, counts
from tests.support.internals.running import PROVIDERS, Client, RetryPolicy, utc_now
from tests.support.internals.values import Request
from tests.support.runs import asked, settings_for, small, sync
from tests.unit.builders import NOW, Clock, client

LAYERS, STATSIG = "layers /v1/projects[?]*", "statsig /console/v1/layers[?]*"
LAUNCHDARKLY = "launchdarkly */layers"
LIST = Request("/v1/projects", (("limit", "5"),))

# what the 429 says -> at least, at most so many seconds are waited
RETRY_AFTER = {
    "seconds": ("7", 7, 8),
    "date": (formatdate(NOW + 7, usegmt=True), 7, 8),
    "date in the past": (formatdate(NOW - 7, usegmt=True), 1, 2),
    "absent": (None, 10, 11),
    "zero": ("0", 1, 2),
    "negative": ("-5", 1, 2),
    "a word": ("soon", 10, 11),
    "infinity": ("inf", 10, 11),
    "not a number": ("nan", 10, 11),
    "a date that cannot be": ("Mon, 99 Jan 2024 00:00:00 GMT", 10, 11),
}
RESET = {
    "milliseconds": (str(round((NOW + 7) * 1000)), 7, 8),
    "in the past": (str(round((NOW - 5) * 1000)), 1, 2),
    "read as seconds it would be": (str(round(NOW + 7)), 1, 2),  # 1970 in milliseconds
    "absent": (None, 10, 11),
    "a word": ("soon", 10, 11),
}
FORMS = [
    pytest.param({} if said is None else {name: said}, least, most, marks=pytest.mark.row(row))
    for name, row, forms in (("Retry-After", 24, RETRY_AFTER), ("X-Ratelimit-Reset", 25, RESET))
    for said, least, most in forms.values()
]


def asking(sandbox: Sandbox, clock: Clock, **fields: Any) -> Client:
    """A client of the sandbox over real sockets, for which time passes only while it waits."""
    key = KEYS["layers"]
    headers = PROVIDERS["layers"].headers(key)
    return client(clock, base_url=sandbox.url, headers=headers, secret=key, **fields)


def refusal(headers: dict[str, str], times: int | None = 1) -> Fault:
    return Fault("layers", "status", times=times, arg=(429, headers))


def statuses(sandbox: Sandbox) -> list[int]:
    return [seen.status for seen in sandbox.requests]


@pytest.mark.parametrize(("headers", "least", "most"), FORMS)
def test_a_429_is_waited_out_as_it_asks_and_then_asked_once_more(
    headers: dict[str, str], least: float, most: float
) -> None:
    clock = Clock()
    with Sandbox(small(), faults=[refusal(headers)]) as sandbox:
        with closing(asking(sandbox, clock)) as own:
            own.fetch(LIST)
        assert statuses(sandbox) == [429, 200]
    assert least <= clock.time - NOW <= most
    assert own.traffic.waited == pytest.approx(clock.time - NOW)


@pytest.mark.row(24)
def test_two_clients_that_are_told_the_same_do_not_come_back_at_the_same_moment() -> None:
    back = []
    with Sandbox(small()) as sandbox:
        for luck in (0.1, 0.9):
            clock = Clock()
            sandbox.add_fault(refusal({"Retry-After": "7"}))
            with closing(asking(sandbox, clock, jitter=lambda luck=luck: luck)) as own:
                own.fetch(LIST)
            back.append(clock.time - NOW)
    assert back == pytest.approx([7.1, 7.9])


@pytest.mark.row(24, 25)
@pytest.mark.parametrize("headers", [{"Retry-After": "0"}, {"X-Ratelimit-Reset": "1"}])
def test_a_vendor_that_always_says_now_is_asked_a_few_times_with_pauses(
    headers: dict[str, str],
) -> None:
    clock = Clock()
    with Sandbox(small(), faults=[refusal(headers, times=None)]) as sandbox:
        with closing(asking(sandbox, clock)) as own, pytest.raises(TransientError):
            own.fetch(LIST)
        assert statuses(sandbox) == [429] * RetryPolicy().attempts
    assert clock.time - NOW >= RetryPolicy().attempts - 1


@pytest.mark.row(24)
def test_a_day_is_not_waited() -> None:
    clock = Clock()
    with Sandbox(small(), faults=[refusal({"Retry-After": "86400"})]) as sandbox:
        with closing(asking(sandbox, clock)) as own, pytest.raises(RateLimited) as caught:
            own.fetch(LIST)
        assert statuses(sandbox) == [429]
    assert clock.time == NOW
    assert caught.value.retry_at.timestamp() == pytest.approx(NOW + 86400.5)


# source, its list, the fault and its argument, the seconds it comes to, the list requests left
PARKING = [
    pytest.param(*row, marks=pytest.mark.row(number))
    for number, row in (
        (24, ("ly", LAYERS, "rate_limited", lambda: 3600, 3600, 2 + 4)),
        (24, ("ly", LAYERS, "rate_limited", lambda: _in_an_hour(), 3600, 2 + 4)),
        (24, ("ly", LAYERS, "rate_limited", lambda: None, 10, 2 + 4)),
        (24, ("ly", LAYERS, "rate_limited", lambda: "0", 1, 2 + 4)),
        (24, ("ly", LAYERS, "rate_limited", lambda: 86400, 86400, 2 + 4)),
        (24, ("ly", LAYERS, "rate_limited", lambda: "soon", 10, 2 + 4)),
        (24, ("st", STATSIG, "rate_limited", lambda: 3600, 3600, 3)),
        (25, ("ld", LAUNCHDARKLY, "rate_limited_reset", lambda: 3600, 3600, 3)),
        (25, ("ld", LAUNCHDARKLY, "rate_limited_reset", lambda: -3600, 1, 3)),
        (25, ("ld", LAUNCHDARKLY, "rate_limited", lambda: None, 10, 3)),
    )
]


@pytest.mark.parametrize(("source", "match", "kind", "arg", "seconds", "left"), PARKING)
def test_a_pause_beyond_patience_parks_the_run_and_the_next_one_goes_on(
    engine: Engine,
    source: str,
    match: str,
    kind: str,
    arg: Callable[[], Any],
    seconds: float,
    left: int,
) -> None:
    impatient = {"attempts": 3, "patience": 0.5, "concurrency": 1}
    settings_of: dict[str, Any] = {
        "ly": {"projects": {"page_size": 3}, "limits": impatient},
        "st": {"layers": {"page_size": 5}, "limits": impatient},
        "ld": {"limits": impatient},
    }
    part = match.split(" ")[1].strip("*").replace("[?]", "?")
    with Sandbox(small(), faults=[Fault(match, kind, after=2, arg=arg())]) as sandbox:
        settings = settings_for(sandbox, **settings_of)
        began = utc_now()
        parked = sync(engine, settings, source)
        assert (parked.status, parked.exit_code) == ("parked", 75)
        assert parked.retry_at is not None
        asked_at, pause = parked.retry_at - timedelta(seconds=seconds), timedelta(seconds=1)
        assert began - pause <= asked_at <= utc_now() + pause
        assert statuses(sandbox).count(429) == 1
        before = asked(sandbox, part)
        assert sync(engine, settings, source).status == "parked"
        assert asked(sandbox, part) == before  # nothing before its time
        with engine.begin() as connection:  # which has come
            connection.execute(text("UPDATE rate_budgets SET blocked_until = NULL"))
        report = sync(engine, settings, source)
        assert (report.status, report.run_id) == ("ok", parked.run_id)
        assert len(asked(sandbox, part)) - len(before) == left
        provider = report.provider
        assert counts(engine)[provider] == sandbox.counts()[provider]
    assert count(engine, "changes", "operation <> 'created'") == 0


def _in_an_hour() -> str:
    return formatdate((utc_now() + timedelta(hours=1)).timestamp(), usegmt=True)


@pytest.mark.row(26)
def test_a_limit_that_is_announced_is_never_overrun(engine: Engine) -> None:
    """The route of the layers takes 10 requests in two seconds; there are 15 projects.

    One at a time: of several a busy machine may send one so late that the next window counts it.
    """
    sizes = Sizes(ld_projects=15, ld_environments=1, ld_layers=1)
    limits = {"launchdarkly-route": (10, 2.0), "launchdarkly-global": (1000, 2.0)}
    with Sandbox(World(7, sizes), rate_limits=limits) as sandbox:
        one_by_one = settings_for(sandbox, ld={"limits": {"concurrency": 1}})
        report = sync(engine, one_by_one, "ld")
        assert Counter(statuses(sandbox))[429] == 0
        assert counts(engine)["launchdarkly"] == sandbox.counts()["launchdarkly"]
    assert report.status == "ok"
    assert sum(stream.waited_seconds for stream in report.streams) > 0
