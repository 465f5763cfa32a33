"""What a daemon tells its surroundings: /healthz as JSON, /metrics for Prometheus."""

import json
import logging
import socket
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from sqlalchemy.exc import SQLAlchemyError

from etl.errors import ConfigError, StoreError
from etl.log_fields import fields
from etl.model import CompleteReads, Operation, RunReport

log = logging.getLogger(__name__)

PATIENCE = 10.0  # seconds
MAX_CONNECTIONS = 32
Answer = tuple[int, str, bytes]  # status, content type, body


@dataclass(slots=True, kw_only=True)
class Metrics:
    """Counts of runs, changes and requests, and when each source and stream was last read whole.

    sources: the names that are configured. landed: what the database knows of them, whichever
    process ran them; asked for at every scrape, so that a restart forgets nothing.
    """

    sources: Callable[[], Collection[str]] = tuple
    landed: Callable[[Collection[str]], CompleteReads] = lambda _names: CompleteReads()
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    _runs: Counter = field(init=False, repr=False)
    _changes: Counter = field(init=False, repr=False)
    _requests: Counter = field(init=False, repr=False)
    _seconds: Gauge = field(init=False, repr=False)
    _landed: Gauge = field(init=False, repr=False)
    _complete: Gauge = field(init=False, repr=False)

    def __post_init__(self) -> None:
        registry = self.registry
        self._runs = Counter("etl_runs", "Runs", ["source", "status"], registry=registry)
        self._changes = Counter(
            "etl_changes", "Records changed", ["source", "stream", "operation"], registry=registry
        )
        self._requests = Counter("etl_requests", "HTTP requests", ["source"], registry=registry)
        self._seconds = Gauge(
            "etl_run_seconds", "How long the last run took", ["source"], registry=registry
        )
        self._landed = Gauge(
            "etl_last_ok_timestamp_seconds",
            "When the oldest page was read of the last run that read everything; 0: never",
            ["source"],
            registry=registry,
        )
        self._complete = Gauge(
            "etl_last_complete_timestamp_seconds",
            "Time of the last complete snapshot of a stream",
            ["source", "stream"],
            registry=registry,
        )

    def note(self, report: RunReport) -> None:
        """Counts a run in."""
        source = report.source
        self._runs.labels(source, report.status).inc()
        took = report.finished_at - report.started_at
        self._seconds.labels(source).set(took.total_seconds())
        for stream in report.streams:
            self._requests.labels(source).inc(stream.requests)
            for operation in (
                Operation.CREATED,
                Operation.UPDATED,
                Operation.DELETED,
                Operation.RESTORED,
            ):
                counted = self._changes.labels(source, stream.stream, operation)
                counted.inc(getattr(stream, operation))

    def text(self) -> bytes:
        """The metrics in Prometheus' format."""
        try:
            self._look()
        except (ConfigError, StoreError, SQLAlchemyError) as error:  # what was known still stands
            log.warning("%s", error, extra=fields("metrics not refreshed", error=error))
        return generate_latest(self.registry)

    def _look(self) -> None:
        names = list(self.sources())
        found = self.landed(names)
        self._landed.clear()  # a source may be gone
        self._complete.clear()
        for name in names:
            landed = found.sources.get(name)
            self._landed.labels(name).set(landed.timestamp() if landed else 0.0)
        for (source, stream), complete in found.streams.items():
            self._complete.labels(source, stream).set(complete.timestamp())


class _Server(ThreadingHTTPServer):
    """A thread a connection, for a few seconds; the oldest one ends where there are too many."""

    def __init__(
        self, host: str, port: int, handler: type[BaseHTTPRequestHandler], patience: float
    ) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._patience = patience
        self._open: dict[Any, float] = {}  # socket -> since when, the oldest first
        super().__init__((host, port), handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Begins a thread for a connection."""
        if len(self._open) >= MAX_CONNECTIONS:
            self._end(next(iter(self._open)))
        self._open[request] = time.monotonic()
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Closes a connection that had its answer."""
        self._open.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Ends connections that send no whole request, or take no answer, in time."""
        late = time.monotonic() - self._patience
        for request in [one for one, since in list(self._open.items()) if since < late]:
            self._end(request)

    def handle_error(self, _request: Any, _client_address: Any) -> None:
        """A client that went away is no fault; anything else is one line in the log."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            log.error("health request failed: %s", error, extra=fields("health", error=error))

    def _end(self, request: Any) -> None:
        self._open.pop(request, None)
        with suppress(OSError):  # it may have been closed by its own thread
            request.shutdown(socket.SHUT_RDWR)


def _listening(
    host: str, port: int, handler: type[BaseHTTPRequestHandler], patience: float
) -> ThreadingHTTPServer:
    try:
        return _Server(host, port, handler, patience)
    except (OSError, UnicodeError) as error:  # a name that is none is an error of its encoding
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(
            f"cannot listen on {host} port {port}: {reason}; choose another "
            "with --health-port (0: none) or --health-host"
        ) from None


@contextmanager
def served(
    metrics: Metrics,
    health: Callable[[], tuple[bool, Mapping[str, Any]]],
    port: int,
    *,
    host: str = "127.0.0.1",
    patience: float = PATIENCE,
) -> Iterator[int]:
    """Serves both pages there while the block runs; gives the port.

    health: whether all is well (else 503), and what to say as JSON. patience: seconds in which a
    client asks and takes its answer.
    """

    def answer(path: str) -> Answer:
        if path == "/metrics":
            return 200, CONTENT_TYPE_LATEST, metrics.text()
        if path == "/healthz":
            well, said = health()
            return 200 if well else 503, "application/json", json.dumps(said).encode()
        return 404, "text/plain", b"/healthz or /metrics\n"

    class Handler(BaseHTTPRequestHandler):
        timeout = patience  # who connects and asks nothing keeps no thread for ever

        def do_GET(self) -> None:
            status, kind, body = answer(self.path)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: object) -> None:
            """Probes come every few seconds: not worth a line."""

    with _listening(host, port, Handler, patience) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()
