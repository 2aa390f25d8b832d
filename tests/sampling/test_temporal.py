"""Sampling by time: no node or edge is later than its seed, and the sample is the oracle's, on random graphs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.sampler import NodeSamplerInput

import dbgnn
from dbgnn.sampling.random import fold
from tests.sampling import oracle

EdgeType = tuple[str, str, str]

KNOWS, VISITS, HOSTS = ("person", "knows", "person"), ("person", "visits", "place"), ("place", "hosts", "person")
TYPES = (KNOWS, VISITS, HOSTS)
GRAPH = """CREATE PROPERTY GRAPH g VERTEX TABLES (person KEY (id), place KEY (id)) EDGE TABLES (
    knows SOURCE KEY (src) REFERENCES person (id) DESTINATION KEY (dst) REFERENCES person (id),
    visits SOURCE KEY (src) REFERENCES person (id) DESTINATION KEY (dst) REFERENCES place (id),
    hosts SOURCE KEY (src) REFERENCES place (id) DESTINATION KEY (dst) REFERENCES person (id))"""

#: What stands for NULL in the columns of times.
FILLED = 2


@dataclass(frozen=True)
class Drawn:
    """A random graph, and the times in it: None where a table has no column."""

    people: int
    places: int
    edges: Mapping[EdgeType, tuple[oracle.Ids, oracle.Ids]]
    times: Mapping[Any, list[int | None] | None]

    def time(self, label: Any, row: int) -> int | None:
        """The time of a row, NULL filled; None: its type is timeless."""
        column = self.times.get(label)
        if column is None:
            return None
        return FILLED if column[row] is None else column[row]

    def eligible(self, until: list[int], window: int | None) -> oracle.Lists:
        """The edges that may be taken, straight from the contract."""

        def lists(edge_type: EdgeType, _hop: int, tree: int, node: int) -> list[tuple[int, int]]:
            src, dst = self.edges[edge_type]
            found = []
            for e in np.flatnonzero(dst == node).tolist():
                times = [t for t in (self.time(edge_type, e), self.time(edge_type[0], int(src[e]))) if t is not None]
                if all(t <= until[tree] and (window is None or t > until[tree] - window) for t in times):
                    found.append((max(times, default=0), int(src[e]), e))
            return [(s, e) for _, s, e in sorted(found)]

        return lists

    def stores(self) -> Any:
        """The same in a database, with what stands for NULL declared."""
        db = dbgnn.connect(":memory:", progress=False)
        sizes = {"person": self.people, "place": self.places}
        columns: dict[Any, dict[str, Any]] = {label: {"id": np.arange(n)} for label, n in sizes.items()}
        columns |= {t: {"src": ends[0], "dst": ends[1]} for t, ends in self.edges.items()}
        for label, of in columns.items():
            if self.times.get(label) is not None:
                of["ts"] = pa.array(self.times[label], pa.int64())
            db.connection.register("given", pa.table(of))
            db.connection.execute(f"CREATE TABLE {label if isinstance(label, str) else label[1]} AS FROM given")
            db.connection.unregister("given")
        db.execute(GRAPH)
        stores = db.get_torch_geometric_remote_backend()
        for label in columns:
            if self.times.get(label) is not None:
                stores[0].fill(label, "ts", FILLED)
        return stores


@st.composite
def graphs(draw: st.DrawFn) -> Drawn:
    people, places = draw(st.integers(1, 7)), draw(st.integers(1, 3))
    sizes = {"person": people, "place": places}
    edges: dict[EdgeType, Any] = {}
    times: dict[Any, list[int | None] | None] = {}
    moments = st.one_of(st.none(), st.integers(0, 6))
    for label in draw(st.sets(st.sampled_from(["person", "place"]))):
        times[label] = draw(st.lists(moments, min_size=sizes[label], max_size=sizes[label]))
    for edge_type in TYPES:
        ends = st.tuples(st.integers(0, sizes[edge_type[0]] - 1), st.integers(0, sizes[edge_type[2]] - 1))
        pairs = draw(st.lists(ends, min_size=1, max_size=14))
        edges[edge_type] = tuple(np.array(column, dtype=np.int64) for column in zip(*pairs, strict=True))
        if draw(st.booleans()) or (edge_type == HOSTS and not times):
            times[edge_type] = draw(st.lists(moments, min_size=len(pairs), max_size=len(pairs)))
    return Drawn(people, places, edges, times)


seed_lists = st.lists(st.tuples(st.integers(0, 100), st.integers(-1, 8)), min_size=1, max_size=6)


def sampled(sampler: dbgnn.NeighborSampler, seeds: list[int], until: list[int]) -> Any:
    inputs = NodeSamplerInput(None, torch.tensor(seeds), torch.tensor(until), "person")
    return sampler.sample_from_nodes(inputs, epoch=0, batch=0)


windows = st.one_of(st.none(), st.integers(1, 5))
fan_outs = st.lists(st.sampled_from([-1, -1, 0, 1, 2, 3]), min_size=1, max_size=2)


@settings(max_examples=12)
@given(graphs(), seed_lists, fan_outs, windows)
def test_a_sample_by_time_is_the_oracle_s(
    graph: Drawn, chosen: list[tuple[int, int]], ks: list[int], window: int | None
) -> None:
    stores = graph.stores()
    seeds, until = [s % graph.people for s, _ in chosen], [t for _, t in chosen]
    for mode in ("uniform", "replace", "last"):
        equals_the_oracle(graph, stores, seeds, until, ks, window, mode)


def equals_the_oracle(
    graph: Drawn, stores: Any, seeds: list[int], until: list[int], ks: list[int], window: int | None, mode: str
) -> None:
    strategy = "last" if mode == "last" else "uniform"
    sampler = dbgnn.NeighborSampler(
        stores,
        ks,
        replace=mode == "replace",
        temporal_strategy=strategy,
        time_attr="ts",
        time_window=window,
        relative_time=True,
        seed=5,
    )
    out = sampled(sampler, seeds, until)
    wanted = oracle.sample(
        ["person", "place"],
        graph.edges,
        {"person": np.array(seeds)},
        dict.fromkeys(sampler.edge_types, ks),
        fold(5, 1, 0, 0),
        replace=mode == "replace",
        disjoint=True,
        lists=graph.eligible(until, window),
        choose=oracle.latest if mode == "last" else oracle.picks,
    )
    for label in ("person", "place"):
        assert list(zip(out.batch[label].tolist(), out.node[label].tolist(), strict=True)) == wanted.node[label]
    for name in ("row", "col", "edge"):
        assert {t: ids.tolist() for t, ids in getattr(out, name).items()} == getattr(wanted, name)
    assert out.num_sampled_nodes == wanted.num_nodes
    assert out.num_sampled_edges == wanted.num_edges
    assert out.metadata[1].tolist() == until
    in_time(graph, out, until, window)


def in_time(graph: Drawn, out: Any, until: list[int], window: int | None) -> None:
    """Assert that no sampled node or edge is later than its seed or before the window, and that its relative time is told."""
    relative = out._dbgnn_relative_times
    assert set(relative) == {label for label, times in graph.times.items() if times is not None}
    for label, ids in out.node.items():
        for place, (node, tree) in enumerate(zip(ids.tolist(), out.batch[label].tolist(), strict=True)):
            time = graph.time(label, node)
            if time is not None:
                assert relative[label][place] == until[tree] - time
                if not (label == "person" and place < len(until)):  # a seed is there whenever it was made
                    assert time <= until[tree]
                    assert window is None or time > until[tree] - window
    for edge_type, ids in out.edge.items():
        for place, (edge, at) in enumerate(zip(ids.tolist(), out.col[edge_type].tolist(), strict=True)):
            time, tree = graph.time(edge_type, edge), out.batch[edge_type[2]][at]
            if time is not None:
                assert relative[edge_type][place] == until[tree] - time
                assert time <= until[tree]
                assert window is None or time > until[tree] - window


@settings(max_examples=8)
@given(graphs(), seed_lists, windows, st.integers(0, 2))
def test_an_induced_subgraph_has_the_edges_that_were_there(
    graph: Drawn, chosen: list[tuple[int, int]], window: int | None, hops: int
) -> None:
    seeds, until = [s % graph.people for s, _ in chosen], [t for _, t in chosen]
    sampler = dbgnn.NeighborSampler(
        graph.stores(), [-1] * hops, "induced", time_attr="ts", time_window=window, relative_time=True
    )
    out = sampled(sampler, seeds, until)
    in_time(graph, out, until, window)
    lists = graph.eligible(until, window)
    for edge_type in sampler.edge_types:
        source, target = edge_type[0], edge_type[2]
        there = set(zip(out.batch[source].tolist(), out.node[source].tolist(), strict=True))
        wanted = sorted(
            (tree, node, neighbour, edge)
            for tree, node in zip(out.batch[target].tolist(), out.node[target].tolist(), strict=True)
            for neighbour, edge in lists(edge_type, 0, tree, node)
            if (tree, neighbour) in there
        )
        row, col = out.row[edge_type], out.col[edge_type]
        parts = (out.batch[target][col], out.node[target][col], out.node[source][row], out.edge[edge_type])
        assert sorted(zip(*(part.tolist() for part in parts), strict=True)) == wanted
        assert torch.equal(out.batch[source][row], out.batch[target][col])


# -- the law -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("window", [None, 40])
def test_every_eligible_neighbour_is_equally_likely(window: int | None) -> None:
    db = dbgnn.connect(":memory:", progress=False)
    db.execute("CREATE TABLE item AS SELECT i AS id FROM range(101) t(i)")
    db.execute("CREATE TABLE next AS SELECT i AS src, 100 AS dst, i AS ts FROM range(100) t(i)")
    db.execute(
        "CREATE PROPERTY GRAPH g VERTEX TABLES (item KEY (id)) EDGE TABLES "
        "(next SOURCE KEY (src) REFERENCES item (id) DESTINATION KEY (dst) REFERENCES item (id))"
    )
    sampler = dbgnn.NeighborSampler(db.graph(), [4], time_attr="ts", time_window=window, seed=3)
    trees = 3000
    inputs = NodeSamplerInput(None, torch.full((trees,), 100), torch.full((trees,), 59), "item")
    out: Any = sampler.sample_from_nodes(inputs, epoch=0, batch=0)
    edges = out.edge[("item", "next", "item")].numpy()
    first = 0 if window is None else 20
    counts = np.bincount(edges, minlength=100)
    assert counts[:first].sum() == counts[60:].sum() == 0
    degrees = 60 - first
    expected = trees * 4 / degrees
    # Draws without replacement: the variance of each count is smaller by (n - k) / n, and of their sum by 1 / (n - 1).
    chi = ((counts[first:60] - expected) ** 2 / expected).sum() * (degrees - 1) / (degrees - 4)
    assert abs(chi - (degrees - 1)) < 5 * np.sqrt(2 * (degrees - 1))
