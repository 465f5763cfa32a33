"""Open causes of notices: `notices`."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision: str = "0007"
down_revision: str | None = "0006"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

DOCUMENT = (  # on SQLite JSON is TEXT, see 0001
    sa.JSON(none_as_null=True)
    .with_variant(JSONB(none_as_null=True), "postgresql")
    .with_variant(sa.Text(), "sqlite")
)
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "notices",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("first_seen_at", TIME, nullable=False),
        sa.Column("last_seen_at", TIME, nullable=False),
        sa.Column("notified_at", TIME),
        sa.Column("ended_at", TIME),
        sa.Column("told", DOCUMENT, nullable=False),
        sa.Column("recovered", DOCUMENT, nullable=False),
        sa.Column("claimed_until", TIME),
        sa.PrimaryKeyConstraint("kind", "source", "detail", name=op.f("pk_notices")),
    )


def downgrade() -> None:
    op.drop_table("notices")
