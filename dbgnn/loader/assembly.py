"""From a sampler's output and the features that were fetched for it to PyG's `Data` or `HeteroData`, by PyG's own code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch_geometric.data import Data, EdgeAttr, HeteroData
from torch_geometric.sampler.base import SamplerOutput

from dbgnn.loader.batch_keys import BatchKeys, add_keys, read_keys
from dbgnn.loader.relative_times import add_relative_times, relative_times
from dbgnn.schema.model import Label
from dbgnn.stores.sampled_edges import forget
from dbgnn.stores.tensor_attr import NODE_ID, column_name

if TYPE_CHECKING:
    from dbgnn.loader.sampled_loader import SampledLoader
    from dbgnn.stores import DuckDBFeatureStore

#: Features by type and attribute.
Features = Mapping[Label, Mapping[str, Tensor]]

#: Where the features that were fetched for a sampler's output travel with it.
_FETCHED = "_dbgnn_features"


def attach(out: Any, features: Features, keys: BatchKeys) -> None:
    """Send features and keys along with the output that they belong to."""
    vars(out)[_FETCHED] = features, keys


def assemble(loader: SampledLoader, out: Any) -> Data | HeteroData:
    """Return the mini-batch of a sampler's output: its features are those attached, or else fetched now."""
    features, keys = vars(out).pop(_FETCHED, (None, None))
    if keys is None:
        keys = read_keys(loader.data[0], loader.key_columns, out)
    relative = relative_times(loader, out)
    store: Any = _NodeStore(loader.data[0]) if features is None else _Attached(loader.data[0], features)
    # What PyG's function reads of a loader. It would transform before the edge features are there.
    view = SimpleNamespace(
        data=(store, _EdgeTypes(loader.data[0])),
        node_sampler=loader.neighbor_sampler,
        link_sampler=loader.neighbor_sampler,
        input_data=loader.input_data,
        custom_cls=loader.custom_cls,
        transform=None,
        transform_sampler_output=loader.transform_sampler_output if features is None else None,
        **loader.seeds.view(),
    )
    batch: Data | HeteroData = type(loader.seeds).filter_fn(view, out)
    attrs = store.edge_tensor_attrs() if loader.has_edge_features else []
    for attr in attrs:
        attr.index = batch.e_id if isinstance(batch, Data) else batch[attr.group_name].e_id
    for attr, tensor in zip(attrs, store.multi_get_tensor(attrs) if attrs else [], strict=True):
        place = batch if isinstance(out, SamplerOutput) else batch[attr.group_name]
        place[attr.attr_name] = tensor
    add_relative_times(batch, relative)
    add_keys(batch, keys)
    loader.seeds.finish(batch)
    return batch


class _NodeStore:
    """As much of a feature store as PyG asks for. It lists nodes only: edges are fetched here, for any sampler's output."""

    def __init__(self, store: DuckDBFeatureStore) -> None:
        self.get_all_tensor_attrs = store.node_tensor_attrs
        self.edge_tensor_attrs = store.edge_tensor_attrs
        self.multi_get_tensor = store.multi_get_tensor


class _EdgeTypes:
    """As much of a graph store as PyG asks for once the edges are sampled: their types, without a look at the tables."""

    def __init__(self, store: DuckDBFeatureStore) -> None:
        self._store = store

    def get_all_edge_attrs(self) -> list[EdgeAttr]:
        """Return an attribute for every edge type."""
        types = [None] if self._store.homogeneous else self._store.graph.edge_types
        return [EdgeAttr(edge_type, "csc") for edge_type in types]


class _Attached:
    """The same over features that are there already."""

    def __init__(self, store: DuckDBFeatureStore, features: Features) -> None:
        self._store, self._features = store, features

    def get_all_tensor_attrs(self) -> list[Any]:
        """Return those of the store's that were fetched; a column that came since was not."""
        labels = self._store.graph.node_types
        return [self._store.tensor_attr(t, name) for t in labels for name in self._features.get(t, (NODE_ID,))]

    def edge_tensor_attrs(self) -> list[Any]:
        """Return those of the store's edge attributes that were fetched."""
        return [self._store.tensor_attr(t, name) for t in self._store.graph.edge_types for name in self._features.get(t, ())]

    def multi_get_tensor(self, attrs: Sequence[Any]) -> list[Tensor]:
        """Return the features; ids stand for themselves."""
        for attr in attrs:
            forget(attr.index)
        return [self._tensor(attr) for attr in attrs]

    def _tensor(self, attr: Any) -> Tensor:
        of_type = self._features.get(self._store.label(attr.group_name))
        ids: Tensor = attr.index
        return ids.clone() if of_type is None else of_type[column_name(attr.attr_name)]
