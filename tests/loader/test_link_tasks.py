"""Tasks of links: a query of two keys, times and targets as the seeds of `LinkNeighborLoader`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import dbgnn

BUYS = ("user", "buys", "item")
QUERY = "SELECT who, city, number, asked, stars FROM questions"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Users by name, items by two columns, purchases in time, and questions that are no purchases."""
    path = tmp_path_factory.mktemp("link_tasks") / "shop.duckdb"
    with dbgnn.connect(path, progress=False) as db:
        for statement in (
            "CREATE TABLE users AS SELECT 'u' || lpad((29 - i)::VARCHAR, 2, '0') AS name, i::FLOAT AS x FROM range(30) t(i)",
            "CREATE TABLE items AS SELECT i % 4 AS city, i // 4 AS number, i::FLOAT AS x FROM range(20) t(i)",
            """CREATE TABLE bought AS SELECT 'u' || lpad((hash(i) % 30)::VARCHAR, 2, '0') AS who, hash(i, 1) % 4 AS city,
               hash(i, 2) % 5 AS number, TIMESTAMP '2023-01-01' + to_hours(i * 7) AS ts FROM range(800) t(i)""",
            """CREATE TABLE questions AS SELECT 'u' || lpad((i % 30)::VARCHAR, 2, '0') AS who, i % 4 AS city, i % 5 AS number,
               DATE '2023-02-01' + i::INTEGER AS asked, i % 3 AS stars FROM range(60) t(i)""",
        ):
            db.execute(statement)
        db.execute(
            """CREATE PROPERTY GRAPH shop
               VERTEX TABLES (users KEY (name) LABEL user, items KEY (city, number) PROPERTIES (x) LABEL item)
               EDGE TABLES (bought SOURCE KEY (who) REFERENCES user (name)
                                   DESTINATION KEY (city, number) REFERENCES item (city, number) PROPERTIES (ts) LABEL buys,
                            bought SOURCE KEY (city, number) REFERENCES item (city, number)
                                   DESTINATION KEY (who) REFERENCES user (name) PROPERTIES (ts) LABEL bought_by)"""
        )
        db.graph().build()
    return path


@pytest.fixture
def db(path: Path) -> Iterator[dbgnn.Database]:
    with dbgnn.connect(path, read_only=True, progress=False) as db:
        yield db


def task(sql: str = QUERY, **given: Any) -> dbgnn.LinkTask:
    columns: dict[str, Any] = {"time": "asked", "target": "stars", "edge_type": "buys"}
    return dbgnn.LinkTask(sql, source="who", destination=("city", "number"), **columns | given)


def loader(db: dbgnn.Database, given: object, **options: Any) -> dbgnn.LinkNeighborLoader:
    chosen: dict[str, Any] = {"time_attr": "ts", "batch_size": 16} | options
    return dbgnn.LinkNeighborLoader(db.graph("shop"), [4, 2], edge_label_index=given, **chosen)


def test_rows_are_links_with_labels_and_times(db: dbgnn.Database) -> None:
    made = loader(db, task())
    expected = db.sql("SELECT who, city, number, epoch_us(asked::TIMESTAMP), stars FROM questions").fetchall()
    stores = made.data[0]
    seen = []
    for batch in made:
        links = batch[BUYS]
        users = stores.keys("user", batch["user"].n_id[links.edge_label_index[0]])
        items = stores.keys("item", batch["item"].n_id[links.edge_label_index[1]])
        seen += [
            (user, *map(int, item), time, label)
            for user, item, time, label in zip(
                users, items, links.edge_label_time.tolist(), links.edge_label.tolist(), strict=True
            )
        ]
        assert links.edge_label.dtype == torch.int64
        assert links.input_id.tolist() == list(range(len(seen) - len(links.input_id), len(seen)))
    assert seen == expected


def test_nothing_is_later_than_its_link(db: dbgnn.Database) -> None:
    edges = 0
    for batch in loader(db, task(target=None), neg_sampling="binary", batch_size=60):
        time = batch[BUYS].edge_label_time[:60]
        for edge_type in (BUYS, ("item", "bought_by", "user")):
            links = batch[edge_type]
            of = batch[edge_type[2]].batch[links.edge_index[1]] % 60
            assert (links.ts <= time[of]).all()
            edges += links.edge_index.shape[1]
    assert edges > 200


@pytest.mark.parametrize("given", [{"super_batch": 3, "prefetch": 2}, {"num_workers": 2}], ids=str)
def test_mini_batches_are_the_same_however_they_are_made(db: dbgnn.Database, given: dict[str, Any]) -> None:
    plain = loader(db, task(), neg_sampling="binary", super_batch=1, prefetch=0)
    for one, other in zip(plain, loader(db, task(), neg_sampling="binary", **given), strict=True):
        for name in ("edge_label_index", "edge_label", "edge_label_time", "input_id", "edge_index"):
            assert torch.equal(one[BUYS][name], other[BUYS][name]), name


def test_packs_refuse_another_task(db: dbgnn.Database, tmp_path: Path) -> None:
    loader(db, task()).pack(tmp_path / "pack")
    packed = dbgnn.PackedLoader(tmp_path / "pack")
    for one, other in zip(loader(db, task()), packed, strict=True):
        assert torch.equal(one[BUYS].edge_label, other[BUYS].edge_label)
    for other_task in (task(QUERY + " WHERE true"), task("SELECT * REPLACE (stars + 1 AS stars) FROM questions")):
        with pytest.raises(dbgnn.DbgnnError, match=r"they differ in .*task"):
            loader(db, other_task).pack(tmp_path / "pack")


def test_the_only_edge_type_is_meant_where_none_is_named_and_else_it_is_asked_for(db: dbgnn.Database) -> None:
    with pytest.raises(dbgnn.SchemaError, match="must say which edge type's ends it names"):
        loader(db, task(edge_type=None))
    with dbgnn.connect(":memory:", progress=False) as memory:
        memory.execute("CREATE TABLE n AS SELECT i AS id FROM range(5) t(i)")
        memory.execute("CREATE TABLE e AS SELECT i AS s, (i + 1) % 5 AS d FROM range(5) t(i)")
        memory.execute(
            """CREATE PROPERTY GRAPH ring VERTEX TABLES (n KEY (id)) EDGE TABLES (e
               SOURCE KEY (s) REFERENCES n (id) DESTINATION KEY (d) REFERENCES n (id))"""
        )
        made = dbgnn.LinkTask("SELECT 3 AS a, 1 AS b UNION ALL SELECT 3, 3", source="a", destination="b")
        batch = next(iter(dbgnn.LinkNeighborLoader(memory.graph(), [1], edge_label_index=made, batch_size=2)))
        links = batch["n", "e", "n"]
        assert batch["n"].n_id[links.edge_label_index].tolist() == [[3, 3], [1, 3]]
        stores = memory.get_torch_geometric_remote_backend(homogeneous=True)
        flat = next(iter(dbgnn.LinkNeighborLoader(stores, [1], edge_label_index=made, batch_size=2)))
        assert flat.n_id[flat.edge_label_index].tolist() == [[3, 3], [1, 3]]


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"edge_label": torch.zeros(60)}, dbgnn.RequestError, r"edge_label is not for a task.*target="),
        ({"edge_label_time": torch.zeros(60)}, dbgnn.RequestError, r"edge_label_time is not for a task.*time="),
        ({"input_id": torch.arange(60)}, dbgnn.RequestError, "input_id is not for a task"),
        ({"neg_sampling": "triplet"}, dbgnn.RequestError, "no meaning for triplets"),
    ],
)
def test_what_a_task_says_is_not_said_twice(db: dbgnn.Database, given: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        loader(db, task(), **given)


def test_what_does_not_fit_is_said(db: dbgnn.Database) -> None:
    with pytest.raises(dbgnn.RequestError, match="whose rows are nodes; give it to dbgnn"):
        loader(db, dbgnn.EntityTask("SELECT name FROM users", entity="name", node_type="user"))
    with pytest.raises(dbgnn.RequestError, match=r"destination=\('city', 'number'\) of a LinkTask: 60 of the 60 keys"):
        loader(db, task("SELECT * REPLACE (9 AS city) FROM questions"))
    with pytest.raises(dbgnn.SchemaError, match="cannot be compared"):
        loader(db, task(time="stars", target=None))
    with pytest.raises(dbgnn.RequestError, match="need a time"):
        loader(db, task(time=None))
    with pytest.warns(UserWarning, match="A LinkTask has times, and the loader samples without them") as caught:
        loader(db, task(), time_attr=None)
    assert caught[0].filename == __file__


def test_predictions_of_links(path: Path, tmp_path: Path) -> None:
    copied = tmp_path / "shop.duckdb"
    copied.write_bytes(path.read_bytes())
    with dbgnn.connect(copied, progress=False) as db:

        def forward(model: object, batch: Any) -> torch.Tensor:
            of = batch[BUYS].edge_label_index[1]
            x: torch.Tensor = batch["item"].x[of]
            return x

        assert db.graph("shop").predict(torch.nn.Identity(), loader(db, task()), into="guesses", forward=forward) == 60
        assert db.sql("FROM guesses").columns == ["who", "city", "number", "asked", "pred"]
        wanted = "SELECT who, city, number, asked, number * 4 + city FROM questions"
        assert db.sql("FROM guesses").fetchall() == db.sql(wanted).fetchall()
        with pytest.raises(dbgnn.RequestError, match="is a column"):
            db.graph("shop").predict(torch.nn.Identity(), loader(db, task()), into="user.pred", forward=forward)
