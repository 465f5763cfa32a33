"""Sources as a whole: which ones the database knows, a new name for one, all of one removed."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, delete, func, select, update

from etl.db.run_tables import leases, runs
from etl.db.tables import changes
from etl.db.types import metadata
from etl.history.runs import live_counts
from etl.load.runs import Holder, acquire, release
from etl.model import RunKind

Alive = Callable[[Holder], bool | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownSource:
    """A source in the database: its last run, and how many live records it has by stream."""

    name: str
    provider: str
    last_run_id: int
    last_run_at: datetime
    last_status: str
    records: Mapping[str, int]


def known(connection: Connection) -> list[KnownSource]:
    """The sources that ever ran, by name."""
    last = select(func.max(runs.c.run_id)).group_by(runs.c.source)
    live = live_counts(connection)
    return [
        KnownSource(
            name=row.source,
            provider=row.provider,
            last_run_id=row.run_id,
            last_run_at=row.started_at,
            last_status=row.status,
            records={stream: number for (of, stream), number in live.items() if of == row.source},
        )
        for row in connection.execute(
            select(runs).where(runs.c.run_id.in_(last)).order_by(runs.c.source)
        )
    ]


def names(connection: Connection) -> set[str]:
    """The names of the sources that ever ran."""
    return set(connection.execute(select(runs.c.source).distinct()).scalars())


@contextmanager
def held(
    connection: Connection, names: tuple[str, ...], holder: Holder, now: datetime, alive: Alive
) -> Iterator[None]:
    """No run of these sources begins meanwhile; RunInProgress where one is at work."""
    for name in names:  # as a backfill, which makes no other one give way
        acquire(connection, name, holder, now, alive, kind=RunKind.BACKFILL)
    yield
    for name in names:
        release(connection, name, holder)


def rename(connection: Connection, old: str, new: str) -> int:
    """Gives every row of a source its new name; -> how many rows. The caller commits."""
    return sum(
        connection.execute(update(table).where(table.c.source == old).values(source=new)).rowcount
        for table in metadata.sorted_tables
        if "source" in table.c and table is not leases
    )


def forget(connection: Connection, name: str) -> Mapping[str, int]:
    """Deletes every row of a source; -> table: how many rows went. The caller commits."""
    return MappingProxyType(
        {
            table.name: connection.execute(delete(table).where(condition)).rowcount
            for table in reversed(metadata.sorted_tables)
            if table is not leases and (condition := _of_source(table, name)) is not None
        }
    )


def _of_source(table: Table, name: str) -> ColumnElement[bool] | None:
    """Whether a row is of a source: by its own column, its run or its change."""
    if "source" in table.c:
        own: ColumnElement[Any] = table.c.source
        return own == name
    owners: tuple[tuple[Table, Any], ...] = ((runs, runs.c.run_id), (changes, changes.c.change_id))
    for owner, key in owners:
        if key.name in table.c:
            column: ColumnElement[Any] = table.c[key.name]
            return column.in_(select(key).where(owner.c.source == name))
    return None
