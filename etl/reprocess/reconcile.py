"""Makes the rows of a source equal to those of another database, and tells each difference.

Records are matched by what they are, so that row ids and ids of events stay. Values are compared as
etl.audit.payloads does. The caller's transaction.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from json import loads
from typing import Any

from sqlalchemy import (
    JSON,
    Column,
    Connection,
    Table,
    Text,
    bindparam,
    cast,
    delete,
    func,
    insert,
    select,
    update,
)

from etl.audit.payloads import in_doubles
from etl.batches import together
from etl.db.bulk import copy_rows, parts
from etl.db.engine import lock_events
from etl.db.large_rows import MAX_TEXT, size_of
from etl.db.run_tables import outside_scope, rejects, schema_drift
from etl.db.tables import RECORDS, RecordTables, change_fields, changes
from etl.db.types import Document
from etl.json_text import json_text

_SEEN = ("first_seen_at", "last_seen_at")


class _Text(str):
    """JSON as text: `null` is a value, None is none."""

    __slots__ = ()


Row = dict[str, Any]
Ids = Mapping[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class RowDifference:
    """A row that is changed, added or removed; fields: column -> its value before and after."""

    table: str
    what: str
    where: str
    fields: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Reconciliation:
    """`here` is to hold what `there` holds of a source; without `writes` it is only told.

    runs: run there -> run here, where the numbers are others. taken: runs here of which all is made
    anew, also what they rejected. ids: stream -> row id there -> row id here. new_events: to be
    written by `write_new_events`.
    """

    there: Connection
    here: Connection
    source: str
    writes: bool
    runs: Mapping[int, int] = field(default_factory=dict)
    taken: Collection[int] = frozenset()
    ids: dict[str, dict[int, int]] = field(default_factory=dict)
    new_events: list[Row] = field(default_factory=list)

    def stream(self, tables: RecordTables) -> Iterator[RowDifference]:
        """All of one stream; after the projects, to which the others refer."""
        new, gone = self.match(tables)
        for part in _readable(self.there, tables, new):
            yield from self._add(tables, part)
        ids = self.ids[tables.stream]
        versions = _Kind(table=tables.history, id=tables.id, key=(tables.id, "version"))
        children = [
            _Kind(table=child.current, id="layer_id", key=("layer_id", "external_id"), own=child.id)
            for child in tables.children
        ]
        for part in _readable(self.there, tables, list(ids)):
            some = {row_id: ids[row_id] for row_id in part}
            yield from self._level(
                _Kind(table=tables.current, id=tables.id, key=(tables.id,)), some
            )
            yield from self._level(versions, some)
            yield from self._events(tables, some)
            for child in children:
                yield from self._level(child, some)
        for part in _readable(self.here, tables, gone):
            yield from self._remove(tables, part)

    def match(self, tables: RecordTables) -> tuple[list[int], list[int]]:
        """Fills `ids`; -> the rows of there that are not here, and those of here not there."""
        here, there = (_identities(one, tables, self.source) for one in (self.here, self.there))
        self.ids[tables.stream] = {there[key]: here[key] for key in there if key in here}
        new = [row_id for key, row_id in there.items() if key not in here]
        return new, [row_id for key, row_id in here.items() if key not in there]

    def _add(self, tables: RecordTables, row_ids: Sequence[int]) -> Iterator[RowDifference]:
        """Gives new records their row; until it is written they have a number below zero."""
        ids, table = self.ids[tables.stream], tables.current
        for row in self._translated(_read(self.there, table, tables.id, row_ids)):
            wanted = row.pop(tables.id)
            ids[wanted] = -wanted
            if self.writes:
                ids[wanted] = self._inserted(table, row)
                yield RowDifference(table=table.name, what="added", where=_where(row))

    def _level(self, kind: "_Kind", ids: Ids) -> Iterator[RowDifference]:
        """The rows of one table that belong to these records."""
        table = kind.table
        old = _keyed(_read(self.here, table, kind.id, list(ids.values()), kind.own), kind.key)
        rows = _read(self.there, table, kind.id, list(ids), kind.own)
        for row in rows:
            row[kind.id] = ids[row[kind.id]]
        new = _keyed(self._translated(rows), kind.key)
        found = dict(_compared(table, old, new))
        yield from found.values()
        if not self.writes or not found:
            return
        changed = [place for place, one in found.items() if one.what == "changed"]
        in_place = kind.key != (kind.id, "version")  # numbers of versions may move
        self._delete(table, kind.key, [old[p] for p in found if p in old and p not in changed])
        if in_place:
            self._set(table, kind.key, [new[place] for place in changed])
        else:
            self._delete(table, kind.key, [old[place] for place in changed])
        added = [p for p in found if p in new and not (in_place and p in changed)]
        self._copy(table, [new[place] for place in added])

    def _events(self, tables: RecordTables, ids: Ids) -> Iterator[RowDifference]:
        """Events with their fields; one of the same record and run keeps its id."""
        old = self._told(self.here, tables, {row_id: row_id for row_id in ids.values()})
        new = self._told(self.there, tables, ids, runs=self.runs)
        found = dict(_compared(changes, _without_id(old), _without_id(new)))
        yield from found.values()
        if not self.writes or not found:
            return
        gone = [old[place]["change_id"] for place in found if place in old]
        for table in (change_fields, changes):
            self.here.execute(delete(table).where(table.c.change_id.in_(gone)))
        for place in found:
            if place in new:
                if place in old:
                    self._insert_event({**new[place], "change_id": old[place]["change_id"]})
                else:
                    self.new_events.append(_less(new[place], "change_id"))

    def write_new_events(self) -> None:
        """Events that were not here get their ids, as etl.load.events does: last, before commit."""
        if self.new_events:
            lock_events(self.here)
            for row in self.new_events:
                self._insert_event(row)

    def _insert_event(self, row: Row) -> None:
        fields = row["fields"]
        change_id = self._inserted(changes, _less(row, "fields"))
        self._copy(change_fields, [{**one, "change_id": change_id} for one in fields])

    def _told(
        self, database: Connection, tables: RecordTables, ids: Ids, *, runs: Ids | None = None
    ) -> dict[Any, Row]:
        """(record, run) -> its event, with its fields."""
        rows = _read(database, changes, "record_id", list(ids))
        events = {row["change_id"]: row for row in rows if row["stream"] == tables.stream}
        for row in events.values():
            row["record_id"] = ids[row["record_id"]]
            row["run_id"] = (runs or {}).get(row["run_id"], row["run_id"])
            row["fields"] = []
        for part in parts(list(events)):
            for one in _read(database, change_fields, "change_id", part):
                events[one["change_id"]]["fields"].append(_less(one, "change_id"))
        for row in events.values():
            row["fields"].sort(key=lambda one: one["path"])
        return _keyed(list(events.values()), ("record_id", "run_id"))

    def _remove(self, tables: RecordTables, row_ids: Sequence[int]) -> Iterator[RowDifference]:
        """Records that the payloads do not make any more go, with all that hangs on them."""
        for row in _read(self.here, tables.current, tables.id, row_ids):
            yield RowDifference(table=tables.current.name, what="removed", where=_where(row))
        if not self.writes:
            return
        of_them = [changes.c.stream == tables.stream, changes.c.record_id.in_(row_ids)]
        events = select(changes.c.change_id).where(*of_them)
        self.here.execute(delete(change_fields).where(change_fields.c.change_id.in_(events)))
        self.here.execute(delete(changes).where(*of_them))
        below = [one.current for one in RECORDS.values() if one.has_project != tables.has_project]
        for table in below if tables.stream == "projects" else ():
            orphans = update(table).where(table.c.project_id.in_(row_ids))
            self.here.execute(orphans.values(project_id=None))
        for table, column in (
            *((child.current, "layer_id") for child in tables.children),
            (tables.history, tables.id),
            (tables.current, tables.id),
        ):
            self.here.execute(delete(table).where(table.c[column].in_(row_ids)))
        outside = outside_scope.c.stream == tables.stream, outside_scope.c.row_id.in_(row_ids)
        self.here.execute(delete(outside_scope).where(*outside))

    def findings(self, stream: str) -> Iterator[RowDifference]:
        """Drift as it shows; rejects are added: others never were a version, but where dumps are.

        When a finding that both have was first and last seen the run itself knew best.
        """
        for table, own, more in (
            (schema_drift, "drift_id", "type"),
            (rejects, "reject_id", "item"),
        ):
            key = ("source", "stream", "path" if table is schema_drift else "parent_id", more)
            old, new = (
                _keyed(_found(one, table, self.source, stream, own), key)
                for one in (self.here, self.there)
            )
            for place in {*old} & {*new}:
                new[place].update({name: old[place][name] for name in _SEEN})
            self._translated(list(new.values()))
            found = dict(_compared(table, old, new))
            if table is rejects:  # one that is resolved and not here was pruned
                found = {
                    p: one for p, one in found.items() if p in old or not new[p]["resolved_at"]
                }
                found = {
                    place: one
                    for place, one in found.items()
                    if one.what == "added" or old[place]["run_id"] in self.taken
                }
            yield from found.values()
            if self.writes:
                self._delete(table, key, [old[place] for place in found if place in old])
                self._copy(table, [new[place] for place in found if place in new])

    def _translated(self, rows: list[Row]) -> list[Row]:
        """With the project's row and the run of here."""
        projects = self.ids["projects"]
        for row in rows:
            if "project_key" in row and "project_id" in row:
                row["project_id"] = projects.get(row["project_id"])
            if "run_id" in row:
                row["run_id"] = self.runs.get(row["run_id"], row["run_id"])
        return rows

    def _inserted(self, table: Table, row: Row) -> int:
        values = {name: _value(table.c[name], value) for name, value in row.items()}
        made = self.here.execute(insert(table).values(values)).inserted_primary_key
        return int(made[0]) if made else 0

    def _copy(self, table: Table, rows: Sequence[Row]) -> None:
        if rows:
            texts = [column.name for column in table.c if column.type is Document]
            found = [tuple(row.values()) for row in rows]
            copy_rows(self.here, table, list(rows[0]), found, texts=texts)

    def _set(self, table: Table, key: Sequence[str], rows: Sequence[Row]) -> None:
        if not rows:
            return
        statement = _where_key(update(table), table, key)
        statement = statement.values({n: bindparam(f"to_{n}") for n in rows[0] if n not in key})
        self.here.execute(
            statement,
            [
                {
                    f"{'at' if name in key else 'to'}_{name}": _value(table.c[name], value)
                    for name, value in row.items()
                }
                for row in rows
            ],
        )

    def _delete(self, table: Table, key: Sequence[str], rows: Sequence[Row]) -> None:
        if rows:
            places = [{f"at_{name}": row[name] for name in key} for row in rows]
            self.here.execute(_where_key(delete(table), table, key), places)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    """A table of rows that hang on a record: by which column, what tells them apart.

    own: an id that nothing refers to.
    """

    table: Table
    id: str
    key: tuple[str, ...]
    own: str = ""


def _readable(
    connection: Connection, tables: RecordTables, row_ids: Sequence[int]
) -> Iterator[Sequence[int]]:
    """Records, as many at a time as may be read together with all their versions."""
    for part in parts(row_ids):
        sizes: Counter[int] = Counter()
        for table in (tables.current, tables.history):
            row_id = table.c[tables.id]
            size = func.sum(size_of(connection, table.c.raw))
            query = select(row_id, size).where(row_id.in_(part)).group_by(row_id)
            sizes.update({one: int(much) for one, much in connection.execute(query)})
        yield from together(part, sizes.__getitem__, most=len(part), room=MAX_TEXT)


def _identities(connection: Connection, tables: RecordTables, source: str) -> dict[Any, int]:
    """(parent id, external id) -> row id."""
    table = tables.current
    query = select(table.c.parent_id, table.c.external_id, table.c[tables.id])
    found = connection.execute(query.where(table.c.source == source).order_by(table.c[tables.id]))
    return {(parent_id, external_id): row_id for parent_id, external_id, row_id in found}


def _read(
    connection: Connection, table: Table, column: str, ids: Sequence[int], without: str = ""
) -> list[Row]:
    """Rows by name of column; JSON as text, so that null and no value are told apart."""
    columns = [_column(one) for one in table.c if one.name != without]
    return _as_texts(table, connection.execute(select(*columns).where(table.c[column].in_(ids))))


def _found(connection: Connection, table: Table, source: str, stream: str, own: str) -> list[Row]:
    """What was noted of a stream's records; what is noted of pages is not made of records."""
    columns = [_column(one) for one in table.c if one.name != own]
    query = select(*columns).where(table.c.source == source, table.c.stream == stream)
    query = query.where(table.c.path != "") if table is schema_drift else query
    return _as_texts(table, connection.execute(query))


def _as_texts(table: Table, found: Any) -> list[Row]:
    documents = [one.name for one in table.c if one.type is Document]
    rows = [dict(row) for row in found.mappings()]
    for row in rows:
        row.update({name: _Text(row[name]) for name in documents if row[name] is not None})
    return rows


def _column(column: Column[Any]) -> Any:
    return cast(column, Text).label(column.name) if column.type is Document else column


def _value(column: Column[Any], value: Any) -> Any:
    """As a statement binds it."""
    if column.type is not Document or value is None:
        return value
    found = loads(value)
    return JSON.NULL if found is None else found


def _where_key(statement: Any, table: Table, key: Sequence[str]) -> Any:
    return statement.where(*(table.c[name] == bindparam(f"at_{name}") for name in key))


def _keyed(rows: Sequence[Row], key: Sequence[str]) -> dict[Any, Row]:
    return {tuple(row[name] for name in key): row for row in rows}


def _less(row: Row, name: str) -> Row:
    return {other: value for other, value in row.items() if other != name}


def _without_id(events: Mapping[Any, Row]) -> dict[Any, Row]:
    return {place: _less(row, "change_id") for place, row in events.items()}


def _compared(
    table: Table, old: Mapping[Any, Row], new: Mapping[Any, Row]
) -> Iterator[tuple[Any, RowDifference]]:
    for place in {**old, **new}:
        before, after = old.get(place), new.get(place)
        what = "added" if before is None else "removed" if after is None else "changed"
        fields = _differing(before, after) if before and after else {}
        if fields or what != "changed":
            where = _where(after or before or {})
            yield place, RowDifference(table=table.name, what=what, where=where, fields=fields)


def _differing(old: Row, new: Row) -> dict[str, tuple[Any, Any]]:
    return {name: (old[name], value) for name, value in new.items() if not _same(old[name], value)}


def _same(one: Any, other: Any) -> bool:
    if one == other:
        return True
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return all(not _differing(a, b) for a, b in zip(one, other, strict=True))
    both = isinstance(one, _Text) and isinstance(other, _Text)
    return both and json_text(in_doubles(loads(one))) == json_text(in_doubles(loads(other)))


def _where(row: Row) -> str:
    version = f" version {row['version']}" if "version" in row else ""
    project = f" of {row['project_key']}" if row.get("project_key") else ""
    named = next((row[name] for name in ("key", "external_id", "path") if row.get(name)), "")
    return f"{named}{project}{version}"
