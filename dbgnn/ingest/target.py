"""The table a COPY goes to: its name in the catalog, and the columns that are to be filled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from dbgnn.errors import CopyError, UnknownNameError, near_misses
from dbgnn.schema.packed import unpacked
from dbgnn.schema.render import shown
from dbgnn.sql import quote, quote_all


@dataclass(frozen=True, slots=True)
class TargetColumn:
    """A column of the table.

    Attributes:
        name: Its name, unquoted.
        sql_type: Its type as SQL, for messages.
        leaf: DuckDB's id of the type inside all arrays and lists, such as ``"float"``; of a packed column its form.
        dims: The sizes of the arrays around it, outermost first; None for a list, which takes any size.
        required: Whether it is NOT NULL and has no default.
    """

    name: str
    sql_type: str
    leaf: str
    dims: tuple[int | None, ...]
    required: bool


@dataclass(frozen=True, slots=True)
class CopyTarget:
    """A table of the database with its columns in order, generated ones left out."""

    catalog: str
    schema: str
    name: str
    columns: tuple[TargetColumn, ...]

    @property
    def sql(self) -> str:
        """The quoted name with catalog and schema."""
        return f"{quote(self.catalog)}.{quote(self.schema)}.{quote(self.name)}"

    @property
    def written(self) -> str:
        """The name as one would write it in SQL, for remedies that can be run."""
        return ".".join(map(shown, (self.name,) if self.schema == "main" else (self.schema, self.name)))

    def __str__(self) -> str:
        return self.name if self.schema == "main" else f"{self.schema}.{self.name}"

    def pick(self, names: Sequence[str]) -> tuple[TargetColumn, ...]:
        """Return the columns with these names, in this order; names are case-insensitive as in SQL.

        Raises:
            UnknownNameError: There is no such column.
            CopyError: A column is named twice.
        """
        known = {c.name.lower(): c for c in self.columns}
        picked = []
        for name in names:
            if name.lower() not in known:
                raise UnknownNameError(
                    f"Table {str(self)!r} has no column {name!r}" + near_misses(name, [c.name for c in self.columns])
                )
            picked.append(known[name.lower()])
        if twice := [c.name for c in picked if picked.count(c) > 1]:
            raise CopyError(f"COPY {self}: column {twice[0]!r} is named twice.")
        return tuple(picked)


def find_target(con: duckdb.DuckDBPyConnection, parts: tuple[str, ...]) -> CopyTarget:
    """Look a table up by the parts of its name as written.

    ``a.b`` is table b of schema a, or else table b of the attached database a, as in DuckDB. A name without
    a schema is looked up in the current one, then in ``main`` and among the temporary tables.

    Raises:
        UnknownNameError: No such table; names the near misses.
        CopyError: It is a view.
    """
    tables = con.execute(
        """
        SELECT database_name, schema_name, table_name FROM duckdb_tables() WHERE NOT internal
        """
    ).fetchall()
    [(database, schema)] = con.execute("SELECT current_database(), current_schema()").fetchall()
    name = parts[-1]
    if len(parts) == 3:
        places = [(parts[0], parts[1])]
    elif len(parts) == 2:
        places = [(database, parts[0]), (parts[0], "main")]
    else:
        places = [("temp", "main"), (database, schema), (database, "main")]
    by_lower = {(t[0].lower(), t[1].lower(), t[2].lower()): (t[0], t[1], t[2]) for t in tables}
    for place in places:
        if found := by_lower.get((place[0].lower(), place[1].lower(), name.lower())):
            return CopyTarget(*found, _columns(con, found))
    views = con.execute("SELECT 1 FROM duckdb_views() WHERE NOT internal AND lower(view_name) = lower(?)", [name]).fetchall()
    if views:
        raise CopyError(f"{'.'.join(parts)!r} is a view; COPY fills tables.")
    known = [t[2] if t[1] == "main" else f"{t[1]}.{t[2]}" for t in tables if t[1] != "dbgnn"]
    asked = ".".join(parts)
    raise UnknownNameError(
        f"There is no table {asked!r}{near_misses(asked, known)}. COPY fills a table that exists; CREATE TABLE first."
    )


def _columns(con: duckdb.DuckDBPyConnection, table: tuple[str, str, str]) -> tuple[TargetColumn, ...]:
    rows = con.execute(
        """
        SELECT column_name, data_type, NOT is_nullable AND column_default IS NULL AS required
        FROM duckdb_columns()
        WHERE database_name = ? AND schema_name = ? AND table_name = ? AND NOT is_generated
        ORDER BY column_index ASC
        """,
        table,
    ).fetchall()
    qualified = ".".join(quote(part) for part in table)
    described = con.execute(f"SELECT {quote_all(row[0] for row in rows)} FROM {qualified} LIMIT 0").description or []
    con.fetchall()  # an unfinished result would hold the connection
    return tuple(
        TargetColumn(name, sql_type, *_held(sql_type, description[1]), required=required)
        for (name, sql_type, required), description in zip(rows, described, strict=True)
    )


def _held(sql_type: str, described: Any) -> tuple[str, tuple[int | None, ...]]:
    """Return what a column holds inside all arrays and lists, and their sizes from the outside in; packed values unpacked."""
    found = unpacked(sql_type)
    return _unnest(described) if found is None else (found.form, found.shape)


def _unnest(sql_type: Any) -> tuple[str, tuple[int | None, ...]]:
    """Return the type inside all arrays and lists, and their sizes from the outside in."""
    dims: list[int | None] = []
    while sql_type.id in ("array", "list"):
        children = dict(sql_type.children)
        dims.append(children.get("size"))
        sql_type = children["child"]
    return str(sql_type.id), tuple(dims)
