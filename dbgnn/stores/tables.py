"""The tables that the stores write: made, marked as their own, rewritten in place. One transaction a write.

DuckDB moves a row to a new rowid when an array column of it is updated, and edge ids are ranks by rowid. So an
array column is written by replacing the table by a new one with its rows in the same order, where that loses nothing
(key, index, default), and by UPDATE where a key identifies the rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from dbgnn import schema
from dbgnn.errors import SchemaError
from dbgnn.ingest.while_writing import write_settings
from dbgnn.schema import TableName
from dbgnn.sql import literal, quote

#: Comments that mark what is ours to replace: edges put by `put_edge_index`, and nodes counted from edges.
EDGES_PUT = "Edges put by dbgnn's put_edge_index"
NODES_COUNTED = "Nodes counted by dbgnn from the edges put; their number may still grow"

#: The Arrow table registered for a write.
VALUES = "dbgnn_values"


def one(con: duckdb.DuckDBPyConnection, query: str, params: Sequence[object] | Mapping[str, object] | None = None) -> Any:
    """Return the first value of the first row of a query; None if it has no row."""
    rows = con.execute(query, params).fetchall()
    return rows[0][0] if rows else None


@contextmanager
def writing_uncompressed(con: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Keep rows in order, and store arrays uncompressed, while the block writes; then restore the settings.

    DuckDB's own choice for FLOAT arrays is a tenth smaller and 3 × slower to gather. It is made when row groups
    are written out, so we checkpoint before the setting goes back; should another transaction forbid that, the rows
    still in the write-ahead log are compressed later, which costs time and nothing else. (So does a locked configuration.)
    """
    with write_settings(con, uncompressed=True):
        yield
        with suppress(duckdb.TransactionException, duckdb.InvalidInputException):
            con.execute("CHECKPOINT")


@contextmanager
def lending_transaction(con: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Run the block in one transaction, and take back what it lent (`lend`) afterwards: an aborted transaction forbids it."""
    try:
        with schema.transaction(con):
            yield
    finally:
        con.complete()
        con.unregister(VALUES)


def lend(con: duckdb.DuckDBPyConnection, table: pa.Table) -> None:
    """Register ``table`` under the name `VALUES` until the end of the `lending_transaction`, or until the next one is lent."""
    con.complete()  # a fetchone() leaves its result open, and DuckDB then refuses to register
    con.register(VALUES, table)


def free_name(con: duckdb.DuckDBPyConnection, wanted: str) -> TableName:
    """Return ``wanted``, or the first of ``wanted_2``, ``wanted_3`` … that no table or view has."""
    base = wanted or "_"
    name, n = base, 1
    while is_taken(con, name):
        n += 1
        name = f"{base}_{n}"
    return TableName(name, current_schema(con))


def is_taken(con: duckdb.DuckDBPyConnection, name: str) -> bool:
    """Whether a table or view of the current schema has this name, in any case."""
    found = one(
        con,
        "SELECT 1 FROM information_schema.tables WHERE table_catalog = current_database() "
        "AND table_schema = current_schema() AND lower(table_name) = lower(?)",
        [name],
    )
    return found is not None


def current_schema(con: duckdb.DuckDBPyConnection) -> str:
    """Return the schema in which new tables are made."""
    return str(one(con, "SELECT current_schema()"))


def comment_of(con: duckdb.DuckDBPyConnection, table: TableName) -> str | None:
    """Return the comment on a table."""
    query = (
        "SELECT comment FROM duckdb_tables() WHERE database_name = current_database() AND schema_name = ? AND table_name = ?"
    )
    found: str | None = one(con, query, [table.schema, table.name])
    return found


def set_comment(con: duckdb.DuckDBPyConnection, table: TableName, comment: str | None) -> None:
    """Set or take away the comment on a table."""
    con.execute(f"COMMENT ON TABLE {table.sql} IS {'NULL' if comment is None else literal(comment)}")


def bound_by(con: duckdb.DuckDBPyConnection, table: TableName) -> str | None:
    """Return what a new table in place of this one would lack, such as ``"a PRIMARY KEY constraint"``; None if nothing."""
    found: str | None = one(
        con,
        """SELECT coalesce(
          (SELECT 'a ' || constraint_type || ' constraint' FROM duckdb_constraints()
           WHERE database_name = current_database() AND schema_name = $s AND table_name = $t LIMIT 1),
          (SELECT 'the index ' || index_name FROM duckdb_indexes()
           WHERE database_name = current_database() AND schema_name = $s AND table_name = $t LIMIT 1),
          (SELECT 'a default or generated value of column ' || column_name FROM duckdb_columns()
           WHERE database_name = current_database() AND schema_name = $s AND table_name = $t
             AND column_default IS NOT NULL LIMIT 1),
          (SELECT 'a trigger' FROM duckdb_triggers()
           WHERE database_name = current_database() AND schema_name = $s AND table_name = $t LIMIT 1))""",
        {"s": table.schema, "t": table.name},
    )
    return found


def remake(con: duckdb.DuckDBPyConnection, table: TableName, query: str) -> None:
    """Put the rows of ``query``, in its order, in the place of a table that nothing binds (`bound_by`); comments stay."""
    comment = comment_of(con, table)
    of_columns = con.execute(
        "SELECT column_name, comment FROM duckdb_columns() WHERE database_name = current_database() AND schema_name = ? "
        "AND table_name = ? AND comment IS NOT NULL",
        [table.schema, table.name],
    ).fetchall()
    fresh = TableName(free_name(con, f"{table.name}_dbgnn_new").name, table.schema)
    con.execute(f"CREATE TABLE {fresh.sql} AS {query}")
    con.execute(f"DROP TABLE {table.sql}")
    con.execute(f"ALTER TABLE {fresh.sql} RENAME TO {quote(table.name)}")
    if comment is not None:
        set_comment(con, table, comment)
    for name, text in of_columns:
        con.execute(f"COMMENT ON COLUMN {table.sql}.{quote(name)} IS {literal(text)}")


def check_new_column(table: TableName, column: str, known: Iterable[str]) -> None:
    """Raise if DuckDB, for which case makes no other name, has the column under another spelling."""
    twins = [name for name in known if name.lower() == column.lower() and name != column]
    if twins:
        raise SchemaError(
            f"Table {str(table)!r} has a column {twins[0]!r}; DuckDB takes it for {column!r}. Use one "
            "spelling, or another name."
        )


def create_nodes(con: duckdb.DuckDBPyConnection, table: TableName, key: str, count: int, comment: str | None) -> None:
    """Create a vertex table with the key 0 … count - 1."""
    con.execute(f"CREATE TABLE {table.sql} ({quote(key)} BIGINT)")
    add_nodes(con, table, key, 0, count)
    if comment is not None:
        set_comment(con, table, comment)


def add_nodes(con: duckdb.DuckDBPyConnection, table: TableName, key: str, start: int, stop: int) -> None:
    """Append nodes with the keys start … stop - 1."""
    lend(con, pa.table({"id": np.arange(start, stop)}))
    con.execute(f"INSERT INTO {table.sql} ({quote(key)}) SELECT id FROM {VALUES}")
