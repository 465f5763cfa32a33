"""A scenario file (JSON or TOML): how big a sandbox is, how fast, and what goes wrong in it."""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from etl.sandbox.faults import Fault
from etl.sandbox.limits import Limit, checked_limits
from etl.sandbox.values import Sizes

FAULT = {"match": str, "kind": str, "after": int, "times": int, "arg": object}
SIZES = {field.name: int for field in fields(Sizes)}
SCENARIO = {"seed": int, "sizes": dict, "faults": list, "rate_limits": dict} | {
    "latency": float, "page_cap": int
}  # fmt: skip


MOST_BYTES = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What a scenario file says; what it does not say is as without one."""

    seed: int = 7
    sizes: Sizes = Sizes()  # noqa: RUF009 - frozen
    faults: tuple[Fault, ...] = ()
    rate_limits: Mapping[str, Limit] | None = None
    latency: float = 0.0
    page_cap: int | None = None


def read(path: Path) -> Scenario:
    """The scenario in the file; ValueError says what is wrong with it."""
    with path.open("rb") as file:
        said = file.read(MOST_BYTES + 1)
    if len(said) > MOST_BYTES:
        raise ValueError(f"{path}: larger than a scenario may be ({MOST_BYTES:,} bytes)")
    text = said.decode()
    try:
        return scenario_of(tomllib.loads(text) if path.suffix == ".toml" else json.loads(text))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def scenario_of(value: Any) -> Scenario:
    """The scenario that the JSON value says."""
    found = checked(value, SCENARIO, "scenario")
    if "sizes" in found:
        found["sizes"] = Sizes(**checked(found["sizes"], SIZES, "sizes"))
    if "faults" in found:
        found["faults"] = faults_of(found["faults"])
    if "rate_limits" in found:
        found["rate_limits"] = checked_limits(found["rate_limits"])
    return Scenario(**found)


def faults_of(value: Any) -> tuple[Fault, ...]:
    """The faults that the JSON list says."""
    if not isinstance(value, list):
        raise ValueError("faults must be a list")  # noqa: TRY004 - a file's value, not a caller's
    found = [checked(one, FAULT, f"faults[{i}]") for i, one in enumerate(value)]
    for i, one in enumerate(found):
        missing = {"match", "kind"} - one.keys()
        if missing:
            raise ValueError(f"faults[{i}] has no {' and no '.join(sorted(missing))}")
    return tuple(Fault(**one) for one in found)


def checked(value: Any, known: Mapping[str, type], where: str) -> dict[str, Any]:
    """The object, when it has no unknown member and none of a wrong type; else ValueError."""
    if not isinstance(value, dict):
        raise ValueError(f"{where} must be an object")  # noqa: TRY004 - as above
    for name, inner in value.items():
        if name not in known:
            raise ValueError(f"{where}: unknown {name!r}; known are {', '.join(sorted(known))}")
        if not _fits(inner, known[name], name):
            raise ValueError(f"{where}: {name} must be {known[name].__name__}, not {inner!r}")
    return dict(value)


def _fits(value: Any, wanted: type, name: str) -> bool:
    if wanted is object or (name in ("times", "page_cap") and value is None):
        return True
    if isinstance(value, bool):
        return False
    return isinstance(value, (int, float) if wanted is float else wanted)
