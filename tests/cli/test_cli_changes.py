"""`etl status`, `runs`, `show`, `changes`, `history`: how fresh it is, what ran, what changed."""

import csv
import io
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from etl.sandbox import Fault
from tests.cli.command import Place

STREAMS = [
    ("ld", "environments"),
    ("ld", "layers"),
    ("ld", "projects"),
    ("ly", "projects"),
    ("st", "layers"),
    ("st", "projects"),
]


def test_status_has_a_line_a_source_and_stream(story: Place) -> None:
    shown = [tuple(words[:2]) for words in _words(story.etl("status").out)]
    assert shown[2:] == STREAMS


def test_status_of_one_source_shows_only_that(story: Place) -> None:
    assert [row["source"] for row in story.etl("status", "ly", "--json").json] == ["ly"]


def test_status_as_json_counts_what_is_there(story: Place) -> None:
    there = story.sandbox.counts()
    found = story.etl("status", "--json").json
    assert [(row["source"], row["stream"]) for row in found] == STREAMS
    assert all(row["records"] == there[row["provider"]][row["stream"]] for row in found)
    assert all(row["age_seconds"] >= 0 and row["state"] == "ok" for row in found)


def test_status_before_the_first_sync_says_so(here: Place) -> None:
    ended = here.etl("status")
    assert (ended.code, "etl sync" in ended.out) == (0, True)


def test_status_fresher_than_allowed_is_exit_0(story: Place) -> None:
    assert story.etl("status", "--max-age", "2d").code == 0


def test_status_staler_than_allowed_is_exit_6(story: Place) -> None:
    ended = story.etl("status", "--max-age", "0s")
    assert ended.code == 6
    assert ended.err == "etl: stale: 6 of 6 older than 0s\n"


def test_status_with_nothing_synced_is_stale(here: Place) -> None:
    assert here.etl("status", "--max-age", "1h").code == 6


def test_a_source_that_was_never_synced_is_stale(here: Place) -> None:
    assert here.etl("sync", "ly", "ld").code == 0
    ended = here.etl("status", "--max-age", "1h")
    assert ended.code == 6
    assert "never synced" in ended.out


def test_a_later_partial_sync_makes_nothing_fresh(here: Place) -> None:
    assert here.etl("sync", "ly").code == 0
    before = here.etl("status", "ly", "--json").json
    here.sandbox.add_fault(Fault("layers /v1/projects[?]*", "patch", arg=(("id",), None)))
    assert here.etl("sync", "ly").code == 5
    here.etl("sync", "ly", "--dry-run")
    here.etl("plan", "ly")
    after = here.etl("status", "ly", "--json").json
    assert [row["last_complete_at"] for row in after] == [row["last_complete_at"] for row in before]


def test_a_stream_that_was_never_synced_is_told(here: Place) -> None:
    assert here.etl("sync", "st", "--stream", "projects").code == 0
    found = here.etl("status", "st", "--json").json
    assert [(row["stream"], row["state"]) for row in found] == [
        ("layers", "never"),
        ("projects", "ok"),
    ]


def test_an_age_beyond_all_time_is_never_stale(story: Place) -> None:
    assert story.etl("status", "--max-age", "99999999999d").code == 0


@pytest.mark.parametrize("age", ["soon", "1 fortnight", "-1h", ""])
def test_an_age_that_is_none_is_exit_2(story: Place, age: str) -> None:
    ended = story.etl("status", "--max-age", age)
    assert (ended.code, "90min" in ended.err) == (2, True)


def test_status_of_an_unknown_source_is_exit_2(story: Place) -> None:
    ended = story.etl("status", "lds")
    assert (ended.code, "no source lds" in ended.err) == (2, True)


def test_status_tells_a_source_that_failed_last(done: Place) -> None:
    done.etl("sync", "ly", ly="wrong")
    (row,) = done.etl("status", "ly", "--json").json
    assert (row["run_status"], "401" in row["remark"]) == ("denied", True)
    assert row["last_complete_at"] is not None
    assert "denied" in done.etl("status", "ly").out


def test_runs_are_the_newest_first(story: Place) -> None:
    found = story.etl("runs", "--json").json
    assert [row["run_id"] for row in found] == list(range(9, 0, -1))
    assert {row["status"] for row in found} == {"ok"}


def test_runs_as_a_table_tell_what_changed(story: Place) -> None:
    shown = story.etl("runs", "ly").out
    assert "14 created" in shown
    assert (" kind " in shown, " sync " in shown) == (True, True)
    assert "1 deleted" in shown
    assert "1 restored" in shown


def test_runs_may_be_limited_and_of_one_source(story: Place) -> None:
    found = story.etl("runs", "st", "--limit", "2", "--json").json
    assert [row["source"] for row in found] == ["st", "st"]


def test_runs_of_an_unknown_source_are_exit_2(story: Place) -> None:
    ended = story.etl("runs", "nobody")
    assert (ended.code, "there is no source nobody" in ended.err) == (2, True)


def test_show_tells_a_run_stream_by_stream(story: Place) -> None:
    shown = story.etl("show", "1").out
    assert shown.startswith("run 1 of ld (launchdarkly): sync, ok, exit 0\n")
    assert [words[0] for words in _words(shown)[4:]] == ["environments", "layers", "projects"]


def test_show_as_json_is_the_run_with_its_streams(story: Place) -> None:
    found = story.etl("show", "1", "--json").json
    assert found["run_id"] == 1
    there = {row["stream"]: row["received"] for row in found["streams"] if not row["parent_id"]}
    assert there == {"projects": 5, "environments": 36, "layers": 20}


def test_show_tells_the_proof_of_every_list(story: Place) -> None:
    shown = story.etl("show", "1", "--partitions").out.partition("how it ended")[2]
    told = [words for words in _words(shown) if words[0] == "layers"]
    assert len(told) == 5  # the projects of the source
    assert all(words[3:7] == ["4", "4", "1", "1"] for words in told), told  # expected … walks
    assert all(words[7:] == ["end", "mark", "reached"] for words in told)


def test_show_of_a_run_that_is_not_there_is_exit_2(story: Place) -> None:
    ended = story.etl("show", "77")
    assert (ended.code, "there is no run 77" in ended.err) == (2, True)


@pytest.mark.parametrize("words", [("show",), ("changes", "--run"), ("runs", "--limit")])
def test_a_number_beyond_the_database_is_a_clear_error(
    story: Place, words: tuple[str, ...]
) -> None:
    ended = story.etl(*words, "9" * 20)
    assert (ended.code, ended.err) == (2, "etl: a number is too large for the database\n")


def test_show_of_a_run_that_goes_on_names_no_exit_code(done: Place) -> None:
    connection = sqlite3.connect(done.database)
    connection.execute("UPDATE runs SET status = 'running', exit_code = NULL, finished_at = NULL")
    connection.commit()
    connection.close()
    first = done.etl("show", "1").out.splitlines()[0]
    assert first == "run 1 of ld (launchdarkly): sync, running"


def test_changes_tell_every_change_field_by_field(story: Place) -> None:
    shown = story.etl("changes", "--run", "4").out
    assert "  ~ updated  projects     search-new\n" in shown
    assert '      key: "search" -> "search-new"\n' in shown
    assert "      tags: " in shown


def test_changes_tell_how_a_deletion_is_known(story: Place) -> None:
    shown = story.etl("changes", "--source", "ly").out
    assert "(the provider answers 404 for it)" in shown
    assert "  * restored" in shown


def test_changes_as_json_are_one_line_a_field(story: Place) -> None:
    found = list(_lines(story.etl("changes", "--run", "4", "--format", "json").out))
    renamed = [row for row in found if row["path"] == "key"]
    assert [(row["old_value"], row["new_value"]) for row in renamed] == [("search", "search-new")]


def test_a_field_that_was_not_there_has_no_value_in_json(story: Place) -> None:
    created = next(_lines(story.etl("changes", "--run", "1", "--format", "json").out))
    assert {"old_value", "new_value"} & set(created) == set()


def test_all_three_forms_tell_the_same_number_of_changes(story: Place) -> None:
    table, lines, cells = (
        story.etl("changes", "--format", form).out for form in ("table", "json", "csv")
    )
    told = {row["change_id"] for row in _lines(lines)}
    assert {int(row["change_id"]) for row in _csv(cells)} == told
    assert sum(text.startswith("  ") and text[2] in "+~-*" for text in table.splitlines()) == len(
        told
    )


@pytest.mark.parametrize(
    ("words", "runs"),
    [
        (("--source", "st"), {2, 5}),
        (("--stream", "environments"), {1}),
        (("--key", "search-new"), {4}),
        (("--run", "9"), {9}),
        (("--since", "1h"), {1, 2, 3, 4, 5, 6, 9}),
        (("--since", "2020-01-01"), {1, 2, 3, 4, 5, 6, 9}),
        (("--since", "2020-01-01T00:00:00+02:00"), {1, 2, 3, 4, 5, 6, 9}),
        (("--since", "99999999999d"), {1, 2, 3, 4, 5, 6, 9}),
        (("--since", "0s"), set()),
        (("--since", "2099-01-01T12:00"), set()),
    ],
)
def test_changes_may_be_asked_for(story: Place, words: tuple[str, ...], runs: set[int]) -> None:
    found = _lines(story.etl("changes", "--format", "json", *words).out)
    assert {row["run_id"] for row in found} == runs


def test_changes_since_the_last_merge_are_those_of_it(story: Place) -> None:
    last = next(_lines(story.etl("changes", "--run", "9", "--format", "json").out))
    found = _lines(story.etl("changes", "--since", last["observed_at"], "--format", "json").out)
    assert {row["run_id"] for row in found} == {9}


def test_no_change_is_told(story: Place) -> None:
    assert story.etl("changes", "--since", "0s").out == "no change\n"


def test_a_time_that_is_none_is_exit_2(story: Place) -> None:
    ended = story.etl("changes", "--since", "yesterday")
    assert (ended.code, "7d, 12h, 90min" in ended.err) == (2, True)


def test_an_unknown_stream_is_exit_2(story: Place) -> None:
    for words in (("changes", "--stream", "flags"), ("history", "flags", "x")):
        ended = story.etl(*words)
        assert (ended.code, "projects, environments, layers" in ended.err) == (2, True)


@pytest.mark.parametrize("key", ["search-new", "search"])
def test_history_finds_a_renamed_project_by_both_keys(story: Place, key: str) -> None:
    shown = story.etl("history", "projects", key).out
    assert shown.startswith("search-new\n")
    assert [words[5:8] for words in _words(shown) if words[0].isdigit()] == [
        ["1", "+", "created"],
        ["4", "~", "updated"],
    ]
    assert 'key: "search" -> "search-new"' in shown


def test_history_finds_a_record_by_its_id(story: Place) -> None:
    project = story.sandbox.world.find("launchdarkly", "projects", "search-new")
    assert project is not None
    assert "search-new" in story.etl("history", "projects", project.payload["_id"]).out


def test_history_may_be_of_one_source_and_json(story: Place) -> None:
    ended = story.etl("history", "layers", "Checkout", "--source", "st", "--format", "json")
    assert {row["operation"] for row in _lines(ended.out)} == {"created", "updated"}


def test_history_tells_who_did_it_when_and_when_the_vendor_says_it_was(story: Place) -> None:
    layer = story.sandbox.world.find("statsig", "layers", "Checkout")
    assert layer is not None
    (told,) = [
        line for line in story.etl("history", "layers", "Checkout").out.splitlines() if "~" in line
    ]
    assert f"  by {layer.payload['lastModifierName']}  vendor's time 20" in told


def test_history_tells_a_deletion_with_its_evidence_and_the_return(story: Place) -> None:
    (gone,) = [
        row
        for row in _lines(story.etl("changes", "--source", "ly", "--format", "json").out)
        if row["operation"] == "deleted"
    ]
    shown = story.etl("history", "projects", gone["key"]).out
    assert "  now      live, 3 versions\n" in shown
    assert "- deleted   the provider answers 404 for it\n" in shown
    assert "* restored  after " in shown


def test_history_of_several_records_tells_one_after_the_other(story: Place) -> None:
    found = list(_lines(story.etl("history", "layers", "Checkout", "--format", "json").out))
    shown = story.etl("history", "environments", "production").out
    told = [row["key"] for row in found]
    assert told == sorted(told)
    ids = [words[1] for words in _words(shown) if words[0] == "id"]
    assert len(ids) == len(set(ids)) > 1


def test_history_of_a_record_that_never_was_is_exit_2(story: Place) -> None:
    ended = story.etl("history", "projects", "none")
    assert (ended.code, ended.out) == (2, "")
    assert "'none'" in ended.err


def _words(shown: str) -> list[list[str]]:
    return [text.split() for text in shown.splitlines() if text.strip()]


def _lines(shown: str) -> Iterator[Any]:
    return map(json.loads, shown.splitlines())


def _csv(shown: str) -> Iterator[dict[str, str]]:
    return csv.DictReader(io.StringIO(shown, newline=""))


def test_the_looking_examples_of_the_readme_run(story: Place) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    block = readme.partition("Those that only look, as they are typed:")[2].split("```")[1]
    third = next(run for run in story.etl("runs", "--json").json if run["run_id"] == 3)
    block = block.replace("diff 7d", f"diff {third['finished_at']}")  # its past is seconds long
    lines = [line.partition("#")[0].split() for line in block.splitlines()[1:]]
    ended = {" ".join(words): story.etl(*words[1:]) for words in lines}
    assert len(ended) == 13
    assert {said: one.err for said, one in ended.items() if one.code != 0} == {}
