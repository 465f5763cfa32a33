"""What the intake makes of pages: checkpoints, what is kept of rejects, lists that come inside."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from tests.support.database import count, rows
from tests.support.internals.database import RECORDS, rejects, schema_drift
from tests.support.internals.running import intake
from tests.support.internals.values import WHOLE, Selection, parsed_text
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

PAGE = "/console/v1/layers?limit={}&page={}"


def watched(vendor: Vendor, store: Engine, target: str, table: str = "ledger") -> list[int]:
    """How many rows of a table stand in the database each time the target is asked for."""
    seen: list[int] = []
    answer = vendor.answers[target]

    def look() -> Any:
        seen.append(count(store, table))
        return answer

    vendor.answers[target] = look
    return seen


def many(number: int, **fields: Any) -> list[Any]:
    return [statsig_layer(f"l{one:05}", **fields) for one in range(number)]


def test_a_backfill_writes_a_checkpoint_for_every_page(store: Engine) -> None:
    vendor = statsig(store, numbered_list(many(6), size=2), size=2)
    seen = watched(vendor, store, PAGE.format(2, 3), "staged_layers")
    assert vendor.run(backfill=WHOLE).status == "ok"
    assert seen == [4]


@pytest.mark.parametrize(("size", "written"), [(1000, 2000), (999, 0)])
def test_pages_that_come_fast_share_a_checkpoint_of_two_thousand_rows(
    store: Engine, monkeypatch: pytest.MonkeyPatch, size: int, written: int
) -> None:
    monkeypatch.setattr(intake, "CHECKPOINT_SECONDS", 3600.0)
    vendor = statsig(store, numbered_list(many(3 * size), size=size), size=size)
    seen = watched(vendor, store, PAGE.format(size, 3), "staged_layers")
    assert vendor.run().status == "ok"
    assert (seen, count(store, "layers")) == ([written], 3 * size)


def test_records_that_are_large_do_not_wait_for_a_checkpoint(
    store: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "CHECKPOINT_SECONDS", 3600.0)
    large = many(5, description="x" * 1_000_000)
    vendor = statsig(store, numbered_list(large, size=1), size=1)
    seen = [watched(vendor, store, PAGE.format(1, page), "staged_layers") for page in (4, 5)]
    assert vendor.run().status == "ok"
    assert seen == [[0], [0]]  # 4 MiB are more than four of them
    vendor.answers |= numbered_list(many(5, description="y" * 1_048_576), size=1)
    seen = [watched(vendor, store, PAGE.format(1, page), "staged_layers") for page in (4, 5)]
    assert vendor.run().status == "ok"
    assert seen == [[0], [4]]


def test_a_checkpoint_is_due_after_a_fifth_of_a_second(store: Engine) -> None:
    vendor = statsig(store, numbered_list(many(6), size=2), size=2)
    vendor.run()
    vendor.answers |= numbered_list(many(6, description="new"), size=2)
    seen = watched(vendor, store, PAGE.format(2, 3), "staged_layers")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(intake, "CHECKPOINT_SECONDS", 0.0)
        vendor.run()
    assert seen == [4]


def test_a_page_of_thousands_of_items_is_taken_whole(store: Engine) -> None:
    """An answer of LaunchDarkly has all layers of a project."""
    layers = [ld_layer(f"l{one:04}") for one in range(2500)]
    vendor = ld(store, ld_account({"p": layers}))
    report = vendor.run(at=hour(0))
    assert (of(report, "layers").created, count(store, "layers")) == (2500, 2500)
    stored = sorted(rows(store, "layers"), key=lambda row: row["layer_id"])
    assert [row["key"] for row in stored] == [one["key"] for one in layers]
    edited = [
        {**one, "description": "new"} if number % 3 else one for number, one in enumerate(layers)
    ]
    vendor.answers |= ld_account({"p": edited})
    report = vendor.run(at=hour(1))
    found = of(report, "layers")
    assert (found.updated, found.unchanged, found.received) == (1666, 834, 2500)


def test_of_an_id_that_comes_twice_in_a_page_the_last_one_counts(store: Engine) -> None:
    listed = [statsig_layer("a", description=one) for one in ("first", "last")]
    vendor = statsig(store, numbered_list([*listed, statsig_layer("b")], size=9, total=2), size=9)
    report = vendor.run()
    found = of(report, "layers")
    assert (report.status, found.created, found.received) == ("ok", 2, 2)
    assert [row["description"] for row in rows(store, "layers", "key = 'a'")] == ["last"]
    (drift,) = rows(store, schema_drift)
    said = (drift["stream"], drift["path"], drift["type"], drift["sample_type"])
    assert said == ("layers", "", "one id twice in a page", "object")


def bad(name: str) -> dict[str, Any]:
    return {**partner(name), "status": None}


def test_a_thousand_rejects_of_a_list_are_kept_and_more_are_counted(store: Engine) -> None:
    listed = [bad(f"{one:04}") for one in range(1000)]
    vendor = partners(store, cursor_list(listed, size=200), size=200)
    report = vendor.run()
    found = of(report, "projects")
    assert (found.rejected, found.complete, count(store, "rejects")) == (1000, True, 1000)
    vendor.answers |= cursor_list([*listed, bad("more")], size=200)
    report = vendor.run()
    found = of(report, "projects")
    assert (found.rejected, found.status, count(store, "rejects")) == (1001, "incomplete", 1000)
    assert found.incomplete_reason == "1001 items were rejected, of which 1 are not kept"


def test_of_a_list_with_rejects_that_are_not_kept_nothing_is_deleted(store: Engine) -> None:
    vendor = partners(store, cursor_list([partner("a"), partner("b")], size=200), size=200)
    vendor.limits = {"delete_confirmations": 0}
    vendor.run()
    listed = [partner("a"), *(bad(f"{one:04}") for one in range(1001))]
    vendor.answers |= cursor_list(listed, size=200)
    vendor.run()
    assert gone(store) == []


def test_rejects_count_as_met_and_are_no_news(store: Engine) -> None:
    vendor = partners(store, cursor_list([partner(one) for one in "abc"], size=200), size=200)
    vendor.limits = {"delete_confirmations": 0}
    vendor.run()
    vendor.answers |= cursor_list([partner("a"), bad("b"), bad("n")], size=200)
    report = vendor.run()
    found = of(report, "projects")
    assert [key for key, _ in gone(store)] == ["prj_c"]
    counts = (found.received, found.unchanged, found.rejected, found.created, found.updated)
    assert counts == (3, 1, 2, 0, 0)


def test_an_item_larger_than_two_mebibytes_is_a_reject_without_its_payload(store: Engine) -> None:
    fits = 2 * 2**20
    small = partner("small", ownerEmail="")
    large = partner("large", ownerEmail="x" * fits)
    vendor = partners(store, cursor_list([small, large], size=200), size=200)
    report = vendor.run()
    (found,) = rows(store, rejects)
    assert (report.status, found["item"], found["payload"]) == ("partial", "large", {"null": None})
    assert found["reason"] == "the item is larger than 2097152 bytes"


@pytest.mark.parametrize(("more", "stored"), [(0, 1), (1, 0)])
def test_an_item_of_just_two_mebibytes_is_taken(store: Engine, more: int, stored: int) -> None:
    item = partner("a", ownerEmail="")
    item["ownerEmail"] = "x" * (2 * 2**20 - len(parsed_text(item)) + more)
    partners(store, cursor_list([item], size=200), size=200).run()
    assert count(store, "projects") == stored


def test_payloads_of_rejects_are_kept_as_long_as_there_is_room(store: Engine) -> None:
    """16 MiB of a run; of nine rejects of almost 2 MiB eight fit."""
    listed = [{**bad(f"{one}"), "ownerEmail": "x" * 2_050_000} for one in range(9)]
    partners(store, cursor_list(listed, size=1), size=1).run()
    kept = [row["payload"] != {"null": None} for row in rows(store, rejects)]
    assert (kept.count(True), kept.count(False)) == (8, 1)


def test_a_dry_run_writes_no_finding(store: Engine) -> None:
    odd = partner("n", odd="field")
    vendor = partners(store, cursor_list([partner("a"), bad("b"), odd], size=200), size=200)
    report = vendor.run(dry_run=True)
    found = of(report, "projects")
    assert (report.status, found.rejected, found.created) == ("dry_run", 1, 2)
    assert [count(store, one) for one in ("rejects", "schema_drift", "projects")] == [0, 0, 0]
    vendor.run()
    assert [count(store, one) for one in ("rejects", "schema_drift", "projects")] == [1, 1, 2]


def inside(vendor: Vendor, *projects: dict[str, Any], **environments: Any) -> None:
    """LaunchDarkly shows these projects; `p=[...]`: with these environments."""
    listed = []
    for one in projects:
        key = str(one.get("key"))
        some = environments.get(key, [])
        inner = {"items": some, "totalCount": len(some)}
        listed.append({**one, "environments": inner})
        vendor.answers[f"{PROJECTS}/{key}"] = one
        vendor.answers[f"{PROJECTS}/{key}/layers"] = {"items": [], "totalCount": 0}
    expanded = offset_list(PROJECTS, listed, size=100)
    vendor.answers |= {f"{target}&expand=environments": one for target, one in expanded.items()}
    vendor.answers |= offset_list(PROJECTS, list(projects), size=100)
    vendor.answers["/api/v2/caller-identity"] = {"accountId": "one"}


def with_environments(store: Engine) -> Vendor:
    options = {"projects": {"page_size": 100}}
    return Vendor(engine=store, provider="launchdarkly", options=options)


def test_environments_of_a_rejected_project_are_neither_taken_nor_deleted(store: Engine) -> None:
    vendor = with_environments(store)
    one, two, three = (ld_environment(name) for name in ("one", "two", "three"))
    inside(vendor, ld_project("p"), ld_project("q"), p=[one], q=[two])
    assert vendor.run().status == "ok"
    broken = ld_project("p", name=None)
    inside(vendor, broken, ld_project("q"), p=[three], q=[two, three])
    report = vendor.run()
    found = of(report, "environments")
    assert sorted((row["parent_id"], row["key"]) for row in rows(store, "environments")) == [
        ("id-p", "one"),
        ("id-q", "three"),
        ("id-q", "two"),
    ]
    assert (report.status, gone(store), found.created) == ("partial", [], 1)
    assert of(report, "projects").rejected == 1


def test_environments_rest_on_the_list_that_they_came_inside(store: Engine) -> None:
    vendor = with_environments(store)
    names = ("one", "two", "three")
    inside(vendor, ld_project("p"), p=[ld_environment(name) for name in names])
    vendor.run(at=hour(0))
    inside(vendor, ld_project("p"), p=[ld_environment("one")])
    report = vendor.run(at=hour(1))
    found = of(report, "environments")
    assert [key for key, _ in gone(store, "environments")] == ["three", "two"]
    assert (found.deleted, found.unchanged, found.status) == (2, 1, "ok")
    assert found.oldest_read_at == hour(1)
    assert found.proof == "end mark reached; 1 came, no total is given"
    assert [one for one in vendor.asked if "/environments" in one] == []


def test_environments_of_many_projects_are_compared_each_with_its_own(store: Engine) -> None:
    """Both projects have an environment of each name; ids are unique only within a project."""
    vendor = with_environments(store)
    keys = [f"p{number:02}" for number in range(45)]
    projects = [ld_project(key) for key in keys]
    some = {key: [ld_environment("one"), ld_environment("two")] for key in keys}
    inside(vendor, *projects, **some)
    vendor.run()
    some["p07"] = [ld_environment("one", color="000000"), ld_environment("two")]
    inside(vendor, *projects, **some)
    report = vendor.run()
    found = of(report, "environments")
    assert (found.updated, found.unchanged, found.created) == (1, 89, 0)
    assert [row["project_key"] for row in rows(store, "environments", "version = 2")] == ["p07"]


def test_layers_of_many_projects_are_compared_each_with_its_own(store: Engine) -> None:
    account = {f"p{number:02}": [ld_layer("a"), ld_layer("b")] for number in range(45)}
    vendor = ld(store, ld_account(account))
    vendor.run()
    account["p23"] = [ld_layer("a", description="new"), ld_layer("b")]
    account["p24"] = [ld_layer("a")]
    vendor.answers |= ld_account(account)
    report = vendor.run()
    found = of(report, "layers")
    assert (found.updated, found.unchanged, found.deleted) == (1, 88, 1)
    told_of = [
        (row["project_key"], row["key"], row["operation"])
        for row in rows(store, "changes", "operation <> 'created'")
    ]
    assert sorted(told_of) == [("p23", "a", "updated"), ("p24", "b", "deleted")]


def test_a_backfill_of_a_window_counts_what_it_leaves_out_as_come(store: Engine) -> None:
    """The walk saw it, so the counts agree; it is neither stored nor unchanged."""
    old, new = (int(datetime(year, 1, 1, tzinfo=UTC).timestamp() * 1000) for year in (2020, 2025))
    listed = [statsig_layer(one, createdTime=old) for one in "abc"]
    listed += [statsig_layer(one, createdTime=new) for one in "de"]
    vendor = statsig(store, numbered_list(listed, size=2), size=2)
    since = datetime(2024, 1, 1, tzinfo=UTC)
    report = vendor.run(backfill=Selection(created_since=since))
    found = of(report, "layers")
    assert (report.status, found.created, found.received, found.unchanged) == ("ok", 2, 5, 0)
    assert sorted(row["key"] for row in rows(store, "layers")) == ["d", "e"]
    assert found.incomplete_reason == "only records created since 2024-01-01 00:00 were asked for"


def test_what_a_window_leaves_out_may_make_a_list_move(store: Engine) -> None:
    """A newcomer outside of the window still stands for one that slipped through."""
    at = hour(1)
    now = int(at.timestamp() * 1000)
    listed = [*map(statsig_layer, "abc"), statsig_layer("n", createdTime=now)]
    vendor = statsig(store, numbered_list(listed, size=2), size=2)
    until = at - timedelta(days=1)
    report = vendor.run(at=at, backfill=Selection(created_until=until))
    found = of(report, "layers")
    assert (found.created, found.received) == (3, 4)
    assert found.proof == "end mark reached; 4 of 4 came; 2 walks"


def test_a_record_that_is_deleted_and_comes_again_is_restored_and_counts_as_new(
    store: Engine,
) -> None:
    vendor = partners(store, cursor_list([partner(one) for one in "abc"], size=2), size=2)
    vendor.run()
    vendor.answers |= cursor_list([partner(one) for one in "ab"], size=2)
    vendor.run()
    assert [key for key, _ in gone(store)] == ["prj_c"]
    last = max(row["change_id"] for row in rows(store, "changes"))
    vendor.answers |= cursor_list([partner(one) for one in "abc"], size=2)
    report = vendor.run()
    found = of(report, "projects")
    assert operations(store, "projects", last) == [("restored", "prj_c")]
    assert (found.restored, found.created, found.unchanged) == (1, 0, 2)
    assert "2 walks" in (found.proof or "")  # something came, so it is walked twice


def test_a_change_of_a_known_record_makes_no_list_unquiet(store: Engine) -> None:
    vendor = partners(store, cursor_list([partner(one) for one in "abc"], size=2), size=2)
    vendor.run()
    listed = [partner("a", status="archived"), partner("b"), partner("c")]
    vendor.answers |= cursor_list(listed, size=2)
    found = of(vendor.run(), "projects")
    assert (found.updated, "walks" in (found.proof or "")) == (1, False)


def test_the_payload_is_stored_as_it_came_with_what_is_no_content(store: Engine) -> None:
    """Links differ from call to call: they make no change, and are part of the payload."""
    links = {"self": {"href": f"{PROJECTS}/p", "type": "application/json"}}
    came = ld_project("p", _links=links, tags=["b", "a"], defaultTtl=1.50)
    vendor = ld(store, ld_account({"p": []}))
    vendor.answers |= offset_list(PROJECTS, [came], size=20) | {f"{PROJECTS}/p": came}
    vendor.run()
    (stored,) = rows(store, RECORDS["projects"].current)
    assert stored["raw"] == came
    other = {**came, "_links": {"self": {"href": f"{PROJECTS}/p", "type": "text/html"}}}
    vendor.answers |= offset_list(PROJECTS, [other], size=20)
    report = vendor.run()
    assert (report.changed, rows(store, RECORDS["projects"].current)) == (0, [stored])
