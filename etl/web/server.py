"""Serves the console: where it listens, who may read, until a signal ends it."""

import ipaddress
import socket
from collections.abc import Callable, Collection
from dataclasses import dataclass

import uvicorn
from pydantic import SecretStr
from sqlalchemy import Engine

from etl.app import utc_now
from etl.errors import ConfigError
from etl.web.app import application
from etl.web.guard import Token

SHORTEST_TOKEN = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """Where the console listens; hosts: more names under which it may be called."""

    host: str = "127.0.0.1"
    port: int = 8080
    token: SecretStr | None = None
    hosts: Collection[str] = ()


def serve(engine: Engine, door: Door, ready: Callable[[str], None]) -> None:
    """Serves until SIGINT or SIGTERM; ConfigError when it may not or cannot listen there."""
    console = application(
        engine,
        clock=utc_now,
        hosts={name.lower() for name in (door.host, *door.hosts)},
        token=_token(door),
    )
    listening = listen(door.host, door.port)
    try:
        port = listening.getsockname()[1]
        host = f"[{door.host}]" if ":" in door.host else door.host
        ready(f"http://{host}:{port}")
        server(console).run(sockets=[listening])
    finally:
        listening.close()


def server(console: object) -> uvicorn.Server:
    """uvicorn, without what a console does not need."""
    config = uvicorn.Config(
        console,  # type: ignore[arg-type]  # any ASGI application
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=5,
    )
    return uvicorn.Server(config)


def is_loopback(host: str) -> bool:
    """Whether only this machine can come to that address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _token(door: Door) -> Token | None:
    if door.token is None:
        if is_loopback(door.host):
            return None
        raise ConfigError(
            f"--host {door.host}: others can come there, so a token is needed: put one of "
            f"{SHORTEST_TOKEN} letters or more into an environment variable or a file, and name it "
            "with --token-env or --token-file"
        )
    value = door.token.get_secret_value()
    if len(value) < SHORTEST_TOKEN:
        raise ConfigError(
            f"the token is too short to be safe: {SHORTEST_TOKEN} letters or more, "
            "for example of `openssl rand -hex 32`"
        )
    return Token.of(value)


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there; ConfigError when it cannot."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        made = socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {host} port {port}: {error.strerror or error}; "
            "choose another with --host and --port"
        ) from None
    # head and body are two writes: without this the second waits 40 ms for the reader's kernel
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made
