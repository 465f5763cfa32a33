"""Views on SQLite as other programs read them: with types, and the same through DuckDB.

DuckDB's SQLite extension parses a view and runs it itself; where it knows a function of it not, it
hands its own wording of the query to SQLite, which fails on UNION ALL.
"""

from collections.abc import Mapping, Sequence

from alembic import op
from sqlalchemy import text

revision: str = "0014"
down_revision: str | None = "0013"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# SQLite gives a computed column no type, but a UNION ALL those of its first part, here without rows
PROVIDERS_OF_TYPES = "runs, run_streams, layer_reservations"
OF_TYPE = {
    "BIGINT": "layer_reservations.reservation_percent",
    "BOOLEAN": "run_streams.complete",
    "DATETIME": "runs.started_at",
    "FLOAT": "run_streams.waited_seconds",
    "INTEGER": "runs.run_id",
    "TEXT": "runs.source",
}
COMPUTED = {
    **dict.fromkeys(("experiments", "environments", "layers", "parameters", "fields"), "BIGINT"),
    **dict.fromkeys(("used_percent", "free_percent"), "BIGINT"),
    "over_booked": "BOOLEAN",
}  # the others are texts, JSON included
WITH_TYPES = (
    *("layer_capacity", "project_inventory", "implicit_layers", "holdout_usage"),
    *("key_rotations", "possible_same_project", "who_changed_what"),
    *("launchdarkly_project", "launchdarkly_environment"),
)

AGE = (
    "(CAST(strftime('%s', CURRENT_TIMESTAMP) AS INTEGER) "
    "- CAST(strftime('%s', {}) AS INTEGER)) / 86400"
)
LAST = (
    "CASE WHEN version > 1 THEN changed_at ELSE "
    "COALESCE(provider_updated_at, provider_created_at, first_seen_at) END"
)


def last_in(table: str) -> str:
    """When something of a project last changed there."""
    rows = f"FROM {table} WHERE {table}.project_id = projects.project_id"
    return f"COALESCE((SELECT MAX({LAST}) {rows}), '')"


STALE = """
SELECT source, provider, project_key, name, status, unchanged_since, unchanged_days, project_id
FROM ({}) AS ages WHERE unchanged_days >= 90
"""
STALE_PROJECTS = STALE.format(f"""
  SELECT source, provider, project_key, name, status, project_id, unchanged_since,
         {AGE.format("unchanged_since")} AS unchanged_days
  FROM (
    SELECT projects.source, projects.provider, projects.key AS project_key, projects.name,
           projects.status, projects.project_id,
           MAX({LAST}, {last_in("environments")}, {last_in("layers")}) AS unchanged_since
    FROM projects_current AS projects
  ) AS lasts
""")
EVERY_LAST = " UNION ALL ".join(
    f"SELECT project_id, {LAST} AS last FROM {table}"
    for table in ("projects", "environments", "layers")
)
OLD_STALE_PROJECTS = STALE.format(f"""
  SELECT projects.source, projects.provider, projects.key AS project_key, projects.name,
         projects.status, lasts.unchanged_since, projects.project_id,
         {AGE.format("lasts.unchanged_since")} AS unchanged_days
  FROM projects_current AS projects JOIN (
    SELECT project_id, MAX(last) AS unchanged_since FROM ({EVERY_LAST}) AS every_last
    GROUP BY project_id
  ) AS lasts ON lasts.project_id = projects.project_id
""")

# DuckDB's json_extract is SQLite's ->, which keeps the quotes of a text; its json_type has
# capitals, its list of nothing is NULL, its JOIN wants ON. What is said here means the same in
# both. It has no `likely`: what it would read differently it leaves to SQLite.
LINKS = [
    (f"CASE json_type(raw, '$.{name}') WHEN", f"CASE lower(json_type(raw, '$.{name}')) WHEN")
    for name in ("_links", "flagDefaults")
]
REWORDED: Mapping[str, Sequence[tuple[str, str]]] = {
    "holdout_usage": [
        (" JOIN json_each(", ", json_each("),
        (
            "holdout.value",
            "CASE typeof(holdout.value) WHEN 'JSON' THEN trim(holdout.value, '\"') "
            "ELSE CAST(holdout.value AS TEXT) END",
        ),
    ],
    "key_rotations": [
        (
            f"json_extract(change_fields.{side}, '$')",
            f"NULLIF(trim(change_fields.{side}, '\"'), 'null')",
        )
        for side in ("old_value", "new_value")
    ],
    "launchdarkly_environment": LINKS,
    "launchdarkly_project": LINKS,
    "layer_parameter_history": [
        (" JOIN json_each(", ", json_each("),
        ("NOT layers.is_deleted", "likely(NOT layers.is_deleted)"),
    ],
    "layer_reservation_history": [
        ("\nJOIN json_each(layers", ", json_each(layers"),
        ("\nJOIN json_each(environment", ", json_each(environment"),
        ("NOT layers.is_deleted", "likely(NOT layers.is_deleted)"),
    ],
    "who_changed_what": [
        ("(SELECT json_group_array(path)", "COALESCE((SELECT json_group_array(path)"),
        ("AS texts) AS paths", "AS texts), '[]') AS paths"),
    ],
}
PARTS = {
    "layer_parameter": "type, default_value, position",
    "layer_reservation": "environment_key, experiment_key, flag_key, reservation_percent",
}


def versions(singular: str, *, present_first: bool) -> str:
    """Parameters or reservations of every version; the present ones have types."""
    columns = f"source, provider, external_id, key, name, {PARTS[singular]}, raw"
    present = ", ".join(f"parts.{name}" for name in columns.split(", "))
    end = "layers.deleted_at" if present_first else "NULL"  # nothing, of the type of a time
    both = [
        f"SELECT layer_id, {columns}, version, valid_from, valid_to FROM {singular}_history",
        f"SELECT parts.layer_id, {present}, layers.version, layers.changed_at AS valid_from, "
        f"{end} AS valid_to FROM {singular}s AS parts JOIN layers "
        "ON layers.layer_id = parts.layer_id WHERE NOT parts.is_deleted",
    ]
    return " UNION ALL ".join(reversed(both) if present_first else both)


def upgrade() -> None:
    if op.get_bind().dialect.name != "sqlite":
        return
    for name, pairs in REWORDED.items():
        query = definition(name)
        for before, after in pairs:
            query = query.replace(before, after)
        replace(name, query)
    replace("stale_projects", STALE_PROJECTS)
    for singular in PARTS:
        replace(f"{singular}_versions", versions(singular, present_first=True))
    for name in WITH_TYPES:
        replace(name, f"{typed(name)} WHERE 0 UNION ALL SELECT * FROM ({definition(name)})")


def downgrade() -> None:
    if op.get_bind().dialect.name != "sqlite":
        return
    for name in WITH_TYPES:
        inner = definition(name).partition(" WHERE 0 UNION ALL SELECT * FROM (")[2]
        replace(name, inner.removesuffix(")"))
    for singular in PARTS:
        replace(f"{singular}_versions", versions(singular, present_first=False))
    replace("stale_projects", OLD_STALE_PROJECTS)
    for name, pairs in REWORDED.items():
        query = definition(name)
        for before, after in reversed(pairs):
            query = query.replace(after, before)
        replace(name, query)


def definition(name: str) -> str:
    """The query of a view."""
    query = text("SELECT sql FROM sqlite_master WHERE type = 'view' AND name = :name")
    found: str = op.get_bind().execute(query, {"name": name}).scalar_one()
    return found.partition(f"CREATE VIEW {name} AS ")[2].strip()


def replace(name: str, query: str) -> None:
    op.execute(f"DROP VIEW {name}")
    op.execute(f"CREATE VIEW {name} AS {query}")


def typed(name: str) -> str:
    """A query with the columns of a view, each with its type."""
    columns = op.get_bind().execute(text(f"PRAGMA table_info({name})"))
    values = (
        f"{OF_TYPE[one.type or COMPUTED.get(one.name, 'TEXT')]} AS {one.name}" for one in columns
    )
    return f"SELECT {', '.join(values)} FROM {PROVIDERS_OF_TYPES}"
