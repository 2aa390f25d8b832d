"""`NeighborSampler`: PyG's `BaseSampler` on top of the SQL sampler. Here torch begins; ids become tensors."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from torch import Tensor
from torch_geometric.sampler import (
    EdgeSamplerInput,
    HeteroSamplerOutput,
    NegativeSampling,
    NodeSamplerInput,
    SamplerOutput,
)
from torch_geometric.sampler.base import SubgraphType

from dbgnn.display import Listed
from dbgnn.errors import RequestError
from dbgnn.indexed_graph import IndexedGraph
from dbgnn.sampling.again import again
from dbgnn.sampling.asked_neighbors import NumNeighborsType, neighbors_asked
from dbgnn.sampling.asked_times import Fills
from dbgnn.sampling.khop import KHop, Roots, Subgraph
from dbgnn.sampling.links import LeftOut, Links
from dbgnn.sampling.modes import Mode
from dbgnn.sampling.output import Empty, fresh, hetero_output, homogeneous_output
from dbgnn.sampling.random import fold
from dbgnn.sampling.relabel import Ids
from dbgnn.sampling.seed_times import times_of_seeds
from dbgnn.sampling.settings import Settable, Settings, shown_settings
from dbgnn.sampling.start import Start
from dbgnn.sampling.statements import derived_lists_of, statements_of
from dbgnn.schema.model import EdgeType, Label
from dbgnn.stores.pair import stores_of
from dbgnn.translated import keyboard_interrupts

if TYPE_CHECKING:
    from dbgnn.clock import Clock
    from dbgnn.stores import DuckDBFeatureStore, DuckDBGraphStore
    from dbgnn.topology import Topology
    from dbgnn.topology.derived import Lists


class NeighborSampler(Listed, Settable):
    """Samples neighborhoods with SQL, for PyG's loaders and for :class:`dbgnn.NeighborLoader`.

    The sample is uniform, without replacement unless ``replace``; it depends on ``seed`` and the number of the
    batch alone, not on threads or processes. Neighbors are in-neighbors, as in PyG (Hamilton et al., "Inductive
    Representation Learning on Large Graphs", 2017).

    The arguments from ``num_neighbors`` to ``share_memory``, and ``seed``, are attributes that can be set later, as PyG's can;
    so is PyG's ``keep_orig_edges``. See :meth:`configure`.

    Args:
        data: ``(feature_store, graph_store)`` of
            :meth:`~dbgnn.Database.get_torch_geometric_remote_backend`, or a :class:`dbgnn.Graph`.
        num_neighbors: Neighbors per node and hop, as a list, or a list per edge type; -1: all.
        subgraph_type: ``'directional'`` (edges towards the seeds), ``'bidirectional'`` (with their reverse),
            or ``'induced'`` (all edges among the sampled nodes).
        replace: Sample with replacement.
        disjoint: Every seed gets a subgraph of its own; ``batch`` says which.
        seed: The seed of the random numbers.
        homogeneous: For a :class:`dbgnn.Graph`: serve it without type names. Stores know it themselves.
        time_attr: The column that says when: of node tables, of edge tables, or of both. A seed then has a time, subgraphs are
            disjoint, and no node or edge that is later than its seed is sampled. Types without the column are timeless.
        temporal_strategy: ``"uniform"``, or ``"last"``: the latest ones.
        weight_attr: The column of edge tables that says how likely an edge is drawn; types without it are uniform.
        mode: Another way to choose, by name or as an object (see `MODES`); None: what the arguments above mean.
        time_window: How long before the seed's time a node or edge may be, in the unit of integer times, or such as
            ``"30 days"``; None: for ever.
        where: Conditions by node type, edge type, or middle of an edge type, over the columns of its table: only edges for
            which they are true are taken.
        relative_time: With ``time_attr``: nodes and edges that have a time say how long before their seed's it was; in the
            mini-batches of :class:`dbgnn.NeighborLoader` as ``rel_time``.
        sample_direction: ``"forward"``: a node's neighbours are the sources of the edges that lead to it; ``"backward"``: the
            destinations of those that leave it. Edges keep their direction: ``row`` holds their sources.
        is_sorted, share_memory: Taken for PyG's sake, without effect: the index is sorted and shared already.

    Raises:
        SchemaError: ``num_neighbors`` names an edge type that does not exist, leaves one out, or has lists of
            different length.
    """

    graph: IndexedGraph
    homogeneous: bool
    edge_types: list[EdgeType]

    _internal = frozenset(
        {
            "batch_key",
            "derived_lists",
            "draw_key",
            "fanout",
            "identity",
            "output",
            "sample_batches",
            "starts",
            "statements",
        }
    )

    def __init__(
        self,
        data: tuple[DuckDBFeatureStore, DuckDBGraphStore] | IndexedGraph,
        num_neighbors: NumNeighborsType,
        subgraph_type: SubgraphType | str = "directional",
        replace: bool = False,  # noqa: FBT001, FBT002 - PyG's signature
        disjoint: bool = False,  # noqa: FBT001, FBT002 - PyG's signature
        temporal_strategy: str = "uniform",
        time_attr: str | None = None,
        weight_attr: str | None = None,
        is_sorted: bool = False,  # noqa: FBT001, FBT002 - PyG's signature
        share_memory: bool = False,  # noqa: FBT001, FBT002 - PyG's signature
        *,
        seed: int = 0,
        homogeneous: bool = False,
        mode: str | Mode | None = None,
        time_window: Any = None,
        where: Mapping[Any, Any] | None = None,
        relative_time: bool = False,
        sample_direction: str = "forward",
    ) -> None:
        graph, homogeneous, fills = _graph_of(data, homogeneous=homogeneous)
        self.__dict__.update(graph=graph, homogeneous=homogeneous, edge_types=graph.edge_types, _fills=fills)
        given = {
            "num_neighbors": num_neighbors,
            "subgraph_type": subgraph_type,
            "replace": replace,
            "disjoint": disjoint,
            "temporal_strategy": temporal_strategy,
            "time_attr": time_attr,
            "weight_attr": weight_attr,
            "is_sorted": is_sorted,
            "share_memory": share_memory,
            "seed": seed,
            "keep_orig_edges": False,
            "mode": mode,
            "time_window": time_window,
            "where": where,
            "relative_time": relative_time,
            "sample_direction": sample_direction,
        }
        self._set(given)
        self._calls = itertools.count()

    def _judged(self, given: Mapping[str, Any]) -> Settings:
        return Settings.of(self.graph, given, neighbors_asked(given["num_neighbors"], self.graph), self._fills)

    @property
    def is_hetero(self) -> bool:
        """Whether outputs are `HeteroSamplerOutput`."""
        return not self.homogeneous

    @property
    def is_temporal(self) -> bool:
        """Whether seeds have times."""
        return self.fanout.timeline is not None

    @property
    def node_types(self) -> list[Any]:
        """The node types as PyG names them: ``[None]`` if homogeneous."""
        return [None] if self.homogeneous else self.graph.node_types

    @property
    def num_nodes(self) -> int | dict[str, int]:
        """Number of nodes, by type if heterogeneous."""
        vertices = self.graph.topology().vertices
        if self.homogeneous:
            return next(iter(vertices.values())).num_nodes
        return {label: index.num_nodes for label, index in vertices.items()}

    @property
    def edge_permutation(self) -> None:
        """None: ``edge`` already holds the edge ids of the stores."""
        return

    # -- PyG's entry points --------------------------------------------------------------------------

    @keyboard_interrupts()
    def sample_from_nodes(
        self,
        index: NodeSamplerInput,
        *,
        epoch: int | None = None,
        batch: int | None = None,
        **kwargs: Any,  # noqa: ARG002 - PyG's signature
    ) -> SamplerOutput | HeteroSamplerOutput:
        """Sample around seed nodes.

        Args:
            index: PyG's input: seeds, their ``input_id``, and the node type.
            epoch: With ``batch``, the counters of the random numbers; :class:`dbgnn.NeighborLoader` sets them.
                None: calls are counted, per loader worker.
            batch: See ``epoch``.
            **kwargs: Taken for PyG's sake, without effect.
        """
        key = self.batch_key(epoch, batch)
        return self._one(lambda topology: self.starts(topology, [index]), key)

    @keyboard_interrupts()
    def sample_from_edges(
        self,
        index: EdgeSamplerInput,
        neg_sampling: NegativeSampling | None = None,
        *,
        epoch: int | None = None,
        batch: int | None = None,
        avoid_true_edges: bool = False,
        left_out: Sequence[LeftOut] = (),
    ) -> SamplerOutput | HeteroSamplerOutput:
        """Sample around both ends of seed links, with PyG's negative sampling; see :meth:`sample_from_nodes`.

        Args:
            index: PyG's input: the links, their ``input_id``, labels and times, and the edge type.
            neg_sampling: Draw negative links too; by counters, never by torch's generator.
            epoch: See :meth:`sample_from_nodes`.
            batch: See :meth:`sample_from_nodes`.
            avoid_true_edges: A negative link is no edge.
            left_out: Edges that are left out of the neighbourhoods.
        """
        links = Links(self, NegativeSampling.cast(neg_sampling), avoid_true_edges, left_out)
        key, draws = self._call_keys() if batch is None else (self.batch_key(epoch, batch), self.draw_key(epoch, batch))
        return self._one(lambda topology: links.starts(topology, [index], [draws]), key)

    # -- many batches at once ------------------------------------------------------------------------

    def sample_batches(
        self,
        topology: Topology,
        starts: Sequence[Start],
        counters: Sequence[tuple[int, int]],
        clock: Clock | None = None,
    ) -> list[Subgraph]:
        """Sample around the seeds of many mini-batches, with one statement per hop and edge type.

        Args:
            topology: The graph's verified index.
            starts: Per mini-batch, what it starts from.
            counters: Per mini-batch, its epoch and its number, as in :meth:`sample_from_nodes`.
            clock: Told the time spent on ``sampling``, ``grouping`` and ``relabelling``.

        Returns:
            Per mini-batch, what :meth:`output` turns into the output of :meth:`sample_from_nodes`.

        Raises:
            RequestError: A seed is no node id.
        """
        keys = [self.batch_key(epoch, batch) for epoch, batch in counters]
        return self._khop().sample(topology, [start.roots for start in starts], keys, clock)

    def statements(self, topology: Topology, left_out: Collection[EdgeType] = ()) -> Iterator[tuple[str, str]]:
        """Yield what is sampled, in words, and its statement; see `statements_of`."""
        return statements_of(self.graph.db, topology, self.fanout, left_out)

    def derived_lists(self, topology: Topology) -> list[tuple[EdgeType, list[int], Lists]]:
        """Return the lists that were made for it, with their edge type and the hops that read them, from 1."""
        return derived_lists_of(self.graph.db, topology, self.fanout)

    def starts(self, topology: Topology, inputs: Sequence[NodeSamplerInput]) -> list[Start]:
        """Return PyG's seed nodes, of each of many mini-batches, as what they start from.

        Raises:
            DataError: A seed's row has no time.
            RequestError: Seeds are of another kind than the graph is served in, or times do not fit.
            UnknownNameError: There is no such node type.
        """
        found = []
        for given, roots in zip(inputs, self._node_roots(topology, inputs), strict=True):
            input_id = torch.arange(len(given.node)) if given.input_id is None else given.input_id
            time = torch.from_numpy(roots.times_by_tree()) if self.is_temporal else None
            found.append(Start(roots, (input_id, time)))
        return found

    def output(self, start: Start, subgraph: Subgraph, empty: Empty | None = None) -> SamplerOutput | HeteroSamplerOutput:
        """Return a subgraph of :meth:`sample_batches` as PyG's output, of int64 tensors.

        Args:
            start: What the subgraph was sampled from.
            subgraph: The subgraph.
            empty: Makes an uninitialised tensor of a shape and a dtype (by NumPy's name); None: fresh memory.
        """
        out = self._tensors(subgraph, empty or fresh)
        start.tell(out)
        return self._directed(out)

    # -- inside --------------------------------------------------------------------------------------

    def _one(self, starts: Callable[[Topology], list[Start]], key: int) -> SamplerOutput | HeteroSamplerOutput:
        """Return the output of one mini-batch."""

        def sample() -> tuple[Start, Subgraph]:
            topology = self.graph.topology()
            (start,) = starts(topology)
            (subgraph,) = self._khop().sample(topology, [start.roots], [key])
            return start, subgraph

        return self.output(*again(sample))

    def _khop(self) -> KHop:
        """Return the driver for the settings as they are now; it keeps tables per thread, so it is made once for each."""
        made: KHop | None = self.__dict__.get("_made")
        if made is None or made.fanout is not self._settings.fanout:
            made = self._made = KHop(self.graph.db, self._settings.fanout)
        return made

    def batch_key(self, epoch: int | None, batch: int | None) -> int:
        """Return the random key of a mini-batch; None: of the next call."""
        if batch is None:
            return self._call_keys()[0]
        return fold(self.seed, 1, epoch or 0, batch // self.fanout.mode.alike)

    def draw_key(self, epoch: int | None, batch: int) -> int:
        """Return the random key of what a mini-batch draws beside neighbours; that of no other is alike."""
        return fold(self.seed, 3, epoch or 0, batch)

    def _call_keys(self) -> tuple[int, int]:
        """Return both keys of the next call."""
        worker, call = torch.utils.data.get_worker_info(), next(self._calls)
        # In a worker, torch's own seed differs by worker and epoch (and follows torch.manual_seed).
        seed = 0 if worker is None else worker.seed
        return fold(self.seed, 2, call // self.fanout.mode.alike, seed), fold(self.seed, 4, call, seed)

    def _node_roots(self, topology: Topology, inputs: Sequence[NodeSamplerInput]) -> list[Roots]:
        """Return PyG's inputs as what mini-batches start from."""
        given = [(i.node if i.input_type is None else {i.input_type: i.node}, i.time) for i in inputs]
        seeds = [self._seeds(node) for node, _ in given]
        timed = [(ids, {} if time is None else dict.fromkeys(ids, time)) for ids, (_, time) in zip(seeds, given, strict=True)]
        times = times_of_seeds(self.graph, topology, self.fanout.timeline, timed)
        return [Roots(*each) for each in zip(seeds, times, strict=True)]

    def _seeds(self, seed: Tensor | dict[str, Tensor]) -> dict[str, Ids]:
        """Return seeds as PyG gives them as arrays by node type."""
        if self.homogeneous == isinstance(seed, dict):
            kind = "without" if self.homogeneous else "with"
            raise RequestError(f"Graph {self.graph.name!r} is served {kind} type names; give seeds likewise.")
        labelled = seed if isinstance(seed, dict) else {self.graph.node_types[0]: seed}
        for label in labelled:
            self.graph.type_names.node(label)
        return {label: _as_ids(label, tensor) for label, tensor in labelled.items()}

    def _tensors(self, found: Subgraph, empty: Empty) -> SamplerOutput | HeteroSamplerOutput:
        form = homogeneous_output if self.homogeneous else hetero_output
        return form(found, empty, disjoint=self.disjoint)

    def _directed(self, out: SamplerOutput | HeteroSamplerOutput) -> SamplerOutput | HeteroSamplerOutput:
        if self.subgraph_type != SubgraphType.bidirectional:
            return out
        return out.to_bidirectional(keep_orig_edges=self.keep_orig_edges)

    def __copy__(self) -> Self:
        made = type(self).__new__(type(self))
        made.__dict__.update(self.__dict__ | {"_calls": itertools.count()})
        return made

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_calls": None, "_made": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state | {"_calls": itertools.count()})

    def __repr__(self) -> str:
        options = [self.subgraph_type.value] + [n for n in ("replace", "disjoint") if getattr(self, n)]
        options += shown_settings(self._given, self.fanout.mode)
        shown = next(iter(self.fanout.num_neighbors.values()), []) if self.homogeneous else dict(self.fanout.num_neighbors)
        return f"dbgnn.NeighborSampler({self.graph.name!r}, {shown}, {', '.join(options)}, seed={self.seed})"


def _graph_of(data: object, *, homogeneous: bool) -> tuple[IndexedGraph, bool, Fills]:
    """Return the graph, whether it is served without type names, and what stands for NULL."""
    if isinstance(data, IndexedGraph):
        return data, homogeneous or data.definition.homogeneous, {}
    features, graph_store = stores_of(data)
    graph = graph_store.graph
    labels: list[Label] = [*graph.node_types, *graph.edge_types]
    return graph, graph_store.homogeneous, {label: features.fills(label) for label in labels}


def _as_ids(label: str, seeds: Tensor) -> Ids:
    if seeds.is_floating_point() or seeds.is_complex() or seeds.dtype == torch.bool:
        raise RequestError(f"Seeds of node type {label!r} must be integer ids, not {seeds.dtype}.")
    return seeds.detach().cpu().numpy().astype(np.int64)
