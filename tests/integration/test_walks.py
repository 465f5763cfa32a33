"""What a walk proves: of which lists a record that did not come is deleted, and of which not.

No single record is asked for here (`delete_confirmations = 0`), so that the walk alone decides.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from tests.support.database import rows
from tests.support.internals.database import run_streams
from tests.support.internals.values import RunReport, StreamReport
from tests.support.lists import gone
from tests.support.runs import hour, of
from tests.support.scripted import (
    PROJECTS,
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

NOT_LISTED = "missing from a complete walk"
WAITING = "records are missing that were not asked for yet: more than delete_confirmations"
PAGE = "/console/v1/layers?limit=2&page="


def named(names: str) -> list[dict[str, Any]]:
    """Layers of Statsig."""
    return [statsig_layer(one) for one in names]


def after(store: Engine, names: str, later: Any, *, size: int = 2) -> StreamReport:
    """Statsig's layers: these first, then whatever the answers say."""
    vendor = statsig(store, numbered_list(named(names), size=size), size=size)
    vendor.limits = {"delete_confirmations": 0}
    assert vendor.run().status == "ok"
    vendor.answers |= later
    return of(vendor.run(), "layers")


def live(store: Engine, stream: str = "layers") -> list[str]:
    return sorted(row["key"] for row in rows(store, stream, "NOT is_deleted"))


def test_a_list_of_one_page_proves_what_is_not_in_it(store: Engine) -> None:
    found = after(store, "ab", numbered_list(named("a"), size=2))
    assert (found.status, found.deleted, gone(store, "layers")) == ("ok", 1, [("b", NOT_LISTED)])
    assert found.proof == "end mark reached; 1 of 1 came"


def test_a_list_of_two_pages_that_do_not_overlap_proves_nothing_by_one_walk(store: Engine) -> None:
    found = after(store, "abcd", numbered_list(named("abc"), size=2))
    assert (found.status, found.deleted, gone(store)) == ("incomplete", 0, [])
    assert found.incomplete_reason == f"p {WAITING}"
    assert found.proof == "end mark reached; 3 of 3 came"


def test_a_list_with_a_single_item_that_has_no_id_proves_nothing(store: Engine) -> None:
    nameless = statsig_layer("x")
    del nameless["id"]
    found = after(
        store, "ab", numbered_list([*named("a"), nameless], size=3) | answers_of("a", nameless)
    )
    assert (found.status, gone(store)) == ("incomplete", [])
    assert "1 items without a usable id" in (found.incomplete_reason or "")


def answers_of(names: str, *more: Any, total: int | None = None) -> dict[str, Any]:
    """One page of two."""
    return numbered_list([*named(names), *more], size=2, total=total)


def test_a_total_above_what_came_proves_nothing(store: Engine) -> None:
    found = after(store, "ab", answers_of("a", total=2))
    assert (found.status, gone(store)) == ("incomplete", [])
    assert found.incomplete_reason == "p the provider counts 2 records, 1 came"
    assert found.proof == "end mark reached; 1 of 2 came; 2 walks"


def test_a_total_below_what_came_proves_nothing_where_pages_do_not_overlap(store: Engine) -> None:
    found = after(store, "abc", answers_of("ab", total=1))
    assert (found.status, gone(store)) == ("incomplete", [])
    assert found.incomplete_reason == "p the provider counts 1 records, 2 came"


def test_a_list_in_which_a_record_comes_twice_is_walked_again_and_proves_nothing_if_it_does_again(
    store: Engine,
) -> None:
    found = after(store, "abcd", numbered_list(named("abb"), size=2, total=2))
    assert (found.status, gone(store)) == ("incomplete", [])
    assert found.incomplete_reason == "p 1 records came twice, so the list moved"
    assert (found.received, found.pages) == (2, 2)
    assert found.proof == "end mark reached; 2 of 2 came; 2 walks"


def test_a_list_that_moved_once_is_believed_when_it_stands_still(store: Engine) -> None:
    """The second walk brings another list, the third the same again."""
    first = numbered_list(named("abb"), size=2, total=2)
    settled = numbered_list(named("abc"), size=2)
    turns = {target: [first[target], settled[target]] for target in (PAGE + "1", PAGE + "2")}
    found = after(store, "abcd", turns)
    assert (found.status, gone(store)) == ("incomplete", [])  # one walk alone of two pages
    assert found.proof == "end mark reached; 3 of 3 came; 2 walks"
    assert found.incomplete_reason == f"p {WAITING}"


def test_a_total_that_moves_and_comes_back_is_a_move(store: Engine) -> None:
    """Were it counted at the end alone, one that slipped through could hide behind a newcomer."""
    listed = numbered_list(named("abcdef"), size=2)
    moving = {
        t: {**one, "pagination": {**one["pagination"]}} for t, one in listed.items() if PAGE in t
    }
    moving[PAGE + "2"]["pagination"]["totalItems"] = 7
    found = after(store, "abcdef", {target: [moving[target], listed[target]] for target in moving})
    assert (found.status, found.proof) == ("ok", "end mark reached; 6 of 6 came; 2 walks")


def test_a_total_that_always_moves_proves_nothing(store: Engine) -> None:
    listed = numbered_list(named("abcde"), size=2)
    listed[PAGE + "2"]["pagination"]["totalItems"] = 6
    found = after(store, "abcdef", listed)
    assert (found.status, gone(store)) == ("incomplete", [])
    assert found.incomplete_reason == "p the total moved 2 times during the walk"


def test_a_newcomer_may_stand_for_a_record_that_slipped_through(store: Engine) -> None:
    """`b` goes while page 2 is asked for and `n` comes: the total is right, `c` was not seen."""
    now = int(hour(1).timestamp() * 1000)
    newcomer = statsig_layer("n", createdTime=now)
    pages = numbered_list(named("abcd"), size=2)
    moved = numbered_list([*named("acd"), newcomer], size=2)
    turns = {PAGE + "1": [pages[PAGE + "1"], moved[PAGE + "1"]], PAGE + "2": moved[PAGE + "2"]}
    found = after(store, "abcd", turns)
    assert live(store) == list("abcdn")  # the first walk met b, the second one c
    assert found.proof == "end mark reached; 4 of 4 came; 3 walks"


@pytest.mark.parametrize("behind", [timedelta(hours=-5), timedelta(0), timedelta(hours=5)])
def test_newcomers_are_told_by_the_vendors_clock_where_ours_is_ahead(
    store: Engine, behind: timedelta
) -> None:
    """`b` goes and `n` comes, while the vendor's clock is not where ours is."""
    theirs = hour(1) - behind
    newcomer = statsig_layer("n", createdTime=int(theirs.timestamp() * 1000))
    pages = numbered_list(named("abcd"), size=2)
    moved = numbered_list([*named("acd"), newcomer], size=2)
    vendor = statsig(store, numbered_list(named("ab"), size=2), size=2)  # it has no c yet
    vendor.limits = {"delete_confirmations": 0}
    assert vendor.run().status == "ok"
    vendor.clock = lambda: theirs
    vendor.answers |= {
        PAGE + "1": [pages[PAGE + "1"], moved[PAGE + "1"]],
        PAGE + "2": moved[PAGE + "2"],
    }
    assert vendor.run().status == "ok"
    assert {"a", "c", "d", "n"} <= set(live(store))


@pytest.mark.parametrize(("seconds", "walks"), [(-121, 1), (-120, 2), (0, 2)])
def test_who_was_created_before_the_walk_began_is_no_newcomer(
    store: Engine, seconds: int, walks: int
) -> None:
    """A vendor's clock may be behind by two minutes."""
    created = int((hour(1).timestamp() + seconds) * 1000)
    listed = numbered_list([*named("abc"), statsig_layer("n", createdTime=created)], size=2)
    found = after(store, "abc", listed)
    assert (found.status, found.created) == ("ok", 1)
    assert ("2 walks" in (found.proof or "")) is (walks == 2)


def test_a_newcomer_on_the_first_page_shows_nothing(store: Engine) -> None:
    created = int(hour(1).timestamp() * 1000)
    listed = numbered_list([statsig_layer("n", createdTime=created), *named("abc")], size=2)
    found = after(store, "abc", listed)
    assert (found.status, found.proof) == ("ok", "end mark reached; 4 of 4 came")


def test_without_totals_a_list_of_which_something_is_missing_is_walked_twice(store: Engine) -> None:
    vendor = partners(store, cursor_list([partner(n) for n in "abcde"], size=2), size=2)
    vendor.limits = {"delete_confirmations": 0}
    vendor.run()
    vendor.answers |= cursor_list([partner(n) for n in "abce"], size=2)
    found = of(vendor.run(), "projects")
    assert (found.status, gone(store)) == ("ok", [("prj_d", NOT_LISTED)])
    assert found.proof == "end mark reached; 4 came, no total is given; 2 walks"


def test_without_totals_a_quiet_list_is_walked_once(store: Engine) -> None:
    vendor = partners(store, cursor_list([partner(n) for n in "abc"], size=2), size=2)
    vendor.run()
    vendor.answers |= cursor_list([partner("a", status="archived"), *map(partner, "bc")], size=2)
    found = of(vendor.run(), "projects")
    assert (found.status, found.updated, len(vendor.asked)) == ("ok", 1, 2)
    assert found.proof == "end mark reached; 3 came, no total is given"


def test_two_walks_with_as_many_but_other_records_do_not_agree(store: Engine) -> None:
    vendor = partners(store, cursor_list([partner(n) for n in "abcde"], size=2), size=2)
    vendor.limits = {"delete_confirmations": 0}
    vendor.run()
    lists = [cursor_list([partner(n) for n in some], size=2) for some in ("abc", "abd", "abd")]
    vendor.answers |= {t: [one[t] for one in lists] for t in lists[0] if t != "/v1/whoami"}
    found = of(vendor.run(), "projects")
    assert (found.status, gone(store)) == ("ok", [("prj_e", NOT_LISTED)])  # c came once
    assert found.proof == "end mark reached; 3 came, no total is given; 3 walks"


def test_a_list_that_is_another_one_every_time_is_given_up_after_three_walks(store: Engine) -> None:
    vendor = partners(store, cursor_list([partner(n) for n in "abcdefg"], size=2), size=2)
    vendor.limits = {"delete_confirmations": 0}
    vendor.run()
    lists = [cursor_list([partner(n) for n in some], size=2) for some in ("abc", "abd", "abe")]
    vendor.answers |= {t: [one[t] for one in lists] for t in lists[0] if t != "/v1/whoami"}
    found = of(vendor.run(), "projects")
    assert (found.status, gone(store)) == ("incomplete", [])
    assert found.incomplete_reason == "3 walks of it did not agree"


def ld_layers(store: Engine, later: dict[str, Any], **wish: Any) -> RunReport:
    vendor = ld(store, ld_account({"p": [ld_layer("a"), ld_layer("b")]}))
    vendor.run()
    vendor.answers |= later
    return vendor.run(**wish)


def test_layers_of_launchdarkly_come_in_one_answer_and_rest_on_it(store: Engine) -> None:
    report = ld_layers(store, ld_account({"p": [ld_layer("a")]}))
    assert gone(store) == [("b", NOT_LISTED)]
    assert of(report, "layers").proof == "end mark reached; 1 of 1 came"


def overlapping(store: Engine, first: str, later: dict[str, Any]) -> StreamReport:
    """LaunchDarkly's projects, three a page, of which the first is the last one of the page before.

    No project is asked for by itself.
    """
    vendor = ld(store, ld_account({key: [] for key in first}, size=3), size=3)
    vendor.limits = {"delete_confirmations": 0}
    vendor.run()
    vendor.answers |= {f"{PROJECTS}/{key}/layers": {"items": [], "totalCount": 0} for key in "xyz"}
    vendor.answers |= later
    return of(vendor.run(), "projects")


def projects(keys: Sequence[str], total: int | None = None) -> dict[str, Any]:
    return offset_list(PROJECTS, [ld_project(key) for key in keys], size=3, total=total)


def test_pages_that_overlap_prove_by_one_walk(store: Engine) -> None:
    found = overlapping(store, "abcdefg", projects("abcefg"))
    assert gone(store, "projects") == [("d", NOT_LISTED)]
    assert found.proof == "end mark reached; 6 of 6 came; pages overlap"


def test_pages_that_overlap_may_bring_more_than_the_total(store: Engine) -> None:
    """One was deleted while they were read: it came, and is not counted any more."""
    found = overlapping(store, "abcdefg", projects("abcefg", total=5))
    assert gone(store, "projects") == [("d", NOT_LISTED)]
    assert found.proof == "end mark reached; 6 of 5 came; pages overlap"


def test_pages_that_overlap_and_bring_less_than_the_total_prove_nothing(store: Engine) -> None:
    found = overlapping(store, "abcdefg", projects("abcefg", total=7))
    assert (found.status, gone(store)) == ("incomplete", [])
    assert found.incomplete_reason == "the provider counts 7 records, 6 came"
    assert found.proof == "end mark reached; 6 of 7 came; pages overlap; 2 walks"


def test_a_list_of_one_page_does_not_say_that_pages_overlap(store: Engine) -> None:
    assert overlapping(store, "abc", projects("abc")).proof == "end mark reached; 3 of 3 came"


def test_a_list_whose_pages_never_follow_says_how_many_gaps_it_has(store: Engine) -> None:
    """From the second page on everything has moved up by more than a page."""
    listed = projects("abcdefghi")
    far = offset_list(PROJECTS, [ld_project(key) for key in "xyzxyzghi"], size=3, total=9)
    start = f"{PROJECTS}?limit=3&offset=0&sort=createdOn"
    found = overlapping(store, "abcdefghi", far | {start: listed[start]})
    assert (found.status, gone(store)) == ("incomplete", [])
    assert "pages did not follow the page before them" in (found.incomplete_reason or "")
    assert "gaps" in (found.proof or "")


def test_a_freshness_is_that_of_the_first_walk(store: Engine) -> None:
    """What an earlier walk met counts as met, so it is as old as that one."""
    times = iter(range(1, 1000))

    def clock() -> datetime:
        return datetime.fromtimestamp(hour(5).timestamp() + next(times), UTC)

    vendor = partners(store, cursor_list([partner(n) for n in "abc"], size=2), size=2)
    report = vendor.run(clock=clock)  # a first load is walked twice
    assert "2 walks" in (of(report, "projects").proof or "")
    read = of(report, "projects").oldest_read_at
    assert read is not None
    again = vendor.run(clock=clock)
    later = of(again, "projects").oldest_read_at
    assert later is not None
    taken = (report.finished_at - report.started_at).total_seconds()
    assert (read - report.started_at).total_seconds() < taken / 2
    assert later > read


def accounts(store: Engine, stream: str = "layers") -> list[dict[str, Any]]:
    """What the last run keeps of the lists of a stream."""
    found = rows(store, run_streams, f"stream = '{stream}' AND parent_id = ''")
    return list(max(found, key=lambda row: row["run_id"])["walks"])


def test_what_is_kept_of_a_list(store: Engine) -> None:
    after(store, "ab", {})
    whole = {"status": "ok", "end": True, "came": 2, "expected": 2, "pages": 1, "walks": 1}
    assert accounts(store) == [{**whole, "of": ["p"]}]


def test_what_is_kept_of_a_list_that_does_not_agree(store: Engine) -> None:
    after(store, "ab", answers_of("a", total=2))
    said = {"status": "incomplete", "reason": "the provider counts 2 records, 1 came"}
    counts = {"end": True, "came": 1, "expected": 2, "pages": 1, "walks": 2}
    assert accounts(store) == [{**said, **counts, "of": ["p"]}]


def test_what_is_kept_of_an_empty_list_without_a_total(store: Engine) -> None:
    partners(store, cursor_list([], size=2), size=2).run()
    (found,) = accounts(store, "projects")
    assert found == {"status": "ok", "end": True, "came": 0, "pages": 1, "walks": 1, "of": [""]}


def test_what_is_kept_of_a_list_whose_pages_overlap(store: Engine) -> None:
    overlapping(store, "abcdefg", {})
    counts = {"end": True, "came": 7, "expected": 7, "pages": 3, "walks": 1, "overlap": True}
    assert accounts(store, "projects") == [{"status": "ok", **counts, "of": [""]}]


def test_a_single_gap_is_told_and_proves_nothing(store: Engine) -> None:
    """Only the last page does not follow, however often it is asked for."""
    listed = projects("abcde")
    last = f"{PROJECTS}?limit=3&offset=2&sort=createdOn"
    listed[last] = {**listed[last], "items": [ld_project("y"), ld_project("z")]}
    found = overlapping(store, "abcdeyz", listed)
    (kept,) = accounts(store, "projects")
    assert (found.status, gone(store)) == ("incomplete", [])
    assert found.incomplete_reason == "1 pages did not follow the page before them"
    assert found.proof == "end mark reached; 5 of 5 came; pages overlap, 1 gaps; 3 walks"
    assert (kept["gaps"], kept["overlap"], kept["walks"]) == (1, True, 3)


def test_lists_that_are_alike_stand_together_in_order_and_the_others_by_themselves(
    store: Engine,
) -> None:
    layers = {key: [ld_layer("a")] for key in ("q", "p")} | {"r": [ld_layer("a"), ld_layer("b")]}
    report = ld(store, ld_account(layers)).run()
    assert [(one["of"], one["came"]) for one in accounts(store)] == [(["p", "q"], 1), (["r"], 2)]
    found = of(report, "layers")
    assert (found.proof, found.expected_total, found.partitions) == (
        "3 of 3 lists to their end",
        4,
        3,
    )
    assert (found.received, found.created, found.pages) == (4, 4, 3)


def test_a_failed_list_among_many_is_counted_and_named(store: Engine) -> None:
    layers = {key: [ld_layer("a")] for key in ("p", "q", "r")}
    vendor = ld(store, ld_account(layers))
    vendor.run()
    vendor.answers[f"{PROJECTS}/q/layers"] = 500
    report = vendor.run()
    found = of(report, "layers")
    assert (report.status, found.status, found.incomplete_partitions) == (
        "partial",
        "incomplete",
        1,
    )
    assert found.incomplete_reason == "q the provider answers 500 (in 1 of 3)"
    assert found.proof == "2 of 3 lists to their end"
    (telling,) = report.partitions
    told_of = (telling.parent_id, telling.parent_key, telling.status, telling.complete)
    assert told_of == ("id-q", "q", "failed", False)
    assert (telling.received, telling.unchanged, telling.deleted) == (0, 0, 0)
    assert telling.proof == "end mark not reached; 0 came, no total is given"
    kept = {one["of"][0]: one for one in accounts(store)}
    assert kept["q"] == {
        "status": "failed",
        "reason": "the provider answers 500",
        "end": False,
        "came": 0,
        "walks": 1,
        "of": ["q"],
    }
    assert found.expected_total is None


def test_lists_that_are_not_offered_are_unavailable(store: Engine) -> None:
    vendor = ld(store, ld_account({"p": [], "q": []}))
    vendor.answers |= {f"{PROJECTS}/{key}/layers": 403 for key in "pq"}
    report = vendor.run()
    found = of(report, "layers")
    assert (report.status, found.status, found.complete) == ("ok", "unavailable", False)
    said = "not available to this key: the provider answers 403 (in 2 of 2)"
    assert found.incomplete_reason == said
    vendor.answers |= ld_account({"p": [ld_layer("a")]})
    vendor.answers |= offset_list(PROJECTS, [ld_project("p"), ld_project("q")], size=20)
    found = of(vendor.run(), "layers")
    assert (found.status, found.complete, found.created) == ("ok", False, 1)
    assert (found.incomplete_reason or "").endswith("(in 1 of 2)")
    vendor.answers[f"{PROJECTS}/p/layers"] = 403  # what is stored cannot be seen any more
    report = vendor.run()
    found = of(report, "layers")
    assert (report.status, found.status, gone(store)) == ("partial", "incomplete", [])
    assert (found.incomplete_reason or "").startswith("p the provider answers 403")


def test_lists_that_were_walked_again_are_counted(store: Engine) -> None:
    """An emptied list is asked for once more before it is believed."""
    vendor = ld(store, ld_account({"p": [ld_layer("a")], "q": [ld_layer("b"), ld_layer("c")]}))
    vendor.run()
    vendor.answers |= ld_account({"p": [], "q": [ld_layer("b"), ld_layer("c")]})
    found = of(vendor.run(), "layers")
    assert found.proof == "2 of 2 lists to their end; 1 walked more than once"
    assert [key for key, _ in gone(store)] == ["a"]


def test_parts_of_a_rejected_record_that_is_not_stored_are_not_complete(store: Engine) -> None:
    vendor = ld(store, ld_account({"p": [ld_layer("a")]}))
    broken = ld_project("q", name=None)
    vendor.answers |= offset_list(PROJECTS, [ld_project("p"), broken], size=20)
    report = vendor.run()
    found = of(report, "layers")
    assert (report.status, found.status, found.complete) == ("partial", "incomplete", False)
    assert found.incomplete_reason == "1 projects were rejected and are not stored"


def test_parts_of_a_rejected_record_that_is_stored_are_read(store: Engine) -> None:
    vendor = ld(store, ld_account({"p": [ld_layer("a")], "q": [ld_layer("b")]}))
    vendor.run()
    broken = ld_project("q", name=None)
    vendor.answers |= offset_list(PROJECTS, [ld_project("p"), broken], size=20)
    vendor.answers[f"{PROJECTS}/q/layers"] = {"items": [ld_layer("b"), ld_layer("c")]}
    report = vendor.run()
    found = of(report, "layers")
    assert (found.status, found.complete, found.created) == ("ok", True, 1)


def test_what_came_new_in_both_walks_is_new_in_the_second_one_too(store: Engine) -> None:
    """c slipped through the second walk, which met nothing but what the first one had staged."""
    vendor = partners(store, cursor_list([partner(n) for n in "abc"], size=2), size=2)
    vendor.run()
    lists = [cursor_list([partner(n) for n in some], size=2) for some in ("abcn", "abn", "abn")]
    vendor.answers |= {t: [one[t] for one in lists] for t in lists[0] if t != "/v1/whoami"}
    found = of(vendor.run(), "projects")
    assert (found.status, found.created, gone(store)) == ("ok", 1, [])
    assert found.proof == "end mark reached; 3 came, no total is given; 3 walks"
