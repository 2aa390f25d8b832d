"""The first super-batches of an epoch: small ones, so that the first mini-batch comes soon; the same bits as ever."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import dbgnn
from dbgnn.loader.pipeline import Pipeline
from dbgnn.plans import planner
from dbgnn.plans.limits import MemoryLimit
from tests.plans.test_hot import GRAPH


@pytest.fixture
def db(tmp_path: Path) -> Iterator[dbgnn.Database]:
    with dbgnn.connect(tmp_path / "g.duckdb") as db:
        db.execute(GRAPH)
        yield db


@pytest.fixture
def sampled(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the super-batches that were sampled."""
    sizes: list[int] = []
    own = Pipeline._sample

    def noted(self: Pipeline, numbers: list[object], chosen: planner.Plan) -> object:
        sizes.append(len(numbers))
        return own(self, numbers, chosen)  # type: ignore[arg-type]

    monkeypatch.setattr(Pipeline, "_sample", noted)
    return sizes


def loader_of(db: dbgnn.Database, **options: object) -> dbgnn.NeighborLoader:
    return dbgnn.NeighborLoader(db.graph(), [2, 2], "n", batch_size=10, seed=1, **options)  # type: ignore[arg-type]


def steps(loader: dbgnn.NeighborLoader) -> list[tuple[object, ...]]:
    return [(batch["n"].n_id.tolist(), batch["n"].x.tolist(), batch["e"].edge_index.tolist()) for batch in loader]


def test_small_mini_batches_come_all_at_once(db: dbgnn.Database, sampled: list[int]) -> None:
    assert len(steps(loader_of(db))) == 60
    assert sampled == [60]


@pytest.mark.parametrize("prefetch", [0, 2])
def test_the_first_alone_where_features_fit(
    db: dbgnn.Database, sampled: list[int], monkeypatch: pytest.MonkeyPatch, prefetch: int
) -> None:
    expected = steps(loader_of(db, super_batch=7))
    sampled.clear()
    monkeypatch.setattr(planner, "_FIRST_EDGES", 1)
    loader = loader_of(db, prefetch=prefetch)
    assert steps(loader) == expected
    assert sampled == [1, 59]
    assert "60 mini-batches, the first 1; " in loader.explain()
    assert [step.hits > 0 for step in loader.stats().steps] == [False] + [True] * 59  # hot rows wait for a whole one
    steps(loader)
    assert list(loader.stats().steps)[60].hits > 0  # and serve the first of the next epoch


@pytest.mark.parametrize("plan", ["auto", "join", "shared", "spooled"])
def test_growing_ones_where_they_do_not(
    db: dbgnn.Database, sampled: list[int], monkeypatch: pytest.MonkeyPatch, plan: str
) -> None:
    expected = steps(loader_of(db, super_batch=7, cache_bytes=0))
    sampled.clear()
    monkeypatch.setattr(planner, "memory_limit", lambda _: MemoryLimit(10_000, "10 KB"))
    loader = loader_of(db, plan=plan)
    assert steps(loader) == expected
    assert sampled == [1, 4, 16, 39]
    assert "60 mini-batches, the first 1, 4, 16; " in loader.explain()


def test_a_size_that_was_asked_for_is_that_of_all(
    db: dbgnn.Database, sampled: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planner, "_FIRST_EDGES", 1)
    loader = loader_of(db, super_batch=25)
    steps(loader)
    assert sampled == [25, 25, 10]
    assert "the first" not in loader.explain()
