"""examples/etl-growthbook, a provider in a package of its own: over HTTP, by its README."""

import json
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.cli.command import Ended, process, variables

EXAMPLE = Path(__file__).parents[2] / "examples" / "etl-growthbook"
KEY = "made-up"
LINES = 90  # of the provider, at most


class GrowthBook(ThreadingHTTPServer):
    """GET /api/v1/projects, with limit and offset, and one project by its id."""

    def __init__(self, count: int) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.projects: list[dict[str, Any]] = [
            {
                "id": f"prj_{number:03}",
                "name": f"Project {number}",
                "description": "",
                "dateCreated": "2026-01-01T00:00:00.000Z",
                "dateUpdated": "2026-01-02T00:00:00.000Z",
                "settings": {"statsEngine": "bayesian"},
            }
            for number in range(count)
        ]


class Answer(BaseHTTPRequestHandler):
    """One answer."""

    server: GrowthBook
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if self.headers["Authorization"] != f"Bearer {KEY}":
            self.reply(401, {"message": "No such key"})
        elif url.path == "/api/v1/projects":
            said = {name: int(values[0]) for name, values in parse_qs(url.query).items()}
            self.reply(200, self.page(said["limit"], said["offset"]))
        else:
            wanted = url.path.rpartition("/")[2]
            found = [one for one in self.server.projects if one["id"] == wanted]
            self.reply(200, {"project": found[0]}) if found else self.reply(
                404, {"message": "Gone"}
            )

    def page(self, limit: int, offset: int) -> dict[str, Any]:
        every = self.server.projects
        some = every[offset : offset + limit]
        more = offset + limit < len(every)
        return {
            "projects": some,
            "limit": limit,
            "offset": offset,
            "count": len(some),
            "total": len(every),
            "hasMore": more,
            "nextOffset": offset + limit if more else None,
        }

    def reply(self, status: int, body: dict[str, Any]) -> None:
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_words: object) -> None:
        """Says nothing."""


@pytest.fixture
def growthbook() -> Iterator[GrowthBook]:
    with GrowthBook(250) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


class Installed:
    """Runs commands with the example installed, as its pyproject.toml says."""

    def __init__(self, folder: Path) -> None:
        project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
        about = folder / "etl_growthbook-0.1.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Name: {project['name']}\nVersion: {project['version']}\n")
        ((name, points),) = project["entry-points"].items()
        lines = [f"{point} = {value}" for point, value in points.items()]
        (about / "entry_points.txt").write_text("\n".join([f"[{name}]", *lines, ""]))
        self.path = f"{variables()['PYTHONPATH']}:{folder}:{EXAMPLE}"
        self.folder = folder

    def etl(self, *words: str, key: str = KEY) -> Ended:
        keys = {"PYTHONPATH": self.path, "GROWTHBOOK_API_KEY": key}
        return process(*words, at=self.folder, keys=keys)

    def sync(self) -> dict[str, Any]:
        ended = self.etl("sync", "--json")
        (run,) = ended.json["runs"]
        (stream,) = run["streams"]
        assert (ended.code, run["status"]) == (0, "ok"), ended
        return {name: stream[name] for name in ("created", "updated", "deleted", "pages")}


def test_its_projects_are_synced_page_by_page_and_deleted_on_a_404(
    growthbook: GrowthBook, tmp_path: Path
) -> None:
    installed = Installed(tmp_path)
    assert installed.etl("init", "--provider", "growthbook").code == 0
    config = tmp_path / "config" / "etl.toml"
    url = f"http://127.0.0.1:{growthbook.server_port}"
    text = config.read_text()
    config.write_text(text.replace("\napi_key = ", f'\nbase_url = "{url}"\napi_key = '))
    assert installed.etl("check").code == 0
    assert installed.sync() == {"created": 250, "updated": 0, "deleted": 0, "pages": 3}
    assert installed.sync()["created"] == 0
    growthbook.projects[7] |= {"name": "Renamed", "dateUpdated": "2026-02-01T00:00:00.000Z"}
    del growthbook.projects[100]
    found = installed.sync()
    assert (found["created"], found["updated"], found["deleted"]) == (0, 1, 1)
    denied = installed.etl("sync", key="another")
    assert (denied.code, "No such key" in denied.out + denied.err) == (4, True)
    assert installed.etl("audit").code == 0


def test_it_is_short() -> None:
    assert len((EXAMPLE / "etl_growthbook.py").read_text().splitlines()) <= LINES
