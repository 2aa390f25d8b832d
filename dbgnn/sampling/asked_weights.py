"""What ``weight_attr`` means."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dbgnn.errors import DbgnnError
from dbgnn.schema.model import EdgeType
from dbgnn.topology.weights import Weights

if TYPE_CHECKING:
    from dbgnn.indexed_graph import IndexedGraph


def weights_asked(graph: IndexedGraph, weight_attr: Any) -> dict[EdgeType, Weights]:  # noqa: ARG001
    """Return, per edge type, which column says how likely its edges are; types without the column are uniform."""
    if weight_attr is not None:
        raise DbgnnError("weight_attr is not supported yet; leave it out.")
    return {}
