"""`etl diff T1 T2`: what differs between two moments, as a table, JSON Lines and CSV."""

import csv
import io
import json
from collections import Counter
from typing import Any

import pytest

from tests.cli.command import BIDI, Place
from tests.support.places import OVERRIDE


@pytest.fixture(scope="module")
def moments(story: Place) -> tuple[str, str]:
    """When the first sync had ended, and when the second one had."""
    shown = story.etl("changes", "--format", "json").out
    rows = [json.loads(line) for line in shown.splitlines()]
    first, second = (
        max(row["observed_at"] for row in rows if row["run_id"] in runs)
        for runs in ((1, 2, 3), (4, 5, 6))
    )
    return first, second


def told(story: Place, *words: str) -> list[dict[str, Any]]:
    """The records that differ."""
    shown = story.etl("diff", *words, "--format", "json").out
    return [json.loads(line) for line in shown.splitlines()]


def test_the_table_tells_every_record_its_fields_and_the_sums(
    story: Place, moments: tuple[str, str]
) -> None:
    shown = story.etl("diff", *moments).out
    assert "  ~ updated  search-new\n" in shown
    assert '      key: "search" -> "search-new"\n' in shown
    counts = Counter(row["operation"] for row in told(story, *moments))
    assert shown.splitlines()[-1] == (
        f"{counts['created']} created, {counts['updated']} updated, {counts['deleted']} deleted"
    )


def test_the_second_moment_is_now_if_none_is_named(story: Place, moments: tuple[str, str]) -> None:
    first, second = moments
    assert {row["operation"] for row in told(story, first)} == {"created", "updated"}
    assert [row["operation"] for row in told(story, second)] == ["restored"]


def test_json_has_the_fields_of_updates_and_the_records_of_all_others(
    story: Place, moments: tuple[str, str]
) -> None:
    for row in told(story, *moments):
        assert bool(row["fields"]) == (row["operation"] == "updated")
        assert ("record" in row) == (row["operation"] != "updated")


def test_nothing_a_vendor_wrote_is_obeyed_by_a_terminal(
    story: Place, moments: tuple[str, str]
) -> None:
    shown = story.etl("diff", *moments).out
    assert json.dumps(OVERRIDE)[1:-1] in shown
    assert BIDI.search(shown) is None


def test_csv_has_a_row_a_field(story: Place, moments: tuple[str, str]) -> None:
    shown = story.etl("diff", *moments, "--format", "csv").out
    rows = list(csv.DictReader(io.StringIO(shown, newline="")))
    fields = sum(max(1, len(row["fields"])) for row in told(story, *moments))
    assert len(rows) == fields
    assert any(row["key"] == "'@SUM(A1)" for row in rows)


def test_one_source_and_stream_may_be_asked_for(story: Place, moments: tuple[str, str]) -> None:
    found = told(story, *moments, "--source", "st", "--stream", "layers")
    assert {(row["source"], row["stream"]) for row in found} == {("st", "layers")}


def test_no_difference_is_told(story: Place) -> None:
    assert story.etl("diff", "0s").out.splitlines()[-1] == "no difference"


def test_the_earlier_moment_comes_first(story: Place, moments: tuple[str, str]) -> None:
    ended = story.etl("diff", moments[1], moments[0])
    assert (ended.code, "earlier first" in ended.err) == (2, True)


@pytest.mark.parametrize("words", [("soon",), ("1d", "soon"), ("1d", "--stream", "flags")])
def test_what_cannot_be_understood_is_exit_2(story: Place, words: tuple[str, ...]) -> None:
    ended = story.etl("diff", *words)
    assert (ended.code, ended.out) == (2, "")


@pytest.mark.parametrize(
    ("words", "what"),
    [(("2020-01-01",), "nothing is known before"), (("0s", "2099-01-01"), "is in the future")],
)
def test_of_what_is_not_known_nothing_is_claimed(
    story: Place, words: tuple[str, ...], what: str
) -> None:
    ended = story.etl("diff", *words)
    assert (ended.code, what in ended.err) == (2, True)


def test_the_moment_that_is_told_as_the_first_is_one(story: Place) -> None:
    told = story.etl("diff", "2020-01-01").err
    first = told.partition("before ")[2].partition(" UTC")[0]
    assert "nothing is known before" not in story.etl("diff", first).err
