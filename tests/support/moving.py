"""Identities that move at LaunchDarkly, and what is stored under each project, by id."""

from collections import defaultdict
from collections.abc import Callable
from typing import Any

from sqlalchemy import Engine

from etl.sandbox import World
from tests.support.database import rows

Contents = dict[tuple[str, str], list[str]]  # (project id, stream) -> keys


def swap(world: World, one: str, other: str) -> None:
    """Two projects exchange their keys."""
    world.rename_project(one, "between-two")
    world.rename_project(other, one)
    world.rename_project("between-two", other)


def rotate(world: World, keys: list[str]) -> None:
    """Each project gets the key of the next one."""
    for key in keys[:-1]:
        swap(world, key, keys[-1])


def take_over(world: World, key: str) -> None:
    """The project is renamed, and a new one has its key."""
    world.rename_project(key, f"{key}-old")
    world.create("launchdarkly", "projects", key=key)


def replace_project(world: World, key: str) -> None:
    """The project is deleted, and another one is created under its key."""
    world.delete("launchdarkly", "projects", key)
    world.create("launchdarkly", "projects", key=key)


MOVES: dict[str, Callable[[World, list[str]], Any]] = {
    "swap": lambda world, keys: swap(world, keys[0], keys[1]),
    "rotate": rotate,
    "rename": lambda world, keys: world.rename_project(keys[0], f"{keys[0]}-renamed"),
    "take over": lambda world, keys: take_over(world, keys[0]),
    "replace": lambda world, keys: replace_project(world, keys[0]),
    "delete": lambda world, keys: world.delete("launchdarkly", "projects", keys[0]),
}


def true_contents(world: World) -> Contents:
    """What each project holds at the vendor."""
    ids = {one["key"]: one["_id"] for one in world.records("launchdarkly", "projects")}
    found: Contents = defaultdict(list)
    for stream in ("environments", "layers"):
        for one in world.records("launchdarkly", stream):
            found[ids[one["_project_key"]], stream].append(one["key"])
    return {place: sorted(keys) for place, keys in found.items()}


def stored_contents(engine: Engine) -> Contents:
    """What is stored and live under each project."""
    found: Contents = defaultdict(list)
    for stream in ("environments", "layers"):
        for row in rows(engine, stream, "NOT is_deleted AND provider = 'launchdarkly'"):
            found[row["parent_id"], stream].append(row["key"])
    return {place: sorted(keys) for place, keys in found.items()}


def misplaced(engine: Engine, *truths: Contents) -> list[str]:
    """Live records under a project that never held them."""
    return [
        f"{stream} {key} in {project}"
        for (project, stream), keys in stored_contents(engine).items()
        for key in keys
        if not any(key in truth.get((project, stream), ()) for truth in truths)
    ]


def missing(engine: Engine, *truths: Contents) -> list[str]:
    """Records that their project held all the time and that are not live here."""
    stored = stored_contents(engine)
    return [
        f"{stream} {key} in {project}"
        for (project, stream), keys in truths[0].items()
        for key in keys
        if all(key in truth.get((project, stream), ()) for truth in truths)
        and key not in stored.get((project, stream), ())
    ]
