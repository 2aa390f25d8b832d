"""Quoting names, literals, and checking filters: what may and what may not become SQL."""

from __future__ import annotations

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
        ("d < DATE '2021-01-01'", [1]),
        ("x[1] > 0.5", [2]),
        ("a::DOUBLE / 2 = 1", [2]),
        ("CASE WHEN a = 1 THEN true ELSE false END", [1]),
        ("len(list_filter(x, lambda v: v > 0.5)) = 1 AND NOT a = 2", [1]),
        ("regexp_matches(split, '^te')", [2]),
        ("a IS NULL", []),
    ],
)
def test_filters_mean_what_they_say(text: str, rows: list[int]) -> None:
    with duckdb.connect() as con:
        found = con.execute(f"SELECT a FROM {ROWS} WHERE {check_filter(text, where='test')} ORDER BY a").fetchall()
    assert [a for (a,) in found] == rows


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
    ],
)
def test_what_is_not_one_harmless_expression_is_refused(text: str) -> None:
    with pytest.raises(SqlError, match="train nodes"):
        check_filter(text, where="train nodes")


@given(TEXT)
def test_no_text_escapes_the_filter(text: str) -> None:
    """Whatever passes is one parenthesised expression: DuckDB refuses it, or finds one statement."""
    try:
        checked = check_filter(text, where="test")
    except SqlError:
        return
    assert checked.startswith("(")
    assert checked.endswith(")")
    try:
        statements = len(duckdb.extract_statements(f"SELECT 1 WHERE {checked}"))
    except duckdb.ParserException:  # sqlglot knows more syntax than DuckDB
        return
    assert statements == 1


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
