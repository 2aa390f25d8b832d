"""`from_pyg`: what goes in comes out again by the stores; what cannot is an error, and leaves nothing behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch_geometric import EdgeIndex
from torch_geometric.data import Batch, Data, HeteroData
from torch_geometric.datasets import FakeDataset, FakeHeteroDataset, KarateClub
from torch_geometric.utils import to_torch_csr_tensor

import dbgnn
from dbgnn import DataError, ReadOnlyError, SchemaError, UnknownNameError
from dbgnn.datasets import from_pyg as module
from dbgnn.datasets.from_pyg import from_pyg

#: What `query_to_heterodata` counts; not kept.
COUNTS = ("num_dropped", "num_dangling")
DTYPES = [torch.bool, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8, torch.float32, torch.float64]


@pytest.fixture
def db(tmp_path: Path) -> dbgnn.Database:
    return dbgnn.connect(tmp_path / "graph.duckdb")


def assert_same(found: torch.Tensor, given: torch.Tensor) -> None:
    assert found.dtype == given.dtype
    assert found.shape == given.shape
    assert found.numpy().tobytes() == given.contiguous().numpy().tobytes()


def assert_served(graph: dbgnn.Graph, data: Data | HeteroData) -> None:
    """Whether the stores serve exactly the attributes and edges of ``data``."""
    features, edges = graph.db.get_torch_geometric_remote_backend(graph)
    one = isinstance(data, Data)
    wanted: set[tuple[Any, str]] = set()
    for store in [data._store] if one else data.stores[1:]:
        for name, value in store.items():
            if name == "edge_index":
                found = edges.get_edge_index(store._key, "coo")
                assert_same(torch.stack(list(found)), value)
            elif value is not None and name != "num_nodes":
                group = (None if name in data.node_attrs() else ("node", "to", "node")) if one else store._key
                wanted.add((group, name))
                assert_same(features.get_tensor(group, name, None), value)
    served = {(a.group_name, a.attr_name) for a in features.get_all_tensor_attrs()}
    assert {pair for pair in served if pair[1] != "n_id"} == wanted


def hetero() -> HeteroData:
    data = HeteroData()
    for i, dtype in enumerate(DTYPES):
        data["paper"][f"a{i}"] = (torch.rand(5) * 3).to(dtype)
        data["paper"][f"b{i}"] = (torch.rand(5, 3) * 3).to(dtype)
        data["author", "writes", "paper"][f"c{i}"] = (torch.rand(7, 2, 3) * 3).to(dtype)
    data["author"].num_nodes, data["paper"].num_nodes = 4, 5
    data["author", "writes", "paper"].edge_index = torch.stack([torch.randint(0, 4, (7,)), torch.randint(0, 5, (7,))])
    data["paper", "cites", "paper"].edge_index = torch.tensor([[4, 4, 0, 0], [0, 0, 0, 1]])
    return data


# -- what is kept ------------------------------------------------------------------------------------------


def test_karate_club(db: dbgnn.Database) -> None:
    data = KarateClub()[0]
    graph = from_pyg(data, db)
    assert graph.name == "graph"
    assert_served(graph, data)
    assert db.sql("SELECT count(*), min(id), max(id) FROM node").fetchall() == [(34, 0, 33)]


@pytest.mark.parametrize("seed", [0, 1])
def test_fake_data(db: dbgnn.Database, seed: int) -> None:
    torch.manual_seed(seed)
    one = FakeDataset(num_graphs=1, avg_num_nodes=100, edge_dim=seed * 3, task="node")[0]
    many = FakeHeteroDataset(avg_num_nodes=50, num_node_types=3, edge_dim=1 + seed)[0]
    assert_served(from_pyg(one, db, name="one"), one)
    assert_served(from_pyg(many, db, name="many"), many)


def test_every_dtype_and_shape(db: dbgnn.Database) -> None:
    torch.manual_seed(0)
    data = hetero()
    graph = from_pyg(data, db)
    assert_served(graph, data)
    assert graph.node_types == ["paper", "author"]
    types = dict(db.sql("SELECT column_name, column_type FROM (DESCRIBE author__writes__paper)").fetchall())
    assert (types["src"], types["c0"], types["c7"]) == ("BIGINT", "BOOLEAN[3][2]", "DOUBLE[3][2]")


@pytest.mark.parametrize("dtype", [torch.uint16, torch.uint32, torch.uint64])
def test_wide_unsigned_integers(db: dbgnn.Database, dtype: torch.dtype) -> None:
    data = Data(x=torch.tensor([0, 1, 60_000], dtype=torch.int64).to(dtype), num_nodes=3)
    from_pyg(data, db)
    features, _ = db.get_torch_geometric_remote_backend()
    assert_same(features.get_tensor(None, "x", None), data.x)


def test_special_floats_and_large_integers(db: dbgnn.Database) -> None:
    x = torch.tensor([float("nan"), -0.0, float("inf"), -float("inf"), 5e-324], dtype=torch.float64)
    data = Data(x=x, x32=x.float(), y=torch.tensor([2**63 - 1, -(2**63), 0, 2**53 + 1, -1]))
    assert_served(from_pyg(data, db), data)


def test_slices_keep_the_order(db: dbgnn.Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SLICE_BYTES", 1 << 12)
    torch.manual_seed(0)
    data = Data(x=torch.rand(3_000, 4), edge_index=torch.randint(0, 3_000, (2, 8_001)), edge_attr=torch.rand(8_001))
    assert_served(from_pyg(data, db), data)
    assert db.sql("SELECT bool_and(id = rowid) FROM node").fetchall() == [(True,)]


def test_one_wide_row_is_a_slice(db: dbgnn.Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SLICE_BYTES", 10)
    data = Data(x=torch.rand(3, 300))
    assert_served(from_pyg(data, db), data)


def test_non_contiguous_memory_mapped_and_numpy(db: dbgnn.Database, tmp_path: Path) -> None:
    values = np.arange(24, dtype=">f4").reshape(6, 4)
    mapped = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float32, (6, 4))
    mapped[:] = values
    index = torch.arange(12).view(6, 2) % 6
    data = Data(edge_index=index.t(), num_nodes=6)
    data.mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    data.swapped = values
    data.turned = torch.arange(24.0).view(4, 6).t()
    data.grad = torch.rand(6, requires_grad=True)
    from_pyg(data, db)
    features, edges = db.get_torch_geometric_remote_backend()
    plain = torch.arange(24.0).view(6, 4)
    for name, wanted in {"mapped": plain, "swapped": plain, "turned": data.turned, "grad": data.grad.detach()}.items():
        assert_same(features.get_tensor(None, name, None), wanted)
    assert_same(torch.stack(edges.get_edge_index(None, "coo")), data.edge_index)


def test_arrays_are_stored_uncompressed(db: dbgnn.Database) -> None:
    torch.manual_seed(0)
    from_pyg(Data(x=torch.randint(0, 3, (5_000, 16)).float()), db)
    query = "SELECT DISTINCT compression FROM pragma_storage_info('node') WHERE segment_type = 'FLOAT'"
    assert db.sql(query).fetchall() == [("Uncompressed",)]
    assert db.sql("SELECT current_setting('force_compression')").fetchall() == [("auto",)]


def test_empty_parts(db: dbgnn.Database) -> None:
    data = HeteroData()
    data["none"].x = torch.empty(0, 3)
    data["bare"].num_nodes = 2
    data["only"].y = torch.tensor([1, 2, 3])
    data["bare", "to", "none"].edge_index = torch.empty(2, 0, dtype=torch.int64)
    data["only", "to", "bare"].edge_index = torch.tensor([[2], [1]])
    data["only", "to", "bare"].w = None
    graph = from_pyg(data, db)
    assert [graph.num_nodes(t) for t in graph.node_types] == [0, 2, 3]
    assert [graph.num_edges(t) for t in graph.edge_types] == [0, 1]
    features, edges = db.get_torch_geometric_remote_backend()
    assert_same(features.get_tensor("none", "x", None), data["none"].x)
    assert torch.stack(edges.get_edge_index(("bare", "to", "none"), "coo")).shape == (2, 0)


def test_data_without_edges_and_isolated_nodes(db: dbgnn.Database) -> None:
    bare = from_pyg(Data(x=torch.rand(3, 2), edge_index=None), db, name="bare")
    assert bare.edge_types == []
    isolated = from_pyg(Data(edge_index=torch.tensor([[0], [1]]), num_nodes=9), db, name="isolated")
    assert isolated.num_nodes("node") == 9


def test_as_many_nodes_as_edges(db: dbgnn.Database) -> None:
    data = Data(x=torch.rand(3), edge_w=torch.rand(3), edge_index=torch.tensor([[0, 1, 2], [1, 2, 0]]))
    graph = from_pyg(data, db)
    assert graph.definition.vertices[0].properties == ("x",)
    assert graph.definition.edges[0].properties == ("edge_w",)


def test_an_edge_index_of_pyg(db: dbgnn.Database) -> None:
    index = EdgeIndex([[0, 1, 1], [1, 0, 4]], sparse_size=(5, 5), sort_order="row")
    graph = from_pyg(Data(edge_index=index), db)
    assert graph.num_nodes("node") == 5
    assert db.sql("SELECT src, dst FROM node__to__node").fetchall() == [(0, 1), (1, 0), (1, 4)]


def test_a_graph_in_the_loader(db: dbgnn.Database) -> None:
    torch.manual_seed(0)
    data = Data(x=torch.rand(50, 3), y=torch.arange(50), edge_index=torch.randint(0, 50, (2, 300)), w=torch.rand(300))
    graph = from_pyg(data, db)
    loader: Any = dbgnn.NeighborLoader(db.get_torch_geometric_remote_backend(graph), num_neighbors=[3, 3], batch_size=8)
    seen = 0
    for batch in loader:
        assert_same(batch.x, data.x[batch.n_id])
        assert_same(batch.w, data.w[batch.e_id])
        assert torch.equal(batch.n_id[batch.edge_index], data.edge_index[:, batch.e_id])
        seen += batch.batch_size
    assert seen == 50


# -- names -------------------------------------------------------------------------------------------------


def test_keys_give_way_to_attributes(db: dbgnn.Database) -> None:
    data = HeteroData()
    data["a"].id, data["a"].ID_ = torch.tensor([7, 8]), torch.tensor([1.0, 2.0])
    data["a", "to", "a"].edge_index = torch.tensor([[0], [1]])
    data["a", "to", "a"].SRC, data["a", "to", "a"].dst = torch.tensor([5]), torch.tensor([6])
    graph = from_pyg(data, db)
    assert_served(graph, data)
    assert graph.definition.vertices[0].key == ("id__",)
    assert (graph.definition.edges[0].source_key, graph.definition.edges[0].destination_key) == (("src_",), ("dst_",))


@pytest.mark.filterwarnings("ignore:There exist type names")
def test_weird_and_colliding_types(db: dbgnn.Database) -> None:
    db.execute("CREATE TABLE paper (mine INTEGER)")
    db.execute("CREATE VIEW x AS SELECT 1 AS one")
    data = HeteroData()
    names = ["paper", "Paper", "select", 'qu"ote; DROP TABLE paper', "x", "a__b", "a", "b__to__c", "c", "é", "É", ""]
    for i, label in enumerate(names):
        data[label].x = torch.tensor([float(i)])
    edge_types = [("a__b", "to", "c"), ("a", "b__to", "c"), ("paper", "rel", "Paper"), ("Paper", "REL", "paper")]
    for i, edge_type in enumerate(edge_types):
        data[edge_type].edge_index = torch.zeros(2, 1, dtype=torch.int64)
        data[edge_type].w = torch.tensor([i])
    graph = from_pyg(data, db, name='odd "name"')
    assert_served(graph, data)
    assert (graph.node_types, graph.edge_types) == (names, edge_types)
    assert db.sql("SELECT mine FROM paper").fetchall() == []


def test_several_in_one_file(db: dbgnn.Database) -> None:
    first, second = Data(x=torch.rand(3, 2)), Data(x=torch.rand(4, 1))
    one, other = from_pyg(first, db, name="one"), from_pyg(second, db, name="other")
    assert_served(one, first)
    assert_served(other, second)
    assert [v.table.name for g in (one, other) for v in g.definition.vertices] == ["node", "node_2"]


def test_tables_are_named(db: dbgnn.Database) -> None:
    data = KarateClub()[0]
    graph = from_pyg(data, db, name="karate", tables={"node": "member", ("node", "to", "node"): "friend of"})
    assert_served(graph, data)
    assert [t.name for t in graph.definition.tables] == ["member", "friend of"]
    with pytest.raises(SchemaError, match="'MEMBER', but there is one"):
        from_pyg(data, db, name="other", tables={"node": "MEMBER"})
    with pytest.raises(UnknownNameError, match="'nodes', which is no type of data; did you mean 'node'"):
        from_pyg(data, db, name="other", tables={"nodes": "m"})


def test_a_connection_of_the_users(tmp_path: Path) -> None:
    import duckdb

    data = KarateClub()[0]
    with duckdb.connect(str(tmp_path / "own.duckdb")) as con:
        con.execute("CREATE SCHEMA s; USE s")
        graph = from_pyg(data, dbgnn.connect(con), name="k")
        assert graph.num_edges(("node", "to", "node")) == 156
        with pytest.raises(SchemaError, match=r"not DuckDBPyConnection: dbgnn\.connect"):
            from_pyg(data, con, name="l")  # type: ignore[arg-type]


# -- errors ------------------------------------------------------------------------------------------------

INDEX = torch.tensor([[0, 1], [1, 2]])


def one(**attributes: Any) -> Data:
    return Data(edge_index=INDEX, num_nodes=3, **attributes)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (one(foo=torch.rand(5)), r"data\.foo \(Tensor of shape \[5\]\) has neither a row for each of 3 nodes nor .* 2 edges"),
        (one(foo=3), r"data\.foo is a int, .*del data\.foo"),
        (one(foo=torch.tensor(3)), r"data\.foo \(Tensor of shape \[\]\) does not have a row"),
        (one(names=["a", 1, "c"]), r"data\.names is a list of which Arrow makes no column"),
        (one(names=["a", "b", "c", "d"]), r"data\.names \(list\) has neither a row"),
        (one(m=np.ma.masked_array([1, 2, 3], mask=[False, True, False])), r"data\.m is a MaskedArray"),
        (one(t=np.array(["a", "b", "c"])), r"data\.t cannot be kept: .*<U1"),
        (one(t=np.array([1, 2, 3], "datetime64[s]")), r"data\.t cannot be kept: .*datetime64"),
        (one(h=torch.rand(3).to(torch.float8_e5m2)), r"data\.h cannot be kept: .*float8_e5m2.*\.half\(\)"),
        (one(c=torch.zeros(3, dtype=torch.complex64)), r"data\.c cannot be kept: .*complex64"),
        (one(s=torch.eye(3).to_sparse()), r"data\.s cannot be kept: .*to_dense"),
        (one(n=torch.nested.nested_tensor([torch.ones(1)] * 3, layout=torch.jagged)), r"data\.n is a NestedTensor"),
        (one(x=torch.empty(3, 0)), r"data\.x cannot be kept: .*\(0, 0\).*1 to 100,000.*del data\.x"),
        (one(X=torch.rand(3), x=torch.rand(3)), "'x' and 'X', which are one name to DuckDB"),
        (one(RowID=torch.rand(3)), "'RowID', which is DuckDB's word"),
        (one(**{"a\0b": torch.rand(3)}), "NUL"),
        (one(**{"": torch.rand(3)}), "not empty"),
        (Data(edge_index=INDEX.float(), num_nodes=3), r"data\.edge_index is of torch.float32.*\.long\(\)"),
        (Data(edge_index=INDEX.view(-1), num_nodes=3), r"data\.edge_index must be .*\[2, E\], and is of shape \[4\]"),
        (Data(edge_index=[[0], [1]], num_nodes=3), r"data\.edge_index must be .*, and is a list"),
        (Data(edge_attr=torch.rand(2), num_nodes=3), r"data\.edge_attr .*3 nodes"),
        (Data(edge_index=INDEX), r"set data\.num_nodes"),
        (Data(), r"set data\.num_nodes"),
        (Batch.from_data_list([one(), one()]), r"data\.ptr"),
        ([one()], "not list"),
    ],
)
def test_what_cannot_be_kept_is_named(db: dbgnn.Database, data: Any, message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        from_pyg(data, db)
    assert db.sql("SELECT count(*) FROM duckdb_tables()").fetchall() == [(0,)]


@pytest.mark.filterwarnings("ignore:Sparse")  # torch: a beta, and unchecked
def test_a_sparse_adjacency_is_refused(db: dbgnn.Database) -> None:
    adj_t = to_torch_csr_tensor(INDEX, size=(3, 3))
    data = HeteroData()
    data["a"].num_nodes = 3
    data["a", "to", "a"].adj_t = adj_t
    of_type = r"data\['a', 'to', 'a'\]\.adj_t"
    for given, at in ((Data(adj_t=adj_t), r"data\.adj_t"), (one(adj=torch.eye(3)), r"data\.adj"), (data, of_type)):
        with pytest.raises(SchemaError, match=f"{at} is an adjacency matrix.*edge_index"):
            from_pyg(given, db)


def test_types_that_do_not_fit(db: dbgnn.Database) -> None:
    def built() -> HeteroData:
        data = HeteroData()
        data["a"].x = torch.rand(3)
        return data

    of_graph = built()
    of_graph.foo = torch.rand(3)
    with pytest.raises(SchemaError, match=r"data\.foo \(Tensor of shape \[3\]\) is of no node or edge type.*del data\.foo"):
        from_pyg(of_graph, db)
    ragged = built()
    ragged["a"].y = torch.rand(2)
    with pytest.raises(SchemaError, match=r"data\['a'\]\.y .*each of 3 nodes"):
        from_pyg(ragged, db)
    endless = built()
    endless["a", "to", "b"].edge_index = INDEX
    with pytest.raises(SchemaError, match=r"an end 'b' without nodes; set data\['b'\]\.num_nodes"):
        from_pyg(endless, db)
    unknown = built()
    unknown["b"].foo = None
    with pytest.raises(SchemaError, match=r"set data\['b'\]\.num_nodes"):
        from_pyg(unknown, db)
    unconnected = built()
    unconnected["a", "to", "a"].w = torch.rand(3)
    with pytest.raises(SchemaError, match=r"data\['a', 'to', 'a'\] has no edge_index"):
        from_pyg(unconnected, db)
    counted = built()
    counted.num_dropped, counted.num_dangling = {("a", "to", "a"): 3}, {("a", "to", "a"): 1}
    assert from_pyg(counted, db).node_types == ["a"]


def test_a_failure_leaves_nothing_behind(db: dbgnn.Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SLICE_BYTES", 100)
    for worst in (99, -1):
        data = Data(edge_index=torch.tensor([[0] * 50 + [worst], [1] * 51]), num_nodes=3)
        with pytest.raises(DataError, match=rf"data\.edge_index names node {worst} of 'node', of which there are 3"):
            from_pyg(data, db)
        assert db.sql("SELECT count(*) FROM duckdb_tables()").fetchall() == [(0,)]
    good = Data(edge_index=torch.tensor([[0], [1]]), num_nodes=3)
    assert_served(from_pyg(good, db), good)


def test_a_graph_that_is_there(db: dbgnn.Database) -> None:
    from_pyg(KarateClub()[0], db)
    with pytest.raises(SchemaError, match=r"a property graph 'graph' already.*DROP PROPERTY GRAPH"):
        from_pyg(KarateClub()[0], db, name="GRAPH")
    with pytest.raises(SchemaError, match="name of the graph is ''"):
        from_pyg(KarateClub()[0], db, name="")


def test_read_only_and_a_schema_called_as_the_file(tmp_path: Path) -> None:
    with dbgnn.connect(tmp_path / "s.duckdb") as db:
        db.execute("CREATE SCHEMA s.s")
        db.cursor().execute("USE s.s")
        with pytest.raises(SchemaError, match="database 's' has that name too"):
            from_pyg(KarateClub()[0], db)
    with dbgnn.connect(tmp_path / "s.duckdb", read_only=True) as db, pytest.raises(ReadOnlyError, match="from_pyg"):
        from_pyg(KarateClub()[0], db)


# -- there and back ----------------------------------------------------------------------------------------


def assert_round_trip(found: Data | HeteroData, given: Data | HeteroData) -> None:
    """Whether two graphs have the same types, attributes and edges, in the same order; ``num_nodes`` may be said or not."""
    assert type(found) is type(given)
    if isinstance(given, HeteroData):
        assert (found.node_types, found.edge_types) == (given.node_types, given.edge_types)
        assert {key: dict(value) for key, value in found._global_store.items() if key not in COUNTS} == {}
    for store, wanted in zip(found.stores[-len(given.stores) :], given.stores, strict=True):
        names = {key for key, value in wanted.items() if value is not None and key != "num_nodes"}
        assert {key for key in store.to_dict() if key not in ("num_nodes", *COUNTS)} == names
        for name in names:
            assert_same(store[name], wanted[name])
    for label in given.node_types if isinstance(given, HeteroData) else [None]:
        assert (found if label is None else found[label]).num_nodes == (given if label is None else given[label]).num_nodes


def test_one_type_comes_back(db: dbgnn.Database) -> None:
    torch.manual_seed(0)
    given = [
        KarateClub()[0],
        FakeDataset(num_graphs=1, avg_num_nodes=60, edge_dim=3, task="node")[0],
        Data(edge_index=torch.tensor([[3, 1, 1], [0, 0, 1]]), edge_attr=torch.rand(3, 1), num_nodes=6),
        Data(
            x=torch.rand(4, 2, 3), m=torch.rand(4, 2) < 0.5, id=torch.tensor([3, 1, 2, 0]), edge_index=torch.empty(2, 0).long()
        ),
        Data(x=torch.rand(4)),
    ]
    for i, data in enumerate(given):
        assert_round_trip(from_pyg(data, db, name=f"graph {i}").to_data(), data)


@pytest.mark.parametrize("edge_dim", [0, 1, 2])
def test_several_types_come_back(db: dbgnn.Database, edge_dim: int) -> None:
    torch.manual_seed(edge_dim)
    data = FakeHeteroDataset(avg_num_nodes=40, num_node_types=3, num_edge_types=5, edge_dim=edge_dim)[0]
    assert_round_trip(from_pyg(data, db).to_heterodata(), data)


def test_every_dtype_comes_back(db: dbgnn.Database) -> None:
    torch.manual_seed(0)
    data = hetero()
    data["paper"].train_mask = torch.rand(5) < 0.5
    data["author", "writes", "paper"].val_mask = torch.rand(7) < 0.5
    graph = from_pyg(data, db)
    assert_round_trip(graph.to_heterodata(), data)
    # and in again what came out
    assert_round_trip(from_pyg(graph.to_heterodata(), db, name="again").to_heterodata(), data)


def test_empty_parts_come_back(db: dbgnn.Database) -> None:
    data = HeteroData()
    data["none"].x = torch.empty(0, 3)
    data["bare"].num_nodes = 2
    data["bare", "to", "none"].edge_index = torch.empty(2, 0, dtype=torch.int64)
    data["bare", "to", "none"].w = torch.empty(0, 2, dtype=torch.float64)
    assert_round_trip(from_pyg(data, db).to_heterodata(), data)


@pytest.mark.parametrize("dtype", [torch.int32, torch.int16, torch.uint8, np.int32, np.uint64])
def test_edges_of_any_integers(db: dbgnn.Database, dtype: Any) -> None:
    index = INDEX.to(dtype) if isinstance(dtype, torch.dtype) else INDEX.numpy().astype(dtype)
    graph = from_pyg(Data(edge_index=index, num_nodes=3), db)
    assert torch.equal(graph.to_data().edge_index, INDEX)


def test_what_a_query_makes_is_taken(db: dbgnn.Database) -> None:
    db.execute("""CREATE TABLE p AS SELECT 'p' || i AS name, i::FLOAT AS x FROM range(5) AS r(i);
    CREATE TABLE u AS SELECT md5(i::VARCHAR)::UUID AS id, DATE '2020-01-01' + i::INTEGER AS day FROM range(3) AS r(i);
    CREATE TABLE has AS SELECT (SELECT id FROM u ORDER BY id LIMIT 1) AS u, 'p' || i AS p FROM range(5) AS r(i)""")
    data = dbgnn.query_to_heterodata(
        db,
        nodes={"p": "FROM p", "u": "SELECT id FROM u ORDER BY id"},
        edges={("u", "has", "p"): "FROM has"},
    )
    assert data["p"].name == [f"p{i}" for i in range(5)]
    data["u", "has", "p"].note = ["one", None, "two", "three", "four"]
    graph = from_pyg(data, db, tables={"p": "p2", "u": "u2"})
    again = graph.to_heterodata()
    assert torch.equal(again["p"].x, data["p"].x)
    assert torch.equal(again["u", "has", "p"].edge_index, data["u", "has", "p"].edge_index)
    assert db.sql("SELECT name FROM p2 ORDER BY id").fetchall() == [(name,) for name in data["p"].name]
    key = graph.definition.vertex("u").key[0]
    assert db.sql(f"SELECT id FROM u2 ORDER BY {key}").fetchall() == [(each,) for each in data["u"].id]
    assert db.sql("SELECT note FROM u__has__p ORDER BY rowid").fetchall()[:2] == [("one",), (None,)]
    loader = dbgnn.NeighborLoader(graph, [1], input_nodes="p", batch_size=5)
    assert next(iter(loader))["p"].x.tolist() == data["p"].x.tolist()


def test_a_tensor_frame_becomes_its_columns(db: dbgnn.Database) -> None:
    torch_frame = pytest.importorskip("torch_frame")
    frame = torch_frame.TensorFrame(
        feat_dict={
            torch_frame.numerical: torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]),
            torch_frame.categorical: torch.tensor([[1], [0], [2]]),
        },
        col_names_dict={torch_frame.numerical: ["a", "b"], torch_frame.categorical: ["c"]},
        y=torch.tensor([0, 1, 0]),
    )
    graph = from_pyg(Data(tf=frame, edge_index=INDEX, num_nodes=3), db)
    found = graph.to_data()
    assert (found.a.tolist(), found.b.tolist(), found.c.tolist()) == ([1, 3, 5], [2, 4, 6], [1, 0, 2])
    assert found.y.tolist() == [0, 1, 0]
    with pytest.raises(SchemaError, match="two columns 'a'"):
        from_pyg(Data(tf=frame, a=torch.ones(3), edge_index=INDEX, num_nodes=3), db, name="other")
