"""The fields of a log line: JSON lines carry them, lines for people have a sentence instead."""

import logging
from collections.abc import Mapping

from etl.model import RunReport, RunStatus

_LEVELS: Mapping[str, int] = {
    RunStatus.PARTIAL: logging.WARNING,
    RunStatus.HELD: logging.WARNING,
    RunStatus.PARKED: logging.WARNING,
    RunStatus.BUSY: logging.WARNING,
    RunStatus.ABORTED: logging.WARNING,
    RunStatus.FAILED: logging.ERROR,
    RunStatus.DENIED: logging.ERROR,
}


def fields(event: str, **values: object) -> Mapping[str, object]:
    """The `extra` of a log call: a short constant name of what happened, and its values."""
    return {"fields": {"event": event, **values}}


def log_run(log: logging.Logger, report: RunReport, event: str = "run ended") -> None:
    """One line for the end of a run, at the level that its status deserves."""
    why = f": {report.error}" if report.error else ""
    log.log(
        _LEVELS.get(report.status, logging.INFO),
        "%s: %s, %d changes%s",
        report.source,
        report.status,
        report.changed,
        why,
        extra=fields(
            event,
            source=report.source,
            provider=report.provider,
            run=report.run_id,
            kind=report.kind,
            status=report.status,
            exit_code=report.exit_code,
            changes=report.changed,
            requests=sum(stream.requests for stream in report.streams),
            seconds=round((report.finished_at - report.started_at).total_seconds(), 3),
            error=report.error,
            retry_at=report.retry_at,
        ),
    )
