"""Faults in the content of a right page: its links, its total, its items. They can add up."""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any

from etl.sandbox.message import Question, Vendor

Spoil = Callable[[Vendor, Question, Any, Any], Any]  # ..., the page, the fault's argument

DELETE = "__delete__"
PAGE_PARAMETERS = ("offset", "page", "cursor")
CYCLE = 3

NEXT_FORMS: Mapping[str, Callable[[str, str], str]] = {  # a path, a query -> Statsig's oddities
    "no_scheme": lambda path, query: f"statsigapi.net{path}?{query}",
    "wrong_path": lambda _path, query: f"/console/v1/metrics/list?{query}",
    "no_limit": lambda path, query: f"{path}?{_without_limit(query)}",
    "query_only": lambda _path, query: f"?{query}",
}


def first_page(question: Question) -> Question:
    """The same question without the parameter that says which page."""
    query = tuple(pair for pair in question.query if pair[0] not in PAGE_PARAMETERS)
    return replace(question, query=query)


def _same_page(_vendor: Vendor, _question: Question, page: Any, _arg: Any) -> Any:
    return page  # the question was changed already


def _wrong_type(vendor: Vendor, _question: Question, page: Any, _arg: Any) -> Any:
    return page.get(vendor.items, [page])


def _no_list(vendor: Vendor, _question: Question, page: Any, _arg: Any) -> Any:
    return {name: value for name, value in page.items() if name != vendor.items}


def _next_self(vendor: Vendor, question: Question, page: Any, _arg: Any) -> Any:
    return _put(page, vendor.next, vendor.pointer(question, 0))


def _next_cycle(vendor: Vendor, question: Question, page: Any, _arg: Any) -> Any:
    turns = vendor.index(question) % CYCLE == CYCLE - 1
    return _put(page, vendor.next, vendor.pointer(question, 1 - CYCLE if turns else 1))


def _next_foreign(vendor: Vendor, _question: Question, page: Any, arg: Any) -> Any:
    return _put(page, vendor.next, str(arg))


def _next_scheme_relative(vendor: Vendor, question: Question, page: Any, arg: Any) -> Any:
    return _put(page, vendor.next, f"//{arg or 'evil.example'}{vendor.pointer(question, 1)}")


def _next_form(vendor: Vendor, _question: Question, page: Any, arg: Any) -> Any:
    path, mark, query = str(_at(page, vendor.next) or "").partition("?")
    return _put(page, vendor.next, NEXT_FORMS[arg](path, query)) if mark else page


def _empty_gap(vendor: Vendor, question: Question, page: Any, _arg: Any) -> Any:
    # behind it comes what is missing, but not with Statsig: a page number cannot say so
    return _put({**page, vendor.items: []}, vendor.next, vendor.detour(question))


def _empty_last(vendor: Vendor, question: Question, page: Any, _arg: Any) -> Any:
    return _put(page, vendor.next, vendor.pointer(question, 1)) if page.get(vendor.items) else page


def _empty_list(vendor: Vendor, _question: Question, page: Any, _arg: Any) -> Any:
    page = _end(vendor, {**page, vendor.items: []})
    return _put(page, vendor.total, 0) if vendor.total else page


def _short_total(vendor: Vendor, _question: Question, page: Any, arg: Any) -> Any:
    total = _at(page, vendor.total)
    return page if total is None else _put(page, vendor.total, total + int(arg or 1))


def _no_total(vendor: Vendor, _question: Question, page: Any, _arg: Any) -> Any:
    return _put(page, vendor.total, DELETE) if _at(page, vendor.total) is not None else page


def _patch(vendor: Vendor, _question: Question, page: Any, arg: Any) -> Any:
    path, value = arg
    items = page.get(vendor.items)
    if not isinstance(items, list):  # the answer is one record
        return _put(page, path if items is None else (vendor.items, *path), value)
    if not items:
        return page
    return {**page, vendor.items: [_put(items[0], path, value), *items[1:]]}


def _duplicate_item(vendor: Vendor, _question: Question, page: Any, _arg: Any) -> Any:
    items = page.get(vendor.items)
    if not isinstance(items, list) or not items:
        return page
    field = "name" if "name" in items[0] else "description"
    again = {**items[0], field: f"{items[0][field]} (again)"}
    return {**page, vendor.items: [items[0], again, *items[1:]]}


def _end(vendor: Vendor, page: Any) -> Any:
    """The page as the last one: LaunchDarkly leaves the link out, the others say null."""
    if len(vendor.next) == 3:
        return _put(page, vendor.next[:2], DELETE)
    return _put(page, vendor.next, None)


def _at(value: Any, path: Sequence[Any]) -> Any:
    for step in path:
        value = value.get(step) if isinstance(value, dict) else None
    return value if path else None


def _put(value: Any, path: Sequence[Any], new: Any) -> Any:
    """A copy with the new value at the path; what is missing on the way is made."""
    copy = deepcopy(value)
    inner = copy
    for step in path[:-1]:
        inner = inner[step] if isinstance(inner, list) else inner.setdefault(step, {})
    if new == DELETE:
        inner.pop(path[-1], None)
    else:
        inner[path[-1]] = new
    return copy


def _without_limit(query: str) -> str:
    return "&".join(part for part in query.split("&") if not part.startswith("limit="))


PAGES: Mapping[str, Spoil] = {
    "same_page": _same_page,
    "wrong_type": _wrong_type,
    "no_list": _no_list,
    "next_self": _next_self,
    "next_cycle": _next_cycle,
    "next_foreign": _next_foreign,
    "next_scheme_relative": _next_scheme_relative,
    "nextpage_form": _next_form,
    "empty_gap": _empty_gap,
    "empty_last": _empty_last,
    "empty_list": _empty_list,
    "short_total": _short_total,
    "no_total": _no_total,
    "patch": _patch,
    "patch_page": lambda _vendor, _question, page, arg: _put(page, *arg),
    "duplicate_item": _duplicate_item,
}
