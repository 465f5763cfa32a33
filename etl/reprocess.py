"""Makes the tables of a source anew from its stored payloads, as today's code takes them.

The past is replayed into a scratch database, which is what a fresh load of the same payloads gives;
then the rows of the source are made equal to it in one transaction. No network.
"""

import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import chain
from tempfile import TemporaryDirectory

from sqlalchemy import Connection, Engine, select
from sqlalchemy.exc import SQLAlchemyError

from etl import __version__
from etl.app import Clock, utc_now
from etl.config import SourceSettings
from etl.db import runs
from etl.db.engine import open_engine, snapshot, store_error
from etl.db.rewrite import Difference, Rewrite
from etl.db.run_tables import rejects
from etl.db.run_tables import runs as runs_table
from etl.db.runs import Holder, OpenRun
from etl.db.tables import RECORDS
from etl.db.types import metadata
from etl.db.upsert import copy_rows
from etl.db.versions import lacking, moments
from etl.errors import OK, ConfigError, StoreError, UnsafeChange
from etl.process import at_work, lives
from etl.providers import PROVIDERS
from etl.rebuild import Rebuild
from etl.report import RunReport
from etl.stream import Provider

log = logging.getLogger(__name__)

RENEWED_EVERY = timedelta(minutes=1)
SAMPLES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Reprocessed:
    """What is different: (table, changed | added | removed) -> rows, with some of them."""

    source: str
    moments: int
    counts: Mapping[tuple[str, str], int]
    samples: Sequence[Difference]

    @property
    def rows(self) -> int:
        """How many rows are different."""
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What to make anew: which streams of a source (all when empty), as which code takes them.

    force: versions whose payload that code rejects go, with their payloads.
    """

    source: str
    provider: Provider
    streams: Collection[str] = ()
    force: bool = False


def wanted_of(
    source: SourceSettings, streams: Collection[str] = (), *, force: bool = False
) -> Wanted:
    """ConfigError for a stream that the provider has not."""
    provider = PROVIDERS[source.provider]
    known = [stream.name for stream in provider.streams]
    unknown = [name for name in streams if name not in known]
    if unknown:
        raise ConfigError(
            f"{source.name} ({provider.name}) has no stream {', '.join(unknown)}; "
            f"it has {', '.join(known)}"
        )
    return Wanted(source=source.name, provider=provider, streams=streams, force=force)


def preview(engine: Engine, wanted: Wanted) -> Reprocessed:
    """What reprocessing would change; changes nothing."""
    try:
        with snapshot(engine) as connection, _rebuilt(connection, wanted) as (made, number):
            return _compare(made, connection, wanted, moments=number, writes=False)
    except SQLAlchemyError as error:
        raise store_error(error, f"reprocessing {wanted.source}") from error


def reprocess(
    engine: Engine,
    wanted: Wanted,
    *,
    shown: Callable[[Reprocessed], None] = lambda _found: None,
    clock: Clock = utc_now,
) -> Reprocessed:
    """The source's tables are what a fresh load of its stored payloads gives.

    In one transaction, with the lease of the source; unended runs of it are closed, as what they
    have staged is of before. shown: is told what changes before it is committed.
    """
    with at_work() as holder:
        try:
            with _leased(engine, wanted, holder, clock) as opened:
                return _reprocess(engine, wanted, opened, holder, shown=shown, clock=clock)
        except SQLAlchemyError as error:
            raise store_error(error, f"reprocessing {wanted.source}") from error


def _reprocess(
    engine: Engine,
    wanted: Wanted,
    opened: OpenRun,
    holder: Holder,
    *,
    shown: Callable[[Reprocessed], None],
    clock: Clock,
) -> Reprocessed:
    def beat() -> None:
        with engine.begin() as connection:
            runs.renew(connection, wanted.source, holder, clock())

    with snapshot(engine) as before, _rebuilt(before, wanted, beat, clock) as (made, number):
        before.rollback()
        with engine.begin() as connection:
            runs.renew(connection, wanted.source, holder, clock())
            found = _compare(made, connection, wanted, moments=number, writes=True)
            shown(found)
            _raise_if_rejected(made, wanted)
            now = clock()
            runs.renew(connection, wanted.source, holder, now)
            report = RunReport(
                run_id=opened.key.run_id,
                source=wanted.source,
                provider=wanted.provider.name,
                kind="reprocess",
                status="ok",
                exit_code=OK,
                started_at=opened.started_at,
                finished_at=now,
                notes=(f"{found.rows} rows are different now", *_told(found)),
            )
            runs.close_run(connection, report, observed_at=None)
    log.info("%s: reprocessed, %d rows are different", wanted.source, found.rows)
    return found


@contextmanager
def _leased(engine: Engine, wanted: Wanted, holder: Holder, clock: Clock) -> Iterator[OpenRun]:
    """A run of its own, and the lease of the source; a failure leaves the run as failed."""
    with engine.begin() as connection:
        now = clock()
        runs.acquire(connection, wanted.source, holder, now, lives)
        row = {
            "source": wanted.source,
            "provider": wanted.provider.name,
            "kind": "reprocess",
            "scope": "reprocess",
            "etl_version": __version__,
        }
        never = timedelta(seconds=-1)
        opened = runs.open_run(connection, row, now=now, resume_within=never)
    try:
        yield opened
    finally:
        with engine.begin() as connection:
            runs.abort(connection, opened.key.run_id, clock())
            runs.release(connection, wanted.source, holder)


@contextmanager
def _rebuilt(
    connection: Connection,
    wanted: Wanted,
    beat: Callable[[], None] = lambda: None,
    clock: Clock = utc_now,
) -> Iterator[tuple[Connection, int]]:
    """A scratch database with the past of the source as today's code takes it; -> its moments."""
    begin = lacking(connection, wanted.source)
    if begin is not None:
        raise StoreError(
            f"{wanted.source}: history before {begin:%Y-%m-%d %H:%M:%S}Z was pruned, so the whole "
            "past cannot be made anew; `etl audit` names rows that today's code takes differently"
        )
    with TemporaryDirectory(prefix="etl-") as folder:
        scratch = open_engine(f"sqlite:///{folder}/scratch.db")
        metadata.create_all(scratch)
        try:
            with scratch.begin() as made:
                _copy_runs(connection, made, wanted.source)
                rebuild = Rebuild(connection=made, source=wanted.source, provider=wanted.provider)
                number, renewed = 0, clock()
                for moment in moments(connection, wanted.source):
                    rebuild.add(moment)
                    number += 1
                    if clock() - renewed >= RENEWED_EVERY:
                        beat()
                        renewed = clock()
                yield made, number
        finally:
            scratch.dispose()


def _copy_runs(connection: Connection, made: Connection, source: str) -> None:
    rows = connection.execute(select(runs_table).where(runs_table.c.source == source)).all()
    copy_rows(made, runs_table, [column.name for column in runs_table.c], map(tuple, rows))


def _compare(
    made: Connection, connection: Connection, wanted: Wanted, *, moments: int, writes: bool
) -> Reprocessed:
    counts: Counter[tuple[str, str]] = Counter()
    samples: list[Difference] = []
    rewrite = Rewrite(there=made, here=connection, source=wanted.source, writes=writes)
    rewrite.match(RECORDS["projects"])
    for stream in wanted.provider.streams:
        if stream.name in wanted.streams or not wanted.streams:
            tables = RECORDS[stream.name]
            for found in chain(rewrite.stream(tables), rewrite.findings(stream.name)):
                counts[found.table, found.what] += 1
                if counts[found.table, found.what] <= SAMPLES:
                    samples.append(found)
    return Reprocessed(source=wanted.source, moments=moments, counts=counts, samples=samples)


def _raise_if_rejected(made: Connection, wanted: Wanted) -> None:
    """A stored payload is nowhere else: it does not go because today's code does not like it."""
    query = select(rejects).where(rejects.c.stream.in_(wanted.streams or list(RECORDS)))
    found = made.execute(query.order_by(rejects.c.reject_id)).all()
    if found and not wanted.force:
        first = found[0]
        raise UnsafeChange(
            f"today's code rejects stored payloads of {len(found)} records of {wanted.source}, the "
            f"first at {first.stream} {first.item} {first.path}: {first.reason}; nothing was "
            "changed. Mend the code, or --force if these versions may go",
            much=f"{len(found)} records",
            stream=first.stream,
            deleted=len(found),
            stored=len(found),
        )


def _told(found: Reprocessed) -> list[str]:
    return [f"{table}: {rows} {what}" for (table, what), rows in sorted(found.counts.items())]
