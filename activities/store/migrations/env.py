"""Alembic environment: always run on a connection that ``migrate`` (or a test) hands in."""

from alembic import context
from sqlmodel import SQLModel

import models.tables  # noqa: F401 - registers the tables

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=SQLModel.metadata,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
