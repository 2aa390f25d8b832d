"""What ``weight_attr`` means."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dbgnn.errors import RequestError, SchemaError, near_misses
from dbgnn.schema.catalog import columns, folded
from dbgnn.schema.model import EdgeType
from dbgnn.topology.weights import Weights, weight_sql

if TYPE_CHECKING:
    from dbgnn.indexed_graph import IndexedGraph


def weights_asked(graph: IndexedGraph, weight_attr: Any) -> dict[EdgeType, Weights]:
    """Return, per edge type, which column says how likely its edges are; types without the column are uniform.

    Raises:
        RequestError: It is no name.
        SchemaError: No edge table has such a column, or one has it, but not of numbers.
    """
    if weight_attr is None:
        return {}
    if not isinstance(weight_attr, str):
        raise RequestError(f"weight_attr must be the name of a column of edge tables, not {weight_attr!r}.")
    con, found = graph.db.cursor(), {}
    known: dict[str, None] = {}
    for edge in graph.definition.edges:
        there = columns(con, edge.table)
        known |= dict.fromkeys(there)
        for name in there:
            if folded(name) == folded(weight_attr):
                weight_sql(con, edge, name)
                found[edge.edge_type] = Weights(name)
    if not found:
        of = f"weight_attr={weight_attr!r} is a column of no edge table of graph {graph.name!r}"
        raise SchemaError(of + near_misses(weight_attr, known))
    return found
