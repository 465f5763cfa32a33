"""Cron lines as Unix reads them, as a trigger of APScheduler; nothing is scheduled here."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from apscheduler.triggers.cron import CronTrigger

FIELDS = ("minute", "hour", "day", "month", "day_of_week")
WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIRST_DAY = datetime(2000, 1, 1, tzinfo=UTC)
_LAST_DAY = datetime(2040, 1, 1, tzinfo=UTC)  # a leap day falls on every weekday in 28 years


def cron_trigger(schedule: str, timezone: str) -> "CronTrigger":
    """The trigger of a five-field cron line, 0 and 7 being Sunday; ValueError if it is none."""
    fields = _fields(schedule)
    trigger = _trigger(fields, timezone)
    if _trigger(fields, timezone, until=_LAST_DAY).get_next_fire_time(None, _FIRST_DAY) is None:
        raise ValueError(f'"{schedule}" never comes: no such month has such a day')
    return trigger


def _fields(schedule: str) -> dict[str, str]:
    words = schedule.lower().split()
    if len(words) != len(FIELDS):
        raise ValueError(
            f'"{schedule}" has {len(words)} fields, cron has 5: minute hour day month weekday'
        )
    fields = dict(zip(FIELDS, words, strict=True))
    if not fields["day"].startswith("*") and not fields["day_of_week"].startswith("*"):
        raise ValueError(
            f'"{schedule}" names days of the month and weekdays; '
            "cron means either, which etl cannot do: put * for one"
        )
    fields["day_of_week"] = _weekdays(fields["day_of_week"])
    return fields


def _trigger(
    fields: dict[str, str], timezone: str, *, until: datetime | None = None
) -> "CronTrigger":
    """A trigger, its fields tried one by one so that an error can name its field."""
    from apscheduler.triggers.cron import CronTrigger  # takes longer than all of etl.config

    for name, text in fields.items():
        try:
            CronTrigger(**{name: text}, timezone=UTC)
        except ValueError as error:
            reason = str(error).rpartition(": ")[2]
            raise ValueError(f'the {name.replace("_", " ")} "{text}": {reason}') from None
    return CronTrigger(**fields, timezone=ZoneInfo(timezone), end_date=until)


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
    start = _day(first)
    end = _day(last) if dash else 6 if slash else start
    length = 7 if dash and (first, last) == ("0", "7") else (end - start) % 7 + 1
    return [(start + days) % 7 for days in range(0, length, int(step or 1))]


def _day(text: str) -> int:
    if text in WEEKDAYS:
        return WEEKDAYS.index(text)
    if len(text) == 1 and text in "01234567":
        return int(text) % 7
    raise ValueError(f'the weekday "{text}": expected 0-7 (0 and 7 are Sunday) or sun, mon, … sat')
