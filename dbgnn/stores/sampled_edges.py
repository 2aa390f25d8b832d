"""How an index that PyG's loaders hand to a store leads to the ids of sampled edges; `sampling/output.py` lays the trail."""

from __future__ import annotations

import weakref
from typing import Any

from torch import Tensor
from torch_geometric.sampler import SamplerOutput

#: The attribute of a tensor of node ids that says which output they are of.
_OUTPUT = "_dbgnn_output"

#: In an output whose features were fetched just now: who asks for its node ids next puts them into a mini-batch.
FETCHED = "_dbgnn_fetched"


class EdgeIds:
    """The ids of sampled edges, where PyG expects an index of node ids.

    Attributes:
        ids: int64 ``[edges]``.
    """

    def __init__(self, ids: Tensor) -> None:
        self.ids = ids

    def size(self, dim: int) -> None:
        """Return None, which PyG sets as the number of nodes of the edge type: so it sets none."""


class _Link:
    """Which output node ids are of; it keeps nothing alive, and no copy of the ids has it."""

    def __init__(self, out: SamplerOutput | None = None) -> None:
        self.out = None if out is None else weakref.ref(out)

    def __reduce__(self) -> tuple[Any, ...]:
        return _Link, ()


def link(ids: Tensor, out: SamplerOutput) -> None:
    """Have the node ids of an output lead to the ids of its edges."""
    setattr(ids, _OUTPUT, _Link(out))


def edge_ids(index: Any) -> Tensor | None:
    """Return the edge ids that an index set by PyG's loaders leads to; None if it leads to none."""
    if isinstance(index, EdgeIds):
        return index.ids
    found: _Link | None = getattr(index, _OUTPUT, None)
    out = None if found is None or found.out is None else found.out()
    return None if out is None else out.edge


def forget(index: Any) -> None:
    """Take from node ids what leads to edge ids: they become a part of the mini-batch."""
    found: _Link | None = getattr(index, _OUTPUT, None)
    if found is not None:
        delattr(index, _OUTPUT)
        out = None if found.out is None else found.out()
        if out is not None:
            out.__dict__[FETCHED] = True
