"""A view that is one table with a projection and a filter, seen as that table, some of its columns and a condition.

DuckDB's own tree of the view's query says what it is. Whether the condition is harmless is judged where conditions are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NoReturn

import duckdb

from dbgnn.errors import SchemaError, UnknownNameError
from dbgnn.parse_tree import query_of_view, serialized, walk
from dbgnn.schema.catalog import columns, find_table, first_row, folded, table_of_view
from dbgnn.schema.model import TableName
from dbgnn.sql import first_line

#: The beginning of what DuckDB writes of a tree that has nothing but a condition.
_START = "SELECT 1 FROM t WHERE "

#: What a query that is a projection and a filter has; anything else it may have is empty.
_CLAUSES = frozenset(["type", "select_list", "from_table", "where_clause"])

#: What a ``*`` may bring with it beside EXCLUDE, and then is more than a choice of columns.
_STAR_CLAUSES = ("replace_list", "rename_list", "qualified_exclude_list", "columns", "expr", "alias")


@dataclass(frozen=True, slots=True)
class Seen:
    """What a view shows.

    Attributes:
        name: The view, as the catalog spells it.
        definition: Its text in the catalog.
        table: The table.
        columns: The columns of the table that it has, as the table spells them.
        condition: Which rows; None: all.
    """

    name: TableName
    definition: str
    table: TableName
    columns: tuple[str, ...]
    condition: str | None


def find_view(con: duckdb.DuckDBPyConnection, name: str, schema: str | None = None) -> TableName | None:
    """Return the view of the current database as the catalog spells it; None if there is none of that name."""
    found = first_row(
        con,
        """SELECT schema_name, view_name FROM duckdb_views() WHERE database_name = current_database() AND NOT internal
        AND lower(view_name) = lower($name) AND CASE WHEN $schema IS NULL THEN schema_name IN (current_schema(), 'main')
        ELSE lower(schema_name) = lower($schema) END ORDER BY schema_name <> current_schema() ASC""",
        {"name": name, "schema": schema},
    )
    return None if found is None else TableName(found[1], found[0])


def view_definition(con: duckdb.DuckDBPyConnection, view: TableName) -> str | None:
    """Return the text of a view in the catalog; None if it is gone."""
    found = first_row(
        con,
        "SELECT sql FROM duckdb_views() WHERE database_name = current_database() AND schema_name = ? AND view_name = ?",
        [view.schema, view.name],
    )
    return None if found is None else str(found[0])


def seen_through(con: duckdb.DuckDBPyConnection, view: TableName) -> Seen:
    """Return what a view shows of one table.

    Raises:
        SchemaError: It is more than a choice of columns and rows of one table. The message says what, and has a statement that
            makes a table of it.
    """
    definition = view_definition(con, view) or ""
    found = serialized(con, query_of_view(definition), f"The view {str(view)!r}")
    if found["error"] or len(found["statements"]) != 1:
        _refuse(con, view, "its query is no SELECT")
    node = found["statements"][0]["node"]
    if node["type"] != "SELECT_NODE":
        _refuse(con, view, "it puts several queries together")
    if rest := sorted(n for n, v in node.items() if v and v not in ({"map": []}, "STANDARD_HANDLING") and n not in _CLAUSES):
        _refuse(con, view, f"its query has more than SELECT, FROM and WHERE ({', '.join(rest).replace('_', ' ')})")
    source = node["from_table"]
    if source["type"] != "BASE_TABLE":
        _refuse(con, view, "it reads no table, or several")
    if source["sample"] or source["at_clause"] or source["column_name_alias"]:
        _refuse(con, view, "it takes a sample of its table, or gives columns other names")
    table = _table(con, view, source["qualified_name"]["path"])
    known = {folded(name): name for name in columns(con, table)}
    chosen = _chosen(con, view, node["select_list"], known)
    try:
        names = [row[0] for row in con.execute(f"DESCRIBE FROM {view.sql}").fetchall()]
    except duckdb.Error as error:
        _refuse(con, view, f"DuckDB cannot read it: {first_line(error)}")
    if list(map(folded, names)) != list(map(folded, chosen)):
        _refuse(con, view, "it gives columns other names")
    condition = None
    if node["where_clause"]:
        condition = _condition(con, view, node["where_clause"], {folded(source["alias"] or table.name), folded(table.name)})
    return Seen(view, definition, table, chosen, condition)


def _table(con: duckdb.DuckDBPyConnection, view: TableName, path: list[str]) -> TableName:
    """Return the table that a name in the view's query means."""
    *above, name = path
    if len(above) > 1 or (above and folded(above[0]) not in _schemas(con)):
        _refuse(con, view, f"it reads {'.'.join(path)!r}, which is none of this database's tables")
    for schema in above or dict.fromkeys((view.schema, "main")):
        with suppress(UnknownNameError):
            try:
                return find_table(con, name, schema)
            except SchemaError as error:
                if isinstance(error, UnknownNameError):
                    raise
                _refuse(con, view, f"it reads {'.'.join(path)!r}, which is a view itself")
    return _refuse(con, view, f"it reads {'.'.join(path)!r}, which is none of this database's tables")


def _schemas(con: duckdb.DuckDBPyConnection) -> set[str]:
    rows = con.execute("SELECT schema_name FROM duckdb_schemas() WHERE database_name = current_database()").fetchall()
    return {folded(name) for (name,) in rows}


def _chosen(
    con: duckdb.DuckDBPyConnection, view: TableName, select_list: list[dict[str, Any]], known: Mapping[str, str]
) -> tuple[str, ...]:
    """Return the columns of the table in a SELECT list that chooses some; refuse any other list."""
    chosen: list[str] = []
    for item in select_list:
        if item["class"] == "STAR" and not any(item.get(clause) for clause in _STAR_CLAUSES):
            left_out = {folded(name if isinstance(name, str) else name[-1]) for name in item["exclude_list"]}
            chosen += [name for key, name in known.items() if key not in left_out]
        elif item["class"] == "COLUMN_REF" and (column := known.get(folded(item["column_names"][-1]))) is not None:
            if folded(item["alias"] or column) != folded(column):
                _refuse(con, view, f"it gives column {column!r} the name {item['alias']!r}")
            chosen.append(column)
        else:
            _refuse(con, view, "it computes columns")
    return tuple(chosen)


def _condition(con: duckdb.DuckDBPyConnection, view: TableName, clause: dict[str, Any], names: set[str]) -> str:
    """Return the text of the view's condition, in which columns stand without the table's name in the view."""
    for part in walk(clause):
        if part.get("class") == "COLUMN_REF" and len(part["column_names"]) > 1 and folded(part["column_names"][0]) in names:
            part["column_names"] = part["column_names"][1:]
    tree = serialized(con, f"{_START}true", "")
    tree["statements"][0]["node"]["where_clause"] = clause
    query = "SELECT system.main.json_deserialize_sql(?::JSON)"
    text = str(con.execute(query, [json.dumps({"error": False, "statements": tree["statements"]})]).fetchall()[0][0])
    if not text.startswith(_START):
        _refuse(con, view, "its condition cannot be read")
    return text.removeprefix(_START)


def _refuse(con: duckdb.DuckDBPyConnection, view: TableName, why: str) -> NoReturn:
    raise SchemaError(f"{str(view)!r} is a view that a graph cannot name, since {why}. {table_of_view(con, view)}")
