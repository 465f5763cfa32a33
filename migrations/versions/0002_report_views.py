"""Views for SQL reports: live rows, versions, the change feed, freshness, capacity, inventory."""

from collections.abc import Sequence

from alembic import op

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

TABLES = ("projects", "environments", "layers", "layer_parameters", "layer_reservations")

STATE = "source, provider, parent_id, external_id"
CONTENT = "key, name, content_hash, provider_created_at, provider_updated_at"
LIFE = "version, operation, run_id, is_deleted"
VERSIONED = {
    "project": (
        "status, tags, timezone, primary_language, owner_email, customer_external_id, "
        "include_in_snippet_by_default, default_client_side_availability, "
        "default_release_pipeline_key"
    ),
    "environment": (
        "project_id, project_key, color, default_ttl, secure_mode, default_track_events, "
        "require_comments, confirm_changes, critical, tags, approval_settings, "
        "resource_approval_settings, sdk_key_fingerprint, mobile_key_fingerprint"
    ),
    "layer": (
        "project_id, project_key, description, randomization_unit, is_implicit, tags, "
        "target_apps, holdout_ids, team, team_id, provider_version, created_by_id, "
        "created_by_name, created_by_email, updated_by_id, updated_by_name, updated_by_email"
    ),
}


def current(table: str) -> str:
    """The rows of a table without the deleted."""
    return f"SELECT * FROM {table} WHERE NOT is_deleted"


def versions(singular: str) -> str:
    """Every state a record ever had: half-open intervals, the last one open."""
    columns = f"{singular}_id, {STATE}, {CONTENT}, {LIFE}, {VERSIONED[singular]}, raw"
    return (
        f"SELECT {columns}, valid_from, valid_to FROM {singular}_history "
        f"UNION ALL SELECT {columns}, changed_at, NULL FROM {singular}s"
    )


CHANGE_FEED = """
SELECT changes.change_id, changes.observed_at, changes.source, changes.provider, changes.stream,
       changes.project_key, changes.key, changes.operation, change_fields.path,
       change_fields.old_value, change_fields.new_value, changes.actor, changes.reason,
       changes.provider_updated_at, changes.run_id, changes.record_id, changes.version
FROM changes LEFT JOIN change_fields ON change_fields.change_id = changes.change_id
"""

SOURCE_FRESHNESS = """
SELECT runs.source, runs.provider, run_streams.stream,
       MAX(CASE WHEN run_streams.complete THEN runs.observed_at END) AS last_complete_at,
       MAX(runs.observed_at) AS last_merged_at,
       MAX(runs.started_at) AS last_started_at,
       MAX(runs.run_id) AS last_run_id
FROM runs JOIN run_streams ON run_streams.run_id = runs.run_id AND run_streams.parent_id = ''
WHERE runs.kind <> 'dry_run'
GROUP BY runs.source, runs.provider, run_streams.stream
"""

LAYER_CAPACITY = """
SELECT layers.source, layers.provider, layers.project_key, layers.key AS layer_key,
       layers.name AS layer_name, layers.randomization_unit, reservations.environment_key,
       COUNT(*) AS experiments,
       CAST(SUM(reservations.reservation_percent) AS BIGINT) AS used_percent,
       CAST(100 - SUM(reservations.reservation_percent) AS BIGINT) AS free_percent,
       SUM(reservations.reservation_percent) > 100 AS over_booked
FROM layer_reservations AS reservations JOIN layers ON layers.layer_id = reservations.layer_id
WHERE NOT reservations.is_deleted AND NOT layers.is_deleted
GROUP BY layers.layer_id, layers.source, layers.provider, layers.project_key, layers.key,
         layers.name, layers.randomization_unit, reservations.environment_key
"""


def inside(table: str) -> str:
    """How many live rows of a table a project has."""
    return (
        f"(SELECT COUNT(*) FROM {table} "
        f"WHERE {table}.project_id = projects.project_id AND NOT {table}.is_deleted)"
    )


PROJECT_INVENTORY = f"""
SELECT projects.source, projects.provider, projects.key AS project_key, projects.name,
       projects.status, {inside("environments")} AS environments, {inside("layers")} AS layers,
       projects.provider_created_at, projects.provider_updated_at, projects.first_seen_at,
       projects.changed_at, projects.project_id
FROM projects WHERE NOT projects.is_deleted
"""

VIEWS = {
    **{f"{table}_current": current(table) for table in TABLES},
    **{f"{singular}_versions": versions(singular) for singular in VERSIONED},
    "change_feed": CHANGE_FEED,
    "source_freshness": SOURCE_FRESHNESS,
    "layer_capacity": LAYER_CAPACITY,
    "project_inventory": PROJECT_INVENTORY,
}


def upgrade() -> None:
    for name, query in VIEWS.items():
        op.execute(f"CREATE VIEW {name} AS {query}")


def downgrade() -> None:
    for name in reversed(VIEWS):
        op.execute(f"DROP VIEW {name}")
