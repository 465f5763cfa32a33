"""What a daemon tells its surroundings: /healthz as JSON, /metrics for Prometheus."""

import json
import logging
import socket
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from sqlalchemy.exc import SQLAlchemyError

from etl.errors import ConfigError, StoreError
from etl.log_fields import fields
from etl.report import Landed, RunReport

log = logging.getLogger(__name__)

PATIENCE = 10.0  # seconds
Answer = tuple[int, str, bytes]  # status, content type, body


@dataclass(slots=True, kw_only=True)
class Metrics:
    """Counts of runs, changes and requests, and when each source and stream was last read whole.

    sources: the names that are configured. landed: what the database knows of them, whichever
    process ran them; asked for at every scrape, so that a restart forgets nothing.
    """

    sources: Callable[[], Collection[str]] = tuple
    landed: Callable[[Collection[str]], Landed] = lambda _names: Landed()
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
            for operation in ("created", "updated", "deleted", "restored"):
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


def _listening(host: str, port: int, handler: type[BaseHTTPRequestHandler]) -> ThreadingHTTPServer:
    class Server(ThreadingHTTPServer):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

    try:
        return Server((host, port), handler)
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
) -> Iterator[int]:
    """Serves both pages there while the block runs; gives the port.

    health: whether all is well (else 503), and what to say as JSON.
    """

    def answer(path: str) -> Answer:
        if path == "/metrics":
            return 200, CONTENT_TYPE_LATEST, metrics.text()
        if path == "/healthz":
            well, said = health()
            return 200 if well else 503, "application/json", json.dumps(said).encode()
        return 404, "text/plain", b"/healthz or /metrics\n"

    class Handler(BaseHTTPRequestHandler):
        timeout = PATIENCE  # who connects and asks nothing keeps no thread for ever

        def do_GET(self) -> None:
            status, kind, body = answer(self.path)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: object) -> None:
            """Probes come every few seconds: not worth a line."""

    with _listening(host, port, Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()
