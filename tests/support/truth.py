"""The database against the simulator, record by record and field by field, after every run.

What a record must look like is read from the schemas of the vendors' pages (`vendor_schemas`), not
from the code that stores it. Three things are compared:

- the live records with what the vendors held while the run read them;
- the events of each run with the differences between the contents before and after it;
- the past, as it is read at the moment of each earlier run, with what was there then.
"""

import hashlib
import hmac
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Engine, select

from etl.config.settings import DEFAULT_FINGERPRINT_KEY
from etl.db.run_tables import rejects, runs
from etl.db.tables import RECORDS, change_fields, changes
from etl.model import RunReport
from etl.sandbox import World
from tests.support.content import differences, stored
from tests.support.runs import SOURCES
from tests.support.vendor_schemas import (
    COLUMNS,
    LISTS,
    Content,
    Json,
    Schema,
    canonical,
    content_of,
    item_schema,
    records_of,
)

ABSENT = object()

Record = tuple[str, str, str]  # stream, parent id, id
Records = dict[Record, Content]  # each with its children
Event = tuple[str, dict[str, tuple[Json, Json]]]  # operation, path -> old and new value


def print_of(secret: str) -> str:
    """The fingerprint of a key under the default configuration."""
    made = hmac.new(DEFAULT_FINGERPRINT_KEY.encode(), secret.encode(), hashlib.sha256)
    return f"fp:{made.hexdigest()[:16]}"


def truth_of(world: World, source: str) -> Content:
    """What must be stored of a source when all that the vendor holds now was read."""
    provider = SOURCES[source]
    found: Content = {}
    with world.lock:
        ids = {one["key"]: one["_id"] for one in world.records("launchdarkly", "projects")}
        for (vendor, stream), schema in LISTS.items():
            if vendor != provider:
                continue
            for item in world.records(provider, stream):
                project_key = item.pop("_project_key", None)
                parent_id = ids.get(project_key, "st" if source == "st" else "")
                rows, _ = records_of(schema, item, parent_id=parent_id, print_of=print_of)
                found |= rows
        if source == "st":
            (item,) = world.records("statsig", "projects")
            found["projects", "", "st", ""] = {
                **dict.fromkeys((*COLUMNS["projects"], "provider_created_at")),
                "key": item["id"],
                "name": item["name"],
                "raw": {**item, "source": "st"},
            }
    return found


def plain(source: str, content: Content) -> Content:
    """A content as it is compared: payloads without what differs from call to call."""
    found: Content = {}
    for place, row in content.items():
        schema = LISTS.get((SOURCES[source], place[0]))
        kept = {name: value for name, value in row.items() if name != "project_key"}
        if schema is not None and not place[3]:
            kept["raw"] = content_of(schema, row["raw"])
        found[place] = kept
    return found


def by_record(content: Content) -> Records:
    """The rows of each record together with those of its children."""
    found: Records = {}
    for place, row in content.items():
        stream = "layers" if place[3] else place[0]
        found.setdefault((stream, place[1], place[2]), {})[place] = row
    return found


@dataclass(slots=True)
class Truth:
    """What the vendors held and what the database said, from the beginning of a story on.

    tainted: records that a run wrote from answers that were not true; they are compared again
    when a later run has written them.
    """

    engine: Engine
    world: World
    states: dict[str, list[Records]] = field(default_factory=dict)
    kept: dict[str, list[tuple[datetime, Content]]] = field(default_factory=dict)
    lives: dict[str, dict[Record, Json]] = field(default_factory=dict)
    tainted: dict[str, set[Record]] = field(default_factory=dict)
    begun: dict[int, int] = field(default_factory=dict)
    last_change: int = 0

    def __post_init__(self) -> None:
        for source in SOURCES:
            self.states[source], self.kept[source] = [], []
            self.lives[source], self.tainted[source] = {}, set()
        self.note()

    def note(self) -> None:
        """Remembers what the vendors hold from now on; to be called after each change of theirs."""
        for source in SOURCES:
            state = by_record(plain(source, truth_of(self.world, source)))
            if not self.states[source] or self.states[source][-1] != state:
                self.states[source].append(state)

    def mark(self) -> dict[str, int]:
        """The moment before a run, for `check`."""
        return {source: len(states) - 1 for source, states in self.states.items()}

    def check(
        self, mark: Mapping[str, int], report: RunReport | None = None, *, lied: bool = False
    ) -> list[str]:
        """What is not as it must be after runs that began at `mark`; `report`: of the last one.

        lied: answers said what was never true, and nothing in them shows it.
        """
        problems: list[str] = []
        events = self._new_events()
        for source in SOURCES:
            now = stored(self.engine, source)
            problems += self._check_events(source, now, events.get(source, {}))
            problems += [f"{source}: {one}" for one in _strange_keys(now)]
            told = report if report is not None and report.source == source else None
            changed = {one for run in events.get(source, {}).values() for one in run}
            problems += self._check_truth(source, now, mark[source], changed, told, lied=lied)
        return problems

    def check_past(self) -> list[str]:
        """What is read of the moments of earlier runs otherwise than it was then."""
        return [
            f"{source} as of {moment}: {one}"
            for source, moments in self.kept.items()
            for moment, content in moments
            for one in differences(content, stored(self.engine, source, moment))
        ]

    def check_end(self) -> list[str]:
        """What differs from the vendors now, after runs that read everything."""
        problems: list[str] = []
        for source in SOURCES:
            now = by_record(plain(source, stored(self.engine, source)))
            held = self.states[source][-1]
            problems += [f"{source}: {one} is missing" for one in held.keys() - now.keys()]
            for record, rows in now.items():
                problems += self._otherwise(source, record, rows, [held])
        return problems

    def _check_truth(
        self,
        source: str,
        now: Content,
        first: int,
        changed: set[Record],
        report: RunReport | None,
        *,
        lied: bool,
    ) -> Iterator[str]:
        found, states = by_record(plain(source, now)), self.states[source]
        self._note_runs(source, first)
        if report is not None and report.run_id is not None:
            first = self.begun[report.run_id]
        while_read = states[first:]
        lied = lied or (source == "ld" and _came_back(while_read))
        tainted = self.tainted[source]
        tainted -= changed
        if lied:
            tainted |= changed
        for record in found.keys() - tainted:
            held = while_read if record in changed else states
            yield from self._otherwise(source, record, found[record], held)
        if report is None or lied or report.status not in ("ok", "partial"):
            return
        waiting = self._rejected(source)
        for stream in report.streams:
            if stream.complete and stream.status == "ok":
                yield from self._check_stream(source, stream.stream, found, while_read, waiting)

    def _check_stream(
        self,
        source: str,
        stream: str,
        found: Records,
        while_read: list[Records],
        waiting: set[Record],
    ) -> Iterator[str]:
        """A stream that was read whole: all that was there all the time, and nothing else."""
        always = set.intersection(*(set(state) for state in while_read))
        ever = set.union(*(set(state) for state in while_read))
        tainted = self.tainted[source]
        for record in always - found.keys() - waiting - tainted:
            if record[0] == stream:
                yield f"{source}: {record} is missing"
        for record in found.keys() - tainted - waiting:
            if record[0] == stream and record not in ever:
                yield f"{source}: {record} is live, and was never there in this run"
            elif record[0] == stream:
                yield from self._otherwise(source, record, found[record], while_read)

    def _otherwise(
        self, source: str, record: Record, found: Content, states: list[Records]
    ) -> Iterator[str]:
        """That a record is as it never was in these states of the vendor."""
        held = [
            self._with_keys(source, record, state[record], found)
            for state in states
            if record in state
        ]
        if not any(not differences(one, found) for one in held):
            said = differences(held[-1], found) if held else ["it was never there"]
            yield f"{source}: {record}: {'; '.join(said)}"

    def _with_keys(self, source: str, record: Record, held: Content, found: Content) -> Content:
        """What a vendor held, with a fingerprint that was seen before where it hides a key."""
        place = (*record, "")
        row = held[place]
        for name, column in _secrets(source, record[0]).items():
            stored_print = found[place][column]
            if row[column] is None and stored_print is not None:
                prints = {
                    state[record][place][column] for state in self.states[source] if record in state
                }
                if stored_print in prints:
                    raw = {**row["raw"], name: stored_print}
                    row = {**row, column: stored_print, "raw": raw}
        return {**held, place: row}

    def _note_runs(self, source: str, first: int) -> None:
        """Since when a run has read; one that is resumed goes on with what it read before."""
        with self.engine.connect() as connection:
            for (run_id,) in connection.execute(
                select(runs.c.run_id).where(runs.c.source == source)
            ):
                self.begun.setdefault(run_id, first)

    def _rejected(self, source: str) -> set[Record]:
        query = select(rejects.c.stream, rejects.c.parent_id, rejects.c.external_id)
        query = query.where(rejects.c.source == source, rejects.c.resolved_at.is_(None))
        with self.engine.connect() as connection:
            return {
                (stream, parent, one or "") for stream, parent, one in connection.execute(query)
            }

    def _new_events(self) -> dict[str, dict[int, dict[Record, Event]]]:
        """Source -> run -> record -> its event, of those that came since the last call."""
        found: dict[str, dict[int, dict[Record, Event]]] = {}
        with self.engine.connect() as connection:
            fields: dict[int, dict[str, tuple[Json, Json]]] = {}
            gone = [change_fields.c[name].is_(None) for name in ("old_value", "new_value")]
            query = select(change_fields, *gone).where(change_fields.c.change_id > self.last_change)
            for change_id, path, old, new, no_old, no_new in connection.execute(query):
                pair = (ABSENT if no_old else old, ABSENT if no_new else new)
                fields.setdefault(change_id, {})[path] = pair
            for stream, tables in RECORDS.items():
                table = tables.current
                joined = select(changes, table.c.parent_id, table.c.external_id).join_from(
                    changes, table, table.c[tables.id] == changes.c.record_id
                )
                new_ones = joined.where(
                    changes.c.stream == stream, changes.c.change_id > self.last_change
                )
                for row in connection.execute(new_ones):
                    record = (stream, row.parent_id, row.external_id)
                    event = (row.operation, fields.get(row.change_id, {}))
                    found.setdefault(row.source, {}).setdefault(row.run_id, {})[record] = event
            newest = connection.execute(
                select(changes.c.change_id).order_by(changes.c.change_id.desc())
            )
            self.last_change = newest.scalar() or 0
        return found

    def _check_events(
        self, source: str, now: Content, events: Mapping[int, Mapping[Record, Event]]
    ) -> Iterator[str]:
        """The events of each run are the differences between the contents around it."""
        with self.engine.connect() as connection:
            query = select(runs.c.run_id, runs.c.observed_at).where(runs.c.run_id.in_(events))
            moments = sorted((at, run_id) for run_id, at in connection.execute(query))
        before: Content = self.kept[source][-1][1] if self.kept[source] else {}
        for number, (at, run_id) in enumerate(moments, 1):
            after = now if number == len(moments) else stored(self.engine, source, at)
            expected = dict(self._expected(source, before, after))
            yield from _unlike(f"{source}, run {run_id}", expected, events[run_id])
            self.kept[source].append((at, after))
            before = after
        if not moments:
            yield from (
                f"{source}: changed without an event: {one}" for one in differences(before, now)
            )

    def _expected(
        self, source: str, before: Content, after: Content
    ) -> Iterator[tuple[Record, Event]]:
        """The events that lead from one content to the next one."""
        olds, news = _payloads(source, before), _payloads(source, after)
        lives = self.lives[source]
        for record in olds.keys() - news.keys():
            yield record, ("deleted", {})
        for record, new in news.items():
            old, shape = lives.get(record), _shape(source, record[0])
            if record not in lives:
                yield record, ("created", {})
            elif record not in olds:
                yield record, ("restored", dict(field_differences(shape, old, new)))
            elif canonical(old) != canonical(new):
                yield record, ("updated", dict(field_differences(shape, old, new)))
        lives.update(news)


def _strange_keys(content: Content) -> Iterator[str]:
    """Environments and layers that do not have the key of their project as it is stored."""
    keys = {place[2]: row["key"] for place, row in content.items() if place[0] == "projects"}
    for place, row in content.items():
        if "project_key" in row and row["project_key"] != keys.get(place[1]):
            yield f"{place} has the project key {row['project_key']}, not {keys.get(place[1])}"


def _payloads(source: str, content: Content) -> dict[Record, Json]:
    return {
        (stream, parent_id, external_id): row["raw"]
        for (stream, parent_id, external_id, child), row in plain(source, content).items()
        if not child
    }


def _shape(source: str, stream: str) -> Schema:
    schema = LISTS.get((SOURCES[source], stream))
    return {} if schema is None else item_schema(schema)


def _secrets(source: str, stream: str) -> dict[str, str]:
    """Field -> column of the fingerprint, of keys."""
    fields = _shape(source, stream).get("properties", {})
    return {name: one["x-column"] for name, one in fields.items() if "x-secret" in one}


def _came_back(states: list[Records]) -> bool:
    """Whether a key was another project's for a while and then its first one's again.

    Nobody can see that between two requests: docs/decisions/0019.
    """
    owners = [
        {
            row["key"]: record
            for record, rows in state.items()
            for row in rows.values()
            if record[0] == "projects"
        }
        for state in states
    ]
    return any(
        owners[-1].get(key) == owner and between.get(key) != owner
        for between in owners
        for key, owner in owners[0].items()
    )


def _unlike(
    where: str, expected: Mapping[Record, Event], found: Mapping[Record, Event]
) -> Iterator[str]:
    for record in expected.keys() | found.keys():
        one, other = expected.get(record), found.get(record)
        if _shown(one) != _shown(other):
            yield f"{where}: {record}: the event {_shown(one)} expected, {_shown(other)}"


def _shown(event: Event | None) -> str:
    if event is None:
        return "none"
    operation, fields = event
    sides = {
        path: ["absent" if side is ABSENT else canonical(side) for side in pair]
        for path, pair in fields.items()
    }
    return f"{operation} {canonical(sides)}"


def field_differences(
    schema: Schema, old: Json, new: Json, path: str = ""
) -> Iterator[tuple[str, tuple[Json, Json]]]:
    """(path, old and new value) of each smallest difference, as docs/schema.md describes paths."""
    if old is not ABSENT and new is not ABSENT and canonical(old) == canonical(new):
        return
    labels = _labels(schema, old, new)
    befores: dict[str, Json]
    afters: dict[str, Json]
    inner: dict[str, Json]
    if labels is not None:
        befores, afters = labels
        inner = dict.fromkeys((*befores, *afters), schema["items"])
        paths = {name: f"{path}[{_label(name)}]" for name in inner}
    elif isinstance(old, dict) and isinstance(new, dict) and (old or new):
        befores, afters = old, new
        known, others = schema.get("properties", {}), schema.get("additionalProperties", {})
        inner = {name: known.get(name, others) for name in (*befores, *afters)}
        paths = {name: f"{path}.{_step(name)}".lstrip(".") for name in inner}
    else:
        yield path, (old, new)
        return
    for name, below in inner.items():
        sides = befores.get(name, ABSENT), afters.get(name, ABSENT)
        yield from field_differences(below, sides[0], sides[1], paths[name])
    both = [name for name in befores if name in afters]
    if labels is not None and both != [name for name in afters if name in befores]:
        yield path, (list(befores), list(afters))


def _labels(schema: Schema, old: Json, new: Json) -> tuple[dict[str, Json], dict[str, Json]] | None:
    """The items of two lists by name: of as few of the fields that tell them apart as needed."""
    unique = schema.get("x-unique-by")
    if unique is None or not (isinstance(old, list) and isinstance(new, list)) or not (old or new):
        return None
    for count in range(1, len(unique) + 1):
        sides = [
            {",".join(str(one[name]) for name in unique[:count]): one for one in items}
            for items in (old, new)
        ]
        if len(sides[0]) == len(old) and len(sides[1]) == len(new):
            return sides[0], sides[1]
    return None


def _step(name: str) -> str:
    odd = not name or any(one in name for one in " .[]\"'") or any(map(str.isspace, name))
    return canonical(name) if odd else name


def _label(name: str) -> str:
    return canonical(name) if "]" in name or '"' in name else name


def agree(problems: list[str]) -> None:
    """Fails with all of them, one a line."""
    assert not problems, "\n".join(problems[:40])
