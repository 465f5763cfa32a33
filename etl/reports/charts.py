"""Charts as inline SVG: they need no script, no library and no network, and print well. Pure.

Widths are in percent of what there is, heights and letters in pixels, so nothing is squeezed.
Colours are classes, which the page's style sheet gives to light, dark and paper.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from etl.reports.html import Child, Html, tag

MAX_BARS = 60
_SPANS = tuple(
    timedelta(**{unit: count})
    for unit, counts in (("minutes", (1, 5, 15)), ("hours", (1, 3, 6)), ("days", (1, 7, 28)))
    for count in counts
)
_HEIGHT, _FOOT, _HEAD = 150, 22, 16


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: what it is called, and how much of each kind it holds."""

    label: str
    parts: Mapping[str, int]

    @property
    def total(self) -> int:
        """All of it."""
        return sum(self.parts.values())


def over_time(
    counts: Sequence[tuple[datetime, str, int]], begin: datetime, end: datetime
) -> list[Bar]:
    """Bars of equal spans of time, all of them, the empty ones too; [(moment, kind, count)]."""
    longest = _SPANS[-1]
    span = next((one for one in _SPANS if (end - begin) / one <= MAX_BARS), longest)
    while (end - begin) / span > MAX_BARS:
        span *= 2
    midnight = begin.replace(hour=0, minute=0, second=0, microsecond=0)
    first = midnight + (begin - midnight) // span * span
    parts: list[dict[str, int]] = [{} for _ in range(int((end - first) / span) + 1)]
    for moment, kind, count in counts:
        place = parts[int((moment - first) / span)]
        place[kind] = place.get(kind, 0) + count
    form = "%d %b" if span >= timedelta(days=1) else "%d %b %H:%M"
    return [Bar(f"{first + span * at:{form}}", found) for at, found in enumerate(parts)]


def columns(bars: Sequence[Bar], kinds: Sequence[str], title: str) -> Html:
    """Standing bars, stacked by kind, with a scale, and the first, middle and last label."""
    most = max(1, max((bar.total for bar in bars), default=1))
    step = 100 / len(bars)
    drawn = [_column(bar, kinds, at * step, step, most) for at, bar in enumerate(bars)]
    shown = sorted({0, len(bars) // 2, len(bars) - 1})
    anchors = {0: "start", len(bars) - 1: "end"}
    labels = [
        tag(
            "text",
            bars[at].label,
            x=f"{_edge(at, len(bars), step):.2f}%",
            y=_HEAD + _HEIGHT + _FOOT - 5,
            text_anchor=anchors.get(at, "middle"),
        )
        for at in (shown if len(bars) > 2 else shown[:1])
    ]
    scale = [
        tag("line", x1="0", x2="100%", y1=_HEAD, y2=_HEAD, class_="grid"),
        tag("text", f"{most:,}", x="0", y=_HEAD - 4),
        tag("line", x1="0", x2="100%", y1=_HEAD + _HEIGHT, y2=_HEAD + _HEIGHT, class_="axis"),
    ]
    return _drawing(title, _HEAD + _HEIGHT + _FOOT, scale, drawn, labels)


def _edge(at: int, count: int, step: float) -> float:
    if at == 0:
        return 0
    return 100 if at == count - 1 else (at + 0.5) * step


def _column(bar: Bar, kinds: Sequence[str], left: float, step: float, most: int) -> Html:
    top, parts = float(_HEAD + _HEIGHT), []
    for kind in kinds:
        height = _HEIGHT * bar.parts.get(kind, 0) / most
        if height:
            top -= height
            place = {"x": f"{left + step * 0.12:.3f}%", "width": f"{step * 0.76:.3f}%"}
            parts.append(
                tag("rect", y=f"{top:.2f}", height=f"{height:.2f}", class_=f"fill {kind}", **place)
            )
    return tag("g", tag("title", _told(bar, kinds)), parts) if parts else Html()


def row(bar: Bar, kinds: Sequence[str], most: int) -> Html:
    """A lying bar, stacked by kind; `most` is the total of a bar of full width."""
    left, parts = 0.0, []
    for kind in kinds:
        width = 100 * bar.parts.get(kind, 0) / max(1, most)
        if width:
            place = {"x": f"{left:.3f}%", "width": f"{width:.3f}%"}
            parts.append(tag("rect", y="0", height="12", class_=f"fill {kind}", **place))
            left += width
    return _drawing(_told(bar, kinds), 12, parts)


def _told(bar: Bar, kinds: Sequence[str]) -> str:
    parts = ", ".join(f"{bar.parts[kind]:,} {kind}" for kind in kinds if bar.parts.get(kind))
    return f"{bar.label}: {parts or 'nothing'}"


def _drawing(title: str, height: int, *parts: Child) -> Html:
    children: list[Child] = [tag("title", title), *parts]
    return tag("svg", *children, role="img", aria_label=title, width="100%", height=height)
