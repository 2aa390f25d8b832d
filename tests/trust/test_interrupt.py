"""A filter or query that takes long is ended from another thread, and the database can be used again."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

import dbgnn
from dbgnn import Database

#: For every row, thousands of distances between texts.
SLOW = "len(list_filter(range(0, 4000), lambda i: levenshtein(repeat('ab', 200), sha256(i::VARCHAR)) < id)) > 0"

WAYS: dict[str, Callable[[Database], object]] = {
    "filter": lambda db: db.get_torch_geometric_remote_backend("g")[0].node_ids("paper", SLOW),
    "query": lambda db: dbgnn.query_to_heterodata(db, nodes={"p": f"SELECT id FROM paper WHERE {SLOW}"}, edges={}),
    "execute": lambda db: db.execute(f"SELECT count(*) FROM paper WHERE {SLOW}").fetchall(),
    "build": lambda db: [db.graph("slow").build(force=True, progress=False) for _ in range(1000)],
    "check": lambda db: [db.graph("slow").check(progress=False) for _ in range(1000)],
}


@pytest.mark.parametrize("way", WAYS)
def test_interrupt_ends_what_runs(tmp_path: Path, way: str) -> None:
    with dbgnn.connect(tmp_path / "graph.duckdb") as db:
        db.execute("CREATE TABLE paper AS SELECT range AS id FROM range(20000)")
        db.execute("CREATE PROPERTY GRAPH g VERTEX TABLES (paper KEY (id))")
        db.execute("CREATE TABLE cites AS SELECT i AS src, i * 7 % 20000 AS dst FROM paper, range(20) AS r(i)")
        db.execute(
            """CREATE PROPERTY GRAPH slow VERTEX TABLES (paper KEY (id)) EDGE TABLES (cites
            SOURCE KEY (src) REFERENCES paper (id) DESTINATION KEY (dst) REFERENCES paper (id))"""
        )
        db.get_torch_geometric_remote_backend("g")[0].node_ids("paper", "true")  # builds the index
        done = threading.Event()

        def interrupt() -> None:
            while not done.wait(0.05):  # one that comes before the statement has begun is lost
                db.interrupt()

        thread = threading.Thread(target=interrupt)
        thread.start()
        try:
            with pytest.raises(duckdb.InterruptException):
                WAYS[way](db)
        finally:
            done.set()
            thread.join()
        assert db.execute("SELECT count(*) FROM paper").fetchall() == [(20000,)]
        assert len(db.get_torch_geometric_remote_backend("g")[0].node_ids("paper", "id < 3")) == 3
