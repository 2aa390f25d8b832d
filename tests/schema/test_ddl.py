"""The text of CREATE and DROP PROPERTY GRAPH: what it parses to, and what its mistakes look like."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dbgnn import SqlError
from dbgnn.schema.ddl import parse_statement
from dbgnn.schema.graph_statement import CreateGraph, DropGraph, EdgeSpec, EndSpec, Properties, TableRef, VertexSpec
from dbgnn.sql import quote

NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=12)


def create(query: str) -> CreateGraph:
    parsed = parse_statement(query)
    assert isinstance(parsed, CreateGraph)
    return parsed


def test_the_statement_of_the_standard() -> None:
    parsed = create(
        """-- a comment
        CREATE PROPERTY GRAPH papers
          VERTEX TABLES (paper KEY (id) PROPERTIES (x, y, year))
          EDGE TABLES (cites SOURCE KEY (src) REFERENCES paper (id) /* who */
                             DESTINATION KEY (dst) REFERENCES paper (id) LABEL quotes);"""
    )
    paper = TableRef("paper")
    assert parsed == CreateGraph(
        "papers",
        (VertexSpec(paper, key=("id",), properties=Properties(("x", "y", "year"))),),
        (EdgeSpec(TableRef("cites"), EndSpec(paper, ("src",), ("id",)), EndSpec(paper, ("dst",), ("id",)), label="quotes"),),
    )


def test_every_form_of_a_vertex_table() -> None:
    parsed = create(
        """create or replace property graph g node tables (
             a, b AS bb, c cc KEY (i, j), s.d LABEL l NO PROPERTIES, db.s.e PROPERTIES ALL COLUMNS,
             f PROPERTIES ARE ALL COLUMNS EXCEPT (u, v) KEY (k), h LABEL hh AS hhh)"""
    )
    assert parsed.or_replace
    assert parsed.vertices == (
        VertexSpec(TableRef("a")),
        VertexSpec(TableRef("b"), "bb"),
        VertexSpec(TableRef("c"), "cc", ("i", "j")),
        VertexSpec(TableRef("d", "s"), label="l", properties=Properties(())),
        VertexSpec(TableRef("e", "s", "db"), properties=Properties()),
        VertexSpec(TableRef("f"), key=("k",), properties=Properties(None, ("u", "v"))),
        VertexSpec(TableRef("h"), "hhh", label="hh"),
    )


def test_every_form_of_an_edge_table() -> None:
    parsed = create(
        """CREATE PROPERTY GRAPH IF NOT EXISTS g VERTEX TABLES (v) RELATIONSHIP TABLES (
             a SOURCE v DESTINATION s.v,
             b DESTINATION KEY (x) REFERENCES v SOURCE KEY (y, z) REFERENCES v (p, q) PROPERTIES (w),
             c AS cc KEY (i) SOURCE v DESTINATION v LABEL l NO PROPERTIES)"""
    )
    v = EndSpec(TableRef("v"))
    assert parsed.if_not_exists
    assert parsed.edges == (
        EdgeSpec(TableRef("a"), v, EndSpec(TableRef("v", "s"))),
        EdgeSpec(
            TableRef("b"),
            EndSpec(TableRef("v"), ("y", "z"), ("p", "q")),
            EndSpec(TableRef("v"), ("x",)),
            properties=Properties(("w",)),
        ),
        EdgeSpec(TableRef("c"), v, v, "cc", ("i",), "l", Properties(())),
    )


def test_words_of_the_grammar_and_keywords_are_names_too() -> None:
    parsed = create(
        'CREATE PROPERTY GRAPH "if" VERTEX TABLES (key KEY (key), user LABEL label, "as" KEY (order), date) '
        'EDGE TABLES (source SOURCE key DESTINATION KEY (destination) REFERENCES "no" (index))'
    )
    assert parsed.name == "if"
    assert parsed.vertices == (
        VertexSpec(TableRef("key"), key=("key",)),
        VertexSpec(TableRef("user"), label="label"),
        VertexSpec(TableRef("as"), key=("order",)),
        VertexSpec(TableRef("date")),
    )
    assert parsed.edges[0].source == EndSpec(TableRef("key"))
    assert parsed.edges[0].destination == EndSpec(TableRef("no"), ("destination",), ("index",))


@pytest.mark.parametrize("rest", [")", " LABEL l)", " NO PROPERTIES)", ", e SOURCE v DESTINATION v)", " KEY (id))", ".key)"])
def test_a_vertex_table_called_key_is_an_end(rest: str) -> None:
    edge = create(f"CREATE PROPERTY GRAPH g VERTEX TABLES (v) EDGE TABLES (e SOURCE key DESTINATION KEY{rest}").edges[0]
    assert edge.source == EndSpec(TableRef("key"))
    assert edge.destination == EndSpec(TableRef("key", "KEY") if rest == ".key)" else TableRef("KEY"))


@settings(deadline=None)
@given(graph=NAMES, table=NAMES, column=NAMES, label=NAMES)
def test_any_quoted_name_is_kept(graph: str, table: str, column: str, label: str) -> None:
    parsed = create(
        f"CREATE PROPERTY GRAPH {quote(graph)} VERTEX TABLES ({quote(table)} KEY ({quote(column)}) LABEL {quote(label)}) "
        f"EDGE TABLES ({quote(table)} SOURCE {quote(table)} DESTINATION {quote(table)})"
    )
    assert parsed.name == graph
    assert parsed.vertices == (VertexSpec(TableRef(table), key=(column,), label=label),)
    assert parsed.edges[0].source.vertex == TableRef(table)


@pytest.mark.parametrize(
    ("query", "parsed"),
    [
        ("DROP PROPERTY GRAPH g", DropGraph("g")),
        ('drop property graph if exists "a;b" ;;', DropGraph("a;b", if_exists=True)),
        ("DROP PROPERTY GRAPH g CASCADE", DropGraph("g")),
        ("DROP PROPERTY GRAPH g RESTRICT;", DropGraph("g")),
    ],
)
def test_drop(query: str, parsed: DropGraph) -> None:
    assert parse_statement(query) == parsed


@pytest.mark.parametrize(
    "query",
    [
        "",
        ";",
        "-- property graph",
        "SELECT 'CREATE PROPERTY GRAPH g'",
        "CREATE TABLE property (graph INTEGER)",
        "DROP TABLE property",
        "CREATE OR REPLACE TABLE property AS SELECT 1",
        "SELECT 'property without an end",
        'SELECT "property',
        "CREATE PROPERTY",
        "FROM property_graph",
    ],
)
def test_other_sql_is_none_of_ours(query: str) -> None:
    assert parse_statement(query) is None


@settings(deadline=None)
@given(st.text(max_size=40))
def test_no_other_text_raises(text: str) -> None:
    assert parse_statement(text + " property ") is None


GOOD = "CREATE PROPERTY GRAPH g VERTEX TABLES (v KEY (id)) EDGE TABLES (e SOURCE KEY (a) REFERENCES v (id) DESTINATION v)"


@pytest.mark.parametrize(
    ("query", "message", "marked"),
    [
        ("CREATE PROPERTY GRAPH", "Expected the graph's name, but the statement ends", ""),
        ("CREATE PROPERTY GRAPH ''", "Expected the graph's name, but found \"''\"", "''"),
        ('CREATE PROPERTY GRAPH ""', "Expected the graph's name, but found an empty name", '""'),
        ("CREATE PROPERTY GRAPH g", "Expected VERTEX TABLES, but the statement ends", ""),
        ("CREATE PROPERTY GRAPH g EDGE TABLES (e)", "Expected VERTEX TABLES, but found 'EDGE'", "EDGE"),
        ("CREATE PROPERTY GRAPH g VERTEX (v)", "Expected TABLES, but found '('", "(v)"),
        ("CREATE PROPERTY GRAPH g VERTEX TABLES ()", "Expected a table, but found ')'", ")"),
        (
            "CREATE PROPERTY GRAPH g VERTEX TABLES (v KEY id)",
            "Expected the columns of KEY in parentheses, as in KEY (id), but found 'id'",
            "id",
        ),
        (
            GOOD.replace("KEY (a)", "KEY a"),
            "Expected the columns of KEY in parentheses, as in KEY (id), but found 'a'",
            "a REF",
        ),
        (GOOD.replace("KEY (a)", 'KEY "a"'), "the columns of KEY in parentheses, as in KEY (id), but found '\"a\"'", '"a" REF'),
        (GOOD.replace("KEY (a)", "KEY no"), "Expected the columns of KEY in parentheses, as in KEY (id), but found 'no'", "no"),
        (GOOD.replace(" REFERENCES v (id)", "").replace("(a)", "a"), "the columns of KEY in parentheses", "a DEST"),
        ("CREATE PROPERTY GRAPH g VERTEX TABLES (v KEY ())", "Expected a column, but found ')'", "))"),
        ("CREATE PROPERTY GRAPH g VERTEX TABLES (v KEY (a, A))", "'A' is there twice", "A)"),
        ("CREATE PROPERTY GRAPH g VERTEX TABLES (v KEY (a) KEY (b))", "KEY is there twice", "KEY (b)"),
        ("CREATE PROPERTY GRAPH g VERTEX TABLES (v LABEL a NO PROPERTIES LABEL b)", "LABEL is there twice", "LABEL b"),
        (
            "CREATE PROPERTY GRAPH g VERTEX TABLES (v NO PROPERTIES PROPERTIES (a))",
            "PROPERTIES is there twice",
            "PROPERTIES (a",
        ),
        ("CREATE PROPERTY GRAPH g VERTEX TABLES (v PROPERTIES x)", "Expected '(' or ALL COLUMNS, but found 'x'", "x)"),
        ("CREATE PROPERTY GRAPH g VERTEX TABLES (v PROPERTIES ARE x)", "Expected ALL COLUMNS, but found 'x'", "x)"),
        ("CREATE PROPERTY GRAPH g VERTEX TABLES (v PROPERTIES (x AS z))", "has the name of its column", "AS z"),
        ("CREATE PROPERTY GRAPH g VERTEX TABLES (a.b.c.d)", "at most three parts", "d)"),
        (
            "CREATE PROPERTY GRAPH g VERTEX TABLES (v KEY (id)",
            "Expected KEY, LABEL, PROPERTIES, WHERE, ',' or ')', but the statement ends",
            "",
        ),
        ("CREATE OR REPLACE PROPERTY GRAPH IF NOT EXISTS g", "exclude each other", "IF"),
        (GOOD.replace(" DESTINATION v", ""), "Expected DESTINATION, but found ')'", ")"),
        (GOOD.replace("DESTINATION v", "SOURCE v"), "SOURCE is there twice", "SOURCE v"),
        (GOOD.replace("REFERENCES v", "v"), "Expected REFERENCES, but found 'v'", "v (id) DEST"),
        (GOOD + " x", "Expected the end of the statement, but found 'x'", "x"),
        (GOOD + "; SELECT 1", "Expected one statement, but another follows", "SELECT"),
        ("DROP PROPERTY GRAPH g; DROP TABLE t", "Expected one statement, but another follows", "DROP TABLE"),
        ("DROP PROPERTY GRAPH IF g", "Expected EXISTS, but found 'g'", "g"),
    ],
)
def test_a_mistake_is_marked(query: str, message: str, marked: str) -> None:
    with pytest.raises(SqlError) as caught:
        parse_statement(query)
    text = str(caught.value)
    assert message in text
    _, statement, caret = text.split("\n")
    assert statement == "  " + query
    assert caret.strip() == "^"
    place = query.rindex(marked) if marked else len(query)
    assert caret == "  " + " " * place + "^"


def test_the_mark_stands_under_its_line() -> None:
    query = "CREATE PROPERTY GRAPH g\n\tVERTEX TABLES (v KEY (id),\n\t  w KEYS (id)\n)\nEDGE TABLES (e)"
    with pytest.raises(SqlError) as caught:
        parse_statement(query)
    lines = str(caught.value).split("\n")
    assert lines[3:5] == ["  \t  w KEYS (id)", "  \t         ^"]
    assert lines[-1] == "  EDGE TABLES (e)"


def test_only_the_lines_around_a_mistake_are_shown() -> None:
    tables = ",\n".join(f"t{i}" for i in range(100))
    with pytest.raises(SqlError) as caught:
        parse_statement(f"CREATE PROPERTY GRAPH g VERTEX TABLES (\n{tables.replace('t50', 't50 KEY')}\n)")
    text = str(caught.value)
    assert "t50 KEY" in text
    assert "t47," in text
    assert "t40," not in text
    assert "t60," not in text


def test_a_statement_that_ends_in_a_quoted_name() -> None:
    with pytest.raises(SqlError, match="ends within a quoted name"):
        parse_statement('CREATE PROPERTY GRAPH "g VERTEX TABLES (v)')
