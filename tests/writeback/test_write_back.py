"""Writing back: what is written comes out again by key, ids stay, loaders fetch what they fetched, errors leave nothing."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch_geometric.data import Data

import dbgnn
from dbgnn.stores import tables
from dbgnn.writeback.write import write_rows
from dbgnn.writeback.write_target import Target
from tests.stores.conftest import SCHOLARS, WROTE

#: A graph of papers whose keys have gaps and lie in no order; ``{}`` is what the table is declared with beside the columns.
PAPERS = (
    "CREATE TABLE paper (id BIGINT{}, x FLOAT[2], year INTEGER)",
    "INSERT INTO paper SELECT 10 * (i * 7 % 20), [i, -i], 2000 + i FROM range(20) AS r(i)",
    "CREATE TABLE cites (s BIGINT, d BIGINT)",
    "INSERT INTO cites SELECT 10 * i, 10 * (i * 3 % 20) FROM range(20) AS r(i)",
    """CREATE PROPERTY GRAPH papers VERTEX TABLES (paper KEY (id))
       EDGE TABLES (cites SOURCE KEY (s) REFERENCES paper (id) DESTINATION KEY (d) REFERENCES paper (id))""",
)
CITES = ("paper", "cites", "paper")

Open = Callable[..., dbgnn.Database]


@pytest.fixture
def open_db(tmp_path: Path) -> Iterator[Open]:
    """A function that opens the test's file; closed at the end."""
    opened: list[dbgnn.Database] = []

    def make(*, read_only: bool = False, name: str = "g.duckdb") -> dbgnn.Database:
        opened.append(dbgnn.connect(tmp_path / name, read_only=read_only, threads=2, progress=False))
        return opened[-1]

    yield make
    for db in opened:
        db.close()


def papers(open_db: Open, declared: str = "", **options: Any) -> dbgnn.Graph:
    """The graph of `PAPERS`."""
    db = open_db(**options)
    for statement in PAPERS:
        db.execute(statement.format(declared))
    return db.graph()


@pytest.fixture
def graph(open_db: Open) -> dbgnn.Graph:
    """The graph of `PAPERS`, bound by nothing."""
    return papers(open_db)


def rows(graph: dbgnn.Graph, query: str) -> list[Any]:
    return graph.db.execute(query).fetchall()


def value(graph: dbgnn.Graph, query: str) -> Any:
    ((found,),) = rows(graph, query)
    return found


def state(graph: dbgnn.Graph) -> list[Any]:
    """Everything in the user's tables, and the graph's definition."""
    tables = [name for (name,) in rows(graph, "SELECT table_name FROM duckdb_tables() WHERE schema_name = 'main' ORDER BY ALL")]
    contents = [(name, rows(graph, f'SELECT rowid, * FROM "{name}" ORDER BY rowid')) for name in tables]
    return [*contents, rows(graph, "FROM dbgnn.graphs ORDER BY ALL")]


# -- what is written comes out again -----------------------------------------------------------------------


@pytest.mark.parametrize("declared", ["", " PRIMARY KEY"])
def test_columns_by_id(open_db: Open, declared: str) -> None:
    graph = papers(open_db, declared)
    embedding, pred = torch.randn(20, 3), torch.arange(20)
    embedding[4, 1] = float("nan")
    assert graph.write_back("paper", embedding=embedding, pred=pred) == 20
    store, _ = graph.db.get_torch_geometric_remote_backend(graph)
    assert torch.equal(store["paper", "embedding", None].nan_to_num(7), embedding.nan_to_num(7))
    assert store["paper", "embedding", [4]].isnan().tolist() == [[False, True, False]]
    assert rows(graph, "SELECT id, pred FROM paper ORDER BY id") == [(10 * i, i) for i in range(20)]
    assert rows(graph, "SELECT id, x, year FROM paper ORDER BY year") == [
        (10 * (i * 7 % 20), (float(i), float(-i)), 2000 + i) for i in range(20)
    ]
    kinds = {name: kind for name, kind, *_ in rows(graph, "DESCRIBE paper")}
    assert (kinds["embedding"], kinds["pred"]) == ("FLOAT[3]", "BIGINT")


@pytest.mark.parametrize("declared", ["", " PRIMARY KEY"])
def test_some_rows_leave_the_others_as_they_are(open_db: Open, declared: str) -> None:
    graph = papers(open_db, declared)
    n_id = torch.tensor([5, 2], dtype=torch.int32)
    assert graph.write_back("paper", n_id=n_id, x=torch.tensor([[5.0, 0.5], [2.0, 0.2]]), new=torch.tensor([[5], [2]])) == 2
    assert rows(graph, "SELECT id, x, new FROM paper WHERE new IS NOT NULL ORDER BY id") == [
        (20, (2.0, pytest.approx(0.2)), (2,)),
        (50, (5.0, 0.5), (5,)),
    ]
    assert value(graph, "SELECT count(*) FROM paper WHERE x = [year - 2000, 2000 - year]") == 18
    mask = torch.zeros(20, dtype=torch.bool)
    mask[5] = True
    assert graph.write_back("paper", n_id=mask, new=torch.tensor([[-5]])) == 1
    assert rows(graph, "SELECT new FROM paper WHERE new IS NOT NULL ORDER BY id") == [((2,),), ((-5,),)]
    assert graph.write_back("paper", n_id=[], new=torch.empty(0, 1, dtype=torch.int64)) == 0


DTYPES = {
    torch.bool: "BOOLEAN", torch.int8: "TINYINT", torch.int16: "SMALLINT", torch.int32: "INTEGER", torch.int64: "BIGINT",
    torch.uint8: "UTINYINT", torch.uint16: "USMALLINT", torch.float32: "FLOAT", torch.float64: "DOUBLE",
}  # fmt: skip


@pytest.mark.parametrize("shape", [(20,), (20, 1), (20, 2, 3)], ids=str)
def test_dtypes_and_shapes(graph: dbgnn.Graph, shape: tuple[int, ...]) -> None:
    values: dict[str, Any] = {
        name: torch.arange(int(np.prod(shape))).reshape(shape).to(dtype) for dtype, name in DTYPES.items()
    }
    graph.write_back("paper", **values)
    store, _ = graph.db.get_torch_geometric_remote_backend(graph)
    kinds = {name: kind for name, kind, *_ in rows(graph, "DESCRIBE paper")}
    for name, tensor in values.items():
        found = store["paper", name, None]
        assert found.dtype == tensor.dtype
        assert torch.equal(found.double(), tensor.double())
        assert kinds[name] == name + "".join(f"[{n}]" for n in reversed(shape[1:]))


def test_numpy_and_arrow_with_text_and_null(graph: dbgnn.Graph) -> None:
    text = pa.array(["a", None, "c'; DROP TABLE paper"])
    assert graph.write_back("paper", n_id=np.array([0, 1, 2]), text=text, number=np.array([1.5, 2.5, 3.5])) == 3
    assert rows(graph, "SELECT text, number FROM paper ORDER BY id LIMIT 4") == [
        ("a", 1.5),
        (None, 2.5),
        ("c'; DROP TABLE paper", 3.5),
        (None, None),
    ]


def test_tensors_with_gradients_and_strides(graph: dbgnn.Graph) -> None:
    wide = torch.randn(3, 20, requires_grad=True)
    graph.write_back("paper", w=wide.t()[:, ::2])
    store, _ = graph.db.get_torch_geometric_remote_backend(graph)
    assert torch.equal(store["paper", "w", None], wide.detach().t()[:, ::2])


KEYED: dict[str, tuple[str, list[Any]]] = {
    "bigint": ("k BIGINT", [(-7,), (3,), (10**12,), (0,)]),
    "varchar": ("k VARCHAR", [("a",), ("ö'\"",), ("",), ("Z",)]),
    "uuid": ("k UUID", [(uuid.UUID(int=i * 2**100 + 5),) for i in (3, 1, 2, 0)]),
    "date": ("k DATE", [(np.datetime64(f"2020-01-0{d}").item(),) for d in (4, 2, 3, 1)]),
    "composite": ("k VARCHAR, l INTEGER", [("b", 1), ("a", 2), ("a", 1), ("c", 0)]),
}

_NO_KEY: dict[str, Any] = {
    "bigint": 4,
    "varchar": "A",
    "uuid": uuid.UUID(int=1),
    "date": np.datetime64("2021-01-01").item(),
    "composite": ("zz", 9),
}


@pytest.mark.parametrize(
    ("keyed", "constrained", "into"),
    [
        ("bigint", False, None),
        ("varchar", True, None),
        ("uuid", False, "side"),
        ("uuid", True, None),
        ("date", False, None),
        ("composite", False, None),
        ("composite", True, "side"),
    ],
)
def test_keys_of_every_kind(open_db: Open, keyed: str, constrained: bool, into: str | None) -> None:
    columns, keys = KEYED[keyed]
    names = [part.split()[0] for part in columns.split(", ")]
    db = open_db()
    primary = f", PRIMARY KEY ({', '.join(names)})" if constrained else ""
    db.execute(f"CREATE TABLE t ({columns}, x FLOAT[1]{primary})")
    for key in keys:
        db.execute(f"INSERT INTO t VALUES ({', '.join('?' * len(key))}, [0])", list(key))
    db.execute(f"CREATE PROPERTY GRAPH g VERTEX TABLES (t KEY ({', '.join(names)}))")
    graph = db.graph()
    chosen: Any = keys[1:3] if len(names) > 1 else [key for (key,) in keys[1:3]]
    assert graph.write_back("t", keys=chosen, into=into, e=torch.tensor([[1.0, 2.0], [3.0, 4.0]])) == 2
    by_n_id = sorted(keys).index(keys[0])
    assert graph.write_back("t", n_id=[by_n_id], into=into, e=torch.tensor([[5.0, 6.0]])) == 1
    found = {row[:-1]: row[-1] for row in rows(graph, f"SELECT {', '.join(names)}, e FROM {into or 't'} WHERE e IS NOT NULL")}
    assert found == {keys[1]: (1.0, 2.0), keys[2]: (3.0, 4.0), keys[0]: (5.0, 6.0)}
    if len(names) > 1:
        table = pa.table({"k": ["c"], "l": pa.array([0], pa.int32())})
        assert graph.write_back("t", keys=table, into=into, e=torch.tensor([[7.0, 8.0]])) == 1
    with pytest.raises(dbgnn.RequestError, match="do not exist in 't'"):
        graph.write_back("t", keys=[_NO_KEY[keyed]], into=into, e=torch.ones(1, 2))


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), declared=st.sampled_from(["", " PRIMARY KEY", " UNIQUE"]))
def test_any_writes_one_after_the_other(open_db: Open, data: st.DataObject, declared: str) -> None:
    db = open_db()
    for drop in ("PROPERTY GRAPH", "TABLE"):
        db.execute(f"DROP {drop} IF EXISTS {'g' if drop != 'TABLE' else 't'}")
    db.execute("DROP TABLE IF EXISTS side")
    db.execute(f"CREATE TABLE t (k INTEGER{declared}, x FLOAT[2])")
    db.execute("INSERT INTO t SELECT 100 - i, [i, i] FROM range(9) AS r(i)")
    db.execute("DELETE FROM t WHERE k = 97")
    db.execute("CREATE PROPERTY GRAPH g VERTEX TABLES (t KEY (k))")
    graph = db.graph()
    keys = [92, 93, 94, 95, 96, 98, 99, 100]
    want: dict[str, dict[int, Any]] = {"t": dict.fromkeys(keys, (None, None)), "side": {}}
    for step in range(data.draw(st.integers(1, 4))):
        into = data.draw(st.sampled_from([None, "side"]))
        ids = data.draw(st.lists(st.integers(0, 7), unique=True, max_size=8))
        scalar, array = torch.arange(len(ids)) + 10 * step, torch.randn(len(ids), 2)
        which = data.draw(st.sampled_from(["s", "a", "sa"]))
        columns: dict[str, Any] = {name: v for name, v in (("s", scalar), ("a", array)) if name in which}
        assert graph.write_back("t", n_id=ids, into=into, **columns) == len(ids)
        table = want[into or "t"]
        for i, node in enumerate(ids):
            s, a = table.get(keys[node], (None, None))
            table[keys[node]] = (scalar[i].item() if "s" in which else s, tuple(array[i].tolist()) if "a" in which else a)
    for name, expected in want.items():
        known = [row[0] for row in rows(graph, f"SELECT column_name FROM duckdb_columns() WHERE table_name = '{name}'")]
        if known:
            s, a = (c if c in known else "NULL" for c in "sa")
            assert {k: (p, q) for k, p, q in rows(graph, f"SELECT k, {s}, {a} FROM {name}")} == expected
    assert value(graph, "SELECT count(*) FROM t WHERE x = [100 - k, 100 - k]") == 8
    store, _ = db.get_torch_geometric_remote_backend(graph)
    assert store["t", "x", None][:, 0].tolist() == [100 - k for k in keys]


# -- side tables -------------------------------------------------------------------------------------------


def test_a_side_table_is_made_and_filled_up(graph: dbgnn.Graph) -> None:
    assert graph.write_back("paper", keys=[30, 50], into="Scores", e=torch.ones(2, 2)) == 2
    assert graph.write_back("paper", keys=[50, 70], into="scores", e=torch.zeros(2, 2), s=torch.tensor([1, 2])) == 2
    assert rows(graph, "FROM Scores ORDER BY id") == [(30, (1.0, 1.0), None), (50, (0.0, 0.0), 1), (70, (0.0, 0.0), 2)]
    (constraint,) = rows(
        graph,
        "SELECT constraint_column_names FROM duckdb_constraints() "
        "WHERE table_name = 'Scores' AND constraint_type = 'PRIMARY KEY'",
    )
    assert constraint == (["id"],)
    assert graph.definition.vertex("paper").properties is None


def test_a_side_table_of_the_users_own(graph: dbgnn.Graph) -> None:
    graph.db.execute("CREATE TABLE mine (note VARCHAR, id BIGINT, e FLOAT[2])")
    graph.db.execute("INSERT INTO mine VALUES ('kept', 30, [9, 9]), ('too', 40, [8, 8])")
    assert graph.write_back("paper", keys=[30, 50], into="mine", e=torch.ones(2, 2)) == 2
    assert rows(graph, "SELECT id, note, e FROM mine ORDER BY id") == [
        (30, "kept", (1.0, 1.0)),
        (40, "too", (8.0, 8.0)),
        (50, None, (1.0, 1.0)),
    ]


def test_keys_may_be_called_as_what_is_staged(open_db: Open) -> None:
    db = open_db()
    db.execute("CREATE TABLE t (c0 BIGINT, k0 BIGINT, x FLOAT[2])")
    db.execute("INSERT INTO t SELECT 100 + i, 200 - i, [i, i] FROM range(3) AS r(i)")
    db.execute("CREATE PROPERTY GRAPH g VERTEX TABLES (t KEY (k0, c0))")
    graph = db.graph()
    for first in (0, 10):
        graph.write_back("t", into="side", c1=torch.arange(3) + first, k1=torch.ones(3, 2))
        found = rows(graph, "SELECT k0, c0, c1, k1 FROM side ORDER BY k0")
        assert found == [(198 + i, 102 - i, first + i, (1.0, 1.0)) for i in range(3)]
    with pytest.raises(dbgnn.DataError, match="the first has k0 = 198, c0 = 102"):
        graph.write_back("t", into="side", c1=torch.arange(3), on_conflict="error")


# -- what is refused ---------------------------------------------------------------------------------------

ONE: dict[str, Any] = {"v": torch.ones(1)}
SCHEMA, REQUEST, UNKNOWN = dbgnn.SchemaError, dbgnn.RequestError, dbgnn.UnknownNameError
REFUSED: dict[str, tuple[Callable[[dbgnn.Graph], Any], type[Exception], str]] = {
    "label": (lambda g: g.write_back("papr", **ONE), UNKNOWN, "did you mean 'paper'"),
    "edge": (lambda g: g.write_back(("paper", "cite", "paper"), **ONE), UNKNOWN, "did you mean .*cites"),
    "key": (lambda g: g.write_back("paper", id=torch.arange(20)), SCHEMA, "'id' is a key of 'paper'"),
    "key, case": (lambda g: g.write_back("paper", ID=torch.arange(20)), SCHEMA, "'ID' is a key of 'paper'"),
    "side key": (lambda g: g.write_back("paper", into="s", id=torch.arange(20)), SCHEMA, "is a key"),
    "rowid": (lambda g: g.write_back("paper", rowid=torch.arange(20)), SCHEMA, "would hide DuckDB's own"),
    "case": (lambda g: g.write_back("paper", X=torch.ones(20, 2)), SCHEMA, "takes it for 'X'"),
    "twins": (lambda g: g.write_back("paper", a=torch.ones(20), A=torch.ones(20)), SCHEMA, "named twice"),
    "dtype": (lambda g: g.write_back("paper", year=torch.ones(20)), SCHEMA, "INTEGER, the values are FLOAT.*DROP COLUMN"),
    "shape": (lambda g: g.write_back("paper", x=torch.ones(20, 3)), SCHEMA, r"FLOAT\[2\], the values are FLOAT\[3\]"),
    "8 bits": (lambda g: g.write_back("paper", h=torch.ones(20).to(torch.float8_e5m2)), SCHEMA, "'h'.*float8_e5m2"),
    "0 columns": (lambda g: g.write_back("paper", h=torch.ones(20, 0)), SCHEMA, "Column 'h'.*1 to"),
    "scalar": (lambda g: g.write_back("paper", h=torch.tensor(1.0)), SCHEMA, "Column 'h'.*no dimension"),
    "list": (lambda g: g.write_back("paper", n_id=[0], h=[1.0]), SCHEMA, "Column 'h'.*not list"),
    "nothing": (lambda g: g.write_back("paper"), SCHEMA, "no column"),
    "length": (lambda g: g.write_back("paper", **ONE), REQUEST, "'v': 1 values for 20 rows"),
    "large": (lambda g: g.write_back("paper", n_id=[20], **ONE), REQUEST, "Id 20 of 'paper'"),
    "negative": (lambda g: g.write_back("paper", n_id=[-1], **ONE), REQUEST, "Id -1 of 'paper'"),
    "no name": (lambda g: g.write_back("paper", **{**ONE, "": torch.ones(1)}, n_id=[0]), SCHEMA, "has the name ''"),
    "no table": (lambda g: g.write_back("paper", into="", **ONE), SCHEMA, "into='' names no side table"),
    "twice": (lambda g: g.write_back("paper", n_id=[3, 1, 3], v=torch.ones(3)), REQUEST, "id 3 comes 2 times"),
    "keys": (lambda g: g.write_back("paper", keys=[10, 11], v=torch.ones(2)), REQUEST, "the first is 11"),
    "keys twice": (lambda g: g.write_back("paper", keys=[10, 10], v=torch.ones(2)), REQUEST, "id 1 comes 2 times"),
    "both": (lambda g: g.write_back("paper", n_id=[1], keys=[10], **ONE), REQUEST, "n_id or keys, not both"),
    "edge keys": (lambda g: g.write_back(CITES, keys=[10], **ONE), REQUEST, "by e_id"),
    "conflict": (lambda g: g.write_back("paper", on_conflict="ignore", **ONE), SCHEMA, "'update' or 'error'"),
    "own table": (lambda g: g.write_back("paper", into="Cites", n_id=[1], **ONE), SCHEMA, "table of graph 'papers'"),
    "no key": (lambda g: g.write_back("paper", into="other", n_id=[1], **ONE), SCHEMA, "key column 'id' of type BIGINT"),
    "view": (lambda g: g.write_back("paper", into="seen", n_id=[1], **ONE), SCHEMA, "'seen' is a view"),
}  # fmt: skip


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dbgnn.Graph]:
    """The graph of `PAPERS` for tests that change nothing, with tables that are no side tables."""
    with dbgnn.connect(tmp_path_factory.mktemp("lasting") / "g.duckdb", threads=2, progress=False) as db:
        for statement in PAPERS:
            db.execute(statement.format(""))
        db.execute("CREATE TABLE other (id VARCHAR, v FLOAT); CREATE VIEW seen AS FROM paper")
        yield db.graph().build()


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_written_leaves_nothing(lasting: dbgnn.Graph, case: str) -> None:
    write, error, message = REFUSED[case]
    before = state(lasting)
    with pytest.raises(error, match=message):
        write(lasting)
    assert state(lasting) == before


@pytest.mark.parametrize("into", [None, "side"])
def test_on_conflict_error(graph: dbgnn.Graph, into: str | None) -> None:
    graph.write_back("paper", n_id=[4, 2], into=into, p=torch.tensor([4, 2]), q=torch.ones(2, 2))
    before = state(graph)
    with pytest.raises(dbgnn.DataError, match=r"1 of the rows .* have a value in p, q already; the first has id = 20\."):
        graph.write_back("paper", n_id=[2, 3], into=into, on_conflict="error", p=torch.zeros(2).long(), q=torch.zeros(2, 2))
    assert state(graph) == before
    other: dict[str, Any] = {"r": torch.tensor([1.0])}
    assert graph.write_back("paper", n_id=[2], into=into, on_conflict="error", **other) == 1  # NULL is no value
    assert graph.write_back("paper", n_id=[3], into=into, on_conflict="error", p=torch.tensor([3]), q=torch.ones(1, 2)) == 1
    assert rows(graph, f"SELECT id, p FROM {into or 'paper'} WHERE p IS NOT NULL ORDER BY id") == [(20, 2), (30, 3), (40, 4)]


def test_a_read_only_database(open_db: Open) -> None:
    papers(open_db).build().db.close()
    graph = open_db(read_only=True).graph()
    with pytest.raises(dbgnn.ReadOnlyError, match="read_only=False"):
        graph.write_back("paper", n_id=[1], **ONE)


def test_a_foreign_key_forbids_arrays_at_once(open_db: Open) -> None:
    db = open_db()
    db.execute("CREATE TABLE paper (id BIGINT PRIMARY KEY, x FLOAT[2])")
    db.execute("INSERT INTO paper SELECT i, [i, i] FROM range(4) AS r(i)")
    db.execute("CREATE TABLE cites (s BIGINT REFERENCES paper (id), d BIGINT REFERENCES paper (id))")
    db.execute("INSERT INTO cites VALUES (0, 1), (1, 2)")
    graph = db.graph()

    def parts() -> Iterator[Any]:
        yield np.array([0]), {"e": torch.ones(1, 2)}
        pytest.fail("the first part says that it cannot be written")

    with pytest.raises(dbgnn.DataError, match=r"foreign key of table 'cites' .*into="):
        write_rows(graph, "paper", parts())
    assert graph.write_back("paper", p=torch.arange(4)) == 4
    assert graph.write_back("paper", into="side", e=torch.ones(4, 2)) == 4
    assert rows(graph, "SELECT id, p, e FROM paper JOIN side USING (id) ORDER BY id") == [(i, i, (1.0, 1.0)) for i in range(4)]


# -- edges -------------------------------------------------------------------------------------------------


def test_edges_keep_their_ids(graph: dbgnn.Graph) -> None:
    graph.db.execute("DELETE FROM cites WHERE s = 30")
    graph.build()
    _, before = graph.db.get_torch_geometric_remote_backend(graph)
    coo = torch.stack(before.get_edge_index(CITES, "coo"))
    score, vector = torch.arange(19), torch.randn(19, 2)
    assert graph.write_back(CITES, score=score, vector=vector) == 19
    assert graph.write_back(CITES, n_id=[18, 0], vector=torch.zeros(2, 2)) == 2
    vector[[18, 0]] = 0
    features, topology = graph.db.get_torch_geometric_remote_backend(graph)
    assert torch.equal(torch.stack(topology.get_edge_index(CITES, "coo")), coo)
    assert torch.equal(features[CITES, "score", None], score)
    assert torch.equal(features[CITES, "vector", None], vector)


def test_edges_that_would_get_other_ids_are_refused(open_db: Open) -> None:
    db = open_db()
    for statement in SCHOLARS:
        db.execute(statement)
    db.execute("CREATE INDEX of_who ON wrote (who)")
    graph = db.graph()
    with pytest.raises(dbgnn.DataError, match=r"ids of edges are their order.*index of_who.*into="):
        graph.write_back(WROTE, e=torch.ones(4, 2))
    assert graph.write_back(WROTE, p=torch.arange(4)) == 4
    with pytest.raises(dbgnn.DataError, match=r"2 parallel edges .* who = 'zoe', what = 10"):
        graph.write_back(WROTE, into="side", e=torch.ones(4, 2))
    assert graph.write_back(WROTE, n_id=[1, 0], into="side", e=torch.tensor([[1.0], [0.0]])) == 2
    assert rows(graph, "FROM side ORDER BY who") == [("ada", 70, (1.0,)), ("zoe", 10, (0.0,))]


def test_a_vertex_table_that_holds_edges_is_not_moved(open_db: Open) -> None:
    db = open_db()
    db.execute("CREATE TABLE city (name VARCHAR PRIMARY KEY)")
    db.execute("CREATE TABLE person (id INTEGER PRIMARY KEY, city VARCHAR)")
    db.execute("INSERT INTO city VALUES ('Ulm'), ('Bonn')")
    db.execute("INSERT INTO person VALUES (3, 'Ulm'), (1, 'Bonn'), (2, NULL)")
    db.execute("""CREATE PROPERTY GRAPH g VERTEX TABLES (city, person)
                  EDGE TABLES (person SOURCE KEY (id) REFERENCES person (id)
                                      DESTINATION KEY (city) REFERENCES city (name) LABEL lives)""")
    graph = db.graph()
    with pytest.raises(dbgnn.DataError, match="ids of edges are their order"):
        graph.write_back("person", e=torch.ones(3, 2))
    assert graph.write_back("person", e=torch.ones(3)) == 3


# -- what loaders fetch ------------------------------------------------------------------------------------


def fetched(loader: Any) -> list[str]:
    """The columns that a mini-batch has of its nodes."""
    known = loader.data[0].graph.db.execute("SELECT column_name FROM duckdb_columns() WHERE table_name = 'paper'").fetchall()
    batch = next(iter(loader))
    return sorted(name for (name,) in known if name in batch["paper"])


def with_properties(graph: dbgnn.Graph, names: str) -> dbgnn.Graph:
    """The graph of `PAPERS`, declared anew."""
    statement = PAPERS[-1].replace("CREATE", "CREATE OR REPLACE")
    graph.db.execute(statement.replace("KEY (id))", f"KEY (id) PROPERTIES ({names}))", 1))
    return graph.db.graph()


def loader_of(graph: dbgnn.Graph) -> dbgnn.NeighborLoader:
    return dbgnn.NeighborLoader(graph, [2], input_nodes="paper", batch_size=20)


@pytest.mark.parametrize("declared", ["", " PRIMARY KEY"])
def test_what_is_written_back_is_no_feature(open_db: Open, declared: str) -> None:
    graph = papers(open_db, declared)
    served = fetched(loader_of(graph))
    assert served == ["x", "year"]
    graph.write_back("paper", pred=torch.arange(20), e=torch.ones(20, 2))
    assert fetched(loader_of(graph)) == served
    assert fetched(loader_of(graph.db.graph())) == served  # as the file has it
    store, _ = graph.db.get_torch_geometric_remote_backend(graph, columns={"paper": ["e"]})
    assert store["paper", "pred", [3]].tolist() == [3]  # but asked for by name, it is there
    assert [a.attr_name for a in store.get_all_tensor_attrs() if a.group_name == "paper"] == ["e"]
    graph.db.close()
    assert fetched(loader_of(open_db().graph())) == served


def test_loaders_and_stores_made_before_do_not_fetch_it_either(graph: dbgnn.Graph) -> None:
    other = graph.db.graph()
    before, stores = loader_of(graph), graph.db.get_torch_geometric_remote_backend(other)
    assert fetched(before) == ["x", "year"]
    graph.write_back("paper", pred=torch.arange(20), e=torch.ones(20, 2))
    assert fetched(before) == fetched(loader_of(other)) == ["x", "year"]
    assert [a.attr_name for a in stores[0].get_all_tensor_attrs() if a.group_name == "paper"] == ["x", "year"]
    stores[0]["paper", "put", None] = torch.zeros(20)  # what is put is a feature
    assert fetched(loader_of(graph.db.graph())) == ["put", "x", "year"]


def test_a_column_that_was_served_still_is(graph: dbgnn.Graph) -> None:
    graph.write_back("paper", x=torch.ones(20, 2))
    assert graph.definition.vertex("paper").properties is None
    graph.db.execute("ALTER TABLE paper ADD COLUMN later INTEGER DEFAULT 1")
    assert fetched(loader_of(graph)) == ["later", "x", "year"]


def test_properties_that_are_listed_stay(open_db: Open) -> None:
    graph = papers(open_db)
    graph = with_properties(graph, "year")
    graph.write_back("paper", pred=torch.arange(20))
    assert fetched(loader_of(graph)) == ["year"]


def test_other_graphs_of_the_same_table_do_not_serve_it_either(graph: dbgnn.Graph) -> None:
    db = graph.db
    db.execute("""CREATE PROPERTY GRAPH other VERTEX TABLES (paper KEY (year) LABEL paper)
                  EDGE TABLES (paper SOURCE KEY (year) REFERENCES paper (year) DESTINATION KEY (year) REFERENCES paper (year)
                  LABEL same)""")  # the edges have none of the columns, which are those of the nodes
    graph.write_back("paper", pred=torch.arange(20))
    store, _ = db.get_torch_geometric_remote_backend("other")
    assert {(str(a.group_name), a.attr_name) for a in store.get_all_tensor_attrs()} == {
        ("paper", "id"),
        ("paper", "x"),
    }


def test_definitions_do_not_change_order(open_db: Open) -> None:
    db = open_db()
    for statement in SCHOLARS:
        db.execute(statement)
    graph = db.graph()
    before = graph.node_types, graph.edge_types
    graph.write_back("paper", p=torch.arange(4))
    graph.write_back(WROTE, p=torch.arange(4))
    assert (graph.node_types, graph.edge_types) == before == (db.graph().node_types, db.graph().edge_types)


def test_a_graph_object_made_before_saves_nothing_of_its_own(graph: dbgnn.Graph) -> None:
    stale = graph.db.graph()
    graph.write_back("paper", first=torch.arange(20))
    stale.write_back("paper", second=torch.arange(20))
    for each in (stale, graph.db.graph()):
        assert fetched(loader_of(each)) == ["x", "year"]


def test_older_objects_serve_what_the_file_lists(graph: dbgnn.Graph) -> None:
    before = graph.db.graph()
    served = sorted(before.to_heterodata()["paper"].keys())
    graph.write_back("paper", pred=torch.arange(20))
    assert sorted(before.to_heterodata()["paper"].keys()) == served == ["id", "x", "year"]
    assert before.to_heterodata(columns={"paper": ["pred"]})["paper"].pred.tolist() == list(range(20))


@pytest.mark.parametrize("change", ["put", "put rows", "remove", "new type", "edges"])
def test_older_stores_save_nothing_of_what_they_do_not_know(open_db: Open, change: str) -> None:
    db = open_db()
    for table in ("a", "b"):
        db.execute(f"CREATE TABLE {table} AS SELECT i AS id, [i, i]::FLOAT[2] AS x, 1.5::FLOAT AS y FROM range(4) AS r(i)")
    db.execute("CREATE PROPERTY GRAPH g VERTEX TABLES (a KEY (id), b KEY (id))")
    features, edges = db.get_torch_geometric_remote_backend("g")
    db.graph().write_back("a", pred=torch.arange(4))
    db.graph().write_back("b", pred=torch.arange(4))
    if change == "put":
        features["a", "z", None] = torch.zeros(4)
    elif change == "put rows":
        features["a", "x", [0]] = torch.zeros(1, 2)
    elif change == "remove":
        features.remove_tensor("a", "y", index=None)
    elif change == "new type":
        features["c", "x", None] = torch.zeros(4, 2)
    else:
        edges.put_edge_index(torch.tensor([[0], [1]]), edge_type=("b", "to", "a"), layout="coo", size=(4, 4))
    for store in (features, db.get_torch_geometric_remote_backend("g")[0]):
        found = {(a.group_name, a.attr_name) for a in store.get_all_tensor_attrs() if a.group_name in ("a", "b")}
        assert not {("a", "pred"), ("b", "pred")} & found
        assert {("a", "x"), ("b", "x"), ("b", "y")} <= found


def test_a_graph_of_foreign_keys_beside_a_declared_one_is_not_kept(open_db: Open) -> None:
    db = open_db()
    db.execute("CREATE TABLE paper (id BIGINT PRIMARY KEY, x FLOAT[2])")
    db.execute("INSERT INTO paper SELECT i, [i, i] FROM range(4) AS r(i)")
    db.execute("CREATE TABLE cites (s BIGINT REFERENCES paper (id), d BIGINT REFERENCES paper (id))")
    db.execute("INSERT INTO cites VALUES (0, 1)")
    db.execute(PAPERS[-1])
    inferred = db.graph("inferred")
    assert inferred.write_back("paper", pred=torch.arange(4)) == 4
    assert db.graph().name == "papers"
    assert fetched(loader_of(inferred)) == fetched(loader_of(db.graph())) == ["x"]


def test_a_column_written_back_becomes_a_feature_on_request(graph: dbgnn.Graph) -> None:
    graph.write_back("paper", z=torch.zeros(20))
    assert fetched(loader_of(graph)) == ["x", "year"]
    graph.encode("paper", "z", dbgnn.Normalize("year"))
    assert fetched(loader_of(graph)) == fetched(loader_of(graph.db.graph())) == ["x", "year", "z"]


@pytest.mark.parametrize("listed", [False, True])
def test_written_rows_may_be_features(open_db: Open, listed: bool) -> None:
    graph = papers(open_db)
    if listed:
        graph = with_properties(graph, "x, year")
    assert write_rows(graph, "paper", [(np.arange(20), {"e": torch.ones(20, 2)})]) == 20
    assert fetched(loader_of(graph)) == fetched(loader_of(graph.db.graph())) == ["e", "x", "year"]


def test_an_epoch_goes_on_while_rows_move(open_db: Open) -> None:
    graph = papers(open_db, " PRIMARY KEY")
    loader = dbgnn.NeighborLoader(graph, [2], input_nodes="paper", batch_size=4, prefetch=0, super_batch=1)
    seen = []
    for batch in loader:
        n_id, x = batch["paper"].n_id, batch["paper"].x
        seen.append(len(n_id))
        graph.write_back("paper", n_id=n_id[:4], e=x[:4])
    assert len(seen) == 5
    assert value(graph, "SELECT count(*) FROM paper WHERE e = x") == 20


# -- several writers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("into", [None, "side"])
@pytest.mark.parametrize(
    "move",
    [
        "UPDATE paper SET x = [0, 0]",
        "CREATE TABLE other AS FROM paper ORDER BY id DESC; DROP TABLE paper; ALTER TABLE other RENAME TO paper",
    ],
    ids=["update", "sort"],
)
def test_rows_that_another_connection_moves_at_the_last_moment(
    open_db: Open, monkeypatch: pytest.MonkeyPatch, into: str | None, move: str
) -> None:
    graph, now = papers(open_db, " PRIMARY KEY" if "UPDATE" in move else "").build(), Target.now
    other = graph.db.new_cursor()

    def late(self: Target) -> Target:
        found = now(self)
        other.execute(move)
        return found

    with monkeypatch.context() as patched:
        patched.setattr(Target, "now", late)
        with pytest.raises(dbgnn.StaleIndexError, match="Nothing was written"):
            graph.write_back("paper", n_id=[1], pred=torch.ones(1), into=into)
    assert graph.write_back("paper", n_id=[1], pred=torch.ones(1), into=into) == 1
    assert rows(graph, f"SELECT id FROM {into or 'paper'} WHERE pred = 1") == [(10,)]
    other.close()


@pytest.mark.parametrize("put", [False, True])
def test_what_others_commit_while_a_table_is_made_anew_is_not_lost(
    graph: dbgnn.Graph, monkeypatch: pytest.MonkeyPatch, put: bool
) -> None:
    other, remake, failed = graph.db.new_cursor(), tables.remake, []

    def late(con: Any, table: Any, query: str) -> None:
        try:
            other.execute("INSERT INTO paper VALUES (999, [9, 9], 1999)")
        except duckdb.TransactionException as error:
            failed.append(error)
        remake(con, table, query)

    store, _ = graph.db.get_torch_geometric_remote_backend(graph)
    monkeypatch.setattr(tables, "remake", late)
    if put:
        store["paper", "e", None] = torch.ones(20, 2)
    else:
        graph.write_back("paper", e=torch.ones(20, 2))
    assert len(failed) == 1  # and the other knows
    assert value(graph, "SELECT count(*) FROM paper WHERE e = [1, 1]") == value(graph, "SELECT count(*) FROM paper") == 20
    other.close()


def test_threads_write_one_after_the_other(open_db: Open) -> None:
    graph = papers(open_db, " PRIMARY KEY").build()
    store, _ = graph.db.get_torch_geometric_remote_backend(graph)
    writes: list[Callable[[], Any]] = [
        lambda: graph.write_back("paper", n_id=list(range(0, 20, 2)), a=torch.arange(0.0, 20, 2)[:, None]),
        lambda: graph.write_back("paper", n_id=list(range(15)), b=torch.arange(15.0)[:, None]),
        lambda: store.__setitem__(("paper", "c", None), torch.arange(20.0)[:, None]),
        lambda: graph.write_back("paper", d=torch.arange(20.0)[:, None]),
    ]
    with ThreadPoolExecutor(len(writes)) as pool:
        for done in [pool.submit(each) for each in writes]:
            done.result(timeout=60)
    for name, count in (("a", 10), ("b", 15), ("c", 20), ("d", 20)):
        assert value(graph, f"SELECT count(*) FROM paper WHERE {name} = [id / 10]") == count, name


# -- parts -------------------------------------------------------------------------------------------------


def test_parts_may_read_the_database(graph: dbgnn.Graph) -> None:
    def parts() -> Iterator[Any]:
        with graph.db.cursor().sql("SELECT id // 10, year FROM paper").to_arrow_reader(7) as reader:
            for batch in reader:
                yield batch.column(0).to_numpy(), {"y": batch.column(1), "e": torch.ones(len(batch), 2)}

    assert write_rows(graph, "paper", parts()) == 20
    assert value(graph, "SELECT count(*) FROM paper WHERE y = year AND e = [1, 1]") == 20


def test_parts_name_their_columns_in_any_order(graph: dbgnn.Graph) -> None:
    a, b = torch.tensor([1.0]), torch.tensor([2.0])
    assert write_rows(graph, "paper", [(np.array([0]), {"a": a, "b": b}), (np.array([1]), {"b": b, "a": a})]) == 2
    assert rows(graph, "SELECT DISTINCT a, b FROM paper WHERE a IS NOT NULL") == [(1.0, 2.0)]


def test_no_part_writes_nothing(graph: dbgnn.Graph) -> None:
    before = state(graph)
    assert write_rows(graph, "paper", []) == 0
    assert state(graph) == before


@pytest.mark.parametrize(
    ("second", "error", "message"),
    [
        ((np.array([1]), {"v": torch.ones(1, 3)}), dbgnn.SchemaError, r"FLOAT\[2\].*a later one has.*FLOAT\[3\]"),
        ((np.array([1]), {"w": torch.ones(1, 2)}), dbgnn.SchemaError, "a later one has .*'w'"),
        ((np.array([0]), {"v": torch.ones(1, 2)}), dbgnn.RequestError, "id 0 comes 2 times"),
        ((np.array([20]), {"v": torch.ones(1, 2)}), dbgnn.RequestError, "Id 20 of 'paper'"),
        (None, ValueError, "of the caller's own"),
    ],
    ids=["type", "name", "twice", "range", "raised"],
)
def test_a_bad_part_takes_the_others_back(graph: dbgnn.Graph, second: Any, error: type[Exception], message: str) -> None:
    def parts() -> Iterator[Any]:
        yield np.array([0]), {"v": torch.ones(1, 2)}
        if second is None:
            raise ValueError("of the caller's own")
        yield second

    before = state(graph)
    with pytest.raises(error, match=message):
        write_rows(graph, "paper", parts())
    assert state(graph) == before


def test_more_than_memory(tmp_path: Path) -> None:
    num, dim = 320_000, 64  # 82 MB of values
    with dbgnn.connect(tmp_path / "g.duckdb", memory_limit="64MB", threads=1, progress=False) as db:
        db.execute(f"CREATE TABLE paper AS SELECT range AS id FROM range({num})")
        db.execute("CREATE PROPERTY GRAPH g VERTEX TABLES (paper KEY (id))")
        graph = db.graph()

        def parts() -> Iterator[Any]:
            for ids in np.array_split(np.random.default_rng(0).permutation(num), 20):
                yield ids, {"e": torch.from_numpy(ids).float().unsqueeze(1).expand(-1, dim)}

        assert write_rows(graph, "paper", parts()) == num
        assert value(graph, "SELECT count(*) FROM paper WHERE e[1] = id AND e[64] = id") == num


# -- kills -------------------------------------------------------------------------------------------------


def test_a_kill_leaves_the_old_state_or_the_new(open_db: Open, tmp_path: Path) -> None:
    cases = [("move", ""), ("settle", " PRIMARY KEY")]
    before, args = [], []
    for i, (moment, declared) in enumerate(cases):
        graph = papers(open_db, declared, name=f"{i}.duckdb").build()
        before.append(state(graph))
        graph.db.close()
        args += [f"write:{moment}", str(tmp_path / f"{i}.duckdb")]
    assert run_killed(args) == [-signal.SIGKILL] * 2
    for i, (moment, _) in enumerate(cases):
        graph = open_db(name=f"{i}.duckdb").graph()
        if moment == "move":
            assert state(graph) == before[i]
        else:
            assert value(graph, "SELECT count(*) FROM paper WHERE e = [id / 10] AND s = id / 10") == 20
        assert fetched(loader_of(graph)) == ["x", "year"]
        assert next(iter(loader_of(graph)))["paper"].year.sort().values.tolist() == list(range(2000, 2020))
        assert graph.write_back("paper", t=torch.arange(20)) == 20


def run_killed(args: list[str]) -> list[int]:
    """Run killed.py and return the exit codes of its processes."""
    command = [sys.executable, "-m", "tests.writeback.killed", *args]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    return [int(line) for line in done.stdout.split()]


def test_a_reader_of_the_index_and_a_writer_do_not_wait_for_each_other(open_db: Open) -> None:
    db = open_db()
    db.execute("CREATE TABLE paper (id BIGINT PRIMARY KEY); INSERT INTO paper FROM range(100)")
    db.execute("CREATE PROPERTY GRAPH g VERTEX TABLES (paper KEY (id))")
    graph, stop = db.graph().build(), threading.Event()

    def read() -> None:
        while not stop.is_set():
            graph.topology()

    def write() -> None:
        for _ in range(10):
            graph.write_back("paper", e=torch.ones(100, 2))

    reader, writer = threading.Thread(target=read, daemon=True), threading.Thread(target=write, daemon=True)
    reader.start()
    writer.start()
    writer.join(60)
    stop.set()
    reader.join(60)
    assert not writer.is_alive()
    assert not reader.is_alive()


def test_an_open_transaction_is_refused(open_db: Open) -> None:
    db = open_db()
    db.execute("CREATE TABLE paper (id BIGINT); INSERT INTO paper FROM range(3)")
    db.execute("CREATE PROPERTY GRAPH g VERTEX TABLES (paper KEY (id))")
    store, _ = db.get_torch_geometric_remote_backend()
    db.execute("BEGIN")
    for write in (
        lambda: db.graph().write_back("paper", p=torch.ones(3)),
        lambda: store.put_tensor(torch.ones(3), group_name="paper", attr_name="p", index=None),
        lambda: dbgnn.from_pyg(Data(x=torch.ones(2, 1)), db, name="other"),
    ):
        with pytest.raises(dbgnn.ConnectionError, match="COMMIT or ROLLBACK"):
            write()
    db.execute("ROLLBACK")
    assert db.graph().write_back("paper", p=torch.ones(3)) == 3
