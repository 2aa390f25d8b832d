"""`LinkNeighborLoader`: PyG's loader of the same name, over the stores, without pyg-lib or torch-sparse."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor
from torch_geometric.loader import LinkLoader
from torch_geometric.sampler import BaseSampler, NegativeSampling
from torch_geometric.sampler.base import SubgraphType

from dbgnn.errors import RequestError
from dbgnn.indexed_graph import IndexedGraph
from dbgnn.loader.attributes import ItsSampler
from dbgnn.loader.lightning import forget_constructor
from dbgnn.loader.sampled_loader import SampledLoader
from dbgnn.loader.seeds.link_forms import seed_links
from dbgnn.loader.seeds.link_seeds import LinkOptions, LinkSeeds
from dbgnn.loader.seeds.task_links import task_links
from dbgnn.loader.seeds.task_rows import task_given
from dbgnn.sampling.asked_neighbors import NumNeighborsType
from dbgnn.sampling.modes import Mode
from dbgnn.schema.model import EdgeType
from dbgnn.stores import DuckDBFeatureStore, DuckDBGraphStore


class LinkNeighborLoader(SampledLoader, LinkLoader):
    """Mini-batches around links, with negative links, and the features of nodes and edges, straight from the database.

    The signature is that of ``torch_geometric.loader.LinkNeighborLoader``, and so are the attributes of a mini-batch:
    ``input_id``, ``edge_label_index`` ``[2, links]``, ``edge_label``, ``edge_label_time``; of triplets ``src_index``,
    ``dst_pos_index``, ``dst_neg_index``, ``seed_time``. Unlike PyG's, negatives are the same for the same ``seed`` whatever
    ``num_workers`` and threads, the answer can be left out of the neighbourhood, and edge features come too.

    Args:
        data: As of :class:`dbgnn.NeighborLoader`.
        num_neighbors: Neighbors per node and hop, as a list, or a list per edge type; -1: all.
        edge_label_index: The seed links: an edge type, for all its edges; or a pair of an edge type and one of: None; a tensor
            ``[2, n]`` of node ids, of links that need not be edges; edge ids as list, range, array or tensor; a boolean mask
            over all edges; a SQL predicate over the edge table, such as ``"ts < DATE '2024-01-01'"``. The edge type may be left
            out, or None, where there is only one. Or a :class:`dbgnn.LinkTask`, whose rows are the links, with their labels and
            times.
        edge_label: A label for each link: a tensor or array ``[n, …]``, or the name of a column of the edge table. With binary
            negatives labels that begin with 0 become larger by 1, as in PyG, and 0 means "no link".
        edge_label_time: The time of each link, if ``time_attr`` is given: integers, moments, or SQL over the edge table;
            None: the edges' own. A negative link has the time of its positive one.
        neg_sampling: PyG's ``NegativeSampling``, or its mode (``"binary"``, ``"triplet"``); weights are per node.
        neg_sampling_ratio: PyG's older name of binary negatives: how many for each link.
        replace, subgraph_type, disjoint, temporal_strategy, time_attr, weight_attr, mode, time_window, where,
            sample_direction, relative_time: See :class:`dbgnn.NeighborSampler`.
        avoid_true_edges: Draw negatives again that are edges. Each try looks them up in the index.
        exclude_seed_edges: Leave the seed edges out of the neighbourhoods of their mini-batch (True): by edge id, or of pairs
            all edges between both. ``"reverse"``: also the edges that lead back: those of the same table's edge type with
            exchanged keys, else of the same type if both ends are of one, and of ``rev_<label>``; or name the edge type.
        transform, transform_sampler_output, is_sorted, filter_per_worker, neighbor_sampler, directed, custom_cls: As of
            :class:`dbgnn.NeighborLoader`.
        input_id: The ``input_id`` of the links, a tensor; default: of a mask the edge ids, otherwise the position.
        seed: The seed of the sample and of the negatives.
        super_batch, prefetch, plan, cache_bytes, keys: As of :class:`dbgnn.NeighborLoader`.
        **kwargs: Arguments of ``torch.utils.data.DataLoader``, such as ``batch_size``, ``shuffle``, ``num_workers``.

    Raises:
        StaleIndexError: Nodes or edges came or went since the loader was made; raised when it is used.
        ConnectionError: As of :class:`dbgnn.NeighborLoader`.
        RequestError, SchemaError, SqlError, UnknownNameError: The links, their labels or times do not fit.

    Warns:
        UserWarning: There are no seed links.
    """

    link_sampler = ItsSampler()
    _fixed = frozenset(
        "edge_label_index edge_label edge_label_time neg_sampling neg_sampling_ratio input_id avoid_true_edges "
        "exclude_seed_edges".split()
    )

    def __init__(
        self,
        data: tuple[DuckDBFeatureStore, DuckDBGraphStore] | IndexedGraph,
        num_neighbors: NumNeighborsType,
        edge_label_index: object = None,
        edge_label: Any = None,
        edge_label_time: Any = None,
        replace: bool = False,  # noqa: FBT001, FBT002 - PyG's signature
        subgraph_type: SubgraphType | str = "directional",
        disjoint: bool = False,  # noqa: FBT001, FBT002 - PyG's signature
        temporal_strategy: str = "uniform",
        neg_sampling: NegativeSampling | str | None = None,
        neg_sampling_ratio: float | None = None,
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
        avoid_true_edges: bool = False,
        exclude_seed_edges: bool | str | EdgeType = False,
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
        negative = _negatives(neg_sampling, neg_sampling_ratio)
        options = LinkOptions(negative, bool(avoid_true_edges), exclude_seed_edges)
        own = {"edge_label": edge_label, "edge_label_time": edge_label_time, "input_id": input_id}
        if (task := task_given(edge_label_index)) is not None:
            seeds: LinkSeeds = task_links(stores[0], task, sampler, options, own, stacklevel=2)
        else:
            seeds = LinkSeeds(stores[0], sampler, seed_links(stores[0], edge_label_index), options, **own)
        # Lightning makes a loader again from those attributes that are named as arguments.
        self.edge_label_index, self.edge_label, self.edge_label_time = edge_label_index, edge_label, edge_label_time
        self.neg_sampling, self.neg_sampling_ratio, self.input_id = negative, None, input_id
        self.avoid_true_edges, self.exclude_seed_edges = avoid_true_edges, exclude_seed_edges
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
        if type(self).__init__ is LinkNeighborLoader.__init__:
            forget_constructor(self)


def _negatives(given: Any, ratio: float | None) -> NegativeSampling | None:
    """Return PyG's configuration; its errors as ours."""
    try:
        if ratio:
            if given is not None:
                raise RequestError("neg_sampling and neg_sampling_ratio mean the same; give one of them.")
            return NegativeSampling("binary", ratio)
        return NegativeSampling.cast(given)
    except (TypeError, ValueError) as error:
        if isinstance(error, RequestError):
            raise
        said = f"neg_sampling_ratio={ratio!r:.80}" if ratio else f"neg_sampling={given!r:.80}"
        raise RequestError(f"{said} is none of PyG's: {error}.") from error
