"""Pruning: `horizons`, from when on a history is whole, and indexes to find what names a run."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


NAME_A_RUN = (
    *("project_history", "environment_history", "layer_history"),
    *("layer_parameters", "layer_reservations", "rejects"),
)


def upgrade() -> None:
    op.create_table(
        "horizons",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("known_since", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("source", name=op.f("pk_horizons")),
    )
    for table in NAME_A_RUN:
        op.create_index(op.f(f"ix_{table}_run_id"), table, ["run_id"])


def downgrade() -> None:
    for table in reversed(NAME_A_RUN):
        op.drop_index(op.f(f"ix_{table}_run_id"), table_name=table)
    op.drop_table("horizons")
