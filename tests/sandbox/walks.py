"""How a client walks each vendor's lists; written apart from the sandbox, straight over httpx."""

from collections.abc import Iterator
from typing import Any

import httpx

from etl.sandbox import KEYS, Fault, Sandbox, Sizes, World

HEADERS = {
    "launchdarkly": {"Authorization": KEYS["launchdarkly"], "LD-API-Version": "20240415"},
    "statsig": {"STATSIG-API-KEY": KEYS["statsig"]},
    "layers": {"Authorization": f"Bearer {KEYS['layers']}"},
}
LISTS = {
    "launchdarkly": "/api/v2/projects?limit=2",
    "statsig": "/console/v1/layers?limit=4&page=1",
    "layers": "/v1/projects?limit=3",
}
ITEMS = {"launchdarkly": "items", "statsig": "data", "layers": "items"}
SMALL = Sizes(ld_projects=5, ld_environments=3, ld_layers=4, statsig_layers=14, layers_projects=10)


def small(*faults: Fault, **options: Any) -> Sandbox:
    """A sandbox with few records."""
    return Sandbox(World(sizes=SMALL), faults=faults, **options)


def ask(
    client: httpx.Client, sandbox: Sandbox, vendor: str, target: str | None = None
) -> httpx.Response:
    """The answer to a request with the vendor's right key; of its list, without a target."""
    return client.get(sandbox.url + (target or LISTS[vendor]), headers=HEADERS[vendor])


def launchdarkly(client: httpx.Client, sandbox: Sandbox, target: str) -> Iterator[dict[str, Any]]:
    """All items, by the next links."""
    while target:
        page = ask(client, sandbox, "launchdarkly", target).raise_for_status().json()
        yield from page["items"]
        target = page["_links"].get("next", {}).get("href", "")


def statsig(client: httpx.Client, sandbox: Sandbox, *, limit: int) -> Iterator[dict[str, Any]]:
    """All layers, by page numbers."""
    number, more = 1, True
    while more:
        target = f"/console/v1/layers?limit={limit}&page={number}"
        page = ask(client, sandbox, "statsig", target).raise_for_status().json()
        yield from page["data"]
        number, more = number + 1, bool(page["pagination"]["nextPage"])


def layers(client: httpx.Client, sandbox: Sandbox, *, limit: int) -> Iterator[dict[str, Any]]:
    """All projects of Layers.com, by cursors."""
    cursor: str | None = ""
    while cursor is not None:
        query = httpx.QueryParams({"limit": limit, **({"cursor": cursor} if cursor else {})})
        page = ask(client, sandbox, "layers", f"/v1/projects?{query}").raise_for_status().json()
        yield from page["items"]
        cursor = page["nextCursor"]


def everything(client: httpx.Client, sandbox: Sandbox) -> dict[str, dict[str, int]]:
    """How much a walk through all lists finds, in the form of World.counts."""
    projects = list(launchdarkly(client, sandbox, "/api/v2/projects?limit=3"))
    roots = [item["_links"]["self"]["href"] for item in projects]
    environments = [
        item for root in roots for item in launchdarkly(client, sandbox, f"{root}/environments")
    ]
    ld_layers = [item for root in roots for item in launchdarkly(client, sandbox, f"{root}/layers")]
    reservations = [
        reservation
        for layer in ld_layers
        for environment in layer.get("environments", {}).values()
        for reservation in environment["reservations"]
    ]
    statsig_layers = list(statsig(client, sandbox, limit=4))
    parameters = [one for layer in statsig_layers for one in layer["parameters"]]
    ly_projects = list(layers(client, sandbox, limit=3))
    return {
        "launchdarkly": _counts(
            projects=projects,
            environments=environments,
            layers=ld_layers,
            layer_reservations=reservations,
        ),
        "statsig": _counts(projects=[{}], layers=statsig_layers, layer_parameters=parameters),
        "layers": _counts(projects=ly_projects),
    }


def _counts(**found: list[dict[str, Any]]) -> dict[str, int]:
    names = ("projects", "environments", "layers", "layer_reservations", "layer_parameters")
    return {name: len(found.get(name, [])) for name in names}
