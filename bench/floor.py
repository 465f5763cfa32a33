"""The floor: the least a program can do with one synchronous client and one table.

Fetches every page, parses, hashes, and writes what is new (executemany, or COPY on Postgres). No
history, no children, no proofs. Usage: python floor.py URL DATABASE CLIENT, where CLIENT is httpx
or bare: a kept-alive socket and nothing else, for information.
"""

import json
import socket
import sqlite3
import sys
from collections.abc import Callable, Iterator
from hashlib import blake2b
from typing import Any
from urllib.parse import urlsplit

Rows = list[tuple[str, str, str, str]]
Get = Callable[[str], Any]


def httpx_client(url: str) -> Get:
    """Parsed bodies over one synchronous httpx client."""
    import httpx

    client = httpx.Client(base_url=url, timeout=60, headers={"Authorization": "bench"})
    return lambda path: client.get(path).json()


def bare_client(url: str) -> Get:
    """Parsed bodies over one socket; knows just enough HTTP for the bench's server."""
    parts = urlsplit(url)
    connection = socket.create_connection((parts.hostname, parts.port))

    def get(path: str) -> Any:
        connection.sendall(f"GET {path} HTTP/1.1\r\nhost: bench\r\n\r\n".encode())
        data = connection.recv(1 << 18)
        head, _, body = data.partition(b"\r\n\r\n")
        length = int(head.rpartition(b"content-length: ")[2])
        chunks, came = [body], len(body)
        while came < length:
            chunks.append(connection.recv(1 << 18))
            came += len(chunks[-1])
        return json.loads(b"".join(chunks))

    return get


def launchdarkly(get: Get) -> Iterator[Rows]:
    """Projects with their environments, and the layers of each."""
    path, keys = "/api/v2/projects?limit=100&expand=environments", []
    while path:
        body = get(path)
        keys += [item["key"] for item in body["items"]]
        yield rows("projects", "", body["items"])
        path = body["_links"].get("next", {}).get("href", "")
    for key in keys:
        yield rows("layers", key, get(f"/api/v2/projects/{key}/layers")["items"])


def statsig(get: Get) -> Iterator[Rows]:
    """Layers, page by page."""
    page, more = 1, True
    while more:
        body = get(f"/console/v1/layers?limit=100&page={page}")
        yield rows("statsig", "", body["data"])
        page, more = page + 1, bool(body["pagination"]["nextPage"])


def layers_com(get: Get) -> Iterator[Rows]:
    """Projects, cursor by cursor."""
    path = first = "/v1/projects?limit=200"
    while path:
        body = get(path)
        yield rows("layers.com", "", body["items"])
        path = f"{first}&cursor={body['nextCursor']}" if body["nextCursor"] else ""


def rows(kind: str, parent: str, items: list[dict[str, Any]]) -> Rows:
    """An item as its id, the hash of its content, and its JSON."""
    made = []
    for item in items:
        content = {name: value for name, value in item.items() if name[:1] != "_" or name == "_id"}
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        digest = blake2b(text.encode(), digest_size=16).hexdigest()
        made.append(
            (kind, f"{parent}/{item.get('_id') or item.get('id') or item['key']}", digest, text)
        )
    return made


TABLE = (
    "CREATE TABLE IF NOT EXISTS records "
    "(kind TEXT, id TEXT, hash TEXT, raw TEXT, PRIMARY KEY (kind, id))"
)
KNOWN = "SELECT kind, id, hash FROM records"


def into_sqlite(path: str, get: Get) -> None:
    """One transaction; only what is new is written."""
    database = sqlite3.connect(path)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = NORMAL")
    database.execute(TABLE)
    known = dict.fromkeys(database.execute(KNOWN))
    with database:
        for new in news(get, known):
            database.executemany("INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?)", new)
    database.close()


def into_postgres(url: str, get: Get) -> None:
    """The same with COPY into a temporary table and one statement."""
    import psycopg

    with psycopg.connect(url) as database:
        database.execute(TABLE)
        known = dict.fromkeys(database.execute(KNOWN).fetchall())
        database.execute("CREATE TEMP TABLE incoming (LIKE records) ON COMMIT DROP")
        with database.cursor().copy("COPY incoming FROM STDIN") as copy:
            for new in news(get, known):
                for row in new:
                    copy.write_row(row)
        database.execute(
            "INSERT INTO records SELECT * FROM incoming "
            "ON CONFLICT (kind, id) DO UPDATE SET hash = excluded.hash, raw = excluded.raw"
        )


def news(get: Get, known: dict[Any, None]) -> Iterator[Rows]:
    """The rows of each page that are not stored just so."""
    for vendor in (launchdarkly, statsig, layers_com):
        for found in vendor(get):
            yield [row for row in found if row[:3] not in known]


def main(url: str, database: str, client: str) -> None:
    """One run."""
    get = (httpx_client if client == "httpx" else bare_client)(url)
    (into_postgres if "://" in database else into_sqlite)(database, get)


if __name__ == "__main__":
    main(*sys.argv[1:])
