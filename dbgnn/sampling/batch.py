"""One mini-batch while it is sampled, and what it becomes. NumPy only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from dbgnn.errors import RequestError
from dbgnn.sampling.hop import Counts
from dbgnn.sampling.relabel import Ids, Numbering, Positions, id_type
from dbgnn.sampling.roots import Roots
from dbgnn.schema.model import EdgeType, Label
from dbgnn.topology.times import Moments

if TYPE_CHECKING:
    from dbgnn.topology import Topology

#: Edges of one type: positions of the sources, positions of the destinations, edge ids.
Columns: TypeAlias = tuple[Positions, Positions, Ids]

_NONE: Positions = np.empty(0, dtype=np.int32)


@dataclass(slots=True)
class Subgraph:
    """One sampled mini-batch, kept small: 12 bytes an edge and 4 a node. Ids are int32 where they fit, else int64.

    Attributes:
        node: Per node type, the ids: seeds first, then hop by hop, sorted within a hop.
        tree: If disjoint, per node type, the number of the seed that each node belongs to, int32; else empty.
        row: Per edge type, positions of the sources in ``node``, int32.
        col: Per edge type, positions of the destinations, the side of the seeds unless sampled backward, int32.
        edge: Per edge type, edge ids.
        num_nodes: Per node type, new nodes by hop (hops + 1 entries).
        num_edges: Per edge type, edges by hop; None if induced.
        until: In a sample by time, the time of every seed, by ``tree``; else empty.
        relative: Per node and edge type that has times, how long before its seed's each was, int64, where that was asked.
    """

    node: dict[str, Ids]
    tree: dict[str, Positions]
    row: dict[EdgeType, Positions]
    col: dict[EdgeType, Positions]
    edge: dict[EdgeType, Ids]
    num_nodes: dict[str, list[int]]
    num_edges: dict[EdgeType, list[int]] | None
    until: Moments = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    relative: dict[Label, Moments] = field(default_factory=dict)


class Nodes:
    """The nodes of one batch and type, hop by hop: ids, or if disjoint ``subgraph * num_nodes + id`` as int64."""

    def __init__(self, num_nodes: int, seeds: Ids) -> None:
        self.num_nodes = max(num_nodes, 1)
        self.parts = [seeds]
        self.count = len(seeds)

    @property
    def frontier(self) -> Ids:
        """The nodes that the last hop found."""
        return self.parts[-1]

    @property
    def ids(self) -> Ids:
        """All nodes so far."""
        return np.concatenate(self.parts)

    def append(self, new: Ids) -> None:
        """Add the nodes that a hop found."""
        self.parts.append(new.astype(self.frontier.dtype, copy=False))
        self.count += len(new)


class Batch:
    """One mini-batch being sampled."""

    def __init__(self, topology: Topology, roots: Roots, *, disjoint: bool, backward: bool = False) -> None:
        self.disjoint, self.backward = disjoint, backward
        self.excluded = roots.excluded
        self.until = roots.times_by_tree()
        self.types: dict[str, Nodes] = {}
        self.induced: dict[EdgeType, Columns] = {}
        self._open: dict[EdgeType, tuple[Ids, Positions, Ids]] = {}
        self._edges: dict[EdgeType, list[Columns]] = {t: [] for t in topology.edges}
        self._edge_ids = {t: id_type(index.num_edges) for t, index in topology.edges.items()}
        trees = 0
        for label, index in topology.vertices.items():
            self.types[label] = Nodes(index.num_nodes, _NONE.astype(np.int64 if disjoint else id_type(index.num_nodes)))
        for label, given in roots.seeds.items():
            num_nodes, ids = topology.vertices[label].num_nodes, np.asarray(given)
            bad = (ids < 0) | (ids >= num_nodes)
            if bad.any():
                raise RequestError(
                    f"Seed {int(ids[bad][0])} is no id of node type {label!r}: it has {num_nodes:,} nodes, counted from 0."
                )
            ids = ids.astype(self.types[label].frontier.dtype)
            if disjoint:  # the subgraphs of a second type's seeds are numbered on
                ids, trees = ids + np.arange(trees, trees + len(ids)) * num_nodes, trees + len(ids)
            self.types[label] = Nodes(num_nodes, ids)

    def found(self, edge_type: EdgeType, count: Counts, neighbour: Ids, edge: Ids) -> None:
        """Take the edges that a hop found: how many of each node of the frontier, their neighbours and edge ids."""
        near, far = ends_of(edge_type, backward=self.backward)
        ends = self.types[near]
        if self.disjoint:
            tree = np.repeat(ends.frontier // ends.num_nodes, count)
            neighbour = neighbour + tree * self.types[far].num_nodes
        own = np.repeat(np.arange(ends.count - len(ends.frontier), ends.count, dtype=np.int32), count)
        self._open[edge_type] = (neighbour, own, edge)

    def end_hop(self, numbering: Callable[[int], Numbering]) -> None:
        """Number the nodes that the hop found; the new ones are the next frontier."""
        for label, nodes in self.types.items():
            mine = [t for t in self._open if ends_of(t, backward=self.backward)[1] == label]
            new: Ids = _NONE
            if mine:
                new, rows = numbering(nodes.num_nodes).number(nodes.ids, [self._open[t][0] for t in mine])
                for t, row in zip(mine, rows, strict=True):
                    self._edges[t].append((row, *self._open[t][1:]))
            nodes.append(new)
        for t, hops in self._edges.items():
            if t not in self._open:
                hops.append((_NONE, _NONE, _NONE))
        self._open = {}

    def finish(self, *, induced: bool) -> Subgraph:
        """Return the mini-batch."""
        node, tree = {label: nodes.ids for label, nodes in self.types.items()}, {}
        if self.disjoint:
            for label, nodes in self.types.items():
                ids, trees = split(node[label], nodes.num_nodes)
                node[label], tree[label] = ids.astype(id_type(nodes.num_nodes), copy=False), trees.astype(np.int32)
        edges = {t: self.induced[t] if induced else self._joined(t) for t in self._edges}
        return Subgraph(
            node=node,
            tree=tree,
            row={t: columns[0] for t, columns in edges.items()},
            col={t: columns[1] for t, columns in edges.items()},
            edge={t: columns[2] for t, columns in edges.items()},
            num_nodes={label: [len(part) for part in nodes.parts] for label, nodes in self.types.items()},
            num_edges=None if induced else {t: [len(hop[0]) for hop in hops] for t, hops in self._edges.items()},
            until=self.until,
        )

    def _joined(self, edge_type: EdgeType) -> Columns:
        """Return the edges of all hops."""
        hops = self._edges[edge_type] or [(_NONE, _NONE, _NONE)]
        neighbours, own, edges = (np.concatenate([_NONE, *parts]) for parts in zip(*hops, strict=True))
        rows, cols = (own, neighbours) if self.backward else (neighbours, own)
        return rows, cols, edges.astype(self._edge_ids[edge_type], copy=False)


def ends_of(edge_type: EdgeType, *, backward: bool) -> tuple[str, str]:
    """Return the node type that a hop over an edge type starts from, and the one that it leads to."""
    source, _, destination = edge_type
    return (source, destination) if backward else (destination, source)


def split(ids: Ids, num_nodes: int) -> tuple[Ids, Ids]:
    """Return the node ids and the subgraphs of numbers that hold both."""
    tree, node = np.divmod(ids, num_nodes)
    return node, tree
