"""docs/reporting.md, its role script and its Datasette file speak of what there is."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from etl.db.types import metadata
from etl.reports.relations import TABLES
from tests.support.database import VIEWS

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "reporting.md").read_text(encoding="utf-8")
QUESTION = re.compile(r"^### \d+\. (.*?)\n.*?^```sql\n(.*?)^```", re.MULTILINE | re.DOTALL)
SCRIPT = (DOCS / "reporting" / "readonly.sql").read_text(encoding="utf-8")
DATASETTE = json.loads((DOCS / "reporting" / "datasette.json").read_text(encoding="utf-8"))
THERE = {*metadata.tables, *VIEWS, "alembic_version"}


def test_there_are_ten_questions() -> None:
    assert len(QUESTION.findall(PAGE)) == 10


def test_the_saved_queries_of_datasette_are_the_ten_questions() -> None:
    for database in DATASETTE["databases"].values():
        saved = [(one["title"], one["sql"]) for one in database["queries"].values()]
        assert saved == [(title, sql.strip().rstrip(";")) for title, sql in QUESTION.findall(PAGE)]


@pytest.mark.parametrize("name", ["demo", "etl"])
def test_datasette_hides_what_has_no_contract_and_names_only_what_there_is(name: str) -> None:
    tables: dict[str, Any] = DATASETTE["databases"][name]["tables"]
    assert set(tables) <= THERE
    hidden = {table for table, told in tables.items() if told.get("hidden")}
    assert hidden >= THERE - set(TABLES) - VIEWS


@pytest.mark.parametrize("page", ["../README.md", "reporting.md", "schema.md", "archive.md"])
def test_a_time_in_a_query_says_that_it_is_utc(page: str) -> None:
    """PostgreSQL takes it in the time zone of the session otherwise."""
    text = (DOCS / page).read_text(encoding="utf-8")
    queries = re.findall(r"^```(?:sql)?\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    times = re.findall(r"'\d{4}-\d\d-\d\d[^']*'", "".join(queries))
    assert [time for time in times if not time.endswith(":00+00'")] == []


def test_the_role_for_dashboards_may_read_every_table_and_view_with_a_contract() -> None:
    granted = re.search(r"^GRANT SELECT ON\n(.*?)^TO", SCRIPT, re.MULTILINE | re.DOTALL)
    assert granted
    named = re.findall(r"\w+", re.sub(r"--.*", "", granted[1]))
    assert sorted(named) == sorted({*TABLES, *VIEWS})


def test_the_role_for_dashboards_gets_nothing_by_default() -> None:
    assert not re.search(r"DEFAULT PRIVILEGES .* GRANT", SCRIPT)
    assert "ALL TABLES IN SCHEMA" not in SCRIPT
