"""`graph.encode` where keys hold the rows: the column lives in a table of its own, and is served as if it were the table's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
import torch

import dbgnn
from dbgnn import Normalize, OneHot, Ordinal, Stack

#: Keys with gaps, in no order, so that ids are not rowids.
_TABLES = """
    CREATE TABLE city (name VARCHAR PRIMARY KEY, region VARCHAR);
    CREATE TABLE customer (id BIGINT PRIMARY KEY, city VARCHAR REFERENCES city (name), job VARCHAR, age INTEGER);
    CREATE TABLE orders (id BIGINT PRIMARY KEY, customer BIGINT REFERENCES customer (id), price DECIMAL(8, 2));
    INSERT INTO city SELECT 'c' || (i * 7 % 10), 'r' || i % 3 FROM range(10) t(i);
    INSERT INTO customer SELECT i * 37 % 101, 'c' || i % 10, ['cook', 'clerk', NULL][1 + i % 3], CASE WHEN i % 5 > 0 THEN i END
      FROM range(100) t(i);
    INSERT INTO orders SELECT i, (i * 7 % 100) * 37 % 101, i * 1.25 FROM range(300) t(i)"""

_ENCODER = Stack(OneHot("job", null="mask"), Normalize("age", null="mask"))


@pytest.fixture
def db(tmp_path: Path) -> Iterator[dbgnn.Database]:
    with dbgnn.connect(tmp_path / "shop.duckdb", progress=False) as db:
        db.execute(_TABLES)
        yield db


def expected(graph: dbgnn.Graph, encoder: Stack = _ENCODER) -> torch.Tensor:
    """The same column, encoded on the way into memory: in the order of the keys, as ids are."""
    x: torch.Tensor = graph.to_heterodata(encoders={"customer": {"z": encoder}})["customer"].z
    return x


def served(db: dbgnn.Database, name: str = "x", graph: str | None = None) -> torch.Tensor:
    feature_store, _ = db.get_torch_geometric_remote_backend(graph)
    found: torch.Tensor = feature_store.get_tensor("customer", name, index=None)
    return found


def sides(db: dbgnn.Database) -> list[str]:
    return [name for (name,) in db.sql("FROM duckdb_tables() SELECT table_name WHERE table_name ^@ 'encoded_'").fetchall()]


def test_stores_loaders_and_memory_serve_it_as_a_column(db: dbgnn.Database) -> None:
    graph = db.graph()
    before = db.sql("SELECT rowid, * FROM customer").fetchall()
    fitted = graph.encode("customer", "x", _ENCODER)
    assert (fitted.is_beside, fitted.num_encoded) == (True, 100)
    assert "in a table of its own" in repr(fitted)
    assert db.sql("SELECT rowid, * FROM customer").fetchall() == before
    wanted = expected(graph)
    assert wanted.shape == (100, 5)
    assert torch.equal(served(db), wanted)
    assert torch.equal(graph.to_heterodata()["customer"].x, wanted)
    some = graph.to_heterodata({"customer": "id > 50"}, keys=True)["customer"]
    assert torch.equal(some.x, wanted[-len(some.x) :])
    assert 0 < len(some.x) < 100
    feature_store, _ = db.get_torch_geometric_remote_backend()
    ids = torch.tensor([99, 3, 3, 50])
    assert torch.equal(feature_store.get_tensor("customer", "x", index=ids), wanted[ids])
    assert feature_store.get_tensor_size("customer", "x") == (100, 5)
    loader = dbgnn.NeighborLoader(db.get_torch_geometric_remote_backend(), [3], input_nodes="city", batch_size=4)
    for batch in loader:
        assert torch.equal(batch["customer"].x, wanted[batch["customer"].n_id])
    assert "x" in str(graph)


@pytest.mark.parametrize("plan", ["join", "shared", "spooled"])
def test_every_plan_serves_it(db: dbgnn.Database, plan: str) -> None:
    graph = db.graph()
    graph.encode("customer", "x", _ENCODER)
    wanted = expected(graph)
    data = db.get_torch_geometric_remote_backend()
    loader = dbgnn.NeighborLoader(data, [2], input_nodes="customer", batch_size=30, plan=plan, cache_bytes=0)
    for batch in loader:
        assert torch.equal(batch["customer"].x, wanted[batch["customer"].n_id])


def test_raw_columns_whose_nulls_are_taken_care_of_are_not_fetched(db: dbgnn.Database) -> None:
    graph = db.graph()
    loader = dbgnn.NeighborLoader(db.get_torch_geometric_remote_backend(), [2], input_nodes="customer", batch_size=100)
    with pytest.raises(dbgnn.DataError, match="'age' of table 'customer' is NULL"):
        next(iter(loader))
    graph.encode("customer", "x", _ENCODER)
    loader = dbgnn.NeighborLoader(db.get_torch_geometric_remote_backend(), [2], input_nodes="customer", batch_size=100)
    assert "age" not in next(iter(loader))["customer"]
    assert "age" not in graph.to_heterodata()["customer"]
    assert "encoded as 'x'" in str(graph)
    assert "age" in graph.to_heterodata({"customer": "age IS NOT NULL"}, columns={"customer": ["age"]})["customer"]


def test_in_a_table_without_keys_the_raw_column_is_not_fetched_either(tmp_path: Path) -> None:
    with dbgnn.connect(tmp_path / "plain.duckdb", progress=False) as db:
        db.execute("""CREATE TABLE person (id BIGINT, age INTEGER);
            INSERT INTO person VALUES (0, 30), (1, NULL), (2, 50);
            CREATE PROPERTY GRAPH g VERTEX TABLES (person KEY (id))""")
        graph = db.graph()
        assert not graph.encode("person", "x", Normalize("age", null="mask")).is_beside
        assert set(graph.to_heterodata()["person"].keys()) == {"x"}


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE customer SET age = 7 WHERE id = 5",
        "UPDATE customer SET job = 'baker' WHERE id = 5",
        "UPDATE dbgnn.encoded_0 SET src = 0 WHERE id = 3",
        "DELETE FROM dbgnn.encoded_0 WHERE id = 3",
        "DROP TABLE dbgnn.encoded_0",
        "ALTER TABLE dbgnn.encoded_0 RENAME value TO y",
        "ALTER TABLE dbgnn.encoded_0 ALTER value TYPE FLOAT[]",
    ],
)
def test_what_is_out_of_date_says_so_and_the_remedy_mends_it(db: dbgnn.Database, change: str) -> None:
    graph = db.graph()
    graph.encode("customer", "x", Stack(OneHot("job", null="mask", unseen="zero"), Normalize("age", null="mask")))
    assert not graph.check().errors
    db.execute(change)
    remedy = r"graph\.encode\('customer', 'x'"
    with pytest.raises(dbgnn.StaleIndexError, match=remedy):
        served(db)
    with pytest.raises(dbgnn.StaleIndexError, match=remedy):
        graph.to_heterodata()
    loader = dbgnn.NeighborLoader(db.get_torch_geometric_remote_backend(), [2], input_nodes="customer", batch_size=100)
    with pytest.raises(dbgnn.StaleIndexError, match=remedy):
        next(iter(loader))
    report = graph.check()
    assert [f.column for f in report.errors if f.what == "stale"] == ["x"]
    assert "orders" in graph.to_heterodata(columns={"customer": []}).node_types  # what is not asked for is no error
    graph.encode("customer", "x")
    assert not graph.check().errors
    assert len(served(db)) == 100


def test_new_rows_are_encoded_alone(db: dbgnn.Database) -> None:
    graph = db.graph()
    fitted = graph.encode("customer", "x", _ENCODER)
    old = served(db)
    db.execute("INSERT INTO customer VALUES (500, 'c1', 'cook', 20), (501, 'c2', NULL, NULL)")
    with pytest.raises(dbgnn.StaleIndexError):
        served(db)
    assert fitted.update() == 2  # behind all others
    assert torch.equal(served(db)[:100], old)
    db.execute("INSERT INTO customer VALUES (-1, 'c1', 'clerk', 30)")
    db.execute("UPDATE customer SET age = 99 WHERE id = 501")
    graph.build()
    assert graph.encode("customer", "x", fitted).num_encoded == 2  # one before all others, one changed
    assert torch.equal(served(db)[1:101], old)
    db.execute("DELETE FROM customer WHERE id = 500")
    assert fitted.update() == 0
    kept = dbgnn.encoders.collection.holding("customer", "z", fitted)
    assert torch.equal(served(db), graph.to_heterodata(encoders=kept)["customer"].z)
    assert fitted.update() == 0


def test_new_rows_of_a_table_without_keys_are_written_alone(tmp_path: Path) -> None:
    with dbgnn.connect(tmp_path / "plain.duckdb", progress=False) as db:
        db.execute("""CREATE TABLE person (id BIGINT, age INTEGER);
            INSERT INTO person VALUES (0, 30), (1, NULL), (2, 50);
            CREATE PROPERTY GRAPH g VERTEX TABLES (person KEY (id))""")
        fitted = db.graph().encode("person", "x", Normalize("age", null="mask"))
        db.execute("INSERT INTO person (id, age) VALUES (3, 40), (4, 10)")
        assert fitted.update() == 2
        db.execute("UPDATE person SET age = 90 WHERE id = 0")
        assert fitted.update() == 1
        assert fitted.update() == 0
        assert db.sql("SELECT count(*) FROM person WHERE x IS NULL").fetchall() == [(0,)]


def test_it_goes_with_its_graph(db: dbgnn.Database) -> None:
    declare = """CREATE OR REPLACE PROPERTY GRAPH {} VERTEX TABLES (customer KEY (id), city KEY (name)) EDGE TABLES (
        customer AS lives SOURCE KEY (id) REFERENCES customer (id) DESTINATION KEY (city) REFERENCES city (name)
          NO PROPERTIES)"""
    db.execute(declare.format("a"))
    db.execute(declare.format("b"))
    db.graph("a").encode("customer", "x", _ENCODER)
    db.graph("b").encode("customer", "x", OneHot("job", null="mask"))
    assert served(db, graph="a").shape[1] == 5
    assert served(db, graph="b").shape[1] != 5
    assert len(sides(db)) == 2
    db.execute("DROP PROPERTY GRAPH a")
    assert len(sides(db)) == 1
    db.execute(declare.format("b"))
    assert sides(db) == []
    assert "x" not in db.graph("b").to_heterodata({"customer": "age IS NOT NULL"})["customer"]


def test_encoded_again_it_replaces_what_was(db: dbgnn.Database) -> None:
    graph = db.graph()
    graph.encode("customer", "x", _ENCODER)
    graph.encode("customer", "x", OneHot("job", null="mask"))
    assert served(db).shape == (100, 3)
    assert len(sides(db)) == 1


def test_a_read_only_file_serves_it(db: dbgnn.Database) -> None:
    graph = db.graph()
    graph.encode("customer", "x", _ENCODER)
    wanted, path = served(db), db.settings.path
    db.close()
    with dbgnn.connect(path, read_only=True, progress=False) as again:
        assert torch.equal(served(again), wanted)


def test_a_database_in_memory_serves_it() -> None:
    with dbgnn.connect(":memory:", progress=False) as db:
        db.execute(_TABLES)
        graph = db.graph()
        fitted = graph.encode("customer", "x", _ENCODER)
        assert torch.equal(served(db), expected(graph))
        db.execute("INSERT INTO customer VALUES (500, 'c1', 'cook', 20)")
        assert fitted.update() == 1
        assert served(db).shape == (101, 5)


def test_a_table_of_the_same_name_in_a_file_called_dbgnn(tmp_path: Path) -> None:
    with dbgnn.connect(tmp_path / "dbgnn.duckdb", progress=False) as db:
        db.execute(_TABLES)
        graph = db.graph()
        graph.encode("customer", "x", _ENCODER)
        assert torch.equal(served(db), expected(graph))


def test_removed_it_is_gone(db: dbgnn.Database) -> None:
    db.graph().encode("customer", "x", _ENCODER)
    feature_store, _ = db.get_torch_geometric_remote_backend()
    assert feature_store.remove_tensor("customer", "x", None)
    assert sides(db) == []
    assert "x" not in str(db.graph()).split("Node type 'customer'")[1].split("Node type")[0].split()


def test_put_says_that_it_is_encoded(db: dbgnn.Database) -> None:
    db.graph().encode("customer", "x", _ENCODER)
    feature_store, _ = db.get_torch_geometric_remote_backend()
    with pytest.raises(dbgnn.SchemaError, match="keeps it in a table of its own"):
        feature_store.put_tensor(torch.zeros(100, 5), group_name="customer", attr_name="x", index=None)
    with pytest.raises(dbgnn.SchemaError, match="keeps it in a table of its own"):
        db.graph().write_back("customer", x=torch.zeros(100, 5))


def test_functions_of_one_name_are_encoded_and_asked_for_again(db: dbgnn.Database) -> None:
    first, second = (lambda a: torch.ones(len(a))), (lambda a: torch.zeros(len(a)))
    encoder = Stack(dbgnn.Apply(first, columns=["id"]), dbgnn.Apply(second, columns=["id"]))
    graph = db.graph()
    fitted = graph.encode("customer", "x", encoder)
    assert served(db)[0].tolist() == [1.0, 0.0]
    with pytest.raises(dbgnn.SchemaError, match=r"Give graph\.encode the encoder, or what it returned"):
        graph.encode("customer", "x")
    db.execute("INSERT INTO customer VALUES (500, 'c1', 'cook', 20)")
    fitted.update()
    assert len(served(db)) == 101
    with pytest.raises(dbgnn.SchemaError, match="the file keeps none for this column"):
        graph.encode("customer", "other")


def test_a_function_of_the_same_name_is_another(db: dbgnn.Database) -> None:
    """As in a notebook, where a function is changed and the cell run again."""
    made = []
    for value in (0.0, 1.0):

        def constant(values: pa.Array, value: float = value) -> torch.Tensor:
            return torch.full((len(values), 2), value)

        encoded = db.graph().encode("customer", "x", dbgnn.Apply(constant, columns=["id"]))
        assert encoded.num_encoded == 100
        made.append(encoded)
        assert (served(db) == value).all()
    assert made[0].update() == 100
    assert (served(db) == 0).all()


def test_a_table_that_is_two_node_types_has_values_for_each(tmp_path: Path) -> None:
    with dbgnn.connect(tmp_path / "two.duckdb", progress=False) as db:
        db.execute("""CREATE TABLE person AS SELECT i AS id, ['cook', 'clerk'][1 + i % 2] AS job, i % 3 = 0 AS gone
            FROM range(30) t(i);
            CREATE PROPERTY GRAPH g VERTEX TABLES (
              person AS here WHERE NOT gone KEY (id), person AS there WHERE gone KEY (id) LABEL there)""")
        graph = db.graph("g")
        assert graph.encode("here", "x", OneHot("job")).is_beside
        assert "x" not in graph.to_heterodata()["there"]  # where it would be NULL
        graph.encode("there", "x", Ordinal("job"))
        data = graph.to_heterodata(keys=True)
        assert data["here"].x.argmax(1).tolist() == [1 - i % 2 for i in data["here"].id.tolist()]
        assert data["there"].x.tolist() == [1 - i % 2 for i in data["there"].id.tolist()]
