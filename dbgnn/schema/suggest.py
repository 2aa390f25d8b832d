"""A `CREATE PROPERTY GRAPH` to start from, guessed from the names and types of a database without keys."""

from __future__ import annotations

from collections.abc import Sequence

import duckdb

from dbgnn.schema.catalog import all_columns, primary_keys
from dbgnn.schema.model import EdgeTable, PropertyGraph, TableName, VertexTable
from dbgnn.schema.render import to_sql
from dbgnn.schema.types import comparable

#: What the suggestion shows where the database has no table that could be part of a graph.
_EXAMPLE = PropertyGraph(
    "papers",
    (VertexTable(TableName("paper"), "paper", ("id",)),),
    (EdgeTable(TableName("cites"), "cites", "paper", ("src",), "paper", ("dst",)),),
)


def suggest(con: duckdb.DuckDBPyConnection, known: Sequence[TableName]) -> str:
    """Return the text of a statement that declares a graph over these tables, as far as their names tell.

    A table with a primary key, or a column ``id`` or ``<table>_id``, is taken for a vertex table; one with two columns whose
    types fit such keys, for an edge table, each column with the vertex table that its name begins with.
    """
    types, primary = all_columns(con), primary_keys(con)
    labels = [table.name for table in known]
    vertices = [
        VertexTable(table, table.name, key, None)
        for table in known
        if labels.count(table.name) == 1 and (key := primary.get(table) or _named_key(table, types[table])) is not None
    ]
    edges = []
    for table in known:
        if any(v.table == table for v in vertices) or labels.count(table.name) > 1:
            continue
        ends = [
            (name, v) for name, sql_type in types[table].items() if (v := _end(name, sql_type, vertices, types)) is not None
        ]
        if len(ends) > 1:
            (source, one), (destination, other) = ends[:2]
            edges.append(EdgeTable(table, table.name, one.label, (source,), other.label, (destination,)))
    graph = PropertyGraph("graph", tuple(vertices), tuple(edges)) if vertices else _EXAMPLE
    return to_sql(graph)


def _named_key(table: TableName, names: Sequence[str] | dict[str, str]) -> tuple[str, ...] | None:
    name = table.name.lower()
    fitting = {"id", "key", *(stem + end for stem in _stems(name) for end in ("_id", "id", "_key"))}
    return next(((column,) for column in names if column.lower() in fitting), None)


def _stems(name: str) -> set[str]:
    """Return a table's name and its singular, as far as it is formed with an s."""
    return {name, name[:-1] if name.endswith("s") and len(name) > 1 else name}


def _end(
    column: str, sql_type: str, vertices: Sequence[VertexTable], types: dict[TableName, dict[str, str]]
) -> VertexTable | None:
    fitting = [v for v in vertices if len(v.key) == 1 and comparable(sql_type, types[v.table][v.key[0]])]
    named = [v for v in fitting if any(column.lower().startswith(stem) for stem in _stems(v.label.lower()))]
    return next(iter([*named, *fitting]), None)
