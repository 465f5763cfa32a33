"""What must hold between the rows of the database, asked set by set. Reads only.

Each function yields what is not as promised; etl.db.audit names the promises and the remedies.
What must hold between a row and its own payload is in recompute.
"""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Subquery,
    and_,
    case,
    cast,
    exists,
    func,
    literal,
    null,
    or_,
    select,
    union_all,
)

from etl.audit import Violation
from etl.db import sized
from etl.db.run_tables import horizons, leases, run_streams, runs
from etl.db.runs import unended
from etl.db.tables import RECORDS, STAGING, RecordTables, change_fields, changes
from etl.db.types import UtcDateTime

# Reasons of deletions (etl.proof, etl.db.staging; a test holds them equal) that need no walk.
PROOFS = ("the provider answers 404 for it", "its key belongs to another record now")
ORPHANED = "its project was deleted"

_OPERATIONS = ("created", "updated", "deleted", "restored")


def version_numbers(connection: Connection) -> Iterator[Violation]:
    """Versions of a record that are not 1..n, or k..n where the ones before were pruned."""
    for tables in RECORDS.values():
        versions = _versions(tables)
        place = func.row_number().over(**_window(versions))
        placed = (
            select(versions, (place + _pruned_before(versions)).label("place"))
            .outerjoin(horizons, horizons.c.source == versions.c.source)
            .subquery()
        )
        for row in sized.rows(connection, select(placed).where(placed.c.version != placed.c.place)):
            what = f"it is the {row.place}. version of its record"
            yield _violation(tables.stream, row, what)


def intervals(connection: Connection) -> Iterator[Violation]:
    """Versions that end before they begin, overlap, or leave a gap before the next one."""
    for tables in RECORDS.values():
        versions = _versions(tables)
        following = func.lead(versions.c.valid_from, type_=UtcDateTime()).over(**_window(versions))
        timed = select(versions, following.label("next_from")).subquery()
        begin, end, then = timed.c.valid_from, timed.c.valid_to, timed.c.next_from
        closed = and_(end.is_not(None), or_(then.is_(None), then != end, begin >= end))
        wrong = or_(closed, and_(end.is_(None), then.is_not(None)))
        for row in sized.rows(connection, select(timed).where(wrong)):
            what = f"valid from {row.valid_from} to {row.valid_to}, the next from {row.next_from}"
            yield _violation(tables.stream, row, what)
        current = tables.current
        late = select(versions).join(current, current.c[tables.id] == versions.c.record_id)
        late = late.where(versions.c.version == 1)
        differs = versions.c.valid_from != current.c.first_seen_at
        for row in sized.rows(connection, late.where(differs)):
            yield _violation(tables.stream, row, "it does not begin when the record was first seen")


def operations(connection: Connection) -> Iterator[Violation]:
    """Versions whose operation cannot follow the one before: created, or back from the dead."""
    for tables in RECORDS.values():
        versions = _versions(tables)
        before = func.lag(versions.c.operation).over(**_window(versions)).label("before")
        lives = select(versions, before).subquery()
        now, earlier, gone = lives.c.operation, lives.c.before, literal("deleted")
        first = and_(earlier.is_(None), lives.c.version == 1)
        told = or_(earlier.is_not(None), first)  # of others the one before was pruned
        wrong = or_(
            and_(first, now != "created"),
            and_(earlier.is_not(None), now == "created"),
            and_(told, func.coalesce(earlier == gone, False) != (now == "restored")),
            lives.c.is_deleted != (now == gone),
            now.not_in(_OPERATIONS),
        )
        for row in sized.rows(connection, select(lives).where(wrong)):
            state = "deleted" if row.is_deleted else "live"
            what = f"{row.operation} after {row.before or 'nothing'}, and it is {state}"
            yield _violation(tables.stream, row, what)


def identities(connection: Connection) -> Iterator[Violation]:
    """Ids that have two current rows, and closed versions of another record than their row's."""
    for tables in RECORDS.values():
        current, history = tables.current, tables.history
        identity = (current.c.source, current.c.parent_id, current.c.external_id)
        twice = select(*identity, func.count().label("rows")).group_by(*identity)
        for row in sized.rows(connection, twice.having(func.count() > 1)):
            where = f"{tables.stream} of {row.source}, {row.parent_id}/{row.external_id}"
            yield Violation(where=where, what=f"it has {row.rows} current rows")
        versions = select(history.c[tables.id].label("record_id"), history).join(current)
        names = ("source", "provider", "parent_id", "external_id")
        moved = or_(*(history.c[name] != current.c[name] for name in names))
        for row in sized.rows(connection, versions.where(moved)):
            yield _violation(tables.stream, row, "its source or ids are not those of its record")


def tombstone_times(connection: Connection) -> Iterator[Violation]:
    """Rows whose is_deleted and deleted_at do not say the same."""
    for tables in RECORDS.values():
        pairs = [(tables.current, tables.id)]
        pairs += [(child.current, child.id) for child in tables.children]
        for table, identifier in pairs:
            query = select(table.c[identifier].label("row_id"), table.c.source, table.c.key).where(
                or_(
                    table.c.is_deleted != table.c.deleted_at.is_not(None),
                    table.c.deleted_at != table.c.changed_at,
                )
            )
            for row in sized.rows(connection, query):
                where = f"{table.name} {row.row_id} ({row.source} {row.key})"
                yield Violation(where=where, what="is_deleted and deleted_at do not fit")


def events(connection: Connection) -> Iterator[Violation]:
    """Versions without their one event, and events without their version."""
    for tables in RECORDS.values():
        stream, versions = tables.stream, _versions(tables)
        same = and_(
            changes.c.stream == stream,
            changes.c.record_id == versions.c.record_id,
            changes.c.version == versions.c.version,
        )
        names = ("operation", "run_id", "source", "provider")
        differs = or_(
            changes.c.observed_at != versions.c.valid_from,
            *(changes.c[name] != versions.c[name] for name in names),
        )
        told = select(versions, changes.c.change_id).select_from(versions.outerjoin(changes, same))
        for row in sized.rows(connection, told.where(or_(changes.c.change_id.is_(None), differs))):
            event = f"event {row.change_id} tells something else of it"
            yield _violation(stream, row, event if row.change_id else "it has no event")
        lost = select(changes).where(changes.c.stream == stream)
        for table in (tables.current, tables.history):
            lost = lost.where(
                ~exists().where(
                    table.c[tables.id] == changes.c.record_id,
                    table.c.version == changes.c.version,
                )
            )
        for row in sized.rows(connection, lost):
            yield _violation(stream, row, f"event {row.change_id} tells of it, it is not there")
    unknown = select(changes).where(changes.c.stream.not_in(RECORDS))
    for row in sized.rows(connection, unknown):
        yield _violation(row.stream, row, f"event {row.change_id} is of an unknown stream")


def fieldless_events(connection: Connection) -> Iterator[Violation]:
    """Events of creations and deletions with fields, which only an update or a return has."""
    query = select(changes).where(
        changes.c.operation.not_in(("updated", "restored")),
        changes.c.change_id.in_(select(change_fields.c.change_id)),
    )
    for row in sized.rows(connection, query):
        yield _violation(row.stream, row, f"event {row.change_id} ({row.operation}) has fields")


def parts_of_layers(connection: Connection) -> Iterator[Violation]:
    """Live parameters and reservations of no live layer, or of one of another source."""
    for tables in RECORDS.values():
        owner = tables.current
        for child in tables.children:
            table = child.current
            query = (
                select(table.c[child.id].label("row_id"), table.c.source, table.c.layer_id)
                .outerjoin(owner, owner.c[tables.id] == table.c.layer_id)
                .where(
                    ~table.c.is_deleted,
                    or_(
                        owner.c[tables.id].is_(None),
                        owner.c.is_deleted,
                        owner.c.source != table.c.source,
                        owner.c.provider != table.c.provider,
                    ),
                )
            )
            for row in sized.rows(connection, query):
                where = f"{table.name} {row.row_id} ({row.source})"
                yield Violation(
                    where=where, what=f"it is live, layer {row.layer_id} is not its own"
                )


def parts_of_projects(connection: Connection) -> Iterator[Violation]:
    """Environments and layers whose project_id or project_key is not that of their project."""
    for tables in RECORDS.values():
        if not tables.has_project:
            continue
        part, project = tables.current, RECORDS["projects"].current.alias("project")
        own = and_(
            project.c.source == part.c.source,
            project.c.parent_id == "",
            project.c.external_id == part.c.parent_id,
        )
        fits = and_(
            func.coalesce(part.c.project_id == project.c.project_id, False),
            func.coalesce(part.c.project_key == project.c.key, False),
            or_(part.c.is_deleted, ~project.c.is_deleted),
        )
        columns = (part.c.source, part.c.key, part.c.version, part.c.project_key)
        query = select(part.c[tables.id].label("record_id"), *columns).outerjoin(project, own)
        stray = and_(project.c.project_id.is_(None), part.c.project_id.is_not(None))
        wrong = or_(stray, and_(project.c.project_id.is_not(None), ~fits))
        for row in sized.rows(connection, query.where(wrong)):
            what = f"its project, said to be {row.project_key}, has another id or key, or is gone"
            yield _violation(tables.stream, row, what)


def evidence(connection: Connection) -> Iterator[Violation]:
    """Deletions without a reason, or whose reason is a walk that was not complete."""
    for tables in RECORDS.values():
        table, reason = tables.current, changes.c.reason
        walk = run_streams.alias("walk")
        summary = run_streams.alias("summary")
        proved = or_(
            reason.in_(PROOFS),
            and_(reason == ORPHANED, or_(_project_deleted(table), _is_before_horizon())),
            and_(
                reason.not_in((*PROOFS, ORPHANED, "")),
                # a complete partition leaves no row of its own
                func.coalesce(walk.c.complete, summary.c.run_id.is_not(None)),
            ),
        )
        query = (
            select(changes)
            .join(table, table.c[tables.id] == changes.c.record_id)
            .outerjoin(walk, _walk(walk, table.c.parent_id))
            .outerjoin(summary, _walk(summary, literal("")))
            .where(changes.c.stream == tables.stream, changes.c.operation == "deleted")
            .where(~func.coalesce(proved, False))
        )
        for row in sized.rows(connection, query):
            why = f"its reason ({row.reason or 'none'}) is not borne out by run {row.run_id}"
            yield _violation(tables.stream, row, why)


def unended_runs(connection: Connection) -> Iterator[Violation]:
    """Runs that are said to go on, though a later one of their kind went past them."""
    staged = [exists().where(table.c.run_id == runs.c.run_id) for table in STAGING]
    held = exists().where(leases.c.source == runs.c.source)
    later = runs.alias("later")
    passed = exists().where(
        later.c.source == runs.c.source,
        later.c.kind == runs.c.kind,
        later.c.run_id > runs.c.run_id,
        later.c.observed_at.is_not(None),
    )
    query = select(runs).where(runs.c.status == "running", passed, ~held, *(~one for one in staged))
    for row in sized.rows(connection, query):
        where = f"run {row.run_id} of {row.source}"
        yield Violation(where=where, what="it is running, without a lease and with nothing staged")


def leftovers(connection: Connection) -> Iterator[Violation]:
    """Staged rows of runs that have ended."""
    going_on = select(runs.c.run_id).where(unended())
    for table in STAGING:
        query = select(table.c.run_id, func.count().label("rows")).group_by(table.c.run_id)
        for row in sized.rows(connection, query.where(table.c.run_id.not_in(going_on))):
            yield Violation(
                where=f"{table.name}, run {row.run_id}", what=f"{row.rows} rows, the run has ended"
            )


def merge_times(connection: Connection) -> Iterator[Violation]:
    """Changes at another time than their run's, and merges of a source that go back in time.

    What `etl reprocess` adds to the past is told last.
    """
    off = select(changes).join(runs, runs.c.run_id == changes.c.run_id)
    off = off.where(or_(runs.c.observed_at.is_(None), runs.c.observed_at != changes.c.observed_at))
    for row in sized.rows(connection, off):
        what = f"event {row.change_id} is not of the time of its run {row.run_id}"
        yield _violation(row.stream, row, what)
    first = select(changes.c.run_id, func.min(changes.c.change_id).label("event"))
    merged = first.group_by(changes.c.run_id).subquery()
    earlier = func.lag(runs.c.observed_at, type_=UtcDateTime()).over(
        partition_by=runs.c.source, order_by=merged.c.event
    )
    inner = select(runs.c.run_id, runs.c.source, runs.c.observed_at, earlier.label("earlier"))
    ordered = inner.join(merged, merged.c.run_id == runs.c.run_id).subquery()
    anew = runs.alias("anew")
    reprocessed = (
        select(func.max(anew.c.started_at))
        .where(anew.c.source == ordered.c.source, anew.c.kind == "reprocess")
        .scalar_subquery()
    )
    back = select(ordered).where(
        ordered.c.observed_at <= ordered.c.earlier,
        or_(reprocessed.is_(None), ordered.c.earlier > reprocessed),
    )
    for row in sized.rows(connection, back):
        where = f"run {row.run_id} of {row.source}"
        yield Violation(where=where, what="it was merged at no later time than the one before")
    at = (runs.c.source, runs.c.observed_at)
    twice = select(*at, func.count().label("runs")).where(runs.c.observed_at.is_not(None))
    for row in sized.rows(connection, twice.group_by(*at).having(func.count() > 1)):
        what = f"{row.runs} runs were merged at {row.observed_at}"
        yield Violation(where=f"runs of {row.source}", what=what)


def _versions(tables: RecordTables) -> Subquery:
    """Every version of every record: the closed ones, and the current one without valid_to."""
    current, history = tables.current, tables.history
    names = ("source", "provider", "key", "version", "operation", "run_id", "is_deleted")
    return union_all(
        select(
            history.c[tables.id].label("record_id"),
            *(history.c[name] for name in names),
            history.c.valid_from,
            history.c.valid_to,
        ),
        select(
            current.c[tables.id],
            *(current.c[name] for name in names),
            current.c.changed_at,
            cast(null(), UtcDateTime()),
        ),
    ).subquery("versions")


def _pruned_before(versions: Subquery) -> Any:
    """How many versions of a record were pruned; none where its source has no horizon."""
    window: dict[str, Any] = {"partition_by": versions.c.record_id}
    begin = func.min(versions.c.valid_from, type_=UtcDateTime()).over(**window)
    pruned = func.coalesce(begin <= horizons.c.known_since, False)
    return case((pruned, func.min(versions.c.version).over(**window) - 1), else_=0)


def _is_before_horizon() -> ColumnElement[bool]:
    """Whether the events of that time may have been pruned."""
    return exists().where(
        horizons.c.source == changes.c.source, horizons.c.known_since >= changes.c.observed_at
    )


def _window(versions: Subquery) -> dict[str, Any]:
    return {"partition_by": versions.c.record_id, "order_by": versions.c.version}


def _walk(table: Any, parent_id: ColumnElement[str]) -> ColumnElement[bool]:
    return and_(
        table.c.run_id == changes.c.run_id,
        table.c.stream == changes.c.stream,
        table.c.parent_id == parent_id,
    )


def _project_deleted(part: Any) -> ColumnElement[bool]:
    """Whether the project of this record was deleted by the same run."""
    project, event = RECORDS["projects"].current.alias("project"), changes.alias("event")
    return exists().where(
        project.c.source == part.c.source,
        project.c.parent_id == "",
        project.c.external_id == part.c.parent_id,
        event.c.stream == "projects",
        event.c.record_id == project.c.project_id,
        event.c.run_id == changes.c.run_id,
        event.c.operation == "deleted",
    )


def _violation(stream: str, row: Any, what: str) -> Violation:
    where = f"{stream} {row.record_id} ({row.source} {row.key}) version {row.version}"
    return Violation(where=where, what=what)
