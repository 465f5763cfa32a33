"""A server that sends what a test scripts, byte for byte, as no HTTP library would."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

END_OF_HEAD = b"\r\n\r\n"

Send = Callable[[bytes], None]


@dataclass(slots=True)
class RawServer:
    """Where it listens, and what came: (number of the connection, target) of each request."""

    url: str = ""
    came: list[tuple[int, str]] = field(default_factory=list)

    @property
    def connections(self) -> int:
        """How many connections brought a request."""
        return len({number for number, _ in self.came})


def answer(body: str, status: str = "200 OK", *more: str) -> bytes:
    """A whole answer."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *more]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


@contextmanager
def raw_server(
    reply: Callable[[str, Send], None], *, tls: ssl.SSLContext | None = None
) -> Iterator[RawServer]:
    """Calls `reply` with the target of each request and a function that sends bytes."""
    server = RawServer()
    threads: list[threading.Thread] = []

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listening.accept()
                arguments = (connection, tls, reply, server, len(threads))
                threads.append(threading.Thread(target=_converse, args=arguments))
                threads[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        scheme = "http" if tls is None else "https"
        server.url = f"{scheme}://localhost:{listening.getsockname()[1]}"
        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield server
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            accepting.join()
    for thread in threads:  # the client is closed by now
        thread.join()


def _converse(
    connection: socket.socket,
    tls: ssl.SSLContext | None,
    reply: Callable[[str, Send], None],
    server: RawServer,
    number: int,
) -> None:
    with suppress(OSError), connection:
        wrapped = connection if tls is None else tls.wrap_socket(connection, server_side=True)
        with wrapped:
            buffer = b""
            while chunk := wrapped.recv(65536):
                buffer += chunk
                while END_OF_HEAD in buffer:
                    head, _, buffer = buffer.partition(END_OF_HEAD)
                    target = head.split(b" ")[1].decode()
                    server.came.append((number, target))
                    reply(target, wrapped.sendall)
