"""Rows that a condition leaves out are not there, whatever reads a graph: deleted rows, one table for several edge types."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

import dbgnn

LIKES, REPLY, ON_POST, ON_PHOTO = (
    ("person", "likes", "person"), ("comment", "reply", "comment"), ("comment", "on_post", "post"),
    ("comment", "on_photo", "photo"),
)  # fmt: skip

#: Keys are texts, or numbers with gaps; of person 2 and comment 13 it says that they are deleted.
TABLES = """
CREATE TABLE person (id BIGINT, x FLOAT[2], name VARCHAR, "order" VARCHAR, deleted_at TIMESTAMP);
INSERT INTO person SELECT i, [i, -i], 'n' || i, CASE WHEN i % 2 = 0 THEN 'it''s' END,
  CASE WHEN i = 2 THEN TIMESTAMP '2024-01-01' END FROM range(1, 7) t(i);
CREATE TABLE likes (a BIGINT, b BIGINT, w FLOAT, deleted BOOLEAN);
INSERT INTO likes SELECT i, i % 6 + 1, i, CASE i WHEN 5 THEN true WHEN 6 THEN NULL ELSE false END FROM range(1, 7) t(i);
CREATE TABLE comment (id BIGINT, target_type VARCHAR, target BIGINT, gone BOOLEAN);
INSERT INTO comment VALUES (11, 'post', 1, false), (12, 'photo', 1, false), (13, 'post', 2, true), (14, 'comment', 11, false),
  (15, 'photo', 3, false), (16, NULL, NULL, false), (17, 'post', 2, false);
CREATE TABLE post AS SELECT i AS id, i::FLOAT AS x FROM range(1, 3) t(i);
CREATE TABLE photo AS SELECT i AS id, i::FLOAT AS x FROM range(1, 4) t(i);
"""
GRAPH = """
CREATE PROPERTY GRAPH g
  VERTEX TABLES (person KEY (id) PROPERTIES (x) WHERE deleted_at IS NULL, comment KEY (id) NO PROPERTIES WHERE NOT gone,
    post KEY (id), photo KEY (id))
  EDGE TABLES (
    likes SOURCE KEY (a) REFERENCES person DESTINATION KEY (b) REFERENCES person PROPERTIES (w) WHERE NOT deleted,
    comment AS reply SOURCE KEY (id) REFERENCES comment DESTINATION KEY (target) REFERENCES comment NO PROPERTIES
      WHERE target_type = 'comment' AND NOT gone,
    comment AS on_post WHERE target_type = 'post' SOURCE KEY (id) REFERENCES comment DESTINATION KEY (target) REFERENCES post
      NO PROPERTIES,
    comment AS on_photo SOURCE KEY (id) REFERENCES comment DESTINATION KEY (target) REFERENCES photo NO PROPERTIES
      WHERE target_type = 'photo')"""

#: The keys of the nodes and edges that are left, by hand.
PEOPLE = [1, 3, 4, 5, 6]
EDGES = {
    LIKES: [(3, 4), (4, 5)],  # 1 → 2 and 2 → 3 have an end that is deleted, 5 → 6 is deleted, of 6 → 1 nobody knows
    REPLY: [(14, 11)],
    ON_POST: [(11, 1), (17, 2)],  # 13 is deleted
    ON_PHOTO: [(12, 1), (15, 3)],
}


@pytest.fixture
def db() -> Iterator[dbgnn.Database]:
    with dbgnn.connect(progress=False) as db:
        db.execute(TABLES)
        db.execute(GRAPH)
        yield db


def keys_of(store: dbgnn.DuckDBFeatureStore, label: str) -> list[int]:
    return [int(k) for k in store.keys(label)]


def test_loaders_stores_and_memory_see_the_same_rows(db: dbgnn.Database) -> None:
    graph = db.graph("g")
    features, topology = db.get_torch_geometric_remote_backend("g")
    assert keys_of(features, "person") == PEOPLE
    assert features.get_tensor(group_name="person", attr_name="x", index=None)[:, 0].tolist() == PEOPLE
    assert graph.num_nodes("person") == 5
    assert graph.num_nodes("comment") == 6
    memory = graph.to_heterodata()
    assert memory["person"].id.tolist() == PEOPLE
    assert torch.equal(memory["person"].x, features.get_tensor(group_name="person", attr_name="x", index=None))
    for edge_type, expected in EDGES.items():
        source, destination = (keys_of(features, label) for label in edge_type[::2])
        for row, column in (topology.get_edge_index(edge_type=edge_type, layout="coo"), memory[edge_type].edge_index):
            found = [(source[i], destination[j]) for i, j in zip(row.tolist(), column.tolist(), strict=True)]
            assert found == expected
        assert graph.num_edges(edge_type) == len(expected)
    assert graph.num_dropped("likes") == memory.num_dropped[LIKES] == 2
    assert features.get_tensor(group_name=LIKES, attr_name="w", index=None).tolist() == memory[LIKES].w.tolist() == [3, 4]


@pytest.mark.parametrize("plan", ["join", "shared", "spooled"])
def test_mini_batches_hold_the_rows_that_are_left(db: dbgnn.Database, plan: str) -> None:
    stores = db.get_torch_geometric_remote_backend("g")
    people = keys_of(stores[0], "person")
    loader = dbgnn.NeighborLoader(stores, num_neighbors=[-1, -1], input_nodes=("person", None), batch_size=2, plan=plan)
    seen: set[tuple[int, int]] = set()
    for batch in loader:
        keys = [people[i] for i in batch["person"].n_id.tolist()]
        assert batch["person"].x[:, 0].tolist() == keys
        seen |= {(keys[i], keys[j]) for i, j in batch[LIKES].edge_index.t().tolist()}
        assert batch[LIKES].w.tolist() == [keys[i] for i in batch[LIKES].edge_index[0].tolist()]
    assert seen == set(EDGES[LIKES])


def test_filters_are_and_ed_with_the_condition(db: dbgnn.Database) -> None:
    stores = db.get_torch_geometric_remote_backend("g")
    ids = stores[0].node_ids("person", "person.id <= 4")
    assert [PEOPLE[i] for i in ids.tolist()] == [1, 3, 4]
    seeds = dbgnn.NeighborLoader(stores, num_neighbors=[1], input_nodes=("person", "id = 2 OR id = 3"), batch_size=9)
    assert [PEOPLE[i] for batch in seeds for i in batch["person"].n_id[: batch["person"].batch_size].tolist()] == [3]
    data = db.graph("g").to_heterodata({"person": "id > 3", "likes": "w > 3"})
    assert data["person"].id.tolist() == [4, 5, 6]
    assert data[LIKES].w.tolist() == [4]
    narrowed = dbgnn.NeighborLoader(
        stores,
        num_neighbors=[-1],
        input_nodes=("person", None),
        batch_size=9,
        where={"likes": "likes.w > 3", "person": "id > 0"},
    )
    assert next(iter(narrowed))[LIKES].w.tolist() == [4]


def test_seeds_and_hops_and_patterns(db: dbgnn.Database) -> None:
    graph = db.graph("g")
    near = graph.to_heterodata(seeds=("person", "id IN (2, 5)"), hops=1)
    assert near["person"].id.tolist() == [4, 5]
    assert near["person"].seed_mask.tolist() == [False, True]
    found = dbgnn.query_to_heterodata(db, "SELECT p, l AS likes FROM person p JOIN likes l ON l.a = p.id", graph="g")
    assert (found["person"].id.tolist(), found[LIKES].w.tolist()) == (PEOPLE, [3, 4])


def test_keys_that_are_left_out_are_no_keys(db: dbgnn.Database) -> None:
    features, _ = db.get_torch_geometric_remote_backend("g")
    assert features.ids("person", [5, 3]).tolist() == [3, 1]
    with pytest.raises(dbgnn.RequestError, match="the first is 2"):
        features.ids("person", [1, 2])


@pytest.mark.parametrize("deleted", [1, 6], ids=["a map of ids", "ids are places"])
def test_writing_leaves_the_other_rows_alone(db: dbgnn.Database, deleted: int) -> None:
    db.execute(f"UPDATE person SET deleted_at = CASE WHEN id = {deleted} THEN TIMESTAMP '2024-01-01' END")
    graph, left = db.graph("g"), [i for i in range(1, 7) if i != deleted]
    assert graph.write_back("person", n_id=torch.arange(5), pred=torch.tensor(left)) == 5
    graph.encode("person", "name_x", dbgnn.OneHot("name"))
    graph.write_back("person", n_id=torch.arange(5), emb=torch.tensor(left).float().repeat(3, 1).t())
    features, _ = db.get_torch_geometric_remote_backend("g")
    features.put_tensor(torch.tensor(left).float(), group_name="person", attr_name="put", index=None)
    rows = db.sql("SELECT id, pred, len(name_x), emb[3], put FROM person ORDER BY id ASC").fetchall()
    assert rows == [(i, *([None] * 4 if i == deleted else [i, 5, i, i])) for i in range(1, 7)]
    assert keys_of(features, "person") == left


def test_a_model_predicts_for_the_rows_that_are_left(db: dbgnn.Database) -> None:
    graph, stores = db.graph("g"), db.get_torch_geometric_remote_backend("g")
    loader = dbgnn.NeighborLoader(stores, num_neighbors=[1], input_nodes=("person", None), batch_size=2)
    assert graph.predict(torch.nn.Identity(), loader, "person.pred", forward=lambda _, batch: batch["person"].x[:, 0]) == 5
    assert db.sql("SELECT id FROM person WHERE pred IS NULL").fetchall() == [(2,)]


def test_negatives_and_links_are_of_the_edges_that_are_left(db: dbgnn.Database) -> None:
    stores = db.get_torch_geometric_remote_backend("g")
    loader = dbgnn.LinkNeighborLoader(stores, num_neighbors=[-1], edge_label_index=LIKES, batch_size=9, neg_sampling="binary")
    [batch] = loader
    keys = [PEOPLE[i] for i in batch["person"].n_id.tolist()]
    links = batch[LIKES].edge_label_index.t()[batch[LIKES].edge_label == 1]
    assert sorted((keys[i], keys[j]) for i, j in links.tolist()) == EDGES[LIKES]


def test_splits_are_of_the_rows_that_are_left(db: dbgnn.Database) -> None:
    data = db.graph("g").to_heterodata(splits={"person": dbgnn.HashSplit(train=0.6, val=0.2, test=0.2)})
    masks = [data["person"][f"{part}_mask"] for part in ("train", "val", "test")]
    assert sum(masks).tolist() == [1] * 5


# -- what is stale -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("UPDATE person SET deleted_at = now()::TIMESTAMP WHERE id = 5", "it had 5 rows and has 4"),
        ("UPDATE person SET deleted_at = NULL WHERE id = 2", "it had 5 rows and has 6"),
        (
            "UPDATE person SET deleted_at = CASE WHEN id = 3 THEN TIMESTAMP '2024-01-01' END WHERE id IN (2, 3)",
            "its keys changed",
        ),
        ("UPDATE likes SET deleted = NOT deleted WHERE a IN (3, 5)", "table 'likes' changed"),
        ("ALTER TABLE person DROP deleted_at", "no column of table 'person'"),
    ],
)
def test_a_row_that_comes_or_goes_is_stale(tmp_path: Path, statement: str, told: str) -> None:
    path = tmp_path / "g.duckdb"
    with dbgnn.connect(path, progress=False) as db:
        db.execute(TABLES)
        db.execute(GRAPH)
        graph = db.graph("g").build()
        assert graph.num_nodes("person") == 5
        db.execute(statement)
        with pytest.raises((dbgnn.StaleIndexError, dbgnn.SqlError), match=told):
            graph.num_nodes("person")


def test_what_the_condition_does_not_see_makes_nothing_stale(db: dbgnn.Database) -> None:
    graph = db.graph("g").build()
    db.execute("INSERT INTO person VALUES (7, [7, 7], NULL, NULL, '2024-01-01'); UPDATE likes SET w = 9 WHERE a = 3")
    assert graph.num_nodes("person") == 5
    db.execute("UPDATE person SET deleted_at = NULL WHERE id = 7")
    with pytest.raises(dbgnn.StaleIndexError, match="table 'person' changed"):
        graph.num_nodes("person")
    assert graph.build().num_nodes("person") == 6
    assert graph.check(index=True).ok


def test_another_condition_is_another_graph(db: dbgnn.Database) -> None:
    assert db.graph("g").num_nodes("person") == 5
    db.execute("CREATE OR REPLACE PROPERTY GRAPH g VERTEX TABLES (person KEY (id) WHERE \"order\" = 'it''s')")
    assert db.graph("g").num_nodes("person") == 3


def test_a_row_for_which_the_condition_fails_later(db: dbgnn.Database) -> None:
    db.execute("CREATE OR REPLACE PROPERTY GRAPH g VERTEX TABLES (person KEY (id) WHERE name[2:]::INTEGER > 2)")
    graph = db.graph("g")
    assert graph.num_nodes("person") == 4
    db.execute("UPDATE person SET name = 'none' WHERE id = 1")
    with pytest.raises(dbgnn.DataError, match="fails for a row of table 'person'"):
        graph.num_nodes("person")
    assert [f.what for f in graph.check().errors] == ["definition"]


# -- edges that lack an end ----------------------------------------------------------------------------------


def test_an_end_in_no_row_is_an_error_as_ever(db: dbgnn.Database) -> None:
    db.execute("INSERT INTO likes VALUES (1, 99, 1, false)")
    graph = db.graph("g")
    with pytest.raises(dbgnn.DataError, match=r"^1 rows of edge table 'likes'.*b=99 is no key of 'person' \(1 edge\)\. Add"):
        graph.build()
    with pytest.raises(dbgnn.DataError, match=r"1 edges .* in no row of its table"):
        graph.to_heterodata()
    report = graph.check()
    assert [(f.what, f.count) for f in report.errors] == [("dangling", 1)]
    assert sum(f.count for f in report.findings if f.what == "left out") == 3  # two of likes, and comment 13
    assert graph.build(dangling="drop").num_dropped("likes") == 3
    data = graph.to_heterodata(dangling="drop")
    assert (data.num_dropped[LIKES], data.num_dangling[LIKES]) == (3, 1)


def test_printed(db: dbgnn.Database) -> None:
    text = str(db.graph("g").build())
    assert "Node type 'person': 5 rows of table person WHERE deleted_at IS NULL" in text
    assert "2 edges of ('person', 'likes', 'person') left out, an end of which is no node" in text


# -- views ---------------------------------------------------------------------------------------------------


def test_a_graph_of_views_is_one_of_conditions(db: dbgnn.Database) -> None:
    db.execute("""
        CREATE VIEW live AS SELECT * EXCLUDE (deleted_at) FROM person WHERE deleted_at IS NULL;
        CREATE VIEW "liv""ing likes" AS SELECT a, b, w FROM likes WHERE NOT deleted""")
    db.execute("""CREATE PROPERTY GRAPH v VERTEX TABLES (live KEY (id) PROPERTIES (x))
        EDGE TABLES ("liv""ing likes" AS likes SOURCE KEY (a) REFERENCES live DESTINATION KEY (b) REFERENCES live)""")
    graph, other = db.graph("v"), db.graph("g").to_heterodata()
    data = graph.to_heterodata()
    assert torch.equal(data["live"].x, other["person"].x)
    assert torch.equal(data["live", "likes", "live"].edge_index, other[LIKES].edge_index)
    assert graph.num_edges("likes") == 2
    db.execute("""CREATE OR REPLACE VIEW "liv""ing likes" AS SELECT a, b, w FROM likes""")
    for use in (lambda: graph.num_edges("likes"), graph.to_heterodata, graph.check, lambda: db.graph("v")):
        with pytest.raises(dbgnn.StaleIndexError, match="was changed since graph 'v' was declared"):
            use()


# -- against NumPy -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_many_rows_against_numpy(seed: int) -> None:
    random = np.random.default_rng(seed)
    keys, alive = np.sort(random.choice(10_000, 2_000, replace=False)), random.random(2_000) < (1.0, 0.5, 0.01, 0.9)[seed]
    src, dst, kept = random.integers(0, 2_000, 9_000), random.integers(0, 2_000, 9_000), random.random(9_000) < 0.7
    place = random.permutation(2_000)
    with dbgnn.connect(progress=False) as db:
        con = db.connection
        rows = {"id": keys[place], "ok": alive[place], "x": keys[place].astype(np.float32)}
        edges = {"a": keys[src], "b": keys[dst], "ok": kept}
        for name, columns in (("n", rows), ("e", edges)):
            con.register("given", pa.table(columns))
            con.execute(f"CREATE TABLE {name} AS FROM given")
            con.unregister("given")
        db.execute("""CREATE PROPERTY GRAPH g VERTEX TABLES (n KEY (id) PROPERTIES (x) WHERE ok)
            EDGE TABLES (e SOURCE KEY (a) REFERENCES n DESTINATION KEY (b) REFERENCES n NO PROPERTIES WHERE ok)""")
        features, topology = db.get_torch_geometric_remote_backend("g")
        there = keys[alive]
        assert features.get_tensor(group_name="n", attr_name="x", index=None).tolist() == there.tolist()
        chosen = kept & alive[src] & alive[dst]
        rank = np.cumsum(alive) - 1
        row, column = topology.get_edge_index(edge_type=("n", "e", "n"), layout="coo")
        assert row.tolist() == rank[src[chosen]].tolist()
        assert column.tolist() == rank[dst[chosen]].tolist()
        assert db.graph("g").check(index=True).ok


# -- in the source -------------------------------------------------------------------------------------------

#: Where a scan reads a whole table: what is written, described, proposed, or compared with what conditions leave out.
WHOLE_TABLES = {
    "stores/key_lookup.py": 1,
    "stores/features.py": 2,
    "datasets/from_pyg.py": 1,
    "topology/resolved.py": 1,
    "check/topology.py": 1,
    "schema/suggest.py": 1,
    "writeback/materialise.py": 1,  # joined with the ids, of which none is a row that a condition leaves out
}


def test_who_reads_a_table_by_a_scan_heeds_its_condition() -> None:
    package, found = Path(dbgnn.__file__).parent, dict[str, int]()
    for path in package.rglob("*.py"):
        lines = path.read_text(encoding="utf-8").splitlines()
        reads = [line for line in lines if re.search(r"(FROM|INTO) .*\.table\.sql\}", line)]
        scans = [line for line in reads if not re.search(r"rowid = |rowid IN|where\b|where_all", line)]
        if scans:
            found[str(path.relative_to(package))] = len(scans)
    assert found == WHOLE_TABLES, "use element.rows, or table.sql with element.where_all(…)"
