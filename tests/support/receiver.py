"""A real HTTP server that takes the JSON of notices, or refuses it."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(slots=True)
class Receiver:
    """What came so far; `refuses` answers 500 to everything."""

    url: str = ""
    refuses: bool = False
    came: list[dict[str, Any]] = field(default_factory=list)

    def titles(self) -> list[str]:
        """The titles of what came since the last call."""
        found = [one["title"] for one in self.came]
        self.came.clear()
        return found


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver on loopback, with its Apprise URL."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if not receiver.refuses:
                receiver.came.append(json.loads(body))
            self.send_response(500 if receiver.refuses else 200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        receiver.url = f"json://127.0.0.1:{server.server_address[1]}/"
        yield receiver
        server.shutdown()
        thread.join()
