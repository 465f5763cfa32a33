"""How records are made: the payload of the n-th record of each kind, by a seeded die.

Links and `_access` are no content and are added where a payload is shown.
"""

import base64
from collections.abc import Sequence
from datetime import UTC, datetime
from random import Random
from typing import Any, TypeVar

from etl.sandbox import words
from etl.sandbox.values import Payload

HOUR = 3_600_000
DAY = 24 * HOUR
START = 1_788_220_800_000  # 2026-09-01T00:00:00Z: the first moment of every world
HISTORY = 1000 * DAY  # in which the seeded records were created; it ends an hour before START

T = TypeVar("T")

_KINDS = ("string", "number", "boolean", "object", "array")
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def die(*parts: object) -> Random:
    """The die that belongs to these parts: the same parts, the same throws."""
    return Random(":".join(map(str, parts)))  # noqa: S311 - made-up data, no secrets


def birthday(dice: Random, ordinal: int, count: int) -> int:
    """When the n-th of `count` seeded records was created; later ordinals are later."""
    step = HISTORY // (count + 1)
    return START - HOUR - HISTORY + ordinal * step + dice.randrange(max(1, step // 2))


def rfc3339(millis: int) -> str:
    """Epoch milliseconds in the form of Layers.com."""
    return f"{datetime.fromtimestamp(millis // 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"


def sdk_key(dice: Random, kind: str) -> str:
    """A key of the form LaunchDarkly's SDKs use: `sdk-…` or `mob-…`."""
    digits = f"{dice.getrandbits(128):032x}"
    return f"{kind}-{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def ld_project(dice: Random, ordinal: int) -> Payload:
    """A LaunchDarkly project."""
    plain = f"{dice.choice(words.ADJECTIVES)}-{dice.choice(words.NOUNS)}-{ordinal}"
    key, name = _special(words.LD_PROJECTS, ordinal) or (plain, _title(plain))
    payload = {
        "_id": _object_id(dice),
        "key": key,
        "includeInSnippetByDefault": dice.random() < 0.5,
        "name": name,
        "tags": _some(dice, words.TAGS, 3),
        "defaultClientSideAvailability": {
            "usingMobileKey": dice.random() < 0.5,
            "usingEnvironmentId": dice.random() < 0.5,
        },
    }
    return payload if ordinal % 3 else payload | {"defaultReleasePipelineKey": "default-releases"}


def ld_environment(dice: Random, ordinal: int, project_ordinal: int) -> Payload:
    """An environment; projects share the keys of their environments."""
    key = _special(words.ENVIRONMENTS, ordinal) or f"env-{ordinal:02}"
    hostile = ordinal == 0 and project_ordinal == 2
    payload = {
        "_id": _object_id(dice),
        "key": key,
        "name": words.ESCAPES if hostile else key.title(),
        "apiKey": sdk_key(dice, "sdk"),
        "mobileKey": sdk_key(dice, "mob"),
        "color": dice.choice(words.COLORS),
        "defaultTtl": dice.choice((0, 5, 10, 60)),
        "secureMode": dice.random() < 0.3,
        "defaultTrackEvents": dice.random() < 0.3,
        "requireComments": ordinal == 0,
        "confirmChanges": ordinal == 0,
        "tags": _some(dice, words.TAGS, 2),
        "critical": ordinal == 0,
        "approvalSettings": _approval(dice),
    }
    if ordinal % 2 == 0:
        payload["resourceApprovalSettings"] = {"segment": _approval(dice)} if ordinal == 4 else {}
    return payload


def ld_layer(dice: Random, ordinal: int, project_ordinal: int, born: int) -> Payload:
    """A LaunchDarkly layer with reservations in none to three environments."""
    plain = f"{dice.choice(words.NOUNS)}-{dice.choice(words.NOUNS)}-{ordinal}"
    key = words.LD_FIRST_LAYER.get(project_ordinal, plain) if ordinal == 0 else plain
    payload: Payload = {
        "key": key,
        "name": words.FORMULA if ordinal == 3 and project_ordinal == 0 else _title(key),
        "description": "" if ordinal % 3 == 0 else f"What {_title(key)} may change",
        "createdAt": born,
    }
    if ordinal % 5 != 4:
        payload["randomizationUnit"] = dice.choice(words.UNITS)
    if ordinal % 8 != 7:
        payload["environments"] = {
            environment: {"reservations": reservations(dice, full=ordinal % 4 == 3)}
            for environment in words.ENVIRONMENTS[: ordinal % 4]
        }
    return payload


def reservations(dice: Random, *, full: bool) -> list[Payload]:
    """Reservations of some experiments; `full` ones sum to 100 %."""
    shares = (60, 40) if full else (dice.choice((0, 10, 25)), 20)[: dice.randint(1, 2)]
    first = dice.randrange(1000)
    return [
        {
            "experimentKey": f"exp-{first + i}",
            "flagKey": f"{dice.choice(words.NOUNS)}-flag",
            "reservationPercent": share,
        }
        for i, share in enumerate(shares)
    ]


def statsig_layer(dice: Random, ordinal: int, born: int) -> Payload:
    """A Statsig layer; a third are implicit ones that an experiment brought with it."""
    plain = f"{dice.choice(words.ADJECTIVES)} {dice.choice(words.NOUNS)} {ordinal}"
    if ordinal % 3 == 0:
        plain = f"statsig::{plain.replace(' ', '_')}_layer"
    key = _special(words.STATSIG_LAYERS, ordinal) or plain
    modified = born + dice.randrange(30 * DAY)
    creator, modifier = dice.choice(words.PEOPLE), dice.choice(words.PEOPLE)
    payload: Payload = {
        "id": key,
        "description": "" if ordinal % 2 else f"About {key}",
        "idType": dice.choice(words.ID_TYPES),
        "lastModifierID": modifier[0],
        "lastModifiedTime": None if ordinal % 25 == 17 else modified,
        "lastModifierName": modifier[1],
        "lastModifierEmail": modifier[2],
        "creatorID": creator[0],
        "createdTime": float(born) if ordinal % 9 == 4 else born,
        "creatorName": creator[1],
        "creatorEmail": creator[2] or "automation@example.com",
        "targetApps": dice.choice(words.APPS) if ordinal % 4 == 2 else _some(dice, words.APPS, 2),
        "holdoutIDs": ["global_holdout"] if ordinal % 5 == 1 else [],
        "tags": _some(dice, words.TAGS, 3),
        "team": "Growth" if ordinal % 7 == 3 else None,
        "isImplicitLayer": key.startswith("statsig::"),
        "parameters": _parameters(dice, ordinal),
    }
    if ordinal % 9 == 5 and payload["lastModifiedTime"]:
        payload["lastModifiedTime"] = modified + 0.5
    if ordinal % 6 == 4:
        payload |= {"name": key, "teamID": f"team-{ordinal}", "version": ordinal % 8 + 1}
    return payload


def statsig_project() -> Payload:
    """The one project a console key belongs to: its id and what its settings say."""
    return {
        "id": "sandbox_company_id",
        "name": "Sandbox Project",
        "visibility": "OPEN",
        "default_unit_type": "userID",
    }


def layers_project(dice: Random, ordinal: int, born: int) -> Payload:
    """A project of Layers.com."""
    plain = f"{dice.choice(words.ADJECTIVES)} {dice.choice(words.NOUNS)} {ordinal}".title()
    updated = rfc3339(born + dice.randrange(30 * DAY))
    return {
        "id": "prj_01" + "".join(dice.choices(_CROCKFORD, k=24)),
        "name": _special(words.LAYERS_PROJECTS, ordinal) or plain,
        "status": "archived" if ordinal % 6 == 5 else "active",
        "customerExternalId": None if ordinal % 5 == 2 else f"customer-{ordinal // 2}",
        "timezone": dice.choice(words.TIMEZONES),
        "primaryLanguage": dice.choice(words.LANGUAGES),
        "ownerEmail": None if ordinal % 7 == 3 else f"owner{ordinal}@example.com",
        "createdAt": rfc3339(born),
        "updatedAt": updated.replace("Z", ".000000+00:00") if ordinal % 20 == 8 else updated,
    }


def cursor(offset: int, **more: str) -> str:
    """An opaque cursor of Layers.com: an offset in disguise."""
    inner = "".join(f',"{name}":"{value}"' for name, value in more.items())
    return base64.b64encode(f'{{"offset":{offset}{inner}}}'.encode()).decode()


def parameter(dice: Random, name: str, kind: str) -> Payload:
    """A layer parameter of that type with a default value that fits."""
    values: dict[str, Any] = {
        "string": dice.choice(words.NOUNS),
        "number": dice.choice((0, 1, 2.5, 100)),
        "boolean": dice.random() < 0.5,
        "object": {"test": "hello", "depth": {"level": dice.randrange(9)}},
        "array": [1, "two", {"three": 3}],
    }
    return {"name": name, "type": kind, "defaultValue": values[kind]}


def _parameters(dice: Random, ordinal: int) -> list[Payload]:
    if ordinal == words.STATSIG_SAMPLE:
        return [
            {"name": name, "type": kind, "defaultValue": value}
            for name, kind, value in words.STATSIG_SAMPLE_PARAMETERS
        ]
    kinds = [_KINDS[(ordinal + i) % len(_KINDS)] for i in range(ordinal % 5)]
    return [parameter(dice, f"{kind}_{i}", kind) for i, kind in enumerate(kinds)]


def _approval(dice: Random) -> Payload:
    return {
        "required": dice.random() < 0.5,
        "bypassApprovalsForPendingChanges": False,
        "minNumApprovals": dice.randint(1, 3),
        "canReviewOwnRequest": False,
        "canApplyDeclinedChanges": True,
        "serviceKind": "launchdarkly",
        "serviceConfig": {},
        "requiredApprovalTags": ["require-approval"],
    }


def _object_id(dice: Random) -> str:
    return f"{dice.getrandbits(96):024x}"


def _title(key: str) -> str:
    return key.replace("-", " ").title()


def _some(dice: Random, choices: list[str], most: int) -> list[str]:
    return dice.sample(choices, dice.randint(0, most))


def _special(specials: Sequence[T], ordinal: int) -> T | None:
    return specials[ordinal] if ordinal < len(specials) else None
