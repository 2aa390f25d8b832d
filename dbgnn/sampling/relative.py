"""The times of given nodes and edges, and how long before their seed's time those of a subgraph were."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from dbgnn.errors import DataError, StaleIndexError
from dbgnn.sampling.batch import Subgraph
from dbgnn.sampling.relabel import Ids
from dbgnn.schema.model import EdgeType, Label, shown_type
from dbgnn.topology.derived import rows_by_id
from dbgnn.topology.times import Moments, TimeColumn, Timeline

if TYPE_CHECKING:
    from dbgnn.open_database import OpenDatabase
    from dbgnn.topology import EdgeIndex, Topology
    from dbgnn.topology.index import VertexIndex


def times_of(db: OpenDatabase, topology: Topology, timeline: Timeline, label: Label, ids: Ids) -> Moments:
    """Return the times of nodes or edges that have one, int64 ``[n]``, in the unit of the timeline.

    Args:
        db: The database.
        topology: The verified index.
        timeline: Which columns say when.
        label: A node or edge type that has a column.
        ids: Their ids ``[n]``.

    Raises:
        DataError: A row has no time; with its key.
        StaleIndexError: A row is gone.
    """
    column: TimeColumn
    rows: VertexIndex | EdgeIndex
    if isinstance(label, str):
        column, rows = timeline.nodes[label], topology.vertices[label]
    else:
        column, rows = timeline.edges[label], topology.edges[label]
    con = db.cursor()
    query = f"""SELECT asked.place, r.time
FROM asked JOIN ({rows_by_id(rows, f"{column.sql(con, rows.element, timeline.unit)} AS time")}) AS r ON r.id = asked.id"""
    place = np.arange(len(ids), dtype=np.int64)
    found = db.arrow(query, asked=pa.table({"id": ids, "place": place}))
    times = found.column("time").combine_chunks()
    if times.null_count:
        column.check(con, rows.element, timeline.unit)
        raise DataError(f"Column {column.name!r} of {shown_type(label)} was changed while it was read; try again.")
    if len(times) < len(ids):
        raise StaleIndexError(f"Rows of {shown_type(label)} are gone since the index was verified; call graph.build().")
    out = np.empty(len(ids), dtype=np.int64)
    out[found.column("place").to_numpy()] = times.to_numpy()
    return out


def add_relative_times(db: OpenDatabase, topology: Topology, timeline: Timeline, found: Sequence[Subgraph]) -> None:
    """Say of every node and edge of subgraphs that has a time how long before its seed's that was.

    Raises:
        DataError, StaleIndexError: See `times_of`; or the difference is beyond 64 bits.
    """
    for label in timeline.nodes:
        own = times_of(db, topology, timeline, label, np.concatenate([part.node[label] for part in found]))
        _share(found, label, own, [part.tree[label] for part in found])
    for edge_type in timeline.edges:
        own = times_of(db, topology, timeline, edge_type, np.concatenate([part.edge[edge_type] for part in found]))
        _share(found, edge_type, own, [_tree_of_edges(part, edge_type) for part in found])


def _tree_of_edges(part: Subgraph, edge_type: EdgeType) -> Ids:
    return part.tree[edge_type[2]][part.col[edge_type]]


def _share(found: Sequence[Subgraph], label: Label, own: Moments, trees: Sequence[Ids]) -> None:
    ends = np.cumsum([len(tree) for tree in trees])
    for part, tree, times in zip(found, trees, np.split(own, ends[:-1]), strict=True):
        part.relative[label] = before(part.until[tree], times, label)


def before(seeds: Moments, own: Moments, label: Label) -> Moments:
    """Return how long before their seeds' times other times are; negative: after.

    Raises:
        DataError: The difference is beyond 64 bits.
    """
    difference: Moments = seeds - own
    if (((seeds ^ own) & (seeds ^ difference)) < 0).any():
        raise DataError(f"Times of {shown_type(label)} and of their seeds lie further apart than 64 bits hold.")
    return difference
