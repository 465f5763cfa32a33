"""The commands of the README are run as they are typed, and every command stands there.

Plan, apply, backfill, prune, notices, those that only look and those that go on until they are
stopped have tests beside their subjects.
"""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.main import get_command

from etl.cli import app
from etl.sandbox import KEYS, Sandbox
from tests.cli.command import Place, process, synced
from tests.support.runs import small

PAGES = (Path(__file__).parents[2] / "README.md", *Path(__file__).parents[2].glob("docs/*.md"))
README = PAGES[0].read_text(encoding="utf-8")


def examples(after: str) -> list[list[str]]:
    """The command lines of the first block after these words, without `etl`."""
    block = README.partition(after)[2].split("```")[1]
    lines = (re.sub(r"\s[#|].*", "", text).split() for text in block.splitlines()[1:])
    return [words[1:] for words in lines if words[:1] == ["etl"]]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A place that was synced once; tests only look at it."""
    with synced(tmp_path_factory.mktemp("readme")) as found:
        yield found


def test_every_command_stands_in_an_example() -> None:
    blocks = [
        text
        for page in PAGES
        for block in page.read_text(encoding="utf-8").split("```")[1::2]
        for text in block.splitlines()
    ]
    shown = {found[1] for text in blocks if (found := re.match(r"\s*etl ([a-z]+)", text))}
    shown |= {"demo"} if "make demo" in README else set()
    assert set(get_command(app).commands) - shown == set()  # type: ignore[attr-defined]


@pytest.mark.parametrize("clone", [False, True])
def test_the_first_real_sync_is_as_the_readme_says(tmp_path: Path, clone: bool) -> None:
    """In an empty folder, and in a clone, in which the example is tracked as config/etl.toml."""
    init, check, sync = examples("## The first real sync")
    if clone:
        shutil.copytree(PAGES[0].parent / "config", tmp_path / "config")
    assert process(*init, at=tmp_path).code == 0
    keys = {"LAUNCHDARKLY_API_KEY": KEYS["launchdarkly"]}
    with Sandbox(small()) as sandbox:
        config = tmp_path / "config" / "etl.toml"
        there = re.sub(r"# base_url = \S+", f'base_url = "{sandbox.url}"', config.read_text())
        config.write_text(there)
        ended = [process(*words, at=tmp_path, keys=keys) for words in (check, sync)]
    assert [(one.code, one.err) for one in ended] == [(0, ""), (0, "")]
    assert (tmp_path / "data" / "etl.db").exists()


@pytest.mark.parametrize("after", ["The usual questions are ready reports", "## Data out"])
def test_reports_and_exports_run_as_typed(
    done: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: str
) -> None:
    monkeypatch.chdir(tmp_path)
    known = done.etl("runs", "--json").json[0]["finished_at"]  # the README's moment is its own
    asked = [
        [known if word == "2026-11-01" else word for word in words if not word.startswith(">")]
        for words in examples(after)
    ]
    ended = {" ".join(words): done.etl(*words) for words in asked if "stale.csv" not in words}
    assert len(asked) >= 4
    assert {said: one.err for said, one in ended.items() if one.code != 0} == {}
