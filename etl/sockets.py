"""Sockets that keep a deadline for a whole answer, and bodies unpacked piece by piece.

httpx's own timeouts begin anew with every byte, so an answer that drips could last for ever.
"""

import socket
import ssl
import zlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any
from weakref import WeakSet

import httpcore
import httpx

from etl.signals import hearing

Within = Callable[[float | None], float]  # seconds wanted -> seconds there are

KEPT_SECONDS = 5.0
CONNECTIONS = 8
GZIP = zlib.MAX_WBITS | 16
PIECE = 2**18  # bytes unpacked at once


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
        made = hearing(super().connect_tcp, host, port, within, *more, **options)
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
        return self._inner.get_extra_info(info)


class Transport(httpx.HTTPTransport):
    """httpx's own transport on these sockets, which its constructor does not take."""

    def __init__(self, sockets: httpcore.NetworkBackend, *, tls: bool) -> None:
        self._pool = httpcore.ConnectionPool(
            ssl_context=ssl.create_default_context() if tls else None,
            max_connections=CONNECTIONS,
            max_keepalive_connections=CONNECTIONS,
            keepalive_expiry=KEPT_SECONDS,
            network_backend=sockets,
        )


def unpacked(answer: httpx.Response) -> Iterable[bytes]:
    """The body piece by piece, so that whoever counts them can stop a bomb before it bursts."""
    packing = answer.headers.get("content-encoding", "identity").strip().lower()
    if packing == "identity":
        yield from answer.iter_raw()
        return
    if packing != "gzip":
        raise httpx.DecodingError(f"packed as {packing[:40]!r}, which nobody asked for")
    unpacker = zlib.decompressobj(GZIP)
    came = False
    for raw in answer.iter_raw():
        came = True
        while raw:
            try:
                yield unpacker.decompress(raw, PIECE)
            except zlib.error as error:
                raise httpx.DecodingError(str(error)) from error
            raw = unpacker.unconsumed_tail
    if came and not unpacker.eof:
        raise httpx.DecodingError("the packed body is not whole")
