"""What fits no known shape is kept aside and told; the last good version stays."""

from typing import Any

import pytest
from sqlalchemy import Engine

from etl.sandbox import Fault, Sandbox
from tests.support.database import count, counts, rows
from tests.support.internals.database import RECORDS, rejects, schema_drift
from tests.support.runs import SMALL, hour, of, settings_for, small, sync

STATSIG = "statsig /console/v1/layers[?]*"
PROJECTS = "launchdarkly /api/v2/projects[?]*"
LAYERS = "layers /v1/projects[?]*"

PARAMETERS = RECORDS["layers"].children[0].current

# source, list, the field of its first item, a value that no such field has, table
BAD = [
    ("st", STATSIG, "idType", None, "layers"),
    ("st", STATSIG, "parameters", "none", "layers"),
    ("ly", LAYERS, "name", 7, "projects"),
    ("ly", LAYERS, "createdAt", "yesterday", "projects"),
    ("ld", PROJECTS, "includeInSnippetByDefault", "yes", "projects"),
    ("ld", "launchdarkly */my-project/layers", "name", None, "layers"),
]


def patch(match: str, field: str, value: Any, times: int | None = 1) -> Fault:
    return Fault(match, "patch", times=times, arg=((field,), value))


@pytest.mark.parametrize(("source", "match", "field", "value", "table"), BAD)
def test_a_rejected_item_is_kept_with_its_path_and_the_rest_lands(
    engine: Engine, source: str, match: str, field: str, value: Any, table: str
) -> None:
    with Sandbox(small(), faults=[patch(match, field, value)]) as sandbox:
        report = sync(engine, settings_for(sandbox), source)
        wanted = sandbox.counts()[report.provider][table] - 1
    (found,) = rows(engine, rejects)
    assert (found["path"].partition(".")[0], found["payload"][field]) == (field, value)
    assert (report.status, report.exit_code, of(report, table).rejected) == ("partial", 5, 1)
    assert count(engine, table, f"source = '{source}'") == wanted


@pytest.mark.parametrize(("source", "match", "field", "value", "table"), BAD)
def test_the_last_good_version_of_a_rejected_item_stays_until_a_good_one_comes(
    engine: Engine, source: str, match: str, field: str, value: Any, table: str
) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        sync(engine, settings, source, hour(0))
        before = rows(engine, f"{table}_current")
        sandbox.add_fault(patch(match, field, value))
        sync(engine, settings, source, hour(1))
        assert rows(engine, f"{table}_current") == before
        report = sync(engine, settings, source, hour(2))
    (found,) = rows(engine, rejects)
    assert (report.status, found["first_seen_at"], found["resolved_at"]) == ("ok", hour(1), hour(2))
    assert count(engine, "changes", "operation <> 'created'") == 0


def test_an_item_without_an_id_proves_that_the_list_is_not_whole(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        sync(engine, settings, "ly")
        before = counts(engine)
        sandbox.add_fault(patch(LAYERS, "id", "__delete__"))
        report = sync(engine, settings, "ly")
    assert (report.exit_code, counts(engine)) == (5, before)
    (found,) = rows(engine, rejects)
    assert (found["external_id"], found["resolved_at"]) == (None, None)


def test_an_item_that_is_rejected_again_is_one_row_that_is_seen_later(engine: Engine) -> None:
    with Sandbox(small(), faults=[patch(STATSIG, "idType", 1, times=None)]) as sandbox:
        settings = settings_for(sandbox)
        for number in range(3):
            sync(engine, settings, "st", hour(number))
    (found,) = rows(engine, rejects)
    assert (found["first_seen_at"], found["last_seen_at"]) == (hour(0), hour(2))
    assert found["resolved_at"] is None


def test_a_rejected_project_deletes_none_of_its_parts(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        sync(engine, settings, "ld")
        before = counts(engine)
        sandbox.add_fault(patch(PROJECTS, "name", None, times=None))
        report = sync(engine, settings, "ld")
    assert (report.exit_code, counts(engine)) == (5, before)


def test_a_rejected_new_project_is_stored_with_its_parts_when_it_is_good(engine: Engine) -> None:
    with Sandbox(small(), faults=[patch(PROJECTS, "name", None)]) as sandbox:
        settings = settings_for(sandbox)
        sync(engine, settings, "ld")
        assert count(engine, "projects", "key = 'my-project'") == 0
        sync(engine, settings, "ld")
        assert counts(engine)["launchdarkly"] == sandbox.counts()["launchdarkly"]


@pytest.mark.parametrize(
    ("source", "match", "table"),
    [("st", STATSIG, "layers"), ("ly", LAYERS, "projects"), ("ld", PROJECTS, "projects")],
)
def test_an_unknown_field_is_kept_and_told_once(
    engine: Engine, source: str, match: str, table: str
) -> None:
    fault = patch(match, "newThing", {"deep": [1]}, times=None)
    with Sandbox(small(), faults=[fault]) as sandbox:
        settings = settings_for(sandbox)
        for number in range(2):
            sync(engine, settings, source, hour(number))
        report = sync(engine, settings, source, hour(2))
    (drift,) = rows(engine, schema_drift)
    told = (drift["stream"], drift["path"], drift["type"], drift["sample_type"])
    assert told == (table, "newThing", "added", "object")
    assert drift["first_seen_at"] == hour(0)
    assert (report.status, report.changed) == ("ok", 0)
    kept = [row for row in rows(engine, table) if "newThing" in str(row["raw"])]
    assert len(kept) == 1


@pytest.mark.parametrize("value", [1_700_000_000, -5, 10**18])
def test_a_time_that_cannot_be_is_no_time_and_is_told(engine: Engine, value: int) -> None:
    with Sandbox(small(), faults=[patch(STATSIG, "createdTime", value)]) as sandbox:
        report = sync(engine, settings_for(sandbox), "st")
    assert report.status == "ok"
    assert count(engine, "layers", "provider_created_at IS NULL") == 1
    (drift,) = rows(engine, schema_drift)
    assert (drift["path"], drift["type"]) == ("createdTime", "unusable")


@pytest.mark.parametrize(
    "text",
    [
        "a\x00b",
        "\ud800",
        "👩‍🚀",
        "مرحبا",
        "x" * 1_000_000,
        "'; DROP TABLE layers; --",
        "\\N",
        "\t\n",
    ],
    ids=["nul", "surrogate", "emoji", "arabic", "long", "sql", "copy-null", "blanks"],
)
def test_odd_texts_are_stored_the_same_in_both_databases(
    both: tuple[Engine, Engine], text: str
) -> None:
    found = []
    for engine in both:
        with Sandbox(small(), faults=[patch(STATSIG, "description", text)]) as sandbox:
            report = sync(engine, settings_for(sandbox), "st")
            key = sandbox.world.live("statsig", "layers")[0].payload["id"]
        found += [row["description"] for row in rows(engine, "layers") if row["key"] == key]
        assert report.status == "ok"
    mended = text.replace("\x00", "␀").replace("\ud800", "�")
    assert found == [mended, mended]


@pytest.mark.parametrize("value", [2**53 + 1, 2**63, 10**30, 1e300, 0.1])
def test_odd_numbers_are_the_same_in_both_databases_as_far_as_a_double_tells(
    both: tuple[Engine, Engine], value: Any
) -> None:
    found = []
    for engine in both:
        fault = patch(STATSIG, "parameters", [parameter(value)], times=None)
        with Sandbox(small(), faults=[fault]) as sandbox:
            settings = settings_for(sandbox)
            reports = [sync(engine, settings, "st") for _ in range(2)]
        assert [report.changed for report in reports] == [SMALL.statsig_layers + 1, 0]
        (one,) = rows(engine, PARAMETERS, "name = 'a value'")
        found.append((float(one["default_value"]), float(one["raw"]["defaultValue"])))
    assert found == [(float(value), float(value))] * 2


def parameter(value: Any) -> dict[str, Any]:
    return {"name": "a value", "type": "number", "defaultValue": value}


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, 10**30])
def test_a_number_that_no_column_holds_is_rejected_or_stored_but_never_ends_the_run(
    engine: Engine, value: int
) -> None:
    fault = Fault(
        "launchdarkly /api/v2/projects[?]*",
        "patch",
        arg=(("environments", "items", 0, "defaultTtl"), value),
    )
    with Sandbox(small(), faults=[fault]) as sandbox:
        report = sync(engine, settings_for(sandbox), "ld")
    assert report.status in ("ok", "partial")
    assert count(engine, "projects") == 5


@pytest.mark.parametrize(
    ("name", "match", "path"),
    [
        ("st", "statsig /console/v1/project", ("data", "id")),
        ("ld", "launchdarkly /api/v2/projects?*", ("items", 0, "tags")),
    ],
)
def test_parts_of_a_rejected_record_of_which_nothing_is_stored_are_not_complete(
    engine: Engine, name: str, match: str, path: tuple[str, ...]
) -> None:
    """They are not read, or not stored; of a stored record they are."""
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        spoil = Fault(match, "patch_page", times=None, arg=(path, 5))
        sandbox.add_fault(spoil)
        report = sync(engine, settings, name)
        layers = of(report, "layers")
        assert (report.status, layers.complete) == ("partial", False)
        assert "projects were rejected and are not stored" in (layers.incomplete_reason or "")
        sandbox.clear_faults()
        assert of(sync(engine, settings, name), "layers").complete
        sandbox.add_fault(spoil)
        report = sync(engine, settings, name, full=True)
        assert (report.status, of(report, "layers").complete) == ("partial", True)
