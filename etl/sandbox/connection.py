"""One HTTP/1.1 connection: reads requests, writes replies, as well or as badly as they say.

Knows no vendor. Written by hand because http.server is several times slower.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache
from http import HTTPStatus
from socket import SO_LINGER, SOL_SOCKET, socket
from threading import Event

from etl.sandbox.message import Call, Reply, encoded

CHUNK = 65536
MOST_HEAD = 65536
END_OF_HEAD = b"\r\n\r\n"
BLANKS = b" " * (1 << 20)
_AT_ONCE = {"whole": 1, "twice": 2, "after the last": 1}  # how often the answer is sent


def converse(connection: socket, answer: Callable[[Call], Reply], stopping: Event) -> None:
    """Answers every request of a connection, until one side ends it."""
    buffer, before = b"", b""
    while not stopping.is_set():
        while END_OF_HEAD not in buffer:
            chunk = connection.recv(CHUNK)
            if not chunk or len(buffer) > MOST_HEAD:
                return
            buffer += chunk
        head, _, buffer = buffer.partition(END_OF_HEAD)
        try:
            call = parsed(head)
            length = int(call.headers.get("content-length", 0))
        except ValueError:
            deliver(connection, Reply(status=400, body=encoded({"message": "Bad request"})))
            return
        if length:
            body, buffer = _body(connection, buffer, length)
            call = replace(call, body=body)
        reply = answer(call)
        if reply.delivery == "after the last":
            connection.sendall(before)
        goes_on = deliver(connection, reply, stopping)
        before = b"" if reply.filler else _head(reply) + reply.body
        if not goes_on or _last(call):
            return


@lru_cache(maxsize=4096)
def parsed(head: bytes) -> Call:
    """The request line and the headers; ValueError when they are none."""
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _version = first.split(" ")
    pairs = (line.partition(":") for line in lines)
    return Call(method, target, {name.lower(): value.strip() for name, _, value in pairs})


def deliver(connection: socket, reply: Reply, stopping: Event | None = None) -> bool:
    """Sends the reply the way it says; whether the connection can be used again."""
    stopping = stopping or Event()
    if reply.wait:
        stopping.wait(reply.wait)
    if reply.delivery == "closed":
        return False
    head = _head(reply)
    if reply.delivery in _AT_ONCE and not reply.filler:
        connection.sendall((head + reply.body) * _AT_ONCE[reply.delivery] + reply.behind)
        return True
    connection.sendall(head)
    if reply.delivery == "slow":
        return _dripped(connection, reply, stopping)
    if reply.delivery == "whole":
        for piece in _pieces(reply):
            connection.sendall(piece)
        return True
    connection.sendall(reply.body[: len(reply.body) // 2])
    if reply.delivery == "reset":
        connection.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
    return False


def _body(connection: socket, buffer: bytes, length: int) -> tuple[bytes, bytes]:
    while len(buffer) < length:
        chunk = connection.recv(CHUNK)
        if not chunk:
            break
        buffer += chunk
    return buffer[:length], buffer[length:]


def _last(call: Call) -> bool:
    headers = call.headers
    return (
        headers.get("connection", "").lower() == "close"
        or "transfer-encoding" in headers  # a body of which nobody knows the end
        or call.method == "HEAD"  # it got a body that it does not expect
    )


def _head(reply: Reply) -> bytes:
    lines = [f"HTTP/1.1 {reply.status} {_phrase(reply.status)}"]
    lines += [f"{name}: {value}" for name, value in reply.headers]
    lines.append(f"Content-Length: {reply.filler + len(reply.body)}\r\n\r\n")
    return "\r\n".join(lines).encode("latin-1")


@lru_cache
def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


def _pieces(reply: Reply) -> Iterator[bytes]:
    for start in range(0, reply.filler, len(BLANKS)):
        yield BLANKS[: reply.filler - start]
    yield reply.body


def _dripped(connection: socket, reply: Reply, stopping: Event) -> bool:
    for i in range(len(reply.body)):
        connection.sendall(reply.body[i : i + 1])
        if stopping.wait(reply.pace):
            return False
    return True
