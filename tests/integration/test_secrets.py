"""No key of a vendor and no SDK key reaches a row, a file, a report or an error."""

import json
import re
from pathlib import Path

import pytest
from sqlalchemy import Engine, inspect, text

from etl.sandbox import KEYS, Fault, Sandbox, World
from tests.support.database import count, rows
from tests.support.internals.values import RunReport, as_json
from tests.support.runs import settings_for, small, sync, sync_all

FINGERPRINT = re.compile(r"fp:[0-9a-f]{16}")
SHAPE = re.compile(r"(?:sdk|mob|api)-[0-9a-f]{8}-[0-9a-f-]{18,}")


def sdk_keys(world: World) -> set[str]:
    return {
        environment[name]
        for environment in world.records("launchdarkly", "environments")
        for name in ("apiKey", "mobileKey")
    }


def everything(engine: Engine) -> str:
    """All that the database holds: the bytes of its files, or the text of all its rows."""
    if engine.dialect.name == "sqlite":
        files = Path(str(engine.url.database)).parent.glob("etl.db*")
        return "".join(file.read_bytes().decode("latin-1") for file in files)
    with engine.connect() as connection:
        return "\n".join(
            row
            for table in inspect(connection).get_table_names()
            for row in connection.execute(text(f"SELECT t::text FROM {table} t")).scalars()  # noqa: S608
        )


def found_secrets(world_keys: set[str], told: str) -> set[str]:
    return {key for key in world_keys | set(KEYS.values()) if key in told}


def test_no_key_is_in_the_database_or_in_a_report(engine: Engine) -> None:
    with Sandbox(small(big_project=True)) as sandbox:
        settings = settings_for(sandbox)
        secrets: set[str] = set()
        reports: list[RunReport] = []
        for _ in range(4):
            secrets |= sdk_keys(sandbox.world)
            reports += sync_all(engine, settings)
            sandbox.world.evolve(changed=0.3)
        reports.append(sync(engine, settings, "ld", dry_run=True))
    told = json.dumps([as_json(report) for report in reports]) + repr(reports)
    assert len(secrets) > 60
    assert found_secrets(secrets, everything(engine) + told) == set()
    assert SHAPE.findall(everything(engine)) == []


def test_the_search_for_keys_finds_one_that_is_there(engine: Engine) -> None:
    with engine.begin() as connection:
        key = KEYS["statsig"]
        connection.execute(
            text(
                "INSERT INTO leases VALUES ('x', :key, 'h', 1, '', '2026-11-01 00:00:00', 'sync')"
            ),
            {"key": key},
        )
    assert found_secrets(set(), everything(engine)) == {KEYS["statsig"]}


def test_no_key_is_in_what_an_unended_run_has_staged(engine: Engine) -> None:
    with Sandbox(small(big_project=True)) as sandbox:
        sandbox.add_fault(Fault("launchdarkly */layers", "status", arg=401))
        report = sync(engine, settings_for(sandbox), "ld")
        assert (report.status, count(engine, "staged_environments") > 0) == ("denied", True)
        assert found_secrets(sdk_keys(sandbox.world), everything(engine)) == set()


@pytest.mark.parametrize("field", ["name", "defaultTtl"])
def test_a_rejected_environment_is_kept_without_its_keys(engine: Engine, field: str) -> None:
    patch = Fault(
        "launchdarkly /api/v2/projects[?]*",
        "patch",
        arg=(("environments", "items", 0, field), None),
    )
    with Sandbox(small(big_project=True), faults=[patch]) as sandbox:
        sync(engine, settings_for(sandbox), "ld")
        assert found_secrets(sdk_keys(sandbox.world), everything(engine)) == set()
    assert count(engine, "rejects") == 1


@pytest.mark.parametrize("place", ["name", "color", "newThing"])
def test_a_key_in_a_place_where_none_belongs_is_not_stored(engine: Engine, place: str) -> None:
    world = small(big_project=True)
    key = min(sdk_keys(world))
    patch = Fault(
        "launchdarkly /api/v2/projects[?]*",
        "patch",
        arg=(("environments", "items", 0, place), f"see {key}, please"),
    )
    with Sandbox(world, faults=[patch]) as sandbox:
        report = sync(engine, settings_for(sandbox), "ld")
    assert report.status == "ok"
    assert found_secrets(sdk_keys(world), everything(engine)) == set()


def test_an_echoed_key_is_struck_out_of_the_error(engine: Engine) -> None:
    with Sandbox(small(big_project=True), faults=[Fault("statsig", "status", arg=401)]) as sandbox:
        report = sync(engine, settings_for(sandbox), "st")
    assert report.error is not None
    assert "[key]" in report.error
    assert found_secrets(set(), everything(engine) + repr(report)) == set()


def test_a_rotated_key_shows_as_another_fingerprint(engine: Engine) -> None:
    new = "sdk-01234567-89ab-cdef-0123-456789abcdef"
    with Sandbox(small(big_project=True)) as sandbox:
        settings = settings_for(sandbox)
        sync(engine, settings, "ld")
        (before,) = rows(engine, "environments", "project_key = 'search' AND key = 'production'")
        sandbox.world.update("launchdarkly", "environments", "production", "search", apiKey=new)
        sync(engine, settings, "ld")
    (after,) = rows(engine, "environments", "project_key = 'search' AND key = 'production'")
    prints = [row["sdk_key_fingerprint"] for row in (before, after)]
    assert all(map(FINGERPRINT.fullmatch, prints))
    assert prints[0] != prints[1]
    assert before["mobile_key_fingerprint"] == after["mobile_key_fingerprint"]
    (change,) = rows(engine, "change_feed", "operation = 'updated'")
    assert (change["path"], change["key"]) == ("apiKey", "production")
    assert new not in everything(engine)


def test_every_environment_has_two_fingerprints_of_its_own(engine: Engine) -> None:
    with Sandbox(small(big_project=True)) as sandbox:
        sync(engine, settings_for(sandbox), "ld")
    found = [
        row[name]
        for row in rows(engine, "environments")
        for name in ("sdk_key_fingerprint", "mobile_key_fingerprint")
    ]
    assert len(set(found)) == len(found) == 72
