"""What was written back is no feature by itself: in declared graphs and inferred ones, whatever the user does to the tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch_geometric.data import HeteroData

import dbgnn
from dbgnn import schema
from dbgnn.schema.written import MARK

FRIEND = ("customer", "friend", "customer")
REASON = "written back by dbgnn; PROPERTIES or columns= can name it"

#: A database whose foreign keys make the graph: a node type without foreign keys, one with, and an edge table.
SHOP = """
    CREATE TABLE city (id BIGINT PRIMARY KEY, size FLOAT);
    INSERT INTO city SELECT i, i FROM range(5) AS r(i);
    CREATE TABLE customer (id BIGINT PRIMARY KEY, age FLOAT, city_id BIGINT REFERENCES city (id));
    INSERT INTO customer SELECT i, 20 + i, i % 5 FROM range(30) AS r(i);
    CREATE TABLE friend (a BIGINT REFERENCES customer (id), b BIGINT REFERENCES customer (id), w FLOAT);
    INSERT INTO friend SELECT i % 30, i * 7 % 30, i FROM range(60) AS r(i)"""

#: A declared graph of tables that nothing binds, without PROPERTIES.
PLAIN = """
    CREATE TABLE paper AS SELECT i AS id, i / 2.0::FLOAT AS x FROM range(20) AS r(i);
    CREATE TABLE cites AS SELECT i AS src, (i * 3 + 1) % 20 AS dst, i::FLOAT AS w FROM range(20) AS r(i);
    CREATE PROPERTY GRAPH g VERTEX TABLES (paper KEY (id))
    EDGE TABLES (cites SOURCE KEY (src) REFERENCES paper (id) DESTINATION KEY (dst) REFERENCES paper (id))"""


def made(path: Path, script: str) -> dbgnn.Database:
    db = dbgnn.connect(path, progress=False)
    db.execute(script)
    return db


@pytest.fixture
def shop(tmp_path: Path) -> dbgnn.Database:
    return made(tmp_path / "shop.duckdb", SHOP)


@pytest.fixture
def plain(tmp_path: Path) -> dbgnn.Database:
    return made(tmp_path / "plain.duckdb", PLAIN)


def attributes(data: HeteroData) -> dict[object, list[str]]:
    """The attributes of every type that are columns of a table."""
    ours = {"num_nodes", "n_id", "num_sampled_nodes", "num_sampled_edges", "input_id", "batch_size", "e_id", "edge_index", "id"}
    return {t: sorted(set(data[t].keys()) - ours) for t in (*data.node_types, *data.edge_types)}


def fetched(db: dbgnn.Database) -> dict[object, list[str]]:
    """What a loader fetches; the way into memory must have the same."""
    graph = db.graph()
    loader = dbgnn.NeighborLoader(graph, [2], input_nodes=graph.node_types[-1], batch_size=30)
    found = attributes(next(iter(loader)))
    assert attributes(graph.to_heterodata()) == found
    return found


def predict(graph: dbgnn.Graph) -> int:
    loader = dbgnn.NeighborLoader(graph, [1], input_nodes="customer", batch_size=20)
    model = torch.nn.Linear(1, 1)
    return graph.predict(
        model, loader, "customer.score", forward=lambda m, b: m(b["customer"].age[:, None])[:, 0], progress=False
    )


WRITES: dict[str, Callable[[dbgnn.Graph], object]] = {
    "all nodes": lambda g: g.write_back("customer", score=np.arange(30, dtype=np.float32)),
    "some nodes": lambda g: g.write_back("customer", n_id=np.arange(7), score=np.arange(7, dtype=np.float32)),
    "edges": lambda g: g.write_back(FRIEND, score=np.arange(60, dtype=np.float32)),
    "a type without foreign keys": lambda g: g.write_back("city", score=np.arange(5, dtype=np.float32)),
    "predictions": predict,
    "a side table": lambda g: g.write_back("customer", into="side", score=np.ones((30, 2), dtype=np.float32)),
}


@pytest.mark.parametrize("what", WRITES)
def test_an_inferred_graph_serves_what_it_served_and_stays_inferred(shop: dbgnn.Database, tmp_path: Path, what: str) -> None:
    older = shop.graph()
    before, title = fetched(shop), str(older).splitlines()[0]
    WRITES[what](shop.graph())
    assert fetched(shop) == before
    assert attributes(older.to_heterodata()) == before
    assert str(shop.graph()).splitlines()[0] == title
    assert schema.graph_names(shop.cursor()) == []
    shop.close()
    again = dbgnn.connect(tmp_path / "shop.duckdb", progress=False)
    assert fetched(again) == before
    again.execute("CREATE TABLE visit (id BIGINT PRIMARY KEY, who BIGINT REFERENCES customer (id), n FLOAT)")
    again.execute("INSERT INTO visit VALUES (1, 3, 0.5)")
    again.execute("ALTER TABLE city ADD COLUMN own FLOAT DEFAULT 1")
    assert again.graph().node_types == ["city", "customer", "visit"]
    assert attributes(again.graph().to_heterodata())["city"] == ["own", "size"]  # a column of the user's is one as ever


def test_print_says_why_a_column_is_left_out(shop: dbgnn.Database) -> None:
    shop.graph().write_back("customer", score=torch.ones(30))
    shop.graph().write_back("city", into="side", score=torch.ones(5))
    text = str(shop.graph())
    assert [line.split(None, 2)[2] for line in text.splitlines() if " score " in line] == [REASON]
    assert "Tables without a part in it: side" in text
    assert str(shop.graph()).count("a foreign key") == 1  # city_id, and nothing else


def test_named_it_is_served(plain: dbgnn.Database) -> None:
    graph = plain.graph()
    graph.write_back("paper", score=torch.arange(20.0))
    stores = plain.get_torch_geometric_remote_backend(columns={"paper": ["score"]})
    loader = dbgnn.NeighborLoader(stores, [1], input_nodes="paper", batch_size=20)
    assert next(iter(loader))["paper"].score.tolist() == list(range(20))
    declare = PLAIN[PLAIN.index("CREATE PROPERTY") :].replace("CREATE", "CREATE OR REPLACE")
    plain.execute(declare.replace("KEY (id))", "KEY (id) PROPERTIES ALL COLUMNS EXCEPT (x))"))
    assert fetched(plain)["paper"] == []
    plain.execute(declare.replace("KEY (id))", "KEY (id) PROPERTIES (score))"))
    assert fetched(plain)["paper"] == ["score"]


CHANGES = {
    "a column renamed": "ALTER TABLE paper RENAME score TO old_score",
    "tables made over": "CREATE OR REPLACE TABLE paper AS FROM paper ORDER BY id DESC",
    "a comment of the user's": "COMMENT ON COLUMN paper.score IS 'of run 3'",
    "the type changed": "ALTER TABLE paper ALTER score TYPE DOUBLE",
    "dbgnn's schema dropped": "DROP SCHEMA dbgnn CASCADE; " + PLAIN[PLAIN.index("CREATE PROPERTY") :],
    "the table renamed": "ALTER TABLE paper RENAME TO papers; "
    + PLAIN[PLAIN.index("CREATE PROPERTY") :].replace("CREATE", "CREATE OR REPLACE").replace("paper", "papers"),
    "another value": "UPDATE paper SET score = 7",
}


@pytest.mark.parametrize("change", CHANGES)
def test_plain_sql_makes_no_feature_of_it(plain: dbgnn.Database, change: str) -> None:
    before = list(fetched(plain).values())
    plain.graph().write_back("paper", score=torch.arange(20.0))
    plain.execute(CHANGES[change])
    plain.graph().build()
    assert list(fetched(plain).values()) == before


def test_columns_of_the_users_own_are_served_as_before(plain: dbgnn.Database) -> None:
    plain.execute("COMMENT ON COLUMN paper.x IS 'ours'")
    before = fetched(plain)
    plain.graph().write_back("paper", x=torch.ones(20, dtype=torch.float32))
    plain.graph().write_back("paper", e=torch.ones(20, 2))  # the table is made over, and comments stay
    assert fetched(plain) == before
    found = plain.sql("SELECT column_name, comment FROM duckdb_columns() WHERE table_name = 'paper' ORDER BY 1").fetchall()
    assert found == [("e", MARK), ("id", None), ("x", "ours")]


def test_a_column_dropped_through_dbgnn_or_with_its_entry_is_free(plain: dbgnn.Database) -> None:
    before = fetched(plain)["paper"]
    plain.graph().write_back("paper", score=torch.arange(20.0), other=torch.arange(20.0))
    store, _ = plain.get_torch_geometric_remote_backend()
    assert store.remove_tensor(group_name="paper", attr_name="score", index=None)
    plain.execute("ALTER TABLE paper ADD COLUMN score FLOAT DEFAULT 1")
    assert fetched(plain)["paper"] == ["score", *before]
    # dropped behind its back, a name is still taken for what was written; the entry is the user's to delete
    plain.execute("ALTER TABLE paper DROP COLUMN other; ALTER TABLE paper ADD COLUMN other FLOAT DEFAULT 1")
    assert fetched(plain)["paper"] == ["score", *before]
    plain.execute("DELETE FROM dbgnn.written WHERE table_name = 'paper' AND column_name = 'other'")
    assert fetched(plain)["paper"] == ["other", "score", *before]


def test_entries_of_what_is_gone_are_deleted(plain: dbgnn.Database) -> None:
    plain.graph().write_back("paper", score=torch.arange(20.0))
    plain.graph().write_back("paper", into="side", score=torch.arange(20.0))
    plain.execute("ALTER TABLE paper DROP COLUMN score; DROP TABLE side")
    plain.graph().write_back("paper", n_id=[1], q=torch.ones(1))
    assert plain.sql("FROM dbgnn.written").fetchall() == [("main", "paper", "q")]
    plain.execute("ALTER TABLE paper ADD COLUMN score FLOAT DEFAULT 1")
    assert "score" in fetched(plain)["paper"]


def test_what_is_encoded_or_put_is_a_feature_and_inference_goes_on(shop: dbgnn.Database) -> None:
    before = fetched(shop)["customer"]
    graph = shop.graph()
    graph.write_back("customer", score=torch.ones(30), p=torch.ones(30))
    graph.encode("customer", "z", dbgnn.Normalize("age"), progress=False)
    assert fetched(shop)["customer"] == sorted([*before, "z"])
    graph.encode("customer", "score", dbgnn.Normalize("age"), progress=False)  # said to be a feature now
    store, _ = shop.get_torch_geometric_remote_backend()
    store["customer", "p", None] = torch.zeros(30)
    store["customer", "q", None] = torch.zeros(30)
    assert fetched(shop)["customer"] == sorted([*before, "p", "q", "score", "z"])
    assert schema.graph_names(shop.cursor()) == []


def test_a_side_table_is_no_node_type_unless_someone_makes_it_one(shop: dbgnn.Database) -> None:
    graph = shop.graph()
    graph.write_back("customer", into="side", score=torch.ones(30))
    assert shop.graph().node_types == ["city", "customer"]
    shop.execute("ALTER TABLE side RENAME TO aside")
    assert shop.graph().node_types == ["city", "customer"]
    shop.execute("CREATE TABLE note (id BIGINT PRIMARY KEY, of BIGINT REFERENCES aside (id))")
    assert shop.graph().node_types == ["aside", "city", "customer", "note"]
    shop.execute("CREATE PROPERTY GRAPH g VERTEX TABLES (aside KEY (id))")
    assert attributes(shop.graph("g").to_heterodata()) == {"aside": []}


def test_no_suggestion_names_a_side_table(tmp_path: Path) -> None:
    db = made(tmp_path / "g.duckdb", PLAIN)
    db.graph().write_back("paper", into="side", score=torch.ones(20))
    db.execute("DROP PROPERTY GRAPH g")
    with pytest.raises(dbgnn.SchemaError, match="CREATE PROPERTY GRAPH") as caught:
        db.graph()
    assert "side" not in str(caught.value)


def test_a_graph_that_an_older_version_froze_still_works(shop: dbgnn.Database) -> None:
    before = fetched(shop)
    definition = shop.graph().definition
    customers = replace(definition.vertex("customer"), properties=("age",))
    schema.save(shop.cursor(), definition.with_vertex(customers))
    shop.execute("ALTER TABLE customer ADD COLUMN score FLOAT")
    assert fetched(shop) == before
    assert "from foreign keys" not in str(shop.graph())  # it is declared by now
    shop.execute("DROP PROPERTY GRAPH inferred")
    assert "from foreign keys" in str(shop.graph())


def test_other_forms_leave_it_out(plain: dbgnn.Database, tmp_path: Path) -> None:
    graph = plain.graph()
    graph.build()
    loader = dbgnn.NeighborLoader(graph, [2], input_nodes="paper", batch_size=10)
    loader.pack(tmp_path / "pack", epochs=1)
    graph.write_back("paper", score=torch.ones(20))
    graph.write_back(("paper", "cites", "paper"), score=torch.ones(20))
    match = dbgnn.query_to_heterodata(plain, "SELECT * FROM paper p JOIN cites c ON c.src = p.id", graph=graph)
    assert attributes(match) == {"paper": ["x"], ("paper", "cites", "paper"): ["w"]}
    assert "score" not in graph.to_data()
    assert not [f for f in graph.check().findings if f.column == "score"]
    for batch in dbgnn.PackedLoader(tmp_path / "pack"):
        assert "score" not in batch["paper"]
    plain.close()
    read = dbgnn.connect(tmp_path / "plain.duckdb", read_only=True, progress=False)
    assert fetched(read) == {"paper": ["x"], ("paper", "cites", "paper"): ["w"]}
