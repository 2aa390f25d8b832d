"""Keys of every type of DuckDB's, under every kind of collation: the same node in the store, loader, write-back, check and ETL.

A case is a type with keys, as SQL, in the order of their ids; and of some, other ways to write one that is equal.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import torch

import dbgnn
from dbgnn import Database, DataError, Graph


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
