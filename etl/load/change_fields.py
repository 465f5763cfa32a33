"""What a merge changed, field by field: the fields of the change feed, and what that says of shape.

A field that no record has any more, or whose values came to have another type, is drift.
"""

from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Connection,
    Select,
    Text,
    and_,
    case,
    cast,
    func,
    insert,
    select,
    update,
)

from etl.db import large_rows
from etl.db.run_tables import schema_drift
from etl.db.tables import RECORDS, RecordTables
from etl.json_text import json_text
from etl.load.staging import RunKey
from etl.model import Operation
from etl.providers.kit import Stream
from etl.spool import Spool
from etl.transform.canonical import content_of
from etl.transform.diff import MISSING, VANISHED, field_changes, reshaped

MAX_SHAPES = 10_000  # of a run and stream that are looked at; of others nothing is noted
MAX_VANISHED_FIELDS = 20  # fields of a run and stream that are looked for in all records

_FIRST = 1000  # records of a stream

WITH_FIELDS = (Operation.UPDATED, Operation.RESTORED)  # operations whose events tell fields

Shapes = Counter[tuple[str, str, str]]
"""(path, vanished or retyped, JSON types) -> in how many records."""


def read_fields(
    connection: Connection, run: RunKey, stream: Stream, now: datetime, fields: Spool
) -> None:
    """Adds the field diffs of each record that was updated or restored, in the order of their ids.

    Notes the drift they show. Called after the merge of the rows and before their events are
    written.
    """
    tables = RECORDS[stream.name]
    current, history = tables.current, tables.history
    row_id = current.c[tables.id]
    before = and_(history.c[tables.id] == row_id, history.c.version == current.c.version - 1)
    changed = current.c.run_id == run.run_id, current.c.operation.in_(WITH_FIELDS)
    both = current.join(history, before)
    raws = history.c.raw, current.c.raw
    pairs = select(row_id, *raws).select_from(both).where(*changed).order_by(row_id)
    shapes: Shapes = Counter()
    with closing(large_rows.rows(connection, pairs, *raws)) as states:
        for record_id, old, new in states:
            found = field_changes(
                content_of(old, stream), content_of(new, stream), stream.list_keys
            )
            for shape in reshaped(found):
                if shape in shapes or len(shapes) < MAX_SHAPES:
                    shapes[shape] += 1
            fields.add([record_id, [[one.path, _value(one.old), _value(one.new)] for one in found]])
    _note(connection, run, tables, shapes, now)


def _value(value: Any) -> str | None:
    return None if value is MISSING else json_text(value)


def _note(
    connection: Connection, run: RunKey, tables: RecordTables, shapes: Shapes, now: datetime
) -> None:
    """Adds to what is known: the types that are new, the number of records, the time."""
    gone = _gone(connection, run.source, tables, shapes)
    for (path, kind, types), records in sorted(shapes.items()):
        if kind == VANISHED and path not in gone:
            continue
        place = {"source": run.source, "stream": tables.stream, "path": path, "type": kind}
        at = [schema_drift.c[name] == value for name, value in place.items()]
        known = connection.execute(select(schema_drift).where(*at)).one_or_none()
        if known is None:
            row = {"provider": run.provider, "sample_type": types, "records": records}
            times = {"first_seen_at": now, "last_seen_at": now}
            connection.execute(insert(schema_drift).values(**place, **row, **times))
            continue
        told = known.sample_type.split(", ")
        connection.execute(
            update(schema_drift)
            .where(*at)
            .values(
                sample_type=", ".join(told if types in told else [*told, types]),
                records=schema_drift.c.records + records,
                last_seen_at=now,
            )
        )


def _gone(connection: Connection, source: str, tables: RecordTables, shapes: Shapes) -> list[str]:
    """The fields that no live record has now, of those that most records lost.

    Most lost fields are still among the first records; what is not is looked for in all of them,
    in one pass.
    """
    lost: Counter[str] = Counter()
    for (path, kind, _), records in shapes.items():
        if kind == VANISHED:
            lost[path] += records
    looked_for = [path for path, _ in lost.most_common(MAX_VANISHED_FIELDS)]
    live = select(tables.current.c.raw).where(
        tables.current.c.source == source, ~tables.current.c.is_deleted
    )
    return _missing(connection, live, _missing(connection, live.limit(_FIRST), looked_for))


def _missing(connection: Connection, records: Select[Any], paths: Sequence[str]) -> list[str]:
    """The top-level paths at which none of these payloads has a value."""
    if not paths:
        return []
    raw = records.subquery().c.raw
    values = (func.coalesce(cast(raw[path], Text), "null") for path in paths)
    held = select(*(func.max(case((value != "null", 1), else_=0)) for value in values))
    found = connection.execute(held).one()
    return [path for path, is_held in zip(paths, found, strict=True) if not is_held]
