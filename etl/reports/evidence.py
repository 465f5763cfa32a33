"""What an evidence report tells of a run or a period: changes, proofs, deletions, runs. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from etl.model import Operation
from etl.transform.diff import FieldChange

OPERATIONS = tuple(Operation)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One change of one record, with its fields; proof: of the walk that found it."""

    change_id: int
    run_id: int
    observed_at: datetime
    source: str
    stream: str
    project_key: str | None
    key: str
    operation: str
    actor: str | None
    reason: str | None
    provider_updated_at: datetime | None
    proof: str | None
    fields: Sequence[FieldChange]


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """How many changes of one kind there were at one moment, in one stream, by one hand."""

    observed_at: datetime
    source: str
    stream: str
    actor: str | None
    operation: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Completeness:
    """How often a stream was read, how often to its proved end, and the last proof."""

    source: str
    stream: str
    runs: int
    complete: int
    last_complete_at: datetime | None
    proof: str | None
    incomplete_reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """A run, and what it changed."""

    run_id: int
    source: str
    status: str
    started_at: datetime
    finished_at: datetime | None
    requests: int
    received: int
    changed: Mapping[str, int]
    complete: bool
    remarks: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All of it; the counts are of everything, the lists of events may be cut."""

    title: str
    begin: datetime
    end: datetime
    made_at: datetime
    version: str
    asked: Mapping[str, Any]
    notes: Sequence[str]  # what is not known of that time
    counts: Sequence[Count]
    edits: Sequence[Event]  # updated, restored
    deletions: Sequence[Event]
    creations: Sequence[Event]
    completeness: Sequence[Completeness]
    runs: Sequence[RunFacts]  # the newest of those with something to tell
    telling_runs: int
    bad_runs: int  # failed, or did not see everything; listed or not
    all_runs: int

    def total(self, *operations: str) -> int:
        """How many changes of these kinds there were."""
        return sum(one.count for one in self.counts if one.operation in (operations or OPERATIONS))

    def by(self, *names: str) -> Mapping[tuple[Any, ...], Counter[str]]:
        """The counts by these attributes: values -> operation -> count, the most first."""
        found: dict[tuple[Any, ...], Counter[str]] = {}
        for one in self.counts:
            place = tuple(getattr(one, name) for name in names)
            found.setdefault(place, Counter())[one.operation] += one.count
        return dict(sorted(found.items(), key=lambda item: -item[1].total()))
