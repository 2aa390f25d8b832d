"""DuckDB's own COPY, when it fails: file, line and table in a CopyError."""

from __future__ import annotations

import re
from pathlib import Path

import duckdb
import pytest

import dbgnn
from dbgnn.errors import CopyError
from dbgnn.ingest.duckdb_errors import copy_error

Con = duckdb.DuckDBPyConnection


def fail(con: Con, query: str) -> CopyError | None:
    with pytest.raises(duckdb.Error) as caught:
        con.execute(query).fetchall()
    return copy_error(caught.value, query, con)


@pytest.fixture
def table(con: Con) -> None:
    con.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b VARCHAR NOT NULL)")
    con.execute("INSERT INTO t VALUES (100, 'kept')")


@pytest.mark.parametrize("begin", [False, True])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n1,x\nzz,y\n", 'Line: 3; Original Line: zz,y; .*column "a". Could not convert string "zz"'),
        (
            "a,b\n1,x\n2,y,more\n3,z\n",
            r"line 3 has 3 columns, not 2 \(a, b\): 2,y,more\. No row was kept\. Correct the row, or say \(IGNORE",
        ),
        (
            "a,b\n" + "".join(f"{i},x\n" for i in range(1000, 51_000)) + "51000\n",
            r"line 50002 has 1 column, not 2 \(a, b\): 51000\.",
        ),
    ],
)
def test_a_bad_csv_row(con: Con, table: None, folder: Path, content: str, message: str, begin: bool) -> None:
    (folder / "bad.csv").write_text(content)
    if begin:
        con.execute("BEGIN")
    error = fail(con, "COPY t FROM 'bad.csv'")
    assert error is not None
    assert error.args[0].startswith("COPY t from 'bad.csv': ")
    error_text = str(error)
    assert re.search(message, error_text), error_text
    assert "\n" not in error_text
    assert "No row was kept. Correct the row" in error_text
    if begin:
        con.execute("ROLLBACK")
    assert con.execute("FROM t").fetchall() == [(100, "kept")]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("COPY t FROM 'nope.csv'", "nope.csv"),
        ("COPY t FROM 'twice.csv' (HEADER)", "uplicate key"),
        ("COPY t FROM 'null.csv'", "NOT NULL constraint failed"),
        ("COPY t FROM 'not.parquet' (FORMAT parquet)", "not.parquet"),
    ],
)
def test_other_errors_of_a_copy(con: Con, table: None, folder: Path, query: str, message: str) -> None:
    (folder / "twice.csv").write_text("a,b\n1,x\n1,y\n")
    (folder / "null.csv").write_text("a,b\n1,x\n2,\n")
    (folder / "not.parquet").write_text("a,b\n1,x\n2,\n")
    error = fail(con, query)
    assert error is not None
    assert message in str(error)
    assert "COPY t from" in str(error)
    assert con.execute("FROM t").fetchall() == [(100, "kept")]


WIDE, NARROW = "a,b,c\n1,x,3\n2,y,4\n", "a\n1\n2\n"


@pytest.mark.parametrize("file", ["'f.csv'", '"f.csv"', '("f.csv")', "f.csv"])
@pytest.mark.parametrize(
    ("content", "options", "remedy", "count"),
    [
        ("a,b\n1,x\n2,y,z\n", "", "COPY t FROM {file} (IGNORE_ERRORS true)", 1),
        ("a,b\n1,x\n2,y,z\n", "(HEADER, DELIM ',')", "COPY t FROM {file} (HEADER, DELIM ',', IGNORE_ERRORS true)", 1),
        ("a,b\n1,x\n2,y,z\n", "(HEADER, NULL_PADDING false)", "COPY t FROM {file} (HEADER, IGNORE_ERRORS true)", 1),
        ("1\tx\n2\ty\tz\n", "", "COPY t FROM {file} (IGNORE_ERRORS true)", 1),
        ("1;$x$\n2;$y$;z\n", "(QUOTE '$')", "COPY t FROM {file} (QUOTE '$', IGNORE_ERRORS true)", 1),
        (WIDE, "", "INSERT INTO t SELECT a, b FROM {file}", 2),
        (WIDE, "(HEADER true)", "INSERT INTO t SELECT a, b FROM {file}", 2),
        (NARROW, "", "ALTER TABLE t ALTER b SET DEFAULT ''; COPY t (a) FROM {file}", 2),
    ],
)
def test_a_wrong_number_of_columns_is_one_line_and_its_remedy_works(
    folder: Path, file: str, content: str, options: str, remedy: str, count: int
) -> None:
    (folder / "f.csv").write_text(content)
    with dbgnn.connect() as db:
        db.execute("CREATE TABLE t (a INTEGER, b VARCHAR NOT NULL)")
        with pytest.raises(
            CopyError, match=r"^COPY t from 'f.csv': line \d has (1 column|3 columns), not 2 \(a, b\): "
        ) as caught:
            db.execute(f"COPY t FROM {file} {options}")
        assert "\n" not in str(caught.value)
        db.execute(remedy.format(file=file if remedy.startswith("COPY") else "'f.csv'"))
        assert db.sql("SELECT count(*) FROM t").fetchall() == [(count,)]


@pytest.mark.parametrize(
    "query",
    [
        "SELECT 'a'::INTEGER",
        "INSERT INTO t VALUES (100, 'x')",
        "COPY (SELECT 'a'::INTEGER) TO 'x.csv'",
        "COPY nope FROM 'x.csv'",
    ],
)
def test_other_statements_are_left_alone(con: Con, table: None, query: str) -> None:
    assert fail(con, query) is None
