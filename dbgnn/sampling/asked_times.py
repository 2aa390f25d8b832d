"""What ``time_attr``, ``temporal_strategy`` and ``time_window`` mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dbgnn.errors import RequestError, SchemaError
from dbgnn.schema.catalog import columns
from dbgnn.schema.model import EdgeType
from dbgnn.topology.times import Times, Window

if TYPE_CHECKING:
    from dbgnn.indexed_graph import IndexedGraph


def strategy_asked(given: object) -> str:
    """Return ``"uniform"`` or ``"last"``."""
    if given not in ("uniform", "last"):
        raise RequestError(f"temporal_strategy must be 'uniform' or 'last', not {given!r}.")
    return str(given)


def times_asked(graph: IndexedGraph, time_attr: Any) -> dict[EdgeType, Times]:
    """Return, per edge type, which columns say when; types without the column are timeless."""
    if time_attr is None:
        return {}
    con, found = graph.db.cursor(), {}
    nodes = {v.label: time_attr in columns(con, v.table) for v in graph.definition.vertices}
    for edge in graph.definition.edges:
        times = Times(time_attr if time_attr in columns(con, edge.table) else None, time_attr if nodes[edge.source] else None)
        if times.read:
            found[edge.edge_type] = times
    if not found:
        raise SchemaError(f"time_attr={time_attr!r} is a column of no node or edge table of graph {graph.name!r}.")
    return found


def window_asked(graph: IndexedGraph, time_attr: Any, given: Any) -> Window | None:  # noqa: ARG001
    """Return how far back from a seed's time an edge may be; None: for ever."""
    return None if given is None else Window(int(given))
