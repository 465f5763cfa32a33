"""The world behind the sandbox: what the three vendors hold, and every way it can change.

Deterministic: the same seed and the same calls give the same bytes. Knows no HTTP.
"""

from collections.abc import Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from random import Random
from threading import RLock
from typing import Any

from etl.sandbox import make_records, words
from etl.sandbox.differences import differences
from etl.sandbox.evolve import evolve
from etl.sandbox.payloads import shown
from etl.sandbox.values import KEY_FIELD, STREAMS, Mutation, Payload, Sizes

TABLES = ("projects", "environments", "layers", "layer_reservations", "layer_parameters")


@dataclass(frozen=True, slots=True)
class Row:
    """A record: its content, when it was created (the order of lists), its number on its shelf."""

    payload: Payload
    born: int
    ordinal: int
    deleted: bool = False


class Shelf:
    """The records of one kind under one parent, live and deleted, by key."""

    def __init__(self, field: str, rows: Iterable[Row]) -> None:
        self._field = field
        self._rows = {row.payload[field]: row for row in rows}
        self._live: tuple[Row, ...] | None = None
        self.next_ordinal = len(self._rows)

    def get(self, key: str) -> Row | None:
        """The record of that key, deleted or not."""
        return self._rows.get(key)

    def put(self, row: Row) -> None:
        """Holds the record under its key, in place of what was there."""
        self._rows[row.payload[self._field]] = row
        self.next_ordinal = max(self.next_ordinal, row.ordinal + 1)
        self._live = None

    def drop(self, key: str) -> None:
        """Forgets the key altogether (it was renamed)."""
        del self._rows[key]
        self._live = None

    def live(self) -> tuple[Row, ...]:
        """What is not deleted, oldest first."""
        if self._live is None:
            rows = (row for row in self._rows.values() if not row.deleted)
            self._live = tuple(sorted(rows, key=lambda row: (row.born, row.ordinal)))
        return self._live

    def deleted(self) -> tuple[Row, ...]:
        """What is deleted and could come back, oldest first."""
        rows = (row for row in self._rows.values() if row.deleted)
        return tuple(sorted(rows, key=lambda row: (row.born, row.ordinal)))


class World:
    """What the three vendors hold; `version` grows with every change, `now` is its own clock."""

    def __init__(self, seed: int = 7, sizes: Sizes = Sizes()) -> None:  # noqa: B008 - frozen
        self.seed, self.sizes = seed, sizes
        self.lock = RLock()
        self.version = 0
        self.reset()

    def reset(self) -> None:
        """As it was at the start; what changed since is forgotten."""
        with self.lock:
            self.now = make_records.START
            self.generation = 0
            self.version += 1
            self._shelves: dict[tuple[str, str, str], Shelf] = {}

    def counts(self) -> dict[str, dict[str, int]]:
        """What a full sync must hold: live rows by provider and unified table."""
        with self.lock:
            return {provider: self._counts(provider) for provider in STREAMS}

    def evolve(
        self,
        changed: float = 0.01,
        deleted: int = 2,
        renamed: int = 1,
        created: int = 2,
        restored: int = 1,
    ) -> list[Mutation]:
        """Some minutes later: does the mutations that it returns."""
        with self.lock:
            return evolve(
                self,
                changed=changed,
                deleted=deleted,
                renamed=renamed,
                created=created,
                restored=restored,
            )

    def records(self, provider: str, stream: str) -> list[Payload]:
        """Copies of all live payloads, oldest first, as a full walk would see them.

        LaunchDarkly's environments and layers also carry `_project_key`.
        """
        with self.lock:
            found = []
            for parent in self.parents(provider, stream):
                extra = {} if parent is None else {"_project_key": parent}
                for row in self.live(provider, stream, parent):
                    payload = shown(provider, stream, row.payload, parent_key=parent)
                    found.append(deepcopy(payload) | extra)
            return found

    def live(self, provider: str, stream: str, parent_key: str | None = None) -> tuple[Row, ...]:
        """The live rows of one list, oldest first; their payloads are not to be changed."""
        with self.lock:
            return self.shelf(provider, stream, parent_key).live()

    def find(
        self, provider: str, stream: str, key: str, parent_key: str | None = None
    ) -> Row | None:
        """The live record of that key, if there is one."""
        with self.lock:
            row = self.shelf(provider, stream, parent_key).get(key)
            return None if row is None or row.deleted else row

    def parents(self, provider: str, stream: str) -> list[str | None]:
        """The parent keys whose lists make up the stream; [None] for a stream without parents."""
        if not _has_parent(provider, stream):
            return [None]
        return [row.payload["key"] for row in self.live(provider, "projects")]

    def delete(
        self, provider: str, stream: str, key: str, parent_key: str | None = None
    ) -> list[Mutation]:
        """The record is gone; a LaunchDarkly project takes what is in it along."""
        with self.lock:
            row = self._row(provider, stream, key, parent_key)
            inside = self._inside(provider, stream, key, "deleted")
            self._put(provider, stream, parent_key, replace(row, deleted=True))
            return [Mutation(provider, stream, "deleted", key, parent_key), *inside]

    def restore(
        self, provider: str, stream: str, key: str, parent_key: str | None = None
    ) -> list[Mutation]:
        """A deleted record is back with the same id and content, and what went along with it."""
        with self.lock:
            row = self._row(provider, stream, key, parent_key, deleted=True)
            self._put(provider, stream, parent_key, replace(row, deleted=False))
            inside = self._inside(provider, stream, key, "restored")
            return [Mutation(provider, stream, "restored", key, parent_key), *inside]

    def update(
        self, provider: str, stream: str, key: str, parent_key: str | None = None, **fields: Any
    ) -> list[Mutation]:
        """The record has these values in these fields; nothing else moves."""
        if KEY_FIELD[provider] in fields:
            raise ValueError(f"{KEY_FIELD[provider]!r} is the key; see rename_project")
        with self.lock:
            row = self._row(provider, stream, key, parent_key)
            payload = {**row.payload, **deepcopy(fields)}
            found = differences(row.payload, payload)
            self._put(provider, stream, parent_key, replace(row, payload=payload))
            return [Mutation(provider, stream, "updated", key, parent_key, found)] if found else []

    def rename_project(self, old_key: str, new_key: str) -> list[Mutation]:
        """A LaunchDarkly project has a new key and the same `_id`; what is in it stays in it."""
        with self.lock:
            row = self._row("launchdarkly", "projects", old_key, None)
            self._raise_if_taken("launchdarkly", "projects", new_key, None)
            payload = {**row.payload, "key": new_key}
            self.shelf("launchdarkly", "projects").drop(old_key)
            self._put("launchdarkly", "projects", None, replace(row, payload=payload))
            fields = (("key", old_key, new_key),)
            return [Mutation("launchdarkly", "projects", "updated", new_key, None, fields)]

    def create(
        self, provider: str, stream: str, parent_key: str | None = None, **overrides: Any
    ) -> str:
        """A new record, and the key it got; a LaunchDarkly project comes with its own children."""
        return self.created(provider, stream, parent_key, **overrides)[0].key

    def created(
        self, provider: str, stream: str, parent_key: str | None = None, **overrides: Any
    ) -> list[Mutation]:
        """As `create`, and tells everything that came into being."""
        with self.lock:
            ordinal = self.shelf(provider, stream, parent_key).next_ordinal
            dice = make_records.die(self.seed, provider, stream, parent_key, ordinal, "created")
            payload = self._payload(dice, provider, stream, parent_key, ordinal)
            payload |= deepcopy(overrides)
            key = str(payload[KEY_FIELD[provider]])
            self._raise_if_taken(provider, stream, key, parent_key)
            self._put(provider, stream, parent_key, Row(payload, self.now, ordinal))
            inside = self._inside(provider, stream, key, "created")
            return [Mutation(provider, stream, "created", key, parent_key), *inside]

    def shelf(self, provider: str, stream: str, parent_key: str | None = None) -> Shelf:
        """The shelf of a list, filled when it is first asked for; KeyError without the parent."""
        if stream not in STREAMS[provider]:
            raise KeyError(f"{provider} has no {stream}")
        parent = None
        if _has_parent(provider, stream):
            parent = self._row(provider, "projects", parent_key or "", None)
        place = (provider, stream, parent.payload["_id"] if parent else "")
        if place not in self._shelves:
            rows = self._seeded(provider, stream, parent)
            self._shelves[place] = Shelf(KEY_FIELD[provider], rows)
        return self._shelves[place]

    def _seeded(self, provider: str, stream: str, parent: Row | None) -> Iterator[Row]:
        at = parent.ordinal if parent else 0
        dice = make_records.die(self.seed, provider, stream, at)
        count = self._count(provider, stream, at)
        for ordinal in range(count):
            born = make_records.birthday(dice, ordinal, count)
            if parent:  # nothing in a project is older than the project
                born = parent.born + ordinal * 1000
            yield Row(_payload(dice, provider, stream, ordinal, (at, born)), born, ordinal)

    def _payload(
        self, dice: Random, provider: str, stream: str, parent_key: str | None, ordinal: int
    ) -> Payload:
        parent = self.find(provider, "projects", parent_key) if parent_key is not None else None
        at = parent.ordinal if parent else 0
        return _payload(dice, provider, stream, ordinal, (at, self.now))

    def _count(self, provider: str, stream: str, project_ordinal: int) -> int:
        sizes = self.sizes
        environments = sizes.ld_environments
        if project_ordinal == words.BIG_PROJECT:
            environments = max(environments, sizes.ld_big_project)
        return {
            ("launchdarkly", "projects"): sizes.ld_projects,
            ("launchdarkly", "environments"): environments,
            ("launchdarkly", "layers"): sizes.ld_layers,
            ("statsig", "projects"): 1,
            ("statsig", "layers"): sizes.statsig_layers,
            ("layers", "projects"): sizes.layers_projects,
        }[provider, stream]

    def _inside(self, provider: str, stream: str, key: str, operation: str) -> list[Mutation]:
        if (provider, stream) != ("launchdarkly", "projects"):
            return []
        return [
            Mutation(provider, kind, operation, row.payload["key"], key)
            for kind in ("environments", "layers")
            for row in self.live(provider, kind, key)
        ]

    def _row(
        self,
        provider: str,
        stream: str,
        key: str,
        parent_key: str | None,
        *,
        deleted: bool = False,
    ) -> Row:
        row = self.shelf(provider, stream, parent_key).get(key)
        if row is None or row.deleted is not deleted:
            state = "deleted" if deleted else "live"
            raise KeyError(f"no {state} {provider} {stream} {key!r} in {parent_key!r}")
        return row

    def _put(self, provider: str, stream: str, parent_key: str | None, row: Row) -> None:
        self.shelf(provider, stream, parent_key).put(row)
        self.version += 1

    def _raise_if_taken(self, provider: str, stream: str, key: str, parent_key: str | None) -> None:
        if self.find(provider, stream, key, parent_key):
            raise ValueError(f"{provider} {stream} {key!r} is there already")

    def _counts(self, provider: str) -> dict[str, int]:
        counts = dict.fromkeys(TABLES, 0)
        for stream in STREAMS[provider]:
            for parent in self.parents(provider, stream):
                rows = self.live(provider, stream, parent)
                counts[stream] += len(rows)
                if stream == "layers":
                    counts["layer_reservations"] += sum(_reservations(row) for row in rows)
                    counts["layer_parameters"] += sum(_parameters(row) for row in rows)
        return counts


def _payload(
    dice: Random, provider: str, stream: str, ordinal: int, at: tuple[int, int]
) -> Payload:
    project_ordinal, born = at
    match provider, stream:
        case "launchdarkly", "projects":
            return make_records.ld_project(dice, ordinal)
        case "launchdarkly", "environments":
            return make_records.ld_environment(dice, ordinal, project_ordinal)
        case "launchdarkly", _:
            return make_records.ld_layer(dice, ordinal, project_ordinal, born)
        case "statsig", "projects":
            return make_records.statsig_project()
        case "statsig", _:
            return make_records.statsig_layer(dice, ordinal, born)
    return make_records.layers_project(dice, ordinal, born)


def _has_parent(provider: str, stream: str) -> bool:
    return provider == "launchdarkly" and stream != "projects"


def _reservations(row: Row) -> int:
    environments = row.payload.get("environments") or {}
    return sum(len(environment["reservations"]) for environment in environments.values())


def _parameters(row: Row) -> int:
    return len(row.payload.get("parameters", ()))
