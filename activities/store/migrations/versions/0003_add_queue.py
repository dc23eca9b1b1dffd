"""Add queue."""

import sqlalchemy as sa
from alembic import op

from models.tables.columns import UtcDateTime

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "sending_slot",
        sa.Column("scope", sa.String(length=320), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("owner", sa.String(length=64), nullable=False),
        sa.Column("leased_until", UtcDateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("scope", "number"),
    )
    op.create_table(
        "slow_down",
        sa.Column("scope", sa.String(length=320), nullable=False),
        sa.Column("until", UtcDateTime(timezone=True), nullable=False),
        sa.Column("strikes", sa.Integer(), nullable=False),
        sa.Column("code", sa.Integer(), nullable=True),
        sa.Column("enhanced_code", sa.String(length=16), nullable=True),
        sa.PrimaryKeyConstraint("scope"),
    )
    with op.batch_alter_table("delivery", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column("queued", sa.Boolean(), server_default=sa.false(), nullable=False)
        )
        batch_op.add_column(sa.Column("priority", sa.Integer(), server_default="3", nullable=False))
        batch_op.add_column(sa.Column("max_attempts", sa.Integer(), nullable=True))
        batch_op.add_column(sa.Column("give_up_at", UtcDateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("expires_at", UtcDateTime(timezone=True), nullable=True))
        batch_op.add_column(
            sa.Column(
                "unknown_policy", sa.String(length=16), server_default="verify", nullable=False
            )
        )
        batch_op.add_column(sa.Column("leased_until", UtcDateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("held_reason", sa.String(length=64), nullable=True))
        batch_op.add_column(sa.Column("verify_at", UtcDateTime(timezone=True), nullable=True))
        batch_op.add_column(
            sa.Column("verifications", sa.Integer(), server_default="0", nullable=False)
        )
        batch_op.add_column(sa.Column("tell_at", UtcDateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("sent_copy", sa.String(length=16), nullable=True))
        batch_op.add_column(sa.Column("dsn", sa.JSON(), nullable=True))
        batch_op.create_index(
            "ix_delivery_queue",
            ["account_id", "queued", "state", "priority", "next_attempt_at"],
            unique=False,
        )
        # The queue's index and the unique one begin with the account.
        batch_op.drop_index("ix_delivery_account_id")
        batch_op.drop_index("ix_delivery_next_attempt_at")
        for column in ("next_attempt_at", "tell_at", "verify_at"):
            rows = sa.text(f"{column} IS NOT NULL")
            batch_op.create_index(
                f"ix_delivery_{column}", [column], sqlite_where=rows, postgresql_where=rows
            )

    with op.batch_alter_table("email_account", schema=None) as batch_op:
        batch_op.add_column(sa.Column("paused_at", UtcDateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("parked_at", UtcDateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("parked_reason", sa.String(length=64), nullable=True))

    with op.batch_alter_table("message", schema=None) as batch_op:
        batch_op.add_column(sa.Column("callbacks", sa.JSON(), nullable=True))
        batch_op.drop_index("ix_message_account_id")
