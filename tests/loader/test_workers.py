"""Worker processes, however they are started: the same batches, never a hang."""

from __future__ import annotations

import pickle
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch_geometric.loader import NeighborLoader as PyGNeighborLoader

import dbgnn
from tests.loader.conftest import end_workers

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
        end_workers(loader)


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


@pytest.fixture(params=["file", "memory"])
def writable(request: pytest.FixtureRequest, path: Path, tmp_path: Path) -> Iterator[dbgnn.Database]:
    """A database that no other process can open; not the module's own, which workers of other tests may still hold."""
    with dbgnn.connect(shutil.copy(path, tmp_path / "own.duckdb") if request.param == "file" else ":memory:") as db:
        if request.param == "memory":
            db.connection.execute(f"ATTACH '{path}' AS stored (READ_ONLY)")
            for table in ("node", "link"):
                db.connection.execute(f"CREATE TABLE {table} AS FROM stored.{table} ORDER BY rowid")
            db.connection.execute("DETACH stored")
            db.execute(
                """CREATE PROPERTY GRAPH g VERTEX TABLES (node KEY (id))
                EDGE TABLES (link SOURCE KEY (s) REFERENCES node (id) DESTINATION KEY (d) REFERENCES node (id))"""
            )
        yield db


def test_threads_do_the_work_of_workers(path: Path, writable: dbgnn.Database) -> None:
    options: dict[str, Any] = {"num_neighbors": [4, 3], "input_nodes": "node", "batch_size": 100, "seed": 3}
    with dbgnn.connect(path, read_only=True) as db:
        wanted = dbgnn.NeighborLoader(db.get_torch_geometric_remote_backend(), **options, num_workers=2, timeout=60)
        epochs = [contents(wanted), contents(wanted)]
    called: list[int] = []
    loader = dbgnn.NeighborLoader(
        writable.get_torch_geometric_remote_backend(),
        **options,
        num_workers=2,
        persistent_workers=True,
        prefetch_factor=3,
        worker_init_fn=called.append,
        multiprocessing_context="spawn",
        filter_per_worker=False,
        timeout=60,
    )
    assert [contents(loader), contents(loader)] == epochs
    assert not called
    assert (loader.num_workers, loader.persistent_workers, loader.prefetch_factor) == (2, True, 3)
    assert "num_workers=2 as threads" in repr(loader)
    explained = loader.explain()
    assert explained.count("num_workers=2: threads of this process") == 1
    assert ("is in memory" if writable.in_memory else "is open for writing") in explained
    assert "worker_init_fn is not called" in explained
    assert "without effect on threads: persistent_workers, multiprocessing_context, timeout" in explained
    assert "4 mini-batches" in explained.split("prefetch")[1].splitlines()[0], "2 x 3, and an epoch has four"


@pytest.mark.parametrize("number", [np.int64(2), np.uint8(2), torch.tensor(2), True], ids=repr)
def test_integers_of_any_kind_ask_for_workers(path: Path, writable: dbgnn.Database, number: Any) -> None:
    options: dict[str, Any] = {"num_neighbors": [4], "input_nodes": "node", "batch_size": 100}
    factor = type(number)(3) if isinstance(number, np.integer) else 3
    stores = writable.get_torch_geometric_remote_backend()
    loader = dbgnn.NeighborLoader(stores, **options, num_workers=number, prefetch_factor=factor)
    assert f"num_workers={int(number)} as threads" in repr(loader)
    assert (type(loader.num_workers), type(loader.prefetch_factor)) == (int, int)
    assert contents(loader) == contents(dbgnn.NeighborLoader(stores, **options))
    with dbgnn.connect(path, read_only=True) as db:
        processes = dbgnn.NeighborLoader(db.get_torch_geometric_remote_backend(), **options, num_workers=number)
        assert "as threads" not in repr(processes)
        assert (processes.num_workers, type(processes.num_workers)) == (int(number), int)


def test_threads_take_every_plan(writable: dbgnn.Database) -> None:
    stores = writable.get_torch_geometric_remote_backend()
    given: dict[str, Any] = {"input_nodes": "node", "batch_size": 100, "plan": "shared", "super_batch": 2, "prefetch": 1}
    loader = dbgnn.NeighborLoader(stores, [4], **given, num_workers=4, shuffle=True, generator=torch.Generator().manual_seed(1))
    plain = dbgnn.NeighborLoader(stores, [4], **given, shuffle=True, generator=torch.Generator().manual_seed(1))
    assert contents(loader) == contents(plain)
    assert "prefetch      1 mini-batches" in loader.explain()


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"num_workers": -1}, ValueError, "num_workers"),
        ({"num_workers": 2, "timeout": -1}, ValueError, "timeout"),
        ({"num_workers": 2, "prefetch_factor": 0}, dbgnn.RequestError, "prefetch_factor"),
        ({"num_workers": 2, "prefetch_factor": 1.5}, dbgnn.RequestError, "prefetch_factor must be an integer, not 1.5"),
        ({"num_workers": 2.0}, dbgnn.RequestError, "num_workers must be an integer, not 2.0"),
        ({"num_workers": "2"}, dbgnn.RequestError, "num_workers must be an integer, not '2'"),
        ({"persistent_workers": True}, ValueError, "persistent_workers"),
    ],
    ids=str,
)
def test_arguments_of_workers_are_judged(
    writable: dbgnn.Database, given: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        dbgnn.NeighborLoader(writable.get_torch_geometric_remote_backend(), [4], "node", **given)


class Derived(dbgnn.NeighborSampler):
    """A sampler that threads cannot sample many mini-batches with."""

    def sample_from_nodes(self, *args: Any, **kwargs: Any) -> Any:
        return super().sample_from_nodes(*args, **kwargs)


def test_what_threads_cannot_do_is_an_error(path: Path, tmp_path: Path) -> None:
    with dbgnn.connect(shutil.copy(path, tmp_path / "own.duckdb")) as db:
        stores = db.get_torch_geometric_remote_backend()
        with pytest.raises(dbgnn.ConnectionError, match=r"another kind.*read_only=True"):
            dbgnn.NeighborLoader(stores, [2], input_nodes="node", num_workers=2, neighbor_sampler=Derived(stores, [2]))
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
