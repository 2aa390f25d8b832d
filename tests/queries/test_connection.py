"""Whose connection a query runs on: the user's own, with what only it sees, in its transaction, and nothing is left on it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from torch_geometric.data import HeteroData

import dbgnn
from dbgnn import Database, DataError, SqlError, query_to_heterodata

CITES = ("paper", "cites", "paper")
TABLES = """
CREATE TABLE paper (id BIGINT, year SMALLINT, x FLOAT[2], maybe FLOAT);
INSERT INTO paper VALUES (30, 2003, [3, 3.5], NULL), (10, 2001, [1, 1.5], 0.1), (20, 2002, [2, 2.5], 0.2);
CREATE TABLE cites (src BIGINT, dst BIGINT, w DOUBLE);
INSERT INTO cites VALUES (10, 20, 0.5), (30, 10, 1.5), (10, 20, 2.5), (20, 20, 3.5);
CREATE VIEW new AS SELECT id, year FROM paper WHERE year > 2001;
"""

#: The last of its rows cannot be read.
LATE = "SELECT i AS id, CASE WHEN i = 149_999 THEN 'x' ELSE '1' END::INTEGER AS v FROM range(150_000) t(i)"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with the tables."""
    with duckdb.connect(tmp_path / "test.duckdb") as con:
        con.execute(TABLES)
    return tmp_path / "test.duckdb"


@pytest.fixture
def db(path: Path) -> Iterator[Database]:
    """The file, and that nothing is left on its connection."""
    with dbgnn.connect(path, progress=False) as db:
        yield db
        assert left_behind(db.connection) == []
        assert db.execute("SELECT txid_current()").fetchall() != db.execute("SELECT txid_current()").fetchall()


def left_behind(con: duckdb.DuckDBPyConnection) -> list[Any]:
    query = "SELECT view_name FROM duckdb_views() WHERE temporary AND NOT internal"
    return con.execute(f"SELECT table_name FROM duckdb_tables() WHERE temporary UNION ALL {query}").fetchall()


def get(
    con: Database | duckdb.DuckDBPyConnection, nodes: str = "FROM new", edges: str | None = None, **options: Any
) -> HeteroData:
    """Papers, and edges among them."""
    given = {} if edges is None else {CITES: edges}
    return query_to_heterodata(con, nodes={"paper": nodes}, edges=given, **options)


def test_a_plain_connection_and_what_only_it_sees(path: Path) -> None:
    with duckdb.connect(path) as con:
        con.execute("CREATE TEMP TABLE mine AS SELECT id FROM paper")
        con.register("arrow", pa.table({"src": [10], "dst": [30], "w": [0.25]}))
        data = get(con, "FROM mine", "FROM arrow")
        assert data[CITES].edge_index.tolist() == [[1], [0]]
        assert left_behind(con) == [("mine",), ("arrow",)]
        assert con.execute("FROM arrow").fetchall() == [(10, 30, 0.25)]
        cursor = con.cursor()
        assert get(cursor, "FROM new")["paper"].num_nodes == 2
        with pytest.raises(SqlError, match="mine"):
            get(cursor, "FROM mine")


def test_an_open_transaction_is_used_and_stays_open(db: Database) -> None:
    db.execute("BEGIN")
    db.execute("INSERT INTO paper VALUES (40, 2004, [4, 4.5], 0.4)")
    assert get(db)["paper"].id.tolist() == [30, 20, 40]
    with pytest.raises(DataError, match="'maybe'"):  # an error of ours leaves DuckDB's transaction usable
        get(db, "SELECT id, maybe FROM paper")
    with pytest.raises(DataError, match="dangling='drop'"):
        get(db, "SELECT id FROM paper", "SELECT src + 1, dst FROM cites")
    assert get(db)["paper"].num_nodes == 3
    assert left_behind(db.connection) == []
    db.execute("ROLLBACK")
    assert get(db)["paper"].num_nodes == 2


def test_an_error_in_the_last_row_is_an_error_and_leaves_nothing(db: Database) -> None:
    for nodes in ({"late": LATE}, {"paper": "FROM new", "late": LATE}):
        with pytest.raises(SqlError, match=r"nodes 'late' cannot be run: .*'x'.*range\(150_000\)"):
            query_to_heterodata(db, nodes=nodes)
        assert left_behind(db.connection) == []
    assert get(db)["paper"].num_nodes == 2


def test_an_error_in_the_users_transaction_is_the_one_that_is_seen(db: Database) -> None:
    db.execute("BEGIN")
    with pytest.raises(SqlError, match="'x'"):
        query_to_heterodata(db, nodes={"paper": "FROM new", "late": LATE})
    db.execute("ROLLBACK")  # DuckDB itself wants this after an error of its own
    assert left_behind(db.connection) == []
    assert get(db)["paper"].num_nodes == 2


def test_results_that_are_still_open_are_no_obstacle(db: Database) -> None:
    for edges in (None, "SELECT 10, 20"):
        db.execute("FROM range(1_000_000)").fetchone()
        assert get(db, "SELECT id FROM paper", edges)["paper"].num_nodes == 3


def test_read_only_and_from_another_thread(path: Path) -> None:
    with dbgnn.connect(path, read_only=True, progress=False) as db:
        found: list[HeteroData] = []

        def read() -> None:
            found.append(get(db, "SELECT id, x FROM paper", "FROM cites"))

        threads = [threading.Thread(target=read) for _ in range(3)]
        for thread in threads:
            thread.start()
        read()
        for thread in threads:
            thread.join()
        assert len(found) == 4
        for data in found:
            assert data["paper"].x.tolist() == [[3, 3.5], [1, 1.5], [2, 2.5]]
            assert data[CITES].edge_index.tolist() == [[1, 0, 1, 2], [2, 1, 2, 2]]
        assert left_behind(db.connection) == []


def test_files_and_attached_databases(db: Database, tmp_path: Path) -> None:
    x = pa.array([[1.0], [2.0]], pa.list_(pa.float32(), 1))
    pq.write_table(pa.table({"id": [7, 8], "x": x}), tmp_path / "nodes.parquet")
    (tmp_path / "edges.csv").write_text("a,b,w\n8,7,0.5\n")
    with duckdb.connect(tmp_path / "other.duckdb") as other:
        other.execute("CREATE TABLE links AS SELECT 7 AS a, 8 AS b")
    db.execute(f"ATTACH '{tmp_path}/other.duckdb' AS other (READ_ONLY)")
    data = query_to_heterodata(
        db,
        nodes={"n": f"SELECT id, x::FLOAT[1] AS x FROM '{tmp_path}/nodes.parquet'"},
        edges={("n", "e", "n"): f"FROM '{tmp_path}/edges.csv'", ("n", "l", "n"): "FROM other.links"},
    )
    assert data["n"].x.tolist() == [[1], [2]]
    assert (data["n", "e", "n"].edge_index.tolist(), data["n", "e", "n"].w.tolist()) == ([[1], [0]], [0.5])
    assert data["n", "l", "n"].edge_index.tolist() == [[0], [1]]
