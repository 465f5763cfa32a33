"""The sandbox's own routes below /_sandbox/: for tests and demonstrations on this machine."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from etl.sandbox.faults import Fault
from etl.sandbox.message import Call, Reply, reply_json
from etl.sandbox.scenario import checked, faults_of

if TYPE_CHECKING:
    from etl.sandbox.server import Sandbox

PREFIX = "/_sandbox/"
EVOLVE = {"changed": float, "deleted": int, "renamed": int, "created": int, "restored": int}

Route = Callable[["Sandbox", Any], Any]  # the sandbox, the JSON that was sent -> the JSON to send


def administer(sandbox: "Sandbox", call: Call, peer: str) -> Reply:
    """Does what an admin route says; 400 says what was wrong with the request."""
    if not ip_address(peer).is_loopback:
        return reply_json(403, {"message": "only from this machine"})
    if not _is_own_page(call.headers):
        return reply_json(403, {"message": "not from a page of another site"})
    path = call.path.removeprefix(PREFIX)
    route = ROUTES.get((call.method, path))
    if route is None:
        known = any(path == name for _, name in ROUTES)
        return reply_json(405 if known else 404, {"message": f"no {call.method} {call.path}"})
    try:
        sent = json.loads(call.body) if call.body.strip() else None
        return reply_json(200, route(sandbox, sent))
    except ValueError as error:
        return reply_json(400, {"message": str(error)})


def _is_own_page(headers: Mapping[str, str]) -> bool:
    """Whether no browser sends this for a page from elsewhere.

    Such a page is known by its origin, or, where its name was made to lead here, by that name.
    """
    host = headers.get("host", "")
    try:
        name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return False
    origin = headers.get("origin", f"http://{host}")
    site = headers.get("sec-fetch-site", "none")
    return _is_loopback(name) and origin == f"http://{host}" and site in ("none", "same-origin")


def _is_loopback(name: str) -> bool:
    if name == "localhost":
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def _evolve(sandbox: "Sandbox", sent: Any) -> Any:
    arguments = checked({} if sent is None else sent, EVOLVE, "evolve")
    return [asdict(mutation) for mutation in sandbox.world.evolve(**arguments)]


def _requests(sandbox: "Sandbox", _sent: Any) -> Any:
    return [asdict(seen) for seen in list(sandbox.requests)]


def _forget_requests(sandbox: "Sandbox", _sent: Any) -> Any:
    sandbox.reset_requests()
    return {}


def _reset(sandbox: "Sandbox", _sent: Any) -> Any:
    sandbox.reset()
    return {}


def _add_faults(sandbox: "Sandbox", sent: Any) -> Any:
    found: tuple[Fault, ...] = faults_of(sent)
    for fault in found:
        sandbox.add_fault(fault)
    return {"added": len(found)}


def _clear_faults(sandbox: "Sandbox", _sent: Any) -> Any:
    sandbox.clear_faults()
    return {}


ROUTES: Mapping[tuple[str, str], Route] = {
    ("GET", "counts"): lambda sandbox, _sent: sandbox.counts(),
    ("POST", "evolve"): _evolve,
    ("GET", "requests"): _requests,
    ("DELETE", "requests"): _forget_requests,
    ("POST", "reset"): _reset,
    ("POST", "faults"): _add_faults,
    ("DELETE", "faults"): _clear_faults,
}
