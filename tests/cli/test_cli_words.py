"""The words of the command line: names, windows, formats; one way for one thing in all commands."""

import re
import unicodedata
from pathlib import Path
from typing import Any, Literal

import pytest

from etl.cli import command_line
from tests.cli.command import Place, etl, synced
from tests.support.internals.running import load
from tests.support.runs import small

Form = Literal["NFC", "NFD"]
SOURCES = [
    "changes --source {}",
    "changes {}",
    "runs {}",
    "runs --source {}",
    "history projects search-new --source {}",
    "diff 7d --source {}",
    "report project_inventory --source {}",
    "report changes --format html --source {}",
    "export layers --format csv --source {}",
    "rejects {}",
    "rejects --source {}",
    "drift {}",
    "drift --source {}",
    "status {}",
    "sync {}",
    "check {}",
    "plan {}",
    "backfill {}",
    "reprocess {}",
    "source forget {} --yes",
]


@pytest.mark.parametrize("command", SOURCES)
def test_a_mistyped_source_is_exit_2_with_the_nearest(story: Place, command: str) -> None:
    ended = story.etl(*command.format("lld").split())
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert "did you mean ld?" in ended.err


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("changes --stream layer", "did you mean layers?"),
        ("history project search-new", "did you mean projects?"),
        ("diff 7d --stream project", "did you mean projects?"),
        ("report layer_capacty", "did you mean layer_capacity?"),
        ("report layer-capacty", "did you mean layer_capacity?"),
        ("export layer_current --format csv", "did you mean layers_current?"),
        ("changes --run 999", "there is no run 999; `etl runs` lists them"),
        ("show 999", "there is no run 999"),
        ("changes --key serch-new", "did you mean search-new?"),
        ("history projects serch-new", "did you mean search-new?"),
        ("init --provider launchdarkli", "did you mean launchdarkly?"),
    ],
)
def test_a_mistyped_name_is_exit_2_with_the_nearest(story: Place, command: str, told: str) -> None:
    ended = story.etl(*command.split())
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert told in ended.err


def test_many_names_do_not_stand_on_one_line(story: Place) -> None:
    ended = story.etl("export", "zzz", "--format", "csv")
    assert (ended.code, len(ended.err) < 400) == (2, True)


@pytest.mark.parametrize(
    "command",
    [
        "changes --since 2999-01-01",
        "drift --since 2999-01-01",
        "diff 2999-01-01",
        "diff 0s 2999-01-01",
        "report project_inventory --as-of 2999-01-01",
        "export layers --as-of 2999-01-01 --format csv",
        "report changes --format html --since 2999-01-01",
        "status --max-age 2999-01-01",
        "prune --runs-older-than 2999-01-01",
        "prune --history-older-than 2999-01-01",
        "backfill ld --stream layers --created-since 2999-01-01",
    ],
)
def test_a_window_in_the_future_is_refused(story: Place, command: str) -> None:
    asked = len(story.sandbox.requests)
    ended = story.etl(*command.split())
    assert (ended.code, ended.out, "is in the future" in ended.err) == (2, "", True)
    assert len(story.sandbox.requests) == asked


@pytest.mark.parametrize(
    "command",
    [
        "report changes --format html --since 1d --until 2d",
        "backfill ld --stream layers --created-since 1d --created-until 2d",
    ],
)
def test_a_window_that_ends_before_it_begins_is_refused(story: Place, command: str) -> None:
    assert story.etl(*command.split()).code == 2


@pytest.mark.parametrize("name", ["-", "/dev/stdout"])
def test_stdout_has_its_usual_names(
    story: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for words in (["export", "layers"], ["report", "project_inventory"]):
        plain = story.etl(*words, "--format", "csv")
        assert plain.out.count("\n") > 3
        assert story.etl(*words, "--format", "csv", "--out", name).out == plain.out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["export layers", "report stale_projects"])
@pytest.mark.parametrize(
    ("suffix", "begin"), [(".csv", b""), (".jsonl", b""), (".json", b""), (".parquet", b"PAR1")]
)
def test_the_suffix_names_the_format(
    story: Place, tmp_path: Path, command: str, suffix: str, begin: bytes
) -> None:
    if suffix == ".parquet":
        if command != "export layers":
            return
        pytest.importorskip("pyarrow")
    out = tmp_path / f"out{suffix}"
    ended = story.etl(*command.split(), "--out", str(out))
    assert (ended.code, ended.err) == (0, "")
    assert out.read_bytes().startswith(begin)
    form = {".json": "jsonl"}.get(suffix, suffix[1:])
    named = story.etl(*command.split(), "--format", form, "--out", str(tmp_path / "named"))
    assert (named.code, (tmp_path / "named").read_bytes()) == (0, out.read_bytes())


def test_a_suffix_that_says_nothing_needs_a_format(story: Place, tmp_path: Path) -> None:
    assert story.etl("export", "layers", "--out", str(tmp_path / "out.txt")).code == 2
    assert story.etl("export", "layers", "--out", str(tmp_path / "out")).code == 2


@pytest.mark.parametrize(
    "command",
    ["changes", "history projects search-new", "diff 7d", "report project_inventory"],
)
def test_json_lines_have_one_word_and_the_old_one(story: Place, command: str) -> None:
    if command == "diff 7d":
        known = story.etl("runs", "--json").json[-1]["finished_at"]
        command = f"diff {known}"
    told = story.etl(*command.split(), "--format", "jsonl")
    assert (told.code, told.out[:1]) == (0, "{")
    assert told.out == story.etl(*command.split(), "--format", "json").out


def test_the_newest_changes_are_shown_the_newest_last(story: Place) -> None:
    every = story.etl("changes", "--format", "jsonl").out.splitlines()
    ids = [line.partition('"change_id": ')[2].partition(",")[0] for line in every]
    newest = list(dict.fromkeys(ids))[-3:]
    limited = story.etl("changes", "--limit", "3", "--format", "jsonl").out.splitlines()
    assert limited == [line for line, one in zip(every, ids, strict=True) if one in newest]


@pytest.mark.parametrize("command", ["changes", "runs", "rejects", "drift"])
def test_a_source_is_an_argument_or_an_option(story: Place, command: str) -> None:
    as_option = story.etl(command, "--source", "st")
    assert story.etl(command, "st") == as_option
    assert story.etl(command, "st", "--source", "ld").code == 2


@pytest.mark.parametrize("stored", ["NFC", "NFD"])
@pytest.mark.parametrize("typed", ["NFC", "NFD"])
def test_names_are_found_in_every_form_of_unicode(
    tmp_path: Path, stored: Form, typed: Form
) -> None:
    name = "Größe é"
    world = small()
    world.create("layers", "projects", name=unicodedata.normalize(stored, name))
    with synced(tmp_path, world) as place:
        ended = place.etl("history", "projects", unicodedata.normalize(typed, name))
        assert (ended.code, unicodedata.normalize(stored, name) in ended.out) == (0, True)


def test_the_help_shows_no_types_of_flags_and_whole_sentences() -> None:
    waiting = [command_line()]
    for one in waiting:
        waiting += getattr(one, "commands", {}).values()
        first = (one.help or "").partition("\n\n")[0]
        assert ("\n" in first, first.strip()[-1:]) == (False, "."), one.name


def paths_of_commands() -> list[str]:
    """Every command as it is typed."""
    found: list[str] = []
    waiting: list[tuple[str, Any]] = [("", command_line())]
    for words, one in waiting:
        found.append(words)
        waiting += [(f"{words} {name}", sub) for name, sub in getattr(one, "commands", {}).items()]
    return found


@pytest.mark.parametrize("command", paths_of_commands())
@pytest.mark.parametrize("columns", ["80", "160"])
def test_the_help_of_every_command_shows_words_not_types(command: str, columns: str) -> None:
    ended = etl(*command.split(), "--help", more={"COLUMNS": columns})
    assert (ended.code, re.findall(r"<\w[^>]*>|list\[", ended.out)) == (0, [])
    assert "-h" in ended.out
    assert ended.out.count("…") == 0


def test_the_configuration_may_be_for_one_provider(tmp_path: Path) -> None:
    path = tmp_path / "etl.toml"
    for words, found in (
        ([], ["launchdarkly", "statsig", "layers"]),
        (["--provider", "statsig"], ["statsig"]),
        (["--provider", "layers", "--provider", "launchdarkly"], ["launchdarkly", "layers"]),
    ):
        assert etl("--config", str(path), "init", *words).code == 0
        settings = load(path, secrets=False)
        assert [source.provider for source in settings.sources.values()] == found
    path.write_text(path.read_text() + "# mine\n")
    refused = etl("--config", str(path), "init")
    assert (refused.code, "was edited" in refused.err) == (2, True)
    assert path.read_text().endswith("# mine\n")


def test_completion_is_offered() -> None:
    assert "--install-completion" in etl("--help").out


def test_a_pipe_takes_what_is_written(story: Place, tmp_path: Path) -> None:
    assert story.etl("export", "layers", "--format", "csv", "--out", "/dev/null").code == 0
