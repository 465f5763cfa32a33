"""Which missing records are really gone: evidence for every deletion, and doubts about the rest.

A record that a walk did not bring is a candidate. The provider's 404 for that very record proves
its deletion by itself; a complete walk proves it where there is no such route, or too many to ask.
Where it is asked for by a key that it may have changed, it takes both. A record that still answers,
or may not be read any more, is never deleted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from etl.errors import (
    AccessDenied,
    MisdirectedAnswer,
    RateLimited,
    RequestRejected,
    SourceError,
    TransientError,
)
from etl.extract.pages import PageReader, body_for
from etl.load.missing import Candidate
from etl.model import DeletionReason
from etl.pipeline.moved_keys import Keys
from etl.providers.kit import Json, Stream


@dataclass(slots=True, kw_only=True)
class Verdict:
    """row id -> evidence of its deletion; parent id -> why its walk is in doubt.

    left: rows that are there, but not where the filter looks.
    """

    deleted: dict[int, str] = field(default_factory=dict)
    left: set[int] = field(default_factory=set)
    doubts: dict[str, str] = field(default_factory=dict)


def prove_deletions(
    reader: PageReader,
    stream: Stream,
    candidates: Sequence[Candidate],
    *,
    proved: Mapping[str, bool],
    filtered: bool,
    most_questions: int,
) -> Verdict:
    """The candidates that are gone. proved: parent id -> whether its walk is a proof.

    Up to `most_questions` are asked for one by one; the rest rests on the walk, or waits.
    """
    verdict = Verdict()
    asked = candidates[:most_questions] if stream.item_request else ()
    for candidate in asked:
        evidence, doubt = _look(reader, stream, candidate)
        listed = (
            stream.asks_by_key and stream.page_of_404 is None
        )  # not looked for by its key alone
        if evidence and listed and not proved.get(candidate.parent_id, False):
            evidence, doubt = "", _RENAMED
        if evidence:
            verdict.deleted[candidate.row_id] = evidence
        elif filtered and doubt == _ALIVE:
            verdict.left.add(candidate.row_id)
        else:
            verdict.doubts[candidate.parent_id] = f"{candidate.key} {doubt}"
    for candidate in candidates[len(asked) :]:
        if not proved.get(candidate.parent_id, False):
            verdict.doubts.setdefault(candidate.parent_id, _WAITING)
        elif candidate.parent_id not in verdict.doubts:
            _rest(verdict, candidate, stream, filtered=filtered)
    return verdict


def keep_renamed(verdict: Verdict, candidates: Sequence[Candidate], keys: Keys) -> None:
    """Of records that were asked for by key alone only those are gone that no other key has."""
    for one in candidates:
        if one.row_id in verdict.deleted and keys.may_hold(one.external_id):
            del verdict.deleted[one.row_id]
            now = keys.keys.get(one.external_id)
            said = f"has the key {now} now" if now else "may have another one now"
            verdict.doubts[one.parent_id] = f"{one.key} is not there under its key, but {said}"


def _rest(verdict: Verdict, candidate: Candidate, stream: Stream, *, filtered: bool) -> None:
    """What a proved walk alone says of a record that was not asked for."""
    if not filtered:
        verdict.deleted[candidate.row_id] = DeletionReason.NOT_LISTED
    elif stream.item_request is None:
        verdict.left.add(candidate.row_id)


_ALIVE = "is still there though the walk did not bring it"
_RENAMED = "is not there under its key, and may have another one that the walk did not bring"
_WAITING = "records are missing that were not asked for yet: more than delete_confirmations"
_HIDDEN = "may not be read by this key any more (403)"


def _look(reader: PageReader, stream: Stream, candidate: Candidate) -> tuple[str, str]:
    """(evidence, doubt): one of them is empty."""
    if stream.item_request is None:
        return "", _ALIVE
    request = replace(stream.item_request(candidate.external_id, candidate.key), alone=True)
    try:
        body = body_for(reader, stream, request)
    except SourceError as error:
        return _refused(error)
    if _is(body, stream, candidate):
        return "", _ALIVE
    return (
        (DeletionReason.KEY_REUSED, "")
        if stream.asks_by_key
        else ("", "was answered by another record")
    )


def _refused(error: SourceError) -> tuple[str, str]:
    """(evidence, doubt) of a question without an answer; raises what ends the run."""
    if isinstance(error, RequestRejected):
        return (
            (DeletionReason.NOT_FOUND, "")
            if error.status == 404
            else ("", f"cannot be asked for: {error}")
        )
    if isinstance(error, AccessDenied) and error.status != 401:
        return "", _HIDDEN
    if isinstance(error, RateLimited) or not isinstance(error, TransientError | MisdirectedAnswer):
        raise error
    return "", f"could not be asked for: {error}"


def _is(body: Json, stream: Stream, candidate: Candidate) -> bool:
    """Whether a 200 is about that record: LaunchDarkly is asked by key, which may be reused."""
    try:
        return stream.item_id(body) == candidate.external_id
    except KeyError:
        return True  # enveloped: asked by id
