"""Add rewind."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Apply."""
    with op.batch_alter_table("retrieval", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column("rewound", sa.Boolean(), server_default=sa.false(), nullable=False)
        )
