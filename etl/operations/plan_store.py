"""Plans and the database: what a dry run has staged, read; a plan staged again, if it fits."""

from collections import defaultdict
from collections.abc import Generator, Iterator, Mapping, Sequence
from itertools import count, groupby
from operator import attrgetter
from typing import Any

from sqlalchemy import Connection, func, or_, select

from etl.db import large_rows, migrations
from etl.db.bulk import parts
from etl.db.run_tables import rejects, runs, schema_drift, staged_deletions
from etl.db.tables import RECORDS
from etl.errors import PlanOutOfDate
from etl.load import missing, scope_store, staging
from etl.load.staging import Batch, RunKey
from etl.model import Operation, RunKind
from etl.operations.plan_document import PlannedChange, SourcePlan, Standing, fields_as_json
from etl.providers.kit import Partition, Stream
from etl.transform.canonical import content_of
from etl.transform.classify import Head, StagedRecord, compare
from etl.transform.diff import FieldChange, field_changes

_AT_ONCE = 500
_REMEDY = "nothing of it was applied; look at a new `etl plan`"


def standing(connection: Connection, source: str) -> Standing:
    """Where a source stands now."""
    wrote = or_(runs.c.observed_at.is_not(None), runs.c.kind == RunKind.REPROCESS)
    last = connection.execute(
        select(
            func.max(runs.c.run_id).label("run_id"),
            func.max(runs.c.observed_at).label("merged_at"),
            # a backfill that was parked is merged under an old number
            func.max(runs.c.finished_at).label("finished_at"),
        ).where(runs.c.source == source, wrote)
    ).one()
    noted = [
        connection.execute(select(func.max(column)).where(table.c.source == source)).scalar()
        for table, column in (
            (rejects, rejects.c.last_seen_at),
            (schema_drift, schema_drift.c.last_seen_at),
        )
    ]
    return Standing(
        schema=migrations.HEAD,
        run_id=last.run_id,
        merged_at=last.merged_at,
        finished_at=last.finished_at,
        scopes={name: one.scope for name, one in scope_store.stored(connection, source).items()},
        noted_at=max((moment for moment in noted if moment is not None), default=None),
    )


def raise_if_moved(connection: Connection, plan: SourcePlan) -> None:
    """Raises PlanOutOfDate when anything of the source was written since the plan was made."""
    then, now = plan.standing, standing(connection, plan.source)
    why = None
    if then.schema != now.schema:
        why = f"the schema was {then.schema} and is {now.schema}"
    elif then.run_id != now.run_id:
        why = f"run {now.run_id} was merged since"
    elif (then.merged_at, then.finished_at) != (now.merged_at, now.finished_at):
        why = "another run was merged since"
    elif then.scopes != now.scopes:
        why = "its scope is another one"
    elif then.noted_at != now.noted_at:
        why = "a later run noted rejects or drift"
    if why is not None:
        raise PlanOutOfDate(f"the plan of {plan.source} is out of date: {why}; {_REMEDY}")


def was_applied(connection: Connection, plan: SourcePlan) -> bool:
    """Whether this very plan was applied already."""
    query = select(runs.c.run_id).where(
        runs.c.source == plan.source,
        runs.c.kind == RunKind.APPLY,
        runs.c.observed_at == plan.observed_at,
    )
    return connection.execute(query).first() is not None


def staged_changes(
    connection: Connection, run: RunKey, streams: Mapping[str, Stream]
) -> Generator[PlannedChange, None, None]:
    """Everything that a merge of this run would do, stream by stream."""
    for stream in streams.values():
        yield from _written(connection, run, stream)
        yield from _deleted(connection, run, stream)


def _written(connection: Connection, run: RunKey, stream: Stream) -> Iterator[PlannedChange]:
    tables = RECORDS[stream.name]
    staged, current = tables.staged, tables.current
    query = (
        select(
            staged.c.operation,
            staged.c.parent_id,
            staged.c.external_id,
            staged.c.key,
            staged.c.row_id,
            staged.c.content_hash,
            staged.c.raw,
            _project_key(staged),
            current.c.version,
            current.c.raw.label("old"),
        )
        .select_from(staged.outerjoin(current, current.c[tables.id] == staged.c.row_id))
        .where(staged.c.run_id == run.run_id)
        .order_by(staged.c.ordinal)
    )
    for row in large_rows.rows(connection, query, staged.c.raw, current.c.raw):
        yield _change(row, stream)


def _change(row: Any, stream: Stream) -> PlannedChange:
    fields: Sequence[FieldChange] = ()
    if row.old is not None:
        before, after = content_of(row.old, stream), content_of(row.raw, stream)
        fields = field_changes(before, after, stream.list_keys)
    return PlannedChange(
        stream=stream.name,
        operation=row.operation,
        parent_id=row.parent_id,
        project_key=row.project_key or "",
        external_id=row.external_id,
        key=row.key,
        row_id=row.row_id,
        version=row.version or 0,
        content_hash=row.content_hash,
        raw=row.raw,
        fields=fields_as_json(fields),
    )


def _deleted(connection: Connection, run: RunKey, stream: Stream) -> Iterator[PlannedChange]:
    tables = RECORDS[stream.name]
    current = tables.current
    query = (
        select(
            current.c[tables.id].label("row_id"),
            current.c.parent_id,
            current.c.external_id,
            current.c.key,
            current.c.version,
            _project_key(current),
            staged_deletions.c.reason,
        )
        .join(staged_deletions, staged_deletions.c.row_id == current.c[tables.id])
        .where(staged_deletions.c.run_id == run.run_id, staged_deletions.c.stream == stream.name)
        .order_by(current.c[tables.id])
    )
    for row in connection.execute(query.execution_options(yield_per=_AT_ONCE)):
        yield PlannedChange(
            stream=stream.name,
            operation=Operation.DELETED,
            parent_id=row.parent_id,
            project_key=row.project_key or "",
            external_id=row.external_id,
            key=row.key,
            row_id=row.row_id,
            version=row.version,
            reason=row.reason,
        )


def _project_key(table: Any) -> Any:
    return (table.c.project_key if "project_key" in table.c else table.c.key).label("project_key")


def restage(
    connection: Connection, run: RunKey, plan: SourcePlan, streams: Mapping[str, Stream]
) -> None:
    """The plan is staged as that run's, some of it at a time.

    Raises PlanOutOfDate when a record is not as it was.
    """
    for part in parts(plan.rejects):
        rejects = [(one.stream, one.parent_id, one.reject) for one in part]
        staging.write(connection, run, Batch(rejects=rejects), plan.observed_at)
    drift = {(stream, path, kind): type_ for stream, path, kind, type_ in plan.drift}
    staging.write(connection, run, Batch(drift=drift), plan.observed_at)
    ordinals = count(1)
    for changes in plan.changes.batches():
        batch = Batch()
        for name, group in groupby(changes, key=attrgetter("stream")):
            batch.staged[name] += _restaged(connection, run, streams[name], list(group), ordinals)
        staging.write(connection, run, batch, plan.observed_at)


def _restaged(
    connection: Connection,
    run: RunKey,
    stream: Stream,
    changes: Sequence[PlannedChange],
    ordinals: Iterator[int],
) -> list[tuple[int, StagedRecord]]:
    """Rows to stage of some changes of one stream; its deletions are staged."""
    _raise_if_changed(connection, run.source, stream.name, changes)
    gone = {
        change.row_id: change.reason
        for change in changes
        if change.operation == Operation.DELETED
        and change.row_id is not None
        and change.reason is not None
    }
    missing.add_deletions(connection, run.run_id, stream.name, gone)
    written = [change for change in changes if change.operation != Operation.DELETED]
    stored = _heads(connection, run.source, stream.name, written)
    return [(next(ordinals), _staged(change, stored, stream)) for change in written]


def _heads(
    connection: Connection, source: str, stream: str, changes: Sequence[PlannedChange]
) -> Mapping[tuple[str, str], Head]:
    """What is stored of the changed records; parent by parent, or all of each would be read."""
    wanted: dict[str, list[str]] = defaultdict(list)
    for change in changes:
        wanted[change.parent_id].append(change.external_id)
    stored: dict[tuple[str, str], Head] = {}
    for parent, ids in wanted.items():
        stored |= staging.heads(connection, stream, source, {parent: ids})
    return stored


def _staged(
    change: PlannedChange, stored: Mapping[tuple[str, str], Head], stream: Stream
) -> StagedRecord:
    key = change.project_key if change.stream != "projects" else ""
    partition = Partition(parent_id=change.parent_id, parent_key=key)
    staged = compare([(change.external_id, change.raw)], stored, stream, partition).staged
    fits = staged and (staged[0].operation, staged[0].row_id, staged[0].content_hash) == (
        change.operation,
        change.row_id,
        change.content_hash,
    )
    if not fits:
        raise _moved(change, "is not stored as the plan says")
    return staged[0]


def _raise_if_changed(
    connection: Connection, source: str, stream: str, changes: Sequence[PlannedChange]
) -> None:
    tables = RECORDS[stream]
    table = tables.current
    ids = [change.row_id for change in changes if change.row_id is not None]
    versions: dict[int, int] = {}
    for part in parts(ids):
        query = select(table.c[tables.id].label("row_id"), table.c.version).where(
            table.c.source == source, table.c[tables.id].in_(part)
        )
        versions |= {row.row_id: row.version for row in connection.execute(query)}
    for change in changes:
        if change.row_id is not None and versions.get(change.row_id) != change.version:
            raise _moved(change, f"is not at version {change.version} any more")


def _moved(change: PlannedChange, how: str) -> PlanOutOfDate:
    return PlanOutOfDate(f"the plan is out of date: {change.stream} {change.key} {how}; {_REMEDY}")
