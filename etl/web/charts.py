"""Charts as numbers: where each bar begins and how high it is. Templates draw them as SVG. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

MAX_BARS, MIN_BARS = 62, 14
_STEPS = (  # letters of the ISO text of a time that name such a piece, and how long it is
    (16, timedelta(minutes=1)),
    (15, timedelta(minutes=10)),
    (13, timedelta(hours=1)),
    (10, timedelta(days=1)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pieces:
    """A span of time in equal pieces; letters: so many of a time's ISO text name its piece."""

    begin: datetime
    end: datetime
    letters: int
    names: tuple[str, ...]

    @property
    def unit(self) -> str:
        """What a piece is called."""
        return {10: "day", 13: "hour", 15: "10 minutes", 16: "minute"}[self.letters]

    def label(self, name: str) -> str:
        """A piece as people read it."""
        return {10: name, 13: f"{name}:00", 15: f"{name}0", 16: name}[self.letters]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One colour of a bar, in a hundredth of the chart's height, from the bottom."""

    name: str
    value: int
    below: float
    height: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One bar with its parts."""

    label: str
    total: int
    parts: tuple[Part, ...]

    def value(self, name: str) -> int:
        """How high that part is, 0 when it is not there."""
        return sum(part.value for part in self.parts if part.name == name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Stacked bars over time; names: those that occur, in the order in which they are stacked."""

    title: str
    unit: str
    names: tuple[str, ...]
    bars: tuple[Bar, ...]
    top: int
    totals: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """One reservation in a layer's bar, in percent of the bar's width."""

    name: str
    value: int
    left: float
    width: float


def pieces(first: datetime, last: datetime) -> Pieces:
    """The time from first to last, in the smallest pieces of which there are not too many."""
    few = [one for one in _STEPS if (last - first) / one[1] < MAX_BARS - 1]
    letters, step = few[0] if few else _STEPS[-1]
    if not few:
        first = last - step * (MAX_BARS - 1)
    begin = _floor(min(first, last - step * (MIN_BARS - 1)), letters)
    names, moment = [], begin
    while moment <= last:
        names.append(_text(moment)[:letters])
        moment += step
    return Pieces(begin=begin, end=last, letters=letters, names=tuple(names))


def stacked(
    title: str,
    time: Pieces,
    values: Iterable[tuple[str, str, int]],
    order: Sequence[str],
) -> Chart:
    """The chart of (piece, name, value); names that are not in the order come last."""
    found: dict[tuple[str, str], int] = {}
    for piece, name, value in values:
        found[piece, name] = found.get((piece, name), 0) + value
    totals: dict[str, int] = {}
    for (_, name), value in found.items():
        totals[name] = totals.get(name, 0) + value
    known = [name for name in order if totals.get(name)]
    names = (*known, *sorted(name for name in totals if name not in order and totals[name]))
    heights = [sum(found.get((piece, name), 0) for name in names) for piece in time.names]
    top = _round_up(max(heights, default=0))
    bars = tuple(
        Bar(
            label=time.label(piece),
            total=height,
            parts=_parts([(name, found.get((piece, name), 0)) for name in names], top),
        )
        for piece, height in zip(time.names, heights, strict=True)
    )
    return Chart(title=title, unit=time.unit, names=names, bars=bars, top=top, totals=totals)


def slices(reserved: Iterable[tuple[str, int]]) -> tuple[Slice, ...]:
    """The reservations of a layer in one environment, side by side; over 100 they share the bar."""
    values = [(name, max(0, percent)) for name, percent in reserved]
    whole = max(100, sum(percent for _, percent in values))
    left, found = 0.0, []
    for name, percent in values:
        width = 100 * percent / whole
        found.append(Slice(name=name, value=percent, left=round(left, 3), width=round(width, 3)))
        left += width
    return tuple(found)


def _parts(values: Sequence[tuple[str, int]], top: int) -> tuple[Part, ...]:
    below, found = 0.0, []
    for name, value in values:
        if value:
            height = 100 * value / top
            found.append(
                Part(name=name, value=value, below=round(below, 3), height=round(height, 3))
            )
            below += height
    return tuple(found)


def _round_up(value: int) -> int:
    """The next number with one digit and zeros, or half of it: the top of a scale."""
    if value <= 4:
        return max(value, 1)
    size = int("1" + "0" * (len(str(value)) - 1))
    return next(step * size for step in (1, 2, 4, 5, 6, 8, 10) if value <= step * size)


def _text(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M}"


def _floor(moment: datetime, letters: int) -> datetime:
    whole = moment.replace(second=0, microsecond=0)
    if letters == 15:
        return whole.replace(minute=whole.minute // 10 * 10)
    if letters == 16:
        return whole
    return whole.replace(minute=0, hour=0 if letters == 10 else whole.hour)
