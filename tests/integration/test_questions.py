"""What the answers to questions for single missing records decide, and what the run makes of it."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Engine

from tests.support.database import count, rows
from tests.support.internals.values import RunReport, Selection
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

NOT_FOUND, NOT_LISTED = "the provider answers 404 for it", "missing from a complete walk"
REPLACED = "its key belongs to another record now"
WAITING = "records are missing that were not asked for yet: more than delete_confirmations"


def layers(store: Engine, names: str, *, size: int = 50, **limits: Any) -> Vendor:
    """Statsig, after a first run with these layers."""
    listed = [statsig_layer(one) for one in names]
    vendor = statsig(store, numbered_list(listed, size=size), size=size, **limits)
    assert vendor.run().status == "ok"
    return vendor


def left_with(vendor: Vendor, names: str, *, size: int = 50, **more: Any) -> RunReport:
    """The next run, in which the list holds these; `b=200`: the answer for the layer b.

    Longer names are what is asked of the run.
    """
    listed = [statsig_layer(one) for one in names]
    vendor.answers |= numbered_list(listed, size=size)
    for name, answer in more.items():
        if len(name) > 1:
            continue
        body = {"data": statsig_layer(name)} if answer == 200 else answer
        vendor.answers[f"/console/v1/layers/{name}"] = body
    return vendor.run(**{name: value for name, value in more.items() if len(name) > 1})


def questions(vendor: Vendor) -> list[str]:
    """The single records that were asked for."""
    found = [one.rpartition("/")[2] for one in vendor.asked]
    return [one for one in found if len(one) == 1]


def test_as_many_are_asked_for_as_may_be_and_the_rest_rests_on_the_walk(store: Engine) -> None:
    vendor = layers(store, "abcde", delete_confirmations=2)
    report = left_with(vendor, "a")
    assert questions(vendor) == ["b", "c"]
    assert gone(store) == [("b", NOT_FOUND), ("c", NOT_FOUND), ("d", NOT_LISTED), ("e", NOT_LISTED)]
    assert (report.status, of(report, "layers").deleted) == ("ok", 4)
    assert count(store, "staged_deletions") == 0


def test_where_the_walk_proves_nothing_only_those_that_were_asked_for_are_gone(
    store: Engine,
) -> None:
    vendor = layers(store, "abcdef", size=2, delete_confirmations=2)
    report = left_with(vendor, "abc", size=2)
    assert gone(store) == [("d", NOT_FOUND), ("e", NOT_FOUND)]
    assert of(report, "layers").incomplete_reason == f"p {WAITING}"


def test_one_that_still_answers_leaves_the_rest_in_doubt(store: Engine) -> None:
    """51 are missing, 50 are asked for, and the first one of them is there."""
    letters = [chr(number) for number in range(0x100, 0x100 + 53)]
    vendor = layers(store, "".join(letters), size=100)
    listed = [statsig_layer(one) for one in letters[:2]]
    vendor.answers |= numbered_list(listed, size=100)
    first = sorted(letters)[2]
    vendor.answers["/console/v1/layers/%C4%82"] = {"data": statsig_layer(first)}
    report = vendor.run()
    assert len(gone(store)) == 49
    assert {reason for _, reason in gone(store)} == {NOT_FOUND}
    assert (report.status, report.exit_code) == ("partial", 5)
    reason = of(report, "layers").incomplete_reason
    assert reason == f"p {first} is still there though the walk did not bring it"


@pytest.mark.parametrize(
    ("answer", "doubt"),
    [
        (200, "b is still there though the walk did not bring it"),
        (403, "b may not be read by this key any more (403)"),
        (400, "b cannot be asked for: the provider answers 400"),
        (410, "b cannot be asked for: the provider answers 410"),
        (503, "b could not be asked for: the provider answers 503"),
        ({"data": {**statsig_layer("z"), "id": "z"}}, "b could not be asked for: the answer to"),
        ({"odd": 1}, "b is still there though the walk did not bring it"),
    ],
)
def test_what_is_not_a_404_deletes_nothing(store: Engine, answer: Any, doubt: str) -> None:
    vendor = layers(store, "abc")
    report = left_with(vendor, "ac", b=answer)
    assert gone(store) == []
    assert (report.status, report.exit_code) == ("partial", 5)
    assert (of(report, "layers").incomplete_reason or "").startswith(f"p {doubt}")


@pytest.mark.parametrize(("status", "ended"), [(401, ("denied", 4)), (429, ("parked", 75))])
def test_a_key_that_is_revoked_between_two_questions_ends_the_run(
    store: Engine, status: int, ended: tuple[str, int]
) -> None:
    vendor = layers(store, "abcd")
    report = left_with(vendor, "ad", c=status)
    assert (report.status, report.exit_code) == ended
    assert (questions(vendor), gone(store)) == (["b", "c"], [])


def test_an_answer_that_is_no_answer_ends_the_run(store: Engine) -> None:
    vendor = layers(store, "abc")
    report = left_with(vendor, "ac", b=["no", "object"])
    vendor.answers["/console/v1/layers/b"] = [[["no", "object"]]]
    assert vendor.run().status == "failed"
    assert (report.status, gone(store)) == ("failed", [])


def partner_list(names: str) -> dict[str, Any]:
    return cursor_list([partner(one) for one in names], size=50)


def test_another_record_in_answer_to_an_id_is_a_doubt(store: Engine) -> None:
    """Layers.com: the prefix of an id comes and goes, so its answer says no more than its id."""
    vendor = partners(store, partner_list("abc"), size=50)
    vendor.run()
    vendor.answers |= partner_list("ac")
    vendor.answers["/v1/projects/prj_b"] = partner("z")
    report = vendor.run()
    assert (report.status, gone(store)) == ("partial", [])


def account(store: Engine, keys: str, **limits: Any) -> Vendor:
    """LaunchDarkly, after a first run with these projects, each with a layer."""
    vendor = ld(store, ld_account({key: [ld_layer(f"of-{key}")] for key in keys}), **limits)
    assert vendor.run().status == "ok"
    return vendor


def without(vendor: Vendor, keys: str, **answers: Any) -> RunReport:
    """The next run, in which the list of projects holds these."""
    vendor.answers |= offset_list(PROJECTS, [ld_project(key) for key in keys], size=20)
    vendor.answers |= {f"{PROJECTS}/{key}": answer for key, answer in answers.items()}
    return vendor.run()


def test_a_key_that_belongs_to_another_project_now_is_evidence_beside_a_proof(
    store: Engine,
) -> None:
    vendor = account(store, "abc")
    other = ld_project("b", _id="id-other")
    vendor.answers[f"{PROJECTS}/b/layers"] = {"items": [], "totalCount": 0}
    listed = [ld_project("a"), other, ld_project("c")]
    vendor.answers |= offset_list(PROJECTS, listed, size=20)
    vendor.answers[f"{PROJECTS}/b"] = other
    report = vendor.run()
    assert ("b", REPLACED) in gone(store, "projects")
    assert gone(store, "layers") == [("of-b", "its project was deleted")]
    assert (report.status, of(report, "projects").deleted) == ("ok", 1)


@pytest.mark.parametrize("answer", [404, ld_project("b", _id="id-other")])
def test_a_404_for_a_key_is_no_evidence_without_a_proof(store: Engine, answer: Any) -> None:
    vendor = account(store, "abc")
    listed = [ld_project("a"), ld_project("c")]
    vendor.answers |= offset_list(PROJECTS, listed, size=20, total=3)
    vendor.answers[f"{PROJECTS}/b"] = answer
    report = vendor.run()
    assert (report.status, gone(store)) == ("partial", [])
    reason = of(report, "projects").incomplete_reason or ""
    assert reason == "the provider counts 3 records, 2 came"


def test_children_of_an_incomplete_parent_are_not_complete(store: Engine) -> None:
    vendor = account(store, "abc")
    report = without(vendor, "ac", b=ld_project("b"))
    found = of(report, "layers")
    assert (found.status, found.complete) == ("incomplete", False)
    assert found.incomplete_reason == "projects is incomplete, so its parts are"


def test_children_of_a_parent_whose_deletions_are_held_are_held(store: Engine) -> None:
    vendor = account(store, "abc", delete_percent=10, delete_count=0)
    report = without(vendor, "ac")
    assert (report.status, report.exit_code, gone(store)) == ("held", 3, [])
    stands = [(one.stream, one.status, one.complete) for one in report.streams]
    assert stands == [("projects", "held", True), ("layers", "held", True)]
    assert [one.oldest_read_at for one in report.streams] == [None, None]


@pytest.mark.parametrize(
    ("left", "limits", "ended"),
    [
        ("abcdefgh", {"delete_count": 2, "delete_percent": 10}, "ok"),  # as many as may be
        ("abcdefg", {"delete_count": 2, "delete_percent": 30}, "ok"),  # as much of it as may be
        ("abcdefg", {"delete_count": 2, "delete_percent": 29}, "held"),
        ("abcdefg", {"delete_count": 3, "delete_percent": 29}, "ok"),
        ("a", {"delete_count": 9, "delete_percent": 100}, "ok"),
        ("", {"delete_count": 10, "delete_percent": 100}, "held"),  # all, however few
    ],
)
def test_deletions_beyond_both_limits_or_of_all_are_held_back(
    store: Engine, left: str, limits: dict[str, Any], ended: str
) -> None:
    vendor = layers(store, "abcdefghij", **limits)
    report = left_with(vendor, left)
    assert report.status == ended
    assert count(store, "changes", "operation = 'deleted'") == (10 - len(left)) * (ended == "ok")
    assert (report.error is None) is (ended == "ok")


def test_what_is_held_says_how_much_it_is_and_which_limit(store: Engine) -> None:
    report = left_with(layers(store, "abcd", delete_count=1, delete_percent=20), "ab")
    assert (report.error or "").startswith(
        "would delete 2 of 4 layers of x (50 %; the limit is 20 % and more than 1, and never all)"
    )
    found = of(report, "layers")
    assert (found.status, found.complete, found.deleted) == ("held", True, 0)


def test_beyond_the_limits_nothing_is_asked(store: Engine) -> None:
    vendor = layers(store, "abcd", delete_count=1, delete_percent=20)
    left_with(vendor, "ab")
    assert questions(vendor) == []


def tagged(vendor: Vendor, names: str) -> RunReport:
    """A run that asks for the layers with a tag, of which these are there."""
    vendor.options = {"layers": {"page_size": 50, "tags": ["x"]}}
    for target, answer in numbered_list([*map(statsig_layer, names)], size=50).items():
        vendor.answers[target + ("&tags=x" if "page=" in target else "")] = answer
    report = vendor.run()
    assert report.status == "ok"
    return report


def test_what_still_answers_does_not_count_for_the_limits_of_a_filtered_list(
    store: Engine,
) -> None:
    """With a filter most of what is missing has only left it."""
    vendor = layers(store, "abcd", delete_count=1, delete_percent=40)
    vendor.answers["/console/v1/layers/c"] = {"data": statsig_layer("c")}
    tagged(vendor, "abcd")
    report = tagged(vendor, "ab")
    assert gone(store) == [("d", NOT_FOUND)]
    assert [row["row_id"] for row in rows(store, "outside_scope")] == [
        row["layer_id"] for row in rows(store, "layers", "key = 'c'")
    ]
    assert report.notes[-1].startswith("layers: 1 record is outside of what the filter shows")


def test_in_a_filtered_list_what_cannot_be_asked_for_only_left_it(store: Engine) -> None:
    vendor = ld(store, ld_account({"p": []}))
    vendor.options = {**vendor.options, "layers": {"filter": "f"}}

    def show(names: str) -> RunReport:
        body = {"items": [ld_layer(one) for one in names], "totalCount": len(names)}
        vendor.answers[f"{PROJECTS}/p/layers?filter=f"] = body
        return vendor.run()

    show("ab")
    assert (show("a").status, gone(store)) == ("ok", [])
    assert len(rows(store, "outside_scope")) == 1


def test_in_a_filtered_list_too_many_to_ask_for_wait(store: Engine) -> None:
    vendor = layers(store, "abcd", delete_confirmations=1)
    tagged(vendor, "abcd")
    tagged(vendor, "ab")
    assert gone(store) == [("c", NOT_FOUND)]
    assert rows(store, "outside_scope") == []


def gone_by_key(store: Engine, **answers: Any) -> tuple[Vendor, RunReport]:
    """A backfill of b alone, whose key answers 404; `whole`: the list of all projects."""
    vendor = account(store, "abc")
    vendor.answers[f"{PROJECTS}/b"] = 404
    vendor.answers |= answers["whole"]
    return vendor, vendor.run(backfill=Selection(projects=("b",)))


def test_a_selected_project_with_another_key_is_not_gone(store: Engine) -> None:
    listed = [ld_project("a"), ld_project("new", _id="id-b"), ld_project("c")]
    _, report = gone_by_key(store, whole=offset_list(PROJECTS, listed, size=20))
    assert (report.status, gone(store)) == ("partial", [])
    reason = of(report, "projects").incomplete_reason
    assert reason == "b is not there under its key, but has the key new now"


def test_a_selected_project_may_have_another_key_in_a_list_that_is_not_whole(
    store: Engine,
) -> None:
    listed = [ld_project("a"), ld_project("c")]
    _, report = gone_by_key(store, whole=offset_list(PROJECTS, listed, size=20, total=3))
    assert (report.status, gone(store)) == ("partial", [])
    reason = of(report, "projects").incomplete_reason
    assert reason == "b is not there under its key, but may have another one now"


def test_a_selected_project_that_no_list_has_is_gone(store: Engine) -> None:
    listed = [ld_project("a"), ld_project("c")]
    _, report = gone_by_key(store, whole=offset_list(PROJECTS, listed, size=20))
    assert (report.status, of(report, "projects").deleted) == ("ok", 1)
    assert gone(store, "projects") == [("b", NOT_FOUND)]
    assert gone(store, "layers") == [("of-b", "its project was deleted")]


def test_each_question_is_sent_on_a_connection_of_its_own(store: Engine) -> None:
    vendor = layers(store, "abc")
    left_with(vendor, "a")
    assert [one.path.rpartition("/")[2] for one in vendor.alone] == ["b", "c"]


def test_a_plan_asks_beyond_the_limits_and_tells_what_it_would_delete(store: Engine) -> None:
    vendor = layers(store, "abcd", delete_count=1, delete_percent=20)
    report = left_with(vendor, "ab", dry_run=True, plan=True)
    found = of(report, "layers")
    assert (report.status, found.status, found.deleted, gone(store)) == ("dry_run", "held", 2, [])
    assert questions(vendor) == ["c", "d"]


def test_a_plan_whose_missing_records_answer_holds_nothing(store: Engine) -> None:
    vendor = layers(store, "abcd", delete_count=1, delete_percent=20)
    report = left_with(vendor, "ab", dry_run=True, plan=True, c=200, d=200)
    found = of(report, "layers")
    assert (found.status, found.deleted) == ("incomplete", 0)
    assert report.error is None


def test_a_dry_run_holds_back_what_a_sync_would(store: Engine) -> None:
    vendor = layers(store, "abcd", delete_count=1, delete_percent=20)
    report = left_with(vendor, "ab", dry_run=True)
    found = of(report, "layers")
    assert (found.status, found.deleted, questions(vendor)) == ("held", 0, [])


def test_more_deletions_than_limits_allow_are_held_also_when_answers_made_them_fewer(
    store: Engine,
) -> None:
    """Three are missing, of which one answers; two are still too many."""
    vendor = layers(store, "abcdef", delete_count=1, delete_percent=20)
    report = left_with(vendor, "abc", d=200)
    assert (report.status, gone(store)) == ("held", [])


def test_forced_deletions_are_asked_for_one_by_one_without_a_limit(store: Engine) -> None:
    vendor = layers(store, "abcdef", delete_count=1, delete_percent=20, delete_confirmations=1)
    report = left_with(vendor, "a", force_deletes=True)
    assert (report.status, questions(vendor)) == ("ok", list("bcdef"))
    assert {reason for _, reason in gone(store)} == {NOT_FOUND}


def test_a_plan_of_the_parts_of_a_parent_says_where_it_would_stand(store: Engine) -> None:
    vendor = account(store, "abcd", delete_percent=20, delete_count=1)
    vendor.answers |= offset_list(PROJECTS, [ld_project(key) for key in "ab"], size=20)
    vendor.answers |= {f"{PROJECTS}/{key}": 404 for key in "cd"}
    report = vendor.run(dry_run=True, plan=True)
    assert [(one.stream, one.status, one.deleted) for one in report.streams] == [
        ("projects", "held", 2),
        ("layers", "held", 2),
    ]


def test_what_was_outside_of_the_scope_and_is_met_again_is_back(store: Engine) -> None:
    vendor = layers(store, "abcd")
    vendor.answers["/console/v1/layers/c"] = {"data": statsig_layer("c")}
    tagged(vendor, "abcd")
    tagged(vendor, "abd")
    assert len(rows(store, "outside_scope")) == 1
    some = Selection(created_since=datetime(2020, 1, 1, tzinfo=UTC))
    for target, answer in numbered_list([*map(statsig_layer, "abcd")], size=50).items():
        vendor.answers[target + ("&tags=x" if "page=" in target else "")] = answer
    vendor.run(backfill=some)  # a part says nothing of the scope
    assert len(rows(store, "outside_scope")) == 1
    tagged(vendor, "abcd")
    assert (rows(store, "outside_scope"), gone(store)) == ([], [])


def test_a_key_of_another_account_that_sees_a_list_in_doubt_leaves_nothing_outside(
    store: Engine,
) -> None:
    vendor = partners(store, partner_list("abcd"), size=50)
    vendor.run()
    vendor.answers["/v1/whoami"] = {"organizationId": "two"}
    vendor.key = "api-00000000-another"
    nameless = {k: v for k, v in partner("z").items() if k != "id"}
    listed = cursor_list([partner("a"), nameless], size=50)
    vendor.answers["/v1/projects?limit=50"] = listed["/v1/projects?limit=50"]
    report = vendor.run()
    assert (report.status, rows(store, "outside_scope"), gone(store)) == ("partial", [], [])
    vendor.answers["/v1/projects?limit=50"] = partner_list("a")["/v1/projects?limit=50"]
    report = vendor.run()
    assert (len(rows(store, "outside_scope")), gone(store)) == (3, [])
    assert report.notes[-1].startswith("projects: 3 records are outside of what another key")


def test_in_a_filtered_list_one_that_may_not_be_read_has_not_left_it(store: Engine) -> None:
    vendor = layers(store, "abcd")
    tagged(vendor, "abcd")
    vendor.answers["/console/v1/layers/c"] = 403
    for target, answer in numbered_list([*map(statsig_layer, "abd")], size=50).items():
        vendor.answers[target + ("&tags=x" if "page=" in target else "")] = answer
    report = vendor.run()
    assert (report.status, rows(store, "outside_scope"), gone(store)) == ("partial", [], [])
    reason = of(report, "layers").incomplete_reason
    assert reason == "p c may not be read by this key any more (403)"


@pytest.mark.parametrize(
    ("answer", "doubt"),
    [
        (404, "is not there under its key, and may have another one that the walk did not bring"),
        (ld_project("d"), "is still there though the walk did not bring it"),
    ],
)
def test_in_a_list_in_an_order_that_moves_a_renamed_project_may_slip_through(
    store: Engine, answer: Any, doubt: str
) -> None:
    """Sorted by name pages do not overlap, so that several of them prove nothing."""
    vendor = ld(store, ld_account({key: [] for key in "abcd"}))
    vendor.options = {"projects": {"environments": False, "page_size": 2, "sort": "name"}}

    def by_name(keys: str) -> None:
        listed = offset_list(PROJECTS, [ld_project(key) for key in keys], size=2)
        text = json.dumps(listed).replace("createdOn", "name")
        vendor.answers |= json.loads(text)

    by_name("abcd")
    assert vendor.run().status == "ok"
    by_name("abc")
    vendor.answers[f"{PROJECTS}/d"] = answer
    report = vendor.run()
    assert (report.status, gone(store)) == ("partial", [])
    assert of(report, "projects").incomplete_reason == f"d {doubt}"
