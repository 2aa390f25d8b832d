"""Predicting with the graph that the loader reads: one file opened twice is one database, two in memory are two."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
import torch

import dbgnn

MODEL = torch.nn.Identity()


def fill(db: dbgnn.Database, ids: str = "i") -> dbgnn.Database:
    db.execute(f"CREATE TABLE paper AS SELECT {ids} AS id, i::FLOAT AS x FROM range(4) t(i)")
    db.execute("CREATE PROPERTY GRAPH g VERTEX TABLES (paper KEY (id))")
    return db


def predicted(graph: dbgnn.Graph, other: dbgnn.Database) -> int:
    loader = dbgnn.NeighborLoader(other.graph(), [], input_nodes="paper", batch_size=4)
    return graph.predict(MODEL, loader, "paper.p", forward=lambda _, b: b["paper"].x)


def test_two_databases_in_memory_are_two() -> None:
    with dbgnn.connect(progress=False) as one, dbgnn.connect(progress=False) as two:
        graph = fill(one).graph()
        fill(two, "3 - i")
        with pytest.raises(
            dbgnn.RequestError, match="reads graph 'g' of another database ':memory:', not 'g' of database ':mem"
        ):
            predicted(graph, two)
        assert predicted(graph, one) == 4


def of_a_file(path: Path) -> tuple[dbgnn.Database, dbgnn.Database]:
    link = path.with_name("link.duckdb")
    link.symlink_to(path)
    return fill(dbgnn.connect(path, progress=False)), dbgnn.connect(link, progress=False)


def of_a_connection(path: Path) -> tuple[dbgnn.Database, dbgnn.Database]:
    con = duckdb.connect(path)
    return fill(dbgnn.connect(con, progress=False)), dbgnn.connect(path, progress=False)


def of_a_connection_in_memory(_: Path) -> tuple[dbgnn.Database, dbgnn.Database]:
    con = duckdb.connect()
    return fill(dbgnn.connect(con, progress=False)), dbgnn.connect(con, progress=False)


def of_a_name_in_memory(_: Path) -> tuple[dbgnn.Database, dbgnn.Database]:
    name = ":memory:papers of a name"
    return fill(dbgnn.connect(name, progress=False)), dbgnn.connect(name, progress=False)


@pytest.mark.parametrize("pair", [of_a_file, of_a_connection, of_a_connection_in_memory, of_a_name_in_memory])
def test_one_database_opened_twice_is_one(
    tmp_path: Path, pair: Callable[[Path], tuple[dbgnn.Database, dbgnn.Database]]
) -> None:
    one, two = pair(tmp_path / "g.duckdb")
    assert predicted(one.graph(), two) == 4
    assert one.sql("SELECT count(*) FROM paper WHERE p = x").fetchall() == [(4,)]
    two.close()
    one.close()


def test_two_databases_of_one_connection_are_two() -> None:
    con = duckdb.connect()
    one = fill(dbgnn.connect(con, progress=False))
    con.execute("ATTACH ':memory:' AS other; USE other")
    two = fill(dbgnn.connect(con, progress=False), "3 - i")
    loader = dbgnn.NeighborLoader(two.graph(), [], input_nodes="paper", batch_size=4)
    con.execute("USE memory")
    with pytest.raises(dbgnn.RequestError, match="another database"):
        one.graph().predict(MODEL, loader, "paper.p", forward=lambda _, b: b["paper"].x)
    one.close()
    con.close()
