"""Columns that become no tensor: what `print(graph)` and the errors say to do about them is done, as written, and works."""

from __future__ import annotations

import re
from collections.abc import Iterator

import duckdb
import pytest

import dbgnn
from dbgnn.schema.render import shown

#: Columns by name: a value of the type, and whether something can be said that works whatever the values are like.
VALUES = {
    "huge": ("i::HUGEINT", True),
    "uhuge": ("i::UHUGEINT", True),
    "big": ("i::BIGNUM", True),
    "price": ("(i / 4)::DECIMAL(8, 2)", True),
    "prices": ("[i, 2]::DECIMAL(8, 2)[2]", True),
    "title": ("'title ' || i", True),
    "guid": ("uuid()", True),
    "flags": ("'101'::BIT", True),
    "took": ("to_days(i::INTEGER)", True),
    "at": ("TIME '10:00:00'", True),
    "at_tz": ("'10:00:00+02'::TIMETZ", True),
    "at_ns": ("'10:00:00'::TIME_NS", True),
    "list": ("[i, 2]::INTEGER[]", True),
    "nested": ("[[i, 1], [2, 3]]::INTEGER[][]", True),
    "pairs": ("[[i, 1], [2, 3]]::DOUBLE[2][]", True),
    "decimals": ("[i, 2]::DECIMAL(8, 2)[]", True),
    "tags": ("['a', 'b']", True),
    "two tags": ("['a', 'b']::VARCHAR[2]", True),
    "kinds": ("['a', 'b']::ENUM('a', 'b')[2]", True),
    "kind_list": ("['a', 'b']::ENUM('a', 'b')[]", True),
    "dates": ("[DATE '2020-01-01']::DATE[1]", True),
    "times": ("[TIMESTAMPTZ '2020-01-01 00:00:00+00']::TIMESTAMPTZ[1]", True),
    "doc": ("'{\"a\": 1}'::JSON", False),
    "bytes": ("'\\xAA'::BLOB", False),
    "struct": ("{'a': i}", False),
    "union": ("union_value(a := i)", False),
    "map": ("MAP {'a': i}", False),
    "structs": ("[{'a': i}]", False),
}


@pytest.fixture
def graph() -> Iterator[dbgnn.Graph]:
    columns = ", ".join(f'{value} AS "{name}"' for name, (value, _) in VALUES.items())
    with dbgnn.connect() as db:
        db.execute(f'CREATE SCHEMA s; CREATE TABLE s."the papers" AS SELECT i AS id, {columns} FROM range(3) t(i)')
        db.execute('CREATE PROPERTY GRAPH g VERTEX TABLES (s."the papers" AS paper KEY (id))')
        yield db.graph()


def left_out(graph: dbgnn.Graph) -> dict[str, str]:
    """Return what `print(graph)` says of the columns left out, by column."""
    lines = str(graph).partition("left out")[2].splitlines()
    found = {}
    for name in VALUES:
        (line,) = [line for line in lines if line.strip().startswith(name + "  ")]
        found[name] = line
    return found


def do(graph: dbgnn.Graph, remedy: str) -> None:
    """Do what a message says: run the SQL, or the Python."""
    remedy = remedy.removesuffix(", or OneHot of few values").removesuffix(", if all have n elements").replace("[n]", "[2]")
    if remedy.startswith("ALTER"):
        graph.db.execute(remedy)
    else:
        assert remedy.startswith("graph.encode(")
        exec(remedy, {"graph": graph, "dbgnn": dbgnn})


@pytest.mark.parametrize("name", VALUES)
def test_what_print_says_of_a_column_left_out_is_what_serves_it(graph: dbgnn.Graph, name: str) -> None:
    line = left_out(graph)[name]
    found = re.search(r"; ((?:ALTER|graph\.encode).*)", line)
    assert (found is not None) == VALUES[name][1], line
    if found is None:
        return
    do(graph, found[1])
    store, _ = graph.db.get_torch_geometric_remote_backend()
    (attr,) = store.get_all_tensor_attrs()
    assert attr.attr_name in {name, f"{name}_x"}
    assert len(store["paper", attr.attr_name, None]) == 3


@pytest.mark.parametrize("name", [name for name, (_, general) in VALUES.items() if general])
def test_the_error_for_such_a_column_says_the_same(graph: dbgnn.Graph, name: str) -> None:
    store, _ = graph.db.get_torch_geometric_remote_backend()
    said = re.search(r"; (ALTER|graph\.encode).*", left_out(graph)[name])
    assert said is not None
    with pytest.raises(dbgnn.SchemaError, match=re.escape(said[0])):
        store["paper", name, None]
    with pytest.raises(dbgnn.SchemaError, match=re.escape(said[0])):
        graph.db.get_torch_geometric_remote_backend(columns={"paper": [name]})


def test_a_column_that_is_left_out_for_another_reason_keeps_it(graph: dbgnn.Graph) -> None:
    graph.db.execute(
        'CREATE OR REPLACE PROPERTY GRAPH g VERTEX TABLES (s."the papers" AS paper KEY (id, title) PROPERTIES (id))'
    )
    assert re.search(r"title +VARCHAR +a key; |title +VARCHAR +.*key", str(graph.db.graph()))
    assert "graph.encode('paper', 'title_x'" not in str(graph.db.graph())


@pytest.mark.parametrize("name", ["huge", "took", "price", "pairs"])
def test_properties_that_are_no_tensors_say_how_to_convert_them(graph: dbgnn.Graph, name: str) -> None:
    declare = f'CREATE OR REPLACE PROPERTY GRAPH g VERTEX TABLES (s."the papers" AS paper KEY (id) PROPERTIES ("{name}"))'
    with pytest.raises(dbgnn.SchemaError, match="or convert it: ALTER TABLE") as caught:
        graph.db.execute(declare)
    do(graph, str(caught.value).split("or convert it: ")[1].removesuffix("."))
    graph.db.execute(declare)
    assert name in str(graph.db.graph())


@pytest.mark.parametrize("name", ["title", "guid", "tags", "two tags", "kinds"])
def test_in_a_query_the_encoder_that_fits_is_named(graph: dbgnn.Graph, name: str) -> None:
    query = f'SELECT id, "{name}" FROM s."the papers"'
    with pytest.raises(dbgnn.SchemaError, match="give it an encoder") as caught:
        dbgnn.query_to_heterodata(graph.db, nodes={"paper": query}, edges={})
    said = re.search(r"encoders=\{…: (\{.*\})\}", str(caught.value))
    assert said is not None
    encoders = {"paper": eval(said[1], {"dbgnn": dbgnn})}
    assert dbgnn.query_to_heterodata(graph.db, nodes={"paper": query}, edges={}, encoders=encoders)["paper"].num_nodes == 3


@pytest.mark.parametrize(
    ("name", "cast"),
    [("huge", "BIGINT"), ("price", "DOUBLE"), ("prices", "DOUBLE[2]"), ("list", "INTEGER[2]"), ("pairs", "DOUBLE[2][2]")],
)
def test_in_a_query_the_cast_that_is_named_works(graph: dbgnn.Graph, name: str, cast: str) -> None:
    query = 'SELECT id, {} FROM s."the papers"'
    with pytest.raises(dbgnn.SchemaError, match="cast to") as caught:
        dbgnn.query_to_heterodata(graph.db, nodes={"paper": query.format(f'"{name}"')}, edges={})
    assert "encoder" not in str(caught.value)
    assert re.search(rf"cast to .*\b{re.escape(cast)}", str(caught.value).replace("[n]", "[2]"))
    cast_query = query.format(f'"{name}"::{cast} AS x')
    assert len(dbgnn.query_to_heterodata(graph.db, nodes={"paper": cast_query}, edges={})["paper"].x) == 3


def test_names_are_quoted_where_duckdb_reads_a_word_otherwise() -> None:
    con = duckdb.connect()
    for (word,) in con.execute("SELECT keyword_name FROM duckdb_keywords()").fetchall():
        con.execute(f"CREATE OR REPLACE TABLE {shown(word)} ({shown(word)} INTEGER)")
        con.execute(f"ALTER TABLE {shown(word)} ALTER {shown(word)} TYPE DOUBLE USING abs({shown(word)})")
        con.execute(f"SELECT {shown(word)} FROM {shown(word)}")
