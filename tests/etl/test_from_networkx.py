"""`from_networkx`: graphs of every kind into tables, with their names, types and attributes."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch
from torch_geometric.utils import from_networkx as pygs

import dbgnn
from dbgnn import ReadOnlyError, SchemaError, UnknownNameError
from dbgnn.etl.from_networkx import from_networkx


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
        ([(0, {"a": 1, "A": 1})], r"G\.nodes has the attributes 'a' and 'A', which DuckDB does not tell apart"),
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
