"""A property graph as text: types, counts, keys, tensor columns, and every column left out, with the reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import duckdb

from dbgnn.schema.catalog import DECLARE_AGAIN, ROWID, ROWID_TYPE, all_columns, columns, first_row, key_columns
from dbgnn.schema.encoded import encoded
from dbgnn.schema.model import EdgeTable, EdgeType, PropertyGraph, TableName, VertexTable
from dbgnn.schema.no_edge import told, without_end
from dbgnn.schema.registry import is_inferred
from dbgnn.schema.remedy import why
from dbgnn.schema.types import Column, nodes_of, served
from dbgnn.schema.written import written
from dbgnn.terminal import one_line

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
    inferred = is_inferred(con, graph)
    back, keys, made = written(con), key_columns(con), encoded(con, graph)
    blocks = [_title(graph, inferred=inferred)]
    for vertex in graph.vertices:
        shown = served(graph, vertex, types[vertex.table], back, keys, made)
        count = known[vertex.label] if vertex.label in known else _count(con, vertex)
        key = [("key", _typed(types[vertex.table], vertex.key))]
        instead = _instead(graph, vertex)
        heading = f"Node type {vertex.label!r}: {count:,} rows of table {_named(vertex)}"
        blocks.append("\n".join([heading, *_rows(key, shown, count, (vertex.table, vertex.label), instead=instead)]))
    for edge in graph.edges:
        shown = served(graph, edge, types[edge.table], back, keys, made)
        count = known[edge.edge_type] if edge.edge_type in known else _count(con, edge)
        ends = [*_ends(types[edge.table], graph, edge), *_no_edge(con, types, graph, edge)]
        instead = _instead(graph, edge)
        heading = f"Edge type {edge.edge_type!r}: {count:,} rows of table {_named(edge)}"
        blocks.append("\n".join([heading, *_rows(ends, shown, count, (edge.table, edge.edge_type), instead=instead)]))
    if inferred and (rest := _unused(types, graph)):
        blocks.append(f"Tables without a part in it: {', '.join(map(one_line, rest))}")
    if gone := _gone(types, graph):
        blocks.append(f"Key columns that are gone: {', '.join(map(one_line, gone))}. {DECLARE_AGAIN}")
    return "\n\n".join(blocks)


def _named(element: VertexTable | EdgeTable) -> str:
    """Return the table on one line, with its condition and the view that names both."""
    view = "" if element.view is None else f" (view {one_line(element.view.name)})"
    return f"{one_line(element.described)}{view}"


def _gone(types: Types, graph: PropertyGraph) -> list[str]:
    keys = [(v.table, v.key) for v in graph.vertices] + [(e.table, (*e.source_key, *e.destination_key)) for e in graph.edges]
    return list(
        dict.fromkeys(f"{table}.{name}" for table, names in keys for name in names if name not in {ROWID, *types[table]})
    )


def _instead(graph: PropertyGraph, element: VertexTable | EdgeTable) -> str | None:
    """Return what to say instead of a line for every column left out, where one sentence says it all."""
    if element.properties == ():
        return "every column (NO PROPERTIES)"
    nodes = nodes_of(graph, element) if element.properties is None else None
    return (
        None if nodes is None else f"every column (they are those of node type {nodes!r}; PROPERTIES or columns= can name them)"
    )


def _title(graph: PropertyGraph, *, inferred: bool) -> str:
    nodes, edges = len(graph.vertices), len(graph.edges)
    kind = " (homogeneous)" if graph.homogeneous else " (from foreign keys)" if inferred else ""
    return f"Property graph {graph.name!r}{kind}: {nodes} node type{'s' * (nodes != 1)}, {edges} edge type{'s' * (edges != 1)}"


def _count(con: duckdb.DuckDBPyConnection, element: VertexTable | EdgeTable) -> int:
    row = first_row(con, f"SELECT count(*) FROM {element.rows}")
    return 0 if row is None else int(row[0])


def _typed(types: Mapping[str, str], names: Sequence[str]) -> str:
    return ", ".join(f"{name} {types.get(name, ROWID_TYPE if name == ROWID else '(gone)')}" for name in names)


def _ends(types: Mapping[str, str], graph: PropertyGraph, edge: EdgeTable) -> list[tuple[str, str]]:
    return [
        (word, f"{_typed(types, names)} → {label} ({', '.join(graph.vertex(label).key)})")
        for word, label, names in (
            ("source", edge.source, edge.source_key),
            ("destination", edge.destination, edge.destination_key),
        )
    ]


def _no_edge(con: duckdb.DuckDBPyConnection, types: Types, graph: PropertyGraph, edge: EdgeTable) -> list[tuple[str, str]]:
    """Return the line that counts rows that are no edge since a foreign key is NULL; none where there are none."""
    if any(name not in {ROWID, *types[edge.table]} for name in (*edge.source_key, *edge.destination_key)):
        return []  # the key columns that are gone are said below
    columns, count = without_end(con, graph, edge)
    return [("no edge", told(edge.table, columns, count))] if count else []


def _rows(
    keys: Sequence[tuple[str, str]],
    found: Sequence[Column],
    count: int,
    of: tuple[TableName, str | EdgeType],
    *,
    instead: str | None,
) -> list[str]:
    """Lay out one type: what identifies a row, the tensors, and the columns left out, in aligned columns."""
    tensors = [c for c in found if c.reason is None]
    missing = [c for c in found if c.reason is not None]
    lines = list(keys)
    cells = [(c.attr, c.dtype, _shape(c, count), _origin(c)) for c in tensors]
    lines += _labelled("tensors", _aligned(cells) or ["none"])
    left_out = _aligned([(c.name, c.sql_type, why(c, *of)) for c in missing])
    lines += _labelled("left out", left_out if instead is None else [instead])
    width = max(len(word) for word, _ in lines)
    return [f"  {word:<{width}}  {one_line(text)}".rstrip() for word, text in lines]


def _origin(column: Column) -> str:
    """Return what a tensor is made of: the column's type, what it counts, and its name where PyG sees another."""
    unit = f", {column.unit}" if column.unit else ""
    renamed = f", of column {column.name!r}; served where columns= names {column.attr!r}" if column.is_renamed else ""
    beside = ", encoded, in a table of its own" if column.beside is not None else ""
    return f"{column.sql_type}{unit}{renamed}{beside}"


def _shape(column: Column, count: int) -> str:
    return "[" + ", ".join(map(str, (count, *column.shape))) + "]"


def _labelled(word: str, texts: Sequence[str]) -> list[tuple[str, str]]:
    return [(word if i == 0 else "", text) for i, text in enumerate(texts)]


def _aligned(cells: Sequence[tuple[str, ...]]) -> list[str]:
    """Pad every cell but the last to the width of its column, as wide as it is shown."""
    shown = [tuple(map(one_line, row)) for row in cells]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    return ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in shown]


def _unused(types: Types, graph: PropertyGraph) -> list[TableName]:
    used = {v.table for v in graph.vertices} | {e.table for e in graph.edges}
    return [table for table in types if table not in used]
