"""What people are told without asking: causes as values, found in the report of a run. Pure.

A state (failure, held, stale) lasts: it is told once, and once more when it has ended. An event
(rotation, drift) is told once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from etl.report import RunReport

FAILURE, HELD, STALE, ROTATION, DRIFT = "failure", "held", "stale", "rotation", "drift"
EVENTS = (ROTATION, DRIFT)
_TITLES = {
    FAILURE: "the sync failed",
    HELD: "deletions are held back",
    STALE: "the data is stale",
    ROTATION: "SDK or mobile keys were rotated",
    DRIFT: "the shape of the records changed",
}
_MOST = 20  # lines of a list in one notice


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
    if report.status in ("failed", "denied"):
        message = report.error or report.status
        cause = Cause(kind=FAILURE, source=report.source, detail=report.status, message=message)
        return Findings(there=[cause])
    if report.status not in ("ok", "partial", "held"):
        return Findings()
    there = [
        Cause(
            kind=HELD,
            source=report.source,
            detail=stream.stream,
            message=_held(report, stream.stream),
        )
        for stream in report.streams
        if stream.status == "held"
    ]
    gone = [(FAILURE, "failed"), (FAILURE, "denied")]
    gone += [(HELD, stream.stream) for stream in report.streams if stream.status == "ok"]
    return Findings(there=there, gone=gone)


def _held(report: RunReport, stream: str) -> str:
    """The words of the run, which are of one stream."""
    if report.error and f" {stream} of " in report.error:
        return report.error
    name = report.source
    return f"deletions of {stream} are held back; `etl plan {name} --out FILE` shows them"


def listing(kind: str, source: str, run_id: int, lines: Sequence[str]) -> Cause:
    """An event of a run that is told as a list."""
    told = [*lines[:_MOST], *([f"and {len(lines) - _MOST} more"] if len(lines) > _MOST else [])]
    return Cause(kind=kind, source=source, detail=f"run {run_id}", message="\n".join(told))


def title_of(cause: Cause, *, recovered: bool) -> str:
    """The first line of a notice."""
    ended = "recovered, it is over: " if recovered else ""
    return f"etl: {cause.source}: {ended}{_TITLES[cause.kind]}"
