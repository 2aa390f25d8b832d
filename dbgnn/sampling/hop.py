"""The SQL of one hop: pure functions from sizes to text. Every statement expands the frontiers of many batches.

The frontier is a relation ``(b, li, node, tree, key)``: number of the batch, position of the node in it, node id,
subgraph (the seed's position if subgraphs are disjoint, else 0), and the random key of batch, hop and edge type.
"""

from __future__ import annotations

from dbgnn.sampling.random import MASK, mix_sql

#: Up to this many times k, every neighbour gets a random number and the k smallest win; beyond, positions are
#: drawn until k are distinct, so that the cost of a hub does not grow with its degree.
RANKED = 4


def expand(adjacency: str, k: int, *, replace: bool) -> str:
    """Return the query of one hop over one edge type: ``(b, li, src, e)``, at most ``k`` rows per frontier row.

    Args:
        adjacency: Quoted name of the index table ``(dst, nbrs, eids)``.
        k: Neighbours per node; -1: all.
        replace: Draw with replacement.

    The rows of one frontier row come together, in the order of their draws.
    """
    if k < 0:
        return f"""SELECT f.b, f.li, unnest(a.nbrs) AS src, unnest(a.eids) AS e
FROM {adjacency} AS a JOIN frontier AS f ON a.dst = f.node"""
    drawn = "deg > 0" if replace else f"deg > {RANKED * k}"
    few = k + 2 if replace else 2 * k + 4
    return f"""WITH
joined AS (
  SELECT f.b, f.li, a.nbrs, a.eids, len(a.nbrs) AS deg, xor(f.key, f.node::BIGINT) AS x, f.tree::BIGINT AS tree
  FROM {adjacency} AS a JOIN frontier AS f ON a.dst = f.node),
noded AS (SELECT * REPLACE (xor({mix_sql("x")}, tree) AS x) FROM joined),
keyed AS (SELECT *, {mix_sql("x")} AS key FROM noded),
draws AS (SELECT *, CASE WHEN {drawn} THEN {_draws(few)} END AS draw FROM keyed),
picks AS (
  SELECT b, li, nbrs, eids, deg, key, CASE
    WHEN {drawn} THEN {_first(k, "draw", replace=replace)}
    WHEN deg > {k} THEN {_smallest(k)}
    ELSE range(1, deg + 1) END AS p
  FROM draws),
enough AS (
  SELECT b, li, nbrs, eids, CASE
    WHEN len(p) = {k if replace else f"least({k}, deg)"} THEN p
    ELSE {_first(k, _draws(16 * k + 64), replace=replace)} END AS p
  FROM picks)
SELECT b, li, unnest(list_select(nbrs, p)) AS src, unnest(list_select(eids, p)) AS e
FROM enough"""


def induce(adjacency: str) -> str:
    """Return the query of all edges among given nodes: ``(b, li, src_li, e)``.

    The relations ``targets(b, li, node, tree)`` and ``sources(b, li, node, tree)`` hold the nodes at both ends.
    """
    return f"""SELECT d.b, d.li, s.li AS src_li, d.e
FROM (
  SELECT t.b, t.li, t.tree, unnest(a.nbrs) AS src, unnest(a.eids) AS e
  FROM {adjacency} AS a JOIN targets AS t ON a.dst = t.node) AS d
JOIN sources AS s ON s.b = d.b AND s.tree = d.tree AND s.node = d.src"""


def _smallest(k: int) -> str:
    """Return the positions of the k smallest random numbers, one per neighbour (ties, 1 in 2**32, to the lower position)."""
    ranked = f"list_transform(range(deg), lambda j: ({mix_sql('xor(key, j)')} << 31) | j)"
    return f"list_transform(list_aggregate({ranked}, 'min', {k}), lambda z: (z & {2**31 - 1}) + 1)"


def _draws(count: int) -> str:
    """Return a list of ``count`` positions drawn from 1 … deg, NULL where a draw is rejected.

    A draw is ``(u * deg) >> 32`` for 32 random bits u, rejected where it would favour some position (D. Lemire,
    "Fast random integer generation in an interval", 2019), so that every position is equally likely.
    """
    products = f"list_transform(range({count}), lambda j: {mix_sql('xor(key, j)')} * deg)"
    return f"list_transform({products}, lambda z: CASE WHEN (z & {MASK}) >= {MASK + 1} % deg THEN (z >> 32) + 1 END)"


def _first(k: int, draws: str, *, replace: bool) -> str:
    """Return the first k draws that count: not rejected and, without replacement, not drawn before.

    The draws are one endless sequence of which a list shows the beginning, so its length never shows in the
    sample. (``list_distinct`` loses the order of the draws: its first k would not be a uniform choice.)
    """
    counts = "x IS NOT NULL" if replace else f"x IS NOT NULL AND list_position({draws}, x) = i"
    return f"list_filter({draws}, lambda x, i: {counts})[:{k}]"
