"""`etl reprocess` and the archive, as their users run them; the examples of docs/archive.md."""

import re
import sqlite3
from pathlib import Path

import pytest

from etl.sandbox import Sandbox
from tests.cli.command import ESCAPE, Place, place
from tests.support.runs import small

PAGE = (Path(__file__).parents[2] / "docs" / "archive.md").read_text(encoding="utf-8")


def examples(*, of: str) -> list[list[str]]:
    """The words of the command lines of the page that begin so, for the sources of a place."""
    named = PAGE.replace("acme-launchdarkly", "ld").replace("acme-layers", "ly")
    found = re.findall(r"^```sh\n(.*?)^```", named, re.MULTILINE | re.DOTALL)
    lines = [line.partition("#")[0].split() for block in found for line in block.splitlines()]
    return [words[1:] for words in lines if words[:2] == ["etl", of]]


def spoil(done: Place) -> None:
    with sqlite3.connect(done.database) as connection:
        connection.execute(
            "UPDATE layers SET description = '[red]spoilt[/red]' WHERE key = 'Checkout'"
        )
    connection.close()


def test_the_examples_of_the_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    wanted = examples(of="reprocess")
    assert len(wanted) == 5
    with Sandbox(small()) as sandbox:
        done = place(tmp_path, sandbox, ld={"archive": {"dir": "data/archive"}})
        for _ in range(2):
            assert done.etl("sync").code == 0
            sandbox.world.update("launchdarkly", "projects", "search", newThing=1)  # drift, too
    for words in wanted:
        ended = done.etl(*words)
        assert (ended.code, ended.err) == (0, ""), words
        assert "no difference" in ended.out or not any(one["rows"] for one in ended.json["sources"])
    ended = done.etl("reprocess", "ld", "--from-archive", "data/archive", "--json")
    assert [ended.json["sources"][0][name] for name in ("runs", "dumps", "left_out")] == [2, 2, []]


def test_an_archive_that_is_none_is_exit_2_and_a_refusal_is_told_before(tmp_path: Path) -> None:
    with Sandbox(small()) as sandbox:
        done = place(tmp_path, sandbox, ly={"archive": {"dir": str(tmp_path / "archive")}})
        for _ in range(2):
            assert done.etl("sync", "ly").code == 0
            gone = sandbox.world.live("layers", "projects")[0].payload["id"]
            sandbox.world.delete("layers", "projects", gone)
        assert done.etl("sync", "ly").code == 0
    ended = done.etl("reprocess", "ly", "--from-archive", str(tmp_path))
    assert (ended.code, "can be used: archive: its name" in ended.err) == (2, True)
    with sqlite3.connect(done.database) as connection:
        connection.execute("UPDATE changes SET operation = 'updated' WHERE operation = 'deleted'")
    connection.close()
    asked = ("reprocess", "ly", "--from-archive", str(tmp_path / "archive"))
    told = done.etl(*asked, "--dry-run")
    assert (told.code, "not without --force: of 2 records of ly" in told.err) == (0, True)
    assert done.etl(*asked).code == 3
    assert done.etl(*asked, "--force").code == 0
    assert done.etl("audit").code == 0


def test_a_dry_run_tells_each_difference_and_mends_nothing(done: Place) -> None:
    spoil(done)
    before = done.etl("audit").code
    for _ in range(2):
        ended = done.etl("reprocess", "st", "--dry-run")
        assert ended.code == 0
        assert "st: 1 row different, 1 run of its past made anew" in ended.out
        assert re.search(r"layers +1 changed", ended.out)
        assert "[red]spoilt[/red]" in ended.out
        assert ESCAPE not in ended.out
    told = done.etl("reprocess", "st", "--json")
    assert told.json["sources"][0]["counts"] == [{"table": "layers", "what": "changed", "rows": 1}]
    assert told.json["sources"][0]["samples"][0]["fields"]["description"][0] == "[red]spoilt[/red]"
    assert (before, done.etl("audit").code) == (1, 0)
    assert "st: no difference" in done.etl("reprocess", "st").out


def test_a_source_or_stream_that_is_not_there_is_exit_2(done: Place) -> None:
    assert done.etl("reprocess", "nobody").code == 2
    ended = done.etl("reprocess", "ly", "--stream", "layers")
    assert (ended.code, "has no stream layers" in ended.err) == (2, True)


def test_prune_takes_away_what_the_archive_keeps_no_longer(tmp_path: Path) -> None:
    kept = {"dir": str(tmp_path / "archive"), "keep_mb": 0.000001}
    with Sandbox(small()) as sandbox:
        done = place(tmp_path, sandbox, ly={"archive": kept})
        for _ in range(2):
            assert done.etl("sync", "ly").code == 0
    told = "archive of ly: 1 run and 1 page"
    assert f"{told} " in done.etl("prune", "--dry-run").out
    assert f"{told} " in done.etl("prune").out
    assert done.etl("prune", "--json").json["archives"] == {
        "ly": {"runs": 0, "pages": 0, "size": 0}
    }


def test_the_examples_of_loading_run_and_may_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    kept = {"archive": {"dir": "data/archive"}}
    with Sandbox(small()) as sandbox:
        done = place(tmp_path, sandbox, ld=kept)
        for _ in range(2):
            assert done.etl("sync", "ld").code == 0
            sandbox.world.evolve(changed=0.2)
        (tmp_path / "new").mkdir()
        new = place(tmp_path / "new", sandbox)
    page = tmp_path / "dumps" / "2026-11-01T0600Z" / "projects.json"
    page.parent.mkdir(parents=True)
    page.write_text('{"items": [], "nextCursor": null}')
    (tmp_path / "dumps" / "notes").mkdir()
    archive, plain = ([*words] for words in examples(of="backfill"))
    ended = new.etl(*archive)
    assert (ended.code, ended.err) == (0, "")
    assert re.search(r"ld: 2 dumps from .*\n.*: ok, \d+ changes \(run 1\)\n.*: ok, ", ended.out)
    assert "no dump to load; 2 known already" in new.etl(*archive).out
    told = new.etl(*plain)
    assert (told.code, told.err) == (0, "")
    assert [run["at"] for run in told.json["runs"]] == ["2026-11-01T06:00:00+00:00"]
    assert told.json["left_out"] == ["notes: its name is no time such as 2026-11-01T0600Z"]
    assert new.etl("audit").code == 0


def test_from_archive_goes_with_no_selection(done: Place) -> None:
    ended = done.etl("backfill", "ly", "--from-archive", "x", "--full")
    assert (ended.code, "only --stream goes with it" in ended.err) == (2, True)
    ended = done.etl("backfill", "ly", "--from-archive", str(done.config.with_name("x")))
    assert (ended.code, "is no folder" in ended.err) == (2, True)
