"""`etl --help`, `init`, `check`, `db`: the first hour with etl."""

import os
import sqlite3
import tomllib
from pathlib import Path

import pytest

from etl.cli import terminal
from etl.sandbox import KEYS, Fault
from tests.cli.command import Place, etl, line, process, variables
from tests.support.internals.database import schema
from tests.support.internals.running import load

OPTIONS = {
    "": ["--config", "--log", "--log-level", "--version", "--help"],
    "init": ["--force"],
    "check": ["SOURCE"],
    "sync": ["SOURCE", "--stream", "--dry-run", "--full", "--force-deletes", "--json"],
    "plan": ["SOURCE", "--out", "--stream", "--json"],
    "apply": ["FILE", "--json"],
    "notices": ["--test", "--json"],
    "prune": ["--runs-older-than", "--history-older-than", "--dry-run", "--json"],
    "status": ["SOURCE", "--json", "--max-age"],
    "runs": ["SOURCE", "--limit", "--json"],
    "show": ["RUN", "--json"],
    "changes": ["--since", "--source", "--stream", "--key", "--run", "--format"],
    "history": ["STREAM", "KEY", "--source", "--format"],
    "sandbox": ["--port", "--scenario"],
    "demo": ["--folder"],
    "db": ["upgrade", "current", "check", "vacuum"],
}


@pytest.mark.parametrize(("command", "options"), OPTIONS.items())
def test_the_help_of_a_command_names_its_options(command: str, options: list[str]) -> None:
    shown = etl(*command.split(), "--help")
    assert shown.code == 0
    assert [option for option in options if option not in shown.out] == []


def test_the_help_names_every_command_and_exit_code() -> None:
    shown = etl("--help").out
    assert [name for name in OPTIONS if name not in shown] == []
    words = " ".join(shown.split())
    assert (
        "3 unsafe change held back · 4 access denied · 5 partial · 6 stale · 7 changes · 75 try"
        in words
    )


def test_the_module_is_the_command(tmp_path: Path) -> None:
    assert process("--version", at=tmp_path).out.startswith("etl 0.")


def test_a_command_that_is_not_there_is_exit_2() -> None:
    assert etl("snyc").code == 2


def test_init_writes_a_config_that_loads(tmp_path: Path) -> None:
    assert process("init", at=tmp_path).code == 0
    settings = load(tmp_path / "config/etl.toml", secrets=False)
    assert {source.provider for source in settings.sources.values()} == set(KEYS) - {
        "launchdarkly-narrow"
    }
    assert (tmp_path / "config/etl.schema.json").is_file()


def test_init_does_not_replace_a_file(tmp_path: Path) -> None:
    path = tmp_path / "etl.toml"
    path.write_text("# mine")
    ended = etl("--config", str(path), "init")
    assert (ended.code, path.read_text()) == (2, "# mine")
    assert "etl init --force" in ended.err


def test_init_force_replaces_it(tmp_path: Path) -> None:
    path = tmp_path / "etl.toml"
    path.write_text("# mine")
    assert etl("--config", str(path), "init", "--force").code == 0
    assert tomllib.loads(path.read_text())["sources"]


def test_init_where_nothing_may_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ended = etl("--config", str(tmp_path / "file/etl.toml"), "init")
    assert ended.code == 2
    assert "cannot be written" in ended.err


def test_check_tells_what_each_key_may_read(here: Place) -> None:
    ended = here.etl("check")
    assert ended.code == 0
    assert "ld projects: may be read (5)" in ended.out
    assert "st layers: may be read" in ended.out
    assert "ly projects: may be read" in ended.out


def test_check_of_one_source_asks_only_that(here: Place) -> None:
    assert here.etl("check", "ly").code == 0
    assert {seen.provider for seen in here.sandbox.requests} == {"layers"}


@pytest.mark.parametrize("source", ["ld", "st", "ly"])
def test_check_of_a_wrong_key_is_exit_4_and_does_not_show_it(here: Place, source: str) -> None:
    wrong = "console-" + "Wr0ngKey" * 3
    ended = here.etl("check", source, more={f"KEY_{source}": wrong})
    assert ended.code == 4
    assert "401" in ended.out
    assert wrong not in ended.out + ended.err


def test_check_without_the_secrets_names_them(here: Place) -> None:
    ended = here.etl("check", ld="", st="", ly="")
    assert ended.code == 2
    assert all(f"sources.{name}.api_key" in ended.err for name in ("ld", "st", "ly"))


def test_check_of_an_unreachable_provider_is_exit_75(here: Place) -> None:
    here.sandbox.add_fault(Fault("layers", "status", arg=503))
    ended = here.etl("check", "ly")
    assert ended.code == 75
    assert "503" in ended.out


def test_check_of_an_old_database_says_what_to_do(done: Place) -> None:
    _set_version(done.database, "0001")
    ended = done.etl("check")
    assert ended.code == 2
    assert "etl db upgrade" in ended.out


def test_every_finding_of_check_is_one_line(done: Place) -> None:
    wrong = "x" * 200
    ended = done.etl("check", "st", st=wrong)
    assert len(ended.out.splitlines()) == 4  # configuration, database, two streams


@pytest.mark.parametrize("command", ["status", "changes", "sync", "db check"])
def test_a_database_of_another_version_is_exit_2(done: Place, command: str) -> None:
    _set_version(done.database, "9999")
    ended = done.etl(*command.split())
    assert ended.code == 2
    assert "install a newer etl" in ended.err


def test_db_upgrade_makes_the_schema(here: Place) -> None:
    assert here.etl("db", "upgrade").code == 0
    assert (
        here.etl("db", "current").out == f"database {schema.HEAD}, this etl needs {schema.HEAD}\n"
    )
    assert here.etl("db", "check").code == 0


def test_db_current_of_an_empty_database_says_so(here: Place) -> None:
    here.database.touch()
    assert "without a schema" in here.etl("db", "current").out


def test_db_check_of_an_empty_database_is_exit_2(here: Place) -> None:
    here.database.touch()
    ended = here.etl("db", "check")
    assert (ended.code, ended.out) == (2, "")
    assert "`etl db upgrade` makes them" in ended.err
    assert here.database.stat().st_size == 0


def test_db_check_tells_what_differs(done: Place) -> None:
    with sqlite3.connect(done.database) as connection:
        connection.execute("ALTER TABLE rejects ADD COLUMN mine TEXT")
    connection.close()
    ended = done.etl("db", "check")
    assert ended.code == 2
    assert "mine" in ended.out


def test_an_error_is_told_on_one_line(here: Place) -> None:
    ended = here.etl("history", "projects", "k" * 300)
    assert ended.err.count("\n") == 1


def test_what_was_typed_is_shown_as_it_is(done: Place) -> None:
    typed = "[red]a:x:b[/red]"
    assert typed in done.etl("history", "projects", typed).err


def test_a_terminal_that_knows_only_ascii_gets_escapes(done: Place) -> None:
    ascii_only = {"PYTHONIOENCODING": "ascii"}
    for form in ("table", "csv", "json"):
        ended = process(
            *("--config", str(done.config), "changes", "--format", form),
            at=done.config.parent,
            keys=ascii_only,
        )
        assert (ended.code, ended.err) == (0, "")


def test_a_reader_that_goes_away_gets_no_traceback(story: Place, tmp_path: Path) -> None:
    words = line("--config", str(story.config), "changes", "--format", "csv")
    reader, writer = os.pipe()
    with (tmp_path / "err").open("w+b") as err:
        pid = os.posix_spawn(
            words[0],
            words,
            variables(),
            file_actions=[
                (os.POSIX_SPAWN_DUP2, writer, 1),
                (os.POSIX_SPAWN_DUP2, err.fileno(), 2),
                (os.POSIX_SPAWN_CLOSE, reader),
            ],
        )
        os.close(writer)
        os.close(reader)
        os.waitpid(pid, 0)
        err.seek(0)
        assert b"Traceback" not in err.read()


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0.44, "0.4 s"),
        (12, "12 s"),
        (180, "3 min"),
        (7500, "2 h 5 min"),
        (356400, "4 d 3 h"),
        (-5, "0.0 s"),
    ],
)
def test_a_duration_is_told_in_the_units_that_matter(seconds: float, told: str) -> None:
    assert terminal.span(seconds) == told


def _set_version(path: Path, version: str) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (version,))
    connection.close()


def test_db_upgrade_of_a_newer_database_is_a_clear_error(done: Place) -> None:
    _set_version(done.database, "9999")
    ended = done.etl("db", "upgrade")
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "install a newer etl" in ended.err


def test_db_upgrade_of_a_database_of_somebody_else_is_a_clear_error(here: Place) -> None:
    with sqlite3.connect(here.database) as connection:
        connection.execute("CREATE TABLE projects (mine TEXT)")
    connection.close()
    assert "etl db upgrade" in here.etl("status").err
    ended = here.etl("db", "upgrade")
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "not etl's: projects" in ended.err
