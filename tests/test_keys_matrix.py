"""Keys of every type of DuckDB's, under every kind of collation: the same node in the store, loader, write-back, check and ETL.

A case is a type with keys, as SQL, in the order of their ids; and of some, other ways to write one that is equal.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch

import dbgnn
from dbgnn import Database, DataError, Graph, RequestError, SchemaError


@dataclass(frozen=True)
class Case:
    """A type of keys, four or more keys of it by rank, and how edges may write them."""

    kind: str
    keys: tuple[str, ...]
    also: dict[int, str] = field(default_factory=dict)
    edge_kind: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.edge_kind}".strip()


def texts(*values: str) -> tuple[str, ...]:
    return tuple(f"'{value}'" for value in values)


CASES = [
    Case("BOOLEAN", ("false", "true")),
    *(Case(kind, ("-128", "-1", "0", "127")) for kind in ("TINYINT", "SMALLINT", "INTEGER")),
    Case("BIGINT", ("-9223372036854775808", "-1", "5", "9223372036854775807")),
    Case("BIGINT", ("0", "1", "2", "3"), edge_kind="UTINYINT"),
    Case("HUGEINT", ("-170141183460469231731687303715884105728", "0", "18446744073709551617", str(2**127 - 1))),
    Case("HUGEINT", ("-1", "0", "9", "9007199254740993"), edge_kind="BIGINT"),
    *(Case(kind, ("0", "1", "7", "255")) for kind in ("UTINYINT", "USMALLINT", "UINTEGER")),
    Case("UBIGINT", ("0", "1", "9223372036854775808", "18446744073709551615")),
    Case("UHUGEINT", ("0", "18446744073709551617", str(2**127), str(2**128 - 1))),
    Case("BIGNUM", texts("-" + "9" * 50, "0", "5", "9" * 50)),
    *(Case(k, texts("-inf", "-1.5", "0.0", "inf", "nan"), {2: "'-0.0'"}) for k in ("FLOAT", "DOUBLE")),
    Case("DECIMAL(4,1)", ("-999.9", "0", "1.5", "2.5")),
    Case("DECIMAL(9,3)", ("-1", "0", "1.5", "2.125")),
    Case("DECIMAL(18,3)", ("-1", "0", "1.5", "2.125")),
    Case("DECIMAL(38,10)", ("-1", "0", "1.5", "9999999999999999999999999999.0000000001")),
    Case("VARCHAR", ("''", "'A'", "'a'", "'a' || chr(0) || 'b'", "'a '", "'a''\"'", "'a' || chr(776)", "'ä'")),
    Case("CHAR(3)", texts("A", "a", "b", "toolong")),
    Case("VARCHAR COLLATE NOCASE", texts("a", "B", "c", "ä"), {0: "'A'", 3: "'Ä'"}),
    Case("VARCHAR COLLATE NOCASE", texts("a", "B", "c", "d"), {0: "'A'", 2: "'C'"}, edge_kind="VARCHAR"),
    Case("VARCHAR COLLATE NOACCENT", texts("B", "a", "é", "o"), {1: "'ä'", 2: "'e'"}),
    Case("VARCHAR COLLATE NFC", texts("a", "b", "ä", "é"), {2: "'a' || chr(776)"}),
    Case("VARCHAR COLLATE de", texts("a", "A", "ä", "z"), {2: "'a' || chr(776)"}),
    Case("VARCHAR COLLATE NOCASE.NOACCENT", texts("a", "B", "é", "o"), {0: "'Ä'", 2: "'E'"}),
    Case("VARCHAR COLLATE NOCASE.NOACCENT.de", texts("a", "B", "é", "o"), {0: "'Ä'", 2: "'E'"}),
    Case("JSON", ("'\"A\"'", "'\"a\"'", "'1'", "'{\"a\": 1}'")),
    Case("BLOB", (r"''::BLOB", r"'\x00'::BLOB", r"'\x00\xFF'::BLOB", "'a'::BLOB")),
    Case("BIT", texts("0101", "1", "101", "1111111111")),
    Case("UUID", texts("00000000-0000-0000-0000-000000000001", "80000000-0000-0001-0000-000000000001", "f" * 32)),
    Case("ENUM('b', 'a', 'B', '')", texts("b", "a", "B", "")),
    Case("GEOMETRY", texts("POINT(1 2)", "POINT(1 1)", "POINT(1 0.1)")),
    Case("DATE", texts("-infinity", "0044-03-15 (BC)", "2020-01-01", "12000-01-01", "infinity")),
    Case("TIME", texts("00:00:00", "12:00:00", "12:00:00.000001", "24:00:00")),
    Case("TIME_NS", texts("00:00:00", "12:00:00", "12:00:00.000000001", "23:59:59.999999999")),
    Case("TIMETZ", texts("12:00:00+05:30", "13:00:00+01", "12:00:00+00", "11:00:00-01")),
    Case("TIMESTAMP", texts("-infinity", "0044-03-15 (BC) 10:00:00", "2020-01-01 00:00:00.1", "12000-01-01", "infinity")),
    Case("TIMESTAMP_S", texts("1969-12-31 23:59:59", "2020-01-01", "12000-01-01", "infinity")),
    Case("TIMESTAMP_MS", texts("1969-12-31 23:59:59.999", "2020-01-01 00:00:00.001", "12000-01-01", "infinity")),
    Case("TIMESTAMP_NS", texts("-infinity", "2020-01-01 00:00:00.000000001", "2020-01-01 00:00:00.000000002", "infinity")),
    Case(
        "TIMESTAMPTZ",
        texts(
            "-infinity", "0044-03-15 (BC) 00:00:00+00", "2020-01-01 00:00:00.000001+00", "12000-01-01 00:00:00+00", "infinity"
        ),
        {2: "'2020-01-01 05:30:00.000001+05:30'"},
    ),
    Case("TIMESTAMPTZ_NS", texts("2020-01-01 00:00:00+00", "2020-01-01 00:00:00.000000001+00", "2021-01-01 00:00:00+00")),
]

SETTINGS = ["SELECT 1", "SET default_collation = 'NOCASE'", "SET TimeZone = 'Asia/Kolkata'"]

cases = pytest.mark.parametrize("case", CASES, ids=str)


def build(db: Database, case: Case) -> tuple[Graph, list[tuple[int, int]]]:
    """A graph of nodes in the reverse order of their ids, whose edges write some keys in another way; and its edges by id."""
    n = len(case.keys)
    edge_kind = case.edge_kind or case.kind
    db.execute(f'CREATE TABLE n ("key" {case.kind}, v BIGINT); CREATE TABLE e (s {edge_kind}, d {edge_kind})')
    for rank, key in reversed(list(enumerate(case.keys))):
        db.execute(f"INSERT INTO n VALUES ({key}, {rank})")
    edges = [(i, (i * 2 + 1) % n) for i in range(n)] + [(i, i) for i in range(n)]
    for s, d in edges:
        db.execute(f"INSERT INTO e VALUES ({case.also.get(s, case.keys[s])}, {case.keys[d]})")
    db.execute(
        'CREATE PROPERTY GRAPH g VERTEX TABLES (n KEY ("key") PROPERTIES (v)) EDGE TABLES (e '
        'SOURCE KEY (s) REFERENCES n ("key") DESTINATION KEY (d) REFERENCES n ("key"))'
    )
    return db.graph("g"), edges


def pairs(edge_index: torch.Tensor) -> list[tuple[int, int]]:
    return sorted((s, d) for s, d in edge_index.T.tolist())


@cases
def test_a_key_is_one_node_everywhere(case: Case) -> None:
    with dbgnn.connect(progress=False) as db:
        graph, edges = build(db, case)
        n = len(case.keys)
        # ids are by rank, and keys lead there and back
        fs, _ = db.get_torch_geometric_remote_backend()
        assert fs.get_tensor("n", "v", None).tolist() == list(range(n))
        keys = fs.keys("n")
        assert fs.ids("n", keys).tolist() == list(range(n))
        assert fs.ids("n", list(keys)[::-1]).tolist() == list(range(n))[::-1]
        assert fs.ids("n", [fs.keys("n", i) for i in range(n)]).tolist() == list(range(n))
        ends = fs.keys(("n", "e", "n"))
        assert [fs.ids("n", [s for s, _ in ends]).tolist(), fs.ids("n", [d for _, d in ends]).tolist()] == [
            [s for s, _ in edges],
            [d for _, d in edges],
        ]
        # the loader
        batches = dbgnn.NeighborLoader(graph, num_neighbors=[-1], input_nodes="n", batch_size=n)
        [batch] = batches
        assert torch.equal(batch["n"].v, batch["n"].n_id)
        assert pairs(batch["n", "e", "n"].edge_index) == sorted(edges)
        # the check sees nothing
        report = graph.check(progress=False)
        assert report.ok, str(report)
        assert [f.count for f in report.findings if f.what == "self loops"] == [sum(s == d for s, d in edges)]
        # into memory
        data = graph.to_heterodata()
        assert pairs(data["n", "e", "n"].edge_index) == sorted(edges)
        assert data["n"].v.tolist() == list(range(n))
        some = graph.to_heterodata(seeds=("n", "v = 0"), hops=1)
        assert sorted(some["n"].v.tolist()) == sorted({s for s, d in edges if d == 0} | {0})
        queried = dbgnn.query_to_heterodata(
            db, nodes={"n": 'SELECT "key", v FROM n ORDER BY v'}, edges={("n", "e", "n"): "SELECT s, d FROM e"}
        )
        assert pairs(queried["n", "e", "n"].edge_index) == sorted(edges)
        attached = queried["n"].key
        assert len(attached) == n
        # and back, by key
        assert graph.write_back("n", w=torch.arange(n) * 10, keys=keys) == n
        assert graph.write_back("n", w=torch.arange(n) * 10, keys=keys, into="side") == n
        assert graph.write_back("n", w=torch.arange(n) * 10, keys=keys, into="side") == n
        assert db.execute("SELECT count(*) FROM n WHERE w = v * 10").fetchall() == [(n,)]
        assert db.execute('SELECT count(*) FROM n JOIN side USING ("key") WHERE side.w = v * 10').fetchall() == [(n,)]


@pytest.mark.parametrize("setting", SETTINGS[1:])
@pytest.mark.parametrize("case", [c for c in CASES if c.kind in ("VARCHAR", "JSON", "TIMESTAMPTZ", "CHAR(3)", "UUID")], ids=str)
def test_settings_change_no_key(case: Case, setting: str) -> None:
    with dbgnn.connect(progress=False) as db:
        graph, edges = build(db, case)
        graph.build()
        fs, _ = db.get_torch_geometric_remote_backend()
        keys, n = fs.keys("n"), len(case.keys)
        db.execute(setting)
        assert fs.keys("n") == keys
        assert fs.ids("n", keys).tolist() == list(range(n))
        graph.build(force=True)
        [batch] = dbgnn.NeighborLoader(graph, num_neighbors=[-1], input_nodes="n", batch_size=n)
        assert pairs(batch["n", "e", "n"].edge_index) == sorted(edges)
        assert graph.check(progress=False).ok
        assert pairs(graph.to_heterodata()["n", "e", "n"].edge_index) == sorted(edges)
        assert graph.write_back("n", w=torch.arange(n), keys=keys, into="side") == n
        db.execute(setting.replace("'NOCASE'", "''").replace("'Asia/Kolkata'", "'UTC'"))
        assert fs.ids("n", keys).tolist() == list(range(n))


@pytest.mark.parametrize("case", [c for c in CASES if c.also], ids=str)
def test_equal_keys_are_seen_by_all(case: Case) -> None:
    with dbgnn.connect(progress=False) as db:
        graph, _ = build(db, case)
        graph.build()
        other = next(iter(case.also.values()))
        db.execute(f"INSERT INTO n VALUES ({other}, -1)")
        with pytest.raises(DataError, match="not unique"):
            graph.build()
        [found] = [f for f in graph.check(progress=False).errors if f.what == "duplicate keys"]
        assert found.count == 1
        with pytest.raises(DataError, match="2 rows for one key"):
            graph.to_heterodata()
        with pytest.raises(DataError, match="2 rows for one key"):
            dbgnn.query_to_heterodata(db, nodes={"n": 'SELECT "key", v FROM n'})


@cases
def test_a_changed_key_makes_the_index_stale(case: Case) -> None:
    with dbgnn.connect(progress=False) as db:
        graph, _ = build(db, case)
        db.execute("DELETE FROM e")
        db.execute(f"DELETE FROM n WHERE v = {len(case.keys) - 1}")
        graph.build()
        fs, _ = db.get_torch_geometric_remote_backend()
        fs.ids("n", [])
        db.execute(f'UPDATE n SET "key" = {case.keys[-1]} WHERE v = 0')
        with pytest.raises(dbgnn.StaleIndexError):
            fs.get_tensor("n", "v", None)


@cases
def test_dangling_edges_name_the_key(case: Case) -> None:
    with dbgnn.connect(progress=False) as db:
        graph, edges = build(db, case)
        last = len(case.keys) - 1
        db.execute(f"DELETE FROM n WHERE v = {last}")
        gone = sum(last in edge for edge in edges)
        with pytest.raises(DataError, match=f"{gone} rows of edge table 'e'.*is no key of 'n'"):
            graph.build()
        found = [f for f in graph.check(progress=False).errors if f.what == "dangling"]
        assert [f.count for f in found] == [sum(e[end] == last for e in edges) for end in (0, 1)]
        assert all(len(f.examples) == 1 for f in found)
        with pytest.raises(DataError, match="no 'n'"):
            graph.to_heterodata()
        graph.build(dangling="drop")
        assert graph.topology().edges["n", "e", "n"].dropped == gone


NO_KEYS = {
    "INTERVAL": "'1 month'",
    "STRUCT(a INTEGER)": "{'a': 1}",
    "INTEGER[]": "[1]",
    "INTEGER[2]": "[1, 2]",
    "MAP(VARCHAR, INTEGER)": "MAP {'a': 1}",
    "UNION(a INTEGER, b VARCHAR)": "1",
    "VARIANT": "1",
}


@pytest.mark.parametrize("kind", NO_KEYS)
def test_what_cannot_be_a_key_is_said_at_create(kind: str) -> None:
    with dbgnn.connect(progress=False) as db:
        db.execute(f'CREATE TABLE n ("the key" {kind}, v BIGINT); INSERT INTO n VALUES ({NO_KEYS[kind]}, 0)')
        db.execute(f"CREATE TABLE e (s {kind}, d {kind}); INSERT INTO e VALUES ({NO_KEYS[kind]}, {NO_KEYS[kind]})")
        with pytest.raises(SchemaError, match=r"'the key' of vertex table 'n' is .*, which cannot be a key.*: ALTER") as error:
            db.execute('CREATE PROPERTY GRAPH g VERTEX TABLES (n KEY ("the key"))')
        # the remedy, as it is written
        db.execute(str(error.value).partition("likewise: ")[2].rstrip("."))
        db.execute('CREATE PROPERTY GRAPH g VERTEX TABLES (n KEY ("the key_text") PROPERTIES (v))')
        fs, _ = db.get_torch_geometric_remote_backend()
        assert fs.ids("n", fs.keys("n")).tolist() == [0]


MISFITS = [
    ("VARCHAR", "VARCHAR COLLATE NOCASE"),
    ("VARCHAR COLLATE NOACCENT", "VARCHAR COLLATE NOCASE"),
    ("BIGINT", "VARCHAR"),
    ("UHUGEINT", "HUGEINT"),
    ("UHUGEINT", "BIGINT"),
    ("ENUM('1', '2')", "ENUM('2', '1')"),
    ("ENUM('1', '2')", "VARCHAR"),
    ("TIMESTAMP", "TIMESTAMPTZ"),
    ("DECIMAL(4,1)", "DECIMAL(5,1)"),
]


@pytest.mark.parametrize(
    ("kind", "edge_kind", "held"),
    [(*types, "") for types in MISFITS]
    + [(*types, held) for types in MISFITS[:3] for held in ("PRIMARY KEY (s, d)", "UNIQUE (s)", "CHECK (s IS NOT NULL)")],
)
def test_an_edge_key_of_another_type_is_said_at_create_with_a_remedy_that_works(kind: str, edge_kind: str, held: str) -> None:
    value = "'2020-01-01 00:00:00+00'" if "TIME" in kind else "'1'"
    constraint = f", {held}" if held else ""
    with dbgnn.connect(progress=False) as db:
        db.execute(f"CREATE TABLE n (id {kind}, v BIGINT); INSERT INTO n VALUES ({value}, 7)")
        db.execute(
            f'CREATE TABLE "my edges" (s {edge_kind}, d {kind}{constraint}); INSERT INTO "my edges" VALUES ({value}, {value})'
        )
        graph = (
            "CREATE PROPERTY GRAPH g VERTEX TABLES (n KEY (id)) EDGE TABLES ({} AS e SOURCE KEY (s) REFERENCES n (id) "
            "DESTINATION KEY (d) REFERENCES n (id))"
        )
        with pytest.raises(SchemaError, match=r"'s' of 'my edges' is .* Give both one type: ") as error:
            db.execute(graph.format('"my edges"'))
        remedy = str(error.value).partition("one type: ")[2].rstrip(".")
        statement, _, used = remedy.partition(", and use ")
        db.execute(statement)
        db.execute(graph.format(used or '"my edges"'))
        [batch] = dbgnn.NeighborLoader(db.graph("g"), num_neighbors=[-1], input_nodes="n", batch_size=1)
        assert batch["n", "e", "n"].edge_index.tolist() == [[0], [0]]


def test_foreign_keys_that_differ_in_collation_are_said_when_the_graph_is_inferred() -> None:
    with dbgnn.connect(progress=False) as db:
        db.execute("CREATE TABLE city (name VARCHAR PRIMARY KEY)")
        db.execute("CREATE TABLE person (id BIGINT PRIMARY KEY, city VARCHAR COLLATE NOCASE REFERENCES city (name))")
        with pytest.raises(
            SchemaError, match="'city' of 'person' is VARCHAR COLLATE NOCASE, but column 'name' of 'city' is VARCHAR"
        ):
            db.graph()


def test_composite_keys_mix_types_and_collations() -> None:
    kinds = {
        "a": "VARCHAR COLLATE NOCASE",
        "b": "TIMESTAMPTZ",
        "c": "UHUGEINT",
        "d": "DOUBLE",
        "e": "TIMETZ",
        "f": "VARCHAR",
        'k0 "x': "BIT",
    }
    columns = ", ".join(f'"{name.replace(chr(34), chr(34) * 2)}" {kind}' for name, kind in kinds.items())
    names = ", ".join(f'"{name.replace(chr(34), chr(34) * 2)}"' for name in kinds)
    rows = [
        ("'a'", "'2020-01-01 00:00:00+00'", "0", "'nan'", "'12:00:00+01'", "'x'", "'1'"),
        ("'a'", "'2020-01-01 00:00:00+00'", str(2**128 - 1), "'nan'", "'12:00:00+01'", "'X'", "'01'"),
        ("'b'", "'infinity'", "0", "'-0.0'", "'12:00:00+00'", "'x'", "'1'"),
    ]
    with dbgnn.connect(progress=False) as db:
        db.execute(f"CREATE TABLE n ({columns}, v BIGINT)")
        for rank, row in reversed(list(enumerate(rows))):
            db.execute(f"INSERT INTO n VALUES ({', '.join(row)}, {rank})")
        db.execute("CREATE TABLE e AS SELECT n.* EXCLUDE (v), row_number() OVER () AS id FROM n; UPDATE e SET a = upper(a)")
        db.execute(
            f"CREATE PROPERTY GRAPH g VERTEX TABLES (n KEY ({names}) PROPERTIES (v), e KEY (id)) EDGE TABLES (e AS of "
            f"SOURCE KEY (id) REFERENCES e (id) DESTINATION KEY ({names}) REFERENCES n ({names}) NO PROPERTIES)"
        )
        graph = db.graph("g")
        fs, _ = db.get_torch_geometric_remote_backend()
        keys = fs.keys("n")
        assert [key[2] for key in keys] == [0, 2**128 - 1, 0]
        assert keys[2][1] == "infinity"
        assert fs.ids("n", keys[::-1]).tolist() == [2, 1, 0]
        assert graph.write_back("n", w=torch.arange(3), keys=keys, into="side") == 3
        assert graph.check(progress=False).ok
        [batch] = dbgnn.NeighborLoader(graph, num_neighbors=[-1], input_nodes="n", batch_size=3)
        assert batch["e", "of", "n"].edge_index.shape == (2, 3)
        assert pairs(graph.to_heterodata()["e", "of", "n"].edge_index) == [(0, 2), (1, 1), (2, 0)]


@pytest.mark.parametrize(
    "kind", ["TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "UBIGINT", "FLOAT", "DOUBLE", "BOOLEAN"]
)
def test_keys_of_numbers_are_arrays_of_ones_own(kind: str) -> None:
    with dbgnn.connect(progress=False) as db:
        db.execute(f"CREATE TABLE n AS SELECT i::{kind} AS id, i AS v FROM range(2) t(i)")
        db.execute("CREATE PROPERTY GRAPH g VERTEX TABLES (n KEY (id))")
        fs, _ = db.get_torch_geometric_remote_backend()
        dtype = db.execute("SELECT id FROM n").fetchnumpy()["id"].dtype
        for keys in (fs.keys("n"), fs.keys("n", torch.tensor([1])), fs.keys("n", [])):
            assert isinstance(keys, np.ndarray)
            assert keys.flags.writeable
            assert keys.flags.owndata
            torch.from_numpy(keys)  # warns of arrays that cannot be written to
            assert keys.dtype == dtype


@pytest.mark.parametrize(
    ("kind", "key", "given", "message"),
    [
        ("BIGINT", "2", [1.5], "not double"),
        ("BIGINT", "2", ["1.5"], "not of the key's type"),
        ("BIGINT", "1", [True], "not bool"),
        ("BOOLEAN", "true", [2], "not int64"),
        ("DECIMAL(4,1)", "1.6", ["1.55"], "not of the key's type"),
        ("DECIMAL(4,1)", "1.6", [1.55], "not double"),
        ("DATE", "'2020-01-01'", ["2020-01-01 10:00:00"], "not of the key's type"),
        ("DATE", "'2020-01-01'", np.array(["2020-01-01T10:00"], dtype="datetime64[s]"), "without loss"),
        ("TIMESTAMP_S", "'2020-01-01'", np.array(["2020-01-01T00:00:00.1"], dtype="datetime64[ms]"), "without loss"),
        ("TIMESTAMP_S", "'2020-01-01'", ["2020-01-01 00:00:00.1"], "not of the key's type"),
        ("TIMESTAMP", "'2020-01-01'", ["2020-01-01 00:00:00+05:30"], "not of the key's type"),
        ("TIMESTAMPTZ", "'2020-01-01 00:00:00+00'", ["2020-01-01 00:00:00"], "not of the key's type"),
        ("TIMESTAMPTZ", "'2020-01-01 00:00:00+00'", np.array(["2020-01-01"], dtype="datetime64[us]"), "timezone.utc"),
    ],
)
def test_no_key_is_rounded_until_it_fits(kind: str, key: str, given: Any, message: str) -> None:
    with dbgnn.connect(progress=False) as db:
        db.execute(f"CREATE TABLE n (id {kind}, v BIGINT); INSERT INTO n VALUES ({key}, 0)")
        db.execute("CREATE PROPERTY GRAPH g VERTEX TABLES (n KEY (id))")
        fs, _ = db.get_torch_geometric_remote_backend()
        with pytest.raises(RequestError, match=message):
            fs.ids("n", given)


NAMES = [
    "rid",
    "pos",
    "id",
    "k0",
    "t",
    "q",
    "e",
    "r",
    "c0",
    "degree",
    "dbgnn_pos",
    "rowid ",
    "m",
    "src",
    "dst",
    'a"b',
    "ä",
    "SELECT",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_key_may_have_any_name(name: str) -> None:
    key, other = (f'"{n.replace(chr(34), chr(34) * 2)}"' for n in (name, f"{name}2"))
    with dbgnn.connect(progress=False) as db:
        db.execute(
            f"CREATE TABLE n ({key} VARCHAR, v INTEGER); INSERT INTO n SELECT chr(101 - i::INTEGER), i FROM range(5) x(i)"
        )
        db.execute(f"CREATE TABLE ed ({key} VARCHAR, {other} VARCHAR); INSERT INTO ed VALUES ('a', 'b'), ('e', 'c')")
        db.execute(
            f"CREATE PROPERTY GRAPH g VERTEX TABLES (n KEY ({key})) EDGE TABLES (ed SOURCE KEY ({key}) REFERENCES n ({key}) "
            f"DESTINATION KEY ({other}) REFERENCES n ({key}))"
        )
        graph = db.graph("g")
        fs, _ = db.get_torch_geometric_remote_backend()
        assert fs.keys("n") == list("abcde")
        assert fs.ids("n", ["c"]).tolist() == [2]
        assert graph.check(progress=False).ok
        [batch] = dbgnn.NeighborLoader(graph, num_neighbors=[-1], input_nodes="n", batch_size=9)
        assert pairs(batch["n", "ed", "n"].edge_index) == [(0, 1), (4, 2)]
        assert pairs(graph.to_heterodata(seeds=("n", "v < 9"), hops=2)["n", "ed", "n"].edge_index) == [(0, 1), (4, 2)]
        assert graph.write_back("n", w=torch.arange(5), into="side") == 5
        with pytest.raises(DataError, match="have a value in w already"):
            graph.write_back("n", w=torch.arange(5), into="side", on_conflict="error")
        assert graph.write_back(("n", "ed", "n"), w=torch.arange(2), into="of_edges") == 2


def test_a_generated_column_may_be_a_key() -> None:
    with dbgnn.connect(progress=False) as db:
        db.execute(
            "CREATE TABLE n (a INTEGER, code VARCHAR GENERATED ALWAYS AS ('k' || a)); INSERT INTO n VALUES (2), (1), (0)"
        )
        db.execute("CREATE TABLE e (s VARCHAR, d VARCHAR); INSERT INTO e VALUES ('k0', 'k2')")
        db.execute(
            "CREATE PROPERTY GRAPH g VERTEX TABLES (n KEY (code)) EDGE TABLES (e SOURCE KEY (s) REFERENCES n (code) "
            "DESTINATION KEY (d) REFERENCES n (code))"
        )
        graph = db.graph("g")
        fs, _ = db.get_torch_geometric_remote_backend()
        assert fs.keys("n") == ["k0", "k1", "k2"]
        assert graph.write_back("n", w=torch.rand(3, 2), keys=["k2", "k1", "k0"]) == 3
        [batch] = dbgnn.NeighborLoader(graph, num_neighbors=[-1], input_nodes="n", batch_size=3)
        assert batch["n", "e", "n"].edge_index.tolist() == [[0], [2]]
        db.execute("UPDATE n SET a = 7 WHERE a = 0")
        with pytest.raises(dbgnn.StaleIndexError):
            fs.keys("n")
