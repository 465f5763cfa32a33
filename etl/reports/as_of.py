"""The queries of reports at a moment in the past, over the rows of etl.history.as_of.

The views of these names answer for now. They are made for looking up a few rows by index; these
read all there was at once, each row and its payload once. What only people see of a row is put
together for the rows that are shown. tests/integration/test_reports.py holds both to the same rows.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any

from sqlalchemy import CTE, FromClause, Select, Subquery, bindparam, literal_column, select, text

from etl.db.types import Document, UtcDateTime
from etl.history import as_of

Pick = Callable[[FromClause], Select[Any]]


@dataclass(frozen=True, slots=True)
class _Words:
    """What the two databases call differently. past: closed versions are asked, too."""

    sqlite: bool
    past: bool

    def each(self, column: str, name: str) -> str:
        if self.sqlite:
            return f"JOIN json_each({column}) AS {name}"
        return f"CROSS JOIN LATERAL jsonb_array_elements_text({column}) AS {name} (value)"

    def listed(self, rows: str) -> str:
        """A JSON list of the different texts in rows of one column `text`, by their bytes."""
        if self.sqlite:
            inner = f"SELECT DISTINCT text FROM ({rows}) AS texts ORDER BY text"
            return f"(SELECT json_group_array(text) FROM ({inner}) AS texts)"
        text = 'text COLLATE "C"'
        return f"(SELECT jsonb_agg(DISTINCT {text} ORDER BY {text}) FROM ({rows}) AS texts)"

    def seconds(self, time: str) -> str:
        if self.sqlite:
            return f"CAST(strftime('%s', {time}) AS INTEGER)"
        return f"CAST(FLOOR(EXTRACT(EPOCH FROM CAST({time} AS TIMESTAMPTZ))) AS BIGINT)"

    def label(self, column: str) -> str:
        name = f"lower({column})" if self.sqlite else f'lower({column} COLLATE "C")'
        for between in (" ", "-", "_", "."):
            name = f"replace({name}, '{between}', '')"
        return name


_CAPACITY = (
    "layers.source, layers.provider, layers.project_key, layers.key AS layer_key, "
    "layers.name AS layer_name, layers.randomization_unit, layers.layer_id"
)
_RESERVED = {
    True: f"""
SELECT {_CAPACITY}, environment.key AS environment_key,
       json_array_length(environment.value, '$.reservations') AS experiments,
       (SELECT SUM(json_extract(value, '$.reservationPercent'))
        FROM json_each(environment.value, '$.reservations')) AS used, environment.value AS reserved
FROM layers_closed AS layers JOIN json_each(layers.raw, '$.environments') AS environment
WHERE layers.provider = 'launchdarkly'
  AND json_array_length(environment.value, '$.reservations') > 0""",
    False: f"""
SELECT {_CAPACITY}, environment.key AS environment_key,
       jsonb_array_length(environment.value -> 'reservations') AS experiments,
       (SELECT SUM(CAST(value ->> 'reservationPercent' AS NUMERIC))
        FROM jsonb_array_elements(environment.value -> 'reservations')) AS used,
       environment.value AS reserved
FROM layers_closed AS layers
CROSS JOIN LATERAL jsonb_each(
  CASE WHEN layers.provider = 'launchdarkly' THEN layers.raw -> 'environments' END
) AS environment (key, value)
WHERE CASE jsonb_typeof(environment.value -> 'reservations')
        WHEN 'array' THEN jsonb_array_length(environment.value -> 'reservations')
      END > 0""",
}
"""Of a closed version the payload tells what was reserved; by whether it is SQLite."""


def _layer_capacity(words: _Words) -> str:
    then = f"UNION ALL {_RESERVED[words.sqlite]}" if words.past else ""
    return f"""
SELECT source, provider, project_key, layer_key, layer_name, randomization_unit, environment_key,
       CAST(experiments AS BIGINT) AS experiments, CAST(used AS BIGINT) AS used_percent,
       CAST(100 - used AS BIGINT) AS free_percent, used > 100 AS over_booked, layer_id, reserved
FROM (
  SELECT {_CAPACITY}, used.environment_key, used.experiments, used.used,
         CAST(NULL AS {"TEXT" if words.sqlite else "JSONB"}) AS reserved
  FROM (
    SELECT layer_id, environment_key, COUNT(*) AS experiments, SUM(reservation_percent) AS used
    FROM layer_reservations WHERE NOT is_deleted GROUP BY layer_id, environment_key
  ) AS used JOIN layers_still AS layers ON layers.layer_id = used.layer_id
  {then}
) AS every_row"""


def _experiment_keys(words: _Words) -> str:
    """Those of a row of _layer_capacity."""
    still = (
        "SELECT experiment_key AS text FROM layer_reservations AS those WHERE NOT is_deleted "
        "AND those.layer_id = picked.layer_id AND those.environment_key = picked.environment_key"
    )
    then = (
        "SELECT json_extract(value, '$.experimentKey') AS text "
        "FROM json_each(picked.reserved, '$.reservations')"
        if words.sqlite
        else "SELECT value ->> 'experimentKey' AS text "
        "FROM jsonb_array_elements(picked.reserved -> 'reservations')"
    )
    return (
        f"CASE WHEN picked.reserved IS NULL THEN {words.listed(still)} "
        f"ELSE {words.listed(then)} END"
    )


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


def _layers_without_experiments(words: _Words) -> str:
    columns = (
        "layers.source, layers.provider, layers.project_key, layers.key AS layer_key, "
        "layers.name AS layer_name, layers.randomization_unit, layers.provider_created_at, "
        "layers.first_seen_at, layers.changed_at, layers.layer_id"
    )
    reserved = (
        "EXISTS (SELECT 1 FROM json_each(layers.raw, '$.environments') AS environment "
        "WHERE json_array_length(environment.value, '$.reservations') > 0)"
        if words.sqlite
        else "jsonb_path_exists(layers.raw, '$.environments.*.reservations[*].experimentKey')"
    )
    return f"""
SELECT {columns} FROM layers_still AS layers
WHERE layers.provider = 'launchdarkly' AND NOT EXISTS (
  SELECT 1 FROM layer_reservations AS those
  WHERE those.layer_id = layers.layer_id AND NOT those.is_deleted
)
UNION ALL SELECT {columns} FROM layers_closed AS layers
WHERE layers.provider = 'launchdarkly' AND NOT {reserved}"""


def _implicit_layers(words: _Words) -> str:
    number = (
        "json_array_length(layers.raw, '$.parameters')"
        if words.sqlite
        else "jsonb_array_length(layers.raw -> 'parameters')"
    )
    still = (
        "SELECT COUNT(*) FROM layer_parameters AS parts "
        "WHERE parts.layer_id = layers.layer_id AND NOT parts.is_deleted"
    )
    halves = [
        f"""
SELECT layers.source, layers.provider, layers.project_key, layers.key AS layer_key,
       layers.name AS layer_name,
       COALESCE(layers.created_by_email, layers.created_by_name, layers.created_by_id)
         AS created_by,
       layers.provider_created_at, layers.provider_updated_at, layers.first_seen_at,
       {parameters} AS parameters, layers.layer_id
FROM layers_{half} AS layers WHERE layers.is_implicit"""
        for half, parameters in (("still", f"({still})"), ("closed", f"COALESCE({number}, 0)"))
    ]
    return " UNION ALL ".join(halves)


def _holdout_usage(words: _Words) -> str:
    """Partitions do not begin with the source: SQLite would read all rows by its index on that."""
    return f"""
SELECT layers.source, layers.provider, layers.project_key, holdout.value AS holdout_id,
       layers.key AS layer_key, layers.name AS layer_name, layers.is_implicit,
       COUNT(*) OVER (PARTITION BY holdout.value, layers.source, layers.project_key) AS layers,
       layers.layer_id
FROM layers_then AS layers {words.each("layers.holdout_ids", "holdout")}
WHERE layers.holdout_ids <> '[]'"""


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

LATE = MappingProxyType({"layer_capacity": {"experiment_keys": _experiment_keys}})
"""Columns that are made for the rows that are picked, not for all."""

SOONER = frozenset({"layer_capacity", "holdout_usage"})
"""Reports whose first rows are found sooner like this than by the view, now too."""

_TABLES = re.compile(r"\b(projects|environments|layers)_(then|ever|still|closed)\b")


def rows(
    view: FromClause, name: str, moment: datetime | None, *, sqlite: bool, pick: Pick = select
) -> Subquery:
    """What the view of that name would have shown at a moment, with the view's columns.

    pick: which of the rows, and how many. Without a moment: what it shows now.
    """
    words = _Words(sqlite, moment is not None)
    query, late = QUERIES[name](words), LATE.get(name, {})
    columns: dict[str, Any] = {one.name: one.type for one in view.c if one.name not in late}
    if late:
        columns["reserved"] = Document
    moments = [bindparam("moment", moment, UtcDateTime())] if ":moment" in query else []
    ctes = [_cte(table, kind, moment) for table, kind in sorted(set(_TABLES.findall(query)))]
    found = text(query).bindparams(*moments).columns(**columns).add_cte(*ctes).subquery("found")
    picked = pick(found).subquery("picked")
    shown = [
        literal_column(late[one.name](words), one.type).label(one.name)
        if one.name in late
        else picked.c[one.name]
        for one in view.c
    ]
    return select(*shown).select_from(picked).subquery(name)


def _cte(table: str, kind: str, moment: datetime | None) -> CTE:
    """then: the live rows; ever: the deleted, too; still, closed: the halves of the live ones."""
    if kind in ("then", "ever"):
        return select(as_of.rows(table, moment, deleted=kind == "ever")).cte(f"{table}_{kind}")
    half = as_of.halves(table, moment)[("still", "closed").index(kind)].subquery(table)
    return select(half).where(~half.c.is_deleted).cte(f"{table}_{kind}")
