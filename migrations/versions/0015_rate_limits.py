"""The rate limits that a provider grants to a key, and when it said so."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from etl.db.types import UtcDateTime

revision: str = "0015"
down_revision: str | None = "0014"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("rate_budgets", sa.Column("rate_limits", sa.Text()))
    op.add_column("rate_budgets", sa.Column("limits_read_at", UtcDateTime()))


def downgrade() -> None:
    op.drop_column("rate_budgets", "limits_read_at")
    op.drop_column("rate_budgets", "rate_limits")
