"""Statements for many rows at once, as each database takes them fastest.

SQLite runs one prepared statement row by row, within the process. To PostgreSQL all rows go as one
array for each column, in one statement: a group of mails then costs what a single one does. The
text is made once, and SQLAlchemy's own road (a statement object, a cache key, a context) is left
out: for a group of ten rows it takes longer than the database.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from sqlalchemy import Connection, CursorResult, Dialect, Table
from sqlalchemy.types import String, TypeEngine
from sqlmodel import SQLModel

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A statement in the words of one database."""

    text: str
    bind: tuple[tuple[str, Callable[[Any], Any] | None], ...]
    """Parameters in their order, each with what makes a value fit for the driver."""
    in_columns: bool

    def values(self, rows: Sequence[Row]) -> list[Any]:
        """What the driver gets: a column's values for each parameter, or a tuple for each row."""
        if self.in_columns:
            return [
                [row[name] if fit is None else fit(row[name]) for row in rows]
                for name, fit in self.bind
            ]
        return [
            tuple(row[name] if fit is None else fit(row[name]) for name, fit in self.bind)
            for row in rows
        ]

    def run(self, connection: Connection, rows: Sequence[Row]) -> CursorResult[Any]:
        """Run it for all rows."""
        values = self.values(rows)
        # A tuple is taken for the parameters of one run, a list for many.
        return connection.exec_driver_sql(self.text, tuple(values) if self.in_columns else values)


class Bulk(ABC):
    """Prepares itself once for each kind of database."""

    def __init__(self, types: Mapping[str, TypeEngine[Any]]) -> None:
        self._types = types
        self._prepared: dict[str, Prepared] = {}

    def run(self, connection: Connection, rows: Sequence[Row]) -> int:
        """Run it for all rows; returns how many there were to be changed."""
        return self.prepared(connection.dialect).run(connection, rows).rowcount

    def prepared(self, dialect: Dialect) -> Prepared:
        """The statement for a kind of database."""
        prepared = self._prepared.get(dialect.name)
        if prepared is None:
            prepared = self._prepared[dialect.name] = self._prepare(dialect)
        return prepared

    def _prepare(self, dialect: Dialect) -> Prepared:
        in_columns = dialect.name != "sqlite"
        text, names = self._in_columns(dialect) if in_columns else self._by_row()
        bind = tuple((name, _fitting(self._types[name], dialect)) for name in names)
        return Prepared(text, bind, in_columns)

    @abstractmethod
    def _by_row(self) -> tuple[str, list[str]]:
        """The text for one row after the other, and its parameters in order."""

    @abstractmethod
    def _in_columns(self, dialect: Dialect) -> tuple[str, list[str]]:
        """The text for all rows at once, and its parameters in order."""

    def _unnested(self, dialect: Dialect) -> str:
        """All rows as a table ``v``."""
        arrays = ", ".join(f"%s::{_name(kind, dialect)}[]" for kind in self._types.values())
        return f"unnest({arrays}) AS v ({', '.join(self._types)})"


class BulkUpdate(Bulk):
    """``UPDATE`` of many rows of a table.

    Args:
        model: The table.
        where: Columns that name a row, by parameter.
        changed: Columns that get the parameter of their name.
        kept: Of these, the ones that keep their value when the new one is NULL.
        cleared: Columns that get NULL.
    """

    def __init__(
        self,
        model: type[SQLModel],
        where: Mapping[str, str],
        changed: Sequence[str],
        *,
        kept: Sequence[str] = (),
        cleared: Sequence[str] = (),
    ) -> None:
        self._table = table_of(model)
        self._where, self._changed, self._kept = where, changed, kept
        self._cleared = cleared
        columns = self._table.c
        super().__init__(
            {name: columns[name].type for name in changed}
            | {name: columns[column].type for name, column in where.items()}
        )

    def _by_row(self) -> tuple[str, list[str]]:
        text = self._text(dict.fromkeys(self._changed, "?"), self._table.name)
        where = " AND ".join(f"{column} = ?" for column in self._where.values())
        return f"{text} WHERE {where}", [*self._changed, *self._where]

    def _in_columns(self, dialect: Dialect) -> tuple[str, list[str]]:
        text = self._text({name: f"v.{name}" for name in self._changed}, "t")
        where = " AND ".join(f"t.{column} = v.{name}" for name, column in self._where.items())
        return f"{text} FROM {self._unnested(dialect)} WHERE {where}", list(self._types)

    def _text(self, new: Mapping[str, str], alias: str) -> str:
        sets = [
            f"{name} = coalesce({value}, {alias}.{name})"
            if name in self._kept
            else f"{name} = {value}"
            for name, value in new.items()
        ]
        sets += [f"{name} = NULL" for name in self._cleared]
        name = self._table.name
        return f"UPDATE {name}{'' if alias == name else f' AS {alias}'} SET {', '.join(sets)}"


class BulkInsert(Bulk):
    """``INSERT`` of many rows into a table; every column without a default has to be named."""

    def __init__(self, model: type[SQLModel], columns: Sequence[str]) -> None:
        self._table = table_of(model)
        super().__init__({name: self._table.c[name].type for name in columns})

    def _by_row(self) -> tuple[str, list[str]]:
        values = ", ".join("?" * len(self._types))
        return f"{self._into} VALUES ({values})", list(self._types)

    def _in_columns(self, dialect: Dialect) -> tuple[str, list[str]]:
        names = ", ".join(f"v.{name}" for name in self._types)
        return f"{self._into} SELECT {names} FROM {self._unnested(dialect)}", list(self._types)

    @property
    def _into(self) -> str:
        return f"INSERT INTO {self._table.name} ({', '.join(self._types)})"


class BulkSelect(Bulk):
    """``SELECT`` of one column for many rows of parameters, which it finds in a table ``v``.

    Args:
        types: The parameters' types.
        text: The statement, in words of both databases.
        lock: The table whose rows are locked; writers of SQLite are alone anyway.
    """

    def __init__(self, types: Mapping[str, TypeEngine[Any]], text: str, lock: str) -> None:
        super().__init__(types)
        self._text, self._lock = text, lock

    def found(self, connection: Connection, rows: Sequence[Row]) -> list[Any]:
        """The column's values."""
        prepared = self.prepared(connection.dialect)
        if prepared.in_columns:
            return list(prepared.run(connection, rows).scalars())
        marks = ", ".join([f"({', '.join('?' * len(self._types))})"] * len(rows))
        text = f"WITH v ({', '.join(self._types)}) AS (VALUES {marks}) {prepared.text}"
        return list(
            connection.exec_driver_sql(text, tuple(chain(*prepared.values(rows)))).scalars()
        )

    def _by_row(self) -> tuple[str, list[str]]:
        return self._text, list(self._types)

    def _in_columns(self, dialect: Dialect) -> tuple[str, list[str]]:
        rows = f"WITH v AS (SELECT * FROM {self._unnested(dialect)})"
        return f"{rows} {self._text} FOR UPDATE OF {self._lock}", list(self._types)


def run_together(connection: Connection, work: Sequence[tuple[Bulk, Sequence[Row]]]) -> None:
    """Run statements that touch different rows; PostgreSQL gets them all at once."""
    work = [(bulk, rows) for bulk, rows in work if rows]
    if connection.dialect.name == "sqlite" or len(work) < 2:
        for bulk, rows in work:
            bulk.run(connection, rows)
        return
    texts: list[str] = []
    values: list[list[Any]] = []
    for number, (bulk, rows) in enumerate(work):
        prepared = bulk.prepared(connection.dialect)
        texts.append(f"s{number} AS ({prepared.text})")
        values += prepared.values(rows)
    connection.exec_driver_sql(f"WITH {', '.join(texts)} SELECT 1", tuple(values))


def table_of(model: type[SQLModel]) -> Table:
    """The table of a model."""
    return SQLModel.metadata.tables[str(model.__tablename__)]


def _fitting(kind: TypeEngine[Any], dialect: Dialect) -> Callable[[Any], Any] | None:
    found: Callable[[Any], Any] | None = kind.dialect_impl(dialect).bind_processor(dialect)
    return found


def _name(kind: TypeEngine[Any], dialect: Dialect) -> str:
    # A cast to a type with a length would cut what does not fit, and say nothing.
    return "VARCHAR" if isinstance(kind, String) else kind.compile(dialect=dialect)
