"""PyG's own loaders over our stores and sampler: edge features by ``e_id`` come with every batch, or their lack is said."""

from __future__ import annotations

import copy
import dataclasses
import gc
import pickle
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor
from torch_geometric.data import Data, HeteroData
from torch_geometric.loader import LinkLoader, LinkNeighborLoader, NodeLoader
from torch_geometric.loader import NeighborLoader as PyGNeighborLoader
from torch_geometric.nn import GraphSAGE, to_hetero
from torch_geometric.sampler import BaseSampler, NegativeSampling, NodeSamplerInput, SamplerOutput
from torch_geometric.sampler.base import HeteroSamplerOutput

import dbgnn
from tests.loader.conftest import CITES, E, Stores

SEEDS = torch.tensor([7, 3, 499, 3, 0, 120, 5, 88])


def links(stores: Stores) -> Tensor:
    """The citations as the stores have them, ``[2, E]``."""
    coo = stores[1].coo()
    return torch.stack(coo[:2]) if stores[1].homogeneous else torch.stack([coo[0][CITES], coo[1][CITES]])


def loaders(stores: Stores, **options: Any) -> dict[str, Any]:
    sampler = options.pop("sampler", None) or dbgnn.NeighborSampler(stores, [4, 3])
    group: Any = None if stores[0].homogeneous else "paper"
    nodes: Any = SEEDS if group is None else (group, SEEDS)
    seeds = (None if group is None else CITES, links(stores))
    options = {"batch_size": 4, **options}
    few = {"num_neighbors": [1], "neighbor_sampler": sampler, **options}
    link = options | {"sampler": range(12)}
    return {
        "NeighborLoader": PyGNeighborLoader(stores, input_nodes=nodes, **few),
        "NodeLoader": NodeLoader(stores, sampler, input_nodes=nodes, **options),
        "LinkNeighborLoader": LinkNeighborLoader(stores, edge_label_index=seeds, **few | {"sampler": range(12)}),
        "LinkLoader": LinkLoader(stores, sampler, edge_label_index=seeds, **link),
        "binary": LinkLoader(stores, sampler, edge_label_index=seeds, neg_sampling=NegativeSampling("binary", 1), **link),
        "triplet": LinkLoader(stores, sampler, edge_label_index=seeds, neg_sampling=NegativeSampling("triplet", 1), **link),
    }


NAMES = ["NeighborLoader", "NodeLoader", "LinkNeighborLoader", "LinkLoader", "binary", "triplet"]


def check(batch: Any) -> None:
    edges = batch if isinstance(batch, Data) else batch[CITES]
    nodes = batch if isinstance(batch, Data) else batch["paper"]
    assert len(edges.e_id) == edges.edge_index.shape[1] > 0
    assert torch.equal(edges.w, edges.e_id.double() / 8)
    assert torch.equal(edges.kk[:, 1], -edges.e_id)
    assert torch.equal(nodes.x[:, 0], nodes.n_id.float())
    assert nodes.num_nodes == len(nodes.n_id)
    assert "num_nodes" not in batch[CITES] if isinstance(batch, HeteroData) else True
    assert not vars(nodes.n_id)
    batch.validate()


@pytest.mark.parametrize("kind", ["hetero", "homogeneous"])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("subgraph_type", ["directional", "induced"])
def test_edge_features_by_e_id(kind: str, name: str, subgraph_type: str, request: pytest.FixtureRequest) -> None:
    stores: Stores = request.getfixturevalue(kind)
    sampler = dbgnn.NeighborSampler(stores, [4, 3], subgraph_type=subgraph_type)
    for disjoint in (False, True):
        sampler.disjoint = disjoint
        batches = list(loaders(stores, sampler=sampler)[name])
        assert len(batches) in {2, 3}
        for batch in batches:
            check(batch)
            check(copy.deepcopy(batch))
            check(pickle.loads(pickle.dumps(batch)))


@pytest.mark.parametrize("kind", ["hetero", "homogeneous"])
@pytest.mark.parametrize("name", ["NodeLoader", "LinkLoader"])
@pytest.mark.parametrize("filter_per_worker", [True, False])
def test_edge_features_from_workers(kind: str, name: str, request: pytest.FixtureRequest, *, filter_per_worker: bool) -> None:
    stores: Stores = request.getfixturevalue(kind)
    options = {"num_workers": 2, "multiprocessing_context": "fork", "timeout": 60, "filter_per_worker": filter_per_worker}
    for batch in loaders(stores, **options)[name]:
        check(batch)


def test_edge_features_where_edges_go_both_ways(homogeneous: Stores) -> None:
    sampler = dbgnn.NeighborSampler(homogeneous, [4], subgraph_type="bidirectional")
    for batch in NodeLoader(homogeneous, sampler, input_nodes=SEEDS, batch_size=4):
        check(batch)


@pytest.mark.filterwarnings("ignore:Cannot convert to bidirectional")  # PyG's word on authors, whom nothing leads to
def test_edges_that_have_no_ids_are_an_error(hetero: Stores, db: dbgnn.Database) -> None:
    sampler = dbgnn.NeighborSampler(hetero, [4], subgraph_type="bidirectional")
    with pytest.raises(dbgnn.RequestError, match=r"columns=\{\('paper', 'cites', 'paper'\): \[\]\}"):
        next(iter(NodeLoader(hetero, sampler, input_nodes=("paper", SEEDS))))
    remedy = db.get_torch_geometric_remote_backend("papers", columns={CITES: []})
    assert next(iter(NodeLoader(remedy, sampler, input_nodes=("paper", SEEDS)))).num_edges


def fewer(out: Any) -> Any:
    """Drop every other edge of the output, in place."""
    for part in ("row", "col", "edge"):
        old = getattr(out, part)
        setattr(out, part, {t: ids[::2] for t, ids in old.items()} if isinstance(old, dict) else old[::2])
    return out


def replaced(out: Any) -> Any:
    def half(old: Any) -> Any:
        return {t: ids[::2] for t, ids in old.items()} if isinstance(old, dict) else old[::2]

    return dataclasses.replace(out, row=half(out.row), col=half(out.col), edge=half(out.edge))


@pytest.mark.parametrize("kind", ["hetero", "homogeneous"])
@pytest.mark.parametrize("transform", [fewer, replaced, lambda out: fewer(copy.copy(out))], ids=["set", "replace", "copy"])
@pytest.mark.parametrize("name", ["NodeLoader", "LinkLoader"])
def test_a_changed_sample_has_the_features_of_its_own_edges(
    kind: str, transform: Any, name: str, request: pytest.FixtureRequest
) -> None:
    stores: Stores = request.getfixturevalue(kind)
    for batch in loaders(stores, transform_sampler_output=transform)[name]:
        check(batch)


def test_an_output_of_the_users_own_is_an_error(hetero: Stores) -> None:
    def another(out: HeteroSamplerOutput) -> HeteroSamplerOutput:
        return HeteroSamplerOutput(
            out.node, out.row, out.col, {t: ids.flip(0) for t, ids in out.edge.items()}, metadata=out.metadata
        )

    with pytest.raises(dbgnn.RequestError, match=r"dataclasses\.replace"):
        next(iter(loaders(hetero, transform_sampler_output=another)["NodeLoader"]))


class Foreign(BaseSampler):
    """A sampler that is not ours: one edge, between the seeds."""

    def sample_from_nodes(self, index: NodeSamplerInput, **kwargs: Any) -> SamplerOutput:
        zero = torch.tensor([0])
        return SamplerOutput(index.node, zero, zero, torch.tensor([17]), metadata=(index.input_id, None))

    def sample_from_edges(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    @property
    def edge_permutation(self) -> None:
        return


def test_features_that_cannot_be_had_are_said(homogeneous: Stores) -> None:
    """Another sampler's nodes lead to no edge ids: nothing is fetched with node ids. Our loader fetches by ``e_id``."""
    with pytest.warns(UserWarning, match=r"\['kk', 'w'\].*dbgnn.NeighborSampler"):
        batch = next(iter(NodeLoader(homogeneous, Foreign(), input_nodes=SEEDS, batch_size=4)))
    assert "w" not in batch
    assert torch.equal(batch.x[:, 0], batch.n_id.float())
    ours = next(iter(dbgnn.NeighborLoader(homogeneous, [1], SEEDS, neighbor_sampler=Foreign(), batch_size=4)))
    assert ours.w.tolist() == [17 / 8]


def test_listed_edge_attributes_are_read_whole_and_by_name(homogeneous: Stores) -> None:
    listed = [a for a in homogeneous[0].get_all_tensor_attrs() if a.attr_name == "w"]
    listed[0].index = None
    assert len(homogeneous[0].get_tensor(listed[0])) == E
    assert homogeneous[0].get_tensor(CITES, "w", index=torch.tensor([8, 0])).tolist() == [1, 0]


def test_all_edges_of_a_homogeneous_graph_as_seeds(homogeneous: Stores, hetero: Stores) -> None:
    sampler = dbgnn.NeighborSampler(homogeneous, [2])
    loader = LinkLoader(homogeneous, sampler, edge_label_index=(None, None), batch_size=500)
    wanted = links(homogeneous)
    for i, batch in enumerate(loader):
        check(batch)
        assert torch.equal(batch.n_id[batch.edge_label_index], wanted[:, 500 * i : 500 * (i + 1)])
    row, col, perm = homogeneous[1].csc([None])
    assert row.keys() == col.keys() == perm.keys() == {None}
    assert homogeneous[1].coo([CITES])[0].keys() == {CITES}
    assert hetero[1].coo([CITES])[0].keys() == {CITES}


def test_metadata_is_to_heteros() -> None:
    with dbgnn.connect() as db:
        db.execute("CREATE TABLE user AS SELECT range AS id, [range, 1]::FLOAT[2] AS x FROM range(30)")
        db.execute("CREATE TABLE item AS SELECT range AS id, [range]::FLOAT[1] AS x FROM range(20)")
        db.execute("CREATE TABLE rates AS SELECT hash(i) % 30 AS u, hash(-i) % 20 AS v FROM range(90) t(i)")
        db.execute(
            """CREATE PROPERTY GRAPH shop VERTEX TABLES (user KEY (id), item KEY (id)) EDGE TABLES (
              rates SOURCE KEY (u) REFERENCES user (id) DESTINATION KEY (v) REFERENCES item (id) LABEL rates,
              rates SOURCE KEY (v) REFERENCES item (id) DESTINATION KEY (u) REFERENCES user (id) LABEL rated_by)"""
        )
        graph = db.graph()
        batch = next(iter(dbgnn.NeighborLoader(graph, [4, 3], "user", batch_size=8)))
        assert graph.metadata() == (["user", "item"], [("user", "rates", "item"), ("item", "rated_by", "user")])
        model = to_hetero(GraphSAGE((-1, -1), 8, 2), graph.metadata())
        out = model(batch.x_dict, batch.edge_index_dict)
        assert {label: x.shape for label, x in out.items()} == {t: (batch[t].num_nodes, 8) for t in ("user", "item")}


def assign(out: Any) -> Any:
    """Give the papers other ids, in place: the same for all, so that features show it."""
    out.node["paper"] = torch.full_like(out.node["paper"], 7)
    return out


def update(out: Any) -> Any:
    out.node.update(paper=torch.full_like(out.node["paper"], 7))
    return out


def pop(out: Any) -> Any:
    out.node["paper"] = torch.full_like(out.node.pop("paper"), 7)
    return out


def on_a_copy(out: Any) -> Any:
    return update(copy.copy(out))


def on_a_deep_copy(out: Any) -> Any:
    return update(copy.deepcopy(out))


def on_a_replaced_one(out: Any) -> Any:
    return update(dataclasses.replace(out))


def assigned_and_changed(out: Any) -> Any:
    out.node = nodes = dict(out.node)
    nodes["paper"] = torch.full_like(nodes["paper"], 7)
    return out


@pytest.mark.parametrize("change", [assign, update, pop, on_a_copy, on_a_deep_copy, on_a_replaced_one, assigned_and_changed])
@pytest.mark.parametrize("loader", [PyGNeighborLoader, dbgnn.NeighborLoader])
def test_nodes_may_be_changed_in_place(hetero: Stores, loader: Any, change: Any) -> None:
    sampler = dbgnn.NeighborSampler(hetero, [4, 3])
    made = loader(hetero, [4, 3], ("paper", SEEDS), neighbor_sampler=sampler, batch_size=4, transform_sampler_output=change)
    for batch in made:
        assert len(batch["paper"].n_id) > 4
        assert (batch["paper"].n_id == 7).all()
        assert (batch["paper"].x[:, 0] == 7).all()
        assert torch.equal(batch[CITES].w, batch[CITES].e_id.double() / 8)


def test_nodes_removed_in_place_are_removed(hetero: Stores) -> None:
    out = dbgnn.NeighborSampler(hetero, [4]).sample_from_nodes(NodeSamplerInput(None, SEEDS, input_type="paper"))
    assert isinstance(out.node, dict)
    nodes = out.node
    del out.node["paper"]
    assert "paper" not in nodes
    assert nodes is out.node
    out.node.clear()
    assert not list(out.node.items())


def test_outputs_need_no_garbage_collector(hetero: Stores) -> None:
    out = dbgnn.NeighborSampler(hetero, [4]).sample_from_nodes(NodeSamplerInput(None, SEEDS, input_type="paper"))
    nodes, gone = out.node, weakref.ref(out)
    gc.disable()
    try:
        del out
        assert gone() is None
    finally:
        gc.enable()
    assert len(nodes["paper"])
    with pytest.raises(dbgnn.RequestError, match="made by itself"):
        nodes[CITES]
