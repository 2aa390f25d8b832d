"""A small graph whose features say whose they are, for tests of files, sessions and settings."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

import dbgnn

NODES, EDGES = 50, 200


def fill(db: dbgnn.Database, nodes: int = NODES, edges: int = EDGES) -> None:
    """Make ``paper`` (x[0] = id, y = id % 7), ``cites``, and the property graph ``g``."""
    db.execute("CREATE TABLE paper (id BIGINT, x FLOAT[4], y BIGINT)")
    db.execute(f"INSERT INTO paper SELECT i, [i, i + 0.25, i + 0.5, i + 0.75]::FLOAT[4], i % 7 FROM range({nodes}) t(i)")
    db.execute("CREATE TABLE cites (src BIGINT, dst BIGINT)")
    db.execute(f"INSERT INTO cites SELECT (i * 7 + i // 5) % {nodes}, (i * 13 + 3) % {nodes} FROM range({edges}) t(i)")
    db.execute(
        """CREATE PROPERTY GRAPH g VERTEX TABLES (paper KEY (id) PROPERTIES (x, y))
        EDGE TABLES (cites SOURCE KEY (src) REFERENCES paper (id) DESTINATION KEY (dst) REFERENCES paper (id))"""
    )


def make(path: str | os.PathLike[str], *, add: int = 0) -> None:
    """Make such a file, with its index; ``add`` is added to every y."""
    with dbgnn.connect(path, progress=False) as db:
        fill(db)
        if add:
            db.execute("UPDATE paper SET y = y + ?", [add])
        db.graph().build()


def loader(source: object, **options: object) -> dbgnn.NeighborLoader:
    """Return a loader over all papers."""
    given = {"num_neighbors": [3, 2], "input_nodes": "paper", "batch_size": 20} | options
    return dbgnn.NeighborLoader(source, **given)  # type: ignore[arg-type]


def seeds_of(some: dbgnn.NeighborLoader) -> int:
    """Run an epoch, see that every batch has the features of its nodes, and count its seeds."""
    total = 0
    for batch in some:
        paper = batch["paper"]
        np.testing.assert_array_equal(paper.x[:, 0].numpy(), paper.n_id.numpy())
        np.testing.assert_array_equal(paper.y.numpy() % 7, paper.n_id.numpy() % 7)
        total += paper.batch_size
    return total


def files_of(folder: Path) -> set[str]:
    """Names of the files of a folder."""
    return {p.name for p in folder.iterdir()}
