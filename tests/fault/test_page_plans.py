"""The console's pages are found by indexes, before and after the statistics are there."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Engine, event, text

from tests.conftest import Databases
from tests.support.console import ask, console_of, tell_story
from tests.support.internals.database import LOOK, RECORDS, changes, statistics

TIMES = 4000
LAYERS = RECORDS["layers"].current
LARGE = ("layers", "changes")
MOST = LOOK + 1000  # rows that a page looks at
PAGES = (
    *("/", "/estate", "/estate?stream=environments", "/estate?stream=layers"),
    *("/estate?stream=layers&q=checkout", "/estate?stream=layers&q=nothing-is-called-so"),
    *("/estate?stream=layers&state=deleted", "/records/layers/20"),  # no project has so many
    *("/capacity", "/capacity?level=80"),
    *("/changes", "/changes?operation=created&stream=layers", "/changes?q=nothing"),
    *("/changes?since=7d", "/changes?run=1", "/changes.atom"),
    *("/runs", "/runs?status=failed", "/runs/1", "/rejects", "/drift"),
)


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def many(request: pytest.FixtureRequest, databases: Databases) -> Iterator[Engine]:
    """A story told once, its layers and their events many times over; no statistics."""
    with databases(request.param) as engine:
        tell_story(engine)
        numbered = {"external_id": "external_id || '-' || n", "key": "key || '-' || n"}
        for table, new in ((LAYERS, numbered), (changes, {"version": "version + 100 * n"})):
            identifier = next(iter(table.primary_key.columns)).name
            names = [one.name for one in table.c if one.name != identifier]
            values = [new.get(one, one) for one in names]
            copies = (
                f"WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers "  # noqa: S608
                f"WHERE n < {TIMES}) INSERT INTO {table.name} ({', '.join(names)}) "
                f"SELECT {', '.join(values)} FROM {table.name}, numbers"
            )
            with engine.begin() as connection:
                connection.execute(text(copies))
        yield engine


@contextmanager
def explained(engine: Engine) -> Iterator[list[tuple[str, Any]]]:
    """(statement, its plan) of each query; with what it really read on PostgreSQL."""
    found: list[tuple[str, Any]] = []
    is_postgres = engine.dialect.name == "postgresql"
    how = "EXPLAIN (ANALYZE, FORMAT JSON)" if is_postgres else "EXPLAIN QUERY PLAN"

    def explain(*arguments: Any) -> None:
        cursor, statement, parameters = arguments[1:4]
        if statement.startswith(("SELECT", "WITH")):
            cursor.execute(f"{how} {statement}", parameters)
            found.append((statement, [row[-1] for row in cursor.fetchall()]))

    event.listen(engine, "before_cursor_execute", explain)
    try:
        yield found
    finally:
        event.remove(engine, "before_cursor_execute", explain)


def trouble(plan: list[Any]) -> list[str]:
    """Large tables that a plan reads from end to end, or far more rows than a page looks at."""
    if isinstance(plan[0], str):
        return [
            step
            for step in plan
            if step.startswith("SCAN") and step.split()[1] in LARGE and " USING " not in step
        ]
    found = []
    for node in nodes(plan[0][0]["Plan"]):
        name, table = node["Node Type"], node.get("Relation Name")
        read = node["Actual Loops"] * (node["Actual Rows"] + node.get("Rows Removed by Filter", 0))
        if table in LARGE and (name == "Seq Scan" or read > MOST):
            found.append(f"{name} on {table}: {read:.0f} rows")
    return found


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for inner in plan.get("Plans", ()):
        yield from nodes(inner)


@pytest.mark.slow
@pytest.mark.parametrize("analyzed", [False, True])
def test_no_page_reads_a_large_table_from_end_to_end(many: Engine, analyzed: bool) -> None:
    if analyzed:
        statistics.refresh(many)
    console, read = console_of(many), {}
    for page in PAGES:
        with explained(many) as found:
            assert ask(console, page.encode()).status == 200, page
        for statement, plan in found:
            for one in trouble(plan):
                read[page, one] = statement
    told = [f"{page}: {what}: {' '.join(sql.split())}" for (page, what), sql in read.items()]
    assert not told, "\n".join(told)
