"""``IN`` for many values: they go as one parameter, so that the statement is always the same.

With a parameter for each, SQLAlchemy writes and the database reads a statement of its own for every
number of values; for hundreds of them that takes longer than finding the rows.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from pydantic_core import to_json
from sqlalchemy import ARRAY, String, any_, func, literal
from sqlmodel import Session, select


def among(session: Session, column: Any, values: Collection[str]) -> Any:
    """Whether ``column``, a text, is one of ``values``."""
    if session.get_bind().dialect.name == "sqlite":
        each = func.json_each(to_json(list(values)).decode()).table_valued("value")
        return column.in_(select(each.c.value))
    return column == any_(literal(list(values), ARRAY(String)))
