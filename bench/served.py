"""The benchmarks' server: three vendors' lists as ready bytes, in a process of its own.

`python bench/served.py SIZES [LATENCY]` prints its URL. Every item is JSON before the first
request; a page is a join of them. It holds two worlds: state 0, and state 1 in which 1 % of the
records changed and 0.1 % are gone; `/_bench/state?n=1` switches, `/_bench/requests` counts.
"""

import asyncio
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote

from etl.sandbox.payloads import shown
from etl.sandbox.values import Payload, Sizes
from etl.sandbox.world import World

CHANGED, GONE = 100, 1000  # one record in so many
HEAD = b"HTTP/1.1 %d OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
Query = dict[str, list[str]]


@dataclass(slots=True)
class Shelf:
    """The items of one list in both states, by id."""

    states: tuple[dict[str, bytes], dict[str, bytes]]
    lists: tuple[list[bytes], list[bytes]] = field(init=False)

    def __post_init__(self) -> None:
        self.lists = (list(self.states[0].values()), list(self.states[1].values()))


@dataclass(slots=True)
class Served:
    """All that is served, which state of it, and how much was asked."""

    projects: Shelf
    layers: dict[str, tuple[bytes, ...]]
    environments: dict[str, bytes]  # of projects with more than one answer holds
    statsig: Shelf
    layers_com: Shelf
    state: int = 0
    requests: int = 0
    sent: int = 0


def dumped(value: Any) -> bytes:
    """Compact JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def shelf_of(items: list[Payload], field_name: str, *, first: int = 0, gone: bool = True) -> Shelf:
    """Both states of a list; `first`: the number of its first item among all of its kind."""
    before: dict[str, bytes] = {}
    after: dict[str, bytes] = {}
    for number, item in enumerate(items, first):
        key = item[field_name]
        before[key] = after[key] = dumped(item)
        if gone and number % GONE == 3:
            del after[key]
        elif number % CHANGED == 7:
            after[key] = dumped({**item, "name": f"{item.get('name', key)} II"})
    return Shelf((before, after))


def build(sizes: Sizes) -> Served:
    """The sandbox's world of that size as bytes; the layers of a project are made at once."""
    world = World(sizes=sizes)
    projects: list[Payload] = []
    layers: dict[str, tuple[bytes, ...]] = {}
    long: dict[str, bytes] = {}
    for number, row in enumerate(world.live("launchdarkly", "projects")):
        key = row.payload["key"]
        environments = [
            shown("launchdarkly", "environments", one.payload, parent_key=key)
            for one in world.live("launchdarkly", "environments", key)[:20]
        ]
        total = len(world.live("launchdarkly", "environments", key))
        here = f"/api/v2/projects/{key}/environments?limit=20&offset=20&sort=createdOn"
        links = {"next": {"href": here}} if total > 20 else {}
        inside = {"items": environments, "_links": links, "totalCount": total}
        project = shown("launchdarkly", "projects", row.payload)
        projects.append({**project, "environments": inside})
        if total > 20:
            every = world.live("launchdarkly", "environments", key)
            long[key] = dumped({"items": [one.payload for one in every], "totalCount": total})
        found = [one.payload for one in world.live("launchdarkly", "layers", key)]
        shelf = shelf_of(found, "key", first=number * len(found))
        whole = (b'{"items":[' + b",".join(part) + b'],"_links":{}}' for part in shelf.lists)
        layers[key] = tuple(whole)
        world._shelves = {place: one for place, one in world._shelves.items() if not place[2]}
    statsig = [one.payload for one in world.live("statsig", "layers")]
    layers_com = [one.payload for one in reversed(world.live("layers", "projects"))]
    return Served(
        projects=shelf_of(projects, "key", gone=False),
        layers=layers,
        environments=long,
        statsig=shelf_of(statsig, "id"),
        layers_com=shelf_of(layers_com, "id"),
    )


def launchdarkly(served: Served, steps: list[str], query: Query) -> bytes | None:
    """`/api/v2/…`."""
    if steps == ["caller-identity"]:
        return b'{"accountId":"bench","authKind":"token","tokenKind":"service"}'
    if len(steps) == 3 and steps[2] == "layers":
        return served.layers[steps[1]][served.state]
    if len(steps) == 3:
        return served.environments.get(steps[1])
    if len(steps) == 2:
        return served.projects.states[served.state].get(steps[1])
    limit, offset = int(query["limit"][0]), int(query.get("offset", ["0"])[0])
    items = served.projects.lists[served.state]
    after, links = offset + limit, {}
    if after < len(items):
        more = f"&expand={query['expand'][0]}" if "expand" in query else ""
        path = f"/api/v2/projects?limit={limit}&offset={after}&sort=createdOn{more}"
        links = {"next": {"href": path, "type": "application/json"}}
    head = b'{"_links":' + dumped(links) + b',"totalCount":' + b"%d" % len(items)
    return head + b',"items":[' + b",".join(items[offset:after]) + b"]}"


def statsig(served: Served, steps: list[str], query: Query) -> bytes | None:
    """`/console/v1/…`."""
    if steps == ["project"]:
        return b'{"message":"","data":{"id":"bench"}}'
    if steps == ["settings", "project"]:
        return b'{"message":"","data":{"name":"Bench"}}'
    if len(steps) == 2:
        item = served.statsig.states[served.state].get(steps[1])
        return item and b'{"message":"","data":' + item + b"}"
    limit, page = int(query["limit"][0]), int(query["page"][0])
    items, after = served.statsig.lists[served.state], page * limit
    more = f"/console/v1/layers?page={page + 1}&limit={limit}" if after < len(items) else None
    pagination = dumped({"itemsPerPage": limit, "totalItems": len(items), "nextPage": more})
    data = b",".join(items[after - limit : after])
    return b'{"message":"","data":[' + data + b'],"pagination":' + pagination + b"}"


def layers_com(served: Served, steps: list[str], query: Query) -> bytes | None:
    """`/v1/…`."""
    if steps == ["whoami"]:
        return b'{"organizationId":"bench","workspaceId":"bench","scopes":["projects:read"]}'
    if len(steps) == 2:
        return served.layers_com.states[served.state].get(steps[1])
    limit, offset = int(query["limit"][0]), int(query.get("cursor", ["0"])[0])
    items, after = served.layers_com.lists[served.state], offset + limit
    cursor = b'"%d"' % after if after < len(items) else b"null"
    return b'{"items":[' + b",".join(items[offset:after]) + b'],"nextCursor":' + cursor + b"}"


VENDORS: dict[str, Callable[[Served, list[str], Query], bytes | None]] = {
    "/api/v2/": launchdarkly,
    "/console/v1/": statsig,
    "/v1/": layers_com,
}


def answer(served: Served, target: str) -> tuple[int, bytes]:
    """Status and body for a path with its query."""
    path, _, query = target.partition("?")
    asked = parse_qs(query)
    if path == "/_bench/state":
        served.state = int(asked["n"][0])
    if path.startswith("/_bench/"):
        told = {"requests": served.requests, "bytes": served.sent, "cpu": time.process_time()}
        served.requests = served.sent = 0
        return 200, dumped(told)
    served.requests += 1
    for prefix, vendor in VENDORS.items():
        if path.startswith(prefix):
            steps = [unquote(step) for step in path[len(prefix) :].split("/")]
            body = vendor(served, steps, asked)
            return (200, body) if body is not None else (404, b'{"message":"gone"}')
    return 404, b"{}"


class Connection(asyncio.Protocol):
    """One kept-alive connection; a request is taken as whole when its blank line has come."""

    def __init__(self, served: Served, latency: float) -> None:
        self.served, self.latency, self.waiting = served, latency, b""
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.waiting += data
        while b"\r\n\r\n" in self.waiting:
            head, _, self.waiting = self.waiting.partition(b"\r\n\r\n")
            status, body = answer(self.served, head.split(b" ", 2)[1].decode())
            self.served.sent += len(body)
            whole = HEAD % (status, len(body)) + body
            if self.latency:
                asyncio.get_running_loop().call_later(self.latency, self.transport.write, whole)
            else:
                self.transport.write(whole)


async def serve(served: Served, latency: float) -> None:
    """Until it is killed."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(served, latency), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    print(f"http://127.0.0.1:{port}", flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(
        serve(build(Sizes(**json.loads(sys.argv[1]))), float(sys.argv[2]) if sys.argv[2:] else 0.0)
    )
