"""How what a run found is made seen: one call inside one transaction, the same for every run.

Records are staged before; here is what is known besides.
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Connection

from etl.db.run_tables import staged_deletions
from etl.errors import UnsafeChange
from etl.load import runs, staging
from etl.load import scope_store as scopes
from etl.load.events import write_events
from etl.load.merge import merge
from etl.load.scope_store import StoredScope
from etl.load.staging import Batch, RunKey
from etl.model import RunReport
from etl.providers.kit import Stream
from etl.spool import Spool


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCommit:
    """What a run found, besides what it has staged.

    left, back: stream -> rows that leave its scope, and those that were met in it again.
    scopes: stream -> the new scope in which all of it was read.
    held: deletions beyond the limits that are staged all the same, for a plan.
    unwritten: rejects and drift that a dry run keeps to itself.
    """

    run: RunKey
    streams: Mapping[str, Stream]
    report: RunReport
    left: Mapping[str, Collection[int]]
    back: Mapping[str, Collection[int]]
    scopes: Mapping[str, StoredScope]
    held: Sequence[UnsafeChange] = ()
    unwritten: Batch = field(default_factory=Batch)


def land(connection: Connection, landing: RunCommit, observed_at: datetime) -> None:
    """Readers see it when the caller commits; the run is closed and its staging emptied."""
    run, report = landing.run, landing.report
    with closing(Spool()) as fields:
        events = None
        if report.changed:
            events = merge(connection, run, landing.streams, observed_at, fields)
        whole = [stream.stream for stream in report.streams if stream.complete]
        runs.resolve_rejects(connection, run, whole, observed_at)
        for name in landing.streams:
            scopes.leave(connection, run.source, name, landing.left.get(name, ()), run.run_id)
            scopes.enter(connection, run.source, name, landing.back.get(name, ()))
            if name in landing.scopes:
                scopes.store(connection, run.source, name, landing.scopes[name], run.run_id)
        runs.close_run(connection, report, observed_at=observed_at)
        staging.clear(connection, run.run_id, but=staged_deletions)
        if events is not None:
            write_events(connection, events)  # last: other runs wait for this transaction now
    staging.clear_deletions(connection, run.run_id)
