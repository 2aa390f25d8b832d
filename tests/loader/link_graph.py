"""Users who rate films and follow each other, and PyG's link sampling over them in memory, with full neighbourhoods."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data, HeteroData
from torch_geometric.sampler import BaseSampler, EdgeSamplerInput, HeteroSamplerOutput, NegativeSampling, SamplerOutput
from torch_geometric.sampler.neighbor_sampler import edge_sample

import dbgnn

RATES, RATED_BY, FOLLOWS = ("user", "rates", "movie"), ("movie", "rated_by", "user"), ("user", "follows", "user")
USERS, MOVIES = 40, 30


def write_graph(db: dbgnn.Database) -> None:
    """Write the tables, and the graphs ``films``, with names of types, and ``people``, of users alone."""
    db.execute(
        f"""CREATE TABLE user AS SELECT i * 3 AS id, i::FLOAT AS x FROM range({USERS}) t(i);
        CREATE TABLE movie AS SELECT i AS id, i::FLOAT AS x, (i * 7 % 20)::BIGINT AS ts FROM range({MOVIES}) t(i);
        CREATE TABLE rates AS SELECT 3 * (hash(i) % {USERS})::BIGINT AS u, (hash(i * 7 + 1) % {MOVIES})::BIGINT AS m,
          (i % 5)::BIGINT AS stars, (i * 11 % 50)::BIGINT AS ts, i::DOUBLE AS w FROM range(160) t(i);
        CREATE TABLE follows AS SELECT 3 * (hash(i + 9) % {USERS})::BIGINT AS a, 3 * (hash(i * 5 + 2) % {USERS})::BIGINT AS b,
          (i * 3 % 50)::BIGINT AS ts FROM range(90) t(i)"""
    )
    ends = "SOURCE KEY (a) REFERENCES user (id) DESTINATION KEY (b) REFERENCES user (id)"
    db.execute(
        f"""CREATE PROPERTY GRAPH films VERTEX TABLES (user KEY (id), movie KEY (id)) EDGE TABLES (
          rates SOURCE KEY (u) REFERENCES user (id) DESTINATION KEY (m) REFERENCES movie (id),
          rates SOURCE KEY (m) REFERENCES movie (id) DESTINATION KEY (u) REFERENCES user (id) LABEL rated_by,
          follows {ends})"""
    )
    db.execute(f"CREATE PROPERTY GRAPH people VERTEX TABLES (user KEY (id)) EDGE TABLES (follows {ends})")


class Given(NegativeSampling):
    """Negatives that are given instead of drawn."""

    def __init__(self, mode: Any, amount: float, ends: dict[str, Tensor]) -> None:
        super().__init__(mode, amount)
        self.ends = ends

    def sample(self, num_samples: int, endpoint: str, num_nodes: int | None = None) -> Tensor:
        """Return those of an end."""
        del num_nodes
        assert len(self.ends[endpoint]) == num_samples
        return self.ends[endpoint]


class FullNeighbours(BaseSampler):
    """Every neighbour within some hops, by Python loops; the seeds are laid out by PyG's own function."""

    def __init__(self, data: Any, hops: int, *, disjoint: bool, times: dict[Any, Tensor] | None = None) -> None:
        self.data, self.hops, self.disjoint, self.times = data, hops, disjoint, times or {}
        types = {None: data.edge_index} if isinstance(data, Data) else data.edge_index_dict
        self.edges: dict[Any, dict[int, list[tuple[int, int]]]] = {}
        for edge_type, index in types.items():
            lists = self.edges[edge_type] = defaultdict(list)
            for e, (src, dst) in enumerate(index.t().tolist()):
                lists[dst].append((src, e))

    def sample_from_nodes(self, index: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    def sample_from_edges(self, index: EdgeSamplerInput, neg_sampling: NegativeSampling | None = None) -> Any:
        hetero = isinstance(self.data, HeteroData)
        num_nodes = {t: self.data[t].num_nodes for t in self.data.node_types} if hetero else self.data.num_nodes
        return edge_sample(index, self._sample, num_nodes, self.disjoint, None, neg_sampling)

    def _sample(self, seed: Any, seed_time: Any = None) -> Any:
        seeds, times = (seed, seed_time) if isinstance(seed, dict) else ({None: seed}, {None: seed_time})
        kinds = self.data.node_types if isinstance(self.data, HeteroData) else [None]
        node: dict[Any, list[tuple[int, int]]] = {kind: [] for kind in kinds}
        until: list[int] = []
        for kind, ids in seeds.items():
            for at, i in enumerate(ids.tolist()):
                node[kind].append((len(until) if self.disjoint else 0, i))
                until.append(int(times[kind][at]) if times and times.get(kind) is not None else 0)
        place: dict[Any, dict[tuple[int, int], int]] = {kind: {} for kind in kinds}
        for kind in kinds:
            for at, key in enumerate(node[kind]):
                place[kind].setdefault(key, at)
        found: dict[Any, list[tuple[int, int, int]]] = {t: [] for t in self.edges}
        done = dict.fromkeys(kinds, 0)
        for _ in range(self.hops):
            ends = {kind: len(node[kind]) for kind in kinds}
            for edge_type, lists in self.edges.items():
                source, target = (None, None) if edge_type is None else (edge_type[0], edge_type[2])
                for col in range(done[target], ends[target]):
                    tree, i = node[target][col]
                    for src, e in lists[i]:
                        if self._later(edge_type, e, source, src, until[tree]):
                            continue
                        key = (tree, src)
                        if key not in place[source]:
                            place[source][key] = len(node[source])
                            node[source].append(key)
                        found[edge_type].append((place[source][key], col, e))
            done = ends
        ids = {kind: torch.tensor([i for _, i in keys], dtype=torch.long) for kind, keys in node.items()}
        trees = {kind: torch.tensor([t for t, _ in keys], dtype=torch.long) for kind, keys in node.items()}
        parts = [{t: torch.tensor([e[i] for e in es], dtype=torch.long) for t, es in found.items()} for i in range(3)]
        if isinstance(self.data, HeteroData):
            return HeteroSamplerOutput(ids, *parts, batch=trees if self.disjoint else None)
        return SamplerOutput(ids[None], *(part[None] for part in parts), batch=trees[None] if self.disjoint else None)

    def _later(self, edge_type: Any, edge: int, source: Any, src: int, until: int) -> bool:
        own = [self.times[label][i] for label, i in ((edge_type, edge), (source, src)) if label in self.times]
        return any(int(time) > until for time in own)
