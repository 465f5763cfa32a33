"""Postgres closes connections: idle ones, all of them, or does not let anybody in for a while."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from etl.sandbox import Fault, Sandbox, World
from tests.conftest import Databases
from tests.support.database import contents, count, counts, rows
from tests.support.history import violations
from tests.support.internals.database import in_transaction, statistics
from tests.support.internals.running import Failures
from tests.support.runs import settings_for, small, sync, sync_all

PAGED: dict[str, Any] = {"st": {"layers": {"page_size": 5}}}


@pytest.fixture
def database(databases: Databases) -> Iterator[Engine]:
    with databases("postgres") as engine:
        yield engine


def cut(admin: Engine, engine: Engine) -> None:
    """The server closes all connections to that database."""
    with admin.connect() as connection:
        connection.exec_driver_sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
            (engine.url.database,),
        )


def allow(admin: Engine, engine: Engine, *, connections: bool) -> None:
    with admin.connect() as connection:
        connection.exec_driver_sql(
            f'ALTER DATABASE "{engine.url.database}" ALLOW_CONNECTIONS {connections}'
        )


@pytest.mark.parametrize("source", ["st", "ly"])
def test_connections_that_were_closed_between_pages_are_replaced(
    database: Engine, postgres_server: Engine, source: str
) -> None:
    def close(_world: World) -> None:
        cut(postgres_server, database)

    with Sandbox(small(big_project=True)) as sandbox:
        settings = settings_for(sandbox, **PAGED)
        for _ in range(2):
            provider = settings.sources[source].provider
            sandbox.add_fault(Fault(provider, "mutate", times=None, arg=close))
            report = sync(database, settings, source)
            assert (report.status, report.error) == ("ok", None)
            assert counts(database)[provider] == sandbox.counts()[provider]
            sandbox.world.evolve(changed=0.3)
    assert violations(database) == []


def test_a_transaction_that_was_cut_is_done_once_more(
    database: Engine, postgres_server: Engine
) -> None:
    tries = 0

    def work(connection: Connection) -> int:
        nonlocal tries
        tries += 1
        connection.exec_driver_sql("CREATE TABLE mine (id int)")
        if tries == 1:
            cut(postgres_server, database)
        connection.exec_driver_sql("INSERT INTO mine VALUES (1)")
        return tries

    assert in_transaction(database, work) == 2
    assert count(database, "mine") == 1


def test_a_transaction_that_is_cut_again_and_again_fails(
    database: Engine, postgres_server: Engine
) -> None:
    def work(connection: Connection) -> None:
        cut(postgres_server, database)
        connection.exec_driver_sql("SELECT 1")

    with pytest.raises(DBAPIError):
        in_transaction(database, work)


def test_a_run_that_could_not_begin_is_recorded_when_the_database_is_back(
    database: Engine, postgres_server: Engine
) -> None:
    failures = Failures(database)
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        assert sync(database, settings, "ly").status == "ok"
        allow(postgres_server, database, connections=False)
        cut(postgres_server, database)
        report = sync(database, settings, "ly")
        failures.record(report)
        allow(postgres_server, database, connections=True)
        failures.record()
        failures.record()
        assert sync(database, settings, "ly").status == "ok"
    found = sorted(rows(database, "runs"), key=lambda row: row["run_id"])
    assert [(row["status"], row["exit_code"]) for row in found] == [
        ("ok", 0),
        ("failed", 1),
        ("ok", 0),
    ]
    assert "not currently accepting connections" in found[1]["error"]
    assert violations(database) == []


def test_a_run_that_was_broken_off_says_why_and_is_gone_on_with(
    database: Engine, postgres_server: Engine
) -> None:
    def close(_world: World) -> None:
        allow(postgres_server, database, connections=False)
        cut(postgres_server, database)

    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox, **PAGED)
        sandbox.add_fault(Fault("statsig /console/v1/layers*", "mutate", times=1, arg=close))
        report = sync(database, settings, "st")
        assert (report.status, report.exit_code) == ("failed", 1)
        allow(postgres_server, database, connections=True)
        assert sync(database, settings, "st").status == "ok"
        assert counts(database)["statsig"] == sandbox.counts()["statsig"]
    assert violations(database) == []


def test_statistics_follow_a_large_commit(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "LARGE", 10)
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        sync_all(engine, settings)
        before = contents(engine)
    statistics.refresh(engine)
    assert contents(engine) == before
    if engine.dialect.name == "sqlite":
        assert count(engine, "sqlite_stat1", "tbl = 'layers'") > 0
    else:
        assert count(engine, "pg_class", "relname = 'layers' AND reltuples > 0") == 1
