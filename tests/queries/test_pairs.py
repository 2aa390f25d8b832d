"""Splits of edges: an undirected edge is in one part, whichever way its directions come together, or it is an error."""

from __future__ import annotations

from typing import Any

import pytest
from torch_geometric.data import HeteroData

import dbgnn
from dbgnn.queries.split import Split

K, HAS, REV = ("n", "k", "n"), ("drug", "has", "effect"), ("effect", "rev_has", "drug")
MERGES = ("add", "mean", "min", "max", "first")

#: Edges of 40 nodes: by number, one direction each; ``lo < hi``, days that differ.
ONE_WAY = """SELECT DISTINCT ON (a, b) 'k' || i % 37 AS a, 'k' || 38 + i % 2 AS b, i AS day,
['train', 'test'][1 + i % 2] AS part FROM range(60) AS r(i)"""
SPLITS: dict[str, Any] = {
    "hash": dbgnn.HashSplit(train=0.5, test=0.5),
    "time": dbgnn.TimeSplit("day", train=0.5, test=0.5),
    "column": dbgnn.ColumnSplit("part"),
    "predicate": {"train": "day < 30", "test": "day >= 30"},
    "hash of a column": dbgnn.HashSplit(columns="day", train=0.5, test=0.5),
}


@pytest.fixture
def db() -> dbgnn.Database:
    db = dbgnn.connect(":memory:", progress=False)
    db.execute(f"CREATE TABLE n AS SELECT 'k' || i AS id FROM range(40) AS r(i); CREATE TABLE k AS {ONE_WAY}")
    return db


def read(db: dbgnn.Database, query: str, split: Any, **options: Any) -> HeteroData:
    # `part` is text, which is no attribute
    return dbgnn.query_to_heterodata(db, nodes={"n": "FROM n"}, edges={K: query}, splits={K: split}, **options)


def parts_of(data: HeteroData, *edge_types: Any) -> dict[frozenset[int], set[str]]:
    """The parts of every undirected pair."""
    found: dict[frozenset[int], set[str]] = {}
    for edge_type in edge_types:
        store = data[edge_type]
        for i, ends in enumerate(store.edge_index.T.tolist()):
            parts = {name for name in ("train", "test") if store[f"{name}_mask"][i]}
            found.setdefault(frozenset(ends), set()).update(parts)
    return found


ONE, BOTH = "SELECT a, b, day, part FROM k", "SELECT a, b, day, part FROM k UNION ALL SELECT b, a, day, part FROM k"
#: The reverse is on another day, and so in another part of some splits.
LATER = "SELECT a, b, day, part FROM k UNION ALL SELECT b, a, 59 - day, ['train', 'test'][1 + (part = 'train')::INT] FROM k"
LOOPS = "SELECT a, b, day, part FROM k UNION ALL SELECT id, id, 7, 'train' FROM n"
PARALLEL = "SELECT a, b, day, part FROM k UNION ALL SELECT a, b, 59 - day, ['train', 'test'][1 + (part = 'train')::INT] FROM k"


@pytest.mark.parametrize("undirected", [False, True, *MERGES])
@pytest.mark.parametrize("query", [ONE, BOTH, LOOPS], ids=["one", "both", "loops"])
@pytest.mark.parametrize("name", SPLITS)
def test_every_pair_is_in_one_part(db: dbgnn.Database, name: str, query: str, undirected: bool | str) -> None:
    columns = "EXCLUDE (part)" if name != "column" else ""
    data = read(db, f"SELECT * {columns} FROM ({query})", SPLITS[name], undirected=undirected)
    found = parts_of(data, K)
    assert all(len(parts) == 1 for parts in found.values())
    assert {part for parts in found.values() for part in parts} == {"train", "test"}


@pytest.mark.parametrize("undirected", [False, True, *MERGES])
@pytest.mark.parametrize("query", [LATER, PARALLEL], ids=["later", "parallel"])
@pytest.mark.parametrize("name", SPLITS)
def test_rows_that_disagree(db: dbgnn.Database, name: str, query: str, undirected: bool | str) -> None:
    columns = "EXCLUDE (part)" if name != "column" else ""
    query_text = f"SELECT * {columns} FROM ({query})"
    merged = isinstance(undirected, str)
    if name == "hash":
        found = parts_of(read(db, query_text, SPLITS[name], undirected=undirected), K)
        assert all(len(parts) == 1 for parts in found.values())
    elif query == PARALLEL and not merged:  # rows of one direction are edges of their own, as they are between two types
        assert read(db, query_text, SPLITS[name], undirected=undirected)[K].edge_index.size(1)
    else:
        match = "each merged of several" if merged else "have their reverse in another part"
        with pytest.raises(dbgnn.DataError, match=rf"{match}.*'k\d+' → 'k\d+' in '(train|test)' and 'k\d+' → 'k\d+' in"):
            read(db, query_text, SPLITS[name], undirected=undirected)


def directed(split: Any) -> Split:
    """The same split, as its text and the error say it."""
    text = repr(split) if isinstance(split, Split) else repr(dbgnn.PredicateSplit(split))
    made = eval(text[:-1] + ", directed=True)", vars(dbgnn))
    assert isinstance(made, Split)
    assert "directed=True" in repr(made)
    return made


@pytest.mark.parametrize("name", SPLITS)
def test_directed_edges_are_edges_of_their_own(db: dbgnn.Database, name: str) -> None:
    columns = "EXCLUDE (part)" if name != "column" else ""
    split = directed(SPLITS[name])
    data = read(db, f"SELECT * {columns} FROM ({LATER})", split)
    assert any(len(parts) == 2 for parts in parts_of(data, K).values())
    with pytest.raises(dbgnn.DataError, match="each merged of several"):
        read(db, f"SELECT * {columns} FROM ({LATER})", split, undirected="add")


def test_a_row_in_no_part_does_not_count(db: dbgnn.Database) -> None:
    query = "SELECT a, b, 1 AS used FROM k UNION ALL SELECT b, a, 0 FROM k"
    for undirected in (False, True, *MERGES):
        found = parts_of(read(db, query, {"train": "used = 1", "test": "used = 2"}, undirected=undirected), K)
        assert all(parts == {"train"} for parts in found.values())
    for reduce in MERGES:  # of the merged edge both directions are in the part
        data = read(db, query, {"train": "used = 1", "test": "used = 2"}, undirected=reduce)
        assert data[K].train_mask.all()


@pytest.mark.parametrize("name", SPLITS)
def test_a_reverse_that_is_an_edge_type_of_its_own(db: dbgnn.Database, name: str) -> None:
    db.execute("""CREATE TABLE drug AS SELECT 'd' || i AS id FROM range(40) AS r(i);
    CREATE TABLE effect AS SELECT i AS id FROM range(40) AS r(i);
    CREATE TABLE has AS SELECT 'd' || (i * 7 % 40) AS d, i * 3 % 40 AS e, i AS day, ['train', 'test'][1 + i % 2] AS part
    FROM range(60) AS r(i)""")  # twenty edges are there twice, on several days
    columns = ", day, part::ENUM('train', 'test') AS part" if name == "column" else ", day"

    def both(reverse: Any) -> HeteroData:
        return dbgnn.query_to_heterodata(
            db,
            nodes={"drug": "FROM drug", "effect": "FROM effect"},
            edges={HAS: f"SELECT d, e{columns} FROM has", REV: f"SELECT e, d{columns} FROM has"},
            splits={HAS: SPLITS[name], REV: reverse},
        )

    data = both(SPLITS[name])
    assert data[HAS].train_mask.any()
    assert data[HAS].test_mask.any()
    assert data[HAS].train_mask.equal(data[REV].train_mask)
    other = {"train": "day >= 30", "test": "day < 30"}
    with pytest.raises(dbgnn.DataError, match=r"of \('\w+', '\w+', '\w+'\) in '(train|test)' and "):
        both(other)
    assert both(dbgnn.PredicateSplit(other, directed=True))[REV].edge_index.size(1) == 60


def test_one_table_as_two_edge_types_of_a_graph(db: dbgnn.Database) -> None:
    db.execute("""CREATE TABLE e AS SELECT a AS s, b AS d, day FROM k;
    CREATE PROPERTY GRAPH g VERTEX TABLES (n KEY (id)) EDGE TABLES (
      e SOURCE KEY (s) REFERENCES n (id) DESTINATION KEY (d) REFERENCES n (id) LABEL follows,
      e SOURCE KEY (d) REFERENCES n (id) DESTINATION KEY (s) REFERENCES n (id) LABEL followed_by)""")
    graph, hashed = db.graph(), dbgnn.HashSplit(train=0.5, test=0.5)
    data = graph.to_heterodata(splits={"follows": hashed, "followed_by": hashed})
    found = parts_of(data, ("n", "follows", "n"), ("n", "followed_by", "n"))
    assert all(len(parts) == 1 for parts in found.values())
    with pytest.raises(dbgnn.DataError, match=r"'followed_by'.* have their reverse in another part"):
        graph.to_heterodata(splits={"follows": hashed, "followed_by": dbgnn.HashSplit(train=0.5, test=0.5, seed=1)})


def test_composite_keys_and_collations(db: dbgnn.Database) -> None:
    db.execute("CREATE TABLE c AS SELECT i % 5 AS p, ['a', 'b'][1 + i // 5] AS q FROM range(10) AS r(i)")
    db.execute("UPDATE c SET q = upper(q) WHERE p = 2")
    pairs = "SELECT x.p AS p1, x.q AS q1, y.p AS p2, y.q AS q2 FROM c x, c y"
    for collation in ("", "nocase"):
        db.execute(f"SET default_collation = '{collation}'")
        data = dbgnn.query_to_heterodata(
            db,
            nodes={"n": "FROM c"},
            keys={"n": ("p", "q")},
            edges={K: pairs},
            splits={K: dbgnn.HashSplit(train=0.5, test=0.5)},
        )
        assert data[K].edge_index.size(1) == 100
        found = parts_of(data, K)
        assert all(len(parts) == 1 for parts in found.values())
        assert {part for parts in found.values() for part in parts} == {"train", "test"}


@pytest.mark.parametrize("with_split", [0, 1], ids=["the edge", "its reverse"])
@pytest.mark.parametrize("name", SPLITS)
def test_a_reverse_without_a_split_is_said(db: dbgnn.Database, name: str, with_split: int) -> None:
    rev = ("n", "rev_k", "n")
    part = "part::ENUM('train', 'test') AS part"
    queries = {K: f"SELECT a, b, day, {part} FROM k", rev: f"SELECT b, a, day, {part} FROM k"}

    def both(splits: dict[Any, Any], **options: Any) -> HeteroData:
        edges = {t: q for t, q in queries.items() if t != rev or not options}
        return dbgnn.query_to_heterodata(db, nodes={"n": "FROM n"}, edges=edges, splits=splits, **options)

    one, other = (K, rev) if not with_split else (rev, K)
    with pytest.warns(UserWarning, match="has a split") as said:
        both({one: SPLITS[name]})
    (warning,) = said
    text = str(warning.message)
    assert text.startswith(f"splits: {one!r} has a split, and {other!r}, which holds its reverse edges, has none")
    assert warning.filename == __file__
    # What it advises, and what is fine, says nothing: warnings are errors here.
    hashed = dbgnn.HashSplit(train=0.5, test=0.5)
    found = parts_of(both({K: hashed, rev: hashed}), K, rev)
    assert all(len(parts) == 1 for parts in found.values())
    assert both({K: hashed}, reverse=True)[rev].train_mask.any()
    both({one: dbgnn.TimeSplit("day", train=0.5, test=0.5, directed=True)})
    both({})


def test_one_table_as_two_edge_types_of_which_one_has_a_split(db: dbgnn.Database) -> None:
    for label in ("followed_by", "rev_follows"):  # by the table, and by the name as well: it is said once
        db.execute(f"""CREATE OR REPLACE TABLE e AS SELECT a AS s, b AS d, day FROM k;
        CREATE OR REPLACE PROPERTY GRAPH g VERTEX TABLES (n KEY (id)) EDGE TABLES (
          e SOURCE KEY (s) REFERENCES n (id) DESTINATION KEY (d) REFERENCES n (id) LABEL follows,
          e SOURCE KEY (d) REFERENCES n (id) DESTINATION KEY (s) REFERENCES n (id) LABEL {label})""")
        with pytest.warns(UserWarning, match=f"'follows'.* has a split, and .*{label}") as said:
            db.graph("g").to_heterodata(splits={"follows": dbgnn.HashSplit(train=0.5, test=0.5)})
        assert len(said) == 1


def test_parallel_undirected_edges_are_edges_of_their_own(db: dbgnn.Database) -> None:
    rows = "FROM (VALUES ('k0', 'k1', 1), ('k1', 'k0', 1), ('k0', 'k1', 9), ('k1', 'k0', 9)) AS r(a, b, day)"
    data = read(db, rows, {"train": "day = 1", "test": "day = 9"})
    assert (int(data[K].train_mask.sum()), int(data[K].test_mask.sum())) == (2, 2)
    data = read(db, rows, dbgnn.HashSplit(train=0.5, test=0.5))
    assert {int(data[K].train_mask.sum()), int(data[K].test_mask.sum())} == {0, 4}
