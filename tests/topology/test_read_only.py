"""A file that is open read-only and lacks an index, or has a stale one: the index is built in memory."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import duckdb
import pytest
import torch
from torch_geometric.loader import NeighborLoader

import dbgnn

CITES = ("paper", "cites", "paper")
GRAPH = """CREATE PROPERTY GRAPH g VERTEX TABLES (paper KEY (id) PROPERTIES (x)) EDGE TABLES (
  cites SOURCE KEY (src) REFERENCES paper (id) DESTINATION KEY (dst) REFERENCES paper (id))"""
# Sparse keys in reverse order, so that both maps are needed, and rows deleted from the edges.
TABLES = """
    CREATE TABLE paper AS SELECT (499 - i) * 10 AS id, [499 - i, 0]::FLOAT[2] AS x FROM range(500) t(i);
    CREATE TABLE cites AS SELECT (i * 7 + i // 5) % 500 * 10 AS src, (i * 13 + 3) % 500 * 10 AS dst FROM range(3000) t(i);
    DELETE FROM cites WHERE src % 40 = 0
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "g.duckdb"
    with dbgnn.connect(path) as db:
        db.execute(f"{TABLES}; {GRAPH}")
    return path


def batches(graph: dbgnn.Graph, **options: object) -> list[list[list[object]]]:
    loader = dbgnn.NeighborLoader(
        graph,
        num_neighbors=[3, 2],
        input_nodes="paper",
        batch_size=200,
        **options,  # type: ignore[arg-type]
    )
    found = []
    for batch in loader:
        assert torch.equal(batch["paper"].x[:, 0], batch["paper"].n_id.float())
        found.append([batch["paper"].n_id.tolist(), batch[CITES].edge_index.tolist(), batch[CITES].e_id.tolist()])
    return found


def index_in_file(path: Path) -> list[tuple[str]]:
    with duckdb.connect(str(path), read_only=True) as con:
        return con.execute(
            "SELECT table_name FROM duckdb_tables() WHERE schema_name = 'dbgnn' AND table_name <> 'graphs'"
        ).fetchall()


def test_the_index_in_memory_is_that_of_the_file(file: Path) -> None:
    before = file.read_bytes()
    with dbgnn.connect(file, read_only=True) as db:
        graph = db.graph()
        assert "Index: not built yet" in str(graph)
        in_memory = batches(graph)
        assert "Index: built and up to date; in memory, since the file is open read-only and lacks it" in str(graph)
        coo = db.get_torch_geometric_remote_backend()[1].get_edge_index(CITES, "coo")
        assert [v.tolist() for v in graph.to_heterodata()[CITES].edge_index] == [v.tolist() for v in coo]
        again = db.graph()  # another object, and other connections of the process
        assert batches(again) == in_memory
        again.build(force=True)
        assert batches(graph) == in_memory
    assert file.read_bytes() == before
    assert index_in_file(file) == []
    with dbgnn.connect(file) as db:
        assert batches(db.graph()) == in_memory
    with dbgnn.connect(file, read_only=True) as db:
        assert batches(db.graph()) == in_memory
        assert "in memory" not in str(db.graph())


def test_a_stale_index_is_still_an_error_until_the_user_says_build(file: Path) -> None:
    with dbgnn.connect(file) as db:
        db.graph().build()
        db.execute("INSERT INTO paper VALUES (5, [0, 0])")
    with dbgnn.connect(file, read_only=True) as db:
        graph = db.graph()
        with pytest.raises(dbgnn.StaleIndexError, match=r"had 500 rows and has 501.*Call graph\.build\(\)"):
            graph.topology()
        assert "is stale" in str(graph)
        assert graph.build().num_nodes("paper") == 501
        assert db.graph().num_nodes("paper") == 501


def test_only_what_the_file_lacks_is_built(file: Path) -> None:
    with dbgnn.connect(file) as db:
        db.graph().build()
        db.execute("UPDATE cites SET src = 10 WHERE src = 20")
    with dbgnn.connect(file, read_only=True) as db:
        built = db.graph().build().topology()
        assert '"g".' in str(built.vertices["paper"].map_table)
        assert "dbgnn_index_of_g" in built.edges[CITES].adjacency


def test_dangling_edges(file: Path) -> None:
    with dbgnn.connect(file) as db:
        db.execute("INSERT INTO cites VALUES (10, 11), (11, 10)")
    with dbgnn.connect(file, read_only=True) as db:
        graph = db.graph()
        with pytest.raises(dbgnn.DataError, match=r"graph\.build\(dangling='drop'\)"):
            graph.topology()
        assert graph.build(dangling="drop").num_dropped(CITES) == 2
        assert db.graph().num_dropped(CITES) == 2
        copy = pickle.loads(pickle.dumps(graph))
        copy.db.close()


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_workers_build_their_own(file: Path, context: str) -> None:
    with dbgnn.connect(file) as db:
        db.graph().build()
        db.execute("INSERT INTO paper VALUES (5000, [500, 0]); INSERT INTO cites VALUES (10, 11)")  # stale, and dangling
    with dbgnn.connect(file, read_only=True) as db:
        graph = db.graph().build(dangling="drop")
        alone = batches(graph)
        assert batches(graph, num_workers=1, multiprocessing_context=context) == alone


def test_pyg_s_loader(file: Path) -> None:
    with dbgnn.connect(file, read_only=True) as db:
        stores = db.get_torch_geometric_remote_backend()
        loader = NeighborLoader(
            stores, num_neighbors=[3], input_nodes="paper", batch_size=200, neighbor_sampler=dbgnn.NeighborSampler(stores, [3])
        )
        for batch in loader:
            assert torch.equal(batch["paper"].x[:, 0], batch["paper"].n_id.float())


def test_two_files_of_one_connection_keep_their_own(tmp_path: Path) -> None:
    con = duckdb.connect()
    for name, n in (("a", 5), ("b", 7)):
        with dbgnn.connect(tmp_path / f"{name}.duckdb") as db:
            db.execute(f"CREATE TABLE paper AS SELECT range AS id FROM range({n}); CREATE TABLE cites (src BIGINT, dst BIGINT)")
            db.execute(GRAPH.replace(" PROPERTIES (x)", ""))
        con.execute(f"ATTACH '{tmp_path / name}.duckdb' AS {name} (READ_ONLY)")
    for name, n in (("a", 5), ("b", 7), ("a", 5)):
        con.execute(f"USE {name}")
        with dbgnn.connect(con) as db:
            assert db.graph().num_nodes("paper") == n


@pytest.mark.skipif(os.getuid() == 0, reason="root may write into folders without the permission to")
def test_a_folder_without_the_permission_to_write(file: Path) -> None:
    file.chmod(0o400)
    file.parent.chmod(0o500)
    try:
        with dbgnn.connect(file, read_only=True) as db:
            assert len(batches(db.graph())) == 3
    finally:
        file.parent.chmod(0o700)
