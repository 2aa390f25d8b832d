"""Conditions on the rows of tables: what the statement takes, what is refused, and how they are kept in the file."""

from __future__ import annotations

import json
from collections.abc import Iterator

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dbgnn import DataError, SchemaError, SqlError
from dbgnn.schema import PropertyGraph, load, parse_statement, run, served_columns, to_sql
from dbgnn.schema.graph_statement import CreateGraph
from dbgnn.schema.registry import from_json, to_json
from dbgnn.schema.row_conditions import always_null


@pytest.fixture
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as con:
        con.execute("""
            CREATE TABLE person (id BIGINT, x FLOAT, source VARCHAR, "label" INTEGER, "a ""b" VARCHAR, gone TIMESTAMP);
            INSERT INTO person VALUES (1, 1, 'web', 1, 'x, (', NULL), (2, 2, 'app', 2, 'y', '2024-01-01');
            CREATE TABLE knows (a BIGINT, b BIGINT, w FLOAT);
            INSERT INTO knows VALUES (1, 1, 1);
            CREATE MACRO is_web(s) AS s = 'web'""")
        yield con


def execute(con: duckdb.DuckDBPyConnection, query: str) -> None:
    parsed = parse_statement(query)
    assert parsed is not None
    run(con, parsed)


def declared(con: duckdb.DuckDBPyConnection, vertex: str, edge: str = "") -> PropertyGraph:
    edges = f" EDGE TABLES ({edge})" if edge else ""
    execute(con, f"CREATE OR REPLACE PROPERTY GRAPH g VERTEX TABLES ({vertex}){edges}")
    return load(con, "g")


#: Texts of conditions, with what is behind them.
TEXTS = [
    ("gone IS NULL", ""),
    ("source = 'web'", "LABEL p"),
    ("label > 1 AND source = 'web'", "KEY (id)"),
    ("NOT label = 1 OR source IN ('web', 'a, b)')", "NO PROPERTIES"),
    ("CASE WHEN label = 1 THEN source ELSE source END = 'web'", "PROPERTIES (x)"),
    ('(gone IS NULL OR "a ""b" = \'x, (\')', "LABEL p KEY (id)"),
    ('"a ""b" LIKE \'WHERE%\'', "PROPERTIES ARE ALL COLUMNS EXCEPT (gone)"),
    ("x BETWEEN 0 AND 1.5", "LABEL p"),
    ("source COLLATE NOCASE = 'WEB'", "LABEL p"),
    ("x::INTEGER > 0 -- (no end,\n AND label > 0", "LABEL p"),
    ("list_contains([1, 2], label)", "NO PROPERTIES"),
    ("gone::DATE = DATE '2024-01-01'", "LABEL p"),
]


WORDS = ["a", "'b,c'", '"d)e"', "(", ")", "AND", "=", "1", "LABEL", "KEY", "NOT", ",", "source"]


@pytest.mark.parametrize(("text", "behind"), TEXTS)
def test_a_condition_ends_where_the_next_clause_begins(con: duckdb.DuckDBPyConnection, text: str, behind: str) -> None:
    key = "" if "KEY" in behind else "KEY (id) "
    for entry in (f"person {key}WHERE {text} {behind}", f"person {key}{behind} WHERE {text}"):
        graph = declared(con, entry)
        [vertex] = graph.vertices
        assert vertex.condition == text
        assert vertex.label == ("p" if "LABEL" in behind else "person")
        again = to_sql(graph).replace("CREATE", "CREATE OR REPLACE", 1)
        execute(con, again)
        assert load(con, "g") == graph
    assert (
        parse_statement(f"CREATE PROPERTY GRAPH g VERTEX TABLES (person {key}WHERE {text} {behind}, t WHERE true)") is not None
    )


def test_edges_have_conditions_before_and_behind_their_ends(con: duckdb.DuckDBPyConnection) -> None:
    ends = "SOURCE KEY (a) REFERENCES person DESTINATION KEY (b) REFERENCES person"
    one = declared(con, "person KEY (id)", f"knows AS k WHERE w > 0 {ends}").edges[0]
    other = declared(con, "person KEY (id)", f"knows AS k {ends} WHERE w > 0").edges[0]
    assert one == other
    assert one.condition == "w > 0"


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from(["a", "'b,c'", '"d)e"', "(", ")", "AND", "=", "1", "LABEL", "KEY", "NOT", ",", "source"]), max_size=9
    )
)
def test_what_is_no_statement_is_an_error_or_a_condition_whose_brackets_match(words: list[str]) -> None:
    try:
        parsed = parse_statement(f"CREATE PROPERTY GRAPH g VERTEX TABLES (t WHERE {' '.join(words)})")
    except SqlError:
        return
    assert isinstance(parsed, CreateGraph)
    for vertex in parsed.vertices:
        if vertex.condition is not None:
            bare = vertex.condition.replace('"d)e"', "")
            assert bare.count("(") == bare.count(")")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nosuch = 1", "'nosuch', which is no column of table 'person'"),
        ("x", "it is FLOAT, and a condition is BOOLEAN"),
        ("x = (SELECT 1)", "found a subquery"),
        ("random() > 0.5", r"random\(\), which is not known"),
        ("now() > gone", r"now\(\), which is not known"),
        ("is_web(source)", r"calls the macro is_web\(\), which may be changed"),
        ("rowid > 1", "names rowid"),
        ("person.rowid > 1", "names rowid"),
        ("x > ", "is not a SQL expression"),
        ("max(x) > 1", r"max\(\), which is not known"),
    ],
)
def test_what_no_condition_may_be(con: duckdb.DuckDBPyConnection, text: str, message: str) -> None:
    with pytest.raises(SqlError, match=message):
        declared(con, f"person KEY (id) WHERE {text}")


def test_a_condition_that_fails_for_a_row_is_an_error_that_says_so(con: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(DataError, match=r"The condition 'source::INTEGER > 1' fails for a row of table 'person'.*TRY_CAST"):
        declared(con, "person KEY (id) WHERE source::INTEGER > 1")
    assert declared(con, "person KEY (id) WHERE TRY_CAST(source AS INTEGER) > 1").vertices[0].condition is not None


@pytest.mark.parametrize("clause", ["WHERE", "WHERE x > 0 WHERE x > 1", "WHERE x > 0)) "])
def test_a_mistake_is_marked(clause: str) -> None:
    with pytest.raises(SqlError, match=r"\^"):
        parse_statement(f"CREATE PROPERTY GRAPH g VERTEX TABLES (person KEY (id) {clause})")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("gone IS NULL", {"gone"}),
        ("(person.GONE IS NULL)", {"gone"}),
        ('x > 1 AND ("a""b" IS NULL AND gone IS NULL)', {'a"b', "gone"}),
        ("gone IS NULL OR x > 1", set()),
        ("gone IS NOT NULL", set()),
        ("NOT gone IS NULL", set()),
        ("(gone IS NULL) = (x > 1)", set()),
        ("(x > 1) IS NULL", set()),
        ("x + gone IS NULL", set()),
        ("lower(gone) IS NULL", set()),
        ("x BETWEEN 1 AND gone IS NULL", set()),
        ("CASE WHEN x > 1 THEN gone IS NULL AND source IS NULL ELSE true END", set()),
    ],
)
def test_which_columns_are_null_by_a_condition(text: str, names: set[str]) -> None:
    assert always_null(text) == names


def test_they_are_no_features_unless_they_are_named(con: duckdb.DuckDBPyConnection) -> None:
    graph = declared(con, "person KEY (id) WHERE gone IS NULL")
    [reason] = [c.reason for c in served_columns(con, graph, graph.vertices[0]) if c.name == "gone"]
    assert reason == "NULL in every row, by the condition"
    graph = declared(con, "person KEY (id) PROPERTIES (gone) WHERE gone IS NULL")
    assert [c.name for c in served_columns(con, graph, graph.vertices[0]) if c.reason is None] == ["gone"]


class TestInTheFile:
    def test_json_gives_back_an_equal_graph(self, con: duckdb.DuckDBPyConnection) -> None:
        graph = declared(con, "person KEY (id) WHERE gone IS NULL")
        assert from_json(to_json(graph)) == graph
        assert json.loads(to_json(graph))["version"] == 2

    def test_a_graph_without_conditions_is_as_older_versions_read_it(self, con: duckdb.DuckDBPyConnection) -> None:
        data = json.loads(to_json(declared(con, "person KEY (id)")))
        assert data["version"] == 1
        assert not {"condition", "view"} & data["vertices"][0].keys()

    @pytest.mark.parametrize("text", ["true) OR (SELECT true", "x > (SELECT 1)", "length(getenv('HOME')) > 0", "1", "\ud800"])
    def test_what_somebody_wrote_there_is_judged(self, con: duckdb.DuckDBPyConnection, text: str) -> None:
        data = json.loads(to_json(declared(con, "person KEY (id) WHERE gone IS NULL")))
        data["vertices"][0]["condition"] = text
        con.execute("UPDATE dbgnn.graphs SET definition = ?", [json.dumps(data)])
        with pytest.raises((SqlError, SchemaError)):
            load(con, "g")

    def test_a_column_that_is_gone_is_an_error(self, con: duckdb.DuckDBPyConnection) -> None:
        declared(con, "person KEY (id) WHERE gone IS NULL")
        con.execute("ALTER TABLE person DROP gone")
        with pytest.raises(SqlError, match="'gone', which is no column of table 'person'"):
            load(con, "g")
