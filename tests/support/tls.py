"""Small real servers for faults of the transport: TLS with certificates made here, a proxy."""

import base64
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import trustme

AUTHORITY = trustme.CA()
STRANGER = trustme.CA()
EXPIRED = datetime(2020, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class Server:
    """A server on loopback; `asked` holds the first line of each request, `heads` all of it."""

    port: int
    heads: list[bytes] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Its address without TLS."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def asked(self) -> list[str]:
        """The request lines."""
        return [head.partition(b"\r\n")[0].decode() for head in self.heads]


Talk = Callable[[Server, socket.socket], object]


@contextmanager
def serving(talk: Talk) -> Iterator[Server]:
    """Each connection is talked to in a thread of its own, until the block ends."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Server(listener.getsockname()[1])
        over = threading.Event()

        def accept() -> None:
            while not over.is_set():
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=_guarded, args=(talk, server, connection)).start()

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield server
        finally:
            over.set()
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def _guarded(talk: Talk, server: Server, connection: socket.socket) -> None:
    with connection, suppress(OSError):
        connection.settimeout(20)
        talk(server, connection)


def head_of(connection: socket.socket) -> bytes:
    """What a client sends, to the end of its headers."""
    head = b""
    while b"\r\n\r\n" not in head:
        more = connection.recv(65536)
        if not more:
            return head
        head += more
    return head


def answer(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    """An answer that closes its connection."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def _say(server: Server, connection: socket.socket, raw: bytes) -> None:
    server.heads.append(head_of(connection))
    connection.sendall(raw)


@contextmanager
def plain_server(raw: bytes) -> Iterator[Server]:
    """Answers every request with these bytes."""
    with serving(lambda server, connection: _say(server, connection, raw)) as server:
        yield server


@contextmanager
def tls_server(certificate: trustme.LeafCert, raw: bytes) -> Iterator[Server]:
    """Answers every request with these bytes, over TLS with that certificate."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)

    def talk(server: Server, connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as secure:
            _say(server, secure, raw)

    with serving(talk) as server:
        yield server


@contextmanager
def proxy_server(refusal: str = "", user: str = "") -> Iterator[Server]:
    """A proxy with CONNECT that takes every host for loopback; user: the `name:password` wanted."""
    wanted = b"Basic " + base64.b64encode(user.encode())

    def talk(server: Server, client: socket.socket) -> None:
        head = head_of(client)
        server.heads.append(head)
        if refusal or (user and wanted not in head):
            client.sendall(answer(b"", refusal or "407 Proxy Authentication Required"))
            return
        target = head.split()[1].rpartition(b":")[2]
        with socket.create_connection(("127.0.0.1", int(target)), timeout=20) as vendor:
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=_pipe, args=(vendor, client))
            back.start()
            _pipe(client, vendor)
            back.join()

    with serving(talk) as server:
        yield server


def _pipe(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while more := source.recv(65536):
            target.sendall(more)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def authority_file(folder: Path) -> Path:
    """A PEM file of the authority, for SSL_CERT_FILE."""
    path = folder / "authority.pem"
    AUTHORITY.cert_pem.write_to_path(str(path))
    return path
