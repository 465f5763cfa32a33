"""`etl prune`, `etl db vacuum`: what goes is told, and what was pruned is not told wrongly."""

import re
from pathlib import Path

from tests.cli.command import Place

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def changed(place: Place) -> None:
    place.sandbox.world.update("launchdarkly", "projects", "my-project", name="Another")
    for _ in range(2):
        assert place.etl("sync", "ld").code == 0


def test_the_readme_example_runs(done: Place) -> None:
    example = re.search(r"```sh\n(etl prune .*?)```", README, re.DOTALL)
    assert example is not None
    for line in example[1].splitlines():
        ended = done.etl(*line.partition("#")[0].split()[1:])
        assert (ended.code, ended.err) == (0, "")


def test_by_default_a_young_database_loses_nothing(done: Place) -> None:
    found = done.etl("prune", "--json").json
    assert {name: found[name] for name in ("runs", "rejects", "versions", "changes")} == {
        "runs": 0,
        "rejects": 0,
        "versions": 0,
        "changes": 0,
    }
    assert found["history_before"] is None


def test_a_dry_run_tells_the_same_and_keeps_it(done: Place) -> None:
    changed(done)
    options = ("prune", "--runs-older-than", "0s", "--history-older-than", "0s", "--json")
    dry, real = done.etl(*options, "--dry-run").json, done.etl(*options).json
    names = ("runs", "aborted", "rejects", "versions", "changes")
    assert [dry[name] for name in names] == [real[name] for name in names]
    assert (real["versions"], dry["dry_run"]) == (1, True)


def test_what_was_pruned_is_said_where_it_is_asked_for(done: Place) -> None:
    changed(done)
    ended = done.etl("prune", "--history-older-than", "0s")
    assert re.search(r"1 closed version and 1 change are gone; see `etl db vacuum`", ended.out)
    told = done.etl("changes", "--source", "ld")
    assert re.search(r"the changes of ld before .* UTC were pruned", told.err)
    assert done.etl("changes", "--source", "st").err == ""
    assert done.etl("audit").code == 0


def test_history_is_kept_by_default_and_the_command_says_so(done: Place) -> None:
    changed(done)
    assert "history is kept whole" in done.etl("prune", "--runs-older-than", "0s").out
    assert done.etl("audit").code == 0


def test_retention_is_the_configurations(done: Place) -> None:
    changed(done)
    text = done.config.read_text(encoding="utf-8")
    done.config.write_text(f"[retention]\nhistory_days = 0.0000001\n{text}", encoding="utf-8")
    assert done.etl("prune", "--json").json["versions"] == 1


def test_archives_go_by_their_own_retention(here: Place) -> None:
    text = here.config.read_text(encoding="utf-8")
    table = f"[sources.ly.archive]\ndir = '{here.config.with_name('archive')}'\n"
    here.config.write_text(text + "\n" + table, encoding="utf-8")
    for _ in range(2):
        assert here.etl("sync", "ly").code == 0
    here.config.write_text(text + "\n" + table + "keep_days = 0.0000001\n", encoding="utf-8")
    assert "archive of ly: 2 runs and " in here.etl("prune", "--dry-run").out
    assert here.etl("prune", "--json").json["archives"]["ly"]["runs"] == 2
    assert here.etl("prune", "--json").json["archives"]["ly"]["runs"] == 0


def test_a_wrong_age_is_exit_2_and_named(done: Place) -> None:
    ended = done.etl("prune", "--runs-older-than", "soon")
    assert (ended.code, "--runs-older-than" in ended.err) == (2, True)


def test_vacuum_tells_its_bytes(done: Place) -> None:
    found = done.etl("db", "vacuum", "--json").json
    assert 0 < found["bytes_after"] <= found["bytes_before"]
    assert "bytes before" in done.etl("db", "vacuum").out
