"""Cron lines as Unix reads them, as a trigger of APScheduler; nothing is scheduled here."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from apscheduler.triggers.cron import CronTrigger

    from etl.config.cron_trigger import LocalCronTrigger

FIELDS = ("minute", "hour", "day", "month", "day_of_week")
WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_DAYS = {name: day for day, name in enumerate(WEEKDAYS)} | {
    str(number): number % 7 for number in range(8)
}
_FIRST_DAY = datetime(2000, 1, 1, tzinfo=UTC)
_LAST_DAY = datetime(2040, 1, 1, tzinfo=UTC)  # a leap day falls on every weekday in 28 years


def cron_trigger(schedule: str, timezone: str) -> "LocalCronTrigger":
    """The trigger of a five-field cron line, 0 and 7 being Sunday; ValueError if it is none."""
    from etl.config.cron_trigger import LocalCronTrigger  # APScheduler loads slowly

    schedule = " ".join(schedule.split())
    fields = _fields(schedule)
    if _trigger(fields, until=_LAST_DAY).get_next_fire_time(None, _FIRST_DAY) is None:
        raise ValueError(f'"{schedule}" never comes: no such month has such a day')
    hourly = fields["hour"] in ("*", "*/1", "0-23")
    return LocalCronTrigger(_trigger(fields), ZoneInfo(timezone), hourly=hourly)


def _fields(schedule: str) -> dict[str, str]:
    words = schedule.lower().split()
    if len(words) != len(FIELDS):
        raise ValueError(
            f'"{schedule}": expected 5 fields, minute hour day month weekday; found {len(words)}'
        )
    fields = dict(zip(FIELDS, words, strict=True))
    if not fields["day"].startswith("*") and not fields["day_of_week"].startswith("*"):
        raise ValueError(
            f'"{schedule}" names days of the month and weekdays; '
            "cron means either, which etl cannot do: put * for one"
        )
    fields["day_of_week"] = _weekdays(fields["day_of_week"])
    return fields


def _trigger(fields: dict[str, str], *, until: datetime | None = None) -> "CronTrigger":
    """A trigger in UTC, its fields tried one by one so that an error can name its field."""
    from apscheduler.triggers.cron import CronTrigger  # as slow as all the rest of a load

    for name, text in fields.items():
        try:
            CronTrigger(**{name: text}, timezone=UTC)
        except ValueError as error:
            reason = str(error).rpartition(": ")[2]
            raise ValueError(f'the {name.replace("_", " ")} "{text}": {reason}') from None
    return CronTrigger(**fields, timezone=UTC, end_date=until)


def _weekdays(text: str) -> str:
    """A weekday field of Unix by names: APScheduler counts from Monday, and never wraps."""
    if text == "*":
        return text
    days = {day for part in text.split(",") for day in _days(part)}
    return ",".join(WEEKDAYS[day] for day in sorted(days))


def _days(part: str) -> list[int]:
    """The days, 0 for Sunday, of `*`, `a`, `a-b`, `a/n`, `a-b/n` or `*/n`."""
    span, slash, step = part.partition("/")
    first, dash, last = ("0", "-", "6") if span == "*" else span.partition("-")
    if slash and not (step.isdecimal() and 0 < int(step) <= len(WEEKDAYS)):
        raise ValueError(f'the weekday "{part}": a step is a number from 1 to 7')
    try:
        start = _DAYS[first]
        end = _DAYS[last] if dash else 6 if slash else start
    except KeyError:
        expected = "expected 0-7 (0 and 7 are Sunday) or sun, mon, … sat"
        raise ValueError(f'the weekday "{part}": {expected}') from None
    length = 7 if dash and (first, last) == ("0", "7") else (end - start) % 7 + 1
    return [(start + days) % 7 for days in range(0, length, int(step or 1))]
