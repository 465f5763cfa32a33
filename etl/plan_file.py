"""A plan as a file: what runs would change, and where the database stood when they found it. Pure.

JSON, gzipped where the name ends in `.gz`. The file holds each record whole and without secrets, so
that it can be applied without the network; its checksum tells whether it was edited.
"""

import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any

from pydantic import TypeAdapter, ValidationError

from etl.diff import MISSING, FieldChange
from etl.errors import ConfigError
from etl.record import Reject
from etl.report import RunReport
from etl.stream import Json
from etl.text import json_text, unpacked

FORMAT = "etl plan"
VERSION = 1
MAX_BYTES = 512 * 2**20  # of a plan's JSON

_REMEDY = "make a new one with `etl plan --out FILE`"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedChange:
    """One record that would change.

    version: the one that is stored, 0 of a new record. reason: of a deletion, how it is known.
    raw: the record as it would be, None of a deletion. fields: what differs, as JSON values.
    """

    stream: str
    operation: str
    parent_id: str
    project_key: str
    external_id: str
    key: str
    row_id: int | None = None
    version: int = 0
    content_hash: str | None = None
    reason: str | None = None
    raw: Json = None
    fields: Sequence[Mapping[str, Json]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a source stands in a database: any write of it since makes another one.

    run_id, merged_at, finished_at: the highest of its merges. scopes: stream -> scope.
    noted_at: of the last reject or drift.
    """

    schema: str
    run_id: int | None
    merged_at: datetime | None
    finished_at: datetime | None
    scopes: Mapping[str, str]
    noted_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedReject:
    """An item that could not be used, and where it belongs."""

    stream: str
    parent_id: str
    reject: Reject


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedScope:
    """A new scope of a stream, with the credential it was read with."""

    stream: str
    scope: str
    key: str
    identity: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SourcePlan:
    """What one run of one source would change.

    base_url, options: what the configuration asked for. held: why `etl sync` would not delete.
    left, back: stream -> rows that leave its scope, or are in it again.
    drift: (stream, path, what is new, JSON type).
    """

    source: str
    provider: str
    base_url: str
    options: Mapping[str, Json]
    scope: str
    observed_at: datetime
    standing: Standing
    report: RunReport
    changes: Sequence[PlannedChange]
    held: Mapping[str, str]
    left: Mapping[str, Sequence[int]]
    back: Mapping[str, Sequence[int]]
    scopes: Sequence[PlannedScope]
    rejects: Sequence[PlannedReject]
    drift: Sequence[tuple[str, str, str, str]]


_PLANS: TypeAdapter[list[SourcePlan]] = TypeAdapter(list[SourcePlan])


def fields_as_json(fields: Sequence[FieldChange]) -> list[dict[str, Json]]:
    """Field diffs as JSON values; a side where the field did not exist is not there."""
    return [
        {"path": one.path}
        | {name: value for name in ("old", "new") if (value := getattr(one, name)) is not MISSING}
        for one in fields
    ]


def as_document(plans: Sequence[SourcePlan], etl_version: str) -> dict[str, Json]:
    """The plan as JSON values, with the checksum of all the rest."""
    document = {
        "format": FORMAT,
        "version": VERSION,
        "etl_version": etl_version,
        "sources": _PLANS.dump_python(list(plans), mode="json"),
    }
    return document | {"checksum": _checksum(document)}


def as_bytes(document: Mapping[str, Json], name: str) -> bytes:
    """The content of a file of that name."""
    text = (json.dumps(document, ensure_ascii=False, indent=1) + "\n").encode()
    return gzip.compress(text, mtime=0) if name.endswith(".gz") else text


def from_bytes(content: bytes, name: str, etl_version: str) -> list[SourcePlan]:
    """The plans of a file; ConfigError when it is none, was edited, or is of another etl."""
    document = _document(content, name)
    if document.get("version") != VERSION or document.get("etl_version") != etl_version:
        made = f"etl {document.get('etl_version')}, format {document.get('version')}"
        raise ConfigError(f"{name} was made by {made}; this is etl {etl_version}: {_REMEDY}")
    said = document.pop("checksum", None)
    if said != _checksum(document):
        raise ConfigError(f"{name} was edited or damaged: its checksum is not right; {_REMEDY}")
    try:
        return _PLANS.validate_python(document.get("sources"))
    except ValidationError as error:
        raise ConfigError(
            f"{name} is not a plan: {error.error_count()} faults; {_REMEDY}"
        ) from None


def _document(content: bytes, name: str) -> dict[str, Any]:
    try:
        packed = content[:2] == b"\x1f\x8b"
        found = json.loads(unpacked(content, most=MAX_BYTES) if packed else content)
    except (ValueError, RecursionError):
        raise ConfigError(f"{name} is not a plan: it cannot be read as JSON; {_REMEDY}") from None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise ConfigError(f"{name} is not a plan; {_REMEDY}")
    return found


def _checksum(document: Mapping[str, Json]) -> str:
    try:
        return "sha256:" + sha256(json_text(document).encode()).hexdigest()
    except ValueError:  # NaN
        return ""
