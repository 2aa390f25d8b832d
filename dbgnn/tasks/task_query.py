"""A task's query at hand: judged, bound, its columns named and typed; and run once. What the columns mean is not known here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeAlias

import duckdb
import pyarrow as pa
import xxhash

from dbgnn.errors import DataError, SchemaError, UnknownNameError, near_misses
from dbgnn.open_database import OpenDatabase
from dbgnn.queries.callers_tables import python_tables
from dbgnn.queries.read_only import Params, check_query, described, query_errors
from dbgnn.schema.catalog import folded
from dbgnn.schema.keys import key_types
from dbgnn.sql import quote
from dbgnn.translated import translated

#: What the rows of a task are given as: a query, or the rows themselves.
TaskSource: TypeAlias = str | pa.Table

#: The name under which rows that were given are registered.
_GIVEN = "dbgnn_task"


def task_source(given: object, what: str) -> TaskSource:
    """Return what a task was given as its query or its table.

    Raises:
        SchemaError: It is neither text nor a table that Arrow can read.
    """
    if isinstance(given, (str, pa.Table)):
        return given
    if hasattr(given, "__arrow_c_stream__"):  # pandas, polars, DuckDB's relations and Arrow's readers
        return pa.table(given)
    raise SchemaError(f"{what} takes a SELECT, or its rows as an Arrow or pandas table, not {given!r:.80}.")


@dataclass(frozen=True, slots=True)
class TaskQuery:
    """A query that has been judged; it has not been run.

    Attributes:
        con: Where it runs.
        text: The query.
        params: The values bound to it.
        columns: The SQL types of its columns, by name.
        what: What messages call it.
        source: What the user gave.
    """

    con: duckdb.DuckDBPyConnection
    text: str
    params: Params
    columns: Mapping[str, str]
    what: str
    source: TaskSource

    def find(self, name: object) -> str | None:
        """Return a column as the query spells it, or None."""
        if not isinstance(name, str) or name in self.columns:
            return name if isinstance(name, str) else None
        return next((known for known in self.columns if folded(known) == folded(name)), None)

    def column(self, name: object, argument: str) -> str:
        """Return the column that an argument names.

        Raises:
            UnknownNameError: The query has no such column.
        """
        if (found := self.find(name)) is None:
            raise UnknownNameError(
                f"{argument}={name!r} is no column of the query of {self.what}" + near_misses(str(name), self.columns)
            )
        return found

    def key_types(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return the types of columns with their collations, in the order of the names."""
        with query_errors(self.what, self.text):
            found = key_types(self.con, f"({self.text}\n)", self.columns, names, self.params)
        by_name = dict(zip(dict.fromkeys(names), found, strict=True))
        return tuple(by_name[name] for name in names)

    def read(self, expressions: Mapping[str, str]) -> pa.Table:
        """Run the query, and return expressions over its columns, by name, in the order of its rows."""
        selected = ", ".join(f"{expression} AS {quote(name)}" for name, expression in expressions.items())
        with query_errors(self.what, self.text):
            query = f"SELECT {selected} FROM ({self.text}\n) AS q"
            return self.con.sql(query, params=self.params).to_arrow_table()

    def need_no_null(self, table: pa.Table, name: str, column: str, *, also: str = "") -> None:
        """Raise :class:`DataError` if a column that was read holds NULL.

        Args:
            table: What was read.
            name: The column's name in it.
            column: Its name in the query.
            also: What else became NULL there.
        """
        values = table.column(name)
        if values.null_count:
            finite = f" AND isfinite({quote(column)})" if also else ""
            raise DataError(
                f"Column {column!r} of {self.what} is NULL{also} in {values.null_count:,} of {len(values):,} rows; the first "
                f"is row {values.is_null().to_numpy().argmax()} of the query, counted from 0. Leave them out: "
                f"SELECT * FROM (…) WHERE {quote(column)} IS NOT NULL{finite}."
            )


@contextmanager
def opened(db: OpenDatabase, source: TaskSource, params: Params, what: str) -> Iterator[TaskQuery]:
    """Judge a task's query, and have it at hand while the block runs.

    Args:
        db: The database; the query sees what statements of the user's see in this thread.
        source: The query, or its rows.
        params: Values bound to it.
        what: What messages call the task.

    Raises:
        SqlError: It is not one query that only reads, or cannot be bound.
    """
    con = db.idle_statements(what)
    with translated(db):
        if isinstance(source, pa.Table):
            con.register(_GIVEN, source)
            try:
                yield _described(con, f"SELECT * FROM {_GIVEN}", None, what, source)
            finally:
                con.complete()
                with suppress(duckdb.TransactionException):  # one that failed refuses it, and takes the name along
                    con.unregister(_GIVEN)
            return
        text = check_query(con, source, where=what)
        with python_tables(con, [text]):
            yield _described(con, text, params, what, source)


def _described(con: duckdb.DuckDBPyConnection, text: str, params: Params, what: str, source: TaskSource) -> TaskQuery:
    return TaskQuery(con, text, params, described(con, text, params, where=what), what, source)


def source_fingerprint(source: TaskSource) -> str:
    """Return a checksum of a query's text, or of the columns of a table; its rows are counted where they are read."""
    said: Any = source if isinstance(source, str) else str([(f.name, str(f.type)) for f in source.schema])
    return xxhash.xxh3_64_hexdigest(said.encode())
