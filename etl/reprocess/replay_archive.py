"""Loads dumps of an archive into history, each as a run at its time; for backfill and reprocess."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ValidationError
from sqlalchemy import Engine

from etl.archive.reader import Dump, found_in
from etl.config.settings import Settings
from etl.db.engine import reading
from etl.errors import ConfigError, StoreError
from etl.extract.pages import PageReader
from etl.json_text import json_text
from etl.load.runs import observed
from etl.log_fields import log_run
from etl.model import COMMITTED, RunKind, RunReport
from etl.operations.sync import Clock, RunOptions, Watch, job_of, utc_now
from etl.pipeline.job import Job
from etl.pipeline.live_processes import at_work, lives
from etl.pipeline.run import ReplayTimes, RunContext, run
from etl.providers import PROVIDERS
from etl.providers.kit import Options, Provider, Request, Response, Traffic
from etl.providers.wire import fingerprint_with
from etl.signals import hear

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What a load will do: the dumps to load in order, those known already, those left out."""

    source: str
    dumps: Sequence[Dump]
    known: int
    left_out: Sequence[str]


def plan_load(engine: Engine, settings: Settings, name: str, folder: Path) -> Load:
    """The dumps of a folder against what is known of a source.

    A dump of the very moment of a run is known. StoreError when one is older than what is known.
    """
    found = found_in(folder, name, PROVIDERS[settings.sources[name].provider])
    with reading(engine) as connection:
        known = observed(connection, name)
    fresh = [dump for dump in found.dumps if dump.at not in known]
    if known and fresh and fresh[0].at < max(known):
        old = sum(dump.at < max(known) for dump in fresh)
        raise StoreError(
            f"{name}: {old} dumps, the first of {fresh[0].at:%Y-%m-%d %H:%M:%S}Z, are older than "
            f"what is known: {name} is known from {min(known):%Y-%m-%d %H:%M:%S}Z to "
            f"{max(known):%Y-%m-%d %H:%M:%S}Z, and history is not changed afterwards; "
            "load them into a new database (ETL_DATABASE_URL) before its first sync"
        )
    return Load(
        source=name, dumps=fresh, known=len(found.dumps) - len(fresh), left_out=found.left_out
    )


def load_archive(
    engine: Engine,
    settings: Settings,
    load: Load,
    wish: RunOptions,
    *,
    watch: Watch | None = None,
    clock: Clock = utc_now,
) -> Iterator[tuple[Dump, RunReport]]:
    """Runs a source once a dump, in order; the last is the one of which nothing landed, if any."""
    for dump in load.dumps:
        job = job_of_dump(settings, load.source, dump, wish)
        report = replay(engine, settings, job, dump, watch=watch, clock=clock)
        yield dump, report
        if report.status not in COMMITTED:
            return


def replay(
    engine: Engine,
    settings: Settings,
    job: Job,
    dump: Dump,
    *,
    watch: Watch | None = None,
    clock: Clock = utc_now,
) -> RunReport:
    """One run whose answers come from a dump. Raises EtlError like `run`."""
    watch = watch or Watch()
    answers = dump.open()

    def fetch(request: Request) -> Response:
        hear()
        return answers.fetch(request)

    key = settings.fingerprint_key.get_secret_value()
    with at_work() as holder:
        shell = RunContext(
            engine=engine,
            reader=PageReader(fetch=fetch, fingerprint=fingerprint_with(key)),
            traffic=Traffic(),
            holder=holder,
            alive=lives,
            clock=clock,
            past=ReplayTimes(clock=answers.clock, at=dump.at),
            progress=watch.progress,
        )
        report = run(job, shell)
    log_run(log, report, f"dump loaded: {dump.name}")
    return report


def job_of_dump(
    settings: Settings, name: str, dump: Dump, wish: RunOptions, provider: Provider | None = None
) -> Job:
    """The run that a dump is of: its streams and, of an archive, its options, key and host."""
    source, about = settings.sources[name], dump.about
    provider = provider or PROVIDERS[source.provider]
    if about:
        source = replace(source, base_url=about["base_url"], options=_options(dump, provider))
    streams = [one for one in dump.streams if one in wish.streams or not wish.streams]
    job = job_of(source, settings, replace(wish, streams=streams, full=True), provider)
    return replace(
        job,
        kind=RunKind.REPLAY,
        key=about.get("key", job.key),
        streams=tuple(dump.reads(one) for one in job.streams if one.name in dump.streams),
        scope=json_text({"dump": dump.name, "at": dump.at.isoformat()}),
        force_deletes=wish.force_deletes or about.get("force_deletes", False),
        identity=about.get("identity"),
        keeps_scopes=bool(about),
    )


def _options(dump: Dump, provider: Provider) -> Mapping[str, Options]:
    try:
        return {
            one.name: one.options.model_validate(dump.about["options"].get(one.name, {}))
            for one in provider.streams
        }
    except ValidationError as error:
        raise ConfigError(
            f"{dump.name} was written by etl {dump.about.get('etl_version')}, whose options this "
            f"one does not know: {error.errors()[0]['msg']}"
        ) from None
