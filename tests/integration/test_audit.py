"""The audit finds nothing in what syncs write, and everything that somebody else broke."""

# ruff: noqa: S608  the corruptions are SQL of constants

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import Connection, Engine, text

from etl.sandbox import Fault, Sandbox, Sizes, World
from tests.conftest import BOTH, Databases
from tests.support.database import count
from tests.support.internals.database import CHECKS, Check, findings, snapshot
from tests.support.internals.values import Finding, Violation, finding
from tests.support.runs import settings_for, small, sync, sync_all

KEY = "sdk-00000000-0000-4000-8000-0000000000aa"
SIZES = Sizes(
    ld_projects=3,
    ld_environments=2,
    ld_big_project=0,
    ld_layers=3,
    statsig_layers=8,
    layers_projects=8,
)
STATSIG = "statsig /console/v1/layers[?]*"


@pytest.fixture(scope="module", params=BOTH)
def evolved(request: pytest.FixtureRequest, databases: Databases) -> Iterator[Engine]:
    """A database after six syncs of a changing world; what a test changes is rolled back."""
    with Sandbox(World(11, SIZES)) as sandbox, databases(request.param) as engine:
        settings = settings_for(sandbox)
        for number in range(6):
            sync_all(engine, settings)
            sandbox.world.evolve(changed=0.3, deleted=3, renamed=1, created=3, restored=2)
            if number == 4:
                gone = next(
                    row.payload["id"]
                    for row in sandbox.world.live("statsig", "layers")
                    if row.payload["parameters"]
                )
                sandbox.world.delete("statsig", "layers", gone)
        yield engine


def audited(engine: Engine) -> dict[str, Finding]:
    """The findings of the checks that do not hold."""
    with snapshot(engine) as connection:
        return broken(connection)


def broken(connection: Connection) -> dict[str, Finding]:
    return {found.check: found for found in findings(connection) if not found.ok}


@contextmanager
def unguarded(engine: Engine) -> Iterator[Connection]:
    """A transaction without foreign keys and checks, which is rolled back at the end."""
    sqlite = engine.dialect.name == "sqlite"
    with engine.connect() as connection:
        if sqlite:
            connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
            connection.exec_driver_sql("PRAGMA ignore_check_constraints = ON")
            connection.exec_driver_sql("PRAGMA legacy_alter_table = ON")
        else:
            connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
            for table in ("projects", "layers", "layer_parameters", "layer_reservations"):
                connection.exec_driver_sql(
                    f"ALTER TABLE {table} DROP CONSTRAINT ck_{table}_deleted_at"
                )
            connection.exec_driver_sql(
                "ALTER TABLE layer_history DROP CONSTRAINT ck_layer_history_valid"
            )
        yield connection
        connection.rollback()
        if sqlite:
            connection.exec_driver_sql("PRAGMA ignore_check_constraints = OFF")
            connection.exec_driver_sql("PRAGMA legacy_alter_table = OFF")


def test_a_database_after_changes_of_every_kind_is_clean(evolved: Engine) -> None:
    found = {
        operation: count(evolved, "changes", f"operation = '{operation}'")
        for operation in ("created", "updated", "deleted", "restored")
    }
    assert all(found.values())
    assert audited(evolved) == {}


def test_an_empty_database_is_clean(engine: Engine) -> None:
    assert audited(engine) == {}


def test_a_run_that_will_be_gone_on_with_is_clean(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        sandbox.add_fault(Fault("launchdarkly */layers", "status", arg=401))
        assert sync(engine, settings_for(sandbox), "ld").status == "denied"
    assert count(engine, "staged_environments") > 0
    assert audited(engine) == {}


def test_a_partial_run_with_rejects_and_drift_is_clean(engine: Engine) -> None:
    faults = [
        Fault(STATSIG, "patch", arg=(("idType",), None)),
        Fault("layers /v1/projects[?]*", "patch", arg=(("newThing",), {"deep": [1]})),
    ]
    with Sandbox(small(), faults=faults) as sandbox:
        settings = settings_for(sandbox)
        for name in settings.sources:
            sync(engine, settings, name)
    assert (count(engine, "rejects"), count(engine, "schema_drift")) == (1, 1)
    assert audited(engine) == {}


@pytest.mark.parametrize("value", [2**63, 1e300, -1e20, 0.1, 5e-324, 2**53 + 1])
def test_numbers_that_a_database_writes_differently_are_no_violation(
    engine: Engine, value: float
) -> None:
    parameter = {"name": "odd", "type": "number", "defaultValue": 0}
    with Sandbox(small(), faults=[_patched([parameter])]) as sandbox:
        settings = settings_for(sandbox)
        sync(engine, settings, "st")
        sandbox.add_fault(_patched([{**parameter, "defaultValue": value}]))
        assert sync(engine, settings, "st").changed
    assert audited(engine) == {}


def _patched(parameters: list[dict[str, object]]) -> Fault:
    return Fault(STATSIG, "patch", times=1, arg=(("parameters",), parameters))


def test_the_audit_writes_nothing(evolved: Engine) -> None:
    with snapshot(evolved) as connection:
        postgres = evolved.dialect.name == "postgresql"
        read_only = "SET TRANSACTION READ ONLY" if postgres else "PRAGMA query_only = ON"
        connection.exec_driver_sql(read_only)
        assert broken(connection) == {}
        if not postgres:
            connection.exec_driver_sql("PRAGMA query_only = OFF")


def test_a_hash_of_another_rule_is_told_and_no_violation(evolved: Engine) -> None:
    with unguarded(evolved) as connection:
        connection.execute(text("UPDATE layers SET content_hash = '0:old' WHERE version = 1"))
        (found,) = [one for one in findings(connection) if one.check == "hashes"]
        assert (found.ok, found.noted > 0) == (True, True)
        assert "rule 0" in found.notes[0]
        assert broken(connection) == {}


NEW = "(SELECT min(project_id) FROM projects WHERE version = 1 AND source = 'ly')"
CLOSED = (
    "(SELECT min(layer_id) FROM layer_history), (SELECT max(version) FROM layer_history "
    "WHERE layer_id = (SELECT min(layer_id) FROM layer_history))"
)
EVENT = f"stream = 'projects' AND record_id = {NEW}"
DELETED = "(SELECT min(change_id) FROM changes WHERE operation = 'deleted')"
DIFF = "(SELECT min(change_id) FROM change_fields)"
RUN = "(SELECT max(run_id) FROM changes WHERE source = 'ly')"
LIVE_PART = "(SELECT min(layer_parameter_id) FROM layer_parameters WHERE NOT is_deleted)"
DEAD_PART = (
    "(SELECT min(layer_parameter_id) FROM layer_parameters p JOIN layers l "
    "ON l.layer_id = p.layer_id WHERE l.is_deleted)"
)
RUN_COLUMNS = "source, provider, kind, status, scope, attempts, started_at, etl_version"
REJECT_COLUMNS = (
    "source, provider, stream, parent_id, item, path, reason, payload, run_id, "
    "first_seen_at, last_seen_at"
)
STREAM_COLUMNS = (
    "run_id, stream, parent_id, parent_key, status, complete, partitions, incomplete_partitions, "
    "requests, pages, retries, waited_seconds, received, created, updated, unchanged, deleted, "
    "restored, rejected"
)
WALKED = "reason = 'missing from a complete walk'"

# check, what is done, the statements that do it
CORRUPTIONS: list[tuple[str, str, tuple[str, ...]]] = [
    ("schema", "a column more", ("ALTER TABLE layers ADD COLUMN surprise TEXT",)),
    ("schema", "an older version", ("UPDATE alembic_version SET version_num = '0001'",)),
    (
        "references",
        "a reject of no run",
        (
            f"INSERT INTO rejects ({REJECT_COLUMNS}) VALUES ('x', 'x', 'layers', '', 'x', '', "
            "'x', '{}', 999999, '2026-11-01 00:00:00', '2026-11-01 00:00:00')",
        ),
    ),
    (
        "identities",
        "a closed version of another source",
        (
            f"UPDATE layer_history SET source = 'x' WHERE (layer_id, version) = ({CLOSED})",
            f"UPDATE changes SET source = 'x' WHERE stream = 'layers' AND "
            f"(record_id, version) = ({CLOSED})",
        ),
    ),
    (
        "versions",
        "a life that begins with version 2",
        (
            f"UPDATE changes SET version = 2 WHERE {EVENT}",
            f"UPDATE projects SET version = 2 WHERE project_id = {NEW}",
        ),
    ),
    (
        "intervals",
        "an overlap",
        (
            "UPDATE layer_history SET valid_to = '2090-01-01 00:00:00.000000' "
            f"WHERE (layer_id, version) = ({CLOSED})",
        ),
    ),
    (
        "intervals",
        "a record first seen before its first version",
        (
            "UPDATE projects SET first_seen_at = '2020-01-01 00:00:00.000000' "
            f"WHERE project_id = {NEW}",
        ),
    ),
    (
        "operations",
        "a life that begins with updated",
        (
            f"UPDATE changes SET operation = 'updated' WHERE {EVENT}",
            f"UPDATE projects SET operation = 'updated' WHERE project_id = {NEW}",
        ),
    ),
    (
        "tombstones",
        "a live row with the time of its deletion",
        (f"UPDATE projects SET deleted_at = changed_at WHERE project_id = {NEW}",),
    ),
    (
        "tombstones",
        "a live part with the time of its deletion",
        (
            "UPDATE layer_parameters SET deleted_at = changed_at "
            f"WHERE layer_parameter_id = {LIVE_PART}",
        ),
    ),
    (
        "evidence",
        "a deletion without a reason",
        (f"UPDATE changes SET reason = NULL WHERE change_id = {DELETED}",),
    ),
    (
        "evidence",
        "a deletion with an empty reason",
        (f"UPDATE changes SET reason = '' WHERE change_id = {DELETED}",),
    ),
    (
        "evidence",
        "a walk that was not complete",
        (
            f"INSERT INTO run_streams ({STREAM_COLUMNS}) SELECT run_id, stream, (SELECT parent_id "
            f"FROM layers WHERE layer_id = (SELECT min(record_id) FROM changes WHERE {WALKED})), "
            "'x', 'incomplete', false, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 FROM changes "
            f"WHERE {WALKED} AND record_id = (SELECT min(record_id) FROM changes WHERE {WALKED})",
        ),
    ),
    (
        "evidence",
        "a project that was not deleted",
        (
            "UPDATE changes SET reason = 'its project was deleted' WHERE change_id = "
            f"(SELECT min(change_id) FROM changes WHERE {WALKED})",
        ),
    ),
    ("events", "an event less", (f"DELETE FROM changes WHERE {EVENT}",)),
    (
        "events",
        "an event of another operation",
        (
            "UPDATE changes SET operation = 'updated' WHERE change_id = "
            f"(SELECT min(change_id) FROM changes WHERE {EVENT})",
        ),
    ),
    (
        "events",
        "an event of no version",
        (
            "INSERT INTO changes (run_id, source, provider, stream, record_id, version, key, "
            "operation, observed_at) SELECT run_id, source, provider, stream, record_id, 99, key, "
            f"'created', observed_at FROM changes WHERE {EVENT}",
        ),
    ),
    (
        "event fields",
        "a field of a creation",
        (
            "INSERT INTO change_fields (change_id, path) "
            f"SELECT change_id, 'name' FROM changes WHERE {EVENT}",
        ),
    ),
    (
        "field diffs",
        "another value",
        (f"UPDATE change_fields SET new_value = '\"tampered\"' WHERE change_id = {DIFF}",),
    ),
    ("field diffs", "a field less", (f"DELETE FROM change_fields WHERE change_id = {DIFF}",)),
    (
        "layer parts",
        "a live part of a deleted layer",
        (
            "UPDATE layer_parameters SET is_deleted = false, deleted_at = NULL "
            f"WHERE layer_parameter_id = {DEAD_PART}",
        ),
    ),
    (
        "project parts",
        "another key",
        (
            "UPDATE environments SET project_key = 'other' WHERE environment_id = "
            "(SELECT min(environment_id) FROM environments)",
        ),
    ),
    (
        "project parts",
        "another project",
        (
            f"UPDATE environments SET project_id = {NEW} WHERE environment_id = "
            "(SELECT min(environment_id) FROM environments)",
        ),
    ),
    (
        "hashes",
        "another hash",
        (f"UPDATE projects SET content_hash = '1:00' WHERE project_id = {NEW}",),
    ),
    (
        "hashes",
        "another hash of a closed version",
        (f"UPDATE layer_history SET content_hash = '1:00' WHERE (layer_id, version) = ({CLOSED})",),
    ),
    (
        "columns",
        "another name",
        (f"UPDATE projects SET name = 'tampered' WHERE project_id = {NEW}",),
    ),
    (
        "columns",
        "another value in a closed version",
        (
            "UPDATE layer_history SET description = 'tampered' "
            f"WHERE (layer_id, version) = ({CLOSED})",
        ),
    ),
    (
        "columns",
        "another time",
        (
            "UPDATE projects SET provider_created_at = '2020-01-01 00:00:00.000000' "
            f"WHERE project_id = {NEW}",
        ),
    ),
    (
        "child rows",
        "another type",
        (f"UPDATE layer_parameters SET type = 'tampered' WHERE layer_parameter_id = {LIVE_PART}",),
    ),
    (
        "child rows",
        "a part less",
        (f"DELETE FROM layer_parameters WHERE layer_parameter_id = {LIVE_PART}",),
    ),
    (
        "runs",
        "a run that nobody makes",
        (
            f"INSERT INTO runs (run_id, {RUN_COLUMNS}) SELECT 0, source, provider, kind, "
            f"'running', scope, 1, '2026-11-01 00:00:00', '0' FROM runs WHERE run_id = {RUN}",
        ),
    ),
    (
        "staging",
        "a row of an ended run",
        (
            "INSERT INTO staged_deletions (run_id, stream, row_id, reason) "
            f"VALUES ({RUN}, 'layers', 1, 'x')",
        ),
    ),
    (
        "times",
        "a run at another time than its changes",
        (f"UPDATE runs SET observed_at = '2090-01-01 00:00:00.000000' WHERE run_id = {RUN}",),
    ),
    (
        "times",
        "two runs at one time",
        (
            "INSERT INTO runs (source, provider, kind, status, scope, attempts, started_at, "
            "observed_at, etl_version) SELECT source, provider, kind, 'ok', scope, 1, started_at, "
            f"observed_at, '0' FROM runs WHERE run_id = {RUN}",
        ),
    ),
    (
        "secrets",
        "a key in a text",
        (f"UPDATE runs SET error = 'see {KEY}' WHERE run_id = {RUN}",),
    ),
    (
        "secrets",
        "a key in a document",
        (f"UPDATE runs SET notes = '[\"see {KEY}\"]' WHERE run_id = {RUN}",),
    ),
    (
        "secrets",
        "a secret field that is no fingerprint",
        (f"""UPDATE runs SET notes = '{{"apiKey":"plain"}}' WHERE run_id = {RUN}""",),
    ),
]


@pytest.mark.parametrize(
    ("check", "statements"),
    [(check, statements) for check, _, statements in CORRUPTIONS],
    ids=[f"{check}: {what}" for check, what, _ in CORRUPTIONS],
)
def test_what_somebody_broke_is_found_by_the_check_for_it_and_by_no_other(
    evolved: Engine, check: str, statements: tuple[str, ...]
) -> None:
    with unguarded(evolved) as connection:
        for statement in statements:
            done = connection.execute(text(statement.replace(":", r"\:")))
            assert done.rowcount != 0
        found = broken(connection)
    assert set(found) == {check}, found
    assert found[check].examples


def test_two_current_rows_of_one_id_are_found(evolved: Engine) -> None:
    with unguarded(evolved) as connection:
        query = "SELECT min(environment_id) FROM environments WHERE version = 1 AND NOT is_deleted"
        first = connection.execute(text(query)).scalar_one()
        _copy(connection, "changes", "record_id", first)
        if evolved.dialect.name == "postgresql":
            name = "uq_environments_source_parent_id_external_id"
            connection.exec_driver_sql(f"ALTER TABLE environments DROP CONSTRAINT {name}")
            _copy(connection, "environments", "environment_id", first)
        else:  # a table without its constraints takes its place
            connection.exec_driver_sql("CREATE TABLE copied AS SELECT * FROM environments")
            _copy(connection, "copied", "environment_id", first)
            connection.exec_driver_sql("DROP TABLE environments")
            connection.exec_driver_sql("ALTER TABLE copied RENAME TO environments")
        found = broken(connection)
    assert set(found) == {"schema", "identities"}


def _copy(connection: Connection, table: str, column: str, value: int) -> None:
    """The row once more, with another number."""
    where = f"{column} = {value}" + (" AND stream = 'environments'" if table == "changes" else "")
    query = text(f"SELECT * FROM {table} WHERE {where}")
    names = [name for name in connection.execute(query).keys() if name != "change_id"]  # noqa: SIM118
    listed = ", ".join(names)
    copied = ", ".join("999999" if name == column else name for name in names)
    statement = f"INSERT INTO {table} ({listed}) SELECT {copied} FROM {table} WHERE {where}"
    connection.execute(text(statement))


def test_every_check_has_a_corruption_that_it_finds() -> None:
    assert {check for check, _, _ in CORRUPTIONS} == {check.name for check in CHECKS}


def test_where_a_column_is_missing_no_other_check_is_made_and_each_says_so(
    evolved: Engine,
) -> None:
    with unguarded(evolved) as connection:
        connection.exec_driver_sql("ALTER TABLE schema_drift DROP COLUMN sample_type")
        found = broken(connection)
    assert set(found) == {check.name for check in CHECKS}
    assert "there is no schema_drift.sample_type" in found["secrets"].examples[0]


def test_a_key_that_is_found_is_not_shown(evolved: Engine) -> None:
    with unguarded(evolved) as connection:
        last = f"SELECT max(path) FROM change_fields WHERE change_id = {DIFF}"
        connection.execute(
            text(
                f"UPDATE change_fields SET path = '{KEY}' WHERE change_id = {DIFF} "
                f"AND path = ({last})"
            )
        )
        found = broken(connection)
    assert "path" in found["secrets"].examples[0]
    assert KEY not in str(found["secrets"])


@pytest.mark.parametrize("check", CHECKS, ids=[check.name for check in CHECKS])
def test_a_broken_promise_says_how_to_repair_it(check: Check) -> None:
    found = finding(check.name, check.promise, check.remedy, [Violation(where="x", what="y")])
    assert len(found.remedy) > 20
