"""Quoting names, literals, and checking filters: what may and what may not become SQL."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbgnn import SqlError
from dbgnn.sql import check_filter, literal, quote, quote_all, split_statements

#: Text that DuckDB can hold: no NUL, no lone surrogates.
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=20)


@given(TEXT)
def test_a_quoted_name_reaches_duckdb_as_it_is(name: str) -> None:
    with duckdb.connect() as con:
        con.execute(f"CREATE TABLE {quote(name)} (x INTEGER, {quote('c' + name)} INTEGER)")
        tables = con.execute("SELECT table_name FROM duckdb_tables()").fetchall()
        columns = con.execute("SELECT column_name FROM duckdb_columns() WHERE NOT internal ORDER BY column_index").fetchall()
    assert tables == [(name,)]
    assert columns == [("x",), ("c" + name,)]


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20))
def test_a_literal_reaches_duckdb_as_it_is(text: str) -> None:
    with duckdb.connect() as con:
        assert con.execute(f"SELECT {literal(text)}").fetchone() == (text,)


@pytest.mark.parametrize("make", [quote, literal])
def test_nul_is_refused(make: object) -> None:
    assert callable(make)
    with pytest.raises(SqlError, match="NUL"):
        make("a\0b")


def test_quote_all_puts_the_prefix_before_each_name() -> None:
    assert quote_all(['a"b', "c"], prefix="t.") == 't."a""b", t."c"'
    assert quote_all([]) == ""


ROWS = "(VALUES (1, 'train', DATE '2020-05-01', [0.25, 0.75]), (2, 'te;st', DATE '2021-05-01', [1.0, 0.0])) t(a, split, d, x)"
COLUMNS = ["a", "split", "d", "x"]


@pytest.fixture(scope="module")
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as con:
        yield con


def check(con: duckdb.DuckDBPyConnection, text: str) -> str:
    return check_filter(con, text, where="train nodes", table=("main", "t"), columns=COLUMNS)


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("a = 1", [1]),
        ("a == 1 -- the first", [1]),
        ("a = 1 /* the first */", [1]),
        ("split = 'te;st'", [2]),
        ("\"split\" LIKE 'tr%'", [1]),
        ("t.a IN (1, 2)", [1, 2]),
        ("a BETWEEN 2 AND 3 OR a = 1", [1, 2]),
        ("year(d) = 2021", [2]),
        ("a + 1 = 2 AND a - 1 = 0", [1]),
        ("d + INTERVAL 1 YEAR > d - 1 AND date_diff('year', d, DATE '2021-06-01') = 0", [2]),
        ("date_trunc('year', d) = DATE '2021-01-01' AND strftime(d, '%Y') = '2021'", [2]),
        ("d < DATE '2021-01-01'", [1]),
        ("x[1] > 0.5", [2]),
        ("a::DOUBLE / 2 = 1", [2]),
        ("CASE WHEN a = 1 THEN true ELSE false END", [1]),
        ("len(list_filter(x, lambda v: v > 0.5)) = 1 AND NOT a = 2", [1]),
        ("regexp_matches(split, '^te')", [2]),
        ("a IS NULL", []),
        ("list_sum(x) = 1 AND list_aggregate(x, 'max') > 0.9 AND list_reverse(x)[1] = 0", [2]),
        ("nullif(a, 2) = 1 OR if(a = 2, false, true) OR split_part(split, ';', 2) = 'x'", [1]),
    ],
)
def test_filters_mean_what_they_say(con: duckdb.DuckDBPyConnection, text: str, rows: list[int]) -> None:
    checked = check(con, text)
    assert checked == f"({text}\n)"
    assert [a for (a,) in con.execute(f"SELECT a FROM {ROWS} WHERE {checked} ORDER BY a").fetchall()] == rows


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        "a =",
        "a = (1",
        "a = 1;",
        "a = 1; DROP TABLE t",
        "a = 1, b = 2",
        "a) OR (b",
        "a = 1) LIMIT 1 --",
        "a = 1) GROUP BY (a",
        "a = 1) UNION SELECT (1",
        "a = 1 LIMIT 1",
        "a = 1 ORDER BY a",
        "a = 1 QUALIFY true",
        "a IN (SELECT 1)",
        "a IN (FROM other)",
        "EXISTS (SELECT 1 FROM other)",
        "a = (SELECT max(a) FROM other)",
        "max(a) = 1",
        "count(*) > 0",
        "row_number() OVER () > 1",
        "a = ?",
        "a = $1",
        "a = $name",
        "getenv('HOME') = 'x'",
        "\"GetEnv\"('HOME') = 'x'",
        "main.getenv('HOME') = 'x'",
        "length(read_text('secret.txt')) > 0",
        "a IN (SELECT * FROM read_csv('secret.csv'))",
        "current_setting('threads') = 1",
        "nextval('s') > 1",
        "schema.t.a = 1",
        "CREATE TABLE x (a INTEGER)",
        "a AS b",
        "0A",
        "*",
        "COLUMNS(*) = 1",
        "a = 1\0",
        "split = '\ud800'",
        "not " * 5000 + "true",
        "(" * 5000 + "true" + ")" * 5000,
    ],
    ids=lambda text: repr(text[:40]),
)
def test_what_is_not_one_harmless_expression_is_refused(con: duckdb.DuckDBPyConnection, text: str) -> None:
    with pytest.raises(SqlError, match="train nodes"):
        check(con, text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a < ", "it ends too early"),
        ("a = 1 b c", "cannot be read from 'b' on"),
        ("a = 1; a = 2", "without ';'"),
        ("split = 'x", "a string, a quoted name or a comment does not end"),
        ("spilt = 'x'", "names 'spilt', which is no column of table 't'; did you mean 'split'"),
        ('split = "train"', "text takes single quotes: 'train'"),
        ("len(list_filter(x, v -> v > 1)) = 1", "a lambda is written lambda x: …"),
        ("a = (SELECT 1)", "own row only; found a subquery"),
        ("a = ANY(x)", "found a subquery"),
        ("a::inet IS NULL", "'inet', which is no type"),
        ("current_user = 'x'", "names 'current_user', which is no column"),
        ("random() < 0.5", r"random\(\), which is not known"),
    ],
)
def test_the_message_says_what_is_wrong(con: duckdb.DuckDBPyConnection, text: str, message: str) -> None:
    with pytest.raises(SqlError, match=message) as caught:
        check(con, text)
    assert "\033" not in str(caught.value)
    assert "<class" not in str(caught.value)


def test_a_connection_without_json_refuses_filters() -> None:
    class Bare:
        def execute(self, *args: object) -> None:
            raise duckdb.CatalogException("Catalog Error: Scalar Function with name json_serialize_sql does not exist!")

    with pytest.raises(SqlError, match="no json extension"):
        check(cast("duckdb.DuckDBPyConnection", Bare()), "a = 1")


@given(TEXT)
def test_no_text_escapes_the_filter(con: duckdb.DuckDBPyConnection, text: str) -> None:
    """Whatever passes is one parenthesised expression, which is one statement where it is used."""
    try:
        checked = check(con, text)
    except SqlError:
        return
    assert checked == f"({text}\n)"
    assert len(duckdb.extract_statements(f"SELECT 1 WHERE {checked}")) == 1


def test_split_statements_keeps_semicolons_that_are_text() -> None:
    script = 'CREATE TABLE "a;b" (x INTEGER); -- one; comment\nINSERT INTO "a;b" VALUES (1);;\nSELECT \';\' /* ; */ FROM "a;b"'
    statements = split_statements(script)
    assert len(statements) == 3
    with duckdb.connect() as con:
        for statement in statements:
            con.execute(statement)
        assert con.fetchall() == [(";",)]


@pytest.mark.parametrize("script", ["", " \n", "-- nothing", ";;"])
def test_an_empty_script_has_no_statements(script: str) -> None:
    assert split_statements(script) == []


def test_a_script_that_ends_in_a_string_is_refused() -> None:
    with pytest.raises(SqlError, match="script"):
        split_statements("SELECT 'a")
