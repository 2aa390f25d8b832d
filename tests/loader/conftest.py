"""A graph of papers, authors and weighted citations, in a file that the tests of the loaders only read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pytest

import dbgnn

N, E = 500, 3000
CITES = ("paper", "cites", "paper")
WRITES = ("author", "writes", "paper")

Stores: TypeAlias = tuple[dbgnn.DuckDBFeatureStore, dbgnn.DuckDBGraphStore]


def end_workers(loader: Any) -> None:
    """End the workers of a loader that keeps them, at once.

    The garbage collector would end torch's queues before its iterator, which then waits five seconds for every worker.
    """
    iterator = getattr(loader, "_iterator", None)
    if iterator is not None:
        getattr(iterator, "iterator", iterator)._shutdown_workers()  # PyG wraps it where it filters in the main process


@pytest.fixture(scope="session")
def scholars_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Papers with sparse keys, authors, citations with a weight; positions follow the keys."""
    path = tmp_path_factory.mktemp("loader") / "g.duckdb"
    rng = np.random.default_rng(0)
    with dbgnn.connect(path) as db:
        con = db.connection
        con.execute(
            """CREATE TABLE paper AS SELECT i * 10 AS id, [i, i + 0.5]::FLOAT[2] AS x, i % 4 AS y, 2000 + i % 20 AS year,
            CASE WHEN i % 5 = 0 THEN 'train' ELSE 'test' END AS split FROM range(500) t(i)"""
        )
        con.execute(
            "CREATE TABLE author AS SELECT 'a' || lpad(i::VARCHAR, 3, '0') AS name, [i]::FLOAT[1] AS x FROM range(100) t(i)"
        )
        src, dst = rng.integers(0, N, E), rng.integers(0, N, E)
        con.register("cites_rows", pa.table({"src": src * 10, "dst": dst * 10, "w": np.arange(E) / 8, "k": np.arange(E)}))
        con.execute("CREATE TABLE cites AS SELECT src, dst, w, [k, -k]::INTEGER[2] AS kk FROM cites_rows")
        con.execute(
            "CREATE TABLE writes AS SELECT 'a' || lpad((hash(i) % 100)::VARCHAR, 3, '0') AS a, (i % 500) * 10 AS p "
            "FROM range(900) t(i)"
        )
        db.execute(
            """CREATE PROPERTY GRAPH papers VERTEX TABLES (paper KEY (id) PROPERTIES (x, y), author KEY (name)) EDGE TABLES (
              cites SOURCE KEY (src) REFERENCES paper (id) DESTINATION KEY (dst) REFERENCES paper (id),
              writes SOURCE KEY (a) REFERENCES author (name) DESTINATION KEY (p) REFERENCES paper (id))"""
        )
        db.graph().build()
        db.execute(
            """CREATE PROPERTY GRAPH citations VERTEX TABLES (paper KEY (id) PROPERTIES (x, y)) EDGE TABLES (
              cites SOURCE KEY (src) REFERENCES paper (id) DESTINATION KEY (dst) REFERENCES paper (id))"""
        )
        db.graph("citations").build()
    return path


@pytest.fixture(scope="session")
def path(scholars_file: Path) -> Path:
    """The file of `scholars_file`; a module may have one of its own."""
    return scholars_file


@pytest.fixture
def db(path: Path) -> Iterator[dbgnn.Database]:
    with dbgnn.connect(path, read_only=True) as db:
        yield db


@pytest.fixture
def hetero(db: dbgnn.Database) -> Stores:
    return db.get_torch_geometric_remote_backend("papers")


@pytest.fixture
def homogeneous(db: dbgnn.Database) -> Stores:
    return db.get_torch_geometric_remote_backend("citations", homogeneous=True)
