"""What goes together: every cell of the table in docs/sampling.md is tried."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import dbgnn

DOCS = Path(__file__).parents[2] / "docs" / "sampling.md"

#: What the rows of the table mean, as arguments of a loader.
ROWS: dict[str, dict[str, Any]] = {
    "uniform": {},
    "last": {"time_attr": "at", "temporal_strategy": "last"},
    "weighted": {"weight_attr": "amount"},
    "LABOR": {"mode": "labor"},
    "`replace`": {"replace": True},
    "`time_attr`": {"time_attr": "at"},
    "`time_window`": {"time_attr": "at", "time_window": 100},
    "`where`": {"where": {"pays": "amount > 1"}},
    "`backward`": {"sample_direction": "backward"},
    "`disjoint`": {"disjoint": True},
    "`induced`": {"subgraph_type": "induced"},
    "`bidirectional`": {"subgraph_type": "bidirectional"},
}

#: And the columns, those that are no arguments of a loader by name.
COLUMNS: dict[str, dict[str, Any]] = {
    "`replace`": {"replace": True},
    "`time_attr`": {"time_attr": "at"},
    "`weight_attr`": {"weight_attr": "amount"},
    "`where`": {"where": {"pays": "amount > 1"}},
    "`backward`": {"sample_direction": "backward"},
    "`disjoint`": {"disjoint": True},
    "`induced`": {"subgraph_type": "induced"},
    "`bidirectional`": {"subgraph_type": "bidirectional"},
    "links": {"links": {"neg_sampling": "binary"}},
    "`exclude_seed_edges`": {"links": {"exclude_seed_edges": "reverse"}},
    "a task": {"task": True},
    "packs": {"pack": True},
    "workers": {"num_workers": 1},
}


def table() -> tuple[dict[tuple[str, str], str], dict[str, str]]:
    """Return the cells of the table by row and column, and the errors below it by their letters."""
    text = DOCS.read_text(encoding="utf-8").split("## What goes together")[1]
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    (_, *columns), _, *rows = lines
    cells = {(name, column): cell for name, *found in rows for column, cell in zip(columns, found, strict=True)}
    return cells, dict(re.findall(r"^- (\w): [^`]*`([^`]+)`", text, re.MULTILINE))


CELLS, ERRORS = table()


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dbgnn.Graph]:
    """Accounts and payments with times and amounts, in a file that workers can open."""
    path = tmp_path_factory.mktemp("combinations") / "g.duckdb"
    rng = np.random.default_rng(1)
    with dbgnn.connect(path, progress=False) as db:
        rows = {"src": rng.integers(0, 40, 500), "dst": rng.integers(0, 40, 500), "at": rng.integers(0, 90, 500)}
        db.connection.register("rows", pa.table(rows | {"amount": rng.integers(1, 9, 500)}))
        db.connection.execute('CREATE TABLE account AS SELECT i AS id, i % 30 AS "at", i AS x FROM range(40) t(i)')
        db.connection.execute("CREATE TABLE pays AS FROM rows")
        db.execute(
            """CREATE PROPERTY GRAPH g VERTEX TABLES (account KEY (id) PROPERTIES (x)) EDGE TABLES (pays
            SOURCE KEY (src) REFERENCES account (id) DESTINATION KEY (dst) REFERENCES account (id) NO PROPERTIES)"""
        )
        db.graph().build()
    with dbgnn.connect(path, read_only=True, progress=False) as db:
        yield db.graph()


def loader(graph: dbgnn.Graph, options: dict[str, Any]) -> Any:
    options = {"seed": 3, **options}
    links, task = options.pop("links", None), options.pop("task", False)
    if links is not None:
        return dbgnn.LinkNeighborLoader(graph, [3, 2], range(30), batch_size=15, **links, **options)
    seeds: Any = range(30)
    if task:
        query = "SELECT id, 80 + id AS as_of, id % 2 AS y FROM account WHERE id < 30"
        seeds = dbgnn.EntityTask(query, entity="id", time="as_of", target="y", node_type="account")
    return dbgnn.NeighborLoader(graph, [3, 2], seeds, batch_size=15, **options)


#: What was tried: a row and a column often mean what another row and column do.
TRIED: dict[str, str] = {}


@pytest.mark.parametrize(("row", "column"), CELLS, ids=str)
def test_a_cell_says_what_happens(graph: dbgnn.Graph, tmp_path: Path, row: str, column: str) -> None:
    options = ROWS[row] | COLUMNS[column]
    if options != COLUMNS[column] | ROWS[row]:
        assert CELLS[row, column] == "–"
        return
    name = repr(sorted(options.items()))
    if name in TRIED:
        assert TRIED[name] == CELLS[row, column]
        return
    packed = options.pop("pack", False)
    if CELLS[row, column] == "✓":
        given = loader(graph, options)
        if packed:
            given.pack(tmp_path / "pack")
            given = dbgnn.PackedLoader(tmp_path / "pack")
        batches = list(given)
        assert len(batches) == 2
        assert sum(batch["pays"].edge_index.shape[1] for batch in batches) > 30
    else:
        with pytest.raises(dbgnn.DbgnnError, match=re.escape(ERRORS[CELLS[row, column]])):
            loader(graph, options)
    TRIED[name] = CELLS[row, column]


def test_the_table_has_every_row_and_column() -> None:
    assert {row for row, _ in CELLS} == set(ROWS)
    assert {column for _, column in CELLS} == set(COLUMNS)
