"""Reading page after page: what follows, what ends a run, and what single answers are worth."""

from typing import Any

import pytest
from sqlalchemy import Engine

from tests.support.database import rows
from tests.support.internals.values import Selection
from tests.support.lists import gone
from tests.support.runs import of
from tests.support.scripted import (
    PROJECTS,
    Vendor,
    cursor_list,
    ld,
    ld_account,
    ld_layer,
    ld_project,
    numbered_list,
    offset_list,
    partner,
    partners,
    statsig,
    statsig_layer,
)


def projects(keys: str) -> dict[str, Any]:
    return offset_list(PROJECTS, [ld_project(key) for key in keys], size=3)


def page(offset: int) -> str:
    return f"{PROJECTS}?limit=3&offset={offset}&sort=createdOn"


def account(store: Engine, keys: str) -> Vendor:
    vendor = ld(store, ld_account({key: [] for key in keys}, size=3), size=3)
    vendor.limits = {"delete_confirmations": 0}
    assert vendor.run().status == "ok"
    return vendor


def read(vendor: Vendor) -> list[str]:
    """The pages of projects that were asked for before the layers were, by their offset."""
    found: list[str] = []
    for one in vendor.asked:
        if "/layers" in one:
            break
        if "offset=" in one:
            found.append(one.partition("offset=")[2].partition("&")[0])
    return found


def test_each_page_begins_with_the_last_record_of_the_one_before(store: Engine) -> None:
    vendor = account(store, "abcdefg")
    assert read(vendor) == ["0", "2", "4"]


def test_pages_of_one_record_are_read_one_after_the_other(store: Engine) -> None:
    vendor = ld(store, ld_account({key: [] for key in "abc"}, size=1), size=1)
    assert vendor.run().status == "ok"
    assert read(vendor) == ["0", "1", "2"]


def test_a_page_that_does_not_follow_is_read_again_from_further_up(store: Engine) -> None:
    """a and b go after page 1: the page at offset 2 begins with e. A page earlier there is c."""
    vendor = account(store, "abcdefghi")
    before, later = projects("abcdefghi"), projects("cdefghi")
    vendor.answers |= later
    vendor.answers[page(0)] = [before[page(0)], later[page(0)]]
    report = vendor.run()
    assert read(vendor) == ["0", "2", "0", "2", "4"]
    found = of(report, "projects")
    assert (found.status, found.received) == ("ok", 9)  # a and b came, and are gone by now
    vendor.answers |= later
    vendor.run()
    assert [key for key, _ in gone(store, "projects")] == ["a", "b"]


def test_a_gap_is_remembered_when_later_pages_follow(store: Engine) -> None:
    """Of the second page nothing is left but a stranger; from the third one on all is well."""
    vendor = account(store, "abcdefghijk")
    listed = projects("abcdefghijk")
    strange = [ld_project(key) for key in "xye"]
    listed[page(2)] = {**listed[page(2)], "items": strange, "totalCount": 11}
    vendor.answers |= {f"{PROJECTS}/{key}/layers": {"items": []} for key in "xy"} | listed
    report = vendor.run()
    found = of(report, "projects")
    assert (found.status, gone(store)) == ("incomplete", [])
    assert found.incomplete_reason == "4 pages did not follow the page before them"


def test_after_a_gap_the_walk_only_goes_on(store: Engine) -> None:
    """Two pages do not follow; when the first one was given up, nobody steps back for the other."""
    vendor = account(store, "abcdefghijk")
    listed = projects("abcdefghijk")
    for offset, keys in ((2, "xyz"), (4, "uvg")):
        strange = [ld_project(key) for key in keys]
        listed[page(offset)] = {**listed[page(offset)], "items": strange}
    vendor.answers |= {f"{PROJECTS}/{key}/layers": {"items": []} for key in "xyzuv"} | listed
    assert of(vendor.run(), "projects").status == "incomplete"
    assert read(vendor)[-4:] == ["2", "4", "6", "8"]


@pytest.mark.parametrize("status", [400, 410, 422])
def test_only_a_404_says_that_a_selected_project_is_not_there(store: Engine, status: int) -> None:
    vendor = account(store, "abc")
    vendor.limits = {}
    vendor.answers[f"{PROJECTS}/b"] = status
    report = vendor.run(backfill=Selection(projects=("b",)))
    assert (report.status, gone(store)) == ("failed", [])
    vendor.answers[f"{PROJECTS}/b"] = 404
    vendor.answers |= projects("ac")
    report = vendor.run(backfill=Selection(projects=("b",)))
    assert [key for key, _ in gone(store, "projects")] == ["b"]


def test_selected_projects_are_asked_for_one_after_the_other(store: Engine) -> None:
    vendor = account(store, "abcd")
    vendor.limits = {}
    vendor.answers |= {f"{PROJECTS}/{key}": ld_project(key, name="new") for key in "ac"}
    vendor.answers[f"{PROJECTS}/b"] = 404
    vendor.answers |= projects("acd")
    report = vendor.run(backfill=Selection(projects=("a", "b", "c")))
    assert [one for one in vendor.asked if one.count("/") == 4][:3] == [
        f"{PROJECTS}/{key}" for key in "abc"
    ]
    assert report.status == "ok"
    assert sorted(row["key"] for row in rows(store, "projects", "version = 2")) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("status", "ended"), [(401, "denied"), (503, "parked"), (429, "parked"), (400, "failed")]
)
def test_an_auxiliary_request_that_ends_the_run(store: Engine, status: int, ended: str) -> None:
    vendor = statsig(store, numbered_list([statsig_layer("a")], size=2), size=2)
    vendor.answers["/console/v1/settings/project"] = status
    assert vendor.run().status == ended
    assert rows(store, "projects") == []


@pytest.mark.parametrize("status", [403, 404])
def test_an_auxiliary_request_that_may_fail(store: Engine, status: int) -> None:
    vendor = statsig(store, numbered_list([statsig_layer("a")], size=2), size=2)
    route = "/console/v1/settings/project"
    vendor.answers[route] = status
    report = vendor.run()
    assert report.status == "ok"
    (stored,) = rows(store, "projects")
    assert (stored["key"], stored["name"], stored["external_id"]) == ("p", "x", "x")
    assert any("named after the source" in note for note in report.notes)
    vendor.answers[route] = {"data": {"name": "Project"}}
    vendor.run()
    assert [row["name"] for row in rows(store, "projects")] == ["Project"]
    vendor.answers[route] = status  # what is stored stays
    report = vendor.run()
    assert [row["name"] for row in rows(store, "projects")] == ["Project"]
    assert (report.status, report.changed) == ("ok", 0)
    assert any("kept as stored" in note for note in report.notes)


def test_a_page_that_is_the_one_before_again_ends_the_run(store: Engine) -> None:
    vendor = partners(store, cursor_list([partner(one) for one in "abcd"], size=2), size=2)
    first, second = "/v1/projects?limit=2", "/v1/projects?limit=2&cursor=2"
    vendor.answers[second] = {**vendor.answers[first], "nextCursor": "4"}
    report = vendor.run()
    assert (report.status, rows(store, "projects")) == ("failed", [])
    assert "page 2 is the same as the one before it" in (report.error or "")


def test_a_page_that_leads_back_ends_the_run(store: Engine) -> None:
    vendor = partners(store, cursor_list([partner(one) for one in "abcdef"], size=2), size=2)
    vendor.answers["/v1/projects?limit=2&cursor=4"]["nextCursor"] = "2"
    report = vendor.run()
    assert (report.status, rows(store, "projects")) == ("failed", [])
    assert "page 3 leads back to a page already read: a loop" in (report.error or "")


def test_empty_pages_are_no_repetition(store: Engine) -> None:
    vendor = partners(store, cursor_list([partner(one) for one in "ab"], size=2, then="2"), size=2)
    empty: dict[str, Any] = {"items": []}
    vendor.answers["/v1/projects?limit=2&cursor=2"] = {**empty, "nextCursor": "3"}
    vendor.answers["/v1/projects?limit=2&cursor=3"] = {**empty, "nextCursor": "4"}
    vendor.answers["/v1/projects?limit=2&cursor=4"] = {**empty, "nextCursor": None}
    report = vendor.run()
    assert (report.status, len(rows(store, "projects"))) == ("ok", 2)


@pytest.mark.parametrize(("body", "kind"), [([1], "array"), ("text", "string"), (None, "null")])
def test_an_answer_that_is_no_object_ends_the_run(store: Engine, body: Any, kind: str) -> None:
    vendor = partners(store, cursor_list([partner("a")], size=2), size=2)
    vendor.answers["/v1/projects?limit=2"] = [body]
    report = vendor.run()
    assert report.status == "failed"
    assert f"the answer is a JSON {kind}, not an object" in (report.error or "")


def test_an_error_that_comes_as_an_answer_is_told_in_its_own_words(store: Engine) -> None:
    vendor = partners(store, cursor_list([partner("a")], size=2), size=2)
    vendor.answers["/v1/projects?limit=2"] = {"message": "we are sorry"}
    report = vendor.run()
    assert (report.status, "says 'we are sorry'" in (report.error or "")) == ("failed", True)
    vendor.answers["/v1/projects?limit=2"] = {"odd": 1}
    report = vendor.run()
    assert "the answer has no list 'items' (found null)" in (report.error or "")
    assert "says" not in (report.error or "")


def test_several_projects_are_read_at_once_and_stored_as_they_stand(store: Engine) -> None:
    account_of = {f"p{number}": [ld_layer(f"l{number}")] for number in range(12)}
    vendor = ld(store, ld_account(account_of))
    report = vendor.run(concurrency=3)
    assert report.status == "ok"
    stored = sorted(rows(store, "layers"), key=lambda row: row["layer_id"])
    assert [row["key"] for row in stored] == [f"l{number}" for number in range(12)]
    vendor.answers[f"{PROJECTS}/p5/layers"] = 403
    report = vendor.run(concurrency=3)
    assert (report.status, gone(store)) == ("partial", [])
    vendor.answers[f"{PROJECTS}/p5/layers"] = 401
    assert vendor.run(concurrency=3).status == "denied"


def test_what_a_stream_cost_is_told_with_it(store: Engine) -> None:
    vendor = statsig(store, numbered_list([*map(statsig_layer, "abc")], size=2), size=2)
    vendor.run()
    target = "/console/v1/layers?limit=2&page=2"
    answer = vendor.answers[target]

    def slow() -> Any:
        vendor.traffic.requests += 2
        vendor.traffic.retries += 2
        vendor.traffic.waited += 1.5
        return answer

    vendor.answers[target] = slow
    report = vendor.run()
    costs = {one.stream: (one.requests, one.retries, one.waited_seconds) for one in report.streams}
    assert costs == {"projects": (2, 0, 0.0), "layers": (4, 2, 1.5)}
    kept = rows(store, "run_streams", f"run_id = {report.run_id} AND parent_id = ''")
    assert {
        row["stream"]: (row["requests"], row["retries"], row["waited_seconds"]) for row in kept
    } == costs
