"""The past by index, and of parameters and reservations too: views over the payloads of layers."""

from collections.abc import Sequence

from alembic import op

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

HISTORIES = ("project_history", "environment_history", "layer_history")

# The same rows as the providers' own functions make of a payload; tests/integration/test_asof.py
# holds them together. On SQLite a JSON value is cut out of a list of two of it, because ->
# came with 3.38 only and json_extract would make SQL values of texts and rounded ones of numbers.
PARAMETERS = {
    "sqlite": """
SELECT layers.layer_id, layers.source, layers.provider,
       json_extract(part.value, '$.name') AS external_id,
       json_extract(part.value, '$.name') AS key, json_extract(part.value, '$.name') AS name,
       json_extract(part.value, '$.type') AS type,
       substr(json_extract(part.value, '$.defaultValue', '$.defaultValue'), 2,
              (length(json_extract(part.value, '$.defaultValue', '$.defaultValue')) - 3) / 2)
         AS default_value,
       part.key AS position, part.value AS raw, layers.version, layers.valid_from, layers.valid_to
FROM layer_history AS layers JOIN json_each(layers.raw, '$.parameters') AS part
WHERE layers.provider = 'statsig' AND NOT layers.is_deleted
""",
    "postgresql": """
SELECT layers.layer_id, layers.source, layers.provider,
       part.value ->> 'name' AS external_id, part.value ->> 'name' AS key,
       part.value ->> 'name' AS name, part.value ->> 'type' AS type,
       part.value -> 'defaultValue' AS default_value,
       CAST(part.place - 1 AS INTEGER) AS position, part.value AS raw,
       layers.version, layers.valid_from, layers.valid_to
FROM layer_history AS layers
CROSS JOIN LATERAL jsonb_array_elements(
  CASE WHEN layers.provider = 'statsig' THEN layers.raw -> 'parameters' END
) WITH ORDINALITY AS part (value, place)
WHERE NOT layers.is_deleted
""",
}

RESERVATIONS = {
    "sqlite": """
SELECT layers.layer_id, layers.source, layers.provider,
       '[' || json_quote(environment.key)
         || ', ' || json_quote(json_extract(part.value, '$.experimentKey'))
         || ', ' || json_quote(json_extract(part.value, '$.flagKey')) || ']' AS external_id,
       json_extract(part.value, '$.experimentKey') AS key,
       json_extract(part.value, '$.experimentKey') AS name,
       environment.key AS environment_key,
       json_extract(part.value, '$.experimentKey') AS experiment_key,
       json_extract(part.value, '$.flagKey') AS flag_key,
       json_extract(part.value, '$.reservationPercent') AS reservation_percent,
       part.value AS raw, layers.version, layers.valid_from, layers.valid_to
FROM layer_history AS layers
JOIN json_each(layers.raw, '$.environments') AS environment
JOIN json_each(environment.value, '$.reservations') AS part
WHERE layers.provider = 'launchdarkly' AND NOT layers.is_deleted
""",
    "postgresql": """
SELECT layers.layer_id, layers.source, layers.provider,
       '[' || CAST(to_jsonb(environment.key) AS TEXT)
         || ', ' || CAST(part.value -> 'experimentKey' AS TEXT)
         || ', ' || CAST(part.value -> 'flagKey' AS TEXT) || ']' AS external_id,
       part.value ->> 'experimentKey' AS key, part.value ->> 'experimentKey' AS name,
       environment.key AS environment_key,
       part.value ->> 'experimentKey' AS experiment_key, part.value ->> 'flagKey' AS flag_key,
       CAST(CAST(part.value ->> 'reservationPercent' AS NUMERIC) AS BIGINT)
         AS reservation_percent,
       part.value AS raw, layers.version, layers.valid_from, layers.valid_to
FROM layer_history AS layers
CROSS JOIN LATERAL jsonb_each(
  CASE WHEN layers.provider = 'launchdarkly' THEN layers.raw -> 'environments' END
) AS environment (key, value)
CROSS JOIN LATERAL jsonb_array_elements(environment.value -> 'reservations') AS part (value)
WHERE NOT layers.is_deleted
""",
}

CONTENT = {
    "layer_parameter": "type, default_value, position",
    "layer_reservation": "environment_key, experiment_key, flag_key, reservation_percent",
}
HISTORY = {"layer_parameter": PARAMETERS, "layer_reservation": RESERVATIONS}


def versions(singular: str) -> str:
    """Those of every version of their layer: half-open intervals, the last one open."""
    columns = f"source, provider, external_id, key, name, {CONTENT[singular]}, raw"
    present = ", ".join(f"parts.{name}" for name in columns.split(", "))
    return (
        f"SELECT layer_id, {columns}, version, valid_from, valid_to FROM {singular}_history "
        f"UNION ALL SELECT parts.layer_id, {present}, layers.version, layers.changed_at, NULL "
        f"FROM {singular}s AS parts JOIN layers ON layers.layer_id = parts.layer_id "
        f"WHERE NOT parts.is_deleted"
    )


def upgrade() -> None:
    for table in HISTORIES:
        op.drop_index(op.f(f"ix_{table}_valid_from"), table_name=table)
        op.create_index(op.f(f"ix_{table}_valid_to_valid_from"), table, ["valid_to", "valid_from"])
    dialect = op.get_bind().dialect.name
    for singular, queries in HISTORY.items():
        op.execute(f"CREATE VIEW {singular}_history AS {queries[dialect]}")
        op.execute(f"CREATE VIEW {singular}_versions AS {versions(singular)}")


def downgrade() -> None:
    for singular in reversed(HISTORY):
        op.execute(f"DROP VIEW {singular}_versions")
        op.execute(f"DROP VIEW {singular}_history")
    for table in reversed(HISTORIES):
        op.drop_index(op.f(f"ix_{table}_valid_to_valid_from"), table_name=table)
        op.create_index(op.f(f"ix_{table}_valid_from"), table, ["valid_from"])
