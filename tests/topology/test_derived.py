"""Lists made from weights and conditions are of one state of the tables: what changed is an error, and build() mends it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
import torch
from torch_geometric.sampler import NodeSamplerInput

import dbgnn
from dbgnn.plans.limits import MemoryLimit
from dbgnn.topology import derived
from dbgnn.topology.derived import Lists, lists_of

SCHEMA = """CREATE PROPERTY GRAPH g VERTEX TABLES (a KEY (id), b KEY (id))
EDGE TABLES (e SOURCE KEY (s) REFERENCES a (id) DESTINATION KEY (d) REFERENCES b (id))"""


def filled(db: dbgnn.Database) -> dbgnn.Database:
    db.execute("CREATE TABLE a AS SELECT range AS id, range % 10 AS size FROM range(50)")
    db.execute("CREATE TABLE b AS SELECT range AS id FROM range(20)")
    db.execute(
        "CREATE TABLE e AS SELECT range % 50 AS s, range % 20 AS d, 1.0 + range % 7 AS w, range % 5 AS kind FROM range(700)"
    )
    db.execute(SCHEMA)
    return db


def loader(db: dbgnn.Database, **options: Any) -> dbgnn.NeighborLoader:
    return dbgnn.NeighborLoader(db.graph(), [3], ("b", None), batch_size=20, **options)


def first(db: dbgnn.Database, **options: Any) -> list[int]:
    """The edges of the first mini-batch of a new loader."""
    ids: list[int] = next(iter(loader(db, **options)))["a", "e", "b"].e_id.tolist()
    return ids


WEIGHTED: dict[str, Any] = {"weight_attr": "w"}
WHERE: dict[str, Any] = {"where": {"e": "kind < 4", "a": "size > 2"}}


@pytest.mark.parametrize("kept", ["file", ":memory:"])
@pytest.mark.parametrize(
    ("options", "change", "told"),
    [
        (WEIGHTED, "UPDATE e SET w = 0 WHERE rowid = 3", r"changed in table 'e' \(read of it: 'w'\)\. Call"),
        (WHERE, "UPDATE e SET kind = 9 WHERE kind = 3", r"changed in table 'e' \(read of it: 'kind < 4'\)\. Call"),
        (WHERE, "UPDATE a SET size = 0 WHERE id > 30", r"changed in table 'a' \(read of it: 'size > 2'\)\. Call"),
        (
            WHERE | WEIGHTED,
            "UPDATE e SET w = 2 * w, kind = 4 - kind; UPDATE a SET size = 9",
            r"in table 'e' \(read of it: 'w', 'kind < 4'\) and in table 'a'",
        ),
        (WEIGHTED, "ALTER TABLE e RENAME COLUMN w TO v", r"table 'e' \(read of it: 'w'\)"),
    ],
    ids=["weight", "edge condition", "node condition", "all", "renamed"],
)
def test_a_change_is_an_error_that_names_the_table(
    tmp_path: Path, kept: str, options: dict[str, Any], change: str, told: str
) -> None:
    with filled(dbgnn.connect(tmp_path / "g.duckdb" if kept == "file" else kept)) as db:
        made = loader(db, **options)
        before = first(db, **options)
        db.execute(change)
        for _ in range(2):
            with pytest.raises(dbgnn.StaleIndexError, match=told):
                next(iter(made))
        db.graph().build()
        if "RENAME" in change:
            with pytest.raises(dbgnn.SchemaError, match="'w' of table 'e' is not there"):
                next(iter(made))
            return
        next(iter(made))
        assert first(db, **options) != before


def test_a_condition_that_fails_for_a_row_by_now_is_a_change_too(tmp_path: Path) -> None:
    with filled(dbgnn.connect(tmp_path / "g.duckdb")) as db:
        db.execute("ALTER TABLE a ADD COLUMN code VARCHAR; UPDATE a SET code = size")
        made = loader(db, where={"a": "code::INTEGER > 2"})
        next(iter(made))
        db.execute("UPDATE a SET code = 'none' WHERE id = 7")
        with pytest.raises(dbgnn.StaleIndexError, match="table 'a'"):
            next(iter(made))
        db.graph().build()
        with pytest.raises(dbgnn.SqlError, match="does not fit table 'a'"):
            next(iter(made))


def test_other_columns_and_the_same_values_change_nothing(tmp_path: Path) -> None:
    with filled(dbgnn.connect(tmp_path / "g.duckdb")) as db:
        before = first(db, **WEIGHTED)
        db.execute("UPDATE e SET kind = 0; UPDATE a SET size = 1; UPDATE e SET w = w; UPDATE e SET kind = 3 WHERE kind = 2")
        assert first(db, **WEIGHTED) == before


def test_lists_are_made_once_and_shared(tmp_path: Path) -> None:
    """By hops, loaders and threads; those of another condition are others."""
    count = "SELECT count(*) FROM duckdb_tables() WHERE database_name LIKE 'dbgnn_lists_of_%'"
    with filled(dbgnn.connect(tmp_path / "g.duckdb")) as db:
        errors: list[BaseException] = []

        def use() -> None:
            try:
                next(iter(dbgnn.NeighborLoader(db.graph(), [2, 2], ("b", None), prefetch=0, **WHERE)))
            except BaseException as error:  # noqa: BLE001 - raised in the test
                errors.append(error)

        threads = [threading.Thread(target=use) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not errors
        assert db.execute(count).fetchall() == [(1,)]
        next(iter(loader(db, where={"e": "kind < 3"})))
        assert db.execute(count).fetchall() == [(2,)]
        db.execute("UPDATE e SET kind = 9 WHERE kind = 3")
        db.graph().build()
        assert db.execute(count).fetchall() == [(1,)]


def test_two_graphs_over_the_same_tables_keep_their_lists() -> None:
    kept = "SELECT table_name FROM duckdb_tables() WHERE database_name LIKE 'dbgnn_lists_of_%' ORDER BY table_name ASC"
    with filled(dbgnn.connect()) as db:
        db.execute(SCHEMA.replace("GRAPH g", "GRAPH h"))
        loaders = [dbgnn.NeighborLoader(db.graph(name), [3], ("b", None), **WEIGHTED) for name in "gh"]
        for each in loaders:
            next(iter(each))
        before = db.execute(kept).fetchall()
        for each in loaders:
            next(iter(each))
        assert db.execute(kept).fetchall() == before
        db.execute("UPDATE e SET s = (s + 1) % 50")
        for name in "gh":
            db.graph(name).build()
        for each in loaders:
            next(iter(each))
        assert len(db.execute(kept).fetchall()) == 2


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_lists_that_were_not_finished_leave_nothing(monkeypatch: pytest.MonkeyPatch, error: type[BaseException]) -> None:
    def ended(lists: object) -> object:
        raise error

    with filled(dbgnn.connect()) as db:
        with monkeypatch.context() as patched:
            patched.setattr("dbgnn.topology.derived.accumulated", ended)
            with pytest.raises(error):
                first(db, **WEIGHTED)
        assert db.sql("SELECT * FROM duckdb_tables() WHERE database_name LIKE 'dbgnn_lists_of_%'").fetchall() == []
        assert first(db, **WEIGHTED)


def test_lists_of_databases_that_are_gone_are_dropped() -> None:
    with duckdb.connect() as con:
        filled(dbgnn.connect(con))
        for _ in range(3):
            db = dbgnn.connect(con)
            first(db, **WEIGHTED)
            db.close()
        kept = "SELECT count(*) FROM duckdb_tables() WHERE database_name LIKE 'dbgnn_lists_of_%'"
        assert con.execute(kept).fetchall() == [(1,)]


@pytest.mark.parametrize("use", ["the plan", "an epoch", "a sampler"])
def test_lists_that_a_build_drops_meanwhile_are_made_again(monkeypatch: pytest.MonkeyPatch, use: str) -> None:
    """As of another thread: between the question where lists are, and the statement that reads them."""
    with filled(dbgnn.connect()) as db:
        sampler, seeds = dbgnn.NeighborSampler(db.graph(), [3], **WEIGHTED), NodeSamplerInput(None, torch.arange(20), None, "b")
        made = loader(db, **WEIGHTED)
        if use != "the plan":
            made.explain()
        dropped: list[Lists] = []

        def drops_once(*args: Any) -> Lists:
            lists = lists_of(*args)
            if not dropped:
                dropped.append(lists)
                db.execute("UPDATE e SET w = w + 1")
                db.graph().build()
            return lists

        monkeypatch.setattr("dbgnn.sampling.khop.lists_of", drops_once)
        if use == "a sampler":
            sampler.sample_from_nodes(seeds)
        else:
            next(iter(made))
        assert dropped


def test_a_forked_worker_waits_for_no_thread_of_its_parent(tmp_path: Path) -> None:
    """Another thread may look lists up in the moment of the fork."""
    filled(dbgnn.connect(tmp_path / "g.duckdb")).close()
    with dbgnn.connect(tmp_path / "g.duckdb", read_only=True) as db:
        wanted = first(db, **WEIGHTED)
        with derived._all.lock:
            assert first(db, num_workers=1, timeout=60, **WEIGHTED) == wanted


def test_the_plan_counts_lists_as_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    with filled(dbgnn.connect()) as db:
        # 6 KiB of features and 6 of the index fit in three quarters of it; lists are 12 more.
        monkeypatch.setattr("dbgnn.plans.planner.memory_limit", lambda _: MemoryLimit(23_500, ""))
        plans = [str(loader(db, **options).explain()) for options in ({}, WEIGHTED)]
        assert ["do not fit in memory_limit" in plan for plan in plans] == [False, True]


def test_a_file_that_is_open_read_only_has_them_in_memory(tmp_path: Path) -> None:
    with filled(dbgnn.connect(tmp_path / "g.duckdb")) as db:
        wanted = first(db, **WEIGHTED, **WHERE)
    size = (tmp_path / "g.duckdb").stat().st_size
    with dbgnn.connect(tmp_path / "g.duckdb", read_only=True) as db:
        assert first(db, **WEIGHTED, **WHERE) == wanted
    assert (tmp_path / "g.duckdb").stat().st_size == size
    with dbgnn.connect(tmp_path / "g.duckdb") as db:
        db.execute("UPDATE e SET w = 100 WHERE s = 3")
    with dbgnn.connect(tmp_path / "g.duckdb", read_only=True) as db:
        assert first(db, **WEIGHTED, **WHERE) != wanted


CHANGES: dict[str, Callable[[dbgnn.Database], object]] = {
    "weight": lambda db: db.execute("UPDATE e SET w = 2 WHERE rowid = 3"),
    "condition on edges": lambda db: db.execute("UPDATE e SET kind = 9 WHERE rowid = 3"),
    "condition on nodes": lambda db: db.execute("UPDATE a SET size = 0 WHERE id = 3"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_pack_is_not_continued_with_other_weights_or_conditions(tmp_path: Path, name: str) -> None:
    """Of columns that are no features, so nothing else would tell."""
    with filled(dbgnn.connect(tmp_path / "g.duckdb")) as db:
        loader(db, **WEIGHTED, **WHERE).pack(tmp_path / "pack", epochs=1)
        loader(db, **WEIGHTED, **WHERE).pack(tmp_path / "pack", epochs=1)
        CHANGES[name](db)
        db.graph().build()
        with pytest.raises(dbgnn.DbgnnError, match="times, weights and conditions of"):
            loader(db, **WEIGHTED, **WHERE).pack(tmp_path / "pack", epochs=1)
