"""The sandbox's small values: its keys, how much there is, what was done, what was asked."""

from dataclasses import dataclass
from typing import Any

Payload = dict[str, Any]  # a vendor's JSON object

KEYS = {
    "launchdarkly": "sandbox-ld-5b1f0c9e-not-a-secret",
    "launchdarkly-narrow": "sandbox-ld-narrow-77aa31d0-not-a-secret",
    "statsig": "console-sandbox-2c64e8a1-not-a-secret",
    "layers": "lp_sandbox_91d3f7b2_not_a_secret",
}

STREAMS = {
    "launchdarkly": ("projects", "environments", "layers"),
    "statsig": ("projects", "layers"),
    "layers": ("projects",),
}

KEY_FIELD = {"launchdarkly": "key", "statsig": "id", "layers": "id"}


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much there is: LaunchDarkly's environments and layers are counted per project.

    ld_big_project: environments of the second project, if that is more; 20 come inside a project.
    """

    ld_projects: int = 12
    ld_environments: int = 3
    ld_big_project: int = 28
    ld_layers: int = 8
    statsig_layers: int = 150
    layers_projects: int = 60


@dataclass(frozen=True, slots=True)
class Mutation:
    """One thing that happened to one record; `fields` are (path, old, new) in the vendor's JSON.

    Only updates have fields. A rotated key is listed without its values.
    """

    provider: str
    stream: str
    operation: str
    key: str
    parent_key: str | None = None
    fields: tuple[tuple[str, Any, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Seen:
    """One request that was answered (status 0: the connection was closed instead); never a key."""

    method: str
    path: str
    query: str
    status: int
    provider: str
