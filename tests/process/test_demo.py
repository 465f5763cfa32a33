"""`etl demo` and `etl sandbox`: the first thing people try, and every command it shows them."""

import re
import shlex
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.cli.command import ESCAPE, SECONDS, Ended, etl, line, process, variables

LISTENS = re.compile(r"the sandbox listens on (http://127\.0\.0\.1:\d+); ctrl-c ends it\n")
PORT_OF_THE_DEMO = "http://127.0.0.1:8765"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def demo(folder: Path) -> Ended:
    return process("demo", at=folder)


def test_the_demo_ends_well_and_leaves_two_files(demo: Ended, folder: Path) -> None:
    assert (demo.code, demo.err) == (0, "")
    assert {"demo.db", "demo.toml"} <= {path.name for path in folder.iterdir()}


def test_the_demo_is_plain_text_off_a_terminal(demo: Ended) -> None:
    assert ESCAPE not in demo.out


def test_the_demo_shows_every_kind_of_change(demo: Ended) -> None:
    assert all(sign in demo.out for sign in ("  ~ updated", "  - deleted", "  + created"))
    assert demo.out.count("nothing changed") == 3


def test_every_command_the_demo_shows_works(demo: Ended, folder: Path) -> None:
    commands = _commands(demo.out)
    assert len(commands) == 10
    for command in commands:
        first, *words = shlex.split(command)
        if first == "etl" and words not in (["sandbox"], ["init"]) and words[-1] != "web":
            ended = process(*words, at=folder)
            assert (ended.code, ended.err) == (0, ""), command


def test_the_console_that_the_demo_shows_opens_as_it_is_written(demo: Ended, folder: Path) -> None:
    (command,) = [text for text in _commands(demo.out) if text.endswith(" web")]
    assert command == "etl --config demo.toml web"
    with subprocess.Popen(
        line(*shlex.split(command)[1:], "--port", "0"),  # 8080 may be another's
        cwd=folder,
        env=variables() | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stdout is not None
        url = re.search(r"http://127\.0\.0\.1:\d+", running.stdout.readline())
        assert url is not None
        assert "demo-launchdarkly" in httpx.get(url.group()).text
        running.send_signal(signal.SIGINT)
        assert running.wait(timeout=60) == 0


def test_the_demo_can_go_on_with_a_sandbox_of_its_own(demo: Ended, folder: Path) -> None:
    assert "etl sandbox" in _commands(demo.out)
    with _sandbox() as (url, exports):
        config = (folder / "demo.toml").read_text()
        assert PORT_OF_THE_DEMO in config
        (folder / "own.toml").write_text(config.replace(PORT_OF_THE_DEMO, url))
        for words in (["check"], ["sync"]):
            ended = process("--config", "own.toml", *words, at=folder, keys=exports)
            assert ended.code == 0, ended


def test_a_demo_that_is_there_is_kept_unless_it_is_to_be_replaced(tmp_path: Path) -> None:
    first = etl("demo", "--folder", str(tmp_path))
    kept = {path.name: path.read_bytes() for path in tmp_path.glob("demo.*")}
    again = etl("demo", "--folder", str(tmp_path))
    assert (first.code, again.code) == (0, 0)
    assert "etl demo --replace" in again.out
    assert {path.name: path.read_bytes() for path in tmp_path.glob("demo.*")} == kept
    assert _commands(again.out) == _commands(first.out)
    replaced = etl("demo", "--folder", str(tmp_path), "--replace")
    assert (replaced.code, "(run 9)" in replaced.out, "(run 10)" in replaced.out) == (
        0,
        True,
        False,
    )


@pytest.mark.parametrize("replace", [[], ["--replace"]])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("demo.db", b"my notes"),
        ("demo.db-wal", b"my log"),
        ("demo.toml", b"mine = true"),
        ("demo.toml", b"\xff"),
        ("demo.db", None),
    ],
)
def test_what_is_not_of_the_demo_is_not_touched(
    tmp_path: Path, name: str, content: bytes | None, replace: list[str]
) -> None:
    path = tmp_path / name
    if content is None:  # a database of ours, with sources of somebody
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE TABLE runs (source TEXT)")
            connection.execute("INSERT INTO runs VALUES ('demo-statsig'), ('acme')")
        connection.close()
        content = path.read_bytes()
    else:
        path.write_bytes(content)
    ended = etl("demo", "--folder", str(tmp_path), *replace)
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert f"{path} is not of `etl demo`" in ended.err
    assert (path.read_bytes(), len(list(tmp_path.iterdir()))) == (content, 1)


def test_a_link_is_not_of_the_demo(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"")
    (tmp_path / "demo.db").symlink_to(tmp_path / "elsewhere")
    assert etl("demo", "--folder", str(tmp_path), "--replace").code == 2


def test_the_demo_makes_its_folder_and_quotes_it(tmp_path: Path) -> None:
    ended = process("demo", "--folder", 'a "new"/folder', at=tmp_path)
    assert ended.code == 0
    (command,) = [text for text in _commands(ended.out) if text.endswith(" status")]
    assert process(*shlex.split(command)[1:], at=tmp_path).code == 0


def test_a_folder_that_cannot_be_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ended = etl("demo", "--folder", str(tmp_path / "file"))
    assert (ended.code, "cannot be written" in ended.err) == (2, True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_sandbox(number: signal.Signals) -> None:
    with _running() as running:
        assert running.stdout is not None
        assert LISTENS.match(running.stdout.readline())
        running.send_signal(number)
        _, err = running.communicate(timeout=SECONDS)
        assert (running.returncode, err) == (0, "")


@pytest.mark.parametrize("port", ["70000", "-1", "web"])
def test_a_port_that_is_none_is_exit_2(port: str) -> None:
    assert etl("sandbox", f"--port={port}").code == 2


def test_a_taken_port_is_exit_2_and_clear() -> None:
    with _sandbox() as (url, _):
        ended = etl("sandbox", "--port", url.rpartition(":")[2])
    assert (ended.code, "the sandbox cannot start" in ended.err) == (2, True)


@pytest.mark.parametrize("text", ["[nonsense", "sizes = 3", 'faults = [{ match = "x" }]'])
def test_a_scenario_that_is_none_is_exit_2(tmp_path: Path, text: str) -> None:
    path = tmp_path / "scenario.toml"
    path.write_text(text)
    ended = etl("sandbox", "--port", "0", "--scenario", str(path))
    assert (ended.code, "the sandbox cannot start" in ended.err) == (2, True)


def test_the_help_may_be_read_where_a_terminal_is_narrow(tmp_path: Path) -> None:
    narrow = process("sync", "--help", at=tmp_path, keys={"COLUMNS": "40"})
    assert (narrow.code, max(map(len, narrow.out.splitlines())) <= 40) == (0, True)


@contextmanager
def _sandbox() -> Iterator[tuple[str, dict[str, str]]]:
    """The URL of a running sandbox, and the keys it tells people to export."""
    with _running() as running:
        assert running.stdout is not None
        found = LISTENS.match(running.stdout.readline())
        assert found is not None
        shown = [running.stdout.readline() for _ in range(4)]
        exports = [text.split()[1].partition("=")[::2] for text in shown if "export" in text]
        yield found[1], dict(exports)
        running.terminate()
        running.communicate(timeout=SECONDS)


@contextmanager
def _running() -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        line("sandbox", "--port", "0"),
        env=variables(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        try:
            yield running
        finally:
            running.kill()


def _commands(shown: str) -> list[str]:
    """The command lines of the last part."""
    last = shown.rpartition("What to try next\n")[2]
    return [text.strip().partition("  ")[0] for text in last.splitlines()]
