"""Remedies of the ETL part: what an error says to do is taken from its message, done as written, and what failed then works.

`tests/test_remedies.py` does the same for the rest, `test_from_networkx.py` for its own.
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
from torch_geometric.data import Data, HeteroData

import dbgnn

Scope = dict[str, Any]
#: Does what fails; the remedy, where it is a part of the call, is the second argument.
Fails = Callable[..., object]

TABLES = """
    CREATE TABLE "the papers" AS
      SELECT i AS id, i % 3 AS y, 'p' || i AS title, CASE WHEN i < 5 THEN 'train' ELSE 'test' END AS part,
        '2024-01-0' || 1 + i % 9 AS "on", TIMESTAMP '2024-01-01' + to_days(i::INT) AS moment,
        CASE WHEN i = 3 THEN 'infinity'::DATE ELSE DATE '2024-01-01' + i::INT END AS day,
        CASE WHEN i = 4 THEN 'nan'::DOUBLE ELSE i END AS w, CASE WHEN i > 5 THEN i END AS few,
        [i, i + 1]::DECIMAL(8, 2)[2] AS pair, [[i], [1]]::FLOAT[1][2] AS square, to_days(i::INT) AS lasts,
        170141183460469231731687303715884105727 - i AS huge
      FROM range(9) t(i);
    CREATE TABLE cites AS
      SELECT i AS src, 8 - i AS dst, i AS v, 'c' || i AS name, (DATE '2024-01-01' + i::INT)::VARCHAR AS since
      FROM range(9) t(i);
    CREATE PROPERTY GRAPH g VERTEX TABLES ("the papers" AS paper KEY (id) PROPERTIES (y)) EDGE TABLES (
      cites SOURCE KEY (src) REFERENCES paper (id) DESTINATION KEY (dst) REFERENCES paper (id) PROPERTIES (v));
    CREATE TABLE city (id BIGINT PRIMARY KEY, region VARCHAR, shape FLOAT[2]);
    CREATE TABLE "select" (id BIGINT PRIMARY KEY, city BIGINT REFERENCES city (id), job VARCHAR, shape FLOAT[3]);
    INSERT INTO city SELECT i, 'r' || i % 2, NULL FROM range(5) t(i);
    INSERT INTO "select" SELECT i, i % 5, 'j' || i % 3, NULL FROM range(9) t(i);
    CREATE PROPERTY GRAPH shop
      VERTEX TABLES (city KEY (id) NO PROPERTIES, "select" AS customer KEY (id) NO PROPERTIES) EDGE TABLES (
      "select" AS lives SOURCE KEY (id) REFERENCES customer (id) DESTINATION KEY (city) REFERENCES city (id) NO PROPERTIES);
"""
CITES = ("paper", "cites", "paper")
TABLE = {"…": '"the papers"'}


@dataclass(frozen=True, slots=True)
class Case:
    """What fails, and what of the message is done.

    Attributes:
        fails: What raises.
        remedy: A pattern of the message; its group is the remedy.
        way: What the remedy is: ``"sql"`` or ``"python"``, to be run before what failed works, or ``"call"``, a part of it.
        fill: What stands for what the message leaves open.
        then: What works afterwards, instead of what failed.
    """

    fails: Fails
    remedy: str
    way: str = "sql"
    fill: dict[str, str] | None = None
    then: Fails | None = None


def encode(encoder: str, label: str = "paper", graph: str = "g", name: str = "x") -> Fails:
    return lambda s: s["db"].graph(graph).encode(label, name, eval(encoder, {"dbgnn": dbgnn, "rows": rows}))


def rows(values: Any) -> Any:
    return torch.ones(len(values), 2)


def query(papers: str = 'SELECT id FROM "the papers"', edges: str | None = None, **options: Any) -> Fails:
    def run(s: Scope, given: str = "") -> object:
        mine = options | (eval(f"dict({given})", {"dbgnn": dbgnn}) if given else {})
        return dbgnn.query_to_heterodata(s["db"], nodes={"paper": papers}, edges={CITES: edges} if edges else {}, **mine)

    return run


def by_graph(**options: Any) -> Fails:
    def run(s: Scope, given: str = "") -> object:
        mine = options | (eval(f"dict({given})", {"dbgnn": dbgnn}) if given else {})
        return s["db"].graph("g").to_heterodata(**mine)

    return run


def again(make: Callable[[str], Fails]) -> Fails:
    """Do what the remedy is a part of."""
    return lambda s, remedy: make(remedy)(s)


def as_dates(since: str = "since", rows: str = "cites") -> Fails:
    split = dbgnn.TimeSplit("since", train=0.5, test=0.5, directed=True)
    return query(edges=f"SELECT src, dst, {since} FROM {rows}", splits={CITES: split})


def with_papers(column: str, encoder: Any) -> Fails:
    return query(f'SELECT id, {column} FROM "the papers"', encoders={"paper": {"x": encoder}})


def loaded(db: dbgnn.Database, label: str) -> None:
    """What was encoded as `x` comes with a loader."""
    loader = dbgnn.NeighborLoader(db.get_torch_geometric_remote_backend("shop"), [3], "city", batch_size=3)
    assert next(iter(loader))[label].x.shape[0] > 2


def write(**options: Any) -> Fails:
    def run(s: Scope, given: str = "") -> object:
        mine = options | (eval(f"dict({given})") if given else {})
        return s["db"].graph("shop").write_back(mine.pop("label", "city"), **mine)

    return run


def parallel(**options: Any) -> Fails:
    """Write to edges several of which have the same ends, in a table with a key."""

    def run(s: Scope) -> object:
        s["db"].execute("""CREATE TABLE IF NOT EXISTS saw (id BIGINT PRIMARY KEY, a BIGINT, b BIGINT);
            CREATE OR REPLACE PROPERTY GRAPH views VERTEX TABLES (city KEY (id) NO PROPERTIES) EDGE TABLES (
              saw SOURCE KEY (a) REFERENCES city (id) DESTINATION KEY (b) REFERENCES city (id) NO PROPERTIES);
            INSERT OR IGNORE INTO saw SELECT i, i % 2, 1 FROM range(9) t(i)""")
        return s["db"].graph("views").write_back("saw", **options)

    return run


def pyg(make: Callable[[], Any]) -> Fails:
    """Write an object that is made once, so that what is done to it lasts."""

    def run(s: Scope) -> object:
        s["data"] = s.get("data") or make()
        return dbgnn.from_pyg(s["data"], s["db"], name="mine")

    return run


def hetero(**attributes: Any) -> HeteroData:
    data = HeteroData()
    data["a"].num_nodes = 3
    data["a", "to", "a"].edge_index = torch.tensor([[0, 1], [1, 2]])
    for name, value in attributes.items():
        data["a"][name] = value
    return data


def without_nodes() -> HeteroData:
    data = hetero()
    data["a", "of", "b"].edge_index = torch.tensor([[0, 1], [1, 2]])
    return data


def with_edges(edge_index: Any, **attributes: Any) -> HeteroData:
    data = hetero(**attributes)
    data["a", "to", "a"].edge_index = edge_index
    return data


def of_edges(**attributes: Any) -> HeteroData:
    data = hetero()
    for name, value in attributes.items():
        data["a", "to", "a"][name] = value
    return data


CASES = {
    # graph.encode
    "encode over a column that a foreign key holds": Case(
        encode("dbgnn.OneHot('region')", "city", "shop", "shape"),
        r"(graph\.encode\(.*?\)) then",
        "python",
        {"…": "'x', dbgnn.OneHot('region')"},
        then=lambda s: loaded(s["db"], "city"),
    ),
    "encode over a column beside edges": Case(
        encode("dbgnn.OneHot('job')", "customer", "shop", "shape"),
        r"(graph\.encode\(.*?\)) then",
        "python",
        {"…": "'x', dbgnn.OneHot('job')"},
        then=lambda s: loaded(s["db"], "customer"),
    ),
    "encode a frame": Case(
        encode("dbgnn.Frame(numerical=['y'])"),
        r"use it in (\w+)",
        "call",
        then=lambda s, name: getattr(dbgnn, name)(
            s["db"], nodes={"paper": 'FROM "the papers" SELECT id, y'}, encoders={"paper": {"tf": dbgnn.Frame(numerical=["y"])}}
        ),
    ),
    "encode NULL": Case(
        encode("dbgnn.Normalize('few')"),
        r"(null='fill') or",
        "call",
        then=lambda s, given: s["db"].graph("g").encode("paper", "x", eval(f"dbgnn.Normalize('few', {given}, fill=0)")),
    ),
    "encode NULL by a mask": Case(
        encode("dbgnn.Normalize('few')"),
        r"or (null='mask')",
        "call",
        then=lambda s, given: s["db"].graph("g").encode("paper", "x", eval(f"dbgnn.Normalize('few', {given})")),
    ),
    # encoders
    "text as dates": Case(encode("dbgnn.Datetime('on')"), r"or (ALTER TABLE .*)\.", fill=TABLE),
    "text as dates, in a query": Case(
        with_papers('"on"', dbgnn.Datetime("on")),
        r"Cast it: (.*) in a query",
        "call",
        then=again(lambda cast: with_papers(cast, dbgnn.Datetime("on"))),
    ),
    "seconds as dates": Case(
        encode("dbgnn.Datetime('id')"),
        r"TYPE TIMESTAMP USING (make_timestamp.*)\.",
        "call",
        then=again(lambda sql: with_papers(f"{sql} AS t", dbgnn.Datetime("t"))),
    ),
    "seconds as dates, in a query": Case(
        with_papers("y", dbgnn.Datetime("y")),
        r"take (.*) in a query",
        "call",
        then=again(lambda sql: with_papers(sql, dbgnn.Datetime("y"))),
    ),
    "seconds as dates, in a table": Case(encode("dbgnn.Datetime('y')"), r"or (ALTER TABLE .*)\.", fill=TABLE),
    "numbers beyond float64": Case(
        encode("dbgnn.Identity('huge')"), r"or (ALTER TABLE .*)\.", fill=TABLE, then=encode("dbgnn.Hash('huge')")
    ),
    "arrays of arrays": Case(
        encode("dbgnn.Normalize('square')"), r"use (\w+) or", "call", then=again(lambda name: encode(f"dbgnn.{name}('square')"))
    ),
    "text as numbers": Case(
        encode("dbgnn.Normalize('title')"),
        r"use (\w+), Ordinal",
        "call",
        then=again(lambda name: encode(f"dbgnn.{name}('title')")),
    ),
    "intervals as categories": Case(encode("dbgnn.OneHot('lasts')"), r"or (ALTER TABLE .*)\.", fill=TABLE),
    "huge numbers as categories": Case(encode("dbgnn.OneHot('huge')"), r"or (ALTER TABLE .*)\.", fill=TABLE),
    "numbers as text": Case(encode("dbgnn.Text(rows, column='y')"), r"or (ALTER TABLE .*)\.", fill=TABLE),
    "arrays of decimals": Case(encode("dbgnn.Normalize('pair')"), r"or (ALTER TABLE .*)\.", fill=TABLE),
    "times as categories": Case(encode("dbgnn.OneHot('moment')"), r"or (ALTER TABLE .*)\.", fill=TABLE),
    "infinite dates": Case(encode("dbgnn.Datetime('day', null='fill', fill='2024-01-01')"), r"or (UPDATE .*)\.", fill=TABLE),
    "infinite dates as categories": Case(encode("dbgnn.OneHot('day')"), r"or (ALTER TABLE .*)\.", fill=TABLE),
    "numbers that are none": Case(encode("dbgnn.Normalize('w', null='mask')"), r"or (UPDATE .*?);", fill=TABLE),
    "numbers that are none, in a query": Case(
        with_papers("w", dbgnn.Normalize("w", null="mask")),
        r"NULL: (CASE .*) in a query",
        "call",
        then=again(lambda sql: with_papers(sql, dbgnn.Normalize("w", null="mask"))),
    ),
    "a class for an encoder": Case(
        by_graph(encoders={"paper": {"x": dbgnn.OneHot}}),
        r"write (OneHot\(\))",
        "call",
        then=lambda s, made: by_graph(encoders={"paper": {"y": eval(f"dbgnn.{made}")}})(s),
    ),
    "values that were not fitted": Case(
        by_graph(encoders={"paper": {"x": dbgnn.OneHot("y")}}, fit={"paper": "y > 0"}),
        r"(unseen='\w+')",
        "call",
        then=again(
            lambda given: by_graph(encoders={"paper": {"x": eval(f"dbgnn.OneHot('y', {given})")}}, fit={"paper": "y > 0"})
        ),
    ),
    # queries
    "dangling edges": Case(query(edges="SELECT src, dst + 99 FROM cites"), r"(dangling='drop')", "call"),
    "a key that is NULL": Case(
        query('SELECT few FROM "the papers"'),
        r"out: (WHERE .*)\.",
        "call",
        then=lambda s, where: query(f'SELECT few FROM "the papers" {where}')(s),
    ),
    "keys of another type": Case(
        query(edges="SELECT src::VARCHAR AS src, dst FROM cites"),
        r"one type: (.*)\.",
        "call",
        then=lambda s, cast: query(edges=f"SELECT {cast}, dst FROM (SELECT src::VARCHAR AS src, dst FROM cites)")(s),
    ),
    "a feature that is NULL": Case(
        query('SELECT id, few FROM "the papers"'),
        r"(coalesce\(.*?\))",
        "call",
        {"…": "0"},
        then=lambda s, sql: query(f'SELECT id, {sql} AS few FROM "the papers"')(s),
    ),
    "text": Case(query('SELECT id, title FROM "the papers"'), r"(encoders=.*)\.$", "call", {"…": "'paper'"}),
    "a value that is missing": Case(
        query('SELECT id FROM "the papers" WHERE y < $most'), r"(params=.*?)\. ", "call", {"…": "2"}
    ),
    "no one is asked for hops": Case(by_graph(hops=1), r"(seeds=.*)\.$", "call", {"year = 2020": "y = 1"}),
    "a condition that is none": Case(
        by_graph(fit={"paper": 5}, encoders={"paper": {"x": dbgnn.OneHot("y")}}),
        r"such as \"(.*)\",",
        "call",
        {"split": "part"},
        then=again(lambda sql: by_graph(fit={"paper": sql}, encoders={"paper": {"x": dbgnn.OneHot("y")}})),
    ),
    "a merge that there is none of": Case(
        query(edges="SELECT src, dst FROM cites", undirected="median"),
        r"there are: (\w+)",
        "call",
        then=again(lambda name: query(edges="SELECT src, dst FROM cites", undirected=name)),
    ),
    "a merge of unsigned numbers": Case(
        query(edges="SELECT src, dst, v::UINTEGER AS v FROM cites", undirected="add"),
        r"Use (undirected='first')",
        "call",
    ),
    "a split by text": Case(as_dates(), r"Cast it: (.*) in a query", "call", then=again(as_dates)),
    "a split by text of a table": Case(as_dates(), r"or (ALTER TABLE .*)\.", fill={"…": "cites"}),
    # write_back
    "arrays under a foreign key": Case(write(e=np.ones((5, 2), np.float32)), r"with (into='…')", "call", {"…": "aside"}),
    "arrays beside edges": Case(
        write(label="customer", e=np.ones((9, 2), np.float32)), r"with (into='…')", "call", {"…": "aside"}
    ),
    "arrays of parallel edges": Case(
        parallel(into="aside", e=np.ones((9, 2), np.float32)),
        "Leave into out, and write (numbers), not arrays: a column for each",
        "call",
        then=lambda s, _: parallel(e0=np.ones(9), e1=np.ones(9))(s),
    ),
    "a column of another type": Case(
        lambda s: s["db"].graph("g").write_back("paper", w=torch.ones(9, 2)), r"first: (ALTER TABLE .*)\."
    ),
    # from_pyg
    "nodes that nobody counted": Case(pyg(without_nodes), r"set (data\['b'\]\.num_nodes = …)", "python", {"…": "3"}),
    "edges by floats": Case(pyg(lambda: with_edges(torch.ones(2, 2))), r"convert it: (.*)\.$", "python"),
    "edges by floats of NumPy": Case(pyg(lambda: with_edges(np.ones((2, 2)))), r"convert it: (.*)\.$", "python"),
    "edges of nodes that are not there": Case(
        pyg(lambda: with_edges(torch.tensor([[0, 5], [1, 2]]))), r"out: (.*)\.$", "python"
    ),
    "edges of nodes that are not there, which have features": Case(
        pyg(lambda: with_edges(torch.tensor([[0, 5], [1, 2]]), x=torch.ones(3))), r"out: (.*)\.$", "python"
    ),
    "edges of nodes that are not there, in a Data": Case(
        pyg(lambda: Data(x=torch.ones(3), edge_index=torch.tensor([[0, -1], [1, 2]]), w=torch.ones(2))),
        r"out: (.*)\.$",
        "python",
    ),
    "floats of 8 bits": Case(
        pyg(lambda: hetero(x=torch.ones(3).to(torch.float8_e5m2))),
        r"example with \.(\w+)\(\)",
        "call",
        then=lambda s, cast: pyg(lambda: hetero(x=getattr(torch.ones(3).to(torch.float8_e5m2), cast)()))(s | {"data": None}),
    ),
    "complex": Case(pyg(lambda: hetero(x=torch.ones(3, dtype=torch.complex64))), r"[Oo]r (del .*)\.$", "python"),
    "a name with a space": Case(pyg(lambda: hetero(**{"my x": object()})), r"or (del .*)\.$", "python"),
    "a name with a space, of an edge": Case(pyg(lambda: of_edges(**{"my x": object()})), r"or (del .*)\.$", "python"),
    "a name with a space, of a Data": Case(
        pyg(lambda: Data(num_nodes=2, edge_index=torch.tensor([[0], [1]]), **{"my x": object()})), r"or (del .*)\.$", "python"
    ),
    "tuples": Case(pyg(lambda: hetero(x=(1, 2, 3))), r"numbers: (.*)\), or", "python", {"…": "(1, 2, 3)"}),
    "an attribute of the graph": Case(pyg(lambda: hetero(x=torch.ones(7))), r"and (del .*)\.$", "python"),
    "a list of anything": Case(pyg(lambda: hetero(x=[1, "a", object()])), r"or (del .*)\.$", "python"),
    "edges without an index": Case(pyg(lambda: with_edges(None)), r"or (del .*)\.$", "python"),
    "a graph of that name": Case(lambda s: dbgnn.from_pyg(hetero(), s["db"], name="g"), r"or (DROP PROPERTY GRAPH \S+) first"),
}


@pytest.fixture
def scope(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scope]:
    monkeypatch.chdir(tmp_path)
    with dbgnn.connect("g.duckdb", progress=False) as db:
        db.execute(TABLES)
        yield {"db": db, "dbgnn": dbgnn, "torch": torch, "np": np}


@pytest.mark.parametrize("name", CASES)
def test_what_an_error_says_to_do_works(scope: Scope, name: str) -> None:
    case = CASES[name]
    with pytest.raises(dbgnn.DbgnnError) as caught:
        case.fails(scope)
    found = re.search(case.remedy, str(caught.value))
    assert found is not None, str(caught.value)
    remedy = found[1]
    for left_open, value in (case.fill or {}).items():
        remedy = remedy.replace(left_open, value)
    then = case.then or case.fails
    if case.way == "call":
        then(scope, remedy)
        return
    if case.way == "sql":
        scope["db"].execute(remedy)
    else:
        scope["graph"] = scope["db"].graph("shop" if re.search("'(city|customer)'", remedy) else "g")
        exec(remedy, scope)
    then(scope)
