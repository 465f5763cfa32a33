"""A cron line on the clock of a time zone, with the rules of cron for changes of that clock."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo

from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.cron import CronTrigger

_TICK = timedelta(microseconds=1)


class LocalCronTrigger(BaseTrigger):  # type: ignore[misc]  # APScheduler has no types
    """Fires at the local times that a cron line names.

    A line that names hours fires once for each local time: at the first instant after a gap for
    the times that a clock change skips, at the first of two instants for those it repeats. A line
    of every hour (`hourly`) fires as the clock shows it: skipped times do not fire, repeated ones
    fire twice.

    line: the cron line in UTC; its times are taken as local times of `zone`.
    """

    def __init__(self, line: CronTrigger, zone: tzinfo, *, hourly: bool) -> None:
        self.line, self.zone, self.hourly = line, zone, hourly
        self.jitter: float | None = None

    def get_next_fire_time(
        self, previous_fire_time: datetime | None, now: datetime
    ) -> datetime | None:
        """The next instant after the previous one, or from now on if there was none."""
        previous = previous_fire_time
        found = self._first(
            now.astimezone(UTC) if previous is None else previous.astimezone(UTC) + _TICK
        )
        if found is None:
            return None
        jittered: datetime = self._apply_jitter(found.astimezone(self.zone), self.jitter, now)
        return jittered

    def _first(self, since: datetime) -> datetime | None:
        # a microsecond earlier: at the end of a gap, its skipped times are still ahead
        local = (since - _TICK).astimezone(self.zone)
        wall = local.replace(tzinfo=None, fold=0) + _TICK
        found = next(
            (at for time in self._times(wall) for at in self._instants(time) if at >= since), None
        )
        if not self.hourly:
            return found
        # inside the first pass of repeated times, the second pass comes before later times
        offset, later = local.replace(fold=0).utcoffset(), local.replace(fold=1).utcoffset()
        if local.fold or offset is None or later is None or later >= offset:
            return found
        for time in self._times(wall - (offset - later)):
            repeated = self._instants(time)
            if time >= wall and len(repeated) == 1:
                return found
            if repeated and repeated[-1] >= since:
                return min(repeated[-1], found) if found else repeated[-1]
        return found

    def _times(self, wall: datetime) -> Iterator[datetime]:
        """The local times of the line from `wall` on, without a time zone."""
        previous, since = None, wall.replace(tzinfo=UTC)
        while (coming := self.line.get_next_fire_time(previous, since)) is not None:
            yield coming.replace(tzinfo=None)
            previous = since = coming

    def _instants(self, wall: datetime) -> list[datetime]:
        """When the clock of the zone shows this time and the line fires for it, in UTC."""
        before, after = wall.replace(tzinfo=self.zone), wall.replace(tzinfo=self.zone, fold=1)
        first, second = before.astimezone(UTC), after.astimezone(UTC)
        if first > second:  # skipped: the offset before the gap leads behind it
            return [] if self.hourly else [self._gap_end(second, first)]
        return [first, second] if self.hourly and second > first else [first]

    def _gap_end(self, earlier: datetime, later: datetime) -> datetime:
        """The instant of the clock change between these two."""
        before = earlier.astimezone(self.zone).utcoffset()
        while later - earlier > _TICK:
            middle = earlier + (later - earlier) // 2
            if middle.astimezone(self.zone).utcoffset() == before:
                earlier = middle
            else:
                later = middle
        return later
