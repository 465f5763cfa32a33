"""Connections that nobody waits for for ever: half a request, an answer that is not taken."""

import asyncio
from dataclasses import dataclass
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionTimeouts:
    """How long a connection may do nothing, and how many there may be.

    request_seconds: in which a request has to be there, whole. stalled_seconds: in which a client
    takes something of an answer. connections: more are closed at once.
    """

    request_seconds: float = 10
    stalled_seconds: float = 30
    connections: int = 500


class PatientProtocol(H11Protocol):
    """uvicorn's HTTP/1.1, which waits as long as the other side likes, with ends to that."""

    def __init__(self, patience: ConnectionTimeouts, **options: Any) -> None:
        super().__init__(**options)
        self._patience = patience
        self._for_request: asyncio.TimerHandle | None = None
        self._for_reader: asyncio.TimerHandle | None = None
        self._unsent = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Refuses what is too many."""
        super().connection_made(transport)
        if len(self.connections) > self._patience.connections:
            transport.abort()
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Takes a part of a request; the time for the whole of it does not begin anew."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """The time for the next request begins."""
        self._forget_request()
        super().on_response_complete()
        self._watch()

    def pause_writing(self) -> None:
        """More is unsent than is kept: the client has to take something."""
        super().pause_writing()
        _cancel(self._for_reader)
        self._for_reader = self.loop.call_later(
            self._patience.stalled_seconds, self.transport.abort
        )

    def resume_writing(self) -> None:
        """The client took something."""
        super().resume_writing()
        _cancel(self._for_reader)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        super().connection_lost(exc)
        _cancel(self._for_request)
        _cancel(self._for_reader)

    def _watch(self) -> None:
        cycle: RequestResponseCycle | None = self.cycle
        if cycle and not cycle.response_complete and not cycle.more_body:
            self._forget_request()
        elif self._for_request is None:
            self._unsent = self.transport.get_write_buffer_size()
            self._for_request = self.loop.call_later(
                self._patience.request_seconds, self._no_request
            )

    def _forget_request(self) -> None:
        _cancel(self._for_request)
        self._for_request = None

    def _no_request(self) -> None:
        """Ends the connection, unless the client is still taking the last answer."""
        self._for_request = None
        if self.transport.get_write_buffer_size() < self._unsent:
            self._watch()
        else:
            self.transport.abort()


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
