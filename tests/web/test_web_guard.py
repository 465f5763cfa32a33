"""Who may read the console, under which name, and that nothing can be written through it."""

import os
import re
import secrets
import signal
import socket
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError

from etl.errors import ConfigError
from tests.cli.command import line, variables
from tests.conftest import Databases
from tests.support.console import NOW, Answer, ask, console_of, served, url_of
from tests.support.internals.database import open_engine, open_reader, schema
from tests.support.internals.web import COOKIE, Door, Token, application, is_strong, serve

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
    [
        "localhost",
        "localhost:8080",
        "127.0.0.1:1",
        "[::1]:8080",
        "192.168.1.7",
        "LOCALHOST",
        "[::1]:65535",
    ],
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


@pytest.mark.parametrize(
    "host",
    [
        *("[::1]/static/", "[::1]/static/:80", "[fe80::1%25/static/]", "127.0.0.1/static/", "[::1"),
        *(
            "127.0.0.1:99999",
            "127.0.0.1:65536",
            "127.0.0.1:x",
            "127.0.0.1?",
            "localhost#",
            "u@localhost",
            "::1",
        ),
    ],
)
def test_a_host_that_is_none_is_refused_and_opens_nothing(story: str, host: str) -> None:
    """With the URL made of it, a path of the host would have been one that needs no token."""
    reader = open_reader(story)
    answer = ask(console_of(reader, token=Token.of(TOKEN)), b"/runs", host=host)
    assert answer.status == 421
    reader.dispose()


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


def test_the_token_under_another_scheme_opens_nothing(locked: str) -> None:
    for path in ("/", "/changes.csv", "/records/static/1", "/records/login/1", "/runs/static/"):
        for scheme in ("Basic", "Digest", "Token", ""):
            answer = get(locked + path, Authorization=f"{scheme} {TOKEN}".strip())
            assert answer.status_code == 401, (path, scheme)


@pytest.mark.parametrize("path", ["/records/static/1", "/records/login/1", "/static", "//static/x"])
def test_only_the_static_files_themselves_are_free(locked: str, path: str) -> None:
    assert get(locked + path).status_code == 303


def test_a_login_gives_a_cookie_that_opens_every_page(locked: str) -> None:
    with httpx.Client(base_url=locked) as client:
        answer = client.post("/login", data={"token": TOKEN, "next": "/runs?status=ok"})
        assert (answer.status_code, answer.headers["location"]) == (303, "/runs?status=ok")
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=lax" in cookie
        assert TOKEN not in cookie
        assert client.get("/runs").status_code == 200


@pytest.mark.parametrize(
    ("told", "secure"), [("https", True), ("HTTPS, http", True), ("http", False), ("", False)]
)
def test_behind_tls_the_cookie_is_never_sent_without(locked: str, told: str, secure: bool) -> None:
    headers = {"X-Forwarded-Proto": told} if told else {}
    answer = httpx.post(f"{locked}/login", data={"token": TOKEN}, headers=headers)
    assert ("Secure" in answer.headers["set-cookie"]) == secure


def test_a_guesser_is_stopped_for_a_minute_and_told_of_in_the_log(
    story: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Right or wrong, no token is looked at meanwhile; who has a session reads on."""
    times = [NOW]
    reader = open_reader(story)
    token = Token.of(TOKEN)
    console = application(reader, clock=lambda: times[0], token=token)

    def guess(value: str, client: str) -> Answer:
        return ask(console, b"/runs", client=client, authorization=f"Bearer {value}")

    answers = [guess(f"guess {number}", "10.0.0.1").status for number in range(30)]
    assert answers == [401] * 10 + [429] * 20
    refused = guess(TOKEN, "10.0.0.1")
    assert (refused.status, refused.headers["retry-after"]) == (429, "60")
    assert guess(TOKEN, "10.0.0.2").status == 200
    assert ask(console, b"/runs", cookie=f"{COOKIE}={token.session}").status == 200
    told = [one.getMessage() for one in caplog.records if "wrong token" in one.getMessage()]
    assert len(told) == 10
    assert told[-1] == "wrong token from 10.0.0.1 (10 of 10 a minute)"
    assert "guess" not in caplog.text
    times[0] += timedelta(seconds=60)
    assert guess(TOKEN, "10.0.0.1").status == 200
    reader.dispose()


def test_many_guessers_together_are_stopped_but_not_who_had_the_token(story: str) -> None:
    reader = open_reader(story)
    console = console_of(reader, token=Token.of(TOKEN))

    def guess(value: str, client: str) -> int:
        return ask(console, b"/runs", client=client, authorization=f"Bearer {value}").status

    assert guess(TOKEN, "10.1.0.1") == 200
    assert {guess("guess", f"2001:db8:0:{number:x}::1") for number in range(100)} == {401}
    assert guess("guess", "2001:db8:1::1") == 429
    assert guess(TOKEN, "10.1.0.1") == 200
    reader.dispose()


def test_addresses_of_one_network_are_one_guesser(story: str) -> None:
    reader = open_reader(story)
    console = console_of(reader, token=Token.of(TOKEN))
    answers = [
        ask(console, b"/", client=f"2001:db8::{number:x}", authorization="Bearer guess").status
        for number in range(12)
    ]
    assert answers == [401] * 10 + [429] * 2
    reader.dispose()


def test_the_form_is_throttled_as_well(story: str) -> None:
    with served(story, token=Token.of(TOKEN)) as url:
        answers = [httpx.post(f"{url}/login", data={"token": "guess"}) for _ in range(11)]
        assert [one.status_code for one in answers] == [303] * 10 + [429]
        assert httpx.post(f"{url}/login", data={"token": TOKEN}).status_code == 429


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


@pytest.mark.parametrize(
    "weak",
    [
        *("0" * 16, "0123456789abcdef", "passwordpassword", "abababababababab", "a" * 64),
        *("qwertyuiopasdfgh", "changeme-changeme", "fedcba9876543210", "password12345678"),
    ],
)
def test_a_token_that_is_easy_to_guess_is_refused(story: str, weak: str) -> None:
    engine = open_reader(story)
    with pytest.raises(ConfigError, match="easy to guess"):
        serve(engine, Door(port=0, token=SecretStr(weak)), lambda _url: None)
    engine.dispose()


def test_what_the_message_proposes_is_strong() -> None:
    assert all(is_strong(secrets.token_hex(32)) for _ in range(200))
    assert is_strong(TOKEN)


def test_a_proxy_that_is_no_address_is_refused(story: str) -> None:
    engine = open_reader(story)
    for proxy in ("*", "proxy.example", ""):
        with pytest.raises(ConfigError, match="--trusted-proxy"):
            serve(engine, Door(port=0, proxies=(proxy,)), lambda _url: None)
    engine.dispose()


def test_nothing_of_the_console_outlives_its_transaction(databases: Databases) -> None:
    """Behind a pooler the next transaction of the session may be another application's."""
    with databases("postgres") as engine:
        reader = open_reader(url_of(engine))
        console = console_of(reader)
        for path in (
            b"/",
            b"/estate",
            b"/changes",
            b"/changes.csv",
            b"/runs/1",
            b"/estate?after=x",
        ):
            ask(console, path)
        raw = reader.raw_connection()
        cursor = raw.cursor()
        cursor.execute("CREATE TABLE another_application (i INTEGER)")
        cursor.execute(
            "SELECT name, setting FROM pg_settings WHERE source = 'session'"
            " AND name NOT LIKE 'transaction_%'"  # of the transaction that just began
        )
        kept = dict(cursor.fetchall())
        raw.close()
        reader.dispose()
        assert kept == {}


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
