"""Values for the tests, each right by default: a test names only what it is about."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from etl.extract.client import Client, RetryPolicy
from etl.providers import PROVIDERS
from etl.providers.kit import Json, Partition, Stream
from etl.providers.wire import fingerprint_with

NOW = 1_780_000_000.0
SDK_KEY = "sdk-00000000-0000-4000-8000-0000000000aa"
MOBILE_KEY = "mob-00000000-0000-4000-8000-0000000000bb"
OWN_KEY = "api-00000000-0000-4000-8000-0000000000cc"
BASE = "https://vendor.example"
FINGERPRINT = fingerprint_with("a key for tests")

LD_PROJECTS = PROVIDERS["launchdarkly"].stream("projects")
LD_ENVIRONMENTS = PROVIDERS["launchdarkly"].stream("environments")
LD_LAYERS = PROVIDERS["launchdarkly"].stream("layers")
STATSIG_LAYERS = PROVIDERS["statsig"].stream("layers")
LAYERS_PROJECTS = PROVIDERS["layers"].stream("projects")

PARTITION = Partition(parent_id="57be1db38b75bf0772d11383", parent_key="my-project")


def body(value: Json) -> bytes:
    """The body of an answer."""
    return json.dumps(value).encode()


def project(**fields: Json) -> dict[str, Json]:
    """A LaunchDarkly project."""
    return {
        "_id": "57be1db38b75bf0772d11383",
        "key": "my-project",
        "name": "My Project",
        "tags": ["ops", "team-a"],
        "includeInSnippetByDefault": True,
        "_links": {"self": {"href": "/api/v2/projects/my-project", "type": "application/json"}},
        **fields,
    }


def environment(**fields: Json) -> dict[str, Json]:
    """A LaunchDarkly environment as it comes, keys and all."""
    return {
        "_id": "57be1db38b75bf0772d11384",
        "key": "production",
        "name": "Production",
        "apiKey": SDK_KEY,
        "mobileKey": MOBILE_KEY,
        "color": "F5A623",
        "defaultTtl": 5,
        "secureMode": True,
        "defaultTrackEvents": False,
        "requireComments": True,
        "confirmChanges": True,
        "critical": True,
        "tags": ["ops"],
        **fields,
    }


def reservation(experiment: str, percent: int = 20, flag: str = "flag") -> dict[str, Json]:
    """A reservation of a LaunchDarkly layer."""
    return {"experimentKey": experiment, "flagKey": flag, "reservationPercent": percent}


def layer(**fields: Json) -> dict[str, Json]:
    """A Statsig layer."""
    return {
        "id": "Homepage Feed",
        "description": "",
        "idType": "userID",
        "lastModifierID": "5sgB",
        "lastModifiedTime": 1702925736079,
        "lastModifierName": "Test User",
        "lastModifierEmail": "test@statsig.com",
        "creatorID": "6Q78",
        "createdTime": 1678122232525,
        "creatorName": "Test User",
        "creatorEmail": "test@statsig.com",
        "targetApps": [],
        "holdoutIDs": [],
        "tags": [],
        "team": None,
        "isImplicitLayer": False,
        "parameters": [],
        **fields,
    }


def parameter(name: str, default: Json = "") -> dict[str, Json]:
    """A parameter of a Statsig layer."""
    return {"name": name, "type": "string", "defaultValue": default}


def layers_project(**fields: Json) -> dict[str, Json]:
    """A Layers.com project."""
    return {
        "id": "prj_01HX",
        "name": "Acme",
        "status": "active",
        "createdAt": "2026-04-10T09:14:22Z",
        "updatedAt": "2026-04-15T17:01:09Z",
        **fields,
    }


def keyed_stream() -> Stream:
    """A stream whose `parameters` are named by their name."""
    return STATSIG_LAYERS


@dataclass(slots=True)
class Clock:
    """A time that passes only while somebody sleeps."""

    time: float = NOW

    def now(self) -> float:
        """The time."""
        return self.time

    def sleep(self, seconds: float) -> None:
        """Lets the time pass."""
        self.time += seconds


def client(clock: Clock | None = None, **fields: Any) -> Client:
    """A client of vendor.example that never really waits."""
    clock = clock or Clock()
    said: Callable[[Json], str] = lambda body: str(body.get("message", ""))  # noqa: E731
    defaults: Mapping[str, Any] = {
        "source": "acme",
        "base_url": BASE,
        "headers": {"Authorization": OWN_KEY},
        "secret": OWN_KEY,
        "error_message": said,
        "patience": RetryPolicy(),
        "sleep": clock.sleep,
        "clock": clock.now,
        "jitter": lambda: 0.5,
    }
    return Client(**{**defaults, **fields})
