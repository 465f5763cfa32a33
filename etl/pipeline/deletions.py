"""What the walks of one stream came to: deletions with evidence, and the stream's report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection

from etl.db.engine import in_transaction, snapshot
from etl.errors import UnsafeChange
from etl.extract.list_walk import ListWalk, account, proof_of, proves_absence, unproved
from etl.extract.pages import PageReader
from etl.history.runs import keys
from etl.json_text import did_you_mean
from etl.load import missing as absent
from etl.load import staging
from etl.load.missing import Candidate
from etl.load.stager import Stager
from etl.model import Operation, StreamReport, StreamStatus
from etl.pipeline.deletion_guard import raise_if_unsafe
from etl.pipeline.evidence import Verdict, keep_renamed, prove_deletions
from etl.pipeline.job import Job
from etl.pipeline.moved_keys import listed_keys
from etl.providers.kit import Stream, Traffic

TROUBLE = (StreamStatus.INCOMPLETE, StreamStatus.FAILED)
_STALE = "another run wrote records of it after it was read; the next run looks for the others"


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamResult:
    """The walks of a stream, why some of them prove nothing (by parent id), what was held back.

    held: why its deletions are held back; for a plan they are staged all the same.
    part: what of the stream was looked at, when it was not all of it.
    unread: rejected records of the stream above of which nothing is stored, so no list was read.
    left: rows that are outside of the scope from now on; back: those that were met again.
    """

    stream: Stream
    walks: Sequence[ListWalk]
    doubts: dict[str, str] = field(default_factory=dict)
    held: UnsafeChange | None = None
    part: str | None = None
    unread: int = 0
    left: frozenset[int] = frozenset()
    back: frozenset[int] = frozenset()


def conclude(
    job: Job, reader: PageReader, intake: Stager, stream: Stream, *, new_scope: bool
) -> StreamResult:
    """Stages the stream's proved deletions; doubts and held ones are told, nothing is deleted.

    In a new scope nothing is: what another key or filter does not see is outside from now on.
    A part of the source says nothing of the scope.
    """
    part = job.selection.said()
    walks = intake.walks[stream.name]
    candidates = _candidates(job, intake, stream)
    for parent_id in {candidate.parent_id for candidate in candidates}:
        if parent_id in walks and walks[parent_id].status == StreamStatus.UNAVAILABLE:
            # what is stored cannot be seen any more
            walks[parent_id].status = StreamStatus.INCOMPLETE
    doubts = {id_: reason for id_, walk in walks.items() if (reason := unproved(walk))}
    doubts |= _not_there(job, intake, stream, candidates)
    held: UnsafeChange | None = None
    if new_scope:
        verdict = Verdict(left=set() if doubts or part else {one.row_id for one in candidates})
    else:
        # another run has landed since, or nothing but single records was asked for: no proof
        stale = intake.stale.get(stream.name, frozenset())
        silent = walks.keys() if stream.page_of_404 is not None else stale
        proved = {id_: proves_absence(walk) and id_ not in silent for id_, walk in walks.items()}
        missing = [one for one in candidates if _decidable(one, stream, walks, proved)]
        waiting = {one.parent_id for one in candidates}.intersection(stale, walks)
        waiting -= {one.parent_id for one in missing}
        doubts = dict.fromkeys(waiting, _STALE) | doubts
        verdict, held = _judge(job, reader, intake, stream, missing, proved)

    def stage(connection: Connection) -> None:
        intake.beat(connection, intake.clock())
        staging.settle(connection, intake.run.run_id, stream.name)
        absent.stage_deletions(connection, intake.run.run_id, stream.name, verdict.deleted)

    in_transaction(intake.engine, stage)
    seen, outside = intake.seen[stream.name], intake.outside.get(stream.name, ())
    return StreamResult(
        stream=stream,
        walks=list(walks.values()),
        doubts=verdict.doubts | doubts,
        held=held,
        part=part,
        unread=sum(walk.unstored for walk in intake.walks[stream.parent].values())
        if stream.parent
        else 0,
        left=frozenset(verdict.left),
        back=frozenset(one for one in outside if one in seen and not part),
    )


def _not_there(
    job: Job, intake: Stager, stream: Stream, candidates: Sequence[Candidate]
) -> dict[str, str]:
    """A doubt where a selected project is neither at the provider nor, as far as known, was."""
    walk = intake.walks[stream.name].get("")
    if stream.page_of_404 is None or walk is None or walk.pages == walk.distinct:
        return {}
    known = {*intake.parents(stream.name).values(), *(one.key for one in candidates)}
    unknown = [key for key in job.selection.projects if key not in known]
    if not unknown:
        return {}
    with snapshot(intake.engine) as connection:
        stored = keys(connection, stream.name)
    near = next((hint for key in unknown if (hint := did_you_mean(key, stored))), "")
    missing = ", ".join(unknown)
    return {"": f"the provider has no {missing} (404), and nothing live is stored of it{near}"}


def _decidable(
    candidate: Candidate, stream: Stream, walks: Mapping[str, ListWalk], proved: Mapping[str, bool]
) -> bool:
    """Whether the walk of its list, or a question for it, can show that it is gone."""
    walk = walks.get(candidate.parent_id)
    ended = walk is not None and walk.ended
    return ended and (stream.item_request is not None or proved[candidate.parent_id])


def _candidates(job: Job, intake: Stager, stream: Stream) -> list[Candidate]:
    """The stored live records in scope that were looked for and not met; counted first."""
    if intake.missing(stream.name) == 0:
        return []
    options, others = job.options[stream.name], intake.not_ours(stream.name)
    with snapshot(intake.engine) as connection:
        found = absent.unseen(connection, stream.name, job.source, intake.seen[stream.name])
        return [
            one
            for one in found
            if one.row_id not in others
            and job.selection.covers(stream, options, one.external_id, one.key)
        ]


def _judge(
    job: Job,
    reader: PageReader,
    intake: Stager,
    stream: Stream,
    missing: Sequence[Candidate],
    proved: dict[str, bool],
) -> tuple[Verdict, UnsafeChange | None]:
    """What is gone; nothing when it would be more than the limits allow, unless for a plan.

    What a filter leaves out is missing too, so there only the answers for single records count.
    """
    filtered = bool(stream.filter_of(job.options[stream.name]))
    held = None if filtered else _unsafe(job, intake, stream, len(missing))
    if held is not None and not job.plans:
        return Verdict(), held
    verdict = prove_deletions(
        reader,
        stream,
        missing,
        proved=proved,
        filtered=filtered,
        most_questions=len(missing) if job.force_deletes else job.most_questions,
    )
    if verdict.deleted and stream.asks_by_key and stream.page_of_404 is not None:
        whole = job.provider.stream(stream.name)
        keep_renamed(verdict, missing, listed_keys(reader, whole, job.options))
    held = _unsafe(job, intake, stream, len(verdict.deleted)) or (held if verdict.deleted else None)
    return (Verdict() if held is not None and not job.plans else verdict), held


def _unsafe(job: Job, intake: Stager, stream: Stream, deleted: int) -> UnsafeChange | None:
    """Why so many deletions are more than the limits allow; None when they are not."""
    if not deleted or job.force_deletes:
        return None
    stored = intake.stored(stream.name)
    try:
        raise_if_unsafe(
            job.source, stream=stream.name, deleted=deleted, stored=stored, limits=job.limits
        )
    except UnsafeChange as error:
        return error
    return None


def report_of(
    found: StreamResult,
    connection: Connection,
    run_id: int,
    cost: Traffic,
    parent: StreamReport | None,
) -> tuple[StreamReport, list[StreamReport]]:
    """The stream's summary, and a row for each partition that has something to say."""
    staged = staging.staged_counts(connection, run_id, found.stream.name)
    deleted = absent.staged_deletions_by_parent(connection, run_id, found.stream.name)
    rows = [_partition(walk, found, staged, deleted) for walk in found.walks]
    telling = [row for row in rows if row.parent_id and not row.complete]
    counts = {name: sum(getattr(row, name) for row in rows) for name in _SUMMED}
    counts["deleted"] = sum(deleted.values())
    totals = [walk.total for walk in found.walks]
    status, reason = _standing(found, rows, parent)
    summary = StreamReport(
        stream=found.stream.name,
        status=status,
        complete=reason is None,
        incomplete_reason=reason,
        partitions=len(rows),
        incomplete_partitions=sum(not row.complete for row in rows),
        expected_total=None if None in totals else sum(total or 0 for total in totals),
        proof=_proof(found.walks),
        walks=_walks(found.walks, rows),
        requests=cost.requests,
        retries=cost.retries,
        waited_seconds=cost.waited,
        **counts,
    )
    return summary, telling


def _proof(walks: Sequence[ListWalk]) -> str:
    if len(walks) == 1:
        return proof_of(walks[0])
    ended = sum(walk.ended for walk in walks)
    again = sum(walk.number > 1 for walk in walks)
    return f"{ended} of {len(walks)} lists to their end" + (
        f"; {again} walked more than once" if again else ""
    )


_SUMMED = ("pages", "received", "created", "updated", "unchanged", "restored", "rejected")


def _partition(
    walk: ListWalk, found: StreamResult, staged: dict[str, dict[str, int]], deleted: dict[str, int]
) -> StreamReport:
    counts: dict[str, Any] = {n: staged.get(walk.parent_id, {}).get(n, 0) for n in _STAGED}
    reason = found.doubts.get(walk.parent_id)
    status = (
        walk.status if walk.status != StreamStatus.OK or reason is None else StreamStatus.INCOMPLETE
    )
    return StreamReport(
        stream=found.stream.name,
        parent_id=walk.parent_id,
        parent_key=walk.parent_key,
        status=status,
        complete=reason is None,
        incomplete_reason=reason,
        expected_total=walk.total,
        proof=proof_of(walk),
        pages=walk.pages,
        received=walk.distinct,
        unchanged=max(0, walk.distinct - walk.rejected - walk.passed - sum(counts.values())),
        deleted=deleted.get(walk.parent_id, 0),
        rejected=walk.rejected,
        **counts,
    )


def _walks(walks: Sequence[ListWalk], rows: Sequence[StreamReport]) -> list[dict[str, Any]]:
    """The proof of every list; thousands are alike but for their names, so those stand together."""
    alike: dict[tuple[tuple[str, Any], ...], list[str]] = {}
    for walk, row in zip(walks, rows, strict=True):
        said = {"status": row.status, "reason": row.incomplete_reason, **account(walk)}
        alike.setdefault(tuple(said.items()), []).append(row.parent_key)
    return [
        {name: value for name, value in said if value is not None} | {"of": sorted(keys)}
        for said, keys in alike.items()
    ]


_STAGED = (Operation.CREATED, Operation.UPDATED, Operation.RESTORED)


def _standing(
    found: StreamResult, rows: Sequence[StreamReport], parent: StreamReport | None
) -> tuple[str, str | None]:
    """The stream's status, and why it is not complete.

    Where deletions of its parents are held back, those of its own records below them are too.
    """
    bad = [row for row in rows if row.status in TROUBLE]
    unavailable = [row for row in rows if row.status == StreamStatus.UNAVAILABLE]
    where = f" (in {len(bad or unavailable)} of {len(rows)})" if len(rows) > 1 else ""
    if bad:
        return (
            StreamStatus.INCOMPLETE,
            f"{bad[0].parent_key} {bad[0].incomplete_reason}".strip() + where,
        )
    if parent is not None and parent.status in TROUBLE:
        return StreamStatus.INCOMPLETE, f"{parent.stream} is incomplete, so its parts are"
    if found.unread:
        above = found.stream.parent
        return StreamStatus.INCOMPLETE, f"{found.unread} {above} were rejected and are not stored"
    if unavailable:
        status = StreamStatus.UNAVAILABLE if len(unavailable) == len(rows) else StreamStatus.OK
        return status, f"not available to this key: {unavailable[0].incomplete_reason}{where}"
    held = found.held is not None or (parent is not None and parent.status == StreamStatus.HELD)
    return (StreamStatus.HELD if held else StreamStatus.OK), found.part
