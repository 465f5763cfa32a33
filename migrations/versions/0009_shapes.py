"""Of how many records a field vanished or changed its type; both are noted when it happens."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0009"
down_revision: str | None = "0008"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("schema_drift", sa.Column("records", sa.BigInteger()))


def downgrade() -> None:
    op.execute("DELETE FROM schema_drift WHERE type IN ('vanished', 'retyped')")
    op.drop_column("schema_drift", "records")
