"""Every file in `schemas/` runs, loads files laid out as the real ones are, and gives the graph it says."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import dbgnn
from dbgnn.schema import columns, served_columns
from dbgnn.sql import split_statements

SCHEMAS = Path(__file__).parents[1] / "schemas"


def _csv(path: str, rows: object) -> None:
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(target, "wt", newline="") if path.endswith(".gz") else target.open("w", newline="") as file:
        csv.writer(file).writerows(rows)  # type: ignore[arg-type]


def _splits(folder: str, ending: str) -> None:
    for i, part in enumerate(("train", "valid", "test")):
        _csv(f"{folder}/{part}.{ending}", [[i]])


def _papers100m(rng: np.random.Generator) -> None:
    np.save("ids.npy", np.arange(5))
    np.save("node_feat.npy", rng.random((5, 128), np.float32))
    np.save("year.npy", np.arange(2010, 2015))
    np.save("y.npy", np.array([-1, 3, -1, 171, 0]))
    np.save("edge_index.npy", np.array([[0, 1, 4], [1, 2, 0]]))
    _splits("../split/time", "csv")


def _products(rng: np.random.Generator) -> None:
    _csv("node-feat.csv.gz", rng.random((5, 100)).round(3))
    _csv("node-label.csv.gz", [[3], [1], [4], [1], [5]])
    _csv("edge.csv.gz", [[0, 1], [1, 2], [4, 0]])
    _splits("../split/sales_ranking", "csv.gz")


def _mag(rng: np.random.Generator) -> None:
    _csv("node-feat/paper/node-feat.csv.gz", rng.random((4, 128)).round(3))
    _csv("node-feat/paper/node_year.csv.gz", [[2015], [2016], [2017], [2018]])
    _csv("node-label/paper/node-label.csv.gz", [[3], [1], [4], [1]])
    _csv("num-node-dict.csv.gz", [["author", "field_of_study", "institution", "paper"], [3, 2, 1, 4]])
    _csv("relations/author___affiliated_with___institution/edge.csv.gz", [[0, 0], [2, 0]])
    _csv("relations/author___writes___paper/edge.csv.gz", [[0, 1], [1, 1], [2, 3]])
    _csv("relations/paper___cites___paper/edge.csv.gz", [[3, 0], [3, 1]])
    _csv("relations/paper___has_topic___field_of_study/edge.csv.gz", [[0, 1], [1, 0], [2, 1], [3, 1]])
    _splits("../split/time/paper", "csv.gz")


def _reddit(rng: np.random.Generator) -> None:
    np.save("ids.npy", np.arange(4))
    np.save("x.npy", rng.random((4, 602), np.float32))
    np.save("y.npy", np.array([0, 40, 3, 3]))
    np.save("part.npy", np.array([1, 1, 2, 3], np.int8))
    np.save("edge_index.npy", np.array([[0, 1, 2, 3], [1, 0, 3, 2]]))


def _movielens(_: np.random.Generator) -> None:
    movies = [
        ["movieId", "title", "genres"],
        [7, "Toy, Story (1995)", "Animation|Comedy"],
        [900, "M (1931)", "(no genres listed)"],
    ]
    _csv("movies.csv", movies)
    _csv("ratings.csv", [["userId", "movieId", "rating", "timestamp"], [5, 900, 4.5, 1260759144], [3, 7, 1.0, 2147483700]])


def _tabformer(_: np.random.Generator) -> None:
    head = "User,Card,Year,Month,Day,Time,Amount,Use Chip,Merchant Name,Merchant City,Merchant State,Zip,MCC,Errors?,Is Fraud?"
    Path("card_transaction.v1.csv").write_text(
        f"{head}\n"
        "0,0,2002,9,1,06:21,$134.09,Swipe Transaction,3527213246127876953,La Verne,CA,91750.0,5300,,No\n"
        "0,1,2002,9,1,06:42,$-38.48,Online Transaction,-727612092139916043, ONLINE,,,5411,,No\n"
        '1,0,2001,12,31,23:59,$1.00,Chip Transaction,3527213246127876953,La Verne,CA,91750.0,5300,"Bad PIN,Glitch",Yes\n'
    )


#: Per schema: the files, and the rows per node type and edge type that they hold.
CASES: dict[str, tuple[Callable[[np.random.Generator], None], dict[object, int]]] = {
    "ogbn_papers100m": (_papers100m, {"paper": 5, ("paper", "cites", "paper"): 3}),
    "ogbn_products": (_products, {"product": 5, ("product", "bought_with", "product"): 6}),
    "ogbn_mag": (
        _mag,
        {
            "paper": 4,
            "author": 3,
            "institution": 1,
            "field_of_study": 2,
            ("author", "affiliated_with", "institution"): 2,
            ("author", "writes", "paper"): 3,
            ("paper", "cites", "paper"): 2,
            ("paper", "has_topic", "field_of_study"): 4,
            ("institution", "rev_affiliated_with", "author"): 2,
            ("paper", "rev_writes", "author"): 3,
            ("paper", "rev_cites", "paper"): 2,
            ("field_of_study", "rev_has_topic", "paper"): 4,
        },
    ),
    "reddit": (_reddit, {"post": 4, ("post", "shares_commenter", "post"): 4}),
    "movielens": (_movielens, {"movie": 2, "user": 2, ("user", "rates", "movie"): 2, ("movie", "rated_by", "user"): 2}),
    "tabformer": (
        _tabformer,
        {
            "user": 2,
            "card": 3,
            "merchant": 2,
            ("user", "holds", "card"): 3,
            ("card", "pays", "merchant"): 3,
            ("merchant", "paid_by", "card"): 3,
        },
    ),
}


def loading_script(schema: str) -> str:
    """Return the schema's text with its loading statements taken out of their comments."""
    return "\n".join(line.removeprefix("--| ") for line in (SCHEMAS / f"{schema}.sql").read_text().splitlines())


@pytest.fixture
def loaded(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dbgnn.Database]:
    folder = tmp_path / "raw"
    folder.mkdir()
    monkeypatch.chdir(folder)
    CASES[request.param][0](np.random.default_rng(0))
    with dbgnn.connect(tmp_path / "graph.duckdb", progress=False) as db:
        for statement in split_statements(loading_script(request.param)):
            db.execute(statement)
        yield db


def test_every_schema_is_tested() -> None:
    assert {path.stem for path in SCHEMAS.glob("*.sql")} == set(CASES)


@pytest.mark.parametrize("schema", CASES)
def test_a_schema_runs_without_its_files(schema: str) -> None:
    db = dbgnn.connect()
    for statement in split_statements((SCHEMAS / f"{schema}.sql").read_text()):
        db.execute(statement)
    graph = db.graph()
    assert set(graph.node_types) | set(graph.edge_types) == set(CASES[schema][1])
    assert "Node type" in str(graph)


@pytest.mark.parametrize(("loaded", "schema"), [(s, s) for s in CASES], indirect=["loaded"])
def test_a_schema_loads_its_files_and_builds(loaded: dbgnn.Database, schema: str) -> None:
    graph = loaded.graph().build()
    counted = {label: graph.num_nodes(label) for label in graph.node_types} | {t: graph.num_edges(t) for t in graph.edge_types}
    assert counted == CASES[schema][1]
    text = str(graph)
    for vertex in graph.definition.vertices:
        rows = CASES[schema][1][vertex.label]
        assert f"Node type {vertex.label!r}: {rows:,} rows" in text
        for column in served_columns(loaded.connection, graph.definition, vertex):
            if column.reason is None:
                nulls = loaded.sql(f'FROM {vertex.table.sql} WHERE "{column.name}" IS NULL').fetchall()
                assert nulls == [], f"{column.name} cannot be served"


@pytest.mark.parametrize("loaded", ["ogbn_products"], indirect=True)
def test_products_keep_the_order_of_their_files(loaded: dbgnn.Database) -> None:
    with gzip.open("node-feat.csv.gz", "rt") as file:
        x = np.loadtxt(file, delimiter=",", dtype=np.float32)
    assert loaded.sql("SELECT id, y FROM product ORDER BY rowid").fetchall() == [(0, 3), (1, 1), (2, 4), (3, 1), (4, 5)]
    got = np.array(loaded.sql("SELECT x FROM product ORDER BY id").fetchall(), np.float32)[:, 0]
    np.testing.assert_array_equal(got, x)


@pytest.mark.parametrize("loaded", ["movielens"], indirect=True)
def test_movielens_genres_and_times(loaded: dbgnn.Database) -> None:
    hot = loaded.sql(
        "SELECT id, list_where(range(20), list_transform(x::FLOAT[], lambda v: v = 1)) FROM movie ORDER BY id"
    ).fetchall()
    assert hot == [(7, [3, 5]), (900, [0])]
    assert loaded.sql("SELECT user_id, epoch(rated_at)::BIGINT FROM rating ORDER BY 1").fetchall() == [
        (3, 2147483700),
        (5, 1260759144),
    ]


@pytest.mark.parametrize("loaded", ["tabformer"], indirect=True)
def test_tabformer_values(loaded: dbgnn.Database) -> None:
    rows = loaded.sql(
        "SELECT user_id, card_number, merchant_id, made_at::VARCHAR, amount::DECIMAL(9, 2)::VARCHAR, method::VARCHAR, mcc, "
        "failed, "
        "is_fraud FROM transaction ORDER BY rowid"
    ).fetchall()
    assert rows == [
        (1, 0, 3527213246127876953, "2001-12-31 23:59:00", "1.00", "Chip Transaction", 5300, True, True),
        (0, 0, 3527213246127876953, "2002-09-01 06:21:00", "134.09", "Swipe Transaction", 5300, False, False),
        (0, 1, -727612092139916043, "2002-09-01 06:42:00", "-38.48", "Online Transaction", 5411, False, False),
    ]
    assert loaded.sql("SELECT id, online FROM merchant ORDER BY id").fetchall() == [
        (-727612092139916043, True),
        (3527213246127876953, False),
    ]
    assert list(columns(loaded.connection, loaded.graph().definition.vertex("card").table)) == ["user_id", "number"]
