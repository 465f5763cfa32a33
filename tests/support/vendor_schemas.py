"""What is stored of a vendor's record, read from the schemas in tests/contract/schemas.

An oracle: it shares no code with `etl.providers` or `etl.transform`. The keywords are explained
in tests/contract/schemas/README.md.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

SCHEMAS = Path(__file__).parent.parent / "contract" / "schemas"
LISTS = {
    ("launchdarkly", "projects"): "launchdarkly_projects",
    ("launchdarkly", "environments"): "launchdarkly_environments",
    ("launchdarkly", "layers"): "launchdarkly_layers",
    ("statsig", "layers"): "statsig_layers",
    ("layers", "projects"): "layers_projects",
}
COLUMNS = {
    "projects": (
        *("status", "tags", "timezone", "primary_language", "owner_email"),
        *("customer_external_id", "include_in_snippet_by_default"),
        *("default_client_side_availability", "default_release_pipeline_key"),
    ),
    "environments": (
        *("color", "default_ttl", "secure_mode", "default_track_events", "require_comments"),
        *("confirm_changes", "critical", "tags", "approval_settings"),
        *("resource_approval_settings", "sdk_key_fingerprint", "mobile_key_fingerprint"),
    ),
    "layers": (
        *("description", "randomization_unit", "is_implicit", "tags", "target_apps"),
        *("holdout_ids", "team", "team_id", "provider_version"),
        *(f"{how}_by_{what}" for how in ("created", "updated") for what in ("id", "name", "email")),
    ),
    "layer_parameters": ("type", "default_value", "position"),
    "layer_reservations": ("environment_key", "experiment_key", "flag_key", "reservation_percent"),
}
"""Columns of docs/schema.md that hold content; NULL where a vendor has no such field."""

EARLIEST, LATEST = datetime(2005, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Json = Any
Schema = dict[str, Any]
Place = tuple[str, str, str, str]  # table, parent id, id of the record, id of its child or ''
Content = dict[Place, dict[str, Any]]
Drift = set[tuple[str, str, str]]  # table, path, kind
PrintOf = Callable[[str], str]


def digest(secret: str) -> str:
    """What stands for a key in tests that choose it themselves."""
    return f"fp:{hashlib.sha256(secret.encode()).hexdigest()[:16]}"


@cache
def schema_of(name: str) -> Schema:
    """A schema with its local references put in place."""
    whole: Schema = json.loads((SCHEMAS / f"{name}.json").read_text())
    definitions = whole.pop("$defs")
    resolved: Schema = _resolved(whole, definitions)
    return resolved


def item_schema(name: str) -> Schema:
    """The schema of the items of a list."""
    whole = schema_of(name)
    items: Schema = whole["properties"][whole["x-list"]]["items"]
    return items


def records_of(
    name: str, item: Json, *, parent_id: str = "", print_of: PrintOf = digest
) -> tuple[Content, Drift]:
    """The rows of an item as the vendor sends it (with real keys), and the drift that it shows.

    print_of: what stands for a key.
    """
    table, schema = schema_of(name)["x-item"], item_schema(name)
    kept = raw_of(name, item, print_of)
    columns = dict.fromkeys(
        (*COLUMNS[table], "key", "name", "provider_created_at", "provider_updated_at")
    )
    columns |= schema.get("x-constants", {})
    columns |= _columns(schema, kept)
    columns["raw"] = kept
    external_id = str(columns.pop("external_id"))
    found: Content = {(table, parent_id, external_id, ""): columns}
    for child_table, child_id, child in _children(schema, kept, {}):
        found[child_table, parent_id, external_id, child_id] = child
    return found, {(table, *one) for one in _drift(schema, kept, "")}


def content_of(name: str, raw: Json) -> Json:
    """What of a stored item is content: without volatile fields, with sets in order."""
    return _content(item_schema(name), raw)


def raw_of(name: str, item: Json, print_of: PrintOf = digest) -> Json:
    """What is kept of an item as it came: without keys, and without records of other tables."""
    kept = cleaned(item)
    if not isinstance(kept, dict):
        return kept
    for field, inner in item_schema(name)["properties"].items():
        if "x-records" in inner:
            kept.pop(field, None)
        if "x-secret" in inner:
            kept.pop(field, None)
            found = fingerprint(item.get(field), inner["x-secret"], print_of)
            kept |= {} if found is None else {field: found}
    return kept


def fingerprint(secret: Json, kind: str, print_of: PrintOf) -> str | None:
    """What stands for a key; None for one that is hidden, as by a mask."""
    pattern = rf"{kind}-[0-9a-f]{{8}}(-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}}"
    if not isinstance(secret, str) or not re.fullmatch(pattern, secret):
        return None
    return print_of(secret)


def cleaned(value: Json) -> Json:
    """A value as databases can hold it: no NUL, no half of a surrogate pair, 1.0 as 1."""
    if isinstance(value, dict):
        return {cleaned(name): cleaned(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [cleaned(inner) for inner in value]
    if isinstance(value, str):
        if value.isascii() and "\0" not in value:
            return value
        plain = value.replace("\0", "\N{SYMBOL FOR NULL}")
        return "".join("\ufffd" if 0xD800 <= ord(one) < 0xE000 else one for one in plain)
    return int(value) if isinstance(value, float) and value.is_integer() else value


def canonical(value: Json) -> str:
    """A text in which equal values, and no others, are equal: 1 is not true."""
    return json.dumps(value, sort_keys=True, default=_moment, ensure_ascii=False)


def types_of(schema: Schema) -> set[str]:
    """The JSON types that a page documents for a field; empty: any."""
    named = schema.get("type", [])
    return {named} if isinstance(named, str) else set(named)


def json_type(value: Json) -> str:
    """The JSON type of a value, whole numbers apart."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, float):
        return "integer" if value.is_integer() else "number"
    names = {dict: "object", list: "array", str: "string", int: "integer", type(None): "null"}
    return names[type(value)]


def faults(schema: Schema, value: Json, path: str = "") -> list[str]:
    """The rules of a schema that a value breaks, with the place of each; not etl's own limits."""
    kinds, kind = types_of(schema), json_type(value)
    if kinds and kind not in kinds and not (kind == "integer" and "number" in kinds):
        return [f"{path}: {kind}"]
    if "enum" in schema and value not in schema["enum"]:
        return [f"{path}: not in the enum"]
    if schema.get("format") == "date-time" and not _is_time(value):
        return [f"{path}: no time"]
    found = [f"{path}: out of range"] if _is_out_of_range(schema, value) else []
    if isinstance(value, list):
        for place, one in enumerate(value):
            found += faults(schema.get("items", {}), one, f"{path}[{place}]")
        named = [one for one in value if isinstance(one, dict) and "x-unique-by" in schema]
        names = [[one.get(name) for name in schema["x-unique-by"]] for one in named]
        found += [f"{path}: repeated"] if any(names.count(one) > 1 for one in names) else []
    if isinstance(value, dict):
        absent = [name for name in schema.get("required", ()) if name not in value]
        found += [f"{path}.{name}: missing" for name in absent]
        inside = schema.get("properties", {})
        others = schema.get("additionalProperties", {})
        for name, one in value.items():
            found += faults(inside.get(name, others), one, f"{path}.{name}")
    return found


def _is_out_of_range(schema: Schema, value: Json) -> bool:
    if isinstance(value, str):
        return len(value) > int(schema.get("maxLength", len(value)))
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    least, most = schema.get("minimum", value), schema.get("maximum", value)
    return bool(value < least or value > most)


def _is_time(value: Json) -> bool:
    pattern = r"(?i)\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)"
    try:
        return bool(re.fullmatch(pattern, value)) and bool(datetime.fromisoformat(value.upper()))
    except ValueError:
        return False


def time_of(value: Json) -> datetime | None:
    """A moment in UTC; None where it is none in the years that are stored."""
    if value is None:
        return None
    if isinstance(value, str):
        moment = datetime.fromisoformat(value.upper()).astimezone(UTC)
    else:
        try:
            moment = EPOCH + timedelta(milliseconds=value)
        except OverflowError:
            return None
    return moment if EARLIEST <= moment < LATEST else None


def _moment(value: Any) -> str:
    if not isinstance(value, datetime):
        raise TypeError(f"{value!r} is no JSON value")
    return value.astimezone(UTC).isoformat()


def _resolved(schema: Json, definitions: Mapping[str, Schema]) -> Json:
    if isinstance(schema, list):
        return [_resolved(one, definitions) for one in schema]
    if not isinstance(schema, dict):
        return schema
    named = schema.get("$ref")
    base = _resolved(definitions[named.rpartition("/")[2]], definitions) if named else {}
    own = {name: _resolved(one, definitions) for name, one in schema.items() if name != "$ref"}
    return {**base, **own}


def _content(schema: Schema, value: Json) -> Json:
    if isinstance(value, str) and schema.get("x-as") == "set":
        return [value]
    if isinstance(value, list):
        inner = [_content(schema.get("items", {}), one) for one in value]
        unordered = schema.get("x-unordered") or schema.get("x-as") == "set"
        return sorted(inner, key=canonical) if unordered else inner
    if not isinstance(value, dict):
        return value
    known, others = schema.get("properties", {}), schema.get("additionalProperties", {})
    fields = {name: known.get(name, others) for name in value}
    return {
        name: _content(inner, value[name])
        for name, inner in fields.items()
        if not inner.get("x-volatile")
    }


def _columns(schema: Schema, item: dict[str, Json]) -> dict[str, Any]:
    """Column -> value of the fields of one object."""
    found: dict[str, Any] = {}
    for field, inner in schema["properties"].items():
        column = inner.get("x-column", [])
        value = item.get(field, inner.get("default"))
        if not value and "x-fallback" in inner:
            value = item.get(inner["x-fallback"])
        if inner.get("x-identity") == "without prj_":
            found["external_id"] = value.removeprefix("prj_")
        for name in [column] if isinstance(column, str) else column:
            found[name] = _stored(inner.get("x-as"), value)
    return found


def _stored(how: str | None, value: Json) -> Json:
    match how:
        case "set":
            return sorted([value] if isinstance(value, str) else value or [])
        case "time":
            return time_of(value)
        case "text":
            return None if value is None else str(value)
        case "fingerprint":
            return value if isinstance(value, str) and value.startswith("fp:") else None
    return value


def _children(
    schema: Schema, item: dict[str, Json], known: dict[str, str]
) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(table, id, columns) of every child in an object, also in the objects of its maps."""
    for field, inner in schema.get("properties", {}).items():
        value = item.get(field)
        if "x-children" in inner:
            for place, one in enumerate(value or []):
                yield _child(inner, one, place, known)
        elif isinstance(value, dict) and isinstance(inner.get("additionalProperties"), dict):
            below = inner["additionalProperties"]
            column = _map_column(below)
            for key, one in value.items():
                yield from _children(below, one, {column: key} if column else {})


def _map_column(schema: Schema) -> str | None:
    named = [one.get("x-map-column") for one in schema.get("properties", {}).values()]
    return next((one for one in named if one), None)


def _child(
    schema: Schema, item: dict[str, Json], place: int, known: dict[str, str]
) -> tuple[str, str, dict[str, Any]]:
    columns = {**known, **_columns(schema["items"], item)}
    if "x-position" in schema:
        columns[schema["x-position"]] = place
    names = [columns[name] if name in columns else item[name] for name in schema["x-id"]]
    columns.pop("external_id", None)
    identity = names[0] if len(names) == 1 else json.dumps(names, ensure_ascii=False)
    return schema["x-children"], identity, {**columns, "raw": item}


def _drift(schema: Schema, value: Json, path: str) -> Iterator[tuple[str, str]]:
    """(path, kind) of what the page does not document, where etl looks into the value."""
    others = schema.get("additionalProperties")
    if schema.get("x-unchecked"):
        return
    if isinstance(value, list) or (isinstance(value, dict) and isinstance(others, dict)):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _drift(others or schema.get("items", {}), one, path)
    elif isinstance(value, dict) and "properties" in schema:
        yield from _drift_of_fields(schema["properties"], value, path)
    elif schema.get("x-as") == "time" and value is not None and time_of(value) is None:
        yield path, "unusable"
    elif schema.get("x-open") and value is not None and value not in schema["enum"]:
        yield path, "new value"


def _drift_of_fields(known: Schema, value: Json, path: str) -> Iterator[tuple[str, str]]:
    for field, inner in value.items():
        place = f"{path}.{field}" if path else field
        if field in known:
            yield from _drift(known[field], inner, place)
        else:
            yield place, "added"
