"""The proof of every single list of a run: `run_streams.walks`."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

DOCUMENT = (  # on SQLite JSON is TEXT, see 0001
    sa.JSON(none_as_null=True)
    .with_variant(JSONB(none_as_null=True), "postgresql")
    .with_variant(sa.Text(), "sqlite")
)


def upgrade() -> None:
    op.add_column("run_streams", sa.Column("walks", DOCUMENT))


def downgrade() -> None:
    op.drop_column("run_streams", "walks")
