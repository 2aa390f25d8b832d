"""What the user has under way: an open transaction, another database in use, a result that is being read, Ctrl-C."""

from __future__ import annotations

import select
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import numpy as np
import pytest
import torch

import dbgnn
from tests.graph_in_a_file import fill, loader, make, seeds_of


@pytest.fixture
def db(tmp_path: Path) -> Iterator[dbgnn.Database]:
    with dbgnn.connect(tmp_path / "g.duckdb", progress=False) as db:
        fill(db)
        db.graph().build()
        yield db


# -- transactions --------------------------------------------------------------------------------------

READS: dict[str, Callable[[dbgnn.Database, dbgnn.Graph], object]] = {
    "build": lambda _, g: g.build(),
    "check": lambda _, g: g.check(),
    "stores": lambda db, _: db.get_torch_geometric_remote_backend(),
    "loader": lambda _, g: list(loader(g)),
}


@pytest.mark.parametrize("where", ["file", "memory"])
@pytest.mark.parametrize("use", READS)
def test_what_reads_what_is_committed_says_so_in_a_transaction(tmp_path: Path, where: str, use: str) -> None:
    with dbgnn.connect(tmp_path / "g.duckdb" if where == "file" else ":memory:", progress=False) as db:
        fill(db)
        graph = db.graph().build()
        db.execute("BEGIN")
        db.execute("INSERT INTO paper VALUES (50, [50, 50, 50, 50], 1)")
        with pytest.raises(dbgnn.ConnectionError, match="COMMIT or ROLLBACK"):
            READS[use](db, graph)
        assert len(graph.to_heterodata()["paper"].x) == 51  # it runs in the transaction
        db.execute("ROLLBACK")
        READS[use](db, graph)


def test_stores_made_before_a_transaction_say_so_too(db: dbgnn.Database) -> None:
    features, edges = db.get_torch_geometric_remote_backend()
    some = loader((features, edges))
    db.execute("BEGIN; UPDATE paper SET y = 7")
    uses: list[Callable[[], object]] = [
        lambda: features["paper", "y", None],
        lambda: features.keys("paper", [1]),
        lambda: features.ids("paper", [1]),
        lambda: features.node_ids("paper", "y = 7"),
        lambda: edges.get_edge_index(("paper", "cites", "paper"), "coo"),
        lambda: next(iter(some)),
    ]
    for use in uses:
        with pytest.raises(dbgnn.ConnectionError, match="COMMIT or ROLLBACK"):
            use()
    db.execute("COMMIT")
    assert features["paper", "y", None].unique().tolist() == [7]
    for use in uses:
        use()


def test_a_graph_declared_in_a_transaction(tmp_path: Path) -> None:
    with dbgnn.connect(tmp_path / "g.duckdb", progress=False) as db:
        db.execute("BEGIN")
        fill(db)
        for use in (db.graph, lambda: db.graph("g"), db.get_torch_geometric_remote_backend):
            with pytest.raises(dbgnn.ConnectionError, match="COMMIT"):
                use()
        db.execute("COMMIT")
        assert seeds_of(loader(db.graph())) == 50
        db.execute("BEGIN")
        assert db.graph().name == "g"  # as committed as it is here
        db.execute("ROLLBACK")


def test_a_transaction_of_another_thread_is_not_this_one_s(db: dbgnn.Database) -> None:
    other = db.connection.cursor()
    other.execute("BEGIN; UPDATE paper SET y = 99 WHERE id = 3")
    assert seeds_of(loader(db.graph())) == 50
    with pytest.raises(duckdb.TransactionException, match="Conflict"):
        db.graph().write_back("paper", n_id=torch.arange(50), y=torch.arange(50))
    other.execute("COMMIT")
    assert db.sql("SELECT y FROM paper WHERE id IN (2, 3, 4) ORDER BY id ASC").fetchall() == [(2,), (99,), (4,)]


# -- USE -----------------------------------------------------------------------------------------------


def test_the_graph_of_the_database_in_use(tmp_path: Path) -> None:
    make(tmp_path / "a.duckdb")
    with dbgnn.connect(progress=False) as db:
        db.execute(f"ATTACH '{tmp_path / 'a.duckdb'}' AS shop; USE shop")
        assert db.graph().db.settings.path == str(tmp_path / "a.duckdb")
        assert seeds_of(loader(db.graph("g"))) == 50
        assert seeds_of(loader(db.get_torch_geometric_remote_backend())) == 50
        graph = db.graph()
        assert graph.write_back("paper", n_id=np.arange(50), pred=np.arange(50)) == 50
        with pytest.raises(dbgnn.SchemaError, match="USE"):  # nothing is declared elsewhere without a word
            db.execute("CREATE PROPERTY GRAPH h VERTEX TABLES (paper KEY (id))")
        dbgnn.connect(db.connection, progress=False).execute("CREATE PROPERTY GRAPH h VERTEX TABLES (paper KEY (id))")
        db.execute("USE memory")
        with pytest.raises(dbgnn.SchemaError, match="USE"):
            graph.to_heterodata()
        assert seeds_of(loader(graph)) == 50
    with dbgnn.connect(tmp_path / "a.duckdb", progress=False) as db:
        assert db.sql("SELECT count(pred) FROM paper").fetchall() == [(50,)]
        assert db.graph("h").edge_types == []


def test_after_use_the_graph_of_the_connection_stays(tmp_path: Path) -> None:
    make(tmp_path / "a.duckdb")
    con = duckdb.connect()
    con.execute(f"ATTACH '{tmp_path / 'a.duckdb'}' AS shop; USE shop")
    db = dbgnn.connect(con, progress=False)
    con.execute("USE memory")
    assert seeds_of(loader(db.graph())) == 50


def test_two_graphs_of_one_name_are_told_apart(tmp_path: Path) -> None:
    make(tmp_path / "a.duckdb")
    make(tmp_path / "b.duckdb", add=700)
    with dbgnn.connect(tmp_path / "b.duckdb", progress=False) as db:
        db.execute(f"ATTACH '{tmp_path / 'a.duckdb'}' AS shop; USE shop")
        for name in (None, "g"):
            with pytest.raises(dbgnn.SchemaError, match='USE "b"'):
                db.graph(name)
        other = dbgnn.connect(db.connection, progress=False).graph()  # the remedies
        assert other.to_heterodata()["paper"].y.max() == 6
        db.execute('USE "b"')
        assert db.graph().to_heterodata()["paper"].y.max() == 706


def test_another_file_under_the_same_name(tmp_path: Path) -> None:
    make(tmp_path / "a.duckdb")
    make(tmp_path / "b.duckdb", add=700)
    with dbgnn.connect(tmp_path / "a.duckdb", progress=False) as db:
        graph = db.graph()
        some = loader(graph)
        assert seeds_of(some) == 50
        db.execute(f"ATTACH ':memory:' AS m; USE m; DETACH a; ATTACH '{tmp_path / 'b.duckdb'}' AS a")
        for use in (lambda: list(some), lambda: graph.write_back("paper", n_id=np.arange(50), p=np.arange(50)), graph.build):
            with pytest.raises(dbgnn.ConnectionError, match=r"b\.duckdb"):
                use()
        db.execute(f"DETACH a; ATTACH '{tmp_path / 'a.duckdb'}' AS a; USE a")  # the remedy
        assert seeds_of(loader(db.graph())) == 50


def test_use_with_a_result_being_read(tmp_path: Path) -> None:
    make(tmp_path / "a.duckdb")
    make(tmp_path / "b.duckdb", add=700)
    with dbgnn.connect(tmp_path / "a.duckdb", progress=False) as db:
        db.execute(f"ATTACH '{tmp_path / 'b.duckdb'}' AS b; USE b")
        db.execute(MANY).fetchone()
        with pytest.raises(dbgnn.ConnectionError, match="fetchall"):
            db.graph("g")
        with pytest.raises(dbgnn.SchemaError, match="USE"):
            db.graph("g")


# -- a result that is being read -----------------------------------------------------------------------


def stream(db: dbgnn.Database, body: Callable[[torch.Tensor], object]) -> int:
    """Read all keys in parts, and do something with each; return how many came."""
    rows, count = db.execute("SELECT id FROM paper ORDER BY id ASC"), 0
    while part := rows.fetchmany(1000):
        count += len(part)
        body(torch.tensor([key for (key,) in part]))
    return count


BODIES: dict[str, Callable[[dbgnn.Database, dbgnn.Graph, torch.Tensor], object]] = {
    "write_back": lambda _, g, ids: g.write_back("paper", keys=ids, p=ids),
    "write_back into": lambda _, g, ids: g.write_back("paper", keys=ids, into="side", p=ids),
    "put_tensor": lambda db, _, ids: db.get_torch_geometric_remote_backend()[0].put_tensor(
        ids % 7, group_name="paper", attr_name="y", index=ids
    ),
    "keys": lambda db, _, ids: db.get_torch_geometric_remote_backend()[0].keys("paper", ids),
    "graph": lambda db, *_: db.graph(),
    "loader": lambda _, g, ids: seeds_of(loader(g, input_nodes=("paper", ids), batch_size=500)),
    "build": lambda _, g, __: g.build(force=True),
    "check": lambda _, g, __: g.check(),
}


@pytest.mark.parametrize("body", BODIES)
def test_a_result_that_is_being_read_comes_whole(tmp_path: Path, body: str) -> None:
    with dbgnn.connect(tmp_path / "g.duckdb", progress=False) as db:
        fill(db, 5000, 10_000)
        graph = db.graph().build()
        assert stream(db, lambda ids: BODIES[body](db, graph, ids)) == 5000
        if body.startswith("write_back"):
            table = "side" if body.endswith("into") else "paper"
            assert db.sql(f"SELECT count(p), sum(p - id) FROM {table}").fetchall() == [(5000, 0)]


USES: dict[str, Callable[[dbgnn.Database, dbgnn.Graph], object]] = {
    "by query": lambda db, _: dbgnn.query_to_heterodata(db, nodes={"p": "SELECT id FROM paper"}, edges={}),
    "by graph": lambda _, graph: graph.to_heterodata(),
}
MANY = "SELECT i FROM range(100000) t(i)"


@pytest.mark.parametrize("use", USES)
def test_a_result_that_was_ended_says_so(db: dbgnn.Database, use: str) -> None:
    graph = db.graph()
    rows = db.execute(MANY)
    rows.fetchone()
    USES[use](db, graph)
    for fetch in (rows.fetchone, rows.fetchall, lambda: next(iter(rows)), rows.df):
        with pytest.raises(dbgnn.ConnectionError, match="fetchall"):
            fetch()
    assert len(db.execute(MANY).fetchall()) == 100_000  # the remedies
    own = db.connection.cursor().execute(MANY)
    own.fetchone()
    USES[use](db, graph)
    assert len(own.fetchall()) == 99_999


@pytest.mark.parametrize("use", USES)
def test_a_result_of_the_connection_itself_is_not_ended_unseen(db: dbgnn.Database, use: str) -> None:
    graph = db.graph()
    db.connection.execute(MANY).fetchone()
    with pytest.raises(dbgnn.ConnectionError, match=r"fetchall\(\)"):
        USES[use](db, graph)
    USES[use](db, graph)
    assert db.connection.execute("SELECT count(*) FROM paper").fetchone() == (50,)  # no row is left, which DuckDB does not say
    USES[use](db, graph)
    assert graph.write_back("paper", n_id=np.arange(50), p=np.arange(50)) == 50


def test_a_connection_that_was_read_from(tmp_path: Path) -> None:
    make(tmp_path / "g.duckdb")
    with duckdb.connect(str(tmp_path / "g.duckdb")) as con:
        assert con.execute("SELECT count(*) FROM paper").fetchone() == (50,)
        db = dbgnn.connect(con, progress=False)
        assert con.execute("SELECT count(*) FROM paper").fetchone() == (50,)
        assert seeds_of(loader(db.graph())) == 50
        con.execute(MANY).fetchone()
        with pytest.raises(dbgnn.ConnectionError, match="fetchall"):
            dbgnn.connect(con)


@pytest.mark.parametrize("use", USES)
def test_a_result_that_nobody_holds_is_no_obstacle(db: dbgnn.Database, use: str) -> None:
    assert db.execute("SELECT count(*) FROM paper").fetchone() == (50,)
    USES[use](db, db.graph())
    db.execute("FROM paper")
    USES[use](db, db.graph())


def test_another_statement_does_not_give_its_rows_to_an_earlier_result(db: dbgnn.Database) -> None:
    rows = db.execute(MANY)
    rows.fetchmany(10)
    db.execute("CREATE TABLE other AS SELECT 1 AS i")
    with pytest.raises(dbgnn.ConnectionError, match="another statement"):
        rows.fetchmany(10)
    whole = db.execute(MANY)
    assert len(whole.fetchall()) == 100_000
    db.execute("SELECT 1")
    with pytest.raises(dbgnn.ConnectionError, match="another statement"):  # and not that statement's row
        whole.fetchone()
    assert db.execute("SELECT 1 AS a, 2 AS b").description[1][0] == "b"


@pytest.mark.parametrize("begin", ["BEGIN", "/* now */ -- and here\n begin transaction", "START TRANSACTION"])
def test_a_transaction_with_a_result_being_read_is_known(db: dbgnn.Database, begin: str) -> None:
    features = db.get_torch_geometric_remote_backend()[0]
    graph = db.graph()
    db.execute(begin)
    db.execute("UPDATE paper SET y = 9")
    rows = db.execute(MANY)
    rows.fetchone()
    with pytest.raises(dbgnn.ConnectionError, match="COMMIT or ROLLBACK"):
        graph.write_back("paper", n_id=torch.arange(50), p=torch.arange(50))
    with pytest.raises(dbgnn.ConnectionError, match="COMMIT or ROLLBACK"):
        features["paper", "y", None]
    db.execute("ROLLBACK")
    db.execute(MANY).fetchone()
    assert features["paper", "y", None].max() == 6


def test_a_graph_in_a_transaction_does_not_end_a_result_unseen(db: dbgnn.Database) -> None:
    db.execute("BEGIN")
    rows = db.execute(MANY)
    rows.fetchone()
    db.graph()
    with pytest.raises(dbgnn.ConnectionError, match=r"ended by db.graph\(\)"):
        rows.fetchall()


def test_a_transaction_that_is_not_seen_is_asked_for(db: dbgnn.Database) -> None:
    features = db.get_torch_geometric_remote_backend()[0]
    db.connection.begin()
    with pytest.raises(dbgnn.ConnectionError, match="COMMIT or ROLLBACK"):
        features["paper", "y", None]
    db.execute(MANY).fetchone()
    with pytest.raises(dbgnn.ConnectionError, match="fetchall"):  # it cannot be asked for without ending the result
        features["paper", "y", None]
    db.connection.commit()
    assert features["paper", "y", None].max() == 6
    db.execute("BEGIN")
    with pytest.raises(duckdb.Error):
        db.execute("SELECT nothing")
    with pytest.raises(dbgnn.ConnectionError, match="ROLLBACK"):  # it was aborted
        features["paper", "y", None]
    db.execute("ROLLBACK")
    assert features["paper", "y", None].max() == 6


def test_an_open_arrow_reader_says_so(db: dbgnn.Database) -> None:
    graph = db.graph()
    reader = db.sql(MANY).to_arrow_reader(1000)
    reader.read_next_batch()
    with pytest.raises(dbgnn.ConnectionError, match="fetchall"):
        graph.to_heterodata()
    del reader


def test_results_of_threads_are_their_own(db: dbgnn.Database) -> None:
    made = []
    for i in range(20):  # numbers of threads that have ended are given to new ones
        with ThreadPoolExecutor(1) as pool:
            made.append(pool.submit(db.execute, f"SELECT {i}").result())
        with ThreadPoolExecutor(1) as pool:
            pool.submit(db.execute, "BEGIN").result()
    assert [result.fetchall() for result in made] == [[(i,)] for i in range(20)]
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(lambda: seeds_of(loader(db.graph()))).result() == 50


# -- Ctrl-C --------------------------------------------------------------------------------------------

CHILD = """
import sys, threading, torch, dbgnn
from tests.graph_in_a_file import loader
path, *modes = sys.argv[1:]
db = dbgnn.connect(path, progress=False)
graph = db.graph()
n = graph.num_nodes("paper")
model = torch.nn.Linear(4, 2)
WORK = {
    "loader": lambda: list(loader(graph, batch_size=100)),
    "no threads": lambda: list(loader(graph, batch_size=100, prefetch=0)),
    "write_back": lambda: graph.write_back("paper", n_id=torch.arange(n), e=torch.zeros(n, 3)),
    "build": lambda: graph.build(force=True),
    "to_heterodata": lambda: graph.to_heterodata(),
    "check": lambda: graph.check(),
    "execute": lambda: db.execute("SELECT sum(i * j) FROM range(20000) a(i), range(20000) b(j)").fetchall(),
    "predict": lambda: graph.predict(
        model, loader(graph, batch_size=50), into="paper.q", forward=lambda m, b: m(b["paper"].x)
    ),
}
for name, work in WORK.items():
    if name != "execute":
        work()  # what is imported late is imported now
for mode in modes:
    print("ready", mode, flush=True)
    for _ in range(6):
        try:
            while True:
                WORK[mode]()
        except BaseException as error:
            print(f"{type(error).__name__}: {error}".replace(chr(10), " "), flush=True)
    seeds = sum(b["paper"].batch_size for b in loader(graph))
    print("usable", seeds, [t.name for t in threading.enumerate() if t.name.startswith("dbgnn")], flush=True)
"""

MODES = ["loader", "no threads", "write_back", "build", "to_heterodata", "check", "execute", "predict"]


def test_ctrl_c_is_a_keyboard_interrupt(tmp_path: Path) -> None:
    """One process for all: what an interrupt leaves behind would spoil the work after it as well."""
    with dbgnn.connect(tmp_path / "g.duckdb", progress=False) as db:
        fill(db, 2000, 10_000)
    command = [sys.executable, "-c", textwrap.dedent(CHILD), str(tmp_path / "g.duckdb"), *MODES]
    root = Path(__file__).resolve().parents[1]
    rng = np.random.default_rng(0)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=root) as child:
        try:
            assert child.stdout is not None
            for mode in MODES:
                assert child.stdout.readline() == f"ready {mode}\n"
                for wait in rng.uniform(0.05, 0.3, 6):
                    assert not select.select([child.stdout], [], [], wait)[0], (mode, child.stdout.readline())
                    child.send_signal(signal.SIGINT)
                    assert select.select([child.stdout], [], [], 60)[0], f"{mode} hangs"
                    assert (mode, child.stdout.readline()) == (mode, "KeyboardInterrupt: \n")
                assert (mode, child.stdout.readline()) == (mode, "usable 2000 []\n")
            assert child.wait(timeout=60) == 0
        finally:
            child.kill()
