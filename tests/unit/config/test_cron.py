"""Cron lines mean what they mean on Unix."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from etl.config.cron import cron_trigger

SUNDAY = datetime(2026, 3, 1, tzinfo=UTC)
WEEK = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]


def fires(schedule: str, timezone: str, *, since: datetime, until: datetime) -> Iterator[datetime]:
    """When the line comes in this time, one after the other as a scheduler asks for it."""
    trigger = cron_trigger(schedule, timezone)
    previous, now = None, since
    while (coming := trigger.get_next_fire_time(previous, now)) and coming < until:
        yield coming
        previous, now = coming, coming.astimezone(UTC) + timedelta(seconds=1)


def days(weekday: str) -> list[str]:
    """The days of a week on which a line with this weekday comes, the week starting on Sunday."""
    until = SUNDAY + timedelta(days=7)
    found = fires(f"0 6 * * {weekday}", "UTC", since=SUNDAY, until=until)
    return [f"{one:%a}".lower() for one in found]


def hours(schedule: str) -> list[str]:
    """When a line comes on one day."""
    found = fires(schedule, "UTC", since=SUNDAY, until=SUNDAY + timedelta(days=1))
    return [f"{one:%H:%M}" for one in found]


@pytest.mark.parametrize("number", range(7))
def test_weekdays_are_counted_from_sunday(number):
    assert days(str(number)) == [WEEK[number]]


def test_7_is_sunday_too():
    assert days("7") == ["sun"]


@pytest.mark.parametrize("name", WEEK)
def test_weekdays_have_names(name):
    assert days(name.upper()) == [name]


@pytest.mark.parametrize(
    ("weekday", "expected"),
    [
        ("*", WEEK),
        ("1-5", WEEK[1:6]),
        ("mon-fri", WEEK[1:6]),
        ("0-7", WEEK),
        ("1-7", WEEK),
        ("5-7", ["sun", "fri", "sat"]),
        ("sat-mon", ["sun", "mon", "sat"]),
        ("6-0", ["sun", "sat"]),
        ("1,3,5", ["mon", "wed", "fri"]),
        ("0,7", ["sun"]),
        ("1-2,sat", ["mon", "tue", "sat"]),
        ("*/2", ["sun", "tue", "thu", "sat"]),
        ("1-5/2", ["mon", "wed", "fri"]),
        ("4/2", ["thu", "sat"]),
    ],
)
def test_weekdays_come_in_lists_ranges_and_steps(weekday, expected):
    assert days(weekday) == expected


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("30 6 * * *", ["06:30"]),
        ("0,20 6,18 * * *", ["06:00", "06:20", "18:00", "18:20"]),
        ("0 */8 * * *", ["00:00", "08:00", "16:00"]),
        ("0 9-17/4 * * *", ["09:00", "13:00", "17:00"]),
        ("0 6 1 mar *", ["06:00"]),
        ("0 6 * MAR-APR *", ["06:00"]),
        ("0 6 1 4 *", []),
        ("0 6 */2 * sun", ["06:00"]),
        ("0 6 */2 * mon", []),
    ],
)
def test_a_line_comes_at_its_times(schedule, expected):
    assert hours(schedule) == expected


def test_working_days_at_six_stay_so_when_the_clock_goes_forward():
    found = fires(
        "0 6 * * 1-5",
        "Europe/Berlin",
        since=datetime(2026, 3, 26, tzinfo=UTC),
        until=datetime(2026, 4, 1, tzinfo=UTC),
    )
    assert [f"{one:%a %d %H:%M %z}" for one in found] == [
        "Thu 26 06:00 +0100",
        "Fri 27 06:00 +0100",
        "Mon 30 06:00 +0200",
        "Tue 31 06:00 +0200",
    ]


def test_working_days_at_six_stay_so_when_the_clock_goes_back():
    found = fires(
        "0 6 * * 1-5",
        "Europe/Berlin",
        since=datetime(2026, 10, 22, tzinfo=UTC),
        until=datetime(2026, 10, 28, tzinfo=UTC),
    )
    assert [f"{one:%a %d %H:%M %z}" for one in found] == [
        "Thu 22 06:00 +0200",
        "Fri 23 06:00 +0200",
        "Mon 26 06:00 +0100",
        "Tue 27 06:00 +0100",
    ]


@pytest.mark.parametrize(
    "day", [datetime(2026, 3, 29, tzinfo=UTC), datetime(2026, 10, 25, tzinfo=UTC)]
)
def test_every_quarter_of_an_hour_is_so_when_the_clock_changes(day):
    since = day - timedelta(hours=6)
    found = list(
        fires("*/15 * * * *", "Europe/Berlin", since=since, until=since + timedelta(days=1))
    )
    assert [one.astimezone(UTC) for one in found] == [
        since + number * timedelta(minutes=15) for number in range(96)
    ]


@pytest.mark.parametrize("schedule", ["0 6 1 * 1", "0 6 1,15 * mon-fri", "0 6 last * 0"])
def test_a_day_of_the_month_with_a_weekday_is_refused(schedule):
    with pytest.raises(ValueError, match=r"names days of the month and weekdays; .*put \* for one"):
        cron_trigger(schedule, "UTC")


@pytest.mark.parametrize("schedule", ["0 6 30 2 *", "0 6 31 4,6,9,11 *", "0 6 30-31 feb *"])
def test_a_date_that_never_comes_is_refused(schedule):
    with pytest.raises(ValueError, match="never comes: no such month has such a day"):
        cron_trigger(schedule, "UTC")


@pytest.mark.parametrize("schedule", ["0 6 29 2 *", "0 6 29 2 */7"])
def test_a_leap_day_comes(schedule):
    assert cron_trigger(schedule, "UTC").get_next_fire_time(None, SUNDAY) is not None


@pytest.mark.parametrize(
    ("schedule", "said"),
    [
        ("", "expected 5 fields, minute hour day month weekday; found 0"),
        ("@daily", "expected 5 fields, minute hour day month weekday; found 1"),
        ("0 0 6 * * 1", "expected 5 fields, minute hour day month weekday; found 6"),
        ("60 * * * *", r'the minute "60": the last value \(60\) is higher'),
        ("* 24 * * *", r'the hour "24": the last value \(24\) is higher'),
        ("* * 0 * *", r'the day "0": the first value \(0\) is lower'),
        ("* * * 13 *", r'the month "13": the last value \(13\) is higher'),
        ("* * * foo *", 'the month "foo": Invalid month name "foo"'),
        ("*/0 * * * *", r'the minute "\*/0": Increment must be higher than 0'),
        ("5x * * * *", 'the minute "5x": Unrecognized expression "5x"'),
        ("1,,2 * * * *", 'the minute "1,,2": Unrecognized expression ""'),
        ("* 22-4 * * *", 'the hour "22-4": The minimum value in a range must not be higher'),
        ("* * * * 8", 'the weekday "8": expected 0-7'),
        ("* * * * 1-", 'the weekday "1-": expected 0-7'),
        ("* * * * 1,", 'the weekday "": expected 0-7'),
        ("* * * * mon#1", 'the weekday "mon#1": expected 0-7'),
        ("* * * * */0", r'the weekday "\*/0": a step is a number from 1 to 7'),
        ("* * * * */x", r'the weekday "\*/x": a step is a number from 1 to 7'),
    ],
)
def test_a_line_that_is_not_cron_is_refused_with_its_field(schedule, said):
    with pytest.raises(ValueError, match=said):
        cron_trigger(schedule, "UTC")
