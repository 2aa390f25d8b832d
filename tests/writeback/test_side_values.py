"""`graph.encode` on tables with keys, constraints and indexes: side tables that are served as if the column were there."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pytest
import torch

import dbgnn
from dbgnn.encoders import FittedEncoder, Normalize, OneHot, Stack
from dbgnn.schema.encoded import ROWS_MARK

SHOP = """
    CREATE TABLE city (id BIGINT PRIMARY KEY, region VARCHAR UNIQUE);
    CREATE TABLE customer (id BIGINT PRIMARY KEY, city_id BIGINT REFERENCES city (id), job VARCHAR, age INTEGER);
    INSERT INTO city SELECT 90 - i, 'r' || i FROM range(10) AS r(i);
    INSERT INTO customer SELECT 5000 - 7 * i, 81 + i % 10, ['cook', 'clerk', NULL][1 + i % 3], CASE WHEN i % 5 > 0 THEN i END
    FROM range(100) AS r(i)
"""
JOBS = OneHot("job", null="mask")
X = Stack(JOBS, Normalize("age", how="minmax", null="mask"))


@pytest.fixture(params=["file", "memory"])
def db(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dbgnn.Database]:
    with dbgnn.connect(tmp_path / "shop.duckdb" if request.param == "file" else ":memory:", progress=False) as db:
        db.execute(SHOP)
        yield db


def expected(db: dbgnn.Database, keys: list[int]) -> torch.Tensor:
    """Return what `X` makes of customers, by their rows."""
    rows = {key: (job, age) for key, job, age in db.sql("SELECT id, job, age FROM customer").fetchall()}
    low, high = db.sql("SELECT min(age), max(age) FROM customer WHERE id <= 5000").fetchall()[0]
    made = []
    for job, age in map(rows.__getitem__, keys):
        scaled = 0.0 if age is None else (age - low) / (high - low)
        made.append([job == "clerk", job == "cook", job is None, scaled, age is None])
    return torch.tensor([[float(v) for v in row] for row in made])


def served(db: dbgnn.Database, num_neighbors: int = 0) -> int:
    """Compare every seed of a loader with its row; return how many there were."""
    feature_store, graph_store = db.get_torch_geometric_remote_backend()
    loader = dbgnn.NeighborLoader(
        (feature_store, graph_store), num_neighbors=[num_neighbors], input_nodes="customer", batch_size=32
    )
    seen = 0
    for batch in loader:
        assert set(batch["customer"].to_dict()) >= {"x"}
        assert torch.allclose(
            batch["customer"].x, expected(db, feature_store.keys("customer", batch["customer"].n_id).tolist())
        )
        seen += batch["customer"].batch_size
    return seen


@pytest.mark.filterwarnings("ignore:No edge types lead to")
def test_everything_serves_it_and_the_table_is_as_it_was(db: dbgnn.Database) -> None:
    before = db.sql("FROM customer").fetchall()
    graph = db.graph()
    graph.encode("customer", "x", X)
    graph.encode("city", "region_x", OneHot("region"))
    assert db.sql("FROM customer").fetchall() == before
    assert served(db) == 100  # without age, whose NULLs the encoder took care of
    data = graph.to_heterodata()
    keys = sorted(row[0] for row in before)
    assert torch.allclose(data["customer"].x, expected(db, keys))
    assert "age" not in data["customer"]
    some = graph.to_heterodata({"customer": "id % 2 = 0"})
    assert torch.allclose(some["customer"].x, expected(db, [k for k in keys if k % 2 == 0]))
    assert data["city"].region_x.sum() == 10
    assert "encoded, in a table of its own" in str(graph)
    assert not [f for f in graph.check().findings if f.severity == "error"]


def test_a_change_of_the_rows_is_an_error_until_they_are_encoded(db: dbgnn.Database) -> None:
    graph = db.graph()
    fitted = graph.encode("customer", "x", X)
    store, _ = db.get_torch_geometric_remote_backend()
    db.execute("UPDATE customer SET job = 'clerk', age = 7 WHERE id = 4314")
    reads: list[Callable[[], object]] = [lambda: store.get_tensor("customer", "x", None), graph.to_heterodata]
    for read in reads:
        with pytest.raises(dbgnn.StaleIndexError, match=r"'x' of 'customer'.* is stale: rows that it was encoded from changed"):
            read()
    assert store.get_tensor("city", "n_id", None).tolist() == list(range(10))  # others are served
    assert any(f.what == "stale" and f.column == "x" for f in graph.check().findings)
    graph.encode("customer", "x", fitted)
    keys = store.keys("customer", None).tolist()
    assert torch.allclose(store.get_tensor("customer", "x", None), expected(db, keys))


def test_new_and_deleted_rows_are_encoded_as_the_others_were(db: dbgnn.Database) -> None:
    graph = db.graph()
    fitted = graph.encode("customer", "x", X)
    db.execute("DELETE FROM customer WHERE id % 3 = 0")
    db.execute("INSERT INTO customer VALUES (4999, 82, 'cook', 50), (9999, 83, NULL, NULL)")
    graph.build()
    seen: list[int] = []
    encode = type(fitted).encode

    def counted(self: FittedEncoder, arrays: Sequence[pa.Array]) -> object:
        seen.append(len(arrays[0]))
        return encode(self, arrays)

    with pytest.MonkeyPatch.context() as patch:  # count what is encoded
        patch.setattr(type(fitted), "encode", counted)
        graph.encode("customer", "x", fitted)
    assert sum(seen) == 2
    store, _ = db.get_torch_geometric_remote_backend()
    made, keys = store.get_tensor("customer", "x", None), store.keys("customer", None).tolist()
    assert len(keys) == len(made)
    low, high = fitted.state["parts"][1]["shift"], fitted.state["parts"][1]["scale"]
    ages = dict(db.sql("SELECT id, age FROM customer WHERE age IS NOT NULL").fetchall())
    assert torch.allclose(made[:, 3], torch.tensor([(ages[k] - low) / high if k in ages else 0.0 for k in keys]))


def test_it_goes_with_its_graph_or_by_remove_tensor(db: dbgnn.Database) -> None:
    def kept() -> int:
        [(count,)] = db.sql("SELECT count(*) FROM duckdb_tables() WHERE table_name LIKE 'encoded~_%' ESCAPE '~'").fetchall()
        return int(count)

    db.execute("CREATE PROPERTY GRAPH g VERTEX TABLES (city KEY (id), customer KEY (id) PROPERTIES (age))")
    graph = db.graph("g")
    graph.encode("city", "x", OneHot("region"))
    graph.encode("city", "x", OneHot("region", null="mask"))  # in the place of the one before
    graph.encode("customer", "x", JOBS)
    assert kept() == 2
    store, _ = db.get_torch_geometric_remote_backend("g")
    with pytest.raises(dbgnn.SchemaError, match="keeps it in a table of its own"):
        store.put_tensor(torch.zeros(10), "city", "x", None)
    with pytest.raises(dbgnn.SchemaError, match="keeps it in a table of its own"):
        graph.write_back("city", x=torch.zeros(10))
    assert store.remove_tensor("city", "x", None)
    assert kept() == 1
    db.execute("DROP PROPERTY GRAPH g")
    assert kept() == 0


def test_a_condition_of_the_graph_holds(db: dbgnn.Database) -> None:
    db.execute("CREATE PROPERTY GRAPH g VERTEX TABLES (customer WHERE age > 10 KEY (id))")
    graph = db.graph("g")
    fitted = graph.encode("customer", "x", OneHot("job", null="mask"))
    store, _ = db.get_torch_geometric_remote_backend("g")
    [(count,)] = db.sql("SELECT count(*) FROM customer WHERE age > 10").fetchall()
    assert store.get_tensor("customer", "x", None).shape == (count, 3)
    assert torch.equal(graph.to_heterodata()["customer"].x, store.get_tensor("customer", "x", None))
    assert not [f for f in graph.check().findings if f.severity == "error"]
    db.execute("INSERT INTO customer VALUES (1, 82, 'cook', 11), (2, 82, 'cook', 9)")
    graph.build()
    graph.encode("customer", "x", fitted)
    assert store.get_tensor("customer", "x", None).shape == (count + 1, 3)


def test_rows_that_cannot_be_told_apart_are_an_error(db: dbgnn.Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two rows of one hash would get one another's values; the remedy works as it is written."""
    for module in ("dbgnn.schema.encoded", "dbgnn.writeback.materialise"):
        monkeypatch.setattr(importlib.import_module(module), "row_hash", lambda *_: f"hash({ROWS_MARK}.id // 14)")
    with pytest.raises(dbgnn.DataError, match=r"49 rows of 'customer' .* have the hash of another") as caught:
        db.graph().encode("customer", "x", X)
    assert db.execute("SELECT count(*) FROM duckdb_tables() WHERE table_name LIKE 'encoded_%'").fetchall() == [(0,)]
    db.execute(str(caught.value).rpartition("no keys: ")[2])
    db.execute("CREATE PROPERTY GRAPH copies VERTEX TABLES (customer_copy AS customer KEY (id))")
    assert not db.graph("copies").encode("customer", "x", X).is_beside
