"""What must hold between a stored row and its own payload: all of it is computed again. Reads only.

One pass over the payloads a check, a few rows in memory. Numbers beyond 2^53 are compared as
doubles: PostgreSQL stores 1e300 as 301 digits, which come back as an integer.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import groupby
from operator import attrgetter
from typing import Any

from sqlalchemy import Connection, Select, Table, and_, select

from etl.audit.findings import Violation
from etl.db import large_rows
from etl.db.tables import RECORDS, ChildTables, RecordTables, change_fields, changes
from etl.json_text import json_text
from etl.model import Child, Operation, Record, Reject
from etl.providers import PROVIDERS
from etl.providers.kit import Json, Partition, Stream
from etl.transform.canonical import HASH_RULE, content_of, hash_of, identify, transform
from etl.transform.diff import MISSING, field_changes

_EXACT = 2**53
_NOT_TYPED = frozenset(
    {*("key", "name", "content_hash", "provider_created_at", "provider_updated_at", "raw")}
)


def hashes(connection: Connection) -> Iterator[Violation]:
    """Versions whose hash is not that of their payload; those of another rule are only told."""
    for tables in RECORDS.values():
        for row, where in _stored(connection, tables):
            stream = _stream(row.provider, tables)
            rule = row.content_hash.partition(":")[0]
            if stream is None:
                yield Violation(where=where, what=f"no provider {row.provider} has this stream")
            elif rule != HASH_RULE:
                what = f"hashed by rule {rule}, today's is {HASH_RULE}"
                yield Violation(where=where, what=what, harmless=True)
            elif hashed_form(row.raw, stream, row.content_hash) is None:
                yield Violation(where=where, what=f"{row.content_hash} is not the hash of its raw")


def columns(connection: Connection) -> Iterator[Violation]:
    """Versions whose typed columns are not what today's code makes of their payload."""
    for tables in RECORDS.values():
        for row, where in _stored(connection, tables):
            record = _record(row, tables)
            if isinstance(record, Reject):
                what = f"today's code rejects its raw at {record.path or 'its id'}: {record.reason}"
                yield Violation(where=where, what=what)
                continue
            wrong = [] if record is None else _differing(row, record, tables)
            if wrong:
                what = f"{', '.join(wrong)} not as computed from its raw"
                yield Violation(where=where, what=what)


def children(connection: Connection) -> Iterator[Violation]:
    """Live layers whose live parameters or reservations are not those of their payload."""
    for tables in RECORDS.values():
        if not tables.children:
            continue
        table = tables.current
        query = select(table).where(~table.c.is_deleted).order_by(table.c[tables.id])
        for rows in large_rows.pieces(connection, query, table.c.raw):
            for child in tables.children:
                yield from _children(connection, tables, child, rows)


def field_diffs(connection: Connection) -> Iterator[Violation]:
    """Events of updates and returns whose fields are not the diff of the two versions."""
    for tables in RECORDS.values():
        for query, raws in _pairs(tables.stream):
            for rows in large_rows.pieces(connection, query, *raws):
                told = _fields(connection, [row.change_id for row in rows])
                for row in rows:
                    stream = _stream(row.provider, tables)
                    if stream and told.get(row.change_id, {}) != _diff(row, stream):
                        where = f"{tables.stream} {row.record_id} ({row.source} {row.key})"
                        what = (
                            f"fields of event {row.change_id} do not lead to version {row.version}"
                        )
                        yield Violation(where=where, what=what)


def _stored(connection: Connection, tables: RecordTables) -> Iterator[tuple[Any, str]]:
    """Every version, the current ones first, and how it is called."""
    for table in (tables.current, tables.history):
        for row in large_rows.rows(connection, _in_order(table, tables.id), table.c.raw):
            record_id = getattr(row, tables.id)
            name = f"{tables.stream} {record_id} ({row.source} {row.key}) version {row.version}"
            yield row, name


@cache
def _in_order(table: Table, row_id: str) -> Select[Any]:
    return select(table).order_by(table.c[row_id], table.c.version)


def _stream(provider: str, tables: RecordTables) -> Stream | None:
    try:
        return PROVIDERS[provider].stream(tables.stream)
    except KeyError:
        return None


def _record(row: Any, tables: RecordTables) -> Record | Reject | None:
    """What today's code makes of a row's payload; None when the code knows no such stream."""
    stream = _stream(row.provider, tables)
    if stream is None:
        return None
    form = hashed_form(row.raw, stream, row.content_hash) or row.raw
    identity = identify(form, stream)
    if isinstance(identity, Reject):
        return identity
    parent_key = (row.project_key or "") if tables.has_project else ""
    return transform(form, stream, Partition(parent_id=row.parent_id, parent_key=parent_key))


def hashed_form(raw: Json, stream: Stream, content_hash: str) -> Json | None:
    """The payload as it was when it was hashed."""
    if hash_of(content_of(raw, stream)) == content_hash:
        return raw
    doubles = in_doubles(raw)
    return doubles if hash_of(content_of(doubles, stream)) == content_hash else None


def _differing(row: Any, record: Record, tables: RecordTables) -> list[str]:
    stream = PROVIDERS[row.provider].stream(tables.stream)
    expected = {
        "external_id": identify(row.raw, stream),
        "key": record.key,
        "name": record.name,
        "provider_created_at": record.created_at,
        "provider_updated_at": record.updated_at,
    }
    wrong = [name for name, value in expected.items() if getattr(row, name) != value]
    typed = [name for name in tables.content if name not in _NOT_TYPED]
    return wrong + [n for n in typed if not _same(getattr(row, n), record.columns.get(n))]


def _children(
    connection: Connection, tables: RecordTables, child: ChildTables, rows: Sequence[Any]
) -> Iterator[Violation]:
    table = child.current
    ids = [getattr(row, tables.id) for row in rows]
    query = select(table).where(~table.c.is_deleted, table.c.layer_id.between(ids[0], ids[-1]))
    stored: dict[int, dict[str, Any]] = defaultdict(dict)
    for part in connection.execute(query):
        stored[part.layer_id][part.external_id] = part
    for row, layer_id in zip(rows, ids, strict=True):
        record = _record(row, tables)
        if not isinstance(record, Record):
            continue  # told by `columns`
        wanted = {one.external_id: one for one in record.children.get(table.name, ())}
        found = stored.get(layer_id, {})
        names = [
            name for name in {**wanted, **found} if not _same_child(child, wanted, found, name)
        ]
        if names:
            where = f"{tables.stream} {layer_id} ({row.source} {row.key})"
            listed = ", ".join(sorted(names))
            yield Violation(
                where=where, what=f"{table.name} not as computed from its raw: {listed}"
            )


def _same_child(
    tables: ChildTables, wanted: Mapping[str, Child], found: Mapping[str, Any], name: str
) -> bool:
    if name not in wanted or name not in found:
        return False
    child, row = wanted[name], found[name]
    content_hash = hash_of({"position": child.columns.get("position"), "raw": child.raw})
    same_hash = row.content_hash == content_hash or not row.content_hash.startswith(f"{HASH_RULE}:")
    typed = [name for name in tables.content if name not in _NOT_TYPED]
    return (
        (row.key, row.name, same_hash) == (child.key, child.name, True)
        and _same(row.raw, child.raw)
        and all(_same(getattr(row, column), child.columns.get(column)) for column in typed)
    )


@cache
def _pairs(stream: str) -> Sequence[tuple[Select[Any], Sequence[Any]]]:
    """Events that have fields, with the payloads of their version and of the one before."""
    tables, queries = RECORDS[stream], []
    before = tables.history.alias("before")
    for table in (tables.current, tables.history):
        query = (
            select(
                *(changes.c[name] for name in ("change_id", "record_id", "version")),
                *(changes.c[name] for name in ("source", "provider", "key")),
                before.c.raw.label("old"),
                table.c.raw.label("new"),
            )
            .select_from(changes)
            .join(
                table,
                and_(
                    table.c[tables.id] == changes.c.record_id,
                    table.c.version == changes.c.version,
                ),
            )
            .join(
                before,
                and_(
                    before.c[tables.id] == changes.c.record_id,
                    before.c.version == changes.c.version - 1,
                ),
            )
            .where(changes.c.stream == stream)
            .where(changes.c.operation.in_((Operation.UPDATED, Operation.RESTORED)))
            .order_by(changes.c.change_id)
        )
        queries.append((query, (before.c.raw, table.c.raw)))
    return queries


_Diff = Mapping[str, tuple[str | None, str | None]]


def _fields(connection: Connection, change_ids: Sequence[int]) -> Mapping[int, _Diff]:
    """Change id -> path -> the two stored values as text, None where there is no value."""
    old, new = change_fields.c.old_value, change_fields.c.new_value
    query = (
        select(change_fields, old.is_not(None).label("was"), new.is_not(None).label("is_now"))
        .where(change_fields.c.change_id.in_(change_ids))
        .order_by(change_fields.c.change_id)
    )
    return {
        change_id: {
            row.path: (
                _told(row.old_value) if row.was else None,
                _told(row.new_value) if row.is_now else None,
            )
            for row in rows
        }
        for change_id, rows in groupby(connection.execute(query), attrgetter("change_id"))
    }


def _diff(row: Any, stream: Stream) -> _Diff:
    """The fields as the merge would write them."""
    before, after = content_of(row.old, stream), content_of(row.new, stream)
    found = field_changes(before, after, stream.list_keys)
    return {change.path: (_told(change.old), _told(change.new)) for change in found}


def _told(value: Json) -> str | None:
    return None if value is MISSING else json_text(in_doubles(value))


def _same(one: Json, other: Json) -> bool:
    return _told(one) == _told(other)


def in_doubles(value: Json) -> Json:
    """The value with integers that no double holds exactly as doubles."""
    if isinstance(value, dict):
        return {name: in_doubles(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [in_doubles(inner) for inner in value]
    if type(value) is not int or abs(value) < _EXACT:
        return value
    try:
        return float(value)
    except OverflowError:
        return value
