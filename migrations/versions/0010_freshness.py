"""`source_freshness` leaves out what `etl status` leaves out: backfills of a part of a stream."""

from collections.abc import Sequence

from alembic import op

revision: str = "0010"
down_revision: str | None = "0009"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# A part says nothing of the whole stream, so it counts only when nothing else ran.
# tests/integration/test_backfill.py holds this to etl.history.runs.freshness.
PART = "CASE WHEN runs.kind = 'backfill' AND NOT run_streams.complete THEN 1 ELSE 0 END"
SOURCE_FRESHNESS = f"""
SELECT source, provider, stream,
       MAX(CASE WHEN complete THEN observed_at END) AS last_complete_at,
       MAX(observed_at) AS last_merged_at, MAX(started_at) AS last_started_at,
       MAX(run_id) AS last_run_id
FROM (
  SELECT runs.source, runs.provider, run_streams.stream, run_streams.complete, runs.observed_at,
         runs.started_at, runs.run_id, {PART} AS part,
         MIN({PART}) OVER (PARTITION BY runs.source, runs.provider, run_streams.stream)
           AS only_parts
  FROM runs JOIN run_streams ON run_streams.run_id = runs.run_id AND run_streams.parent_id = ''
  WHERE runs.kind <> 'dry_run'
) AS every_run
WHERE part = only_parts
GROUP BY source, provider, stream
"""

WITH_PARTS = """
SELECT runs.source, runs.provider, run_streams.stream,
       MAX(CASE WHEN run_streams.complete THEN runs.observed_at END) AS last_complete_at,
       MAX(runs.observed_at) AS last_merged_at,
       MAX(runs.started_at) AS last_started_at,
       MAX(runs.run_id) AS last_run_id
FROM runs JOIN run_streams ON run_streams.run_id = runs.run_id AND run_streams.parent_id = ''
WHERE runs.kind <> 'dry_run'
GROUP BY runs.source, runs.provider, run_streams.stream
"""


def upgrade() -> None:
    _replace(SOURCE_FRESHNESS)


def downgrade() -> None:
    _replace(WITH_PARTS)


def _replace(query: str) -> None:
    """On PostgreSQL the rights that were given on the view stay."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute(f"CREATE OR REPLACE VIEW source_freshness AS {query}")
        return
    op.execute("DROP VIEW source_freshness")
    op.execute(f"CREATE VIEW source_freshness AS {query}")
