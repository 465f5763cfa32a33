"""`etl diff T1 T2`: what differs between two moments, as a table, JSON Lines and CSV."""

import csv
import io
import json
from collections import Counter
from typing import Any

import pytest

from tests.cli.command import Place


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


def test_csv_has_a_row_a_field(story: Place, moments: tuple[str, str]) -> None:
    shown = story.etl("diff", *moments, "--format", "csv").out
    rows = list(csv.DictReader(io.StringIO(shown, newline="")))
    fields = sum(max(1, len(row["fields"])) for row in told(story, *moments))
    assert len(rows) == fields
    assert any(row["key"] == "'@SUM(A1)" for row in rows)


def test_one_source_and_stream_may_be_asked_for(story: Place) -> None:
    found = told(story, "1d", "--source", "st", "--stream", "layers")
    assert {(row["source"], row["stream"]) for row in found} == {("st", "layers")}


def test_no_difference_is_told(story: Place) -> None:
    assert story.etl("diff", "0s").out.splitlines()[-1] == "no difference"


def test_the_earlier_moment_comes_first(story: Place) -> None:
    ended = story.etl("diff", "2026-02-02", "2026-01-01")
    assert (ended.code, "earlier first" in ended.err) == (2, True)


@pytest.mark.parametrize("words", [("soon",), ("1d", "soon"), ("1d", "--stream", "flags")])
def test_what_cannot_be_understood_is_exit_2(story: Place, words: tuple[str, ...]) -> None:
    ended = story.etl("diff", *words)
    assert (ended.code, ended.out) == (2, "")
