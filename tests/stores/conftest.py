"""Graphs for the tests of the stores, each in a file of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

import dbgnn
from dbgnn.stores import DuckDBFeatureStore, DuckDBGraphStore

Stores: TypeAlias = tuple[DuckDBFeatureStore, DuckDBGraphStore]
Open: TypeAlias = Callable[..., dbgnn.Database]

#: Authors with text keys, papers with gaps in theirs, out of order; NULL and unfit columns; edges with features.
SCHOLARS = (
    "CREATE TABLE paper (id BIGINT, x FLOAT[2], year SMALLINT, title VARCHAR, half FLOAT, split VARCHAR, big HUGEINT)",
    """INSERT INTO paper VALUES
       (70, [7, 7.5], 2007, 'g', NULL, 'test', 7), (10, [1, 1.5], 2001, 'a', 0.1, 'train', 1),
       (30, [3, 3.5], 2003, 'c', 0.3, 'train', 3),
       (20, [2, 2.5], 2002, 'b', 0.2, 'test', 2)""",
    "CREATE TABLE author (name VARCHAR PRIMARY KEY, age INTEGER)",
    "INSERT INTO author VALUES ('zoe', 30), ('ada', 20), ('bob', 40)",
    "CREATE TABLE venue (code VARCHAR, city VARCHAR)",
    "INSERT INTO venue VALUES ('v', 'Ulm')",
    "CREATE TABLE wrote (who VARCHAR, what BIGINT, weight DOUBLE, pages INTEGER[2])",
    """INSERT INTO wrote VALUES
       ('zoe', 10, 0.5, [1, 2]), ('ada', 70, 1.5, [3, 4]), ('zoe', 10, 2.5, [5, 6]), ('bob', 20, 3.5, [7, 8])""",
    """CREATE PROPERTY GRAPH scholars
       VERTEX TABLES (paper KEY (id), author, venue KEY (code))
       EDGE TABLES (wrote SOURCE KEY (who) REFERENCES author (name) DESTINATION KEY (what) REFERENCES paper (id))""",
)
WROTE = ("author", "wrote", "paper")


@pytest.fixture
def open_db(tmp_path: Path) -> Iterator[Open]:
    """A function that opens a database of the test's own (``name``, and what `connect` takes); closed at the end."""
    opened: list[dbgnn.Database] = []

    def make(name: str = "test.duckdb", *, read_only: bool = False) -> dbgnn.Database:
        opened.append(dbgnn.connect(tmp_path / name, read_only=read_only, progress=False))
        return opened[-1]

    yield make
    for db in opened:
        db.close()


@pytest.fixture
def db(open_db: Open) -> dbgnn.Database:
    """An empty database in a file."""
    return open_db()


@pytest.fixture
def stores(db: dbgnn.Database) -> Stores:
    """The stores of an empty database."""
    return db.get_torch_geometric_remote_backend()


@pytest.fixture
def scholars_db(db: dbgnn.Database) -> dbgnn.Database:
    """The database of `SCHOLARS`."""
    for statement in SCHOLARS:
        db.execute(statement)
    return db


@pytest.fixture
def scholars(scholars_db: dbgnn.Database) -> Stores:
    """The stores of `SCHOLARS`. Ids: paper 10, 20, 30, 70 are 0 … 3; author ada, bob, zoe are 0 … 2; edges in table order."""
    return scholars_db.get_torch_geometric_remote_backend()
