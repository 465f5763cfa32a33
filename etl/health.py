"""What a daemon tells its surroundings, on loopback: /healthz as JSON, /metrics for Prometheus."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from etl.errors import ConfigError
from etl.report import RunReport

Answer = tuple[int, str, bytes]  # status, content type, body


@dataclass(slots=True, kw_only=True)
class Metrics:
    """Counts of runs, changes and requests, and when each source last landed."""

    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    _runs: Counter = field(init=False, repr=False)
    _changes: Counter = field(init=False, repr=False)
    _requests: Counter = field(init=False, repr=False)
    _seconds: Gauge = field(init=False, repr=False)
    _landed: Gauge = field(init=False, repr=False)

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
            "When the oldest page was read of the last run in which everything was read",
            ["source"],
            registry=registry,
        )

    def note(self, report: RunReport) -> None:
        """Counts a run in."""
        source = report.source
        self._runs.labels(source, report.status).inc()
        took = report.finished_at - report.started_at
        self._seconds.labels(source).set(took.total_seconds())
        if report.status == "ok":
            read = report.oldest_read_at or report.finished_at
            self._landed.labels(source).set(read.timestamp())
        for stream in report.streams:
            self._requests.labels(source).inc(stream.requests)
            for operation in ("created", "updated", "deleted", "restored"):
                counted = self._changes.labels(source, stream.stream, operation)
                counted.inc(getattr(stream, operation))

    def text(self) -> bytes:
        """The metrics in Prometheus' format."""
        return generate_latest(self.registry)


def _listening(port: int, handler: type[BaseHTTPRequestHandler]) -> ThreadingHTTPServer:
    try:
        return ThreadingHTTPServer(("127.0.0.1", port), handler)
    except OSError as error:
        raise ConfigError(
            f"cannot listen on 127.0.0.1 port {port}: {error.strerror or error}; choose another "
            "with --health-port, or 0 for none"
        ) from None


@contextmanager
def served(
    metrics: Metrics, health: Callable[[], tuple[bool, Mapping[str, Any]]], port: int
) -> Iterator[int]:
    """Serves both pages on 127.0.0.1 while the block runs; gives the port.

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
        def do_GET(self) -> None:
            status, kind, body = answer(self.path)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: object) -> None:
            """Probes come every few seconds: not worth a line."""

    with _listening(port, Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()
