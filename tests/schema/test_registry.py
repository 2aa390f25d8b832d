"""Graphs kept in the file: round trips, read-only files, files without any."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dbgnn import SchemaError, UnknownNameError
from dbgnn.schema import EdgeTable, PropertyGraph, TableName, VertexTable, graph_names, load, save
from dbgnn.schema.registry import from_json, to_json

NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=8)
KEYS = st.lists(NAMES, min_size=1, max_size=3).map(tuple)
PROPERTIES = st.none() | st.lists(NAMES, max_size=3).map(tuple)


@st.composite
def graphs(draw: st.DrawFn) -> PropertyGraph:
    table = st.builds(TableName, NAMES, NAMES)
    vertices = draw(st.lists(st.builds(VertexTable, table, NAMES, KEYS, PROPERTIES), max_size=3, unique_by=lambda v: v.label))
    edges = []
    if vertices:
        for source, destination in draw(st.lists(st.tuples(st.sampled_from(vertices), st.sampled_from(vertices)), max_size=3)):
            ends = [draw(st.lists(NAMES, min_size=len(v.key), max_size=len(v.key)).map(tuple)) for v in (source, destination)]
            label = draw(NAMES)
            edges.append(EdgeTable(draw(table), label, source.label, ends[0], destination.label, ends[1], draw(PROPERTIES)))
    edges = list({e.edge_type: e for e in edges}.values())
    homogeneous = len(vertices) < 2 and len(edges) < 2 and draw(st.booleans())
    return PropertyGraph(draw(NAMES), tuple(vertices), tuple(edges), homogeneous)


@settings(deadline=None)
@given(graphs())
def test_json_gives_back_an_equal_graph(graph: PropertyGraph) -> None:
    assert from_json(to_json(graph)) == graph


@settings(max_examples=30, deadline=None)  # each makes a database
@given(graphs())
def test_saving_and_loading_gives_back_an_equal_graph(graph: PropertyGraph) -> None:
    with duckdb.connect() as con:
        save(con, graph)
        save(con, graph)
        assert load(con, graph.name) == load(con, None) == graph
        assert graph_names(con) == [graph.name]


@pytest.mark.parametrize("name", ["graph", "dbgnn", "main", "a b"])
def test_a_file_of_any_name_read_only(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"{name}.duckdb"
    graph = PropertyGraph("g", (VertexTable(TableName("t"), "t", ("id",)),))
    with duckdb.connect(path) as con:
        save(con, graph)
    with duckdb.connect(path, read_only=True) as con:
        assert graph_names(con) == ["g"]
        assert load(con, None) == graph


def test_a_file_without_graphs_read_only(tmp_path: Path) -> None:
    path = tmp_path / "plain.duckdb"
    with duckdb.connect(path) as con:
        con.execute(
            "CREATE TABLE a (id BIGINT PRIMARY KEY); CREATE TABLE b (x BIGINT REFERENCES a (id), y BIGINT REFERENCES a (id))"
        )
    with duckdb.connect(path, read_only=True) as con:
        assert graph_names(con) == []
        assert load(con, None).edges[0].edge_type == ("a", "b", "a")
        with pytest.raises(UnknownNameError, match="no property graph 'g'; there are none"):
            load(con, "g")


def test_an_attached_database_is_another(tmp_path: Path) -> None:
    with duckdb.connect() as con:
        save(con, PropertyGraph("here"))
        con.execute(f"ATTACH '{tmp_path / 'other.duckdb'}' AS other; USE other")
        assert graph_names(con) == []
        save(con, PropertyGraph("there"))
        assert graph_names(con) == ["there"]
        con.execute("USE memory")
        assert graph_names(con) == ["here"]


def test_several_graphs_must_be_named() -> None:
    with duckdb.connect() as con:
        save(con, PropertyGraph("b"))
        save(con, PropertyGraph("a"))
        with pytest.raises(SchemaError, match="several property graphs, say which: 'a', 'b'"):
            load(con, None)
        with pytest.raises(UnknownNameError, match=r"no property graph 'c' \(there are: a, b\)"):
            load(con, "c")


def test_the_inferred_graph_has_a_name_of_its_own() -> None:
    with duckdb.connect() as con:
        con.execute("CREATE TABLE a (id BIGINT PRIMARY KEY, up BIGINT REFERENCES a (id))")
        save(con, PropertyGraph("g"))
        assert load(con, None).name == "g"
        assert load(con, "inferred").edges[0].edge_type == ("a", "up", "a")
        save(con, PropertyGraph("inferred", homogeneous=True))
        assert load(con, "inferred").homogeneous


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"version": 1}', '{"version": 1, "name": "g", "vertices": [1], "edges": []}']
)
def test_a_definition_that_is_none(text: str) -> None:
    with pytest.raises(SchemaError, match=r"did not write|newer dbgnn"):
        from_json(text)


def test_a_definition_of_the_future() -> None:
    with pytest.raises(SchemaError, match="newer dbgnn"):
        from_json('{"version": 99}')
