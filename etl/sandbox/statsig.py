"""Statsig's Console API: the layers of one project, paged by number."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

from etl.sandbox.message import Question, Refusal, Reply, Vendor, number, reply_json
from etl.sandbox.payloads import shown
from etl.sandbox.values import KEYS, Payload
from etl.sandbox.world import Row, World

PAGE, CAP = 100, 100
LIST = "/console/v1/layers"

MESSAGES = {
    400: "Invalid request. Please check the request input and try again.",
    403: "This key may not do that.",
    404: "Layer not found.",
    429: "Too many requests.",
}


def error(status: int, message: str = "") -> Reply:
    """The vendor's error body."""
    text = message or MESSAGES.get(status, "The request failed.")
    return reply_json(status, {"status": status, "message": text})


def audience(headers: Mapping[str, str]) -> str | None:
    """Whose key it is."""
    return "statsig" if headers.get("statsig-api-key") == KEYS["statsig"] else None


def unauthorized(headers: Mapping[str, str]) -> Reply:
    """401; the vendor repeats the key that was sent."""
    sent = headers.get("statsig-api-key", "")
    says = "This endpoint only accepts an active CONSOLE key, but an invalid key was sent."
    return error(401, f"{says} Key: {sent}")


def answer(world: World, question: Question) -> Payload:
    """The body of the answer; Refusal for what there is not."""
    project = world.live("statsig", "projects")[0].payload
    match question.segments:
        case ("layers",):
            return _layers(world, question)
        case ("layers", key):
            row = world.find("statsig", "layers", key)
            if row is None:
                raise Refusal(404)
            return _single("Layer read successfully.", _shown(question, row))
        case ("project",):
            return _single("Project read successfully.", {"id": project["id"]})
        case ("settings", "project"):
            settings = {name: value for name, value in project.items() if name != "id"}
            return _single("Settings read successfully.", settings)
    raise Refusal(404, "Not found.")


def _layers(world: World, question: Question) -> Payload:
    limit, page = _limit(question), _page_number(question)
    rows = _filtered(world.live("statsig", "layers"), question)
    total = len(rows)
    data = [_shown(question, row) for row in rows[(page - 1) * limit : page * limit]]
    pagination = {
        "itemsPerPage": limit,
        "pageNumber": page,
        "totalItems": total,
        "nextPage": _href(question, limit, page + 1) if page * limit < total else None,
        "previousPage": _href(question, limit, page - 1) if page > 1 else None,
        "all": LIST,
    }
    return {"message": "Layers listed successfully.", "data": data, "pagination": pagination}


def _filtered(rows: Sequence[Row], question: Question) -> Sequence[Row]:
    for name in ("creatorName", "creatorID"):
        wanted = question.one(name)
        if wanted:
            rows = [row for row in rows if row.payload[name] == wanted]
    tags = {*question.all("tags"), *question.all("tags[]")}
    return [row for row in rows if tags & set(row.payload["tags"])] if tags else rows


def _shown(question: Question, row: Row) -> Payload:
    return shown("statsig", "layers", row.payload, variant=question.variant)


def _single(message: str, data: Any) -> Payload:
    return {"message": message, "data": data}


def _limit(question: Question) -> int:
    limit = number(question, "limit", PAGE)
    if limit < 1:
        raise Refusal(400)
    return min(limit, question.page_cap or CAP)


def _page_number(question: Question) -> int:
    page = number(question, "page", 1)
    if page < 1:
        raise Refusal(400)
    return page


def _href(question: Question, limit: int, page: int) -> str:
    kept = [pair for pair in question.query if pair[0] not in ("page", "limit")]
    return f"{LIST}?{urlencode([('page', page), ('limit', limit), *kept], quote_via=quote)}"


def _pointer(question: Question, pages: int) -> str:
    return _href(question, _limit(question), max(1, _page_number(question) + pages))


VENDOR = Vendor(
    name="statsig",
    prefix="/console/v1",
    audience=audience,
    unauthorized=unauthorized,
    answer=answer,
    error=error,
    items="data",
    next=("pagination", "nextPage"),
    total=("pagination", "totalItems"),
    index=lambda question: _page_number(question) - 1,
    pointer=_pointer,
    detour=lambda question: _pointer(question, 1),
)
