"""docs/reporting/readonly.sql: a role that reads what has a contract, and nothing else."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import ProgrammingError

from tests.conftest import Databases
from tests.support.database import VIEWS
from tests.support.internals.database import RELATION_TABLES as TABLES
from tests.support.internals.database import metadata, schema

DOCS = Path(__file__).parents[2] / "docs"
SCRIPT = DOCS / "reporting" / "readonly.sql"
GRAFANA = (
    (DOCS / "reporting.md").read_text("utf-8").partition("## Grafana")[2].partition("\n## ")[0]
)
PANELS = [
    panel
    for block in re.findall(r"^```\n(.*?)^```", GRAFANA, re.MULTILINE | re.DOTALL)
    for panel in block.split("\n\n")
]


@pytest.fixture(scope="module")
def ready(databases: Databases, postgres_server: Engine) -> Iterator[Engine]:
    """A database in which the script has run twice."""
    with databases("postgres") as engine:
        for _ in range(2):
            run_script(engine)
        yield engine
        run(engine, "DROP OWNED BY etl_reader")
    run(postgres_server, "DROP ROLE etl_reader")


def run_script(engine: Engine) -> None:
    run(engine, SCRIPT.read_text(encoding="utf-8").replace("%", "%%"))


def run(engine: Engine, statement: str) -> None:
    with engine.connect() as connection:
        connection.exec_driver_sql(statement)
        connection.commit()


def as_reader(engine: Engine, statement: str) -> None:
    with engine.connect() as connection:
        connection.exec_driver_sql("SET LOCAL ROLE etl_reader")
        connection.exec_driver_sql(statement)


@pytest.mark.parametrize("name", sorted({*TABLES, *VIEWS}))
def test_the_reader_may_read_what_has_a_contract(ready: Engine, name: str) -> None:
    as_reader(ready, f"SELECT * FROM {name}")  # noqa: S608  names of ours


@pytest.mark.parametrize("name", sorted(set(metadata.tables) - set(TABLES)))
def test_the_reader_may_not_read_the_bookkeeping(ready: Engine, name: str) -> None:
    with pytest.raises(ProgrammingError, match="permission denied"):
        as_reader(ready, f"SELECT * FROM {name}")  # noqa: S608  names of ours


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM layers",
        "UPDATE projects SET name = 'x'",
        "INSERT INTO change_fields VALUES (1, 'x')",
        "TRUNCATE changes",
        "CREATE TABLE public.mine (id int)",
        "DROP VIEW layer_capacity",
    ],
)
def test_the_reader_may_not_write(ready: Engine, statement: str) -> None:
    with pytest.raises(ProgrammingError, match=r"permission denied|must be owner"):
        as_reader(ready, statement)


def test_the_panels_for_grafana_are_what_the_reader_may_ask(ready: Engine) -> None:
    assert len(PANELS) == 4
    for panel in PANELS:
        as_reader(
            ready, re.sub(r"\$__timeFilter\((\w+)\)", r"\1 > now() - interval '1 day'", panel)
        )


def test_its_sessions_are_read_only_and_end(ready: Engine) -> None:
    with ready.connect() as connection:
        query = "SELECT rolconfig FROM pg_roles WHERE rolname = 'etl_reader'"
        settings = connection.exec_driver_sql(query).scalar_one()
    assert {"default_transaction_read_only=on", "statement_timeout=60s"} <= set(settings)


def test_views_that_an_upgrade_makes_anew_stay_readable(ready: Engine) -> None:
    schema.downgrade(ready, "0004")
    schema.upgrade(ready)
    as_reader(ready, "SELECT * FROM layer_capacity")


def test_what_belongs_to_others_and_what_comes_later_is_not_its_own(ready: Engine) -> None:
    run(ready, "CREATE TABLE theirs (id int); CREATE VIEW their_view AS SELECT * FROM theirs")
    run_script(ready)
    run(ready, "CREATE TABLE later (id int)")
    try:
        for name in ("theirs", "their_view", "later"):
            with pytest.raises(ProgrammingError, match="permission denied"):
                as_reader(ready, f"SELECT * FROM {name}")  # noqa: S608  names of ours
    finally:
        run(ready, "DROP TABLE later, theirs CASCADE")


def test_the_script_takes_back_what_earlier_ones_gave(ready: Engine) -> None:
    run(ready, "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO etl_reader")
    run(ready, "CREATE TABLE theirs (id int)")
    run(ready, "GRANT SELECT ON leases TO etl_reader; GRANT CREATE ON SCHEMA public TO PUBLIC")
    run_script(ready)
    run(ready, "CREATE TABLE later (id int)")
    try:
        for name in ("theirs", "leases", "later"):
            with pytest.raises(ProgrammingError, match="permission denied"):
                as_reader(ready, f"SELECT * FROM {name}")  # noqa: S608  names of ours
        with pytest.raises(ProgrammingError, match="permission denied"):
            as_reader(ready, "CREATE TABLE public.mine (id int)")
        as_reader(ready, "SELECT * FROM layer_capacity")
    finally:
        run(ready, "DROP TABLE later, theirs")
