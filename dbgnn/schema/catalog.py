"""What DuckDB's catalog says of the current database: tables, columns, primary and foreign keys.

Names are compared as DuckDB compares them, without regard to case, and come back as the catalog spells them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import duckdb

from dbgnn.errors import SchemaError, UnknownNameError, near_misses
from dbgnn.schema.model import TableName

#: The schema in which dbgnn keeps what is its own.
OWN_SCHEMA = "dbgnn"


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """A foreign key: ``columns`` of ``table`` refer to ``target_columns`` of ``target``."""

    table: TableName
    columns: tuple[str, ...]
    target: TableName
    target_columns: tuple[str, ...]


def first_row(con: duckdb.DuckDBPyConnection, query: str, params: object = None) -> tuple[Any, ...] | None:
    """Return the first row of a query that has few, or None.

    Not by ``fetchone()``, which leaves the result open: DuckDB then refuses to register Arrow tables on the connection.
    """
    rows = con.execute(query, params).fetchall()
    return rows[0] if rows else None


def current_database(con: duckdb.DuckDBPyConnection) -> str:
    """Return the name of the database the connection works in."""
    return str(con.execute("SELECT current_database()").fetchall()[0][0])


def tables(con: duckdb.DuckDBPyConnection) -> list[TableName]:
    """Return the user's tables in the current database, without views and dbgnn's own; sorted by schema and name."""
    found = con.execute(
        "SELECT schema_name, table_name FROM duckdb_tables() "
        "WHERE database_name = current_database() AND NOT internal AND schema_name <> ? ORDER BY ALL",
        [OWN_SCHEMA],
    ).fetchall()
    return [TableName(name, schema) for schema, name in found]


def find_table(con: duckdb.DuckDBPyConnection, name: str, schema: str | None = None) -> TableName:
    """Return the table as the catalog spells it.

    Args:
        con: An open connection.
        name: The table's name, in any case.
        schema: Its schema; None: the connection's current schema, or else ``main``.

    Raises:
        UnknownNameError: There is no such table; the message names the near misses.
        SchemaError: The name is a view's.
    """
    found = first_row(
        con,
        "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = current_database() "
        "AND lower(table_name) = lower($name) AND CASE WHEN $schema IS NULL THEN schema_name IN (current_schema(), 'main') "
        "ELSE lower(schema_name) = lower($schema) END ORDER BY schema_name <> current_schema()",
        {"name": name, "schema": schema},
    )
    if found is not None:
        return TableName(found[1], found[0])
    shown = str(TableName(name, schema or "main"))
    view = first_row(
        con,
        "SELECT view_name FROM duckdb_views() WHERE database_name = current_database() "
        "AND lower(view_name) = lower($name) AND lower(schema_name) = lower(coalesce($schema, current_schema()))",
        {"name": name, "schema": schema},
    )
    if view is not None:
        raise SchemaError(f"{shown!r} is a view, and a graph needs tables. CREATE TABLE … AS FROM {shown}, and use that.")
    raise UnknownNameError(f"There is no table {shown!r}" + near_misses(shown, tables(con)))


def columns(con: duckdb.DuckDBPyConnection, table: TableName) -> dict[str, str]:
    """Return the columns of a table and their SQL types, in the table's order.

    Raises:
        UnknownNameError: There is no such table; the message names the near misses.
    """
    found = con.execute(
        "SELECT c.column_name, c.data_type FROM duckdb_columns() c JOIN duckdb_tables() t USING (table_oid, database_oid) "
        "WHERE c.database_name = current_database() AND c.schema_name = ? AND c.table_name = ? ORDER BY c.column_index",
        [table.schema, table.name],
    ).fetchall()
    return dict(found) if found else columns(con, find_table(con, table.name, table.schema))


def all_columns(con: duckdb.DuckDBPyConnection) -> dict[TableName, dict[str, str]]:
    """Return :func:`columns` of every table of the user's, at the price of one query; for what looks at many tables."""
    found = con.execute(
        "SELECT schema_name, table_name, column_name, data_type FROM duckdb_columns() "
        "WHERE database_name = current_database() AND NOT internal ORDER BY schema_name, table_name, column_index"
    ).fetchall()
    known: dict[TableName, dict[str, str]] = {table: {} for table in tables(con)}
    for schema, table, name, sql_type in found:
        if (of := known.get(TableName(table, schema))) is not None:
            of[name] = sql_type
    return known


def find_column(con: duckdb.DuckDBPyConnection, table: TableName, name: str) -> str:
    """Return the column as the catalog spells it; raise :class:`UnknownNameError` with the near misses."""
    known = list(columns(con, table))
    for column in known:
        if column.lower() == name.lower():
            return column
    raise UnknownNameError(f"Table {str(table)!r} has no column {name!r}" + near_misses(name, known))


def primary_keys(con: duckdb.DuckDBPyConnection) -> dict[TableName, tuple[str, ...]]:
    """Return the columns of every primary key, in the order of the constraint."""
    found = con.execute(
        "SELECT schema_name, table_name, constraint_column_names FROM duckdb_constraints() "
        "WHERE database_name = current_database() AND constraint_type = 'PRIMARY KEY'"
    ).fetchall()
    return {TableName(name, schema): tuple(key) for schema, name, key in found}


def foreign_keys(con: duckdb.DuckDBPyConnection) -> list[ForeignKey]:
    """Return the foreign keys of the current database, by table and in the order of their definition."""
    found = con.execute(
        "SELECT schema_name, table_name, constraint_column_names, referenced_table, referenced_column_names "
        "FROM duckdb_constraints() WHERE database_name = current_database() AND constraint_type = 'FOREIGN KEY' "
        "AND schema_name <> ? ORDER BY schema_name, table_name, constraint_index",
        [OWN_SCHEMA],
    ).fetchall()
    # DuckDB has no foreign keys across schemas, and the catalog does not name the target's.
    return [
        ForeignKey(TableName(name, schema), tuple(own), TableName(target, schema), tuple(theirs))
        for schema, name, own, target, theirs in found
    ]
