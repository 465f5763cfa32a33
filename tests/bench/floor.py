"""The floor: the least a program can do with one synchronous httpx client and SQLite.

Fetches every page, parses, hashes, and writes what is new. No history, no children, no proofs.
Usage: python floor.py BASE_URL DATABASE, with the keys in the environment.
"""

import json
import os
import sqlite3
import sys
from collections.abc import Iterator
from hashlib import blake2b
from typing import Any

import httpx

Rows = list[tuple[str, str, str, str]]


def pages(client: httpx.Client, path: str, headers: dict[str, str]) -> Iterator[dict[str, Any]]:
    """The bodies of a LaunchDarkly list."""
    while path:
        body = client.get(path, headers=headers).json()
        yield body
        path = body["_links"].get("next", {}).get("href", "")


def launchdarkly(client: httpx.Client) -> Iterator[Rows]:
    """Projects with their environments, and the layers of each."""
    headers = {
        "Authorization": os.environ["SANDBOX_LAUNCHDARKLY_KEY"],
        "LD-API-Version": "20240415",
    }
    keys = []
    for body in pages(client, "/api/v2/projects?limit=100&expand=environments", headers):
        keys += [item["key"] for item in body["items"]]
        yield rows("projects", "", body["items"])
    for key in keys:
        for body in pages(client, f"/api/v2/projects/{key}/layers", headers):
            yield rows("layers", key, body["items"])


def statsig(client: httpx.Client) -> Iterator[Rows]:
    """Layers, page by page."""
    headers = {"STATSIG-API-KEY": os.environ["SANDBOX_STATSIG_KEY"]}
    page, more = 1, True
    while more:
        body = client.get(f"/console/v1/layers?limit=100&page={page}", headers=headers).json()
        yield rows("statsig", "", body["data"])
        page, more = page + 1, bool(body["pagination"]["nextPage"])


def layers_com(client: httpx.Client) -> Iterator[Rows]:
    """Projects, cursor by cursor."""
    headers = {"Authorization": f"Bearer {os.environ['SANDBOX_LAYERS_KEY']}"}
    params = {"limit": "200"}
    while True:
        body = client.get("/v1/projects", params=params, headers=headers).json()
        yield rows("layers.com", "", body["items"])
        if not body.get("nextCursor"):
            return
        params["cursor"] = body["nextCursor"]


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


def main(url: str, path: str) -> None:
    """One run: all of it in one transaction, only what is new is written."""
    database = sqlite3.connect(path)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = NORMAL")
    database.execute(
        "CREATE TABLE IF NOT EXISTS records "
        "(kind TEXT, id TEXT, hash TEXT, raw TEXT, PRIMARY KEY (kind, id))"
    )
    known = dict.fromkeys(database.execute("SELECT kind, id, hash FROM records"))
    with httpx.Client(base_url=url, timeout=60) as client, database:
        for vendor in (launchdarkly, statsig, layers_com):
            for found in vendor(client):
                new = [row for row in found if row[:3] not in known]
                database.executemany("INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?)", new)
    database.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
