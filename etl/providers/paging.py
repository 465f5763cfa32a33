"""Paging styles as pure functions: a parsed body and its request -> Page. No I/O, no state.

The end of the pages is what the provider says: an absent next link, a null nextPage or nextCursor.
Never a short page, never an empty one.
"""

import re
from collections.abc import Callable
from typing import TypeGuard
from urllib.parse import parse_qsl, unquote, urlsplit

from etl.errors import ProtocolError
from etl.json_text import json_type
from etl.providers.kit import Json, Page, Params, Request


def read_linked(body: Json, _request: Request) -> Page:
    """LaunchDarkly: `items`, `_links.next.href` (absent at the end), optional `totalCount`."""
    items = items_of(body, "items")
    links = _object(body.get("_links") or {}, "_links")
    link = links.get("next")
    return Page(
        items=items,
        next=None if link is None else Request(_href(link)),
        total=count_of(body.get("totalCount")),
    )


def read_numbered(body: Json, request: Request) -> Page:
    """Statsig: `data` and `pagination.nextPage`, of which only the presence is trusted.

    The vendor's own examples show links without scheme, with another path or without the limit,
    so the next URL is rebuilt from the request. An empty page ends the walk too: past the last
    page the answer is not documented.
    """
    items = items_of(body, "data")
    pagination = _object(body.get("pagination"), "pagination")
    goes_on = bool(pagination.get("nextPage")) and bool(items)
    page = int(dict(request.params or ()).get("page", "1"))
    return Page(
        items=items,
        next=with_param(request, "page", str(page + 1)) if goes_on else None,
        total=count_of(pagination.get("totalItems")),
    )


def read_cursor(body: Json, request: Request) -> Page:
    """Layers.com: `items` and an opaque `nextCursor`, null or absent at the end; no total."""
    items = items_of(body, "items")
    cursor = body.get("nextCursor")
    if cursor is not None and not isinstance(cursor, str):
        raise ProtocolError(f"nextCursor is a JSON {json_type(cursor)}, not text")
    return Page(
        items=items,
        next=with_param(request, "cursor", cursor) if cursor else None,
    )


def read_offset(items: str, *, more: str, total: str) -> Callable[[Json, Request], Page]:
    """Lists by `offset`; their bodies name the items, whether there are more, and the total."""

    def read(body: Json, request: Request) -> Page:
        found, goes_on = items_of(body, items), body.get(more)
        if not isinstance(goes_on, bool) or (goes_on and not found):
            raise ProtocolError(f"{more} is {json_type(goes_on)} behind {len(found)} items")
        offset = int(dict(request.params or ()).get("offset", "0")) + len(found)
        return Page(
            items=found,
            next=with_param(request, "offset", str(offset)) if goes_on else None,
            total=count_of(body.get(total)),
        )

    return read


def read_object(body: Json, _request: Request) -> Page:
    """One bare record as a page of one item."""
    return Page(items=[_object(body, "the body")], next=None, total=1)


def echoed_link(body: Json, request: Request) -> str | None:
    """LaunchDarkly's `_links.self.href`, where it is of another request; None where it is not.

    Paths are compared decoded, as the vendor encodes them in its own way; hosts are not, as a
    relative link has none. Of the query only `offset` tells pages apart: a limit may be capped,
    and a link without an offset does not say.
    """
    links = body.get("_links") if is_object(body) else None
    link = links.get("self") if is_object(links) else None
    href = link.get("href") if is_object(link) else None
    if not isinstance(href, str) or not href:
        return None
    try:
        said, sent = urlsplit(href), urlsplit(request.path)
    except ValueError:
        return None
    if said.path and _steps(said.path) != _steps(sent.path):
        return said.path
    here, there = _said_offset(said.query), _said_offset(sent.query, request.params or ())
    return None if here is None or here == (there or 0) else f"offset {here}"


def _steps(path: str) -> list[str]:
    return [unquote(step) for step in path.strip("/").split("/")]


def _said_offset(query: str, params: Params = ()) -> int | None:
    text = dict((*parse_qsl(query), *params)).get("offset", "")
    return int(text) if text.isdecimal() else None


def echoed_number(body: Json, request: Request) -> str | None:
    """Statsig's `pagination.pageNumber`, where it is of another page; None where it is not."""
    pagination = body.get("pagination") if is_object(body) else None
    said = pagination.get("pageNumber") if is_object(pagination) else None
    sent = dict(request.params or ()).get("page")
    if sent is None or isinstance(said, bool) or not isinstance(said, int | float | str):
        return None
    return None if str(said).removesuffix(".0") in (sent, "") else f"page {said}"


def earlier(request: Request, count: int) -> Request | None:
    """The request of an offset list that begins `count` records earlier; None without an offset.

    Everything else of a next link stays byte for byte as the provider wrote it.
    """
    if request.params is not None:
        offset = dict(request.params).get("offset", "")
        return with_param(request, "offset", _less(offset, count)) if offset.isdecimal() else None
    found = _OFFSET.search(request.path)
    if found is None:
        return None
    before, offset, after = request.path[: found.start(2)], found[2], request.path[found.end(2) :]
    return Request(f"{before}{_less(offset, count)}{after}")


def leads_back(link: Request | None, request: Request) -> bool:
    """Whether the next link of an offset list does not lead beyond the page that it stands on."""
    there, here = (None if one is None else _offset(one) for one in (link, request))
    return there is not None and here is not None and there <= here


def _offset(request: Request) -> int | None:
    found = _OFFSET.search(request.path)
    text = found[2] if found else dict(request.params or ()).get("offset", "")
    return int(text) if text.isdecimal() else None


_DIGITS = re.compile("[0-9]{1,15}")
_OFFSET = re.compile(r"([?&]offset=)(\d+)(?=&|$)")


def _less(offset: str, count: int) -> str:
    return str(max(0, int(offset) - count))


def is_object(value: Json) -> TypeGuard[dict[str, Json]]:
    """Whether a parsed JSON value is an object."""
    return isinstance(value, dict)


def with_param(request: Request, name: str, value: str) -> Request:
    """The same request with one parameter set; repeated others (tags) stay as they are."""
    others = tuple((other, text) for other, text in request.params or () if other != name)
    return Request(request.path, (*others, (name, value)))


def items_of(body: Json, name: str) -> list[Json]:
    """The list of that name; ProtocolError where there is none."""
    items = _object(body, "the body").get(name)
    if not isinstance(items, list):
        raise ProtocolError(f"the answer has no list {name!r} (found {json_type(items)})")
    return items


def _href(link: Json) -> str:
    """Where a next link leads; one that leads nowhere is not the end of the pages."""
    href = link.get("href") if is_object(link) else None
    if not isinstance(href, str) or not href:
        raise ProtocolError(f"the next link has no href (found {json_type(href)})")
    return href


def _object(value: Json, name: str) -> dict[str, Json]:
    if not is_object(value):
        raise ProtocolError(f"{name} is a JSON {json_type(value)}, not an object")
    return value


def count_of(value: Json) -> int | None:
    """A count is optional and never trusted to end a walk; anything but a count is no count.

    A number that is sent as text counts: what it contradicts must not prove a deletion.
    """
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
