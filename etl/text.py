"""The one JSON text of a value: what is hashed and what is stored."""

import json
from typing import Any

_ENCODER = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=True
)


def json_text(value: Any) -> str:
    """Compact JSON with keys in order; ValueError on NaN and infinities."""
    return _ENCODER.encode(value)
