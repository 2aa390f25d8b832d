"""What ``where`` means: conditions on edges and on the nodes that they lead to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from dbgnn.errors import RequestError, SchemaError
from dbgnn.sampling.batch import ends_of
from dbgnn.schema.model import EdgeTable, EdgeType, VertexTable, shown_type
from dbgnn.topology.conditions import Conditions, check_condition

if TYPE_CHECKING:
    from dbgnn.indexed_graph import IndexedGraph

#: One condition per hop; None: none.
_Hops: TypeAlias = list[str | None]


def conditions_asked(
    graph: IndexedGraph, where: Any, num_hops: int, *, backward: bool
) -> dict[EdgeType, list[Conditions | None]]:
    """Return, per edge type, the conditions of every hop; without a hop those of an induced subgraph.

    Raises:
        RequestError: It is no mapping, a condition is no text, or there are more or fewer of them than hops.
        SchemaError: No edge leads to a node type that has a condition, or a name means several types, or one type twice.
        SqlError: A condition is not one, over the columns of its table.
        UnknownNameError: There is no such type.
    """
    if where is None:
        return {}
    if not isinstance(where, Mapping):
        raise RequestError(
            f"where must be a mapping from types to conditions, such as {{'rates': 'rating >= 4'}}, not {where!r}."
        )
    given = {label: _hops(label, value, num_hops) for label, value in graph.type_names.by_type(where, "where").items()}
    con = graph.db.cursor()
    elements: dict[str | EdgeType, VertexTable | EdgeTable] = {vertex.label: vertex for vertex in graph.definition.vertices}
    elements |= {edge.edge_type: edge for edge in graph.definition.edges}
    for label, hops in given.items():
        for text in dict.fromkeys(text for text in hops if text is not None):
            check_condition(con, elements[label], text)
    far = {edge_type: ends_of(edge_type, backward=backward)[1] for edge_type in graph.edge_types}
    for label in given:
        if isinstance(label, str) and label not in far.values():
            raise SchemaError(f"where: no edge leads to a node of type {label!r}, so its condition narrows nothing.")
    none: _Hops = [None] * max(num_hops, 1)
    found = {}
    for edge_type, label in far.items():
        pairs = zip(given.get(edge_type, none), given.get(label, none), strict=True)
        conditions = [None if edge is None and node is None else Conditions(edge, node) for edge, node in pairs]
        if any(conditions):
            found[edge_type] = conditions
    return found


def _hops(label: str | EdgeType, value: Any, num_hops: int) -> _Hops:
    """Return a condition for every hop."""
    several = isinstance(value, (list, tuple))
    hops = list(value) if several else [value] * max(num_hops, 1)
    wrong = [text for text in hops if not isinstance(text, str) and text is not None]
    if wrong:
        raise RequestError(
            f"where of {shown_type(label)} must be a condition, such as 'rating >= 4', or one per hop, not {value!r}."
        )
    if several and len(hops) != num_hops:
        raise RequestError(
            f"where of {shown_type(label)} has {len(hops)} conditions for {num_hops} hops; give one for each, None for none."
        )
    return hops
