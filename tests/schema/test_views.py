"""Views in the place of tables: those that choose rows and columns of one table, and what is said of the others."""

from __future__ import annotations

import re
from collections.abc import Iterator

import duckdb
import pytest

from dbgnn import SchemaError, StaleIndexError, UnknownNameError
from dbgnn.schema import PropertyGraph, TableName, load, parse_statement, run, to_sql


@pytest.fixture
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as con:
        con.execute("""
            CREATE SCHEMA "s x";
            CREATE TABLE paper (id BIGINT PRIMARY KEY, x FLOAT, year INTEGER, title VARCHAR);
            INSERT INTO paper VALUES (1, 1, 2000, 'a'), (2, 2, 2010, 'b');
            CREATE TABLE "s x".other (id BIGINT, "a b" INTEGER);
            CREATE TABLE cites (src BIGINT, dst BIGINT, kind VARCHAR);
            INSERT INTO cites VALUES (1, 2, 'self'), (2, 1, 'other')""")
        yield con


def execute(con: duckdb.DuckDBPyConnection, query: str) -> None:
    parsed = parse_statement(query)
    assert parsed is not None
    run(con, parsed)


def declared(con: duckdb.DuckDBPyConnection, rest: str) -> PropertyGraph:
    execute(con, f"CREATE OR REPLACE PROPERTY GRAPH g {rest}")
    return load(con, "g")


@pytest.mark.parametrize(
    ("query", "condition", "properties"),
    [
        ("FROM paper", None, None),
        ("SELECT id, x FROM paper", None, ("x",)),
        ("SELECT * EXCLUDE (x) FROM paper WHERE year > 2005", '("year" > 2005)', ("year",)),
        ("SELECT p.id, p.year, p.title FROM main.paper AS p WHERE p.year > 2005", '("year" > 2005)', ("year",)),
        ("SELECT * FROM paper WHERE title = 'it''s' OR paper.x > 1", "((title = 'it''s') OR (x > 1))", None),
    ],
)
def test_a_view_is_its_table_with_a_condition(
    con: duckdb.DuckDBPyConnection, query: str, condition: str | None, properties: tuple[str, ...] | None
) -> None:
    con.execute(f"CREATE VIEW seen AS {query}")
    graph = declared(con, "VERTEX TABLES (seen KEY (id))")
    [vertex] = graph.vertices
    assert (vertex.table, vertex.label, vertex.condition) == (TableName("paper"), "seen", condition)
    assert vertex.properties == properties
    rows = con.execute(f"SELECT id FROM {vertex.rows} ORDER BY ALL").fetchall()
    assert rows == con.execute("SELECT id FROM seen ORDER BY ALL").fetchall()
    execute(con, to_sql(graph).replace("CREATE", "CREATE OR REPLACE", 1))
    assert load(con, "g") == graph


def test_the_primary_key_of_the_table_is_that_of_the_view(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("CREATE VIEW seen AS SELECT id, x FROM paper; CREATE VIEW rest AS SELECT x, year FROM paper")
    assert declared(con, "VERTEX TABLES (seen)").vertices[0].key == ("id",)
    with pytest.raises(SchemaError, match=r"The view 'rest' has no primary key.*there are: x, year"):
        declared(con, "VERTEX TABLES (rest)")


def test_what_a_view_hides_cannot_be_named(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("CREATE VIEW seen AS SELECT id, x FROM paper")
    with pytest.raises(UnknownNameError, match="View 'seen' has no column 'year'"):
        declared(con, "VERTEX TABLES (seen KEY (id) PROPERTIES (year))")


def test_views_are_edges_too_and_ends_refer_to_views(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("""CREATE VIEW "s x"."re.cent" AS FROM main.paper WHERE year > 2005;
        CREATE VIEW "own ""cites" AS SELECT src, dst FROM cites WHERE kind = 'self'""")
    edge = declared(
        con,
        """VERTEX TABLES ("s x"."re.cent" KEY (id)) EDGE TABLES ("own ""cites"
        SOURCE KEY (src) REFERENCES "s x"."re.cent" DESTINATION KEY (dst) REFERENCES "re.cent" LABEL own)""",
    ).edges[0]
    assert (edge.table, edge.edge_type, edge.condition) == (
        TableName("cites"), ("re.cent", "own", "re.cent"), "(kind = 'self')",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("SELECT id AS pid FROM paper", "gives column 'id' the name 'pid'"),
        ("SELECT id, x + 1 AS x FROM paper", "computes columns"),
        ("SELECT DISTINCT id FROM paper", r"more than SELECT, FROM and WHERE \(modifiers\)"),
        ("SELECT id FROM paper ORDER BY id LIMIT 1", "more than SELECT, FROM and WHERE"),
        ("SELECT id, count(*) AS n FROM paper GROUP BY id", "more than SELECT, FROM and WHERE"),
        ("SELECT p.id FROM paper p JOIN cites c ON c.src = p.id", "reads no table, or several"),
        ("SELECT id FROM paper UNION SELECT src FROM cites", "puts several queries together"),
        ("SELECT id FROM inner_view", "'inner_view', which is a view itself"),
        ("SELECT range AS id FROM range(3)", "reads no table, or several"),
        ("SELECT id FROM paper WHERE id IN (SELECT src FROM cites)", "a condition a graph cannot use|whose condition a graph"),
        ("SELECT id FROM paper WHERE random() < 0.5", "whose condition a graph cannot use"),
        ("SELECT id FROM paper TABLESAMPLE 10%", "sample"),
    ],
)
@pytest.mark.parametrize("view", ["seen", '"re ""cent"', '"s x"."se.en"'])
def test_any_other_view_is_refused_with_a_statement_that_can_be_pasted(
    con: duckdb.DuckDBPyConnection, query: str, why: str, view: str
) -> None:
    con.execute(f"CREATE VIEW inner_view AS FROM paper; CREATE VIEW {view} AS {query}")
    with pytest.raises(SchemaError, match=why) as error:
        declared(con, f"VERTEX TABLES ({view} KEY (id))")
    statement = str(error.value)[str(error.value).index("CREATE TABLE") :]
    con.execute(statement)
    made = re.match(r"CREATE TABLE (.*) AS FROM ", statement)
    assert made is not None
    if " < " not in query and "SAMPLE" not in query:  # which rows is not by chance
        counts = [con.execute(f"SELECT count(*) FROM {name}").fetchall() for name in (made[1], view)]
        assert counts[0] == counts[1]


def test_a_condition_goes_with_the_table_of_a_view(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("CREATE VIEW seen AS FROM paper WHERE year > 2005")
    with pytest.raises(SchemaError, match=r'WHERE \(\("year" > 2005\)\) AND \(x > 0\)'):
        declared(con, "VERTEX TABLES (seen KEY (id) WHERE x > 0)")


def test_a_view_that_was_changed_or_dropped_is_stale(con: duckdb.DuckDBPyConnection) -> None:
    con.execute("CREATE VIEW seen AS FROM paper WHERE year > 2005")
    declared(con, "VERTEX TABLES (seen KEY (id))")
    con.execute("CREATE OR REPLACE VIEW seen AS FROM paper WHERE year > 1990")
    with pytest.raises(StaleIndexError, match="The view 'seen' was changed since graph 'g' was declared") as error:
        load(con, "g")
    execute(con, str(error.value)[str(error.value).index("CREATE OR REPLACE") :])
    assert load(con, "g").vertices[0].condition == '("year" > 1990)'
    con.execute("DROP VIEW seen")
    with pytest.raises(StaleIndexError, match=r"is gone. Make it again: CREATE VIEW seen"):
        load(con, "g")
