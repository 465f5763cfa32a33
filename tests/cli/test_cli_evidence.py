"""`etl report … --format html`: pages that are one file; the evidence of a run or a time."""

import json
from pathlib import Path

import pytest

from tests.cli.command import BIDI, ESCAPE, Place
from tests.support.places import MARKUP
from tests.unit.reports.test_html import Seen

PAGE = ("--format", "html")


def test_the_evidence_of_a_time_tells_every_change(story: Place) -> None:
    ended = story.etl("report", "changes", "--since", "1h", *PAGE)
    seen = Seen(ended.out)
    assert (ended.code, ended.err) == (0, "")
    for line in story.etl("changes", "--format", "json").out.splitlines():
        change = json.loads(line)
        assert (change["path"] or "") in seen.text
    assert "the provider answers 404 for it" in seen.text
    assert "Every stream was read to its proved end in every run." in seen.text


def test_the_evidence_of_a_run_tells_that_run(story: Place) -> None:
    seen = Seen(story.etl("report", "changes", "--run", "5", *PAGE).out)
    assert "Run 5 of st" in seen.text
    assert MARKUP in seen.text
    assert "search-new" not in seen.text


def test_no_page_runs_or_loads_anything_or_holds_codes(story: Place) -> None:
    for words in (("changes",), ("change_feed",), ("project_inventory", "--source", "ld")):
        shown = story.etl("report", *words, *PAGE).out
        seen = Seen(shown)
        assert shown.startswith('<!doctype html>\n<html lang="en">')
        assert not {"script", "img", "link", "iframe", "a"} & set(seen.tags)
        assert ESCAPE not in shown
        assert BIDI.search(shown) is None


def test_a_ready_report_may_be_a_page(story: Place) -> None:
    seen = Seen(story.etl("report", "project_inventory", *PAGE).out)
    assert seen.tags.count("tr") == 1 + sum(
        found["projects"] for found in story.sandbox.counts().values()
    )
    assert (
        "The first 3 rows."
        in Seen(story.etl("report", "project_inventory", "--limit", "3", *PAGE).out).text
    )


@pytest.mark.parametrize("form", ["table", "csv", "json", "html"])
def test_a_report_that_ends_before_its_rows_leaves_no_cursor_behind(
    story: Place, form: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("etl.db.large_rows.MAX_ROWS", 2)
    ended = story.etl("report", "change_feed", "--limit", "3", "--format", form)
    assert (ended.code, ended.err + capfd.readouterr().err) == (0, "")


@pytest.mark.parametrize("words", [("changes", *PAGE), ("source_freshness", "--format", "csv")])
def test_a_report_goes_to_a_file_that_is_kept(
    story: Place, tmp_path: Path, words: tuple[str, ...]
) -> None:
    place = tmp_path / "report"
    command = ("report", *words, "--out", str(place))
    assert story.etl(*command).code == 0
    made = place.read_bytes()
    assert len(made) > 100
    ended = story.etl(*command)
    assert (ended.code, "--force" in ended.err, place.read_bytes() == made) == (2, True, True)
    assert story.etl(*command, "--force").code == 0


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ("changes", "--format html"),
        ("changes --format csv", "etl changes"),
        ("changes --format html --as-of 1d", "--since"),
        ("changes --format html --run 99", "there is no run 99"),
        ("changes --format html --run 1 --since 1d", "--run names one run"),
        ("changes --format html --since soon", "7d, 12h, 90min"),
        ("changes --format html --stream flags", "projects, environments, layers"),
        ("changes --format html --since 1h --until 2h", "is after"),
        ("layer_capacity --since 7d", "etl report changes"),
        ("layer_capacity --out x.txt", "--format csv"),
    ],
)
def test_what_makes_no_sense_is_exit_2_with_the_way_out(
    story: Place, words: str, what: str
) -> None:
    ended = story.etl("report", *words.split())
    assert (ended.code, ended.out) == (2, "")
    assert what in ended.err
