"""Reads and writes the staging tables of a run: staged rows, checkpoints, rows that were met.

Everything a page brought is written in one transaction with the state of its walk, so a killed run
goes on behind the last page that is stored. Readers never see these tables.
"""

import zlib
from array import array
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import (
    Connection,
    Select,
    Table,
    bindparam,
    delete,
    exists,
    func,
    literal,
    or_,
    select,
)

from etl.db.bulk import Row, copy_rows, one_of, parts, upsert
from etl.db.run_tables import ledger, rejects, schema_drift, staged_deletions
from etl.db.tables import RECORDS, STAGING, ChildTables, RecordTables
from etl.errors import ProviderError
from etl.json_text import parsed_text
from etl.load.row_set import RowSet
from etl.model import Child, Record, Reject
from etl.transform.canonical import hash_of_text
from etl.transform.classify import Head, StagedRecord

BELOW_PROJECTS = tuple(name for name, tables in RECORDS.items() if tables.has_project)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunKey:
    """Which run of which source rows belong to."""

    run_id: int
    source: str
    provider: str


@dataclass(slots=True, kw_only=True)
class Batch:
    """What waits to be written with the next checkpoint."""

    staged: dict[str, list[tuple[int, StagedRecord]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    rejects: list[tuple[str, str, Reject]] = field(default_factory=list)
    drift: dict[tuple[str, str, str], str] = field(default_factory=dict)
    ledger: list[Row] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.ledger) + sum(len(rows) for rows in self.staged.values())


def holds_any(connection: Connection, stream: str, source: str) -> bool:
    """Whether anything is stored of a stream, deleted or not; before its first merge nothing is."""
    query = select(literal(1)).where(RECORDS[stream].current.c.source == source).limit(1)
    return connection.execute(query).first() is not None


def heads(
    connection: Connection,
    stream: str,
    source: str,
    wanted: Mapping[str, Sequence[str]],
    *,
    whole: bool = False,
) -> dict[tuple[str, str], Head]:
    """(parent id, external id) -> what is stored of it, for the ids of a page.

    wanted: parent id -> external ids. One parent is asked id by id, unless all of it is wanted
    (`whole`); several, as embedded lists bring them, are asked whole too, as these are short.
    """
    asked: dict[str, Any] = {"source": source}
    if whole or len(wanted) != 1:
        asked |= {"parents": list(wanted)}
    else:
        ((parent, ids),) = wanted.items()
        asked |= {"parent": parent, "ids": ids}
    query = _heads_query(stream, frozenset(asked), connection.dialect.name)
    found = connection.execute(query, asked).all()  # one by one, the driver is asked for each row
    names = RECORDS[stream].fingerprints
    return {
        (parent, external_id): Head(
            row_id, content_hash, deleted, dict(zip(names, fingerprints, strict=True))
        )
        for parent, external_id, row_id, content_hash, deleted, *fingerprints in found
    }


@cache
def _heads_query(stream: str, asked: frozenset[str], dialect: str) -> Select[Any]:
    """Made once: to put it together takes as long as to run it."""
    tables = RECORDS[stream]
    table = tables.current
    said = {
        "parent": table.c.parent_id == bindparam("parent"),
        "parents": one_of(table.c.parent_id, "parents", dialect),
        "ids": one_of(table.c.external_id, "ids", dialect),
    }
    return select(
        table.c.parent_id,
        table.c.external_id,
        table.c[tables.id],
        table.c.content_hash,
        table.c.is_deleted,
        *(table.c[name] for name in tables.fingerprints),
    ).where(
        table.c.source == bindparam("source"), *(said[name] for name in sorted(asked & said.keys()))
    )


def write(connection: Connection, run: RunKey, batch: Batch, now: datetime) -> None:
    """Writes what waits; the caller commits, so that rows and walk states are one."""
    for stream, rows in batch.staged.items():
        _write_staged(connection, run, RECORDS[stream], rows)
    columns = ("run_id", "stream", "parent_id", "segment", "parent_key", "state", "seen")
    copy_rows(connection, ledger, columns, batch.ledger)
    upsert(
        connection,
        rejects,
        [_reject_row(run, *found, now) for found in batch.rejects],
        key=("source", "stream", "parent_id", "item"),
        update=(
            "path",
            "reason",
            "payload",
            "run_id",
            "last_seen_at",
            "resolved_at",
        ),
    )
    upsert(
        connection,
        schema_drift,
        [
            {
                "source": run.source,
                "provider": run.provider,
                "stream": stream,
                "path": path,
                "type": kind,
                "sample_type": sample_type,
                "first_seen_at": now,
                "last_seen_at": now,
            }
            for (stream, path, kind), sample_type in batch.drift.items()
        ],
        key=("source", "stream", "path", "type"),
        update=("last_seen_at", "sample_type"),
    )


def ledger_row(
    run: RunKey, stream: str, walk_state: Mapping[str, Any], segment: int, seen: Iterable[int]
) -> Row:
    """One segment of a walk: where it stands, and the stored rows it met since the last segment."""
    return (
        run.run_id,
        stream,
        walk_state["parent_id"],
        segment,
        walk_state["parent_key"],
        walk_state,
        zlib.compress(array("q", seen).tobytes(), 1),
    )


def read_ledger(connection: Connection, run_id: int, stream: str) -> tuple[list[Any], RowSet]:
    """The last state of every walk of a stream, and all rows these walks have met."""
    states: dict[str, Any] = {}
    seen = RowSet()
    found = connection.execute(
        select(ledger.c.parent_id, ledger.c.state, ledger.c.seen)
        .where(ledger.c.run_id == run_id, ledger.c.stream == stream)
        .order_by(ledger.c.parent_id, ledger.c.segment)
    )
    for parent_id, state, packed in found:
        states[parent_id] = state
        ids = array("q")
        ids.frombytes(zlib.decompress(packed))
        for row_id in ids:
            seen.add(row_id)
    return list(states.values()), seen


def ledger_states(connection: Connection, run_id: int, stream: str) -> list[Any]:
    """The last state of every walk of a stream."""
    query = (
        select(ledger.c.parent_id, ledger.c.state)
        .where(ledger.c.run_id == run_id, ledger.c.stream == stream)
        .order_by(ledger.c.parent_id, ledger.c.segment)
    )
    return list({row.parent_id: row.state for row in connection.execute(query)}.values())


def parents(connection: Connection, run: RunKey, stream: str, seen: RowSet) -> dict[str, str]:
    """External id -> key of the records this run has met: the partitions of their children."""
    tables = RECORDS[stream]
    current, staged = tables.current, tables.staged
    stored = connection.execute(
        select(current.c[tables.id], current.c.external_id, current.c.key)
        .where(current.c.source == run.source)
        .order_by(current.c[tables.id])
    )
    found = {external_id: key for row_id, external_id, key in stored if row_id in seen}
    fresh = connection.execute(
        select(staged.c.external_id, staged.c.key)
        .where(staged.c.run_id == run.run_id)
        .order_by(staged.c.ordinal)
    )
    return found | {row.external_id: row.key for row in fresh}


def settle(connection: Connection, run_id: int, stream: str) -> int:
    """Of rows staged twice (a record that moved to another page) keeps the last; -> how many."""
    staged = RECORDS[stream].staged
    last = (
        select(func.max(staged.c.ordinal))
        .where(staged.c.run_id == run_id)
        .group_by(staged.c.parent_id, staged.c.external_id)
    )
    return connection.execute(
        delete(staged).where(staged.c.run_id == run_id, staged.c.ordinal.not_in(last))
    ).rowcount


def staged_counts(connection: Connection, run_id: int, stream: str) -> dict[str, dict[str, int]]:
    """Parent id -> operation -> how many rows are staged."""
    staged = RECORDS[stream].staged
    counts: dict[str, dict[str, int]] = defaultdict(dict)
    for parent_id, operation, count in connection.execute(
        select(staged.c.parent_id, staged.c.operation, func.count())
        .where(staged.c.run_id == run_id)
        .group_by(staged.c.parent_id, staged.c.operation)
    ):
        counts[parent_id][operation] = count
    return counts


def last_ordinal(connection: Connection, run_id: int) -> int:
    """The highest ordinal of a run's staged rows, 0 without any."""
    return max(
        connection.execute(
            select(func.max(tables.staged.c.ordinal)).where(tables.staged.c.run_id == run_id)
        ).scalar()
        or 0
        for tables in RECORDS.values()
    )


def forget(connection: Connection, run_id: int, stream: str, parent_ids: Collection[str]) -> None:
    """Forgets what a run has read and staged of these lists of a stream."""
    staged = RECORDS[stream].staged
    for part in parts(sorted(parent_ids)):
        connection.execute(
            delete(ledger).where(
                ledger.c.run_id == run_id,
                ledger.c.stream == stream,
                ledger.c.parent_id.in_(part),
            )
        )
        connection.execute(
            delete(staged).where(staged.c.run_id == run_id, staged.c.parent_id.in_(part))
        )


def drop_staged(connection: Connection, run_id: int, stream: str, parent_id: str) -> None:
    """Forgets what a run has staged of one list."""
    staged = RECORDS[stream].staged
    connection.execute(
        delete(staged).where(staged.c.run_id == run_id, staged.c.parent_id == parent_id)
    )


def clear(connection: Connection, run_id: int, *, but: Table | None = None) -> None:
    """Forgets everything staged by a run; `but` is left."""
    tables = [table for table in STAGING if table is not but]
    if _stages_alone(connection, run_id):
        for table in tables:
            connection.execute(delete(table))  # pages are dropped without a look at their rows
        return
    for table in tables:
        connection.execute(delete(table).where(table.c.run_id == run_id))


def clear_deletions(connection: Connection, run_id: int) -> None:
    """Forgets the deletions that a run has staged."""
    connection.execute(delete(staged_deletions).where(staged_deletions.c.run_id == run_id))


def _stages_alone(connection: Connection, run_id: int) -> bool:
    """Whether no other run has anything staged, nor can have before this transaction ends."""
    others = or_(
        *(  # two ranges, as `!=` would read all that is staged
            exists().where(or_(table.c.run_id < run_id, table.c.run_id > run_id))
            for table in STAGING
        )
    )
    return connection.dialect.name == "sqlite" and not connection.execute(select(others)).scalar()


def _write_staged(
    connection: Connection,
    run: RunKey,
    tables: RecordTables,
    rows: Sequence[tuple[int, StagedRecord]],
) -> None:
    typed = [name for name in tables.content if name not in _FROM_STAGED]
    _refuse_unknown(run, tables, typed, (staged.record for _, staged in rows))
    project = ("project_key",) if tables.has_project else ()
    columns = (
        *("run_id", "ordinal", "parent_id", "external_id", "row_id", "operation"),
        *project,
        *_FROM_STAGED,
        *typed,
    )
    copy_rows(
        connection,
        tables.staged,
        columns,
        (
            (
                run.run_id,
                ordinal,
                staged.partition.parent_id,
                staged.external_id,
                staged.row_id,
                staged.operation,
                *((staged.partition.parent_key,) if project else ()),
                staged.record.key,
                staged.record.name,
                staged.content_hash,
                staged.record.created_at,
                staged.record.updated_at,
                staged.text or parsed_text(staged.raw),
                *map(staged.record.columns.get, typed),
            )
            for ordinal, staged in rows
        ),
        texts=("raw",),
    )
    for child in tables.children:
        _write_children(connection, run, child, rows)


def _refuse_unknown(
    run: RunKey, tables: RecordTables, typed: Sequence[str], records: Iterable[Record]
) -> None:
    """ProviderError where a record has a column or parts for which there is no place."""
    columns, parts_of = frozenset(typed), frozenset(one.current.name for one in tables.children)
    for record in records:
        if not columns >= record.columns.keys() or not parts_of >= record.children.keys():
            unknown = sorted({*record.columns, *record.children} - columns - parts_of)
            raise ProviderError(
                f"{run.provider}: its {tables.stream} have {', '.join(unknown)}, for which the "
                f"table {tables.current.name} has no place; leave it out of to_record, or add it "
                "to etl/db/tables.py with a migration"
            )


_FROM_STAGED = (
    *("key", "name", "content_hash", "provider_created_at", "provider_updated_at", "raw"),
)


def _write_children(
    connection: Connection,
    run: RunKey,
    child: ChildTables,
    rows: Sequence[tuple[int, StagedRecord]],
) -> None:
    typed = [n for n in child.content if n not in ("key", "name", "content_hash", "raw")]
    copy_rows(
        connection,
        child.staged,
        ("run_id", "ordinal", "external_id", "key", "name", "content_hash", *typed, "raw"),
        (
            (run.run_id, ordinal, *_child_row(one, typed))
            for ordinal, staged in rows
            for one in staged.record.children.get(child.current.name, ())
        ),
        texts=("default_value", "raw"),  # a parameter's default may be null, which is a value
    )


def _child_row(child: Child, typed: Sequence[str]) -> Row:
    raw, columns = parsed_text(child.raw), child.columns
    if columns.keys() != frozenset(typed):
        odd = ", ".join(sorted(columns.keys() ^ frozenset(typed)))
        raise ProviderError(
            f"the part {child.name} of a record has not just the columns of its table: {odd}"
        )
    position = columns.get("position")
    place = b"null" if position is None else b"%d" % position
    content_hash = hash_of_text(b'{"position":%s,"raw":%s}' % (place, raw))
    if "default_value" in columns:
        columns = {**columns, "default_value": parsed_text(columns["default_value"])}
    values = [columns[name] for name in typed]
    return (child.external_id, child.key, child.name, content_hash, *values, raw)


def _reject_row(
    run: RunKey, stream: str, parent_id: str, reject: Reject, now: datetime
) -> dict[str, Any]:
    return {
        "source": run.source,
        "provider": run.provider,
        "stream": stream,
        "parent_id": parent_id,
        "item": reject.external_id or reject.mark,
        "external_id": reject.external_id,
        "path": reject.path,
        "reason": reject.reason,
        "payload": {"null": None} if reject.payload is None else reject.payload,
        "run_id": run.run_id,
        "first_seen_at": now,
        "last_seen_at": now,
        "resolved_at": None,
    }
