"""`python -m tests.support.estate PROJECTS LAYERS`: a LaunchDarkly of any size that takes no room.

Serves projects of so many layers each, all from one page of bytes into which the project's key is
put; tells its port on stdout and serves until stdin ends.
"""

import json
import re
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

PAGE = 100
KEY = b"@@KEY@@"
LAYERS_OF = re.compile(r"/api/v2/projects/([^/]+)/layers")


def layers_body(layers: int) -> bytes:
    """The list of a project's layers, with a mark where its key belongs."""
    items = [
        {
            "key": f"{KEY.decode()}-layer-{number}",
            "name": f"Layer {number}",
            "description": "Everything that is shown above the fold",
            "createdAt": 1_700_000_000_000 + number,
            "randomizationUnit": "user",
            "environments": {},
        }
        for number in range(layers)
    ]
    body = {"items": items, "totalCount": layers, "_links": {}}
    return json.dumps(body).encode()


def projects_body(projects: int, offset: int, limit: int) -> bytes:
    """One page of the list of projects."""
    path = "/api/v2/projects?expand=environments&sort=createdOn"
    links: dict[str, Any] = {"self": {"href": path, "type": "application/json"}}
    if offset + limit < projects:
        href = f"{path}&limit={limit}&offset={offset + limit}"
        links["next"] = {"href": href, "type": "application/json"}
    empty = {"items": [], "totalCount": 0, "_links": {}}
    items = [
        {
            "_id": f"{number:024x}",
            "key": f"project-{number}",
            "name": f"Project {number}",
            "tags": [],
            "includeInSnippetByDefault": False,
            "environments": empty,
        }
        for number in range(offset, min(projects, offset + limit))
    ]
    return json.dumps({"items": items, "totalCount": projects, "_links": links}).encode()


def serve(projects: int, layers: int) -> None:
    """Until stdin ends."""
    page = layers_body(layers)

    class Handler(BaseHTTPRequestHandler):
        """The three routes that a run asks."""

        protocol_version = "HTTP/1.1"
        wbufsize = -1

        def do_GET(self) -> None:
            asked = urlsplit(self.path)
            inner = LAYERS_OF.fullmatch(asked.path)
            if inner:
                body = page.replace(KEY, inner[1].encode())
            elif asked.path == "/api/v2/projects":
                query = parse_qs(asked.query)
                limit = min(PAGE, int(query.get("limit", ["20"])[0]))
                body = projects_body(projects, int(query.get("offset", ["0"])[0]), limit)
            else:
                body = b'{"accountId": "a", "authKind": "token"}'
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            self.wfile.flush()

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    print(server.server_port, flush=True)  # noqa: T201  the answer
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()
    server.shutdown()


if __name__ == "__main__":
    serve(int(sys.argv[1]), int(sys.argv[2]))
