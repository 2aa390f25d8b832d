"""A property graph as text: types, counts, keys, tensor columns, and every column left out, with the reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import duckdb

from dbgnn.schema.catalog import DECLARE_ANEW, all_columns, columns, first_row
from dbgnn.schema.infer import INFERRED
from dbgnn.schema.model import EdgeTable, EdgeType, PropertyGraph, TableName, VertexTable
from dbgnn.schema.types import NOT_NAMED, Column, served

#: Per table, the SQL types of its columns by name.
Types = Mapping[TableName, Mapping[str, str]]


def describe(
    con: duckdb.DuckDBPyConnection,
    graph: PropertyGraph,
    *,
    num_rows: Mapping[str | EdgeType, int] | None = None,
) -> str:
    """Return what ``print(graph)`` shows.

    Args:
        con: An open connection.
        graph: The graph.
        num_rows: The number of rows of some node and edge types, where it is known; the others are counted.

    Raises:
        UnknownNameError: A table of the graph is gone, or a column of its PROPERTIES.
    """
    known = num_rows or {}
    types = all_columns(con)
    for table in graph.tables:
        if table not in types:  # spelled otherwise, or gone, which is an error with the near misses
            types[table] = columns(con, table)
    blocks = [_title(graph)]
    for vertex in graph.vertices:
        shown = _served(types, graph, vertex)
        count = known[vertex.label] if vertex.label in known else _count(con, vertex.table)
        keys = [("key", _typed(types[vertex.table], vertex.key))]
        heading = f"Node type {vertex.label!r}: {count:,} rows of table {vertex.table}"
        blocks.append("\n".join([heading, *_rows(keys, shown, count, instead=_instead(graph, vertex))]))
    for edge in graph.edges:
        shown = _served(types, graph, edge)
        count = known[edge.edge_type] if edge.edge_type in known else _count(con, edge.table)
        heading = f"Edge type {edge.edge_type!r}: {count:,} rows of table {edge.table}"
        blocks.append(
            "\n".join([heading, *_rows(_ends(types[edge.table], graph, edge), shown, count, instead=_instead(graph, edge))])
        )
    if graph.name == INFERRED and (rest := _unused(types, graph)):
        blocks.append(f"Tables without a part in it: {', '.join(map(str, rest))}")
    if gone := _gone(types, graph):
        blocks.append(f"Key columns that are gone: {', '.join(gone)}. {DECLARE_ANEW}")
    return "\n\n".join(blocks)


def _gone(types: Types, graph: PropertyGraph) -> list[str]:
    keys = [(v.table, v.key) for v in graph.vertices] + [(e.table, (*e.source_key, *e.destination_key)) for e in graph.edges]
    return list(dict.fromkeys(f"{table}.{name}" for table, names in keys for name in names if name not in types[table]))


def _served(types: Types, graph: PropertyGraph, element: VertexTable | EdgeTable) -> list[Column]:
    """Return the columns with their reasons; in an inferred graph, what PROPERTIES does not name is a foreign key."""
    found = served(graph, element, types[element.table])
    if graph.name == INFERRED:
        return [replace(c, reason="a foreign key") if c.reason == NOT_NAMED else c for c in found]
    return found


def _instead(graph: PropertyGraph, element: VertexTable | EdgeTable) -> str | None:
    """Return what to say instead of a line for every column left out, where one sentence says it all."""
    if element.properties != ():
        return None
    if graph.name != INFERRED:
        return "every column (NO PROPERTIES)"
    nodes = [v.label for v in graph.vertices if v.table == element.table and isinstance(element, EdgeTable)]
    return f"every column (they are those of node type {nodes[0]!r})" if nodes else None


def _title(graph: PropertyGraph) -> str:
    nodes, edges = len(graph.vertices), len(graph.edges)
    kind = " (homogeneous)" if graph.homogeneous else " (from foreign keys)" if graph.name == INFERRED else ""
    return f"Property graph {graph.name!r}{kind}: {nodes} node type{'s' * (nodes != 1)}, {edges} edge type{'s' * (edges != 1)}"


def _count(con: duckdb.DuckDBPyConnection, table: TableName) -> int:
    row = first_row(con, f"SELECT count(*) FROM {table.sql}")
    return 0 if row is None else int(row[0])


def _typed(types: Mapping[str, str], names: Sequence[str]) -> str:
    return ", ".join(f"{name} {types.get(name, '(gone)')}" for name in names)


def _ends(types: Mapping[str, str], graph: PropertyGraph, edge: EdgeTable) -> list[tuple[str, str]]:
    return [
        (word, f"{_typed(types, names)} → {label} ({', '.join(graph.vertex(label).key)})")
        for word, label, names in (
            ("source", edge.source, edge.source_key),
            ("destination", edge.destination, edge.destination_key),
        )
    ]


def _rows(keys: Sequence[tuple[str, str]], found: Sequence[Column], count: int, *, instead: str | None) -> list[str]:
    """Lay out one type: what identifies a row, the tensors, and the columns left out, in aligned columns."""
    tensors = [c for c in found if c.reason is None]
    missing = [c for c in found if c.reason is not None]
    lines = list(keys)
    cells = [(c.name, c.dtype, _shape(c, count), c.sql_type + (f", {c.unit}" if c.unit else "")) for c in tensors]
    lines += _labelled("tensors", _aligned(cells) or ["none"])
    left_out = _aligned([(c.name, c.sql_type, c.reason or "") for c in missing])
    lines += _labelled("left out", left_out if instead is None else [instead])
    width = max(len(word) for word, _ in lines)
    return [f"  {word:<{width}}  {text}".rstrip() for word, text in lines]


def _shape(column: Column, count: int) -> str:
    return "[" + ", ".join(map(str, (count, *column.shape))) + "]"


def _labelled(word: str, texts: Sequence[str]) -> list[tuple[str, str]]:
    return [(word if i == 0 else "", text) for i, text in enumerate(texts)]


def _aligned(cells: Sequence[tuple[str, ...]]) -> list[str]:
    """Pad every cell but the last to the width of its column."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def _unused(types: Types, graph: PropertyGraph) -> list[TableName]:
    used = {v.table for v in graph.vertices} | {e.table for e in graph.edges}
    return [table for table in types if table not in used]
