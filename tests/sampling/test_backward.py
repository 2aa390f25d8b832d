"""``sample_direction="backward"``: the sample is that of the reversed graph, with edges the right way round."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch_geometric.sampler import NodeSamplerInput
from torch_geometric.utils import k_hop_subgraph

import dbgnn
from dbgnn.sampling import Fanout, KHop, Roots
from dbgnn.sampling.modes import Labor, Mode, Uniform
from tests.sampling import oracle
from tests.sampling.conftest import KNOWS, LIKED, RATES, Fixture
from tests.sampling.oracle import EdgeType, Ids
from tests.sampling.test_khop import check
from tests.sampling.test_labor import Chosen

KEY = 31
PAYS = ("account", "pays", "account")
SEEDS: Mapping[str, Ids] = {"user": np.array([3, 399, 0, 7, 3]), "item": np.array([6, 4])}


def reversed_type(edge_type: EdgeType) -> EdgeType:
    source, label, destination = edge_type
    return destination, label, source


@pytest.mark.parametrize("disjoint", [False, True])
@pytest.mark.parametrize("mode", [Uniform(), Uniform(replace=True), Labor()], ids=repr)
def test_the_sample_is_the_oracle_s_of_the_reversed_graph(
    db: dbgnn.Database, hetero: Fixture, mode: Mode, *, disjoint: bool
) -> None:
    fanout = {RATES: [5, 4, -1], LIKED: [3, 2, 2], KNOWS: [0, 2, 1]}
    khop = KHop(db, Fanout(fanout, 3, mode=mode, disjoint=disjoint, backward=True))
    (found,) = khop.sample(db.graph().topology(), [Roots(SEEDS)], [KEY])
    edges = {reversed_type(t): (dst, src) for t, (src, dst) in hetero.edges.items()}

    def near(edge_type: EdgeType, _hop: int, _tree: int, node: int) -> list[tuple[int, int]]:
        return oracle.neighbours(*edges[edge_type], node)

    chosen = Chosen(hetero.labels, near, KEY)
    how: dict[str, Any] = {"lists": chosen.lists, "choose": chosen.choose} if isinstance(mode, Labor) else {}
    wanted = oracle.sample(
        hetero.labels,
        edges,
        SEEDS,
        {reversed_type(t): ks for t, ks in fanout.items()},
        KEY,
        replace=mode == Uniform(replace=True),
        disjoint=disjoint,
        **how,
    )
    for part in ("row", "col", "edge", "num_edges"):
        setattr(wanted, part, {reversed_type(t): values for t, values in getattr(wanted, part).items()})
    wanted.row, wanted.col = wanted.col, wanted.row
    check(found, wanted)


@pytest.mark.parametrize("hops", [1, 2])
def test_whole_neighbourhoods_are_those_of_pyg(hetero: Fixture, db: dbgnn.Database, hops: int) -> None:
    edge_index, seeds = torch.from_numpy(np.stack(hetero.edges[KNOWS])), torch.tensor([5, 17, 100])
    sampler = dbgnn.NeighborSampler(
        db.graph(), {RATES: [0] * hops, LIKED: [0] * hops, KNOWS: [-1] * hops}, sample_direction="backward"
    )
    out = sampler.sample_from_nodes(NodeSamplerInput(None, seeds, input_type="user"))
    inner, *_ = k_hop_subgraph(seeds, hops - 1, edge_index, num_nodes=400, flow="target_to_source")
    subset, *_ = k_hop_subgraph(seeds, hops, edge_index, num_nodes=400, flow="target_to_source")
    assert sorted(out.node["user"].tolist()) == subset.tolist()
    assert sorted(out.edge[KNOWS].tolist()) == torch.isin(edge_index[0], inner).nonzero().view(-1).tolist()
    ends = torch.stack([out.node["user"][out.row[KNOWS]], out.node["user"][out.col[KNOWS]]])
    assert torch.equal(ends, edge_index[:, out.edge[KNOWS]])
    sampler.subgraph_type = "induced"
    induced = sampler.sample_from_nodes(NodeSamplerInput(None, seeds, input_type="user"))
    *_, mask = k_hop_subgraph(seeds, hops, edge_index, num_nodes=400, flow="target_to_source")
    assert sorted(induced.node["user"].tolist()) == subset.tolist()
    assert sorted(induced.edge[KNOWS].tolist()) == mask.nonzero().view(-1).tolist()


@pytest.mark.parametrize("options", [{}, {"disjoint": True}, {"subgraph_type": "induced"}, {"super_batch": 1, "prefetch": 0}])
def test_mini_batches_have_edges_as_they_run_and_their_features(db: dbgnn.Database, hetero: Fixture, options: Any) -> None:
    loader = dbgnn.NeighborLoader(
        db.graph(), [4, 3], ("item", range(20)), batch_size=8, sample_direction="backward", seed=3, **options
    )
    seen = 0
    for batch in loader:
        for edge_type, (src, dst) in hetero.edges.items():
            edges = batch[edge_type]
            row, col = edges.edge_index
            assert batch[edge_type[0]].n_id[row].tolist() == src[edges.e_id].tolist()
            assert batch[edge_type[2]].n_id[col].tolist() == dst[edges.e_id].tolist()
            assert edges.w.tolist() == (edges.e_id * 0.5).tolist()
            seen += len(row)
        if not options:  # the first hop starts from items, which RATES only leads to
            assert batch[RATES].num_sampled_edges[0] == 0 < batch[LIKED].num_sampled_edges[0]
    assert seen > 100


def test_it_can_be_set_on_a_sampler(db: dbgnn.Database) -> None:
    sampler = dbgnn.NeighborSampler(db.graph(), [-1])
    inputs = NodeSamplerInput(None, torch.tensor([6]), input_type="item")
    assert sampler.sample_direction == "forward"
    assert len(sampler.sample_from_nodes(inputs).edge[RATES]) == 3000
    sampler.sample_direction = "backward"
    out = sampler.sample_from_nodes(inputs)
    assert len(out.edge[RATES]) == 0 < len(out.edge[LIKED])
    with pytest.raises(dbgnn.RequestError, match="'forward' or 'backward', not 'sideways'"):
        sampler.sample_direction = "sideways"


@pytest.fixture(scope="module")
def payments(tmp_path_factory: pytest.TempPathFactory) -> dbgnn.Database:
    """Payments in a graph, and in another one the same payments from receiver to payer."""
    rng = np.random.default_rng(6)
    db = dbgnn.connect(tmp_path_factory.mktemp("backward") / "g.duckdb", progress=False)
    hub = np.concatenate([np.full(300, 7), rng.integers(0, 60, 600)])
    rows = {"src": rng.permutation(hub), "dst": rng.integers(0, 60, 900), "at": rng.integers(0, 50, 900)}
    accounts = {"id": np.arange(60), "at": rng.integers(0, 50, 60)}
    for name, columns in (("pays", rows), ("account", accounts)):
        db.connection.register("part", pa.table(columns))
        db.connection.execute(f"CREATE TABLE {name} AS FROM part")
    for name, source, destination in (("paid", "src", "dst"), ("received", "dst", "src")):
        db.execute(
            f"""CREATE PROPERTY GRAPH {name} VERTEX TABLES (account KEY (id)) EDGE TABLES (pays
            SOURCE KEY ({source}) REFERENCES account (id) DESTINATION KEY ({destination}) REFERENCES account (id))"""
        )
    return db


@pytest.mark.parametrize("subgraph_type", ["directional", "induced"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"replace": True},
        {"mode": "labor"},
        {"time_attr": "at"},
        {"time_attr": "at", "temporal_strategy": "last", "time_window": 20},
    ],
    ids=str,
)
def test_it_is_the_sample_of_the_graph_whose_edges_are_turned_round(
    payments: dbgnn.Database, options: dict[str, Any], subgraph_type: str
) -> None:
    found = []
    for name, direction in (("paid", "backward"), ("received", "forward")):
        sampler = dbgnn.NeighborSampler(
            payments.graph(name), [4, 3], subgraph_type, sample_direction=direction, seed=9, **options
        )
        seeds = NodeSamplerInput(None, torch.tensor([7, 3, 7, 59]), input_type="account")
        out = sampler.sample_from_nodes(seeds, epoch=0, batch=0)
        ends = [out.row[PAYS], out.col[PAYS]]
        ends = ends if direction == "forward" else ends[::-1]
        batch = None if out.batch is None else out.batch["account"].tolist()
        found.append((out.node["account"].tolist(), *(e.tolist() for e in ends), out.edge[PAYS].tolist(), batch))
    if subgraph_type == "induced":  # edges come in the order of their destinations
        found = [(node, *zip(*sorted(zip(*edges, strict=True)), strict=True), batch) for node, *edges, batch in found]
    assert found[0] == found[1]
    assert len(found[0][3]) > 10


def test_seeds_that_no_edge_leaves_are_said() -> None:
    with dbgnn.connect() as db:
        db.execute("CREATE TABLE a AS SELECT 1 AS id; CREATE TABLE b AS FROM a; CREATE TABLE e AS SELECT 1 AS s, 1 AS d")
        db.execute(
            """CREATE PROPERTY GRAPH g VERTEX TABLES (a KEY (id), b KEY (id))
            EDGE TABLES (e SOURCE KEY (s) REFERENCES a (id) DESTINATION KEY (d) REFERENCES b (id))"""
        )
        with pytest.warns(UserWarning, match="No edge types leave 'b', and sampling follows edges from source to destination"):
            dbgnn.NeighborLoader(db.graph(), [1], "b", sample_direction="backward")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            (batch,) = dbgnn.NeighborLoader(db.graph(), [1], "a", sample_direction="backward")
        assert batch["b"].n_id.tolist() == [0]
