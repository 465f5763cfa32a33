"""`etl reprocess` makes every table what the stored payloads say, and leaves ids as they are."""

from typing import Any

import pytest
from sqlalchemy import Engine, text

from tests.support.database import count, rows
from tests.support.internals.database import metadata
from tests.support.internals.running import (
    PROVIDERS,
    ReprocessOptions,
    ReprocessResult,
    preview,
    reprocess,
)
from tests.support.runs import hour
from tests.support.scripted import (
    PROJECTS,
    ld,
    ld_account,
    ld_layer,
    ld_project,
    numbered_list,
    offset_list,
    statsig,
    statsig_layer,
)

STATSIG = ReprocessOptions(source="x", provider=PROVIDERS["statsig"])
LD = ReprocessOptions(source="x", provider=PROVIDERS["launchdarkly"])
OWN = {"runs", "leases", "run_streams"}


def layer(name: str, description: str = "", **parameters: Any) -> dict[str, Any]:
    listed = [
        {"name": one, "type": "string", "defaultValue": value} for one, value in parameters.items()
    ]
    return statsig_layer(name, description=description, parameters=listed)


def story(store: Engine, name: str = "x") -> None:
    """Four runs: L is changed twice, M is deleted and comes back, N stays."""
    vendor = statsig(store, {}, size=50)
    vendor.name = name
    for number, listed in enumerate(
        [
            [layer("L", "one", a=1, b=2), layer("M"), layer("N", z=None)],
            [layer("L", "two", a=2, c=None), layer("M"), layer("N", z=None)],
            [layer("L", "two", a=2, c=None), layer("N", z=None)],
            [layer("L", "four", a=2, c=3), layer("M", "back", new=1), layer("N", z=None)],
        ]
    ):
        vendor.answers |= numbered_list(listed, size=50)
        assert vendor.run(at=hour(number)).status == "ok"


def everything(store: Engine) -> dict[str, list[str]]:
    """Every row of every table, ids and all, but for what a run keeps of itself."""
    return {
        table.name: sorted(map(repr, rows(store, table.name)))
        for table in metadata.sorted_tables
        if table.name not in OWN
    }


def spoilt(store: Engine, *statements: str) -> dict[str, list[str]]:
    """The rows as they were before these statements."""
    before = everything(store)
    with store.begin() as connection:
        for statement in statements:
            assert connection.execute(text(statement)).rowcount > 0
    assert everything(store) != before
    return before


def mended(store: Engine, wanted: ReprocessOptions = STATSIG) -> ReprocessResult:
    """Tells first what it would do, without doing it; then does it, and then finds nothing."""
    before = everything(store)
    told = preview(store, wanted)
    assert everything(store) == before
    found = reprocess(store, wanted, clock=lambda: hour(50))
    assert (found.counts, found.samples) == (told.counts, told.samples)
    assert reprocess(store, wanted, clock=lambda: hour(51)).counts == {}
    return found


def test_nothing_is_different_after_a_story(store: Engine) -> None:
    story(store)
    before = everything(store)
    assert mended(store).counts == {}
    assert everything(store) == before


MENDED: dict[str, tuple[list[str], dict[Any, int], str | None, Any]] = {
    "a current row": (
        ["UPDATE layers SET description = 'spoilt' WHERE key = 'L'"],
        {("layers", "changed"): 1},
        "L",
        {"description": ("spoilt", "four")},
    ),
    "a closed version": (
        ["UPDATE layer_history SET description = 'spoilt' WHERE key = 'L' AND version = 1"],
        {("layer_history", "changed"): 1},
        "L of p version 1",
        {"description": ("spoilt", "one")},
    ),
    "a parameter": (
        ["UPDATE layer_parameters SET type = 'spoilt' WHERE key = 'a'"],
        {("layer_parameters", "changed"): 1},
        "a",
        {"type": ("spoilt", "string")},
    ),
    "null, which is a value": (
        ["UPDATE layer_parameters SET default_value = NULL WHERE key = 'z'"],
        {("layer_parameters", "changed"): 1},
        "z",
        {"default_value": (None, "null")},
    ),
    "an event": (
        ["UPDATE changes SET actor = 'spoilt' WHERE key = 'L' AND operation = 'created'"],
        {("changes", "changed"): 1},
        "L of p version 1",
        {"actor": ("spoilt", "x")},
    ),
    "a field of an event": (
        ["UPDATE change_fields SET new_value = '\"spoilt\"' WHERE path = 'description'"],
        {("changes", "changed"): 3},
        None,
        None,
    ),
    "a field that is lost": (
        ["DELETE FROM change_fields WHERE path = 'description'"],
        {("changes", "changed"): 3},
        None,
        None,
    ),
    "rows whose project is lost": (
        ["UPDATE layers SET project_id = NULL WHERE key = 'N'"],
        {("layers", "changed"): 1},
        "N of p",
        {"project_id": (None, 1)},
    ),
}


@pytest.mark.parametrize("name", MENDED)
def test_what_was_spoilt_is_told_and_mended_in_place(store: Engine, name: str) -> None:
    statements, counts, where, fields = MENDED[name]
    story(store)
    before = spoilt(store, *statements)
    found = mended(store)
    assert found.counts == counts
    assert everything(store) == before
    if where is not None:
        (sample,) = found.samples
        assert sample.where.startswith(where)
        assert {k: v for k, v in sample.fields.items() if k in (fields or {})} == fields
        assert (sample.fields == fields) or fields is None


def test_a_parameter_that_is_lost_comes_back_with_a_new_id(store: Engine) -> None:
    story(store)
    before = {row["key"]: row for row in rows(store, "layer_parameters")}
    spoilt(store, "DELETE FROM layer_parameters WHERE key = 'b'")
    assert mended(store).counts == {("layer_parameters", "added"): 1}
    after = {row["key"]: row for row in rows(store, "layer_parameters")}
    assert {key for key in before if before[key] != after[key]} <= {"b"}
    own = "layer_parameter_id"
    assert {**before["b"], own: 0} == {**after["b"], own: 0}


def test_an_event_that_is_lost_gets_the_next_id(store: Engine) -> None:
    """Who follows the feed by its ids sees it."""
    story(store)
    found = sorted(rows(store, "changes"), key=lambda row: row["change_id"])
    lost = next(row for row in found if row["operation"] == "updated")
    fields = rows(store, "change_fields", f"change_id = {lost['change_id']}")
    lose = "FROM {} WHERE change_id = " + str(lost["change_id"])
    spoilt(store, *(f"DELETE {lose.format(table)}" for table in ("change_fields", "changes")))
    assert mended(store).counts == {("changes", "added"): 1}
    after = sorted(rows(store, "changes"), key=lambda row: row["change_id"])
    last = found[-1]["change_id"] + 1
    assert after == [*(row for row in found if row != lost), {**lost, "change_id": last}]
    told = rows(store, "change_fields", f"change_id = {last}")
    without = [{k: v for k, v in row.items() if k != "change_id"} for row in told]
    assert without == [{k: v for k, v in row.items() if k != "change_id"} for row in fields]


def test_another_source_is_left_as_it_is(store: Engine) -> None:
    story(store)
    story(store, "other")
    with store.begin() as connection:
        connection.execute(text("UPDATE layers SET description = 'spoilt'"))
        connection.execute(text("UPDATE layer_history SET name = 'spoilt'"))
        connection.execute(text("UPDATE layer_parameters SET type = 'spoilt'"))
        connection.execute(text("UPDATE changes SET actor = 'spoilt'"))
    mended(store)
    for table, column in (
        ("layers", "description"),
        ("layer_history", "name"),
        ("layer_parameters", "type"),
        ("changes", "actor"),
    ):
        where = f"{column} = 'spoilt'"
        assert count(store, table, f"{where} AND source = 'x'") == 0
        assert count(store, table, f"{where} AND source = 'other'") == count(
            store, table, "source = 'other'"
        )


def test_drift_is_made_anew_with_the_times_it_was_seen(store: Engine) -> None:
    vendor = statsig(store, {}, size=50)
    for number, listed in enumerate(
        [[statsig_layer("L")], [statsig_layer("L", odd=1)], [statsig_layer("L", odd=2)]]
    ):
        vendor.answers |= numbered_list(listed, size=50)
        assert vendor.run(at=hour(number)).status == "ok"
    (drift,) = rows(store, "schema_drift")
    before = spoilt(store, "UPDATE schema_drift SET sample_type = 'spoilt'")
    assert mended(store).counts == {("schema_drift", "changed"): 1}
    assert everything(store) == before
    spoilt(store, "DELETE FROM schema_drift")
    assert mended(store).counts == {("schema_drift", "added"): 1}
    (after,) = rows(store, "schema_drift")
    same = ("source", "provider", "stream", "path", "type", "sample_type", "first_seen_at")
    assert [after[name] for name in same] == [drift[name] for name in same]


def test_rejects_that_were_pruned_do_not_return(store: Engine) -> None:
    """They never were a version, so stored payloads say nothing of them."""
    vendor = statsig(store, {}, size=50)
    vendor.answers |= numbered_list([layer("L"), statsig_layer("bad", idType=None)], size=50)
    assert vendor.run(at=hour(0)).status == "partial"
    kept = rows(store, "rejects")
    assert (len(kept), mended(store).counts, rows(store, "rejects")) == (1, {}, kept)
    spoilt(store, "DELETE FROM rejects")
    assert (mended(store).counts, rows(store, "rejects")) == ({}, [])


def test_layers_of_launchdarkly_follow_their_projects(store: Engine) -> None:
    vendor = ld(store, ld_account({"p": [ld_layer("a"), ld_layer("b")], "q": [ld_layer("a")]}))
    vendor.run(at=hour(0))
    renamed = ld_project("new", _id="id-p")
    vendor.answers |= offset_list(PROJECTS, [renamed, ld_project("q")], size=20)
    vendor.answers |= {f"{PROJECTS}/new": renamed}
    vendor.answers[f"{PROJECTS}/new/layers"] = {"items": [ld_layer("a", description="x")]}
    assert vendor.run(at=hour(1)).status == "ok"
    before = spoilt(
        store,
        "UPDATE layers SET project_key = 'spoilt', project_id = NULL",
        "UPDATE projects SET name = 'spoilt' WHERE key = 'q'",
        "UPDATE layer_history SET project_key = 'spoilt'",
    )
    found = mended(store, LD)
    assert everything(store) == before
    assert found.counts["projects", "changed"] == 1
    assert found.counts["layers", "changed"] == 3
