"""Charts: nothing is lost in them, and nothing stands outside."""

import re
from datetime import UTC, datetime, timedelta

import pytest

from etl.reports.charts import MAX_BARS, Bar, columns, over_time, row

KINDS = ("created", "updated")
BEGIN = datetime(2026, 11, 1, 13, 37, 11, tzinfo=UTC)
SPANS = [0, 1, 90, 3600, 86_400, 7 * 86_400, 31 * 86_400, 365 * 86_400, 40 * 365 * 86_400]


@pytest.mark.parametrize("seconds", SPANS)
def test_every_change_is_in_one_bar_whatever_the_time(seconds: int) -> None:
    end = BEGIN + timedelta(seconds=seconds)
    middle = BEGIN + timedelta(seconds=seconds / 2)
    counts = [(BEGIN, "created", 2), (middle, "updated", 3), (end, "created", 5)]
    bars = over_time(counts, BEGIN, end)
    assert 1 <= len(bars) <= MAX_BARS + 1
    assert sum(bar.parts.get("created", 0) for bar in bars) == 7
    assert sum(bar.parts.get("updated", 0) for bar in bars) == 3
    assert bars[0].parts["created"] >= 2
    assert bars[-1].parts["created"] >= 5


@pytest.mark.parametrize("seconds", SPANS)
def test_no_bar_stands_outside_of_its_chart(seconds: int) -> None:
    end = BEGIN + timedelta(seconds=seconds)
    bars = over_time([(BEGIN, "created", 2), (end, "updated", 40)], BEGIN, end)
    drawn = columns(bars, KINDS, "Changes over time")
    places = [float(x) for x in re.findall(r'<rect [^>]*x="([\d.]+)%"', drawn)]
    assert places
    assert all(0 <= x < 100 for x in places)
    heights = [float(y) for y in re.findall(r'height="([\d.]+)" ', drawn)]
    assert max(heights) <= 150


def test_a_lying_bar_is_as_long_as_its_share() -> None:
    drawn = row(Bar("here", {"created": 1, "updated": 2}), KINDS, 4)
    assert re.findall(r'<rect [^>]*width="([\d.]+)%"', drawn) == ["25.000", "50.000"]


def test_a_chart_tells_what_it_shows_to_those_who_do_not_see_it() -> None:
    drawn = row(Bar("<b>", {"created": 1200}), KINDS, 1200)
    assert 'role="img"' in drawn
    assert 'aria-label="&lt;b&gt;: 1,200 created"' in drawn


def test_nothing_is_drawn_of_nothing() -> None:
    assert "<rect" not in columns(over_time([], BEGIN, BEGIN), KINDS, "nothing")
    assert "nothing" in row(Bar("here", {}), KINDS, 0)
