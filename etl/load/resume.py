"""A run that goes on after others of its source have landed: what they wrote is newer."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Select, delete, select

from etl.db.bulk import parts
from etl.db.run_tables import run_streams, runs
from etl.db.tables import RECORDS, RecordTables
from etl.load.staging import RunKey
from etl.model import RunKind


@dataclass(frozen=True, slots=True, kw_only=True)
class CommittedRuns:
    """Other runs that were merged while one was not at work; whole: streams that they read."""

    run_ids: Select[tuple[int]]
    any: bool
    whole: frozenset[str]


def landed_since(connection: Connection, run: RunKey, moment: datetime) -> CommittedRuns:
    """The other runs of the source that were merged at that moment or later.

    What a replay brings was observed long before. Of the runs that began earlier only a backfill
    can have waited until then; by the times of others a clock was ahead.
    """
    late = (runs.c.observed_at >= moment) | (runs.c.finished_at >= moment)
    late &= (runs.c.run_id > run.run_id) | (runs.c.kind == RunKind.BACKFILL)
    landed = select(runs.c.run_id).where(
        runs.c.source == run.source,
        runs.c.observed_at.is_not(None),
        late,
    )
    found = connection.execute(landed.limit(1)).first() is not None
    whole = select(run_streams.c.stream).where(
        run_streams.c.run_id.in_(landed), run_streams.c.parent_id == "", run_streams.c.complete
    )
    read = connection.execute(whole).scalars() if found else ()
    return CommittedRuns(run_ids=landed, any=found, whole=frozenset(read))


@dataclass(frozen=True, slots=True, kw_only=True)
class NewerRows:
    """What another run wrote since: live rows and those staged before, by their list; dead rows."""

    live: Sequence[tuple[str, int]]
    dead: frozenset[int]
    met: Sequence[tuple[str, int]]


def drop_overtaken(
    connection: Connection, run: RunKey, stream: str, landed: Select[tuple[int]], *, whole: bool
) -> NewerRows:
    """What other runs wrote meanwhile stands; pages that were read before do not undo it.

    landed: the ids of these runs. whole: one of them read all of the stream, so that what is
    staged says nothing new. Nor is anything kept for a project that is gone by now.
    """
    staged = RECORDS[stream].staged
    newer = _written(connection, run, RECORDS[stream], landed)
    gone = {
        external_id
        for (_, external_id), (_, deleted) in _written(
            connection, run, RECORDS["projects"], landed
        ).items()
        if deleted
    }
    met: list[tuple[str, int]] = []
    stale: list[int] = []
    # not as SQL: without statistics PostgreSQL joins these tables in quadratic time
    for ordinal, parent_id, external_id in connection.execute(
        select(staged.c.ordinal, staged.c.parent_id, staged.c.external_id).where(
            staged.c.run_id == run.run_id
        )
    ):
        row_id, deleted = newer.get((parent_id, external_id), (None, False))
        if row_id is not None and not deleted:
            met.append((parent_id, row_id))
        if whole or row_id is not None or parent_id in gone:
            stale.append(ordinal)
    for part in parts(stale):
        connection.execute(
            delete(staged).where(staged.c.run_id == run.run_id, staged.c.ordinal.in_(part))
        )
    return NewerRows(
        live=[
            (parent_id, row_id)
            for (parent_id, _), (row_id, deleted) in newer.items()
            if not deleted
        ],
        dead=frozenset(row_id for row_id, deleted in newer.values() if deleted),
        met=met,
    )


def _written(
    connection: Connection, run: RunKey, tables: RecordTables, landed: Select[tuple[int]]
) -> dict[tuple[str, str], tuple[int, bool]]:
    """(parent id, external id) -> row id, and whether it is deleted, of what these runs wrote."""
    table = tables.current
    query = select(table.c.parent_id, table.c.external_id, table.c[tables.id], table.c.is_deleted)
    query = query.where(table.c.source == run.source, table.c.run_id.in_(landed))
    return {
        (parent_id, external_id): (row_id, deleted)
        for parent_id, external_id, row_id, deleted in connection.execute(query)
    }
