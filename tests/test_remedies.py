"""Remedies: what an error says to do is taken from its message, done as written, and what failed before then works.

Remedies about one part alone stand beside its tests: `schema/test_remedy.py` (columns that are no tensors),
`ingest/test_duckdb_errors.py` (rows of CSV files), `test_connect.py` (settings, encrypted files).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import dbgnn

Scope = dict[str, Any]

TABLES = """
    CREATE TABLE "the papers" AS SELECT i AS id, [i, 1]::FLOAT[2] AS x, i % 3 AS "order", 'p' || i AS title FROM range(9) t(i);
    CREATE TABLE cites AS SELECT i AS src, 8 - i AS dst, i AS "w 1" FROM range(9) t(i);
    CREATE PROPERTY GRAPH g VERTEX TABLES ("the papers" AS paper KEY (id)) EDGE TABLES (
      cites SOURCE KEY (src) REFERENCES paper (id) DESTINATION KEY (dst) REFERENCES paper (id))
"""
CITES = ("paper", "cites", "paper")


@dataclass(frozen=True, slots=True)
class Case:
    """What is done first, what then fails, and what of the message is run: its first group, or none of it as it is a word.

    Attributes:
        fails: What raises, and works once the remedy is done.
        remedy: A pattern of the message; its group is SQL or Python.
        before: SQL that makes it fail.
        sql: Whether the remedy is SQL.
    """

    fails: Callable[[Scope], object]
    remedy: str
    before: str = ""
    sql: bool = False


def loaded(scope: Scope) -> None:
    """Train an epoch over the stores of the scope, made if they are not there."""
    store, graph_store = scope["feature_store"], scope["graph_store"]
    loader = dbgnn.NeighborLoader((store, graph_store), num_neighbors=[2], input_nodes="paper", batch_size=4)
    assert sum(batch["paper"].batch_size for batch in loader) == scope["db"].graph().num_nodes("paper")


def sql(query: str) -> Callable[[Scope], object]:
    return lambda scope: scope["db"].execute(query)


CASES = {
    "stale index": Case(
        lambda s: s["graph"].num_nodes("paper"),
        r"Call (graph\.build\(\))",
        'DELETE FROM "the papers" WHERE id = 8; DELETE FROM cites WHERE src = 8 OR dst = 8',
    ),
    "dangling edges": Case(
        lambda s: s["graph"].topology(), r"(graph\.build\(dangling='drop'\))", "INSERT INTO cites VALUES (100, 1, 1)"
    ),
    "NULL in a feature": Case(
        loaded, r"(feature_store\.fill\('paper', 'order', 0\))", 'UPDATE "the papers" SET "order" = NULL WHERE id = 3'
    ),
    "NULL in an edge's feature": Case(
        lambda s: s["feature_store"][CITES, "w 1", None],
        r"(feature_store\.fill\(.*'w 1', 0\))",
        'UPDATE cites SET "w 1" = NULL WHERE src = 3',
    ),
    "a graph that exists": Case(
        lambda s: s["db"].execute("CREATE " + s.get("way", "") + 'PROPERTY GRAPH g VERTEX TABLES ("the papers" KEY (id))'),
        r"(?:use )(?P<way>CREATE (OR REPLACE )PROPERTY GRAPH)",
    ),
    "row numbers that are hidden": Case(
        sql("CREATE PROPERTY GRAPH h VERTEX TABLES (odd KEY (id))"),
        r"Rename it: (ALTER TABLE .*)\.",
        'CREATE TABLE odd AS SELECT 1 AS id, 2 AS "rowid"',
        sql=True,
    ),
    "a key of another type": Case(
        sql(
            'CREATE PROPERTY GRAPH h VERTEX TABLES ("the papers" AS p KEY (id)) EDGE TABLES (named SOURCE KEY ("from") '
            'REFERENCES p (id) DESTINATION KEY ("to") REFERENCES p (id))'
        ),
        r"(ALTER TABLE .*? TYPE \w+)",
        'CREATE TABLE named ("from" VARCHAR, "to" BIGINT)',
        sql=True,
    ),
    "a view": Case(
        sql("CREATE PROPERTY GRAPH h VERTEX TABLES (seen KEY (id))"),
        r"(CREATE TABLE .*)",
        'CREATE VIEW seen AS SELECT DISTINCT id FROM "the papers"',
        sql=True,
    ),
    "a view that was changed": Case(
        lambda scope: scope["db"].graph("h").build(),
        r"(CREATE OR REPLACE PROPERTY GRAPH .*)",
        'CREATE VIEW seen AS FROM "the papers"; CREATE PROPERTY GRAPH h VERTEX TABLES (seen KEY (id)); '
        'CREATE OR REPLACE VIEW seen AS FROM "the papers" WHERE id > 3',
        sql=True,
    ),
    "a column without a default": Case(
        sql('COPY "to fill" ("a b") FROM \'ids.npy\''),
        r"(ALTER TABLE .* SET DEFAULT …)",
        'CREATE TABLE "to fill" ("a b" BIGINT, "select" BIGINT NOT NULL)',
        sql=True,
    ),
    "one file for two columns": Case(
        sql("COPY \"to fill\" FROM 'ids.npy'"),
        r"(COPY \"to fill\" \(\"a b\"\) FROM 'ids\.npy')",
        'CREATE TABLE "to fill" ("a b" BIGINT, "select" BIGINT)',
        sql=True,
    ),
    "a Parquet file in another order": Case(
        sql("COPY \"to fill\" FROM 'it''s.parquet'"),
        r"(COPY \"to fill\" \(.*\) FROM 'it''s\.parquet'), or",
        'CREATE TABLE "to fill" ("a b" BIGINT, "select" BIGINT); '
        "COPY (SELECT 1 AS \"select\", 2 AS \"a b\") TO 'it''s.parquet'",
        sql=True,
    ),
    "a Parquet file in another order, by name": Case(
        sql("COPY \"to fill\" FROM 'it''s.parquet'"),
        r"(INSERT INTO \"to fill\" BY NAME FROM 'it''s\.parquet')",
        'CREATE TABLE "to fill" ("a b" BIGINT, "select" BIGINT); '
        "COPY (SELECT 1 AS \"select\", 2 AS \"a b\") TO 'it''s.parquet'",
        sql=True,
    ),
    "a statement as a query": Case(
        lambda s: s["db"].sql('CREATE OR REPLACE PROPERTY GRAPH g VERTEX TABLES ("the papers" KEY (id))'),
        r"run it with (db\.execute)\(\)",
    ),
    "a file that is no database": Case(
        lambda s: dbgnn.connect("rows.csv"), r"(SELECT \* FROM '.*rows\.csv')", "COPY (SELECT 1 AS a) TO 'rows.csv'", sql=True
    ),
    "keys as seeds": Case(
        lambda s: dbgnn.NeighborLoader(s["graph"], [2], ("paper", ["p1"])), r"(feature_store\.ids\('paper', keys\))"
    ),
    "a homogeneous graph of two types": Case(
        lambda s: s["db"].get_torch_geometric_remote_backend("two", homogeneous=True),
        r"homogeneous=True.*(Leave it out)",
        'CREATE PROPERTY GRAPH two VERTEX TABLES ("the papers" AS a KEY (id), "the papers" AS b KEY (id))',
    ),
}

#: Where what failed is not to be repeated: the remedy stands for it.
INSTEAD = {
    "a view",
    "one file for two columns",
    "a Parquet file in another order",
    "a Parquet file in another order, by name",
    "a statement as a query",
    "a file that is no database",
    "keys as seeds",
    "a homogeneous graph of two types",
    "a graph that exists",
}


@pytest.fixture
def scope(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scope]:
    monkeypatch.chdir(tmp_path)
    np.save("ids.npy", np.arange(3))
    with dbgnn.connect("g.duckdb") as db:
        db.execute(TABLES)
        feature_store, graph_store = db.get_torch_geometric_remote_backend()
        yield {
            "db": db,
            "graph": db.graph(),
            "feature_store": feature_store,
            "graph_store": graph_store,
            "keys": torch.arange(3),
            "dbgnn": dbgnn,
        }


@pytest.mark.parametrize("name", CASES)
def test_what_an_error_says_to_do_works(scope: Scope, name: str) -> None:
    case, db = CASES[name], scope["db"]
    if name == "stale index":
        scope["graph"].build()
    if case.before:
        db.execute(case.before)
    with pytest.raises(dbgnn.DbgnnError) as caught:
        case.fails(scope)
    found = re.search(case.remedy, str(caught.value))
    assert found is not None, str(caught.value)
    remedy = found[1]
    if name == "a graph that exists":
        db.execute(f'{remedy} g VERTEX TABLES ("the papers" KEY (id))')
    elif name == "a statement as a query":
        eval(remedy, scope)('CREATE OR REPLACE PROPERTY GRAPH g VERTEX TABLES ("the papers" KEY (id))')
    elif name == "a homogeneous graph of two types":
        db.get_torch_geometric_remote_backend("two")
    elif case.sql:
        db.execute(remedy.replace("TABLE …", "TABLE made").replace("DEFAULT …", "DEFAULT 0"))
    else:
        eval(remedy, scope)
    if name not in INSTEAD:
        case.fails(scope)


@pytest.mark.parametrize(
    ("column", "array"),
    [("FLOAT", np.zeros(3)), ("FLOAT[2]", np.zeros((3, 2))), ("BIGINT", np.zeros(3)), ("VARCHAR", np.arange(3))],
)
def test_npy_files_of_another_dtype(scope: Scope, column: str, array: Any) -> None:
    np.save("a.npy", array)
    scope["db"].execute(f"CREATE TABLE t (c {column})")
    with pytest.raises(dbgnn.CopyError) as caught:
        scope["db"].execute("COPY t FROM 'a.npy'")
    found = re.search(r"[Ss]ave (a\.\w+\(.*?\))", str(caught.value))
    assert found is not None, str(caught.value)
    np.save("a.npy", eval(found[1], {"a": array, "np": np}))
    assert scope["db"].execute("COPY t FROM 'a.npy'").fetchone() == (3,)


def test_a_name_is_no_near_miss_of_itself(scope: Scope) -> None:
    asks: list[Callable[[], object]] = [
        lambda: scope["graph"].num_edges("paper"),
        lambda: scope["feature_store"].ids(("paper",), [1]),
        lambda: scope["db"].graph("g "),
        lambda: scope["feature_store"]["paper", "y", None],
    ]
    for ask in asks:
        with pytest.raises(dbgnn.DbgnnError) as caught:
            ask()
        for missed, hint in re.findall(r"'(\w+)'.*did you mean '(\w+)'", str(caught.value)):
            assert missed != hint, str(caught.value)
