"""The whole index compared with the tables that it was made from: every id, every edge, in bounded memory.

`state.py` compares checksums, which whoever writes an index can write as well. Here the tables alone are believed: ids are
numbered again and edges found again, by statements that spill to disk, and what the index says otherwise is counted. It costs
about what building costs, and writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import duckdb

from dbgnn.errors import StaleIndexError
from dbgnn.schema import PropertyGraph
from dbgnn.schema.catalog import OWN_SCHEMA
from dbgnn.schema.keys import compared
from dbgnn.schema.model import EdgeTable, VertexTable
from dbgnn.sql import quote
from dbgnn.topology.contents import damage
from dbgnn.topology.index import EdgeIndex, VertexIndex
from dbgnn.topology.resolved import MISSING, ends_of, is_dense, resolved_query
from dbgnn.topology.state import IncompleteIndexError, check_part, edge_index, vertex_index
from dbgnn.topology.stored import StoredPart, stored_parts
from dbgnn.topology.table_state import TableState, part_name, table_states

#: How many ids are named.
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Difference:
    """A part of the index that is not what its tables make it.

    Attributes:
        part: The vertex or edge table.
        text: What is wrong, as a sentence without its end.
        ids: The first ids for which it is.
        count: For how many.
        total: Of how many.
        is_stale: Nothing was compared: the text is that of a `StaleIndexError`, which says what to do.
        is_missing: Likewise, and the next use builds the part: it was never built, or rows moved.
    """

    part: VertexTable | EdgeTable
    text: str
    ids: tuple[int, ...] = ()
    count: int = 0
    total: int = 0
    is_stale: bool = False
    is_missing: bool = False


def differences(con: duckdb.DuckDBPyConnection, graph: PropertyGraph) -> Iterator[Difference]:
    """Yield where the index of a graph is not what its tables make it.

    Args:
        con: A connection, in a transaction, so that all is read of one state.
        graph: The graph; its tables and columns are there.
    """
    stored, states = stored_parts(con, graph.name), table_states(con, graph)
    sound: dict[str, VertexIndex] = {}
    parts: list[VertexTable | EdgeTable] = [*graph.vertices, *graph.edges]
    for part in parts:
        try:
            check_part(stored, graph, part, states)
        except StaleIndexError as error:
            yield Difference(part, str(error), is_stale=True, is_missing=isinstance(error, IncompleteIndexError))
            continue
        found = stored.parts[part_name(part)]
        if isinstance(part, VertexTable):
            index = vertex_index(part, found)
            different = _vertex(con, index, states[part_name(part)])
            if different is None:
                sound[part.label] = index
        elif wrong := [label for label in (part.source, part.destination) if label not in sound]:
            different = Difference(part, f"its edges cannot be compared, since the ids of {wrong[0]!r} are wrong")
        else:
            different = _edges(con, graph, edge_index(part, found, sound[part.source], sound[part.destination]), sound, states)
        if different is None:
            different = _unlike(con, part, found)
        if different is not None:
            yield different


def _vertex(con: duckdb.DuckDBPyConnection, index: VertexIndex, state: TableState) -> Difference | None:
    vertex, table = index.vertex, index.vertex.rows
    if index.dense and not is_dense(con, vertex, index.num_nodes):
        return Difference(vertex, "it says that keys are ids, and they are not", (), index.num_nodes, index.num_nodes)
    if index.dense and index.map_table is None:  # keys are ids, so only rows have to be; no need to sort
        return _rows(con, index, f"SELECT rowid AS id FROM {table} WHERE {quote(vertex.key[0])} <> rowid")
    types = [kind for _, kind in state.columns]
    keys = ", ".join(f"{compared(quote(k), kind)} ASC NULLS LAST" for k, kind in zip(vertex.key, types, strict=True))
    return _ids(con, index, f"SELECT rowid AS rid FROM {table} ORDER BY {keys}")


def _ids(con: duckdb.DuckDBPyConnection, index: VertexIndex | EdgeIndex, ordered: str) -> Difference | None:
    """Compare the rows that ids lead to with those that the query ``ordered`` numbers."""
    made = f"SELECT row_number() OVER () - 1 AS id, rid FROM ({ordered})"
    kept = f"SELECT rid AS id, rid FROM ({ordered})" if index.map_table is None else f"SELECT id, rid FROM {index.map_table}"
    return _rows(
        con,
        index,
        f"""SELECT coalesce(made.id, kept.id) AS id
        FROM ({made}) AS made FULL JOIN ({kept}) AS kept ON made.id = kept.id
        WHERE made.rid IS DISTINCT FROM kept.rid""",
    )


def _rows(con: duckdb.DuckDBPyConnection, index: VertexIndex | EdgeIndex, query: str) -> Difference | None:
    """Return what the query of the ids that lead to wrong rows says."""
    total = index.num_nodes if isinstance(index, VertexIndex) else index.num_edges
    count, first = _differing(con, query)
    return Difference(index.element, "ids lead to other rows than those of their rank", first, count, total) if count else None


def _edges(
    con: duckdb.DuckDBPyConnection,
    graph: PropertyGraph,
    index: EdgeIndex,
    indexed: dict[str, VertexIndex],
    states: dict[str, TableState],
) -> Difference | None:
    edge, total = index.edge, index.num_edges
    resolved = resolved_query(edge, ends_of(graph, edge, states), indexed, graph.optional_columns(edge))
    [(edges, dropped)] = con.execute(f"SELECT count(*), count(*) FILTER (WHERE {MISSING}) FROM ({resolved})").fetchall()
    if (edges - dropped, dropped) != (index.num_edges, index.dropped):
        text = f"it says {index.num_edges:,} edges and {index.dropped:,} dropped; there are {edges - dropped:,} and {dropped:,}"
        return Difference(edge, text, (), abs(edges - dropped - index.num_edges), total)
    kept = f"SELECT * FROM ({resolved}) WHERE NOT ({MISSING})"
    if index.map_table is None:  # distinct rowids are their ranks if the last is the last
        found = _rows(con, index, f"SELECT max(rid) AS id FROM ({kept}) HAVING max(rid) <> {total - 1}")
    else:
        found = _ids(con, index, f"SELECT rid FROM ({kept}) ORDER BY rid ASC")
    if found is not None:
        return found
    eid, source = "k.rid", f"({kept}) AS k"
    if index.map_table is not None:
        eid, source = "m.id", f"({kept}) AS k JOIN {index.map_table} AS m ON m.rid = k.rid"
    # Of every node the number of edges, and two checksums of them; the hash is of the value, whatever the width of the integer.
    one = "hash(hash(src::BIGINT, e::BIGINT))"
    sums = f"count(*) AS n, bit_xor({one}) AS x, sum({one} % 1000000007) AS s"
    made = f"SELECT dst, {sums} FROM (SELECT k.dst, k.src, {eid} AS e FROM {source}) GROUP BY dst"
    lists = f"SELECT dst, unnest(nbrs) AS src, unnest(eids) AS e FROM {index.adjacency}"
    count, first = _differing(
        con,
        f"""SELECT coalesce(made.dst, kept.dst) AS id
        FROM ({made}) AS made FULL JOIN (SELECT dst, {sums} FROM ({lists}) GROUP BY dst) AS kept ON made.dst = kept.dst
        WHERE made.n IS DISTINCT FROM kept.n OR made.x IS DISTINCT FROM kept.x OR made.s IS DISTINCT FROM kept.s""",
    )
    if count:
        return Difference(
            edge, f"nodes of {edge.destination!r} have other edges than in the table", first, count, index.num_dst
        )
    pairs = "list_zip(nbrs, eids)"
    count, first = _differing(
        con,
        f"""SELECT dst AS id FROM (
          SELECT dst, {pairs} = list_sort({pairs}, 'ASC', 'NULLS LAST') AS sorted,
            coalesce(dst > lag(dst) OVER (ORDER BY rowid ASC), true) AS follows
          FROM {index.adjacency})
        WHERE NOT (sorted AND follows)""",
    )
    return (
        Difference(edge, f"edges of {edge.destination!r} are not in their order", first, count, index.num_dst)
        if count
        else None
    )


def _unlike(con: duckdb.DuckDBPyConnection, part: VertexTable | EdgeTable, found: StoredPart) -> Difference | None:
    """Return what is wrong with index tables that say what they should: a row twice, or another checksum."""
    for name, fault in damage(con, [(part.rows, found)]).items():
        return Difference(part, f"{OWN_SCHEMA}.{name} {fault}", (), found.num_rows, found.num_rows)
    return None


def _differing(con: duckdb.DuckDBPyConnection, query: str) -> tuple[int, tuple[int, ...]]:
    """Return how many ids a query has, and the first ones."""
    [(count, first)] = con.execute(f"SELECT count(*), min(id, {_SHOWN}) FROM ({query})").fetchall()
    return count, tuple(first or ())
