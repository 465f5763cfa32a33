"""Composition of `etl plan` and `etl apply`: a dry run whose finding is kept, and its landing."""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from etl import __version__
from etl.config.settings import Settings
from etl.db.engine import reading, store_error
from etl.errors import OK, PARTIAL, ConfigError
from etl.load import runs
from etl.load.commit import RunCommit, land
from etl.load.scope import Credential
from etl.load.scope_store import StoredScope
from etl.load.staging import RunKey
from etl.model import RunKind, RunReport, RunStatus, StreamReport, StreamStatus
from etl.operations import plan_store
from etl.operations.plan_document import PlannedChanges, PlannedReject, PlannedScope, SourcePlan
from etl.operations.sync import Clock, RunOptions, Watch, job_of, sync, utc_now
from etl.pipeline.deletions import TROUBLE
from etl.pipeline.live_processes import at_work, lives
from etl.providers import PROVIDERS

NEVER = timedelta(seconds=-1)


def plan(
    engine: Engine,
    settings: Settings,
    name: str,
    wish: RunOptions,
    *,
    watch: Watch | None = None,
    clock: Clock = utc_now,
) -> tuple[RunReport, SourcePlan | None]:
    """What a run of a source would change, from where the database stands; changes nothing."""
    made: list[SourcePlan] = []
    wish = replace(wish, dry_run=True, plan=True)
    job = job_of(settings.sources[name], settings, wish)

    def note(connection: Connection, landing: RunCommit, observed_at: datetime) -> None:
        made.clear()  # where the connection was lost, it is made again
        with closing(plan_store.staged_changes(connection, landing.run, landing.streams)) as found:
            changes = PlannedChanges(found)
        made.append(
            SourcePlan(
                source=name,
                provider=job.provider.name,
                base_url=job.base_url,
                options=_options(settings, name, list(landing.streams)),
                scope=job.scope,
                observed_at=observed_at,
                standing=plan_store.standing(connection, name),
                report=landing.report,
                held={error.stream: error.much for error in landing.held},
                left={stream: sorted(found) for stream, found in landing.left.items() if found},
                back={stream: sorted(found) for stream, found in landing.back.items() if found},
                scopes=_scopes(landing),
                drift=[(*what, type_) for what, type_ in landing.unwritten.drift.items()],
                changes=changes,
                rejects=_rejects(landing),
            )
        )

    watch = replace(watch or Watch(), planned=note)
    report = sync(engine, settings, name, wish, watch=watch, clock=clock)
    return report, made[0] if made else None


def _options(settings: Settings, name: str, streams: Sequence[str]) -> dict[str, object]:
    options = settings.sources[name].options
    return {stream: options[stream].model_dump(mode="json") for stream in streams}


def _scopes(landing: RunCommit) -> list[PlannedScope]:
    return [
        PlannedScope(
            stream=stream,
            scope=one.scope,
            key=one.credential.key,
            identity=one.credential.identity,
        )
        for stream, one in sorted(landing.scopes.items())
    ]


def _rejects(landing: RunCommit) -> list[PlannedReject]:
    return [
        PlannedReject(stream=stream, parent_id=parent_id, reject=reject)
        for stream, parent_id, reject in landing.unwritten.rejects
    ]


def apply(
    engine: Engine,
    settings: Settings,
    plans: Sequence[SourcePlan],
    *,
    landed: Callable[[RunReport], None] = lambda _report: None,
    clock: Clock = utc_now,
) -> list[RunReport]:
    """Every plan is applied; none when one does not fit. One that was applied stays as it is.

    landed: is told each as it lands; the database may move on between two of them.
    Raises ConfigError when the configuration asks for something else now, PlanOutOfDate when the
    database moved on.
    """
    for one in plans:
        _raise_if_other(settings, one)
    waiting = []
    with reading(engine) as connection:
        for one in plans:
            if not plan_store.was_applied(connection, one):
                plan_store.raise_if_moved(connection, one)
                waiting.append(one)
    reports = []
    for one in waiting:
        reports.append(_apply(engine, one, clock))
        landed(reports[-1])
    return reports


def _raise_if_other(settings: Settings, one: SourcePlan) -> None:
    """Raises ConfigError when the source is another one now; its key is not looked at."""
    source = settings.sources.get(one.source)
    same = source is not None and (source.provider, source.base_url) == (
        one.provider,
        one.base_url,
    )
    if not same or _options(settings, one.source, list(one.options)) != one.options:
        raise ConfigError(
            f"the configuration asks for something else of {one.source} than when the plan was "
            "made; nothing was applied; look at a new `etl plan`"
        )


def _apply(engine: Engine, one: SourcePlan, clock: Clock) -> RunReport:
    """All in one transaction, the lease too: nobody sees half of it, no refusal leaves a trace."""
    provider = PROVIDERS[one.provider]
    streams = {name: provider.stream(name) for name in one.options}
    try:
        with at_work() as holder, engine.begin() as connection:
            now = clock()
            runs.acquire(connection, one.source, holder, now, lives)
            plan_store.raise_if_moved(connection, one)
            row = {
                "source": one.source,
                "provider": one.provider,
                "kind": RunKind.APPLY,
                "scope": one.scope,
                "etl_version": __version__,
            }
            run = runs.open_run(connection, row, now=now, resume_within=NEVER).key
            plan_store.restage(connection, run, one, streams)
            landing = RunCommit(
                run=run,
                streams=streams,
                report=_report(one, run, now),
                left=one.left,
                back=one.back,
                scopes={scope.stream: _scope(scope) for scope in one.scopes},
            )
            land(connection, landing, one.observed_at)
            runs.release(connection, one.source, holder)
    except SQLAlchemyError as error:
        raise store_error(error, f"applying the plan of {one.source}") from error
    return landing.report


def _scope(one: PlannedScope) -> StoredScope:
    return StoredScope(scope=one.scope, credential=Credential(key=one.key, identity=one.identity))


def _report(one: SourcePlan, run: RunKey, now: datetime) -> RunReport:
    """The proofs and counts are the plan's; requests were the plan's too, and none are made now."""
    streams = [_stream(stream, now) for stream in one.report.streams]
    bad = any(stream.status in TROUBLE or stream.rejected for stream in streams)
    return replace(
        one.report,
        run_id=run.run_id,
        kind=RunKind.APPLY,
        status=RunStatus.PARTIAL if bad else RunStatus.OK,
        exit_code=PARTIAL if bad else OK,
        started_at=now,
        finished_at=now,
        attempts=1,
        error=None,
        notes=(*one.report.notes, f"a plan made at {one.observed_at.isoformat()}"),
        streams=streams,
    )


def _stream(stream: StreamReport, now: datetime) -> StreamReport:
    status = StreamStatus.OK if stream.status == StreamStatus.HELD else stream.status
    read = stream.oldest_read_at and min(stream.oldest_read_at, now)
    return replace(
        stream, status=status, requests=0, retries=0, waited_seconds=0.0, oldest_read_at=read
    )
