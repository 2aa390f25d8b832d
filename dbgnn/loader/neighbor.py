"""`NeighborLoader`: PyG's loader of the same name, over the stores, without pyg-lib or torch-sparse."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor
from torch_geometric.loader import NodeLoader
from torch_geometric.sampler import BaseSampler
from torch_geometric.sampler.base import SubgraphType

from dbgnn.indexed_graph import IndexedGraph
from dbgnn.loader.attributes import ItsSampler
from dbgnn.loader.lightning import forget_constructor
from dbgnn.loader.sampled_loader import SampledLoader
from dbgnn.loader.seeds.input_times import input_times
from dbgnn.loader.seeds.node_seeds import NodeSeeds, input_nodes, warn_of_nothing
from dbgnn.loader.seeds.task_rows import task_given
from dbgnn.loader.seeds.task_seeds import task_seeds
from dbgnn.sampling.asked_neighbors import NumNeighborsType
from dbgnn.sampling.modes import Mode
from dbgnn.sampling.sampler import NeighborSampler
from dbgnn.stores import DuckDBFeatureStore, DuckDBGraphStore


class NeighborLoader(SampledLoader, NodeLoader):
    """Mini-batches of sampled neighborhoods with their features, straight from the database.

    The signature is that of ``torch_geometric.loader.NeighborLoader``. Batches are ``HeteroData``, or ``Data`` if the
    stores are homogeneous. Unlike PyG's, it fetches edge features (by ``e_id``), takes seeds in every form, SQL
    included, and gives the same batches for the same ``seed`` whatever ``num_workers`` and threads.

    Args:
        data: ``(feature_store, graph_store)`` of :meth:`dbgnn.Database.get_torch_geometric_remote_backend`, or a
            :class:`dbgnn.Graph`, whose stores are opened.
        num_neighbors: Neighbors per node and hop, as a list, or a list per edge type; -1: all.
        input_nodes: The seeds: a node type; ids as list, range, array, tensor or pandas Series; a boolean mask in the same
            forms; a SQL predicate such as ``"split = 'train'"``; None for all; or a pair of a node type and one of these. The
            node type may be left out where there is only one. Or a :class:`dbgnn.EntityTask`, whose rows are the seeds.
        replace, subgraph_type, disjoint, temporal_strategy, time_attr, weight_attr, mode, time_window, where,
            sample_direction, relative_time: See :class:`dbgnn.NeighborSampler`.
        input_time: With ``time_attr``, the time of each seed: integers in the unit of the columns (dates and timestamps:
            microseconds since 1970, or nanoseconds if a column is TIMESTAMP_NS) or moments (datetime64), as tensor, array, list
            or Series, one per seed; or a column or SQL expression over the seeds' table. None: their rows' own ``time_attr``.
        transform: Called with every batch.
        transform_sampler_output: Called with every sampler output.
        is_sorted: As in PyG, without effect.
        filter_per_worker: Fetch features in the workers (default) or in the main process.
        neighbor_sampler: A sampler to use instead of one made from the arguments above, which must not say otherwise
            (but for ``num_neighbors``, which has no default).
        directed: PyG's deprecated argument; leave it True.
        custom_cls: The class of the batches.
        input_id: The ``input_id`` of the seeds, a tensor; default: as in PyG, of a mask the node ids, otherwise (of ids, a
            type, None, and of a SQL predicate, which PyG does not have) the position among the seeds.
        seed: The seed of the sample. The order of ``shuffle`` is torch's (``generator`` or ``torch.manual_seed``).
        super_batch: How many mini-batches are sampled and fetched together: ``"auto"`` or a number. It changes speed
            and memory, never a mini-batch. Worker processes, and samplers of another kind, sample one at a time: ``1``.
        prefetch: How many mini-batches lie ready while the model trains: ``"auto"`` or a number; 0: no threads. With threads,
            ``transform`` still runs in the training loop, ``transform_sampler_output`` does not.
        plan: How features come that are not in ``cache_bytes``: ``"join"`` (SQL for every mini-batch), ``"shared"`` (the
            distinct rows of a super-batch in memory, by one pass over each table), ``"spooled"`` (by one pass as well, but
            written to a temporary file mini-batch by mini-batch: for features larger than memory), or ``"auto"``.
        cache_bytes: Bytes of features kept in memory, of the rows that are read most: ``"auto"``, a number, or text such as
            ``"2GB"``. As many as all features take, and every row is read once.
        keys: The user's own keys come along, by ``n_id`` and ``e_id``, as attributes of the columns' names: True (of all nodes,
            and of edges the primary keys of their tables), or by node or edge type, ``{"pays": "tx_id"}``: True, a column or
            several. Numbers are tensors, others lists. One more statement per type and mini-batch.
        **kwargs: Arguments of ``torch.utils.data.DataLoader``, such as ``batch_size``, ``shuffle``, ``num_workers``. Where no
            other process can open the database, threads do the work of workers: the same mini-batches.

    Attributes named as arguments that can be set, those of its sampler too, take effect from the next epoch on; an epoch that
    runs ends as it began. To set any other of its attributes is an error. Those that a derived class adds, private ones too,
    are its own: what ``filter_fn`` sets while an epoch runs is set on the loader.

    Raises:
        StaleIndexError: Nodes came or went since the loader was made; raised when it is used.
        ConnectionError: ``num_workers > 0`` with a sampler of another kind, but the database is not a file opened read-only.
        RequestError, SqlError, UnknownNameError: See :func:`dbgnn.loader.seeds.node_seeds.input_nodes`, and
            :func:`dbgnn.loader.seeds.input_times.input_times`.

    Warns:
        UserWarning: There are no seeds, or no edges lead to them; the message says why.
    """

    node_sampler = ItsSampler()
    _fixed = frozenset({"input_nodes", "input_id", "input_time"})

    def __init__(
        self,
        data: tuple[DuckDBFeatureStore, DuckDBGraphStore] | IndexedGraph,
        num_neighbors: NumNeighborsType,
        input_nodes: object = None,
        input_time: object = None,
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
        super_batch: int | str = "auto",
        prefetch: int | str = "auto",
        plan: str = "auto",
        cache_bytes: int | str = "auto",
        keys: Any = None,
        mode: str | Mode | None = None,
        time_window: Any = None,
        where: Mapping[Any, Any] | None = None,
        sample_direction: str = "forward",
        relative_time: bool = False,
        **kwargs: Any,
    ) -> None:
        stores, sampler = self._sampler_of(
            data,
            neighbor_sampler,
            num_neighbors,
            directed=directed,
            replace=replace,
            subgraph_type=subgraph_type,
            disjoint=disjoint,
            temporal_strategy=temporal_strategy,
            time_attr=time_attr,
            weight_attr=weight_attr,
            is_sorted=is_sorted,
            seed=seed,
            mode=mode,
            time_window=time_window,
            where=where,
            sample_direction=sample_direction,
            relative_time=relative_time,
        )
        seeds: NodeSeeds
        if (task := task_given(input_nodes)) is not None:
            seeds = task_seeds(stores[0], task, sampler, input_id=input_id, input_time=input_time, stacklevel=2)
        else:
            chosen = _chosen(stores[0], input_nodes)
            times = input_times(stores[0].graph, sampler, chosen, input_time)
            seeds = NodeSeeds(stores[0], chosen, input_id, times)
        warn_of_nothing(seeds.chosen, sampler if isinstance(sampler, NeighborSampler) else None, stacklevel=2)
        # Lightning makes a loader again from those attributes that are named as arguments.
        self.input_nodes, self.input_id, self.input_time = input_nodes, input_id, input_time
        self._begin(
            stores,
            sampler,
            seeds,
            num_neighbors,
            kwargs,
            transform=transform,
            transform_sampler_output=transform_sampler_output,
            filter_per_worker=filter_per_worker,
            custom_cls=custom_cls,
            super_batch=super_batch,
            prefetch=prefetch,
            plan=plan,
            cache_bytes=cache_bytes,
            keys=keys,
        )
        if type(self).__init__ is NeighborLoader.__init__:
            forget_constructor(self)


#: The argument of the same name hides the function in `NeighborLoader.__init__`.
_chosen = input_nodes
