"""What an earlier etl made goes on with this one: database, archive, plan, parked run; its answers.

`python -m tests.support.earlier` tells what there is, and makes it anew.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.cli.command import IN_TURN, Place
from tests.support import earlier

STORED = "SELECT source, status, attempts FROM runs ORDER BY run_id"


@contextmanager
def place(folder: Path, steps: int = 1, name: str = "etl.db") -> Iterator[Place]:
    """The earlier database, and the vendors after so many changes."""
    earlier.unpack(folder, name)
    with earlier.sandbox_of(earlier.world_after(steps)) as sandbox:
        yield earlier.place_of(folder, sandbox)


def changed(done: Place, *words: str) -> dict[str, int]:
    """Source -> how many records a sync changed; all went well."""
    ended = done.etl("sync", *words, *IN_TURN, "--json")
    assert ended.code == 0, ended
    return {
        run["source"]: sum(
            stream[what]
            for stream in run["streams"]
            for what in ("created", "updated", "deleted", "restored")
        )
        for run in ended.json["runs"]
    }


def audited(done: Place) -> bool:
    return done.etl("audit").code == 0


def test_every_help_is_as_it_was(tmp_path: Path) -> None:
    with place(tmp_path) as done:
        assert earlier.helps(done) == (earlier.FOLDER / "help.txt").read_text(encoding="utf-8")


def test_every_answer_about_the_earlier_database_is_as_it_was(tmp_path: Path) -> None:
    before: dict[str, Any] = json.loads((earlier.FOLDER / "answers.json").read_text("utf-8"))
    with place(tmp_path) as done:
        after = earlier.answers(done)
    assert list(after) == list(before)
    for line, told in before.items():
        assert after[line] == told, line


def test_a_new_database_has_the_schema_of_the_earlier_one(tmp_path: Path) -> None:
    with place(tmp_path) as done:
        done.database.unlink()
        assert done.etl("db", "upgrade").code == 0
        expected = (earlier.FOLDER / "schema.sql").read_text(encoding="utf-8")
        assert earlier.schema(done.database) == expected


def test_a_sync_finds_nothing_new_in_what_the_earlier_code_stored(tmp_path: Path) -> None:
    with place(tmp_path) as done:
        assert changed(done) == {"ld": 0, "st": 0, "ly": 0}
        assert audited(done)


def test_a_sync_stores_what_changed_since_the_earlier_one(tmp_path: Path) -> None:
    with place(tmp_path, steps=2) as done:
        assert all(changed(done).values())
        assert changed(done) == {"ld": 0, "st": 0, "ly": 0}
        assert audited(done)


def test_an_earlier_plan_is_applied(tmp_path: Path) -> None:
    with place(tmp_path, steps=2) as done:
        ended = done.etl("apply", str(tmp_path / "plan.json"))
        assert ended.code == 0, ended
        assert changed(done) == {"ld": 0, "st": 0, "ly": 0}
        assert audited(done)


def test_an_earlier_run_that_was_parked_goes_on(tmp_path: Path) -> None:
    with place(tmp_path, steps=0, name="parked.db") as done:
        (run,) = done.etl("runs", "--json").json
        assert (run["source"], run["status"]) == ("st", "parked")
        done.sandbox.reset_requests()
        ended = done.etl("sync", "st", "--json")
        (report,) = ended.json["runs"]
        assert (ended.code, report["run_id"], report["attempts"]) == (0, run["run_id"], 2)
        pages = [one.query for one in done.sandbox.requests if one.path.endswith("/layers")]
        assert pages[0].endswith(f"page={earlier.READ + 1}")
        (layers,) = [one for one in report["streams"] if one["stream"] == "layers"]
        assert layers["created"] == len(done.sandbox.world.live("statsig", "layers"))
        assert audited(done)


def test_an_earlier_archive_makes_what_is_stored(tmp_path: Path) -> None:
    with place(tmp_path) as done:
        ended = done.etl("reprocess", "ld", "--from-archive", str(tmp_path / "archive"), "--json")
        (source,) = ended.json["sources"]
        assert (ended.code, source["dumps"], source["rows"]) == (0, 2, 0)
        assert (source["left_out"], audited(done)) == ([], True)
