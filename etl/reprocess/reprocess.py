"""Makes the tables of a source anew from stored payloads or its archive, as today's code does.

The past is replayed into a scratch database (etl.reprocess.scratch), which is what a fresh load of
the same gives; then the rows of the source are made equal to it in one transaction. No network.
"""

import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain
from pathlib import Path

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from etl import __version__
from etl.archive.reader import found_in
from etl.config.settings import Settings, SourceSettings
from etl.db.engine import snapshot, store_error
from etl.db.tables import RECORDS
from etl.errors import OK, ConfigError, UnsafeChange
from etl.load import runs
from etl.load.runs import Holder, OpenRun
from etl.log_fields import fields
from etl.model import RunKind, RunReport, RunStatus
from etl.operations.sync import Clock, utc_now
from etl.pipeline.live_processes import at_work, lives
from etl.providers import PROVIDERS
from etl.providers.kit import Provider
from etl.reprocess.reconcile import Reconciliation, RowDifference
from etl.reprocess.safety import newly_rejected, other_deletions
from etl.reprocess.scratch import ScratchDatabase, SourceDumps, remade
from etl.signals import to_its_end

log = logging.getLogger(__name__)

SAMPLES = 10
MAX_REASONS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class ReprocessResult:
    """What is different: (table, changed | added | removed) -> rows, with some of them.

    dumps: of how many of the moments there was one; left_out: the others, and why. refusal: why it
    is not done without force.
    """

    source: str
    moments: int
    counts: Mapping[tuple[str, str], int]
    samples: Sequence[RowDifference]
    dumps: int = 0
    left_out: Sequence[str] = ()
    refusal: UnsafeChange | None = None

    @property
    def rows(self) -> int:
        """How many rows are different."""
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class ReprocessOptions:
    """What to make anew: which streams of a source (all when empty), as which code takes them.

    force: versions whose payload that code rejects go, with their payloads; and deletions are as
    the dumps show them. dumps: from which the past is taken where there is one.
    """

    source: str
    provider: Provider
    streams: Collection[str] = ()
    force: bool = False
    dumps: SourceDumps | None = None


def wanted_of(
    source: SourceSettings,
    streams: Collection[str] = (),
    *,
    force: bool = False,
    dumps: SourceDumps | None = None,
) -> ReprocessOptions:
    """ConfigError for a stream that the provider has not."""
    provider = PROVIDERS[source.provider]
    known = [stream.name for stream in provider.streams]
    unknown = [name for name in streams if name not in known]
    if unknown:
        raise ConfigError(
            f"{source.name} ({provider.name}) has no stream {', '.join(unknown)}; "
            f"it has {', '.join(known)}"
        )
    return ReprocessOptions(
        source=source.name, provider=provider, streams=streams, force=force, dumps=dumps
    )


def dumps_of(settings: Settings, source: str, folder: Path) -> SourceDumps:
    """The dumps of a source in that folder; ConfigError when none can be taken for one."""
    found = found_in(folder, source, PROVIDERS[settings.sources[source].provider])
    if not found.dumps:
        why = "; ".join(found.left_out[:MAX_REASONS])
        raise ConfigError(f"{folder} holds no dump of {source} that can be used: {why}")
    return SourceDumps(settings=settings, dumps=found.dumps, left_out=found.left_out)


def preview(engine: Engine, wanted: ReprocessOptions) -> ReprocessResult:
    """What reprocessing would change; changes nothing."""
    try:
        with (
            snapshot(engine) as connection,
            _remade(connection, wanted) as past,
            past.scratch.connect() as made,
        ):
            return _compare(past, _rewrite(past, made, connection, writes=False), wanted)
    except SQLAlchemyError as error:
        raise store_error(error, f"reprocessing {wanted.source}") from error


def reprocess(
    engine: Engine,
    wanted: ReprocessOptions,
    *,
    shown: Callable[[ReprocessResult], None] = lambda _found: None,
    clock: Clock = utc_now,
) -> ReprocessResult:
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
    wanted: ReprocessOptions,
    opened: OpenRun,
    holder: Holder,
    *,
    shown: Callable[[ReprocessResult], None],
    clock: Clock,
) -> ReprocessResult:
    def beat() -> None:
        with engine.begin() as connection:
            runs.renew(connection, wanted.source, holder, clock())

    with snapshot(engine) as before, _remade(before, wanted, beat, clock) as past:
        before.rollback()
        with past.scratch.connect() as made, engine.begin() as connection:
            runs.renew(connection, wanted.source, holder, clock())
            rewrite = _rewrite(past, made, connection, writes=True)
            found = _compare(past, rewrite, wanted)
            shown(found)
            if found.refusal is not None:
                raise found.refusal
            now = clock()
            runs.renew(connection, wanted.source, holder, now)
            report = RunReport(
                run_id=opened.key.run_id,
                source=wanted.source,
                provider=wanted.provider.name,
                kind=RunKind.REPROCESS,
                status=RunStatus.OK,
                exit_code=OK,
                started_at=opened.started_at,
                finished_at=now,
                notes=(f"{found.rows} rows are different now", *_told(found)),
            )
            runs.close_run(connection, report, observed_at=None)
            rewrite.write_new_events()
    log.info(
        "%s: reprocessed, %d rows are different",
        wanted.source,
        found.rows,
        extra=fields("reprocessed", source=wanted.source, rows=found.rows),
    )
    return found


def _remade(
    stored: Connection,
    wanted: ReprocessOptions,
    beat: Callable[[], None] = lambda: None,
    clock: Clock = utc_now,
) -> AbstractContextManager[ScratchDatabase]:
    return remade(stored, wanted.source, wanted.provider, wanted.dumps, beat=beat, clock=clock)


@contextmanager
def _leased(
    engine: Engine, wanted: ReprocessOptions, holder: Holder, clock: Clock
) -> Iterator[OpenRun]:
    """A run of its own, and the lease of the source; a failure leaves the run as failed."""
    with engine.begin() as connection:
        now = clock()
        runs.acquire(connection, wanted.source, holder, now, lives)
        row = {
            "source": wanted.source,
            "provider": wanted.provider.name,
            "kind": RunKind.REPROCESS,
            "scope": "reprocess",
            "etl_version": __version__,
        }
        never = timedelta(seconds=-1)
        opened = runs.open_run(connection, row, now=now, resume_within=never)
    try:
        yield opened
    finally:
        _put_back(engine, wanted, holder, opened.key.run_id, clock())


@to_its_end
def _put_back(
    engine: Engine, wanted: ReprocessOptions, holder: Holder, run_id: int, now: datetime
) -> None:
    """Nothing of a run that has ended is changed by its abort."""
    with engine.begin() as connection:
        runs.abort(connection, run_id, now)
        runs.release(connection, wanted.source, holder)


def _rewrite(
    past: ScratchDatabase, made: Connection, connection: Connection, *, writes: bool
) -> Reconciliation:
    return Reconciliation(
        there=made,
        here=connection,
        source=past.source,
        writes=writes,
        runs=past.taken,
        taken=frozenset(past.taken.values()),
    )


def _compare(
    past: ScratchDatabase, rewrite: Reconciliation, wanted: ReprocessOptions
) -> ReprocessResult:
    """What is different, and made equal where the rewrite writes."""
    made, connection = rewrite.there, rewrite.here
    dumps = len(past.taken)
    rejected = newly_rejected(
        made, connection if dumps else None, wanted.source, wanted.streams or list(RECORDS)
    )
    doubts = list(other_deletions(made, connection, past.taken, (wanted.provider, wanted.source)))
    counts: Counter[tuple[str, str]] = Counter()
    samples: list[RowDifference] = []
    rewrite.match(RECORDS["projects"])
    for stream in wanted.provider.streams:
        if stream.name in wanted.streams or not wanted.streams:
            tables = RECORDS[stream.name]
            for found in chain(rewrite.stream(tables), rewrite.findings(stream.name)):
                counts[found.table, found.what] += 1
                if counts[found.table, found.what] <= SAMPLES:
                    samples.append(found)
    refusal = _rejected(wanted, rejected) or _doubted(wanted, doubts)
    return ReprocessResult(
        source=wanted.source,
        moments=past.moments,
        dumps=dumps,
        counts=counts,
        samples=samples,
        left_out=tuple(past.left_out),
        refusal=None if wanted.force else refusal,
    )


def _rejected(wanted: ReprocessOptions, found: Sequence[str]) -> UnsafeChange | None:
    """A stored payload is nowhere else: it does not go because today's code does not like it."""
    if not found:
        return None
    return UnsafeChange(
        f"today's code rejects stored payloads of {len(found)} records of {wanted.source}, the "
        f"first at {found[0]}; nothing was changed. Mend the code, or --force if these versions "
        "may go",
        much=f"{len(found)} records",
        stream=found[0].partition(" ")[0],
        deleted=len(found),
        stored=len(found),
    )


def _doubted(wanted: ReprocessOptions, doubts: Sequence[tuple[str, str]]) -> UnsafeChange | None:
    """Deletions have their evidence from the run of the time; an archive does not overrule it."""
    asked = [one for one in doubts if one[0] in wanted.streams or not wanted.streams]
    if not asked:
        return None
    stream, first = asked[0]
    return UnsafeChange(
        f"of {len(asked)} records of {wanted.source} the archive shows another end than the runs "
        f"of that time proved, the first is {stream} {first}; nothing was changed. --force if the "
        "archive is right",
        much=f"{len(asked)} records",
        stream=stream,
        deleted=len(asked),
        stored=len(asked),
    )


def _told(found: ReprocessResult) -> list[str]:
    return [f"{table}: {rows} {what}" for (table, what), rows in sorted(found.counts.items())]
