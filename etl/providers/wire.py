"""Parses, redacts and cleans the providers' JSON; base class and field types of wire models.

Nothing behind this door holds a vendor's key, a NUL, a lone surrogate, a NaN or a naive time.
"""

import hashlib
import hmac
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from itertools import islice
from typing import Annotated, Any, ClassVar, get_args

import orjson
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    FailFast,
    Field,
    PlainValidator,
)
from pydantic_core import PydanticCustomError

from etl.errors import ProtocolError
from etl.json_text import MAX_KEY_BYTES, is_key
from etl.providers.kit import Json

MIN_TIME = datetime(2005, 1, 1, tzinfo=UTC)
MAX_TIME = datetime(2100, 1, 1, tzinfo=UTC)
_EARLIEST, _LATEST = MIN_TIME.timestamp() * 1000, MAX_TIME.timestamp() * 1000

MAX_VALUES = 250_000  # of one body; a parsed value takes up to 300 bytes of memory
MAX_DIGITS = 4 * 2**20  # of a body's numbers with an exponent, written out: 1e308 has 309
MAX_CHILDREN = 10_000  # parameters or reservations of one layer
MAX_UNKNOWN_FIELDS = 50  # of one item that are told as drift
MAX_DEPTH = 64  # vendors nest about ten deep; beyond it hashing and cleaning would overflow
_TOO_DEEP = f"it is nested more than {MAX_DEPTH} deep"
SHOWN_BYTES = 60

SECRET_FIELDS = frozenset({"apiKey", "mobileKey"})
_SECRET_TEXT = re.compile(
    r"(?<![A-Za-z0-9])(?:(?:sdk|mob|api)-[0-9a-f]{8}-[0-9a-f-]{18,}"
    r"|(?:console|secret)-(?:(?=[A-Za-z]*\d)[A-Za-z0-9]{16,}|(?=[a-z]*[A-Z])[A-Za-z]{20,})"
    r"|lp_(?:live|test)_[\w-]{8,})"
)
# the whole of a LaunchDarkly key; not a mask, a part of one, or nothing but zeros
_WHOLE_KEY = re.compile(
    r"(?:sdk|mob|api)-(?=[0-]*[1-9a-f])[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE
)
_FINGERPRINT = re.compile(r"fp:[0-9a-f]{16}")
# what a body with something to clean holds; each begins with a literal, which is found quickly
_SUSPICIOUS = tuple(
    (literal, re.compile(re.escape(literal) + rest))
    for literal, rest in (
        *((b'"%s"' % name, b"") for name in (b"apiKey", b"mobileKey")),
        *((b"%s-" % kind, rb"[0-9a-f]{8}-") for kind in (b"sdk", b"mob", b"api")),
        *((b"%s-" % kind, rb"[A-Za-z0-9]{16}") for kind in (b"console", b"secret")),
        (b"lp_", rb"(?:live|test)_"),
        # an escaped letter may be part of a key or of its name
        (b"\\u", rb"(?:0000|[dD][89a-fA-F]|00[2-7])"),
    )
)
_NEITHER = bytes(set(range(256)) - set(b'[]{}"'))
_ONE_KIND = bytes.maketrans(b"{}", b"[]")
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


class Wire(BaseModel):
    """A vendor's object: strict types, unknown fields kept, camelCase names as aliases."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        strict=True, extra="allow", frozen=True, defer_build=True
    )


def parse(body: bytes) -> Json:
    """The JSON of a body, as strict as RFC 8259 allows to be; ProtocolError when it is not that.

    Refuses NaN and infinities, duplicate keys, absurd depth and numbers, more than MAX_VALUES
    values or MAX_DIGITS digits; takes a BOM. Floats without a fraction come out as integers, so
    that 1 and 1.0 are one value.
    """
    _refuse_many(body)
    try:
        quick = _parsed(body)
        if quick is not None:
            return quick
        value = json.loads(
            body.decode("utf-8-sig"),
            parse_constant=_refuse,
            parse_float=_Integers().parsed,
            object_pairs_hook=_unique,
        )
        _refuse_depth(body)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(
            f"the body is not JSON as documented: {_fault_of(error)}; it starts {start_of(body)!r}"
        ) from error
    return value


def _fault_of(error: Exception) -> str:
    """What is wrong with a body, in words about JSON and not about Python."""
    if isinstance(error, RecursionError):
        return _TOO_DEEP
    if isinstance(error, UnicodeDecodeError):
        return f"byte {error.start} is not UTF-8"
    said = redact(str(error))
    return "a number has thousands of digits" if "integer string conversion" in said else said


def _parsed(body: bytes) -> Json | None:
    """The value of a body that orjson writes just as it read it; None of all others.

    Such a body names nothing twice and holds no number that Python would read otherwise, but for
    floats without a fraction.
    """
    text = body.strip(b" \t\r\n")
    try:
        value = orjson.loads(text)
        if orjson.dumps(value) != text:
            return None
        _refuse_depth(text)
    except (ValueError, TypeError):
        return None
    found = [value]
    if any(sign.search(text) for sign in _WHOLE_FLOATS):
        _Integers().put_into(found)
    return found[0]


_WHOLE_FLOATS = (re.compile(rb"\.0(?:[,}\]]|$)"), re.compile(rb"e\+[0-9]"))


@dataclass(slots=True)
class _Integers:
    """Makes integers of a body's floats without a fraction; ValueError where they are too long.

    digits: of those that are much longer than they were in the body.
    """

    digits: int = 0

    def put_into(self, value: Json) -> None:
        """Instead of the floats in an object or a list."""
        for place, inner in value.items() if value.__class__ is dict else enumerate(value):
            kind = inner.__class__  # isinstance would be half of the time
            if kind is dict or kind is list:
                self.put_into(inner)
            elif kind is float and inner.is_integer():
                value[place] = self._made(inner)

    def parsed(self, text: str) -> float | int:
        """A number with a fraction or an exponent."""
        value = float(text)
        if value in (float("inf"), float("-inf")):
            raise ValueError(f"the number {text[:20]} is out of range")
        return self._made(value) if value.is_integer() else value

    def _made(self, value: float) -> int:
        made = int(value)  # Postgres would give it back so
        if abs(value) >= _LONG:
            self.digits += made.bit_length() * 3 // 10
            if self.digits > MAX_DIGITS:
                raise ValueError(f"its numbers have more than {MAX_DIGITS} digits")
        return made


_LONG = 1e19


def clean(value: Json, body: bytes, fingerprint: Callable[[str], str]) -> Json:
    """`value` with every secret replaced by its fingerprint and every unstorable character mended.

    The body it was parsed from is searched first: most pages hold nothing to clean and are
    returned as they are.
    """
    suspicious = any(sign in body and found.search(body) for sign, found in _SUSPICIOUS)
    return _cleaned(value, fingerprint) if suspicious else value


def fingerprint_with(key: str) -> Callable[[str], str]:
    """Secrets -> short keyed digests: equal for equal secrets, so that a rotation still shows."""

    def fingerprint(secret: str) -> str:
        if _FINGERPRINT.fullmatch(secret):
            return secret
        digest = hmac.new(key.encode(), secret.encode("utf-8", "replace"), hashlib.sha256)
        return f"fp:{digest.hexdigest()[:16]}"

    return fingerprint


def is_fingerprint(value: Json) -> bool:
    """Whether a value stands for a key that was seen."""
    return isinstance(value, str) and _FINGERPRINT.fullmatch(value) is not None


def redact(text: str) -> str:
    """`text` with anything shaped like a vendor's key blotted out; for messages and logs."""
    return _SECRET_TEXT.sub("[redacted]", text)


def start_of(body: bytes) -> str:
    """The first characters of a body for messages, redacted before they are cut."""
    return redact(body[: 8 * SHOWN_BYTES].decode("utf-8", "replace"))[:SHOWN_BYTES]


def epoch_millis(value: Any) -> datetime | None:
    """Epoch milliseconds -> aware UTC; None outside the plausible years, ValueError if no number.

    A seconds value would read as 1970 and a microseconds value as the year 58858: both None.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"epoch milliseconds expected, not {value!r}"[:80])  # noqa: TRY004  pydantic takes a ValueError as a finding
    if not _EARLIEST <= value < _LATEST:
        return None
    return datetime.fromtimestamp(value / 1000, UTC)


def rfc3339(value: Any) -> datetime | None:
    """An RFC 3339 time -> aware UTC (naive is read as UTC); None outside the plausible years."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise ValueError(f"an RFC 3339 time expected, not {value!r}"[:80])  # noqa: TRY004  the same
    try:
        time = datetime.fromisoformat(value.upper())
    except ValueError:
        raise ValueError(f"an RFC 3339 time expected, not {value!r}"[:80]) from None
    aware = time.replace(tzinfo=UTC) if time.tzinfo is None else time
    try:
        utc = aware.astimezone(UTC)
    except OverflowError:
        return None
    return utc if MIN_TIME <= utc < MAX_TIME else None


def number(value: Any) -> int | float | None:
    """A JSON number or null."""
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    raise PydanticCustomError("number_type", "Input should be a valid number")


def text_list(value: Any) -> Any:
    """One text or a list of texts -> a list (Statsig's targetApps comes as either)."""
    if value is None:
        return []
    return [value] if isinstance(value, str) else value


def absent_list(value: Any) -> Any:
    """An absent list where null stands in its place."""
    return [] if value is None else value


def short_text(value: str) -> str:
    """A text that fits an index; ValueError on a longer one."""
    if not is_key(value):
        raise ValueError(f"a key is longer than {MAX_KEY_BYTES} bytes")
    return value


Key = Annotated[str, AfterValidator(short_text)]
StoredInteger = Annotated[int, Field(ge=-(2**63), lt=2**63)]
EpochMillis = Annotated[datetime | None, BeforeValidator(epoch_millis)]
Rfc3339 = Annotated[datetime | None, BeforeValidator(rfc3339)]
Number = Annotated[int | float | None, PlainValidator(number)]
# each error of a list takes as much memory as many of its items, and only the first is reported
TextList = Annotated[list[str], FailFast(), BeforeValidator(text_list)]
NullIsEmptyList = BeforeValidator(absent_list)


def drift_of(model: BaseModel, item: Json) -> tuple[tuple[str, str], ...]:
    """What an item holds that this code does not know, and times it could not use."""
    converted, _ = _fields(type(model))
    unusable = [
        (alias, "unusable")
        for name, alias in converted
        if getattr(model, name) is None and item.get(alias) is not None
    ]
    if _knows_all(model):
        return tuple(unusable)
    return tuple((_short(path), "added") for path in _unknown(model)) + tuple(unusable)


def _knows_all(model: BaseModel) -> bool:
    """Whether there is nothing for `_unknown` to find, as in nearly all items."""
    if model.__pydantic_extra__:
        return False
    return all(
        _knows_all(inner)
        for name, _ in _fields(type(model))[1]
        for inner in _inside(getattr(model, name))
        if isinstance(inner, Wire)
    )


_Names = tuple[tuple[str, str], ...]


@cache
def _fields(model: type[BaseModel]) -> tuple[_Names, _Names]:
    """(name, name in JSON) of a model's fields: those converted before validation, those of Wire.

    Only a conversion can make None of a value, and only a Wire can hold an unknown field.
    """
    fields = [(name, info.alias or name, info) for name, info in model.model_fields.items()]
    converted = [
        (name, alias)
        for name, alias, info in fields
        if any(isinstance(one, BeforeValidator) for one in info.metadata)
    ]
    wires = [(name, alias) for name, alias, info in fields if _holds_wire(info.annotation)]
    return tuple(converted), tuple(wires)


def _holds_wire(annotation: Any) -> bool:
    if isinstance(annotation, type) and issubclass(annotation, Wire):
        return True
    return any(_holds_wire(inner) for inner in get_args(annotation))


def _short(path: str) -> str:
    """A path that fits an index; a name that a vendor never meant is cut."""
    return path if is_key(path) else f"{path[:SHOWN_BYTES]}…"


def _unknown(model: BaseModel, prefix: str = "") -> list[str]:
    """The first unknown fields of an item; one with thousands of them says enough by these."""
    found = [
        f"{prefix}{name}" for name in islice(model.__pydantic_extra__ or (), MAX_UNKNOWN_FIELDS)
    ]
    for name, alias in _fields(type(model))[1]:
        for inner in _inside(getattr(model, name)):
            if len(found) >= MAX_UNKNOWN_FIELDS:
                return found
            if isinstance(inner, Wire):
                path = f"{prefix}{alias}."
                found += [new for new in _unknown(inner, path) if new not in found]
    return found


def _inside(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else (value,)


def _cleaned(value: Json, fingerprint: Callable[[str], str], *, secret: bool = False) -> Json:
    """The cleaned value, in the same lists and objects: a copy would take their memory twice."""
    if isinstance(value, dict):
        for name in list(value):
            inner, told = value[name], _told(name, fingerprint)
            if name in SECRET_FIELDS and isinstance(inner, str):
                cleaned = _seen(inner, fingerprint)
            else:
                cleaned = _cleaned(inner, fingerprint, secret=secret or name in SECRET_FIELDS)
            if told != name:
                del value[name]
            value[told] = cleaned
        return value
    if isinstance(value, list):
        for place, inner in enumerate(value):
            value[place] = _cleaned(inner, fingerprint, secret=secret)
        return value
    if not isinstance(value, str):
        return value
    return fingerprint(value) if secret else _told(value, fingerprint)


def _seen(text: str, fingerprint: Callable[[str], str]) -> str | None:
    """The fingerprint of a key; None of what a vendor shows to those who may not see it."""
    key = text.strip()
    return fingerprint(key) if _WHOLE_KEY.fullmatch(key) or is_fingerprint(key) else None


def _told(text: str, fingerprint: Callable[[str], str]) -> str:
    if "-" in text or "_" in text:  # as every key has one
        text = _SECRET_TEXT.sub(lambda found: fingerprint(found.group()), text)
    return text if text.isascii() and "\x00" not in text else _mended(text)


def _mended(text: str) -> str:
    return _UNSTORABLE.sub(lambda found: "␀" if found.group() == "\x00" else "�", text)


def _unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise ValueError(f"the key {name[:SHOWN_BYTES]!r} stands twice")
            seen.add(name)
    return found


def _refuse_depth(body: bytes) -> None:
    """Of a body that is JSON: takes the innermost brackets away until none is left."""
    plain = body.replace(rb"\\", b"").replace(rb"\"", b"") if b"\\" in body else body
    kept = plain.translate(_ONE_KIND, _NEITHER).replace(b'""', b"")  # of a text without brackets
    brackets = b"".join(kept.split(b'"')[::2])
    for _ in range(MAX_DEPTH + 2):
        if not brackets:
            return
        brackets = brackets.replace(b"[]", b"")
    raise ValueError(_TOO_DEEP)


_STRING = rb'"(?:[^"\\]++|\\.)*+"?+'  # closed or not
_TOKEN = re.compile(_STRING + rb"|[,\[{]", re.DOTALL)  # or what begins another value


def _refuse_many(body: bytes) -> None:
    """Of a body with more values than can be held; counts them without parsing."""
    if sum(map(body.count, (b",", b"[", b"{"))) < MAX_VALUES:
        return
    count = 0
    for token in _TOKEN.finditer(body):
        count += body[token.start()] != _QUOTE
        if count > MAX_VALUES:
            raise ProtocolError(
                f"the body has more than {MAX_VALUES} JSON values; where the stream has a "
                "page_size, lower it"
            )


_QUOTE = ord('"')
_OPENED = frozenset(b"[{")
_BRACKET = re.compile(_STRING + rb"|[\[\]{}]", re.DOTALL)  # or a string


def is_closed(body: bytes) -> bool:
    """Whether the object or list that a body begins with ends where the body does.

    Else it is a part of one. Nothing is parsed, which several threads would do at once.
    """
    depth = 0
    for token in _BRACKET.finditer(body):
        first = body[token.start()]
        if first != _QUOTE:
            depth += 1 if first in _OPENED else -1
            if depth < 1:
                return depth == 0 and not body[token.end() :].strip()
    return False


def _refuse(name: str) -> Json:
    raise ValueError(f"{name} is not JSON")
