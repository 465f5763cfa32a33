"""A vendor that answers everybody with the same bytes, as slowly as it likes."""

import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from threading import Event, Thread


@contextmanager
def dripping(at_once: bytes, slowly: bytes, *, pause: float) -> Iterator[str]:
    """The base URL of a server: some bytes at once, then one byte a pause, again and again.

    Nothing is ever complete unless the bytes say so; the connection stays open.
    """
    stopping = Event()
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        accepting = Thread(
            target=_accept, args=(server, at_once, slowly, pause, stopping), daemon=True
        )
        accepting.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        stopping.set()
        with suppress(OSError):  # wakes it up
            socket.create_connection(server.getsockname(), timeout=1).close()
        accepting.join()


def _accept(
    server: socket.socket, at_once: bytes, slowly: bytes, pause: float, stopping: Event
) -> None:
    talks = []
    while not stopping.is_set():
        connection, _ = server.accept()
        talk = Thread(target=_drip, args=(connection, at_once, slowly, pause, stopping))
        talk.start()
        talks.append(talk)
    for talk in talks:
        talk.join()


def _drip(
    connection: socket.socket, at_once: bytes, slowly: bytes, pause: float, stopping: Event
) -> None:
    with connection, suppress(OSError):  # the client went away
        connection.sendall(at_once)
        while slowly and not stopping.is_set():
            for byte in slowly:
                connection.sendall(bytes([byte]))
                if stopping.wait(pause):
                    return
        stopping.wait()
