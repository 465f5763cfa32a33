"""An index of the deleted rows, so that the live ones are counted without reading them."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0011"
down_revision: str | None = "0010"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

STREAMS = ("projects", "environments", "layers")


def upgrade() -> None:
    deleted = sa.text("deleted_at IS NOT NULL")
    for stream in STREAMS:
        op.create_index(
            f"ix_{stream}_tombstones",
            stream,
            ["source", "parent_id", "deleted_at"],
            sqlite_where=deleted,
            postgresql_where=deleted,
        )


def downgrade() -> None:
    for stream in STREAMS:
        op.drop_index(f"ix_{stream}_tombstones", stream)
