"""Tables → tensors again, in plain Python, NumPy and networkx, from rows in memory: slow, and easy to believe."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import networkx as nx
import numpy as np
import torch
from torch_geometric.data import HeteroData

EdgeType = tuple[str, str, str]
Key = tuple[Any, ...]


@dataclass
class Nodes:
    """Nodes of a type: their keys, and by name a value per node, with the dtype that the tensor must have."""

    keys: list[Key]
    columns: dict[str, list[Any]] = field(default_factory=dict)

    def only(self, positions: Sequence[int]) -> Nodes:
        return Nodes([self.keys[i] for i in positions], {c: [v[i] for i in positions] for c, v in self.columns.items()})

    def where(self, name: str, at_least: int) -> Nodes:
        return self.only([i for i, v in enumerate(self.columns[name]) if v >= at_least])

    def by_key(self) -> Nodes:
        return self.only(sorted(range(len(self.keys)), key=lambda i: self.keys[i]))


@dataclass
class Edges:
    """Edges of a type: the keys of both ends, None in a key that is NULL, and values as of `Nodes`."""

    ends: list[tuple[Key, Key]]
    columns: dict[str, list[Any]] = field(default_factory=dict)

    def only(self, positions: Sequence[int]) -> Edges:
        return Edges([self.ends[i] for i in positions], {c: [v[i] for i in positions] for c, v in self.columns.items()})

    def where(self, name: str, at_least: int) -> Edges:
        return self.only([i for i, v in enumerate(self.columns[name]) if v >= at_least])


def positions_of(nodes: Nodes) -> dict[Key, int]:
    return {key: i for i, key in enumerate(nodes.keys)}


def kept(edge_type: EdgeType, edges: Edges, nodes: Mapping[str, Nodes]) -> list[int]:
    """Which edges have both ends."""
    sources, destinations = positions_of(nodes[edge_type[0]]), positions_of(nodes[edge_type[2]])
    return [i for i, (s, d) in enumerate(edges.ends) if s in sources and d in destinations]


def reached(
    nodes: Mapping[str, Nodes], edges: Mapping[EdgeType, Edges], seeds: Mapping[str, Collection[Key]], hops: int
) -> dict[str, list[int]]:
    """Positions of the nodes from which a seed is at most ``hops`` edges away, by networkx."""
    graph = nx.MultiDiGraph()
    graph.add_nodes_from((label, key) for label, of in nodes.items() for key in of.keys)
    for (source, _, destination), of in edges.items():
        graph.add_edges_from(((source, s), (destination, d)) for s, d in of.ends)
    near = {
        node
        for label, keys in seeds.items()
        for key in keys
        for node in nx.single_source_shortest_path_length(graph.reverse(), (label, key), cutoff=hops)
    }
    return {label: [i for i, key in enumerate(of.keys) if (label, key) in near] for label, of in nodes.items()}


def assert_equal(
    data: HeteroData, nodes: Mapping[str, Nodes], edges: Mapping[EdgeType, Edges], dtypes: Mapping[str, torch.dtype]
) -> None:
    """The object has these nodes in this order, and of these edges those with both ends, and nothing else; exactly."""
    assert sorted(data.node_types) == sorted(nodes)
    assert sorted(data.edge_types) == sorted(edges)
    for label, of in nodes.items():
        assert data[label].num_nodes == len(of.keys)
        check_columns(data[label], of.columns, dtypes, rows=len(of.keys))
    for edge_type, all_ in edges.items():
        those = all_.only(kept(edge_type, all_, nodes))
        sources, destinations = positions_of(nodes[edge_type[0]]), positions_of(nodes[edge_type[2]])
        expected = np.array([[sources[s], destinations[d]] for s, d in those.ends], dtype=np.int64).reshape(-1, 2).T
        index = data[edge_type].edge_index
        assert index.dtype == torch.int64
        assert index.is_contiguous()
        np.testing.assert_array_equal(index.numpy(), expected)
        check_columns(data[edge_type], those.columns, dtypes, rows=len(those.ends))
    data.validate()


def check_columns(store: Any, columns: Mapping[str, list[Any]], dtypes: Mapping[str, torch.dtype], *, rows: int) -> None:
    """A store has these attributes and no others; lists are compared as they are, the rest to the bit."""
    assert set(store.keys()) - {"num_nodes", "edge_index"} == set(columns)
    for name, values in columns.items():
        if isinstance(store[name], list):
            assert store[name] == values
            continue
        assert store[name].dtype == dtypes[name]
        assert store[name].shape[0] == rows
        expected = torch.tensor(values, dtype=dtypes[name]).reshape(store[name].shape)
        assert torch.equal(store[name], expected)
