"""Hot rows that nobody asked for: all features of nodes, where they fit beside the tables."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import dbgnn
from dbgnn.plans import planner
from dbgnn.plans.limits import MemoryLimit

GRAPH = """
    CREATE TABLE n AS SELECT i AS id, [i, 0]::FLOAT[2] AS x FROM range(600) t(i);
    CREATE TABLE e AS SELECT i AS s, (i + 1) % 600 AS d, i AS w FROM range(600) t(i);
    CREATE PROPERTY GRAPH g VERTEX TABLES (n KEY (id))
      EDGE TABLES (e SOURCE KEY (s) REFERENCES n (id) DESTINATION KEY (d) REFERENCES n (id) NO PROPERTIES);
"""


@pytest.fixture
def db(tmp_path: Path) -> Iterator[dbgnn.Database]:
    with dbgnn.connect(tmp_path / "g.duckdb") as db:
        db.execute(GRAPH)
        yield db


def loader_of(db: dbgnn.Database, **options: object) -> dbgnn.NeighborLoader:
    return dbgnn.NeighborLoader(db.graph(), [2, 2], "n", batch_size=50, seed=1, **options)  # type: ignore[arg-type]


def test_small_features_are_hot_and_come_as_they_are(db: dbgnn.Database) -> None:
    loader = loader_of(db)
    found = [batch["n"].x.tolist() for batch in loader]
    assert "all features of nodes fit beside the tables" in loader.explain()
    assert loader.stats().total.hits == loader.stats().total.rows > 0
    plain = loader_of(db, cache_bytes=0)
    assert [batch["n"].x.tolist() for batch in plain] == found
    assert plain.stats().total.hits == 0
    assert "hot rows      none" in plain.explain()


def test_a_loader_that_asks_for_few_rows_of_many_reads_no_more(db: dbgnn.Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planner, "_SMALL_BYTES", 1000)  # there are 4,800
    few = dbgnn.NeighborLoader(db.graph(), [2], ("n", range(100)), batch_size=50)
    assert "hot rows      none" in few.explain()
    assert "hot rows      4.7 KiB" in loader_of(db).explain()


def test_where_features_fill_the_memory_none_are_hot(db: dbgnn.Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planner, "memory_limit", lambda _: MemoryLimit(40_000, "40 KB"))
    monkeypatch.setattr(planner, "WORKING_BYTES", 0)
    assert "DuckDB's memory holds the features" in loader_of(db).explain()
    monkeypatch.setattr(planner, "WORKING_BYTES", 60_000)
    assert "all features of nodes fit beside the tables" in loader_of(db).explain()


def test_in_memory_they_are_read_for_every_super_batch() -> None:
    """Commits leave no trace there; so they are kept where a super-batch asks for as many rows as there are."""
    with dbgnn.connect() as db:
        db.execute(GRAPH)
        few = dbgnn.NeighborLoader(db.graph(), [2], ("n", range(100)), batch_size=50)
        assert "hot rows      none" in few.explain()
        loader = loader_of(db)
        for now in (0, 1):
            db.execute(f"UPDATE n SET x = [x[1], {now}]::FLOAT[2]")
            for batch in loader:
                assert (batch["n"].x[:, 1] == now).all()
                assert (batch["n"].x[:, 0] == batch["n"].n_id).all()
        assert loader.stats().total.hits == loader.stats().total.rows > 0


def test_what_changes_is_read_again_and_given_up_where_that_costs_more(db: dbgnn.Database) -> None:
    loader = loader_of(db, super_batch=2, prefetch=0)
    assert all((batch["n"].x[:, 1] == 0).all() for batch in loader)
    db.execute("UPDATE n SET x = [x[1], 1]::FLOAT[2]")  # after an epoch: worth while
    steps = iter(loader)
    assert (next(steps)["n"].x[:, 1] == 1).all()
    assert loader.stats().steps[-1].hits > 0
    next(steps)
    for now in (2, 3):  # within an epoch, again and again
        db.execute(f"UPDATE n SET x = [x[1], {now}]::FLOAT[2]")
        for _ in range(2):
            batch = next(steps)
            assert (batch["n"].x[:, 1] == now).all()
            assert (batch["n"].x[:, 0] == batch["n"].n_id).all()
            assert loader.stats().steps[-1].hits == 0


def test_workers_share_what_there_is(tmp_path: Path, db: dbgnn.Database) -> None:
    db.graph().build()
    db.close()
    with dbgnn.connect(tmp_path / "g.duckdb", read_only=True) as again:
        wanted = [batch["n"].x.tolist() for batch in loader_of(again)]
        assert [batch["n"].x.tolist() for batch in loader_of(again, num_workers=2)] == wanted
