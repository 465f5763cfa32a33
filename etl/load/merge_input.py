"""What a run has staged, as its merge asks for it: the kinds of changes, and their ids."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, exists, select

from etl.db.run_tables import staged_deletions
from etl.db.tables import RECORDS, RecordTables


@dataclass(frozen=True, slots=True, kw_only=True)
class Kinds:
    """Whether a run has staged new rows of a stream, changed ones, deletions; and which children.

    A statement for which there is nothing takes a millisecond all the same, and there are many.
    """

    fresh: bool
    changed: bool
    gone: bool
    children: frozenset[str]

    def __bool__(self) -> bool:
        return self.fresh or self.changed or self.gone


def kinds(connection: Connection, run_id: int) -> dict[str, Kinds]:
    """Stream -> what a run has staged of it, found out in one statement."""
    asked: dict[str, Any] = {}
    for stream, tables in RECORDS.items():
        staged = tables.staged.c
        asked[f"{stream}: fresh"] = exists().where(staged.run_id == run_id, staged.row_id.is_(None))
        asked[f"{stream}: changed"] = exists(changed_ids(tables, run_id))
        asked[f"{stream}: gone"] = exists(gone_ids(tables, run_id))
        for child in tables.children:
            asked[child.current.name] = exists().where(child.staged.c.run_id == run_id)
    found = connection.execute(select(*asked.values())).one()
    held = {name for name, is_there in zip(asked, found, strict=True) if is_there}
    return {
        stream: Kinds(
            fresh=f"{stream}: fresh" in held,
            changed=f"{stream}: changed" in held,
            gone=f"{stream}: gone" in held,
            children=frozenset(held.intersection(one.current.name for one in tables.children)),
        )
        for stream, tables in RECORDS.items()
    }


def changed_ids(tables: RecordTables, run_id: int) -> Select[Any]:
    """The ids of stored rows that come to have other values."""
    staged = tables.staged
    return select(staged.c.row_id).where(staged.c.run_id == run_id, staged.c.row_id.is_not(None))


def gone_ids(tables: RecordTables, run_id: int) -> Select[Any]:
    """The ids of stored rows that become tombstones."""
    return select(staged_deletions.c.row_id).where(
        staged_deletions.c.run_id == run_id, staged_deletions.c.stream == tables.stream
    )
