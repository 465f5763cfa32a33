"""Connections that keep a deadline, and serve no request with bytes that came before it.

httpx's own timeouts begin anew with every byte, so an answer that drips could last for ever. Its
connections keep what comes behind an answer and take it for the answer to their next request.
"""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any
from weakref import WeakSet

import httpcore
import httpx

from etl.signals import hearing

Within = Callable[[float | None], float]  # seconds wanted -> seconds there are

KEPT_SECONDS = 5.0
CONNECTIONS = 8


class Sockets(httpcore.SyncBackend):
    """Connections that wait only as long as `within` allows."""

    def __init__(self, within: Within) -> None:
        self._within = within
        self._open: WeakSet[_Socket] = WeakSet()

    def shut(self) -> None:
        """Wakes threads that wait for bytes, which closing a socket would not."""
        for connected in list(self._open):
            connected.shut()

    def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, *more: Any, **options: Any
    ) -> httpcore.NetworkStream:
        """Connects; the look-up of the name has the resolver's own limit."""
        within = self._within(timeout)
        try:
            made = hearing(super().connect_tcp, host, port, within, *more, **options)
        except UnicodeError as error:  # of a host that no name service takes
            raise httpcore.ConnectError(str(error)) from error
        connected = _Socket(made, self._within)
        self._open.add(connected)
        return connected


class _Socket(httpcore.NetworkStream):
    def __init__(self, inner: httpcore.NetworkStream, within: Within) -> None:
        self._inner, self._within = inner, within

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return hearing(self._inner.read, max_bytes, self._within(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        hearing(self._inner.write, buffer, self._within(timeout))

    def close(self) -> None:
        self._inner.close()

    def shut(self) -> None:
        with suppress(OSError):
            self._inner.get_extra_info("socket").shutdown(socket.SHUT_RDWR)

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        within = self._within(timeout)
        self._inner = hearing(self._inner.start_tls, ssl_context, server_hostname, within)
        return self

    def get_extra_info(self, info: str) -> Any:
        found = self._inner.get_extra_info(info)
        if info == "is_readable" and not found:
            tls = self._inner.get_extra_info("ssl_object")  # may hold bytes read with earlier ones
            return tls is not None and tls.pending() > 0
        return found


class LeftoverError(httpcore.RemoteProtocolError):
    """An answer on a used connection had bytes behind it, so it may be that of another request."""


class _Connection(httpcore.ConnectionInterface):
    """A connection that is closed rather than used again when bytes came that nobody asked for.

    The pool looks at connections from several threads: what one has begun to use is never looked
    at, as its answer would be taken for such bytes.
    """

    def __init__(self, inner: httpcore.ConnectionInterface) -> None:
        self._inner = inner
        self._lock = threading.Lock()
        self._in_use = False
        self._answers = 0

    def handle_request(self, request: httpcore.Request) -> httpcore.Response:
        """Sends the request where nothing can be taken for its answer."""
        self._begin_use()
        try:
            answer = self._inner.handle_request(request)
        except BaseException:
            self.end_use()
            raise
        self._answers += 1
        return httpcore.Response(
            answer.status,
            headers=answer.headers,
            content=_Body(answer.stream, self),
            extensions=answer.extensions,
        )

    def _begin_use(self) -> None:
        with self._lock:
            expired = not self._in_use and self._has_expired()
            if expired:
                self._inner.close()
            if expired or self._in_use:
                raise httpcore.ConnectionNotAvailable
            self._in_use = True

    def end_use(self) -> None:
        """The answer is read, or there is none."""
        self._in_use = False

    @property
    def may_be_misled(self) -> bool:
        """Whether the current answer may be that of an earlier request: bytes came behind it."""
        return self._answers > 1 and self._has_leftover()

    def has_expired(self) -> bool:
        """Whether it must not be used any more."""
        with self._lock:
            return not self._in_use and self._has_expired()

    def _has_expired(self) -> bool:
        idle = self._inner.is_idle()
        return self._inner.has_expired() or (idle and self._has_leftover())

    def _has_leftover(self) -> bool:
        layer: Any = self._inner
        while layer is not None and not hasattr(layer, "_h11_state"):
            layer = getattr(layer, "_connection", None)
        # httpcore gives no other way to see what h11 holds
        return layer is not None and bool(layer._h11_state.trailing_data[0])  # noqa: SLF001

    def can_handle_request(self, origin: httpcore.Origin) -> bool:
        return self._inner.can_handle_request(origin)

    def is_available(self) -> bool:
        return not self._in_use and self._inner.is_available()

    def is_idle(self) -> bool:
        return not self._in_use and self._inner.is_idle()

    def is_closed(self) -> bool:
        return self._inner.is_closed()

    def info(self) -> str:
        return self._inner.info()

    def close(self) -> None:
        self._inner.close()


class _Body:
    """The body of an answer; at its end it raises where the answer may be another request's."""

    def __init__(self, inner: Any, connection: _Connection) -> None:
        self._inner, self._connection = inner, connection

    def __iter__(self) -> Iterator[bytes]:
        yield from self._inner
        if self._connection.may_be_misled:
            raise LeftoverError("bytes came behind an answer")

    def close(self) -> None:
        self._inner.close()
        self._connection.end_use()


class _Pool(httpcore.ConnectionPool):
    def create_connection(self, origin: httpcore.Origin) -> httpcore.ConnectionInterface:
        return _Connection(super().create_connection(origin))


class Transport(httpx.HTTPTransport):
    """httpx's own transport on these sockets, which its constructor does not take.

    kept: how many connections are used more than once; 0: each request has one of its own.
    """

    def __init__(
        self,
        sockets: httpcore.NetworkBackend,
        tls: ssl.SSLContext | None,
        *,
        kept: int,
        proxy: httpx.Proxy | None = None,
    ) -> None:
        self._pool = _Pool(
            ssl_context=tls,
            max_connections=CONNECTIONS,
            max_keepalive_connections=kept,
            keepalive_expiry=KEPT_SECONDS,
            network_backend=sockets,
            proxy=None if proxy is None else _core_proxy(proxy),
        )


def _core_proxy(proxy: httpx.Proxy) -> httpcore.Proxy:
    tls = ssl.create_default_context() if proxy.url.scheme == "https" else None
    return httpcore.Proxy(url=str(proxy.url), auth=proxy.raw_auth, ssl_context=tls)
