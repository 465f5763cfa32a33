"""Layers.com says in whoami which rate limits a key has: they are used, unless configured."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, update

from etl.sandbox import Sandbox
from tests.support.database import rows
from tests.support.internals.database import rate_budgets
from tests.support.internals.running import Settings, budget_of, utc_now
from tests.support.internals.values import Window
from tests.support.runs import settings_for, small, sync
from tests.support.tls import Server, answer, head_of, serving

WHOAMI = "GET /v1/whoami"
STANDARD = Window(120, 60)


@contextmanager
def account(said: dict[str, object], status: str = "200 OK") -> Iterator[Server]:
    """An account without projects, whose whoami says this."""
    who = {"organizationId": "o", "workspaceId": "o", "scopes": [], **said}

    def talk(server: Server, connection: socket.socket) -> None:
        head = head_of(connection)
        server.heads.append(head)
        if head.startswith(WHOAMI.encode()):
            connection.sendall(answer(json.dumps(who).encode(), status))
        else:
            connection.sendall(answer(json.dumps({"items": [], "nextCursor": None}).encode()))

    with serving(talk) as server:
        yield server


def settings_at(url: str, **limits: object) -> Settings:
    """The settings of one source at that address, with its key's whole share of the limits."""
    with Sandbox(small()) as sandbox:
        settings = settings_for(sandbox, ly={"limits": {"reserve_percent": 0, **limits}})
    return replace(settings, sources={"ly": replace(settings.sources["ly"], base_url=url)})


def window(engine: Engine, settings: Settings) -> Window:
    """The window that the next run keeps."""
    (found,) = budget_of(engine, settings.sources["ly"], settings).windows
    return found


def questions(server: Server) -> int:
    """How often the vendor was asked about the key."""
    return sum(line.startswith(WHOAMI) for line in server.asked)


@pytest.mark.parametrize(
    ("said", "requests"),
    [
        ({"rateLimitTier": "partner"}, 6000),
        ({"rateLimitTier": " Pilot "}, 1200),
        ({"rateLimitTier": "standard"}, 120),
        ({"rateLimitTier": "platinum"}, 120),
        ({"rateLimitTier": {"reads": 9000}}, 120),
        ({}, 120),
    ],
)
def test_the_tier_that_the_vendor_tells_is_kept(
    engine: Engine, said: dict[str, object], requests: int
) -> None:
    with account(said) as server:
        settings = settings_at(server.url)
        assert window(engine, settings) == STANDARD
        assert sync(engine, settings, "ly").status == "ok"
        assert window(engine, settings) == Window(requests, 60)


def test_the_vendor_is_asked_once_a_day_and_never_twice_in_a_run(engine: Engine) -> None:
    with account({"rateLimitTier": "partner"}) as server:
        settings = settings_at(server.url)
        sync(engine, settings, "ly")
        sync(engine, settings, "ly")
        assert questions(server) == 1
        with engine.begin() as connection:
            old = utc_now() - timedelta(days=1, minutes=1)
            connection.execute(update(rate_budgets).values(limits_read_at=old))
        sync(engine, settings, "ly")
        assert questions(server) == 2


def test_a_configured_limit_wins_and_is_not_asked_about(engine: Engine) -> None:
    with account({"rateLimitTier": "partner"}) as server:
        settings = settings_at(server.url, rate_limits=["10/min"])
        sync(engine, settings, "ly")
        sync(engine, settings, "ly")
        assert window(engine, settings) == Window(10, 60)
        assert questions(server) == 1  # whose the key is


def test_a_key_that_may_not_ask_keeps_the_documented_limit(engine: Engine) -> None:
    with account({}, "403 Forbidden") as server:
        settings = settings_at(server.url)
        assert [sync(engine, settings, "ly").status for _ in range(2)] == ["ok", "ok"]
        assert window(engine, settings) == STANDARD
        assert questions(server) == 1


def test_a_refused_key_teaches_nothing(engine: Engine) -> None:
    with account({"rateLimitTier": "partner"}, "401 Unauthorized") as server:
        settings = settings_at(server.url)
        assert sync(engine, settings, "ly").status == "denied"
        assert [row["limits_read_at"] for row in rows(engine, "rate_budgets")] == [None]


@pytest.mark.parametrize("name", ["ld", "st", "ly"])
def test_an_empty_list_of_rate_limits_means_none(engine: Engine, name: str) -> None:
    with Sandbox(small()) as sandbox:
        none: dict[str, Any] = {name: {"limits": {"rate_limits": []}}}
        settings = settings_for(sandbox, **none)
    assert budget_of(engine, settings.sources[name], settings).windows == ()
