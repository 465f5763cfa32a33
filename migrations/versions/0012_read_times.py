"""Freshness is the time of the oldest read; a run that was abandoned keeps how it ended."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0012"
down_revision: str | None = "0011"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# Of earlier runs only the start is known: no read was older. What a dump or a plan brought was
# read before its run began.
READ_BEFORE = """
UPDATE run_streams SET oldest_read_at = (
  SELECT CASE WHEN runs.observed_at < runs.started_at THEN runs.observed_at
         ELSE runs.started_at END
  FROM runs WHERE runs.run_id = run_streams.run_id
)
WHERE complete AND parent_id = ''
"""

# A backfill of a part says nothing of the whole stream, so it counts only when nothing else ran.
# tests/integration/test_backfill.py holds this to etl.history.runs.freshness.
PART = "CASE WHEN runs.kind = 'backfill' AND NOT run_streams.complete THEN 1 ELSE 0 END"
SAME = "runs.source = every.source AND runs.provider = every.provider"


def source_freshness(dialect: str) -> str:
    now = "CURRENT_TIMESTAMP" if dialect == "postgresql" else "strftime('%Y-%m-%d %H:%M:%f', 'now')"
    # subqueries, as SQLite tells the type of a column of them, and of no MAX
    return f"""
SELECT every.source, every.provider, every.stream,
       (SELECT run_streams.oldest_read_at
        FROM runs JOIN run_streams ON run_streams.run_id = runs.run_id
        WHERE {SAME} AND runs.kind <> 'dry_run' AND runs.observed_at IS NOT NULL
          AND run_streams.stream = every.stream AND run_streams.parent_id = ''
          AND run_streams.complete AND run_streams.oldest_read_at <= {now}
        ORDER BY run_streams.oldest_read_at DESC LIMIT 1) AS last_complete_at,
       (SELECT runs.observed_at
        FROM runs JOIN run_streams ON run_streams.run_id = runs.run_id
        WHERE {SAME} AND runs.kind <> 'dry_run' AND runs.observed_at IS NOT NULL
          AND run_streams.stream = every.stream AND run_streams.parent_id = ''
          AND {PART} = every.part
        ORDER BY runs.observed_at DESC LIMIT 1) AS last_merged_at,
       (SELECT runs.started_at FROM runs WHERE runs.run_id = every.last_run_id) AS last_started_at,
       every.last_run_id
FROM (
  SELECT source, provider, stream, part, MAX(run_id) AS last_run_id
  FROM (
    SELECT runs.source, runs.provider, run_streams.stream, runs.run_id, {PART} AS part,
           MIN({PART}) OVER (PARTITION BY runs.source, runs.provider, run_streams.stream)
             AS only_parts
    FROM runs JOIN run_streams ON run_streams.run_id = runs.run_id AND run_streams.parent_id = ''
    WHERE runs.kind <> 'dry_run'
  ) AS every_run
  WHERE part = only_parts
  GROUP BY source, provider, stream, part
) AS every
"""


BY_MERGES = f"""
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


def upgrade() -> None:
    op.add_column("run_streams", sa.Column("oldest_read_at", sa.DateTime(timezone=True)))
    op.add_column("runs", sa.Column("abandoned_at", sa.DateTime(timezone=True)))
    op.execute(READ_BEFORE)
    op.execute("UPDATE runs SET abandoned_at = finished_at WHERE status = 'aborted'")
    _replace(source_freshness(op.get_bind().dialect.name))


def downgrade() -> None:
    op.execute("UPDATE runs SET status = 'aborted' WHERE abandoned_at IS NOT NULL")
    _replace(BY_MERGES)
    op.drop_column("runs", "abandoned_at")
    op.drop_column("run_streams", "oldest_read_at")


def _replace(query: str) -> None:
    """On PostgreSQL the rights that were given on the view stay."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute(f"CREATE OR REPLACE VIEW source_freshness AS {query}")
        return
    op.execute("DROP VIEW source_freshness")
    op.execute(f"CREATE VIEW source_freshness AS {query}")
