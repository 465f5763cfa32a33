"""The tables of records, history, changes, runs and staging."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0001"
down_revision: str | None = None
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
DOCUMENT = (  # on SQLite the type JSON would turn large numbers into floats, TEXT keeps them
    sa.JSON(none_as_null=True)
    .with_variant(postgresql.JSONB(none_as_null=True), "postgresql")
    .with_variant(sa.Text(), "sqlite")
)
TIME = sa.DateTime(timezone=True)

UNLOGGED = (  # they hold only runs that have not ended: no WAL on Postgres
    "ledger",
    "staged_deletions",
    "staged_projects",
    "staged_environments",
    "staged_layers",
    "staged_layer_parameters",
    "staged_layer_reservations",
)


def upgrade() -> None:
    op.create_table(
        "leases",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("process_started", sa.Text(), nullable=False),
        sa.Column("expires_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("source", name=op.f("pk_leases")),
    )
    op.create_table(
        "rate_budgets",
        sa.Column("credential", sa.Text(), nullable=False),
        sa.Column("grants", sa.LargeBinary(), nullable=False),
        sa.Column("blocked_until", TIME, nullable=True),
        sa.Column("updated_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("credential", name=op.f("pk_rate_budgets")),
    )
    op.create_table(
        "ledger",
        sa.Column("run_id", BIG_ID, nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("parent_id", sa.Text(), nullable=False),
        sa.Column("segment", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("parent_key", sa.Text(), nullable=False),
        sa.Column("state", DOCUMENT, nullable=False),
        sa.Column("seen", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "stream", "parent_id", "segment", name=op.f("pk_ledger")),
    )
    op.create_table(
        "runs",
        sa.Column("run_id", BIG_ID, nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("identity", sa.Text(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("started_at", TIME, nullable=False),
        sa.Column("finished_at", TIME, nullable=True),
        sa.Column("observed_at", TIME, nullable=True),
        sa.Column("retry_at", TIME, nullable=True),
        sa.Column("exit_code", sa.Integer(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("notes", DOCUMENT, nullable=True),
        sa.Column("etl_version", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_runs")),
    )
    op.create_index(
        op.f("ix_runs_source_started_at"), "runs", ["source", "started_at"], unique=False
    )
    op.create_table(
        "schema_drift",
        sa.Column("drift_id", BIG_ID, nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("sample_type", sa.Text(), nullable=False),
        sa.Column("first_seen_at", TIME, nullable=False),
        sa.Column("last_seen_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("drift_id", name=op.f("pk_schema_drift")),
        sa.UniqueConstraint(
            "source", "stream", "path", "type", name=op.f("uq_schema_drift_source_stream_path_type")
        ),
    )
    op.create_table(
        "staged_deletions",
        sa.Column("run_id", BIG_ID, nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("row_id", BIG_ID, autoincrement=False, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", "stream", "row_id", name=op.f("pk_staged_deletions")),
    )
    op.create_table(
        "staged_environments",
        sa.Column("run_id", BIG_ID, nullable=False),
        sa.Column("ordinal", BIG_ID, autoincrement=False, nullable=False),
        sa.Column("parent_id", sa.Text(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("row_id", BIG_ID, nullable=True),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("project_key", sa.Text(), nullable=True),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("content_hash", sa.Text(), nullable=False),
        sa.Column("provider_created_at", TIME, nullable=True),
        sa.Column("provider_updated_at", TIME, nullable=True),
        sa.Column("color", sa.Text(), nullable=True),
        sa.Column("default_ttl", sa.BigInteger(), nullable=True),
        sa.Column("secure_mode", sa.Boolean(), nullable=True),
        sa.Column("default_track_events", sa.Boolean(), nullable=True),
        sa.Column("require_comments", sa.Boolean(), nullable=True),
        sa.Column("confirm_changes", sa.Boolean(), nullable=True),
        sa.Column("critical", sa.Boolean(), nullable=True),
        sa.Column("tags", DOCUMENT, nullable=True),
        sa.Column("approval_settings", DOCUMENT, nullable=True),
        sa.Column("resource_approval_settings", DOCUMENT, nullable=True),
        sa.Column("sdk_key_fingerprint", sa.Text(), nullable=True),
        sa.Column("mobile_key_fingerprint", sa.Text(), nullable=True),
        sa.Column("raw", DOCUMENT, nullable=False),
        sa.PrimaryKeyConstraint("run_id", "ordinal", name=op.f("pk_staged_environments")),
    )
    op.create_index(
        op.f("ix_staged_environments_run_id_row_id"),
        "staged_environments",
        ["run_id", "row_id"],
        unique=False,
    )
    op.create_table(
        "staged_layer_parameters",
        sa.Column("run_id", BIG_ID, nullable=False),
        sa.Column("ordinal", BIG_ID, autoincrement=False, nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("content_hash", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("default_value", DOCUMENT, nullable=True),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("raw", DOCUMENT, nullable=False),
        sa.PrimaryKeyConstraint(
            "run_id", "ordinal", "external_id", name=op.f("pk_staged_layer_parameters")
        ),
    )
    op.create_table(
        "staged_layer_reservations",
        sa.Column("run_id", BIG_ID, nullable=False),
        sa.Column("ordinal", BIG_ID, autoincrement=False, nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("content_hash", sa.Text(), nullable=False),
        sa.Column("environment_key", sa.Text(), nullable=False),
        sa.Column("experiment_key", sa.Text(), nullable=False),
        sa.Column("flag_key", sa.Text(), nullable=False),
        sa.Column("reservation_percent", sa.BigInteger(), nullable=False),
        sa.Column("raw", DOCUMENT, nullable=False),
        sa.PrimaryKeyConstraint(
            "run_id", "ordinal", "external_id", name=op.f("pk_staged_layer_reservations")
        ),
    )
    op.create_table(
        "staged_layers",
        sa.Column("run_id", BIG_ID, nullable=False),
        sa.Column("ordinal", BIG_ID, autoincrement=False, nullable=False),
        sa.Column("parent_id", sa.Text(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("row_id", BIG_ID, nullable=True),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("project_key", sa.Text(), nullable=True),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("content_hash", sa.Text(), nullable=False),
        sa.Column("provider_created_at", TIME, nullable=True),
        sa.Column("provider_updated_at", TIME, nullable=True),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("randomization_unit", sa.Text(), nullable=True),
        sa.Column("is_implicit", sa.Boolean(), nullable=True),
        sa.Column("tags", DOCUMENT, nullable=True),
        sa.Column("target_apps", DOCUMENT, nullable=True),
        sa.Column("holdout_ids", DOCUMENT, nullable=True),
        sa.Column("team", sa.Text(), nullable=True),
        sa.Column("team_id", sa.Text(), nullable=True),
        sa.Column("provider_version", sa.Text(), nullable=True),
        sa.Column("created_by_id", sa.Text(), nullable=True),
        sa.Column("created_by_name", sa.Text(), nullable=True),
        sa.Column("created_by_email", sa.Text(), nullable=True),
        sa.Column("updated_by_id", sa.Text(), nullable=True),
        sa.Column("updated_by_name", sa.Text(), nullable=True),
        sa.Column("updated_by_email", sa.Text(), nullable=True),
        sa.Column("raw", DOCUMENT, nullable=False),
        sa.PrimaryKeyConstraint("run_id", "ordinal", name=op.f("pk_staged_layers")),
    )
    op.create_index(
        op.f("ix_staged_layers_run_id_row_id"), "staged_layers", ["run_id", "row_id"], unique=False
    )
    op.create_table(
        "staged_projects",
        sa.Column("run_id", BIG_ID, nullable=False),
        sa.Column("ordinal", BIG_ID, autoincrement=False, nullable=False),
        sa.Column("parent_id", sa.Text(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("row_id", BIG_ID, nullable=True),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("content_hash", sa.Text(), nullable=False),
        sa.Column("provider_created_at", TIME, nullable=True),
        sa.Column("provider_updated_at", TIME, nullable=True),
        sa.Column("status", sa.Text(), nullable=True),
        sa.Column("tags", DOCUMENT, nullable=True),
        sa.Column("timezone", sa.Text(), nullable=True),
        sa.Column("primary_language", sa.Text(), nullable=True),
        sa.Column("owner_email", sa.Text(), nullable=True),
        sa.Column("customer_external_id", sa.Text(), nullable=True),
        sa.Column("include_in_snippet_by_default", sa.Boolean(), nullable=True),
        sa.Column("default_client_side_availability", DOCUMENT, nullable=True),
        sa.Column("default_release_pipeline_key", sa.Text(), nullable=True),
        sa.Column("raw", DOCUMENT, nullable=False),
        sa.PrimaryKeyConstraint("run_id", "ordinal", name=op.f("pk_staged_projects")),
    )
    op.create_index(
        op.f("ix_staged_projects_run_id_row_id"),
        "staged_projects",
        ["run_id", "row_id"],
        unique=False,
    )
    op.create_table(
        "scopes",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("key_fingerprint", sa.Text(), nullable=False),
        sa.Column("identity", sa.Text(), nullable=False),
        sa.Column("since_run", BIG_ID, nullable=False),
        sa.ForeignKeyConstraint(["since_run"], ["runs.run_id"], name=op.f("fk_scopes_since_run")),
        sa.PrimaryKeyConstraint("source", "stream", name=op.f("pk_scopes")),
    )
    op.create_table(
        "outside_scope",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("row_id", BIG_ID, autoincrement=False, nullable=False),
        sa.Column("since_run", BIG_ID, nullable=False),
        sa.ForeignKeyConstraint(
            ["since_run"], ["runs.run_id"], name=op.f("fk_outside_scope_since_run")
        ),
        sa.PrimaryKeyConstraint("source", "stream", "row_id", name=op.f("pk_outside_scope")),
    )
    op.create_table(
        "changes",
        sa.Column("change_id", BIG_ID, nullable=False),
        sa.Column("run_id", BIG_ID, nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("record_id", BIG_ID, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("project_key", sa.Text(), nullable=True),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("observed_at", TIME, nullable=False),
        sa.Column("provider_updated_at", TIME, nullable=True),
        sa.Column("actor", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name=op.f("fk_changes_run_id")),
        sa.PrimaryKeyConstraint("change_id", name=op.f("pk_changes")),
        sa.UniqueConstraint(
            "stream", "record_id", "version", name=op.f("uq_changes_stream_record_id_version")
        ),
    )
    op.create_index(op.f("ix_changes_observed_at"), "changes", ["observed_at"], unique=False)
    op.create_index(op.f("ix_changes_run_id"), "changes", ["run_id"], unique=False)
    op.create_table(
        "projects",
        sa.Column("project_id", BIG_ID, nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("parent_id", sa.Text(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("content_hash", sa.Text(), nullable=False),
        sa.Column("provider_created_at", TIME, nullable=True),
        sa.Column("provider_updated_at", TIME, nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("run_id", BIG_ID, nullable=False),
        sa.Column("first_seen_at", TIME, nullable=False),
        sa.Column("changed_at", TIME, nullable=False),
        sa.Column("is_deleted", sa.Boolean(), nullable=False),
        sa.Column("deleted_at", TIME, nullable=True),
        sa.Column("status", sa.Text(), nullable=True),
        sa.Column("tags", DOCUMENT, nullable=True),
        sa.Column("timezone", sa.Text(), nullable=True),
        sa.Column("primary_language", sa.Text(), nullable=True),
        sa.Column("owner_email", sa.Text(), nullable=True),
        sa.Column("customer_external_id", sa.Text(), nullable=True),
        sa.Column("include_in_snippet_by_default", sa.Boolean(), nullable=True),
        sa.Column("default_client_side_availability", DOCUMENT, nullable=True),
        sa.Column("default_release_pipeline_key", sa.Text(), nullable=True),
        sa.Column("raw", DOCUMENT, nullable=False),
        sa.CheckConstraint(
            "is_deleted = (deleted_at IS NOT NULL)", name=op.f("ck_projects_deleted_at")
        ),
        sa.CheckConstraint("version >= 1", name=op.f("ck_projects_version")),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name=op.f("fk_projects_run_id")),
        sa.PrimaryKeyConstraint("project_id", name=op.f("pk_projects")),
        sa.UniqueConstraint(
            "source",
            "parent_id",
            "external_id",
            name=op.f("uq_projects_source_parent_id_external_id"),
        ),
    )
    op.create_index(op.f("ix_projects_run_id"), "projects", ["run_id"], unique=False)
    op.create_index(op.f("ix_projects_source_key"), "projects", ["source", "key"], unique=False)
    op.create_table(
        "rejects",
        sa.Column("reject_id", BIG_ID, nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("parent_id", sa.Text(), nullable=False),
        sa.Column("item", sa.Text(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=True),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("payload", DOCUMENT, nullable=False),
        sa.Column("run_id", BIG_ID, nullable=False),
        sa.Column("first_seen_at", TIME, nullable=False),
        sa.Column("last_seen_at", TIME, nullable=False),
        sa.Column("resolved_at", TIME, nullable=True),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name=op.f("fk_rejects_run_id")),
        sa.PrimaryKeyConstraint("reject_id", name=op.f("pk_rejects")),
        sa.UniqueConstraint(
            "source",
            "stream",
            "parent_id",
            "item",
            name=op.f("uq_rejects_source_stream_parent_id_item"),
        ),
    )
    op.create_table(
        "run_streams",
        sa.Column("run_id", BIG_ID, nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("parent_id", sa.Text(), nullable=False),
        sa.Column("parent_key", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("complete", sa.Boolean(), nullable=False),
        sa.Column("incomplete_reason", sa.Text(), nullable=True),
        sa.Column("proof", sa.Text(), nullable=True),
        sa.Column("partitions", sa.Integer(), nullable=False),
        sa.Column("incomplete_partitions", sa.Integer(), nullable=False),
        sa.Column("expected_total", sa.BigInteger(), nullable=True),
        sa.Column("requests", sa.BigInteger(), nullable=False),
        sa.Column("pages", sa.BigInteger(), nullable=False),
        sa.Column("retries", sa.BigInteger(), nullable=False),
        sa.Column("waited_seconds", sa.Float(), nullable=False),
        sa.Column("received", sa.BigInteger(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("updated", sa.BigInteger(), nullable=False),
        sa.Column("unchanged", sa.BigInteger(), nullable=False),
        sa.Column("deleted", sa.BigInteger(), nullable=False),
        sa.Column("restored", sa.BigInteger(), nullable=False),
        sa.Column("rejected", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name=op.f("fk_run_streams_run_id")),
        sa.PrimaryKeyConstraint("run_id", "stream", "parent_id", name=op.f("pk_run_streams")),
    )
    op.create_table(
        "change_fields",
        sa.Column("change_id", BIG_ID, nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("old_value", DOCUMENT, nullable=True),
        sa.Column("new_value", DOCUMENT, nullable=True),
        sa.ForeignKeyConstraint(
            ["change_id"], ["changes.change_id"], name=op.f("fk_change_fields_change_id")
        ),
        sa.PrimaryKeyConstraint("change_id", "path", name=op.f("pk_change_fields")),
    )
    op.create_table(
        "environments",
        sa.Column("environment_id", BIG_ID, nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("parent_id", sa.Text(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("project_id", BIG_ID, nullable=True),
        sa.Column("project_key", sa.Text(), nullable=True),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("content_hash", sa.Text(), nullable=False),
        sa.Column("provider_created_at", TIME, nullable=True),
        sa.Column("provider_updated_at", TIME, nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("run_id", BIG_ID, nullable=False),
        sa.Column("first_seen_at", TIME, nullable=False),
        sa.Column("changed_at", TIME, nullable=False),
        sa.Column("is_deleted", sa.Boolean(), nullable=False),
        sa.Column("deleted_at", TIME, nullable=True),
        sa.Column("color", sa.Text(), nullable=True),
        sa.Column("default_ttl", sa.BigInteger(), nullable=True),
        sa.Column("secure_mode", sa.Boolean(), nullable=True),
        sa.Column("default_track_events", sa.Boolean(), nullable=True),
        sa.Column("require_comments", sa.Boolean(), nullable=True),
        sa.Column("confirm_changes", sa.Boolean(), nullable=True),
        sa.Column("critical", sa.Boolean(), nullable=True),
        sa.Column("tags", DOCUMENT, nullable=True),
        sa.Column("approval_settings", DOCUMENT, nullable=True),
        sa.Column("resource_approval_settings", DOCUMENT, nullable=True),
        sa.Column("sdk_key_fingerprint", sa.Text(), nullable=True),
        sa.Column("mobile_key_fingerprint", sa.Text(), nullable=True),
        sa.Column("raw", DOCUMENT, nullable=False),
        sa.CheckConstraint(
            "is_deleted = (deleted_at IS NOT NULL)", name=op.f("ck_environments_deleted_at")
        ),
        sa.CheckConstraint("version >= 1", name=op.f("ck_environments_version")),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.project_id"], name=op.f("fk_environments_project_id")
        ),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name=op.f("fk_environments_run_id")),
        sa.PrimaryKeyConstraint("environment_id", name=op.f("pk_environments")),
        sa.UniqueConstraint(
            "source",
            "parent_id",
            "external_id",
            name=op.f("uq_environments_source_parent_id_external_id"),
        ),
    )
    op.create_index(
        op.f("ix_environments_project_id"), "environments", ["project_id"], unique=False
    )
    op.create_index(op.f("ix_environments_run_id"), "environments", ["run_id"], unique=False)
    op.create_index(
        op.f("ix_environments_source_key"), "environments", ["source", "key"], unique=False
    )
    op.create_table(
        "layers",
        sa.Column("layer_id", BIG_ID, nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("parent_id", sa.Text(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("project_id", BIG_ID, nullable=True),
        sa.Column("project_key", sa.Text(), nullable=True),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("content_hash", sa.Text(), nullable=False),
        sa.Column("provider_created_at", TIME, nullable=True),
        sa.Column("provider_updated_at", TIME, nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("run_id", BIG_ID, nullable=False),
        sa.Column("first_seen_at", TIME, nullable=False),
        sa.Column("changed_at", TIME, nullable=False),
        sa.Column("is_deleted", sa.Boolean(), nullable=False),
        sa.Column("deleted_at", TIME, nullable=True),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("randomization_unit", sa.Text(), nullable=True),
        sa.Column("is_implicit", sa.Boolean(), nullable=True),
        sa.Column("tags", DOCUMENT, nullable=True),
        sa.Column("target_apps", DOCUMENT, nullable=True),
        sa.Column("holdout_ids", DOCUMENT, nullable=True),
        sa.Column("team", sa.Text(), nullable=True),
        sa.Column("team_id", sa.Text(), nullable=True),
        sa.Column("provider_version", sa.Text(), nullable=True),
        sa.Column("created_by_id", sa.Text(), nullable=True),
        sa.Column("created_by_name", sa.Text(), nullable=True),
        sa.Column("created_by_email", sa.Text(), nullable=True),
        sa.Column("updated_by_id", sa.Text(), nullable=True),
        sa.Column("updated_by_name", sa.Text(), nullable=True),
        sa.Column("updated_by_email", sa.Text(), nullable=True),
        sa.Column("raw", DOCUMENT, nullable=False),
        sa.CheckConstraint(
            "is_deleted = (deleted_at IS NOT NULL)", name=op.f("ck_layers_deleted_at")
        ),
        sa.CheckConstraint("version >= 1", name=op.f("ck_layers_version")),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.project_id"], name=op.f("fk_layers_project_id")
        ),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name=op.f("fk_layers_run_id")),
        sa.PrimaryKeyConstraint("layer_id", name=op.f("pk_layers")),
        sa.UniqueConstraint(
            "source",
            "parent_id",
            "external_id",
            name=op.f("uq_layers_source_parent_id_external_id"),
        ),
    )
    op.create_index(op.f("ix_layers_project_id"), "layers", ["project_id"], unique=False)
    op.create_index(op.f("ix_layers_run_id"), "layers", ["run_id"], unique=False)
    op.create_index(op.f("ix_layers_source_key"), "layers", ["source", "key"], unique=False)
    op.create_table(
        "project_history",
        sa.Column("project_id", BIG_ID, nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("parent_id", sa.Text(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("content_hash", sa.Text(), nullable=False),
        sa.Column("provider_created_at", TIME, nullable=True),
        sa.Column("provider_updated_at", TIME, nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("run_id", BIG_ID, nullable=False),
        sa.Column("valid_from", TIME, nullable=False),
        sa.Column("valid_to", TIME, nullable=False),
        sa.Column("is_deleted", sa.Boolean(), nullable=False),
        sa.Column("status", sa.Text(), nullable=True),
        sa.Column("tags", DOCUMENT, nullable=True),
        sa.Column("timezone", sa.Text(), nullable=True),
        sa.Column("primary_language", sa.Text(), nullable=True),
        sa.Column("owner_email", sa.Text(), nullable=True),
        sa.Column("customer_external_id", sa.Text(), nullable=True),
        sa.Column("include_in_snippet_by_default", sa.Boolean(), nullable=True),
        sa.Column("default_client_side_availability", DOCUMENT, nullable=True),
        sa.Column("default_release_pipeline_key", sa.Text(), nullable=True),
        sa.Column("raw", DOCUMENT, nullable=False),
        sa.CheckConstraint("valid_from < valid_to", name=op.f("ck_project_history_valid")),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.project_id"], name=op.f("fk_project_history_project_id")
        ),
        sa.ForeignKeyConstraint(
            ["run_id"], ["runs.run_id"], name=op.f("fk_project_history_run_id")
        ),
        sa.PrimaryKeyConstraint("project_id", "version", name=op.f("pk_project_history")),
    )
    op.create_index(
        op.f("ix_project_history_valid_from"), "project_history", ["valid_from"], unique=False
    )
    op.create_table(
        "environment_history",
        sa.Column("environment_id", BIG_ID, nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("parent_id", sa.Text(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("project_id", BIG_ID, nullable=True),
        sa.Column("project_key", sa.Text(), nullable=True),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("content_hash", sa.Text(), nullable=False),
        sa.Column("provider_created_at", TIME, nullable=True),
        sa.Column("provider_updated_at", TIME, nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("run_id", BIG_ID, nullable=False),
        sa.Column("valid_from", TIME, nullable=False),
        sa.Column("valid_to", TIME, nullable=False),
        sa.Column("is_deleted", sa.Boolean(), nullable=False),
        sa.Column("color", sa.Text(), nullable=True),
        sa.Column("default_ttl", sa.BigInteger(), nullable=True),
        sa.Column("secure_mode", sa.Boolean(), nullable=True),
        sa.Column("default_track_events", sa.Boolean(), nullable=True),
        sa.Column("require_comments", sa.Boolean(), nullable=True),
        sa.Column("confirm_changes", sa.Boolean(), nullable=True),
        sa.Column("critical", sa.Boolean(), nullable=True),
        sa.Column("tags", DOCUMENT, nullable=True),
        sa.Column("approval_settings", DOCUMENT, nullable=True),
        sa.Column("resource_approval_settings", DOCUMENT, nullable=True),
        sa.Column("sdk_key_fingerprint", sa.Text(), nullable=True),
        sa.Column("mobile_key_fingerprint", sa.Text(), nullable=True),
        sa.Column("raw", DOCUMENT, nullable=False),
        sa.CheckConstraint("valid_from < valid_to", name=op.f("ck_environment_history_valid")),
        sa.ForeignKeyConstraint(
            ["environment_id"],
            ["environments.environment_id"],
            name=op.f("fk_environment_history_environment_id"),
        ),
        sa.ForeignKeyConstraint(
            ["run_id"], ["runs.run_id"], name=op.f("fk_environment_history_run_id")
        ),
        sa.PrimaryKeyConstraint("environment_id", "version", name=op.f("pk_environment_history")),
    )
    op.create_index(
        op.f("ix_environment_history_valid_from"),
        "environment_history",
        ["valid_from"],
        unique=False,
    )
    op.create_table(
        "layer_history",
        sa.Column("layer_id", BIG_ID, nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("parent_id", sa.Text(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("project_id", BIG_ID, nullable=True),
        sa.Column("project_key", sa.Text(), nullable=True),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("content_hash", sa.Text(), nullable=False),
        sa.Column("provider_created_at", TIME, nullable=True),
        sa.Column("provider_updated_at", TIME, nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("run_id", BIG_ID, nullable=False),
        sa.Column("valid_from", TIME, nullable=False),
        sa.Column("valid_to", TIME, nullable=False),
        sa.Column("is_deleted", sa.Boolean(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("randomization_unit", sa.Text(), nullable=True),
        sa.Column("is_implicit", sa.Boolean(), nullable=True),
        sa.Column("tags", DOCUMENT, nullable=True),
        sa.Column("target_apps", DOCUMENT, nullable=True),
        sa.Column("holdout_ids", DOCUMENT, nullable=True),
        sa.Column("team", sa.Text(), nullable=True),
        sa.Column("team_id", sa.Text(), nullable=True),
        sa.Column("provider_version", sa.Text(), nullable=True),
        sa.Column("created_by_id", sa.Text(), nullable=True),
        sa.Column("created_by_name", sa.Text(), nullable=True),
        sa.Column("created_by_email", sa.Text(), nullable=True),
        sa.Column("updated_by_id", sa.Text(), nullable=True),
        sa.Column("updated_by_name", sa.Text(), nullable=True),
        sa.Column("updated_by_email", sa.Text(), nullable=True),
        sa.Column("raw", DOCUMENT, nullable=False),
        sa.CheckConstraint("valid_from < valid_to", name=op.f("ck_layer_history_valid")),
        sa.ForeignKeyConstraint(
            ["layer_id"], ["layers.layer_id"], name=op.f("fk_layer_history_layer_id")
        ),
        sa.ForeignKeyConstraint(["run_id"], ["runs.run_id"], name=op.f("fk_layer_history_run_id")),
        sa.PrimaryKeyConstraint("layer_id", "version", name=op.f("pk_layer_history")),
    )
    op.create_index(
        op.f("ix_layer_history_valid_from"), "layer_history", ["valid_from"], unique=False
    )
    op.create_table(
        "layer_parameters",
        sa.Column("layer_parameter_id", BIG_ID, nullable=False),
        sa.Column("layer_id", BIG_ID, nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("content_hash", sa.Text(), nullable=False),
        sa.Column("provider_created_at", TIME, nullable=True),
        sa.Column("provider_updated_at", TIME, nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("run_id", BIG_ID, nullable=False),
        sa.Column("first_seen_at", TIME, nullable=False),
        sa.Column("changed_at", TIME, nullable=False),
        sa.Column("is_deleted", sa.Boolean(), nullable=False),
        sa.Column("deleted_at", TIME, nullable=True),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("default_value", DOCUMENT, nullable=True),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("raw", DOCUMENT, nullable=False),
        sa.CheckConstraint(
            "is_deleted = (deleted_at IS NOT NULL)", name=op.f("ck_layer_parameters_deleted_at")
        ),
        sa.ForeignKeyConstraint(
            ["layer_id"], ["layers.layer_id"], name=op.f("fk_layer_parameters_layer_id")
        ),
        sa.ForeignKeyConstraint(
            ["run_id"], ["runs.run_id"], name=op.f("fk_layer_parameters_run_id")
        ),
        sa.PrimaryKeyConstraint("layer_parameter_id", name=op.f("pk_layer_parameters")),
        sa.UniqueConstraint(
            "layer_id", "external_id", name=op.f("uq_layer_parameters_layer_id_external_id")
        ),
    )
    op.create_table(
        "layer_reservations",
        sa.Column("layer_reservation_id", BIG_ID, nullable=False),
        sa.Column("layer_id", BIG_ID, nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("content_hash", sa.Text(), nullable=False),
        sa.Column("provider_created_at", TIME, nullable=True),
        sa.Column("provider_updated_at", TIME, nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("run_id", BIG_ID, nullable=False),
        sa.Column("first_seen_at", TIME, nullable=False),
        sa.Column("changed_at", TIME, nullable=False),
        sa.Column("is_deleted", sa.Boolean(), nullable=False),
        sa.Column("deleted_at", TIME, nullable=True),
        sa.Column("environment_key", sa.Text(), nullable=False),
        sa.Column("experiment_key", sa.Text(), nullable=False),
        sa.Column("flag_key", sa.Text(), nullable=False),
        sa.Column("reservation_percent", sa.BigInteger(), nullable=False),
        sa.Column("raw", DOCUMENT, nullable=False),
        sa.CheckConstraint(
            "is_deleted = (deleted_at IS NOT NULL)", name=op.f("ck_layer_reservations_deleted_at")
        ),
        sa.ForeignKeyConstraint(
            ["layer_id"], ["layers.layer_id"], name=op.f("fk_layer_reservations_layer_id")
        ),
        sa.ForeignKeyConstraint(
            ["run_id"], ["runs.run_id"], name=op.f("fk_layer_reservations_run_id")
        ),
        sa.PrimaryKeyConstraint("layer_reservation_id", name=op.f("pk_layer_reservations")),
        sa.UniqueConstraint(
            "layer_id", "external_id", name=op.f("uq_layer_reservations_layer_id_external_id")
        ),
    )
    if op.get_bind().dialect.name == "postgresql":
        for table in UNLOGGED:
            op.execute(f"ALTER TABLE {table} SET UNLOGGED")


def downgrade() -> None:
    op.drop_table("layer_reservations")
    op.drop_table("layer_parameters")
    op.drop_index(op.f("ix_layer_history_valid_from"), table_name="layer_history")
    op.drop_table("layer_history")
    op.drop_index(op.f("ix_environment_history_valid_from"), table_name="environment_history")
    op.drop_table("environment_history")
    op.drop_index(op.f("ix_project_history_valid_from"), table_name="project_history")
    op.drop_table("project_history")
    op.drop_index(op.f("ix_layers_source_key"), table_name="layers")
    op.drop_index(op.f("ix_layers_run_id"), table_name="layers")
    op.drop_index(op.f("ix_layers_project_id"), table_name="layers")
    op.drop_table("layers")
    op.drop_index(op.f("ix_environments_source_key"), table_name="environments")
    op.drop_index(op.f("ix_environments_run_id"), table_name="environments")
    op.drop_index(op.f("ix_environments_project_id"), table_name="environments")
    op.drop_table("environments")
    op.drop_table("change_fields")
    op.drop_table("run_streams")
    op.drop_table("rejects")
    op.drop_index(op.f("ix_projects_source_key"), table_name="projects")
    op.drop_index(op.f("ix_projects_run_id"), table_name="projects")
    op.drop_table("projects")
    op.drop_index(op.f("ix_changes_run_id"), table_name="changes")
    op.drop_index(op.f("ix_changes_observed_at"), table_name="changes")
    op.drop_table("changes")
    op.drop_table("outside_scope")
    op.drop_table("scopes")
    op.drop_index(op.f("ix_staged_projects_run_id_row_id"), table_name="staged_projects")
    op.drop_table("staged_projects")
    op.drop_index(op.f("ix_staged_layers_run_id_row_id"), table_name="staged_layers")
    op.drop_table("staged_layers")
    op.drop_table("staged_layer_reservations")
    op.drop_table("staged_layer_parameters")
    op.drop_index(op.f("ix_staged_environments_run_id_row_id"), table_name="staged_environments")
    op.drop_table("staged_environments")
    op.drop_table("staged_deletions")
    op.drop_table("schema_drift")
    op.drop_index(op.f("ix_runs_source_started_at"), table_name="runs")
    op.drop_table("runs")
    op.drop_table("ledger")
    op.drop_table("rate_budgets")
    op.drop_table("leases")
