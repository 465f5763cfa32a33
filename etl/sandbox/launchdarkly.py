"""LaunchDarkly's REST API v2: projects, environments and layers, paged by links."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode
from uuid import NAMESPACE_URL, uuid5

from etl.sandbox.message import Question, Refusal, Reply, Vendor, number, reply_json
from etl.sandbox.payloads import link, project_path, shown
from etl.sandbox.values import KEYS, Payload
from etl.sandbox.world import Row, World

PAGE, CAP, EMBEDDED, VISIBLE_TO_NARROW = 20, 100, 20, 3
FIRST_PAGED_VERSION = 20220603

CODES = {
    400: "invalid_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    409: "optimistic_locking_error",
    429: "rate_limited",
    500: "internal_service_error",
    502: "bad_gateway",
    503: "service_unavailable",
    504: "gateway_timeout",
}
MESSAGES = {
    401: "Invalid access token",
    403: "Access to the requested resource was denied",
    404: "Unknown resource",
    429: "You've exceeded the API rate limit. Try again later.",
}
SORTS: dict[str, Callable[[Row], Any]] = {
    "createdOn": lambda row: (row.born, row.ordinal),
    "name": lambda row: row.payload["name"].casefold(),
    "critical": lambda row: row.payload["critical"],
}


def error(status: int, message: str = "") -> Reply:
    """The vendor's error body."""
    text = message or MESSAGES.get(status, "The request failed")
    body = {"code": CODES.get(status, "error"), "message": text}
    return reply_json(status, body | {"id": str(uuid5(NAMESPACE_URL, f"{status} {text}"))})


def audience(headers: Mapping[str, str]) -> str | None:
    """Whose key it is; the key stands in `Authorization` without `Bearer`."""
    sent = headers.get("authorization")
    names = ("launchdarkly", "launchdarkly-narrow")
    return next((name for name in names if sent == KEYS[name]), None)


def dated(headers: Mapping[str, str]) -> bool:
    """Whether the request falls back to an API version in which lists were not paged."""
    version = headers.get("ld-api-version", "")
    return version != "beta" and not (version.isdecimal() and int(version) >= FIRST_PAGED_VERSION)


def answer(world: World, question: Question) -> Payload:
    """The body of the answer; Refusal for what there is not."""
    match question.segments:
        case ("projects",):
            return _projects(world, question)
        case ("projects", key):
            return _project(world, question, _visible(world, question, key))
        case ("projects", key, "environments"):
            return _environments(world, question, _visible(world, question, key))
        case ("projects", key, "layers"):
            return _layers(world, question, _visible(world, question, key))
        case ("caller-identity",):
            return {"accountId": "57be1db38b75bf0772d11380", "authKind": "token", "scopes": []} | {
                "tokenKind": "service", "tokenName": question.audience, "serviceToken": True
            }  # fmt: skip
    if question.segments != ("versions",):
        raise Refusal(404)
    current = FIRST_PAGED_VERSION if not question.dated else 20160426
    return {"validVersions": [20160426, 20210729, FIRST_PAGED_VERSION, 20240415]} | {
        "latestVersion": 20240415, "currentVersion": current
    }  # fmt: skip


def _projects(world: World, question: Question) -> Payload:
    rows = _seen(world, question)
    rows = _sorted(_filtered(rows, question), question, ("name", "createdOn"))
    if question.dated:
        items = [_project(world, question, row) for row in rows]
        return {"_links": {"self": link(question.target)}, "items": items}
    return _page(question, rows, lambda row: _project(world, question, row))


def _project(world: World, question: Question, row: Row) -> Payload:
    payload = shown("launchdarkly", "projects", row.payload, variant=question.variant)
    expand = [name for name in (question.one("expand") or "").split(",") if name]
    if set(expand) - {"environments"}:
        raise Refusal(400, f"cannot expand {','.join(expand)}")
    if not expand and not question.dated:
        return payload
    key = row.payload["key"]
    rows = world.live("launchdarkly", "environments", key)
    if question.dated:
        return payload | {"environments": [_environment(question, key, row) for row in rows]}
    items = [_environment(question, key, row) for row in rows[:EMBEDDED]]
    links = {}
    if len(rows) > EMBEDDED:
        path = f"{project_path(key)}/environments?limit={EMBEDDED}&offset="
        last = (len(rows) - 1) // EMBEDDED * EMBEDDED
        links = {"next": link(f"{path}{EMBEDDED}"), "last": link(f"{path}{last}")}
    inner = {"items": items, "_links": links, "totalCount": len(rows)}
    return payload | {"environments": inner}


def _environments(world: World, question: Question, project: Row) -> Payload:
    key = project.payload["key"]
    rows = _filtered(world.live("launchdarkly", "environments", key), question)
    rows = _sorted(rows, question, ("createdOn", "critical", "name"))
    return _page(question, rows, lambda row: _environment(question, key, row))


def _environment(question: Question, project_key: str, row: Row) -> Payload:
    return shown(
        "launchdarkly",
        "environments",
        row.payload,
        parent_key=project_key,
        variant=question.variant,
    )


def _layers(world: World, question: Question, project: Row) -> Payload:
    rows: Sequence[Row] = world.live("launchdarkly", "layers", project.payload["key"])
    for text in (question.one("filter") or "").split(","):
        if text:
            rows = _holding(rows, text)
    items = [row.payload for row in rows]
    links = {"self": link(question.target)}
    return {"items": items, "totalCount": len(items), "_links": links}


def _holding(rows: Sequence[Row], text: str) -> list[Row]:
    found = re.fullmatch(r"reservations\.experimentKey contains (.+)", text.strip())
    if not found:
        raise Refusal(400, f"cannot filter by {text!r}")
    return [
        row
        for row in rows
        if any(
            reservation["experimentKey"] == found[1]
            for environment in row.payload.get("environments", {}).values()
            for reservation in environment["reservations"]
        )
    ]


def _seen(world: World, question: Question) -> Sequence[Row]:
    rows = world.live("launchdarkly", "projects")
    return rows if question.audience == "launchdarkly" else rows[:VISIBLE_TO_NARROW]


def _visible(world: World, question: Question, key: str) -> Row:
    row = world.find("launchdarkly", "projects", key)
    if row is None:
        raise Refusal(404, f"Unknown project key {key}")
    if row not in _seen(world, question):
        raise Refusal(403)
    return row


def _page(question: Question, rows: Sequence[Row], show: Callable[[Row], Payload]) -> Payload:
    limit, offset = _limit(question), _offset(question)
    total = len(rows)
    last = max(0, total - 1) // limit * limit
    links = {"self": link(question.target)}
    if offset > 0:
        links["first"] = link(_href(question, limit, 0))
        links["prev"] = link(_href(question, limit, max(0, offset - limit)))
    if offset + limit < total:
        links["next"] = link(_href(question, limit, offset + limit))
        links["last"] = link(_href(question, limit, last))
    items = [show(row) for row in rows[offset : offset + limit]]
    return {"_links": links, "items": items, "totalCount": total}


def _limit(question: Question) -> int:
    limit = number(question, "limit", PAGE)
    if limit < 1:
        raise Refusal(400, "limit must be positive")
    return min(limit, question.page_cap or CAP)


def _offset(question: Question) -> int:
    offset = number(question, "offset", 0)
    if offset < 0:
        raise Refusal(400, "offset must not be negative")
    return offset


def _href(question: Question, limit: int, offset: int) -> str:
    kept = [(name, question.one(name)) for name in ("filter", "sort", "expand")]
    query = [("limit", limit), ("offset", offset), *(pair for pair in kept if pair[1])]
    return f"{question.path}?{urlencode(query, quote_via=quote)}"


def _filtered(rows: Sequence[Row], question: Question) -> Sequence[Row]:
    for text in (question.one("filter") or "").split(","):
        field, _, value = text.casefold().partition(":")
        if not text:
            continue
        if field == "query":
            rows = [row for row in rows if value in _searched(row)]
        elif field == "tags":
            wanted = set(value.split("+"))
            rows = [row for row in rows if wanted <= {t.casefold() for t in row.payload["tags"]}]
        elif field == "keys" and question.segments == ("projects",):
            keys = value.split("|")
            rows = [row for row in rows if row.payload["key"].casefold() in keys]
        else:
            raise Refusal(400, f"cannot filter by {field!r}")
    return rows


def _searched(row: Row) -> str:
    return f"{row.payload['name']}\n{row.payload['key']}".casefold()


def _sorted(rows: Sequence[Row], question: Question, allowed: Sequence[str]) -> Sequence[Row]:
    for field in reversed((question.one("sort") or "").split(",")):
        name = field.removeprefix("-")
        if field and name not in allowed:
            raise Refusal(400, f"cannot sort by {name!r}")
        if field:
            rows = sorted(rows, key=SORTS[name], reverse=field.startswith("-"))
    return rows


def _pointer(question: Question, pages: int) -> str:
    limit = _limit(question)
    if pages == 0:
        return question.target
    return _href(question, limit, max(0, _offset(question) + pages * limit))


VENDOR = Vendor(
    name="launchdarkly",
    prefix="/api/v2",
    audience=audience,
    unauthorized=lambda _headers: error(401),
    answer=answer,
    error=error,
    items="items",
    next=("_links", "next", "href"),
    total=("totalCount",),
    index=lambda question: _offset(question) // _limit(question),
    pointer=_pointer,
    detour=lambda question: f"{_href(question, _limit(question), _offset(question))}&after=gap",
)
