"""One hop over one edge type: the SQL that samples, and its result brought into order. Knows no mini-batches.

One statement serves any number of nodes, those of many mini-batches. Its result has no order, so every row says whose
it is.

Without replacement it is R. Floyd's algorithm (J. Bentley, "Programming pearls: a sample of brilliance", 1987): for
i = 1 … k draw one of the first ``m = degree - k + i`` positions; where that is taken already, take m, which cannot be.
The cost does not grow with the degree of a hub. Only for very large k every neighbour gets a random word, and the k
smallest win.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from dbgnn.clock import Clock
from dbgnn.sampling.random import MASK, Words, round_sql
from dbgnn.sampling.relabel import Ids, id_type
from dbgnn.topology import damaged, ids_within

if TYPE_CHECKING:
    from dbgnn.database import Database
    from dbgnn.topology import EdgeIndex

Counts: TypeAlias = npt.NDArray[np.int32]

#: Up to this k, every draw is a column of its own: half the time of lists (88 k nodes, k = 5: 41 instead of 84 ms of CPU), but
#: parsing and binding the statement takes 9 ms for k = 5, 30 ms for k = 15.
UNROLLED = 8

#: From this k on, comparing every draw with those before it costs more than a random word for every neighbour.
RANKED = 256

#: Part of the error of a statement all of whose words for some draw were rejected.
TOO_FEW = "dbgnn: too few words"

#: How many words a statement tries per draw at most. Of 256, all are rejected once in 2**6000 draws, at degree 2**26.
_MOST_WORDS = 256

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


def expand(db: Database, index: EdgeIndex, nodes: Ids, keys: Words, k: int, *, replace: bool, clock: Clock) -> Edges:
    """Return at most ``k`` edges of every node.

    Args:
        db: The database.
        index: The edge type.
        nodes: The destinations ``[n]``; one may come more than once.
        keys: The random key of each.
        k: Neighbours per node; -1: all.
        replace: Draw with replacement.
        clock: Told the time spent on ``sampling`` and ``grouping``.
    """
    with clock("sampling"):
        frontier = pa.table({"at": np.arange(len(nodes), dtype=np.int32), "node": nodes, "key": keys.astype(np.int64)})
        found = _run(db, index, frontier, k, replace=replace)
    with clock("grouping"):
        count = _counts(index, found, len(nodes))
        start = np.cumsum(count, dtype=np.int64)
        total = int(start[-1]) if len(start) else 0
        start -= count
        src, edge = np.empty(total, dtype=id_type(index.num_src)), np.empty(total, dtype=id_type(index.num_edges))
        for rows in found.to_batches(_ROWS):
            _place(rows, start, count, src, edge, index)
    return Edges(count, src, edge)


def _run(db: Database, index: EdgeIndex, frontier: pa.Table, k: int, *, replace: bool) -> pa.Table:
    words = 1
    while True:
        try:
            return db.arrow(expand_sql(index.adjacency, k, replace=replace, words=words), frontier=frontier)
        except duckdb.Error as error:
            if TOO_FEW not in str(error):
                raise
            if words >= _MOST_WORDS:  # the lists of a build have a length, and a position for a word of every few thousand
                raise damaged(index, f"a list in {index.adjacency} has no length") from error
            words *= 4


def _counts(index: EdgeIndex, found: pa.Table, nodes: int) -> Counts:
    """Return how many edges each node has, if every list is there, of one node alone, and has an edge id for each source."""
    count = np.zeros(nodes, dtype=np.int32)
    for at, sources, edges in zip(*(column.chunks for column in found.columns), strict=True):
        if sources.null_count or edges.null_count:
            raise damaged(index, f"a list in {index.adjacency} is NULL")
        length = pc.list_value_length(sources).to_numpy()
        if not np.array_equal(length, pc.list_value_length(edges).to_numpy()):
            raise damaged(index, f"a list in {index.adjacency} has more or fewer edge ids than neighbours")
        count[at.to_numpy()] = length
    if np.count_nonzero(count) != len(found):
        raise damaged(index, f"a node is in {index.adjacency} twice, or has an empty list")
    return count


def _place(rows: pa.RecordBatch, start: npt.NDArray[np.int64], count: Counts, src: Ids, edge: Ids, index: EdgeIndex) -> None:
    """Write the lists of a result to where their nodes' edges begin."""
    at = rows.column(0).to_numpy()
    length = count[at]
    there = np.repeat(start[at] + length - np.cumsum(length, dtype=np.int64), length)
    there += np.arange(len(there))
    src[there] = ids_within(rows.column(1).flatten(), index.num_src, "neighbour", index)
    edge[there] = ids_within(rows.column(2).flatten(), index.num_edges, "edge id", index)


# -- SQL -------------------------------------------------------------------------------------------------


def expand_sql(adjacency: str, k: int, *, replace: bool, words: int) -> str:
    """Return the query of a hop: ``(at, src, edge)``, lists of at most ``k``, for ``frontier(at, node, key)``.

    Args:
        adjacency: Quoted name of the index table ``(dst, nbrs, eids)``.
        k: Neighbours per node; -1: all.
        replace: Draw with replacement.
        words: How many random words to try per draw. They are the beginning of one endless sequence, so their number
            never shows in the sample; where all are rejected, the statement fails with ``TOO_FEW``.
    """
    joined = f"""SELECT f."at", f.key, a.nbrs, a.eids, len(a.nbrs)::BIGINT AS deg
  FROM {adjacency} AS a JOIN frontier AS f ON a.dst = f.node"""
    if k < 0:
        return f'SELECT "at", nbrs AS src, eids AS edge FROM ({joined})'
    if replace:
        steps = [f"{_KEPT}, {_words(str(k))} AS w", f"{_KEPT}, {_positions('deg', words)} AS p"]
    elif k >= RANKED:
        steps = [f"{_KEPT}, {_or_all(k, _smallest(k))} AS p"]
    elif k <= UNROLLED and words == 1:  # the rare statement that needs more takes lists; the sample is the same
        steps = _floyd_unrolled(k)
    else:
        steps = _floyd(k, words)
    # One chain: a second use of `joined` would make DuckDB keep it, lists of hubs and all.
    names = ["joined", *(f"step{n}" for n in range(len(steps)))]
    ctes = [f"{name} AS (SELECT {step} FROM {before})" for name, before, step in zip(names[1:], names, steps, strict=False)]
    ctes_text = ",\n".join([f"joined AS ({joined})", *ctes])
    return f"""WITH {ctes_text}
SELECT "at", list_select(nbrs, p) AS src, list_select(eids, p) AS edge FROM {names[-1]}"""


#: What every step hands on.
_KEPT = '"at", nbrs, eids, deg'


def _or_all(k: int, chosen: str) -> str:
    """Return ``chosen`` for nodes with more than k neighbours, and every position for the others."""
    return f"CASE WHEN deg > {k} THEN {chosen} ELSE range(1, deg + 1) END"


def _words(count: str) -> str:
    """Return a list of ``count`` random words, `random.mix` of the key and 0, 1, and so on.

    One list per round, since a lambda evaluates its text as it stands and would repeat the rounds inside of others.
    """
    return f"""list_transform(list_transform(list_transform(range({count}),
    lambda j: xor(key, j)), lambda w: {round_sql("w")}), lambda w: {round_sql("w")})"""


def _positions(bound: str, words: int) -> str:
    """Return a list of positions for the list ``w`` of words, the i-th at most ``bound``."""
    return f"list_transform(w, lambda w, i: {_below('w', f'({bound})', words)})"


def _floyd(k: int, words: int) -> list[str]:
    """Return Floyd's algorithm with lists: steps that end in ``(at, nbrs, eids, deg, p)``."""
    taken = f"CASE WHEN list_contains(taken, x) THEN deg - {k} + i ELSE x END"
    return [
        f"{_KEPT}, CASE WHEN deg > {k} THEN {_words(str(k))} END AS w",
        f"{_KEPT}, CASE WHEN deg > {k} THEN {_positions(f'deg - {k} + i', words)} END AS d",
        f"{_KEPT}, {_or_all(k, f'list_reduce(d, lambda taken, x, i: list_append(taken, {taken}), []::BIGINT[])')} AS p",
    ]


def _floyd_unrolled(k: int) -> list[str]:
    """Return what `_floyd` does with a column per draw, ``w<i>`` its word and ``p<i>`` its position.

    Each step is a CTE of its own, since an expression is evaluated as often as its text stands there. What comes out for nodes
    with k neighbours or fewer is not used.
    """
    draws = range(k)

    def last(i: int) -> str:
        return f"(deg - {k - 1 - i})"

    steps = [
        ", ".join(f"xor(key, {i}) AS w{i}" for i in draws),
        *[", ".join(f"{round_sql(f'w{i}')} AS w{i}" for i in draws)] * 2,
        ", ".join(f"{_below(f'w{i}', last(i), 1)} AS p{i}" for i in draws),
    ]
    for i in draws[1:]:
        others = ", ".join(f"p{j}" for j in draws if j != i)
        taken = ", ".join(f"p{j}" for j in range(i))
        steps.append(f"{others}, CASE WHEN p{i} IN ({taken}) THEN {last(i)} ELSE p{i} END AS p{i}")
    steps.append(f"{_or_all(k, '[' + ', '.join(f'p{i}' for i in draws) + ']')} AS p")
    return [f"{_KEPT}, {step}" for step in steps]


def _smallest(k: int) -> str:
    """Return the positions of the k smallest of a word per neighbour."""
    ranked = f"list_transform({_words('deg')}, lambda w, i: (w << 31) | i)"
    # min(…, k) does not sort, but takes less than a million.
    smallest = f"list_aggregate({ranked}, 'min', {k})" if k < 1_000_000 else f"list_sort({ranked}, 'ASC', 'NULLS LAST')[:{k}]"
    return f"list_transform({smallest}, lambda w: w & {2**31 - 1})"


def _below(word: str, bound: str, words: int) -> str:
    """Return one of 1 … bound for 32 random bits, every one equally likely.

    It is ``(word * bound) >> 32``, and a word that would favour some number is rejected (D. Lemire, "Fast random integer
    generation in an interval", 2019). Then come ``mix(word ^ 1)``, ``mix(word ^ 2)`` and so on.
    """
    tries = []
    for n in range(words):
        again = word if n == 0 else round_sql(round_sql(f"xor({word}, {n})"))
        product = f"({again} * {bound})"
        low, position = f"({product} & {MASK})", f"(({product} >> 32) + 1)"
        # The first test is cheap and nearly always enough.
        tries.append(f"CASE WHEN {low} >= {bound} THEN {position} WHEN {low} >= {MASK + 1} % {bound} THEN {position} END")
    return f"coalesce({', '.join(tries)}, error('{TOO_FEW}')::BIGINT)"


def induce_sql(adjacency: str) -> str:
    """Return the query of all edges among given nodes: ``(b, li, src_li, e)``.

    The relations ``targets(b, li, node, tree)`` and ``sources(b, li, node, tree)`` hold the nodes at both ends.
    """
    return f"""SELECT d.b, d.li, s.li AS src_li, d.e
FROM (
  SELECT t.b, t.li, t.tree, unnest(a.nbrs) AS src, unnest(a.eids) AS e
  FROM {adjacency} AS a JOIN targets AS t ON a.dst = t.node) AS d
JOIN sources AS s ON s.b = d.b AND s.tree = d.tree AND s.node = d.src"""
