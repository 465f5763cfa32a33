"""Deletions and rejects that would differ after a reprocess, which needs --force. Reads only."""

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime

from sqlalchemy import Connection, select

from etl.db.run_tables import rejects
from etl.db.tables import RECORDS, RecordTables, changes
from etl.model import Operation
from etl.providers.kit import Provider

Place = tuple[str, str]  # parent id, external id


def newly_rejected(
    there: Connection, here: Connection | None, source: str, streams: Collection[str]
) -> list[str]:
    """Stream, item, place and reason of what is rejected there now, and was not here, ever."""
    place = (rejects.c.stream, rejects.c.parent_id, rejects.c.item)
    of_source = select(*place).where(rejects.c.source == source)
    known = {tuple(row) for row in here.execute(of_source)} if here is not None else set()
    query = select(*place, rejects.c.path, rejects.c.reason).where(
        rejects.c.source == source, rejects.c.stream.in_(streams), rejects.c.resolved_at.is_(None)
    )
    return [
        f"{row.stream} {row.item} {row.path}: {row.reason}"
        for row in there.execute(query.order_by(rejects.c.reject_id))
        if (row.stream, row.parent_id, row.item) not in known
    ]


def other_deletions(
    there: Connection,
    here: Connection,
    taken: Mapping[int, int],
    wanted: tuple[Provider, str],
) -> Iterator[tuple[str, str]]:
    """Stream and key of records that a run here deleted and its dump there does not, or vice versa.

    taken: run there -> the run here whose dump it is. Records that only one side knew at that time
    are news, or what today's code rejects.
    """
    provider, source = wanted
    for stream in provider.streams if taken else ():
        tables = RECORDS[stream.name]
        old = _deletions(here, tables, {run_id: run_id for run_id in taken.values()})
        new = _deletions(there, tables, taken)
        for deleted, other in (
            (old, _known(there, tables, source)),
            (new, _known(here, tables, source)),
        ):
            for (place, run_id), (key, at) in deleted.items():
                both = (place, run_id) in old and (place, run_id) in new
                if not both and other.get(place, at) < at:
                    yield stream.name, key


def _deletions(
    connection: Connection, tables: RecordTables, runs_here: Mapping[int, int]
) -> Mapping[tuple[Place, int], tuple[str, datetime]]:
    """Record and run here -> its key, and when it was deleted."""
    table = tables.current
    query = (
        select(table.c.parent_id, table.c.external_id, changes.c.run_id, changes.c.key)
        .add_columns(changes.c.observed_at)
        .join(changes, changes.c.record_id == table.c[tables.id])
        .where(changes.c.stream == tables.stream, changes.c.operation == Operation.DELETED)
        .order_by(changes.c.change_id)
    )
    return {
        ((row.parent_id, row.external_id), runs_here[row.run_id]): (row.key, row.observed_at)
        for row in connection.execute(query)
        if row.run_id in runs_here
    }


def _known(connection: Connection, tables: RecordTables, source: str) -> Mapping[Place, datetime]:
    """Every record -> since when it is known."""
    table = tables.current
    query = select(table.c.parent_id, table.c.external_id, table.c.first_seen_at)
    query = query.where(table.c.source == source)
    return {(parent, external_id): at for parent, external_id, at in connection.execute(query)}
