"""`KEY (rowid)`: a table without a key as nodes; ids are ranks of rowids, and stale whenever the rows are others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import dbgnn

WROTE, BY = ("users", "wrote", "log"), ("log", "by", "users")
TABLES = """
CREATE TABLE users AS SELECT i AS id, i::FLOAT AS x FROM range(5) t(i);
CREATE TABLE log AS SELECT CASE WHEN i % 7 <> 3 THEN i % 5 END AS who, i AS v, 't' || i % 3 AS kind, [i, -i]::FLOAT[2] AS a
  FROM range(20) t(i);
CREATE VIEW late AS SELECT * FROM log WHERE v >= 4;
"""
GRAPH = """
CREATE OR REPLACE PROPERTY GRAPH g VERTEX TABLES ({log} KEY (ROWID) {where}, users KEY (id)) EDGE TABLES (
  {log} AS wrote SOURCE KEY (who) REFERENCES users DESTINATION KEY (rowid) REFERENCES {log} {where},
  {log} AS by SOURCE KEY (rowid) REFERENCES {log} (rowid) DESTINATION KEY (who) REFERENCES users {where});
"""


@pytest.fixture(params=["file", "memory"])
def db(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dbgnn.Database]:
    with dbgnn.connect(tmp_path / "log.duckdb" if request.param == "file" else ":memory:", progress=False) as db:
        db.execute(TABLES)
        db.execute(GRAPH.format(log="log", where=""))
        yield db


def are_the_rows(graph: dbgnn.Graph, label: str, rows: list[tuple[int | None, int]]) -> None:
    """Nodes and edges of all ways to read the graph are these rows ``(who, v)``, in their order."""
    whole = graph.to_heterodata()
    loader = dbgnn.NeighborLoader(graph, [-1], input_nodes=label, batch_size=6)
    assert whole[label].v.tolist() == [v for _, v in rows]
    wanted = {(who, v) for who, v in rows if who is not None}
    assert {(u, rows[n][1]) for u, n in whole["users", "wrote", label].edge_index.T.tolist()} == wanted
    assert {(u, rows[n][1]) for n, u in whole[label, "by", "users"].edge_index.T.tolist()} == wanted
    found = set()
    for batch in loader:
        assert batch[label].v.tolist() == [rows[n][1] for n in batch[label].n_id]
        edges = batch["users", "wrote", label].edge_index
        found |= set(zip(batch["users"].x[edges[0]].long().tolist(), batch[label].v[edges[1]].tolist(), strict=True))
    assert found == wanted
    report = graph.check(index=True)
    assert report.ok
    assert not report.errors


def rows_of(db: dbgnn.Database, where: str = "true") -> list[tuple[int | None, int]]:
    found: list[tuple[int | None, int]] = db.execute(f"SELECT who, v FROM log WHERE {where} ORDER BY rowid ASC").fetchall()
    return found


def test_rows_are_nodes_in_their_order(db: dbgnn.Database) -> None:
    graph = db.graph("g")
    assert "rowid BIGINT" in str(graph)
    assert graph.definition.vertex("log").key == ("rowid",)
    are_the_rows(graph, "log", rows_of(db))
    store, _ = db.get_torch_geometric_remote_backend()
    assert store.keys("log").tolist() == list(range(20))
    assert store.ids("log", [7, 3]).tolist() == [7, 3]


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM log WHERE v IN (0, 4, 9)",
        "INSERT INTO log VALUES (2, 30, 't', [1, 2])",
        "DELETE FROM log WHERE v = 4; INSERT INTO log VALUES (2, 30, 't', [1, 2])",
        "UPDATE log SET a = [0, 0] WHERE v < 3",  # moves them to the end
        "UPDATE log SET who = 4 WHERE v = 0",
    ],
)
def test_a_change_of_rows_makes_the_index_stale(db: dbgnn.Database, change: str) -> None:
    graph = db.graph("g").build()
    loader = dbgnn.NeighborLoader(graph, [-1], input_nodes="log", batch_size=6)
    next(iter(loader))
    db.execute(change)
    with pytest.raises(dbgnn.StaleIndexError, match=r"table 'log' changed since it was built"):
        next(iter(loader))
    are_the_rows(graph.build(), "log", rows_of(db))


def test_conditions_and_views(db: dbgnn.Database) -> None:
    db.execute(GRAPH.format(log="log", where="WHERE v % 3 <> 1"))
    are_the_rows(db.graph("g"), "log", rows_of(db, "v % 3 <> 1"))
    db.execute(GRAPH.format(log="late", where=""))
    are_the_rows(db.graph("g"), "late", rows_of(db, "v >= 4"))


def test_values_are_encoded_and_written_to_its_own_columns(db: dbgnn.Database) -> None:
    db.execute("CREATE INDEX by_v ON log (v)")  # it holds the rows
    graph = db.graph("g").build()
    fitted = graph.encode("log", "x", dbgnn.OneHot("kind"))
    assert fitted.is_beside
    db.execute("INSERT INTO log VALUES (2, 31, 't1', [1, 2])")
    assert fitted.update() == 1
    store, _ = db.get_torch_geometric_remote_backend()
    kinds = [kind for (kind,) in db.execute("SELECT kind FROM log ORDER BY rowid ASC").fetchall()]
    assert store.get_tensor("log", "x", None).argmax(1).tolist() == [int(kind[1]) for kind in kinds]
    graph.write_back("log", n_id=[3, 2], score=torch.tensor([3.5, 2.5]))
    assert db.execute("SELECT v, score FROM log WHERE score IS NOT NULL ORDER BY v").fetchall() == [(2, 2.5), (3, 3.5)]
    with pytest.raises(dbgnn.SchemaError, match=r"known by rowid, which DuckDB changes.*Leave into out"):
        graph.write_back("log", into="scores", score=torch.rand(21))
    with pytest.raises(dbgnn.DataError, match=r"DuckDB moves rows whose arrays change"):
        graph.write_back("log", vec=torch.rand(21, 2))
    with pytest.raises(dbgnn.DataError, match=r"DuckDB moves rows whose arrays\s+change"):
        store.put_tensor(torch.rand(21, 2), "log", "vec", None)


def test_arrays_go_to_a_table_that_nothing_holds(db: dbgnn.Database) -> None:
    db.execute("DELETE FROM log WHERE v = 2")
    graph = db.graph("g").build()
    graph.write_back("log", vec=torch.arange(38).reshape(19, 2).float())
    are_the_rows(graph, "log", rows_of(db))
    assert db.execute("SELECT vec FROM log WHERE v = 3").fetchall() == [((4.0, 5.0),)]


#: What refers to rowids that are not those of its own rows: edge tables of a graph.
REFUSED = {
    "other tables": "e SOURCE KEY (r) REFERENCES log DESTINATION KEY (u) REFERENCES users",
    "a column of its own": "log AS e SOURCE KEY (v) REFERENCES log DESTINATION KEY (who) REFERENCES users",
    "another's key": "log AS e SOURCE KEY (who) REFERENCES users DESTINATION KEY (rowid) REFERENCES users",
}


@pytest.mark.parametrize("what", REFUSED)
def test_only_edges_of_the_same_table_refer_to_rowids(db: dbgnn.Database, what: str) -> None:
    db.execute("CREATE TABLE e AS SELECT i AS r, i % 5 AS u FROM range(9) t(i)")
    with pytest.raises(dbgnn.SchemaError, match=r"only edges of the same table can name its rows by rowid") as caught:
        db.execute(f"CREATE PROPERTY GRAPH h VERTEX TABLES (users KEY (id), log KEY (rowid)) EDGE TABLES ({REFUSED[what]})")
    if what == "other tables":
        db.execute("DROP PROPERTY GRAPH g")
        db.execute(str(caught.value).rpartition("name that: ")[2].rstrip("."))
        db.execute(f"CREATE PROPERTY GRAPH h VERTEX TABLES (users KEY (id), log KEY (id)) EDGE TABLES ({REFUSED[what]})")
        assert db.graph("h").build().num_edges("e") == 9


def test_rowid_is_a_key_by_itself_and_no_property(db: dbgnn.Database) -> None:
    with pytest.raises(dbgnn.UnknownNameError, match="no column 'rowid'"):
        db.execute("CREATE PROPERTY GRAPH h VERTEX TABLES (log KEY (who, rowid))")
    with pytest.raises(dbgnn.UnknownNameError, match="no column 'rowid'"):
        db.execute("CREATE PROPERTY GRAPH h VERTEX TABLES (log KEY (rowid) PROPERTIES (rowid))")
