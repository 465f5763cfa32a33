"""`etl report`: ready answers for people and programs, now and as of a moment."""

import csv
import io
import json
import sqlite3

import pytest

from tests.cli.command import BIDI, ESCAPE, Place
from tests.support.internals.database import REPORTS


def first_syncs_end(place: Place) -> str:
    """The moment at which all sources had been read once."""
    with sqlite3.connect(place.database) as database:
        query = "SELECT MAX(observed_at) FROM runs WHERE run_id <= 3"
        return str(database.execute(query).fetchone()[0])


def keys(out: str) -> set[str]:
    return {json.loads(line)["project_key"] for line in out.splitlines()}


def test_without_a_name_the_reports_are_listed(story: Place) -> None:
    ended = story.etl("report")
    assert ended.code == 0
    assert all(name in ended.out for name in REPORTS)


@pytest.mark.parametrize("name", REPORTS)
def test_every_report_can_be_printed_in_every_form(story: Place, name: str) -> None:
    table, lines, rows = (story.etl("report", name, "--format", form) for form in FORMS)
    assert [ended.code for ended in (table, lines, rows)] == [0, 0, 0]
    assert table.out.startswith(f"{name}: {REPORTS[name].answers}\n")
    assert table.err == lines.err == rows.err == ""
    found = [json.loads(line) for line in lines.out.splitlines()]
    read = list(csv.DictReader(io.StringIO(rows.out, newline="")))
    assert len(found) == len(read)
    assert set(REPORTS[name].shown) <= set(rows.out.splitlines()[0].split(","))


FORMS = ("table", "json", "csv")


@pytest.mark.parametrize("form", FORMS)
def test_no_hostile_name_commands_a_terminal_or_a_spreadsheet(story: Place, form: str) -> None:
    for name in REPORTS:
        out = story.etl("report", name, "--format", form).out
        assert ESCAPE not in out
        assert form == "csv" or not BIDI.search(out)
        if form == "csv":
            cells = [cell for row in csv.reader(io.StringIO(out, newline="")) for cell in row]
            assert not [cell for cell in cells if cell.startswith(("=", "+", "@"))]


def test_a_hyphen_is_as_good_as_an_underscore(story: Place) -> None:
    one, other = (story.etl("report", name).out for name in ("layer-capacity", "layer_capacity"))
    assert one == other


def test_a_report_as_of_a_moment_shows_what_was_there_then(story: Place) -> None:
    def inventory(*more: str) -> set[str]:
        return keys(story.etl("report", "project_inventory", "--format", "json", *more).out)

    assert {"search", "search-new"} & inventory("--as-of", first_syncs_end(story)) == {"search"}
    assert {"search", "search-new"} & inventory() == {"search-new"}


def test_a_table_says_of_when_it_is(story: Place) -> None:
    moment = first_syncs_end(story)
    out = story.etl("report", "layer_capacity", "--as-of", moment).out
    assert f"as of {moment[:19]} UTC" in out.splitlines()[0]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["project_inventory", "--as-of", "7d"], "nothing is known before 20"),
        (["project_inventory", "--as-of", "2999-01-01"], "is in the future"),
        (["project_inventory", "--as-of", "soon"], "write 7d, 12h, 90min, or an ISO time"),
        (["source_freshness", "--as-of", "1s"], "`etl runs` lists what ran when"),
        (["nonsense"], "no report 'nonsense'; there are change_feed"),
    ],
)
def test_what_cannot_be_answered_is_exit_2_with_the_way_out(
    story: Place, arguments: list[str], told: str
) -> None:
    ended = story.etl("report", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert told in ended.err


def test_a_long_table_says_that_there_is_more(story: Place) -> None:
    out = story.etl("report", "project_inventory", "--limit", "3").out
    assert out.splitlines()[-1] == "the first 3 rows; --limit shows more, --format csv all"


def test_a_limit_holds_for_programs_too(story: Place) -> None:
    for form, heads in (("csv", 1), ("json", 0)):
        out = story.etl("report", "project_inventory", "--limit", "3", "--format", form).out
        assert len(out.splitlines()) == 3 + heads


def test_one_source_only(story: Place) -> None:
    out = story.etl("report", "project_inventory", "--source", "st", "--format", "json").out
    assert [json.loads(line)["source"] for line in out.splitlines()] == ["st"]


def test_a_report_without_rows_says_so(story: Place) -> None:
    assert story.etl("report", "key_rotations", "--source", "ly").out.splitlines()[-1] == "nothing"
