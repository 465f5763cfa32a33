"""`etl backfill`: forecast first, gone on with by its number; the examples of the README."""

import re
import shlex
import signal
import subprocess
from pathlib import Path
from threading import Event

from etl.sandbox import Fault
from tests.cli.command import Place, line, place, variables

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
PAGES = "statsig /console/v1/layers?limit=5&*"
PAGED = {"st": {"layers": {"page_size": 5}, "limits": {"attempts": 1}}}


def test_the_examples_of_the_readme_run(here: Place) -> None:
    section = README.partition("## One-off backfills\n")[2].partition("\n## ")[0]
    lines = [
        shlex.split(said.partition("#")[0])[1:]
        for said in re.findall(r"^etl backfill .*", section, re.MULTILINE)
    ]
    here.config.write_text(
        here.config.read_text().replace("sources.ld", "sources.acme-launchdarkly")
    )
    assert len(lines) == 4
    *whole, by_number = lines
    assert [here.etl(*words).code for words in whole] == [0, 0, 0]
    ended = here.etl(*by_number)
    assert (ended.code, "has ended (ok)" in ended.err) == (2, True)


def test_a_forecast_comes_first_and_the_report_last(migrated: Place) -> None:
    ended = migrated.etl("backfill", "st")
    assert ended.code == 0
    assert ended.err.startswith("st: about 3 requests; ")
    assert ended.out.startswith("st: ok, ")


def test_json_is_one_report_on_stdout(migrated: Place) -> None:
    ended = migrated.etl("backfill", "ld", "--project", "search", "--json")
    (run,) = ended.json["runs"]
    assert (ended.err, run["kind"], run["status"]) == ("", "backfill", "ok")
    assert {one["stream"]: one["created"] for one in run["streams"]} == {
        "projects": 1,
        "environments": 2,
        "layers": 4,
    }


def test_a_parked_one_says_how_to_go_on_and_does(tmp_path: Path, here: Place) -> None:
    found = place(tmp_path, here.sandbox, **PAGED)
    here.sandbox.add_fault(Fault(PAGES, "status", after=2, times=1, arg=503))
    parked = found.etl("backfill", "st")
    assert parked.code == 75
    (way_on,) = re.findall(r"go on with: etl (.*)", parked.err)
    done = found.etl(*shlex.split(way_on))
    assert done.code == 0
    assert "goes on with run 1, which has read 3 pages" in done.err
    assert "2 processes" in found.etl("show", "1").out


def test_a_signal_keeps_what_was_read(tmp_path: Path, here: Place) -> None:
    waiting = Event()
    found = place(tmp_path, here.sandbox, **PAGED)
    here.sandbox.add_fault(Fault(PAGES, "mutate", after=3, times=1, arg=lambda _: waiting.set()))
    here.sandbox.add_fault(Fault(PAGES, "stall", after=3, times=1, arg=300))
    words = ("--config", str(found.config), "backfill", "st")
    with subprocess.Popen(
        line(*words), env=variables(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert waiting.wait(60)
        child.send_signal(signal.SIGTERM)
        _, told = child.communicate(timeout=60)
    assert (child.returncode, "go on with: etl backfill st --resume 1" in told) == (75, True)
    assert found.etl("backfill", "st", "--resume", "1").code == 0


def test_other_options_beside_resume_are_refused(migrated: Place) -> None:
    ended = migrated.etl("backfill", "st", "--resume", "1", "--stream", "layers")
    assert (ended.code, "give no other option" in ended.err) == (2, True)


def test_a_window_that_ends_before_it_begins_is_refused(migrated: Place) -> None:
    ended = migrated.etl("backfill", "st", "--created-since", "1d", "--created-until", "2d")
    assert (ended.code, "is not before" in ended.err) == (2, True)


def test_the_state_of_a_stream_is_not_that_of_a_backfilled_part(migrated: Place) -> None:
    assert migrated.etl("sync", "ld").code == 0
    before = migrated.etl("status", "ld", "--json").json
    assert migrated.etl("backfill", "ld", "--project", "search").code == 0
    after = migrated.etl("status", "ld", "--json").json
    for row in (*before, *after):
        del row["age_seconds"]
    assert after == before
    assert "backfill" in migrated.etl("runs", "ld").out
