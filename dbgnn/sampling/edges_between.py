"""Which of given pairs of nodes are edges: one statement over the lists of all destinations that are named."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from dbgnn.sampling.relabel import Ids
from dbgnn.topology import ids_within

if TYPE_CHECKING:
    from dbgnn.open_database import OpenDatabase
    from dbgnn.topology import EdgeIndex


def edges_of_pairs(db: OpenDatabase, index: EdgeIndex, src: Ids, dst: Ids) -> tuple[Ids, Ids]:
    """Return the edges between pairs of nodes: positions of the pairs ``[m]``, and edge ids ``[m]``, in the order of both.

    Args:
        db: The database.
        index: The edge type.
        src: The source of each pair ``[n]``.
        dst: The destination of each ``[n]``.
    """
    at = np.arange(len(src), dtype=np.int64)
    found = db.arrow(edges_of_pairs_sql(index.adjacency), pairs=pa.table({"at": at, "src": src, "dst": dst}))
    place = found.column("at").to_numpy()
    edge = ids_within(found.column("edge").combine_chunks(), index.num_edges, "edge id", index)
    order = np.lexsort((edge, place))
    return place[order], edge[order]


def edges_of_pairs_sql(adjacency: str) -> str:
    """Return the query ``(at, edge)`` for ``pairs(at, src, dst)``: every list is read once, however many pairs lead to it."""
    return f"""WITH ends AS (
  SELECT DISTINCT dst FROM pairs),
edges AS (
  SELECT a.dst, unnest(a.nbrs) AS src, unnest(a.eids) AS edge
  FROM {adjacency} AS a JOIN ends ON a.dst = ends.dst)
SELECT pairs."at", edges.edge
FROM edges JOIN pairs ON pairs.dst = edges.dst AND pairs.src = edges.src"""
