"""A run of all that dbgnn does with a small file, and what came out, so that two runs can be compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch_geometric.data import HeteroData

import dbgnn

TABLES = """
    CREATE TABLE paper (id BIGINT, code VARCHAR, year INTEGER, day DATE, tags VARCHAR, x FLOAT[4], y BIGINT);
    INSERT INTO paper SELECT i * 10 + 5, 'p' || i, 2000 + i % 20, DATE '2020-01-01' + i::INTEGER, 'a|b' || i % 3,
        [i, i + 1, 2, 3]::FLOAT[4], i % 4 FROM range(60) AS r(i) ORDER BY i DESC;
    CREATE TABLE author (name VARCHAR COLLATE nocase PRIMARY KEY, h FLOAT);
    INSERT INTO author SELECT 'a' || i, i / 2 FROM range(20) AS r(i);
    CREATE TABLE cites (src BIGINT, dst BIGINT, w FLOAT[2], day INTEGER);
    INSERT INTO cites SELECT (i * 7 % 60) * 10 + 5, ((i * 13 + 1) % 60) * 10 + 5, [i, i], i FROM range(400) AS r(i);
    CREATE TABLE writes (who VARCHAR, what BIGINT);
    INSERT INTO writes SELECT 'A' || i % 20, (i % 60) * 10 + 5 FROM range(90) AS r(i);
"""
GRAPH = """
    CREATE PROPERTY GRAPH g
      VERTEX TABLES (paper KEY (id) PROPERTIES (x, y, year), author KEY (name) PROPERTIES (h))
      EDGE TABLES (
        cites SOURCE KEY (src) REFERENCES paper (id) DESTINATION KEY (dst) REFERENCES paper (id) PROPERTIES (w),
        writes SOURCE KEY (who) REFERENCES author (name) DESTINATION KEY (what) REFERENCES paper (id),
        writes AS written SOURCE KEY (what) REFERENCES paper (id) DESTINATION KEY (who) REFERENCES author (name))
"""
CITES = ("paper", "cites", "paper")
WRITES = ("author", "writes", "paper")


def make(path: Path) -> None:
    """Make the file; the index is not built."""
    with dbgnn.connect(path, progress=False) as db:
        db.execute(TABLES)
        db.execute(GRAPH)


def run(db: dbgnn.Database, folder: Path) -> list[Any]:
    """Do everything with a fresh copy of the file of `make`, and return all that came out, as plain values."""
    torch.manual_seed(0)
    out: list[Any] = []
    graph = db.graph("g")
    out += [str(graph), graph.check(progress=False).to_dict()]
    graph.build(progress=False)
    out += _loaders(db)
    out += _stores(db)
    out += _queries(db, graph)
    out += _back(db, graph)
    packed = folder / "packed"
    loader(db, [3, 2], batch_size=20).pack(packed, progress=False)
    out += [plain(batch) for batch in dbgnn.PackedLoader(packed)]
    db.execute("UPDATE paper SET year = year + 1; DELETE FROM cites WHERE day = 7")
    graph.build(progress=False)
    out += [plain(batch) for batch in loader(db, [3], batch_size=60)]
    db.execute("DROP PROPERTY GRAPH g")
    return out


def loader(db: dbgnn.Database, fan_out: list[int], **given: Any) -> dbgnn.NeighborLoader:
    given = {"input_nodes": "paper", "seed": 1, **given}
    return dbgnn.NeighborLoader(db.get_torch_geometric_remote_backend("g"), fan_out, **given)


def _loaders(db: dbgnn.Database) -> list[Any]:
    kinds: list[tuple[list[int], dict[str, Any]]] = [
        ([3, 2], {"batch_size": 16, "shuffle": True}),
        ([12], {"batch_size": 30, "input_nodes": ("paper", "year > 2003 AND code LIKE 'p%'")}),
        ([-1], {"batch_size": 30, "input_nodes": ("author", torch.arange(5))}),
        ([300], {"batch_size": 30}),
        ([3, 2], {"batch_size": 20, "replace": True}),
        ([3, 2], {"batch_size": 20, "disjoint": True}),
        ([3], {"batch_size": 20, "subgraph_type": "induced"}),
    ]
    return [[plain(batch) for batch in loader(db, fan_out, **given)] for fan_out, given in kinds]


def _stores(db: dbgnn.Database) -> list[Any]:
    features, adjacency = db.get_torch_geometric_remote_backend("g")
    ids = torch.tensor([3, 1, 59])
    out: list[Any] = [features["paper", "x", ids].tolist(), features["paper", "x", None].tolist()]
    out += [list(features.keys("paper", ids)), list(features.keys("author", torch.arange(3)))]
    out += [features[CITES, "w", ids].tolist()] if CITES in features.graph.edge_types else []
    for layout in ("coo", "csc", "csr"):
        out += [[part.tolist() for part in adjacency.get_edge_index(edge_type=CITES, layout=layout)[:2]]]
    return out


def _queries(db: dbgnn.Database, graph: dbgnn.Graph) -> list[Any]:
    by_type = dbgnn.query_to_heterodata(
        db,
        nodes={"paper": "SELECT id, year, code, day, tags, x FROM paper", "author": "SELECT name, h FROM author"},
        edges={CITES: "SELECT src, dst, day FROM cites", WRITES: "SELECT who, what FROM writes"},
        encoders={
            "paper": {
                "year": dbgnn.Normalize("year"),
                "code": dbgnn.OneHot("code"),
                "day": dbgnn.Datetime("day"),
                "tags": dbgnn.MultiHot("tags", sep="|"),
            }
        },
        splits={"paper": dbgnn.HashSplit(train=0.8, test=0.2), CITES: dbgnn.TimeSplit("day", train=0.8, test=0.2)},
        reverse=True,
        progress=False,
    )
    pattern = "SELECT p, c, q FROM paper p JOIN cites c ON c.src = p.id JOIN paper q ON q.id = c.dst WHERE p.year > 2005"
    return [
        plain(by_type),
        plain(dbgnn.query_to_heterodata(db, pattern, graph="g", progress=False)),
        plain(graph.to_heterodata({"paper": "year >= 2004"}, progress=False)),
        plain(graph.to_heterodata(seeds=("paper", "id = 75"), hops=2, progress=False)),
    ]


def _back(db: dbgnn.Database, graph: dbgnn.Graph) -> list[Any]:
    graph.encode("paper", "tag_vector", dbgnn.MultiHot("tags", sep="|"), progress=False)
    graph.write_back("paper", n_id=torch.arange(60), score=torch.arange(60.0), progress=False)
    graph.write_back("author", keys=["a1", "A3"], best=torch.tensor([1, 2]), progress=False)
    graph.write_back("paper", n_id=[1, 2], into="side", z=torch.ones(2, 3), progress=False)
    graph.predict(
        torch.nn.Identity(),
        loader(db, [2], batch_size=25),
        "guess",
        forward=lambda _, batch: batch["paper"].x[: batch["paper"].batch_size] * 2,
        progress=False,
    )
    tables = ("paper", "author", "side")
    return [db.execute(f"FROM {table} ORDER BY ALL").fetchall() for table in tables]


def plain(data: HeteroData) -> list[Any]:
    """Return everything that a graph holds, sorted by name, as plain values."""
    found = []
    for store in data.stores:
        for name, value in sorted(store.items()):
            found.append((str(store._key), name, value.tolist() if isinstance(value, torch.Tensor) else str(value)))
    return found
