"""A graph of two items and an edge between them, both with a time: for tests of what is a time."""

from __future__ import annotations

from typing import Any

import torch
from torch_geometric.sampler import NodeSamplerInput

import dbgnn


def two_columns(node: str, edge: str, *, at: str = "'2024-03-31'", rows: str = "") -> dbgnn.Database:
    """Two items and an edge from the first to the second, with times of the given types."""
    db = dbgnn.connect(":memory:", progress=False)
    db.execute(f"CREATE TABLE item (id BIGINT, ts {node})")
    db.execute(f"INSERT INTO item SELECT i, {at}::{node} FROM range(2) t(i)")
    db.execute(f"CREATE TABLE next (src BIGINT, dst BIGINT, ts {edge})")
    db.execute(f"INSERT INTO next VALUES (0, 1, {at}::{edge})")
    if rows:
        db.execute(rows)
    db.execute(
        "CREATE PROPERTY GRAPH g VERTEX TABLES (item KEY (id)) EDGE TABLES "
        "(next SOURCE KEY (src) REFERENCES item (id) DESTINATION KEY (dst) REFERENCES item (id))"
    )
    return db


def edges_of(db: dbgnn.Database, until: int, **given: Any) -> int:
    sampler = dbgnn.NeighborSampler(db.graph(), [-1], time_attr="ts", **given)
    inputs = NodeSamplerInput(None, torch.tensor([1]), torch.tensor([until]), "item")
    out: Any = sampler.sample_from_nodes(inputs)
    return len(out.edge[("item", "next", "item")])
