"""One hop over one edge type: the SQL that samples, and its result brought into order. Knows no mini-batches.

One statement serves any number of nodes, those of many mini-batches. Its result has no order, so every row says whose
it is. Which edges are taken is a matter of the mode (`modes/`).
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
from dbgnn.sampling.modes import Eligible, FinishedInMemory, Mode, Step
from dbgnn.sampling.modes.draws import TOO_FEW
from dbgnn.sampling.modes.threads import in_threads
from dbgnn.sampling.narrow import WHOLE, Narrowed, placed
from dbgnn.sampling.random import Words
from dbgnn.sampling.relabel import Ids, id_type
from dbgnn.topology import damaged, ids_within
from dbgnn.topology.times import Moments

if TYPE_CHECKING:
    from dbgnn.open_database import OpenDatabase
    from dbgnn.topology import EdgeIndex
    from dbgnn.topology.derived import Lists

Counts: TypeAlias = npt.NDArray[np.int32]

#: How many words a statement tries per draw at most. Of 256, all are rejected once in 2**6000 draws, at degree 2**26.
_MOST_WORDS = 256

#: Rows of a result that are written to their places together, while they are in the processor's cache.
_ROWS = 1 << 14

#: Lists of a result that are chosen from together.
_LISTS = 1 << 16

#: What every statement of a hop gives.
_COLUMNS = ["at", "src", "edge"]


@dataclass(frozen=True, slots=True)
class Edges:
    """The edges that a hop took, node by node, each node's in the order of its draws.

    Attributes:
        count: How many each node has: int32 ``[nodes]``.
        neighbour: Ids of the nodes that they lead to ``[edges]``, int32 where they fit, else int64.
        edge: Edge ids, likewise.
    """

    count: Counts
    neighbour: Ids
    edge: Ids


@dataclass(frozen=True, slots=True)
class Frontier:
    """The destinations of a hop; one may come more than once.

    Attributes:
        node: Their ids ``[n]``.
        key: The random key of each.
        until: Only edges of this time or an earlier one are eligible ``[n]``; None: time does not matter.
        since: Only edges later than this, likewise.
        excluded: For each, edge ids that are not eligible, a list or NULL; None: for none of them.
    """

    node: Ids
    key: Words
    until: Moments | None = None
    since: Moments | None = None
    excluded: pa.ListArray | None = None

    def table(self) -> pa.Table:
        """Return the relation ``frontier``."""
        columns = {"at": np.arange(len(self.node), dtype=np.int32), "node": self.node, "key": self.key.astype(np.int64)}
        more = {"until": self.until, "since": self.since, "excluded": self.excluded}
        return pa.table(columns | {name: values for name, values in more.items() if values is not None})

    @property
    def narrowed(self) -> Narrowed:
        """What narrows the lists of these nodes."""
        return Narrowed(until=self.until is not None, since=self.since is not None, excluded=self.excluded is not None)


def expand(db: OpenDatabase, index: EdgeIndex, lists: Lists, frontier: Frontier, k: int, mode: Mode, clock: Clock) -> Edges:
    """Return at most ``k`` edges of every node.

    Args:
        db: The database.
        index: The edge type.
        lists: Its lists.
        frontier: The nodes.
        k: Neighbours per node; -1: all.
        mode: Chooses them.
        clock: Told the time spent on ``sampling`` and ``grouping``.
    """
    with clock("sampling"):
        found = _run(db, index, lists, frontier, k, mode)
    with clock("grouping"):
        count = _counts(index, found, len(frontier.node))
        start = np.cumsum(count, dtype=np.int64)
        total = int(start[-1]) if len(start) else 0
        start -= count
        nodes = index.num_dst if lists.derivation.backward else index.num_src
        neighbour, edge = np.empty(total, dtype=id_type(nodes)), np.empty(total, dtype=id_type(index.num_edges))
        for rows in found.to_batches(_ROWS):
            at = rows.column(0).to_numpy()
            there = _places(at, start, count)
            neighbour[there] = ids_within(rows.column(1).flatten(), nodes, "neighbour", index)
            edge[there] = ids_within(rows.column(2).flatten(), index.num_edges, "edge id", index)
    return Edges(count, neighbour, edge)


def _run(db: OpenDatabase, index: EdgeIndex, lists: Lists, frontier: Frontier, k: int, mode: Mode) -> pa.Table:
    words, asked, keys = 1, frontier.table(), frontier.key
    mode, eligible = _eligible(lists, k, mode, frontier.narrowed)
    parts: list[pa.Table] = []
    while True:
        brought = dict(zip(eligible.brought, mode.brought(keys, k, words, eligible), strict=True)) if eligible.brought else {}
        sent = pa.table({**dict(zip(asked.column_names, asked.columns, strict=True)), **brought})
        try:
            found = db.arrow(expand_sql(lists, k, mode, frontier.narrowed, words=words), frontier=sent)
        except duckdb.Error as error:
            if TOO_FEW not in str(error):
                raise
            if words >= _MOST_WORDS:  # the lists of a build have a length, and a position for a word of every few thousand
                raise damaged(index, f"a list in {index.adjacency} has no length") from error
        else:
            if isinstance(mode, FinishedInMemory) and found.num_columns > len(_COLUMNS):
                found = _with_chosen(found, frontier.key, k, mode)
            short = found["src"].is_null() if found["src"].null_count and words < _MOST_WORDS else None
            if short is None:
                return pa.concat_tables([*parts, found])
            parts.append(found.filter(pc.invert(short)))
            again = found["at"].filter(short)
            asked, keys = frontier.table().take(again), frontier.key[again.to_numpy()]
        words *= 4


def _with_chosen(found: pa.Table, keys: Words, k: int, mode: FinishedInMemory) -> pa.Table:
    """Choose from the lists that a statement left whole."""
    kind = found.select(_COLUMNS).schema

    def finished(rows: pa.RecordBatch) -> list[pa.Table]:
        if rows["totals"].null_count == len(rows):
            return [pa.Table.from_batches([rows.select(_COLUMNS)])]
        whole = rows["totals"].is_valid()
        others = rows.filter(pc.invert(whole)).select(_COLUMNS)
        return [_chosen(rows, whole, keys, k, mode).cast(kind), pa.Table.from_batches([others])]

    parts = in_threads(finished, found.to_batches(_LISTS))
    return pa.concat_tables([found.select(_COLUMNS).slice(0, 0), *(part for some in parts for part in some)])


def _chosen(rows: pa.RecordBatch, whole: pa.Array, keys: Words, k: int, mode: FinishedInMemory) -> pa.Table:
    """Return those rows of a result that are whole, with what is chosen of them."""
    of = np.flatnonzero(whole.to_numpy(zero_copy_only=False))
    at = rows["at"].to_numpy()[of]
    starts = {name: rows[name].offsets.to_numpy()[of].astype(np.int64) for name in ("src", "edge", "totals")}
    lengths = rows["totals"].offsets.to_numpy()[of + 1] - starts["totals"]
    positions = mode.chosen(keys[at], starts["totals"], lengths, rows["totals"].values.to_numpy(), k)
    ends = pa.array(np.arange(len(of) + 1, dtype=np.int32) * k)
    lists = [
        pa.ListArray.from_arrays(ends, pa.array(rows[name].values.to_numpy()[(starts[name][:, None] + positions).ravel()]))
        for name in ("src", "edge")
    ]
    return pa.table([pa.array(at), *lists], names=_COLUMNS)


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


def _places(at: npt.NDArray[np.int32], start: npt.NDArray[np.int64], count: Counts) -> npt.NDArray[np.int64]:
    """Return where what is in the lists of some nodes belongs: from where each node's edges begin."""
    length = count[at]
    there = np.repeat(start[at] + length - np.cumsum(length, dtype=np.int64), length)
    there += np.arange(len(there))
    return there


# -- SQL -------------------------------------------------------------------------------------------------


def _eligible(lists: Lists, k: int, mode: Mode, narrowed: Narrowed) -> tuple[Mode, Eligible]:
    """Return the mode that chooses from the lists, and what it chooses from."""
    mode = mode if lists.derivation.weights else mode.unweighted()
    return mode, narrowed.eligible(lists, weighted=mode.needs_weights and k > 0, brought=mode.brings)


def expand_sql(lists: Lists, k: int, mode: Mode, narrowed: Narrowed = WHOLE, *, words: int) -> str:
    """Return the query of a hop: ``(at, src, edge)``, lists of at most ``k``, for ``frontier(at, node, key, …)``.

    Args:
        lists: What the edge type's lists hold.
        k: Neighbours per node; -1: all.
        mode: Chooses them.
        narrowed: What narrows the lists; `Frontier` has the columns for it.
        words: See `Mode.steps`.
    """
    mode, eligible = _eligible(lists, k, mode, narrowed)
    # One chain: a second use of `joined` would make DuckDB keep it, lists of hubs and all.
    joined, steps = narrowed.steps(lists, eligible)
    if k < 0 and not eligible.narrowed:
        return f'SELECT "at", nbrs AS src, eids AS edge\nFROM ({joined})'
    if k < 0:
        steps.append(Step("chosen", f"{eligible.kept},\n    range(1, deg + 1) AS p"))
    else:
        steps += mode.steps(k, words, eligible)
    if k < 0 or not mode.in_lists:
        steps += placed(eligible)
    last, ctes = "joined", [f"joined AS ({joined})"]
    for name, columns, where, order in steps:
        clauses = (f"\n  WHERE {where}" if where else "") + (f"\n  ORDER BY {order}" if order else "")
        ctes.append(f"{name} AS (\n  SELECT {columns}\n  FROM {last}{clauses})")
        last = name
    chain = ",\n".join(ctes)
    if isinstance(mode, FinishedInMemory) and k > 0 and words == 1:
        return f"""WITH {chain}
SELECT "at",
  CASE WHEN whole THEN nbrs ELSE list_select(nbrs, p) END AS src,
  CASE WHEN whole THEN eids ELSE list_select(eids, p) END AS edge, totals
FROM {last}"""
    return f"""WITH {chain}
SELECT "at", list_select(nbrs, p) AS src, list_select(eids, p) AS edge
FROM {last}"""


def induce_sql(lists: Lists, *, window: bool = False) -> str:
    """Return the query of all edges among given nodes: ``(batch, near, far, edge)``, of local ids and edge ids.

    ``near_nodes(batch, tree, node, local_id)`` are the nodes that lists are of, ``far_nodes`` are those that may be in them.
    Where lists have times, ``near_nodes`` has ``until``, and ``since`` if there is a window.

    Args:
        lists: What the edge type's lists hold.
        window: Whether edges may be too early.
    """
    times = lists.derivation.times
    timed = eligible = ""
    if times is not None:
        timed, eligible = ",\n    near_nodes.until, unnest(lists.times) AS time", "\nWHERE edges.time <= edges.until"
        if window:
            timed += ", near_nodes.since" + (", unnest(lists.earlier) AS earlier" if times.earlier else "")
            eligible += f" AND edges.{'earlier' if times.earlier else 'time'} > edges.since"
    return f"""WITH edges AS (
  SELECT near_nodes.batch, near_nodes.tree, near_nodes.local_id AS near,
    unnest(lists.nbrs) AS neighbour, unnest(lists.eids) AS edge{timed}
  FROM {lists.table} AS lists JOIN near_nodes ON lists.dst = near_nodes.node)
SELECT edges.batch, edges.near, far_nodes.local_id AS far, edges.edge
FROM edges JOIN far_nodes
  ON far_nodes.batch = edges.batch AND far_nodes.tree = edges.tree AND far_nodes.node = edges.neighbour{eligible}"""
