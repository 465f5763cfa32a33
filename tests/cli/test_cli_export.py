"""`etl export`: files for other programs, whole or not there."""

import csv
import io
import json
import re
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyarrow import parquet

from tests.cli.command import Place

BREAKS = (
    "CREATE VIEW breaks AS SELECT project_id, "
    "CASE WHEN project_id > 3 THEN json('{') ELSE '1' END AS broken FROM projects"
)


@pytest.fixture
def broken(story: Place) -> Iterator[str]:
    """A view that fails in the middle of its rows."""
    _execute(story, BREAKS)
    yield "breaks"
    _execute(story, "DROP VIEW breaks")


def test_a_table_goes_to_stdout_as_csv(story: Place) -> None:
    ended = story.etl("export", "projects_current", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(ended.out, newline="")))
    there = story.sandbox.counts()
    assert len(rows) == sum(found["projects"] for found in there.values())
    assert (ended.code, ended.err) == (0, "")


def test_without_a_name_all_that_can_be_exported_is_listed(story: Place) -> None:
    ended = story.etl("export")
    assert (ended.code, ended.err) == (0, "")
    listed = [
        line.strip() for line in ended.out.splitlines() if line.strip().endswith((" yes", " no"))
    ]
    moment = story.etl("runs", "--json").json[0]["observed_at"]
    for line in listed:
        name, tells, keeps_past = re.split(r" {2,}", line)
        assert tells
        ended = story.etl("export", name, "--format", "jsonl", "--as-of", moment)
        assert ended.code == (0 if keeps_past == "yes" else 2), name
    assert len(listed) == len(set(listed)) > 30


@pytest.mark.parametrize(
    ("words", "what"),
    [("runs", "--format csv, jsonl, parquet"), ("--format csv", "`etl export` alone lists them")],
)
def test_half_a_question_is_exit_2_with_the_way_out(story: Place, words: str, what: str) -> None:
    ended = story.etl("export", *words.split())
    assert (ended.code, ended.out) == (2, "")
    assert what in ended.err


def test_one_source_goes_to_stdout_as_json_lines(story: Place) -> None:
    shown = story.etl("export", "layers", "--format", "jsonl", "--source", "st").out
    assert {json.loads(line)["source"] for line in shown.splitlines()} == {"st"}


TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"


@pytest.mark.parametrize(
    "words",
    [
        "export change_feed --format csv",
        "changes --format csv",
        "history STREAM KEY --format csv",
        "diff MOMENT --source st --format csv",
        "report who_changed_what --format csv",
    ],
)
def test_every_csv_is_exact_or_for_spreadsheets_when_asked(story: Place, words: str) -> None:
    first = json.loads(story.etl("changes", "--format", "json").out.splitlines()[0])
    runs = story.etl("runs", "--json").json
    moment = min(row["observed_at"] for row in runs if row["source"] == "st")
    words = (
        words.replace("STREAM", first["stream"])
        .replace("KEY", first["key"])
        .replace("MOMENT", moment)
    )
    plain, exact = story.etl(*words.split()), story.etl(*words.split(), "--exact")
    table = story.etl(*words.split(), "--spreadsheet")
    assert (plain.code, exact.code, table.code) == (0, 0, 0)
    assert table.out.startswith("\ufeff")
    assert re.search(TIME, table.out)
    assert not re.search(TIME, plain.out + exact.out)
    assert "T" in next(csv.DictReader(plain.out.splitlines()))["observed_at"]
    for wrong in ("--exact --spreadsheet", "--exact --format json", "--spreadsheet --format json"):
        ended = story.etl(*words.replace(" --format csv", "").split(), *wrong.split())
        assert (ended.code, ended.out) == (2, "")


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_a_file_is_written_and_told(story: Place, tmp_path: Path, form: str) -> None:
    place = tmp_path / f"changes.{form}"
    ended = story.etl("export", "change_feed", "--format", form, "--out", str(place))
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.endswith(f" rows of change_feed in {place}\n")
    assert list(tmp_path.iterdir()) == [place]
    if form == "parquet":
        assert parquet.read_table(place).num_rows > 0


def test_a_file_that_is_there_is_kept_but_by_force(story: Place, tmp_path: Path) -> None:
    place = tmp_path / "out.csv"
    place.write_text("mine")
    command = ("export", "runs", "--format", "csv", "--out", str(place))
    ended = story.etl(*command)
    assert (ended.code, "--force" in ended.err, place.read_text()) == (2, True, "mine")
    assert story.etl(*command, "--force").code == 0
    assert place.read_text().startswith("run_id,")


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_an_export_that_fails_leaves_no_half_file(
    story: Place, tmp_path: Path, broken: str, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("etl.db.large_rows.MAX_ROWS", 2)
    ended = story.etl("export", broken, "--format", form, "--out", str(tmp_path / "out"))
    assert (ended.code, "the database failed" in ended.err) == (1, True)
    assert list(tmp_path.iterdir()) == []


def test_a_table_is_written_as_it_was(story: Place) -> None:
    command = ("export", "projects_current", "--format", "jsonl", "--source", "ld")
    runs = story.etl("runs", "ld", "--json").json
    first = next(run["observed_at"] for run in reversed(runs))
    then, now = (story.etl(*command, *more).out for more in (("--as-of", first), ()))
    keys = [{json.loads(line)["key"] for line in shown.splitlines()} for shown in (then, now)]
    assert keys[1] - keys[0] == {"search-new"}
    assert keys[0] - keys[1] == {"search"}


def test_a_report_is_written_as_it_was(story: Place) -> None:
    runs = story.etl("runs", "--json").json
    first = runs[-1]["observed_at"]
    found = [
        story.etl(*command, "project_inventory", "--format", "csv", "--as-of", first).out
        for command in (("export",), ("report",))
    ]
    assert found[0] == found[1]
    assert len(found[0].splitlines()) > 2


@pytest.mark.parametrize(
    ("table", "moment", "what"),
    [
        ("source_freshness", "0s", "is of no other time"),
        ("runs", "0s", "change_feed"),
        ("layers", "2020-01-01", "nothing is known"),
        ("layers", "soon", "--as-of 'soon'"),
    ],
)
def test_a_past_that_is_not_kept_is_exit_2(
    story: Place, table: str, moment: str, what: str
) -> None:
    ended = story.etl("export", table, "--format", "csv", "--as-of", moment)
    assert (ended.code, what in ended.err) == (2, True)


def test_a_wrong_name_is_answered_with_the_nearest_one(story: Place, tmp_path: Path) -> None:
    ended = story.etl("export", "layer", "--format", "csv", "--out", str(tmp_path / "out"))
    assert (ended.code, list(tmp_path.iterdir())) == (2, [])
    assert "did you mean layers?" in ended.err


def test_parquet_wants_a_file(story: Place) -> None:
    ended = story.etl("export", "layers", "--format", "parquet")
    assert (ended.code, "--out" in ended.err) == (2, True)


def test_without_pyarrow_the_way_out_is_told(
    story: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    command = ("export", "layers", "--format", "parquet", "--out", str(tmp_path / "out"))
    ended = story.etl(*command)
    assert (ended.code, "pip install '.[export]'" in ended.err) == (2, True)
    assert story.etl("export", "layers", "--format", "csv").code == 0


def _execute(place: Place, statement: str) -> None:
    connection = sqlite3.connect(place.database)
    connection.execute(statement)
    connection.commit()
    connection.close()
