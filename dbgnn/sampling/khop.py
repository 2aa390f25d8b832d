"""The k-hop driver: seeds of many batches in, sampled subgraphs out. SQL expands, NumPy renumbers; no torch.

One statement per hop and edge type serves all batches; a single mini-batch is the case of one batch.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import duckdb
import numpy as np
import pyarrow as pa

from dbgnn.clock import Clock
from dbgnn.errors import RequestError
from dbgnn.sampling.hop import TOO_FEW, expand, few_draws, induce
from dbgnn.sampling.random import mix
from dbgnn.sampling.relabel import TABLE_LIMIT, Ids, Numbering, SortedNumbering, TableNumbering
from dbgnn.schema.model import EdgeType

if TYPE_CHECKING:
    from dbgnn.database import Database
    from dbgnn.topology import Topology

_NONE: Ids = np.empty(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Fanout:
    """What to sample.

    Attributes:
        num_neighbors: Per edge type, neighbours per node in each hop (-1: all). The order of the edge types
            is part of the random numbers.
        num_hops: The number of hops; also that of a graph without edges.
        replace: Draw with replacement.
        disjoint: Every seed gets a subgraph of its own.
        induced: Return all edges among the sampled nodes.
    """

    num_neighbors: Mapping[EdgeType, Sequence[int]]
    num_hops: int
    replace: bool = False
    disjoint: bool = False
    induced: bool = False


@dataclass(slots=True)
class Subgraph:
    """One sampled mini-batch; ids and positions are int64.

    Attributes:
        node: Per node type, the ids: seeds first, then hop by hop, sorted within a hop.
        tree: Per node type, the number of the seed that each node belongs to; 0 unless disjoint.
        row: Per edge type, positions of the sources in ``node``.
        col: Per edge type, positions of the destinations, the side of the seeds.
        edge: Per edge type, edge ids.
        num_nodes: Per node type, new nodes by hop (hops + 1 entries).
        num_edges: Per edge type, edges by hop; None if induced.
    """

    node: dict[str, Ids]
    tree: dict[str, Ids]
    row: dict[EdgeType, Ids]
    col: dict[EdgeType, Ids]
    edge: dict[EdgeType, Ids]
    num_nodes: dict[str, list[int]]
    num_edges: dict[EdgeType, list[int]] | None


class KHop:
    """Samples k-hop neighbourhoods of a graph; safe to use from many threads."""

    def __init__(self, db: Database, fanout: Fanout) -> None:
        self.db, self.fanout = db, fanout
        self._kept = threading.local()

    def sample(
        self, topology: Topology, seeds: Sequence[Mapping[str, Ids]], keys: Sequence[int], clock: Clock | None = None
    ) -> list[Subgraph]:
        """Sample one subgraph per entry of ``seeds``.

        Args:
            topology: The verified index.
            seeds: Per batch, node ids by node type; duplicates are kept.
            keys: Per batch, its 32-bit random key (see `random.fold`).
            clock: Told the time spent on ``sampling``, ``grouping`` and ``relabelling``.

        Raises:
            RequestError: A seed is no node id.
        """
        clock = Clock() if clock is None else clock
        batches = [_Batch(topology, batch, disjoint=self.fanout.disjoint) for batch in seeds]
        key = np.asarray(keys, dtype=np.int64)
        for hop in range(self.fanout.num_hops):
            for number, (edge_type, ks) in enumerate(self.fanout.num_neighbors.items()):
                if hop < len(ks) and ks[hop] != 0:
                    self._expand(topology, batches, edge_type, ks[hop], mix(mix(key ^ hop) ^ number), clock)
            with clock("relabelling"):
                for batch in batches:
                    batch.end_hop(self._numbering)
        if self.fanout.induced:
            for edge_type in self.fanout.num_neighbors:
                self._induce(topology, batches, edge_type, clock)
        with clock("relabelling"):
            return [batch.finish(self.fanout) for batch in batches]

    def _expand(self, topology: Topology, batches: list[_Batch], edge_type: EdgeType, k: int, keys: Ids, clock: Clock) -> None:
        ends = [batch.types[edge_type[2]] for batch in batches]
        sizes = [len(end.frontier) for end in ends]
        if not any(sizes):
            return
        with clock("sampling"):
            found = self._run(topology.edges[edge_type].adjacency, k, self._frontier(ends, sizes, keys))
        with clock("grouping"):
            for batch, columns in zip(batches, _by_batch(found, len(batches)), strict=True):
                batch.found(edge_type, *columns)

    def _frontier(self, ends: list[_Nodes], sizes: list[int], keys: Ids) -> pa.Table:
        number = np.repeat(np.arange(len(ends), dtype=np.int32), sizes)
        ids = np.concatenate([end.frontier for end in ends])
        node, tree = _split(ids, ends[0].num_nodes) if self.fanout.disjoint else (ids, np.int64(0))
        li = np.concatenate([np.arange(end.count - size, end.count) for end, size in zip(ends, sizes, strict=True)])
        key = mix(mix(keys[number] ^ node) ^ tree)
        return pa.table({"b": number, "li": li.astype(np.int32), "node": node, "key": key})

    def _run(self, adjacency: str, k: int, frontier: pa.Table) -> pa.Table:
        draws = few_draws(k, replace=self.fanout.replace)
        while True:
            try:
                return self.db.arrow(expand(adjacency, k, replace=self.fanout.replace, draws=draws), frontier=frontier)
            except duckdb.Error as error:
                if TOO_FEW not in str(error):
                    raise
                draws *= 8

    def _induce(self, topology: Topology, batches: list[_Batch], edge_type: EdgeType, clock: Clock) -> None:
        # A seed given twice is one node at the source end; at the destination end both copies keep their edges.
        with clock("sampling"):
            sources = _nodes(batches, edge_type[0], distinct=True)
            targets = _nodes(batches, edge_type[2], distinct=False)
            found = self.db.arrow(induce(topology.edges[edge_type].adjacency), sources=sources, targets=targets)
        with clock("grouping"):
            for batch, (col, row, e) in zip(batches, _by_batch(found, len(batches)), strict=True):
                order = np.lexsort((e, row, col))
                batch.induced[edge_type] = (row[order], col[order], e[order])

    def _numbering(self, num_nodes: int) -> Numbering:
        if self.fanout.disjoint or num_nodes > TABLE_LIMIT:
            return SortedNumbering()
        tables: dict[int, TableNumbering] = vars(self._kept).setdefault("tables", {})
        if num_nodes not in tables:
            tables[num_nodes] = TableNumbering(num_nodes)
        return tables[num_nodes]

    def __reduce__(self) -> tuple[object, ...]:
        return KHop, (self.db, self.fanout)


class _Nodes:
    """The nodes of one batch and type, hop by hop: ids, or if disjoint ``subgraph * num_nodes + id``."""

    def __init__(self, num_nodes: int, seeds: Ids) -> None:
        self.num_nodes = max(num_nodes, 1)
        self.parts = [seeds]
        self.count = len(seeds)

    @property
    def frontier(self) -> Ids:
        """The nodes that the last hop found."""
        return self.parts[-1]

    def append(self, new: Ids) -> None:
        self.parts.append(new)
        self.count += len(new)


class _Batch:
    """One mini-batch being sampled."""

    def __init__(self, topology: Topology, seeds: Mapping[str, Ids], *, disjoint: bool) -> None:
        self.disjoint = disjoint
        self.types = {label: _Nodes(index.num_nodes, _NONE) for label, index in topology.vertices.items()}
        self._edges: dict[EdgeType, list[tuple[Ids, Ids, Ids]]] = {t: [] for t in topology.edges}
        self._open: dict[EdgeType, tuple[Ids, Ids, Ids]] = {}
        self.induced: dict[EdgeType, tuple[Ids, Ids, Ids]] = {}
        trees = 0
        for label, given in seeds.items():
            num_nodes, ids = topology.vertices[label].num_nodes, np.asarray(given, dtype=np.int64)
            bad = (ids < 0) | (ids >= num_nodes)
            if bad.any():
                raise RequestError(
                    f"Seed {int(ids[bad][0])} is no id of node type {label!r}: it has {num_nodes:,} nodes, counted from 0."
                )
            if disjoint:  # the subgraphs of a second type's seeds are numbered on
                ids, trees = ids + np.arange(trees, trees + len(ids)) * num_nodes, trees + len(ids)
            self.types[label] = _Nodes(num_nodes, ids)

    def found(self, edge_type: EdgeType, li: Ids, src: Ids, e: Ids) -> None:
        """Take what a statement found, as edges of the hop that is going on."""
        if (li[1:] < li[:-1]).any():  # several threads, or seeds that are not sorted
            order = np.argsort(li, kind="stable")
            li, src, e = li[order], src[order], e[order]
        if self.disjoint:
            ends = self.types[edge_type[2]]
            tree = ends.frontier[li - (ends.count - len(ends.frontier))] // ends.num_nodes
            src = src + tree * self.types[edge_type[0]].num_nodes
        self._open[edge_type] = (li, src, e)

    def end_hop(self, numbering: Callable[[int], Numbering]) -> None:
        """Number the nodes that the hop found; the new ones are the next frontier."""
        for label, nodes in self.types.items():
            mine = [t for t in self._open if t[0] == label]
            new = _NONE
            if mine:
                sources = [self._open[t][1] for t in mine]
                new, rows = numbering(nodes.num_nodes).number(np.concatenate(nodes.parts), sources)
                for t, row in zip(mine, rows, strict=True):
                    self._edges[t].append((row, self._open[t][0], self._open[t][2]))
            nodes.append(new)
        for t, hops in self._edges.items():
            if t not in self._open:
                hops.append((_NONE, _NONE, _NONE))
        self._open = {}

    def finish(self, fanout: Fanout) -> Subgraph:
        """Return the mini-batch."""
        node, tree = {}, {}
        for label, nodes in self.types.items():
            ids = np.concatenate(nodes.parts)
            node[label], tree[label] = _split(ids, nodes.num_nodes) if self.disjoint else (ids, np.zeros_like(ids))
        if fanout.induced:
            edges = {t: self.induced.get(t, (_NONE, _NONE, _NONE)) for t in self._edges}
        else:
            edges = {t: _joined(hops) for t, hops in self._edges.items()}
        return Subgraph(
            node=node,
            tree=tree,
            row={t: columns[0] for t, columns in edges.items()},
            col={t: columns[1] for t, columns in edges.items()},
            edge={t: columns[2] for t, columns in edges.items()},
            num_nodes={label: [len(part) for part in nodes.parts] for label, nodes in self.types.items()},
            num_edges=None if fanout.induced else {t: [len(hop[0]) for hop in hops] for t, hops in self._edges.items()},
        )


def _joined(hops: list[tuple[Ids, Ids, Ids]]) -> tuple[Ids, Ids, Ids]:
    rows, cols, edges = (np.concatenate([_NONE, *(hop[i] for hop in hops)]) for i in range(3))
    return rows, cols, edges


def _split(ids: Ids, num_nodes: int) -> tuple[Ids, Ids]:
    """Return the node ids and the subgraphs of numbers that hold both."""
    tree, node = np.divmod(ids, num_nodes)
    return node, tree


def _nodes(batches: list[_Batch], label: str, *, distinct: bool) -> pa.Table:
    """Return all nodes of a type as a relation ``(b, li, node, tree)``; ``distinct``: of duplicates the first only."""
    parts = []
    for number, batch in enumerate(batches):
        nodes = batch.types[label]
        ids = np.concatenate(nodes.parts)
        li = np.sort(np.unique(ids, return_index=True)[1]) if distinct else np.arange(len(ids))
        node, tree = _split(ids[li], nodes.num_nodes) if batch.disjoint else (ids[li], np.zeros_like(li))
        parts.append(
            pa.table({"b": np.full(len(li), number, dtype=np.int32), "li": li.astype(np.int32), "node": node, "tree": tree})
        )
    return pa.concat_tables(parts)


def _by_batch(found: pa.Table, count: int) -> Iterator[tuple[Ids, Ids, Ids]]:
    """Split the columns after ``b`` by batch, as int64, keeping the order of the rows."""
    b, *columns = (column.to_numpy() for column in found.columns)
    wide = [column.astype(np.int64) for column in columns]
    if count == 1:
        yield (wide[0], wide[1], wide[2])
        return
    order = np.argsort(b.astype(np.int16) if count < 2**15 else b, kind="stable")  # radix sort on int16
    ends = np.cumsum(np.bincount(b, minlength=count))
    for start, end in zip(ends - np.bincount(b, minlength=count), ends, strict=True):
        part = order[start:end]
        yield (wide[0][part], wide[1][part], wide[2][part])
