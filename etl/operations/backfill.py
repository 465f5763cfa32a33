"""One-off runs that may take hours: what one will cost, going on by number, and making way.

A backfill is a run like any other with a wish of its own. It keeps the lease only while it works:
whenever it is parked, by a limit or for another run of the source, it waits and goes on behind its
last page.
"""

import json
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from math import ceil

from sqlalchemy import Connection, Engine, select

from etl.config.settings import Settings
from etl.db.engine import reading
from etl.db.run_tables import runs
from etl.errors import ConfigError, SourceError
from etl.extract.pages import PageReader, body_of
from etl.history.runs import one_run, usual_requests
from etl.load.runs import RESUMABLE, unended
from etl.load.staging import read_ledger
from etl.model import RunKind, RunReport, RunStatus
from etl.operations.sync import Clock, RunOptions, budget_of, client_of, job_of, reader_of, utc_now
from etl.pipeline.job import Job
from etl.pipeline.run import AFTER_ANOTHER_RUN
from etl.pipeline.selection import from_json
from etl.providers.kit import Partition, Stream, fans_out
from etl.signals import undisturbed


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What a backfill will take; run_id: the one it goes on with, which has read `done` pages.

    requests: how many more; None where the provider says no total. ends_at: when the rate limits
    let the last one go.
    """

    run_id: int | None
    done: int
    requests: int | None
    ends_at: datetime


def to_the_end(
    run: Callable[[RunOptions], RunReport],
    wish: RunOptions,
    *,
    sleep: Callable[[float], object],
    waits: Callable[[RunReport], None] = lambda _report: None,
    clock: Clock = utc_now,
) -> RunReport:
    """Runs until the end, an error or an outage; waits for limits and for other runs of the source.

    waits: is told before each pause, of what is waited for and until when (`retry_at`).
    """
    report = run(wish)
    while report.status == RunStatus.PARKED and report.retry_at is not None:
        waits(report)
        sleep(max(0.0, (report.retry_at - clock()).total_seconds()))
        went_on = run(replace(wish, full=False))
        busy = went_on.status == RunStatus.BUSY
        report = replace(report, retry_at=clock() + AFTER_ANOTHER_RUN) if busy else went_on
    return report


def wish_of(engine: Engine, settings: Settings, name: str, run_id: int) -> RunOptions:
    """What an unended backfill was asked for; ConfigError where it cannot be gone on with."""
    with reading(engine) as connection:
        run, _ = one_run(connection, run_id)
    if run is None or run.source != name or run.kind != RunKind.BACKFILL:
        raise ConfigError(
            f"run {run_id} is no backfill of {name}; `etl runs {name}` lists its runs"
        )
    if run.status not in RESUMABLE or run.abandoned_at is not None:
        how = run.status if run.abandoned_at is None else f"{run.status}, then abandoned"
        raise ConfigError(f"run {run_id} has ended ({how}); begin a new backfill")
    kept = json.loads(run.scope)
    wish = RunOptions(streams=tuple(kept["wish"]["streams"]), backfill=from_json(kept["wish"]))
    now = json.loads(job_of(settings.sources[name], settings, wish).scope)
    other = [_WORDS.get(field, field) for field in sorted(kept) if kept[field] != now.get(field)]
    if other:
        raise ConfigError(
            f"{' and '.join(other)} of {name} changed since run {run_id} began, so its pages may "
            "be others now; begin a new backfill, or change it back"
        )
    return wish


_WORDS = {"base_url": "the base_url", "key": "the key", "options": "the options"}


@undisturbed
def outlook(engine: Engine, settings: Settings, name: str, wish: RunOptions) -> Outlook:
    """How many requests a backfill still takes, and how long the rate limits make of that.

    Totals that are not known from its own pages are asked for, with one request a list.
    """
    source = settings.sources[name]
    job = job_of(source, settings, wish)
    with reading(engine) as connection:
        run_id = None if wish.full else _unended(connection, job)
        totals, done = ({}, 0) if run_id is None else _read_so_far(connection, run_id, job)
        usual = usual_requests(connection, name)
    budget = budget_of(engine, source, settings, yields=True)
    with closing(budget), closing(client_of(source, budget, attempts=1, yields=True)) as client:
        reader = reader_of(client, source, settings)
        for stream in job.streams:
            if stream.name not in totals and (total := _total(reader, stream, job)) is not None:
                totals[stream.name] = total
        whole = requests_of(job, totals) or usual or None
        left = None if whole is None else max(0, whole - done)
        ends_at = datetime.fromtimestamp(budget.last(left or 0), UTC)
    return Outlook(run_id=run_id, done=done, requests=left, ends_at=ends_at)


def unended_run(engine: Engine, settings: Settings, name: str, wish: RunOptions) -> int | None:
    """The backfill of just this wish that has not ended; a new one goes on with it."""
    with reading(engine) as connection:
        return _unended(connection, job_of(settings.sources[name], settings, wish))


def _unended(connection: Connection, job: Job) -> int | None:
    query = (
        select(runs.c.run_id)
        .where(runs.c.source == job.source, runs.c.scope == job.scope)
        .where(runs.c.kind == RunKind.BACKFILL, unended())
        .order_by(runs.c.run_id.desc())
    )
    return connection.execute(query.limit(1)).scalar()


def requests_of(job: Job, totals: Mapping[str, int]) -> int | None:
    """The requests of all lists when they have so many records; None where that is not known."""
    found = 0
    for stream in job.streams:
        if stream.extra_requests:
            found += len(stream.extra_requests)
        elif stream.page_of_404 is not None:
            found += len(job.selection.projects)
        elif fans_out(job.provider, stream):
            # a list for each project, unless they come inside the projects
            found += totals.get(stream.parent or "", 0) if stream.is_single_page else 0
        elif stream.name in totals:
            found += max(1, ceil(totals[stream.name] / job.options[stream.name].page_size))
        else:
            return None
    return found


def _read_so_far(connection: Connection, run_id: int, job: Job) -> tuple[dict[str, int], int]:
    """Stream -> the total that its pages say; and how many pages there are."""
    totals: dict[str, int] = {}
    done = 0
    for stream in job.streams:
        states, _ = read_ledger(connection, run_id, stream.name)
        done += sum(state["pages"] for state in states)
        said = [state["total"] for state in states if state["total"] is not None]
        if said and not fans_out(job.provider, stream):
            totals[stream.name] = sum(said)
    return totals, done


def _total(reader: PageReader, stream: Stream, job: Job) -> int | None:
    """What the provider says a list holds, by its shortest page; None where it does not say."""
    if stream.page_of_404 is not None:
        return len(job.selection.projects)
    options = job.options[stream.name]
    if stream.extra_requests or not hasattr(options, "page_size"):
        return None
    first = stream.first_request(Partition(), options.model_copy(update={"page_size": 1}))
    try:
        return stream.read_page(
            body_of(reader, stream.name, first, reader.fetch(first)), first
        ).total
    except SourceError:
        return None  # the run itself will tell
