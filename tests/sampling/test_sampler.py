"""`NeighborSampler` keeps PyG's contract."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch_geometric.loader import LinkNeighborLoader
from torch_geometric.sampler import EdgeSamplerInput, NegativeSampling, NodeSamplerInput, NumNeighbors

import dbgnn
from dbgnn.clock import Clock
from tests.sampling.conftest import KNOWS, LIKED, RATES, Fixture

FANOUT = {RATES: [5, 3], LIKED: [4, 4], KNOWS: [3, 2]}


def seeds(ids: list[int], label: str | None = "item") -> NodeSamplerInput:
    return NodeSamplerInput(input_id=None, node=torch.tensor(ids, dtype=torch.int64), input_type=label)


@pytest.fixture
def homogeneous(tmp_path: Path) -> dbgnn.Graph:
    db = dbgnn.connect(tmp_path / "h.duckdb")
    db.connection.execute("CREATE TABLE node AS SELECT range AS id FROM range(60)")
    db.connection.execute("CREATE TABLE link AS SELECT hash(i) % 60 AS s, hash(-i) % 60 AS d FROM range(600) t(i)")
    db.execute(
        """CREATE PROPERTY GRAPH g VERTEX TABLES (node KEY (id))
        EDGE TABLES (link SOURCE KEY (s) REFERENCES node (id) DESTINATION KEY (d) REFERENCES node (id))"""
    )
    return db.graph()


def test_heterogeneous_output(db: dbgnn.Database, hetero: Fixture) -> None:
    sampler = dbgnn.NeighborSampler(db.graph(), FANOUT)
    out = sampler.sample_from_nodes(seeds([6, 3, 3, 0]))
    assert out.node["item"][:4].tolist() == [6, 3, 3, 0]
    assert out.metadata[0].tolist() == [0, 1, 2, 3]
    assert set(out.node) == {"user", "item"}
    assert set(out.row) == set(hetero.edges)
    assert sampler.edge_permutation is None
    for edge_type, (src, dst) in hetero.edges.items():
        e = out.edge[edge_type].numpy()
        assert (out.node[edge_type[0]][out.row[edge_type]].numpy() == src[e]).all()
        assert (out.node[edge_type[2]][out.col[edge_type]].numpy() == dst[e]).all()
        assert out.row[edge_type].dtype == out.col[edge_type].dtype == out.edge[edge_type].dtype == torch.int64
        assert sum(out.num_sampled_edges[edge_type]) == len(e)
    for label, counts in out.num_sampled_nodes.items():
        assert len(counts) == 3
        assert sum(counts) == len(out.node[label])
    assert out.batch is None


def test_homogeneous_output(homogeneous: dbgnn.Graph) -> None:
    sampler = dbgnn.NeighborSampler(homogeneous, [3, 2], homogeneous=True)
    out = sampler.sample_from_nodes(seeds([5, 4, 5], label=None))
    assert out.node[:3].tolist() == [5, 4, 5]
    assert len(out.num_sampled_nodes) == 3
    assert sum(out.num_sampled_edges) == len(out.row) == len(out.edge)
    assert out.col[: out.num_sampled_edges[0]].max() < 3


def test_seeds_must_match_the_kind_of_graph(homogeneous: dbgnn.Graph) -> None:
    with pytest.raises(dbgnn.RequestError, match="with type names"):
        dbgnn.NeighborSampler(homogeneous, [3]).sample_from_nodes(seeds([5], label=None))
    with pytest.raises(dbgnn.RequestError, match="without type names"):
        dbgnn.NeighborSampler(homogeneous, [3], homogeneous=True).sample_from_nodes(seeds([5], label="node"))
    with pytest.raises(dbgnn.UnknownNameError, match="'nod'; did you mean 'node'"):
        dbgnn.NeighborSampler(homogeneous, [3]).sample_from_nodes(seeds([5], label="nod"))


def test_all_neighbours(db: dbgnn.Database, hetero: Fixture) -> None:
    out = dbgnn.NeighborSampler(db.graph(), [-1]).sample_from_nodes(seeds([6]))
    wanted = np.flatnonzero(hetero.edges[RATES][1] == 6)
    assert sorted(out.edge[RATES].tolist()) == wanted.tolist()


def test_induced(db: dbgnn.Database, hetero: Fixture) -> None:
    out = dbgnn.NeighborSampler(db.graph(), [3, 3], subgraph_type="induced").sample_from_nodes(seeds([6, 4, 50]))
    assert out.num_sampled_edges is None
    for edge_type, (src, dst) in hetero.edges.items():
        inside = np.isin(src, out.node[edge_type[0]]) & np.isin(dst, out.node[edge_type[2]])
        assert sorted(out.edge[edge_type].tolist()) == np.flatnonzero(inside).tolist()
        e = out.edge[edge_type].numpy()
        assert (out.node[edge_type[0]][out.row[edge_type]].numpy() == src[e]).all()
        assert (out.node[edge_type[2]][out.col[edge_type]].numpy() == dst[e]).all()


def test_disjoint_and_induced(homogeneous: dbgnn.Graph) -> None:
    sampler = dbgnn.NeighborSampler(homogeneous, [2], subgraph_type="induced", disjoint=True, homogeneous=True)
    out = sampler.sample_from_nodes(seeds([5, 4, 5], label=None))
    assert (out.batch[out.row] == out.batch[out.col]).all()


def test_bidirectional(homogeneous: dbgnn.Graph) -> None:
    sampler = dbgnn.NeighborSampler(homogeneous, [3, 2], subgraph_type="bidirectional", homogeneous=True)
    out = sampler.sample_from_nodes(seeds([5, 4], label=None))
    edges = set(zip(out.row.tolist(), out.col.tolist(), strict=True))
    assert edges == {(b, a) for a, b in edges}
    assert out.num_sampled_nodes is None


def test_disjoint_numbers_the_seeds(db: dbgnn.Database) -> None:
    sampler = dbgnn.NeighborSampler(db.graph(), FANOUT, disjoint=True)
    out = sampler.sample_from_nodes(seeds([6, 6, 4]))
    assert out.batch["item"][:3].tolist() == [0, 1, 2]
    for (src, _, dst), row in out.row.items():
        assert (out.batch[src][row] == out.batch[dst][out.col[src, _, dst]]).all()
    ids = list(zip(out.node["user"].tolist(), out.batch["user"].tolist(), strict=True))
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("neg", [None, NegativeSampling("binary", 2), NegativeSampling("triplet", 2)])
@pytest.mark.parametrize("disjoint", [False, True])
def test_sampling_around_edges(db: dbgnn.Database, hetero: Fixture, neg: NegativeSampling | None, *, disjoint: bool) -> None:
    src, dst = (torch.from_numpy(a[:6]) for a in hetero.edges[RATES])
    sampler = dbgnn.NeighborSampler(db.graph(), FANOUT, disjoint=disjoint)
    out = sampler.sample_from_edges(EdgeSamplerInput(torch.arange(6), src, dst, input_type=RATES), neg)
    if neg is None or neg.is_binary():
        row, col = out.metadata[1]
        assert out.node["user"][row[:6]].tolist() == src.tolist()
        assert out.node["item"][col[:6]].tolist() == dst.tolist()
    else:
        assert out.node["user"][out.metadata[1]].tolist() == src.tolist()
        assert out.node["item"][out.metadata[2]].tolist() == dst.tolist()


def test_pygs_link_loader_takes_it(db: dbgnn.Database, hetero: Fixture) -> None:
    stores = db.get_torch_geometric_remote_backend()
    loader = LinkNeighborLoader(
        stores,
        num_neighbors=[1],
        neighbor_sampler=dbgnn.NeighborSampler(stores, FANOUT),
        edge_label_index=(RATES, torch.from_numpy(np.stack(hetero.edges[RATES])[:, :100])),
        neg_sampling="binary",
        batch_size=32,
    )
    batches = list(loader)
    assert len(batches) == 4
    assert batches[0]["user", "rates", "item"].edge_label_index.shape == (2, 64)


def test_forms_of_num_neighbors(db: dbgnn.Database) -> None:
    graph = db.graph()
    wanted = dbgnn.NeighborSampler(graph, {RATES: [2], LIKED: [2], KNOWS: [2]}).fanout
    assert dbgnn.NeighborSampler(graph, [2]).fanout == wanted
    assert dbgnn.NeighborSampler(graph, NumNeighbors([2])).fanout == wanted
    assert dbgnn.NeighborSampler(graph, {("user", "item"): [2], ("item", "user"): [2], ("user", "user"): [2]}).fanout == wanted
    some = NumNeighbors({RATES: [5]}, default=[2])
    assert dbgnn.NeighborSampler(graph, some).fanout.num_neighbors == {RATES: [5], LIKED: [2], KNOWS: [2]}


@pytest.mark.parametrize(
    ("num_neighbors", "message"),
    [
        ({RATES: [2], LIKED: [2]}, "lacks edge type .*knows"),
        ({RATES: [2], LIKED: [2, 2], KNOWS: [2]}, "same number of hops"),
        ({("user", "rate", "item"): [2]}, r"no edge type .*did you mean .*rates"),
        ([-2], "-1"),
        ([1.7], "one integer per hop"),
        (["2"], "one integer per hop"),
        ([True], "list of integers"),
        (10, "one integer per hop"),
        (None, "one integer per hop"),
    ],
)
def test_num_neighbors_that_do_not_fit(db: dbgnn.Database, num_neighbors: object, message: str) -> None:
    with pytest.raises(dbgnn.SchemaError, match=message):
        dbgnn.NeighborSampler(db.graph(), num_neighbors)


def test_names_of_no_column_or_mode_are_errors(db: dbgnn.Database) -> None:
    options: list[tuple[dict[str, Any], str]] = [
        ({"time_attr": "t"}, "is a column of no node or edge table"),
        ({"weight_attr": "v"}, "is a column of no edge table"),
        ({"temporal_strategy": "last"}, "give time_attr"),
        ({"mode": "uniformly"}, "no mode 'uniformly'"),
    ]
    for option, message in options:
        with pytest.raises(dbgnn.DbgnnError, match=message):
            dbgnn.NeighborSampler(db.graph(), [1], **option)
    with pytest.raises(dbgnn.DbgnnError, match="dict"):
        dbgnn.NeighborSampler({}, [1])  # type: ignore[arg-type] # that is what is tried


@pytest.mark.parametrize("dtype", [torch.float32, torch.bool])
def test_seeds_are_integers(db: dbgnn.Database, dtype: torch.dtype) -> None:
    sampler = dbgnn.NeighborSampler(db.graph(), [1])
    with pytest.raises(dbgnn.RequestError, match="integer ids"):
        sampler.sample_from_nodes(NodeSamplerInput(None, torch.zeros(3, dtype=dtype), input_type="item"))


def test_the_seed_and_the_counters_alone_decide(db: dbgnn.Database) -> None:
    def edges(sampler: dbgnn.NeighborSampler, **counters: int) -> list[int]:
        edge: list[int] = sampler.sample_from_nodes(seeds([6, 4]), **counters).edge[RATES].tolist()
        return edge

    one, two = (dbgnn.NeighborSampler(db.graph(), [5], seed=1) for _ in range(2))
    assert edges(one, epoch=3, batch=4) == edges(two, epoch=3, batch=4)
    assert edges(pickle.loads(pickle.dumps(one)), epoch=3, batch=4) == edges(two, epoch=3, batch=4)
    samples = [edges(one, epoch=3, batch=4), edges(one, epoch=4, batch=4), edges(one, epoch=3, batch=5), edges(one), edges(one)]
    samples.append(edges(dbgnn.NeighborSampler(db.graph(), [5], seed=2), epoch=3, batch=4))
    assert len({tuple(s) for s in samples}) == 6
    fresh = dbgnn.NeighborSampler(db.graph(), [5], seed=1)
    assert [edges(fresh), edges(fresh)] == samples[3:5]


def same(one: Any, two: Any) -> bool:
    """Whether two outputs are equal to the bit, types of the tensors included."""
    if isinstance(one, torch.Tensor):
        return one.dtype == two.dtype and torch.equal(one, two)
    if isinstance(one, dict):
        return list(one) == list(two) and all(same(one[key], two[key]) for key in one)
    if isinstance(one, (tuple, list)):
        return len(one) == len(two) and all(map(same, one, two))
    return type(one) is type(two) and (same(vars(one), vars(two)) if hasattr(one, "metadata") else one == two)


OPTIONS: list[dict[str, Any]] = [
    {},
    {"replace": True},
    {"disjoint": True},
    {"subgraph_type": "induced"},
    {"subgraph_type": "induced", "disjoint": True},
    {"subgraph_type": "bidirectional"},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("kind", ["homogeneous", "hetero"])
def test_many_batches_are_those_sampled_one_at_a_time(
    db: dbgnn.Database, homogeneous: dbgnn.Graph, kind: str, options: dict[str, Any]
) -> None:
    graph, label, size = (homogeneous, None, 60) if kind == "homogeneous" else (db.graph(), "item", 120)
    sampler = dbgnn.NeighborSampler(graph, [5, 3], seed=4, homogeneous=kind == "homogeneous", **options)
    rng = np.random.default_rng(2)
    inputs = [seeds(rng.integers(0, size, n).tolist(), label) for n in (20, 1, 0, 33)]
    inputs[1].input_id = torch.tensor([8])
    counters = [(2, 5), (2, 6), (3, 0), (0, 0)]
    clock = Clock()
    starts = sampler.starts(graph.topology(), inputs)
    many = sampler.sample_batches(graph.topology(), starts, counters, clock)
    assert {"sampling", "grouping", "relabelling"} == set(clock.seconds)
    for given, start, (epoch, batch), subgraph in zip(inputs, starts, counters, many, strict=True):
        alone = sampler.sample_from_nodes(given, epoch=epoch, batch=batch)
        assert same(sampler.output(start, subgraph), alone)
        assert all(a.dtype == torch.int64 for a in tensors(alone))
        assert alone.metadata[0].tolist() == (list(range(len(given.node))) if given.input_id is None else [8])


def tensors(out: Any) -> list[torch.Tensor]:
    """Return the tensors of an output, those of all types."""
    found = [getattr(out, name) for name in ("node", "row", "col", "edge", "batch")]
    return [a for f in found if f is not None for a in (f.values() if isinstance(f, dict) else [f]) if a is not None]


def test_seeds_of_many_batches_are_checked_too(db: dbgnn.Database) -> None:
    sampler, topology = dbgnn.NeighborSampler(db.graph(), [1]), db.graph().topology()
    for bad, message in [
        (seeds([5], None), "with type names"),
        (seeds([5], "itme"), "'itme'; did you mean 'item'"),
        (seeds([5, 120]), "Seed 120 is no id"),
        (NodeSamplerInput(None, torch.zeros(3), input_type="item"), "integer ids"),
        (NodeSamplerInput(None, torch.zeros(3).long(), torch.zeros(3), input_type="item"), "time"),
    ]:
        with pytest.raises(dbgnn.DbgnnError, match=message):
            sampler.sample_batches(topology, sampler.starts(topology, [seeds([1]), bad]), [(0, 0), (0, 1)])


def test_repr_explains(db: dbgnn.Database) -> None:
    text = repr(dbgnn.NeighborSampler(db.graph(), [5, 2], replace=True, seed=9))
    assert "'g'" in text
    assert "[5, 2]" in text
    assert "replace" in text
    assert "seed=9" in text


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ({}, "directional, seed=0"),
        ({"mode": "labor"}, "directional, mode=Labor(batch_dependency=1, layer_dependency=False), seed=0"),
        ({"where": {"rates": "rowid > 3"}}, "directional, where={'rates': 'rowid > 3'}, seed=0"),
        ({"sample_direction": "backward", "replace": True}, "directional, replace, sample_direction='backward', seed=0"),
    ],
    ids=["plain", "mode", "where", "backward"],
)
def test_repr_says_what_narrows_and_chooses(db: dbgnn.Database, given: dict[str, Any], shown: str) -> None:
    assert repr(dbgnn.NeighborSampler(db.graph(), [5, 2], **given)).endswith(f", {shown})")


@pytest.mark.parametrize("values", [lambda: iter([4, 3]), lambda: (k for k in (4, 3)), lambda: {4, 3}, {4: 1}.values])
def test_num_neighbors_in_no_list(db: dbgnn.Database, values: Any) -> None:
    graph = db.graph()
    sampler = dbgnn.NeighborSampler(graph, [4, 3])
    before = sampler.num_neighbors
    for wrong in (values(), {t: values() for t in graph.edge_types}):
        with pytest.raises(dbgnn.SchemaError, match="one integer per hop, such as"):
            dbgnn.NeighborSampler(graph, wrong)
        with pytest.raises(dbgnn.SchemaError, match="one integer per hop, such as"):
            dbgnn.NeighborLoader(graph, wrong, "item")
        with pytest.raises(dbgnn.SchemaError, match="one integer per hop, such as"):
            sampler.num_neighbors = wrong
    assert sampler.num_neighbors == before


def test_a_list_that_changes_later_changes_nothing(db: dbgnn.Database) -> None:
    sampler, hops = dbgnn.NeighborSampler(db.graph(), [1]), [4, 3]
    sampler.num_neighbors = hops
    hops[:] = [9]
    sampler.replace = True  # judges all settings
    assert sampler.num_neighbors.num_hops == 2
