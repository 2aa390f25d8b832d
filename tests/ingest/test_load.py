"""Which file fills which column; order, transactions, memory, storage, settings, progress."""

from __future__ import annotations

import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np
import pytest

import dbgnn
from dbgnn.errors import CopyError, UnknownNameError
from dbgnn.ingest import load, parse_copy, run_copy

Copy = Callable[[str], int]
Con = duckdb.DuckDBPyConnection

THREADS = 2


def rows(con: Con, query: str) -> list[tuple[object, ...]]:
    return con.execute(query).fetchall()


def setting(con: Con, name: str) -> object:
    return rows(con, f"SELECT current_setting('{name}')")[0][0]


def compressions(con: Con, table: str) -> set[str]:
    """How the values (not the NULL masks) of a table are stored."""
    query = f"SELECT DISTINCT compression FROM pragma_storage_info('{table}') WHERE segment_type NOT IN ('VALIDITY')"
    return {str(row[0]) for row in rows(con, query)}


# -- columns -----------------------------------------------------------------------------------------


def test_one_file_per_column(con: Con, copy: Copy) -> None:
    con.execute("CREATE TABLE paper (id BIGINT PRIMARY KEY, x FLOAT[2], year SMALLINT DEFAULT 7)")
    np.save("ids.npy", np.array([3, 1, 2]))
    np.save("x.npy", np.array([[1, 2], [3, 4], [5, 6]], "f4"))
    np.save("year.npy", np.array([2001, 2002, 2003]))
    assert copy("COPY paper FROM ('ids.npy', 'x.npy', 'year.npy') BY COLUMN") == 3
    assert rows(con, "FROM paper") == [(3, (1, 2), 2001), (1, (3, 4), 2002), (2, (5, 6), 2003)]
    con.execute("DELETE FROM paper")
    assert copy("COPY paper (X, id) FROM ('x.npy', 'ids.npy') (FORMAT npy)") == 3
    assert rows(con, "FROM paper") == [(3, (1, 2), 7), (1, (3, 4), 7), (2, (5, 6), 7)]


@pytest.mark.parametrize("columns", ["", "(src, dst)"])
@pytest.mark.parametrize("dtype", ["<i8", ">i4"])
def test_an_edge_index_either_way_round(con: Con, copy: Copy, columns: str, dtype: str) -> None:
    con.execute("CREATE TABLE cites (src INTEGER, dst BIGINT, w DOUBLE)")
    edges = np.array([[0, 1, 2], [5, 6, 7]], dtype)
    for array in (edges, edges.T, np.asfortranarray(edges), np.ascontiguousarray(edges.T)):
        np.save("edge_index.npy", array)
        assert copy(f"COPY cites {columns} FROM 'edge_index.npy'") == 3
        assert rows(con, "FROM cites") == [(0, 5, None), (1, 6, None), (2, 7, None)]
        con.execute("DELETE FROM cites")


def test_an_edge_index_of_two_edges_is_read_as_pyg_writes_it(con: Con, copy: Copy) -> None:
    con.execute("CREATE TABLE cites (src INTEGER, dst INTEGER)")
    np.save("e.npy", np.array([[0, 1], [5, 6]]))
    copy("COPY cites FROM 'e.npy'")
    assert rows(con, "FROM cites") == [(0, 5), (1, 6)]


def test_an_edge_index_goes_into_the_columns_named(con: Con, copy: Copy) -> None:
    con.execute("CREATE TABLE cites (w DOUBLE, src INTEGER, dst INTEGER)")
    np.save("e.npy", np.array([[0, 1, 2], [5, 6, 7]]))
    copy("COPY cites (dst, src) FROM 'e.npy'")
    assert rows(con, "SELECT src, dst FROM cites") == [(5, 0), (6, 1), (7, 2)]


def test_names_are_quoted_and_qualified(con: Con, copy: Copy) -> None:
    con.execute('CREATE SCHEMA "my schema"')
    con.execute('CREATE TABLE "my schema"."a""b" ("drop table" INTEGER, g INTEGER GENERATED ALWAYS AS ("drop table" + 1))')
    np.save("it's.npy", np.arange(3))
    assert copy("""COPY "my schema"."a""b" FROM 'it''s.npy'""") == 3
    assert copy("""COPY test."my schema"."a""b" ("drop table") FROM 'it''s.npy'""") == 3
    assert rows(con, 'SELECT sum(g) FROM "my schema"."a""b"') == [(12,)]


def test_attached_and_temporary_tables(con: Con, copy: Copy) -> None:
    np.save("a.npy", np.zeros((3, 2), "f4"))
    con.execute("ATTACH 'other.db' AS other")
    con.execute("CREATE TABLE other.t (a FLOAT[2])")
    con.execute("CREATE TEMP TABLE tt (a FLOAT[2])")
    assert copy("COPY other.t FROM 'a.npy'") == 3
    assert copy("COPY tt FROM 'a.npy'") == 3
    assert rows(con, "SELECT (SELECT count(*) FROM other.t), (SELECT count(*) FROM tt)") == [(3, 3)]


@pytest.mark.parametrize(
    ("query", "error", "message"),
    [
        ("COPY papr FROM 'a.npy'", UnknownNameError, r"no table 'papr'; did you mean 'paper'\?.*CREATE TABLE first"),
        ("COPY no.paper FROM 'a.npy'", UnknownNameError, "no table 'no.paper'"),
        ("COPY paper (idd) FROM 'a.npy'", UnknownNameError, r"'paper' has no column 'idd'; did you mean 'id'\?"),
        ("COPY paper (id, ID) FROM ('a.npy', 'a.npy')", CopyError, "'id' is named twice"),
        ("COPY paper (g) FROM 'a.npy'", UnknownNameError, "no column 'g'"),
        ("COPY papers FROM 'a.npy'", CopyError, "'papers' is a view"),
        ("COPY paper FROM ('a.npy', 'a.npy')", CopyError, r"2 file\(s\) for 3 column\(s\) \(id, x, name\)"),
        (
            "COPY paper FROM 'a.npy'",
            CopyError,
            r"edge index of shape \[2, E\] or \[E, 2\].* has shape \(4,\).*COPY paper \(id\)",
        ),
        ("COPY paper FROM 'x.npy'", CopyError, "two columns without arrays"),
        ("COPY paper (id, x) FROM ('a.npy', 'short.npy')", CopyError, "different numbers of rows .'a.npy': 4, 'short.npy': 3."),
        ("COPY paper (x) FROM 'x.npy'", CopyError, "column 'id' is NOT NULL, has no default and no file"),
        ("COPY paper (id) FROM 'twice.npy'", CopyError, r"uplicate key .*9.*PRIMARY KEY ?\(id\).*Remove one of the rows"),
        (
            "COPY cites FROM 'edges.npy'",
            CopyError,
            "(?i)cites from 'edges.npy'.*foreign key.*77.*No row was kept. Load the table",
        ),
        ("COPY day FROM 'nat.npy'", CopyError, "NOT NULL constraint failed: .*day.*d.*NaT becomes NULL"),
        ("COPY positive FROM 'neg.npy'", CopyError, "(?i)check constraint.*Correct the value"),
    ],
)
def test_what_does_not_fit_the_table(con: Con, copy: Copy, query: str, error: type[Exception], message: str) -> None:
    con.execute("CREATE TABLE paper (id BIGINT PRIMARY KEY, x FLOAT[2], name VARCHAR, g INTEGER GENERATED ALWAYS AS (id + 1))")
    con.execute("CREATE VIEW papers AS FROM paper")
    con.execute("CREATE TABLE cites (src BIGINT REFERENCES paper (id), dst BIGINT)")
    con.execute("CREATE TABLE day (d DATE NOT NULL)")
    con.execute("CREATE TABLE positive (i INTEGER CHECK (i > 0))")
    con.execute("INSERT INTO paper (id) VALUES (1000)")
    np.save("a.npy", np.arange(4))
    np.save("x.npy", np.zeros((4, 2), "f4"))
    np.save("short.npy", np.zeros((3, 2), "f4"))
    np.save("twice.npy", np.array([8, 9, 9]))
    np.save("edges.npy", np.array([[1000, 77], [5, 5]]))
    np.save("nat.npy", np.array(["2020-01-01", "NaT"], "M8[D]"))
    np.save("neg.npy", np.array([1, -1]))
    with pytest.raises(error, match=message):
        copy(query)
    counts = {table: rows(con, f"SELECT count(*) FROM {table}")[0][0] for table in ("paper", "cites", "day", "positive")}
    assert counts == {"paper": 1, "cites": 0, "day": 0, "positive": 0}


# -- order, memory, storage --------------------------------------------------------------------------


@pytest.mark.parametrize("keep_order", ["true", "false"])
def test_rows_keep_the_order_of_the_file(con: Con, copy: Copy, keep_order: str) -> None:
    con.execute("SET threads = 4")
    con.execute(f"SET preserve_insertion_order = {keep_order}")
    con.execute("CREATE TABLE t (a INTEGER, x FLOAT[4])")
    count = 700_001
    np.save("a.npy", np.arange(count, dtype="i4"))
    np.save("x.npy", np.arange(4 * count, dtype="f4").reshape(count, 4))
    assert copy("COPY t FROM ('a.npy', 'x.npy')") == count
    assert rows(con, "SELECT count(*) FROM t WHERE a = rowid AND x[1] = (4 * rowid)::FLOAT") == [(count,)]
    assert setting(con, "preserve_insertion_order") == (keep_order == "true")


@pytest.mark.parametrize(("dtype", "layout"), [("<f4", "C"), (">f4", "C"), ("<f4", "F")])
def test_a_file_larger_than_the_memory_limit(con: Con, copy: Copy, dtype: str, layout: str) -> None:
    shape = (1_000_000, 48) if layout == "C" else (48, 1_000_000)
    mapped = np.lib.format.open_memmap("x.npy", mode="w+", dtype=dtype, shape=shape, fortran_order=False)
    mapped[-1, -1] = 5  # the rest is a hole in the file
    mapped.flush()
    if layout == "F":  # the same bytes, told as [1,000,000, 48] in Fortran order
        content = Path("x.npy").read_bytes()[:128].replace(b"False", b"True ").replace(b"(48, 1000000)", b"(1000000, 48)")
        with Path("x.npy").open("r+b") as file:
            file.write(content)
    con.execute("SET memory_limit = '60MB'")
    con.execute(f"SET threads = {THREADS}")
    con.execute("CREATE TABLE t (x FLOAT[48])")
    tracemalloc.start()  # sees numpy's memory, so every copy of a chunk
    try:
        assert copy("COPY t FROM 'x.npy'") == 1_000_000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # A row group of the file is 23.6 MB. Copies of it are alive in every thread, and one more is being made: this
    # grows with the threads, not with the file of 192 MB. (One more for what else numpy does.)
    shared = dtype == "<f4" and layout == "C"
    assert peak < (4 << 20 if shared else (THREADS + 2) * 122_880 * 48 * 4)
    assert rows(con, "SELECT count(*), sum(list_sum(x::FLOAT[])) FROM t WHERE x[48] > 0") == [(1, 5)]


@pytest.mark.parametrize("count", [100, 200_000])
def test_arrays_are_stored_uncompressed(con: Con, copy: Copy, count: int) -> None:
    con.execute("CREATE TABLE t (id BIGINT, x FLOAT[8])")
    np.save("ids.npy", np.arange(count))
    np.save("x.npy", np.random.default_rng(0).random((count, 8), dtype="f4"))
    copy("COPY t FROM ('ids.npy', 'x.npy')")
    assert compressions(con, "t") == {"Uncompressed"}
    con.execute("CHECKPOINT")
    assert compressions(con, "t") == {"Uncompressed"}
    con.close()
    with duckdb.connect("test.db") as again:
        assert compressions(again, "t") == {"Uncompressed"}
        assert rows(again, "SELECT count(*) FROM t") == [(count,)]


def test_arrays_are_stored_uncompressed_beside_other_transactions(con: Con, copy: Copy) -> None:
    con.execute("CREATE TABLE t (x FLOAT[8])")
    con.execute("CREATE TABLE other (a INTEGER)")
    np.save("x.npy", np.random.default_rng(0).random((100, 8), dtype="f4"))
    with con.cursor() as writer:
        writer.execute("BEGIN")
        writer.execute("INSERT INTO other VALUES (1)").fetchall()
        copy("COPY t FROM 'x.npy'")
        writer.execute("COMMIT")
    con.execute("CHECKPOINT")
    assert compressions(con, "t") == {"Uncompressed"}


def test_tables_without_arrays_are_compressed_as_ever(con: Con, copy: Copy) -> None:
    con.execute("CREATE TABLE t (a BIGINT)")
    np.save("a.npy", np.arange(200_000))
    copy("COPY t FROM 'a.npy'")
    con.execute("CHECKPOINT")
    assert "Uncompressed" not in compressions(con, "t")


@pytest.mark.parametrize("prior", ["auto", "bitpacking"])
def test_settings_are_restored(con: Con, copy: Copy, prior: str) -> None:
    con.execute(f"SET force_compression = '{prior}'")
    con.execute("CREATE TABLE t (a BIGINT PRIMARY KEY, x FLOAT[2])")
    np.save("a.npy", np.array([1, 2, 3]))
    np.save("x.npy", np.zeros((3, 2), "f4"))
    copy("COPY t FROM ('a.npy', 'x.npy')")
    assert setting(con, "force_compression") == prior
    with pytest.raises(CopyError, match="uplicate"):
        copy("COPY t FROM ('a.npy', 'x.npy')")
    assert setting(con, "force_compression") == prior
    con.execute("BEGIN")
    with pytest.raises(CopyError, match=r"uplicate.*The open transaction is aborted: ROLLBACK"):
        copy("COPY t FROM ('a.npy', 'x.npy')")
    con.execute("ROLLBACK")
    assert setting(con, "force_compression") == prior


def test_copies_at_once_from_several_threads(con: Con) -> None:
    con.execute("CREATE TABLE t (x FLOAT[8])")
    np.save("x.npy", np.random.default_rng(0).random((5000, 8), dtype="f4"))
    statement = parse_copy("COPY t FROM 'x.npy'")
    assert statement is not None
    done: list[int] = []

    def work(cursor: Con) -> None:
        done.append(run_copy(cursor, statement, progress=False))

    threads = [threading.Thread(target=work, args=(con.cursor(),)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done == [5000] * 6
    assert rows(con, "SELECT count(*) FROM t") == [(30_000,)]
    assert setting(con, "force_compression") == "auto"
    assert compressions(con, "t") == {"Uncompressed"}


# -- transactions ------------------------------------------------------------------------------------


def test_an_open_transaction_is_taken_part_in(con: Con, copy: Copy) -> None:
    con.execute("CREATE TABLE t (x FLOAT[2])")
    np.save("x.npy", np.zeros((3, 2), "f4"))
    con.execute("BEGIN")
    assert copy("COPY t FROM 'x.npy'") == 3
    assert copy("COPY t FROM 'x.npy'") == 3
    assert rows(con, "SELECT count(*) FROM t") == [(6,)]
    con.execute("ROLLBACK")
    assert rows(con, "SELECT count(*) FROM t") == [(0,)]
    con.execute("BEGIN")
    copy("COPY t FROM 'x.npy'")
    con.execute("COMMIT")
    assert rows(con, "SELECT count(*) FROM t") == [(3,)]


def test_a_bad_file_does_not_abort_the_open_transaction(con: Con, copy: Copy) -> None:
    con.execute("CREATE TABLE t (a TINYINT)")
    np.save("a.npy", np.array([1, 1000]))
    con.execute("BEGIN")
    con.execute("INSERT INTO t VALUES (5)").fetchall()
    with pytest.raises(CopyError, match="row 1 holds 1000"):
        copy("COPY t FROM 'a.npy'")
    con.execute("COMMIT")
    assert rows(con, "FROM t") == [(5,)]


def test_all_rows_or_none(con: Con, copy: Copy) -> None:
    count = 400_000
    con.execute("CREATE TABLE t (a BIGINT PRIMARY KEY, x FLOAT[8])")
    ids = np.arange(count)
    ids[-1] = 0
    np.save("a.npy", ids)
    np.save("x.npy", np.zeros((count, 8), "f4"))
    con.execute("INSERT INTO t (a) VALUES (-1)")
    with pytest.raises(CopyError, match=r"uplicate key .*0.*No row was kept"):
        copy("COPY t FROM ('a.npy', 'x.npy')")
    assert rows(con, "SELECT a FROM t") == [(-1,)]
    con.close()
    with duckdb.connect("test.db") as again:
        assert rows(again, "SELECT a FROM t") == [(-1,)]


FULL_DISK = """
import resource, sys
import duckdb
from dbgnn.errors import ResourceError
from dbgnn.ingest import parse_copy, run_copy

con = duckdb.connect("full.db")
con.execute("CREATE TABLE t (x FLOAT[64])")
con.execute("CHECKPOINT")
resource.setrlimit(resource.RLIMIT_FSIZE, (5 << 20, resource.RLIM_INFINITY))
try:
    run_copy(con, parse_copy("COPY t FROM 'x.npy'"), progress=False)
except ResourceError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
"""


@pytest.mark.parametrize("count", [60_000, 300_000])
def test_a_full_disk(folder: Path, count: int) -> None:
    np.save("x.npy", np.random.default_rng(0).random((count, 64), dtype="f4"))
    root = str(Path(dbgnn.__file__).parents[1])
    result = subprocess.run(
        [sys.executable, "-c", FULL_DISK], capture_output=True, text=True, check=False, env={"PYTHONPATH": root}, timeout=60
    )
    assert "COPY t from 'x.npy': the disk is full; no row was kept" in result.stdout, result.stderr
    with duckdb.connect("full.db") as con:
        assert rows(con, "SELECT count(*) FROM t") == [(0,)]


# -- progress ----------------------------------------------------------------------------------------


@pytest.fixture
def one_column(con: Con) -> None:
    con.execute("CREATE TABLE t (a BIGINT)")
    np.save("a.npy", np.arange(300_000))


def test_a_bar_on_stderr_for_long_work(
    con: Con, one_column: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(load, "PROGRESS_DELAY", 0.0)
    for query, progress, shown in (
        ("COPY t FROM 'a.npy'", True, True),
        ("COPY t FROM 'a.npy'", False, False),
        ("COPY t FROM 'a.npy' (PROGRESS false)", True, False),
    ):
        statement = parse_copy(query)
        assert statement is not None
        run_copy(con, statement, progress=progress)
        out, err = capsys.readouterr()
        assert out == ""
        assert ("COPY t" in err and "300k/300k" in err) == shown


def test_no_bar_for_short_work(con: Con, one_column: None, capsys: pytest.CaptureFixture[str]) -> None:
    statement = parse_copy("COPY t FROM 'a.npy'")
    assert statement is not None
    run_copy(con, statement, progress=True)
    assert capsys.readouterr() == ("", "")


# -- the public face ---------------------------------------------------------------------------------


def test_through_the_database(folder: Path) -> None:
    np.save("a.npy", np.arange(5))
    with dbgnn.connect("public.db") as db:
        db.execute("CREATE TABLE t (a BIGINT)")
        assert db.execute("COPY t FROM 'a.npy'").fetchall() == [(5,)]
        db.execute("COPY t TO 'out.csv'").fetchall()
        assert db.execute("COPY t FROM 'out.csv'").fetchall() == [(5,)]
    with dbgnn.connect("public.db", read_only=True) as db, pytest.raises(dbgnn.ReadOnlyError, match="read-only"):
        db.execute("COPY t FROM 'a.npy'")
