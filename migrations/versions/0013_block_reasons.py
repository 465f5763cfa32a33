"""Why a provider refuses requests for now: the words of the refusal, beside its end."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0013"
down_revision: str | None = "0012"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("rate_budgets", sa.Column("blocked_reason", sa.Text()))


def downgrade() -> None:
    op.drop_column("rate_budgets", "blocked_reason")
