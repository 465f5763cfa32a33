"""The tables of an evidence report: completeness, deletions, runs. Pure."""

from etl.formatting import count, span
from etl.model import Operation, RunStatus
from etl.reports.evidence import Event, Evidence, RunFacts
from etl.reports.html import Html, tag
from etl.reports.paper import moment, table


def completeness(evidence: Evidence) -> Html:
    """How often each stream was read to its proved end, and how that is known."""
    found = evidence.completeness
    short = [one for one in found if one.complete < one.runs]
    if short or evidence.bad_runs:
        verdict = (
            f"{count(evidence.bad_runs, 'run')} of {evidence.all_runs:,} did not see everything. "
            "What was not seen was not taken for deleted."
        )
    else:
        verdict = "Every stream was read to its proved end in every run."
    columns = ("stream", "complete", "last complete", "how it is known")
    rows = [
        (
            tag("span", one.stream, tag("span", one.source, class_="sub")),
            tag(
                "span",
                f"{one.complete:,} of {count(one.runs, 'run')}",
                class_="badge" if one.complete == one.runs else "badge open",
            ),
            moment(one.last_complete_at) if one.last_complete_at else "never",
            [one.proof, tag("span", one.incomplete_reason, class_="sub")]
            if one.incomplete_reason
            else one.proof,
        )
        for one in found
    ]
    told = tag("p", verdict, class_="verdict open" if short or evidence.bad_runs else "verdict")
    return tag(
        "section",
        tag("h2", "Was everything seen?"),
        [told, table(columns, rows)] if found else tag("p", "No run.", class_="note"),
    )


def deletions(evidence: Evidence) -> Html:
    """Every deletion, how it is known, and the proof of the walk that missed it."""
    total = evidence.total(Operation.DELETED)
    if not total:
        return Html()
    rows = [
        (
            [key(one), tag("span", _place(one), class_="sub")],
            moment(one.observed_at),
            one.reason,
            [f"run {one.run_id}", tag("span", one.proof, class_="sub")],
        )
        for one in evidence.deletions
    ]
    columns = ("record", "observed", "how it is known", "proof of the walk")
    return tag(
        "section",
        tag("h2", "Deletions and their evidence"),
        tag("p", "A deleted record keeps its row, its last values and its past.", class_="note"),
        table(columns, rows),
        cut(len(rows), total, "deletions"),
    )


def runs(evidence: Evidence) -> Html:
    """The runs that changed something or were not whole."""
    rows = [
        (
            [f"run {one.run_id}", tag("span", one.source, class_="sub")],
            moment(one.started_at),
            tag("span", one.status, class_="badge" if _well(one) else "badge open"),
            f"{one.requests:,}",
            f"{one.received:,}",
            ", ".join(f"{number:,} {name}" for name, number in one.changed.items()),
            [tag("span", remark, class_="sub") for remark in (_took(one), *one.remarks)],
        )
        for one in evidence.runs
    ]
    if not rows:
        return Html()
    columns = ("run", "started", "status", "requests#", "records#", "changed", "remarks")
    quiet = evidence.all_runs - evidence.telling_runs
    note = (
        f"{count(quiet, 'other run')} found nothing new, and so wrote nothing." if quiet else None
    )
    return tag(
        "section",
        tag("h2", "Runs"),
        table(columns, rows),
        cut(len(rows), evidence.telling_runs, "runs", which="newest"),
        tag("p", note, class_="note"),
    )


def _well(run: RunFacts) -> bool:
    return run.status == RunStatus.OK and run.complete


def _took(run: RunFacts) -> str | None:
    if run.finished_at is None:
        return None
    return f"took {span((run.finished_at - run.started_at).total_seconds())}"


def _place(one: Event) -> str:
    return f"{one.stream} of {one.source}"


def cut(shown: int, total: int, what: str, *, which: str = "first") -> Html | None:
    """What is said where not all of them are told."""
    if shown >= total:
        return None
    return tag("p", f"The {which} {shown:,} of {total:,} {what} are told here.", class_="note")


def key(one: Event) -> Html:
    """A record's key below its project's; each reads in its own direction."""
    below = one.stream != "projects" and one.project_key
    parent = [tag("bdi", one.project_key), "/"] if below else []
    return tag("span", parent, tag("bdi", one.key), class_="key")
