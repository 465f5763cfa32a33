"""What a run can see of a stream: whose credential, which host, which filters. Pure.

What leaves the scope has not been deleted: a narrower filter and a key of another account make a
new scope, and its first run parks what it does not see.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from etl.errors import AccessDenied, RequestRejected
from etl.json_text import json_text
from etl.providers.kit import Provider, Stream

UNANSWERED = (403, 404)


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """A key by its fingerprint, and by what the provider says it belongs to, as a digest."""

    key: str
    identity: str


def scope_of(
    provider: Provider, stream: Stream, options: Mapping[str, Any], base_url: str, identity: str
) -> str:
    """The scope of a stream as JSON text; equal texts see the same records."""
    filters: dict[str, Any] = {}
    one: Stream | None = stream
    while one is not None:
        filters |= {one.name: said} if (said := one.filter_of(options[one.name])) else {}
        one = None if one.parent is None else provider.stream(one.parent)
    return json_text({"identity": identity, "base_url": base_url, "filters": filters})


def is_silence(error: AccessDenied | RequestRejected) -> bool:
    """Whether the provider does not tell this key who it is, which is no reason to stop."""
    return error.status in UNANSWERED
