"""Worker processes, however they are started: the same batches, never a hang."""

from __future__ import annotations

import pickle
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch_geometric.loader import NeighborLoader as PyGNeighborLoader

import dbgnn

LINK = ("node", "link", "node")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("workers") / "g.duckdb"
    with dbgnn.connect(path) as db:
        db.connection.execute("CREATE TABLE node AS SELECT i AS id, [i, -i]::FLOAT[2] AS x FROM range(400) t(i)")
        db.connection.execute(
            "CREATE TABLE link AS SELECT hash(i) % 400 AS s, hash(-i) % 400 AS d, i AS w FROM range(8000) t(i)"
        )
        db.execute(
            """CREATE PROPERTY GRAPH g VERTEX TABLES (node KEY (id))
            EDGE TABLES (link SOURCE KEY (s) REFERENCES node (id) DESTINATION KEY (d) REFERENCES node (id))"""
        )
        db.graph().build()
    return path


def contents(loader: Any) -> list[tuple[list[int], list[int]]]:
    found = []
    for batch in loader:
        assert (batch["node"].x[:, 0] == batch["node"].n_id).all()
        found.append((batch["node"].n_id.tolist(), batch[LINK].e_id.tolist()))
    return found


@pytest.mark.parametrize("filter_per_worker", [True, False])
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_workers_give_the_batches_of_the_main_process(path: Path, method: str, *, filter_per_worker: bool) -> None:
    with dbgnn.connect(path, read_only=True) as db:
        stores = db.get_torch_geometric_remote_backend()
        options: dict[str, Any] = {"num_neighbors": [4, 3], "input_nodes": "node", "batch_size": 100, "seed": 3}
        wanted = contents(dbgnn.NeighborLoader(stores, **options))
        loader = dbgnn.NeighborLoader(
            stores,
            **options,
            num_workers=2,
            multiprocessing_context=method,
            filter_per_worker=filter_per_worker,
            timeout=60,
            persistent_workers=True,
        )
        assert contents(loader) == wanted
        assert contents(loader) != wanted  # another epoch
        assert db.sql("SELECT count(*) FROM node").fetchall() == [(400,)]  # the parent is none the worse


def test_pygs_loader_with_workers(path: Path) -> None:
    """Without numbered batches, workers differ by torch's own seed, which follows torch.manual_seed."""
    with dbgnn.connect(path, read_only=True) as db:
        stores = db.get_torch_geometric_remote_backend()

        def epoch() -> list[tuple[list[int], list[int]]]:
            torch.manual_seed(5)
            loader = PyGNeighborLoader(
                stores,
                num_neighbors=[1],
                input_nodes=("node", torch.full((400,), 7)),
                neighbor_sampler=dbgnn.NeighborSampler(stores, [4]),
                batch_size=100,
                num_workers=2,
                multiprocessing_context="fork",
                timeout=60,
            )
            return contents(loader)

        first = epoch()
        assert first == epoch()
        assert len({tuple(e) for _, e in first}) == 4


def test_forking_while_another_thread_reads(path: Path) -> None:
    with dbgnn.connect(path, read_only=True) as db:
        stores = db.get_torch_geometric_remote_backend()
        stop = threading.Event()

        def read() -> None:
            while not stop.is_set():
                stores[0]["node", "x", torch.arange(400)]

        thread = threading.Thread(target=read)
        thread.start()
        try:
            loader = dbgnn.NeighborLoader(
                stores, [4], input_nodes="node", batch_size=50, num_workers=2, multiprocessing_context="fork", timeout=60
            )
            assert len(contents(loader)) == 8
        finally:
            stop.set()
            thread.join()


def test_a_database_open_for_writing_refuses_workers(path: Path, tmp_path: Path) -> None:
    with dbgnn.connect(shutil.copy(path, tmp_path / "own.duckdb")) as db:  # workers of other tests may still hold the file
        stores = db.get_torch_geometric_remote_backend()
        with pytest.raises(dbgnn.ConnectionError, match="read_only=True"):
            dbgnn.NeighborLoader(stores, [2], input_nodes="node", num_workers=2)
        sampler = dbgnn.NeighborSampler(stores, [2])
        loader = PyGNeighborLoader(
            stores,
            num_neighbors=[1],
            input_nodes="node",
            neighbor_sampler=sampler,
            num_workers=1,
            multiprocessing_context="fork",
            timeout=60,
        )
        with pytest.raises(dbgnn.ConnectionError, match=r"forked.*read_only=True"):
            next(iter(loader))


def test_everything_can_be_pickled(path: Path) -> None:
    with dbgnn.connect(path, read_only=True) as db:
        stores = db.get_torch_geometric_remote_backend(columns={"node": ["x"], LINK: []})
        loader = dbgnn.NeighborLoader(stores, [3], input_nodes="node", batch_size=100, seed=1)
        again = pickle.loads(pickle.dumps(loader))
        assert contents(again) == contents(loader)
        features, graph = pickle.loads(pickle.dumps(stores))
        assert torch.equal(features["node", "x", None], stores[0]["node", "x", None])
        assert graph.get_all_edge_attrs() == stores[1].get_all_edge_attrs()
        assert [a.attr_name for a in features.get_all_tensor_attrs()] == ["x"]


def test_a_database_in_memory_cannot_be_pickled() -> None:
    with dbgnn.connect() as db, pytest.raises(dbgnn.ConnectionError, match="memory"):
        pickle.dumps(db)
