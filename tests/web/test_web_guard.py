"""Who may read the console, under which name, and that nothing can be written through it."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError

from etl.db import schema
from etl.db.engine import open_engine, open_reader
from etl.errors import ConfigError
from etl.web.guard import COOKIE, Token
from etl.web.server import Door, serve
from tests.cli.command import line, variables
from tests.support.console import served, url_of

TOKEN = "correct horse battery staple"  # noqa: S105  made up here


@pytest.fixture(scope="module")
def locked(story: str) -> Iterator[str]:
    """A console that asks for the token."""
    with served(story, token=Token.of(TOKEN), hosts=("etl.example",)) as url:
        yield url


def get(url: str, **headers: str) -> httpx.Response:
    return httpx.get(url, headers=headers)


@pytest.mark.parametrize("path", ["/", "/static/console.css", "/nothing", "/changes.csv", "/login"])
def test_every_answer_has_the_strict_headers(console: str, path: str) -> None:
    headers = get(console + path).headers
    policy = dict(
        part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";")
    )
    assert policy["default-src"] == "'none'"
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert "server" not in headers


@pytest.mark.parametrize(
    "host",
    ["localhost", "localhost:8080", "127.0.0.1:1", "[::1]:8080", "192.168.1.7", "LOCALHOST"],
)
def test_addresses_and_localhost_are_names_of_the_console(console: str, host: str) -> None:
    assert get(console, Host=host).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.nip.io", ""]
)
def test_a_foreign_name_is_refused(console: str, host: str) -> None:
    """DNS rebinding: a page of evil.example, whose name leads here now, must not read anything."""
    assert get(console, Host=host).status_code == 421


def test_an_allowed_name_is_answered(locked: str) -> None:
    assert get(f"{locked}/login", Host="etl.example:8080").status_code == 200
    assert get(f"{locked}/login", Host="other.example").status_code == 421


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_only_reading_methods_are_allowed(console: str, method: str) -> None:
    for path in ("/", "/login"):
        answer = httpx.request(method, console + path)
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")


def test_without_the_token_people_get_the_form_and_programs_a_401(locked: str) -> None:
    page = get(f"{locked}/estate?q=a%26b")
    assert page.status_code == 303
    assert page.headers["location"] == "/login?next=%2Festate%3Fq%3Da%2526b"
    for path in ("/changes.csv", "/changes.atom"):
        answer = get(locked + path)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert get(f"{locked}/estate", Authorization="Bearer wrong").status_code == 401


def test_the_bearer_of_the_token_may_read(locked: str) -> None:
    assert get(f"{locked}/changes.csv", Authorization=f"Bearer {TOKEN}").status_code == 200
    assert get(f"{locked}/", Authorization=f"bearer {TOKEN}").status_code == 200


def test_a_login_gives_a_cookie_that_opens_every_page(locked: str) -> None:
    with httpx.Client(base_url=locked) as client:
        answer = client.post("/login", data={"token": TOKEN, "next": "/runs?status=ok"})
        assert (answer.status_code, answer.headers["location"]) == (303, "/runs?status=ok")
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=lax" in cookie
        assert TOKEN not in cookie
        assert client.get("/runs").status_code == 200


def test_a_wrong_token_leads_back_to_the_form(locked: str) -> None:
    answer = httpx.post(f"{locked}/login", data={"token": "wrong"})
    assert "set-cookie" not in answer.headers
    assert "That is not the token" in httpx.get(locked + answer.headers["location"]).text


@pytest.mark.parametrize(
    "elsewhere",
    ["https://evil.example", "//evil.example", "/\\evil.example", "javascript:alert(1)"],
)
def test_a_login_never_leads_elsewhere(locked: str, elsewhere: str) -> None:
    answer = httpx.post(f"{locked}/login", data={"token": TOKEN, "next": elsewhere})
    assert answer.headers["location"] == "/"
    assert elsewhere not in httpx.get(f"{locked}/login", params={"next": elsewhere}).text


def test_a_made_up_cookie_opens_nothing(locked: str) -> None:
    for value in ("", "x", "é", TOKEN):
        cookie = {b"Cookie": f"{COOKIE}={value}".encode()}
        assert httpx.get(f"{locked}/", headers=cookie).status_code == 303


def test_an_endless_form_is_refused(locked: str) -> None:
    assert httpx.post(f"{locked}/login", content=b"x" * 5000).status_code == 413


def test_the_token_shows_in_no_repr() -> None:
    assert TOKEN not in repr(Token.of(TOKEN))


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.7", "::", "etl.example"])  # noqa: S104
def test_elsewhere_than_on_loopback_it_does_not_start_without_a_token(
    story: str, host: str
) -> None:
    engine = open_reader(story)
    with pytest.raises(ConfigError, match="token is needed"):
        serve(engine, Door(host=host, port=0), lambda _url: None)
    with pytest.raises(ConfigError, match="too short"):
        serve(engine, Door(host=host, port=0, token=SecretStr("short")), lambda _url: None)
    engine.dispose()


def test_a_port_that_is_taken_is_told(story: str) -> None:
    engine = open_reader(story)
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(ConfigError, match="choose another with --host and --port"),
    ):
        serve(engine, Door(port=taken.getsockname()[1]), lambda _url: None)
    engine.dispose()


def test_the_reader_of_a_database_cannot_write(engine: Engine) -> None:
    reader = open_reader(url_of(engine))
    for statement in ("DELETE FROM runs", "CREATE TABLE t (i INTEGER)", "DROP VIEW change_feed"):
        with pytest.raises(SQLAlchemyError, match=r"read-?\s?only"), reader.begin() as connection:
            connection.execute(text(statement))
    reader.dispose()


def test_a_database_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no database"):
        open_reader(f"sqlite:///{tmp_path / 'a?b#c' / 'etl.db'}")
    assert list(tmp_path.iterdir()) == []


def test_a_database_with_reserved_letters_in_its_path_is_read(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'a#b c.db'}"
    writer = open_engine(url)
    schema.upgrade(writer)
    writer.dispose()
    reader = open_reader(url)
    schema.require(reader)
    reader.dispose()


@pytest.fixture
def config(tmp_path: Path, story: str) -> Path:
    path = tmp_path / "etl.toml"
    path.write_text(f'[database]\nurl = "{story}"\n')
    return path


def test_the_command_serves_until_it_is_interrupted(config: Path) -> None:
    command = line("--config", str(config), "web", "--port", "0")
    environment = variables() | {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as running:
        assert running.stdout is not None
        url = re.search(r"http://127\.0\.0\.1:\d+", running.stdout.readline())
        assert url is not None
        assert get(url.group()).status_code == 200
        os.kill(running.pid, signal.SIGINT)
        out, err = running.communicate(timeout=60)
    assert (running.returncode, out, err) == (0, "stopped\n", "")


def test_the_command_says_which_token_it_misses(config: Path) -> None:
    command = ("--config", str(config), "web", "--port", "0", "--token-env", "ETL_WEB_TOKEN")
    done = subprocess.run(
        line(*command), env=variables(), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert "the environment variable ETL_WEB_TOKEN is not set" in done.stderr


def test_without_the_extra_the_command_says_what_to_install(config: Path) -> None:
    code = (
        "import sys; sys.modules['starlette'] = None; sys.modules['uvicorn'] = None; "
        f"sys.argv = ['etl', '--config', {str(config)!r}, 'web']; from etl.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=variables(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "pip install 'etl[web]'" in done.stderr
