"""JSON as text: the canonical form that is hashed and stored; texts of providers in messages."""

import difflib
import json
import re
import unicodedata
import zlib
from collections.abc import Callable, Collection, Iterable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote

import orjson

Json = Any  # a parsed JSON value; `Any` because its shape is only known after validation

_ENCODER = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=True
)


def _encode() -> Callable[[Any], Iterable[str]]:
    """The pieces of `_ENCODER.encode`, on one C encoder instead of a new one for each value.

    That is a third quicker.
    """
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return lambda value: (_ENCODER.encode(value),)
    encode = make(
        None, _ENCODER.default, json.encoder.encode_basestring, None, ":", ",", True, False, False
    )
    return lambda value: encode(value, 0)


_encoded = _encode()

MAX_KEY_BYTES = 800  # PostgreSQL refuses an index entry above 2704 bytes; one may hold three keys


def json_text(value: Any) -> str:
    """Compact JSON with keys in order; ValueError on NaN and infinities."""
    return "".join(_encoded(value))


def parsed_text(value: Json) -> bytes:
    """`json_text` in UTF-8 of a value that was parsed from JSON: the same bytes, sooner.

    orjson writes numbers below 0.0001 in another way and knows none beyond 64 bits: left to
    `json_text`. It would write NaN, too, which parsed values do not hold.
    """
    text = _quick_text(value)
    # piece by piece: a large text would be held three times, as one of wide letters takes most
    return b"".join(map(str.encode, _encoded(value))) if text is None else text


def _quick_text(value: Json) -> bytes | None:
    try:
        text = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        return None
    tiny = b"0.0000" in text or (b"e-" in text and _TINY.search(text))
    return None if tiny else text


def iso_time(moment: datetime) -> str:
    """A time for programs, in the one form of all output: UTC, six decimals, `+00:00`.

    A time without a zone is taken for UTC.
    """
    zoned = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return zoned.astimezone(UTC).isoformat(timespec="microseconds")


_TINY = re.compile(rb"[0-9]e-[0-9]")


def http_date(text: str | None) -> float | None:
    """A date of HTTP (RFC 9110, 5.6.7) as epoch seconds; None where it is none."""
    try:
        moment = parsedate_to_datetime(text or "")
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def one_line(text: str) -> str:
    """A text of others for messages: control characters and line breaks become spaces."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def vendor_message(value: Json) -> str:
    """What an error in JSON says, `code: message`; the shapes in use, RFC 9457 among them."""
    if isinstance(value, list):
        value = value[0] if value else None
    if not isinstance(value, dict):
        return ""
    for name in ("error", "errors"):
        if isinstance(value.get(name), dict | list):
            return vendor_message(value[name]) or vendor_message({**value, name: None})
    code = _first_text(value, ("code", "error", "errorCode", "error_code", "title", "type"))
    said = _first_text(
        value, ("message", "error_description", "detail", "description", "reason", "msg")
    )
    return ": ".join(part for part in (code, said) if part)


def _first_text(value: dict[str, Json], names: tuple[str, ...]) -> str:
    found = (value.get(name) for name in names)
    return next((text.strip() for text in found if isinstance(text, str) and text.strip()), "")


def unpacked(data: bytes, *, most: int) -> bytes:
    """Gzipped data unpacked; ValueError when it is damaged, or larger than that many bytes."""
    parts: list[bytes] = []
    try:
        while data:
            member = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
            parts.append(member.decompress(data, most + 1))
            most -= len(parts[-1])
            if most < 0 or member.unconsumed_tail:
                raise ValueError("unpacks to more than a file of its kind may hold")
            if not member.eof:
                raise ValueError("ends too early")
            data = member.unused_data
    except zlib.error as error:
        raise ValueError(f"is damaged: {error}") from None
    return b"".join(parts)


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word most like this one, or nothing."""
    folded = {_folded(one): one for one in sorted(known, reverse=True)}
    return next((folded[one] for one in difflib.get_close_matches(_folded(word), folded, n=1)), "")


def _folded(word: str) -> str:
    return unicodedata.normalize("NFC", word).lower()


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean X?`, or nothing when no known word is near."""
    near = nearest(word, known)
    return f"; did you mean {near}?" if near else ""


MAX_LISTED = 12


def near_or_some(word: str, known: Collection[str]) -> str:
    """What a person may have meant, or else the words there are, not more than fit on a line."""
    names = list(known)
    more = f" and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else ""
    there = ", ".join(names[:MAX_LISTED]) or "none"
    return did_you_mean(word, names) or f"; there are {there}{more}"


def path_step(text: str) -> str:
    """A text as one step of a URL's path; `.` and `..` are encoded too, or they would climb."""
    return quote(text, safe="") if text.strip(".") else text.replace(".", "%2E")


def field_step(name: str) -> str:
    """A field's name as one step of a path in JSON; quoted where it would read as several steps."""
    return name if _PLAIN.fullmatch(name) else json_text(name)


_PLAIN = re.compile(r"[^\s.\[\]\"']+")


def is_key(text: str) -> bool:
    """Whether a text is short enough to stand in an index."""
    if len(text) <= MAX_KEY_BYTES // 4:  # no letter takes more than four bytes
        return True
    return len(text.encode("utf-8", "replace")) <= MAX_KEY_BYTES


def json_type(value: Json) -> str:
    """The JSON type of a value."""
    return _TYPES[type(value)]


def type_at(value: Json, path: str) -> str:
    """The JSON type at a path of drift, or of a name with dots; `unknown` inside lists."""
    named = isinstance(value, dict) and path in value
    for step in [path] if named else path.split("."):
        if not isinstance(value, dict) or step not in value:
            return "unknown"
        value = value[step]
    return json_type(value)


_TYPES: dict[type, str] = {
    dict: "object",
    list: "array",
    str: "string",
    bool: "boolean",
    int: "number",
    float: "number",
    type(None): "null",
}
