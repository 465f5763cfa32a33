"""The bookkeeping of runs, as SQLAlchemy tables: what ran, what it saw, what it could not use.

The ledger and the staged deletions hold a run that has not ended; leases keep runs apart.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
)

from etl.db.types import BigId, Document, Flag, UtcDateTime, metadata

runs = Table(
    "runs",
    metadata,
    Column("run_id", BigId, primary_key=True),
    Column("source", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("scope", Text, nullable=False),
    Column("identity", Text),  # a digest of what the provider says the key belongs to
    Column("attempts", Integer, nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("finished_at", UtcDateTime),
    Column("observed_at", UtcDateTime),
    Column("abandoned_at", UtcDateTime),  # when another run took its place
    Column("retry_at", UtcDateTime),
    Column("exit_code", Integer),
    Column("error", Text),
    Column("notes", Document),  # what people should know of it, a list of sentences
    Column("etl_version", Text, nullable=False),
    Index(None, "source", "started_at"),
)

COUNTS = ("received", "created", "updated", "unchanged", "deleted", "restored", "rejected")
TRAFFIC = ("requests", "pages", "retries")

run_streams = Table(
    "run_streams",
    metadata,
    Column("run_id", BigId, ForeignKey("runs.run_id"), primary_key=True),
    Column("stream", Text, primary_key=True),
    Column("parent_id", Text, primary_key=True),  # "": the whole stream
    Column("parent_key", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("complete", Flag, nullable=False),
    Column("incomplete_reason", Text),
    Column("proof", Text),  # how it is known, or not, that all was seen
    Column("walks", Document),  # the same of every list of the stream, equal ones together
    Column("oldest_read_at", UtcDateTime),  # of the pages that the stream's rows rest on
    Column("partitions", Integer, nullable=False),
    Column("incomplete_partitions", Integer, nullable=False),
    Column("expected_total", BigInteger),
    *(Column(name, BigInteger, nullable=False) for name in TRAFFIC),
    Column("waited_seconds", Float, nullable=False),
    *(Column(name, BigInteger, nullable=False) for name in COUNTS),
)

rejects = Table(
    "rejects",
    metadata,
    Column("reject_id", BigId, primary_key=True),
    Column("source", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("stream", Text, nullable=False),
    Column("parent_id", Text, nullable=False),
    Column("item", Text, nullable=False),  # the external id, or the payload's hash without one
    Column("external_id", Text),
    Column("path", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("payload", Document, nullable=False),
    Column("run_id", BigId, ForeignKey("runs.run_id"), nullable=False),
    Column("first_seen_at", UtcDateTime, nullable=False),
    Column("last_seen_at", UtcDateTime, nullable=False),
    Column("resolved_at", UtcDateTime),
    Index(None, "run_id"),
    UniqueConstraint("source", "stream", "parent_id", "item"),
)

schema_drift = Table(
    "schema_drift",
    metadata,
    Column("drift_id", BigId, primary_key=True),
    Column("source", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("stream", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("sample_type", Text, nullable=False),
    Column("records", BigInteger),  # that a merge found vanished or retyped
    Column("first_seen_at", UtcDateTime, nullable=False),
    Column("last_seen_at", UtcDateTime, nullable=False),
    UniqueConstraint("source", "stream", "path", "type"),
)

leases = Table(
    "leases",
    metadata,
    Column("source", Text, primary_key=True),
    Column("token", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("process_started", Text, nullable=False),
    Column("kind", Text, nullable=False, server_default="sync"),  # a backfill makes way
    Column("expires_at", UtcDateTime, nullable=False),
)

scopes = Table(
    "scopes",
    metadata,
    Column("source", Text, primary_key=True),
    Column("stream", Text, primary_key=True),
    Column("scope", Text, nullable=False),  # JSON: identity, host, filters
    Column("key_fingerprint", Text, nullable=False),
    Column("identity", Text, nullable=False),
    Column("since_run", BigId, ForeignKey("runs.run_id"), nullable=False),
)

outside_scope = Table(
    "outside_scope",
    metadata,
    Column("source", Text, primary_key=True),
    Column("stream", Text, primary_key=True),
    Column("row_id", BigId, primary_key=True, autoincrement=False),
    Column("since_run", BigId, ForeignKey("runs.run_id"), nullable=False),
)

horizons = Table(
    "horizons",
    metadata,
    Column("source", Text, primary_key=True),
    Column("known_since", UtcDateTime, nullable=False),  # older history was pruned
)

notices = Table(
    "notices",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("source", Text, primary_key=True),
    Column("detail", Text, primary_key=True),
    Column("message", Text, nullable=False),
    Column("first_seen_at", UtcDateTime, nullable=False),
    Column("last_seen_at", UtcDateTime, nullable=False),
    Column("notified_at", UtcDateTime),
    Column("ended_at", UtcDateTime),
    Column("told", Document, nullable=False),  # the channels that have it, e.g. `env NAME`
    Column("recovered", Document, nullable=False),
    Column("claimed_until", UtcDateTime),
)

rate_budgets = Table(
    "rate_budgets",
    metadata,
    Column("credential", Text, primary_key=True),  # provider, host, the key's fingerprint
    Column("grants", LargeBinary, nullable=False),  # float64: when requests were or will be sent
    Column("blocked_until", UtcDateTime),
    Column("blocked_reason", Text),  # the provider's words
    Column("rate_limits", Text),  # what the provider grants to this key, as "1200/min"
    Column("limits_read_at", UtcDateTime),
    Column("updated_at", UtcDateTime, nullable=False),
)

ledger = Table(
    "ledger",
    metadata,
    Column("run_id", BigId, primary_key=True),
    Column("stream", Text, primary_key=True),
    Column("parent_id", Text, primary_key=True),
    Column("segment", Integer, primary_key=True, autoincrement=False),
    Column("parent_key", Text, nullable=False),
    Column(
        "state", Document, nullable=False
    ),  # etl.extract.list_walk.ListWalk as JSON: the next request, counts
    Column("seen", LargeBinary, nullable=False),  # row ids met, as zlib of int64
)

staged_deletions = Table(
    "staged_deletions",
    metadata,
    Column("run_id", BigId, primary_key=True),
    Column("stream", Text, primary_key=True),
    Column("row_id", BigId, primary_key=True, autoincrement=False),
    Column("reason", Text, nullable=False),
)
