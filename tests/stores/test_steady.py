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
    some = loader(stores, batch_size=250, prefetch=0)
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
