"""Texts of values: the one JSON text that is hashed and stored, one step of a URL's path."""

import json
from typing import Any
from urllib.parse import quote

_ENCODER = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=True
)

MOST_KEY_BYTES = 800  # PostgreSQL refuses an index entry above 2704 bytes; one may hold three keys


def json_text(value: Any) -> str:
    """Compact JSON with keys in order; ValueError on NaN and infinities."""
    return _ENCODER.encode(value)


def path_step(text: str) -> str:
    """A text as one step of a URL's path; `.` and `..` are encoded too, or they would climb."""
    return quote(text, safe="") if text.strip(".") else text.replace(".", "%2E")


def is_key(text: str) -> bool:
    """Whether a text is short enough to stand in an index."""
    return len(text.encode("utf-8", "replace")) <= MOST_KEY_BYTES
