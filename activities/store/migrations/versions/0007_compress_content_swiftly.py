"""Compress content by lz4 in PostgreSQL.

Its own method takes several times as long to store a mail. A server that is older than 14, or built
without lz4, keeps it.
"""

from alembic import op

revision = "0007"
down_revision = "0005"


def upgrade() -> None:
    """Apply."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            """
            DO $$ BEGIN
              EXECUTE 'ALTER TABLE content ALTER COLUMN data SET COMPRESSION lz4';
            EXCEPTION WHEN feature_not_supported OR syntax_error THEN NULL;
            END $$
            """
        )
