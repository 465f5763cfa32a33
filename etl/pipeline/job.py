"""What one run of one source is to do, as a value."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from etl.model import RunKind
from etl.pipeline.deletion_guard import DeleteLimits
from etl.pipeline.selection import WHOLE, Selection
from etl.providers.kit import Provider, Stream


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One run of one source.

    key: the fingerprint of the credential. streams: in the order they are read.
    scope: what must be equal for an unended run to be gone on with.
    most_questions: deletions asked for one by one, a stream.
    plans: of a dry run: deletions beyond the limits are staged and told, for a person to decide.
    identity: whose the key is, where that is known; keeps_scopes: what a run sees is remembered.
    selection: the part of it that is looked at.
    """

    source: str
    provider: Provider
    base_url: str
    key: str
    options: Mapping[str, Any]
    streams: tuple[Stream, ...]
    scope: str
    kind: str = RunKind.SYNC
    limits: DeleteLimits = field(default_factory=DeleteLimits)
    most_questions: int = 50
    resume_within: timedelta = timedelta(hours=6)
    force_deletes: bool = False
    dry_run: bool = False
    plans: bool = False
    identity: str | None = None
    keeps_scopes: bool = True
    selection: Selection = WHOLE
