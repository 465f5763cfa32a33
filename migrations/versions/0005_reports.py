"""Views for what people ask: stale projects, empty and implicit layers, holdouts, keys, who."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from alembic import op

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


@dataclass(frozen=True)
class Words:
    """What the two databases call differently."""

    sqlite: bool

    def each(self, column: str, name: str) -> str:
        """A row for each text of a JSON list."""
        if self.sqlite:
            return f"JOIN json_each({column}) AS {name}"
        return f"CROSS JOIN LATERAL jsonb_array_elements_text({column}) AS {name} (value)"

    def listed(self, column: str, rows: str) -> str:
        """A JSON list of the different texts of some rows, by their bytes."""
        if self.sqlite:
            inner = f"SELECT DISTINCT {column} FROM {rows} ORDER BY {column}"
            return f"(SELECT json_group_array({column}) FROM ({inner}) AS texts)"
        text = f'{column} COLLATE "C"'
        listed = f"jsonb_agg(DISTINCT {text} ORDER BY {text})"
        return f"(SELECT COALESCE({listed}, CAST('[]' AS JSONB)) FROM {rows})"

    def plain(self, column: str) -> str:
        """The text that a JSON value is."""
        return f"json_extract({column}, '$')" if self.sqlite else f"{column} #>> '{{}}'"

    def inside(self, column: str, name: str) -> str:
        """A JSON object in a JSON object; nothing else."""
        if self.sqlite:
            place = f"{column}, '$.{name}'"
            return f"CASE json_type({place}) WHEN 'object' THEN json_extract({place}) END"
        place = f"{column} -> '{name}'"
        return f"CASE jsonb_typeof({place}) WHEN 'object' THEN {place} END"

    def seconds(self, time: str) -> str:
        """A time as whole seconds."""
        if self.sqlite:
            return f"CAST(strftime('%s', {time}) AS INTEGER)"
        return f"CAST(FLOOR(EXTRACT(EPOCH FROM {time})) AS BIGINT)"

    def label(self, column: str) -> str:
        """A name as people would take it for the same: small letters, nothing between words."""
        text = f"lower({column})" if self.sqlite else f'lower({column} COLLATE "C")'
        for between in (" ", "-", "_", "."):
            text = f"replace({text}, '{between}', '')"
        return text

    def first(self, label: str) -> str:
        """The first of some labels."""
        return f"MIN({label})" if self.sqlite else f'MIN({label}) COLLATE "default"'


OLD_CAPACITY = """
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


def views(words: Words) -> Mapping[str, str]:
    """The queries by the names of their views."""
    experiments = words.listed(
        "experiment_key",
        "layer_reservations_current AS those WHERE those.layer_id = layers.layer_id "
        "AND those.environment_key = reservations.environment_key",
    )
    fields = "change_fields WHERE change_fields.change_id = changes.change_id"
    last = (
        "project_id, CASE WHEN version > 1 THEN changed_at ELSE "
        "COALESCE(provider_updated_at, provider_created_at, first_seen_at) END AS last"
    )
    return {
        "layer_capacity": f"""
SELECT layers.source, layers.provider, layers.project_key, layers.key AS layer_key,
       layers.name AS layer_name, layers.randomization_unit, reservations.environment_key,
       COUNT(*) AS experiments,
       CAST(SUM(reservations.reservation_percent) AS BIGINT) AS used_percent,
       CAST(100 - SUM(reservations.reservation_percent) AS BIGINT) AS free_percent,
       SUM(reservations.reservation_percent) > 100 AS over_booked,
       {experiments} AS experiment_keys, layers.layer_id
FROM layer_reservations_current AS reservations
JOIN layers_current AS layers ON layers.layer_id = reservations.layer_id
GROUP BY layers.layer_id, layers.source, layers.provider, layers.project_key, layers.key,
         layers.name, layers.randomization_unit, reservations.environment_key
""",
        "stale_projects": f"""
SELECT source, provider, project_key, name, status, unchanged_since, unchanged_days, project_id
FROM (
  SELECT projects.source, projects.provider, projects.key AS project_key, projects.name,
         projects.status, lasts.unchanged_since, projects.project_id,
         ({words.seconds("CURRENT_TIMESTAMP")} - {words.seconds("lasts.unchanged_since")})
           / 86400 AS unchanged_days
  FROM projects_current AS projects JOIN (
    SELECT project_id, MAX(last) AS unchanged_since FROM (
      SELECT {last} FROM projects
      UNION ALL SELECT {last} FROM environments
      UNION ALL SELECT {last} FROM layers
    ) AS every_last GROUP BY project_id
  ) AS lasts ON lasts.project_id = projects.project_id
) AS ages WHERE unchanged_days >= 90
""",
        "layers_without_experiments": """
SELECT source, provider, project_key, key AS layer_key, name AS layer_name, randomization_unit,
       provider_created_at, first_seen_at, changed_at, layer_id
FROM layers_current AS layers
WHERE provider = 'launchdarkly' AND NOT EXISTS (
  SELECT 1 FROM layer_reservations_current AS reservations
  WHERE reservations.layer_id = layers.layer_id
)
""",
        "implicit_layers": """
SELECT source, provider, project_key, key AS layer_key, name AS layer_name,
       COALESCE(created_by_email, created_by_name, created_by_id) AS created_by,
       provider_created_at, provider_updated_at, first_seen_at,
       (SELECT COUNT(*) FROM layer_parameters_current AS parts
        WHERE parts.layer_id = layers.layer_id) AS parameters, layer_id
FROM layers_current AS layers WHERE is_implicit
""",
        "holdout_usage": f"""
SELECT layers.source, layers.provider, layers.project_key, holdout.value AS holdout_id,
       layers.key AS layer_key, layers.name AS layer_name, layers.is_implicit,
       COUNT(*) OVER (PARTITION BY layers.source, layers.project_key, holdout.value) AS layers,
       layers.layer_id
FROM layers_current AS layers {words.each("layers.holdout_ids", "holdout")}
""",
        "key_rotations": f"""
SELECT changes.observed_at, changes.source, changes.provider, changes.project_key,
       changes.key AS environment_key,
       CASE change_fields.path WHEN 'apiKey' THEN 'sdk' ELSE 'mobile' END AS kind,
       {words.plain("change_fields.old_value")} AS old_fingerprint,
       {words.plain("change_fields.new_value")} AS new_fingerprint,
       changes.run_id, changes.change_id
FROM changes JOIN change_fields ON change_fields.change_id = changes.change_id
WHERE changes.stream = 'environments' AND change_fields.path IN ('apiKey', 'mobileKey')
""",
        "possible_same_project": f"""
WITH labels AS (
  SELECT project_id, source, provider, key, name, {words.label("key")} AS label
  FROM projects_current
  UNION
  SELECT project_id, source, provider, key, name, {words.label("name")} AS label
  FROM projects_current
)
SELECT {words.first("one.label")} AS label,
       one.provider, one.source, one.key AS project_key, one.name, other.provider AS other_provider,
       other.source AS other_source, other.key AS other_project_key, other.name AS other_name,
       one.project_id, other.project_id AS other_project_id
FROM labels AS one JOIN labels AS other
  ON other.label = one.label AND one.provider < other.provider
WHERE one.label <> ''
GROUP BY one.project_id, one.provider, one.source, one.key, one.name,
         other.project_id, other.provider, other.source, other.key, other.name
""",
        "who_changed_what": f"""
SELECT changes.actor, changes.observed_at, changes.provider_updated_at, changes.source,
       changes.provider, changes.stream, changes.project_key, changes.key, changes.operation,
       (SELECT COUNT(*) FROM {fields}) AS fields,
       {words.listed("path", fields)} AS paths,
       changes.run_id, changes.change_id
FROM changes WHERE changes.actor IS NOT NULL
""",
        "launchdarkly_project": f"""
SELECT external_id AS id, key, name, include_in_snippet_by_default,
       default_client_side_availability, tags, {words.inside("raw", "flagDefaults")}
         AS flag_defaults, {words.inside("raw", "_links")} AS links, name AS title, source
FROM projects_current WHERE provider = 'launchdarkly'
""",
        "launchdarkly_environment": f"""
SELECT external_id AS id, key, name, project_key, color, default_ttl, secure_mode,
       default_track_events, require_comments, confirm_changes, tags, approval_settings,
       {words.inside("raw", "_links")} AS links, name AS title,
       sdk_key_fingerprint AS api_key_fingerprint, mobile_key_fingerprint, source
FROM environments_current WHERE provider = 'launchdarkly'
""",
    }


def upgrade() -> None:
    sqlite = op.get_bind().dialect.name == "sqlite"
    if sqlite:
        op.execute("DROP VIEW layer_capacity")
    for name, query in views(Words(sqlite)).items():
        # PostgreSQL keeps the rights on layer_capacity, and the views that users have on it
        op.execute(f"CREATE {'' if sqlite else 'OR REPLACE '}VIEW {name} AS {query}")


def downgrade() -> None:
    for name in views(Words(sqlite=True)):
        op.execute(f"DROP VIEW {name}")
    op.execute(f"CREATE VIEW layer_capacity AS {OLD_CAPACITY}")
