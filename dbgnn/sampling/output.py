"""PyG's sampler outputs, whose node ids also lead PyG's loaders to the features of the sampled edges.

PyG's loaders ask a feature store for every attribute it lists with ``out.node`` as index: a tensor, or if heterogeneous what
it holds for the attribute's group. Edges have no other way in. So the node ids of a homogeneous output know the output, and
the store takes the ids of its edges from there (`stores/sampled_edges.py`); those of a heterogeneous one also answer for edge
types.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch_geometric.sampler import HeteroSamplerOutput, SamplerOutput

from dbgnn.errors import RequestError
from dbgnn.sampling.khop import Subgraph
from dbgnn.sampling.relabel import Ids
from dbgnn.schema.model import EdgeType, Label
from dbgnn.stores.sampled_edges import FETCHED, EdgeIds, link

#: Makes an uninitialised tensor of a shape and a dtype (by NumPy's name).
Empty: TypeAlias = Callable[[tuple[int, ...], str], Tensor]

#: Where a sampler's output has how long before its seed each node and edge was, by type in the property graph.
RELATIVE = "_dbgnn_relative_times"

_BY_ITSELF = (
    "transform_sampler_output returned an output that it made by itself, so it cannot be said whether its edges are those "
    "whose features were fetched. Change the output that it is given, or use dataclasses.replace()."
)


class _Nodes(dict[Any, Tensor]):
    """Node ids by node type, and for those who ask for an edge type by name, the ids of its edges."""

    def __init__(self, nodes: Mapping[Any, Tensor], out: HeteroOutput) -> None:
        super().__init__(nodes)
        self._owner = weakref.ref(out)  # an output holds its nodes: mini-batches must not wait for the garbage collector
        self._asked = False

    def of(self, out: HeteroOutput) -> bool:
        """Whether they are the nodes of this very output, and not of one that it was copied from."""
        return self._owner() is out

    def first_use(self) -> _Nodes:
        """Return them as if no edge type had been asked for."""
        self._asked = False
        return self

    def _out(self) -> HeteroOutput:
        out = self._owner()
        if out is None:
            raise RequestError(_BY_ITSELF)
        return out

    def __contains__(self, key: object) -> bool:
        return super().__contains__(key) or (isinstance(key, tuple) and key in self._out().row)

    def __missing__(self, key: EdgeType) -> EdgeIds:
        if key not in self:
            raise KeyError(key)
        self._asked = True
        ids = (self._out().edge or {}).get(key)
        if ids is None:
            raise RequestError(
                f"The sampled edges of {key!r} have no ids, so their features cannot be fetched: PyG's bidirectional "
                f"subgraphs of heterogeneous graphs have none. Leave the features out with columns={{{key!r}: []}}."
            )
        return EdgeIds(ids)

    def items(self) -> Any:
        if self._asked:  # PyG asks an output of ours for its nodes once more, which is their first use again
            raise RequestError(_BY_ITSELF)
        return super().items()

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(super().items()),)


class HeteroOutput(HeteroSamplerOutput):
    """PyG's output; ``node`` also answers for edge types."""

    @property
    def node(self) -> Any:
        """Node ids by node type: one dict, which may be changed in place."""
        nodes = self.__dict__["node"]
        if not (isinstance(nodes, _Nodes) and nodes.of(self)):
            nodes = self.__dict__["node"] = _Nodes(nodes, self)
        return nodes.first_use()

    @node.setter
    def node(self, nodes: Mapping[Any, Tensor]) -> None:
        self.__dict__["node"] = nodes


class Output(SamplerOutput):
    """PyG's output; ``node`` leads to ``edge`` until features were fetched with it."""

    @property
    def node(self) -> Any:
        """Node ids."""
        ids = self.__dict__["node"]
        if not self.__dict__.pop(FETCHED, False) and isinstance(ids, Tensor):
            link(ids, self)
        return ids

    @node.setter
    def node(self, ids: Tensor) -> None:
        self.__dict__["node"] = ids


# -- making them -----------------------------------------------------------------------------------------


def hetero_output(found: Subgraph, empty: Empty, *, disjoint: bool) -> HeteroSamplerOutput:
    """Return a subgraph as PyG's output, of int64 tensors."""

    def tensors(arrays: Mapping[Any, Ids]) -> dict[Any, Tensor]:
        return {key: _tensor(array, empty) for key, array in arrays.items()}

    induced = found.num_edges is None
    out = HeteroOutput(
        node=tensors(found.node),
        row=tensors(found.row),
        col=tensors(found.col),
        edge=tensors(found.edge),
        batch=tensors(found.tree) if disjoint else None,
        num_sampled_nodes=None if induced else found.num_nodes,
        num_sampled_edges=found.num_edges,
    )
    return _with_relative_times(out, tensors(found.relative))


def homogeneous_output(found: Subgraph, empty: Empty, *, disjoint: bool) -> SamplerOutput:
    """Return a subgraph of a graph without type names as PyG's output, of int64 tensors."""
    (label,), edge_types = found.node, list(found.row)
    row, col, edge = (
        _tensor(part[edge_types[0]] if edge_types else np.empty(0, dtype=np.int64), empty)
        for part in (found.row, found.col, found.edge)
    )
    induced = found.num_edges is None
    out = Output(
        node=_tensor(found.node[label], empty),
        row=row,
        col=col,
        edge=edge,
        batch=_tensor(found.tree[label], empty) if disjoint else None,
        num_sampled_nodes=None if induced else found.num_nodes[label],
        num_sampled_edges=None if found.num_edges is None or not edge_types else found.num_edges[edge_types[0]],
    )
    return _with_relative_times(out, {type_: _tensor(times, empty) for type_, times in found.relative.items()})


def _with_relative_times(out: Any, times: Mapping[Label, Tensor]) -> Any:
    if times:
        vars(out)[RELATIVE] = times
    return out


def _tensor(array: Ids, empty: Empty) -> Tensor:
    """Return an array as an int64 tensor."""
    tensor = empty((len(array),), "int64")
    tensor.numpy()[:] = array
    return tensor


def fresh(shape: tuple[int, ...], dtype: str) -> Tensor:
    """Return an uninitialised tensor in memory of its own."""
    return torch.empty(shape, dtype=getattr(torch, dtype))
