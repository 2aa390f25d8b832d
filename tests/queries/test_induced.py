"""The graph form: the whole graph beside the loaders, subgraphs by conditions, hops around seeds, and `to_data`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
import torch
from torch_geometric.data import Data, HeteroData
from torch_geometric.utils import k_hop_subgraph, subgraph

import dbgnn
from dbgnn import Database, DataError, DbgnnError, Graph, SchemaError, SqlError, UnknownNameError

CITES = ("paper", "cites", "paper")
WROTE = ("author", "wrote", "paper")
REV_WROTE = ("paper", "rev_wrote", "author")
TABLES = """
CREATE TABLE paper (id BIGINT, x FLOAT[2], year SMALLINT, title VARCHAR);
INSERT INTO paper VALUES
  (70, [7, 7.5], 2007, 'g'), (10, [1, 1.5], 2001, 'a'), (30, [3, 3.5], 2003, 'c'), (20, [2, 2.5], 2002, 'b');
CREATE TABLE author (name VARCHAR PRIMARY KEY, age INTEGER);
INSERT INTO author VALUES ('zoe', 30), ('ada', 20), ('bob', 40);
CREATE TABLE wrote (who VARCHAR, what BIGINT, weight DOUBLE);
INSERT INTO wrote VALUES ('zoe', 10, 0.5), ('ada', 70, 1.5), ('zoe', 10, 2.5), ('bob', 20, 3.5);
CREATE TABLE cites (src BIGINT, dst BIGINT, year INTEGER);
INSERT INTO cites VALUES (10, 20, 1), (20, 30, 2), (30, 70, 3), (70, 70, 4), (70, 10, 5);
CREATE PROPERTY GRAPH scholars
  VERTEX TABLES (paper KEY (id), author)
  EDGE TABLES (
    cites SOURCE KEY (src) REFERENCES paper (id) DESTINATION KEY (dst) REFERENCES paper (id),
    wrote SOURCE KEY (who) REFERENCES author (name) DESTINATION KEY (what) REFERENCES paper (id),
    wrote SOURCE KEY (what) REFERENCES paper (id) DESTINATION KEY (who) REFERENCES author (name) LABEL rev_wrote
  );
CREATE PROPERTY GRAPH citations
  VERTEX TABLES (paper KEY (id) PROPERTIES (id, x))
  EDGE TABLES (cites SOURCE KEY (src) REFERENCES paper (id) DESTINATION KEY (dst) REFERENCES paper (id) PROPERTIES (year, dst));
"""


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A database that no test changes."""
    with dbgnn.connect(tmp_path_factory.mktemp("induced") / "test.duckdb", progress=False) as db:
        db.execute(TABLES)
        yield db


@pytest.fixture
def graph(db: Database) -> Iterator[Graph]:
    """Papers 10, 20, 30, 70 and authors ada, bob, zoe, and that nothing of a call is left afterwards."""
    yield db.graph("scholars")
    assert left_behind(db.connection) == []


def left_behind(con: duckdb.DuckDBPyConnection) -> list[Any]:
    query = "SELECT view_name FROM duckdb_views() WHERE temporary AND NOT internal"
    return con.execute(f"SELECT table_name FROM duckdb_tables() WHERE temporary UNION ALL {query}").fetchall()


def attributes(data: HeteroData | Data) -> dict[Any, list[str]]:
    """The attributes of every type, sorted."""
    return {store._key: sorted(set(store.keys()) - {"num_nodes"}) for store in data.stores if store}


# -- the whole graph ---------------------------------------------------------------------------------------


def test_positions_are_the_ids_of_the_loaders(graph: Graph) -> None:
    data = graph.to_heterodata()
    features, topology = graph.db.get_torch_geometric_remote_backend(graph)
    loader = dbgnn.NeighborLoader((features, topology), [-1, -1], input_nodes=("paper", None), batch_size=4)
    (batch,) = loader
    for label in graph.node_types:
        n_id = batch[label].n_id
        assert sorted(n_id.tolist()) == list(range(data[label].num_nodes))
        for name in {"x", "year", "age"} & set(batch[label].keys()):
            assert torch.equal(data[label][name][n_id], batch[label][name])
    for edge_type in graph.edge_types:
        store = data[edge_type]
        assert torch.equal(store.edge_index, torch.stack(topology.get_edge_index(edge_type, "coo")))
        ends = batch[edge_type].edge_index
        both = torch.stack([batch[edge_type[0]].n_id[ends[0]], batch[edge_type[2]].n_id[ends[1]]])
        assert torch.equal(store.edge_index[:, batch[edge_type].e_id], both)
        for name in {"weight", "year"} & set(store.keys()):
            assert torch.equal(store[name][batch[edge_type].e_id], batch[edge_type][name])
    assert data["paper"].id.tolist() == features.keys("paper", torch.arange(4)).tolist() == [10, 20, 30, 70]
    assert data["author"].name == ["ada", "bob", "zoe"]
    assert "num_dropped" not in data


def test_what_is_served_is_what_a_loader_fetches(graph: Graph) -> None:
    rest: dict[Any, list[str]] = {
        CITES: ["edge_index", "year"],
        WROTE: ["edge_index", "weight"],
        REV_WROTE: ["edge_index", "weight"],
    }
    assert attributes(graph.to_heterodata()) == {"paper": ["id", "x", "year"], "author": ["age", "name"], **rest}
    assert attributes(graph.to_heterodata(keys=False)) == {"paper": ["x", "year"], "author": ["age"], **rest}
    some = graph.to_heterodata(columns={"paper": ["year"], "wrote": [], "cites": ["year"]}, keys=False)
    assert attributes(some) == {"paper": ["year"], "author": ["age"], **rest, WROTE: ["edge_index"]}


def test_keys_that_are_named_are_served(db: Database) -> None:
    graph = db.graph("citations")
    for keys in (None, True, False):
        data = graph.to_heterodata(keys=keys)
        assert attributes(data) == {"paper": ["id", "x"], CITES: ["dst", "edge_index", "year"]}
        assert data[CITES].dst.tolist() == [20, 30, 70, 70, 10]
    named = graph.to_heterodata(columns={"paper": ["id"], CITES: ["src"]}, keys=False)
    assert attributes(named) == {"paper": ["id"], CITES: ["edge_index", "src"]}
    assert named["paper"].id.tolist() == [10, 20, 30, 70]
    assert named[CITES].src.tolist() == [10, 20, 30, 70, 70]


def test_keys_that_are_positions_are_left_out_unless_asked_for(tmp_path: Path) -> None:
    with dbgnn.connect(tmp_path / "dense.duckdb", progress=False) as db:
        db.execute("CREATE TABLE n AS SELECT 4 - i AS id, i AS v FROM range(5) t(i)")
        db.execute("CREATE TABLE e AS SELECT i AS s, 0 AS d FROM range(5) t(i)")
        db.execute("""CREATE PROPERTY GRAPH g VERTEX TABLES (n KEY (id))
                      EDGE TABLES (e SOURCE KEY (s) REFERENCES n (id) DESTINATION KEY (d) REFERENCES n (id))""")
        graph = db.graph("g")
        data = graph.to_heterodata()
        assert attributes(data) == {"n": ["v"], ("n", "e", "n"): ["edge_index"]}
        assert data["n"].v.tolist() == [4, 3, 2, 1, 0]
        assert data["n"].num_nodes == 5
        assert graph.to_heterodata(keys=True)["n"].id.tolist() == [0, 1, 2, 3, 4]
        assert graph.to_heterodata({"n": "id >= 0"})["n"].id.tolist() == [0, 1, 2, 3, 4]
        assert graph.to_heterodata({"n": "id >= 2"})["n"].id.tolist() == [2, 3, 4]
        assert "id" not in graph.to_heterodata({"n": "id >= 2"}, keys=False)["n"]
        assert not left_behind(db.connection)


def test_the_order_of_the_table_does_not_matter_nor_what_happened_to_it(tmp_path: Path) -> None:
    with dbgnn.connect(tmp_path / "moved.duckdb", progress=False) as db:
        db.execute(TABLES)
        graph = db.graph("scholars")
        before = graph.to_heterodata()
        db.execute("INSERT INTO paper SELECT -id, x, year, title FROM paper; DELETE FROM paper WHERE id < 0")
        db.execute("UPDATE paper SET x = x WHERE id IN (10, 30)")  # of an array column, which moves rows
        db.execute("DELETE FROM cites WHERE year IN (1, 5)")
        db.execute("INSERT INTO cites VALUES (10, 20, 1)")
        after = graph.to_heterodata()
        for name, value in before["paper"].items():
            assert torch.equal(after["paper"][name], value), name
        assert after[CITES].year.tolist() == [2, 3, 4, 1]
        assert after[CITES].edge_index.tolist() == [[1, 2, 3, 0], [2, 3, 3, 1]]
        db.connection.execute("SET default_order = 'DESC'; SET preserve_insertion_order = false")
        again = graph.to_heterodata()
        assert torch.equal(again["paper"].id, after["paper"].id)
        assert torch.equal(again[CITES].edge_index, after[CITES].edge_index)


def test_rows_in_other_orders_than_the_keys_with_two_threads(tmp_path: Path) -> None:
    count = 200_003
    with dbgnn.connect(tmp_path / "large.duckdb", threads=2, progress=False) as db:
        db.execute(f"CREATE TABLE n AS SELECT (i * 7919) % {count} AS id, i::INTEGER AS v FROM range({count}) t(i)")
        db.execute(f"CREATE TABLE e AS SELECT hash(i) % {count} AS s, hash(i + 1) % {count} AS d, i FROM range(400_000) t(i)")
        db.execute("""CREATE PROPERTY GRAPH g VERTEX TABLES (n KEY (id))
                      EDGE TABLES (e SOURCE KEY (s) REFERENCES n (id) DESTINATION KEY (d) REFERENCES n (id))""")
        data = db.graph("g").to_heterodata()
        part = db.graph("g").to_heterodata({"n": "v % 3 = 0", "e": "i % 2 = 0"})
        ends = np.stack([db.execute(f"SELECT {c} FROM e").fetchnumpy()[c].astype(np.int64) for c in "sd"])
    v = np.empty(count, dtype=np.int32)
    v[np.arange(count, dtype=np.int64) * 7919 % count] = np.arange(count)
    np.testing.assert_array_equal(data["n"].v.numpy(), v)
    np.testing.assert_array_equal(data["n", "e", "n"].edge_index.numpy(), ends)
    assert torch.equal(data["n", "e", "n"].i, torch.arange(400_000))
    # PyG's own subgraph of the whole
    chosen = data["n"].v % 3 == 0
    index, i = subgraph(chosen, *select(data, data["n", "e", "n"].i % 2 == 0), relabel_nodes=True, num_nodes=count)
    assert torch.equal(part["n"].v, data["n"].v[chosen])
    assert torch.equal(part["n", "e", "n"].edge_index, index)
    assert torch.equal(part["n", "e", "n"].i, i)
    assert part.num_dropped == {("n", "e", "n"): 200_000 - len(i)}


def select(data: HeteroData, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    store = data["n", "e", "n"]
    return store.edge_index[:, mask], store.i[mask]


# -- subgraphs ---------------------------------------------------------------------------------------------


def test_conditions_on_nodes_and_edges_by_any_name_of_the_type(graph: Graph) -> None:
    for label in ("cites", CITES):
        data = graph.to_heterodata({"paper": "year >= 2002", label: "year > 2 -- not the old ones"})
        assert data["paper"].id.tolist() == [20, 30, 70]
        assert data[CITES].edge_index.tolist() == [[1, 2], [2, 2]]
        assert data[CITES].year.tolist() == [3, 4]
        assert data[WROTE].edge_index.tolist() == [[0, 1], [2, 0]]
        assert data[REV_WROTE].edge_index.tolist() == [[2, 0], [0, 1]]
        assert data["author"].num_nodes == 3
        assert data.num_dropped == {CITES: 1, WROTE: 2, REV_WROTE: 2}
    only_edges = graph.to_heterodata({"wrote": "weight < 1"})
    assert only_edges[WROTE].num_edges == 1
    assert only_edges[REV_WROTE].num_edges == 4
    assert "num_dropped" not in only_edges


def test_nothing_chosen_gives_typed_empty_tensors(graph: Graph) -> None:
    for data in (
        graph.to_heterodata({"paper": "false", "author": "false", "cites": "false"}),
        graph.to_heterodata(seeds=("paper", "year = 1066"), hops=2),
    ):
        assert data["paper"].x.shape == (0, 2)
        assert (data["paper"].x.dtype, data["paper"].year.dtype, data["author"].age.dtype) == (
            torch.float32,
            torch.int16,
            torch.int32,
        )
        assert data["author"].name == []
        assert [data[t].edge_index.shape for t in graph.edge_types] == [(2, 0)] * 3
        assert data[WROTE].weight.dtype == torch.float64
        assert data.num_nodes == 0
        assert data.validate()


def test_dangling_edges(tmp_path: Path) -> None:
    with dbgnn.connect(tmp_path / "dangling.duckdb", progress=False) as db:
        db.execute(TABLES)
        db.execute("INSERT INTO cites VALUES (10, 71, 6), (NULL, 10, 7)")
        graph = db.graph("scholars")
        with pytest.raises(DataError, match=r"2 edges .*cites.*src = 10, dst = 71\) has no 'paper'"):
            graph.to_heterodata()
        dropped = graph.to_heterodata(dangling="drop")
        assert dropped.num_dropped == dropped.num_dangling == {CITES: 2, WROTE: 0, REV_WROTE: 0}
        assert dropped[CITES].year.tolist() == [1, 2, 3, 4, 5]
        assert graph.to_heterodata({"paper": "true"}).num_dropped[CITES] == 2
        some = graph.to_heterodata({"paper": "id <> 10"})
        assert (some[CITES].num_edges, some.num_dropped[CITES], some.num_dangling[CITES]) == (3, 4, 2)
        hood = graph.to_heterodata(seeds=("paper", "id = 20"), hops=1)
        assert (hood[CITES].num_edges, hood.num_dropped[CITES], hood.num_dangling[CITES]) == (1, 6, 2)
        assert "num_dropped" not in graph.to_heterodata({"cites": "year < 6"})
        assert not left_behind(db.connection)


def test_an_optional_foreign_key_that_is_null_is_no_edge(tmp_path: Path) -> None:
    with dbgnn.connect(tmp_path / "keys.duckdb", progress=False) as db:
        db.execute("CREATE TABLE city (code VARCHAR PRIMARY KEY); INSERT INTO city VALUES ('b'), ('a')")
        db.execute("CREATE TABLE customer (id INTEGER PRIMARY KEY, city VARCHAR REFERENCES city (code), age TINYINT)")
        db.execute("INSERT INTO customer VALUES (2, 'b', 20), (1, NULL, 10), (3, 'a', 30)")
        graph = db.graph("inferred_both")
        data = graph.to_heterodata()
        edge_type, reverse = graph.edge_types
        assert data[edge_type].edge_index.tolist() == [[1, 2], [1, 0]]
        assert data[reverse].edge_index.tolist() == [[1, 0], [1, 2]]
        assert data["customer"].age.tolist() == [10, 20, 30]
        assert "num_dropped" not in data


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"where": {"papers": "true"}}, UnknownNameError, "'papers'; did you mean 'paper'"),
        ({"where": {"paper": "yer > 1"}}, SqlError, "yer"),
        ({"where": {"paper": "id IN (SELECT src FROM cites)"}}, SqlError, "columns of its own row"),
        ({"where": {"paper": "true; DROP TABLE paper"}}, SqlError, "one expression"),
        ({"where": {"paper": 5}}, SqlError, "must be a SQL condition"),
        ({"where": {"paper": "year"}, "hops": 1}, SchemaError, "hops needs seeds"),
        ({"seeds": ("paper", "true"), "hops": -1}, SchemaError, "hops must be"),
        ({"seeds": ("cites", "true")}, UnknownNameError, "no node type 'cites'"),
        ({"seeds": ("paper", "year = (SELECT 1)")}, SqlError, "seeds"),
        ({"columns": {"paper": ["yeer"]}}, UnknownNameError, "'yeer'; did you mean 'year'"),
        ({"columns": {"paper": "year"}}, SchemaError, "not the string 'year'"),
        ({"columns": {"paper": ["title"]}}, SchemaError, "'title'.*VARCHAR.*encoder"),
        ({"columns": {"author": [], "venue": []}}, UnknownNameError, "'venue'"),
        ({"where": {"paper": "error('boom') > 1"}}, SqlError, "error"),
        ({"where": {"author": "name::INTEGER > 1"}}, SqlError, "zoe"),
        ({"seeds": ("author", "name::INTEGER > 1"), "hops": 1}, SqlError, "zoe"),
    ],
)
def test_what_is_asked_wrongly_is_named(graph: Graph, options: dict[str, Any], error: type[DbgnnError], says: str) -> None:
    with pytest.raises(error, match=says):
        graph.to_heterodata(**options)


# -- hops --------------------------------------------------------------------------------------------------


def test_hops_follow_edges_backwards_from_the_seeds(graph: Graph) -> None:
    papers = [[20], [10, 20], [10, 20, 70], [10, 20, 30, 70]]
    authors = [[], ["bob"], ["bob", "zoe"], ["ada", "bob", "zoe"]]
    for hops, (ids, names) in enumerate(zip(papers, authors, strict=True)):
        data = graph.to_heterodata(seeds=("paper", "id = 20"), hops=hops, columns={"paper": []})
        assert data["paper"].id.tolist() == ids
        assert data["author"].name == names
        assert data["paper"].seed_mask.tolist() == [i == 20 for i in ids]
        assert data["author"].seed_mask.tolist() == [False] * len(names)
        inside = [(s, d, y) for s, d, y in graph.db.execute("FROM cites").fetchall() if s in ids and d in ids]
        assert data[CITES].edge_index.tolist() == [[ids.index(s) for s, _, _ in inside], [ids.index(d) for _, d, _ in inside]]
        assert data[CITES].year.tolist() == [y for *_, y in inside]


def test_seeds_of_several_types_and_conditions_on_the_way(graph: Graph) -> None:
    data = graph.to_heterodata({"cites": "year <> 5"}, seeds={"author": "age > 30", "paper": "id = 10"}, hops=1)
    assert data["author"].name == ["bob", "zoe"]
    assert data["author"].seed_mask.tolist() == [True, False]
    assert data["paper"].id.tolist() == [10, 20]
    assert data["paper"].seed_mask.tolist() == [True, False]
    assert data[CITES].edge_index.tolist() == [[0], [1]]
    assert data[WROTE].edge_index.tolist() == [[1, 1, 0], [0, 0, 1]]
    without = graph.to_heterodata({"paper": "id <> 20"}, seeds=("paper", "id = 30"), hops=3)
    assert without["paper"].id.tolist() == [30]  # the way there is filtered away


def test_hops_are_those_of_pyg_on_a_large_graph(tmp_path: Path) -> None:
    with dbgnn.connect(tmp_path / "hops.duckdb", threads=2, progress=False) as db:
        db.execute("CREATE TABLE n AS SELECT i AS id, i::FLOAT AS x FROM range(20_000) t(i) ORDER BY hash(i)")
        db.execute("CREATE TABLE e AS SELECT hash(i) % 20_000 AS s, hash(i + 1) % 20_000 AS d, i FROM range(40_000) t(i)")
        db.execute("""CREATE PROPERTY GRAPH g VERTEX TABLES (n KEY (id) PROPERTIES (x))
                      EDGE TABLES (e SOURCE KEY (s) REFERENCES n (id) DESTINATION KEY (d) REFERENCES n (id))""")
        whole = db.graph("g").to_data()
        part = db.graph("g").to_data(seeds=("n", "id < 50"), hops=3)
    subset, index, _, mask = k_hop_subgraph(torch.arange(50), 3, whole.edge_index, relabel_nodes=True, num_nodes=20_000)
    assert 200 < len(subset) < 20_000
    assert torch.equal(part.id, subset)
    assert torch.equal(part.x, whole.x[subset])
    assert torch.equal(part.edge_index, index)
    assert torch.equal(part.i, whole.i[mask])
    assert part.seed_mask.sum() == 50


# -- to_data, and whose connection it is -------------------------------------------------------------------


def test_to_data(db: Database, graph: Graph) -> None:
    data = db.graph("citations").to_data({"paper": "year > 2001"}, columns={"paper": ["x"]})
    assert type(data) is Data
    assert attributes(data) == {None: ["dst", "edge_index", "id", "num_dangling", "num_dropped", "x", "year"]}
    assert data.id.tolist() == [20, 30, 70]
    assert data.edge_index.tolist() == [[0, 1, 2], [1, 2, 2]]
    assert data.num_dropped == {CITES: 2}
    assert (data.num_nodes, data.num_edges, data.validate()) == (3, 3, True)
    with pytest.raises(SchemaError, match="2 node and 3 edge types"):
        graph.to_data()
    with pytest.raises(SchemaError, match="attribute 'year'"):
        db.graph("citations").to_data(columns={"paper": ["year"]})
    with pytest.raises(SchemaError, match="reverse=True"):
        db.graph("citations").to_data(reverse=True)


def test_the_users_transaction_and_a_read_only_file(tmp_path: Path) -> None:
    path = tmp_path / "test.duckdb"
    with dbgnn.connect(path, progress=False) as db:
        db.execute(TABLES)
        graph = db.graph("scholars")
        db.execute("BEGIN")
        db.execute("DELETE FROM wrote; DELETE FROM paper WHERE id = 10; DELETE FROM cites WHERE 10 IN (src, dst)")
        assert graph.to_heterodata()["paper"].id.tolist() == [20, 30, 70]
        assert graph.to_heterodata(seeds=("paper", "id = 30"), hops=1)["paper"].id.tolist() == [20, 30]
        assert not left_behind(db.connection)
        db.execute("ROLLBACK")
        db.execute("BEGIN")
        with pytest.raises(SqlError, match="zoe"):
            graph.to_heterodata(seeds=("author", "name::INTEGER > 1"), hops=1)
        db.execute("ROLLBACK")
        assert not left_behind(db.connection)
        after = graph.to_heterodata()
        assert after["paper"].num_nodes == 4
    with dbgnn.connect(path, read_only=True, progress=False) as db:
        data = db.graph("scholars").to_heterodata(seeds=("paper", "id = 20"), hops=1)
        assert data["paper"].id.tolist() == [10, 20]
        assert not left_behind(db.connection)
