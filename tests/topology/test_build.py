"""Ids, maps and adjacency lists against NumPy, for every kind of key, with gaps, hubs, dangling edges and small memory."""

from __future__ import annotations

import importlib
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

import dbgnn
from dbgnn.topology import ids_of_keys

Ids = npt.NDArray[np.int64]
GRAPH = """CREATE PROPERTY GRAPH g VERTEX TABLES (node KEY ({key}))
  EDGE TABLES (edge SOURCE KEY ({src}) REFERENCES node ({key}) DESTINATION KEY ({dst}) REFERENCES node ({key}) LABEL to)"""


def fill(db: dbgnn.Database, keys: list[Any], kind: str, edges: Ids) -> None:
    """A table of nodes with one key column each, in the order given, and edges between positions in sorted key order."""
    ordered = sorted(keys)
    con = db.connection
    con.execute(f"CREATE TABLE node (id {kind}, x FLOAT[2])")
    con.execute(f"CREATE TABLE edge (src {kind}, dst {kind}, w DOUBLE)")
    for key in keys:
        con.execute("INSERT INTO node VALUES (?, [0, 1])", [key])
    text = [str(k) for k in ordered]
    part = pa.table({"src": [text[s] for s in edges[0]], "dst": [text[d] for d in edges[1]]})
    con.register("part", part)
    con.execute(f"INSERT INTO edge SELECT src::{kind}, dst::{kind}, 0 FROM part")
    db.execute(GRAPH.format(key="id", src="src", dst="dst"))


def edges_of(graph: dbgnn.Graph) -> tuple[Ids, Ids, Ids]:
    """Sources, destinations and ids as the index has them, in its order."""
    (index,) = graph.topology().edges.values()
    query = f"SELECT unnest(nbrs) AS s, dst AS d, unnest(eids) AS e FROM {index.adjacency}"
    table = graph.db.arrow(query)
    s, d, e = (table.column(c).to_numpy().astype(np.int64) for c in "sde")
    return s, d, e


def check(graph: dbgnn.Graph, edges: Ids) -> None:
    """The index is sorted by (dst, src, table order) and holds exactly the edges."""
    s, d, e = edges_of(graph)
    order = np.lexsort((np.arange(edges.shape[1]), edges[0], edges[1]))
    assert (s == edges[0][order]).all()
    assert (d == edges[1][order]).all()
    assert (e == order).all()


KEYS: dict[str, tuple[str, list[Any]]] = {
    "dense": ("BIGINT", list(range(40))),
    "dense, shuffled": ("INTEGER", [(i * 7) % 40 for i in range(40)]),
    "with gaps": ("BIGINT", [i * i - 100 for i in range(40)]),
    "text": ("VARCHAR", [f"node {i}" for i in range(40)]),
    "uuid": ("UUID", [uuid.UUID(int=(i * 2**100 + 12345) % 2**128) for i in range(40)]),
}


@pytest.mark.parametrize("case", KEYS)
def test_ids_follow_the_order_of_the_keys(tmp_path: Path, case: str) -> None:
    kind, keys = KEYS[case]
    rng = np.random.default_rng(1)
    edges = rng.integers(0, 40, (2, 300))
    with dbgnn.connect(tmp_path / "g.duckdb") as db:
        fill(db, keys, kind, edges)
        graph = db.graph("g").build()
        index = graph.topology().vertices["node"]
        rows = db.sql(ids_of_keys(index)).fetchall()
        assert [str(key) for _, key in sorted(rows)] == [str(k) for k in sorted(keys)]
        assert index.dense == (sorted(keys) == list(range(40)))
        assert (index.map_table is None) == (keys == sorted(keys))
        check(graph, edges)


def test_composite_keys(tmp_path: Path) -> None:
    with dbgnn.connect(tmp_path / "g.duckdb") as db:
        con = db.connection
        con.execute(
            "CREATE TABLE node AS SELECT (i % 3)::INTEGER AS a, 'n' || (i // 3) AS b FROM range(30) t(i) ORDER BY hash(i)"
        )
        con.execute(
            "CREATE TABLE edge AS SELECT (i % 3)::INTEGER AS sa, 'n' || (i % 10) AS sb, (i % 2)::INTEGER AS da, "
            "'n' || (i % 7) AS db FROM range(99) t(i)"
        )
        db.execute(GRAPH.format(key="a, b", src="sa, sb", dst="da, db"))
        graph = db.graph().build()
        rows = sorted(db.sql(ids_of_keys(graph.topology().vertices["node"])).fetchall())
        assert [r[1:] for r in rows] == sorted((i % 3, f"n{i // 3}") for i in range(30))
        at = {r[1:]: r[0] for r in rows}
        edges = np.array([[at[i % 3, f"n{i % 10}"] for i in range(99)], [at[i % 2, f"n{i % 7}"] for i in range(99)]])
        check(graph, edges)


def test_deleted_rows_leave_no_gap_in_the_ids(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    edges = rng.integers(0, 40, (2, 300))
    with dbgnn.connect(tmp_path / "g.duckdb") as db:
        fill(db, list(range(40)), "BIGINT", edges)
        graph = db.graph().build()
        with db.connection.cursor() as other:  # an open transaction keeps the checkpoint from closing the gaps
            db.connection.execute("DELETE FROM edge WHERE src % 5 = 2 OR dst % 5 = 2")
            db.connection.execute("DELETE FROM node WHERE id % 5 = 2")
            other.begin()
            other.execute("CREATE TEMP TABLE busy (i INTEGER)")
            graph.build()
            other.rollback()
        left = np.flatnonzero(np.arange(40) % 5 != 2)
        kept = edges[:, (edges % 5 != 2).all(axis=0)]
        check(graph, np.searchsorted(left, kept))
        (index,) = graph.topology().edges.values()
        assert index.map_table is not None
        rids = db.sql(f"SELECT e.src FROM {index.map_table} m JOIN edge e ON e.rowid = m.rid ORDER BY m.id").fetchall()
        assert [r[0] for r in rids] == kept[0].tolist()


def test_edges_follow_the_ids_of_nodes_that_shift(tmp_path: Path) -> None:
    """Deleting a node without edges leaves the edge table as it was, and its index untrue."""
    with dbgnn.connect(tmp_path / "g.duckdb") as db:
        fill(db, [10, 20, 30], "BIGINT", np.array([[2], [1]]))
        graph = db.graph().build()
        db.execute("DELETE FROM node WHERE id = 10")
        with pytest.raises(dbgnn.StaleIndexError):
            graph.topology()
        check(graph.build(), np.array([[1], [0]]))
        db.execute("CHECKPOINT")
        check(graph, np.array([[1], [0]]))


def test_an_optional_foreign_key_gives_edges_in_both_directions(tmp_path: Path) -> None:
    with dbgnn.connect(tmp_path / "g.duckdb") as db:
        db.execute("CREATE TABLE city AS SELECT range AS id FROM range(3)")
        db.execute("CREATE TABLE person (id BIGINT, city BIGINT); INSERT INTO person VALUES (0, 2), (1, NULL), (2, 0), (3, 9)")
        db.execute(
            """CREATE PROPERTY GRAPH g VERTEX TABLES (city KEY (id), person KEY (id)) EDGE TABLES (
              person SOURCE KEY (id) REFERENCES person (id) DESTINATION KEY (city) REFERENCES city (id) LABEL lives_in,
              person SOURCE KEY (city) REFERENCES city (id) DESTINATION KEY (id) REFERENCES person (id) LABEL home_of)"""
        )
        with pytest.raises(dbgnn.DataError, match=r"1 rows of edge table 'person'.*city=9"):
            db.graph().build()
        db.execute("DELETE FROM person WHERE id = 3")
        graph = db.graph().build()
        assert graph.num_edges(("person", "lives_in", "city")) == graph.num_edges(("city", "home_of", "person")) == 2
        assert graph.num_dropped(("person", "lives_in", "city")) == 0


def test_what_was_dropped_stays_dropped(tmp_path: Path) -> None:
    with dbgnn.connect(tmp_path / "g.duckdb") as db:
        fill(db, [10, 20], "BIGINT", np.array([[0], [1]]))
        db.execute("INSERT INTO edge VALUES (10, 99, 0)")
        graph = db.graph().build(dangling="drop")
        assert "1 dangling edges of ('node', 'to', 'node') left out" in str(graph)
        db.execute("UPDATE node SET x = [5, 5] WHERE id = 10")  # rows move, and are indexed again by themselves
        assert graph.num_dropped(("node", "to", "node")) == 1
        db.execute("INSERT INTO edge VALUES (20, 99, 0)")
        assert "stale" in str(graph)
        assert graph.build().num_dropped(("node", "to", "node")) == 2
        with pytest.raises(dbgnn.DataError, match="2 rows"):
            graph.build(dangling="error")
        with pytest.raises(dbgnn.DbgnnError, match="'error' or 'drop'"):
            graph.build(dangling="ignore")


def test_keys_whose_type_changed_are_refused_not_rounded(tmp_path: Path) -> None:
    with dbgnn.connect(tmp_path / "g.duckdb") as db:
        fill(db, [0, 1, 2], "BIGINT", np.array([[0], [1]]))
        db.execute("ALTER TABLE edge ALTER src TYPE DOUBLE; INSERT INTO edge VALUES (1.5, 2, 0)")
        with pytest.raises(dbgnn.SchemaError, match=r"'src' of 'edge' is DOUBLE.*BIGINT"):
            db.graph().build()


def test_a_lost_index_table_is_built_again(tmp_path: Path) -> None:
    with dbgnn.connect(tmp_path / "g.duckdb") as db:
        fill(db, [10, 20], "BIGINT", np.array([[0], [1]]))
        graph = db.graph().build()
        db.execute(f"DROP TABLE {graph.topology().edges['node', 'to', 'node'].adjacency}")
        check(graph, np.array([[0], [1]]))


def test_first_use_from_many_threads_builds_once(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    edges = rng.integers(0, 40, (2, 300))
    with dbgnn.connect(tmp_path / "g.duckdb") as db:
        fill(db, [7 * i for i in range(40)][::-1], "BIGINT", edges)
        with ThreadPoolExecutor(8) as pool:
            counts = list(pool.map(lambda _: db.graph().num_edges(("node", "to", "node")), range(16)))
        assert counts == [300] * 16
        check(db.graph(), edges)


def test_dangling_edges_of_all_types_are_one_error(tmp_path: Path) -> None:
    with dbgnn.connect(tmp_path / "g.duckdb", progress=False) as db:
        db.execute(
            """CREATE TABLE a (id TIMESTAMPTZ); INSERT INTO a VALUES ('2020-01-01 00:00:00+00');
            CREATE TABLE b (id BIGINT); INSERT INTO b VALUES (1);
            CREATE TABLE good AS SELECT 1 AS s, 1 AS d;
            CREATE TABLE one (s TIMESTAMPTZ, d BIGINT);
            INSERT INTO one SELECT '2021-01-01 00:00:00+00', i % 5 FROM range(50) t(i);
            CREATE TABLE two (s BIGINT, d BIGINT); INSERT INTO two VALUES (1, 9), (NULL, 9), (9, 9), (1, 1);
            CREATE PROPERTY GRAPH g VERTEX TABLES (a KEY (id), b KEY (id)) EDGE TABLES (
              good SOURCE KEY (s) REFERENCES b (id) DESTINATION KEY (d) REFERENCES b (id),
              one SOURCE KEY (s) REFERENCES a (id) DESTINATION KEY (d) REFERENCES b (id),
              one AS rev_one SOURCE KEY (d) REFERENCES b (id) DESTINATION KEY (s) REFERENCES a (id),
              two SOURCE KEY (s) REFERENCES b (id) DESTINATION KEY (d) REFERENCES b (id))"""
        )
        graph = db.graph("g")
        with pytest.raises(dbgnn.DataError) as error:
            graph.build()
        told = str(error.value)
        assert told == (
            "50 rows of edge table 'one' have an endpoint that does not exist (dangling edges of a-one-b and b-rev_one-a): "
            "s=2021-01-01 00:00:00+00:00 is no key of 'a' (50 edges); d=0 is no key of 'b' (10 edges); d=2 is no key of 'b' "
            "(10 edges); d=3 is no key of 'b' (10 edges); 1 more values of d. "
            "3 rows of edge table 'two' have an endpoint that does not exist (dangling edges of b-two-b): "
            "s=NULL is no key of 'b' (1 edge); s=9 is no key of 'b' (1 edge); d=9 is no key of 'b' (3 edges). "
            "Add the nodes, delete the edges, or leave them out with graph.build(dangling='drop')."
        )
        report = graph.check(progress=False)
        text = str(report)
        assert "a-one-b.s: 50 of 50 edges" in text
        assert "the first: 2021-01-01 00:00:00+00:00 (50 edges)." in text
        assert "the first: 0 (10 edges), 2 (10 edges), 3 (10 edges)." in text
        assert "b-two-b.d: 3 of 4 edges have a destination that is no key of 'b'; the first: 9 (3 edges)." in text
        graph.build(dangling="drop")
        assert [e.dropped for e in graph.topology().edges.values()] == [0, 50, 50, 3]


def test_dangling_edges_are_an_error_or_counted(tmp_path: Path) -> None:
    with dbgnn.connect(tmp_path / "g.duckdb") as db:
        fill(db, [10, 20, 30], "BIGINT", np.array([[0, 1, 2, 2], [1, 2, 0, 1]]))
        db.connection.execute("INSERT INTO edge VALUES (10, 99, 0), (77, 20, 0), (30, 30, 0), (NULL, 10, 0)")
        with pytest.raises(
            dbgnn.DataError, match=r"3 rows of edge table 'edge'.*src=77 is no key of 'node' \(.*dst=99.*dangling='drop'"
        ):
            db.graph().build()
        graph = db.graph().build(dangling="drop")
        edge_type = ("node", "to", "node")
        assert (graph.num_edges(edge_type), graph.num_dropped(edge_type)) == (5, 3)
        check(graph, np.array([[0, 1, 2, 2, 2], [1, 2, 0, 1, 2]]))


@pytest.mark.parametrize(("row", "message"), [("NULL", "1 rows .* NULL in the key"), ("20", "is not unique: 20 2 times")])
def test_keys_are_not_null_and_unique(tmp_path: Path, row: str, message: str) -> None:
    with dbgnn.connect(tmp_path / "g.duckdb") as db:
        fill(db, [10, 20], "BIGINT", np.array([[0], [1]]))
        db.connection.execute(f"INSERT INTO node VALUES ({row}, NULL)")
        with pytest.raises(dbgnn.DataError, match=f"'node'.*{message}|{message}"):
            db.graph().build()


def test_empty_tables(tmp_path: Path) -> None:
    with dbgnn.connect(tmp_path / "g.duckdb") as db:
        fill(db, [], "BIGINT", np.empty((2, 0), dtype=np.int64))
        graph = db.graph().build()
        assert (graph.num_nodes("node"), graph.num_edges(("node", "to", "node"))) == (0, 0)


def test_lists_longer_than_a_chunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build = importlib.import_module("dbgnn.topology.build")  # the package exports the function of the same name
    monkeypatch.setattr(build, "CHUNK", 64)
    rng = np.random.default_rng(3)
    edges = np.concatenate([rng.integers(0, 50, (2, 500)), np.stack([rng.integers(0, 50, 5000), np.full(5000, 7)])], axis=1)
    with dbgnn.connect(tmp_path / "g.duckdb") as db:
        fill(db, list(range(50)), "BIGINT", edges)
        check(db.graph().build(), edges)


def test_memory_stays_below_the_limit(tmp_path: Path) -> None:
    with dbgnn.connect(tmp_path / "g.duckdb", memory_limit="150MB", threads=2) as db:
        db.connection.execute("CREATE TABLE node AS SELECT range AS id FROM range(100000)")
        db.connection.execute(
            "CREATE TABLE edge AS SELECT hash(i) % 100000 AS src, hash(i + 1) % 100000 AS dst FROM range(4000000) t(i)"
        )
        db.execute(GRAPH.format(key="id", src="src", dst="dst"))
        graph = db.graph().build()
        (index,) = graph.topology().edges.values()
        assert index.num_edges == 4_000_000
        total = db.sql(f"SELECT sum(len(nbrs)), count(DISTINCT dst) FROM {index.adjacency}").fetchall()[0]
        assert total == db.sql("SELECT count(*), count(DISTINCT dst) FROM edge").fetchall()[0]
