"""Columns whose names mean something to PyG: n_id, e_id and input_id lead to the right rows, and no value is lost.

One file with a column of every reserved name, in its node and its edge table; each is tried in every way to the rows. What
serves no such column without being asked is in `tests/stores/test_reserved_columns.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch_geometric.data import HeteroData

import dbgnn
from dbgnn.schema.names import RESERVED, attribute_names
from dbgnn.sql import quote

Anything = torch.nn.Identity
N = 12
NAMES = sorted(RESERVED)
ATTRS = attribute_names(NAMES)
CITES = ("paper", "cites", "paper")
SEEDS = [3, 4, 0]


def columns(first: int) -> str:
    """A column of every name, with values that no id and no position has."""
    return "".join(f", {first + k * 1000} - i AS {quote(name)}" for k, name in enumerate(NAMES))


def value(first: int, name: str, rows: list[int]) -> list[int]:
    return [first + NAMES.index(name) * 1000 - i for i in rows]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Papers with keys 100 … 111, x the position; paper i cites paper i + 1, w the position of the edge."""
    file = tmp_path_factory.mktemp("names") / "g.duckdb"
    with dbgnn.connect(file, progress=False) as db:
        db.execute(f"CREATE TABLE paper AS SELECT 100 + i AS pid, i::FLOAT AS x {columns(500_000)} FROM range({N}) t(i)")
        db.execute(
            f"CREATE TABLE cites AS SELECT 100 + i AS s, 100 + (i + 1) % {N} AS d, i::FLOAT AS w {columns(900_000)} "
            f"FROM range({N}) t(i)"
        )
        db.execute(
            "CREATE PROPERTY GRAPH g VERTEX TABLES (paper KEY (pid)) EDGE TABLES (cites SOURCE KEY (s) REFERENCES paper (pid) "
            "DESTINATION KEY (d) REFERENCES paper (pid))"
        )
        db.graph().build()
    return file


@pytest.fixture
def db(path: Path) -> Iterator[dbgnn.Database]:
    with dbgnn.connect(path, read_only=True) as db:
        yield db


def stores(db: dbgnn.Database, names: list[str] | None = None) -> Any:
    """Open stores of x, w and the columns named, by the names they are served under; of all where none are."""
    attrs = [ATTRS[name] for name in names or NAMES]
    return db.get_torch_geometric_remote_backend(columns={"paper": ["x", *attrs], "cites": ["w", *attrs]})


def batches(data: Any, **options: Any) -> list[Any]:
    given: Any = SEEDS if data[0].homogeneous else ("paper", SEEDS)
    return list(dbgnn.NeighborLoader(data, [1], input_nodes=given, **{"batch_size": 2} | options))


@pytest.mark.parametrize("options", [{}, {"prefetch": 0, "super_batch": 1}, {"plan": "shared"}, {"plan": "spooled"}], ids=str)
def test_ids_lead_to_the_rows_and_no_value_is_lost(db: dbgnn.Database, options: dict[str, Any]) -> None:
    data = stores(db)
    shown = {c.name: c.attr for c in data[0].renamed()["paper"]}
    text = str(db.graph())
    assert set(shown) == set(NAMES)
    seeds: list[int] = []
    for batch in batches(data, **options):
        papers, edges = batch["paper"], batch[CITES]
        rows, of_edges = papers.n_id.tolist(), edges.e_id.tolist()
        assert rows == papers.x.int().tolist()
        assert of_edges == edges.w.int().tolist()
        assert papers.num_nodes == len(rows)
        assert edges.num_edges == len(of_edges)
        assert [SEEDS[i] for i in papers.input_id.tolist()] == rows[: papers.batch_size]
        seeds += rows[: papers.batch_size]
        for name in NAMES:
            attr = shown[name]
            assert getattr(papers, attr).tolist() == papers[attr].tolist() == value(500_000, name, rows), name
            assert getattr(edges, attr).tolist() == edges[attr].tolist() == value(900_000, name, of_edges), name
            assert f" {attr} " in text
    assert seeds == SEEDS


@pytest.mark.parametrize("of", ["paper", "cites"])
def test_without_type_names_too(db: dbgnn.Database, of: str) -> None:
    """Every column of nodes, then every column of edges: a Data holds one attribute of a name."""
    chosen = {"paper": ["x"], "cites": ["w"]}
    chosen[of] += ATTRS.values()
    data = db.get_torch_geometric_remote_backend(columns=chosen, homogeneous=True)
    shown = {c.name: c.attr for columns in data[0].renamed().values() for c in columns}
    for batch in batches(data):
        nodes, edges = batch.n_id.tolist(), batch.e_id.tolist()
        assert nodes == batch.x.int().tolist()
        assert edges == batch.w.int().tolist()
        assert (batch.num_nodes, batch.num_edges) == (len(nodes), len(edges))
        assert [SEEDS[i] for i in batch.input_id.tolist()] == nodes[: batch.batch_size]
        first, rows = (500_000, nodes) if of == "paper" else (900_000, edges)
        for name in NAMES:
            assert getattr(batch, shown[name]).tolist() == value(first, name, rows), name


def test_the_same_name_at_nodes_and_edges_is_an_error_without_type_names(db: dbgnn.Database) -> None:
    data = db.get_torch_geometric_remote_backend(columns={"paper": ["batch_"], "cites": ["batch_"]}, homogeneous=True)
    with pytest.raises(dbgnn.SchemaError, match=r"Both nodes and edges .* have an attribute 'batch_'"):
        batches(data)


@pytest.mark.parametrize("name", ["n_id", "e_id", "input_id", "batch", "num_nodes"])
def test_the_feature_store_goes_by_the_attribute(db: dbgnn.Database, name: str) -> None:
    store, _ = stores(db, [name])
    attr = store.renamed()["paper"][0].attr
    assert store["paper", attr, None].tolist() == value(500_000, name, list(range(N)))
    assert store.get_tensor(CITES, attr, index=[2, 1]).tolist() == value(900_000, name, [2, 1])
    assert store.get_tensor_size(group_name="paper", attr_name=attr) == (N,)
    assert attr in [a.attr_name for a in store.get_all_tensor_attrs()]
    if name == "n_id":
        assert store.get_tensor("paper", name, index=[5, 2]).tolist() == [5, 2]
    else:
        with pytest.raises(dbgnn.UnknownNameError, match=f"'{name}' of table 'paper' is the attribute '{attr}'"):
            store.get_tensor("paper", name, index=None)


def test_fill_takes_either_name(db: dbgnn.Database) -> None:
    store, _ = stores(db, ["batch", "n_id"])
    store.fill("paper", "batch", 7).fill("paper", "n_id_", 8)
    assert store.fills("paper") == {"batch": 7, "n_id": 8}


def test_explain_says_so(db: dbgnn.Database) -> None:
    loader = dbgnn.NeighborLoader(stores(db, ["n_id"]), [1], input_nodes="paper", batch_size=4)
    assert "'n_id' of 'paper' as 'n_id_'" in loader.explain()
    one_by_one = dbgnn.NeighborLoader(stores(db, ["n_id"]), [1], input_nodes="paper", batch_size=4, num_workers=1)
    assert "'n_id' of 'paper' as 'n_id_'" in one_by_one.explain()


# -- the ways back -----------------------------------------------------------------------------------------


@pytest.fixture
def own(tmp_path: Path) -> Iterator[dbgnn.Database]:
    """Papers and citations with an n_id, e_id, input_id and batch_size of their own, each in another order."""
    with dbgnn.connect(tmp_path / "own.duckdb", progress=False) as db:
        cols = f", {N} - 1 - i AS n_id, {N} - 1 - i AS e_id, (i * 5) % {N} AS input_id, 1 AS batch_size"
        db.execute(f"CREATE TABLE paper AS SELECT 100 + i AS pid, i::FLOAT AS x {cols} FROM range({N}) t(i)")
        db.execute(f"CREATE TABLE cites AS SELECT 100 + i AS s, 100 + (i + 1) % {N} AS d {cols} FROM range({N}) t(i)")
        db.execute(
            "CREATE PROPERTY GRAPH g VERTEX TABLES (paper KEY (pid)) EDGE TABLES (cites SOURCE KEY (s) REFERENCES paper (pid) "
            "DESTINATION KEY (d) REFERENCES paper (pid))"
        )
        yield db


OWN = {"paper": ["x", "n_id_", "e_id_", "input_id_", "batch_size_"], "cites": ["n_id_", "e_id_", "input_id_"]}


def loader_of(db: dbgnn.Database, seeds: Any = SEEDS, **options: Any) -> dbgnn.NeighborLoader:
    data = db.get_torch_geometric_remote_backend(columns=OWN)
    return dbgnn.NeighborLoader(data, [1], input_nodes=("paper", seeds), batch_size=2, **options)


def written(db: dbgnn.Database, column: str) -> list[tuple[int, float]]:
    found = db.sql(f"SELECT pid - 100, {quote(column)} FROM paper WHERE {quote(column)} IS NOT NULL ORDER BY pid").fetchall()
    return [(int(i), float(v)) for i, v in found]


@pytest.mark.parametrize("into", ["paper.p", "paper.batch"])
def test_predictions_go_to_the_seeds(own: dbgnn.Database, into: str) -> None:
    own.graph().predict(Anything(), loader_of(own), into=into, forward=lambda _, b: b["paper"].x * 10)
    assert written(own, into.partition(".")[2]) == [(i, i * 10.0) for i in sorted(SEEDS)]


def test_predictions_from_a_pack_go_to_the_seeds(own: dbgnn.Database, tmp_path: Path) -> None:
    loader_of(own).pack(tmp_path / "pack", progress=False)
    packed = dbgnn.PackedLoader(tmp_path / "pack")
    assert [b["paper"].n_id_.tolist() for b in packed] == [[N - 1 - i for i in b["paper"].n_id.tolist()] for b in packed]
    own.graph().predict(Anything(), packed, into="paper.p", forward=lambda _, b: b["paper"].x * 10)
    assert written(own, "p") == [(i, i * 10.0) for i in sorted(SEEDS)]


def test_write_back_by_n_id(own: dbgnn.Database) -> None:
    for batch in loader_of(own):
        k = batch["paper"].batch_size
        own.graph().write_back("paper", n_id=batch["paper"].n_id[:k], p=batch["paper"].x[:k] * 10)
    assert written(own, "p") == [(i, i * 10.0) for i in sorted(SEEDS)]


def test_a_transform_that_moves_ids_is_an_error(own: dbgnn.Database) -> None:
    def moved(batch: HeteroData) -> HeteroData:
        batch["paper"].n_id = batch["paper"].n_id.flip(0)
        return batch

    for seeds in (SEEDS, torch.arange(N) % 2 == 1):
        loader = loader_of(own, seeds, transform=moved)
        with pytest.raises(dbgnn.RequestError, match="are not the seeds of 'paper' that the loader drew"):
            own.graph().predict(Anything(), loader, into="paper.p", forward=lambda _, b: b["paper"].x)


def test_a_new_column_cannot_take_a_served_name(own: dbgnn.Database) -> None:
    with pytest.raises(dbgnn.SchemaError, match="serve column 'n_id' of table 'paper' as 'n_id_'"):
        own.graph().write_back("paper", n_id=[0], n_id_=torch.zeros(1))


# -- put and remove ----------------------------------------------------------------------------------------


def test_put_under_a_reserved_name_says_which_other(own: dbgnn.Database) -> None:
    store, _ = own.get_torch_geometric_remote_backend(columns=OWN)
    for name, other in (("n_id", "n_id_"), ("batch", "batch_"), ("ptr", "ptr_")):
        with pytest.raises(dbgnn.SchemaError, match=f"'{name}' means something to PyG.*such as '{other}'"):
            store.put_tensor(torch.zeros(N), group_name="paper", attr_name=name, index=None)
        assert store.put_tensor(torch.arange(N), group_name="paper", attr_name=other, index=None)
        assert store.get_tensor("paper", other, index=None).tolist() == list(range(N))
    assert own.sql("SELECT n_id FROM paper ORDER BY pid").fetchall() == [(i,) for i in range(N)]
    with pytest.raises(dbgnn.SchemaError, match="such as 'batch_'"):
        store.put_tensor(torch.zeros(3), group_name="author", attr_name="batch", index=None)
    with pytest.raises(dbgnn.UnknownNameError, match="is the attribute 'input_id_'"):
        store.remove_tensor("paper", "input_id", index=None)
    assert store.remove_tensor("paper", "input_id_", index=None)
    assert "input_id" not in own.sql("FROM paper").columns


# -- in memory ---------------------------------------------------------------------------------------------


def test_the_graph_in_memory_has_the_loaders_names(db: dbgnn.Database) -> None:
    chosen = {"paper": ["x", *ATTRS.values()], "cites": ["w", "num_edges_"]}
    data = db.graph().to_heterodata(columns=chosen, seeds=("paper", "pid < 103"), keys=True)
    assert data["paper"].seed_mask.tolist() == [True] * 3
    for name, attr in ATTRS.items():
        assert getattr(data["paper"], attr).tolist() == value(500_000, name, [0, 1, 2]), name
    assert data["paper"].num_nodes == 3
    assert data[CITES].num_edges_.tolist() == value(900_000, "num_edges", [0, 1])


def test_a_query_must_name_columns_otherwise(db: dbgnn.Database) -> None:
    for name in ("n_id", "batch", "num_nodes", "input_id", "seed_mask"):
        with pytest.raises(dbgnn.SchemaError, match=f'"{name}" AS "{name}_"'):
            dbgnn.query_to_heterodata(db, nodes={"paper": f"SELECT pid, {quote(name)} FROM paper"})
        data = dbgnn.query_to_heterodata(db, nodes={"paper": f'SELECT pid, "{name}" AS "{name}_" FROM paper'})
        assert data["paper"][f"{name}_"].tolist() == value(500_000, name, list(range(N)))


def test_labels_of_edges_may_be_called_as_in_pygs_examples(db: dbgnn.Database) -> None:
    data = dbgnn.query_to_heterodata(
        db, nodes={"paper": "SELECT pid FROM paper"}, edges={CITES: "SELECT s, d, w AS edge_label FROM cites"}
    )
    assert data[CITES].edge_label.tolist() == list(range(N))


def test_an_encoder_cannot_write_under_a_reserved_name(own: dbgnn.Database) -> None:
    with pytest.raises(dbgnn.SchemaError, match="such as 'batch_'"):
        own.graph().encode("paper", "batch", dbgnn.Normalize("x"))
    own.graph().encode("paper", "batch_", dbgnn.Normalize("x"))
