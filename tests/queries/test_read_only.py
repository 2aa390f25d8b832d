"""What passes as a query that only reads, and what does not; and what is said about its columns."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from dbgnn import SqlError
from dbgnn.queries.read_only import check_query, columns_named, described, names_bound

READS = [
    "FROM p",
    "TABLE p",
    "FROM p SELECT id",
    "VALUES (1), (2)",
    "(SELECT id FROM p)",
    "((FROM p))",
    "SELECT 1",
    "SELECT id FROM p -- a comment at the end",
    "/* first */ SELECT id /* second */ FROM p;",
    "SELECT id FROM p; ;",
    "SELECT ';' AS semicolon, '--' AS comment FROM p",
    "SELECT id FROM p WHERE id IN (SELECT s FROM c) ORDER BY id LIMIT 3 OFFSET 1",
    "SELECT id, count(*) FILTER (WHERE x > 1) AS n FROM p GROUP BY ALL HAVING n >= 0",
    "SELECT id FROM p QUALIFY row_number() OVER (PARTITION BY x ORDER BY id) = 1",
    "SELECT id FROM p UNION ALL SELECT s FROM c EXCEPT SELECT d FROM c",
    "WITH a AS (FROM p), b AS MATERIALIZED (SELECT * FROM a) FROM b",
    "WITH RECURSIVE r(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM r WHERE i < 3) FROM r",
    "SELECT p.id FROM p SEMI JOIN c ON c.s = p.id",
    "SELECT * EXCLUDE (x) REPLACE (id + 1 AS id) FROM p",
    "SELECT id, list_transform([1, 2], lambda v: v + 1)[1] AS l FROM p",
    "SELECT id FROM p USING SAMPLE 2 ROWS",
    "FROM p POSITIONAL JOIN c",
    "FROM v",
    "FROM reader(1)",
    "FROM range(3) AS t(i)",
    "FROM 'rows.csv'",
    "FROM read_csv('rows.csv', header = true)",
    "SELECT id FROM p WHERE id > $least",
    "SUMMARIZE p",
    "SHOW TABLES",
]

#: A query, and a word of the error.
ACTS = [
    ("", "not 0 statements"),
    (" -- nothing", "not 0 statements"),
    ("SELECT 1; SELECT 2", "not 2 statements"),
    ("SELECT 1; DROP TABLE p", "not 2 statements"),
    ("DROP TABLE p", "must be one SELECT"),
    ("INSERT INTO p VALUES (1, 2) RETURNING id", "must be one SELECT"),
    ("DELETE FROM p RETURNING id", "must be one SELECT"),
    ("UPDATE p SET x = 0 RETURNING id", "must be one SELECT"),
    ("CREATE TABLE q AS FROM p", "must be one SELECT"),
    ("COPY p TO 'out.csv'", "must be one SELECT"),
    ("COPY (FROM p) TO 'out.csv'", "must be one SELECT"),
    ("ATTACH 'other.duckdb'", "must be one SELECT"),
    ("SET threads = 1", "must be one SELECT"),
    ("PRAGMA database_list", "must be one SELECT"),
    ("CALL pragma_version()", "must be one SELECT"),
    ("EXPLAIN SELECT 1", "must be one SELECT"),
    ("PREPARE q AS SELECT 1", "must be one SELECT"),
    ("BEGIN", "must be one SELECT"),
    ("PIVOT p ON id USING sum(x)", "PIVOT"),
    ("WITH gone AS (DELETE FROM p RETURNING id) FROM gone", "DELETE"),
    ("WITH new AS (INSERT INTO p VALUES (9, 9) RETURNING id) FROM new", "INSERT"),
    ("WITH new AS (UPDATE p SET x = 0 RETURNING id) FROM new", "UPDATE"),
    ("WITH a AS (WITH b AS (DELETE FROM p RETURNING id) FROM b) FROM a", "DELETE"),
    ("FROM (WITH gone AS (DELETE FROM p RETURNING id) FROM gone)", "DELETE"),
    ("SELECT id FROM p WHERE id IN (WITH gone AS (DELETE FROM p RETURNING id) FROM gone)", "DELETE"),
    ("FROM query('DROP TABLE p')", "query()"),
    ("FROM \"query\"('SELECT 1')", "query()"),
    ("FROM system.main.query('SELECT 1')", "query()"),
    ("FROM query_table('p')", "query_table()"),
    ("SELECT nextval('s')", "nextval()"),
    ("SELECT NextVal('s')", "nextval()"),
    ("SELECT id FROM p WHERE setseed(0.5) IS NULL", "setseed()"),
    ("SELECT id FROM p ORDER BY nextval('s')", "nextval()"),
    ("FROM checkpoint()", "checkpoint()"),
    ("FROM force_checkpoint()", "force_checkpoint()"),
    ("FROM enable_logging()", "enable_logging()"),
    ("FROM json_execute_serialized_sql(json_serialize_sql('SELECT 1'))", "json_execute_serialized_sql()"),
    ("FROM arrow_scan(1, 2, 3)", "arrow_scan()"),
    ("SELECT 'never closed", "does not end"),
    ("SELECT 1 /* never closed", "does not end"),
    ('SELECT "never closed', "does not end"),
    ("SELECT", "cannot be read"),
    ("SELECT FROM WHERE", "cannot be read"),
    ("MATCH (p:paper) RETURN p", "cannot be read"),
    ("SELECT '\0'", "character"),
    ("SELECT '\ud800'", "character"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the files of this module are."""
    return tmp_path_factory.mktemp("query")


@pytest.fixture(scope="module")
def con(folder: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A file with two tables, a view, a macro and a sequence; and a CSV file beside it, in the working directory."""
    (folder / "rows.csv").write_text("id,x\n1,2\n")
    with pytest.MonkeyPatch.context() as patch, duckdb.connect(folder / "test.duckdb") as con:
        patch.chdir(folder)
        con.execute("""
            CREATE TABLE p (id BIGINT, x FLOAT); INSERT INTO p VALUES (1, 1), (2, 2), (3, 3);
            CREATE TABLE c (s BIGINT, d BIGINT); INSERT INTO c VALUES (1, 2), (2, 3);
            CREATE VIEW v AS SELECT id FROM p; CREATE SEQUENCE s;
            CREATE MACRO reader(n) AS TABLE FROM p LIMIT n;
            CHECKPOINT
        """)
        yield con


@pytest.mark.parametrize("text", READS)
def test_what_reads_passes_and_runs_as_it_is(con: duckdb.DuckDBPyConnection, text: str) -> None:
    checked = check_query(con, text, where="nodes 'p'")
    assert checked in text
    params = {"least": 1} if "$least" in text else None
    assert con.execute(f"SELECT count(*) FROM ({checked}\n)", params).fetchall() == [
        (len(con.execute(text, params).fetchall()),)
    ]


@pytest.mark.parametrize(("text", "says"), ACTS)
def test_what_acts_is_refused_and_not_done(con: duckdb.DuckDBPyConnection, folder: Path, text: str, says: str) -> None:
    with pytest.raises(SqlError) as caught:
        check_query(con, text, where="nodes 'p'")
    assert says in str(caught.value)
    assert "nodes 'p'" in str(caught.value)
    assert "\n" not in str(caught.value).replace(text, "")
    assert con.execute("FROM p").fetchall() == [(1, 1.0), (2, 2.0), (3, 3.0)]
    assert con.execute("SELECT table_name FROM duckdb_tables() ORDER BY 1").fetchall() == [("c",), ("p",)]
    assert con.execute("SELECT last_value FROM duckdb_sequences()").fetchall() == [(None,)]
    assert sorted(f.name for f in folder.iterdir()) == ["rows.csv", "test.duckdb"]


def test_a_macro_of_the_file_does_not_stand_for_the_check(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("BEGIN")
    con.execute("""CREATE MACRO json_serialize_sql(t) AS '{"error": false, "statements": []}'""")
    with pytest.raises(SqlError, match="DELETE"):
        check_query(con, "WITH gone AS (DELETE FROM p RETURNING id) FROM gone", where="nodes 'p'")
    con.execute("ROLLBACK")


def test_long_queries_are_checked_without_recursion(con: duckdb.DuckDBPyConnection) -> None:
    many = "SELECT id FROM p UNION ALL " * 300 + "SELECT id FROM p"
    assert check_query(con, many, where="nodes 'p'") == many
    deep = "SELECT " + "(" * 400 + "1" + ")" * 400
    assert check_query(con, deep, where="nodes 'p'") == deep


def test_columns_are_described_without_running(con: duckdb.DuckDBPyConnection) -> None:
    text = "SELECT id, x, x AS x, [x, x]::FLOAT[2] AS a, 'a' AS \"q\"\"t\", error('ran') AS e FROM p WHERE id > $least"
    found = described(con, text, {"least": 1}, where="nodes 'p'")
    assert found == {"id": "BIGINT", "x": "FLOAT", "x_1": "FLOAT", "a": "FLOAT[2]", 'q"t': "VARCHAR", "e": '"NULL"'}
    assert names_bound(con, text) == {"least"}
    assert names_bound(con, "SELECT ?, ?") == {"1", "2"}
    assert columns_named(con, 'CASE WHEN q."Year" > 3 THEN lower(split) END') == {"q", "year", "split"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("SELECT nope FROM p", "nope"),
        ("SELECT id FROM nope", "nope"),
        ("SELECT nofunction(id) FROM p", "nofunction"),
        ("SELECT id FROM read_csv('missing.csv')", "missing.csv"),
    ],
)
def test_what_does_not_exist_is_named(con: duckdb.DuckDBPyConnection, text: str, says: str) -> None:
    checked = check_query(con, text, where="nodes 'p'")
    with pytest.raises(SqlError, match=says) as caught:
        described(con, checked, None, where="nodes 'p'")
    assert "nodes 'p'" in str(caught.value)
    assert text in str(caught.value)
    assert isinstance(caught.value.__cause__, duckdb.Error)
