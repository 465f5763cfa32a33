"""From a vendor's item to what is stored: identity, canonical content, hash, unified record.

Pure. The hash is of the canonical content: without what differs from call to call, with sets in
order. Equal hashes mean that nothing happened, so an item is validated only when its hash is new.
"""

from collections.abc import Sequence
from hashlib import blake2b

from pydantic import ValidationError

from etl.json_text import MAX_KEY_BYTES, field_step, is_key, json_type, parsed_text
from etl.model import Record, Reject
from etl.providers.kit import Json, Partition, Stream

HASH_RULE = "1"  # stored with every hash; a new rule must not look like a change of the record
MAX_REASON = 200  # letters of why an item does not fit, which a vendor's words may be part of
MAX_PATH = 2000  # letters of where: a vendor's names may be endless, but those that are keys


def identify(item: Json, stream: Stream) -> str | Reject:
    """The vendor's id of an item, or the item as a Reject when it has none."""
    identity, reason = identity_of(item, stream)
    return _nameless(item, stream, reason) if reason else identity


def identity_of(item: Json, stream: Stream) -> tuple[str, str]:
    """The vendor's id of an item, or why it has none that is usable."""
    try:
        identity: object = stream.item_id(item)
    except KeyError as error:
        return "", f"the item has no {error.args[0]}"
    except (TypeError, AttributeError):
        return "", f"the item is a JSON {json_type(item)}, not an object"
    if not isinstance(identity, str) or not identity:
        return "", _cut(f"the id is {identity!r}, not text")
    if not is_key(identity):
        return "", f"the id is longer than {MAX_KEY_BYTES} bytes"
    return identity, ""


def _nameless(item: Json, stream: Stream, reason: str) -> Reject:
    mark = hash_of(content_of(item, stream) if isinstance(item, dict) else item)
    return Reject(external_id=None, path="", reason=reason, payload=item, mark=mark)


def content_of(item: Json, stream: Stream) -> Json:
    """The item without its volatile fields and with its sets in order."""
    content: Json = item  # the item itself, when nothing in it has to be otherwise
    if not stream.volatile_fields.isdisjoint(item):
        content = {
            name: value for name, value in item.items() if name not in stream.volatile_fields
        }
    for path in stream.unordered_lists:
        content = _in_order(content, path)
    return content


def hash_of(content: Json) -> str:
    """`rule:digest` of a canonical content; equal contents have equal hashes on every machine."""
    return hash_of_text(parsed_text(content))


def hash_of_text(text: bytes) -> str:
    """The hash of a content whose JSON text is known."""
    return f"{HASH_RULE}:{blake2b(text, digest_size=16).hexdigest()}"


def transform(item: Json, stream: Stream, partition: Partition) -> Record | Reject:
    """The unified record of an item, or the item as a Reject with the place that does not fit."""
    try:
        return stream.to_record(item, partition)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        return Reject(
            external_id=stream.item_id(item),
            path=_cut(".".join(map(_step, first["loc"])), MAX_PATH),
            reason=_cut(_reason(first["type"], first["msg"])),
            payload=item,
        )


def _step(step: str | int) -> str:
    of_the_name = step == "[key]"  # pydantic's mark of a field whose name does not fit
    return str(step) if of_the_name or isinstance(step, int) else field_step(step)


def _reason(kind: str, message: str) -> str:
    """What does not fit, in the words of JSON; pydantic names our classes, and Python's."""
    if kind in ("model_type", "dict_type"):
        return "Input should be a valid object"
    return message.removeprefix("Value error, ")


def _cut(text: str, most: int = MAX_REASON) -> str:
    return text if len(text) <= most else f"{text[:most]}…"


def _in_order(value: Json, path: Sequence[str], at: int = 0) -> Json:
    """Called for every object on the way of every record, so it makes nothing that it need not."""
    if not isinstance(value, dict):
        return value
    step, last = path[at], at + 1 == len(path)
    names = value if step == "*" else (step,) if step in value else ()
    changed: dict[str, Json] | None = None
    for name in names:
        inner = value[name]
        ordered = _sorted(inner) if last else _in_order(inner, path, at + 1)
        if ordered is not inner:
            changed = dict(value) if changed is None else changed  # one copy, however many change
            changed[name] = ordered
    return value if changed is None else changed


def _sorted(value: Json) -> Json:
    if isinstance(value, list) and len(value) < 2:
        return value
    if isinstance(value, str):
        return [value]  # Statsig's targetApps: one text stands for a list of one
    if not isinstance(value, list):
        return value
    try:
        ordered = sorted(value, key=parsed_text if isinstance(value[0], dict) else None)
    except TypeError:
        ordered = sorted(value, key=parsed_text)
    return value if ordered == value else ordered
