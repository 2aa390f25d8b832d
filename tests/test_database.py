"""`connect()` and `Database`: settings, errors, threads, processes."""

from __future__ import annotations

import os
import pickle
import resource
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest

import dbgnn

GRAPH = """CREATE PROPERTY GRAPH g VERTEX TABLES (node KEY (id))
  EDGE TABLES (edge SOURCE KEY (s) REFERENCES node (id) DESTINATION KEY (d) REFERENCES node (id))"""


def test_settings_are_duckdbs(tmp_path: Path) -> None:
    with dbgnn.connect(
        tmp_path / "a.duckdb",
        memory_limit="300MB",
        threads=1,
        temp_directory=tmp_path / "spill",
        config={"default_order": "DESC"},
    ) as db:
        names = ("memory_limit", "threads", "temp_directory", "default_order")
        values = db.sql("SELECT " + ", ".join(f"current_setting('{n}')::VARCHAR" for n in names)).fetchall()[0]
        assert values == ("286.1 MiB", "1", str(tmp_path / "spill"), "DESC")
        assert "memory_limit=300MB" in repr(db)
        assert "read-write" in repr(db)
    assert "closed" in repr(db)
    with pytest.raises(dbgnn.ConnectionError, match="closed"):
        db.execute("SELECT 1")


def test_settings_that_duckdb_does_not_take(tmp_path: Path) -> None:
    with pytest.raises(dbgnn.ResourceError, match="memory_limit='much'"):
        dbgnn.connect(tmp_path / "a.duckdb", memory_limit="much")


def test_a_connection_is_wrapped_and_left_open(tmp_path: Path) -> None:
    con = duckdb.connect(str(tmp_path / "a.duckdb"))
    con.execute("CREATE TABLE t (i INTEGER)")
    with dbgnn.connect(con) as db:
        assert db.connection is con
        assert db.settings.path == str(tmp_path / "a.duckdb")
        db.execute("INSERT INTO t VALUES (1)")
    assert con.execute("SELECT i FROM t").fetchall() == [(1,)]


def test_a_connection_that_uses_an_attached_database(tmp_path: Path) -> None:
    con = duckdb.connect()
    con.execute(f"ATTACH '{tmp_path / 'b.duckdb'}' AS b")
    con.execute("USE b")
    with dbgnn.connect(con) as db:
        db.execute("CREATE TABLE node AS SELECT range AS id FROM range(5); CREATE TABLE edge (s BIGINT, d BIGINT);" + GRAPH)
        assert db.graph().num_nodes("node") == 5
        assert db.settings.path == str(tmp_path / "b.duckdb")


@pytest.mark.parametrize("name", ["dbgnn", "main", "memory", "a.b", "order", 'qu"ote', "gr aph", "Füße"])
def test_any_file_name(tmp_path: Path, name: str) -> None:
    """DuckDB names the database after the file, and that must not clash with a schema of ours."""
    path = tmp_path / f"{name}.duckdb"
    with dbgnn.connect(path) as db:
        db.execute("CREATE TABLE node AS SELECT range AS id FROM range(5)")
        db.execute("CREATE TABLE edge AS SELECT range AS s, 4 - range AS d FROM range(5)")
        db.execute(GRAPH)
        assert db.graph().num_edges(("node", "edge", "node")) == 5
    with dbgnn.connect(path, read_only=True) as db:
        assert db.graph().num_nodes("node") == 5


def test_scripts(tmp_path: Path) -> None:
    with dbgnn.connect(tmp_path / "a.duckdb") as db:
        db.execute(
            "CREATE TABLE node (id BIGINT, t VARCHAR DEFAULT ';'); CREATE TABLE edge (s BIGINT, d BIGINT); -- ; \n"
            + GRAPH
            + ";"
        )
        assert db.graph().node_types == ["node"]
        assert db.execute("SELECT 1; SELECT 2;").fetchall() == [(2,)]
        assert db.execute("SELECT ? + 1", [4]).fetchone() == (5,)


def test_statements_of_our_own_answer_and_leave_the_connection_free(tmp_path: Path) -> None:
    np.save(tmp_path / "ids.npy", np.arange(7))
    with dbgnn.connect(tmp_path / "a.duckdb") as db:
        db.execute("CREATE TABLE node (id BIGINT)")
        answer = db.execute(f"COPY node FROM '{tmp_path / 'ids.npy'}'")
        assert db.sql("SELECT count(*) FROM node").fetchall() == [(7,)]
        assert answer.fetchone() == (7,)
        assert db.execute("CREATE PROPERTY GRAPH g VERTEX TABLES (node KEY (id))").fetchall() == [(True,)]
        with pytest.raises(duckdb.Error):
            db.execute("SELECT * FROM nowhere")


def test_files_that_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "text.duckdb").write_text("no database at all, but long enough to be read as the header of one" * 100)
    with pytest.raises(dbgnn.ConnectionError, match=r"text\.duckdb' is not a DuckDB database"):
        dbgnn.connect(tmp_path / "text.duckdb")
    with pytest.raises(dbgnn.ConnectionError, match="does not exist"):
        dbgnn.connect(tmp_path / "none.duckdb", read_only=True)
    with pytest.raises(dbgnn.ConnectionError, match="cannot be opened"):
        dbgnn.connect(tmp_path / "no" / "such" / "folder.duckdb")
    with dbgnn.connect(tmp_path / "a.duckdb"), pytest.raises(dbgnn.ConnectionError, match="other settings"):
        dbgnn.connect(tmp_path / "a.duckdb", read_only=True)


@pytest.mark.parametrize("read_only", [False, True])
def test_a_file_of_another_format_is_no_database(tmp_path: Path, read_only: bool) -> None:
    # DuckDB shows it as a view in memory, where whatever is written would be lost.
    (tmp_path / "paper.csv").write_text("id,year\n1,2020\n")
    with pytest.raises(dbgnn.ConnectionError, match="is not a DuckDB database file"):
        dbgnn.connect(tmp_path / "paper.csv", read_only=read_only)


def test_a_file_that_another_process_has_open(tmp_path: Path) -> None:
    path = tmp_path / "a.duckdb"
    code = "import duckdb, sys; con = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        with pytest.raises(dbgnn.ConnectionError, match=r"locked by another process.*read_only=True"):
            dbgnn.connect(path)
        other.communicate()


def test_read_only_refuses_to_write(tmp_path: Path) -> None:
    with dbgnn.connect(tmp_path / "a.duckdb") as db:
        db.execute("CREATE TABLE node (id BIGINT)")
    np.save(tmp_path / "ids.npy", np.arange(7))
    with dbgnn.connect(tmp_path / "a.duckdb", read_only=True) as db:
        for statement in (
            "CREATE PROPERTY GRAPH g VERTEX TABLES (node KEY (id))",
            f"COPY node FROM '{tmp_path / 'ids.npy'}'",
            "INSERT INTO node VALUES (1)",
        ):
            with pytest.raises(dbgnn.ReadOnlyError, match="read_only=False"):
                db.execute(statement)


def test_too_little_memory_names_the_setting(tmp_path: Path) -> None:
    with dbgnn.connect(tmp_path / "a.duckdb") as db:
        db.execute("CREATE TABLE node AS SELECT range AS id FROM range(1000)")
        db.execute("CREATE TABLE edge AS SELECT hash(i) % 1000 AS s, hash(-i) % 1000 AS d FROM range(500000) t(i)")
        db.execute(GRAPH)
    with (
        dbgnn.connect(tmp_path / "a.duckdb", memory_limit="2MB") as db,
        pytest.raises(dbgnn.ResourceError, match=r"Raise memory_limit, .*DuckDB says: .*used"),
    ):
        db.graph().build()


def test_a_full_disk_is_named_and_the_file_stays_usable(tmp_path: Path) -> None:
    """The limit on the size of files stands for the disk; in a process of its own, since it cannot be lifted again."""
    code = textwrap.dedent(
        """
        import resource, signal, sys, dbgnn
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        with dbgnn.connect(sys.argv[1], progress=False) as db:
            db.execute("CREATE TABLE node AS SELECT range AS id FROM range(1000)")
            db.execute("CREATE TABLE edge AS SELECT hash(i) % 1000 AS s, hash(-i) % 1000 AS d FROM range(2000000) t(i)")
            db.execute(sys.argv[2])
            db.execute("CHECKPOINT")
            import os
            size = os.stat(sys.argv[1]).st_size + 500_000
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
            try:
                db.graph().build()
            except dbgnn.ResourceError as error:
                print("full:", error, flush=True)
            os._exit(0)
        """
    )
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    path = tmp_path / "a.duckdb"
    out = subprocess.run([sys.executable, "-c", code, str(path), GRAPH], capture_output=True, text=True, check=False)
    assert "disk is full" in out.stdout, out
    with dbgnn.connect(path) as db:
        assert db.graph().num_edges(("node", "edge", "node")) == 2_000_000


def test_statements_of_many_threads_do_not_mix(tmp_path: Path) -> None:
    with dbgnn.connect(tmp_path / "a.duckdb") as db:
        db.execute("CREATE TABLE t (v INTEGER)")

        def work(v: int) -> list[int]:
            found = [db.execute(f"SELECT {v}").fetchall()[0][0] for _ in range(100)]
            db.execute(f"INSERT INTO t VALUES ({v})")
            return found + [db.sql(f"SELECT {v}").fetchall()[0][0] for _ in range(20)]

        with ThreadPoolExecutor(4) as pool:
            assert all(set(found) == {v} for v, found in enumerate(pool.map(work, range(8))))
        assert db.sql("SELECT count(DISTINCT v) FROM t").fetchall() == [(8,)]


def test_closing_while_another_thread_reads_closes_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.duckdb"
    db = dbgnn.connect(path)
    started = threading.Event()

    def read() -> None:
        cursor = db.cursor()
        started.set()
        with suppress(duckdb.Error, dbgnn.DbgnnError):
            while True:
                cursor.execute("SELECT sum(range) FROM range(10000000)").fetchall()

    thread = threading.Thread(target=read)
    thread.start()
    started.wait()
    db.close()
    thread.join(30)
    assert not thread.is_alive()
    db.close()
    code = "import duckdb, sys; duckdb.connect(sys.argv[1])"  # another process may have the file now
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)


def test_a_connection_closed_by_the_user_is_named(tmp_path: Path) -> None:
    db = dbgnn.connect(tmp_path / "a.duckdb")
    db.connection.close()
    with pytest.raises(dbgnn.ConnectionError, match="closed"):
        db.execute("SELECT 1")


def test_hints(tmp_path: Path) -> None:
    with dbgnn.connect(tmp_path / "a.duckdb", memory_limit=2**30) as db:
        assert db.sql("SELECT current_setting('memory_limit')").fetchall() == [("1.0 GiB",)]
        for query in ("CREATE NODE TABLE p(id INT64)", "CREATE REL TABLE c(FROM p TO p)", "MATCH (p:paper) RETURN p.id"):
            with pytest.raises(dbgnn.SqlError, match="SQL, not Cypher"):
                db.execute(query)
        with pytest.raises(dbgnn.SqlError, match=r"db\.execute"):
            db.sql("COPY t FROM 'x.npy'")
        with pytest.raises(dbgnn.SqlError, match="bound values"):
            db.execute("COPY t FROM 'x.npy'", [1])
        db.execute("ATTACH ':memory:' AS b; USE b; CREATE TABLE p (id BIGINT)")
        with pytest.raises(dbgnn.SchemaError, match="uses database 'b'"):
            db.execute("CREATE PROPERTY GRAPH g VERTEX TABLES (p KEY (id))")


def test_data_frames_in_scope_are_found_as_duckdb_does(tmp_path: Path) -> None:
    pred = pa.table({"id": [1, 2]})
    with dbgnn.connect(tmp_path / "a.duckdb") as db:
        db.execute("CREATE TABLE p AS SELECT * FROM pred")
        assert db.sql("SELECT count(*) FROM pred JOIN p USING (id)").fetchall() == [(len(pred),)]


def test_every_thread_has_its_own_cursor_and_temporary_names(tmp_path: Path) -> None:
    with dbgnn.connect(tmp_path / "a.duckdb") as db:
        sums: dict[int, int] = {}

        def work(i: int) -> None:
            for _ in range(20):
                table = db.arrow("SELECT sum(v)::BIGINT AS total FROM req", req=pa.table({"v": np.full(1000, i)}))
                sums[i] = table.column("total")[0].as_py()

        threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert sums == {i: 1000 * i for i in range(8)}


def test_pickling_opens_the_file_again_once_per_process(tmp_path: Path) -> None:
    with dbgnn.connect(tmp_path / "a.duckdb") as db:
        db.execute("CREATE TABLE t AS SELECT 1 AS i")
    with dbgnn.connect(tmp_path / "a.duckdb", read_only=True) as db:
        one, two = (pickle.loads(pickle.dumps(db)) for _ in range(2))
        assert one is two
        assert one.sql("SELECT i FROM t").fetchall() == [(1,)]
        one.close()


def test_a_forked_child_opens_the_file_again(tmp_path: Path) -> None:
    with dbgnn.connect(tmp_path / "a.duckdb") as db:
        db.execute("CREATE TABLE t AS SELECT 7 AS i")
    with dbgnn.connect(tmp_path / "a.duckdb", read_only=True) as db:
        db.cursor().execute("SELECT 1")
        read, write = os.pipe()
        if (child := os.fork()) == 0:
            os.write(write, repr(db.arrow("SELECT i FROM t").to_pydict()).encode())
            os._exit(0)
        os.waitpid(child, 0)
        assert os.read(read, 100) == b"{'i': [7]}"
        os.close(read)
        os.close(write)
        assert db.sql("SELECT i FROM t").fetchall() == [(7,)]


@pytest.mark.parametrize("begun", ["db.execute('FROM t')", "db.execute('FROM t').fetchone()", "None"])
def test_a_database_that_the_end_of_the_interpreter_closes(tmp_path: Path, begun: str) -> None:
    """As that of a generator that nobody ran to its end: no thread can begin by then."""
    code = f"""
        import sys, dbgnn
        def rows():
            with dbgnn.connect(sys.argv[1]) as db:
                db.execute("CREATE TABLE t AS SELECT range AS i FROM range(100000)")
                yield db, {begun}
        kept = rows()
        next(kept)
        sys.kept = kept  # freed after this module
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code), str(tmp_path / "a.duckdb")], check=True, timeout=60)
    with dbgnn.connect(tmp_path / "a.duckdb") as db:
        assert db.sql("SELECT count(*) FROM t").fetchall() == [(100_000,)]
