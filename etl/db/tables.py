"""The schema of records, as SQLAlchemy tables: the truth that migrations follow.

Current tables hold the last known state of every record, the deleted ones included. Before a row
changes, its old state moves to the history table: current row + closed versions = the whole past.
Staging tables hold a run that has not ended; they are empty between runs. Bookkeeping of runs is
in run_tables. docs/schema.md tells all of it to SQL users.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from etl.db.run_tables import ledger, staged_deletions
from etl.db.types import BigId, Document, Flag, UtcDateTime, metadata

Columns = list[Column[Any]]


def _project_content() -> Columns:
    return [
        Column("status", Text),
        Column("tags", Document),
        Column("timezone", Text),
        Column("primary_language", Text),
        Column("owner_email", Text),
        Column("customer_external_id", Text),
        Column("include_in_snippet_by_default", Flag),
        Column("default_client_side_availability", Document),
        Column("default_release_pipeline_key", Text),
    ]


def _environment_content() -> Columns:
    return [
        Column("color", Text),
        Column("default_ttl", BigInteger),
        Column("secure_mode", Flag),
        Column("default_track_events", Flag),
        Column("require_comments", Flag),
        Column("confirm_changes", Flag),
        Column("critical", Flag),
        Column("tags", Document),
        Column("approval_settings", Document),
        Column("resource_approval_settings", Document),
        Column("sdk_key_fingerprint", Text),
        Column("mobile_key_fingerprint", Text),
    ]


def _layer_content() -> Columns:
    return [
        Column("description", Text),
        Column("randomization_unit", Text),
        Column("is_implicit", Flag),
        Column("tags", Document),
        Column("target_apps", Document),
        Column("holdout_ids", Document),
        Column("team", Text),
        Column("team_id", Text),
        Column("provider_version", Text),
        Column("created_by_id", Text),
        Column("created_by_name", Text),
        Column("created_by_email", Text),
        Column("updated_by_id", Text),
        Column("updated_by_name", Text),
        Column("updated_by_email", Text),
    ]


def _parameter_content() -> Columns:
    return [
        Column("type", Text, nullable=False),
        Column("default_value", Document),
        Column("position", Integer, nullable=False),
    ]


def _reservation_content() -> Columns:
    return [
        Column("environment_key", Text, nullable=False),
        Column("experiment_key", Text, nullable=False),
        Column("flag_key", Text, nullable=False),
        Column("reservation_percent", BigInteger, nullable=False),
    ]


def _identity() -> Columns:
    return [
        Column("source", Text, nullable=False),
        Column("provider", Text, nullable=False),
        Column("parent_id", Text, nullable=False),
        Column("external_id", Text, nullable=False),
    ]


def _state() -> Columns:
    return [
        Column("key", Text, nullable=False),
        Column("name", Text, nullable=False),
        Column("content_hash", Text, nullable=False),
        Column("provider_created_at", UtcDateTime),
        Column("provider_updated_at", UtcDateTime),
    ]


def _raw() -> Column[Any]:
    return Column("raw", Document, nullable=False)


def _project(*, foreign_key: bool) -> Columns:
    reference = [ForeignKey("projects.project_id")] if foreign_key else []
    return [Column("project_id", BigId, *reference), Column("project_key", Text)]


def _life() -> Columns:
    """Of a current row: what the last change was, and when."""
    return [
        Column("version", Integer, nullable=False),
        Column("operation", Text, nullable=False),
        Column("run_id", BigId, ForeignKey("runs.run_id"), nullable=False),
        Column("first_seen_at", UtcDateTime, nullable=False),
        Column("changed_at", UtcDateTime, nullable=False),
        Column("is_deleted", Flag, nullable=False),
        Column("deleted_at", UtcDateTime),
    ]


def _tombstones(stream: str) -> Index:
    """Of the deleted rows only: with it live rows are counted, and told from them, by indexes."""
    deleted = text("deleted_at IS NOT NULL")
    return Index(
        f"ix_{stream}_tombstones",
        "source",
        "parent_id",
        "deleted_at",  # SQLite looks it up again, so it has to be here
        sqlite_where=deleted,
        postgresql_where=deleted,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordTables:
    """The tables of one stream: current rows, closed versions, rows staged by a run."""

    stream: str
    id: str
    current: Table
    history: Table
    staged: Table
    content: tuple[str, ...]
    children: tuple["ChildTables", ...] = ()

    @property
    def has_project(self) -> bool:
        """Whether these records belong to a project."""
        return self.stream != "projects"

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """The columns that hold the fingerprint of a key."""
        return tuple(name for name in self.content if name.endswith("_fingerprint"))


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildTables:
    """The tables of rows that belong to a layer."""

    id: str
    current: Table
    staged: Table
    content: tuple[str, ...]


def _record_tables(
    stream: str, singular: str, columns: Any, children: tuple[ChildTables, ...] = ()
) -> RecordTables:
    identifier = f"{singular}_id"
    project = stream != "projects"
    current = Table(
        stream,
        metadata,
        Column(identifier, BigId, primary_key=True),
        *_identity(),
        *(_project(foreign_key=True) if project else []),
        *_state(),
        *_life(),
        *columns(),
        _raw(),
        UniqueConstraint("source", "parent_id", "external_id"),
        CheckConstraint("version >= 1", name="version"),
        CheckConstraint("is_deleted = (deleted_at IS NOT NULL)", name="deleted_at"),
        Index(None, "run_id"),
        Index(None, "source", "key"),
        _tombstones(stream),
        *([Index(None, "project_id")] if project else []),
    )
    history = Table(
        f"{singular}_history",
        metadata,
        Column(identifier, BigId, ForeignKey(current.c[identifier]), primary_key=True),
        *_identity(),
        *(_project(foreign_key=False) if project else []),
        *_state(),
        Column("version", Integer, primary_key=True),
        Column("operation", Text, nullable=False),
        Column("run_id", BigId, ForeignKey("runs.run_id"), nullable=False),
        Column("valid_from", UtcDateTime, nullable=False),
        Column("valid_to", UtcDateTime, nullable=False),
        Column("is_deleted", Flag, nullable=False),
        *columns(),
        _raw(),
        CheckConstraint("valid_from < valid_to", name="valid"),
        Index(None, "run_id"),
        Index(None, "valid_to", "valid_from"),
    )
    content = [column.name for column in (*_state(), *columns(), _raw())]
    staged = Table(
        f"staged_{stream}",
        metadata,
        Column("run_id", BigId, primary_key=True),
        Column("ordinal", BigId, primary_key=True, autoincrement=False),
        Column("parent_id", Text, nullable=False),
        Column("external_id", Text, nullable=False),
        Column("row_id", BigId),
        Column("operation", Text, nullable=False),
        *([Column("project_key", Text)] if project else []),
        *_state(),
        *columns(),
        _raw(),
        Index(None, "run_id", "row_id"),
    )
    return RecordTables(
        stream=stream,
        id=identifier,
        current=current,
        history=history,
        staged=staged,
        content=tuple(content),
        children=children,
    )


def _child_tables(name: str, singular: str, columns: Any) -> ChildTables:
    identifier = f"{singular}_id"
    current = Table(
        name,
        metadata,
        Column(identifier, BigId, primary_key=True),
        Column("layer_id", BigId, ForeignKey("layers.layer_id"), nullable=False),
        Column("source", Text, nullable=False),
        Column("provider", Text, nullable=False),
        Column("external_id", Text, nullable=False),
        *_state(),
        *_life(),
        *columns(),
        _raw(),
        UniqueConstraint("layer_id", "external_id"),
        Index(None, "run_id"),
        CheckConstraint("is_deleted = (deleted_at IS NOT NULL)", name="deleted_at"),
    )
    staged = Table(
        f"staged_{name}",
        metadata,
        Column("run_id", BigId, primary_key=True),
        Column("ordinal", BigId, primary_key=True, autoincrement=False),
        Column("external_id", Text, primary_key=True),
        Column("key", Text, nullable=False),
        Column("name", Text, nullable=False),
        Column("content_hash", Text, nullable=False),
        *columns(),
        _raw(),
    )
    content = ("key", "name", "content_hash", *(column.name for column in columns()), "raw")
    return ChildTables(id=identifier, current=current, staged=staged, content=content)


changes = Table(
    "changes",
    metadata,
    Column("change_id", BigId, primary_key=True),
    Column("run_id", BigId, ForeignKey("runs.run_id"), nullable=False),
    Column("source", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("stream", Text, nullable=False),
    Column("record_id", BigId, nullable=False),
    Column("version", Integer, nullable=False),
    Column("project_key", Text),
    Column("key", Text, nullable=False),
    Column("operation", Text, nullable=False),
    Column("observed_at", UtcDateTime, nullable=False),
    Column("provider_updated_at", UtcDateTime),
    Column("actor", Text),
    Column("reason", Text),  # of a deletion: how it is known
    UniqueConstraint("stream", "record_id", "version"),
    Index(None, "observed_at"),
    Index(None, "run_id"),
)

change_fields = Table(
    "change_fields",
    metadata,
    Column("change_id", BigId, ForeignKey("changes.change_id"), primary_key=True),
    Column("path", Text, primary_key=True),
    Column("old_value", Document),
    Column("new_value", Document),
)

_PARAMETERS = _child_tables("layer_parameters", "layer_parameter", _parameter_content)
_RESERVATIONS = _child_tables("layer_reservations", "layer_reservation", _reservation_content)

RECORDS: Mapping[str, RecordTables] = MappingProxyType(
    {
        tables.stream: tables
        for tables in (
            _record_tables("projects", "project", _project_content),
            _record_tables("environments", "environment", _environment_content),
            _record_tables("layers", "layer", _layer_content, (_PARAMETERS, _RESERVATIONS)),
        )
    }
)

STAGING: tuple[Table, ...] = (
    ledger,
    staged_deletions,
    *(tables.staged for tables in RECORDS.values()),
    *(child.staged for tables in RECORDS.values() for child in tables.children),
)
"""Tables that hold only runs that have not ended; unlogged on Postgres."""
