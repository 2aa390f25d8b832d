"""One hop over one edge type: NumPy chooses positions, SQL reads what stands there. Knows no mini-batches.

One statement serves any number of nodes, those of many mini-batches. Its result has no order, so every row says whose
it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dbgnn.clock import Clock
from dbgnn.errors import StaleIndexError
from dbgnn.sampling.choose import Counts, choose, counts
from dbgnn.sampling.degrees import Degrees
from dbgnn.sampling.random import Words
from dbgnn.sampling.relabel import Ids, id_type

if TYPE_CHECKING:
    from dbgnn.database import Database
    from dbgnn.topology import EdgeIndex

#: Rows of a result that are written to their places together, while they are in the processor's cache.
_ROWS = 1 << 14


@dataclass(frozen=True, slots=True)
class Edges:
    """The edges that a hop took, node by node, each node's in the order of its draws.

    Attributes:
        count: How many each node has: int32 ``[nodes]``.
        src: Ids of the sources ``[edges]``, int32 where they fit, else int64.
        edge: Edge ids, likewise.
    """

    count: Counts
    src: Ids
    edge: Ids


def expand(
    db: Database, index: EdgeIndex, degrees: Degrees, nodes: Ids, keys: Words, k: int, *, replace: bool, clock: Clock
) -> Edges:
    """Return at most ``k`` edges of every node.

    Args:
        db: The database.
        index: The edge type.
        degrees: Its degrees.
        nodes: The destinations ``[n]``; one may come more than once.
        keys: The random key of each.
        k: Neighbours per node; -1: all.
        replace: Draw with replacement.
        clock: Told the time spent on ``sampling`` and ``grouping``.

    Raises:
        StaleIndexError: The adjacency is not the one that the degrees are of.
    """
    with clock("sampling"):
        degree = degrees.of(nodes)
        count = counts(degree, k, replace=replace)
        there = np.flatnonzero(count)
        frontier = pa.table(
            {
                "at": there.astype(np.int32),
                "node": nodes[there],
                "positions": _positions(keys[there], degree[there], k, replace=replace),
            }
        )
        found = db.arrow(expand_sql(index.adjacency), frontier=frontier) if len(there) else None
    with clock("grouping"):
        start = np.cumsum(count, dtype=np.int64)
        total = int(start[-1]) if len(start) else 0
        start -= count
        src, edge = np.empty(total, dtype=id_type(index.num_src)), np.empty(total, dtype=id_type(index.num_edges))
        placed = 0
        for rows in [] if found is None else found.to_batches(_ROWS):
            placed += _place(rows, start, count, src, edge)
        if placed != total:
            raise StaleIndexError(
                f"Index table {index.adjacency} is not the one that was read before: it was built anew. Try again."
            )
    return Edges(count, src, edge)


def expand_sql(adjacency: str) -> str:
    """Return the query of a hop, ``(at, src, edge)``, for ``frontier(at, node, positions)``; positions NULL: all.

    Args:
        adjacency: Quoted name of the index table ``(dst, nbrs, eids)``.
    """
    return f"""SELECT f.at,
  CASE WHEN f.positions IS NULL THEN a.nbrs ELSE list_select(a.nbrs, f.positions) END AS src,
  CASE WHEN f.positions IS NULL THEN a.eids ELSE list_select(a.eids, f.positions) END AS edge
FROM {adjacency} AS a JOIN frontier AS f ON a.dst = f.node"""


def induce_sql(adjacency: str) -> str:
    """Return the query of all edges among given nodes: ``(b, li, src_li, e)``.

    The relations ``targets(b, li, node, tree)`` and ``sources(b, li, node, tree)`` hold the nodes at both ends.
    """
    return f"""SELECT d.b, d.li, s.li AS src_li, d.e
FROM (
  SELECT t.b, t.li, t.tree, unnest(a.nbrs) AS src, unnest(a.eids) AS e
  FROM {adjacency} AS a JOIN targets AS t ON a.dst = t.node) AS d
JOIN sources AS s ON s.b = d.b AND s.tree = d.tree AND s.node = d.src"""


def _positions(keys: Words, degree: Counts, k: int, *, replace: bool) -> pa.Array:
    """Return what each node takes, as SQL counts, from 1; NULL where it is the whole list."""
    some = np.full(len(degree), k >= 0) if replace or k < 0 else degree > k
    chosen = choose(keys[some], degree[some], k, replace=replace) + 1 if some.any() else np.empty(0, dtype=np.int32)
    ends = np.insert(np.cumsum(some * k), 0, 0)
    return pa.LargeListArray.from_arrays(pa.array(ends), pa.array(chosen.ravel()), mask=pa.array(~some))


def _place(rows: pa.RecordBatch, start: npt.NDArray[np.int64], count: Counts, src: Ids, edge: Ids) -> int:
    """Write the lists of a result to where their nodes' edges begin, and return how many edges those are."""
    at = rows.column(0).to_numpy()
    length = count[at]
    there = np.repeat(start[at] + length - np.cumsum(length, dtype=np.int64), length)
    there += np.arange(len(there))
    sources, edges = (rows.column(i).flatten().to_numpy() for i in (1, 2))
    if len(sources) != len(there):
        return -1
    src[there], edge[there] = sources, edges
    return len(there)
