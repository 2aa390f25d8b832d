"""Which file is open: links, files that are replaced or deleted, and what a forked child finds."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

import dbgnn
from dbgnn.identity import has_open, identity_of
from tests.graph_in_a_file import fill, loader, make, seeds_of

GONE = "replaced or deleted"


def test_commits_behind_a_link_are_seen(tmp_path: Path) -> None:
    (tmp_path / "v1").mkdir()
    make(tmp_path / "v1" / "graph.duckdb")
    (tmp_path / "current.duckdb").symlink_to("v1/graph.duckdb")
    with dbgnn.connect(tmp_path / "current.duckdb", progress=False) as db:
        assert db.settings.path == str(tmp_path / "v1" / "graph.duckdb")
        hot = loader(db.graph(), num_neighbors=[-1], batch_size=50, cache_bytes="1MB")
        assert [int(b["paper"].y.sum()) for b in hot] == [147]
        db.execute("UPDATE paper SET y = y + 1000")
        assert [int(b["paper"].y.sum()) for b in hot] == [147 + 50 * 1000]
        before = db.stamp()
        db.execute("DELETE FROM cites WHERE src < 25")
        assert db.stamp() != before
        with pytest.raises(dbgnn.StaleIndexError, match="cites"):
            list(hot)


def test_commits_in_a_linked_folder_are_seen(tmp_path: Path) -> None:
    (tmp_path / "v1").mkdir()
    make(tmp_path / "v1" / "graph.duckdb")
    (tmp_path / "dir").symlink_to("v1")
    with dbgnn.connect(tmp_path / "dir" / "graph.duckdb", progress=False) as db:
        before = db.stamp()
        db.execute("INSERT INTO cites VALUES (1, 2)")
        assert db.stamp() != before


def _replace(path: Path) -> None:
    make(path.with_name("new.duckdb"), add=100)
    path.with_name("new.duckdb").replace(path)


def _delete(path: Path) -> None:
    path.unlink()


USES: dict[str, Callable[[dbgnn.Database, dbgnn.Graph], object]] = {
    "execute": lambda db, _: db.execute("INSERT INTO cites VALUES (1, 2)"),
    "sql": lambda db, _: db.sql("SELECT 1").fetchall(),
    "graph": lambda db, _: db.graph(),
    "build": lambda _, g: g.build(),
    "loader": lambda _, g: list(loader(g)),
    "write_back": lambda _, g: g.write_back("paper", n_id=np.arange(50), pred=np.arange(50)),
    "write_back into": lambda _, g: g.write_back("paper", n_id=np.arange(50), into="side", pred=np.arange(50)),
    "to_heterodata": lambda _, g: g.to_heterodata(),
    "check": lambda _, g: g.check(),
    "put_tensor": lambda db, _: db.get_torch_geometric_remote_backend()[0].put_tensor(
        np.arange(50), group_name="paper", attr_name="z", index=None
    ),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("change", [_replace, _delete])
def test_a_file_that_is_gone_is_neither_read_nor_written(tmp_path: Path, change: Callable[[Path], None], use: str) -> None:
    path = tmp_path / "g.duckdb"
    make(path)
    db = dbgnn.connect(path, progress=False)
    graph = db.graph()
    graph.num_nodes("paper")
    change(path)
    with pytest.raises(dbgnn.ConnectionError, match=GONE):
        USES[use](db, graph)
    with pytest.raises(dbgnn.ConnectionError, match=GONE):  # DuckDB would share the instance that has the old file
        dbgnn.connect(path, progress=False)
    db.close()
    if change is _replace:
        with dbgnn.connect(path, progress=False) as fresh:  # the remedy
            assert fresh.sql("SELECT max(y), count(*) FROM paper").fetchall() == [(106, 50)]
            assert fresh.graph().num_edges(("paper", "cites", "paper")) == 200


def test_what_was_written_while_the_file_went_is_not_said_to_be_written(tmp_path: Path) -> None:
    path = tmp_path / "g.duckdb"
    make(path)
    db = dbgnn.connect(path, progress=False)

    def forward(_: object, batch: Any) -> Any:
        _replace(path)
        return batch["paper"].y

    some = loader(db.graph(), batch_size=50)
    with pytest.raises(dbgnn.ConnectionError, match=GONE):
        db.graph().predict(None, some, into="paper.pred", forward=forward)  # type: ignore[arg-type]
    db.close()


def test_a_kill_after_the_file_was_replaced_leaves_the_new_one_whole(tmp_path: Path) -> None:
    path, new = tmp_path / "g.duckdb", tmp_path / "new.duckdb"
    make(path)
    make(new)
    child = f"""
import dbgnn, os
db = dbgnn.connect({str(path)!r}, progress=False); db.graph().num_nodes("paper")
os.replace({str(new)!r}, {str(path)!r})
try: db.execute("INSERT INTO cites VALUES (1, 2)")
finally: os._exit(9)
"""
    assert subprocess.run([sys.executable, "-c", child], check=False, capture_output=True).returncode == 9
    with dbgnn.connect(path, progress=False) as db:
        assert seeds_of(loader(db.graph())) == 50


def test_a_wrapped_connection_knows_its_file_too(tmp_path: Path) -> None:
    path = tmp_path / "g.duckdb"
    make(path)
    con = duckdb.connect(str(path))
    graph = dbgnn.connect(con, progress=False).graph()
    _replace(path)
    with pytest.raises(dbgnn.ConnectionError, match=GONE):
        graph.write_back("paper", n_id=np.arange(50), pred=np.arange(50))
    con.close()


def test_identity(tmp_path: Path) -> None:
    path = tmp_path / "a"
    assert identity_of(str(path)) is None
    path.write_text("a")
    identity = identity_of(str(path))
    assert identity is not None
    assert not has_open(identity)
    with path.open():
        assert has_open(identity)


# -- forks ---------------------------------------------------------------------------------------------


def _in_child(work: Callable[[], object]) -> str:
    """What ``work`` returns in a forked child, or the error it raises, as text."""
    context = multiprocessing.get_context("fork")
    queue = context.Queue()

    def run() -> None:
        try:
            queue.put(repr(work()))
        except Exception as error:  # noqa: BLE001 - whatever it is, the parent shall see it
            queue.put(f"{type(error).__name__}: {error}")

    child = context.Process(target=run)
    child.start()
    found: str = queue.get(timeout=60)
    child.join(60)
    assert child.exitcode == 0
    return found


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("opened_by", ["dbgnn", "duckdb"])
def test_a_child_cannot_open_what_its_parent_writes_to(tmp_path: Path, opened_by: str) -> None:
    path = tmp_path / "g.duckdb"
    make(path)
    parent = dbgnn.connect(path, progress=False) if opened_by == "dbgnn" else duckdb.connect(str(path))

    def child() -> int:
        with dbgnn.connect(path, progress=False) as db:
            return db.graph().write_back("paper", n_id=np.arange(50), pred=np.arange(50))

    assert _in_child(child).startswith("ConnectionError: ")
    assert "forked from" in _in_child(child)
    parent.execute("UPDATE paper SET y = 99 WHERE id = 3")
    parent.close()
    assert _in_child(child) == "50"  # the remedy: close it before the fork
    with dbgnn.connect(path, progress=False) as db:
        assert db.sql("SELECT max(y), count(pred) FROM paper").fetchall() == [(99, 50)]


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_opens_what_its_parent_reads(tmp_path: Path) -> None:
    path = tmp_path / "g.duckdb"
    make(path)
    with dbgnn.connect(path, read_only=True, progress=False) as db:
        assert seeds_of(loader(db.graph())) == 50

        def child() -> object:
            with dbgnn.connect(path, read_only=True, progress=False) as own:
                return seeds_of(loader(own.graph())), own.sql("SELECT count(*) FROM g.paper").fetchall()

        assert _in_child(child) == "(50, [(50,)])"


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("name", ["memory.duckdb", "temp.duckdb", "a b.duckdb"])
def test_any_name_in_a_child(tmp_path: Path, name: str) -> None:
    def child() -> int:
        with dbgnn.connect(tmp_path / name, progress=False) as db:
            fill(db)
            return seeds_of(loader(db.graph()))

    assert _in_child(child) == "50"


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_named_database_in_memory_is_not_shared_with_a_child() -> None:
    with dbgnn.connect(":memory:shared", progress=False) as db:
        fill(db)
        assert "':memory:'" in _in_child(lambda: dbgnn.connect(":memory:shared", progress=False))
        assert _in_child(lambda: dbgnn.connect(progress=False).sql("SELECT 1").fetchall()) == "[(1,)]"
    assert os.getpid() == db._pid


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("end", ["os._exit", "sys.exit"])
def test_a_child_does_not_wait_for_what_its_parent_has_dropped(tmp_path: Path, end: str) -> None:
    """Connections of the parent that the child's garbage collector, or its end, finds must not be closed there."""
    make(tmp_path / "g.duckdb")
    program = f"""
import gc, os, sys
import dbgnn
gc.disable()
db = dbgnn.connect({str(tmp_path / "g.duckdb")!r}, read_only=True, progress=False)
db.sql("SELECT count(*) FROM paper, cites").fetchall()
db.graph().num_nodes("paper")
kept = dbgnn.connect(progress=False)
cycle = [db]
cycle.append(cycle)
del cycle, db
if (child := os.fork()) == 0:
    gc.collect()
    print("collected", flush=True)
    {end}(0)
os.waitpid(child, 0)
print("ended", flush=True)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["collected", "ended"]


def test_a_hard_link_is_not_opened_twice(tmp_path: Path) -> None:
    path, link = tmp_path / "g.duckdb", tmp_path / "link.duckdb"
    make(path)
    link.hardlink_to(path)
    with dbgnn.connect(path, progress=False):
        with pytest.raises(dbgnn.ConnectionError, match="hard link"):
            dbgnn.connect(link, progress=False)
        with dbgnn.connect(path, progress=False) as again:  # the remedy
            assert seeds_of(loader(again.graph())) == 50
    with dbgnn.connect(link, progress=False) as db:
        assert seeds_of(loader(db.graph())) == 50


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_that_ends_leaves_the_parents_log(tmp_path: Path) -> None:
    path = tmp_path / "g.duckdb"
    make(path)
    program = f"""
import os, signal, sys
import dbgnn
db = dbgnn.connect({str(path)!r}, progress=False)
db.execute("UPDATE paper SET y = 1")
if (child := os.fork()) == 0:
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
db.execute("UPDATE paper SET y = 2")
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == -9
    with dbgnn.connect(path, progress=False) as db:
        assert db.sql("SELECT DISTINCT y FROM paper").fetchall() == [(2,)]
