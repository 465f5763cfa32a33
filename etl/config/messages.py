"""What is said about a mistake in the configuration file: file, line, key, remedy; no value of a
secret, no word of the validator's.
"""

import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from etl.config.file import URL_KINDS, file_table, source_table
from etl.errors import ConfigError
from etl.json_text import did_you_mean
from etl.providers import PROVIDERS

Key = tuple[str | int, ...]

_SECRETS = frozenset({"api_key", "fingerprint_key", "urls"})
_HEADER = re.compile(r"\s*\[\[?([^\[\]]+)\]\]?\s*(?:#.*)?$")
_WORD = r"""(?:[\w-]+|"[^"]*"|'[^']*')"""
_ASSIGNMENT = re.compile(rf"\s*({_WORD}(?:\s*\.\s*{_WORD})*)\s*=")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_TOML_PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
_PROXY_FORM = (
    'write proxy = "http://host:port", or { env = "NAME" } or { file = "path" } for a URL with '
    "a password"
)
_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "text",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
    "model_attributes_type": "a table",
    "greater_than": "more than {gt}",
    "greater_than_equal": "{ge} or more",
    "less_than": "less than {lt}",
    "less_than_equal": "{le} or less",
    "string_too_short": "text that is not empty",
    "literal_error": "{expected}",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with the value of a key."""

    key: Key
    message: str


def listed(words: Iterable[str]) -> str:
    """The words in their order, or that there are none."""
    return ", ".join(words) or "none"


def config_error(file: str, text: str, problems: Iterable[Problem]) -> ConfigError:
    """All problems of the file as one error, a line each, in the order of the file."""
    lines = _lines(text)
    placed = sorted(
        ((_line(lines, problem.key), problem) for problem in problems),
        key=lambda one: (one[0], _dotted(one[1].key)),
    )
    return ConfigError(
        "\n".join(
            f"{file}{f':{line}' if line else ''}: {_dotted(problem.key)}: {problem.message}"
            for line, problem in placed
        )
    )


def syntax_error(file: str, text: str, error: tomllib.TOMLDecodeError) -> ConfigError:
    """A file that is no TOML, with its line."""
    message = str(error)
    place = _TOML_PLACE.search(message)
    line = (place and place[1]) or text.count("\n") + 1
    column = f" at column {place[2]}" if place and place[2] else ""
    return ConfigError(f"{file}:{line}: not valid TOML: {_TOML_PLACE.sub('', message)}{column}")


def _lines(text: str) -> dict[Key, int]:
    """Where each key stands first, by a plain scan: a header, or `key =` under one."""
    found: dict[Key, int] = {}
    header: Key = ()
    for number, line in enumerate(text.split("\n"), start=1):
        if (match := _HEADER.match(line)) and (key := _split(match[1])):
            header = key
        elif match := _ASSIGNMENT.match(line):
            key = header + _split(match[1])
        else:
            continue
        for end in range(1, len(key) + 1):
            found.setdefault(key[:end], number)
    return found


def _split(dotted: str) -> Key:
    """The words of a TOML key, quotes undone by the TOML reader itself."""
    words: list[str] = []
    try:
        table: Any = tomllib.loads(f"{dotted} = 0")
    except tomllib.TOMLDecodeError:
        return ()
    while isinstance(table, dict):
        ((word, table),) = table.items()
        words.append(word)
    return tuple(words)


def _line(lines: Mapping[Key, int], key: Key) -> int:
    """The line of the key, or of the nearest table around it; 0 when neither is in the text."""
    ends = range(len(key), 0, -1)
    return next((lines[key[:end]] for end in ends if key[:end] in lines), 0)


def line_of(text: str, key: Key) -> int:
    """The line of the file on which a key stands, or the table around it; 0: it is not there."""
    return _line(_lines(text), key)


def _dotted(key: Key) -> str:
    shown = ""
    for word in key:
        if isinstance(word, int):
            shown += f"[{word}]"
        else:
            shown += "." if shown else ""
            shown += word if _BARE.fullmatch(word) else json.dumps(word, ensure_ascii=False)
    return shown


def problems_of(error: ValidationError) -> list[Problem]:
    """What the validator found, in our words."""
    return [_problem(details) for details in error.errors(include_url=False)]


def _problem(details: ErrorDetails) -> Problem:
    key, model = _place(details["loc"])
    kind, value = details["type"], details["input"]
    if key[2:3] == ("proxy",) and key[0] == "sources":
        own = str(details["ctx"]["error"]) if kind == "value_error" else ""
        return Problem(key[:3], _PROXY_FORM if own in ("", "one of env and file") else own)
    if key[-1] == "[key]":
        message = "a name of a source is 1 to 64 of the characters A-Z a-z 0-9 . _ -"
        return Problem(key[:-1], message)
    if kind == "extra_forbidden":
        return Problem(key, _unknown(key, value, model))
    if secret := _secret(key):
        return Problem(key, f"{secret_form(secret)}, never the secret itself")
    return Problem(key, _mismatch(kind, value, details))


def _secret(key: Key) -> str:
    """The secret that stands at this key or around it, or nothing."""
    inner = key[2:] if key[0] == "sources" else key[1:]
    return str(inner[0]) if inner and inner[0] in _SECRETS else ""


def secret_form(key: str, name: str = "NAME") -> str:
    """How a secret is written."""
    form = f'{{ env = "{name}" }}'
    if key == "urls":
        return f'write {key} = [{form}] or [{{ file = "path" }}]'
    return f'write {key} = {form} or {{ file = "path" }}'


def _place(location: Key) -> tuple[Key, type[BaseModel] | None]:
    """The key as in the file, and the table that should know it.

    Inside a source the validator also names the provider, by which it chose the table.
    """
    model: type[BaseModel] | None = file_table()
    location = tuple(word for word in location if word not in URL_KINDS)
    key = inner = location
    if location[:1] == ("sources",) and len(location) > 2:
        known = location[2] in PROVIDERS
        model = source_table(str(location[2])) if known else None
        inner = location[3:] if known else location[2:]
        key = location[:2] + inner
    for word in inner[:-1]:
        model = _table_at(model, word)
    return key, model


def _table_at(model: type[BaseModel] | None, word: str | int) -> type[BaseModel] | None:
    if isinstance(word, int):  # an entry of a list of tables
        return model
    field = model.model_fields.get(word) if model else None
    return None if field is None else next(_tables(field.annotation), None)


def _tables(annotation: Any) -> Iterator[type[BaseModel]]:
    """The tables in the type of a value, however deep."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _tables(inner)


def _unknown(key: Key, value: object, model: type[BaseModel] | None) -> str:
    word = str(key[-1])
    known = _keys(model) if model else []
    kind = "table" if isinstance(value, dict) else "key"
    hint = did_you_mean(word, known) or f"; known here: {listed(known)}"
    return f"unknown {kind}{hint}"


def _keys(model: type[BaseModel]) -> list[str]:
    """The keys of a table as they stand in the file."""
    return [field.alias or name for name, field in model.model_fields.items()]


def _mismatch(kind: str, value: object, details: ErrorDetails) -> str:
    context = details.get("ctx", {})
    if kind == "value_error":
        return str(context["error"])
    if kind == "missing":
        return "missing"
    if kind not in _EXPECTED:
        return f"{details['msg'][:1].lower()}{details['msg'][1:]}, found {_found(value)}"
    message = f"expected {_EXPECTED[kind].format(**context)}, found {_found(value)}"
    if kind == "literal_error" and isinstance(value, str):
        message += did_you_mean(value, re.findall(r"'([^']*)'", context["expected"]))
    return message


def _found(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case int() | float():
            return _number(value)
        case str():
            return _found_text(value)
        case list():
            return "a list"
        case dict():
            return "a table"
        case _:
            return "a date or time"


def _found_text(text: str) -> str:
    """The text, unless it is a URL, in which a password may stand."""
    short = f"{text[:40]}{'…' if len(text) > 40 else ''}"
    return "a URL" if "://" in text else f"text {json.dumps(short, ensure_ascii=False)}"


def _number(value: float) -> str:
    """The number, unless it is so long that Python refuses to write it."""
    if isinstance(value, int) and value.bit_length() > 64:
        return "a number of more than 64 bits"
    return str(value)
