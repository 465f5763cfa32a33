"""Rows 38, 40 and 41: awkward texts and numbers, reserved characters, keys that nearly collide."""

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import pytest
from sqlalchemy import Engine

from etl.sandbox import Sandbox, Sizes, World
from tests.support.database import Rows, counts, differing, rows
from tests.support.internals.database import RECORDS, rejects
from tests.support.internals.values import json_text, path_step
from tests.support.runs import settings_for, sync

PARAMETERS, RESERVATIONS = (child.current for child in RECORDS["layers"].children)
CURRENT = (*(tables.current for tables in RECORDS.values()), PARAMETERS, RESERVATIONS)


def parameter(name: Any = "a", default: Any = "", kind: Any = "string") -> list[Any]:
    return [{"name": name, "type": kind, "defaultValue": default}]


def reserved(
    experiment: Any = "e", flag: Any = "f", percent: Any = 1, environment: str = "test"
) -> dict[str, Any]:
    held = {"experimentKey": experiment, "flagKey": flag, "reservationPercent": percent}
    return {environment: {"reservations": [held]}}


AWKWARD: dict[str, Any] = {
    "nul": "a\x00b",
    "surrogate": "a\ud800b",
    "emoji": "👩‍🚀🏳️‍🌈",
    "right to left": "\u202eمشروع\u202c",
    "long": "".join(Random(1).choices("0123456789abcdef", k=10**5)),  # noqa: S311
    "blank": " \t\r\n ",
    "empty": "",
    "backslashes": "\\N\\u0000\\x00",
    "controls": "\x01\x1f\x7f\x85\u2028",
    "not normal": "e\u0301 \u00e9",
    "2^53 + 1": 2**53 + 1,
    "2^63 - 1": 2**63 - 1,
    "2^63": 2**63,
    "-2^63 - 1": -(2**63) - 1,
    "10^30": 10**30,
    "10^400": 10**400,
    "1e300": 1e300,
    "5e-324": 5e-324,
    "-0.0": -0.0,
    "0.1": 0.1,
}
TEXTS = [value for value in AWKWARD.values() if isinstance(value, str)]

# provider, stream, project -> the fields of a record that hold an awkward value somewhere
PLACES: dict[tuple[str, str, str | None], dict[str, Callable[[Any], Any]]] = {
    ("statsig", "layers", None): {
        "description": lambda value: value,
        "tags": lambda value: [value],
        "targetApps": lambda value: value,
        "version": lambda value: value,
        "lastModifierName": lambda value: value,
        "newThing": lambda value: {"deep": [value]},
        "parameters name": parameter,
        "parameters type": lambda value: parameter(kind=value),
        "parameters default": lambda value: parameter(default=value),
        "parameters inside": lambda value: parameter(default=[value]),
        "parameters member": lambda value: parameter(default={str(value): 1}),
        "otherThing member": lambda value: {str(value): 1},
    },
    ("layers", "projects", None): {
        "name": lambda value: value,
        "ownerEmail": lambda value: value,
        "timezone": lambda value: value,
    },
    ("launchdarkly", "projects", None): {
        "name": lambda value: value,
        "defaultClientSideAvailability": lambda value: {"a": value},
    },
    ("launchdarkly", "environments", "my-project"): {
        "name": lambda value: value,
        "defaultTtl": lambda value: value,
        "approvalSettings": lambda value: {"a": value, str(value): 1},
    },
    ("launchdarkly", "layers", "my-project"): {
        "name": lambda value: value,
        "description": lambda value: value,
        "environments experiment": reserved,
        "environments flag": lambda value: reserved(flag=value),
        "environments percent": lambda value: reserved(percent=value),
        "environments environment": lambda value: reserved(environment=str(value)),
    },
}
KEYS = [
    ("statsig", "layers", None, "id"),
    ("layers", "projects", None, "id"),
    ("launchdarkly", "projects", None, "key"),
    ("launchdarkly", "projects", None, "_id"),
    ("launchdarkly", "environments", "my-project", "key"),
    ("launchdarkly", "environments", "my-project", "_id"),
    ("launchdarkly", "layers", "my-project", "key"),
]
TINY = Sizes(ld_projects=1, ld_environments=1, ld_layers=1, statsig_layers=2, layers_projects=2)


def all_synced(both: Sequence[Engine], sandboxes: Sequence[Sandbox]) -> Rows:
    """A run of every source on each database ends alike; -> the open rejects."""
    ends = []
    for engine, sandbox in zip(both, sandboxes, strict=True):
        settings = settings_for(sandbox)
        reports = [sync(engine, settings, name) for name in settings.sources]
        ends.append([(report.status, report.changed, report.error) for report in reports])
        again = [sync(engine, settings, name).changed for name in settings.sources]
        assert again == [0, 0, 0]  # nothing is taken for another value when it comes back
    assert {status for status, _, _ in ends[0]} <= {"ok", "partial"}
    assert ends[0] == ends[1]
    assert differing(*both) == set()
    for table in CURRENT:
        raw = [sorted(json_text(row["raw"]) for row in rows(engine, table)) for engine in both]
        assert raw[0] == raw[1]
    return rows(both[0], rejects)


@pytest.mark.row(38)
def test_awkward_values_in_every_field_are_stored_or_rejected_the_same_in_both_databases(
    both: tuple[Engine, Engine],
) -> None:
    """A record for each place and value; first it is an ordinary one, then it is updated."""
    with Sandbox(World(7, TINY)) as one, Sandbox(World(7, TINY)) as other:
        made: list[tuple[tuple[str, str, str | None], str, str, Any]] = []
        for sandbox in (one, other):
            made = [
                (place, sandbox.world.create(*place), field, holding(value))
                for place, fields in PLACES.items()
                for field, holding in fields.items()
                for value in AWKWARD.values()
            ]
            if sandbox is one:
                assert len(made) > 500
        first = all_synced(both, (one, other))
        assert first == []
        for sandbox in (one, other):
            for (provider, stream, project), key, field, value in made:
                fields = {field.split(" ")[0]: value}
                sandbox.world.update(provider, stream, key, project, **fields)
        told = all_synced(both, (one, other))
    assert 100 < len(told) < len(made) / 2
    stored = " ".join(str(row["description"]) for row in rows(both[1], "layers"))
    for value in TEXTS:
        assert value.replace("\x00", "␀").replace("\ud800", "�") in stored


@pytest.mark.row(38)
def test_awkward_values_as_ids_and_keys_are_stored_or_rejected_the_same_in_both_databases(
    both: tuple[Engine, Engine],
) -> None:
    with Sandbox(World(7, TINY)) as one, Sandbox(World(7, TINY)) as other:
        for sandbox in (one, other):
            for provider, stream, project, field in KEYS:
                # the sandbox can neither link to a lone surrogate nor file below a number
                linked = [text for text in TEXTS if "\ud800" not in text]
                values = linked if field == "key" else AWKWARD.values()
                for value in values:
                    sandbox.world.create(provider, stream, project, **{field: value})
        told = all_synced(both, (one, other))
    numbers = len(AWKWARD) - len(TEXTS)
    assert len(told) >= len(KEYS) + 2 * numbers  # the megabyte everywhere, and numbers as ids


@pytest.mark.row(38)
def test_the_name_of_a_field_may_be_awkward_too(both: tuple[Engine, Engine]) -> None:
    with Sandbox(World(7, TINY)) as one, Sandbox(World(7, TINY)) as other:
        for sandbox in (one, other):
            for value in TEXTS:
                for provider, stream, project, _ in KEYS:
                    key = sandbox.world.create(provider, stream, project)
                    sandbox.world.update(provider, stream, key, project, **{f"new {value}": value})
        told = all_synced(both, (one, other))
    assert told == []


# provider, stream, project, the field, what it holds -> a key of that many bytes in every index
LIMITED: list[tuple[str, str, str | None, str, Callable[[str], Any]]] = [
    ("statsig", "layers", None, "id", lambda key: key),
    ("statsig", "layers", None, "parameters", parameter),
    ("layers", "projects", None, "id", lambda key: key),
    ("launchdarkly", "projects", None, "key", lambda key: key),
    ("launchdarkly", "projects", None, "_id", lambda key: key),
    ("launchdarkly", "environments", "my-project", "key", lambda key: key),
    ("launchdarkly", "environments", "my-project", "_id", lambda key: key),
    ("launchdarkly", "layers", "my-project", "key", lambda key: key),
    ("launchdarkly", "layers", "my-project", "environments", reserved),
    ("launchdarkly", "layers", "my-project", "environments", lambda key: reserved(flag=key)),
    ("launchdarkly", "layers", "my-project", "environments", lambda k: reserved(k, k, 1, k)),
]
ALPHABETS = {
    "letters": "".join(map(chr, range(48, 123))).replace("\\", ""),
    "letters of four bytes": "".join(map(chr, range(0x1F300, 0x1F600))),
    "controls": "".join(map(chr, range(1, 32))),
    "quotes": '"\\',
}


def key_of(size: int, alphabet: str) -> str:
    """A key of so many bytes that no compression makes short."""
    dice, text = Random(size), ""  # noqa: S311
    text = "".join(dice.choices(alphabet, k=size // len(alphabet[0].encode())))
    return text + "x" * (size - len(text.encode()))


@pytest.mark.row(38)
@pytest.mark.parametrize(
    ("name", "longer"),
    [("letters", 0), ("letters of four bytes", 0), ("quotes", 1), ("controls", 3)],
)
def test_a_key_of_800_bytes_is_stored_and_one_of_801_is_rejected(
    both: tuple[Engine, Engine], name: str, longer: int
) -> None:
    """An index entry of PostgreSQL holds 2704 bytes; the widest one is the JSON of three keys.

    longer: records of which that JSON is too long, as it escapes such letters.
    """
    alphabet = ALPHABETS[name]
    with Sandbox(World(7, TINY)) as one, Sandbox(World(7, TINY)) as other:
        for size, rejected in ((800, longer), (801, len(LIMITED) + longer)):
            for sandbox in (one, other):
                for provider, stream, project, field, holding in LIMITED:
                    value = holding(key_of(size, alphabet))
                    sandbox.world.create(provider, stream, project, **{field: value})
            told = all_synced(both, (one, other))
            once = {json_text(steady(row["payload"])) for row in told}
            assert len(once) == rejected
            assert all(" bytes" in row["reason"] for row in told)


def steady(payload: dict[str, Any]) -> dict[str, Any]:
    """Without what differs from call to call: an item without a usable id is known by its bytes."""
    return {**payload, "_access": 0, "environments": 0, "tags": sorted(payload.get("tags", ()))}


RESERVED = ("a b", "a::b", "a!b", "a/b", "a%2Fb", "a%b", "..", ".", "a?b#c", "a&b=c", "a+b", "ä\\b")


@pytest.mark.row(40)
def test_ids_with_reserved_characters_are_distinct_rows_and_encoded_in_every_path(
    engine: Engine,
) -> None:
    limits = {"limits": {"delete_count": 50, "delete_percent": 100}}
    with Sandbox(World(7, TINY)) as sandbox:
        settings = settings_for(sandbox, st=limits, ld=limits)
        for text in RESERVED:
            sandbox.world.create("statsig", "layers", id=text)
        for text in RESERVED:
            sandbox.world.create("launchdarkly", "projects", key=text)
        for name in ("st", "ld"):
            assert sync(engine, settings, name).status == "ok"
        for table, source in (("layers", "st"), ("projects", "ld")):
            found = rows(engine, f"{table}_current", f"source = '{source}'")
            assert {row["key"] for row in found} >= set(RESERVED)
        asked_for = {seen.path for seen in sandbox.requests}
        assert {f"/api/v2/projects/{path_step(text)}/layers" for text in RESERVED} <= asked_for
        assert counts(engine)["launchdarkly"] == sandbox.counts()["launchdarkly"]
        for text in RESERVED:
            sandbox.world.delete("statsig", "layers", text)
        assert sync(engine, settings, "st").status == "ok"
        answers = {seen.path: seen.status for seen in sandbox.requests}
        for text in RESERVED:
            assert answers[f"/console/v1/layers/{path_step(text)}"] == 404
        assert counts(engine)["statsig"] == sandbox.counts()["statsig"]


@pytest.mark.row(41)
def test_keys_that_nearly_collide_are_distinct_rows(engine: Engine) -> None:
    """Upper and lower case, composed and decomposed, and keys that are equal when joined."""
    keys = ("flag", "Flag", "FLAG", "flag ", "\u00e9", "e\u0301", "a-b", "a", "a-b-c")
    with Sandbox(World(7, TINY)) as sandbox:
        for key in keys:
            sandbox.world.create(
                "statsig", "layers", id=key, parameters=[parameter(name)[0] for name in keys]
            )
            sandbox.world.create("launchdarkly", "projects", key=key)
        joined = [("a-b", "c", "d"), ("a", "b-c", "d"), ("a", "b", "c-d"), ('a","b', "c", "d")]
        held = [reserved(one, flag, 1, environment) for environment, one, flag in joined]
        environments: dict[str, Any] = {}
        for one in held:
            for environment, found in one.items():
                mine = environments.setdefault(environment, {"reservations": []})
                mine["reservations"] += found["reservations"]
        for project, key in (("a-b", "c"), ("a", "b-c")):
            sandbox.world.create("launchdarkly", "layers", project, key=key)
            sandbox.world.update("launchdarkly", "layers", key, project, environments=environments)
            sandbox.world.create("launchdarkly", "environments", project, key=key)
        settings = settings_for(sandbox)
        for name in ("st", "ld"):
            assert sync(engine, settings, name).status == "ok"
            assert sync(engine, settings, name).changed == 0
        assert counts(engine) | {"layers": {}} == sandbox.counts() | {"layers": {}}
    found = {row["key"] for row in rows(engine, "layers_current", "source = 'st'")}
    assert found >= set(keys)
