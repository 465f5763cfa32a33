"""Clients that stall, vanish or send half a request take nothing from those that read."""

import csv
import io
import logging
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
from sqlalchemy import Engine, insert, select

from tests.conftest import BOTH, Databases
from tests.support.console import ask, console_of, served, tell_briefly, url_of
from tests.support.internals.database import changes, open_reader
from tests.support.internals.web import AT_ONCE, ConnectionTimeouts, Token
from tests.support.waiting import until

CLIENTS = 20  # more than the pool has connections
MORE = 3 * AT_ONCE  # changes, for a file of several pieces, more than is kept for a socket
HASTY = ConnectionTimeouts(request_seconds=0.2, stalled_seconds=0.2)


@pytest.fixture(scope="module", params=BOTH)
def many(request: pytest.FixtureRequest, databases: Databases) -> Iterator[Engine]:
    """A database with so many changes that no buffer holds them."""
    with databases(request.param) as engine:
        tell_briefly(engine)
        add_changes(engine, MORE)
        yield engine


def add_changes(engine: Engine, count: int) -> None:
    """The last change again and again, with a long key."""
    with engine.begin() as connection:
        last = connection.execute(select(changes).order_by(changes.c.version.desc())).first()
        assert last is not None
        same = {**last._mapping, "key": "long " * 200}
        del same["change_id"]
        rows = [{**same, "version": last.version + 1 + number} for number in range(count)]
        connection.execute(insert(changes), rows)


def connect(url: str) -> socket.socket:
    """A socket that keeps little."""
    address = urlsplit(url)
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    made.settimeout(60)
    made.connect((address.hostname, address.port))
    return made


def request(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


def is_served(client: socket.socket) -> bool:
    """Whether the server, in a thread of this process, still has the other end of it."""
    port = client.getsockname()[1]
    ends = psutil.Process().net_connections("tcp")
    return any(one.raddr and one.raddr.port == port for one in ends)


def is_ended(client: socket.socket) -> bool:
    """Whether the other side ends the connection, in whatever way, before we lose patience."""
    try:
        while client.recv(65536):
            pass
    except ConnectionError:
        pass
    return True


@pytest.mark.parametrize("path", ["/changes.csv", "/changes.atom", "/changes", "/estate"])
def test_clients_that_read_nothing_take_no_connection_of_the_pool(many: Engine, path: str) -> None:
    with served(url_of(many)) as url, ExitStack() as stack:
        clients = [stack.enter_context(connect(url)) for _ in range(CLIENTS)]
        for client in clients:
            client.sendall(request(path))
            assert client.recv(12) == b"HTTP/1.1 200"  # and nothing more
        assert httpx.get(f"{url}/runs", timeout=60).status_code == 200


def test_clients_that_went_leave_nothing_behind(
    many: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    with served(url_of(many)) as url:
        for _ in range(CLIENTS):
            with connect(url) as client:
                client.sendall(request("/changes.csv"))
                client.recv(100)
        answer = httpx.get(f"{url}/changes.csv", timeout=60)
        assert len(list(csv.reader(io.StringIO(answer.text)))) > MORE
    assert [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING] == []


def test_a_download_holds_no_change_that_came_after_its_start(many: Engine) -> None:
    with served(url_of(many)) as url, httpx.stream("GET", f"{url}/changes.csv") as answer:
        lines = answer.iter_lines()
        next(lines)
        newest = int(next(csv.reader([next(lines)]))[13])
        add_changes(many, 10)
        found = [int(row[13]) for row in csv.reader(lines)]
    assert max(found) < newest
    assert len(found) == len(set(found))


def test_a_client_that_takes_nothing_is_disconnected(many: Engine) -> None:
    with served(url_of(many)) as url:
        whole = len(httpx.get(f"{url}/changes.csv", timeout=60).content)
    hasty = ConnectionTimeouts(stalled_seconds=0.2)
    with served(url_of(many), patience=hasty) as url, connect(url) as client:
        client.sendall(request("/changes.csv"))
        assert client.recv(12) == b"HTTP/1.1 200"
        assert until(lambda: not is_served(client))
        got = 0
        with suppress(ConnectionError):
            while piece := client.recv(65536):
                got += len(piece)
        assert got < whole


def test_a_download_that_breaks_off_is_seen_by_the_client_and_told_in_a_line(
    many: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    with served(url_of(many)) as url:
        try:
            with httpx.stream("GET", f"{url}/changes.csv", timeout=60) as answer:
                pieces = answer.iter_raw()
                next(pieces)
                with many.begin() as connection:
                    connection.exec_driver_sql("ALTER TABLE change_fields RENAME TO elsewhere")
                with pytest.raises(httpx.RemoteProtocolError, match="incomplete"):
                    list(pieces)
        finally:
            with many.begin() as connection:
                connection.exec_driver_sql("ALTER TABLE elsewhere RENAME TO change_fields")
    assert "download broke off: the database failed while reading" in caplog.text
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET / HT",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: ",
        b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\ntoken=",
        b"GET /runs HTTP/1.1\r\nHost: localhost\r\n\r\nGET /r",
    ],
)
def test_half_a_request_is_not_waited_for(story: str, sent: bytes) -> None:
    token = Token.of("correct horse battery staple")
    with served(story, patience=HASTY, token=token) as url, connect(url) as client:
        client.sendall(sent)
        assert is_ended(client)


def test_more_connections_than_there_may_be_are_closed(story: str) -> None:
    few = ConnectionTimeouts(connections=3)
    with served(story, patience=few) as url, ExitStack() as stack:
        kept = [stack.enter_context(connect(url)) for _ in range(3)]
        assert is_ended(stack.enter_context(connect(url)))
        for client in kept:
            client.sendall(request("/static/mark.svg"))
            assert client.recv(12) == b"HTTP/1.1 200"


def test_head_reads_no_file(many: Engine) -> None:
    reader = open_reader(url_of(many))
    console = console_of(reader)
    for path in (b"/changes.csv", b"/changes.atom", b"/changes", b"/static/console.css"):
        head = ask(console, path, "HEAD")
        assert head.status == 200
        assert (
            head.headers["content-type"] == ask(console, path + b"?", "GET").headers["content-type"]
        )
    assert ask(console, b"/changes.csv", "HEAD").body == ""
    reader.dispose()


def test_parts_and_unchanged_files_are_answered_as_http_says(console: str) -> None:
    css = f"{console}/static/console.css"
    whole = httpx.get(css)
    part = httpx.get(css, headers={"Range": "bytes=0-9"})
    assert (part.status_code, part.content) == (206, whole.content[:10])
    assert httpx.get(css, headers={"Range": "bytes=999999999-"}).status_code == 416
    same = httpx.get(css, headers={"If-None-Match": whole.headers["etag"]})
    assert (same.status_code, same.content) == (304, b"")
    for path in ("/changes.csv", "/estate"):
        answer = httpx.get(console + path, headers={"Range": "bytes=0-9", "If-None-Match": '"x"'})
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "private, no-cache"
