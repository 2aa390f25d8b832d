"""From ``num_neighbors`` as a user gives it to the fan-out of every edge type."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from torch_geometric.sampler import NumNeighbors

from dbgnn.errors import FanoutError, SchemaError
from dbgnn.indexed_graph import IndexedGraph
from dbgnn.schema.model import EdgeType

#: As PyG takes it: a list, a list per edge type, or a ``torch_geometric.sampler.NumNeighbors`` (untyped, hence Any).
NumNeighborsType: TypeAlias = Sequence[int] | Mapping[EdgeType, Sequence[int]] | Any


def neighbors_asked(num_neighbors: NumNeighborsType, graph: IndexedGraph) -> tuple[dict[EdgeType, list[int]], int]:
    """Return the fan-out of every edge type, in the graph's order, and the number of hops."""
    edge_types = graph.edge_types
    default: Sequence[int] | None = None
    if isinstance(num_neighbors, NumNeighbors):
        num_neighbors, default = num_neighbors.values, num_neighbors.default
    if isinstance(num_neighbors, Mapping):
        given = _by_edge_type(num_neighbors, graph)
        missing = [t for t in edge_types if t not in given]
        if missing and default is None:
            raise SchemaError(f"num_neighbors lacks edge type {missing[0]!r}; give it a list too ([0, …] to leave it out).")
        given |= dict.fromkeys(missing, _hops(default or []))
    else:
        hops = _hops(num_neighbors)
        given = dict.fromkeys(edge_types, hops)
        if not edge_types:
            return {}, len(hops)
    fanout = {t: given[t] for t in edge_types}
    lengths = {len(ks) for ks in fanout.values()}
    if len(lengths) > 1:
        raise FanoutError(f"num_neighbors must have the same number of hops for every edge type, not {fanout}")
    return fanout, lengths.pop() if lengths else 0


def _hops(values: object) -> list[int]:
    """Return the neighbours per hop as integers."""
    wrong = SchemaError(f"num_neighbors must be a list with one integer per hop, such as [15, 10], not {values!r}.")
    if not hasattr(values, "__getitem__") or isinstance(values, Mapping):
        raise wrong  # an iterator would be used up by the first who reads it, and a set has no order
    try:
        hops = [operator.index(k) for k in values if not isinstance(k, bool)]  # type: ignore[attr-defined]
    except TypeError:
        raise wrong from None
    if len(hops) < len(values):  # type: ignore[arg-type]
        raise SchemaError(f"num_neighbors must be a list of integers, not {values!r}.")
    if any(k < -1 for k in hops):
        raise SchemaError(f"num_neighbors must be -1 (all), 0 or more, not {hops}")
    return hops


def _by_edge_type(num_neighbors: Mapping[Any, Any], graph: IndexedGraph) -> dict[EdgeType, list[int]]:
    """Return the fan-out of the edge types that are named."""
    given: dict[EdgeType, list[int]] = {}
    for key, values in num_neighbors.items():
        edge_type = graph.type_names.edge(key, "num_neighbors")
        if edge_type in given:
            raise SchemaError(f"num_neighbors: {edge_type!r} is named twice, the second time as {key!r}; name it once.")
        given[edge_type] = _hops(values)
    return given
