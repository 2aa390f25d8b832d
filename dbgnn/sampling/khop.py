"""The k-hop driver: seeds of many batches in, sampled subgraphs out. No torch, no SQL: that of a hop is in `hop`.

One statement per hop and edge type serves all batches; a single mini-batch is the case of one batch.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from dbgnn.clock import Clock
from dbgnn.sampling.batch import Batch, Subgraph, ends_of, split
from dbgnn.sampling.hop import Frontier, expand, induce_sql
from dbgnn.sampling.modes import UNIFORM, Counters, Mode
from dbgnn.sampling.random import Words
from dbgnn.sampling.relabel import TABLE_LIMIT, Ids, Numbering, SortedNumbering, TableNumbering, id_type
from dbgnn.sampling.relative import add_relative_times
from dbgnn.sampling.roots import Roots, excluded_lists, not_excluded
from dbgnn.schema.model import EdgeType
from dbgnn.topology import ids_within
from dbgnn.topology.derived import PLAIN, Derivation, Lists, lists_of
from dbgnn.topology.times import Moments, Timeline
from dbgnn.topology.window import Window

if TYPE_CHECKING:
    from dbgnn.open_database import OpenDatabase
    from dbgnn.topology import Topology

__all__ = ["Fanout", "KHop", "Roots", "Subgraph"]


@dataclass(frozen=True, slots=True)
class _Hop:
    """One hop over one edge type: the numbers of both, neighbours per node, and the keys of the mini-batches."""

    number: int
    edge_type: int
    k: int
    keys: Words


@dataclass(frozen=True, slots=True)
class Fanout:
    """What to sample.

    Attributes:
        num_neighbors: Per edge type, neighbours per node in each hop (-1: all). The order of the edge types
            is part of the random numbers.
        num_hops: The number of hops; also that of a graph without edges.
        mode: Which of a node's edges a hop takes.
        disjoint: Every seed gets a subgraph of its own.
        induced: Return all edges among the sampled nodes.
        backward: From a source to its destinations, as edges run; else from a destination to its sources.
        lists: Per edge type, what the lists of each hop hold and leave out; those of types not named are whole.
        timeline: In a sample by time, which columns say when; else None.
        window: In a sample by time, how long before the seed's time an edge may be, exclusive; None: for ever.
        relative: Say how long before their seed's time nodes and edges were.
    """

    num_neighbors: Mapping[EdgeType, Sequence[int]]
    num_hops: int
    mode: Mode = UNIFORM
    disjoint: bool = False
    induced: bool = False
    backward: bool = False
    lists: Mapping[EdgeType, Sequence[Derivation]] = field(default_factory=dict)
    timeline: Timeline | None = None
    window: Window | None = None
    relative: bool = False

    def derivation(self, edge_type: EdgeType, hop: int) -> Derivation:
        """Return what the lists of a hop are."""
        hops = self.lists.get(edge_type)
        found = PLAIN if hops is None else hops[hop]
        return replace(found, backward=True) if self.backward else found

    def ends(self, edge_type: EdgeType) -> tuple[str, str]:
        """Return the node type that a hop over an edge type starts from, and the one that it leads to."""
        return ends_of(edge_type, backward=self.backward)

    def identity(self) -> dict[str, Any]:
        """Return what decides the sample, as JSON has it."""
        by_type = [[list(edge_type), list(hops)] for edge_type, hops in self.num_neighbors.items()]
        own = {"num_neighbors": by_type, "num_hops": self.num_hops, "disjoint": self.disjoint, "induced": self.induced}
        derived = [[list(edge_type), [d.identity() for d in hops]] for edge_type, hops in self.lists.items()]
        own |= {"backward": True} if self.backward else {}
        own |= {"lists": derived} if derived else {}
        own |= {"timeline": self.timeline.identity()} if self.timeline else {}
        own |= {"window": self.window.identity()} if self.window else {}
        own |= {"relative": True} if self.relative else {}
        return own | self.mode.identity()


class KHop:
    """Samples k-hop neighbourhoods of a graph; safe to use from many threads."""

    def __init__(self, db: OpenDatabase, fanout: Fanout) -> None:
        self.db, self.fanout = db, fanout
        self._kept = threading.local()

    def sample(
        self,
        topology: Topology,
        roots: Sequence[Roots],
        keys: Sequence[int],
        clock: Clock | None = None,
    ) -> list[Subgraph]:
        """Sample one subgraph per entry of ``roots``.

        Args:
            topology: The verified index.
            roots: Per mini-batch, what it starts from.
            keys: Per mini-batch, its 32-bit random key (see `random.fold`).
            clock: Told the time spent on ``sampling``, ``grouping`` and ``relabelling``.

        Raises:
            RequestError: A seed is no node id.
            DataError, StaleIndexError: See `topology.derived.lists_of`.
        """
        clock = Clock() if clock is None else clock
        batches = [Batch(topology, root, disjoint=self.fanout.disjoint, backward=self.fanout.backward) for root in roots]
        key = np.asarray(keys, dtype=np.uint32)
        for hop in range(self.fanout.num_hops):
            for number, (edge_type, ks) in enumerate(self.fanout.num_neighbors.items()):
                if hop < len(ks) and ks[hop] != 0:
                    self._expand(topology, batches, edge_type, _Hop(hop, number, ks[hop], key), clock)
            with clock("relabelling"):
                for batch in batches:
                    batch.end_hop(self._numbering)
        if self.fanout.induced:
            for edge_type in self.fanout.num_neighbors:
                self._induce(topology, batches, edge_type, clock)
        with clock("relabelling"):
            found = [batch.finish(induced=self.fanout.induced) for batch in batches]
        if self.fanout.relative and self.fanout.timeline is not None:
            with clock("sampling"):
                add_relative_times(self.db, topology, self.fanout.timeline, found)
        return found

    def _expand(self, topology: Topology, batches: list[Batch], edge_type: EdgeType, hop: _Hop, clock: Clock) -> None:
        near, far = self.fanout.ends(edge_type)
        ends = [batch.types[near] for batch in batches]
        sizes = [len(end.frontier) for end in ends]
        if not any(sizes):
            return
        index = topology.edges[edge_type]
        lists = lists_of(self.db, topology, index, self.fanout.derivation(edge_type, hop.number))
        with clock("sampling"):
            ids = np.concatenate([end.frontier for end in ends])
            node, tree = split(ids, ends[0].num_nodes) if self.fanout.disjoint else (ids, np.zeros(1, dtype=np.int32))
            source = list(topology.vertices).index(far)
            counters = Counters(hop.keys, sizes, hop.number, hop.edge_type, source, node, tree)
            until, since = self._times(lists, batches, tree, sizes)
            excluded = excluded_lists([batch.excluded.get(edge_type) for batch in batches], node, sizes)
            frontier = Frontier(node, self.fanout.mode.keys(counters), until, since, excluded)
        found = expand(self.db, index, lists, frontier, hop.k, self.fanout.mode, clock)
        with clock("grouping"):
            nodes = np.cumsum([0, *sizes])
            edges = np.insert(np.cumsum(found.count, dtype=np.int64), 0, 0)[nodes]
            for i, batch in enumerate(batches):
                part = slice(edges[i], edges[i + 1])
                batch.found(edge_type, found.count[nodes[i] : nodes[i + 1]], found.neighbour[part], found.edge[part])

    def _times(
        self, lists: Lists, batches: list[Batch], tree: Ids, sizes: Sequence[int]
    ) -> tuple[Moments, Moments | None] | tuple[None, None]:
        """Return the time of every node's seed, and when its window begins."""
        if lists.derivation.times is None:
            return None, None
        starts = np.cumsum([0, *(len(batch.until) for batch in batches[:-1])])
        at = np.repeat(starts, sizes) + tree
        until = np.concatenate([batch.until for batch in batches])
        return until[at], None if self.fanout.window is None else self.fanout.window.before(until)[at]

    def _induce(self, topology: Topology, batches: list[Batch], edge_type: EdgeType, clock: Clock) -> None:
        # A seed given twice is one node at the far end; at the near end, the seeds' side, both copies keep their edges.
        near, far = self.fanout.ends(edge_type)
        index = topology.edges[edge_type]
        with clock("sampling"):
            far_nodes = _nodes(batches, far, distinct=True)
            near_nodes = _nodes(batches, near, distinct=False)
            lists = lists_of(self.db, topology, index, replace(self.fanout.derivation(edge_type, 0), weights=None))
            if lists.derivation.times is not None:
                near_nodes = self._timed(near_nodes, batches)
            query = induce_sql(lists, window=self.fanout.window is not None)
            found = self.db.arrow(query, near_nodes=near_nodes, far_nodes=far_nodes)
        with clock("grouping"):
            number, own, neighbour = (column.to_numpy() for column in found.columns[:3])
            row, col = (own, neighbour) if self.fanout.backward else (neighbour, own)
            edge = ids_within(found.column(3).combine_chunks(), index.num_edges, "edge id", index)
            kept = not_excluded([batch.excluded.get(edge_type) for batch in batches], number, edge)
            number, row, col, edge = (column[kept] for column in (number, row, col, edge))
            order = np.lexsort((edge, row, col, number))
            parts = np.cumsum(np.bincount(number, minlength=len(batches)))[:-1]
            edge = edge.astype(id_type(index.num_edges), copy=False)
            columns = (np.split(column[order], parts) for column in (row, col, edge))
            for batch, *mine in zip(batches, *columns, strict=True):
                batch.induced[edge_type] = (mine[0], mine[1], mine[2])

    def _timed(self, nodes: pa.Table, batches: list[Batch]) -> pa.Table:
        """Return nodes with the time of their seed, and when its window begins."""
        number, tree = (nodes[name].to_numpy() for name in ("batch", "tree"))
        starts = np.cumsum([0, *(len(batch.until) for batch in batches[:-1])])
        until = np.concatenate([batch.until for batch in batches])[starts[number] + tree]
        timed = nodes.append_column("until", pa.array(until))
        window = self.fanout.window
        return timed if window is None else timed.append_column("since", pa.array(window.before(until)))

    def _numbering(self, num_nodes: int) -> Numbering:
        if self.fanout.disjoint or num_nodes > TABLE_LIMIT:
            return SortedNumbering()
        tables: dict[int, TableNumbering] = vars(self._kept).setdefault("tables", {})
        if num_nodes not in tables:
            tables[num_nodes] = TableNumbering(num_nodes)
        return tables[num_nodes]

    def __reduce__(self) -> tuple[object, ...]:
        return KHop, (self.db, self.fanout)


def _nodes(batches: list[Batch], label: str, *, distinct: bool) -> pa.Table:
    """Return all nodes of a type as a relation ``(batch, tree, node, local_id)``; ``distinct``: of duplicates the first."""
    parts = []
    for number, batch in enumerate(batches):
        nodes = batch.types[label]
        ids = nodes.ids
        local = np.sort(np.unique(ids, return_index=True)[1]) if distinct else np.arange(len(ids))
        count = len(local)
        node, tree = split(ids[local], nodes.num_nodes) if batch.disjoint else (ids[local], np.zeros(count, dtype=np.int32))
        columns = {"batch": np.full(count, number, dtype=np.int32), "tree": tree, "node": node}
        parts.append(pa.table({**columns, "local_id": local.astype(np.int32)}))
    return pa.concat_tables(parts)
