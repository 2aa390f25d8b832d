from __future__ import annotations

import logging

import pytest

from dbgnn.errors import CopyError
from dbgnn.ingest import CopyStatement, parse_copy


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("COPY paper FROM ('ids.npy', 'x.npy') BY COLUMN", CopyStatement(("paper",), None, ("ids.npy", "x.npy"))),
        (
            "COPY paper (id, x) FROM ('ids.npy', 'x.npy') (FORMAT npy)",
            CopyStatement(("paper",), ("id", "x"), ("ids.npy", "x.npy")),
        ),
        ("COPY cites FROM 'edge_index.npy'", CopyStatement(("cites",), None, ("edge_index.npy",))),
        ("copy cites from 'EDGES.NPY';", CopyStatement(("cites",), None, ("EDGES.NPY",))),
        # Names are files, as in DuckDB, whose COPY reads no tables; Kùzu writes files in double quotes.
        ('COPY paper FROM ("ids.npy", "x.npy") BY COLUMN', CopyStatement(("paper",), None, ("ids.npy", "x.npy"))),
        ('COPY paper FROM "x.npy"', CopyStatement(("paper",), None, ("x.npy",))),
        (
            """COPY paper FROM ("a ""b"".npy", 'x.npy', y.npy)""",
            CopyStatement(("paper",), None, ('a "b".npy', "x.npy", "y.npy")),
        ),
        ("COPY paper FROM x.npy", CopyStatement(("paper",), None, ("x.npy",))),
        ('COPY paper FROM "a.bin" (FORMAT npy)', CopyStatement(("paper",), None, ("a.bin",))),
        ("COPY cites FROM ['a.npy', 'b.npy']", CopyStatement(("cites",), None, ("a.npy", "b.npy"))),
        ("COPY s.paper FROM 'x.npy'", CopyStatement(("s", "paper"), None, ("x.npy",))),
        ("COPY c.s.paper FROM 'x.npy'", CopyStatement(("c", "s", "paper"), None, ("x.npy",))),
        (
            """-- load
            COPY "my ""paper" ("a b", year) FROM /* here */ ('it''s.npy', 'x.npy')""",
            CopyStatement(('my "paper',), ("a b", "year"), ("it's.npy", "x.npy")),
        ),
        ("COPY p FROM 'a.bin' (FORMAT npy)", CopyStatement(("p",), None, ("a.bin",))),
        ("COPY p FROM 'a.bin' WITH (FORMAT 'npy')", CopyStatement(("p",), None, ("a.bin",))),
        ("COPY p FROM ('a.npy') BY COLUMN (PROGRESS false)", CopyStatement(("p",), None, ("a.npy",), progress=False)),
        ("COPY p FROM 'a.npy' (PROGRESS off, FORMAT npy)", CopyStatement(("p",), None, ("a.npy",), progress=False)),
        ("COPY p FROM 'a.npy' (PROGRESS 0) BY COLUMN", CopyStatement(("p",), None, ("a.npy",), progress=False)),
        ("COPY p FROM 'a.npy' (PROGRESS)", CopyStatement(("p",), None, ("a.npy",), progress=True)),
        ("COPY index FROM 'a.npy'", CopyStatement(("index",), None, ("a.npy",))),
    ],
)
def test_our_forms(query: str, expected: CopyStatement) -> None:
    assert parse_copy(query) == expected


@pytest.mark.parametrize(
    "query",
    [
        "SELECT 1",
        "",
        "  -- nothing",
        "/* copy */ SELECT 'x.npy'",
        "INSERT INTO t VALUES ('COPY t FROM ''x.npy''')",
        "COPY t FROM 'a.csv'",
        'COPY t FROM "a.csv"',
        "COPY t FROM a.csv",
        "COPY t FROM t",
        'COPY "x.npy" FROM "a.csv"',
        'COPY t ("x.npy") FROM "a.csv"',
        "COPY t FROM 'a.csv' (HEADER, DELIM ';')",
        "COPY t FROM 'a.csv' (FORMAT csv, columns = {'a': 'INTEGER'})",
        "COPY t FROM ('a.csv', 'b.csv')",
        "COPY t FROM 'a.parquet' (FORMAT parquet)",
        "COPY t FROM 'a.npy' (FORMAT csv)",
        "COPY npy FROM 'a.csv' (nullstr 'x', delim '|')",
        "COPY t TO 'x.npy'",
        "COPY t (a) TO 'x.npy'",
        "COPY (SELECT 'x.npy') TO 'a.csv'",
        "COPY (SELECT a FROM t) TO 'x.npy' (FORMAT csv)",
        "COPY FROM DATABASE a TO b",
        "COPY t FROM 'unclosed",
        "COPY t FROM ?",
        "COPYX t FROM 'x.npy'",
    ],
)
def test_everything_else_is_left_to_duckdb(query: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        assert parse_copy(query) is None
    assert caplog.records == []


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("COPY t FROM 'a.npy' (PROGRES off)", r"no option 'PROGRES'; did you mean 'PROGRESS'\?"),
        ("COPY t FROM 'a.npy' (HEADER)", "no option 'HEADER'"),
        ("COPY t FROM 'a.npy' (PROGRESS off, PROGRESS on)", "PROGRESS is given twice"),
        ("COPY t FROM 'a.npy' (PROGRESS maybe)", "PROGRESS is true or false, not 'maybe'"),
        ("COPY t FROM ('a.npy', 'b.csv')", "'b.csv' is not a .npy file"),
        ("COPY t FROM 'b.csv' BY COLUMN", "'b.csv' is not a .npy file"),
        ("COPY t FROM 'b.csv' BY COLUMN (FORMAT csv)", "BY COLUMN reads npy files, but FORMAT csv"),
        ("COPY t FROM 'a.npy' BY ROW", "COLUMN after BY, found 'ROW'"),
        ("COPY t FROM 'a.npy'; DROP TABLE t", "end of the statement .* found 'DROP'"),
        ("COPY t FROM ('a.npy'", "found the end"),
        ("COPY t FROM ('a.npy', x)", "'x' is not a .npy file"),
        ("COPY t FROM ('a.npy', 3)", "file name in quotes, found '3'"),
        ("COPY t (a FROM 'a.npy'", "after a column, found 'FROM'"),
        ("COPY 't' FROM 'a.npy'", "expected a name, found 't'"),
        ("COPY t FROM 'a.npy' WITH 3", r"'\(' after WITH"),
        ("COPY a.b.c.d FROM 'a.npy'", "at most three parts"),
    ],
)
def test_a_statement_of_ours_that_is_wrong_says_where(query: str, message: str, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(CopyError, match=message):
        parse_copy(query)
    assert caplog.records == []
