"""`etl plan` and `etl apply`: look, then make exactly that; when they refuse."""

import gzip
import json
import re
import sqlite3
import stat
import subprocess
from pathlib import Path

import pytest

from etl.sandbox import Fault
from tests.cli.command import ESCAPE, Place, line, variables

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def changed(place: Place) -> None:
    """An update, a deletion and a new record."""
    world = place.sandbox.world
    world.update("launchdarkly", "projects", "my-project", name="Another", tags=["ops"])
    world.delete("layers", "projects", world.live("layers", "projects")[0].payload["id"])
    world.create("statsig", "layers", id="fresh", name="fresh")


def test_a_plan_shows_field_diffs_evidence_and_counts(done: Place, tmp_path: Path) -> None:
    changed(done)
    ended = done.process("plan", "--out", str(tmp_path / "plan.json"))
    assert (ended.code, ended.err) == (0, "")
    assert '  ~ projects my-project\n      name: "My Project" -> "Another"\n' in ended.out
    assert re.search(r"  - projects prj_\w+  \(the provider answers 404 for it\)\n", ended.out)
    assert re.search(r"  \+ layers .*/fresh\n", ended.out)
    assert "plan: 1 to create, 1 to update, 1 to delete\n" in ended.out
    assert f"`etl apply {tmp_path / 'plan.json'}` makes exactly these changes" in ended.out
    assert ESCAPE not in ended.out


def test_apply_makes_what_the_plan_told_and_a_sync_finds_nothing_more(
    done: Place, tmp_path: Path
) -> None:
    changed(done)
    file = str(tmp_path / "plan.json.gz")
    done.etl("plan", "--out", file)
    ended = done.etl("apply", file)
    assert (ended.code, ended.err) == (0, "")
    assert "ly: ok, 1 change" in ended.out
    assert done.etl("sync").out.count("nothing changed") == 3
    assert done.etl("audit").code == 0
    assert "nothing to do" not in ended.out
    assert json.loads(gzip.decompress(Path(file).read_bytes()))["format"] == "etl plan"


def test_the_readme_example_runs(done: Place) -> None:
    for row in done.sandbox.world.live("layers", "projects"):
        done.sandbox.world.delete("layers", "projects", row.payload["id"])
    assert done.etl("sync").code == 3
    example = re.search(r"```sh\n(etl plan .*?)```", README, re.DOTALL)
    assert example is not None
    told = example[1].replace("plan.json", str(done.config.with_name("plan.json")))
    commands = [line.partition("#")[0].split() for line in told.splitlines()]
    ends = [done.etl(*words[1:]) for words in commands]
    assert [ended.code for ended in ends] == [0, 0]
    assert "held back by `etl sync`" in ends[0].out
    assert _live(done) == 0


def test_an_old_plan_is_exit_3_and_an_edited_one_exit_2(done: Place, tmp_path: Path) -> None:
    changed(done)
    file = tmp_path / "plan.json"
    done.etl("plan", "ly", "--out", str(file))
    content = file.read_text(encoding="utf-8")
    file.write_text(content.replace("deleted", "updated"), encoding="utf-8")
    edited = done.etl("apply", str(file))
    assert (edited.code, "checksum" in edited.err) == (2, True)
    file.write_text(content, encoding="utf-8")
    done.etl("sync", "ly")
    old = done.etl("apply", str(file))
    assert (old.code, old.out) == (3, "")
    assert "was merged since; nothing of it was applied; look at a new `etl plan`" in old.err


def test_a_file_that_is_not_there_is_exit_2(done: Place) -> None:
    assert done.etl("apply", "nowhere.json").code == 2


@pytest.mark.parametrize("name", ["plan.json", "plan.json.gz"])
def test_a_plan_may_come_from_stdin(done: Place, tmp_path: Path, name: str) -> None:
    changed(done)
    file = tmp_path / name
    done.etl("plan", "ly", "--out", str(file))
    words = line("--config", str(done.config), "apply", "/dev/stdin")
    ended = subprocess.run(
        words, input=file.read_bytes(), env=variables(), capture_output=True, check=True
    )
    assert ended.stdout.startswith(b"ly: ok, 1 change")


def test_a_plan_is_its_owners_alone_to_read(done: Place, tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    done.etl("plan", "ly", "--out", str(file))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(tmp_path.glob(".plan*")) == []


def test_a_folder_that_is_not_there_saves_no_plan(done: Place, tmp_path: Path) -> None:
    asked = len(done.sandbox.requests)
    ended = done.etl("plan", "ly", "--out", str(tmp_path / "no" / "plan.json"))
    assert ended.code == 2
    assert "cannot be written: No such file or directory" in ended.err
    for place in (str(tmp_path), "-"):
        ended = done.etl("plan", "ly", "--out", place)
        assert (ended.code, ended.err) == (
            2,
            f"etl: {place} is no file; name one that can be written\n",
        )
    assert len(done.sandbox.requests) == asked  # it is known before anything is read


def test_a_source_that_cannot_be_read_is_not_in_the_plan(done: Place, tmp_path: Path) -> None:
    done.sandbox.add_fault(Fault("statsig", "status", times=None, arg=503))
    file = tmp_path / "plan.json"
    ended = done.etl("plan", "st", "ly", "--out", str(file))
    assert ended.code == 75
    assert "st: parked" in ended.out
    assert "plan: nothing would change; not known of st\n" in ended.out
    assert [one["source"] for one in json.loads(file.read_bytes())["sources"]] == ["ly"]


def test_where_nothing_could_be_read_no_plan_was_made(done: Place, tmp_path: Path) -> None:
    done.sandbox.add_fault(Fault("statsig", "status", times=None, arg=503))
    file = tmp_path / "plan.json"
    ended = done.etl("plan", "st", "--out", str(file))
    assert ended.code == 75
    assert f"plan: none was made, and {file} was not written\n" in ended.out
    assert not file.exists()


def test_json_is_the_document_and_the_reports(done: Place) -> None:
    changed(done)
    found = done.etl("plan", "ly", "--json").json
    (one,) = found["plan"]["sources"]
    assert [change["operation"] for change in one["changes"]] == ["deleted"]
    assert [run["status"] for run in found["runs"]] == ["dry_run"]


def _live(place: Place) -> int:
    query = "SELECT count(*) FROM projects_current WHERE provider = 'layers'"
    with sqlite3.connect(place.database) as connection:
        found: int = connection.execute(query).fetchone()[0]
    connection.close()
    return found
