"""What a daemon tells Prometheus, also right after its start."""

import re
import socket
import urllib.request
from datetime import UTC, datetime

import pytest
from sqlalchemy import Engine

from etl.app import landed
from etl.health import Metrics, served
from etl.sandbox import Fault, Sandbox
from tests.support.runs import hour, settings_for, small, sync

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
