"""What ``where`` means: conditions on edges and on the nodes that they lead to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dbgnn.errors import DbgnnError
from dbgnn.schema.model import EdgeType
from dbgnn.topology.conditions import Conditions

if TYPE_CHECKING:
    from dbgnn.indexed_graph import IndexedGraph


def conditions_asked(graph: IndexedGraph, where: Any, num_hops: int) -> dict[EdgeType, list[Conditions | None]]:  # noqa: ARG001
    """Return, per edge type, the conditions of every hop."""
    if where is not None:
        raise DbgnnError("where is not supported yet; leave it out.")
    return {}
