"""What must hold between the rows of the database: queries for the rows that break a promise.

etl.audit.checks names the promises and the remedies. What must hold between a row and its own
payload is in etl.audit.payloads.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
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

from etl.audit.findings import Violation
from etl.db import large_rows
from etl.db.run_tables import horizons, leases, run_streams, runs
from etl.db.tables import RECORDS, STAGING, RecordTables, change_fields, changes
from etl.db.types import UtcDateTime
from etl.load.runs import unended
from etl.model import DeletionReason, Operation, RunKind, RunStatus

# reasons that need no list
PROOFS = (DeletionReason.NOT_FOUND, DeletionReason.KEY_REUSED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A query for the rows that break it; what is wrong with such a row, and which one it is.

    where: unless given, the version of a record of the stream.
    """

    query: Select[Any]
    what: Callable[[Any], str]
    stream: str = ""
    where: Callable[[Any], str] | None = None

    def violation(self, row: Any) -> Violation:
        """What a row breaks."""
        where = self.where(row) if self.where else _version(self.stream or row.stream, row)
        return Violation(where=where, what=self.what(row))


Rules = Callable[[], Iterator[Rule]]


def breaking(rules: Rules) -> Callable[[Connection], Iterator[Violation]]:
    """The search for all that breaks these rules; their queries are put together once."""
    made = cache(lambda: tuple(rules()))

    def search(connection: Connection) -> Iterator[Violation]:
        for rule in made():
            for row in large_rows.rows(connection, rule.query):
                yield rule.violation(row)

    return search


def version_numbers() -> Iterator[Rule]:
    """Versions of a record that are not 1..n, or k..n where the ones before were pruned."""
    for tables in RECORDS.values():
        versions = _versions(tables)
        place = func.row_number().over(**_window(versions))
        placed = (
            select(versions, (place + _pruned_before(versions)).label("place"))
            .outerjoin(horizons, horizons.c.source == versions.c.source)
            .subquery()
        )
        yield Rule(
            stream=tables.stream,
            query=select(placed).where(placed.c.version != placed.c.place),
            what=lambda row: f"it is the {row.place}. version of its record",
        )


def intervals() -> Iterator[Rule]:
    """Versions that end before they begin, overlap, or leave a gap before the next one."""
    for tables in RECORDS.values():
        versions = _versions(tables)
        following = func.lead(versions.c.valid_from, type_=UtcDateTime()).over(**_window(versions))
        timed = select(versions, following.label("next_from")).subquery()
        begin, end, then = timed.c.valid_from, timed.c.valid_to, timed.c.next_from
        closed = and_(end.is_not(None), or_(then.is_(None), then != end, begin >= end))
        wrong = or_(closed, and_(end.is_(None), then.is_not(None)))
        yield Rule(
            stream=tables.stream,
            query=select(timed).where(wrong),
            what=lambda row: (
                f"valid from {row.valid_from} to {row.valid_to}, the next from {row.next_from}"
            ),
        )
        current = tables.current
        late = select(versions).join(current, current.c[tables.id] == versions.c.record_id)
        late = late.where(versions.c.version == 1)
        yield Rule(
            stream=tables.stream,
            query=late.where(versions.c.valid_from != current.c.first_seen_at),
            what=lambda _row: "it does not begin when the record was first seen",
        )


def operations() -> Iterator[Rule]:
    """Versions whose operation cannot follow the one before: created, or back from the dead."""
    for tables in RECORDS.values():
        versions = _versions(tables)
        before = func.lag(versions.c.operation).over(**_window(versions)).label("before")
        lives = select(versions, before).subquery()
        now, earlier, gone = lives.c.operation, lives.c.before, literal(Operation.DELETED.value)
        first = and_(earlier.is_(None), lives.c.version == 1)
        told = or_(earlier.is_not(None), first)  # of others the one before was pruned
        wrong = or_(
            and_(first, now != Operation.CREATED),
            and_(earlier.is_not(None), now == Operation.CREATED),
            and_(told, func.coalesce(earlier == gone, False) != (now == Operation.RESTORED)),
            lives.c.is_deleted != (now == gone),
            now.not_in(tuple(Operation)),
        )
        yield Rule(
            stream=tables.stream,
            query=select(lives).where(wrong),
            what=lambda row: (
                f"{row.operation} after {row.before or 'nothing'}, "
                f"and it is {'deleted' if row.is_deleted else 'live'}"
            ),
        )


def identities() -> Iterator[Rule]:
    """Ids that have two current rows, and closed versions of another record than their row's."""
    for tables in RECORDS.values():
        current, history = tables.current, tables.history
        identity = (current.c.source, current.c.parent_id, current.c.external_id)
        twice = select(*identity, func.count().label("rows")).group_by(*identity)
        twice = twice.add_columns(literal(tables.stream).label("stream"))
        yield Rule(
            query=twice.having(func.count() > 1),
            where=lambda row: f"{row.stream} of {row.source}, {row.parent_id}/{row.external_id}",
            what=lambda row: f"it has {row.rows} current rows",
        )
        versions = select(history.c[tables.id].label("record_id"), history).join(current)
        names = ("source", "provider", "parent_id", "external_id")
        moved = or_(*(history.c[name] != current.c[name] for name in names))
        yield Rule(
            stream=tables.stream,
            query=versions.where(moved),
            what=lambda _row: "its source or ids are not those of its record",
        )


def tombstone_times() -> Iterator[Rule]:
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
            query = query.add_columns(literal(table.name).label("name"))
            yield Rule(
                query=query,
                where=lambda row: f"{row.name} {row.row_id} ({row.source} {row.key})",
                what=lambda _row: "is_deleted and deleted_at do not fit",
            )


def events() -> Iterator[Rule]:
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
        yield Rule(
            stream=stream,
            query=told.where(or_(changes.c.change_id.is_(None), differs)),
            what=lambda row: (
                f"event {row.change_id} tells something else of it"
                if row.change_id
                else "it has no event"
            ),
        )
        lost = select(changes).where(changes.c.stream == stream)
        for table in (tables.current, tables.history):
            lost = lost.where(
                ~exists().where(
                    table.c[tables.id] == changes.c.record_id,
                    table.c.version == changes.c.version,
                )
            )
        yield Rule(
            query=lost, what=lambda row: f"event {row.change_id} tells of it, it is not there"
        )
    yield Rule(
        query=select(changes).where(changes.c.stream.not_in(RECORDS)),
        what=lambda row: f"event {row.change_id} is of an unknown stream",
    )


def fieldless_events() -> Iterator[Rule]:
    """Events of creations and deletions with fields, which only an update or a return has."""
    query = select(changes).where(
        changes.c.operation.not_in((Operation.UPDATED, Operation.RESTORED)),
        changes.c.change_id.in_(select(change_fields.c.change_id)),
    )
    yield Rule(query=query, what=lambda row: f"event {row.change_id} ({row.operation}) has fields")


def parts_of_layers() -> Iterator[Rule]:
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
            yield Rule(
                query=query.add_columns(literal(table.name).label("name")),
                where=lambda row: f"{row.name} {row.row_id} ({row.source})",
                what=lambda row: f"it is live, layer {row.layer_id} is not its own",
            )


def parts_of_projects() -> Iterator[Rule]:
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
        yield Rule(
            stream=tables.stream,
            query=query.where(wrong),
            what=lambda row: (
                f"its project, said to be {row.project_key}, has another id or key, or is gone"
            ),
        )


def evidence() -> Iterator[Rule]:
    """Deletions without a reason, or whose reason is a walk that was not complete."""
    for tables in RECORDS.values():
        table, reason = tables.current, changes.c.reason
        walk = run_streams.alias("walk")
        summary = run_streams.alias("summary")
        proved = or_(
            reason.in_(PROOFS),
            and_(
                reason == DeletionReason.PROJECT_DELETED,
                or_(_project_deleted(table), _is_before_horizon()),
            ),
            and_(
                reason.not_in((*PROOFS, DeletionReason.PROJECT_DELETED, "")),
                # a complete partition leaves no row of its own
                func.coalesce(walk.c.complete, summary.c.run_id.is_not(None)),
            ),
        )
        query = (
            select(changes)
            .join(table, table.c[tables.id] == changes.c.record_id)
            .outerjoin(walk, _walk(walk, table.c.parent_id))
            .outerjoin(summary, _walk(summary, literal("")))
            .where(changes.c.stream == tables.stream, changes.c.operation == Operation.DELETED)
            .where(~func.coalesce(proved, False))
        )
        yield Rule(
            query=query,
            what=lambda row: (
                f"its reason ({row.reason or 'none'}) is not borne out by run {row.run_id}"
            ),
        )


def unended_runs() -> Iterator[Rule]:
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
    query = select(runs).where(
        runs.c.status == RunStatus.RUNNING, passed, ~held, *(~one for one in staged)
    )
    yield Rule(
        query=query,
        where=_run,
        what=lambda _row: "it is running, without a lease and with nothing staged",
    )


def leftovers() -> Iterator[Rule]:
    """Staged rows of runs that have ended."""
    going_on = select(runs.c.run_id).where(unended())
    for table in STAGING:
        name = literal(table.name).label("name")
        query = select(table.c.run_id, func.count().label("rows"), name).group_by(table.c.run_id)
        yield Rule(
            query=query.where(table.c.run_id.not_in(going_on)),
            where=lambda row: f"{row.name}, run {row.run_id}",
            what=lambda row: f"{row.rows} rows, the run has ended",
        )


def merge_times() -> Iterator[Rule]:
    """Changes at another time than their run's, and merges of a source that go back in time.

    What `etl reprocess` adds to the past is told last.
    """
    off = select(changes).join(runs, runs.c.run_id == changes.c.run_id)
    off = off.where(or_(runs.c.observed_at.is_(None), runs.c.observed_at != changes.c.observed_at))
    yield Rule(
        query=off,
        what=lambda row: f"event {row.change_id} is not of the time of its run {row.run_id}",
    )
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
        .where(anew.c.source == ordered.c.source, anew.c.kind == RunKind.REPROCESS)
        .scalar_subquery()
    )
    back = select(ordered).where(
        ordered.c.observed_at <= ordered.c.earlier,
        or_(reprocessed.is_(None), ordered.c.earlier > reprocessed),
    )
    yield Rule(
        query=back,
        where=_run,
        what=lambda _row: "it was merged at no later time than the one before",
    )
    at = (runs.c.source, runs.c.observed_at)
    twice = select(*at, func.count().label("runs")).where(runs.c.observed_at.is_not(None))
    yield Rule(
        query=twice.group_by(*at).having(func.count() > 1),
        where=lambda row: f"runs of {row.source}",
        what=lambda row: f"{row.runs} runs were merged at {row.observed_at}",
    )


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
        event.c.operation == Operation.DELETED,
    )


def _version(stream: str, row: Any) -> str:
    return f"{stream} {row.record_id} ({row.source} {row.key}) version {row.version}"


def _run(row: Any) -> str:
    return f"run {row.run_id} of {row.source}"
