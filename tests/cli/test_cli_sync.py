"""`etl sync`: the cron job. Its exit codes, what it prints, what it leaves alone."""

import json
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from etl.sandbox import Fault, Sandbox
from tests.cli.command import ESCAPE, SECONDS, Place, etl, line, place, process, variables
from tests.support.runs import small

LONG_WAIT = {"limits": {"attempts": 2}}


def test_a_sync_without_trouble_is_exit_0_and_plain_lines(here: Place) -> None:
    ended = here.process("sync")
    assert (ended.code, ended.err) == (0, "")
    told = [text for text in ended.out.splitlines() if text[0] != " "]
    assert sorted(text[:8] for text in told) == ["ld: ok, ", "ly: ok, ", "st: ok, "]
    assert "  layers" in ended.out
    assert ESCAPE not in ended.out


def test_a_second_sync_says_that_nothing_changed(done: Place) -> None:
    assert done.etl("sync", "ly").out.startswith("ly: ok, nothing changed, ")


def test_sync_of_named_sources_asks_only_those(migrated: Place) -> None:
    migrated.etl("sync", "ly", "st")
    assert {seen.provider for seen in migrated.sandbox.requests} == {"layers", "statsig"}


def test_without_a_config_exit_2_names_init(tmp_path: Path) -> None:
    ended = process("sync", at=tmp_path)
    assert (ended.code, ended.out) == (2, "")
    assert "etl init" in ended.err


def test_an_unknown_source_is_exit_2_and_names_the_near_one(migrated: Place) -> None:
    ended = migrated.etl("sync", "lds")
    assert ended.code == 2
    assert "did you mean ld" in ended.err


def test_an_unknown_stream_is_exit_2_and_names_the_known(migrated: Place) -> None:
    ended = migrated.etl("sync", "st", "--stream", "flags")
    assert ended.code == 2
    assert "projects, layers" in ended.out


def test_a_missing_secret_is_exit_2_and_named(migrated: Place) -> None:
    ended = migrated.etl("sync", ly="")
    assert ended.code == 2
    assert "sources.ly.api_key" in ended.err
    assert "layers" not in {seen.provider for seen in migrated.sandbox.requests}


def test_an_emptied_list_is_exit_3_and_deletes_nothing(done: Place) -> None:
    before = _count(done, "projects_current")
    done.sandbox.add_fault(Fault("layers", "empty_list", times=None))
    ended = done.etl("sync", "ly")
    assert ended.code == 3
    assert "--force-deletes" in ended.out
    assert _count(done, "projects_current") == before


def test_the_status_of_a_stream_tells_what_was_held_back_of_it_and_not_of_others(
    done: Place,
) -> None:
    for row in done.sandbox.world.live("statsig", "layers"):
        done.sandbox.world.delete("statsig", "layers", row.payload["id"])
    assert done.etl("sync", "st").code == 3
    told = {one["stream"]: one["remark"] for one in done.etl("status", "st", "--json").json}
    assert told["projects"] is None
    assert told["layers"].startswith("would delete 25 of 25 layers of st")


def test_force_deletes_makes_the_deletions_that_were_held_back(done: Place) -> None:
    for row in done.sandbox.world.live("layers", "projects"):
        done.sandbox.world.delete("layers", "projects", row.payload["id"])
    assert done.etl("sync", "ly").code == 3
    assert done.etl("sync", "ly", "--force-deletes").code == 0
    assert _count(done, "projects_current", "provider = 'layers'") == 0


def test_a_wrong_key_is_exit_4(migrated: Place) -> None:
    ended = migrated.etl("sync", "st", st="console-wrong")
    assert ended.code == 4
    assert ended.out.startswith("st: denied")


def test_a_list_that_cannot_be_read_is_exit_5_and_the_rest_lands(migrated: Place) -> None:
    migrated.sandbox.add_fault(
        Fault("launchdarkly */my-project/layers*", "status", times=None, arg=500)
    )
    ended = migrated.etl("sync", "ld")
    assert ended.code == 5
    assert "layers not complete: my-project" in ended.out
    assert _count(migrated, "layers_current") == 4 * 4


def test_a_long_wait_is_exit_75_and_says_until_when(tmp_path: Path) -> None:
    with Sandbox(small(), faults=[Fault("layers", "rate_limited", arg=3600)]) as sandbox:
        ended = place(tmp_path, sandbox, ly=LONG_WAIT).etl("sync", "ly")
    assert ended.code == 75
    assert "go on after" in ended.out


def test_a_run_that_the_rate_limits_make_long_is_forecast(tmp_path: Path) -> None:
    limits = {"rate_limits": ["9/10min"], "reserve_percent": 0.0, "patience": 1.0}
    with Sandbox(small()) as sandbox:
        found = place(tmp_path, sandbox, ly={"projects": {"page_size": 3}, "limits": limits})
        assert found.etl("sync", "ly").code == 0
        ended = found.etl("sync", "ly")
    assert ended.code == 75
    assert "ly: about 9 requests; the rate limits let the last one go at" in ended.err
    assert ", in 10 min" in ended.err


def test_the_exit_code_is_that_which_most_needs_a_person(migrated: Place) -> None:
    migrated.sandbox.add_fault(Fault("layers", "status", times=None, arg=503))
    ended = migrated.etl("sync", st="console-wrong")
    assert ended.code == 4
    told = [text.split(":")[0] for text in ended.out.splitlines() if text[0] != " "]
    assert sorted(told) == ["ld", "ly", "st"]  # as they come to their ends


def test_sigterm_is_exit_75_and_the_next_sync_goes_on(tmp_path: Path) -> None:
    asked = Event()
    with Sandbox(small()) as sandbox:
        found = place(tmp_path, sandbox, st={"layers": {"page_size": 10}})
        for fault in (
            Fault("statsig *page=3*", "mutate", arg=lambda _world: asked.set()),
            Fault("statsig *page=3*", "stall", times=None, arg=SECONDS),
        ):
            sandbox.add_fault(fault)
        running = subprocess.Popen(
            line("--config", str(found.config), "sync", "st"),
            env=variables(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        asked.wait(SECONDS)
        running.send_signal(signal.SIGTERM)
        _, err = running.communicate(timeout=SECONDS)
        sandbox.clear_faults()
        again = found.etl("sync", "st")
    assert (running.returncode, "Traceback" in err) == (75, False)
    assert (again.code, "gone on from the checkpoint" in again.out) == (0, True)


def test_json_is_one_document_with_the_numbers_of_the_runs(here: Place) -> None:
    ended = here.process("sync", "--json")
    assert (ended.code, ended.err) == (0, "")
    told = {
        (run["provider"], stream["stream"]): stream["created"]
        for run in json.loads(ended.out)["runs"]
        for stream in run["streams"]
    }
    there = here.sandbox.counts()
    assert told == {key: there[key[0]][key[1]] for key in told}
    assert len(told) == 6


def test_json_of_a_run_has_what_scripts_ask_for(migrated: Place) -> None:
    (run,) = migrated.etl("sync", "ly", "--json").json["runs"]
    assert {name: run[name] for name in ("source", "status", "exit_code", "changed")} == {
        "source": "ly",
        "status": "ok",
        "exit_code": 0,
        "changed": 12,
    }


def test_json_of_a_failed_run_tells_its_error(migrated: Place) -> None:
    ended = migrated.etl("sync", "st", "--json", st="console-wrong")
    (run,) = ended.json["runs"]
    assert (ended.code, run["status"], run["exit_code"]) == (4, "denied", 4)
    assert "401" in run["error"]


def test_a_dry_run_tells_everything_and_changes_nothing(migrated: Place) -> None:
    ended = migrated.etl("sync", "--dry-run", "--json")
    assert ended.code == 0
    assert sum(run["changed"] for run in ended.json["runs"]) > 0
    assert {name: _count(migrated, name) for name in DATA} == dict.fromkeys(DATA, 0)


DATA = ("projects", "environments", "layers", "layer_reservations", "layer_parameters", "changes")


def test_the_sync_after_a_dry_run_does_what_that_one_told(migrated: Place) -> None:
    told, made = (
        [(run["source"], stream["stream"], stream["created"]) for stream in run["streams"]]
        for wish in (["--dry-run"], [])
        for run in migrated.etl("sync", "ld", "--json", *wish).json["runs"]
    )
    assert told == made


def test_stream_reads_only_that_and_what_it_hangs_on(migrated: Place) -> None:
    ended = migrated.etl("sync", "ld", "--stream", "layers", "--json")
    (run,) = ended.json["runs"]
    assert [stream["stream"] for stream in run["streams"]] == ["projects", "layers"]
    assert _count(migrated, "environments") == 0


def test_stream_may_be_repeated(migrated: Place) -> None:
    ended = migrated.etl("sync", "ld", "--stream", "layers", "--stream", "environments", "--json")
    assert len(ended.json["runs"][0]["streams"]) == 3


def test_full_starts_anew(tmp_path: Path) -> None:
    outage = Fault("statsig *page=2*", "status", arg=503)
    with Sandbox(small(), faults=[outage]) as sandbox:
        found = place(tmp_path, sandbox, st={"layers": {"page_size": 10}})
        assert found.etl("sync", "st").code == 75
        ended = found.etl("sync", "st", "--full")
    assert ended.code == 0
    assert "gone on from" not in ended.out


def test_an_outage_is_exit_75_and_the_next_sync_goes_on(tmp_path: Path) -> None:
    outage = Fault("statsig *page=2*", "status", arg=503)
    with Sandbox(small(), faults=[outage]) as sandbox:
        found = place(tmp_path, sandbox, st={"layers": {"page_size": 10}})
        assert found.etl("sync", "st").code == 75
        ended = found.etl("sync", "st")
    assert (ended.code, "gone on from the checkpoint" in ended.out) == (0, True)


def test_rejected_items_are_told_and_kept(migrated: Place) -> None:
    migrated.sandbox.add_fault(Fault("layers", "patch", times=None, arg=(("name",), 7)))
    ended = migrated.etl("sync", "ly")
    assert ended.code == 5
    rejected = _count(migrated, "rejects")
    assert rejected > 0
    assert f"{rejected} rejected" in ended.out


def test_logs_are_json_lines_on_stderr(here: Place) -> None:
    ended = here.process("--log", "json", "--log-level", "debug", "sync", "ly")
    lines = [json.loads(text) for text in ended.err.splitlines()]
    assert ended.code == 0
    assert {"event", "level", "logger", "timestamp"} <= set(lines[0])
    read = {(one["source"], one["path"]) for one in lines if one["event"] == "page read"}
    assert ("ly", "/v1/projects") in read


def test_text_logs_have_no_escape_codes_off_a_terminal(migrated: Place) -> None:
    ended = migrated.etl("--log", "text", "sync", "ly")
    assert "ly: projects walked" in ended.err
    assert ESCAPE not in ended.err


def test_without_log_nothing_is_logged(migrated: Place) -> None:
    assert migrated.etl("sync", "ly").err == ""


def test_without_log_a_failed_run_is_told_once(here: Place) -> None:
    ended = here.process("sync", "ly", "--stream", "flags")
    assert (ended.code, ended.err) == (2, "")


def test_the_config_may_come_from_the_environment(migrated: Place) -> None:
    assert etl("sync", "ly", more={"ETL_CONFIG": str(migrated.config)}).code == 0


def test_the_database_of_the_environment_wins(here: Place, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    keys = {"ETL_CONFIG": str(here.config), "ETL_DATABASE_URL": f"sqlite:///{other}"}
    assert etl("sync", "ly", more=keys).code == 0
    assert other.is_file()
    assert not here.database.exists()


@pytest.mark.parametrize("command", ["sync", "status", "changes"])
def test_a_database_out_of_reach_is_exit_1(here: Place, command: str) -> None:
    here.database.write_text("this is no database, and long enough to be looked at" * 100)
    ended = here.etl(command)
    assert ended.code == 1
    assert ended.err.startswith("etl: ")


def test_a_source_that_is_being_synced_is_exit_75(done: Place) -> None:
    with sqlite3.connect(done.database) as connection:
        connection.execute(
            "INSERT INTO leases VALUES "
            "('ly', 't', 'elsewhere', 1, '', '2099-01-01 00:00:00.000000', 'sync')"
        )
    connection.close()
    ended = done.etl("sync", "ly")
    assert ended.code == 75
    assert "is being synced by process 1 on elsewhere" in ended.out


def _count(found: Place, table: str, where: str = "true") -> int:
    connection = sqlite3.connect(found.database)
    query = f"SELECT count(*) FROM {table} WHERE {where}"  # noqa: S608  names of ours
    row: Any = connection.execute(query).fetchone()
    connection.close()
    return int(row[0])


def test_help_of_sync_needs_no_config(tmp_path: Path) -> None:
    assert etl("--config", str(tmp_path / "none.toml"), "sync", "--help").code == 0


def test_help_loads_nothing_that_only_work_needs() -> None:
    code = "import etl.cli, sys; print({'sqlalchemy', 'pydantic', 'httpx'} & sys.modules.keys())"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "set()\n"
