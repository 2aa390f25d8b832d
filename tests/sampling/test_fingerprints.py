"""The samples of a seed are the same in every release: fingerprints of whole epochs, written once and never again.

A pack that goes on after a kill, a paper's figures, a bug report: all rely on the same seed giving the same mini-batches. An
oracle that changes together with the SQL cannot see that both changed, so here the bytes are held.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest
import torch
from torch_geometric.data import Data, HeteroData

import dbgnn

TO, BACK, KNOWS = ("user", "rates", "item"), ("item", "rated_by", "user"), ("user", "knows", "user")

EPOCHS: dict[str, tuple[dict[str, Any], str]] = {
    "plain": ({"num_neighbors": [3, 2]}, "4e9b38bb1fdb14e9"),
    "three hops": ({"num_neighbors": [2, 2, 2]}, "a1de238637797c98"),
    "by edge type": ({"num_neighbors": {TO: [4, 1], BACK: [2, 3], KNOWS: [0, 5]}}, "5956e66e0b1b9863"),
    "all of them": ({"num_neighbors": [-1, 2]}, "6e9d76a69fc98fc4"),
    "with replacement": ({"num_neighbors": [3, 2], "replace": True}, "0ede60e851cbc41b"),
    "as many as a statement unrolls": ({"num_neighbors": [8]}, "5957c67b19b4b1e9"),
    "more than that": ({"num_neighbors": [9, 20]}, "c506986933acaa6b"),
    "by sorting random numbers": ({"num_neighbors": [256]}, "c0e8c6fcdcf2ca9d"),
    "disjoint": ({"num_neighbors": [3, 2], "disjoint": True}, "c08860bc70d07b2f"),
    "induced": ({"num_neighbors": [3, 2], "subgraph_type": "induced"}, "8344ace97721e545"),
    "another seed": ({"num_neighbors": [3, 2], "seed": 1 << 62}, "064277456fcec92d"),
    "seeds of another type": ({"num_neighbors": [3, 2], "input_nodes": "user"}, "df8bf78df473f1ef"),
    "a seed twice": ({"num_neighbors": [3, 2], "input_nodes": ("item", torch.tensor([5, 5, 0, 39]))}, "31d862131f8a5847"),
}

HOMOGENEOUS: dict[str, tuple[dict[str, Any], str]] = {
    "plain": ({"num_neighbors": [3, 2]}, "ce2141e8dacec4f5"),
    "with replacement": ({"num_neighbors": [12, 2], "replace": True}, "c8a287466edf962e"),
    "disjoint": ({"num_neighbors": [3, 2], "disjoint": True}, "0dbdf45083f50880"),
    "bidirectional": ({"num_neighbors": [3, 2], "subgraph_type": "bidirectional"}, "3c6f71861abe0028"),
}


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> dbgnn.Database:
    """A graph of degrees 0 to 1,700, which no function of DuckDB's or NumPy's that may change has a part in."""
    db = dbgnn.connect(tmp_path_factory.mktemp("fingerprints") / "g.duckdb", progress=False)
    db.execute("CREATE TABLE user AS SELECT i * 3 AS id, (i % 5)::FLOAT AS x FROM range(60) t(i)")
    db.execute("CREATE TABLE item AS SELECT 'i' || lpad(i::VARCHAR, 3, '0') AS id, i AS x FROM range(40) t(i)")
    db.execute(
        """CREATE TABLE rates AS SELECT i * i % 60 * 3 AS u,
        'i' || lpad((CASE WHEN i % 3 = 0 THEN 7 ELSE i * 11 % 37 END)::VARCHAR, 3, '0') AS i, i AS w FROM range(5100) t(i)"""
    )
    db.execute("CREATE TABLE knows AS SELECT i * 17 % 60 * 3 AS a, i // 7 % 50 * 3 AS b FROM range(400) t(i)")
    db.execute(
        """CREATE PROPERTY GRAPH shop VERTEX TABLES (user KEY (id), item KEY (id)) EDGE TABLES (
            rates SOURCE KEY (u) REFERENCES user (id) DESTINATION KEY (i) REFERENCES item (id) LABEL rates,
            rates AS back SOURCE KEY (i) REFERENCES item (id) DESTINATION KEY (u) REFERENCES user (id) LABEL rated_by,
            knows SOURCE KEY (a) REFERENCES user (id) DESTINATION KEY (b) REFERENCES user (id) LABEL knows)"""
    )
    db.execute(
        """CREATE PROPERTY GRAPH friends VERTEX TABLES (user KEY (id)) EDGE TABLES (
            knows SOURCE KEY (a) REFERENCES user (id) DESTINATION KEY (b) REFERENCES user (id))"""
    )
    return db


@pytest.mark.parametrize("name", EPOCHS)
def test_epochs(db: dbgnn.Database, name: str) -> None:
    options, wanted = EPOCHS[name]
    assert fingerprint(db.graph("shop"), {"input_nodes": "item", "batch_size": 12, "seed": 5} | options) == wanted


@pytest.mark.parametrize("name", HOMOGENEOUS)
def test_epochs_without_type_names(db: dbgnn.Database, name: str) -> None:
    options, wanted = HOMOGENEOUS[name]
    stores = db.get_torch_geometric_remote_backend("friends", homogeneous=True)
    assert fingerprint(stores, {"batch_size": 12, "seed": 5} | options) == wanted


def fingerprint(source: Any, options: dict[str, Any]) -> str:
    """Return a digest of two epochs: of every integer tensor of every mini-batch, by its name, shape and bytes."""
    digest = hashlib.sha256()
    loader = dbgnn.NeighborLoader(source, **options)
    for _ in range(2):
        for batch in loader:
            for where, name, value in sorted(values_of(batch), key=lambda found: found[:2]):
                array = np.asarray(value)
                if array.dtype.kind in "iub":
                    digest.update(f"{where}.{name} {array.dtype} {array.shape}".encode() + array.astype("<i8").tobytes())
    return digest.hexdigest()[:16]


def values_of(batch: HeteroData | Data) -> list[tuple[str, str, Any]]:
    """Return every tensor or list of counts of a mini-batch, with its type and its name."""
    stores = batch.to_dict() if isinstance(batch, HeteroData) else {"": batch.to_dict()}
    return [(str(where), name, value) for where, store in stores.items() for name, value in store.items()]
