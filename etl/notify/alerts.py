"""What people are told without asking: causes as values, found in the report of a run. Pure.

A state (failure, backfill, held, stale) lasts: it is told once, and once more when it has ended. An
event (rotation, drift) is told once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from etl.model import COMMITTED, RunKind, RunReport, RunStatus, StreamStatus

FAILURE, BACKFILL, HELD, STALE = "failure", "backfill", "held", "stale"
ROTATION, DRIFT = "rotation", "drift"
EVENTS = (ROTATION, DRIFT)
TELLING = (
    RunKind.SYNC,
    RunKind.BACKFILL,
    RunKind.APPLY,
)  # kinds of runs; a dry run, a replay of the past tell nobody
_TITLES = {
    FAILURE: "the sync failed",
    BACKFILL: "a backfill failed",
    HELD: "deletions are held back",
    STALE: "the data is stale",
    ROTATION: "SDK or mobile keys were rotated",
    DRIFT: "the shape of the records changed",
}
_MAX_LINES = 20  # lines of a list in one notice


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """One reason for a notice. detail tells causes of one kind and source apart."""

    kind: str
    source: str
    detail: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What a run says about causes: those that are there, and the (kind, detail) that are not.

    Of everything else it knows nothing, so that stays as it is.
    """

    there: Sequence[Cause] = ()
    gone: Sequence[tuple[str, str]] = ()


def found_in(report: RunReport) -> Findings:
    """The failures and held-back deletions of a run; one that did not come to its end has none."""
    if report.status in (RunStatus.FAILED, RunStatus.DENIED):
        kind = BACKFILL if report.kind == RunKind.BACKFILL else FAILURE
        message = report.error or report.status
        return Findings(
            there=[Cause(kind=kind, source=report.source, detail=report.status, message=message)]
        )
    if report.status not in COMMITTED:
        return Findings()
    there = [
        Cause(
            kind=HELD,
            source=report.source,
            detail=stream.stream,
            message=_held(report, stream.stream),
        )
        for stream in report.streams
        if stream.status == StreamStatus.HELD
    ]
    failures = (RunStatus.FAILED, RunStatus.DENIED)
    gone: list[tuple[str, str]] = [(kind, one) for kind in _over(report) for one in failures]
    gone += [
        (HELD, stream.stream)
        for stream in report.streams
        if stream.status == StreamStatus.OK and (stream.complete or report.kind != RunKind.BACKFILL)
    ]
    return Findings(there=there, gone=gone)


def _over(report: RunReport) -> Sequence[str]:
    """The failures that a run which landed shows to be over.

    A backfill that has read everything shows that syncs work, a sync that has makes up for a
    backfill. A plan that is applied has read nothing.
    """
    if report.kind == RunKind.APPLY:
        return ()
    whole = report.status == RunStatus.OK and all(stream.complete for stream in report.streams)
    own, other = (BACKFILL, FAILURE) if report.kind == RunKind.BACKFILL else (FAILURE, BACKFILL)
    return (own, other) if whole else (own,)


def _held(report: RunReport, stream: str) -> str:
    """The words of the run, which are of one stream."""
    if report.error and f" {stream} of " in report.error:
        return report.error
    name = report.source
    return f"deletions of {stream} are held back; `etl plan {name} --out FILE` shows them"


def listing(kind: str, source: str, run_id: int, lines: Sequence[str]) -> Cause:
    """An event of a run that is told as a list."""
    told = [
        *lines[:_MAX_LINES],
        *([f"and {len(lines) - _MAX_LINES} more"] if len(lines) > _MAX_LINES else []),
    ]
    return Cause(kind=kind, source=source, detail=f"run {run_id}", message="\n".join(told))


def title_of(cause: Cause, *, recovered: bool) -> str:
    """The first line of a notice."""
    ended = "recovered, it is over: " if recovered else ""
    return f"etl: {cause.source}: {ended}{_TITLES[cause.kind]}"
