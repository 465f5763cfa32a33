"""Rows 34 to 37 and 39: what does not fit is kept aside, what nearly fits is put right."""

from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Engine

from etl.sandbox import Fault, Sandbox, Sizes, World
from tests.support.database import Rows, contents, count, rows
from tests.support.internals.database import RECORDS, rejects, schema_drift
from tests.support.runs import hour, of, settings_for, sync

STATSIG = "statsig /console/v1/layers[?]*"
LAYERS = "layers /v1/projects[?]*"
PROJECTS = "launchdarkly /api/v2/projects[?]*"
LD_LAYERS = "launchdarkly */my-project/layers"
ENVIRONMENT = ("environments", "items", 0)
PARAMETERS, RESERVATIONS = (child.current for child in RECORDS["layers"].children)

# source, list, the place of a required field in its first item, a wrong type, table
REQUIRED = [
    ("st", STATSIG, ("idType",), 7, "layers"),
    ("st", STATSIG, ("isImplicitLayer",), "no", "layers"),
    ("st", STATSIG, ("parameters",), {"a": 1}, "layers"),
    ("ly", LAYERS, ("name",), ["a"], "projects"),
    ("ly", LAYERS, ("status",), 1, "projects"),
    ("ld", PROJECTS, ("includeInSnippetByDefault",), "true", "projects"),
    ("ld", PROJECTS, ("key",), 5, "projects"),
    ("ld", PROJECTS, (*ENVIRONMENT, "critical"), "yes", "environments"),
    ("ld", PROJECTS, (*ENVIRONMENT, "defaultTtl"), "5", "environments"),
    ("ld", LD_LAYERS, ("name",), {}, "layers"),
]
MISSING = "__delete__"


def tiny() -> World:
    """One LaunchDarkly project: the more there is, the longer every run takes."""
    sizes = Sizes(
        ld_projects=1, ld_environments=2, ld_layers=4, statsig_layers=8, layers_projects=4
    )
    return World(7, sizes)


def patch(match: str, path: tuple[Any, ...], value: Any, times: int | None = 1) -> Fault:
    return Fault(match, "patch", times=times, arg=(path, value))


def at(payload: Any, path: tuple[Any, ...]) -> Any:
    for step in path:
        payload = payload.get(step, MISSING)
    return payload


@pytest.mark.row(34)
@pytest.mark.parametrize(("name", "match", "path", "other", "table"), REQUIRED)
def test_an_item_with_a_bad_field_is_kept_aside_and_its_last_good_version_stays(
    engine: Engine, name: str, match: str, path: tuple[Any, ...], other: Any, table: str
) -> None:
    inner = path if table != "environments" else path[-1:]
    optional = path[-1] == "critical"
    with Sandbox(tiny()) as sandbox:
        settings = settings_for(sandbox)
        sync(engine, settings, name, hour(0))
        before = rows(engine, f"{table}_current")
        for number, value in enumerate((None, other) if optional else (MISSING, None, other), 1):
            sandbox.add_fault(patch(match, path, value))
            report = sync(engine, settings, name, hour(number))
            (found,) = rows(engine, rejects)
            assert (found["stream"], found["path"]) == (table, inner[0])
            assert at(found["payload"], inner) == value
            assert found["external_id"] in {row["external_id"] for row in before}
            assert (report.status, report.exit_code) == ("partial", 5)
            assert of(report, table).rejected == 1
            assert rows(engine, f"{table}_current") == before
    assert count(engine, "changes", "operation <> 'created'") == 0


@pytest.mark.row(35)
def test_an_unknown_field_at_any_depth_is_kept_and_told_once(engine: Engine) -> None:
    new = {"newThing": {"deep": [1]}}
    parameter = {"name": "a", "type": "string", "defaultValue": "", **new}
    held = {"experimentKey": "e", "flagKey": "f", "reservationPercent": 1, **new}
    faults = [
        patch(STATSIG, ("newThing",), new["newThing"], None),
        patch(STATSIG, ("parameters",), [parameter, {**parameter, "name": "b"}], None),
        patch(LAYERS, ("newThing",), new["newThing"], None),
        patch(PROJECTS, ("newThing",), new["newThing"], None),
        patch(PROJECTS, (*ENVIRONMENT, "newThing"), new["newThing"], None),
        patch(LD_LAYERS, ("environments",), {"test": {"reservations": [held]}}, None),
    ]
    with Sandbox(tiny(), faults=faults) as sandbox:
        settings = settings_for(sandbox)
        for number in range(3):
            for name in settings.sources:
                report = sync(engine, settings, name, hour(number))
                assert (report.status, report.changed == 0) == ("ok", number > 0)
    drift = rows(engine, schema_drift)
    assert sorted((row["source"], row["stream"], row["path"], row["type"]) for row in drift) == [
        ("ld", "environments", "newThing", "added"),
        ("ld", "layers", "environments.reservations.newThing", "added"),
        ("ld", "projects", "newThing", "added"),
        ("ly", "projects", "newThing", "added"),
        ("st", "layers", "newThing", "added"),
        ("st", "layers", "parameters.newThing", "added"),
    ]
    assert {row["first_seen_at"] for row in drift} == {hour(0)}
    kept = {
        str(table): sum(row["raw"].get("newThing") == {"deep": [1]} for row in rows(engine, table))
        for table in (*(RECORDS[stream].current for stream in RECORDS), PARAMETERS, RESERVATIONS)
    }
    assert kept == {
        "projects": 2,
        "environments": 1,
        "layers": 1,
        "layer_parameters": 2,
        "layer_reservations": 1,
    }


@pytest.mark.row(36)
def test_one_value_in_two_types_is_one_value(engine: Engine) -> None:
    """The same record, said in three ways, one run after the other."""
    ways = (("ios", 1_700_000_000_000), (["ios"], 1_700_000_000_000.0), ("ios", 1.7e12))
    changed = []
    with Sandbox(tiny()) as sandbox:
        settings = settings_for(sandbox)
        key = sandbox.world.live("statsig", "layers")[0].payload["id"]
        for number, (apps, moment) in enumerate(ways):
            sandbox.clear_faults()
            for field, value in (
                ("targetApps", apps),
                ("createdTime", moment),
                ("lastModifiedTime", None),
            ):
                sandbox.add_fault(patch(STATSIG, (field,), value))
            report = sync(engine, settings, "st", hour(number))
            changed.append(report.changed > 0)
            assert report.status == "ok"
    assert changed == [True, False, False]
    (row,) = [row for row in rows(engine, RECORDS["layers"].current) if row["key"] == key]
    assert (row["target_apps"], row["provider_updated_at"]) == (["ios"], None)
    assert row["provider_created_at"] == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    assert rows(engine, rejects) == rows(engine, schema_drift) == []


# source, list, field, table; a value -> stored as None, or rejected
TIMES: list[tuple[str, str, str, str]] = [
    ("st", STATSIG, "createdTime", "layers"),
    ("st", STATSIG, "lastModifiedTime", "layers"),
    ("ld", LD_LAYERS, "createdAt", "layers"),
    ("ly", LAYERS, "createdAt", "projects"),
    ("ly", LAYERS, "updatedAt", "projects"),
]
IMPOSSIBLE = {
    "seconds": 1_700_000_000,
    "negative": -5,
    "zero": 0,
    "microseconds": 1_700_000_000_000_000,
    "2^63": 2**63,
    "a googol": 10**100,
    "a large float": 1e300,
    "a text of digits": "1700000000000",
    "a word": "yesterday",
    "an empty text": "",
    "true": True,
    "a list": [1_700_000_000_000],
    "the year 1": "0001-01-01T00:00:00+14:00",
    "the year 9999": "9999-12-31T23:59:59-14:00",
    "the year 58858": "+58858-01-01T00:00:00Z",
    "February 30": "2026-02-30T00:00:00Z",
    "1970": "1970-01-20T16:13:20Z",
}


@pytest.mark.row(37)
@pytest.mark.parametrize(("name", "match", "field", "table"), TIMES)
def test_an_impossible_time_is_no_time_or_a_reject_and_never_another_time(
    engine: Engine, name: str, match: str, field: str, table: str
) -> None:
    with Sandbox(tiny()) as sandbox:
        settings = settings_for(sandbox)
        sync(engine, settings, name, hour(0))
        for number, (what, value) in enumerate(IMPOSSIBLE.items(), 1):
            before = contents(engine)[table]
            sandbox.add_fault(patch(match, (field,), value))
            report = sync(engine, settings, name, hour(number))
            column = "provider_updated_at" if field[0] in "lu" else "provider_created_at"
            found = rows(engine, RECORDS[table].current)
            stored = [row[column] for row in found if row["raw"].get(field) == value]
            if report.status == "partial":
                assert (what, stored) == (what, [])
                (kept,) = rows(engine, rejects)
                assert (kept["path"], kept["payload"][field]) == (field, value)
                assert contents(engine)[table] == before
            else:
                assert (what, report.status, stored) == (what, "ok", [None])
    assert earliest(rows(engine, RECORDS[table].history)) >= 2005
    assert earliest(rows(engine, RECORDS[table].current)) >= 2005
    told = {(row["path"], row["type"]) for row in rows(engine, schema_drift)}
    assert told == {(field, "unusable")}


def earliest(found: Rows) -> int:
    times = [row[f"provider_{what}_at"] for row in found for what in ("created", "updated")]
    return min((time.year for time in times if time is not None), default=9999)


@pytest.mark.row(39)
@pytest.mark.parametrize(
    ("name", "match", "table", "field"),
    [
        ("st", STATSIG, "layers", "description"),
        ("ly", LAYERS, "projects", "name"),
        ("ld", PROJECTS, "projects", "name"),
        ("ld", LD_LAYERS, "layers", "name"),
    ],
)
def test_of_an_id_that_stands_twice_in_a_page_the_last_wins_and_it_is_told(
    engine: Engine, name: str, match: str, table: str, field: str
) -> None:
    with Sandbox(tiny()) as sandbox:
        settings = settings_for(sandbox)
        sync(engine, settings, name, hour(0))
        before = count(engine, f"{table}_current")
        sandbox.add_fault(Fault(match, "duplicate_item", times=None))
        for number in (1, 2):
            report = sync(engine, settings, name, hour(number))
            assert report.status in ("ok", "partial")  # the list may be in doubt, its items are not
    assert count(engine, f"{table}_current") == before
    twice = [row for row in rows(engine, RECORDS[table].current) if row["version"] == 2]
    assert [row[field].endswith("(again)") for row in twice] == [True]
    operations = sorted(row["operation"] for row in rows(engine, "changes"))
    assert (operations.count("updated"), operations.count("deleted")) == (1, 0)
    (drift,) = rows(engine, schema_drift)
    assert (drift["stream"], drift["type"]) == (table, "one id twice in a page")
