"""How stored records are shown: LaunchDarkly's links, and what harmlessly differs by call.

Variant 0 and variant 1 of an answer say the same: other `_access`, other order of tags.
"""

from urllib.parse import quote

from etl.sandbox.values import Payload

JSON_TYPE = "application/json"


def shown(
    provider: str, stream: str, payload: Payload, *, parent_key: str | None = None, variant: int = 0
) -> Payload:
    """A payload as the vendor shows it in a list."""
    turned = payload
    if variant and len(payload.get("tags", ())) > 1:
        turned = payload | {"tags": payload["tags"][::-1]}
    if provider != "launchdarkly" or stream == "layers":
        return turned
    path = project_path(payload["key"] if parent_key is None else parent_key)
    if stream == "environments":
        path = f"{path}/environments/{quote(payload['key'], safe='')}"
        return {"_links": {"self": link(path)}, **turned, "_access": _access(variant)}
    links = {"environments": link(f"{path}/environments"), "self": link(path)}
    return {"_links": links, **turned, "_access": _access(variant)}


def project_path(key: str) -> str:
    """The path of a LaunchDarkly project."""
    return f"/api/v2/projects/{quote(key, safe='')}"


def link(href: str) -> dict[str, str]:
    """A link as LaunchDarkly writes it."""
    return {"href": href, "type": JSON_TYPE}


def _access(variant: int) -> Payload:
    reason = {"effect": "allow", "resources": ["proj/*"], "actions": ["*"], "role_name": "reader"}
    actions = ("createProject", "deleteProject") if variant else ("deleteProject",)
    return {"denied": [{"action": action, "reason": reason} for action in actions], "allowed": []}
