"""Tasks: seeds that are a query, with times and targets, through every way in which a loader makes mini-batches."""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import Tensor

import dbgnn
from tests.loader.conftest import end_workers

OF = ("purchase", "of", "customer")
LABELS = "SELECT name, as_of, churned FROM labels"


def task(sql: Any = LABELS, **given: Any) -> dbgnn.EntityTask:
    columns: dict[str, Any] = {"entity": "name", "time": "as_of", "target": "churned"} | given
    return dbgnn.EntityTask(sql, **columns)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Customers by name, whose case does not matter; purchases in the course of 2023; and questions about customers."""
    path = tmp_path_factory.mktemp("tasks") / "shop.duckdb"
    with dbgnn.connect(path, progress=False) as db:
        for statement in (
            "CREATE TABLE customers (name VARCHAR COLLATE NOCASE, x FLOAT)",
            "INSERT INTO customers SELECT 'c' || lpad(((i * 7) % 40)::VARCHAR, 2, '0'), (i * 7) % 40 FROM range(40) t(i)",
            """CREATE TABLE purchases AS SELECT i * 3 AS id, 'c' || lpad((hash(i) % 40)::VARCHAR, 2, '0') AS buyer,
               TIMESTAMP '2023-01-01' + to_hours((i * 13) % 8760) AS ts, i::FLOAT AS x FROM range(600) t(i)""",
            "CREATE TABLE shops AS SELECT i % 3 AS city, DATE '2020-01-01' + (i // 3)::INTEGER AS opened FROM range(9) t(i)",
            """CREATE TABLE visits AS SELECT buyer, id % 3 AS city, DATE '2020-01-01' + (id % 9 // 3)::INTEGER AS opened
               FROM purchases""",
            """CREATE TABLE labels AS SELECT 'C' || lpad(((i * 11) % 40)::VARCHAR, 2, '0') AS name,
               DATE '2023-03-01' + (i * 2)::INTEGER AS as_of, i % 3 = 0 AS churned, i AS amount FROM range(100) t(i)""",
        ):
            db.execute(statement)
        db.execute(
            """CREATE PROPERTY GRAPH shop
              VERTEX TABLES (customers KEY (name) PROPERTIES (x) LABEL customer, shops KEY (city, opened) LABEL shop,
                             purchases KEY (id) PROPERTIES (x, ts) LABEL purchase)
              EDGE TABLES (purchases SOURCE KEY (id) REFERENCES purchase (id)
                                     DESTINATION KEY (buyer) REFERENCES customer (name) NO PROPERTIES LABEL of,
                           visits SOURCE KEY (buyer) REFERENCES customer (name)
                                  DESTINATION KEY (city, opened) REFERENCES shop (city, opened) LABEL visits)"""
        )
        db.graph().build()
    return path


@pytest.fixture
def db(path: Path) -> Iterator[dbgnn.Database]:
    with dbgnn.connect(path, read_only=True, progress=False) as db:
        yield db


@pytest.fixture
def graph(db: dbgnn.Database) -> dbgnn.Graph:
    return db.graph("shop")


def loader(graph: Any, input_nodes: Any, **given: Any) -> dbgnn.NeighborLoader:
    options: dict[str, Any] = {"time_attr": "ts", "batch_size": 16} | given
    return dbgnn.NeighborLoader(graph, [4], input_nodes=input_nodes, **options)


def columns_of(loader: dbgnn.NeighborLoader) -> dict[str, Tensor]:
    """What mini-batches say of their seeds, one after the other."""
    parts: dict[str, list[Tensor]] = {}
    for batch in loader:
        store = batch["customer"]
        assert len(store.y) == len(store.input_id) == len(store.seed_time) == store.batch_size
        for name in ("y", "input_id", "seed_time"):
            parts.setdefault(name, []).append(store[name])
        parts.setdefault("x", []).append(store.x[: store.batch_size])
    return {name: torch.cat(tensors) for name, tensors in parts.items()}


def micros(db: dbgnn.Database, sql: str) -> np.ndarray[Any, Any]:
    return np.array([row[0] for row in db.sql(sql).fetchall()])


# -- what a mini-batch has ---------------------------------------------------------------------------------


def test_every_row_is_a_seed_with_its_target_and_time(db: dbgnn.Database, graph: dbgnn.Graph) -> None:
    found = columns_of(loader(graph, task()))
    assert found["input_id"].tolist() == list(range(100))
    assert found["y"].dtype == torch.float32
    assert found["y"].tolist() == [float(i % 3 == 0) for i in range(100)]
    assert found["seed_time"].tolist() == micros(db, "SELECT epoch_us(as_of::TIMESTAMP) FROM labels").tolist()
    assert found["x"].tolist() == [(i * 11) % 40 for i in range(100)]  # 'C07' is the customer 'c07'


def test_nothing_is_later_than_its_row(graph: dbgnn.Graph) -> None:
    seen = 0
    for batch in loader(graph, task(), shuffle=True):
        bought = batch["purchase"]
        assert (bought.ts <= batch["customer"].seed_time[bought.batch]).all()
        seen += bought.num_nodes
    assert seen > 100


def test_where_the_sample_is_not_by_time_the_leak_is_said_and_times_are_there(graph: dbgnn.Graph) -> None:
    with pytest.warns(
        UserWarning, match=r"came later than their seeds\. Give time_attr='ts', a column of table 'purchases'"
    ) as w:
        timeless = loader(graph, task(), time_attr=None, disjoint=True)
    assert w[0].filename == __file__
    assert torch.equal(columns_of(timeless)["seed_time"], columns_of(loader(graph, task()))["seed_time"])
    assert any((b["purchase"].ts > b["customer"].seed_time[b["purchase"].batch]).any() for b in timeless)
    timeless.time_attr = "ts"  # from the next epoch on, as if made with it
    for batch in timeless:
        assert (batch["purchase"].ts <= batch["customer"].seed_time[batch["purchase"].batch]).all()


def test_a_task_without_time_or_target_adds_neither(graph: dbgnn.Graph) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plain = loader(graph, task(time=None, target=None), time_attr=None)
    store = next(iter(plain))["customer"]
    assert "y" not in store
    assert store.get("seed_time") is None
    assert store.input_id.tolist() == list(range(16))


@pytest.mark.parametrize(
    ("sql", "dtype", "values"),
    [
        ("i % 2 = 0", torch.float32, [1.0, 0.0]),
        ("i::UTINYINT", torch.int64, [0, 1]),
        ("(i * 10)::HUGEINT", torch.int64, [0, 10]),
        ("i / 4::DOUBLE", torch.float32, [0.0, 0.25]),
        ("(i / 4)::DECIMAL(6, 2)", torch.float32, [0.0, 0.25]),
        ("['b', 'a'][i + 1]::ENUM ('a', 'b')", torch.int64, [1, 0]),
        ("[i, i + 1]::INTEGER[2]", torch.int64, [[0, 1], [1, 2]]),
        ("[i, i + 0.5]::DOUBLE[2]", torch.float32, [[0.0, 0.5], [1.0, 1.5]]),
    ],
)
def test_targets_are_of_the_dtypes_that_losses_want(graph: dbgnn.Graph, sql: str, dtype: torch.dtype, values: Any) -> None:
    made = task(f"SELECT 'c0' || i AS name, {sql} AS target FROM range(2) t(i)", time=None, target="target")
    y = next(iter(loader(graph, made, time_attr=None)))["customer"].y
    assert y.dtype == dtype
    assert y.tolist() == values


# -- how it is said ----------------------------------------------------------------------------------------


def test_columns_tables_and_queries_say_the_same(db: dbgnn.Database, graph: dbgnn.Graph) -> None:
    arrow = db.sql("SELECT name, as_of, churned FROM labels").to_arrow_table()
    frame = arrow.to_pandas()
    expected = columns_of(loader(graph, task()))
    forms = [
        task(arrow),
        task(frame),
        task("SELECT name, as_of, churned FROM frame"),
        task(entity="customer"),
        task("SELECT name AS who, as_of, churned FROM labels", entity="customer"),
        task("SELECT *, name AS who FROM labels", entity="who", node_type="customer"),
        task("SELECT name AS customer, as_of, churned FROM labels", entity="customer"),
        task(entity=("NAME",), time="AS_OF", target="Churned"),
        task(f"{LABELS} WHERE amount < $below", params={"below": 1000}),
        task("WITH l AS (FROM labels) SELECT * FROM l; -- all"),
    ]
    assert len(frame) == 100
    for form in forms:
        found = columns_of(loader(graph, form))
        assert all(torch.equal(found[name], expected[name]) for name in expected), form


def test_a_key_of_two_columns(graph: dbgnn.Graph) -> None:
    made = dbgnn.EntityTask("SELECT city, opened, 7 AS n FROM shops ORDER BY opened DESC, city ASC", entity="shop", target="n")
    twice = dbgnn.EntityTask("SELECT opened AS o, city AS c FROM shops", entity=("c", "o"), node_type="shop")
    batch = next(iter(loader(graph, made, time_attr=None)))
    assert batch["shop"].n_id.tolist() == [2, 5, 8, 1, 4, 7, 0, 3, 6]
    assert batch["shop"].y.tolist() == [7] * 9
    assert next(iter(loader(graph, twice, time_attr=None)))["shop"].n_id.tolist() == [0, 3, 6, 1, 4, 7, 2, 5, 8]


def test_rows_that_were_given_may_have_keys_as_text() -> None:
    with dbgnn.connect(":memory:", progress=False) as db:
        db.execute("CREATE TABLE n AS SELECT ('00000000-0000-0000-0000-00000000000' || i)::UUID AS id FROM range(5) t(i)")
        db.execute("CREATE PROPERTY GRAPH g VERTEX TABLES (n KEY (id))")
        rows = db.sql("SELECT id::VARCHAR AS who FROM n ORDER BY id DESC").to_arrow_table()
        made = dbgnn.NeighborLoader(db.graph(), [], input_nodes=dbgnn.EntityTask(rows, entity="who"), batch_size=5)
        assert next(iter(made))["n"].n_id.tolist() == [4, 3, 2, 1, 0]
        wrong = pa.table({"who": [1.5]})
        with pytest.raises(dbgnn.SchemaError, match="is DOUBLE, but the key 'id' of 'n' is UUID"):
            dbgnn.NeighborLoader(db.graph(), [], input_nodes=dbgnn.EntityTask(wrong, entity="who"))


def test_a_task_is_frozen_and_runs_when_a_loader_is_made(path: Path, tmp_path: Path) -> None:
    copied = tmp_path / "shop.duckdb"
    copied.write_bytes(path.read_bytes())
    with dbgnn.connect(copied, progress=False) as db:
        made = task()
        with pytest.raises(AttributeError):
            made.time = None  # type: ignore[misc]
        first = loader(db.graph("shop"), made)
        db.execute("DELETE FROM labels WHERE amount >= 10")
        assert len(columns_of(first)["y"]) == 100
        assert len(columns_of(loader(db.graph("shop"), made))["y"]) == 10
        with pytest.warns(UserWarning, match="an EntityTask whose query gives no rows"):
            loader(db.graph("shop"), task(f"{LABELS} WHERE false"))


def test_every_column_is_named_that_a_leak_may_come_by() -> None:
    with dbgnn.connect(progress=False) as db:
        db.execute("""
            CREATE TABLE account AS SELECT i AS id, [i]::FLOAT[1] AS x, DATE '2020-01-01' AS since FROM range(9) t(i);
            CREATE TABLE pays AS SELECT i % 9 AS src, (i * 2) % 9 AS dst, TIMESTAMP '2020-01-01' AS "when" FROM range(30) t(i);
            CREATE PROPERTY GRAPH g VERTEX TABLES (account KEY (id) PROPERTIES (x)) EDGE TABLES (
                pays SOURCE KEY (src) REFERENCES account (id) DESTINATION KEY (dst) REFERENCES account (id) NO PROPERTIES,
                pays SOURCE KEY (dst) REFERENCES account (id) DESTINATION KEY (src) REFERENCES account (id) NO PROPERTIES
                    LABEL is_paid)""")
        asked = dbgnn.EntityTask("SELECT 1 AS id, DATE '2020-06-01' AS late", entity="id", time="late", node_type="account")
        message = (
            r"Give time_attr='since', a column of table 'account', or 'when', a column of table 'pays'\. Columns of that name "
            r"alone are heeded: where several matter, name them alike; or leave time out of the task\.$"
        )
        with pytest.warns(UserWarning, match=message):
            dbgnn.NeighborLoader(db.graph(), [2], input_nodes=asked)


# -- every way to make mini-batches ------------------------------------------------------------------------


def assert_same(one: dbgnn.NeighborLoader, other: dbgnn.NeighborLoader) -> None:
    for a, b in zip(one, other, strict=True):
        for name in ("y", "input_id", "seed_time", "n_id", "x"):
            assert torch.equal(a["customer"][name], b["customer"][name]), name
        assert torch.equal(a["purchase"].n_id, b["purchase"].n_id)
        assert torch.equal(a[OF].edge_index, b[OF].edge_index)


@pytest.mark.parametrize(
    "given",
    [
        {"super_batch": 1, "prefetch": 0},
        {"super_batch": 7, "prefetch": 2},
        {"plan": "shared", "cache_bytes": 0},
        {"plan": "spooled", "cache_bytes": 0, "super_batch": 3},
        {"num_workers": 2},
        {"num_workers": 2, "filter_per_worker": False},
    ],
    ids=str,
)
def test_mini_batches_are_the_same_however_they_are_made(graph: dbgnn.Graph, given: dict[str, Any]) -> None:
    other = loader(graph, task(), **given)
    try:
        assert_same(loader(graph, task()), other)
    finally:
        end_workers(other)


def test_packs_hold_targets_and_refuse_another_task(graph: dbgnn.Graph, tmp_path: Path) -> None:
    loader(graph, task()).pack(tmp_path / "pack")
    assert_same(loader(graph, task()), dbgnn.PackedLoader(tmp_path / "pack"))  # type: ignore[arg-type]
    for other in (
        task(f"{LABELS} WHERE true"),
        task("SELECT name, as_of, NOT churned AS churned FROM labels"),
        task("SELECT name, as_of + 1 AS as_of, churned FROM labels"),
        task("SELECT upper(name) AS name, as_of, churned FROM labels ORDER BY amount DESC"),
        task("SELECT name, as_of, amount AS churned FROM labels"),
        task(target=None),
    ):
        with pytest.raises(dbgnn.DbgnnError, match=r"they differ in .*task"):
            loader(graph, other).pack(tmp_path / "pack")


def test_without_type_names(db: dbgnn.Database) -> None:
    stores = db.get_torch_geometric_remote_backend("shop")
    assert copy.copy(loader(stores, task()))._seeds.identity() == loader(stores, task())._seeds.identity()
    with dbgnn.connect(":memory:") as memory:
        memory.execute("CREATE TABLE n AS SELECT i AS id, i::FLOAT AS x FROM range(5) t(i)")
        memory.execute("CREATE TABLE e AS SELECT i AS s, (i + 1) % 5 AS d FROM range(5) t(i)")
        memory.execute(
            """CREATE PROPERTY GRAPH ring VERTEX TABLES (n KEY (id) PROPERTIES (x)) EDGE TABLES (e
               SOURCE KEY (s) REFERENCES n (id) DESTINATION KEY (d) REFERENCES n (id))"""
        )
        stores = memory.get_torch_geometric_remote_backend(homogeneous=True)
        rows = pa.table({"who": [3, 3, 0], "when": [7, 8, 9], "label": [0.5, 1.5, 2.5]})
        made = dbgnn.EntityTask(rows, entity="who", time="when", target="label")
        batch = next(iter(dbgnn.NeighborLoader(stores, [1], input_nodes=made, batch_size=3)))
        assert batch.n_id[:3].tolist() == [3, 3, 0]
        assert batch.y.tolist() == [0.5, 1.5, 2.5]
        assert batch.seed_time.tolist() == [7, 8, 9]


# -- what cannot be ----------------------------------------------------------------------------------------

WRONG = [
    (task(entity="nobody"), dbgnn.UnknownNameError, "entity='nobody' is no column of the query .* and no node type"),
    (task(time="when"), dbgnn.UnknownNameError, "time='when' is no column of the query of an EntityTask"),
    (task(target="y"), dbgnn.UnknownNameError, "target='y' is no column"),
    (task(node_type="custmer"), dbgnn.UnknownNameError, "did you mean 'customer'"),
    (task("SELECT 'zz' AS name FROM range(3)", time=None, target=None), dbgnn.RequestError, "3 of the 3 keys .* is 'zz'"),
    (task("SELECT NULL::VARCHAR AS name", time=None, target=None), dbgnn.DataError, "'name' of an EntityTask is NULL in 1 "),
    (task("SELECT name, NULL::DATE AS as_of, 1 AS churned FROM labels"), dbgnn.DataError, "'as_of' .* NULL or infinite in 100"),
    (task("SELECT name, DATE 'infinity' AS as_of, 1 AS churned FROM labels"), dbgnn.DataError, "NULL or infinite in 100"),
    (task("SELECT name, as_of, NULL::INTEGER AS churned FROM labels"), dbgnn.DataError, "'churned' of an EntityTask is NULL"),
    (task("SELECT name, as_of, 'NaN'::FLOAT AS churned FROM labels"), dbgnn.DataError, "NaN or infinite in 100 of 100 rows"),
    (task("SELECT name, as_of, [1, NULL]::INTEGER[2] AS churned FROM labels"), dbgnn.DataError, "holds NULL in 100 of 100"),
    (task("SELECT name, as_of, 1e300 AS churned FROM labels"), dbgnn.SqlError, "out of range"),
    (task("SELECT name, as_of, 'yes' AS churned FROM labels"), dbgnn.SchemaError, "is VARCHAR, which is no target: text"),
    (task("SELECT name, as_of, [1.0] AS churned FROM labels"), dbgnn.SchemaError, "lists may differ in length"),
    (task("SELECT name, 'now' AS as_of, 1 AS churned FROM labels"), dbgnn.SchemaError, "times are integers, dates"),
    (task("SELECT name, amount AS as_of, 1 AS churned FROM labels"), dbgnn.SchemaError, "cannot be compared"),
    (task("SELECT 7 AS name, as_of, churned FROM labels"), dbgnn.SchemaError, '"name"::VARCHAR AS "name"'),
    (task("SELECT name AS a, amount AS b, as_of, churned FROM labels", entity="customer"), dbgnn.SchemaError, "columns: a, b"),
    (task("SELECT name AS a, as_of, churned FROM labels", entity="a"), dbgnn.SchemaError, "node_type='customer'"),
    (task(entity=("name", "as_of"), node_type="customer"), dbgnn.SchemaError, "names 2 columns, but the key .* has 1: name"),
    (task(entity="customer", node_type="shop"), dbgnn.SchemaError, "two node types"),
    (task("DELETE FROM labels"), dbgnn.SqlError, "must be one SELECT"),
    (task("SELECT nextval('ids')"), dbgnn.SqlError, r"calls nextval\(\)"),
    (task("SELECT 1; SELECT 2"), dbgnn.SqlError, "not 2 statements"),
    (dbgnn.LinkTask("FROM visits", source="buyer", destination=("city", "opened"), edge_type="visits"),
     dbgnn.RequestError, "dbgnn.LinkNeighborLoader"),
]  # fmt: skip


@pytest.mark.parametrize(("wrong", "error", "said"), WRONG, ids=[said for _, _, said in WRONG])
def test_what_is_wrong_is_said(graph: dbgnn.Graph, wrong: dbgnn.EntityTask, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        loader(graph, wrong)


def test_a_remedy_for_null_works_as_written(graph: dbgnn.Graph) -> None:
    query = "SELECT nullif(name, 'C00') AS name, as_of, churned FROM labels"
    with pytest.raises(dbgnn.DataError) as caught:
        loader(graph, task(query))
    remedy = re.search(r"Leave them out: (.*)\.$", str(caught.value))
    assert remedy
    kept = remedy[1].replace("…", query)
    assert len(columns_of(loader(graph, task(kept)))["y"]) == 97


def test_nanoseconds_that_microseconds_cannot_hold_are_an_error_with_a_cast(graph: dbgnn.Graph) -> None:
    whole = "SELECT name, as_of::TIMESTAMP_NS AS as_of, churned FROM labels"
    assert torch.equal(columns_of(loader(graph, task(whole)))["seed_time"], columns_of(loader(graph, task()))["seed_time"])
    finer = "SELECT name, make_timestamp_ns(epoch_ns(as_of::TIMESTAMP) + 1) AS as_of, churned FROM labels"
    with pytest.raises(dbgnn.RequestError, match='"as_of"::TIMESTAMP AS "as_of"'):
        loader(graph, task(finer))
    assert len(columns_of(loader(graph, task(f'SELECT * REPLACE ("as_of"::TIMESTAMP AS "as_of") FROM ({finer})')))["y"]) == 100


def test_what_is_given_beside_a_task_is_an_error(graph: dbgnn.Graph) -> None:
    with pytest.raises(dbgnn.RequestError, match="give it alone, without 'customer'"):
        loader(graph, ("customer", task()))
    with pytest.raises(dbgnn.RequestError, match="input_id is not for a task"):
        loader(graph, task(), input_id=torch.arange(100))
    with pytest.raises(dbgnn.RequestError, match="input_time is not for a task"):
        loader(graph, task(), input_time=torch.arange(100))
    with pytest.raises(dbgnn.SchemaError, match="takes a SELECT, or its rows"):
        task(7)
    with pytest.raises(dbgnn.SchemaError, match="a tuple of several"):
        task(entity=())


def test_a_column_that_is_y_itself_is_left_out_first() -> None:
    made = dbgnn.EntityTask("SELECT id, 1 AS t FROM purchases", entity="id", target="t")
    with dbgnn.connect(":memory:", progress=False) as db:
        db.execute("CREATE TABLE purchases AS SELECT i AS id, i::FLOAT AS y, i::FLOAT AS x FROM range(5) t(i)")
        db.execute("CREATE PROPERTY GRAPH g VERTEX TABLES (purchases KEY (id) PROPERTIES (x, y) LABEL purchase)")
        with pytest.raises(dbgnn.RequestError, match=r"columns=\{'purchase': \['x'\]\}"):
            dbgnn.NeighborLoader(db.graph("g"), [], input_nodes=made)
        stores = db.get_torch_geometric_remote_backend("g", columns={"purchase": ["x"]})
        assert next(iter(dbgnn.NeighborLoader(stores, [], input_nodes=made, batch_size=5)))["purchase"].y.tolist() == [1] * 5
