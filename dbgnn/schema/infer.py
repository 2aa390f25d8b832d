"""A property graph from foreign keys, for databases that declare none; see docs/foreign-keys.md for the rules."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations

import duckdb

from dbgnn.errors import SchemaError
from dbgnn.schema.catalog import ForeignKey, all_columns, check_tables, foreign_keys, nullable_columns, primary_keys
from dbgnn.schema.keys import check_key_types
from dbgnn.schema.model import EdgeTable, PropertyGraph, TableName, VertexTable
from dbgnn.schema.no_edge import all_there
from dbgnn.schema.reverse_types import in_both_directions
from dbgnn.schema.suggest import suggest
from dbgnn.schema.written import written

#: The name of the inferred graph.
INFERRED = "inferred"

#: That of the one whose edge types are there in both directions.
INFERRED_BOTH = "inferred_both"


def infer(con: duckdb.DuckDBPyConnection, name: str = INFERRED) -> PropertyGraph:
    """Return the graph that primary and foreign keys give, as RelBench reads a database (arXiv:2407.20060).

    - Every table with a primary key, or that a foreign key refers to, is a **vertex table**. Its key is what the foreign
      keys refer to, or else the primary key.
    - A foreign key of a vertex table is an edge type over the same rows: from the row to the one it refers to, labelled with
      the foreign key's columns (RelBench: ``f2p_<column>``). A NULL there is no edge.
    - A table with two or more foreign keys, without a primary key, and to which no table refers, is an **edge table**. Its
      label is the table's name. The first foreign key is the source, the second the destination; with more than two, each
      pair in that order is an edge type. A NULL is no edge here either, which a condition says (``WHERE a IS NOT NULL``)
      unless the table does (``NOT NULL``). A table with one foreign key and no key takes no part.
    - In the graph ``"inferred_both"`` every edge type is there the other way round as well, labelled ``rev_<label>``
      (RelBench: ``rev_f2p_<column>``).

    Which columns are features is what it is for every graph without PROPERTIES
    (:func:`~dbgnn.schema.types.served_columns`): no keys, nothing that was written back, and none of an edge type whose table
    is a vertex table. A side table that was made for what was written back takes no part. Tables and edge types come in the
    order of their names and of the foreign keys in the definition, each edge type followed by its reverse.

    Args:
        con: An open connection.
        name: ``"inferred"`` or ``"inferred_both"``.

    Raises:
        SchemaError: There are no foreign keys (the message shows the statement to write), or two of them refer to
            different columns of one table, a key and what refers to it differ in type or collation, or a table's schema has
            the name of the database.
    """
    keys = foreign_keys(con)
    types, primary, nullable = all_columns(con), primary_keys(con), nullable_columns(con)
    back = written(con)
    referring = {table for f in keys for table in (f.table, f.target)}
    known = [table for table in types if table in referring or not back.side_table(table)]
    if not keys:
        raise SchemaError(
            f"No property graph is declared, and no table has a foreign key to infer one from. {suggest(con, known)}"
        )
    by_table = {t: [f for f in keys if f.table == t] for t in known}
    vertices = {}
    for table in known:
        key = _vertex_key(table, primary.get(table), keys)
        if key is not None:
            vertices[table] = VertexTable(table, _label(table, known), key)
    edges: list[EdgeTable] = []
    for table in known:
        if table in vertices:
            edges += _edges_of_rows(vertices, vertices[table], by_table[table])
        else:
            edges += _edges_of_pairs(table, by_table[table], vertices, _label(table, known), nullable)
    found = list(_distinct(edges))
    graph = PropertyGraph(name, tuple(vertices.values()), tuple(in_both_directions(found) if name == INFERRED_BOTH else found))
    check_tables(con, graph.tables)
    check_key_types(con, graph)
    return graph


def _vertex_key(table: TableName, primary: tuple[str, ...] | None, keys: Sequence[ForeignKey]) -> tuple[str, ...] | None:
    # DuckDB has foreign keys name the columns in the order of the key they refer to.
    referred = list(dict.fromkeys(f.target_columns for f in keys if f.target == table))
    if len(referred) > 1:
        raise SchemaError(
            f"The foreign keys to {str(table)!r} refer to different columns, "
            f"({'), ('.join(', '.join(c) for c in referred)}); a graph's node has one key. Declare the graph with "
            "CREATE PROPERTY GRAPH."
        )
    return referred[0] if referred else primary


def _edges_of_pairs(
    table: TableName,
    own: Sequence[ForeignKey],
    vertices: Mapping[TableName, VertexTable],
    label: str,
    nullable: Collection[tuple[TableName, str]],
) -> Iterable[EdgeTable]:
    for one, two in combinations(own, 2):
        source, destination = vertices[one.target], vertices[two.target]
        ends = dict.fromkeys((*one.columns, *two.columns))
        yield EdgeTable(
            table=table,
            label=label,
            source=source.label,
            source_key=one.columns,
            destination=destination.label,
            destination_key=two.columns,
            condition=all_there(c for c in ends if (table, c) in nullable) or None,
        )


def _edges_of_rows(
    vertices: Mapping[TableName, VertexTable], vertex: VertexTable, own: Sequence[ForeignKey]
) -> Iterable[EdgeTable]:
    for f in own:
        destination = vertices[f.target]
        yield EdgeTable(
            table=vertex.table,
            label="_".join(f.columns),
            source=vertex.label,
            source_key=vertex.key,
            destination=destination.label,
            destination_key=f.columns,
        )


def _label(table: TableName, known: Sequence[TableName]) -> str:
    """Return the table's name, with its schema where another schema has a table of this name."""
    return table.name if sum(t.name == table.name for t in known) == 1 else f"{table.schema}.{table.name}"


def _distinct(edges: Iterable[EdgeTable]) -> Iterable[EdgeTable]:
    """Give an edge type that is there already a label that also names its columns."""
    seen = set()
    for edge in edges:
        label = edge.label
        if edge.edge_type in seen:
            label = "_".join((edge.label, *edge.source_key, *edge.destination_key))
        number = 2
        found = replace(edge, label=label)
        while found.edge_type in seen:
            found = replace(edge, label=f"{label}_{number}")
            number += 1
        seen.add(found.edge_type)
        yield found
