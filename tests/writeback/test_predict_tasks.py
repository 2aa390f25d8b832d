"""`graph.predict` over a task: one row per row of its query, in a table of its own, resumed after an interruption."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch_geometric.loader import LinkNeighborLoader

import dbgnn

AS_OF = "TIMESTAMP '2024-03-01' + to_days(i::INTEGER)"


@pytest.fixture
def db(tmp_path: Path) -> Iterator[dbgnn.Database]:
    """Accounts whose keys and places differ, and rooms by two columns."""
    with dbgnn.connect(tmp_path / "a.duckdb", progress=False) as db:
        db.execute("CREATE TABLE accounts AS SELECT 'a' || (9 - i) AS iban, (9 - i)::FLOAT AS x FROM range(10) t(i)")
        db.execute("CREATE TABLE rooms AS SELECT i % 2 AS house, i // 2 AS floor, i::FLOAT AS x FROM range(6) t(i)")
        db.execute(
            "CREATE PROPERTY GRAPH g VERTEX TABLES (accounts KEY (iban) LABEL account, rooms KEY (house, floor) LABEL room)"
        )
        yield db


def loader(db: dbgnn.Database, query: str, **given: Any) -> dbgnn.NeighborLoader:
    options: dict[str, Any] = {"entity": "who", "node_type": "account"} | given
    return dbgnn.NeighborLoader(db.graph("g"), [], input_nodes=dbgnn.EntityTask(query, **options), batch_size=4)


class Echo(torch.nn.Module):
    """Predicts the feature of a node, and counts how often it is asked."""

    def __init__(self, fail_at: int = -1) -> None:
        super().__init__()
        self.calls, self.fail_at = 0, fail_at

    def forward(self, batch: Any) -> torch.Tensor:
        self.calls += 1
        if self.calls == self.fail_at:
            raise KeyboardInterrupt
        (label,) = [label for label in batch.node_types if "batch_size" in batch[label]]
        out: torch.Tensor = batch[label].x * 10
        return out


def rows(db: dbgnn.Database, table: str) -> list[tuple[Any, ...]]:
    return db.sql(f"FROM {table}").fetchall()


def test_every_row_of_the_task_has_one(db: dbgnn.Database) -> None:
    made = loader(db, f"SELECT 'a' || (i * 7 % 10) AS who, {AS_OF} AS as_of FROM range(14) t(i)", time="as_of")
    assert db.graph("g").predict(Echo(), made, into="scores") == 14
    assert db.sql("FROM scores").columns == ["who", "as_of", "pred"]
    found = [(who, as_of.date(), pred) for who, as_of, pred in rows(db, "scores")]
    assert found == [(f"a{i * 7 % 10}", dt.date(2024, 3, 1 + i), i * 7 % 10 * 10.0) for i in range(14)]


@pytest.mark.parametrize(
    "kind",
    ["DATE", "TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS", "TIMESTAMPTZ"],
)
def test_times_come_back_as_they_were(db: dbgnn.Database, kind: str) -> None:
    db.execute("SET TimeZone = 'America/New_York'")
    query = f"SELECT 'a' || i AS who, ({AS_OF})::{kind} AS since FROM range(3) t(i)"
    db.graph("g").predict(Echo(), loader(db, query, time="since"), into="scores")
    assert db.sql("SELECT since FROM scores").types == db.sql(f"SELECT since FROM ({query})").types
    assert db.sql("SELECT who, since FROM scores").fetchall() == db.sql(query).fetchall()


def test_integers_and_keys_of_two_columns(db: dbgnn.Database) -> None:
    query = "SELECT floor AS f, house AS h, (floor * 2)::UTINYINT AS at FROM rooms ORDER BY f DESC, h ASC"
    made = loader(db, query, entity=("h", "f"), node_type="room", time="at")
    assert db.graph("g").predict(Echo(), made, into="main.scores.level") == 6
    assert db.sql("FROM scores").columns == ["h", "f", "at", "level"]
    assert rows(db, "scores") == [(h, f, f * 2, (f * 2 + h) * 10.0) for f in (2, 1, 0) for h in (0, 1)]


def test_an_interrupted_call_is_resumed_and_another_task_is_not_mixed_in(db: dbgnn.Database) -> None:
    query, graph = "SELECT 'a' || (i % 10) AS who FROM range(20) t(i)", db.graph("g")
    with pytest.raises(KeyboardInterrupt):
        graph.predict(Echo(fail_at=4), loader(db, query), into="scores")
    again = Echo()
    assert graph.predict(again, loader(db, query), into="scores") == 20
    assert again.calls == 2
    with pytest.raises(KeyboardInterrupt):
        graph.predict(Echo(fail_at=4), loader(db, query), into="scores")
    other = Echo()
    with pytest.warns(UserWarning, match="are dropped: the task changed"):
        assert graph.predict(other, loader(db, query.replace("i % 10", "(i + 1) % 10")), into="scores") == 20
    assert other.calls == 5
    assert rows(db, "scores") == [(f"a{(i + 1) % 10}", (i + 1) % 10 * 10.0) for i in range(20)]
    assert db.sql("SELECT count(*) FROM duckdb_tables() WHERE table_name LIKE 'predicted_%'").fetchall() == [(0,)]


def test_what_is_there_is_replaced_if_it_was_predicted_and_else_kept(db: dbgnn.Database) -> None:
    graph = db.graph("g")
    graph.predict(Echo(), loader(db, "SELECT 'a1' AS who, 1 AS at FROM range(3)", time="at"), into="scores")
    graph.predict(Echo(), loader(db, "SELECT 'a2' AS who FROM range(2)"), into="scores")
    assert rows(db, "scores") == [("a2", 20.0)] * 2
    db.execute("CREATE TABLE mine AS SELECT 1 AS one")
    with pytest.raises(dbgnn.SchemaError, match="was not made by a prediction"):
        graph.predict(Echo(), loader(db, "SELECT 'a2' AS who"), into="mine")
    assert rows(db, "mine") == [(1,)]
    with pytest.raises(dbgnn.SchemaError, match="is a table of graph"):
        graph.predict(Echo(), loader(db, "SELECT 'a2' AS who"), into="rooms")
    with pytest.raises(dbgnn.SchemaError, match="two columns of one name: 'pred'"):
        graph.predict(Echo(), loader(db, "SELECT 'a2' AS pred", entity="pred"), into="others")


def test_a_task_without_rows_leaves_none_of_an_earlier_one(db: dbgnn.Database) -> None:
    """Yesterday's answers would look like today's."""
    graph = db.graph("g")
    graph.predict(Echo(), loader(db, "SELECT 'a1' AS who, 1 AS at", time="at"), into="scores")
    db.execute("CREATE TABLE mine AS SELECT 1 AS one")
    with pytest.warns(UserWarning, match="query gives no rows"):
        nothing = loader(db, "SELECT 'a1' AS who, 1 AS at WHERE false", time="at")
    assert graph.predict(Echo(), nothing, into="scores") == 0
    assert rows(db, "scores") == []
    with pytest.raises(dbgnn.SchemaError, match="was not made by a prediction"):
        graph.predict(Echo(), nothing, into="mine")
    assert graph.predict(Echo(), nothing, into="others") == 0
    assert rows(db, "mine") == [(1,)]


def test_a_column_takes_a_task_that_names_a_node_once(db: dbgnn.Database) -> None:
    graph = db.graph("g")
    assert graph.predict(Echo(), loader(db, "SELECT 'a' || i AS who FROM range(3) t(i)"), into="account.pred") == 3
    with pytest.raises(dbgnn.RequestError, match="the 20 rows of an EntityTask name 10 of them"):
        graph.predict(Echo(), loader(db, "SELECT 'a' || i % 10 AS who FROM range(20) t(i)"), into="account.pred")


def test_a_node_at_several_times_has_no_one_prediction(db: dbgnn.Database) -> None:
    """Not even where mini-batches do not say whose they are, such as those in a list: the first one's would stay for all."""
    graph = db.graph("g")
    for twice in (2, 9):  # within a mini-batch, and in another one
        query = f"SELECT 'a' || (i % {twice}) AS who, {AS_OF} AS as_of FROM range({twice + 1}) t(i)"
        with pytest.raises(dbgnn.RequestError, match=r"of 'account' is a seed at several times, such as 17.*EntityTask"):
            graph.predict(Echo(), list(loader(db, query, time="as_of")), into="account.pred")
        with pytest.raises(dbgnn.RequestError, match="is a seed at several times"):
            graph.predict(Echo(), list(loader(db, query, time="as_of")), into="scores")
    same = "SELECT 'a' || (i % 3) AS who, TIMESTAMP '2024-03-01' AS as_of FROM range(6) t(i)"
    assert graph.predict(Echo(), list(loader(db, same, time="as_of")), into="account.pred") == 3


def test_rows_may_be_drawn_in_any_order(db: dbgnn.Database) -> None:
    made = dbgnn.EntityTask("SELECT 'a' || (i % 10) AS who FROM range(20) t(i)", entity="who", node_type="account")
    shuffled = dbgnn.NeighborLoader(db.graph("g"), [], input_nodes=made, batch_size=3, shuffle=True)
    db.graph("g").predict(Echo(), shuffled, into="scores")
    assert rows(db, "scores") == [(f"a{i % 10}", i % 10 * 10.0) for i in range(20)]


def test_links_without_a_task_are_predicted_of_no_node(db: dbgnn.Database) -> None:
    """A model's score of a link in a column of nodes would be a wrong number that nobody notices."""
    db.execute("CREATE TABLE pays AS SELECT 'a' || i AS payer, 'a' || (9 - i) AS payee FROM range(10) t(i)")
    db.execute(
        """CREATE PROPERTY GRAPH paid VERTEX TABLES (accounts KEY (iban) LABEL account)
           EDGE TABLES (pays SOURCE KEY (payer) REFERENCES account (iban)
                             DESTINATION KEY (payee) REFERENCES account (iban) LABEL pays)"""
    )
    links: dict[str, Any] = {"num_neighbors": [2], "edge_label_index": "pays", "batch_size": 4}
    graph = db.graph("paid")
    theirs = LinkNeighborLoader(
        db.get_torch_geometric_remote_backend("paid", homogeneous=True),
        neighbor_sampler=dbgnn.NeighborSampler(graph, [2], homogeneous=True),
        **links | {"edge_label_index": (None, None)},
    )
    for made in (dbgnn.LinkNeighborLoader(graph, **links), theirs):
        for into in ("account.pred", "scores"):
            with pytest.raises(dbgnn.RequestError, match=r"links, .* as a dbgnn\.LinkTask"):
                graph.predict(Echo(), made, into=into, forward=lambda _, __: torch.ones(20))
    assert db.sql("FROM accounts").columns == ["iban", "x"]
