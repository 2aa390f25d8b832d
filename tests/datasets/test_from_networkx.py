"""`from_networkx`: graphs of every kind into tables, with their names, types and attributes."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch
from torch_geometric.data import HeteroData
from torch_geometric.datasets import FakeHeteroDataset
from torch_geometric.utils import from_networkx as pygs
from torch_geometric.utils import to_networkx

import dbgnn
from dbgnn import ReadOnlyError, SchemaError, UnknownNameError
from dbgnn.datasets.from_networkx import from_networkx


@pytest.fixture
def db(tmp_path: Path) -> dbgnn.Database:
    return dbgnn.connect(tmp_path / "graph.duckdb")


def rows(db: dbgnn.Database, table: str) -> list[tuple[Any, ...]]:
    return db.sql(f"SELECT * FROM {table} ORDER BY rowid").fetchall()


def types(db: dbgnn.Database, table: str) -> dict[str, str]:
    return dict(db.sql(f"SELECT column_name, column_type FROM (DESCRIBE {table})").fetchall())


@pytest.mark.parametrize("kind", [nx.Graph, nx.DiGraph, nx.MultiGraph, nx.MultiDiGraph])
def test_edges_are_pygs(db: dbgnn.Database, kind: Any) -> None:
    graph = kind()
    graph.add_nodes_from(range(6))
    graph.add_edges_from([(3, 1, {"w": 0.5}), (1, 3, {"w": 1.5}), (0, 0, {"w": 2.5}), (5, 2, {"w": 3.5}), (3, 1, {"w": 4.5})])
    found, wanted = from_networkx(graph, db), pygs(graph)
    features, edges = db.get_torch_geometric_remote_backend(found)
    assert torch.equal(torch.stack(edges.get_edge_index(None, "coo")), wanted.edge_index)
    weights = features.get_tensor(("node", "to", "node"), "w", None)
    assert weights.dtype == torch.float64
    assert torch.equal(weights.float(), wanted.w)
    assert found.num_nodes("node") == 6
    assert ("key" in types(db, "node__to__node")) == graph.is_multigraph()
    assert found.definition.edges[0].properties == ("w",)


def test_names_are_kept(db: dbgnn.Database) -> None:
    graph = nx.DiGraph([("b", "a"), ("b", "c")])
    found = from_networkx(graph, db)
    assert rows(db, "node") == [("b",), ("a",), ("c",)]
    assert rows(db, "node__to__node") == [("b", "a"), ("b", "c")]
    features, edges = db.get_torch_geometric_remote_backend(found)
    assert features.keys(None, torch.arange(3)) is not None
    assert torch.stack(edges.get_edge_index(None, "coo")).tolist() == [[1, 1], [0, 2]]  # ids go by the names' order


def test_integers_of_any_size(db: dbgnn.Database) -> None:
    graph = nx.DiGraph([(-5, 2**62), (np.int32(7), -5)])
    from_networkx(graph, db)
    assert rows(db, "node__to__node") == [(-5, 2**62), (7, -5)]
    assert types(db, "node")["id"] == "BIGINT"


def test_attributes_are_typed(db: dbgnn.Database) -> None:
    graph = nx.Graph()
    graph.add_node(
        0, i=1, f=0.5, b=True, s="text", v=[1.0, 2.0], m=np.ones((2, 3), np.float32), t=torch.ones(2), z=torch.tensor(3),
        d=dt.date(2020, 1, 1), r=[1], id=7,
    )  # fmt: skip
    graph.add_node(
        1, i=2, f=2, b=False, s="more", v=[3, 4], m=np.zeros((2, 3), np.float32), t=torch.zeros(2), z=torch.tensor(4),
        d=dt.date(2020, 1, 2), r=[1, 2], id=8, only="here", gone=None,
    )  # fmt: skip
    found = from_networkx(graph, db)
    assert types(db, "node") == {
        "id_": "BIGINT", "i": "BIGINT", "f": "DOUBLE", "b": "BOOLEAN", "s": "VARCHAR", "v": "DOUBLE[2]", "m": "FLOAT[3][2]",
        "t": "FLOAT[2]", "z": "BIGINT", "d": "DATE", "r": "BIGINT[]", "id": "BIGINT", "only": "VARCHAR", "gone": "VARCHAR",
    }  # fmt: skip
    assert db.sql('SELECT "only", gone FROM node ORDER BY id_').fetchall() == [(None, None), ("here", None)]
    assert found.definition.vertices[0].key == ("id_",)
    served = found.definition.vertices[0].properties
    assert served is not None
    assert {"i", "f", "b", "v", "m", "t", "z", "d", "id"} == set(served)
    features, _ = db.get_torch_geometric_remote_backend(found)
    assert features.get_tensor(None, "m", None).tolist() == [[[1.0] * 3] * 2, [[0.0] * 3] * 2]


def test_some_attributes(db: dbgnn.Database) -> None:
    graph = nx.DiGraph()
    graph.add_node(0, a=1, odd=object())
    graph.add_edge(0, 0, w=1, v=2)
    from_networkx(graph, db, name="some", node_attrs=["a"], edge_attrs=[])
    assert list(types(db, "node")) == ["id", "a"]
    assert list(types(db, "node__to__node")) == ["src", "dst"]
    with pytest.raises(UnknownNameError, match="node_attrs: no node has an attribute 'od'; did you mean 'odd'"):
        from_networkx(graph, db, name="other", node_attrs=["od"])
    with pytest.raises(SchemaError, match="not the text 'w'"):
        from_networkx(graph, db, name="other", node_attrs=[], edge_attrs="w")


def test_empty_graphs(db: dbgnn.Database) -> None:
    assert from_networkx(nx.MultiGraph(), db, name="none").num_nodes("node") == 0
    isolated = from_networkx(nx.empty_graph(3), db, name="isolated")
    assert (isolated.num_nodes("node"), isolated.num_edges(("node", "to", "node"))) == (3, 0)
    texts = nx.Graph()
    texts.add_node("alone")
    assert from_networkx(texts, db, name="texts").num_edges(("node", "to", "node")) == 0


def test_a_graph_in_the_loader(db: dbgnn.Database) -> None:
    graph = nx.karate_club_graph()
    for node in graph:
        graph.nodes[node]["x"] = [float(node), 1.0]
    stores = db.get_torch_geometric_remote_backend(from_networkx(graph, db))
    loader: Any = dbgnn.NeighborLoader(stores, num_neighbors=[-1], batch_size=34)
    (batch,) = loader
    assert batch.edge_index.size(1) == 2 * graph.number_of_edges()
    assert batch.x[:, 0].long().tolist() == batch.n_id.tolist()


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([(0, {}), ("a", {})], "all integers or all texts, and 'a' is another.*convert_node_labels_to_integers"),
        ([((0, 1), {})], r"\(0, 1\) is another"),
        ([(2.5, {}), (1, {})], "2.5 is another"),
        ([(True, {})], "True is another"),
        ([(2**63, {})], "The names of nodes make no key column"),
        ([("\ud800", {})], "The names of nodes make no key column"),
        ([(0, {"a": 1}), (1, {"a": "x"})], "no column of the attribute 'a' of nodes"),
        ([(0, {"a": object()})], "no column of the attribute 'a' of nodes"),
        ([(0, {"a": 1, "A": 1})], r"G\.nodes has the attributes 'a' and 'A', which are one name to DuckDB"),
        ([(0, {5: 1})], r"attribute of G\.nodes is 5"),
    ],
)
def test_what_makes_no_table(db: dbgnn.Database, nodes: Any, message: str) -> None:
    graph = nx.Graph()
    graph.add_nodes_from(nodes)
    with pytest.raises(SchemaError, match=message):
        from_networkx(graph, db)
    assert db.sql("SELECT count(*) FROM duckdb_tables()").fetchall() == [(0,)]


def test_other_mistakes(db: dbgnn.Database, tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match="takes a networkx graph, not dict"):
        from_networkx({}, db)
    from_networkx(nx.path_graph(2), db)
    with pytest.raises(SchemaError, match="a property graph 'graph' already"):
        from_networkx(nx.path_graph(2), db)
    db.close()
    with dbgnn.connect(tmp_path / "graph.duckdb", read_only=True) as read_only, pytest.raises(ReadOnlyError):
        from_networkx(nx.path_graph(2), read_only)


def test_a_vector_that_some_nodes_lack_keeps_its_size(db: dbgnn.Database) -> None:
    graph = nx.path_graph(5)
    graph.nodes[1]["v"], graph.nodes[3]["v"] = [1.0, 2.0], np.array([3.0, 4.0])
    graph.nodes[0]["m"], graph.nodes[4]["m"] = torch.ones(2, 3), torch.zeros(2, 3)
    graph.nodes[0]["r"], graph.nodes[1]["r"] = [1], [1, 2]
    from_networkx(graph, db)
    kinds = types(db, "node")
    assert (kinds["v"], kinds["m"], kinds["r"]) == ("DOUBLE[2]", "FLOAT[3][2]", "BIGINT[]")
    assert db.sql("SELECT v FROM node ORDER BY id").fetchall() == [(None,), ((1.0, 2.0),), (None,), ((3.0, 4.0),), (None,)]
    assert [row[0] is None for row in db.sql("SELECT m FROM node ORDER BY id").fetchall()] == [False, True, True, True, False]
    assert db.sql("SELECT m[1][3], m[2][1] FROM node WHERE m IS NOT NULL ORDER BY id").fetchall() == [(1.0, 1.0), (0.0, 0.0)]


# -- types -------------------------------------------------------------------------------------------------


def shop(kind: Any = nx.DiGraph) -> Any:
    graph = kind()
    graph.add_node("ann", kind="user", age=30.0)
    graph.add_node(7, kind="item", x=[1.0, 2.0])
    graph.add_node("bob", kind="user", age=40.0)
    graph.add_node(5, kind="item", x=[3.0, 4.0], price=9)
    graph.add_edge("bob", 7, kind="bought", w=0.5)
    graph.add_edge("ann", 5, kind="bought", w=1.5)
    graph.add_edge("ann", 7, kind="saw")
    graph.add_edge("ann", "bob", kind="knows", since=2020)
    return graph


def test_types_by_attributes(db: dbgnn.Database) -> None:
    found = from_networkx(shop(), db, node_type="kind", edge_type="kind")
    assert found.node_types == ["user", "item"]
    bought, saw, knows = ("user", "bought", "item"), ("user", "saw", "item"), ("user", "knows", "user")
    assert found.edge_types == [bought, saw, knows]
    assert types(db, "user") == {"id": "VARCHAR", "age": "DOUBLE"}  # the attributes of its type alone, and not the type
    assert types(db, "item") == {"id": "BIGINT", "x": "DOUBLE[2]", "price": "BIGINT"}
    assert types(db, "user__saw__item") == {"src": "VARCHAR", "dst": "BIGINT"}
    data = found.to_heterodata(columns={"item": ["x"]})
    assert data["user"].age.tolist() == [30, 40]
    assert data["item"].x.tolist() == [[3, 4], [1, 2]]
    assert data[bought].edge_index.tolist() == [[0, 1], [0, 1]]  # in the order of G.edges
    assert data[bought].w.tolist() == [1.5, 0.5]
    assert data[saw].edge_index.tolist() == [[0], [1]]
    assert data[knows].edge_index.tolist() == [[0], [1]]
    assert data[knows].since.tolist() == [2020]


def test_types_of_nodes_alone_and_of_edges_alone(db: dbgnn.Database) -> None:
    by_node = from_networkx(shop(), db, name="by_node", node_type="kind", node_attrs=["age"], edge_attrs=["w"])
    assert by_node.edge_types == [("user", "to", "item"), ("user", "to", "user")]
    assert types(db, "user__to__item") == {"src": "VARCHAR", "dst": "BIGINT", "w": "DOUBLE"}
    assert types(db, "user__to__user") == {"src": "VARCHAR", "dst": "VARCHAR"}
    assert list(types(db, "item")) == ["id"]
    graph = nx.MultiDiGraph([(0, 1, {"kind": "a"}), (0, 1, {"kind": "b"}), (1, 0, {"kind": "a"})])
    by_edge = from_networkx(graph, db, name="by_edge", edge_type="kind")
    assert by_edge.edge_types == [("node", "a", "node"), ("node", "b", "node")]
    assert rows(db, "node__a__node") == [(0, 1, 0), (1, 0, 0)]
    assert rows(db, "node__b__node") == [(0, 1, 1)]
    only_nodes = from_networkx(nx.create_empty_copy(shop()), db, name="only_nodes", node_type="kind")
    assert (only_nodes.edge_types, only_nodes.num_nodes("item")) == ([], 2)
    one_called_node = nx.DiGraph()
    one_called_node.add_node(0, kind="node")
    assert type(from_networkx(one_called_node, db, name="one", node_type="kind").to_heterodata()) is HeteroData


@pytest.mark.parametrize("kind", [nx.Graph, nx.MultiGraph])
def test_undirected_edges_between_types_have_both_directions(db: dbgnn.Database, kind: Any) -> None:
    found = from_networkx(shop(kind), db, node_type="kind", edge_type="kind")
    triples = [("user", "bought", "item"), ("item", "bought", "user"), ("user", "saw", "item"), ("item", "saw", "user")]
    assert set(found.edge_types) == {*triples, ("user", "knows", "user")}
    assert found.num_edges(("user", "knows", "user")) == 2
    data = found.to_heterodata(columns={"item": ["x"]})
    there, back = data["user", "bought", "item"], data["item", "bought", "user"]
    assert {*map(tuple, there.edge_index.T.tolist())} == {*map(tuple, back.edge_index.flip(0).T.tolist())} == {(1, 1), (0, 0)}


def test_what_pyg_makes_of_a_heterogeneous_graph_comes_back(db: dbgnn.Database) -> None:
    given = FakeHeteroDataset(num_graphs=1, avg_num_nodes=20)[0]
    graph = to_networkx(given, node_attrs=["x"])
    data = from_networkx(graph, db, node_type="type", edge_type="type").to_heterodata()
    assert set(data.node_types) == set(given.node_types)
    assert set(data.edge_types) == {t for t in given.edge_types if given[t].num_edges}
    for label in given.node_types:
        assert torch.equal(data[label].x.float(), given[label].x)
    for label in data.edge_types:
        edges, wanted = ({*map(tuple, of[label].edge_index.T.tolist())} for of in (data, given))
        assert edges == wanted  # to_networkx makes one edge of parallel ones
    undirected = nx.Graph()
    undirected.add_node(0, type="a")
    undirected.add_node(1, type="b")
    undirected.add_edge(1, 0, type=("a", "to", "b"))
    both = from_networkx(undirected, db, name="both", node_type="type", edge_type="type")
    assert set(both.edge_types) == {("a", "to", "b"), ("b", "to", "a")}


@pytest.mark.parametrize(
    ("change", "error", "message", "remedy"),
    [
        ("del G.nodes[7]['kind']", UnknownNameError, "node_type: .* has no attribute 'kind'", "Set it, (.* = '…')"),
        ("G.nodes['ann']['kind'] = 1", SchemaError, r"G\.nodes\['ann'\]\['kind'\] is 1", "(for .*)"),
        ("G.nodes['ann']['kind'] = ['user']", SchemaError, "named by texts", "(for .*)"),
        ("G.nodes['ann']['kind'] = ''", SchemaError, "is ''; it must be a text, not empty", None),
        ("del G.edges['ann', 7]['kind']", UnknownNameError, "edge_type: ", "Set it, (.* = '…')"),
        ("G.edges['ann', 7]['kind'] = 5", SchemaError, r"G\.edges\['ann', 7\]\['kind'\] is 5", "(for .*)"),
        ("G.edges['ann', 7]['kind'] = ('item', 'of', 'user')", SchemaError, "from a node of type 'user'", "alone: (.*)"),
        ("G.edges['ann', 7]['kind'] = ('user', '', 'item')", SchemaError, "must be a text, not empty", None),
        ("G.nodes[7]['a'], G.nodes[5]['a'] = 1, 'x'", SchemaError, "no column of the attribute 'a'", None),
        ("G.add_node(2.5, kind='item')", SchemaError, "2.5 is another", None),
    ],
)  # fmt: skip
def test_what_is_no_type(db: dbgnn.Database, change: str, error: Any, message: str, remedy: str | None) -> None:
    graph = shop()
    exec(change, {"G": graph})
    with pytest.raises(error, match=message) as caught:
        from_networkx(graph, db, node_type="kind", edge_type="kind")
    assert db.sql("SELECT count(*) FROM duckdb_tables()").fetchall() == [(0,)]
    if remedy is not None:
        done = re.search(remedy, str(caught.value))
        assert done is not None, str(caught.value)
        exec(done[1], {"G": graph})
        from_networkx(graph, db, node_type="kind", edge_type="kind")


def test_types_of_nothing(db: dbgnn.Database) -> None:
    with pytest.raises(SchemaError, match="G has no nodes, so that node_type='kind' names no types"):
        from_networkx(nx.DiGraph(), db, node_type="kind")
    with pytest.raises(UnknownNameError, match="has no attribute 'kinds'; did you mean 'kind'"):
        from_networkx(shop(), db, node_type="kinds")
