"""The archive of one run, where its source has one: who writes it, how it ends, what is too old."""

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from etl import __version__
from etl.archive.layout import ArchiveRetention, PrunedDumps, prune, prune_daily
from etl.archive.writer import Recorder
from etl.config.settings import ArchiveSettings, Settings, SourceSettings
from etl.errors import StoreError
from etl.extract.pages import PageReader
from etl.log_fields import fields
from etl.model import RunReport
from etl.pipeline.job import Job

log = logging.getLogger(__name__)


def recorder_of(source: SourceSettings, job: Job, clock: Callable[[], datetime]) -> Recorder | None:
    """Who writes the run to the archive, where the source has one; a dry run is no run of it."""
    if source.archive is None or job.dry_run:
        return None
    about = {
        "kind": job.kind,
        "source": job.source,
        "provider": job.provider.name,
        "base_url": job.base_url,
        "key": job.key,
        "streams": [stream.name for stream in job.streams],
        "options": {name: said.model_dump() for name, said in job.options.items()},
        "force_deletes": job.force_deletes,
        "etl_version": __version__,
    }
    return Recorder(folder=source.archive.folder, about=about, clock=clock)


def recorded(reader: PageReader, recorder: Recorder | None) -> PageReader:
    """The reader, with what it reads kept in the archive."""
    if recorder is None:
        return reader
    return replace(reader, fetch=recorder.watching(reader.fetch), keep=recorder.page)


def archived(report: RunReport, recorder: Recorder | None) -> RunReport:
    """The report; the run's part of the archive is closed."""
    if recorder is None:
        return report
    recorder.close(report)
    troubles = () if recorder.trouble is None else (recorder.trouble,)
    return replace(report, notes=(*report.notes, *troubles))


def keep_archive(source: SourceSettings, recorder: Recorder | None, now: datetime) -> None:
    """Whatever ended the run, its file is closed, and old runs are taken away once a day."""
    if recorder is None or source.archive is None:
        return
    recorder.close(None)
    try:
        prune_daily(source.archive.folder, _retention(source.archive), now=now)
    except OSError as error:
        log.warning(
            "%s: old runs stay in the archive: %s",
            source.name,
            error,
            extra=fields("archive not pruned", source=source.name, error=error),
        )


def prune_archives(settings: Settings, *, now: datetime, dry_run: bool) -> dict[str, PrunedDumps]:
    """Source -> what went of its archive, beyond what its table [archive] keeps."""
    found: dict[str, PrunedDumps] = {}
    for name, source in settings.sources.items():
        if source.archive is not None:
            folder, retention = source.archive.folder, _retention(source.archive)
            try:
                found[name] = prune(folder, retention, now=now, dry_run=dry_run)
            except OSError as error:
                raise StoreError(f"the archive {folder} cannot be pruned: {error}") from error
    return found


def _retention(archive: ArchiveSettings) -> ArchiveRetention:
    return ArchiveRetention(days=archive.keep_days, megabytes=archive.keep_mb)
