"""The form by type: what comes out of node and edge queries, in which order, and what is an error."""

from __future__ import annotations

import copy
import io
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch_geometric.data import HeteroData
from torch_geometric.loader import NeighborLoader
from torch_geometric.transforms import AddSelfLoops, ToUndirected
from torch_geometric.typing import WITH_PYG_LIB, WITH_TORCH_SPARSE

import dbgnn
from dbgnn import Database, DataError, DbgnnError, SchemaError, SqlError, UnknownNameError, query_to_heterodata

CITES = ("paper", "cites", "paper")
TABLES = """
CREATE TABLE paper (id BIGINT, year SMALLINT, x FLOAT[2], title VARCHAR, maybe FLOAT);
INSERT INTO paper VALUES (30, 2003, [3, 3.5], 'c', NULL), (10, 2001, [1, 1.5], 'a', 0.1), (20, 2002, [2, 2.5], 'b', 0.2);
CREATE TABLE cites (src BIGINT, dst BIGINT, w DOUBLE);
INSERT INTO cites VALUES (10, 20, 0.5), (30, 10, 1.5), (10, 20, 2.5), (20, 20, 3.5);
CREATE TABLE review (paper BIGINT, who VARCHAR, score TINYINT, note FLOAT[2]);
INSERT INTO review VALUES (10, 'ada', 1, [1, 2]), (10, 'bob', 2, [3, 4]), (20, 'ada', 3, [5, NULL]);
CREATE TABLE work AS SELECT id, year FROM paper;
CREATE VIEW new AS SELECT id, year FROM paper WHERE year > 2001;
"""


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A database that no test changes."""
    with dbgnn.connect(tmp_path_factory.mktemp("by_type") / "test.duckdb", progress=False) as db:
        db.execute(TABLES)
        yield db
        assert db.execute("SELECT view_name FROM duckdb_views() WHERE temporary AND NOT internal").fetchall() == []


def get(db: Database, nodes: str = "FROM new", edges: str | None = None, **options: Any) -> HeteroData:
    """Papers, and edges among them."""
    given = {} if edges is None else {CITES: edges}
    return query_to_heterodata(db, nodes={"paper": nodes}, edges=given, **options)


# -- what comes out ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("nodes", "ids"),
    [
        ("SELECT id FROM paper", [30, 10, 20]),
        ("SELECT id FROM paper ORDER BY year", [10, 20, 30]),
        ("SELECT id FROM paper ORDER BY id DESC LIMIT 2", [30, 20]),
        ("SELECT p.id FROM paper p JOIN cites c ON c.dst = p.id GROUP BY ALL ORDER BY count(*) DESC", [20, 10]),
        ("SELECT id FROM (SELECT id, row_number() OVER (ORDER BY x[1]) AS n FROM paper) WHERE n <> 2 ORDER BY n", [10, 30]),
        ("SELECT id FROM paper WHERE year = 2002 UNION ALL SELECT id FROM paper WHERE year < 2002", [20, 10]),
        ("SELECT id FROM new ORDER BY 1", [20, 30]),
        ("WITH a AS (SELECT id FROM paper WHERE id > 10), b AS (FROM a ORDER BY id) FROM b", [20, 30]),
        ("VALUES (20), (10), (30)", [20, 10, 30]),
        ("SELECT unnest([20, 30]) AS id", [20, 30]),
        ("SELECT id FROM paper WHERE id <> 10 ORDER BY year DESC -- newest first", [30, 20]),
    ],
)
def test_nodes_come_in_the_order_of_the_rows_and_edges_point_to_them(db: Database, nodes: str, ids: list[int]) -> None:
    data = get(db, nodes, "FROM cites", dangling="drop")
    (key,) = set(data["paper"].keys()) - {"num_nodes"}
    assert data["paper"][key].tolist() == ids
    assert data["paper"].num_nodes == len(ids)
    edges = [(s, d, w) for s, d, w in db.execute("FROM cites").fetchall() if s in ids and d in ids]
    assert data[CITES].edge_index.tolist() == [[ids.index(s) for s, _, _ in edges], [ids.index(d) for _, d, _ in edges]]
    assert data[CITES].w.tolist() == [w for *_, w in edges]
    assert data.num_dropped == {CITES: 4 - len(edges)}


def test_edges_come_in_the_order_of_their_query(db: Database) -> None:
    data = get(db, "SELECT id FROM paper", "SELECT src, dst, w FROM cites ORDER BY w DESC")
    assert data[CITES].w.tolist() == [3.5, 2.5, 1.5, 0.5]
    assert data[CITES].edge_index.tolist() == [[2, 1, 0, 1], [2, 2, 1, 2]]
    assert "num_dropped" not in data


def test_many_rows_keep_their_order_with_two_threads(tmp_path: Path) -> None:
    with dbgnn.connect(tmp_path / "large.duckdb", threads=2, progress=False) as db:
        db.execute(
            "CREATE TABLE n AS SELECT (i * 7919) % 300_007 AS id, i AS pos, hash(i) % 5 = 0 AS f FROM range(300_007) t(i)"
        )
        db.execute("CREATE TABLE e AS SELECT hash(i) % 400_000 AS s, hash(i + 1) % 400_000 AS d, i FROM range(500_000) t(i)")
        data = query_to_heterodata(
            db,
            nodes={"n": "FROM n", "few": "SELECT id FROM n WHERE f"},
            edges={("n", "e", "n"): "SELECT s, d, i FROM e", ("few", "e", "n"): "SELECT s, d, i FROM e ORDER BY d, i"},
            dangling="drop",
        )
        ends, i = (np.array(db.execute(f"SELECT {c} FROM e").fetchnumpy()[c]).astype(np.int64) for c in ("s", "i"))
        ends = np.stack([ends, db.execute("SELECT d FROM e").fetchnumpy()["d"].astype(np.int64)])
    assert torch.equal(data["n"].pos, torch.arange(300_007))
    position = {"n": np.full(400_000, -1), "few": np.full(400_000, -1)}
    for label, of in position.items():
        of[data[label].id.numpy()] = np.arange(data[label].num_nodes)
    for label, rows in (("n", i), ("few", np.lexsort([i, ends[1]]))):
        there = rows[(position[label][ends[0, rows]] >= 0) & (position["n"][ends[1, rows]] >= 0)]
        store = data[label, "e", "n"]
        np.testing.assert_array_equal(store.i.numpy(), there)
        np.testing.assert_array_equal(store.edge_index[0].numpy(), position[label][ends[0, there]])
        np.testing.assert_array_equal(store.edge_index[1].numpy(), position["n"][ends[1, there]])


@pytest.mark.parametrize(
    ("value", "sql_type", "dtype", "expected"),
    [
        ("true", "BOOLEAN", torch.bool, True),
        ("-128", "TINYINT", torch.int8, -128),
        ("-32768", "SMALLINT", torch.int16, -(2**15)),
        ("-2147483648", "INTEGER", torch.int32, -(2**31)),
        ("9223372036854775807", "BIGINT", torch.int64, 2**63 - 1),
        ("255", "UTINYINT", torch.uint8, 255),
        ("65535", "USMALLINT", torch.uint16, 2**16 - 1),
        ("4294967295", "UINTEGER", torch.uint32, 2**32 - 1),
        ("18446744073709551615", "UBIGINT", torch.uint64, 2**64 - 1),
        ("0.1", "FLOAT", torch.float32, float(np.float32(0.1))),
        ("0.1", "DOUBLE", torch.float64, 0.1),
        ("[0.5, -0.0]", "FLOAT[2]", torch.float32, [0.5, -0.0]),
        ("[[1, 2], [3, 4], [5, 6]]", "FLOAT[2][3]", torch.float32, [[1, 2], [3, 4], [5, 6]]),
        ("[true, false]", "BOOLEAN[2]", torch.bool, [True, False]),
        ("[1]", "UBIGINT[1]", torch.uint64, [1]),
        ("'1969-12-31'", "DATE", torch.int64, -1),
        ("'1970-01-02 00:00:01'", "TIMESTAMP", torch.int64, 86_401_000_000),
        ("'1970-01-01 00:00:01'", "TIMESTAMP_S", torch.int64, 1),
        ("'1970-01-01 01:00:01+01'", "TIMESTAMPTZ", torch.int64, 1_000_000),
        ("'c'", "ENUM('a', 'b', 'c')", torch.int64, 2),
    ],
)
def test_columns_become_tensors_of_their_dtype_and_shape(
    db: Database, value: str, sql_type: str, dtype: torch.dtype, expected: Any
) -> None:
    row = f"({value})::{sql_type} AS v"
    for rows in (3, 0):
        data = get(db, f"SELECT id, {row} FROM paper LIMIT {rows}", f"SELECT src, dst, {row} FROM cites", dangling="drop")
        shape = np.shape(expected)
        for store, count in ((data["paper"], rows), (data[CITES], 4 if rows else 0)):
            assert store.v.dtype == dtype
            assert store.v.shape == (count, *shape)
            assert store.v.tolist() == [expected] * count
        assert data[CITES].edge_index.dtype == torch.int64
        assert data[CITES].edge_index.shape == (2, 4 if rows else 0)
        assert data["paper"].num_nodes == rows


def test_keys_are_attributes_and_those_that_are_no_tensors_lists(db: Database) -> None:
    links = "SELECT p.title, r.paper, r.who, r.score FROM paper p JOIN review r ON r.paper = p.id"
    data = query_to_heterodata(
        db,
        nodes={
            "title": "SELECT title, id FROM paper",
            "review": "SELECT score, paper, who FROM review",
            "none": "SELECT 'x' AS k LIMIT 0",
        },
        edges={("title", "of", "review"): links},
        keys={"review": ("paper", "who"), "title": "title"},
    )
    assert data["title"].title == ["c", "a", "b"]
    assert data["title"].num_nodes == 3
    assert data["review"].who == ["ada", "bob", "ada"]
    assert data["review"].paper.tolist() == [10, 10, 20]
    assert (data["none"].k, data["none"].num_nodes) == ([], 0)
    by_score = sorted(
        zip(*data["title", "of", "review"].edge_index.tolist(), data["title", "of", "review"].score.tolist(), strict=True)
    )
    assert by_score == [(1, 0, 1), (1, 1, 2), (2, 2, 3)]


def test_names_of_columns_are_plain_names(db: Database) -> None:
    names = ['a"b', "'", "; DROP TABLE paper", "keys", "rowid", "dbgnn_pos", "k0", "pos", "q", "num_features", "ü x", "Id"]
    select = ", ".join(f'year + {i} AS "{name.replace(chr(34), 2 * chr(34))}"' for i, name in enumerate(names))
    data = get(db, f"SELECT id, {select} FROM paper", f'SELECT src AS "s""", dst AS "from", {1} AS "order" FROM cites')
    known = [n if n != "Id" else "Id_1" for n in names]
    assert sorted(set(data["paper"].keys()) - {"num_nodes"}) == sorted(["id", *known])
    for i, name in enumerate(known):
        assert data["paper"][name].tolist() == [2003 + i, 2001 + i, 2002 + i], name
    assert data[CITES].edge_index.tolist() == [[1, 0, 1, 2], [2, 1, 2, 2]]
    for name in ("edge_index", "num_nodes"):
        with pytest.raises(SchemaError, match=f"{name!r}.*rename"):
            get(db, f"SELECT id, year AS {name} FROM paper")


def test_memory_is_the_tensors_own(tmp_path: Path) -> None:
    with dbgnn.connect(tmp_path / "test.duckdb", progress=False) as db:
        db.execute(TABLES)
        data = get(db, "SELECT id, x, year FROM paper", "FROM cites")
    for value in (data["paper"].x, data["paper"].year, data[CITES].edge_index, data[CITES].w):
        assert value.is_contiguous()
        value.add_(1)  # nobody else's, and not read-only
    assert data["paper"].x.tolist() == [[4, 4.5], [2, 2.5], [3, 3.5]]


# -- dangling edges ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("nodes", "filtered"),
    [
        ("SELECT id FROM paper", False),
        ("SELECT id, year FROM paper ORDER BY year", False),
        ("FROM paper SELECT id", False),
        ("SELECT id FROM paper WHERE true", True),
        ("SELECT id FROM paper LIMIT 3", True),
        ("SELECT DISTINCT id FROM paper", True),
        ("SELECT id FROM paper SEMI JOIN cites ON src = id", True),
        ("(SELECT id FROM paper)", True),
        ("WITH p AS (FROM paper) SELECT id FROM p", True),
        ("SELECT id FROM paper UNION SELECT id FROM paper", True),
        ("SELECT id FROM (SELECT id FROM paper)", True),
        ("SELECT id FROM paper QUALIFY row_number() OVER () > 0", True),
        ("SELECT id FROM paper USING SAMPLE 100%", True),
        ("VALUES (10)", True),
    ],
)
def test_dangling_edges_are_an_error_unless_nodes_were_filtered(db: Database, nodes: str, filtered: bool) -> None:
    edges = "SELECT src, dst + 990 * (w > 3)::INT AS dst FROM cites WHERE src >= 10 ORDER BY w"
    if filtered:
        data = get(db, nodes, edges)
        assert data.num_dropped == {CITES: 4 - data[CITES].num_edges} != {CITES: 0}
    else:
        with pytest.raises(DataError) as caught:
            get(db, nodes, edges)
        assert "1 edges ('paper', 'cites', 'paper')" in str(caught.value)
        assert "src = 20, dst = 1010" in str(caught.value)
        assert "dangling='drop'" in str(caught.value)
        data = get(db, nodes, edges, dangling="drop")
        assert data.num_dropped == data.num_dangling == {CITES: 1}
    with pytest.raises(DataError, match="dangling='drop'"):
        get(db, nodes, edges, dangling="error")


@pytest.mark.parametrize(
    ("nodes", "dropped", "dangling"),
    [
        ("SELECT id FROM work WHERE id > 10", 5, 2),
        ("SELECT id FROM work WHERE id > 10 -- recent", 5, 2),
        ("SELECT year, id AS key FROM work WHERE year > $least ORDER BY key LIMIT 9", 5, 2),
        ("FROM work w WHERE id > 10 AND ln(id - 10) > -1", 5, 2),
        ("SELECT id, ln(id - 10) AS y FROM work WHERE id > 10", 5, 2),  # of 10 there is no logarithm
        ("SELECT w.* RENAME (id AS key) FROM work w SEMI JOIN cites c ON c.dst = w.id AND c.src = 20", 6, 2),
        ("SELECT DISTINCT id FROM work", 2, 2),
        ("SELECT id FROM work QUALIFY row_number() OVER (ORDER BY id) > 1", 5, 2),
        ("FROM new", 5, 5),  # the view is all there is
        ("FROM frame WHERE id < 30", 6, 5),
        # of these nothing is said
        ("SELECT id FROM (FROM work WHERE id > 10)", 5, None),
        ("WITH w AS (FROM work) SELECT id FROM w WHERE id > 10", 5, None),
        ("SELECT id FROM work GROUP BY id HAVING id > 10", 5, None),
        ("SELECT max(id) AS id FROM work WHERE id < 30", 6, None),
        ("SELECT id + 0 AS id FROM work WHERE id > 10", 5, None),
        ("SELECT * REPLACE (id + 0 AS id) FROM work WHERE id > 10", 5, None),
        ("SELECT * EXCLUDE (id), id + 0 AS key FROM work WHERE id > 10", 5, None),
        ("SELECT id AS a, a AS key FROM work WHERE id > 10", 5, None),
        ("SELECT w.id FROM work w JOIN cites c ON c.src = w.id AND c.src = 20", 6, None),
        ("SELECT id FROM work WHERE id > 10 UNION SELECT 20", 5, None),
    ],
)
def test_edges_left_out_that_dangle_are_counted_beside_the_others(
    db: Database, nodes: str, dropped: int, dangling: int | None
) -> None:
    edges = "SELECT src, dst FROM cites WHERE src < 30 UNION ALL VALUES (30, 30), (20, 99), (NULL, 20), ($low, 10)"
    frame = pa.table({"id": [20, 30]})  # noqa: F841 - read by SQL
    params = {"low": 10} | ({"least": 2001} if "$least" in nodes else {})
    keys = {"paper": "key"} if "key" in nodes else None
    data = get(db, nodes, edges, params=params, keys=keys, dangling="drop")
    assert data.num_dropped == {CITES: dropped} == {CITES: 7 - data[CITES].num_edges}
    assert data.num_dangling == ({} if dangling is None else {CITES: dangling})


def test_null_ends_dangle_and_attributes_of_dropped_edges_do_not_matter(db: Database) -> None:
    edges = "SELECT CASE WHEN w < 1 THEN src END AS src, dst, CASE WHEN w < 1 THEN 7 END AS v FROM cites"
    data = get(db, "SELECT id FROM paper", edges, dangling="drop")
    assert data[CITES].edge_index.tolist() == [[1], [2]]
    assert data[CITES].v.tolist() == [7]
    assert data.num_dropped == {CITES: 3}
    with pytest.raises(DataError, match=r"3 edges.*src = NULL, dst = 10\) has no 'paper'"):
        get(db, "SELECT id FROM paper", edges)


# -- errors in the data ------------------------------------------------------------------------------------


def test_null_and_duplicate_keys_are_errors(db: Database) -> None:
    with pytest.raises(DataError, match=r"key 'k' of nodes 'paper' is NULL in 2 of 3 rows; the first is row 0"):
        get(db, "SELECT CASE id WHEN 10 THEN 10 END AS k FROM paper")
    with pytest.raises(DataError, match=r"gives 2 rows for one key, \(paper\) = 10"):
        get(db, "FROM review SELECT paper")
    with pytest.raises(DataError, match=r"gives 2 rows for one key, \(a, b\) = \(1, 'x'\)"):
        get(db, "FROM (VALUES (2, 'x'), (1, 'x'), (1, 'x')) AS t(a, b)", keys={"paper": ("a", "b")})


@pytest.mark.parametrize(
    ("nodes", "edges", "says"),
    [
        ("SELECT id, maybe FROM paper", None, "Column 'maybe' of nodes 'paper' is NULL, or holds NULL, where id = 30"),
        ("SELECT id FROM paper", "SELECT src, dst, NULLIF(w, 2.5) AS w FROM cites",
         "Column 'w' of edges ('paper', 'cites', 'paper') is NULL, or holds NULL, where src = 10, dst = 20"),
    ],
)  # fmt: skip
def test_null_features_are_errors_that_name_column_and_key(db: Database, nodes: str, edges: str | None, says: str) -> None:
    with pytest.raises(DataError) as caught:
        get(db, nodes, edges)
    assert says in str(caught.value)
    assert "coalesce(" in str(caught.value)


def test_null_inside_of_an_array_names_the_composite_key(db: Database) -> None:
    with pytest.raises(DataError, match=r"Column 'note' of nodes 'review' is NULL.*where paper = 20, who = 'ada'"):
        query_to_heterodata(db, nodes={"review": "FROM review"}, keys={"review": ("paper", "who")})


@pytest.mark.parametrize(
    ("nodes", "edges", "options", "error", "says"),
    [
        ("SELECT id, title FROM paper", None, {}, SchemaError, "'title' of nodes 'paper'.*VARCHAR.*encoder"),
        ("SELECT id, [1.5] AS l FROM paper", None, {}, SchemaError, "lists may differ in length"),
        ("SELECT id FROM paper", "SELECT src FROM cites", {}, SchemaError, "must begin with the key"),
        (
            "SELECT id FROM paper",
            "SELECT src::VARCHAR AS s, dst FROM cites",
            {},
            SchemaError,
            "'s' is VARCHAR, but the key 'id'.*BIGINT",
        ),
        ("SELECT id FROM paper", None, {"keys": {"paper": "idd"}}, UnknownNameError, "'idd'; did you mean 'id'"),
        ("SELECT id FROM paper", None, {"keys": {"papr": "id"}}, UnknownNameError, "'papr'; did you mean 'paper'"),
        ("SELECT id FROM paper", None, {"keys": {"paper": ()}}, SchemaError, "keys"),
        ("SELECT id FROM paper", None, {"keys": True}, SchemaError, "keys must say, per node type"),
        ("SELECT id FROM paper", None, {"dangling": "dorp"}, SchemaError, "'error' or 'drop', not 'dorp'"),
        ("SELECT id FROM paper", None, {"graph": "g"}, SchemaError, "graph= and columns= are for a pattern"),
        ("SELECT id FROM paper", None, {"time": {"paper": "yer"}}, UnknownNameError, "'yer'"),
        ("SELECT id FROM paper", None, {"splits": {"papers": "split"}}, UnknownNameError, "splits: .*'papers'.*'paper'"),
        ("SELECT id FROM paper", None, {"encoders": {"papers": {}}}, UnknownNameError, "encoders: .*'papers'.*'paper'"),
        ("SELECT id, year AS time, year FROM paper", None, {"time": {"paper": "year"}}, SchemaError, "'time'.*twice"),
        ("DELETE FROM paper RETURNING id", None, {}, SqlError, "must be one SELECT"),
        ("SELECT id FROM paper", "WITH x AS (DELETE FROM cites RETURNING *) FROM x", {}, SqlError, "may only read"),
        ("SELECT idd FROM paper", None, {}, SqlError, "idd"),
    ],
)
def test_what_is_asked_wrongly_is_named(
    db: Database, nodes: str, edges: str | None, options: dict[str, Any], error: type[DbgnnError], says: str
) -> None:
    with pytest.raises(error, match=says):
        get(db, nodes, edges, **options)


def test_types_that_are_missing_or_malformed_are_named(db: Database) -> None:
    with pytest.raises(SchemaError, match="either a query"):
        query_to_heterodata(db)
    with pytest.raises(SchemaError, match="either a query"):
        query_to_heterodata(db, "SELECT 1", nodes={"paper": "FROM new"})
    with pytest.raises(UnknownNameError, match=r"'papers'.*did you mean 'paper'"):
        query_to_heterodata(db, nodes={"paper": "FROM new"}, edges={("paper", "cites", "papers"): "FROM cites"})
    with pytest.raises(SchemaError, match="an edge type is"):
        query_to_heterodata(db, nodes={"paper": "FROM new"}, edges={("paper", "cites"): "FROM cites"})  # type: ignore[dict-item]
    with pytest.raises(SchemaError, match="a node type is a name"):
        query_to_heterodata(db, nodes={1: "FROM new"})  # type: ignore[dict-item]


def test_what_is_no_connection_or_no_text_is_refused(db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TypeError, match="con must be"):
        get("made.duckdb", "SELECT 1 AS id")  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())
    for nodes, edges in ((5, None), ("FROM new", 5)):
        with pytest.raises(SqlError, match="5"):
            get(db, nodes, edges)  # type: ignore[arg-type]
    for name in ("num_dropped", "num_dangling"):
        with pytest.raises(SchemaError, match=name):
            query_to_heterodata(db, nodes={name: "FROM new"})


def test_parentheses_without_end_are_no_matter(db: Database) -> None:
    deep = "(" * 400 + "year" + ")" * 400
    assert get(db, f"SELECT id, {deep} AS y FROM paper")["paper"].y.tolist() == [2003, 2001, 2002]


def test_keys_that_a_query_compares_in_two_ways_are_an_error(db: Database) -> None:
    nodes = "SELECT * FROM (VALUES ('a'), ('A'), ('b')) AS t(k)"
    ends = "SELECT 'b' AS s, 'b' AS d UNION ALL SELECT 'a', 'b'"
    assert get(db, nodes, ends)[CITES].edge_index.tolist() == [[2, 0], [2, 2]]
    with pytest.raises(SchemaError, match=r"'s' is VARCHAR COLLATE NOCASE, but the key 'k' .* is VARCHAR.*: (.*)\.$") as error:
        get(db, nodes, f"SELECT s COLLATE NOCASE AS s, d FROM ({ends})")
    remedy = str(error.value).rpartition(": ")[2].rstrip(".")
    mended = f"SELECT {remedy} AS s, d FROM (SELECT s COLLATE NOCASE AS s, d FROM ({ends}))"
    assert get(db, nodes, mended)[CITES].edge_index.tolist() == [[2, 0], [2, 2]]
    with pytest.raises(DataError, match="2 rows for one key"):
        get(db, "SELECT k COLLATE NOCASE AS k FROM (VALUES ('a'), ('A'), ('b')) AS t(k)", ends)


@pytest.mark.parametrize(
    ("sql_type", "values", "kept"),
    [
        ("BIT", ["101", "0101"], ["101", "0101"]),
        ("UHUGEINT", ["0", str(2**128 - 1)], [0, 2**128 - 1]),
        ("TIMETZ", ["12:00:00+01", "12:00:00+02"], ["12:00:00+01", "12:00:00+02"]),
        ("ENUM('b', 'a')", ["a", "b"], ["a", "b"]),
        ("UUID", [str(uuid.UUID(int=i)) for i in (1, 2**127)], [uuid.UUID(int=i) for i in (1, 2**127)]),
        ("INTEGER[2]", ["[1, 2]", "[2, 1]"], [[1, 2], [2, 1]]),
    ],
)
def test_keys_that_arrow_does_not_carry_as_they_are(db: Database, sql_type: str, values: list[str], kept: list[Any]) -> None:
    rows = f"(VALUES ({values[0]!r}::{sql_type}, 0), ({values[1]!r}::{sql_type}, 1))"
    data = get(
        db, f"SELECT k FROM {rows} AS t(k, i)", f"SELECT a.k, b.k FROM {rows} a(k, i), {rows} b(k, i) ORDER BY a.i, b.i DESC"
    )
    keys = data["paper"].k
    assert (keys.tolist() if isinstance(keys, torch.Tensor) else keys) == kept
    assert data[CITES].edge_index.tolist() == [[0, 0, 1, 1], [1, 0, 1, 0]]


# -- values, attributes, time ------------------------------------------------------------------------------


def test_values_are_bound_by_name(db: Database) -> None:
    nodes = "SELECT id, $plus + year AS y FROM paper WHERE list_contains($ids, id) ORDER BY id"
    edges = "SELECT src, dst, w FROM cites WHERE w > $least"
    data = get(db, nodes, edges, params={"ids": [10, 20], "plus": 1, "least": 1})
    assert data["paper"].y.tolist() == [2002, 2003]
    assert data[CITES].w.tolist() == [2.5, 3.5]
    hostile = get(db, "SELECT id FROM paper WHERE title = $t", params={"t": "a' OR true --"})
    assert hostile["paper"].num_nodes == 0
    for params, says in (
        ({}, r"wants a value for \$least"),
        ({"least": "x"}, "'x'"),
        ({"least": 1, "most": 2}, r"no query uses \$most"),
    ):
        with pytest.raises(SqlError, match=says):
            get(db, "SELECT id FROM paper", edges, params=params)
    with pytest.raises(SchemaError, match="by name"):
        get(db, "SELECT id FROM paper WHERE id > ?", params=[1])


def test_attributes_by_queries_of_their_own(db: Database) -> None:
    labels = "SELECT id, x FROM paper WHERE year > $since ORDER BY id DESC"
    data = get(
        db,
        "SELECT id, year FROM new",
        "FROM cites",
        attributes={"paper": {"y": labels}},
        params={"since": 2001},
        dangling="drop",
    )
    assert data["paper"].id.tolist() == [30, 20]
    assert data["paper"].y.tolist() == [[3, 3.5], [2, 2.5]]
    by_two = query_to_heterodata(
        db,
        nodes={"review": "SELECT paper, who FROM review"},
        keys={"review": ("paper", "who")},
        attributes={"review": {"y": "SELECT paper, who, score FROM review ORDER BY score DESC"}},
    )
    assert by_two["review"].y.tolist() == [1, 2, 3]
    empty = get(db, "SELECT id FROM paper WHERE false", attributes={"paper": {"y": "SELECT id, x FROM paper"}})
    assert empty["paper"].y.shape == (0, 2)


@pytest.mark.parametrize(
    ("query", "error", "says"),
    [
        ("SELECT id, year FROM paper WHERE id < 30", DataError, "1 have none and 0 several; the first is 30"),
        ("SELECT paper, score FROM review", DataError, "1 have none and 1 several; the first is 30"),
        ("SELECT id, maybe FROM paper", DataError, "Column 'maybe' of attribute 'y'.*where id = 30"),
        ("SELECT id, title FROM paper", SchemaError, "'title'.*VARCHAR"),
        ("SELECT id FROM paper", SchemaError, "one value, but it gives 1 columns: id"),
        ("SELECT title, year FROM paper", SchemaError, "'title' is VARCHAR"),
        ("DROP TABLE paper", SqlError, "must be one SELECT"),
    ],
)
def test_attributes_need_one_value_for_every_node(db: Database, query: str, error: type[DbgnnError], says: str) -> None:
    with pytest.raises(error, match=says):
        get(db, "SELECT id FROM paper", attributes={"paper": {"y": query}})


def test_attributes_of_names_that_are_not_there_or_taken(db: Database) -> None:
    for attributes, error, says in (
        ({"papers": {"y": "FROM new"}}, UnknownNameError, "'papers'.*did you mean 'paper'"),
        ({"paper": {"year": "FROM new"}}, SchemaError, "have an attribute 'year' already"),
        ({CITES: {"y": "FROM new"}}, UnknownNameError, "no node type"),
    ):
        with pytest.raises(error, match=says):
            get(db, attributes=attributes)


def test_time_is_a_column_under_that_name(db: Database) -> None:
    data = get(
        db,
        "SELECT id, make_date(year, 1, 1) AS published FROM paper",
        "SELECT src, dst, w, 'epoch'::TIMESTAMP + INTERVAL 1 SECOND AS at FROM cites",
        time={"paper": "published", CITES: "at"},
    )
    assert data["paper"].time.tolist() == [12053, 11323, 11688]
    assert data[CITES].time.tolist() == [1_000_000] * 4
    assert "published" not in data["paper"]
    assert "at" not in data[CITES]


# -- PyG ---------------------------------------------------------------------------------------------------


def test_pyg_takes_it_as_its_own(db: Database) -> None:
    data = get(db, "SELECT id, x, year FROM paper WHERE id < 30", "FROM cites")
    assert data.validate()
    assert data.num_nodes == 2
    assert data.num_dropped == {CITES: 1}
    saved = io.BytesIO()
    torch.save(data, saved)
    saved.seek(0)
    for other in (torch.load(saved, weights_only=False), copy.copy(data), copy.deepcopy(data), data.clone(), data.to("cpu")):
        assert other.num_dropped == data.num_dropped
        for store, same in zip(data.stores[1:], other.stores[1:], strict=True):
            assert all(torch.equal(value, same[name]) for name, value in store.items())
    both = ToUndirected(merge=True)(copy.copy(data))
    assert both[CITES].edge_index.tolist() == [[0, 1, 1], [1, 0, 1]]
    assert AddSelfLoops()(copy.copy(data)).num_edges == 5
    assert data.to_homogeneous().num_edges == 3


@pytest.mark.skipif(not (WITH_PYG_LIB or WITH_TORCH_SPARSE), reason="PyG's in-memory sampler is not installed")
def test_pyg_samples_from_it(db: Database) -> None:
    data = get(db, "SELECT id, x, year FROM paper", "FROM cites")
    loader = NeighborLoader(data, [-1], input_nodes=("paper", torch.tensor([2])))
    (batch,) = loader
    assert sorted(batch["paper"].id.tolist()) == [10, 20]
