"""The first line of a CSV file: a header that fits, a row that is kept, or an error before COPY drops it."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import duckdb
import pytest

import dbgnn
from dbgnn.ingest import run_duckdb

Con = duckdb.DuckDBPyConnection


def copy(con: Con, query: str) -> list[tuple[object, ...]]:
    """Run a COPY into table t and return the rows of it."""
    run_duckdb(con, query, None, progress=False)
    return con.execute("FROM t").fetchall()


@pytest.mark.parametrize(
    ("columns", "content", "query"),
    [
        ("src BIGINT, dst BIGINT", "x1,2\n3,4\n5,6\n", "COPY t FROM 'a.csv'"),
        ("src BIGINT, dst BIGINT", "+1,2\n3,4\n5,6\n", "COPY t FROM 'a.csv'"),
        ("src BIGINT, dst BIGINT", "dst,src\n3,4\n5,6\n", "COPY t FROM 'a.csv'"),
        ("src BIGINT, dst BIGINT", "src,dst\n3,4\n5,6\n", "COPY t (dst, src) FROM 'a.csv'"),
        ("src BIGINT, dst BIGINT", "dst;src\n3;4\n5;6\n", "COPY t FROM 'a.csv' (DELIM ';')"),
        ("src BIGINT, dst BIGINT", "dst,src\n3,4\n5,6\n", "COPY t FROM 'a.csv' (FORMAT csv)"),
        ("a VARCHAR, b DATE", "x,31/12/2020\ny,13/01/2020\n", "COPY t FROM 'a.csv'"),
        ("a VARCHAR, b TIMESTAMP", "x,2020-01-01T00:00:00Z\ny,2020-01-01\n", "COPY t FROM 'a.csv'"),
        ("a VARCHAR, b BOOLEAN", "x,1\ny,true\n", "COPY t FROM 'a.csv'"),
        ("a VARCHAR", "7\n8\n", "COPY t FROM 'a.csv'"),
    ],
)
def test_a_first_line_that_would_be_lost_is_refused(con: Con, folder: Path, columns: str, content: str, query: str) -> None:
    (folder / "a.csv").write_text(content)
    con.execute(f"CREATE TABLE t ({columns})")
    with pytest.raises(dbgnn.CopyError, match=r"COPY t from 'a\.csv': the first line is .*\(HEADER true\).*\(HEADER false\)"):
        copy(con, query)
    assert con.execute("FROM t").fetchall() == []
    con.execute(query.replace(" (DELIM", " (HEADER, DELIM").replace(" (FORMAT", " (HEADER, FORMAT")).fetchall()
    assert len(con.execute("FROM t").fetchall()) < len(content.splitlines())  # DuckDB does lose it


def test_the_error_shows_the_line_and_the_columns(con: Con, folder: Path) -> None:
    (folder / "a.csv").write_text("dst,src\n3,4\n")
    con.execute("CREATE TABLE t (src BIGINT, dst BIGINT)")
    with pytest.raises(dbgnn.CopyError, match=r"the first line is 'dst,src', .* 'src,dst'"):
        copy(con, "COPY t FROM 'a.csv'")
    assert copy(con, "COPY t FROM 'a.csv' (HEADER true)") == [(3, 4)]


@pytest.mark.parametrize(
    ("columns", "content", "query", "rows"),
    [
        ("src BIGINT, dst BIGINT", "src,dst\n3,4\n", "COPY t FROM 'a.csv'", [(3, 4)]),
        ("src BIGINT, dst BIGINT", "SRC, Dst\n3,4\n", "COPY t FROM 'a.csv'", [(3, 4)]),
        ("src BIGINT, dst BIGINT", "dst,src\n3,4\n", "COPY t (dst, src) FROM 'a.csv'", [(4, 3)]),
        ("src BIGINT, dst BIGINT", "3,4\n5,6\n", "COPY t FROM 'a.csv'", [(3, 4), (5, 6)]),
        ("src BIGINT, dst BIGINT", ",4\n5,6\n", "COPY t FROM 'a.csv'", [(None, 4), (5, 6)]),
        ("src BIGINT, dst BIGINT", "3\t4\n5\t6\n", "COPY t FROM 'a.csv'", [(3, 4), (5, 6)]),
        ("a VARCHAR, b VARCHAR", "a,b\nx,y\n", "COPY t FROM 'a.csv'", [("x", "y")]),
        ("a VARCHAR, b VARCHAR", ",u\nx,y\n", "COPY t FROM 'a.csv'", [(None, "u"), ("x", "y")]),
        ("a VARCHAR, b VARCHAR", "u,v\nx,y\n", "COPY t FROM 'a.csv' (HEADER false)", [("u", "v"), ("x", "y")]),
        ("a VARCHAR, x FLOAT[2]", '"u","[1, 2]"\n"x","[3, 4]"\n', "COPY t FROM 'a.csv'", [("u", (1, 2)), ("x", (3, 4))]),
        ("a BIGINT", "", "COPY t FROM 'a.csv'", []),
    ],
)
def test_other_files_load_as_before(
    con: Con, folder: Path, columns: str, content: str, query: str, rows: list[tuple[object, ...]]
) -> None:
    (folder / "a.csv").write_text(content)
    con.execute(f"CREATE TABLE t ({columns})")
    assert copy(con, query) == rows


def test_a_table_of_the_open_transaction_and_other_formats(con: Con, folder: Path) -> None:
    con.execute("COPY (SELECT 1 AS other) TO 'a.parquet'").fetchall()
    con.execute("BEGIN")
    con.execute("CREATE TABLE t (a BIGINT)")
    assert copy(con, "COPY t FROM 'a.parquet'") == [(1,)]
    (folder / "a.csv").write_text("other\n2\n")
    with pytest.raises(dbgnn.CopyError, match="'other'"):
        copy(con, "COPY t FROM 'a.csv'")
    con.execute("COMMIT")
    assert con.execute("FROM t").fetchall() == [(1,)]


@pytest.mark.parametrize("options", ["", " (FORMAT parquet)"])
def test_parquet_in_another_order_is_refused(con: Con, folder: Path, options: str) -> None:
    con.execute("COPY (SELECT 1 AS dst, 2 AS SRC) TO 'a.parquet'").fetchall()
    con.execute("CREATE TABLE t (src BIGINT, dst BIGINT)")
    with pytest.raises(dbgnn.CopyError, match=r"dst, SRC, in another order than the table's src, dst.*COPY t \(dst, \"SRC\"\)"):
        copy(con, f"COPY t FROM 'a.parquet'{options}")
    assert copy(con, f"COPY t (dst, src) FROM 'a.parquet'{options}") == [(2, 1)]


def test_a_pipe_is_read_once(con: Con, folder: Path) -> None:
    os.mkfifo("pipe.csv")
    con.execute("CREATE TABLE t (a BIGINT, b BIGINT)")
    writer = threading.Thread(target=lambda: (folder / "pipe.csv").write_text("1,2\n3,4\n"))
    writer.start()
    assert copy(con, "COPY t FROM 'pipe.csv'") == [(1, 2), (3, 4)]
    writer.join()


@pytest.mark.parametrize("file", ["'a.csv'", '"a.csv"', '("a.csv")', "a.csv", "'*.csv'", '"?.csv"'])
def test_however_the_file_is_named(con: Con, folder: Path, file: str) -> None:
    (folder / "0.csv").write_text("src,dst\n1,2\n")
    (folder / "a.csv").write_text("dst,src\n3,4\n")
    con.execute("CREATE TABLE t (src BIGINT, dst BIGINT)")
    with pytest.raises(dbgnn.CopyError, match=r"COPY t from 'a\.csv': the first line is 'dst,src', which is neither"):
        copy(con, f"COPY t FROM {file}")
    assert con.execute("FROM t").fetchall() == []


def test_a_line_without_end_is_refused_at_once_and_not_shown_whole(con: Con, folder: Path) -> None:
    con.execute("CREATE TABLE t (a VARCHAR, b VARCHAR)")
    (folder / "a.csv").write_bytes(b"x" * 3_000_000)
    with pytest.raises(dbgnn.CopyError, match=r"first line has more than 2,000,000 bytes.*\(FORMAT parquet\)"):
        copy(con, "COPY t FROM 'a.csv'")
    (folder / "a.csv").write_bytes(b"x" * 500_000 + b"," + b"y" * 500_000 + b"\n1,2\n")
    with pytest.raises(dbgnn.CopyError, match="the first line is 'xxx") as error:
        copy(con, "COPY t FROM 'a.csv'")
    assert len(str(error.value)) < 1000


def test_a_pipe_that_a_pattern_names_is_not_waited_for(con: Con, folder: Path) -> None:
    con.execute("CREATE TABLE t (src BIGINT, dst BIGINT)")
    (folder / "b.csv").write_text("dst,src\n3,4\n")
    os.mkfifo(folder / "a.csv")
    with pytest.raises(dbgnn.CopyError, match=r"from '.*b\.csv': the first line is 'dst,src'"):
        copy(con, "COPY t FROM '*.csv'")
