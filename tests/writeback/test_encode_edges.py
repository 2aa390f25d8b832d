"""`graph.encode` on edge types: values by `e_id`, in the edge table or beside it, compared with what SQL makes of each row."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

import dbgnn
from dbgnn import Identity, Normalize, OneHot, Stack
from dbgnn.schema import EdgeType

PAYS, BACK = ("person", "pays", "person"), ("person", "paid_by", "person")
X = Stack(Identity("amount"), OneHot("kind", categories=("card", "cash"), null="mask"), dtype="float64")

#: What `X` makes of a row, in SQL.
ROW = "[amount::DOUBLE, coalesce(kind = 'card', false)::DOUBLE, coalesce(kind = 'cash', false)::DOUBLE, (kind IS NULL)::DOUBLE]"


@dataclass(frozen=True)
class Case:
    """A table of edges and what is declared over it."""

    keys: bool
    conditions: tuple[str, ...]  # one edge type each; "" for all rows
    people: str = ""
    file: bool = True
    dangling: bool = False

    @property
    def types(self) -> list[EdgeType]:
        return [PAYS, BACK][: len(self.conditions)]


CASES = {
    "keys": Case(keys=True, conditions=("",)),
    "no keys": Case(keys=False, conditions=("",)),
    "no keys, a condition": Case(keys=False, conditions=("NOT gone",)),
    "both directions, keys": Case(keys=True, conditions=("", "")),
    "both directions, no keys": Case(keys=False, conditions=("", "")),
    "two conditions": Case(keys=False, conditions=("NOT gone", "kind = 'cash'")),
    "two conditions, keys": Case(keys=True, conditions=("kind IS NULL", "amount > 3")),
    "people left out": Case(keys=True, conditions=("", "NOT gone"), people="id % 4 > 0"),
    "people left out, no keys": Case(keys=False, conditions=("NOT gone",), people="id % 4 > 0"),
    "edges that dangle": Case(keys=False, conditions=("",), dangling=True),
    "in memory": Case(keys=True, conditions=("", "NOT gone"), file=False),
}


def declared(case: Case) -> str:
    where = f" WHERE {case.people}" if case.people else ""
    edges = []
    for (_, label, _), condition in zip(case.types, case.conditions, strict=True):
        one, other = ("a", "b") if label == "pays" else ("b", "a")
        which = f" WHERE {condition}" if condition else ""
        edges.append(
            f"paid{which} SOURCE KEY ({one}) REFERENCES person (id) DESTINATION KEY ({other}) REFERENCES person (id) "
            f"LABEL {label}"
        )
    return f"CREATE PROPERTY GRAPH g VERTEX TABLES (person{where} KEY (id)) EDGE TABLES ({', '.join(edges)})"


def rows(rng: random.Random, start: int, count: int) -> str:
    made = []
    for i in range(start, start + count):
        kind = rng.choice(["'card'", "'cash'", "NULL"])
        made.append(
            f"('t{i}', {3 * rng.randrange(20)}, {3 * rng.randrange(20)}, {rng.randrange(80) / 4}, {kind}, {i % 3 == 0})"
        )
    return f"INSERT INTO paid (tx, a, b, amount, kind, gone) VALUES {', '.join(made)}"


@pytest.fixture(params=CASES.values(), ids=list(CASES))
def case(request: pytest.FixtureRequest) -> Case:
    found: Case = request.param
    return found


def opened(case: Case, rng: random.Random, folder: Path) -> dbgnn.Database:
    db = dbgnn.connect(folder / "g.duckdb" if case.file else ":memory:", progress=False)
    key, refers = ("PRIMARY KEY", "REFERENCES person (id)") if case.keys else ("", "")
    db.execute(
        f"CREATE TABLE person (id BIGINT {key}); INSERT INTO person SELECT 3 * i FROM range({17 if case.dangling else 20}) t(i)"
    )
    db.execute(
        f"CREATE TABLE paid (tx VARCHAR {key}, a BIGINT {refers}, b BIGINT {refers}, amount DECIMAL(8, 2), kind VARCHAR, "
        "gone BOOLEAN)"
    )
    db.execute(rows(rng, 0, 200))
    db.execute(declared(case))
    return db


def oracle(db: dbgnn.Database, case: Case, edge_type: EdgeType) -> torch.Tensor:
    """Return what `X` makes of the edges, in the order of their rows."""
    condition = case.conditions[case.types.index(edge_type)] or "true"
    people = f"SELECT id FROM person WHERE {case.people or 'true'}"
    found = db.sql(
        f"SELECT {ROW} FROM paid WHERE ({condition}) AND a IN ({people}) AND b IN ({people}) ORDER BY rowid ASC"
    ).fetchall()
    return torch.tensor([row for (row,) in found], dtype=torch.float64).reshape(-1, 4)


def check(db: dbgnn.Database, case: Case) -> None:
    """Compare what the stores, a loader and memory serve."""
    graph = db.graph("g")
    store, _ = stores = db.get_torch_geometric_remote_backend("g", columns={t: ["x"] for t in case.types})
    dangling = "drop" if case.dangling else None
    data = graph.to_heterodata(columns={t: ["x"] for t in case.types}, dangling=dangling)
    loader = dbgnn.NeighborLoader(stores, {t: [4] for t in case.types}, input_nodes="person", batch_size=7)
    batches = list(loader)
    for edge_type in case.types:
        wanted = oracle(db, case, edge_type)
        assert torch.equal(store.get_tensor(edge_type, "x", None), wanted)
        assert torch.equal(data[edge_type].x, wanted)
        some = torch.randint(len(wanted), (30,))
        assert torch.equal(store.get_tensor(edge_type, "x", some), wanted[some])
        assert torch.equal(store.get_tensor(edge_type, "x", slice(5, 12)), wanted[5:12])
        assert sum(len(batch[edge_type].e_id) for batch in batches) > 10
        for batch in batches:
            assert torch.equal(batch[edge_type].x, wanted[batch[edge_type].e_id])


def test_values_are_those_of_the_rows(case: Case, tmp_path: Path) -> None:
    seed = list(CASES.values()).index(case)
    rng = random.Random(seed)
    torch.manual_seed(seed)
    with opened(case, rng, tmp_path) as db:
        if seed % 2:  # gaps before the index is built
            db.execute(f"DELETE FROM paid WHERE tx IN (SELECT 't' || i FROM range({seed}, 150, 7) r(i))")
        graph = db.graph("g").build(dangling="drop" if case.dangling else None)
        fitted = {t: graph.encode(t, "x", X) for t in case.types}
        assert [f.is_beside for f in fitted.values()] == [case.keys or len(case.types) > 1] * len(case.types)
        check(db, case)
        changes: list[Callable[[], object]] = [
            lambda: db.execute(rows(rng, 1000, 20)),
            lambda: db.execute(f"DELETE FROM paid WHERE hash(tx, {seed}) % 9 = 0"),
            lambda: db.execute(f"UPDATE paid SET amount = amount + 1 WHERE hash(tx, {seed}) % 11 = 0"),
            lambda: db.execute("UPDATE paid SET kind = NULL WHERE tx = 't9'"),
            lambda: db.execute("CHECKPOINT"),
        ]
        rng.shuffle(changes)
        for some in (changes[:1], changes[1:3], changes[3:]):
            for change in some:
                change()
            for of in fitted.values():
                of.update()
            assert [of.update() for of in fitted.values()] == [0] * len(fitted)
            check(db, case)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[dbgnn.Database]:
    with opened(CASES["keys"], random.Random(7), tmp_path) as db:
        yield db


def served(db: dbgnn.Database, name: str = "x") -> torch.Tensor:
    store, _ = db.get_torch_geometric_remote_backend("g")
    found: torch.Tensor = store.get_tensor(PAYS, name, None)
    return found


def test_new_rows_alone_are_encoded(db: dbgnn.Database) -> None:
    fitted = db.graph("g").encode("pays", "x", X)  # by the name in the middle
    assert (fitted.label, fitted.num_encoded) == (PAYS, 200)
    db.execute("INSERT INTO paid VALUES ('new', 0, 3, 1.5, 'cash', false)")
    with pytest.raises(dbgnn.StaleIndexError):
        served(db)
    assert fitted.update() == 1
    assert served(db)[-1].tolist() == [1.5, 0, 1, 0]
    db.execute("UPDATE paid SET amount = 9 WHERE tx = 't3'")
    assert fitted.update() == 1
    assert served(db)[3, 0] == 9


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE paid SET amount = 7.77 WHERE tx = 't5'",
        "DELETE FROM dbgnn.encoded_0 WHERE id = 3",
        "UPDATE dbgnn.encoded_0 SET id = CASE id WHEN 3 THEN 4 ELSE 3 END WHERE id IN (3, 4)",
        "DROP TABLE dbgnn.encoded_0",
    ],
)
def test_what_is_out_of_date_says_so_and_the_remedy_mends_it(db: dbgnn.Database, change: str) -> None:
    graph = db.graph("g")
    graph.encode(PAYS, "x", X)
    assert not graph.check().errors
    wanted = served(db)
    db.execute(change)
    for read in (lambda: served(db), graph.to_heterodata, lambda: next(iter(dbgnn.NeighborLoader(graph, [2], "person")))):
        with pytest.raises(dbgnn.StaleIndexError, match=r"graph\.encode\(\('person', 'pays', 'person'\), 'x'\)"):
            read()
    assert [f.column for f in graph.check().errors if f.what == "stale"] == ["x"]
    graph.encode(("person", "pays", "person"), "x")
    assert not graph.check().errors
    assert torch.equal(served(db)[6:], wanted[6:])


def test_a_foreign_key_of_a_node_table_is_an_edge_type_with_values_of_its_own(tmp_path: Path) -> None:
    with dbgnn.connect(tmp_path / "shop.duckdb", progress=False) as db:
        db.execute("""CREATE TABLE city (id BIGINT PRIMARY KEY); INSERT INTO city FROM range(3);
            CREATE TABLE customer (id BIGINT PRIMARY KEY, city_id BIGINT REFERENCES city (id), age INTEGER);
            INSERT INTO customer SELECT i, CASE WHEN i % 4 > 0 THEN i % 3 END, CASE WHEN i % 4 > 0 THEN i END
              FROM range(20) t(i)""")
        graph = db.graph()
        lives = ("customer", "city_id", "city")
        fitted = graph.encode(lives, "age_x", Normalize("age", how="minmax"))  # NULL where there is no edge
        assert (fitted.num_rows, fitted.num_encoded, fitted.is_beside) == (15, 15, True)
        data = graph.to_heterodata({"customer": "age IS NOT NULL"})
        assert "age_x" not in data["customer"]
        ages = [i for i in range(20) if i % 4]
        assert torch.allclose(data[lives].age_x, (torch.tensor(ages) - 1) / 18.0)


def test_every_plan_and_packs_serve_it(db: dbgnn.Database, tmp_path: Path) -> None:
    graph = db.graph("g")
    graph.encode(PAYS, "x", X)
    wanted = served(db)
    for plan in ("join", "shared", "spooled"):
        loader = dbgnn.NeighborLoader(graph, [3], "person", batch_size=6, plan=plan, cache_bytes=0)
        for batch in loader:
            assert torch.equal(batch[PAYS].x, wanted[batch[PAYS].e_id])
    loader.pack(tmp_path / "pack")
    packed = list(dbgnn.PackedLoader(tmp_path / "pack"))
    assert len(packed) == 4
    for batch in packed:
        assert torch.equal(batch[PAYS].x, wanted[batch[PAYS].e_id])
    links = dbgnn.LinkNeighborLoader(graph, [2], PAYS, batch_size=20)
    for batch in links:
        assert torch.equal(batch[PAYS].x, wanted[batch[PAYS].e_id])


def test_it_goes_with_its_graph_and_can_be_removed(db: dbgnn.Database) -> None:
    graph = db.graph("g")
    graph.encode(PAYS, "x", X)
    assert "DOUBLE[4], encoded, in a table of its own" in str(graph)
    store, _ = db.get_torch_geometric_remote_backend("g")
    with pytest.raises(dbgnn.SchemaError, match="keeps it in a table of"):
        store.put_tensor(torch.zeros(200, 4), group_name=PAYS, attr_name="x", index=None)
    assert store.remove_tensor(PAYS, "x", None)
    assert "encoded" not in str(db.graph("g"))
    graph.encode(PAYS, "x", X)
    db.execute("DROP PROPERTY GRAPH g")
    assert db.sql("FROM duckdb_tables() SELECT table_name WHERE table_name ^@ 'encoded_'").fetchall() == []


def test_a_null_names_the_edge(db: dbgnn.Database) -> None:
    db.execute("INSERT INTO paid VALUES ('none', 6, 9, NULL, 'cash', false)")
    graph = db.graph("g").build()
    with pytest.raises(dbgnn.DataError, match="Column 'amount' of table 'paid' is NULL, or holds NULL, where a = 6, b = 9"):
        graph.encode(PAYS, "x", X)


COLUMNS = {"price": "1.25::DECIMAL(8, 2)", "huge": "7::HUGEINT", "title": "'a'", "guid": "uuid()", "tags": "['a', 'b']"}


@pytest.mark.parametrize("keys", [True, False], ids=["keys", "no keys"])
@pytest.mark.parametrize("name", COLUMNS)
def test_what_is_no_tensor_says_how_to_encode_it_and_that_works(name: str, *, keys: bool) -> None:
    key, refers = ("PRIMARY KEY", "REFERENCES person (id)") if keys else ("", "")
    with dbgnn.connect(progress=False) as db:
        db.execute(f"""CREATE TABLE person (id BIGINT {key}); INSERT INTO person FROM range(4);
            CREATE TYPE kinds AS ENUM ('a', 'b');
            CREATE TABLE paid (tx VARCHAR {key}, a BIGINT {refers}, b BIGINT {refers}, ok BOOLEAN, "on" DATE);
            ALTER TABLE paid ADD COLUMN {name} {db.sql(f"SELECT typeof({COLUMNS[name]})").fetchall()[0][0]};
            INSERT INTO paid SELECT 't' || i, i, 3 - i, i > 2, '2024-01-01', {COLUMNS[name]}
              FROM range(4) t(i);
            CREATE PROPERTY GRAPH g VERTEX TABLES (person KEY (id)) EDGE TABLES (
              paid SOURCE KEY (a) REFERENCES person (id) DESTINATION KEY (b) REFERENCES person (id) LABEL pays)""")
        graph = db.graph("g")
        assert graph.to_heterodata()[PAYS].ok.tolist() == [False, False, False, True]  # as columns of nodes are
        store, _ = db.get_torch_geometric_remote_backend("g")
        with pytest.raises(
            dbgnn.SchemaError, match=f"Column '{name}' of table 'paid' has type .* which is no tensor"
        ) as caught:
            store.get_tensor(PAYS, name, None)
        remedy = str(caught.value).partition("; ")[2].removesuffix(".").removesuffix(", or OneHot of few values")
        assert remedy in str(graph)
        assert remedy.startswith("graph.encode(('person', 'pays', 'person'), ")
        exec(remedy, {"graph": graph, "dbgnn": dbgnn})
        loader = dbgnn.NeighborLoader(graph, [4], "person", batch_size=4)
        (batch,) = loader
        assert len(batch[PAYS][f"{name}_x"]) == len(batch[PAYS].ok) == 4
