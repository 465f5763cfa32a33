"""The report views say what is there, on both databases the same, now and at every moment."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select

from etl.errors import ConfigError
from etl.sandbox import Sandbox
from etl.sandbox.make_records import die, sdk_key
from tests.conftest import Databases
from tests.support.database import count
from tests.support.internals.database import REPORTS, batches, past_reports, relations, reports
from tests.support.internals.values import MISSING, json_text
from tests.support.plans import plan
from tests.support.runs import settings_for, small, sync_all
from tests.support.twins import copy_rows

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```sql\n(.*?)^```", re.MULTILINE | re.DOTALL)
QUERIES = [
    pytest.param(query, id=f"{page.name} {number}")
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
    for number, query in enumerate(
        query for block in BLOCK.findall(page.read_text("utf-8")) for query in block.split(";\n")
    )
    if query.strip()
]
JSONB = 3802

INSTANT = timedelta(microseconds=1)
FORMULA = '=HYPERLINK("http://127.0.0.1/","x")'

Rows = list[dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """Both databases with the same past, and what the reports told after each sync."""

    engines: Sequence[Engine]
    moments: Sequence[datetime]
    then: Mapping[datetime, Mapping[str, Rows]]

    def now(self, name: str) -> Rows:
        return report(self.engines[0], name)


def report(engine: Engine, name: str, moment: datetime | None = None, **part: Any) -> Rows:
    """The rows of a report as values; of a source, or at most so many, where `part` says so."""
    with engine.connect() as connection:
        asked = reports.relation(connection, reports.named(name), moment, **part)
        names = asked.rows.c.keys()
        return [
            {n: None if v is MISSING else v for n, v in zip(names, row, strict=True)}
            for batch in batches(connection, asked, **part)
            for row in batch
        ]


def reservation(experiment: str, percent: int) -> dict[str, Any]:
    return {"experimentKey": experiment, "flagKey": "flag", "reservationPercent": percent}


def tell(sandbox: Sandbox, step: int) -> None:
    """What happens at the vendors before a sync."""
    world = sandbox.world
    if step == 0:
        world.create("layers", "projects", name="My Project")
        world.create("layers", "projects", name=FORMULA)
        long_ago = "2006-01-02T03:04:05Z"
        world.create("layers", "projects", name="Forgotten", createdAt=long_ago, updatedAt=long_ago)
        parameters = [{"name": "a", "type": "string", "defaultValue": "x"}]
        world.create(
            *("statsig", "layers"), id="lonely", name="Lonely", isImplicitLayer=True,
            parameters=parameters, holdoutIDs=["h-1", "h-2"], creatorEmail="eva@example.com",
        )  # fmt: skip
        world.create("statsig", "layers", id="other", name="Other", holdoutIDs=["h-1"])
        world.create("launchdarkly", "layers", "my-project", key="full", environments={
            "production": {"reservations": [reservation("exp-b", 70), reservation("exp-a", 50)]},
        })  # fmt: skip
        world.create("launchdarkly", "layers", "my-project", key="bare", environments={})
    elif step == 1:
        reserved = {"test": {"reservations": [reservation("exp-a", 20)]}}
        world.update("launchdarkly", "layers", "full", "my-project", environments=reserved)
        world.update("statsig", "layers", "lonely", holdoutIDs=["h-2"], description="new",
                     lastModifierEmail="bob@example.com")  # fmt: skip
        key = world.live("launchdarkly", "environments", "my-project")[0].payload["key"]
        world.update("launchdarkly", "environments", key, "my-project",
                     apiKey=sdk_key(die("rotated"), "sdk"))  # fmt: skip
        world.rename_project("my-project", "our-project")
    else:
        world.evolve(changed=0.3, deleted=3, created=3, restored=2)


@pytest.fixture(scope="module")
def told(databases: Databases) -> Iterator[Told]:
    with databases("sqlite") as one, databases("postgres") as other:
        now = datetime.now(UTC)
        moments = [now - timedelta(hours=hours) for hours in (4, 3, 2)]
        then = {}
        with Sandbox(small(3)) as sandbox:
            settings = settings_for(sandbox)
            for step, moment in enumerate(moments):
                tell(sandbox, step)
                sync_all(one, settings, moment)
                then[moment] = {name: report(one, name) for name in REPORTS}
        copy_rows(one, other)
        yield Told(engines=(one, other), moments=moments, then=then)


@pytest.mark.parametrize("name", [n for n, r in REPORTS.items() if r.now_only is None])
def test_a_report_at_a_moment_is_what_it_said_then(told: Told, name: str) -> None:
    for moment, shown in told.then.items():
        for engine in told.engines:
            for at in (moment, moment + timedelta(hours=1) - INSTANT):
                found = report(engine, name, at)
                assert without_age(found) == without_age(shown[name])


def without_age(rows: Rows) -> Rows:
    """Without what a few hours more make of an age."""
    return [
        {name: value for name, value in row.items() if name != "unchanged_days"}
        for row in rows
        if row.get("unchanged_days") != 90
    ]


@pytest.mark.parametrize("name", REPORTS)
def test_both_databases_report_the_same_now(told: Told, name: str) -> None:
    sqlite, postgres = (report(engine, name) for engine in told.engines)
    assert sqlite == postgres


@pytest.mark.parametrize("name", REPORTS)
def test_the_first_rows_of_a_report_are_those_that_all_of_it_begins_with(
    told: Told, name: str
) -> None:
    """They may be found another way: columns of what is not shown are not made."""
    for moment in (None, told.moments[1]) if REPORTS[name].now_only is None else (None,):
        for engine in told.engines:
            every = report(engine, name, moment)
            assert report(engine, name, moment, limit=3) == every[:3]
            source = every[-1]["source"]
            of_source = [row for row in every if row["source"] == source]
            assert report(engine, name, moment, source=source, limit=2) == of_source[:2]


def test_every_report_has_rows_and_tells_another_story_each_time(told: Told) -> None:
    for name in REPORTS:
        assert told.now(name), name
        if name not in ("possible_same_project", "stale_projects"):
            assert len({repr(shown[name]) for shown in told.then.values()}) > 1, name


def picked(rows: Rows, *names: str, **wanted: Any) -> list[tuple[Any, ...]]:
    """These columns of the rows that have these values."""
    return [
        tuple(row[name] for name in names)
        for row in rows
        if all(row[name] == value for name, value in wanted.items())
    ]


def test_capacity_tells_what_is_used_free_and_over_booked_and_by_whom(told: Told) -> None:
    names = ("environment_key", "used_percent", "free_percent", "over_booked", "experiments")
    first, second = (
        picked(told.then[moment]["layer_capacity"], *names, "experiment_keys", layer_key="full")
        for moment in told.moments[:2]
    )
    assert first == [("production", 120, -20, True, 2, ["exp-a", "exp-b"])]
    assert second == [("test", 20, 80, False, 1, ["exp-a"])]


def test_capacity_begins_with_the_fullest(told: Told) -> None:
    used = [row["used_percent"] for row in told.now("layer_capacity")]
    assert used == sorted(used, reverse=True)


def test_a_layer_without_reservations_has_no_experiment(told: Told) -> None:
    empty = told.then[told.moments[1]]["layers_without_experiments"]
    assert picked(empty, "project_key", layer_key="bare") == [("our-project",)]
    assert picked(empty, "project_key", layer_key="full") == []
    assert {row["provider"] for row in empty} == {"launchdarkly"}


def test_a_layer_made_for_one_experiment_is_implicit(told: Told) -> None:
    implicit = told.then[told.moments[0]]["implicit_layers"]
    assert picked(implicit, "created_by", "parameters", layer_key="lonely") == [
        ("eva@example.com", 1)
    ]
    assert picked(implicit, "layer_key", layer_key="other") == []


def test_a_holdout_is_told_with_each_of_its_layers(told: Told) -> None:
    ours = ("h-1", "h-2")
    first, second = (
        [
            row
            for row in picked(told.then[at]["holdout_usage"], "holdout_id", "layers", "layer_key")
            if row[0] in ours
        ]
        for at in told.moments[:2]
    )
    assert first == [("h-1", 2, "lonely"), ("h-1", 2, "other"), ("h-2", 1, "lonely")]
    assert second == [("h-1", 1, "other"), ("h-2", 1, "lonely")]


def test_a_rotated_key_is_told_by_its_fingerprints(told: Told) -> None:
    assert told.then[told.moments[0]]["key_rotations"] == []
    (row,) = told.then[told.moments[1]]["key_rotations"]
    prints = row["old_fingerprint"], row["new_fingerprint"]
    assert (row["kind"], len(set(prints))) == ("sdk", 2)
    assert all(re.fullmatch(r"fp:[0-9a-f]{16}", one) for one in prints)


def test_projects_of_two_vendors_with_one_name_are_told_together(told: Told) -> None:
    names = ("provider", "project_key", "other_provider", "other_name")
    found = told.then[told.moments[0]]["possible_same_project"]
    assert picked(found, *names, label="myproject") == [
        ("launchdarkly", "my-project", "layers", "My Project")
    ]


def test_who_changed_what_names_the_person_and_the_fields(told: Told) -> None:
    found = told.then[told.moments[1]]["who_changed_what"]
    ((operation, fields, paths),) = picked(
        found, "operation", "fields", "paths", actor="bob@example.com"
    )
    assert (operation, fields) == ("updated", len(paths))
    assert {"description", "holdoutIDs"} <= set(paths)
    assert paths == sorted(paths)


def test_a_project_without_change_for_years_is_stale_and_one_just_met_is_not(told: Told) -> None:
    found = told.then[told.moments[1]]["stale_projects"]
    ((days, since),) = picked(found, "unchanged_days", "unchanged_since", name="Forgotten")
    assert days > 5000
    assert since == datetime(2006, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert picked(found, "name", provider="launchdarkly") == []


def test_the_inventory_counts_what_is_in_a_project(told: Told) -> None:
    for row in told.now("project_inventory"):
        for stream in ("environments", "layers"):
            live = f"project_id = {row['project_id']} AND NOT is_deleted"
            assert row[stream] == count(told.engines[0], stream, live)


@pytest.mark.parametrize("name", ["launchdarkly_project", "launchdarkly_environment"])
def test_queries_for_steampipe_find_their_columns_and_no_key(told: Told, name: str) -> None:
    sqlite, postgres = (view(engine, name) for engine in told.engines)
    assert sqlite == postgres
    assert len(sqlite) > 3
    for row in sqlite:
        assert row["title"] == row["name"]
        assert isinstance(row["links"], dict)
        assert not {"api_key", "mobile_key"} & set(row)


@pytest.mark.parametrize("name", past_reports.QUERIES)
def test_a_report_of_the_past_finds_closed_versions_by_index(told: Told, name: str) -> None:
    for engine in told.engines:
        with engine.connect() as connection:
            wanted = reports.named(name)
            every, first = (
                reports.relation(connection, wanted, told.moments[0], limit=limit).rows
                for limit in (None, 50)
            )
        for rows in (every, first):
            shown = plan(engine, select(rows))
            assert "_history_valid_to_valid_from" in shown
            assert not re.search(r"(SCAN|Seq Scan on) \w+_history", shown)


def test_a_report_of_now_only_says_where_the_past_is(told: Told) -> None:
    with pytest.raises(ConfigError, match="source_freshness can only tell of now: `etl runs`"):
        report(told.engines[0], "source_freshness", told.moments[0])


def test_a_report_that_there_is_not_is_told_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"no report 'capacity'; did you mean layer_capacity"):
        reports.named("capacity")


def view(engine: Engine, name: str) -> Rows:
    with engine.connect() as connection:
        asked = relations.relation(connection, name)
        names = asked.rows.c.keys()
        found = [row for batch in batches(connection, asked) for row in batch]
    return [dict(zip(names, row, strict=True)) for row in found]


@pytest.mark.parametrize("query", QUERIES)
def test_every_query_of_the_documents_gives_the_same_rows_on_both_databases(
    told: Told, query: str
) -> None:
    sqlite, postgres = (asked(engine, query) for engine in told.engines)
    assert sqlite == postgres
    assert "ORDER BY" in query


QUESTIONS = [one for one in QUERIES if str(one.id).startswith("reporting.md")]


@pytest.mark.parametrize("query", QUESTIONS)
def test_each_of_the_ten_questions_has_an_answer(told: Told, query: str) -> None:
    assert asked(told.engines[0], query)


def asked(engine: Engine, query: str) -> list[list[Any]]:
    """The rows of a query, as both databases can tell them; sorted, texts sort differently."""
    with engine.connect() as connection:
        found = connection.exec_driver_sql(query.replace("%", "%%"))
        cursor: Any = found.cursor
        types = [column[1] for column in cursor.description]
        told = [
            [_plain(value, json=kind == JSONB) for value, kind in zip(row, types, strict=True)]
            for row in found
        ]
    return sorted(told, key=repr)


def _plain(value: Any, *, json: bool) -> Any:
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}"
    if isinstance(value, date):
        return value.isoformat()
    if json:
        return "null" if value is None else json_text(value)
    if isinstance(value, bool | Decimal):
        return int(value)
    return "null" if value is None else value
