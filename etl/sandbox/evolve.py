"""What happens in the world while nobody looks: a believable mix of changes, exactly reported.

No record is touched twice in one step, so that the report equals a diff of before and after.
"""

from collections.abc import Callable
from copy import deepcopy
from random import Random
from typing import TYPE_CHECKING, Any

from etl.sandbox import make_records, words
from etl.sandbox.values import KEY_FIELD, STREAMS, Mutation, Payload

if TYPE_CHECKING:
    from etl.sandbox.world import World

Edit = Callable[[Random, Payload], Payload]  # -> the top-level fields that are new
Place = tuple[str, str, str | None, str]  # provider, stream, parent key, key

KEPT_PROJECTS = 3  # the first of LaunchDarkly are never deleted: they hold the special cases
SPREAD = {  # which streams deletions and creations go to, in turn
    "launchdarkly": ("projects", "layers", "environments"),
    "statsig": ("layers",),
    "layers": ("projects",),
}
MINUTE = 60_000


def evolve(
    world: "World", *, changed: float, deleted: int, renamed: int, created: int, restored: int
) -> list[Mutation]:
    """Moves the world's clock on, does that many things with each provider, and tells which."""
    dice = make_records.die(world.seed, "evolve", world.generation)
    world.now += dice.randint(3, 20) * MINUTE
    done: list[Mutation] = []
    for provider in STREAMS:
        step = _Step(world, provider, dice)
        step.restore(restored)
        step.rename(renamed if provider == "launchdarkly" else 0)
        step.delete(deleted)
        step.update(changed)
        step.create(created)
        done += step.done
    world.generation += 1
    return done


class _Step:
    """One provider's part: what was done so far, and what may not be touched again."""

    def __init__(self, world: "World", provider: str, dice: Random) -> None:
        self.world, self.provider, self.dice = world, provider, dice
        self.done: list[Mutation] = []

    def restore(self, count: int) -> None:
        """Brings back some of what an earlier step deleted."""
        gone = [
            (stream, parent, row.payload[KEY_FIELD[self.provider]])
            for stream in SPREAD[self.provider]
            for parent in self.world.parents(self.provider, stream)
            for row in self.world.shelf(self.provider, stream, parent).deleted()
        ]
        for stream, parent, key in self.dice.sample(gone, min(count, len(gone))):
            self.done += self.world.restore(self.provider, stream, key, parent)

    def rename(self, count: int) -> None:
        """Gives some projects a new key, never the first nor one just restored."""
        for _ in range(count):
            places = [place for place in self._untouched("projects") if self._project(place) > 1]
            if places:
                key = self.dice.choice(places)[3]
                new_key = f"{key.partition('.renamed-')[0]}.renamed-{self.world.generation + 1}"
                self.done += self.world.rename_project(key, new_key)

    def delete(self, count: int) -> None:
        """Deletes some records, going round the streams."""
        spread = SPREAD[self.provider]
        for i in range(count):
            stream = spread[i % len(spread)]
            places = [place for place in self._untouched(stream) if self._may_go(place)]
            if len(places) > 1:
                *_, parent, key = self.dice.choice(places)
                self.done += self.world.delete(self.provider, stream, key, parent)

    def update(self, changed: float) -> None:
        """Edits that share of every stream, and at least one record of each."""
        for stream in STREAMS[self.provider] if changed > 0 else ():
            edits = EDITS[self.provider, stream]
            places = self._untouched(stream) if edits else []
            count = min(len(places), max(1, round(changed * len(places))))
            for i, place in enumerate(self.dice.sample(places, count)):
                self._edit(place, edits, self.world.generation + i)

    def create(self, count: int) -> None:
        """Creates some records, going round the streams."""
        spread = SPREAD[self.provider]
        for i in range(count):
            stream = spread[i % len(spread)]
            parents = self.world.parents(self.provider, stream)
            if parents:
                parent = self.dice.choice(parents)
                self.done += self.world.created(self.provider, stream, parent)

    def _edit(self, place: Place, edits: tuple[Edit, ...], turn: int) -> None:
        provider, stream, parent, key = place
        row = self.world.find(provider, stream, key, parent)
        if row is None:
            return
        fields = edits[turn % len(edits)](self.dice, deepcopy(row.payload))
        fields |= _stamps(self.dice, provider, self.world.now)
        self.done += self.world.update(provider, stream, key, parent, **fields)

    def _untouched(self, stream: str) -> list[Place]:
        touched = {(done.stream, done.parent_key, done.key) for done in self.done}
        touched |= {("projects", None, done.parent_key or "") for done in self.done}
        field = KEY_FIELD[self.provider]
        return [
            (self.provider, stream, parent, row.payload[field])
            for parent in self.world.parents(self.provider, stream)
            for row in self.world.live(self.provider, stream, parent)
            if (stream, parent, row.payload[field]) not in touched
        ]

    def _project(self, place: Place) -> int:
        provider, _, parent, key = place
        row = self.world.find(provider, "projects", key if parent is None else parent)
        return row.ordinal if row else 0

    def _may_go(self, place: Place) -> bool:
        if self.provider != "launchdarkly" or place[1] == "layers":
            return True
        return self._project(place) >= KEPT_PROJECTS


def _stamps(dice: Random, provider: str, now: int) -> Payload:
    if provider == "layers":
        return {"updatedAt": make_records.rfc3339(now)}
    if provider == "launchdarkly":
        return {}
    person = dice.choice(words.PEOPLE)
    return {
        "lastModifiedTime": now,
        "lastModifierID": person[0],
        "lastModifierName": person[1],
        "lastModifierEmail": person[2],
    }


def _another(dice: Random, choices: list[str], old: Any) -> str:
    return dice.choice([choice for choice in choices if choice != old])


def _retitle(dice: Random, payload: Payload) -> Payload:
    return {"name": f"{payload['name'].partition(' (')[0]} (edition {dice.randrange(10**6)})"}


def _describe(dice: Random, _payload: Payload) -> Payload:
    return {"description": f"Reviewed, see note {dice.randrange(10**6)}"}


def _retag(dice: Random, payload: Payload) -> Payload:
    tag = dice.choice(words.TAGS)
    tags = payload["tags"]
    return {"tags": [t for t in tags if t != tag] if tag in tags else [*tags, tag]}


def _availability(_dice: Random, payload: Payload) -> Payload:
    old = payload["defaultClientSideAvailability"]
    return {"defaultClientSideAvailability": old | {"usingMobileKey": not old["usingMobileKey"]}}


def _rotate(dice: Random, _payload: Payload) -> Payload:
    return {"apiKey": make_records.sdk_key(dice, "sdk")}


def _recolor(dice: Random, payload: Payload) -> Payload:
    return {"color": _another(dice, words.COLORS, payload["color"])}


def _critical(_dice: Random, payload: Payload) -> Payload:
    return {"critical": not payload["critical"], "defaultTtl": payload["defaultTtl"] + 1}


def _reserve(dice: Random, payload: Payload) -> Payload:
    """Moves a reservation that is there, or makes the first one."""
    environments = payload.get("environments", {})
    taken = [inner for inner in environments.values() if inner["reservations"]]
    if taken:
        reservation = dice.choice(dice.choice(taken)["reservations"])
        reservation["reservationPercent"] = (reservation["reservationPercent"] + 10) % 50
    else:
        environments["production"] = {"reservations": make_records.reservations(dice, full=False)}
    return {"environments": environments}


def _default(dice: Random, payload: Payload) -> Payload:
    """Changes the default value of a scalar parameter, or adds a parameter."""
    parameters = payload["parameters"]
    scalars = [one for one in parameters if one["type"] in ("string", "number", "boolean")]
    if not scalars:
        name = f"added_{dice.randrange(10**6)}"
        return {"parameters": [*parameters, make_records.parameter(dice, name, "number")]}
    chosen = dice.choice(scalars)
    old = chosen["defaultValue"]
    new = {"string": f"v{dice.randrange(10**6)}", "boolean": not old}
    chosen["defaultValue"] = new.get(chosen["type"], dice.randrange(10**6))
    return {"parameters": parameters}


def _target(dice: Random, payload: Payload) -> Payload:
    return {"targetApps": [_another(dice, words.APPS, payload["targetApps"])]}


def _status(_dice: Random, payload: Payload) -> Payload:
    return {"status": "archived" if payload["status"] == "active" else "active"}


def _zone(dice: Random, payload: Payload) -> Payload:
    return {"timezone": _another(dice, words.TIMEZONES, payload["timezone"])}


EDITS: dict[tuple[str, str], tuple[Edit, ...]] = {
    ("launchdarkly", "projects"): (_retitle, _retag, _availability),
    ("launchdarkly", "environments"): (_rotate, _recolor, _retag, _critical),
    ("launchdarkly", "layers"): (_reserve, _describe, _retitle),
    ("statsig", "projects"): (),
    ("statsig", "layers"): (_default, _describe, _target, _retag),
    ("layers", "projects"): (_retitle, _status, _zone),
}
