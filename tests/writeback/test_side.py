"""What ``into=`` names: tables of schemas, quoted names, and in `predict` a node type's column first."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

import dbgnn
from tests.writeback.test_written import PLAIN, made


@pytest.fixture
def graph(tmp_path: Path) -> dbgnn.Graph:
    db = made(tmp_path / "g.duckdb", PLAIN)
    db.execute('CREATE SCHEMA b; CREATE SCHEMA "My schema"')
    return db.graph()


def side_tables(graph: dbgnn.Graph) -> list[tuple[str, str]]:
    return graph.db.execute(
        "SELECT schema_name, table_name FROM duckdb_tables() "
        "WHERE schema_name <> 'dbgnn' AND table_name NOT IN ('paper', 'cites')"
    ).fetchall()


NAMES = {
    "pred": ("main", "pred"),
    "my table": ("main", "my table"),
    "b.pred": ("b", "pred"),
    "B.pred": ("b", "pred"),
    "main.pred": ("main", "pred"),
    "My schema.x": ("My schema", "x"),
    '"My schema"."a.b"': ("My schema", "a.b"),
    '"b.pred"': ("main", "b.pred"),
    '"we""ird"': ("main", 'we"ird'),
    "g.b.pred": ("b", "pred"),
    "g.pred": ("main", "pred"),
    "b.paper": ("b", "paper"),  # the graph's is another one
}


@pytest.mark.parametrize("into", NAMES)
def test_the_table_is_made_where_the_name_says(graph: dbgnn.Graph, into: str) -> None:
    schema, name = NAMES[into]
    for part in (slice(0, 12), slice(8, 20)):  # made, then updated and added to
        rows = torch.arange(20)[part]
        assert graph.write_back("paper", n_id=rows, into=into, p=rows * 2) == len(rows)
    found = graph.db.execute(f'''FROM "{schema}"."{name.replace('"', '""')}" ORDER BY id''').fetchall()
    assert found == [(i, 2 * i) for i in range(20)]
    assert side_tables(graph) == ([] if name == "paper" else [(schema, name)])


class AsIs(torch.nn.Module):
    """What is predicted: the feature itself."""

    def forward(self, batch: Any) -> torch.Tensor:
        found: torch.Tensor = batch["paper"].x
        return found


def remedy_of(error: Exception) -> str:
    return str(eval(re.findall(r"into=('(?:[^'])*'|\"(?:[^\"])*\")", str(error))[-1]))


@pytest.mark.parametrize("into", ["nowhere.pred", 'we"ird', "a..b", "other.b.pred", "v1.2"])
def test_another_name_is_an_error_whose_remedy_works(graph: dbgnn.Graph, into: str) -> None:
    with pytest.raises((dbgnn.SchemaError, dbgnn.UnknownNameError)) as caught:
        graph.write_back("paper", into=into, p=torch.arange(20))
    assert side_tables(graph) == []
    assert graph.write_back("paper", into=remedy_of(caught.value), p=torch.arange(20)) == 20
    assert len(side_tables(graph)) == 1


def test_a_schema_that_is_not_there_can_be_made_as_the_error_says(graph: dbgnn.Graph) -> None:
    with pytest.raises(dbgnn.UnknownNameError, match="no schema 'New one'") as caught:
        graph.write_back("paper", into="New one.p", p=torch.arange(20))
    (statement,) = re.findall(r"db\.execute\('(.*?)'\)", str(caught.value))
    graph.db.execute(statement)
    graph.write_back("paper", into="New one.p", p=torch.arange(20))
    assert side_tables(graph) == [("New one", "p")]


@pytest.mark.parametrize("into", ["dbgnn.pred", "information_schema.pred", "", 3, "main.paper", "paper", "PAPER"])
def test_some_tables_are_not_for_it(graph: dbgnn.Graph, into: Any) -> None:
    with pytest.raises(dbgnn.SchemaError, match="into="):
        graph.write_back("paper", into=into, p=torch.arange(20))


@pytest.mark.parametrize(
    ("into", "table", "column"),
    [
        ("paper.b", "main.paper", "b"),
        ("b.paper", "b.paper", "pred"),
        ("b.t.score", "b.t", "score"),
        ('"b".t."sc.ore"', "b.t", "sc.ore"),
        ("t", "main.t", "pred"),
        ('"paper.b"', 'main."paper.b"', "pred"),
        ('"paper".b', '"paper".b', "pred"),
    ],
)
def test_predict_takes_a_node_types_column_first(graph: dbgnn.Graph, into: str, table: str, column: str) -> None:
    graph.db.execute("CREATE SCHEMA paper")
    loader = dbgnn.NeighborLoader(graph, [1], input_nodes="paper", batch_size=8)
    assert graph.predict(AsIs(), loader, into, progress=False) == 20
    assert graph.db.execute(f'SELECT "{column}" FROM {table} ORDER BY id').fetchall() == [(i / 2,) for i in range(20)]


@pytest.mark.parametrize("into", ["papr.pred", "paper.", "nowhere.t.pred", "b.t.pred.x"])
def test_predict_says_what_it_takes(graph: dbgnn.Graph, into: str) -> None:
    with pytest.raises(dbgnn.UnknownNameError, match=r"a node type .*, a point, and a column.*'schema.table'"):
        graph.predict(AsIs(), [], into)
