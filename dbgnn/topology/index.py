"""What the topology index consists of, as data; how it is made is in `build.py`, whether it is up to date in `state.py`.

A node id is the rank of a row by its key, an edge id the rank of a row in table order; both count from 0.
Keys stay where they are when DuckDB moves rows (an UPDATE of an array column does), so node ids do too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dbgnn.schema.model import EdgeTable, EdgeType, VertexTable
from dbgnn.sql import quote


@dataclass(frozen=True, slots=True)
class VertexIndex:
    """Ids of one node type.

    Attributes:
        vertex: The vertex table.
        num_nodes: Number of nodes; ids are 0 … num_nodes - 1.
        map_table: Quoted name of a table ``(id, rid)`` from node id to rowid, sorted by id; None where
            every id equals the rowid.
        dense: The key is one integer column and equals the id.
        keys: Checksum of the keys: as long as it is the same, every id means the same node.
        rows: Checksum of rowids and keys: as long as it is the same, every id leads to the same row.
        kinds: The types of the key columns that the checksum was made with.
        map_sum: Checksum of the map table.
    """

    vertex: VertexTable
    num_nodes: int
    map_table: str | None
    dense: bool
    keys: str
    rows: str = ""
    kinds: tuple[str, ...] = ()
    map_sum: str = ""

    @property
    def element(self) -> VertexTable:
        """The vertex table."""
        return self.vertex


@dataclass(frozen=True, slots=True)
class EdgeIndex:
    """Adjacency of one edge type.

    Attributes:
        edge: The edge table.
        num_edges: Number of edges; ids (``e_id``) are 0 … num_edges - 1.
        num_src: Number of nodes of the source type.
        num_dst: Number of nodes of the destination type.
        adjacency: Quoted name of a table ``(dst, nbrs, eids)``: one row per destination that has edges,
            sorted by it; in-neighbours and edge ids, sorted by (neighbour, edge id).
        map_table: Quoted name of a table ``(id, rid)`` from edge id to rowid, sorted by id; None where
            every id equals the rowid.
        dropped: Number of edges left out because an endpoint does not exist (``dangling='drop'``).
        rows: Checksum of rowids and keys: as long as it is the same, every id leads to the same row.
        kinds: The types of the key columns that the checksum was made with.
        map_sum: Checksum of the map table.
        adjacency_sum: Checksum of the adjacency lists.
    """

    edge: EdgeTable
    num_edges: int
    num_src: int
    num_dst: int
    adjacency: str
    map_table: str | None
    dropped: int = 0
    rows: str = ""
    kinds: tuple[str, ...] = ()
    map_sum: str = ""
    adjacency_sum: str = ""

    @property
    def element(self) -> EdgeTable:
        """The edge table."""
        return self.edge


@dataclass(frozen=True, slots=True)
class Topology:
    """The index of a whole graph, verified against the tables.

    Attributes:
        vertices: By label.
        edges: By edge type.
        in_memory: Whether some of it is kept in memory, since the file is open read-only.
        registered: The rows of the file's registry that say so.
    """

    vertices: dict[str, VertexIndex]
    edges: dict[EdgeType, EdgeIndex]
    in_memory: bool = False
    registered: frozenset[tuple[Any, ...]] = frozenset()


def ids_of_keys(index: VertexIndex) -> str:
    """Return a query of ``(id, k0, k1, …)``: every node's id and its key columns, renamed."""
    keys = ", ".join(f"t.{quote(name)} AS k{i}" for i, name in enumerate(index.vertex.key))
    table = index.vertex.rows
    if index.map_table is None:
        return f"SELECT t.rowid AS id, {keys} FROM {table} AS t"
    return f"SELECT m.id, {keys} FROM {table} AS t JOIN {index.map_table} AS m ON m.rid = t.rowid"


def same_ids(one: Topology, other: Topology, label: str | EdgeType) -> bool:
    """Whether every id of a node or edge type means the same row in two states of the index.

    False also for edges whose index was built again without need: the adjacency is not compared row by row.
    """
    if isinstance(label, str):
        vertices = one.vertices.get(label), other.vertices.get(label)
        return vertices[0] is not None and vertices[1] is not None and vertices[0].keys == vertices[1].keys
    edges = one.edges.get(label), other.edges.get(label)
    return edges[0] is not None and edges[1] is not None and edges[0].adjacency == edges[1].adjacency
