"""What `multi_get_tensor` is asked for, as one request for each type and index: each is one statement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor
from torch_geometric.data import TensorAttr

from dbgnn.display import warn
from dbgnn.schema.model import Label
from dbgnn.stores.binding import Binding
from dbgnn.stores.sampled_edges import edge_ids, forget
from dbgnn.stores.tensor_attr import ListedEdgeAttr, column_name, same_index


@dataclass(frozen=True, slots=True)
class TensorRequest:
    """The attributes of one type that are asked for with one index.

    Attributes:
        label: The node or edge type.
        index: The index, as it was given, or the edge ids that it leads to.
        names: The names of the attributes, as PyG sees them.
        places: Where each stands among all that was asked for.
    """

    label: Label
    index: Any
    names: list[str] = field(default_factory=list)
    places: list[int] = field(default_factory=list)


def requests_of(binding: Binding, attrs: Sequence[TensorAttr]) -> list[TensorRequest]:
    """Return the requests; an attribute of edges whose index may be of nodes is in none, and warned of."""
    requests: list[TensorRequest] = []
    lacking: list[TensorAttr] = []
    for i, attr in enumerate(attrs):
        label = binding.label(attr.group_name)
        asked = attr.index if isinstance(label, str) or (ids := edge_ids(attr.index)) is None else ids
        if isinstance(attr, ListedEdgeAttr) and asked is attr.index and isinstance(asked, Tensor):
            lacking.append(attr)
            continue
        request = next((r for r in requests if r.label == label and same_index(r.index, asked)), None)
        if request is None:
            requests.append(request := TensorRequest(label, asked))
        request.names.append(column_name(attr.attr_name))
        request.places.append(i)
    for attr in attrs:
        forget(attr.index)
    if lacking:
        names = sorted({str(attr.attr_name) for attr in lacking})
        warn(
            f"The edge attributes {names} were asked for with ids that may be those of nodes: that is all that PyG's loaders "
            "have from another sampler than dbgnn's, so mini-batches lack these attributes. Use dbgnn.NeighborSampler or "
            "dbgnn.NeighborLoader; or name the edge type: store.get_tensor(edge_type, name, index=e_id).",
            stacklevel=4,
        )
    return requests
