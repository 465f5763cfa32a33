"""Serves the console: where it listens, who may read, until a signal ends it."""

import ipaddress
import socket
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial

import uvicorn
from pydantic import SecretStr
from sqlalchemy import Engine

from etl.errors import ConfigError
from etl.operations.sync import utc_now
from etl.web.app import application
from etl.web.connection import ConnectionTimeouts, PatientProtocol
from etl.web.guard import Token
from etl.web.token_strength import MIN_LENGTH, is_strong

PATIENCE = ConnectionTimeouts()


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """Where the console listens; hosts: more names under which it may be called.

    proxies: addresses or networks whose X-Forwarded-For and X-Forwarded-Proto are believed.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    token: SecretStr | None = None
    hosts: Collection[str] = ()
    proxies: Collection[str] = ()


def serve(engine: Engine, door: Door, ready: Callable[[str], None]) -> None:
    """Serves until SIGINT or SIGTERM; ConfigError when it may not or cannot listen there."""
    _ensure_addresses(door.proxies)
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
        server(console, proxies=door.proxies).run(sockets=[listening])
    finally:
        listening.close()


def server(
    console: object, *, patience: ConnectionTimeouts = PATIENCE, proxies: Collection[str] = ()
) -> uvicorn.Server:
    """uvicorn, without what a console does not need, and not waiting for ever for anybody."""
    config = uvicorn.Config(
        console,  # type: ignore[arg-type]  # any ASGI application
        http=partial(PatientProtocol, patience),  # type: ignore[arg-type]  # is called like a class
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=bool(proxies),
        forwarded_allow_ips=list(proxies),
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


def _ensure_addresses(proxies: Collection[str]) -> None:
    for proxy in proxies:
        try:
            ipaddress.ip_network(proxy)
        except ValueError:
            raise ConfigError(
                f"--trusted-proxy {proxy}: not an address or a network, such as 10.0.0.0/8"
            ) from None


def _token(door: Door) -> Token | None:
    if door.token is None:
        if is_loopback(door.host):
            return None
        raise ConfigError(
            f"--host {door.host}: others can come there, so a token is needed: put one of "
            f"{MIN_LENGTH} letters or more into an environment variable or a file, and name it "
            "with --token-env or --token-file"
        )
    value = door.token.get_secret_value()
    if not is_strong(value):
        raise ConfigError(
            f"the token is too short to be safe, or too easy to guess: {MIN_LENGTH} letters or "
            "more, without repetitions and sequences, for example of `openssl rand -hex 32`"
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
