"""`NeighborLoader`: PyG's loader of the same name, over the stores, without pyg-lib or torch-sparse."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch_geometric.data import Data, HeteroData
from torch_geometric.loader import NodeLoader
from torch_geometric.sampler import BaseSampler, NodeSamplerInput
from torch_geometric.sampler.base import HeteroSamplerOutput, SamplerOutput, SubgraphType

from dbgnn.errors import ConnectionError, DbgnnError, RequestError, StaleIndexError
from dbgnn.graph import Graph
from dbgnn.loader.seeds import NumberedBatch, NumberedBatches, SeedDataset, input_nodes
from dbgnn.sampling.sampler import NeighborSampler, NumNeighborsType

if TYPE_CHECKING:
    from dbgnn.stores import DuckDBFeatureStore, DuckDBGraphStore


class NeighborLoader(NodeLoader):
    """Mini-batches of sampled neighborhoods with their features, straight from the database.

    The signature is that of ``torch_geometric.loader.NeighborLoader``. Batches are ``HeteroData``, or ``Data`` if the
    stores are homogeneous. Unlike PyG's, it fetches edge features (by ``e_id``), takes seeds in every form, SQL
    included, and gives the same batches for the same ``seed`` whatever ``num_workers`` and threads.

    Args:
        data: ``(feature_store, graph_store)`` of :meth:`dbgnn.Database.get_torch_geometric_remote_backend`, or a
            :class:`dbgnn.Graph`, whose stores are opened.
        num_neighbors: Neighbors per node and hop, as a list, or a list per edge type; -1: all.
        input_nodes: The seeds: a node type; ids as list, range, array or tensor; a mask; a SQL predicate such as
            ``"split = 'train'"``; None for all; or a pair of a node type and one of these. The node type may be left
            out where there is only one.
        replace, subgraph_type, disjoint: See :class:`dbgnn.NeighborSampler`.
        input_time, temporal_strategy, time_attr, weight_attr: As in PyG; not supported yet.
        transform: Called with every batch.
        transform_sampler_output: Called with every sampler output.
        is_sorted: As in PyG, without effect.
        filter_per_worker: Fetch features in the workers (default) or in the main process.
        neighbor_sampler: A sampler to use instead of one made from the arguments above.
        directed: PyG's deprecated argument; leave it True.
        custom_cls: The class of the batches.
        input_id: The ``input_id`` of the seeds, a tensor; default: their position among the seeds.
        seed: The seed of the sample. The order of ``shuffle`` is torch's (``generator`` or ``torch.manual_seed``).
        **kwargs: Arguments of ``torch.utils.data.DataLoader``, such as ``batch_size``, ``shuffle``, ``num_workers``.

    Raises:
        StaleIndexError: Nodes came or went since the loader was made; raised when it is used.
        ConnectionError: ``num_workers > 0``, but the database is not a file opened read-only.
        RequestError, SqlError, UnknownNameError: See :func:`dbgnn.loader.seeds.input_nodes`.
    """

    def __init__(
        self,
        data: tuple[DuckDBFeatureStore, DuckDBGraphStore] | Graph,
        num_neighbors: NumNeighborsType,
        input_nodes: object = None,
        input_time: Tensor | None = None,
        replace: bool = False,  # noqa: FBT001, FBT002 - PyG's signature
        subgraph_type: SubgraphType | str = "directional",
        disjoint: bool = False,  # noqa: FBT001, FBT002 - PyG's signature
        temporal_strategy: str = "uniform",
        time_attr: str | None = None,
        weight_attr: str | None = None,
        transform: Callable[[Any], Any] | None = None,
        transform_sampler_output: Callable[[Any], Any] | None = None,
        is_sorted: bool = False,  # noqa: FBT001, FBT002 - PyG's signature
        filter_per_worker: bool | None = None,  # noqa: FBT001 - PyG's signature
        neighbor_sampler: BaseSampler | None = None,
        directed: bool = True,  # noqa: FBT001, FBT002 - PyG's signature
        custom_cls: Any = None,
        input_id: Tensor | None = None,
        *,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        if input_time is not None:
            raise DbgnnError("input_time is not supported yet; leave it out.")
        if not directed:
            raise DbgnnError("directed=False is PyG's old name for subgraph_type='induced'; use that.")
        if kwargs.get("batch_size", 1) is None:
            raise DbgnnError("batch_size=None makes no mini-batches; give a number, or a batch_sampler.")
        if isinstance(data, Graph):
            data = data.db.get_torch_geometric_remote_backend(data)
        if neighbor_sampler is None:
            neighbor_sampler = NeighborSampler(
                data,
                num_neighbors,
                subgraph_type=subgraph_type,
                replace=replace,
                disjoint=disjoint,
                temporal_strategy=temporal_strategy,
                time_attr=time_attr,
                weight_attr=weight_attr,
                is_sorted=is_sorted,
                seed=seed,
            )
        # From here on what NodeLoader.__init__ does, but for the seeds' forms and the numbered batches.
        self.data = data
        self.node_sampler = neighbor_sampler
        self.input_nodes = input_nodes
        self.input_time = None
        self.transform = None  # PyG's filter_fn would call it before the edge features are there
        self.batch_transform = transform
        self.transform_sampler_output = transform_sampler_output
        self.filter_per_worker = True if filter_per_worker is None else filter_per_worker
        self.custom_cls = custom_cls
        self.input_id = input_id
        store = data[0]
        self._check_workers(kwargs.get("num_workers", 0))
        self._edge_attrs = store.edge_tensor_attrs()
        if (
            self._edge_attrs
            and not store.homogeneous
            and getattr(neighbor_sampler, "subgraph_type", None) == SubgraphType.bidirectional
        ):
            raise DbgnnError(
                "PyG's bidirectional subgraphs of heterogeneous graphs have no edge ids, so edge features cannot be fetched: "
                f"leave out {[(a.group_name, a.attr_name) for a in self._edge_attrs]} with columns={{edge_type: []}}."
            )
        label, nodes = _seeds(store, input_nodes)
        if input_id is not None and len(input_id) != len(nodes):
            raise RequestError(f"input_id has {len(input_id):,} entries for {len(nodes):,} seeds; give one per seed.")
        self._seed_label = store.graph.node_types[0] if label is None else label
        self._seed_keys = self._current_keys()
        self.input_data = NodeSamplerInput(input_id=input_id, node=nodes, time=None, input_type=label)
        kwargs.pop("dataset", None)
        kwargs.pop("collate_fn", None)
        torch.utils.data.DataLoader.__init__(self, SeedDataset(len(nodes)), collate_fn=self.collate_fn, **kwargs)
        self._batches = NumberedBatches(self.batch_sampler) if self.batch_sampler is not None else None

    def _check_workers(self, num_workers: int) -> None:
        db = self.data[0].graph.db
        if num_workers and (not db.read_only or db.in_memory):
            raise ConnectionError(
                f"num_workers={num_workers} needs {db!s} to be a file opened read-only, since a database open for writing "
                "excludes every other process: dbgnn.connect(path, read_only=True), or use num_workers=0."
            )

    def _current_keys(self) -> str:
        keys: str = self.data[0].graph.topology().vertices[self._seed_label].keys
        return keys

    @property
    def _index_sampler(self) -> Any:
        """What torch draws batches from: numbered, so that a worker knows which batch of which epoch it samples."""
        return super()._index_sampler if self._batches is None else self._batches

    def collate_fn(self, index: Sequence[int] | Tensor) -> Any:
        """Sample the subgraph of one batch of seeds, and fetch its features unless the main process is to."""
        if self._current_keys() != self._seed_keys:
            raise StaleIndexError(
                f"Nodes of type {self._seed_label!r} were added, removed or given other keys since this loader was made, so "
                "its seeds are other nodes now. Make the loader again."
            )
        inputs = self.input_data[index]
        if isinstance(index, NumberedBatch) and isinstance(self.node_sampler, NeighborSampler):
            out = self.node_sampler.sample_from_nodes(inputs, epoch=index.epoch, batch=index.number)
        else:
            out = self.node_sampler.sample_from_nodes(inputs)
        return self.filter_fn(out) if self.filter_per_worker else out

    def filter_fn(self, out: SamplerOutput | HeteroSamplerOutput) -> Data | HeteroData:
        """Join a sampled subgraph with the features of its nodes and edges."""
        batch = super().filter_fn(out)
        for attr, tensor in zip(*self._edge_features(batch), strict=True):
            store = batch if attr.group_name is None or isinstance(out, SamplerOutput) else batch[attr.group_name]
            store[attr.attr_name] = tensor
        return batch if self.batch_transform is None else self.batch_transform(batch)

    def _edge_features(self, batch: Data | HeteroData) -> tuple[list[Any], list[Tensor]]:
        attrs = self.data[0].edge_tensor_attrs() if self._edge_attrs else []
        for attr in attrs:
            attr.index = batch.e_id if isinstance(batch, Data) else batch[attr.group_name].e_id
        return attrs, self.data[0].multi_get_tensor(attrs) if attrs else []

    def __repr__(self) -> str:
        return (
            f"dbgnn.NeighborLoader({len(self.input_data.node):,} seeds of "
            f"{self.input_data.input_type or self.data[0].graph.name!r}, batch_size={self.batch_size}, {self.node_sampler!r})"
        )


#: The argument of the same name hides the function in `NeighborLoader.__init__`.
_seeds = input_nodes
