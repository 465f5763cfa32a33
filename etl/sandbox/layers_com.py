"""The Partner API of Layers.com: projects, newest first, paged by an opaque cursor."""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from hashlib import sha256

from etl.sandbox.make_records import cursor
from etl.sandbox.message import Question, Refusal, Reply, Vendor, number, reply_json
from etl.sandbox.values import KEYS, Payload
from etl.sandbox.world import Row, World

PAGE, MOST = 25, 200
ORGANIZATION = "org_7d0f4c52-5a0e-4f43-9f5e-000000000001"

CODES = {
    401: "UNAUTHENTICATED",
    403: "FORBIDDEN_SCOPE",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    409: "IDEMPOTENCY_CONFLICT",
    422: "VALIDATION",
    429: "RATE_LIMITED",
}


def error(status: int, message: str = "") -> Reply:
    """The vendor's error envelope."""
    code = CODES.get(status, "INTERNAL")
    request_id = f"req_{sha256(f'{status} {message}'.encode()).hexdigest()[:26].upper()}"
    inner = {"code": code, "message": message or code.replace("_", " ").capitalize()}
    return reply_json(status, {"error": inner | {"requestId": request_id}})


def audience(headers: Mapping[str, str]) -> str | None:
    """Whose key it is."""
    return "layers" if headers.get("authorization") == f"Bearer {KEYS['layers']}" else None


def answer(world: World, question: Question) -> Payload:
    """The body of the answer; Refusal for what there is not."""
    match question.segments:
        case ("projects",):
            return _projects(world, question)
        case ("projects", key):
            wanted = key if key.startswith("prj_") else f"prj_{key}"
            row = world.find("layers", "projects", wanted)
            if row is None:
                raise Refusal(404, f"No project {key}")
            return row.payload | {"organizationId": ORGANIZATION, "brand": None}
        case ("whoami",):
            return {
                "organizationId": ORGANIZATION,
                "workspaceId": ORGANIZATION,
                "organizationName": "Sandbox Partner",
                "scopes": ["projects:read"],
                "rateLimitTier": "standard",
                "killSwitch": False,
                "apiAccessRevoked": False,
                "apiKeyId": "sandbox",
            }
    raise Refusal(404)


def _projects(world: World, question: Question) -> Payload:
    limit, offset = _limit(question), _offset(question)
    rows = _filtered(world.live("layers", "projects")[::-1], question)
    items = [row.payload for row in rows[offset : offset + limit]]
    after = offset + limit
    return {"items": items, "nextCursor": cursor(after) if after < len(rows) else None}


def _filtered(rows: Sequence[Row], question: Question) -> Sequence[Row]:
    status = question.one("status")
    if status not in (None, "active", "archived"):
        raise Refusal(422, "status must be active or archived")
    if status:
        rows = [row for row in rows if row.payload["status"] == status]
    search = (question.one("search") or "").casefold()
    if search:
        rows = [row for row in rows if search in row.payload["name"].casefold()]
    customer = question.one("customerExternalId")
    if customer:
        rows = [row for row in rows if row.payload["customerExternalId"] == customer]
    return rows


def _limit(question: Question) -> int:
    limit = number(question, "limit", PAGE, status=422)
    if not 1 <= limit <= MOST:
        raise Refusal(422, f"limit must be between 1 and {MOST}")
    return min(limit, question.page_cap or MOST)


def _offset(question: Question) -> int:
    text = question.one("cursor")
    if text is None:
        return 0
    try:
        offset = json.loads(base64.b64decode(text, validate=True))["offset"]
    except (binascii.Error, ValueError, KeyError, TypeError) as failure:
        raise Refusal(422, "cursor is malformed") from failure
    if type(offset) is not int or offset < 0:
        raise Refusal(422, "cursor is malformed")
    return offset


def _pointer(question: Question, pages: int) -> str:
    if pages == 0:
        return question.one("cursor") or cursor(0)
    return cursor(max(0, _offset(question) + pages * _limit(question)))


VENDOR = Vendor(
    name="layers",
    prefix="/v1",
    audience=audience,
    unauthorized=lambda _headers: error(401, "Missing or invalid key"),
    answer=answer,
    error=error,
    items="items",
    next=("nextCursor",),
    total=(),
    index=lambda question: _offset(question) // _limit(question),
    pointer=_pointer,
    detour=lambda question: cursor(_offset(question), after="gap"),
)
