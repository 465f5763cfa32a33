"""Records that follow a schema of tests/contract/schemas, and records that break one rule of it."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from hypothesis import strategies as st

from tests.support.vendor_schemas import Json, Schema, types_of

SIMPLE = st.text("abcxyz-_.09", min_size=1, max_size=8)
ODD = st.sampled_from(
    [
        *("", " ", "a\0b", "\ud800", "🚀", "é", "e\u0301", "=1+1", "null", "{}", "'; --", "﷽"),
        *("a/b?c#d", ".", "..", "%2F", "a\nb", '"', "\\", "x" * 400),
    ]
)
TEXTS = SIMPLE | ODD | st.text(max_size=6)
UNKNOWN = st.dictionaries(
    st.sampled_from(["somethingNew", "snake_case", "with space", "ключ"]),
    st.deferred(lambda: ANYTHING),
    max_size=2,
)
ANYTHING: st.SearchStrategy[Json] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(-1e9, 1e9) | TEXTS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(SIMPLE, inner, max_size=2),
    max_leaves=4,
)
KINDS: dict[str, st.SearchStrategy[Json]] = {
    "string": TEXTS,
    "integer": st.integers(-(2**63), 2**63 - 1) | st.integers(0, 100),
    "number": st.integers(-(10**20), 10**20) | st.floats(-1e12, 1e12) | st.integers(0, 9),
    "boolean": st.booleans(),
    "null": st.none(),
}
MILLIS = st.integers(1104537600000, 4102444799999)  # 2005 to 2099
EPOCHS = st.one_of(MILLIS, MILLIS, st.sampled_from([0, 1, 1677893118, 1677893118889000]))
ZONES = st.sampled_from([0, 60, -480, 345]).map(
    lambda minutes: timezone(timedelta(minutes=minutes))
)
MOMENTS = st.datetimes(
    datetime(2006, 1, 1),  # noqa: DTZ001  Hypothesis wants naive bounds
    datetime(2099, 1, 1),  # noqa: DTZ001
    timezones=ZONES,
)
OLD = st.sampled_from(["1969-12-31T23:59:59Z", "2004-12-31T23:59:59+00:00", "2100-01-01T00:00:00Z"])


def _written(moment: datetime, form: int) -> str:
    """An RFC 3339 time in one of the forms in use."""
    if form == 0:
        return moment.isoformat()
    text = moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds")
    return (
        f"{text}Z"
        if form == 1
        else f"{text[:19]}{'z' if form == 2 else 'Z'}".replace("T", "t" if form == 2 else "T")
    )


TIMES = OLD | st.builds(_written, MOMENTS, st.integers(0, 3))


def valid(schema: Schema, *, full: bool = False) -> st.SearchStrategy[Json]:
    """Values that a schema allows; full: with every field, lists and maps that are not empty."""
    if "x-records" in schema:
        return st.nothing()
    if "x-secret" in schema:
        kind = schema["x-secret"]
        return st.integers(1, 2**40).map(lambda n: f"{kind}-00000000-0000-4000-8000-{n:012x}")
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if schema.get("format") == "epoch-ms":
        times: st.SearchStrategy[Json] = EPOCHS
        if "number" in types_of(schema):
            times |= MILLIS.map(lambda millis: millis + 0.5)
        return times | st.none() if "null" in types_of(schema) else times
    if schema.get("format") == "date-time":
        return TIMES
    kinds = sorted(types_of(schema) - ({"null", "string"} if full and _is_list(schema) else set()))
    return st.one_of([_of_kind(kind, schema, full=full) for kind in kinds])


def _is_list(schema: Schema) -> bool:
    return "array" in types_of(schema) and "items" in schema


def _of_kind(kind: str, schema: Schema, *, full: bool) -> st.SearchStrategy[Json]:
    least = 1 if full else 0
    if kind == "array":
        if "items" not in schema:
            return st.lists(ANYTHING, max_size=2)
        unique = schema.get("x-unique-by")
        by = (lambda one: tuple(one[name] for name in unique)) if unique else None
        inner = valid(schema["items"], full=full)
        return st.lists(inner, min_size=least, max_size=3, unique_by=by)
    if kind == "object":
        if isinstance(schema.get("additionalProperties"), dict):
            inner = valid(schema["additionalProperties"], full=full)
            return st.dictionaries(TEXTS, inner, min_size=least, max_size=2)
        return _object(schema, full=full) if "properties" in schema else UNKNOWN
    if "minimum" in schema:
        return st.integers(schema["minimum"], schema.get("maximum", 2**31))
    return KINDS[kind]


def _object(schema: Schema, *, full: bool) -> st.SearchStrategy[Json]:
    fields = {
        name: valid(inner, full=full)
        for name, inner in schema["properties"].items()
        if "x-records" not in inner
    }
    needed = set(fields) if full else set(schema.get("required", ()))
    required = {name: one for name, one in fields.items() if name in needed}
    optional = {name: one for name, one in fields.items() if name not in needed}
    plain = st.fixed_dictionaries(required, optional=optional)
    if full or schema.get("x-unchecked"):
        return plain
    return st.builds(lambda one, more: {**more, **one}, plain, UNKNOWN)


def identified(items: list[Json], schema: Schema, prefix: str = "") -> list[Json]:
    """The items with ids, and keys, that no other one has."""
    for number, item in enumerate(items):
        for name, inner in schema["properties"].items():
            if "x-identity" in inner or inner.get("x-column") == "key":
                item[name] = f"{prefix}{item[name]}-{number}"
    return items


def lists_of(schema: Schema, *, most: int, full: bool = False) -> st.SearchStrategy[list[Json]]:
    """Lists of valid items with ids of their own."""
    items = st.lists(valid(schema, full=full), min_size=1 if full else 0, max_size=most)
    return items.map(lambda found: identified(found, schema))


@dataclass(frozen=True, slots=True, kw_only=True)
class Break:
    """One rule that a record breaks.

    path: of the value in the reject; reason: why it is one, or '' where etl stores it all the same.
    renames: it is about an id or key. own: a limit of etl's, not of the vendor.
    volatile: the field is no content of the record. secret: its last known fingerprint stays.
    """

    rule: str
    spoil: Callable[[Json], None]
    path: str
    reason: str
    renames: bool = False
    own: bool = False
    volatile: bool = False
    secret: bool = False

    def applied(self, item: Json) -> Json:
        """A copy of a full record that breaks the rule, and nothing else."""
        spoiled = deepcopy(item)
        self.spoil(spoiled)
        return spoiled


EXAMPLES: dict[str, Json] = {
    "null": None,
    "boolean": True,
    "integer": 5,
    "number": 0.5,
    "string": "text",
    "array": ["a"],
    "object": {"a": 1},
}
EXPECTED = {
    "string": "Input should be a valid string",
    "boolean": "Input should be a valid boolean",
    "integer": "Input should be a valid integer",
    "number": "Input should be a valid number",
    "array": "Input should be a valid list",
    "object": "Input should be a valid object",
}
TOO_LONG = "a key is longer than 800 bytes"
_Steps = tuple[str | int, ...]


def breaks(schema: Schema) -> list[Break]:
    """Every rule of the items of a list, broken in every way that there is an example of."""
    return list(_breaks(schema, ()))


def _breaks(schema: Schema, steps: _Steps) -> Iterator[Break]:
    if schema.get("x-unchecked"):
        return
    for field, inner in schema.get("properties", {}).items():
        if "x-records" in inner:
            continue
        place = (*steps, field)
        if field in schema.get("required", ()):
            yield _missing(inner, place)
        yield from _wrong_types(inner, place)
        yield from _wrong_values(inner, place)
        yield from _breaks(inner, place)
    if "array" in types_of(schema) and "items" in schema:
        yield from _wrong_types(schema["items"], (*steps, 0))
        yield from _breaks(schema["items"], (*steps, 0))
    if "x-unique-by" in schema:
        yield _repeated(schema, steps)
    if isinstance(schema.get("additionalProperties"), dict):
        yield from _wrong_types(schema["additionalProperties"], (*steps, ANY))
        yield from _breaks(schema["additionalProperties"], (*steps, ANY))


OWN = ("too long", "just short enough", "empty", "beyond 64 bits", "too long a name")
ANY = "the.only key"  # of a map; spoiling puts it there


def _missing(schema: Schema, steps: _Steps) -> Break:
    tolerated = schema.get("x-optional") or False
    reason = "" if tolerated else "Field required"
    if schema.get("x-identity"):
        reason = f"the item has no {steps[-1]}"
    return _break("missing", steps, lambda holder, name: holder.pop(name), schema, reason)


def _wrong_types(schema: Schema, steps: _Steps) -> Iterator[Break]:
    documented = types_of(schema)
    taken = documented | set(schema.get("x-takes", ()))
    taken |= {"integer"} if "number" in taken else set()
    if not documented or "x-secret" in schema:
        return
    for kind, example in EXAMPLES.items():
        if kind in documented or (kind == "integer" and "number" in documented):
            continue
        reason = "" if kind in taken else _type_reason(schema, example)
        yield _break(f"{kind}", steps, _set(example), schema, reason)


def _type_reason(schema: Schema, example: Json) -> str:
    if schema.get("x-identity"):
        return f"the id is {example!r}, not text"
    if schema.get("format") == "epoch-ms":
        return f"epoch milliseconds expected, not {example!r}"
    if schema.get("format") == "date-time":
        return f"an RFC 3339 time expected, not {example!r}"
    named = types_of(schema) - {"null"}
    return EXPECTED["array" if len(named) > 1 else min(named)]


def _wrong_values(schema: Schema, steps: _Steps) -> Iterator[Break]:
    if "enum" in schema:
        reason = "" if schema.get("x-open") else "Input should be one of the documented values"
        yield _break("enum", steps, _set("something else"), schema, reason)
    if "x-max-bytes" in schema:
        for long in ("x" * 801, "😀" * 201):
            reason = "the id is longer than 800 bytes" if schema.get("x-identity") else TOO_LONG
            yield _break("too long", steps, _set(long), schema, reason)
        for short in ("x" * 800, "😀" * 200):
            yield _break("just short enough", steps, _set(short), schema, "")
    if schema.get("x-identity"):
        yield _break("empty", steps, _set(""), schema, "the id is '', not text")
    yield from _beyond_limits(schema, steps)
    if "propertyNames" in schema:
        yield _break("too long a name", steps, _long_name, schema, TOO_LONG, ("x" * 801, "[key]"))


def _beyond_limits(schema: Schema, steps: _Steps) -> Iterator[Break]:
    if "integer" in types_of(schema) and "format" not in schema:
        for number, edge in ((2**63, "less than 9223372036854775808"), (-(2**63) - 1, LEAST)):
            reason = f"Input should be {edge}"
            yield _break("beyond 64 bits", steps, _set(number), schema, reason)
    if "maxLength" in schema:
        yield _break("longer", steps, _set("x" * (schema["maxLength"] + 1)), schema, "")
    if schema.get("format") == "date-time":
        for text in ("yesterday", "2026-02-30T00:00:00Z", "", "1775812462"):
            reason = f"an RFC 3339 time expected, not {text!r}"
            yield _break("no time", steps, _set(text), schema, reason)


REPEATED = {
    "layer_parameters": "parameters named twice: {name}",
    "layer_reservations": "a reservation stands twice",
}
LEAST = "greater than or equal to -9223372036854775808"


def _repeated(schema: Schema, steps: _Steps) -> Break:
    def twice(holder: Any, name: str | int) -> None:
        holder[name].append(deepcopy(holder[name][0]))

    return _break("repeated", steps, twice, schema, REPEATED[schema["x-children"]])


def _long_name(holder: Any, name: str | int) -> None:
    holder[name]["x" * 801] = deepcopy(next(iter(holder[name].values())))


def _set(value: Json) -> Callable[[Any, str | int], None]:
    def put(holder: Any, name: str | int) -> None:
        holder[name] = deepcopy(value)

    return put


def _break(
    rule: str,
    steps: _Steps,
    change: Callable[[Any, str | int], Any],
    schema: Schema,
    reason: str,
    below: _Steps = (),
) -> Break:
    def spoil(item: Json) -> None:
        holder = item
        for step in steps[:-1]:
            holder = _inside(holder, step)
        _inside(holder, steps[-1]) if steps[-1] == ANY else None
        change(holder, steps[-1])

    identity = bool(schema.get("x-identity"))
    path = "" if identity else ".".join(map(_step, (*steps, *below)))
    name = f"{'.'.join(map(str, steps))}: {rule}"
    return Break(
        rule=name,
        spoil=spoil,
        path=path,
        reason=reason,
        own=rule in OWN,
        renames=identity or schema.get("x-column") == "key",
        volatile=bool(schema.get("x-volatile")),
        secret="x-secret" in schema,
    )


def _step(step: str | int) -> str:
    return f'"{step}"' if step == ANY else str(step)


def _inside(holder: Any, step: str | int) -> Any:
    if step == ANY:
        first = next(iter(holder))
        if first != ANY:
            holder[ANY] = holder.pop(first)
    return holder[step]
