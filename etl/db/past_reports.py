"""The queries of reports at a moment in the past, over the rows of etl.db.asof.

The views of these names answer for now. They are made for looking up a few rows by index; these
read all there was at once. tests/integration/test_reports.py holds both to the same rows.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any

from sqlalchemy import FromClause, Subquery, bindparam, select, text

from etl.db import asof
from etl.db.types import UtcDateTime


@dataclass(frozen=True, slots=True)
class _Words:
    """What the two databases call differently."""

    sqlite: bool

    def each(self, column: str, name: str) -> str:
        if self.sqlite:
            return f"JOIN json_each({column}) AS {name}"
        return f"CROSS JOIN LATERAL jsonb_array_elements_text({column}) AS {name} (value)"

    def listed(self, column: str) -> str:
        """A JSON list of the different texts; SQLite needs the rows in their order."""
        if self.sqlite:
            return f"json_group_array(DISTINCT {column})"
        return f'jsonb_agg(DISTINCT {column} COLLATE "C" ORDER BY {column} COLLATE "C")'

    def seconds(self, time: str) -> str:
        if self.sqlite:
            return f"CAST(strftime('%s', {time}) AS INTEGER)"
        return f"CAST(FLOOR(EXTRACT(EPOCH FROM CAST({time} AS TIMESTAMPTZ))) AS BIGINT)"

    def label(self, column: str) -> str:
        name = f"lower({column})" if self.sqlite else f'lower({column} COLLATE "C")'
        for between in (" ", "-", "_", "."):
            name = f"replace({name}, '{between}', '')"
        return name


def _layer_capacity(words: _Words) -> str:
    return f"""
SELECT layers.source, layers.provider, layers.project_key, layers.key AS layer_key,
       layers.name AS layer_name, layers.randomization_unit, used.environment_key,
       used.experiments, used.used_percent, 100 - used.used_percent AS free_percent,
       used.used_percent > 100 AS over_booked, used.experiment_keys, layers.layer_id
FROM layers_then AS layers JOIN (
  SELECT layer_id, environment_key, COUNT(*) AS experiments,
         CAST(SUM(reservation_percent) AS BIGINT) AS used_percent,
         {words.listed("experiment_key")} AS experiment_keys
  FROM (
    SELECT layer_id, environment_key, experiment_key, reservation_percent
    FROM layer_reservations_then ORDER BY layer_id, environment_key, experiment_key
  ) AS reservations GROUP BY layer_id, environment_key
) AS used ON used.layer_id = layers.layer_id"""


def _project_inventory(_words: _Words) -> str:
    return """
SELECT projects.source, projects.provider, projects.key AS project_key, projects.name,
       projects.status, COALESCE(inner_environments.number, 0) AS environments,
       COALESCE(inner_layers.number, 0) AS layers, projects.provider_created_at,
       projects.provider_updated_at, projects.first_seen_at, projects.changed_at,
       projects.project_id
FROM projects_then AS projects
LEFT JOIN (
  SELECT project_id, COUNT(*) AS number FROM environments_then GROUP BY project_id
) AS inner_environments ON inner_environments.project_id = projects.project_id
LEFT JOIN (
  SELECT project_id, COUNT(*) AS number FROM layers_then GROUP BY project_id
) AS inner_layers ON inner_layers.project_id = projects.project_id"""


def _stale_projects(words: _Words) -> str:
    last = (
        "project_id, CASE WHEN version > 1 THEN changed_at ELSE "
        "COALESCE(provider_updated_at, provider_created_at, first_seen_at) END AS last"
    )
    return f"""
SELECT source, provider, project_key, name, status, unchanged_since, unchanged_days, project_id
FROM (
  SELECT projects.source, projects.provider, projects.key AS project_key, projects.name,
         projects.status, lasts.unchanged_since, projects.project_id,
         ({words.seconds(":moment")} - {words.seconds("lasts.unchanged_since")})
           / 86400 AS unchanged_days
  FROM projects_then AS projects JOIN (
    SELECT project_id, MAX(last) AS unchanged_since FROM (
      SELECT {last} FROM projects_ever
      UNION ALL SELECT {last} FROM environments_ever
      UNION ALL SELECT {last} FROM layers_ever
    ) AS every_last GROUP BY project_id
  ) AS lasts ON lasts.project_id = projects.project_id
) AS ages WHERE unchanged_days >= 90"""


def _layers_without_experiments(_words: _Words) -> str:
    return """
SELECT layers.source, layers.provider, layers.project_key, layers.key AS layer_key,
       layers.name AS layer_name, layers.randomization_unit, layers.provider_created_at,
       layers.first_seen_at, layers.changed_at, layers.layer_id
FROM layers_then AS layers
LEFT JOIN (SELECT DISTINCT layer_id FROM layer_reservations_then) AS reserved
  ON reserved.layer_id = layers.layer_id
WHERE layers.provider = 'launchdarkly' AND reserved.layer_id IS NULL"""


def _implicit_layers(_words: _Words) -> str:
    return """
SELECT layers.source, layers.provider, layers.project_key, layers.key AS layer_key,
       layers.name AS layer_name,
       COALESCE(layers.created_by_email, layers.created_by_name, layers.created_by_id)
         AS created_by,
       layers.provider_created_at, layers.provider_updated_at, layers.first_seen_at,
       COALESCE(parts.number, 0) AS parameters, layers.layer_id
FROM layers_then AS layers
LEFT JOIN (
  SELECT layer_id, COUNT(*) AS number FROM layer_parameters_then GROUP BY layer_id
) AS parts ON parts.layer_id = layers.layer_id
WHERE layers.is_implicit"""


def _holdout_usage(words: _Words) -> str:
    return f"""
SELECT layers.source, layers.provider, layers.project_key, holdout.value AS holdout_id,
       layers.key AS layer_key, layers.name AS layer_name, layers.is_implicit,
       COUNT(*) OVER (PARTITION BY layers.source, layers.project_key, holdout.value) AS layers,
       layers.layer_id
FROM layers_then AS layers {words.each("layers.holdout_ids", "holdout")}"""


def _possible_same_project(words: _Words) -> str:
    labels = " UNION ".join(
        f"SELECT project_id, source, provider, key, name, {words.label(column)} AS label "
        "FROM projects_then"
        for column in ("key", "name")
    )
    return f"""
SELECT MIN(one.label) AS label,
       one.provider, one.source, one.key AS project_key, one.name, other.provider AS other_provider,
       other.source AS other_source, other.key AS other_project_key, other.name AS other_name,
       one.project_id, other.project_id AS other_project_id
FROM ({labels}) AS one
JOIN ({labels}) AS other ON other.label = one.label AND one.provider < other.provider
WHERE one.label <> ''
GROUP BY one.project_id, one.provider, one.source, one.key, one.name,
         other.project_id, other.provider, other.source, other.key, other.name"""


QUERIES = MappingProxyType(
    {
        "layer_capacity": _layer_capacity,
        "project_inventory": _project_inventory,
        "stale_projects": _stale_projects,
        "layers_without_experiments": _layers_without_experiments,
        "implicit_layers": _implicit_layers,
        "holdout_usage": _holdout_usage,
        "possible_same_project": _possible_same_project,
    }
)
"""Reports of rows; those of events are the view's rows up to the moment."""

_TABLES = re.compile(r"\b(\w+)_(then|ever)\b")


def rows(view: FromClause, name: str, moment: datetime, *, sqlite: bool) -> Subquery:
    """What the view of that name would have shown at a moment, with the view's columns."""
    query = QUERIES[name](_Words(sqlite))
    tables = sorted(set(_TABLES.findall(query)))
    ctes = [
        select(asof.rows(table, moment, deleted=kind == "ever")).cte(f"{table}_{kind}")
        for table, kind in tables
    ]
    moments = [bindparam("moment", moment, UtcDateTime())] if ":moment" in query else []
    columns: dict[str, Any] = {column.name: column.type for column in view.c}
    return text(query).bindparams(*moments).columns(**columns).add_cte(*ctes).subquery(name)
