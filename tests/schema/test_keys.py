"""What may be a key, and what may refer to it: said when a graph is declared, with a remedy that works as it is written."""

from __future__ import annotations

import pytest
import torch

import dbgnn
from dbgnn import DataError, SchemaError


def pairs(edge_index: torch.Tensor) -> list[tuple[int, int]]:
    return sorted((s, d) for s, d in edge_index.T.tolist())


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


NAMES = [*"rid pos id k0 t q e r c0 degree dbgnn_pos m src dst SELECT ä".split(), "rowid ", 'a"b']


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
