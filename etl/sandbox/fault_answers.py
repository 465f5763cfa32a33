"""Faults that put another answer in the place of the vendor's."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from etl.sandbox.message import JSON_HEADERS, Headers, Reply, Vendor

# the vendor, the request's headers, the fault's argument, the time
Answer = Callable[[Vendor, Mapping[str, str], Any, float], Reply]

PAGE_OF_A_PROXY = b"<!DOCTYPE html><html><body><h1>We will be back soon</h1></body></html>"


def _status(vendor: Vendor, headers: Mapping[str, str], arg: Any, _now: float) -> Reply:
    code, extra = (arg, {}) if isinstance(arg, int) else arg
    reply = vendor.unauthorized(headers) if code == 401 else vendor.error(code, "")
    pairs = extra.items() if isinstance(extra, Mapping) else extra
    return _with(reply, tuple((str(name), str(value)) for name, value in pairs))


def _rate_limited(vendor: Vendor, _headers: Mapping[str, str], arg: Any, _now: float) -> Reply:
    extra = () if arg is None else (("Retry-After", str(arg)),)
    return _with(vendor.error(429, ""), extra)


def _rate_limited_reset(vendor: Vendor, _headers: Mapping[str, str], arg: Any, now: float) -> Reply:
    reset = str(round((now + (arg or 0)) * 1000))
    return _with(vendor.error(429, ""), (("X-Ratelimit-Reset", reset),))


def _closed(_vendor: Vendor, _headers: Mapping[str, str], _arg: Any, _now: float) -> Reply:
    return Reply(status=0, body=b"", delivery="closed")


def _html(_vendor: Vendor, _headers: Mapping[str, str], _arg: Any, _now: float) -> Reply:
    content_type = ("Content-Type", "text/html; charset=utf-8")
    return Reply(status=200, body=PAGE_OF_A_PROXY, headers=(content_type,))


def _not_json(_vendor: Vendor, _headers: Mapping[str, str], _arg: Any, _now: float) -> Reply:
    return Reply(status=200, body=b"upstream connect error or disconnect")


def _redirect(_vendor: Vendor, _headers: Mapping[str, str], arg: Any, _now: float) -> Reply:
    return Reply(status=302, body=b"{}", headers=(*JSON_HEADERS, ("Location", str(arg))))


def _with(reply: Reply, headers: Headers) -> Reply:
    return replace(reply, headers=reply.headers + headers)


ANSWERS: Mapping[str, Answer] = {
    "status": _status,
    "rate_limited": _rate_limited,
    "rate_limited_reset": _rate_limited_reset,
    "closed": _closed,
    "html": _html,
    "not_json": _not_json,
    "redirect": _redirect,
}
