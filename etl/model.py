"""The values of a run: records of the unified schema, reports, and the closed sets of their words.

The values of the enums are the stored strings; the columns are the contract of docs/schema.md.
What is made for every item is not frozen, because a frozen dataclass takes four times as long to
make; nobody changes it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from etl.json_text import iso_time


class RunKind(StrEnum):
    """What a run was made for; `runs.kind`."""

    SYNC = "sync"
    DRY_RUN = "dry_run"
    BACKFILL = "backfill"
    APPLY = "apply"
    REPLAY = "replay"
    REPROCESS = "reprocess"


class RunStatus(StrEnum):
    """How a run ended; `runs.status`. Of what is no run, or none yet: busy, queued."""

    RUNNING = "running"
    OK = "ok"
    PARTIAL = "partial"  # something is incomplete, the rest is committed
    HELD = "held"  # deletions are withheld, the rest is committed
    PARKED = "parked"  # the next run resumes it
    DENIED = "denied"
    FAILED = "failed"
    ABORTED = "aborted"  # its process ended without a word
    DRY_RUN = "dry_run"
    BUSY = "busy"
    QUEUED = "queued"


COMMITTED = frozenset({RunStatus.OK, RunStatus.PARTIAL, RunStatus.HELD})


class StreamStatus(StrEnum):
    """How a run read a stream or one of its partitions; `run_streams.status`."""

    OK = "ok"
    INCOMPLETE = "incomplete"
    UNAVAILABLE = "unavailable"  # the provider does not offer it to this key
    HELD = "held"
    FAILED = "failed"
    UNFINISHED = "unfinished"  # the run ended before


class Operation(StrEnum):
    """What a change did to a record; `changes.operation`."""

    CREATED = "created"
    UPDATED = "updated"
    DELETED = "deleted"
    RESTORED = "restored"


class DeletionReason(StrEnum):
    """Why a record is known to be deleted; `changes.reason`."""

    NOT_LISTED = "missing from a complete walk"
    NOT_FOUND = "the provider answers 404 for it"
    KEY_REUSED = "its key belongs to another record now"
    PROJECT_DELETED = "its project was deleted"


@dataclass(slots=True, kw_only=True)
class Child:
    """A row of a child table (a parameter, a reservation); `external_id` is unique in its layer."""

    external_id: str
    key: str
    name: str
    columns: Mapping[str, Any]
    raw: Any


@dataclass(slots=True, kw_only=True)
class Record:
    """One project, environment or layer in the unified schema, without hash, raw and history.

    drift: (JSON path, what is new about it) of everything that this code does not know or use.
    """

    key: str
    name: str
    columns: Mapping[str, Any]
    created_at: datetime | None = None
    updated_at: datetime | None = None
    children: Mapping[str, Sequence[Child]] = field(default_factory=dict)
    drift: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reject:
    """An item that fits no known shape: kept whole, with where and why, never dropped.

    mark: what tells an item without an id from others, however its volatile fields differ.
    """

    external_id: str | None
    path: str
    reason: str
    payload: Any
    mark: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamReport:
    """One stream of a run, or one of its partitions that had something to say.

    waited_seconds: how long it paused for limits and retries, by the clock on the wall.
    oldest_read_at: when the oldest page was read that the result rests on: its freshness, where
    the stream is complete.
    walks: of a whole stream, the proof of every list; lists with the same one are named together.
    """

    stream: str
    parent_id: str = ""
    parent_key: str = ""
    status: str = StreamStatus.OK
    complete: bool = True
    incomplete_reason: str | None = None
    proof: str | None = None
    partitions: int = 1
    incomplete_partitions: int = 0
    expected_total: int | None = None
    requests: int = 0
    pages: int = 0
    retries: int = 0
    waited_seconds: float = 0.0
    received: int = 0
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0
    restored: int = 0
    rejected: int = 0
    walks: Sequence[Mapping[str, Any]] | None = field(default=None, repr=False)
    oldest_read_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """One run of one source."""

    run_id: int | None
    source: str
    provider: str
    kind: str
    status: str
    exit_code: int
    started_at: datetime
    finished_at: datetime
    attempts: int = 1
    error: str | None = None
    retry_at: datetime | None = None
    notes: Sequence[str] = ()
    identity: str | None = None
    streams: Sequence[StreamReport] = ()
    partitions: Sequence[StreamReport] = field(default=(), repr=False)

    @property
    def oldest_read_at(self) -> datetime | None:
        """When the oldest page was read that the run rests on; None where nothing was read."""
        reads = [one.oldest_read_at for one in self.streams if one.oldest_read_at is not None]
        return min(reads, default=None)

    @property
    def waited_seconds(self) -> float:
        """How long the run paused; never more than it took."""
        return sum(stream.waited_seconds for stream in self.streams)

    @property
    def changed(self) -> int:
        """How many records changed."""
        return sum(s.created + s.updated + s.deleted + s.restored for s in self.streams)


@dataclass(frozen=True, slots=True, kw_only=True)
class CompleteReads:
    """When sources were last read whole, and their streams; what never was is left out."""

    sources: Mapping[str, datetime] = field(default_factory=dict)
    streams: Mapping[tuple[str, str], datetime] = field(default_factory=dict)


def as_json(report: RunReport) -> Mapping[str, Any]:
    """The report as JSON values; times in ISO 8601. `etl show --json` has the walks."""
    said = {name: _json(value) for name, value in asdict(report).items()}
    for stream in (*said["streams"], *said["partitions"]):
        del stream["walks"]
    return {**said, "changed": report.changed, "waited_seconds": report.waited_seconds}


def exit_code_of(reports: Sequence[RunReport]) -> int:
    """The exit code of several runs: the one that most needs a person, else 0."""
    codes = {report.exit_code for report in reports}
    return next((code for code in (1, 2, 4, 3, 5, 75) if code in codes), 0)


def _json(value: Any) -> Any:
    if isinstance(value, datetime):
        return iso_time(value)
    if isinstance(value, dict):
        return {name: _json(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_json(inner) for inner in value]
    return value
