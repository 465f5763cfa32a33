"""What differs between two versions of a payload, field by field, in the vendor's own names."""

from typing import Any

from etl.sandbox.values import Payload

Field = tuple[str, Any, Any]

SECRETS = frozenset({"apiKey", "mobileKey"})
NAMED_BY = {"parameters": "name", "reservations": "experimentKey"}


def differences(old: Any, new: Any, path: str = "") -> tuple[Field, ...]:
    """(path, old, new) of every field that differs; a secret differs without its values."""
    if old == new and type(old) is type(new):
        return ()
    last = path.rpartition(".")[2]
    if last in SECRETS:
        return ((path, None, None),)
    if isinstance(old, dict) and isinstance(new, dict):
        return _between(old, new, f"{path}." if path else "", "")
    if last in NAMED_BY and isinstance(old, list) and isinstance(new, list):
        return _between(_named(old, last), _named(new, last), f"{path}[", "]")
    return ((path, old, new),)


def _between(old: Payload, new: Payload, before: str, after: str) -> tuple[Field, ...]:
    return tuple(
        field
        for name in {**old, **new}
        for field in differences(old.get(name), new.get(name), f"{before}{name}{after}")
    )


def _named(items: list[Payload], kind: str) -> Payload:
    return {item[NAMED_BY[kind]]: item for item in items}
