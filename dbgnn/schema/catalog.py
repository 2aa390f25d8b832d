"""What DuckDB's catalog says of the current database: tables, columns, primary and foreign keys.

Names are compared as DuckDB compares them, without regard to case, and come back as the catalog spells them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import duckdb

from dbgnn.errors import SchemaError, UnknownNameError, near_misses
from dbgnn.schema.model import TableName
from dbgnn.schema.render import shown
from dbgnn.sql import quote

#: The schema in which dbgnn keeps what is its own.
OWN_SCHEMA = "dbgnn"

#: DuckDB's own number of a row, which can be a key where a table has none; no column of the catalog.
ROWID, ROWID_TYPE = "rowid", "BIGINT"

#: By table: the names of the columns of primary and foreign keys, folded, with what they are.
KeyColumns: TypeAlias = Mapping[TableName, Mapping[str, str]]

#: What to do where a graph names what is no longer there; the end of the messages that say so.
DECLARE_AGAIN = "If a property graph names it, declare that graph again: CREATE OR REPLACE PROPERTY GRAPH …"


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


def folded(name: str) -> str:
    """Return what DuckDB compares of a name: the case of A to Z does not count, that of other letters does."""
    return name.encode(errors="surrogatepass").lower().decode(errors="surrogatepass")


def current_database(con: duckdb.DuckDBPyConnection) -> str:
    """Return the name of the database the connection works in."""
    return str(con.execute("SELECT current_database()").fetchall()[0][0])


def tables(con: duckdb.DuckDBPyConnection) -> list[TableName]:
    """Return the user's tables in the current database, without views and dbgnn's own; sorted by schema and name."""
    found = con.execute(
        "SELECT schema_name, table_name FROM duckdb_tables() "
        "WHERE database_name = current_database() AND NOT internal AND schema_name <> ? "
        "ORDER BY schema_name ASC, table_name ASC",
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
        "ELSE lower(schema_name) = lower($schema) END ORDER BY schema_name <> current_schema() ASC, table_name <> $name ASC",
        {"name": name, "schema": schema},
    )
    if found is not None:
        return TableName(found[1], found[0])
    shown = str(TableName(name, schema or "main"))
    view = first_row(
        con,
        "SELECT schema_name, view_name FROM duckdb_views() WHERE database_name = current_database() "
        "AND lower(view_name) = lower($name) AND lower(schema_name) = lower(coalesce($schema, current_schema()))",
        {"name": name, "schema": schema},
    )
    if view is not None:
        seen = TableName(view[1], view[0])
        raise SchemaError(f"{str(seen)!r} is a view, and a table is needed here. {table_of_view(con, seen)}")
    raise UnknownNameError(f"There is no table {shown!r}" + near_misses(shown, tables(con)))


def table_of_view(con: duckdb.DuckDBPyConnection, view: TableName) -> str:
    """Return the sentence that says how to make a table of a view, with a name that is free."""
    rows = con.execute(
        "SELECT lower(table_name) FROM information_schema.tables WHERE table_catalog = current_database() "
        "AND lower(table_schema) = lower(?)",
        [view.schema],
    ).fetchall()
    taken, n = {name for (name,) in rows}, 1
    name = f"{view.name}_table"
    while name.lower() in taken:
        n += 1
        name = f"{view.name}_table_{n}"
    copy = TableName(name, view.schema)
    return f"Make a table of it, and use that: CREATE TABLE {_full(copy)} AS FROM {_full(view)}"


def _full(table: TableName) -> str:
    """Return a table's name as it means the same in every schema, as one would write it."""
    return f"{shown(table.schema)}.{shown(table.name)}"


def columns(con: duckdb.DuckDBPyConnection, table: TableName) -> dict[str, str]:
    """Return the columns of a table and their SQL types, in the table's order.

    Raises:
        UnknownNameError: There is no such table; the message names the near misses, and what to do if a graph names it.
    """
    found = con.execute(
        "SELECT c.column_name, c.data_type FROM duckdb_columns() c JOIN duckdb_tables() t USING (table_oid, database_oid) "
        "WHERE c.database_name = current_database() AND c.schema_name = ? AND c.table_name = ? ORDER BY c.column_index ASC",
        [table.schema, table.name],
    ).fetchall()
    if found:
        return dict(found)
    try:
        spelled = find_table(con, table.name, table.schema)
    except UnknownNameError as error:
        raise UnknownNameError(f"{error}. {DECLARE_AGAIN}") from error
    return columns(con, spelled)


def all_columns(con: duckdb.DuckDBPyConnection) -> dict[TableName, dict[str, str]]:
    """Return :func:`columns` of every table of the user's, at the price of one query; for what looks at many tables."""
    found = con.execute(
        "SELECT schema_name, table_name, column_name, data_type FROM duckdb_columns() "
        "WHERE database_name = current_database() AND NOT internal ORDER BY schema_name ASC, table_name ASC, column_index ASC"
    ).fetchall()
    known: dict[TableName, dict[str, str]] = {table: {} for table in tables(con)}
    for schema, table, name, sql_type in found:
        if (of := known.get(TableName(table, schema))) is not None:
            of[name] = sql_type
    return known


def nullable_columns(con: duckdb.DuckDBPyConnection) -> set[tuple[TableName, str]]:
    """Return the columns of the current database that may be NULL, as their tables' definitions say."""
    found = con.execute(
        "SELECT schema_name, table_name, column_name FROM duckdb_columns() "
        "WHERE database_name = current_database() AND NOT internal AND is_nullable"
    ).fetchall()
    return {(TableName(table, schema), name) for schema, table, name in found}


def find_column(con: duckdb.DuckDBPyConnection, table: TableName, name: str) -> str:
    """Return the column as the catalog spells it; raise :class:`UnknownNameError` with the near misses."""
    known = list(columns(con, table))
    for column in known:
        if folded(column) == folded(name):
            return column
    raise UnknownNameError(f"Table {str(table)!r} has no column {name!r}" + near_misses(name, known))


def primary_keys(con: duckdb.DuckDBPyConnection) -> dict[TableName, tuple[str, ...]]:
    """Return the columns of every primary key of the user's tables, in the order of the constraint."""
    found = con.execute(
        "SELECT schema_name, table_name, constraint_column_names FROM duckdb_constraints() "
        "WHERE database_name = current_database() AND constraint_type = 'PRIMARY KEY'"
    ).fetchall()
    known = all_columns(con)
    by_table = {TableName(name, schema): key for schema, name, key in found}
    return {table: _spelled(key, known[table]) for table, key in by_table.items() if table in known}


def foreign_keys(con: duckdb.DuckDBPyConnection) -> list[ForeignKey]:
    """Return the foreign keys of the current database, by table and in the order of their definition."""
    found = con.execute(
        "SELECT schema_name, table_name, constraint_column_names, referenced_table, referenced_column_names "
        "FROM duckdb_constraints() WHERE database_name = current_database() AND constraint_type = 'FOREIGN KEY' "
        "AND schema_name <> ? ORDER BY schema_name ASC, table_name ASC, constraint_index ASC",
        [OWN_SCHEMA],
    ).fetchall()
    known = all_columns(con)
    spelled = {(table.schema, folded(table.name)): table for table in known}
    keys = []
    for schema, name, own, target, theirs in found:
        # DuckDB has no foreign keys across schemas, and the catalog does not name the target's.
        table, other = (spelled[schema, folded(each)] for each in (name, target))
        keys.append(ForeignKey(table, _spelled(own, known[table]), other, _spelled(theirs, known[other])))
    return keys


def key_columns(con: duckdb.DuckDBPyConnection) -> KeyColumns:
    """Return, by table, the columns of primary and foreign keys (their names folded), and which of the two they are of."""
    found = con.execute(
        "SELECT schema_name, table_name, constraint_type, constraint_column_names FROM duckdb_constraints() "
        "WHERE database_name = current_database() AND (constraint_type = 'PRIMARY KEY' OR constraint_type = 'FOREIGN KEY')"
    ).fetchall()
    keys: dict[TableName, dict[str, str]] = {}
    for schema, name, kind, names in found:
        of = keys.setdefault(TableName(name, schema), {})
        for column in names:
            if kind == "PRIMARY KEY":
                of[folded(column)] = "the primary key"
            else:
                of.setdefault(folded(column), "a foreign key")
    return keys


def _spelled(names: Sequence[str], known: Iterable[str]) -> tuple[str, ...]:
    """Return a constraint's columns as the table spells them; the catalog has them as the constraint was typed."""
    by_name = {folded(name): name for name in known}
    return tuple(by_name[folded(name)] for name in names)


def check_tables(con: duckdb.DuckDBPyConnection, used: Iterable[TableName]) -> None:
    """Raise :class:`SchemaError` if something of these tables means something else to DuckDB.

    That is a column called ``rowid``, and a schema with the name of a database: ``"s"."t"`` is then ambiguous.
    """
    used = list(used)
    hidden = con.execute(
        "SELECT schema_name, table_name, column_name FROM duckdb_columns() "
        "WHERE database_name = current_database() AND lower(column_name) = 'rowid'"
    ).fetchall()
    for schema, name, column in hidden:
        if TableName(name, schema) in used:
            raise SchemaError(
                f"The table {str(TableName(name, schema))!r} has a column {column!r}, which hides DuckDB's own row numbers. "
                f"Rename it: ALTER TABLE {shown(name)} RENAME {shown(column)} TO row_id."
            )
    databases = {folded(name): name for (name,) in con.execute("SELECT database_name FROM duckdb_databases()").fetchall()}
    for table in used:
        if (database := databases.get(folded(table.schema))) is not None:
            full = f"{shown(current_database(con))}.{shown(table.schema)}.{shown(table.name)}"
            raise SchemaError(
                f"The table {str(table)!r} lies in schema {table.schema!r}, and database {database!r} has that name too, so "
                f"that DuckDB cannot tell which one {str(table)!r} means. Give the database another name, which is that of its "
                f"file (or what ATTACH … AS says), or the table a schema of another name: CREATE TABLE "
                f"main.{shown(table.name)} AS FROM {full}."
            )


def create_own_schema(con: duckdb.DuckDBPyConnection) -> None:
    """Make dbgnn's own schema if it is not there."""
    con.execute(f"CREATE SCHEMA IF NOT EXISTS {quote(current_database(con))}.{quote(OWN_SCHEMA)}")


def own_table(con: duckdb.DuckDBPyConnection, name: str) -> str:
    """Return the quoted full name of one of dbgnn's own tables.

    The database is part of it: in a file ``dbgnn.duckdb`` the database is called ``dbgnn`` too, and
    ``dbgnn.graphs`` is ambiguous there.
    """
    return f"{quote(current_database(con))}.{quote(OWN_SCHEMA)}.{quote(name)}"


def own_columns(con: duckdb.DuckDBPyConnection, name: str) -> dict[str, str] | None:
    """Return the columns of one of dbgnn's own tables, with their types; None if there is none, nothing if it is a view."""
    found = con.execute(
        "SELECT column_index, column_name, CASE WHEN is_generated THEN 'generated' ELSE data_type END FROM duckdb_columns() "
        "WHERE database_name = current_database() AND schema_name = ? AND table_name = ?",
        [OWN_SCHEMA, name],
    ).fetchall()
    if not found:
        return None
    table = first_row(
        con,
        "SELECT 1 FROM duckdb_tables() WHERE database_name = current_database() AND schema_name = ? AND table_name = ?",
        [OWN_SCHEMA, name],
    )
    return {} if table is None else {column: kind for _, column, kind in sorted(found)}


def has_own_table(con: duckdb.DuckDBPyConnection, name: str, columns: Mapping[str, str]) -> bool:
    """Whether one of dbgnn's own tables is there, with the columns that dbgnn gives it.

    Raises:
        SchemaError: What has its name is another table, or a view.
    """
    found = own_columns(con, name)
    if found is None:
        return False
    if list(found.items()) != list(columns.items()):
        what, expected = "TABLE" if found else "VIEW", ", ".join(f"{n} {t}" for n, t in columns.items())
        raise SchemaError(
            f"dbgnn keeps a table {OWN_SCHEMA}.{name}({expected}), and the file has another {what.lower()} of that name, which "
            f"dbgnn did not make. Drop it; dbgnn makes its own where it needs one: DROP {what} {own_table(con, name)}."
        )
    return True
