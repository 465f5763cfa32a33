"""Cron lines over clock changes, against a clock that is read minute by minute."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.config.cron import cron_trigger

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
ZONES = (
    "Africa/Cairo",
    "America/Asuncion",
    "America/Havana",
    "America/New_York",
    "America/Santiago",
    "Asia/Beirut",
    "Asia/Tehran",
    "Atlantic/Azores",
    "Australia/Lord_Howe",
    "Europe/Berlin",
    "Europe/Dublin",
    "Pacific/Apia",
)


def local(instant: datetime, zone: str) -> datetime:
    """What the clock of the zone shows."""
    return instant.astimezone(ZoneInfo(zone)).replace(tzinfo=None, fold=0)


def changes(zone: str, year: int) -> list[datetime]:
    """The instants of a year at which the clock of the zone is put forward or back."""
    found, step = [], timedelta(hours=6)
    instant = datetime(year, 1, 1, tzinfo=UTC)
    while instant.year == year:
        if local(instant + step, zone) - local(instant, zone) != step:
            found.append(
                next(
                    at
                    for at in (instant + count * MINUTE for count in range(1, 361))
                    if local(at, zone) - local(at - MINUTE, zone) != MINUTE
                )
            )
        instant += step
    return found


CHANGES = [(zone, at) for zone in ZONES for year in (2011, 2026) for at in changes(zone, year)]


def fires(schedule: str, zone: str, since: datetime, until: datetime) -> list[datetime]:
    """The instants at which a scheduler runs the line."""
    trigger, found, previous, now = cron_trigger(schedule, zone), [], None, since
    while (coming := trigger.get_next_fire_time(previous, now)) is not None and coming < until:
        found.append(coming.astimezone(UTC))
        previous, now = coming, found[-1] + timedelta(milliseconds=3)
    return found


def expected(
    minutes: set[int], hours: set[int] | None, zone: str, since: datetime, until: datetime
) -> list[datetime]:
    """By walking through all minutes: cron's rules, written as a clock that is watched."""

    def named(time: datetime) -> bool:
        return time.minute in minutes and (hours is None or time.hour in hours)

    found: list[datetime] = []
    shown_before = local(since - 5 * HOUR, zone)  # the latest time that the clock has shown
    instant = since - 5 * HOUR
    while instant < until:
        time = local(instant, zone)
        skipped = (
            shown_before + count * MINUTE
            for count in range(1, (time - shown_before) // MINUTE if time > shown_before else 0)
        )
        is_due = named(time) and (hours is None or time > shown_before)
        if is_due or (hours is not None and any(named(one) for one in skipped)):
            found.append(instant)
        shown_before = max(shown_before, time) if hours is not None else time
        instant += MINUTE
    return [at for at in found if at >= since]


@settings(max_examples=60)
@given(
    change=st.sampled_from(CHANGES),
    minutes=st.sets(st.integers(0, 59), min_size=1, max_size=2),
    hours=st.none() | st.sets(st.integers(0, 23), min_size=1, max_size=6),
    before=st.integers(0, 5 * 60),
)
def test_a_line_fires_as_cron_does_where_the_clock_changes(change, minutes, hours, before):
    zone, at = change
    since, until = at - before * MINUTE, at + 4 * HOUR
    text = "*" if hours is None else ",".join(map(str, sorted(hours)))
    schedule = f"{','.join(map(str, sorted(minutes)))} {text} * * *"
    assert fires(schedule, zone, since, until) == expected(minutes, hours, zone, since, until)


@pytest.mark.parametrize(
    ("schedule", "zone", "day", "times"),
    [
        ("0 0 * * *", "Asia/Beirut", datetime(2026, 3, 29, tzinfo=UTC), ["01:00+0300"]),
        ("30 2 * * *", "Europe/Berlin", datetime(2026, 3, 29, tzinfo=UTC), ["03:00+0200"]),
        ("*/10 2 * * *", "Europe/Berlin", datetime(2026, 3, 29, tzinfo=UTC), ["03:00+0200"]),
        (
            "0,30 2,3 * * *",
            "Europe/Berlin",
            datetime(2026, 3, 29, tzinfo=UTC),
            ["03:00+0200", "03:30+0200"],
        ),
        ("30 2 * * *", "Europe/Berlin", datetime(2026, 10, 25, tzinfo=UTC), ["02:30+0200"]),
        ("15 2 * * *", "Australia/Lord_Howe", datetime(2026, 10, 4, tzinfo=UTC), ["02:30+1100"]),
        ("0 0 1 3 *", "Asia/Beirut", datetime(2026, 3, 29, tzinfo=UTC), []),
        ("0 0 29 3 *", "Asia/Beirut", datetime(2026, 3, 29, tzinfo=UTC), ["01:00+0300"]),
        ("0 0 * * sun", "Asia/Beirut", datetime(2026, 3, 29, tzinfo=UTC), ["01:00+0300"]),
    ],
)
def test_a_skipped_time_fires_when_the_gap_ends(schedule, zone, day, times):
    since = day.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
    found = fires(schedule, zone, since, since + timedelta(hours=22))
    assert [f"{one.astimezone(ZoneInfo(zone)):%H:%M%z}" for one in found] == times
