"""Edges with the ids of their ends, as SQL: what adjacency lists are made from, and compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import duckdb

from dbgnn.schema import PropertyGraph
from dbgnn.schema.keys import compared, same
from dbgnn.schema.model import EdgeTable, VertexTable
from dbgnn.sql import quote
from dbgnn.topology.faults import End, Resolved
from dbgnn.topology.index import VertexIndex, ids_of_keys
from dbgnn.topology.table_state import TableState, part_name

#: The condition that an edge, resolved, misses an end.
MISSING = "src IS NULL OR dst IS NULL"


def ends_of(graph: PropertyGraph, edge: EdgeTable, states: Mapping[str, TableState]) -> tuple[End, End]:
    """Return the source and the destination of an edge table."""

    def end(name: str, label: str, columns: tuple[str, ...]) -> End:
        vertex = graph.vertex(label)
        return End(name, vertex, columns, tuple(kind for _, kind in states[part_name(vertex)].columns))

    return end("src", edge.source, edge.source_key), end("dst", edge.destination, edge.destination_key)


def resolved_query(edge: EdgeTable, ends: Sequence[End], indexed: Mapping[str, VertexIndex], optional: Sequence[str]) -> str:
    """Return a query of ``(rid, src, dst)`` for every edge; an end is NULL where no node has its key.

    Where one of the ``optional`` columns is NULL there is no edge.
    """
    joins, ids = [], []
    for end in ends:
        index = indexed[end.vertex.label]
        if index.dense:
            column = f"e.{quote(end.columns[0])}"
            ids.append(f"CASE WHEN {column} BETWEEN 0 AND {index.num_nodes - 1} THEN {column} END AS {end.name}")
        else:
            on = same(((f"e.{quote(c)}", f"{end.name}_of.k{i}") for i, c in enumerate(end.columns)), end.types)
            joins.append(f"LEFT JOIN ({ids_of_keys(index)}) AS {end.name}_of ON {on}")
            ids.append(f"{end.name}_of.id AS {end.name}")
    query = f"SELECT e.rowid AS rid, {', '.join(ids)} FROM {edge.rows} AS e {' '.join(joins)}"
    if optional:
        query += " WHERE " + " AND ".join(f"e.{quote(c)} IS NOT NULL" for c in optional)
    return query


def unexplained(con: duckdb.DuckDBPyConnection, found: Resolved) -> Resolved:
    """Return the edges with an end that the condition of its node type leaves out as -1; NULL are only those that dangle.

    ``dropped`` counts those that do: an end of theirs is in no row of the table, whatever the condition.
    """
    if all(end.vertex.condition is None for end in found.ends):
        return found
    joins, ids = [], []
    for end in found.ends:
        if end.vertex.condition is None:
            ids.append(f"r.{end.name}")
            continue
        keys = zip(end.vertex.key, end.types, strict=True)
        rows = ", ".join(f"{compared(quote(key), kind)} AS k{i}" for i, (key, kind) in enumerate(keys))
        on = same(((f"e.{quote(c)}", f"{end.name}_all.k{i}") for i, c in enumerate(end.columns)), end.types)
        joins.append(f"LEFT JOIN (SELECT DISTINCT {rows}, true AS there FROM {end.vertex.table.sql}) AS {end.name}_all ON {on}")
        ids.append(f"CASE WHEN r.{end.name} IS NULL AND {end.name}_all.there THEN -1 ELSE r.{end.name} END AS {end.name}")
    edges = f"({found.query}) AS r JOIN {found.edge.table.sql} AS e ON e.rowid = r.rid"
    query = f"SELECT r.rid, {', '.join(ids)} FROM {edges} {' '.join(joins)}"
    [(dropped,)] = con.execute(f"SELECT count(*) FILTER (WHERE {MISSING}) FROM ({query})").fetchall()
    return replace(found, query=query, dropped=dropped)


def is_dense(con: duckdb.DuckDBPyConnection, vertex: VertexTable, count: int) -> bool:
    """Whether the (unique, non-NULL) key is one integer column that holds 0 … count - 1."""
    if len(vertex.key) != 1:
        return False
    key = quote(vertex.key[0])
    [(kind,)] = con.execute(f"SELECT any_value(typeof({key})) FROM {vertex.rows}").fetchall()
    if kind not in ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT"):
        return False
    [(holds,)] = con.execute(f"SELECT min({key}) = 0 AND max({key}) = {count - 1} FROM {vertex.rows}").fetchall()
    return bool(holds)
