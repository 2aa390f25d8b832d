"""The index knows when it is no longer true, whoever made the change."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import dbgnn

GRAPH = """CREATE PROPERTY GRAPH g VERTEX TABLES (paper KEY (id))
  EDGE TABLES (cites SOURCE KEY (src) REFERENCES paper (id) DESTINATION KEY (dst) REFERENCES paper (id))"""
CITES = ("paper", "cites", "paper")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "g.duckdb"
    with dbgnn.connect(path) as db:
        db.connection.execute(
            "CREATE TABLE paper AS SELECT i AS id, (i % 7)::INTEGER AS year, [i, i]::FLOAT[2] AS x FROM range(100) t(i)"
        )
        db.connection.execute("CREATE TABLE cites AS SELECT (i * 7) % 100 AS src, (i * 3) % 100 AS dst FROM range(500) t(i)")
        db.execute(GRAPH)
        db.graph().build()
    return path


CHANGES = {
    "insert a node": ("INSERT INTO paper VALUES (100, 1, [0, 0])", "paper.*had 100 rows and has 101"),
    "insert an edge": ("INSERT INTO cites VALUES (1, 2)", "cites.*had 500 rows and has 501"),
    "delete edges": ("DELETE FROM cites WHERE src = 7", "cites"),
    "delete a node": ("DELETE FROM paper WHERE id = 99", "paper"),
    "update an edge": ("UPDATE cites SET dst = 5 WHERE src = 7", "cites.*its keys, or the order"),
    "update a key": ("UPDATE paper SET id = 1000 WHERE id = 99", "paper.*keys changed"),
    "swap two keys of edges": ("UPDATE cites SET src = dst, dst = src WHERE src = 7", "cites"),
    "exchange the ends of two edges": (
        "UPDATE cites SET dst = CASE rowid WHEN 0 THEN 3 ELSE 0 END WHERE rowid IN (0, 1)",
        "cites.*its keys, or the order",
    ),
    "merge": ("MERGE INTO cites USING (SELECT 1 AS s) u ON cites.src = u.s WHEN MATCHED THEN UPDATE SET dst = 0", "cites"),
    "truncate": ("TRUNCATE cites", "cites"),
    "drop": ("DROP TABLE cites", "cites"),
    "rename a column": ("ALTER TABLE cites RENAME COLUMN src TO source", "cites.*no column 'src'"),
    "change a type": ("ALTER TABLE cites ALTER COLUMN src TYPE INTEGER", "cites.*key columns changed"),
    "replace in another order": (
        "CREATE OR REPLACE TABLE cites AS FROM cites ORDER BY dst DESC, src",
        "cites.*order of its rows, changed",
    ),
}


@pytest.mark.parametrize("how", ["the same process", "plain duckdb in another process"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_the_topology_is_seen(path: Path, change: str, how: str) -> None:
    statement, message = CHANGES[change]
    if how == "the same process":
        with dbgnn.connect(path) as db:
            graph = db.graph()
            graph.topology()
            with db.connection.cursor() as other:
                other.execute(statement)
            with pytest.raises(dbgnn.StaleIndexError, match=message):
                graph.topology()
    else:
        code = "import duckdb, sys; duckdb.connect(sys.argv[1]).execute(sys.argv[2])"
        subprocess.run([sys.executable, "-c", code, str(path), statement], check=True)
        with dbgnn.connect(path) as db, pytest.raises(dbgnn.StaleIndexError, match=message):
            db.graph().topology()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE paper SET year = 2000 WHERE id = 3",
        "ALTER TABLE paper ADD COLUMN pred INTEGER",
        "ALTER TABLE paper DROP COLUMN year",
        "CREATE TABLE other (i INTEGER)",
        "CHECKPOINT",
    ],
)
def test_what_leaves_the_topology_as_it_was_does_not_make_it_stale(path: Path, statement: str) -> None:
    with dbgnn.connect(path) as db:
        graph = db.graph()
        before = graph.topology()
        db.execute(statement)
        assert graph.topology() == before


def test_rows_moved_by_an_update_keep_their_ids(path: Path) -> None:
    with dbgnn.connect(path) as db:
        graph = db.graph()
        graph.topology()
        db.execute("UPDATE paper SET x = [9, 9] WHERE id = 3")  # DuckDB moves the row: arrays are not updated in place
        index = graph.topology().vertices["paper"]
        assert index.map_table is not None
        assert db.sql(f"SELECT p.id FROM {index.map_table} m JOIN paper p ON p.rowid = m.rid WHERE m.id = 3").fetchall() == [
            (3,)
        ]


def test_building_again_makes_it_true_and_keeps_what_was(path: Path) -> None:
    with dbgnn.connect(path) as db:
        graph = db.graph()
        adjacency = graph.topology().edges[CITES].adjacency
        db.execute("INSERT INTO cites VALUES (1, 2)")
        graph.build()
        assert graph.num_edges(CITES) == 501
        assert graph.topology().edges[CITES].adjacency != adjacency
        built = graph.topology()
        assert graph.build().topology() == built
        kept = db.sql(
            "SELECT table_name FROM duckdb_tables() WHERE schema_name = 'dbgnn' AND table_name LIKE 'adj%'"
        ).fetchall()
        assert len(kept) == 1


def test_an_unknown_type_is_named_with_its_near_misses(path: Path) -> None:
    with dbgnn.connect(path) as db:
        with pytest.raises(dbgnn.UnknownNameError, match="'papr'; did you mean 'paper'"):
            db.graph().num_nodes("papr")
        with pytest.raises(dbgnn.UnknownNameError, match="cite"):
            db.graph().num_edges(("paper", "cite", "paper"))


def test_a_kill_while_building_leaves_the_old_state_or_the_new(tmp_path: Path) -> None:
    """Kills a process that builds, at moments spread over the build; DBGNN_KILLS sets how many."""
    path = tmp_path / "g.duckdb"
    rng = np.random.default_rng(0)
    with dbgnn.connect(path) as db:
        db.connection.execute("CREATE TABLE paper AS SELECT range * 3 AS id FROM range(20000)")
        edges = pa.table({"src": rng.integers(0, 20_000, 400_000) * 3, "dst": rng.integers(0, 20_000, 400_000) * 3})
        db.connection.register("edges", edges)
        db.connection.execute("CREATE TABLE cites AS FROM edges")
        db.execute(GRAPH)
        db.graph().build()
    code = textwrap.dedent(
        """
        import sys, dbgnn
        with dbgnn.connect(sys.argv[1], progress=False) as db:
            db.execute("INSERT INTO cites VALUES (0, 3)")
            print("building", flush=True)
            db.graph().build(force=True)
            print("built", flush=True)
        """
    )
    outcomes = []
    kills = int(os.environ.get("DBGNN_KILLS", "4"))
    for i in range(kills):
        with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == "building\n"
            time.sleep(0.4 * float(rng.random()) if kills > 4 else 0.1 * i)  # the moment of the kill, not a wait for something
            child.send_signal(signal.SIGKILL)
        with dbgnn.connect(path) as db:
            graph = db.graph()
            (count,) = db.sql("SELECT count(*) FROM cites").fetchall()[0]
            try:
                assert graph.num_edges(CITES) == count
                outcomes.append("new")
            except dbgnn.StaleIndexError:
                outcomes.append("old")
                assert graph.build().num_edges(CITES) == count
            (listed,) = db.sql(f"SELECT sum(len(nbrs)) FROM {graph.topology().edges[CITES].adjacency}").fetchall()[0]
            assert listed == count
    assert len(outcomes) == kills
