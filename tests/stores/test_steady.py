"""Rows are those that the ids mean, also where another thread brings the index up to date between its check and the read."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import dbgnn
from dbgnn.stores.binding import Binding
from tests.graph_in_a_file import fill, loader, seeds_of


@pytest.fixture(params=["file", "memory"])
def db(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dbgnn.Database]:
    with dbgnn.connect(tmp_path / "g.duckdb" if request.param == "file" else ":memory:", progress=False) as db:
        fill(db, 1000, 4000)
        yield db


def in_between(monkeypatch: pytest.MonkeyPatch, name: str, work: Any) -> list[str]:
    """Let another thread do ``work`` at the end of the next call of a method of the binding."""
    done: list[str] = []
    original = getattr(Binding, name)

    def called(self: Binding, *args: Any) -> Any:
        found = original(self, *args)
        if not done:
            done.append(name)
            other = threading.Thread(target=work, args=(self,))
            other.start()
            other.join()
        return found

    monkeypatch.setattr(Binding, name, called)
    return done


@pytest.mark.parametrize("name", ["source", "source_of"])
def test_rows_that_move_between_the_check_and_the_read(db: dbgnn.Database, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    stores = db.get_torch_geometric_remote_backend()
    some = loader(stores, batch_size=250, prefetch=0, cache_bytes=0)
    assert seeds_of(some) == 1000

    def move(binding: Binding) -> None:
        db.execute("UPDATE paper SET x = x WHERE id < 500")  # the same values, in other rows
        binding.topology()

    done = in_between(monkeypatch, name, move)
    if name == "source":
        ids = torch.arange(0, 1000, 100)
        assert torch.equal(stores[0].get_tensor("paper", "x", index=ids)[:, 0].long(), ids)
    else:
        assert seeds_of(some) == 1000
    assert done == [name]


def test_rows_that_move_between_two_reads_of_a_mini_batch(db: dbgnn.Database, monkeypatch: pytest.MonkeyPatch) -> None:
    db.execute("CREATE TABLE cited AS SELECT src, dst, row_number() OVER () - 1 AS place FROM cites")
    db.execute(
        """CREATE PROPERTY GRAPH h VERTEX TABLES (paper KEY (id) PROPERTIES (x, y)) EDGE TABLES (cited
        SOURCE KEY (src) REFERENCES paper (id) DESTINATION KEY (dst) REFERENCES paper (id) PROPERTIES (place))"""
    )
    some = loader(db.get_torch_geometric_remote_backend("h"), batch_size=250, prefetch=0, cache_bytes=0)
    assert seeds_of(some) == 1000

    def move(binding: Binding) -> None:
        db.execute("UPDATE paper SET x = x WHERE id < 500")
        binding.topology()

    done = in_between(monkeypatch, "source_of", move)
    for batch in some:
        edges = batch["paper", "cited", "paper"]
        assert torch.equal(edges.place, edges.e_id)
        assert torch.equal(batch["paper"].x[:, 0].long(), batch["paper"].n_id)
    assert done == ["source_of"]


def test_rows_of_two_types_that_move_between_two_reads_of_a_mini_batch(
    db: dbgnn.Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second read is of an index that is newer than the state that the mini-batch began to read."""
    db.execute("CREATE TABLE person AS SELECT * FROM paper; ALTER TABLE person ADD PRIMARY KEY (id)")
    db.execute("CREATE TABLE wrote AS SELECT src AS person, dst AS paper FROM cites")
    db.execute(
        """CREATE PROPERTY GRAPH h VERTEX TABLES (paper KEY (id) PROPERTIES (x, y), person KEY (id) PROPERTIES (x))
        EDGE TABLES (wrote SOURCE KEY (person) REFERENCES person (id) DESTINATION KEY (paper) REFERENCES paper (id))"""
    )
    some = loader(db.get_torch_geometric_remote_backend("h"), batch_size=250, prefetch=0, cache_bytes=0)
    assert seeds_of(some) == 1000

    def move(binding: Binding) -> None:
        for table in ("paper", "person"):
            db.execute(f"UPDATE {table} SET x = x WHERE id < 500")
        binding.topology()

    done = in_between(monkeypatch, "source_of", move)
    for batch in some:
        for label in ("paper", "person"):
            assert torch.equal(batch[label].x[:, 0].long(), batch[label].n_id)
    assert done == ["source_of"]


def test_in_memory_a_mini_batch_looks_once_whether_rows_moved() -> None:
    with dbgnn.connect(":memory:", progress=False) as db:
        fill(db)
        db.execute("ALTER TABLE cites ADD COLUMN w BIGINT DEFAULT 3")
        some = loader(db.get_torch_geometric_remote_backend(), batch_size=5, super_batch=10, plan="join", cache_bytes=0)
        assert seeds_of(some) == 50
        db.connection.execute("CALL enable_logging('QueryLog')")
        assert seeds_of(some) == 50
        [(begun, looks)] = db.connection.execute(
            """SELECT count(*) FILTER (message LIKE 'BEGIN%'),
            count(*) FILTER (message LIKE '%bit_xor%"cites"%' OR message LIKE '%bit_xor%"paper"%') FROM duckdb_logs"""
        ).fetchall()
        assert begun == len(some) == 10
        assert looks <= len(some) + 3  # and the epoch's own


def test_two_databases_of_one_file_build_at_once(tmp_path: Path) -> None:
    path = tmp_path / "g.duckdb"
    with dbgnn.connect(path, progress=False) as one, dbgnn.connect(path, progress=False) as other:
        fill(one, 2000, 20_000)
        for _ in range(5):
            one.execute("DROP SCHEMA IF EXISTS dbgnn_none")
            one.execute("UPDATE dbgnn.index_parts SET part = part || 'x'") if _ else one.graph().build()
            failed: list[BaseException] = []

            def use(db: dbgnn.Database, failed: list[BaseException] = failed) -> None:
                try:
                    assert db.graph().num_edges(("paper", "cites", "paper")) == 20_000
                except BaseException as error:  # noqa: BLE001 - the test raises it
                    failed.append(error)

            threads = [threading.Thread(target=use, args=(db,)) for db in (one, other, one, other)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert failed == []
