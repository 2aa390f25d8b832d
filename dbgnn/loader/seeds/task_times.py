"""The times of a task's rows: in the unit of a sampler that samples by time, and what is said where none does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from dbgnn.display import warn
from dbgnn.errors import RequestError, SchemaError
from dbgnn.loader.seeds.task_rows import TaskRows
from dbgnn.sampling.given_times import given_times
from dbgnn.sampling.sampler import NeighborSampler
from dbgnn.schema.catalog import columns
from dbgnn.sql import quote
from dbgnn.stores.source import key_columns
from dbgnn.topology.times import MICROSECONDS, NUMBER, Timeline, unit_of

if TYPE_CHECKING:
    from dbgnn.indexed_graph import IndexedGraph


def timeline_of(sampler: Any) -> Timeline | None:
    """Return which columns say when to a sampler; None: it does not sample by time, or is of another kind."""
    return sampler.fanout.timeline if isinstance(sampler, NeighborSampler) else None


def times_of_rows(graph: IndexedGraph, rows: TaskRows, timeline: Timeline) -> Tensor:
    """Return the times of a task's rows, int64 ``[n]``, in the unit of a sampler.

    Raises:
        RequestError: They are not exact in it.
        SchemaError: They are integers, and those of the graph dates or timestamps, or the other way round.
    """
    assert rows.times is not None
    assert rows.time_column is not None
    name, kind = rows.time_column
    said = f"time={name!r} of {rows.called}"
    if (rows.times.dtype.kind == "i") != (timeline.unit == NUMBER):
        column = next(iter([*timeline.nodes.values(), *timeline.edges.values()])).name
        numbers = "integers", "epoch(…)::BIGINT"
        theirs, cast = numbers if timeline.unit == NUMBER else ("dates or timestamps", "to_timestamp(…)::TIMESTAMP")
        raise SchemaError(
            f"{said} is {kind}, and the times of the graph (time_attr={column!r}) are {theirs}; they cannot be compared. "
            f"Convert it in the query, such as by {cast}."
        )
    micros = rows.times.astype(f"datetime64[{MICROSECONDS}]") if timeline.unit == MICROSECONDS else rows.times
    if not np.array_equal(micros, rows.times):
        raise RequestError(
            f"{said} is {kind}, and the times of the graph are in microseconds, which cannot hold all of it exactly. Cast it "
            f"in the query: {quote(name)}::TIMESTAMP AS {quote(name)}."
        )
    return given_times(graph, rows.label, rows.ends[0].numpy(), rows.times, timeline.unit, said)


def warn_of_leak(graph: IndexedGraph, rows: TaskRows, sampler: Any, *, stacklevel: int) -> None:
    """Say so where a task has times, and the sampler takes no notice of them although a table of the graph says when.

    Args:
        graph: The graph.
        rows: The rows of the task.
        sampler: What samples around them.
        stacklevel: As of `warnings.warn`, from the caller on.
    """
    if not isinstance(sampler, NeighborSampler) or timeline_of(sampler) is not None:
        return
    if found := _says_when(graph, rows):
        said = [f"{n!r}, a column of table{'s' * (len(of) > 1)} {' and '.join(map(repr, of))}" for n, of in found.items()]
        remedy = f"Give time_attr={said[0]}"
        if len(found) > 1:
            alike = "Columns of that name alone are heeded: where several matter, name them alike"
            remedy = f"Give time_attr={', or '.join(said)}. {alike}"
        warn(
            f"{rows.called[:1].upper()}{rows.called[1:]} has times, and the loader samples without them, so mini-batches hold "
            f"what came later than their seeds. {remedy}; or leave time out of the task.",
            stacklevel=stacklevel + 1,
        )


def _says_when(graph: IndexedGraph, rows: TaskRows) -> dict[str, list[str]]:
    """Return the columns of dates or timestamps that are no keys, with their tables, where the times of the task are such."""
    found: dict[str, list[str]] = {}
    if rows.times is None or rows.times.dtype.kind == "i":
        return found
    con = graph.db.cursor()
    for element in graph.definition.elements:
        for name, kind in columns(con, element.table).items():
            if unit_of(kind) in (None, NUMBER) or name in key_columns(element):
                continue
            tables = found.setdefault(name, [])
            if str(element.table) not in tables:  # one that serves several edge types
                tables.append(str(element.table))
    return found
