"""What kind of run holds a lease: a backfill makes way for the others."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0008"
down_revision: str | None = "0007"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    kind = sa.Column("kind", sa.Text(), nullable=False, server_default="sync")
    op.add_column("leases", kind)


def downgrade() -> None:
    op.drop_column("leases", "kind")
