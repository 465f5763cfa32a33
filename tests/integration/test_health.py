"""What a daemon tells Prometheus, also right after its start."""

import re
import socket
import struct
import threading
import urllib.request
from contextlib import ExitStack
from datetime import UTC, datetime

import pytest
from sqlalchemy import Engine

from etl.sandbox import Fault, Sandbox
from tests.support.internals.running import landed
from tests.support.internals.web import MAX_CONNECTIONS, Metrics, served
from tests.support.runs import hour, settings_for, small, sync
from tests.support.waiting import until

NAMES = ("ld", "st", "ly")


def scraped(engine: Engine, host: str = "127.0.0.1") -> str:
    """The metrics of a daemon that was started just now."""
    metrics = Metrics(sources=lambda: NAMES, landed=lambda names: landed(engine, names))
    with served(metrics, lambda: (True, {}), 0, host=host) as port:
        shown = f"[{host}]" if ":" in host else host
        with urllib.request.urlopen(f"http://{shown}:{port}/metrics", timeout=60) as answer:
            text: bytes = answer.read()
            return text.decode()


def value(text: str, name: str) -> datetime:
    """A time of the metrics."""
    (found,) = re.findall(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    return datetime.fromtimestamp(float(found), UTC)


def test_a_restart_knows_when_each_source_was_last_read_whole(engine: Engine) -> None:
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox)
        sync(engine, settings, "ly", hour(1))
        sync(engine, settings, "st", hour(2))
        sandbox.add_fault(Fault("layers *", "status", times=None, arg=400))
        sync(engine, settings, "ly", hour(3))
    text = scraped(engine)
    assert value(text, 'etl_last_ok_timestamp_seconds{source="ly"}') == hour(1)
    assert value(text, 'etl_last_ok_timestamp_seconds{source="st"}') == hour(2)
    assert value(text, 'etl_last_ok_timestamp_seconds{source="ld"}').timestamp() == 0
    complete = 'etl_last_complete_timestamp_seconds{source="st",stream="layers"}'
    assert value(text, complete) == hour(2)


@pytest.mark.parametrize("host", ["0.0.0.0", "localhost", "::1"])  # noqa: S104
def test_it_listens_where_it_is_told_to(engine: Engine, host: str) -> None:
    if host == "::1" and not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    assert "etl_last_ok_timestamp_seconds" in scraped(engine, host)


def test_a_database_that_is_away_takes_no_metrics_along(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE runs RENAME TO runs_elsewhere")
    assert "# HELP etl_run_seconds" in scraped(engine)


def is_ended(client: socket.socket) -> bool:
    """Whether the other side ends the connection before a minute is over."""
    client.settimeout(60)
    try:
        return client.recv(1) == b""
    except ConnectionError:
        return True


@pytest.mark.parametrize("sent", [b"", b"GET /hea", b"GET /healthz HTTP/1.1\r\nX: "])
def test_half_a_request_is_not_waited_for(sent: bytes) -> None:
    with (
        served(Metrics(), lambda: (True, {}), 0, patience=0.2) as port,
        socket.create_connection(("127.0.0.1", port)) as client,
    ):
        client.sendall(sent)
        assert is_ended(client)


def test_however_many_ask_nothing_a_probe_is_answered() -> None:
    """The oldest connections go first, so there are never more threads than that."""
    before = threading.active_count()
    with served(Metrics(), lambda: (True, {}), 0, patience=60) as port, ExitStack() as stack:
        idle = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            for _ in range(2 * MAX_CONNECTIONS)
        ]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=60) as answer:
            assert answer.status == 200
        assert all(is_ended(client) for client in idle[:MAX_CONNECTIONS])
        assert until(lambda: threading.active_count() <= before + MAX_CONNECTIONS + 1)


def test_a_client_that_goes_away_leaves_no_traceback(capfd: pytest.CaptureFixture[str]) -> None:
    with served(Metrics(), lambda: (True, {"much": "x" * 5_000_000}), 0) as port:
        for _ in range(5):
            with socket.create_connection(("127.0.0.1", port)) as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
                client.recv(1)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=60) as answer:
            answer.read()
    assert capfd.readouterr().err == ""
