"""Checks that each lock file is closed: nothing outside it is needed, on any supported platform.

`pip install --no-deps` installs what a lock names and nothing else, so a missing pin would be
noticed at run time only. Requirements are read from pyproject.toml and from the metadata of the
installed packages, extras included, and compared with the pins of the lock alone.

Run by `make check` as `python -m tests.support.locks`.
"""

import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
SYSTEMS = (("linux", "Linux"), ("darwin", "Darwin"))
PIN = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]*==[^\\\n]+", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Lock:
    """A lock file: its pins, and the requirements that it has to satisfy."""

    name: str
    pins: tuple[Requirement, ...]
    roots: tuple[Requirement, ...]

    def without(self, name: str) -> "Lock":
        """The same lock with one pin removed."""
        return Lock(self.name, tuple(pin for pin in self.pins if pin.name != name), self.roots)


def read_lock(name: str, roots: Iterable[str]) -> Lock:
    """Read the lock file `name`, which has to satisfy `roots`."""
    pins = PIN.findall((ROOT / name).read_text())
    return Lock(name, tuple(map(Requirement, pins)), tuple(map(Requirement, roots)))


def read_locks() -> tuple[Lock, Lock, Lock]:
    """Read the lock files of the project: to run it, to run it with all extras, to develop it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups, extras = project["dependency-groups"], project["project"]["optional-dependencies"]
    run = [*project["project"]["dependencies"], *groups["build"]]
    whole = [*run, *(item for extra in extras.values() for item in extra)]
    return (
        read_lock("requirements.lock", run),
        read_lock("requirements-extras.lock", whole),
        read_lock("requirements-dev.lock", [*whole, *groups["dev"]]),
    )


@cache
def environments() -> tuple[dict[str, str], ...]:
    """The marker environments of every supported Python and system."""
    here = {name: str(value) for name, value in default_environment().items()}
    return tuple(
        {
            **here,
            "python_version": python,
            "python_full_version": f"{python}.0",
            "sys_platform": platform,
            "platform_system": system,
        }
        for python in PYTHONS
        for platform, system in SYSTEMS
    )


def applies(requirement: Requirement, environment: dict[str, str], extra: str = "") -> bool:
    """Whether a requirement counts in an environment, when `extra` of its package is wanted."""
    marker = requirement.marker
    return marker is None or marker.evaluate({**environment, "extra": extra})


@cache
def required_by(name: str, extra: str, at: int) -> tuple[Requirement, ...]:
    """What the metadata of a package requires for `extra`, in the environment number `at`."""
    try:
        lines = metadata.requires(name) or []
    except metadata.PackageNotFoundError:  # pinned for another platform
        return ()
    environment = environments()[at]
    return tuple(need for need in map(Requirement, lines) if applies(need, environment, extra))


def open_ends(lock: Lock) -> set[str]:
    """What the lock needs and does not pin, as "REQUIREMENT (needed by PACKAGE)"."""
    return {end for at in range(len(environments())) for end in _open_ends(lock, at)}


def _open_ends(lock: Lock, at: int) -> Iterator[str]:
    environment = environments()[at]
    pins = {
        canonicalize_name(pin.name): next(iter(pin.specifier)).version
        for pin in lock.pins
        if applies(pin, environment)
    }
    queue = [(root, "pyproject.toml") for root in lock.roots if applies(root, environment)]
    done: set[tuple[str, str]] = set()
    while queue:
        requirement, parent = queue.pop()
        name = canonicalize_name(requirement.name)
        if name not in pins or not requirement.specifier.contains(pins[name], prereleases=True):
            yield f"{name}{requirement.specifier} (needed by {parent})"
        for extra in {"", *requirement.extras}:
            if (name, extra) not in done:
                done.add((name, extra))
                queue += [(needed, name) for needed in required_by(name, extra, at)]


def main() -> int:
    """Print what the locks lack, one line each; 1 if there is anything."""
    found = [f"{lock.name}: no pin for {end}" for lock in read_locks() for end in open_ends(lock)]
    for line in sorted(found):
        print(line, file=sys.stderr)  # noqa: T201
    if found:
        print("run `make lock`", file=sys.stderr)  # noqa: T201
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
