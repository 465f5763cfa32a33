"""`etl source`: what is configured or stored, a new name, everything of one removed."""

import json
import re
import signal
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Engine, func, select

from etl.errors import RunInProgress
from etl.sandbox import Sandbox
from tests.cli.command import IN_TURN, Place, free_port, line, page, place, synced, variables
from tests.support.internals.database import acquire, leases, metadata, rate_budgets, sources
from tests.support.internals.running import app, at_work, lives, this_process
from tests.support.runs import settings_for, small, sync_all


@pytest.fixture
def left(done: Place) -> Place:
    """A place whose source `st` is no longer configured."""
    text = done.config.read_text()
    done.config.write_text(
        re.sub(r"\[sources\.st\].*?(?=\[sources\.ly\])", "", text, flags=re.DOTALL)
    )
    return done


def rows_of(database: Path, name: str) -> dict[str, int]:
    """Table -> how many rows name the source."""
    tables = [table for table in metadata.sorted_tables if "source" in table.c]
    with closing(sqlite3.connect(database)) as connection:
        counts = {
            table.name: connection.execute(
                f"SELECT COUNT(*) FROM {table.name} WHERE source = ?",  # noqa: S608  our tables
                (name,),
            ).fetchone()[0]
            for table in tables
        }
    return {table: number for table, number in counts.items() if number}


def test_the_list_tells_what_is_configured_and_what_is_stored(left: Place) -> None:
    found = {row["source"]: row for row in left.etl("source", "list", "--json").json}
    assert {name: row["configured"] for name, row in found.items()} == {
        "ld": True,
        "ly": True,
        "st": False,
    }
    assert found["st"]["records"] == {"layers": 25, "projects": 1}
    assert (found["st"]["last_status"], found["st"]["provider"]) == ("ok", "statsig")
    assert "not configured" in left.etl("source", "list").out


def test_a_source_that_never_ran_is_listed(here: Place) -> None:
    assert here.etl("db", "upgrade").code == 0
    found = here.etl("source", "list", "--json").json
    assert [(row["source"], row["last_run_id"]) for row in found] == [
        ("ld", None),
        ("ly", None),
        ("st", None),
    ]
    assert "never" in here.etl("source", "list").out


def test_a_source_that_is_not_configured_is_told_so(left: Place) -> None:
    assert "not configured" in left.etl("status").out
    states = {row["source"]: row["configured"] for row in left.etl("status", "--json").json}
    assert states == {"ld": True, "ly": True, "st": False}
    assert "not configured: st" in left.etl("report", "project_inventory").out
    assert "not configured" not in left.etl("report", "project_inventory", "--source", "ld").out


def test_a_new_name_is_in_every_table_and_the_next_sync_finds_no_change(done: Place) -> None:
    before = rows_of(done.database, "ld")
    ended = done.etl("source", "rename", "ld", "acme")
    assert (ended.code, ended.err) == (0, "")
    assert "rename [sources.ld] to [sources.acme]" in ended.out
    assert (rows_of(done.database, "ld"), rows_of(done.database, "acme")) == ({}, before)
    done.config.write_text(done.config.read_text().replace("[sources.ld", "[sources.acme"))
    synced = done.etl("sync", "acme", "--json")
    assert (synced.code, synced.json["runs"][0]["changed"]) == (0, 0)
    assert done.etl("audit").code == 0


def test_the_archive_gets_the_new_name(tmp_path: Path) -> None:
    with Sandbox(small()) as sandbox:
        here = place(tmp_path, sandbox, ly={"archive": {"dir": str(tmp_path / "archive")}})
        assert here.etl("sync", "ly").code == 0
        assert here.etl("source", "rename", "ly", "new").code == 0
        assert {one.name for one in (tmp_path / "archive").iterdir()} == {"new"}
        here.config.write_text(here.config.read_text().replace("[sources.ly", "[sources.new"))
        assert here.etl("sync", "new").code == 0
        ended = here.etl("reprocess", "new", "--from-archive", str(tmp_path / "archive"))
        assert (ended.code, "no difference" in ended.out) == (0, True)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["rename", "lld", "new"], "there is no source lld; did you mean ld?"),
        (["rename", "ld", "st"], "a source st already"),
        (["rename", "ld", "a b"], "a name of a source is"),
        (["forget", "unknown", "--yes"], "there is no source unknown; there are ld, ly, st"),
        (["forget", "ld"], "confirm with --yes"),
    ],
)
def test_what_cannot_be_done_is_exit_2_and_changes_nothing(
    done: Place, words: list[str], told: str
) -> None:
    before = rows_of(done.database, "ld")
    ended = done.etl("source", *words)
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert told in ended.err
    assert rows_of(done.database, "ld") == before


def test_everything_of_a_source_is_forgotten_and_nothing_of_others(done: Place) -> None:
    others = {name: rows_of(done.database, name) for name in ("st", "ly")}
    dry = done.etl("source", "forget", "ld", "--dry-run", "--json").json
    assert rows_of(done.database, "ld") != {}
    ended = done.etl("source", "forget", "ld", "--yes", "--json").json
    assert (dry["deleted"], dry["dry_run"]) == (ended["deleted"], True)
    assert ended["deleted"]["projects"] == 5
    assert rows_of(done.database, "ld") == {}
    assert {name: rows_of(done.database, name) for name in ("st", "ly")} == others
    assert done.etl("audit").code == 0


def test_what_is_forgotten_but_configured_is_read_again(done: Place) -> None:
    told = done.etl("source", "forget", "ld", "--yes").out
    assert "5 projects" in told
    assert "still configured" in told
    assert done.etl("sync", "ld", *IN_TURN).code == 0
    assert rows_of(done.database, "ld")["projects"] == 5


def test_both_work_on_each_database_and_leave_the_rate_budgets(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        sync_all(engine, settings_for(sandbox))
    with engine.begin() as connection:
        budgets = connection.execute(select(rate_budgets)).all()
        assert sources.rename(connection, "ld", "new") > 0
        assert sources.names(connection) == {"new", "st", "ly"}
        assert connection.execute(select(rate_budgets)).all() == budgets
    with engine.begin() as connection:
        sources.forget(connection, "new")
        sources.forget(connection, "st")
        sources.forget(connection, "ly")
        left = {
            table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in metadata.sorted_tables
        }
    assert {name for name, number in left.items() if number} <= {"rate_budgets"}


@pytest.mark.parametrize("kind", ["sync", "backfill"])
def test_a_run_at_work_keeps_its_source(done: Place, engine: Engine, kind: str) -> None:
    now = app.utc_now()
    with at_work() as holder:
        with engine.begin() as connection:
            acquire(connection, "ld", holder, now, lives, kind=kind)
        with (
            pytest.raises(RunInProgress, match="ld is being"),
            engine.begin() as connection,
            sources.held(connection, ("ld", "new"), this_process(), now, lives),
        ):
            raise AssertionError
        with engine.connect() as connection:
            assert connection.execute(select(leases.c.token)).scalar_one() == holder.token


@pytest.fixture
def unkeyed(here: Place) -> Place:
    """A place where the key of `st` is missing."""
    here.config.write_text(here.config.read_text().replace("KEY_st", "NO_SUCH_KEY"))
    return here


def test_one_missing_key_keeps_no_other_source_from_its_run(unkeyed: Place) -> None:
    ended = unkeyed.etl("sync")
    assert ended.code == 2
    assert "etl: st is left out" in ended.err
    assert "NO_SUCH_KEY is not set" in ended.err
    states = {row["source"]: row["state"] for row in unkeyed.etl("status", "--json").json}
    assert states == {"ld": "ok", "ly": "ok", "st": "never"}


def test_the_missing_key_is_in_the_json_report(unkeyed: Place) -> None:
    runs = {run["source"]: run for run in unkeyed.etl("sync", "--json").json["runs"]}
    assert {name: run["exit_code"] for name, run in runs.items()} == {"ld": 0, "ly": 0, "st": 2}
    assert "NO_SUCH_KEY" in runs["st"]["error"]


def test_check_tries_the_other_sources_and_reports_that_one(unkeyed: Place) -> None:
    ended = unkeyed.etl("check")
    assert ended.code == 2
    assert "NO_SUCH_KEY is not set" in ended.out
    assert "ld projects: may be read" in ended.out
    assert "ly projects: may be read" in ended.out


def test_a_plan_is_made_of_the_other_sources(unkeyed: Place) -> None:
    assert unkeyed.etl("plan", "--json").json["runs"][0]["exit_code"] == 2


def test_the_daemon_runs_the_other_sources_and_tells_of_that_one(unkeyed: Place) -> None:
    text = unkeyed.config.read_text()
    layers = 'provider = "layers"\n'
    assert layers in text
    unkeyed.config.write_text(text.replace(layers, f'{layers}schedule = "0 0 * * *"\n'))
    port = free_port()
    with subprocess.Popen(
        [
            *line("--config", str(unkeyed.config), "--log", "json", "schedule"),
            *("--health-port", str(port)),
        ],
        env=variables(),
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stderr is not None
        told = (json.loads(one) for one in process.stderr)
        left_out = next(one for one in told if one["event"] == "source left out")
        ran = next(one for one in told if one["event"] == "run ended")
        health = json.loads(page(port, "healthz"))["sources"]["st"]
        process.send_signal(signal.SIGHUP)
        again = next(one for one in told if one["event"] == "source left out")
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert process.returncode == 0
    for one in (left_out, again):
        assert (one["source"], one["level"]) == ("st", "error")
        assert "NO_SUCH_KEY is not set" in one["error"]
    assert (ran["source"], ran["status"]) == ("ly", "ok")
    assert health["last_status"] == "left out"


READING = (
    *("status", "runs", "show 1", "changes", "history projects my-project", "diff 0s", "audit"),
    *("report layer_capacity", "export layers --format csv --out -", "rejects", "drift", "notices"),
    *("prune --dry-run", "source list", "db current", "db check", "db vacuum", "db upgrade"),
    *("reprocess", "source forget ly --dry-run"),
)


def test_no_key_is_needed_to_look_at_what_is_there(tmp_path: Path) -> None:
    with synced(tmp_path) as found:
        text = re.sub(r"KEY_\w+", "NO_SUCH_KEY", found.config.read_text())
        found.config.write_text(text)
        ended = {words: found.etl(*words.split()) for words in READING}
    assert {words: one.err for words, one in ended.items() if "NO_SUCH_KEY" in one.err} == {}
    assert {words: one.err for words, one in ended.items() if one.code} == {}


def test_the_only_source_without_a_key_is_a_configuration_error(unkeyed: Place) -> None:
    ended = unkeyed.etl("sync", "st")
    assert (ended.code, ended.out) == (2, "")
    assert "NO_SUCH_KEY" in ended.err


def test_a_plan_says_by_its_exit_code_whether_something_would_change(here: Place) -> None:
    assert here.etl("plan", "ly").code == 0
    assert here.etl("plan", "ly", "--detailed-exitcode").code == 7
    assert here.etl("sync", "ly").code == 0
    assert here.etl("plan", "ly", "--detailed-exitcode").code == 0


def test_dumps_are_read_without_a_key(done: Place) -> None:
    done.config.write_text(re.sub(r"KEY_\w+", "NO_SUCH_KEY", done.config.read_text()))
    empty = done.config.with_name("dumps")
    empty.mkdir()
    ended = done.etl("reprocess", "ld", "--from-archive", str(empty))
    assert (ended.code, "holds no dump of ld" in ended.err) == (2, True)
