"""Edges the other way round, in both directions, and self loops, on a `HeteroData` in memory.

After PyG's `ToUndirected` and `AddRemainingSelfLoops`, but for every attribute of the edges.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import HeteroData
from torch_geometric.utils import add_remaining_self_loops, coalesce

from dbgnn.errors import SchemaError, near_misses
from dbgnn.schema import EdgeType

#: What `undirected` may be called beside True: how attributes of duplicate edges are merged.
_REDUCTIONS = ("add", "mean", "min", "max", "first")

#: The attributes for which PyG gives a new self loop 1.
_LOOP_WEIGHTS = frozenset({"edge_weight", "edge_attr"})

#: What torch does not add up or compare.
_UNMERGED = (torch.uint16, torch.uint32, torch.uint64)


def add_reverse(
    data: HeteroData,
    *,
    reverse: bool = False,
    undirected: bool | str = False,
    self_loops: bool = False,
    masks: Mapping[EdgeType, Collection[str]] | None = None,
) -> None:
    """Add edges to ``data``, in place.

    Args:
        data: The graph; every edge type has an ``edge_index``, and its other attributes one row per edge.
        reverse: For every edge type ``(s, r, d)`` add a type ``(d, 'rev_r', s)`` with the ends exchanged and the very same
            attribute tensors. Types that ``undirected`` made their own reverse are left out.
        undirected: Edge types with equal ends get every edge in both directions: first those there are, then their reverses,
            with the same attributes. ``'add'``, ``'mean'``, ``'min'``, ``'max'`` or ``'first'``: duplicates are merged as
            PyG's ``ToUndirected`` does, which sorts the edges by source and destination. Booleans are merged by "or"; means
            of integers are float32.
        self_loops: Edge types with equal ends end in one self loop for every node. A node's own is kept (one of them), a
            new one has 1 for ``edge_weight`` and ``edge_attr``, and False for booleans such as masks.

        masks: By edge type, the masks of a split. Of merged edges they are those of any of them, however they are merged: the
            caller has seen to it that the edges are in one part (:mod:`dbgnn.queries.pairs`).

    Raises:
        SchemaError: An unknown reduction; a type ``rev_…`` is there already; an attribute cannot be repeated or merged, or a
            self loop has no value for it.
    """
    if isinstance(undirected, str) and undirected not in _REDUCTIONS:
        raise SchemaError(
            f"undirected must be True, False or a reduction, not {undirected!r}{near_misses(undirected, _REDUCTIONS)}"
        )
    given: list[EdgeType] = list(data.edge_types)
    for edge_type in given:
        is_equal = edge_type[0] == edge_type[2]
        if undirected and is_equal:
            of_split = (masks or {}).get(edge_type, ())
            _make_undirected(data, edge_type, of_split, reduce=None if undirected is True else str(undirected))
        elif reverse:
            _add_type(data, edge_type, given)
    if self_loops:
        for edge_type in data.edge_types:
            if edge_type[0] == edge_type[2]:
                _add_self_loops(data, edge_type)


def _add_type(data: HeteroData, edge_type: EdgeType, given: list[EdgeType]) -> None:
    source, relation, destination = edge_type
    other = (destination, f"rev_{relation}", source)
    if other in given:
        raise SchemaError(
            f"reverse=True gives the edges {edge_type!r} a type {other!r}, which is there already. Leave one out."
        )
    store = data[edge_type]
    for name, value in store.items():
        data[other][name] = value.flip(0) if name == "edge_index" else value


def _make_undirected(data: HeteroData, edge_type: EdgeType, masks: Collection[str], *, reduce: str | None) -> None:
    store = data[edge_type]
    num_edges = store.edge_index.size(1)
    edge_index = torch.cat([store.edge_index, store.edge_index.flip(0)], dim=1)
    twice = torch.arange(num_edges).repeat(2)
    attributes = {name: _taken(value, twice, name, edge_type) for name, value in store.items() if name != "edge_index"}
    if reduce is not None:
        num_nodes = data[edge_type[0]].num_nodes
        of_split = {name: attributes[name] for name in masks}
        found = _any(edge_index, of_split, num_nodes)
        edge_index, attributes = _merged(edge_index, attributes, num_nodes, reduce, edge_type)
        attributes |= found
    store.edge_index = edge_index
    for name, value in attributes.items():
        store[name] = value


def _taken(value: Any, rows: Tensor, name: str, edge_type: EdgeType) -> Any:
    """Return rows of an attribute: of a tensor, a list, or what else is indexed by a tensor, such as a `TensorFrame`."""
    if isinstance(value, list):
        return [value[i] for i in rows.tolist()]
    try:
        return value[rows]
    except (TypeError, LookupError, RuntimeError) as error:
        raise SchemaError(
            f"The attribute {name!r} of the edges {edge_type!r} is a {type(value).__name__}, which cannot be given to edges "
            "in both directions. Use reverse=True, or leave it out."
        ) from error


def _merged(
    edge_index: Tensor, attributes: dict[str, Any], num_nodes: int, reduce: str, edge_type: EdgeType
) -> tuple[Tensor, dict[str, Any]]:
    """Merge edges of the same ends; those that come out are sorted by source and destination."""
    if reduce == "first":
        # The least position among duplicates, so that any attribute can follow it.
        edge_index, first = coalesce(edge_index, torch.arange(edge_index.size(1)), num_nodes, reduce="min")
        return edge_index, {name: _taken(value, first, name, edge_type) for name, value in attributes.items()}
    for name, value in attributes.items():
        if not isinstance(value, Tensor) or value.dtype in _UNMERGED:
            kind = value.dtype if isinstance(value, Tensor) else type(value).__name__
            raise SchemaError(
                f"The attribute {name!r} of the edges {edge_type!r} is {kind}, which is not merged by {reduce!r}. Use "
                "undirected='first', or leave it out."
            )
    flags = {name for name, value in attributes.items() if value.dtype == torch.bool}
    others = {name: value for name, value in attributes.items() if name not in flags}
    found, values = coalesce(edge_index, list(others.values()), num_nodes, reduce)
    merged = dict(zip(others, values, strict=True))
    if reduce == "mean":
        merged = {name: value if value.is_floating_point() else value.float() for name, value in merged.items()}
    merged |= _any(edge_index, {name: value for name, value in attributes.items() if name in flags}, num_nodes)
    return found, {name: merged[name] for name in attributes}


def _any(edge_index: Tensor, flags: Mapping[str, Tensor], num_nodes: int) -> dict[str, Tensor]:
    """Return booleans of merged edges: whether that of any of them is True."""
    if not flags:
        return {}
    values = coalesce(edge_index, [value.byte() for value in flags.values()], num_nodes, "max")[1]
    return {name: value.bool() for name, value in zip(flags, values, strict=True)}


def _add_self_loops(data: HeteroData, edge_type: EdgeType) -> None:
    store = data[edge_type]
    before, num_nodes = store.edge_index, data[edge_type[0]].num_nodes
    store.edge_index, _ = add_remaining_self_loops(before, num_nodes=num_nodes)
    for name, value in store.items():
        if name == "edge_index":
            continue
        is_bool = isinstance(value, Tensor) and value.dtype == torch.bool
        if not is_bool and (name not in _LOOP_WEIGHTS or not isinstance(value, Tensor)):
            raise SchemaError(
                f"self_loops=True: a self loop has no value for the attribute {name!r} of the edges {edge_type!r}. Leave it "
                "out, call it edge_weight if 1 is right for it, or add self loops to the table."
            )
        store[name] = add_remaining_self_loops(before, value, 0.0 if is_bool else 1.0, num_nodes)[1]
