"""A rotation is a change from one key to another, not a key that is hidden or shown again."""

from collections.abc import Sequence

from alembic import op
from sqlalchemy import text

revision: str = "0016"
down_revision: str | None = "0015"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

ANY_CHANGE = "change_fields.path IN ('apiKey', 'mobileKey')"
VISIBLE = (
    " AND CAST(change_fields.old_value AS TEXT) LIKE '\"fp:%'"
    " AND CAST(change_fields.new_value AS TEXT) LIKE '\"fp:%'"
)
ON_POSTGRES = """
SELECT changes.observed_at, changes.source, changes.provider, changes.project_key,
       changes.key AS environment_key,
       CASE change_fields.path WHEN 'apiKey' THEN 'sdk' ELSE 'mobile' END AS kind,
       change_fields.old_value #>> '{}' AS old_fingerprint,
       change_fields.new_value #>> '{}' AS new_fingerprint,
       changes.run_id, changes.change_id
FROM changes JOIN change_fields ON change_fields.change_id = changes.change_id
WHERE changes.stream = 'environments' AND """


def upgrade() -> None:
    set_condition(ANY_CHANGE, ANY_CHANGE + VISIBLE)


def downgrade() -> None:
    set_condition(ANY_CHANGE + VISIBLE, ANY_CHANGE)


def set_condition(before: str, after: str) -> None:
    if op.get_bind().dialect.name != "sqlite":
        op.execute(f"CREATE OR REPLACE VIEW key_rotations AS {ON_POSTGRES}{after}")
        return
    query = text("SELECT sql FROM sqlite_master WHERE type = 'view' AND name = 'key_rotations'")
    found: str = op.get_bind().execute(query).scalar_one()
    op.execute("DROP VIEW key_rotations")
    op.execute(found.replace(before, after))
