"""The SQL of one hop: pure functions from sizes to text. Every statement expands the frontiers of many batches.

The frontier is a relation ``(b, li, node, key)``: number of the batch, position of the node in it, node id, and the
node's random key (see `khop`).
"""

from __future__ import annotations

from dbgnn.sampling.random import MASK, round_sql

#: Up to this many times k, every neighbour gets a random number and the k smallest win; beyond, positions are
#: drawn until k are distinct, so that the cost of a hub does not grow with its degree.
RANKED = 4

#: Part of the error that a statement raises if ``draws`` did not suffice for some node.
TOO_FEW = "dbgnn: too few draws"


def few_draws(k: int, *, replace: bool) -> int:
    """Return how many draws nearly always suffice: with degree > 4k, all but one node in a million."""
    return k + 2 if replace else 2 * k + 4


def expand(adjacency: str, k: int, *, replace: bool, draws: int) -> str:
    """Return the query of one hop over one edge type: ``(b, li, src, e)``, at most ``k`` rows per frontier row.

    Args:
        adjacency: Quoted name of the index table ``(dst, nbrs, eids)``.
        k: Neighbours per node; -1: all.
        replace: Draw with replacement.
        draws: How many draws to try per node. They are the beginning of one endless sequence, so their number never
            shows in the sample; where they do not suffice, the statement fails with ``TOO_FEW``.

    The rows of one frontier row come together, in the order of their draws.
    """
    if k < 0:
        return f"""SELECT f.b, f.li, unnest(a.nbrs) AS src, unnest(a.eids) AS e
FROM {adjacency} AS a JOIN frontier AS f ON a.dst = f.node"""
    drawn = "deg > 0" if replace else f"deg > {RANKED * k}"
    ranked = "false" if replace else f"deg > {k}"
    return f"""WITH
joined AS (
  SELECT f.b, f.li, f.key, a.nbrs, a.eids, len(a.nbrs) AS deg
  FROM {adjacency} AS a JOIN frontier AS f ON a.dst = f.node),
random AS (
  SELECT *, CASE WHEN {drawn} OR {ranked} THEN {_random(f"CASE WHEN {drawn} THEN {draws} ELSE deg END")} END AS u
  FROM joined),
chosen AS (
  SELECT * REPLACE (CASE
    WHEN {drawn} THEN {_positions("u")}
    WHEN {ranked} THEN {_smallest(k, "list_transform(u, lambda u, i: (u << 31) | i)")} END AS u)
  FROM random),
picked AS (
  SELECT b, li, nbrs, eids, deg, CASE
    WHEN {drawn} THEN {_first(k, "u", distinct=not replace)}
    WHEN {ranked} THEN list_transform(u, lambda u: u & {2**31 - 1})
    ELSE range(1, deg + 1) END AS p
  FROM chosen),
checked AS (
  SELECT b, li, nbrs, eids, CASE WHEN {drawn} AND len(p) < {k} THEN error('{TOO_FEW}') ELSE p END AS p
  FROM picked)
SELECT b, li, unnest(list_select(nbrs, p)) AS src, unnest(list_select(eids, p)) AS e
FROM checked"""


def induce(adjacency: str) -> str:
    """Return the query of all edges among given nodes: ``(b, li, src_li, e)``.

    The relations ``targets(b, li, node, tree)`` and ``sources(b, li, node, tree)`` hold the nodes at both ends.
    """
    return f"""SELECT d.b, d.li, s.li AS src_li, d.e
FROM (
  SELECT t.b, t.li, t.tree, unnest(a.nbrs) AS src, unnest(a.eids) AS e
  FROM {adjacency} AS a JOIN targets AS t ON a.dst = t.node) AS d
JOIN sources AS s ON s.b = d.b AND s.tree = d.tree AND s.node = d.src"""


def _random(count: str) -> str:
    """Return a list of ``count`` random numbers of 32 bits, `random.mix` of the key and 0, 1, and so on.

    One list per round, since a lambda evaluates its text as it stands and would repeat the rounds inside of others.
    """
    return f"""list_transform(list_transform(list_transform(range({count}),
      lambda j: xor(key, j)), lambda u: {round_sql("u")}), lambda u: {round_sql("u")})"""


def _smallest(k: int, words: str) -> str:
    """Return the k smallest of a list; ``min`` with a number does it without sorting, but takes less than a million."""
    return f"list_aggregate({words}, 'min', {k})" if k < 1_000_000 else f"list_sort({words})[:{k}]"


def _positions(words: str) -> str:
    """Return positions from 1 … deg for a list of random numbers u, NULL where one is rejected.

    The position is ``(u * deg) >> 32``; u is rejected where it would favour some position (D. Lemire, "Fast random
    integer generation in an interval", 2019), so that every position is equally likely.
    """
    fair = f"((u * deg) & {MASK}) >= {MASK + 1} % deg"
    return f"list_transform({words}, lambda u: CASE WHEN {fair} THEN ((u * deg) >> 32) + 1 END)"


def _first(k: int, positions: str, *, distinct: bool) -> str:
    """Return the first k positions that count: not rejected and, if ``distinct``, not drawn before.

    ``list_distinct`` would lose the order of the draws, and its first k would not be a uniform choice.
    """
    counts = f"x IS NOT NULL AND list_position({positions}, x) = i" if distinct else "x IS NOT NULL"
    return f"list_filter({positions}, lambda x, i: {counts})[:{k}]"
