"""`NeighborLoader` and PyG's own, over the stores: forms of seeds, features, edge features, reproducibility."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch_geometric.typing
from torch_geometric.data import Data
from torch_geometric.loader import NeighborLoader as PyGNeighborLoader
from torch_geometric.nn import SAGEConv

import dbgnn
from tests.loader.conftest import CITES, N, Stores

TRAIN = list(range(0, N, 5))
MASK = torch.zeros(N, dtype=torch.bool)
MASK[TRAIN] = True
FORMS: list[Any] = [
    TRAIN,
    range(0, N, 5),
    np.array(TRAIN),
    torch.tensor(TRAIN),
    torch.tensor(TRAIN, dtype=torch.int32),
    MASK,
    MASK.numpy(),
    "split = 'train'",
]


@pytest.mark.parametrize("form", FORMS, ids=lambda f: f"{type(f).__name__}")
def test_every_form_of_seeds(hetero: Stores, homogeneous: Stores, form: Any) -> None:
    for stores, given in ((hetero, ("paper", form)), (homogeneous, form)):
        loader = dbgnn.NeighborLoader(stores, [2], input_nodes=given, batch_size=32)
        assert loader.input_data.node.tolist() == TRAIN
        assert len(loader) == 4


def test_all_nodes(hetero: Stores, homogeneous: Stores) -> None:
    for stores, given in ((hetero, "paper"), (hetero, ("paper", None)), (homogeneous, None)):
        assert len(dbgnn.NeighborLoader(stores, [2], input_nodes=given).input_data.node) == N


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (("paper", [3, 500]), dbgnn.RequestError, "Id 500 of 'paper'.*too large.*N = 500"),
        (("paper", [-1]), dbgnn.RequestError, "Id -1 of 'paper'.*negative"),
        (("paper", [0.5]), dbgnn.RequestError, "ids are integers"),
        (("paper", torch.ones(3, dtype=torch.bool)), dbgnn.RequestError, "3 values.*500"),
        (("paper", [[1]]), dbgnn.RequestError, "2 dimensions"),
        (("paper", ["a"]), dbgnn.RequestError, r"feature_store\.ids\('paper', keys\)"),
        (("paper", 3), dbgnn.RequestError, "a list or a mask"),
        (("paper", {3}), dbgnn.RequestError, "is a set"),
        (("paper", [2**70]), dbgnn.RequestError, "out of range|no list"),
        ("papr", dbgnn.RequestError, "did you mean 'paper'"),
        (("papers", [1]), dbgnn.UnknownNameError, "did you mean 'paper'"),
        (None, dbgnn.RequestError, "which node type"),
        ([1, 2], dbgnn.RequestError, "which node type"),
        (("paper", "year > 2015; DROP TABLE paper"), dbgnn.SqlError, "paper"),
        (("paper", "len(read_text('x')) > 0"), dbgnn.SqlError, "own row"),
        (("paper", "year"), dbgnn.SqlError, "of type BOOLEAN, but 'year' is of type"),
        (("paper", "year < "), dbgnn.SqlError, "ends too early"),
        (("paper", 'split = "train"'), dbgnn.SqlError, "single quotes: 'train'"),
        (("paper", "yeer > 2015"), dbgnn.SqlError, "year"),
    ],
)
def test_seeds_that_are_none(hetero: Stores, given: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        dbgnn.NeighborLoader(hetero, [2], input_nodes=given)


def check_batch(batch: Any, db: dbgnn.Database) -> None:
    """Every feature of a batch is that of its node or edge, by key."""
    paper, author = batch["paper"], batch["author"]
    assert (paper.x[:, 0] == paper.n_id).all()
    assert (paper.y == paper.n_id % 4).all()
    assert paper.x.dtype == torch.float32
    assert "year" not in paper
    assert (author.x[:, 0] == author.n_id).all()
    cites = batch[CITES]
    assert (cites.w == cites.e_id / 8).all()
    assert (cites.kk == torch.stack([cites.e_id, -cites.e_id], dim=1)).all()
    rows = db.sql("SELECT src, dst FROM cites ORDER BY rowid").fetchnumpy()
    for end, nodes in (("src", cites.edge_index[0]), ("dst", cites.edge_index[1])):
        assert (rows[end][cites.e_id] == 10 * paper.n_id[nodes].numpy()).all()


def test_features_of_nodes_and_edges(hetero: Stores, db: dbgnn.Database) -> None:
    loader = dbgnn.NeighborLoader(hetero, [4, 3], input_nodes=("paper", "split = 'train'"), batch_size=32, shuffle=True)
    seen = []
    for batch in loader:
        check_batch(batch, db)
        seen += batch["paper"].n_id[: batch["paper"].batch_size].tolist()
        assert batch["paper"].input_id.tolist() == [TRAIN.index(n) for n in seen[-batch["paper"].batch_size :]]
    assert sorted(seen) == TRAIN


def test_homogeneous_features_of_nodes_and_edges(homogeneous: Stores) -> None:
    for batch in dbgnn.NeighborLoader(homogeneous, [4, 3], batch_size=128):
        assert isinstance(batch, Data)
        assert (batch.x[:, 0] == batch.n_id).all()
        assert (batch.w == batch.e_id / 8).all()
        assert batch.num_nodes == len(batch.n_id)


def test_columns_choose_what_is_fetched(db: dbgnn.Database) -> None:
    stores = db.get_torch_geometric_remote_backend("papers", columns={"paper": ["year"], CITES: []})
    batch = next(iter(dbgnn.NeighborLoader(stores, [2], input_nodes="paper", batch_size=8)))
    assert (batch["paper"].year == 2000 + batch["paper"].n_id % 20).all()
    assert "x" not in batch["paper"]
    assert "w" not in batch[CITES]


def test_pygs_own_loader_takes_the_sampler(hetero: Stores) -> None:
    sampler = dbgnn.NeighborSampler(hetero, [4, 3])
    loader = PyGNeighborLoader(
        hetero, num_neighbors=[1], input_nodes=("paper", torch.tensor(TRAIN)), neighbor_sampler=sampler, batch_size=32
    )
    for batch in loader:
        assert (batch["paper"].x[:, 0] == batch["paper"].n_id).all()
        assert batch[CITES].edge_index.shape[1] == len(batch[CITES].e_id)


def test_pygs_own_homogeneous_loader_takes_the_sampler(homogeneous: Stores) -> None:
    loader = PyGNeighborLoader(
        homogeneous,
        num_neighbors=[1],
        input_nodes=torch.tensor(TRAIN),
        neighbor_sampler=dbgnn.NeighborSampler(homogeneous, [4, 3]),
        batch_size=32,
    )
    for batch in loader:
        assert (batch.x[:, 0] == batch.n_id).all()
        assert (batch.w == batch.e_id / 8).all()


@pytest.mark.skipif(
    not (torch_geometric.typing.WITH_PYG_LIB or torch_geometric.typing.WITH_TORCH_SPARSE),
    reason="PyG's own sampler needs pyg-lib or torch-sparse, which have no wheels on PyPI",
)
@pytest.mark.filterwarnings("ignore:Using 'NeighborSampler' without a 'pyg-lib'")
def test_pygs_own_loader_and_sampler(hetero: Stores, homogeneous: Stores, db: dbgnn.Database) -> None:
    rows = db.sql("SELECT src // 10 AS src, dst // 10 AS dst FROM cites ORDER BY rowid").fetchnumpy()
    for batch in PyGNeighborLoader(hetero, num_neighbors=[4, 3], input_nodes=("paper", torch.tensor(TRAIN)), batch_size=32):
        cites = batch[CITES]
        assert (rows["src"][cites.e_id] == batch["paper"].n_id[cites.edge_index[0]].numpy()).all()
        assert (rows["dst"][cites.e_id] == batch["paper"].n_id[cites.edge_index[1]].numpy()).all()
        assert (batch["paper"].x[:, 0] == batch["paper"].n_id).all()
    for data in PyGNeighborLoader(homogeneous, num_neighbors=[4, 3], input_nodes=torch.tensor(TRAIN), batch_size=32):
        assert (rows["src"][data.e_id] == data.n_id[data.edge_index[0]].numpy()).all()
        assert (data.x[:, 0] == data.n_id).all()


def contents(loader: Any) -> list[list[int]]:
    return [batch[CITES].e_id.tolist() for batch in loader]


def test_the_same_seed_gives_the_same_batches_and_every_epoch_its_own(hetero: Stores) -> None:
    def make(seed: int) -> dbgnn.NeighborLoader:
        return dbgnn.NeighborLoader(hetero, [3, 3], input_nodes=("paper", TRAIN), batch_size=32, seed=seed)

    one, two = make(1), make(1)
    first, second = contents(one), contents(one)
    assert first == contents(two)
    assert second == contents(two)
    assert first != second
    assert contents(make(2)) != first


def test_an_epoch_left_early_counts_once(hetero: Stores) -> None:
    one, two = (dbgnn.NeighborLoader(hetero, [3], input_nodes=("paper", TRAIN), batch_size=32) for _ in range(2))
    next(iter(one))
    contents(two)
    assert contents(one) == contents(two)


def test_dataloader_arguments(hetero: Stores) -> None:
    loader = dbgnn.NeighborLoader(hetero, [2], input_nodes=("paper", TRAIN), batch_size=32, drop_last=True, shuffle=True)
    assert len(loader) == len(list(loader)) == 3
    called = []

    def transform(batch: Any) -> Any:
        called.append(batch[CITES].w)
        return batch

    loader = dbgnn.NeighborLoader(
        hetero,
        [2],
        input_nodes=("paper", TRAIN),
        batch_size=50,
        transform=transform,
        transform_sampler_output=lambda out: out,
        filter_per_worker=False,
        input_id=torch.arange(100, 200),
    )
    assert [b["paper"].input_id.tolist()[0] for b in loader] == [100, 150]
    assert len(called) == 2
    batch = loader([0, 1])
    assert batch["paper"].n_id[:2].tolist() == TRAIN[:2]
    assert "100 seeds of 'paper'" in repr(loader)


def test_arguments_that_do_not_fit(hetero: Stores) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"batch_size": None}, "batch_size"),
        ({"directed": False}, "induced"),
        ({"input_id": torch.arange(3)}, "input_id has 3 entries for 500"),
        ({"seed": 1.5}, "seed must be an integer"),
        ({"input_time": torch.arange(500)}, "input_time"),
    ]
    for options, message in cases:
        with pytest.raises(dbgnn.DbgnnError, match=message):
            dbgnn.NeighborLoader(hetero, [2], input_nodes="paper", **options)


def test_a_graph_will_do_for_its_stores(db: dbgnn.Database) -> None:
    batch = next(iter(dbgnn.NeighborLoader(db.graph("papers"), [2], input_nodes="paper", batch_size=4)))
    assert (batch["paper"].x[:, 0] == batch["paper"].n_id).all()


def test_seeds_do_not_silently_become_other_nodes(tmp_path: Path) -> None:
    """Ids are ranks by key, so they shift when nodes come or go; a loader made before says so."""
    with dbgnn.connect(tmp_path / "g.duckdb") as db:
        db.execute("CREATE TABLE node AS SELECT range AS id, [range]::FLOAT[1] AS x FROM range(6)")
        db.execute("CREATE PROPERTY GRAPH g VERTEX TABLES (node KEY (id))")
        loader = dbgnn.NeighborLoader(db.get_torch_geometric_remote_backend(), [1, 1], input_nodes=("node", "id = 3"))
        (batch,) = loader
        assert batch["node"].x.tolist() == [[3.0]]
        assert batch["node"].num_sampled_nodes == [1, 0, 0]
        db.execute("UPDATE node SET x = [33] WHERE id = 3")
        assert next(iter(loader))["node"].x.tolist() == [[33.0]]
        db.execute("DELETE FROM node WHERE id = 0")
        db.graph().build()
        with pytest.raises(dbgnn.StaleIndexError, match="Make the loader again"):
            next(iter(loader))


def test_bidirectional_edge_features_are_refused_not_lost(hetero: Stores, db: dbgnn.Database) -> None:
    with pytest.raises(dbgnn.DbgnnError, match="columns"):
        dbgnn.NeighborLoader(hetero, [2], input_nodes="paper", subgraph_type="bidirectional")
    stores = db.get_torch_geometric_remote_backend("papers", columns={CITES: []})
    with pytest.warns(UserWarning, match="reverse edge type"):  # PyG's, for author-writes-paper
        next(iter(dbgnn.NeighborLoader(stores, [2], input_nodes="paper", subgraph_type="bidirectional", batch_size=4)))


class SAGE(torch.nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = SAGEConv(width, 8), SAGEConv(8, 4)

    def forward(self, x: torch.Tensor, edge_index: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.second(self.first(x, edge_index).relu(), edge_index)
        return out


def full_equals_batched(stores: Stores, width: int) -> None:
    """Full neighbourhoods through GraphSAGE give the logits of the whole graph in memory."""
    torch.manual_seed(0)
    model = SAGE(width).eval()
    features, graph = stores
    row, col, _ = graph.coo()
    with torch.no_grad():
        wanted = model(features[None, "x", None].float(), torch.stack([row, col]))
        for batch in dbgnn.NeighborLoader(stores, [-1, -1], batch_size=256):
            found = model(batch.x.float(), batch.edge_index)[: batch.batch_size]
            torch.testing.assert_close(found, wanted[batch.n_id[: batch.batch_size]])


def test_full_neighbourhoods_give_the_logits_of_the_whole_graph(homogeneous: Stores) -> None:
    full_equals_batched(homogeneous, 2)


def test_full_neighbourhoods_give_the_logits_of_the_whole_graph_on_cora(cora_dir: Path, tmp_path: Path) -> None:
    with dbgnn.connect(tmp_path / "cora.duckdb") as db:
        db.execute("CREATE TABLE paper (id BIGINT, x FLOAT[1433])")
        db.execute("CREATE TABLE cites (src BIGINT, dst BIGINT)")
        db.execute(f"COPY paper FROM ('{cora_dir}/ids.npy', '{cora_dir}/x.npy') BY COLUMN")
        db.execute(f"COPY cites FROM '{cora_dir}/edges.csv'")
        db.execute(
            """CREATE PROPERTY GRAPH cora VERTEX TABLES (paper KEY (id)) EDGE TABLES (
              cites SOURCE KEY (src) REFERENCES paper (id) DESTINATION KEY (dst) REFERENCES paper (id))"""
        )
        full_equals_batched(db.get_torch_geometric_remote_backend(homogeneous=True), 1433)


@pytest.mark.parametrize("options", [{}, {"disjoint": True}, {"subgraph_type": "induced"}, {"prefetch": 0}])
def test_no_hops(hetero: Stores, options: dict[str, Any]) -> None:
    for batch in dbgnn.NeighborLoader(hetero, [], input_nodes="paper", batch_size=20, **options):
        assert batch["paper"].num_nodes == batch["paper"].batch_size
        assert options.get("subgraph_type") == "induced" or batch[CITES].edge_index.shape == (2, 0)
