"""Columns whose names PyG reserves are served only where `columns=` asks for them by another name; else an error says how.

Every remedy that the error names is tried as it is written.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import networkx as nx
import pytest
import torch
from torch_geometric.data import Data, HeteroData
from torch_geometric.loader import NeighborLoader as PyGLoader

import dbgnn
from dbgnn.schema.names import RESERVED, attribute_names
from dbgnn.sql import quote

N = 6
MODEL = torch.nn.Identity()
WROTE, BACK = ("author", "wrote", "paper"), ("paper", "wby", "author")
ASKED: dict[Any, list[str]] = {
    "paper": ["x", "batch_", "ptr_"],
    "author": ["n_id_", "size"],
    WROTE: ["w", "e_id_"],
    BACK: ["w", "e_id_"],
}
LEFT_OUT: dict[Any, list[str]] = {"paper": ["x"], "author": ["size"], WROTE: ["w"], BACK: ["w"]}
DDL = """CREATE PROPERTY GRAPH g VERTEX TABLES (paper KEY (id), author KEY (id)) EDGE TABLES (
    wrote SOURCE KEY (a) REFERENCES author (id) DESTINATION KEY (p) REFERENCES paper (id),
    wrote AS back SOURCE KEY (p) REFERENCES paper (id) DESTINATION KEY (a) REFERENCES author (id) LABEL wby)"""

PATTERN = """SELECT u, e AS author__wrote__paper, r AS paper__wby__author, v
    FROM author u JOIN wrote e ON e.a = u.id JOIN paper v ON e.p = v.id JOIN wrote r ON r.p = v.id"""

#: Everything that serves columns, each with `columns=` passed on.
SERVES: dict[str, Callable[..., Any]] = {
    "stores": lambda db, **kw: db.get_torch_geometric_remote_backend(**kw),
    "stores of a graph": lambda db, **kw: db.get_torch_geometric_remote_backend(db.graph(), **kw),
    "in memory": lambda db, **kw: db.graph().to_heterodata(**kw),
    "in memory, hops": lambda db, **kw: db.graph().to_heterodata(seeds=("paper", "id < 2"), hops=1, **kw),
    "by pattern": lambda db, **kw: dbgnn.query_to_heterodata(db, PATTERN, **kw),
}


def fill(db: dbgnn.Database) -> dbgnn.Database:
    db.execute(f"""
        CREATE TABLE paper AS SELECT i AS id, i::FLOAT AS x, 10 + i AS batch, 20 + i AS ptr FROM range({N}) t(i);
        CREATE TABLE author AS SELECT i AS id, 30 + i AS n_id, i AS "size" FROM range({N}) t(i);
        CREATE TABLE wrote AS SELECT i AS a, i AS p, i::FLOAT AS w, 40 + i AS e_id FROM range({N}) t(i);
    """)
    db.execute(DDL)
    return db


@pytest.fixture
def db() -> Iterator[dbgnn.Database]:
    with dbgnn.connect(progress=False) as db:
        yield fill(db)


def refused(call: Callable[[], Any]) -> str:
    with pytest.raises(dbgnn.SchemaError, match="for something else") as found:
        call()
    return str(found.value)


def remedies(text: str) -> list[dict[Any, list[str]]]:
    return [ast.literal_eval(shown) for shown in re.findall(r"columns=(\{.*?\})[;.]", text)]


# -- the error, and that its remedies work -----------------------------------------------------------------


@pytest.mark.parametrize("way", SERVES)
def test_all_columns_of_all_types_are_in_one_error_whose_remedies_work(db: dbgnn.Database, way: str) -> None:
    text = refused(lambda: SERVES[way](db))
    assert text.startswith(
        "Columns 'batch', 'ptr' of table 'paper', column 'n_id' of table 'author', column 'e_id' of table 'w"
    )
    assert remedies(text) == [ASKED, LEFT_OUT]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for columns in remedies(text):
            SERVES[way](db, columns=columns)
        for statement in text.partition("rename them in the table: ")[2].rstrip(".").split("; "):
            db.execute(statement)
        SERVES[way](db)


@pytest.mark.parametrize("way", SERVES)
def test_the_columns_own_name_is_the_same_error(db: dbgnn.Database, way: str) -> None:
    given = {"wrote": ["e_id", "w"], "paper": ["batch", "x", "batch_"], "author": ["size"]}
    text = refused(lambda: SERVES[way](db, columns=given))
    assert text.startswith("Column 'batch' of table 'paper', column 'e_id' of table 'wrote':")
    wanted = {"paper": ["batch_", "x"], "author": ["size"], WROTE: ["e_id_", "w"], BACK: ["w", "e_id_"]}
    assert remedies(text) == [wanted, {"paper": ["x"], "author": ["size"], WROTE: ["w"], BACK: ["w"]}]
    assert "rename" not in text  # columns= would name what is no longer there
    for columns in remedies(text):
        SERVES[way](db, columns=columns)


def test_what_is_asked_for_is_served(db: dbgnn.Database) -> None:
    data = db.get_torch_geometric_remote_backend(columns=ASKED)
    sampler = dbgnn.NeighborSampler(data, [1])
    for loader in (dbgnn.NeighborLoader, PyGLoader):
        (batch,) = loader(data, [1], input_nodes="paper", batch_size=N, neighbor_sampler=sampler)
        assert batch["paper"].batch_.tolist() == [10 + i for i in batch["paper"].n_id.tolist()]
        assert batch["author"].n_id_.tolist() == [30 + i for i in batch["author"].n_id.tolist()]
        assert batch["author"]["size"].tolist() == batch["author"].n_id.tolist()
    memory = db.graph().to_heterodata(columns=ASKED)
    assert memory["paper"].ptr_.tolist() == [20 + i for i in range(N)]
    assert memory[BACK].e_id_.tolist() == [40 + i for i in range(N)]


@pytest.mark.parametrize("name", sorted(RESERVED))
def test_every_reserved_name_is_refused_and_served_if_asked_for(name: str) -> None:
    with dbgnn.connect(progress=False) as db:
        db.execute(f"CREATE TABLE paper AS SELECT i AS id, i::FLOAT AS x, 50 + i AS {quote(name)} FROM range(3) t(i)")
        db.execute("CREATE PROPERTY GRAPH g VERTEX TABLES (paper KEY (id))")
        (asked, left_out) = remedies(refused(db.get_torch_geometric_remote_backend))
        attr = attribute_names([name])[name]
        assert (asked, left_out) == ({"paper": ["x", attr]}, {"paper": ["x"]})
        data = db.get_torch_geometric_remote_backend(columns=asked)
        (batch,) = dbgnn.NeighborLoader(data, [], input_nodes="paper", batch_size=3)
        assert getattr(batch["paper"], attr).tolist() == [50, 51, 52]
        assert batch["paper"].n_id.tolist() == [0, 1, 2]


@pytest.mark.parametrize("name", "size keys items view to sort update num_features stores __len__".split())
def test_names_of_methods_and_properties_are_served_as_they_are(name: str) -> None:
    with dbgnn.connect(progress=False) as db:
        db.execute(f"CREATE TABLE paper AS SELECT i AS id, 50 + i AS {quote(name)} FROM range(3) t(i)")
        db.execute("CREATE PROPERTY GRAPH g VERTEX TABLES (paper KEY (id))")
        for homogeneous in (False, True):
            data = db.get_torch_geometric_remote_backend(homogeneous=homogeneous)
            (batch,) = dbgnn.NeighborLoader(data, [], input_nodes=None if homogeneous else "paper", batch_size=3)
            assert (batch if homogeneous else batch["paper"])[name].tolist() == [50, 51, 52]
        assert db.graph().to_heterodata()["paper"][name].tolist() == [50, 51, 52]


def test_only_the_types_of_a_pattern_count(db: dbgnn.Database) -> None:
    text = refused(lambda: dbgnn.query_to_heterodata(db, "SELECT p FROM paper p", columns={"author": ["n_id"]}))
    assert text.startswith("Columns 'batch', 'ptr' of table 'paper':")
    assert dbgnn.query_to_heterodata(db, "SELECT p FROM paper p", columns={"paper": ["x"]})["paper"].x.tolist() == list(
        range(N)
    )


def test_properties_are_judged_where_stores_open(db: dbgnn.Database) -> None:
    db.execute("CREATE PROPERTY GRAPH listed VERTEX TABLES (paper KEY (id) PROPERTIES (batch, x))")
    graph = db.graph("listed")
    text = refused(lambda: db.get_torch_geometric_remote_backend(graph))
    assert remedies(text) == [{"paper": ["batch_", "x"]}, {"paper": ["x"]}]
    assert "rename" not in text  # the graph names the column
    store, _ = db.get_torch_geometric_remote_backend(graph, columns={"paper": ["batch_"]})
    assert store["paper", "batch_", [1]].tolist() == [11]
    db.execute("CREATE PROPERTY GRAPH bare VERTEX TABLES (paper KEY (id) PROPERTIES (x))")
    db.get_torch_geometric_remote_backend("bare")


def test_renaming_is_advised_only_where_duckdb_takes_it(tmp_path: Path) -> None:
    with dbgnn.connect(tmp_path / "g.duckdb", progress=False) as db:
        db.execute("""
            CREATE TABLE a (id INT PRIMARY KEY, batch INT); INSERT INTO a VALUES (1, 2);
            CREATE TABLE b (id INT PRIMARY KEY, a INT REFERENCES a (id), ptr INT); INSERT INTO b VALUES (1, 1, 3);
        """)
        assert "rename" not in refused(db.get_torch_geometric_remote_backend)
        text = refused(lambda: db.get_torch_geometric_remote_backend(columns={"a": []}))
        assert text.endswith("rename it in the table: ALTER TABLE b RENAME COLUMN ptr TO ptr_.")
        db.execute("CREATE INDEX i ON b (ptr)")
        assert "rename" not in refused(lambda: db.get_torch_geometric_remote_backend(columns={"a": []}))
        db.execute("DROP INDEX i")
    with dbgnn.connect(tmp_path / "g.duckdb", read_only=True) as db:
        assert "rename" not in refused(lambda: db.get_torch_geometric_remote_backend(columns={"a": []}))


def test_a_column_that_comes_later_is_not_served_either(db: dbgnn.Database) -> None:
    for name in ("batch", "ptr"):
        db.execute(f"ALTER TABLE paper DROP COLUMN {name}")
    data = db.get_torch_geometric_remote_backend(columns={"author": ["n_id_"], "wrote": [], "wby": []})
    loader = dbgnn.NeighborLoader(data, [1], input_nodes="paper", batch_size=N)
    assert len(list(loader)) == 1
    db.execute("ALTER TABLE paper ADD COLUMN num_nodes INTEGER DEFAULT 7")
    for use in (lambda: list(loader), data[0].get_all_tensor_attrs):
        text = refused(use)
        assert text.startswith("Column 'num_nodes' of table 'paper':")
        assert remedies(text)[0]["paper"] == ["x", "num_nodes_"]


# -- what serves no columns --------------------------------------------------------------------------------


def test_what_serves_no_column_works(db: dbgnn.Database) -> None:
    graph = db.graph().build()
    assert "batch_ " in str(graph)
    assert graph.check() is not None
    assert graph.write_back("paper", n_id=[1], score=torch.ones(1)) == 1
    assert graph.write_back("paper", keys=[2], ptr=torch.tensor([9])) == 1
    graph.encode("author", "scaled", dbgnn.Normalize("n_id"))
    store, edges = db.get_torch_geometric_remote_backend(columns=LEFT_OUT)
    assert store.keys("paper", [3, 1]).tolist() == [3, 1]
    assert store.ids("paper", [3, 1]).tolist() == [3, 1]
    assert store["paper", "ptr_", [2]].tolist() == [9]  # asked for by name
    assert edges.get_all_edge_attrs()
    dbgnn.NeighborSampler(graph, [1])
    loader = dbgnn.NeighborLoader((store, edges), [1], input_nodes="paper", batch_size=4)
    assert graph.predict(MODEL, loader, "paper.p", forward=lambda _, b: b["paper"].x) == N


def test_a_pack_and_a_copy_of_the_stores_serve_what_was_asked_for(tmp_path: Path) -> None:
    with fill(dbgnn.connect(tmp_path / "g.duckdb", progress=False)) as db:
        data = db.get_torch_geometric_remote_backend(columns=ASKED)
        dbgnn.NeighborLoader(data, [1], input_nodes="paper", batch_size=N).pack(tmp_path / "pack", progress=False)
        (batch,) = dbgnn.PackedLoader(tmp_path / "pack")
        assert batch["paper"].batch_.tolist() == [10 + i for i in batch["paper"].n_id.tolist()]
        assert (
            db.graph().predict(MODEL, dbgnn.PackedLoader(tmp_path / "pack"), "paper.p", forward=lambda _, b: b["paper"].x) == N
        )
    with dbgnn.connect(tmp_path / "g.duckdb", read_only=True) as db:
        data = db.get_torch_geometric_remote_backend(columns=ASKED)
        (batch,) = dbgnn.NeighborLoader(data, [1], input_nodes="paper", batch_size=N, num_workers=1)
        assert batch["author"].n_id_.tolist() == [30 + i for i in batch["author"].n_id.tolist()]


# -- from PyG and networkx, and back -----------------------------------------------------------------------


def test_a_graph_of_pyg_comes_back_by_the_columns_that_the_warning_names() -> None:
    data = HeteroData()
    data["paper"].x, data["paper"].n_id = torch.arange(6.0), torch.arange(6).flip(0)
    data["paper", "to", "paper"].edge_index = torch.tensor([[0, 1], [1, 2]])
    data["paper", "to", "paper"].e_id = torch.tensor([5, 4])
    with dbgnn.connect(progress=False) as db:
        with pytest.warns(UserWarning, match="from_pyg has kept all attributes. Column 'n_id' of table 'paper', ") as said:
            graph = dbgnn.from_pyg(data, db)
        refused(graph.to_heterodata)
        refused(lambda: dbgnn.NeighborLoader(graph, [1], input_nodes="paper"))
        columns = remedies(str(said[0].message))[0]
        back = graph.to_heterodata(columns=columns)
        assert back["paper"].n_id_.tolist() == data["paper"].n_id.tolist()
        assert back["paper", "to", "paper"].e_id_.tolist() == [5, 4]
        stores = db.get_torch_geometric_remote_backend(graph, columns=columns)
        loader = dbgnn.NeighborLoader(stores, [1], input_nodes=("paper", [0]), batch_size=1)
        assert graph.predict(MODEL, loader, into="paper.p", forward=lambda _, b: b["paper"].x) == 1
        assert db.sql("SELECT id FROM paper WHERE p IS NOT NULL").fetchall() == [(0,)]


def test_data_of_one_type_too() -> None:
    data = Data(x=torch.arange(3.0), batch=torch.tensor([0, 0, 1]), edge_index=torch.tensor([[0], [1]]))
    with dbgnn.connect(progress=False) as db:
        with pytest.warns(UserWarning, match="Column 'batch' of table 'node':") as said:
            graph = dbgnn.from_pyg(data, db)
        assert graph.to_data(columns=remedies(str(said[0].message))[0]).batch_.tolist() == [0, 0, 1]
        refused(graph.to_data)


def test_a_graph_of_networkx_too() -> None:
    given = nx.path_graph(3)
    nx.set_node_attributes(given, {i: 5 + i for i in range(3)}, "batch")
    with dbgnn.connect(progress=False) as db:
        with pytest.warns(UserWarning, match="from_networkx has kept all attributes. Column 'batch' of table 'node':") as said:
            graph = dbgnn.from_networkx(given, db)
        assert graph.to_data(columns=remedies(str(said[0].message))[0]).batch_.tolist() == [5, 6, 7]
        refused(graph.to_data)
