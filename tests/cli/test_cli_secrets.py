"""No part of a password in anything a command prints, wherever it stands in a URL."""

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from tests.cli.command import Ended, Place, etl, process, variables
from tests.support.internals.values import MIN_MASKED_LENGTH

SOURCE = '[sources.ly]\nprovider = "layers"\napi_key = { env = "KEY_ly" }\n'
CLOSED = "127.0.0.1:5"  # nothing listens there
PASSWORDS = st.text("ABXYZ0189@:/%?#&=!$+", min_size=4, max_size=16)
PLACES = (
    "postgresql://u:{}@127.0.0.1:5/d",
    "postgresql://u:{quoted}@127.0.0.1:5/d",
    "postgresql://u@srv:{}@127.0.0.1:5/d",
    "postgresql://127.0.0.1:5/d?password={}",
    "postgresql://u@127.0.0.1:5/d?password={quoted}&sslmode=disable",
    "postgresql://u@127.0.0.1:5/d?sslmode=disable&password={}",
    "postgresql://u@127.0.0.1:5/d?sslpassword={}&sslmode=disable",
    "postgresql://u:{}@127.0.0.1:5/d#fragment",
    "postgresql://u:{}",
    "postgresql:/u:{}@127.0.0.1:5/d",
    "postgresql//u:{}@127.0.0.1:5/d",
    "mysql://u:{}@127.0.0.1:5/d",
    "postgresql://u:{}@[::1/d",
    "postgresql://u:{}@127.0.0.1:port/d",
    "postgresql://u:{}@127.0.0.1:5,127.0.0.1:6/d",
    "postgresql+psycopg2://u:{}@127.0.0.1:5/d",
    "u:{}@127.0.0.1:5/d",
)
COMMANDS = ("status", "check", "runs", "sync", "db upgrade", "db current", "audit")


def parts_of(password: str) -> set[str]:
    """Every run of so many of its characters."""
    return {
        password[at : at + MIN_MASKED_LENGTH].lower()
        for at in range(len(password) - MIN_MASKED_LENGTH + 1)
    }


def leaked(ended: Ended, password: str) -> list[str]:
    told = (ended.out + ended.err).lower()
    return [part for part in parts_of(password) if part in told]


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(PASSWORDS, st.sampled_from(PLACES), st.sampled_from(COMMANDS), st.booleans())
@example("Secr3t@Pa55w0rd", PLACES[0], "status", True)
@example("Secr3t@Pa55w0rd", PLACES[0], "status", False)
@example("Pa55&w0rd=X", PLACES[3], "status", True)
def test_no_part_of_a_password_is_told(tmp_path, password, place, command, in_the_environment):
    url = place.format(password, quoted=quote(password, safe=""))
    hostless = place == "postgresql://u:{}"  # digits are a port; what follows an @ is the host
    assume(not hostless or not (password.isdigit() or "@" in password))
    assume(not parts_of(password) & parts_of("ETL_DATABASE_URL postgresql://u:u@127.0.0.1:5/d?"))
    config = tmp_path / "etl.toml"
    table = "" if in_the_environment else f"[database]\nurl = '{url}'\n"
    config.write_text(table + SOURCE)
    more = {"ETL_DATABASE_URL": url} if in_the_environment else {}
    ended = etl("--config", str(config), *command.split(), more=more)
    assert ended.code in (1, 2)
    assert "Traceback" not in ended.err
    assert leaked(ended, password) == []


def test_a_password_that_is_not_encoded_is_refused_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "etl.toml").write_text(SOURCE)
    more = {"ETL_DATABASE_URL": f"postgresql://u:Secr3t@Pa55w0rd@{CLOSED}/d"}
    ended = etl("--config", str(tmp_path / "etl.toml"), "status", more=more)
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "percent-encoded (@ is %40" in ended.err


def test_a_password_that_is_encoded_is_tried_and_masked(tmp_path: Path) -> None:
    (tmp_path / "etl.toml").write_text(SOURCE)
    more = {"ETL_DATABASE_URL": f"postgresql://u:Secr3t%40Pa55w0rd@{CLOSED}/d"}
    ended = etl("--config", str(tmp_path / "etl.toml"), "status", more=more)
    assert ended.code == 1
    assert f"u:***@{CLOSED}/d" in ended.err


@pytest.mark.parametrize("key", ["database", "sources.ly.timezone", "sources.ly.limits"])
def test_a_url_at_a_wrong_key_is_not_repeated(tmp_path: Path, key: str) -> None:
    config = tmp_path / "etl.toml"
    config.write_text(f'{key} = "postgresql://u:Secr3tPa55w0rd@h/d"\n')
    ended = etl("--config", str(config), "status")
    assert ended.code == 2
    assert leaked(ended, "Secr3tPa55w0rd") == []


def test_a_password_in_the_file_is_warned_of_once(tmp_path: Path) -> None:
    config = tmp_path / "etl.toml"
    config.write_text(f'[database]\nurl = "postgresql://u:Pa55w0rd@{CLOSED}/d"\n' + SOURCE)
    config.chmod(0o600)
    ended = etl("--config", str(config), "status")
    assert ended.code == 1
    assert ended.err.count("warning") == 1
    assert f"{config}:2: database.url: a password stands in the file; keep it in " in ended.err
    assert "everybody" not in ended.err
    assert leaked(ended, "Pa55w0rd") == []


def test_a_file_with_a_password_that_everybody_may_read_is_warned_of(tmp_path: Path) -> None:
    config = tmp_path / "etl.toml"
    config.write_text(f'[database]\nurl = "postgresql://u:Pa55w0rd@{CLOSED}/d"\n' + SOURCE)
    config.chmod(0o644)
    assert f"chmod 600 {config}" in etl("--config", str(config), "status").err


@pytest.mark.parametrize("place", ["env", "file"])
def test_the_url_of_the_database_may_be_elsewhere(done: Place, tmp_path: Path, place: str) -> None:
    url = f"sqlite:///{done.database}"
    (tmp_path / "url").write_text(url)
    (tmp_path / "url").chmod(0o600)
    where = 'env = "WHERE"' if place == "env" else 'file = "url"'
    config = tmp_path / "other.toml"
    config.write_text(f"[database]\nurl = {{ {where} }}\n" + SOURCE)
    ended = etl("--config", str(config), "status", "--json", more={"WHERE": url})
    assert (ended.code, ended.err) == (0, "")
    assert "ld" in {row["source"] for row in ended.json}


def test_a_url_elsewhere_that_is_wrong_names_the_key_and_no_password(tmp_path: Path) -> None:
    config = tmp_path / "etl.toml"
    config.write_text('[database]\nurl = { env = "WHERE" }\n' + SOURCE)
    more = {"WHERE": "mysql://u:Secr3tPa55w0rd@h/d"}
    ended = etl("--config", str(config), "status", more=more)
    assert (ended.code, "database.url: expected sqlite:///" in ended.err) == (2, True)
    assert leaked(ended, more["WHERE"][10:24]) == []


BROKEN = """
import sys, typer
from etl.cli import app, main
from etl.redaction import protect_url

@app.command()
def broken() -> None:
    url = "postgresql://u:Secr3tPa55w0rd@h/d"
    protect_url(url)
    raise RuntimeError(f"cannot use {url}")

main()
"""


@pytest.mark.parametrize("log", [[], ["--log", "text"], ["--log", "json"]])
def test_a_fault_of_etl_itself_is_told_without_secrets(tmp_path: Path, log: list[str]) -> None:
    words = [sys.executable, "-c", BROKEN, *log, "broken"]
    ended = subprocess.run(words, capture_output=True, text=True, check=False, env=variables())
    assert ended.returncode == 1
    assert "etl: internal error: RuntimeError: cannot use postgresql://u:***@h/d" in ended.stderr
    assert ("Traceback" in ended.stderr, ended.stderr.count("\n") == 1) == (bool(log), not log)
    assert [part for part in parts_of("Secr3tPa55w0rd") if part in ended.stderr.lower()] == []


@pytest.mark.parametrize(("umask", "file_mode"), [(0o022, ""), (0o000, ""), (0o077, "0640")])
def test_a_new_database_is_for_those_who_may_read_it(
    here: Place, umask: int, file_mode: str
) -> None:
    if file_mode:
        text = here.config.read_text()
        here.config.write_text(text.replace("[database]", f'[database]\nfile_mode = "{file_mode}"'))
    before = os.umask(umask)
    try:
        assert here.etl("db", "upgrade").code == 0
        with sqlite3.connect(here.database) as connection:
            connection.execute("CREATE TABLE mine (x)")
            connection.commit()
            found = {path.name: path.stat() for path in here.database.parent.glob("etl.db*")}
        connection.close()
    finally:
        os.umask(before)
    modes = {name: oct(stat.S_IMODE(one.st_mode)) for name, one in found.items()}
    wanted = oct(int(file_mode or "0600", 8))
    assert modes == dict.fromkeys(("etl.db", "etl.db-shm", "etl.db-wal"), wanted)


def test_the_mode_of_a_database_that_is_there_stays(done: Place) -> None:
    done.database.chmod(0o644)
    assert done.etl("sync").code == 0
    assert stat.S_IMODE(done.database.stat().st_mode) == 0o644


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("mode", [0o440, 0o444, 0o644])
def test_a_key_file_of_somebody_else_is_read_whatever_its_mode(tmp_path: Path, mode: int) -> None:
    """Kubernetes mounts secrets as root:fsGroup 0440, Docker as root 0444."""
    config, key = tmp_path / "etl.toml", tmp_path / "key"
    url = f'[database]\nurl = "sqlite:///{tmp_path}/etl.db"\n'
    config.write_text(url + '[sources.ly]\nprovider = "layers"\napi_key = { file = "key" }\n')
    key.write_text("a-key-of-some-length")
    key.chmod(mode)
    own = process("--config", str(config), "check", at=tmp_path)
    assert "chmod 600" in own.err
    os.chown(key, 12345, 12345)
    other = process("--config", str(config), "plan", "--stream", "projects", at=tmp_path)
    assert "chmod" not in other.err
    shutil.rmtree(tmp_path, ignore_errors=True)
