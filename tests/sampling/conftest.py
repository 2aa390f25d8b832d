"""A heterogeneous graph with every interesting degree, in a DuckDB file and in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import dbgnn
from tests.sampling.oracle import EdgeType, Ids

RATES: EdgeType = ("user", "rates", "item")
LIKED: EdgeType = ("item", "liked", "user")
KNOWS: EdgeType = ("user", "knows", "user")

#: The first items have these degrees, for k = 5: none, one, k, k + 1, 4k, 4k + 1, a hub.
DEGREES = [0, 1, 5, 6, 20, 21, 3000]


@dataclass
class Fixture:
    path: Path
    edges: dict[EdgeType, tuple[Ids, Ids]]
    labels: tuple[str, ...] = ("user", "item")


@pytest.fixture(scope="session")
def hetero(tmp_path_factory: pytest.TempPathFactory) -> Fixture:
    rng = np.random.default_rng(5)
    users, items = 400, 120
    dst = np.concatenate([np.repeat(np.arange(len(DEGREES)), DEGREES), rng.integers(len(DEGREES), items, 1500)])
    dst = rng.permutation(dst)
    edges = {
        RATES: (rng.integers(0, users, len(dst)), dst),
        LIKED: (rng.integers(0, items, 900), rng.integers(0, users, 900)),
        KNOWS: (rng.integers(0, users, 2500), rng.integers(0, users, 2500)),
    }
    path = tmp_path_factory.mktemp("hetero") / "g.duckdb"
    with dbgnn.connect(path) as db:
        con = db.connection
        con.execute("CREATE TABLE user AS SELECT range AS id, [range, 1]::FLOAT[2] AS x FROM range(400)")
        con.execute("CREATE TABLE item AS SELECT range AS id, [range, 2, 3]::FLOAT[3] AS x FROM range(120)")
        for (_, label, _), (s, d) in edges.items():
            con.register("part", pa.table({"s": s, "d": d, "w": np.arange(len(s)) * 0.5}))
            con.execute(f"CREATE TABLE {label} AS FROM part")
            con.unregister("part")
        db.execute(
            """CREATE PROPERTY GRAPH g VERTEX TABLES (user KEY (id), item KEY (id)) EDGE TABLES (
              rates SOURCE KEY (s) REFERENCES user (id) DESTINATION KEY (d) REFERENCES item (id),
              liked SOURCE KEY (s) REFERENCES item (id) DESTINATION KEY (d) REFERENCES user (id),
              knows SOURCE KEY (s) REFERENCES user (id) DESTINATION KEY (d) REFERENCES user (id))"""
        )
        db.graph().build()
    return Fixture(path, edges)


@pytest.fixture
def db(hetero: Fixture) -> Iterator[dbgnn.Database]:
    with dbgnn.connect(hetero.path, read_only=True) as db:
        yield db
