"""A run that goes on after it was stopped: which lists it keeps, and what others wrote meanwhile.

Providers are dicts here, so that a run stops exactly where a test wants it: at a 503, or a 429.
"""

import os
import signal
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, update

from tests.support.database import count, rows
from tests.support.internals.database import runs_table as runs
from tests.support.internals.running import intake
from tests.support.internals.values import WHOLE, RunReport, Selection
from tests.support.interrupting import heeding
from tests.support.lists import gone, operations
from tests.support.runs import hour, of
from tests.support.scripted import (
    PROJECTS,
    Vendor,
    cursor_list,
    ld,
    ld_account,
    ld_environment,
    ld_layer,
    ld_project,
    numbered_list,
    offset_list,
    partner,
    partners,
    statsig,
    statsig_layer,
)

PAGE = "/console/v1/layers?limit=2&page="
STALE = "another run wrote records of it after it was read; the next run looks for the others"


def listed(names: str, **changed: str) -> dict[str, Any]:
    """Statsig's layers, two a page; `a="x"`: with that description."""
    layers = [statsig_layer(one, description=changed.get(one, "")) for one in names]
    return numbered_list(layers, size=2)


def known(store: Engine, names: str) -> Vendor:
    """Statsig, after a first run with these layers at hour 0."""
    vendor = statsig(store, listed(names), size=2)
    assert vendor.run(at=hour(0)).status == "ok"
    return vendor


def stopped(vendor: Vendor, page: int, at: Any, **wish: Any) -> RunReport:
    """A run that is stopped at that page."""
    target = f"{PAGE}{page}"
    answer, vendor.answers[target] = vendor.answers[target], 503
    report = vendor.run(at=at, **wish)
    assert (report.status, report.exit_code) == ("parked", 75)
    vendor.answers[target] = answer
    return report


def pages(vendor: Vendor) -> list[int]:
    """The pages of layers that were asked for."""
    return [int(one.removeprefix(PAGE)) for one in vendor.asked if one.startswith(PAGE)]


def values(store: Engine, stream: str = "layers") -> dict[str, tuple[str, int]]:
    """Key -> description and version of what is live."""
    found = rows(store, stream, "NOT is_deleted")
    return {row["key"]: (row["description"], row["version"]) for row in found}


def later(seconds: float) -> Any:
    return hour(1) + timedelta(seconds=seconds)


@pytest.mark.parametrize(("seconds", "asked"), [(600, [3]), (601, [1, 2, 3])])
def test_a_list_that_was_read_more_than_ten_minutes_ago_is_read_again(
    store: Engine, seconds: int, asked: list[int]
) -> None:
    vendor = known(store, "abcdef")
    stopped(vendor, 3, hour(1))
    report = vendor.run(at=later(seconds))
    assert (report.status, report.attempts, pages(vendor)) == ("ok", 2, asked)
    found = of(report, "layers")
    assert (found.received, found.unchanged, found.deleted) == (6, 6, 0)
    assert found.oldest_read_at == (hour(1) if asked == [3] else later(seconds))
    assert found.proof == "end mark reached; 6 of 6 came" + (
        "; gone on from a checkpoint" if asked == [3] else ""
    )


def test_a_first_load_keeps_its_lists_whatever_their_age(store: Engine) -> None:
    vendor = statsig(store, listed("abcdef"), size=2)
    stopped(vendor, 3, hour(1))
    report = vendor.run(at=later(5 * 3600))
    assert (report.status, pages(vendor), count(store, "layers")) == ("ok", [3], 6)
    assert of(report, "layers").created == 6


def test_a_run_that_many_processes_worked_on_keeps_its_lists(store: Engine) -> None:
    vendor = known(store, "abcdef")
    for number in range(5):  # five processes, each later than ten minutes
        stopped(vendor, 3, later(number * 700))
        assert pages(vendor) == ([1, 2, 3] if number < 4 else [3])
    report = vendor.run(at=later(5 * 700))
    assert (report.attempts, pages(vendor), of(report, "layers").received) == (6, [3], 6)


def test_a_list_of_a_clock_that_was_ahead_is_read_again(store: Engine) -> None:
    vendor = known(store, "abcdef")
    stopped(vendor, 3, later(10))
    assert vendor.run(at=hour(1)).status == "ok"
    assert pages(vendor) == [1, 2, 3]


def test_a_list_that_was_gone_on_with_proves_nothing_by_itself(store: Engine) -> None:
    """Between the two processes something may have moved. More are missing than are asked for."""
    vendor = known(store, "abcdefgh")
    vendor.limits = {"delete_confirmations": 1}
    vendor.answers |= listed("abcde")
    stopped(vendor, 3, hour(1))
    found = of(vendor.run(at=later(1)), "layers")
    assert [key for key, _ in gone(store)] == ["f"]
    assert (found.status, found.received) == ("incomplete", 5)
    assert "more than delete_confirmations" in (found.incomplete_reason or "")


def test_runs_of_two_sources_go_on_each_where_it_was_stopped(store: Engine) -> None:
    vendors = [known(store, "abcdefgh"), statsig(store, listed("abcdefgh"), size=2)]
    vendors[1].name = "other"
    assert vendors[1].run(at=hour(0)).status == "ok"
    for vendor, page in zip(vendors, (2, 4), strict=True):
        vendor.answers |= listed("abcdefgh", b=vendor.name, h=vendor.name)
        stopped(vendor, page, hour(1))
    for vendor, asked in zip(vendors, ([2, 3, 4], [4]), strict=True):
        report = vendor.run(at=later(1))
        found = of(report, "layers")
        assert (pages(vendor), found.received, found.updated, found.deleted) == (asked, 8, 2, 0)


def test_a_list_is_not_read_again_because_that_of_another_source_is_old(store: Engine) -> None:
    def stop_at(vendor: Vendor, offset: int, at: Any) -> None:
        target = f"/v1/projects?limit=2&cursor={offset}"
        answer, vendor.answers[target] = vendor.answers[target], 503
        assert vendor.run(at=at).status == "parked"
        vendor.answers[target] = answer

    listed = cursor_list([partner(name) for name in "abcdefgh"], size=2)
    vendor, other = (partners(store, dict(listed), size=2) for _ in range(2))
    other.name = "other"
    assert [one.run(at=hour(0)).status for one in (vendor, other)] == ["ok", "ok"]
    stop_at(other, 2, hour(1))
    stop_at(other, 6, later(1))  # it has more checkpoints, and they are older
    stop_at(vendor, 4, later(700))
    assert vendor.run(at=later(701)).status == "ok"
    asked = [one.partition("cursor=")[2] for one in vendor.asked if "/projects?" in one]
    assert asked == ["4", "6"]


def test_a_run_may_be_stopped_and_gone_on_with_twice(store: Engine) -> None:
    vendor = known(store, "abcdefgh")
    vendor.answers |= listed("abcdefgn", a="x", c="y", g="z")
    stopped(vendor, 2, hour(1))
    stopped(vendor, 4, later(1))
    assert pages(vendor) == [2, 3, 4]
    report = vendor.run(at=later(2))
    found = of(report, "layers")
    assert (pages(vendor), report.attempts, report.status) == ([4], 3, "ok")
    counts = (found.received, found.updated, found.created, found.unchanged, found.deleted)
    assert counts == (8, 3, 1, 4, 1)
    assert values(store)["a"] == ("x", 2)
    assert values(store)["g"] == ("z", 2)
    assert [key for key, _ in gone(store)] == ["h"]


def test_a_record_that_moved_on_with_new_values_counts_once_with_the_newer_ones(
    store: Engine,
) -> None:
    """The first process read it on page 1, the second one on page 3, edited meanwhile."""
    vendor = known(store, "abcdef")
    vendor.answers |= listed("abcdef", a="old")
    stopped(vendor, 3, hour(1))
    vendor.answers |= numbered_list(
        [*map(statsig_layer, "abcde"), statsig_layer("a", description="new")], size=2
    )
    report = vendor.run(at=later(1))
    assert values(store)["a"] == ("new", 2)
    assert operations(store, "layers", 7) == [("deleted", "f"), ("updated", "a")]
    assert of(report, "layers").updated == 1


def test_a_list_without_totals_is_gone_on_with_in_its_second_walk(store: Engine) -> None:
    vendor = partners(store, cursor_list([partner(n) for n in "abcdef"], size=2), size=2)
    vendor.run(at=hour(0))
    vendor.answers |= cursor_list([partner(n) for n in "abcdeg"], size=2)
    last = "/v1/projects?limit=2&cursor=4"
    answer = vendor.answers[last]
    vendor.answers[last] = [answer, 503]
    assert vendor.run(at=hour(1)).status == "parked"
    vendor.answers[last] = answer
    report = vendor.run(at=later(1))
    found = of(report, "projects")
    assert vendor.asked[0] == last
    assert (found.created, found.received) == (1, 6)
    assert [key for key, _ in gone(store)] == ["prj_f"]


def test_pages_that_overlap_prove_also_where_the_run_was_stopped(store: Engine) -> None:
    vendor = ld(store, ld_account({key: [] for key in "abcdefg"}, size=3), size=3)
    vendor.limits = {"delete_confirmations": 0}
    vendor.run(at=hour(0))
    vendor.answers |= offset_list(PROJECTS, [ld_project(key) for key in "abcdfg"], size=3)
    target = f"{PROJECTS}?limit=3&offset=4&sort=createdOn"
    answer, vendor.answers[target] = vendor.answers[target], 503
    assert vendor.run(at=hour(1)).status == "parked"
    vendor.answers[target] = answer
    report = vendor.run(at=later(1))
    found = of(report, "projects")
    assert vendor.asked[:2] == [target, f"{PROJECTS}/a/layers"]
    assert (found.status, found.received, found.expected_total) == ("ok", 6, 6)
    assert gone(store, "projects") == [("e", "missing from a complete walk")]
    assert found.proof == "end mark reached; 6 of 6 came; pages overlap; gone on from a checkpoint"


def two_projects(store: Engine, **limits: Any) -> Vendor:
    """LaunchDarkly with p and q, after a first run at hour 0."""
    layers = {"p": [ld_layer("a"), ld_layer("b")], "q": [ld_layer("c"), ld_layer("d")]}
    vendor = ld(store, ld_account(layers), **limits)
    assert vendor.run(at=hour(0)).status == "ok"
    return vendor


def layers_of(key: str, names: str, **changed: str) -> dict[str, Any]:
    found = [ld_layer(one, description=changed.get(one, "")) for one in names]
    return {f"{PROJECTS}/{key}/layers": {"items": found, "totalCount": len(found)}}


def stopped_at_q(vendor: Vendor, at: Any, **wish: Any) -> None:
    target = f"{PROJECTS}/q/layers"
    answer, vendor.answers[target] = vendor.answers[target], 429
    assert vendor.run(at=at, **wish).status == "parked"
    vendor.answers[target] = answer


def lists(vendor: Vendor) -> list[str]:
    """The lists that were asked for: `projects`, or the project of the layers."""
    found = [one.partition("?")[0].removeprefix(f"{PROJECTS}/") for one in vendor.asked]
    named = [one.removesuffix("/layers") for one in found if one.endswith("/layers")]
    return ["projects"] * sum("offset=0" in one for one in vendor.asked) + named


@pytest.mark.parametrize(
    ("seconds", "asked"),
    [(600, ["q"]), (601, ["projects", "p", "q"])],
)
def test_lists_of_projects_are_read_again_with_the_list_they_hang_on(
    store: Engine, seconds: int, asked: list[str]
) -> None:
    vendor = two_projects(store)
    stopped_at_q(vendor, hour(1))
    report = vendor.run(at=later(seconds))
    assert report.status == "ok"
    confirming = len(asked) == 3  # the list of projects is read once more at the end
    assert lists(vendor)[: len(asked) + 1] == ["projects"] * (1 + confirming) + asked[confirming:]
    assert of(report, "layers").unchanged == 4


def test_of_a_first_load_only_the_list_of_projects_is_read_again(store: Engine) -> None:
    layers = {"p": [ld_layer("a"), ld_layer("b")], "q": [ld_layer("c"), ld_layer("d")]}
    vendor = ld(store, ld_account(layers))
    stopped_at_q(vendor, hour(1))
    report = vendor.run(at=later(601))
    assert lists(vendor) == ["projects", "projects", "q"]
    assert (of(report, "projects").created, of(report, "layers").created) == (2, 4)


def test_lists_of_a_project_that_is_gone_by_now_are_forgotten(store: Engine) -> None:
    """In a first load: p was read by the first process, and is not there any more."""
    layers = {"p": [ld_layer("a"), ld_layer("b")], "q": [ld_layer("c"), ld_layer("d")]}
    vendor = ld(store, ld_account(layers))
    stopped_at_q(vendor, hour(1))
    vendor.answers |= offset_list(PROJECTS, [ld_project("q")], size=20)
    report = vendor.run(at=later(601))
    assert (report.status, sorted(values(store))) == ("ok", ["c", "d"])
    assert of(report, "layers").partitions == 1


def test_a_list_that_failed_in_an_earlier_process_is_asked_for_again(store: Engine) -> None:
    vendor = two_projects(store)
    vendor.answers[f"{PROJECTS}/p/layers"] = [503, layers_of("p", "abn")[f"{PROJECTS}/p/layers"]]
    stopped_at_q(vendor, hour(1))
    vendor.answers[f"{PROJECTS}/p/layers"] = layers_of("p", "abn")[f"{PROJECTS}/p/layers"]
    report = vendor.run(at=later(1))
    assert report.status == "ok"
    assert "n" in values(store)


def test_environments_that_came_inside_a_project_are_forgotten_with_it(store: Engine) -> None:
    """The list of projects is read again, so what it carries comes again, as it is now."""
    options = {"projects": {"page_size": 20}}
    vendor = Vendor(engine=store, provider="launchdarkly", options=options)

    def account(*environments: str) -> dict[str, Any]:
        found = ld_account({"p": [], "q": []})
        for target, answer in list(found.items()):
            if target.startswith(f"{PROJECTS}?"):
                listed = [ld_environment(one) for one in environments]
                inner = {"items": listed, "totalCount": len(listed)}
                items = [{**one, "environments": inner} for one in answer["items"]]
                found[f"{target}&expand=environments"] = {**answer, "items": items}
        return found

    vendor.answers = account("one", "two")
    stopped_at_q(vendor, hour(1))
    vendor.answers |= account("one", "three")
    report = vendor.run(at=later(601))
    assert report.status == "ok"
    assert sorted({row["key"] for row in rows(store, "environments")}) == ["one", "three"]
    assert of(report, "environments").created == 4


# A backfill keeps its lists, also where another run landed meanwhile.


def test_what_a_run_that_landed_meanwhile_wrote_is_newer(store: Engine) -> None:
    vendor = known(store, "abcdef")
    vendor.answers |= listed("abcnef", a="old", b="same", n="old")  # d is not there for now
    stopped(vendor, 3, hour(1), backfill=WHOLE)
    vendor.answers |= listed("abcnef", a="new", b="same", n="new")
    landed = vendor.run(at=hour(2))
    assert (landed.status, of(landed, "layers").created) == ("ok", 1)
    written = values(store)
    assert (written["a"], written["n"]) == (("new", 2), ("new", 1))
    last = max(row["change_id"] for row in rows(store, "changes"))
    report = vendor.run(at=hour(3), backfill=WHOLE)
    assert (report.attempts, pages(vendor)) == (2, [3])
    assert values(store) == written
    assert [row for row in rows(store, "changes") if row["change_id"] > last] == []
    assert report.status == "ok"


def test_what_it_deleted_meanwhile_stays_deleted_and_is_not_met(store: Engine) -> None:
    vendor = known(store, "abcdef")
    vendor.answers |= listed("abcdef", b="old")
    stopped(vendor, 3, hour(1), backfill=WHOLE)
    vendor.answers |= listed("acdefg")
    vendor.run(at=hour(2))
    assert [key for key, _ in gone(store)] == ["b"]
    report = vendor.run(at=hour(3), backfill=WHOLE)
    assert [key for key, _ in gone(store)] == ["b"]
    assert "b" not in values(store)
    assert operations(store, "layers", 7) == [("created", "g"), ("deleted", "b")]
    assert of(report, "layers").restored == 0


def test_of_a_run_that_did_not_read_all_only_what_it_wrote_is_newer(store: Engine) -> None:
    """It read no layer but a and n: the backfill's c stays."""
    vendor = known(store, "abcdef")
    vendor.answers |= listed("abcnef", a="old", c="kept", n="old")
    stopped(vendor, 3, hour(1), backfill=WHOLE)
    some = [statsig_layer("a", description="new"), statsig_layer("n", description="new")]
    vendor.answers |= numbered_list(some, size=2, total=6)
    for name in "bcdef":
        vendor.answers[f"/console/v1/layers/{name}"] = {"data": statsig_layer(name)}
    landed = vendor.run(at=hour(2))
    assert (landed.status, values(store)["c"]) == ("partial", ("", 1))
    vendor.answers |= listed("abcnef", a="new", c="kept", n="new")
    report = vendor.run(at=hour(3), backfill=WHOLE)
    found = values(store)
    assert (found["a"], found["c"], found["n"]) == (("new", 2), ("kept", 2), ("new", 1))
    assert of(report, "layers").updated == 1


def test_where_it_read_all_what_was_staged_before_says_nothing_new(store: Engine) -> None:
    """c was edited and put back: the backfill saw only the edit."""
    vendor = known(store, "abcdef")
    vendor.answers |= listed("abcdef", c="for a while")
    stopped(vendor, 3, hour(1), backfill=WHOLE)
    vendor.answers |= listed("abcdef", f="x")
    assert vendor.run(at=hour(2)).status == "ok"
    vendor.run(at=hour(3), backfill=WHOLE)
    assert values(store)["c"] == ("", 1)


def test_records_missing_from_a_list_that_was_overtaken_are_not_deleted(store: Engine) -> None:
    """b was away while the backfill read; the run that landed saw it, unchanged."""
    vendor = two_projects(store)
    vendor.answers |= layers_of("p", "a")
    stopped_at_q(vendor, hour(1), backfill=WHOLE)
    vendor.answers |= layers_of("p", "abn")
    assert vendor.run(at=hour(2)).status == "ok"
    report = vendor.run(at=hour(3), backfill=WHOLE)
    assert (report.status, gone(store)) == ("partial", [])
    assert of(report, "layers").incomplete_reason == f"p {STALE} (in 1 of 2)"
    assert vendor.run(at=hour(4)).status == "ok"
    assert (gone(store), sorted(values(store))) == ([], list("abcdn"))


def test_records_that_it_wrote_are_not_missing(store: Engine) -> None:
    vendor = two_projects(store)
    stopped_at_q(vendor, hour(1), backfill=WHOLE)
    vendor.answers |= layers_of("p", "abn")
    vendor.run(at=hour(2))
    report = vendor.run(at=hour(3), backfill=WHOLE)
    assert (report.status, gone(store), sorted(values(store))) == ("ok", [], list("abcdn"))


def test_a_list_that_was_read_after_it_landed_proves_as_ever(store: Engine) -> None:
    vendor = two_projects(store)
    stopped_at_q(vendor, hour(1), backfill=WHOLE)
    vendor.answers |= layers_of("p", "abn")
    vendor.run(at=hour(2))
    vendor.answers |= layers_of("q", "c")
    report = vendor.run(at=hour(3), backfill=WHOLE)
    assert (report.status, [key for key, _ in gone(store)]) == ("ok", ["d"])


def test_nothing_is_kept_for_a_project_that_is_gone_by_now(store: Engine) -> None:
    vendor = two_projects(store)
    vendor.answers |= layers_of("p", "abn", a="old")
    stopped_at_q(vendor, hour(1), backfill=WHOLE)
    vendor.answers |= offset_list(PROJECTS, [ld_project("q")], size=20)
    vendor.answers[f"{PROJECTS}/p"] = 404
    vendor.run(at=hour(2))
    assert gone(store, "projects") == [("p", "the provider answers 404 for it")]
    vendor.run(at=hour(3), backfill=WHOLE)
    assert sorted(values(store)) == ["c", "d"]
    assert count(store, "layers", "key = 'n'") == 0
    assert [key for key, _ in gone(store, "layers")] == ["a", "b"]


def test_a_run_that_landed_before_it_began_is_no_rival(store: Engine) -> None:
    vendor = known(store, "abcdef")
    vendor.answers |= listed("abcdef", a="x")
    stopped(vendor, 3, hour(1), backfill=WHOLE)
    report = vendor.run(at=hour(2), backfill=WHOLE)
    assert (report.status, values(store)["a"]) == ("ok", ("x", 2))


def test_a_run_of_the_same_moment_is_a_rival(store: Engine) -> None:
    vendor = known(store, "abcdef")
    vendor.answers |= listed("abcdef", a="old")
    stopped(vendor, 3, hour(1), backfill=WHOLE)
    vendor.answers |= listed("abcdef", a="new")
    vendor.run(at=hour(1))
    vendor.run(at=hour(2), backfill=WHOLE)
    assert values(store)["a"] == ("new", 2)


def test_a_run_of_another_source_is_no_rival(store: Engine) -> None:
    vendor = known(store, "abcdef")
    vendor.answers |= listed("abcdef", a="x")
    stopped(vendor, 3, hour(1), backfill=WHOLE)
    other = partners(store, cursor_list([partner("a")], size=2), size=2)
    other.name = "other"
    assert other.run(at=hour(2)).status == "ok"
    vendor.run(at=hour(3), backfill=WHOLE)
    assert values(store)["a"] == ("x", 2)


def test_a_run_that_ended_without_landing_is_no_rival(store: Engine) -> None:
    vendor = known(store, "abcdef")
    vendor.answers |= listed("abcdef", a="x")
    stopped(vendor, 3, hour(1), backfill=WHOLE)
    assert vendor.run(at=hour(2), dry_run=True).status == "dry_run"
    vendor.run(at=hour(3), backfill=WHOLE)
    assert values(store)["a"] == ("x", 2)


# A sync reads everything again.


def test_a_sync_that_a_backfill_overtook_reads_all_its_lists_again(store: Engine) -> None:
    """The backfill began before it and lands while it is stopped."""
    vendor = known(store, "abcdef")
    stopped(vendor, 2, hour(1), backfill=WHOLE)
    vendor.answers |= listed("abcdef", a="old")
    stopped(vendor, 3, later(1))
    vendor.answers |= listed("abcdef", a="new")
    assert vendor.run(at=later(2), backfill=WHOLE).status == "ok"
    report = vendor.run(at=later(3))
    assert (report.attempts, report.status, pages(vendor)) == (2, "ok", [1, 2, 3])
    assert values(store)["a"] == ("new", 2)


def test_a_first_load_that_a_backfill_overtook_reads_its_lists_again(store: Engine) -> None:
    vendor = statsig(store, listed("abcdef"), size=2)
    stopped(vendor, 3, hour(1))
    some = listed("ab")
    kept = dict(vendor.answers)
    vendor.answers |= some
    assert vendor.run(at=later(1), backfill=WHOLE).status == "ok"
    vendor.answers |= kept
    report = vendor.run(at=later(2))
    assert (report.attempts, pages(vendor)) == (2, [1, 2, 3])
    assert (of(report, "layers").created, len(values(store))) == (4, 6)


def test_what_was_staged_twice_is_written_once(store: Engine) -> None:
    """Layers.com without totals: two walks, the record edited between them."""
    vendor = partners(store, cursor_list([partner(n) for n in "abc"], size=2), size=2)
    vendor.run(at=hour(0))
    first = cursor_list([partner("a", status="archived"), *map(partner, "bcn")], size=2)
    second = cursor_list([partner("a", status="paused"), *map(partner, "bcn")], size=2)
    vendor.answers |= {t: [first[t], second[t]] for t in first if "projects" in t}
    report = vendor.run(at=hour(1))
    found = of(report, "projects")
    assert (found.updated, found.created, found.unchanged, found.received) == (1, 1, 2, 4)
    assert [row["status"] for row in rows(store, "projects", "key = 'prj_a'")] == ["paused"]
    assert count(store, "changes", "operation = 'updated'") == 1


def test_a_replay_that_landed_meanwhile_is_a_rival_however_old_what_it_brings(
    store: Engine,
) -> None:
    vendor = known(store, "abcdef")
    vendor.answers |= listed("abcdef", a="old")
    stopped(vendor, 3, hour(1), backfill=WHOLE)
    vendor.answers |= listed("abcdef", a="new")
    landed = vendor.run(at=hour(2))
    with (
        store.begin() as connection
    ):  # as etl.reprocess.replay_archive leaves it: observed long before it ended
        past = hour(0) + timedelta(minutes=1)
        mine = runs.c.run_id == landed.run_id
        connection.execute(update(runs).where(mine).values(kind="replay", observed_at=past))
    vendor.run(at=hour(3), backfill=WHOLE)
    assert values(store)["a"] == ("new", 2)


def test_a_run_of_a_clock_that_was_ahead_is_no_rival_of_those_that_began_later(
    store: Engine,
) -> None:
    vendor = statsig(store, listed("abcdef"), size=2)
    vendor.run(at=hour(5))
    vendor.answers |= listed("abcdef", a="x")
    stopped(vendor, 3, hour(1), backfill=WHOLE)
    vendor.run(at=hour(2), backfill=WHOLE)
    assert values(store)["a"] == ("x", 2)


def test_a_backfill_that_began_before_and_lands_meanwhile_is_a_rival_of_a_backfill(
    store: Engine,
) -> None:
    vendor = known(store, "abcdef")
    part = Selection(created_since=hour(-100_000))
    stopped(vendor, 3, hour(1), backfill=part)
    vendor.answers |= listed("abcdef", a="old")
    stopped(vendor, 3, hour(2), backfill=WHOLE)
    vendor.answers |= listed("abcdef", a="old", f="new")
    stopped(vendor, 3, hour(3), backfill=part)  # has read a before
    assert vendor.run(at=hour(4), backfill=part).status == "ok"
    assert values(store)["f"] == ("new", 2)
    vendor.answers |= listed("abcdef", a="old", f="newer")
    report = vendor.run(at=hour(5), backfill=WHOLE)
    assert report.attempts == 2
    found = values(store)
    assert (found["a"], found["f"]) == (("old", 2), ("newer", 3))


def test_a_list_in_which_another_run_met_what_this_one_staged_counts_it_as_met(
    store: Engine,
) -> None:
    """n was staged by the backfill and created by the sync: it is one record that came."""
    vendor = known(store, "abcdef")
    vendor.answers |= listed("abncdefg")
    stopped(vendor, 4, hour(1), backfill=WHOLE)
    vendor.run(at=hour(2))
    report = vendor.run(at=hour(3), backfill=WHOLE)
    found = of(report, "layers")
    assert (report.status, found.received, found.unchanged, found.created) == ("ok", 8, 8, 0)
    assert pages(vendor) == [4]
    assert count(store, "changes", "key = 'n'") == 1


def test_lists_that_a_sync_forgets_are_kept_by_a_backfill_that_waits(store: Engine) -> None:
    vendor = known(store, "abcdef")
    vendor.answers |= listed("abcdef", a="of the backfill")
    stopped(vendor, 3, hour(1), backfill=WHOLE)
    waiting = count(store, "staged_layers")
    vendor.answers |= listed("abcdef", b="of the sync")
    stopped(vendor, 3, later(1))
    assert count(store, "staged_layers") == waiting + 1 == 2
    stopped(vendor, 3, later(700))  # reads its lists again, as they are too old
    assert pages(vendor) == [1, 2, 3]
    assert count(store, "staged_layers") == waiting + 1
    vendor.run(at=later(701), full=True)  # and another one begins anew
    vendor.answers |= listed("abcdef", a="of the backfill")
    report = vendor.run(at=later(702), backfill=WHOLE)
    assert report.attempts == 2


def test_only_the_list_whose_project_lost_its_key_is_forgotten(store: Engine) -> None:
    """p has another key by the time all lists are read: what came under it may be another's."""
    vendor = two_projects(store)
    vendor.answers |= layers_of("p", "abm") | layers_of("q", "cdn")
    start = f"{PROJECTS}?limit=20&offset=0&sort=createdOn"
    renamed = offset_list(PROJECTS, [ld_project("p2", _id="id-p"), ld_project("q")], size=20)
    vendor.answers[start] = [vendor.answers[start], renamed[start]]
    vendor.answers[f"{PROJECTS}/p"] = 404
    report = vendor.run(at=hour(1))
    assert (report.status, gone(store)) == ("partial", [])
    assert sorted(values(store)) == ["a", "b", "c", "d", "n"]
    assert "the key p moved" in (of(report, "layers").incomplete_reason or "")


def test_nothing_is_kept_for_a_project_that_a_run_of_projects_alone_deleted(
    store: Engine,
) -> None:
    vendor = two_projects(store)
    vendor.answers |= layers_of("p", "abn")
    stopped_at_q(vendor, hour(1), backfill=WHOLE)
    vendor.answers |= offset_list(PROJECTS, [ld_project("q")], size=20)
    vendor.answers[f"{PROJECTS}/p"] = 404
    assert vendor.run(at=hour(2), streams=["projects"]).status == "ok"
    vendor.run(at=hour(3), backfill=WHOLE)
    assert count(store, "layers", "key = 'n'") == 0
    assert sorted(values(store)) == ["c", "d"]


def test_what_another_run_deleted_hides_nothing_that_is_missing(store: Engine) -> None:
    vendor = two_projects(store)
    stopped_at_q(vendor, hour(1), backfill=WHOLE)
    vendor.answers |= layers_of("p", "b")
    assert vendor.run(at=hour(2)).status == "ok"
    vendor.answers |= layers_of("q", "c")
    assert vendor.run(at=hour(3), backfill=WHOLE).status == "ok"
    assert [key for key, _ in gone(store)] == ["a", "d"]


def test_what_another_run_deleted_does_not_count_as_come(store: Engine) -> None:
    """b is gone and g is new, so the total is the same; e moved up and was not seen."""
    vendor = known(store, "abcdef")
    stopped(vendor, 3, hour(1), backfill=WHOLE)
    vendor.answers |= listed("acdefg")
    assert vendor.run(at=hour(2)).status == "ok"
    report = vendor.run(at=hour(3), backfill=WHOLE)
    found = of(report, "layers")
    assert (report.status, [key for key, _ in gone(store)]) == ("ok", ["b"])
    assert (pages(vendor), found.received) == ([3, 1, 2, 3], 6)


def test_what_another_run_changed_still_counts_as_come(store: Engine) -> None:
    vendor = known(store, "abcdef")
    stopped(vendor, 3, hour(1), backfill=WHOLE)
    vendor.answers |= listed("abcdef", a="new")
    assert vendor.run(at=hour(2)).status == "ok"
    report = vendor.run(at=hour(3), backfill=WHOLE)
    assert (report.status, pages(vendor)) == ("ok", [3])
    assert of(report, "layers").received == 6


def test_environments_that_came_inside_a_project_that_is_gone_by_now_are_not_kept(
    store: Engine,
) -> None:
    """Soon after, so that the backfill keeps its list of projects."""
    options = {"projects": {"page_size": 20}}
    vendor = Vendor(engine=store, provider="launchdarkly", options=options)
    vendor.answers = ld_account({"p": [], "q": []})

    def show(keys: str, *environments: str) -> None:
        some = [ld_environment(one) for one in environments]
        inner = {"items": some, "totalCount": len(some)}
        listed = offset_list(
            PROJECTS, [ld_project(key, environments=inner) for key in keys], size=20
        )
        vendor.answers |= {f"{target}&expand=environments": one for target, one in listed.items()}
        vendor.answers |= offset_list(PROJECTS, [ld_project(key) for key in keys], size=20)

    show("pq", "one")
    vendor.run(at=hour(0))
    show("pq", "one", "new")
    stopped_at_q(vendor, hour(1), backfill=WHOLE)
    show("q", "one")
    vendor.answers[f"{PROJECTS}/p"] = 404
    assert vendor.run(at=later(1), streams=["projects"]).status == "ok"
    assert gone(store, "projects") == [("p", "the provider answers 404 for it")]
    vendor.run(at=later(2), backfill=WHOLE)
    found = [
        (row["parent_id"], row["key"]) for row in rows(store, "environments", "NOT is_deleted")
    ]
    assert sorted(found) == [("id-q", "new"), ("id-q", "one")]
    assert count(store, "environments", "parent_id = 'id-p'") == 1


def test_a_page_that_a_signal_took_in_half_is_read_again(
    store: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of it is counted, though its first record is staged already."""
    monkeypatch.setattr(intake, "SLICE", 1)
    vendor = known(store, "abcdef")
    vendor.answers |= listed("abcdef", c="x", d="y")
    answer = vendor.answers[f"{PAGE}2"]

    def interrupted() -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return answer

    vendor.answers[f"{PAGE}2"] = interrupted
    with heeding(), pytest.raises(KeyboardInterrupt):
        vendor.run(at=hour(1))
    vendor.answers[f"{PAGE}2"] = answer
    report = vendor.run(at=later(1))
    found = of(report, "layers")
    assert (report.status, pages(vendor)) == ("ok", [2, 3])
    assert (found.received, found.updated, found.unchanged, found.pages) == (6, 2, 4, 3)
    assert found.proof == "end mark reached; 6 of 6 came; gone on from a checkpoint"
