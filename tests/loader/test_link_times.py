"""The times of seed links stay those that edges are compared with, whatever is set or changed after a loader was made."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dbgnn

OPTIONS: dict[str, Any] = {"time_attr": "t", "batch_size": 16}


@pytest.fixture(params=["file", "memory"])
def graph(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dbgnn.Graph]:
    """People who write to one another, with moments in two units and two orders."""
    with dbgnn.connect(*[tmp_path / "g.duckdb"][: request.param == "file"], progress=False) as db:
        db.execute("CREATE TABLE person AS SELECT i AS id FROM range(9) AS t(i)")
        db.execute("""
            CREATE TABLE wrote AS
            SELECT hash(i) % 9 AS who, hash(-i) % 9 AS whom, TIMESTAMP '2024-01-01' + to_hours(i) AS t,
                   t::TIMESTAMP_NS AS nanos, TIMESTAMP '2024-01-04' - to_hours(i) AS back
            FROM range(40) AS r(i)
        """)
        db.execute("""
            CREATE PROPERTY GRAPH g VERTEX TABLES (person KEY (id))
              EDGE TABLES (wrote SOURCE KEY (who) REFERENCES person (id)
                                 DESTINATION KEY (whom) REFERENCES person (id) NO PROPERTIES)
        """)
        yield db.graph("g")


def seed_links(graph: dbgnn.Graph, form: str, time_attr: str) -> dbgnn.LinkNeighborLoader:
    """Return a loader whose links have their own times, given ones, or those of a task."""
    forms: dict[str, dict[str, Any]] = {
        "own": {"edge_label_index": "wrote"},
        "given": {"edge_label_index": "wrote", "edge_label_time": "t"},
        "task": {"edge_label_index": dbgnn.LinkTask("FROM wrote", source="who", destination="whom", time="t")},
    }
    return dbgnn.LinkNeighborLoader(graph, [3], **OPTIONS | forms[form] | {"time_attr": time_attr})


@pytest.mark.parametrize("form", ["own", "given", "task"])
@pytest.mark.parametrize(("first", "then"), [("t", "nanos"), ("nanos", "t")])
def test_another_unit_is_no_leak(graph: dbgnn.Graph, form: str, first: str, then: str) -> None:
    """Nanoseconds since 1970 would be later than every microsecond."""
    loader = seed_links(graph, form, first)
    next(iter(loader))
    loader.time_attr = then
    with pytest.raises(dbgnn.RequestError, match=f"time_attr is '{then}' now"):
        next(iter(loader))


def test_another_column_is_no_leak(graph: dbgnn.Graph) -> None:
    loader = seed_links(graph, "own", "t")
    loader.time_attr = "back"
    with pytest.raises(dbgnn.RequestError, match="those of the seed links, 't',"):
        next(iter(loader))
    loader.time_attr = None
    assert "edge_label_time" not in next(iter(loader))["wrote"]
    asked = seed_links(graph, "task", "t")  # whose question stays the same
    asked.time_attr = "back"
    assert len(next(iter(asked))["wrote"].edge_label_time) == 16


def test_own_times_that_changed_are_not_used(graph: dbgnn.Graph) -> None:
    own, given = seed_links(graph, "own", "t"), seed_links(graph, "given", "t")
    kept = [batch["wrote"].edge_label_time for batch in given]
    assert all(np.array_equal(batch["wrote"].edge_label_time, time) for batch, time in zip(own, kept, strict=True))
    graph.db.execute("UPDATE wrote SET back = back + INTERVAL 1 DAY")  # of no concern
    list(own)
    graph.db.execute("UPDATE wrote SET t = t - INTERVAL 5 HOUR WHERE who < 5")
    graph.build()
    with pytest.raises(dbgnn.StaleIndexError, match="seed links have other times now"):
        list(own)
    assert all(np.array_equal(batch["wrote"].edge_label_time, time) for batch, time in zip(given, kept, strict=True))
    assert len(list(seed_links(graph, "own", "t"))) == len(kept)
