"""The listening socket: a thread for every connection, and an end that leaves nothing open."""

import socket
from collections.abc import Callable
from contextlib import suppress
from threading import Event, Lock, Thread

Converse = Callable[[socket.socket, str], None]  # a connection and its peer's address


class Listener:
    """Hands every connection to `converse` in a thread of its own, until it is stopped."""

    def __init__(self, host: str, port: int, converse: Converse) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, port), family=family, backlog=512)
        self._converse = converse
        self._lock = Lock()
        self._open: dict[socket.socket, Thread] = {}
        self._stopping = Event()
        self._thread = Thread(target=self._accept, name="sandbox", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """The port that it got."""
        return int(self._socket.getsockname()[1])

    def stop(self) -> None:
        """Nothing listens, every connection is closed, every thread has ended."""
        self._stopping.set()
        with suppress(OSError):  # wakes up the accepting thread
            socket.create_connection(self._socket.getsockname()[:2], timeout=1).close()
        self._thread.join()
        self._socket.close()
        with self._lock:
            left = dict(self._open)
            for connection in left:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        for thread in left.values():
            thread.join()

    def _accept(self) -> None:
        while True:
            connection, address = self._socket.accept()
            if self._stopping.is_set():
                connection.close()
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            thread = Thread(target=self._run, args=(connection, str(address[0])), daemon=True)
            with self._lock:
                self._open[connection] = thread
            thread.start()

    def _run(self, connection: socket.socket, peer: str) -> None:
        try:
            with suppress(OSError):  # the client went away
                self._converse(connection, peer)
        finally:
            with self._lock:  # so that stop() shuts down no socket that is closed
                del self._open[connection]
                connection.close()
