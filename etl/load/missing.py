"""Stored records that a run did not meet, and those of them that will be tombstones."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, Text, and_, delete, func, insert, literal, select

from etl.db.bulk import copy_rows, parts
from etl.db.run_tables import staged_deletions
from etl.db.tables import RECORDS
from etl.load.row_set import RowSet
from etl.load.staging import RunKey
from etl.model import DeletionReason

_AT_ONCE = 10_000  # row ids; a million at once would take 180 MB


def live_rows(
    connection: Connection, stream: str, source: str, parent_id: str | None = None
) -> int:
    """How many records of a stream, or of one parent in it, are stored and not deleted.

    All less the deleted ones: both are counted in indexes, without a look at a row (on Postgres,
    once it was vacuumed).
    """
    table = RECORDS[stream].current
    rows = select(func.count()).where(table.c.source == source)
    if parent_id is not None:
        rows = rows.where(table.c.parent_id == parent_id)
    deleted = rows.where(table.c.deleted_at.is_not(None)).scalar_subquery()
    live: int = connection.execute(select(rows.scalar_subquery() - deleted)).scalar_one()
    return live


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A stored record that the walks of this run did not meet."""

    row_id: int
    parent_id: str
    external_id: str
    key: str


def unseen(connection: Connection, stream: str, source: str, seen: RowSet) -> list[Candidate]:
    """The stored live records whose rows were not met, by parent and id.

    Few of many: the ids of all rows are looked through, on SQLite in indexes, some at a time; only
    these rows are read whole. In a transaction, as Postgres gives rows out in pieces only there.
    """
    tables = RECORDS[stream]
    table = tables.current
    identifier = table.c[tables.id]
    ids = select(identifier).where(table.c.source == source)
    deleted = RowSet()
    for row_id in _in_pieces(connection, ids.where(table.c.deleted_at.is_not(None))):
        deleted.add(row_id)
    missing = [
        row_id
        for row_id in _in_pieces(connection, ids)
        if row_id not in seen and row_id not in deleted
    ]
    query = select(identifier, table.c.parent_id, table.c.external_id, table.c.key)
    found = [
        Candidate(row_id=row_id, parent_id=parent_id, external_id=external_id, key=key)
        for part in parts(missing)
        for row_id, parent_id, external_id, key in connection.execute(
            query.where(identifier.in_(part))
        )
    ]
    return sorted(found, key=lambda one: (one.parent_id, one.external_id))


def _in_pieces(connection: Connection, ids: Select[Any]) -> Iterator[int]:
    found = connection.execute(ids, execution_options={"yield_per": _AT_ONCE}).scalars()
    return (row_id for part in found.partitions() for row_id in part)


def stage_deletions(
    connection: Connection, run_id: int, stream: str, reasons: Mapping[int, str]
) -> None:
    """Row id -> reason: these, and no others, will be tombstones when the run is merged."""
    connection.execute(
        delete(staged_deletions).where(
            staged_deletions.c.run_id == run_id, staged_deletions.c.stream == stream
        )
    )
    add_deletions(connection, run_id, stream, reasons)


def add_deletions(
    connection: Connection, run_id: int, stream: str, reasons: Mapping[int, str]
) -> None:
    """Row id -> reason: these will be tombstones too."""
    rows = [(run_id, stream, row_id, reason) for row_id, reason in reasons.items()]
    copy_rows(connection, staged_deletions, ("run_id", "stream", "row_id", "reason"), rows)


def stage_orphans(connection: Connection, run: RunKey, stream: str) -> int:
    """Children of projects that will be tombstones become tombstones with them; -> how many."""
    projects, tables = RECORDS["projects"].current, RECORDS[stream]
    table = tables.current
    gone = staged_deletions.alias("gone")
    orphans = (
        select(
            gone.c.run_id,
            literal(stream, Text()),
            table.c[tables.id],
            literal(DeletionReason.PROJECT_DELETED.value, Text()),
        )
        .select_from(
            gone.join(projects, projects.c.project_id == gone.c.row_id).join(
                table,
                and_(table.c.source == run.source, table.c.parent_id == projects.c.external_id),
            )
        )
        .where(gone.c.run_id == run.run_id, gone.c.stream == "projects", ~table.c.is_deleted)
        .where(
            table.c[tables.id].not_in(
                select(staged_deletions.c.row_id).where(
                    staged_deletions.c.run_id == run.run_id,
                    staged_deletions.c.stream == stream,
                )
            )
        )
    )
    columns = ["run_id", "stream", "row_id", "reason"]
    return connection.execute(insert(staged_deletions).from_select(columns, orphans)).rowcount


def staged_deletions_by_parent(connection: Connection, run_id: int, stream: str) -> dict[str, int]:
    """Parent id -> how many of its records will be tombstones."""
    tables = RECORDS[stream]
    table = tables.current
    query = (
        select(table.c.parent_id, func.count().label("records"))
        .select_from(staged_deletions.join(table, table.c[tables.id] == staged_deletions.c.row_id))
        .where(staged_deletions.c.run_id == run_id, staged_deletions.c.stream == stream)
        .group_by(table.c.parent_id)
    )
    return {row.parent_id: row.records for row in connection.execute(query)}
