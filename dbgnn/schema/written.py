"""What was written back (predictions, embeddings): it is no feature by itself, so the file remembers it.

In two places, since a user may change either. A row of ``dbgnn.written`` outlives a table that is made over (``CREATE TABLE …
AS`` loses comments); a comment on the column, or on a side table, follows a rename, and outlives ``DROP SCHEMA dbgnn``.
A user's own comment is never replaced.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import duckdb

from dbgnn.schema.catalog import create_own_schema, folded, has_own_table, own_table
from dbgnn.schema.model import TableName
from dbgnn.sql import literal, quote

#: The comment on a column or side table.
MARK = "Written back by dbgnn; no feature unless PROPERTIES or columns= names it"

#: The table ``(schema_name, table_name, column_name)``; without a column, the whole table was made for what was written.
_TABLE = "written"
_COLUMNS = {"schema_name": "VARCHAR", "table_name": "VARCHAR", "column_name": "VARCHAR"}


@dataclass(frozen=True, slots=True)
class Written:
    """What was written back to the tables of a database; names are compared as DuckDB does.

    Attributes:
        rows: ``(schema, table, column)``, folded; the column is None for a side table.
    """

    rows: frozenset[tuple[str, str, str | None]]

    def column(self, table: TableName, name: str) -> bool:
        """Whether a column was made by a write-back."""
        return (folded(table.schema), folded(table.name), folded(name)) in self.rows

    def side_table(self, table: TableName) -> bool:
        """Whether a table was made by a write-back."""
        return (folded(table.schema), folded(table.name), None) in self.rows


def written(con: duckdb.DuckDBPyConnection) -> Written:
    """Return what was written back to the tables of the current database."""
    marked = """
        SELECT schema_name, table_name, column_name FROM duckdb_columns()
        WHERE database_name = current_database() AND NOT internal AND comment = $mark
        UNION ALL
        SELECT schema_name, table_name, NULL FROM duckdb_tables()
        WHERE database_name = current_database() AND NOT internal AND comment = $mark"""
    if has_own_table(con, _TABLE, _COLUMNS):
        marked += f" UNION ALL SELECT schema_name, table_name, column_name FROM {own_table(con, _TABLE)}"
    rows = con.execute(marked, {"mark": MARK}).fetchall()
    named = [(s, t, c) for s, t, c in rows if s is not None and t is not None]  # others are of no table
    return Written(frozenset((folded(s), folded(t), None if c is None else folded(c)) for s, t, c in named))


def mark_written(con: duckdb.DuckDBPyConnection, table: TableName, columns: Iterable[str], *, whole: bool = False) -> None:
    """Remember, in the caller's transaction, new columns of a table (``whole``: and the table) as written back."""
    names = [*columns, *([None] if whole else [])]
    if not names:
        return
    kept = _kept(con)
    con.executemany(f"INSERT INTO {kept} VALUES (?, ?, ?)", [[table.schema, table.name, name] for name in names])
    for name in names:
        what = f"TABLE {table.sql}" if name is None else f"COLUMN {table.sql}.{quote(name)}"
        con.execute(f"COMMENT ON {what} IS {literal(MARK)}")


def unmark_written(con: duckdb.DuckDBPyConnection, table: TableName, columns: Iterable[str]) -> None:
    """Forget, in the caller's transaction, that columns were written back: they are features from now on, or gone."""
    known = written(con)
    if not (names := [name for name in columns if known.column(table, name)]):
        return
    con.executemany(
        f"DELETE FROM {_kept(con)} WHERE (schema_name, table_name, column_name) = (?, ?, ?)",
        [[table.schema, table.name, name] for name in names],
    )
    found = con.execute(
        "SELECT column_name FROM duckdb_columns() WHERE database_name = current_database() AND schema_name = ? "
        "AND table_name = ? AND comment = ?",
        [table.schema, table.name, MARK],
    ).fetchall()
    for (name,) in found:
        if name in names:
            con.execute(f"COMMENT ON COLUMN {table.sql}.{quote(name)} IS NULL")


def _kept(con: duckdb.DuckDBPyConnection) -> str:
    """Return the name of the table, made if absent, without rows of what is gone."""
    create_own_schema(con)
    kept = own_table(con, _TABLE)
    con.execute(
        f"CREATE TABLE IF NOT EXISTS {kept} (schema_name VARCHAR NOT NULL, table_name VARCHAR NOT NULL, column_name VARCHAR)"
    )
    con.execute(
        f"""DELETE FROM {kept} AS w WHERE NOT EXISTS (
          SELECT 1 FROM duckdb_columns() AS c WHERE c.database_name = current_database() AND c.schema_name = w.schema_name
            AND c.table_name = w.table_name AND c.column_name = coalesce(w.column_name, c.column_name))"""
    )
    return kept
