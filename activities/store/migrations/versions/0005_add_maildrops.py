"""Add maildrops."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0003"


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "maildrop",
        sa.Column("account_id", sa.String(length=64), nullable=False),
        sa.Column("uid_validity", sa.BigInteger(), nullable=False),
        sa.Column("uid_next", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["email_account.id"]),
        sa.PrimaryKeyConstraint("account_id", "uid_validity"),
    )
    op.create_table(
        "uidl",
        sa.Column("account_id", sa.String(length=64), nullable=False),
        sa.Column("uid_validity", sa.BigInteger(), nullable=False),
        sa.Column("uid", sa.BigInteger(), nullable=False),
        sa.Column("uidl", sa.String(length=255), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["email_account.id"]),
        sa.PrimaryKeyConstraint("account_id", "uid_validity", "uid"),
    )
