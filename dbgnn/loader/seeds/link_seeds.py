"""Links as the seeds of a loader: their labels, times and negatives, and the edges that are left out beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch_geometric.loader import LinkLoader
from torch_geometric.sampler import EdgeSamplerInput, NegativeSampling

from dbgnn.display import warn
from dbgnn.errors import RequestError, SchemaError, StaleIndexError
from dbgnn.loader.seeds.kind import Seeds, fingerprint, one_each
from dbgnn.loader.seeds.link_forms import ChosenLinks
from dbgnn.loader.seeds.link_times import link_times
from dbgnn.sampling.links import LeftOut, LinkInput, Links
from dbgnn.sampling.sampler import NeighborSampler
from dbgnn.sampling.start import Start
from dbgnn.schema.model import EdgeType, shown_type

if TYPE_CHECKING:
    from dbgnn.indexed_graph import IndexedGraph
    from dbgnn.stores import DuckDBFeatureStore
    from dbgnn.topology import Topology


@dataclass(frozen=True, slots=True)
class LinkOptions:
    """What is asked of seed links beside which they are.

    Attributes:
        neg_sampling: PyG's configuration; None: no negatives.
        avoid_true_edges: A negative link is no edge.
        exclude_seed_edges: False; True: the seed edges are left out of the neighbourhoods of their mini-batch;
            ``"reverse"``: so are the edges that lead back; an edge type: so are those of this type that lead back.
    """

    neg_sampling: NegativeSampling | None = None
    avoid_true_edges: bool = False
    exclude_seed_edges: Any = False


class LinkSeeds(Seeds):
    """Links of one type.

    Args:
        store: The feature store.
        sampler: What samples around them.
        chosen: Which links.
        options: What is asked of them.
        edge_label: A label for each: a tensor or array ``[n, …]``, or the name of a column of the edge table; None: none.
        edge_label_time: The time of each, as `given_times` takes them; None: in a sample by time, the edges' own.
        input_id: What a batch calls ``input_id``, one per link.

    Raises:
        RequestError: Something has another length, or goes with nothing else; the message says what.
        SchemaError: There is no edge type to be left out as the reverse.
    """

    entry = "sample_from_edges"
    filter_fn = LinkLoader.filter_fn

    def __init__(
        self,
        store: DuckDBFeatureStore,
        sampler: Any,
        chosen: ChosenLinks,
        options: LinkOptions,
        *,
        edge_label: Any = None,
        edge_label_time: Any = None,
        input_id: Tensor | None = None,
    ) -> None:
        self._chosen_type, self._options = chosen.edge_type, options
        self._left_out = left_out(store.graph, chosen, options.exclude_seed_edges)
        if options.avoid_true_edges and options.neg_sampling is None:
            raise RequestError("avoid_true_edges is about negative links, and there are none; give neg_sampling too.")
        ours = isinstance(sampler, NeighborSampler)
        if not ours and (options.avoid_true_edges or self._left_out):
            raise RequestError("avoid_true_edges and exclude_seed_edges need dbgnn's own sampler; leave them out.")
        topology = store.graph.topology()
        index = topology.edges[chosen.edge_type]
        self._ends = [topology.vertices[chosen.edge_type[end]].keys for end in (0, 2)]
        self._rows = None if chosen.edge is None else (index.rows, index.adjacency_sum)
        self._times = link_times(store.graph, sampler, chosen, edge_label_time) if ours else None
        own = None if self._times is None else self._times.values
        self.input_data = LinkInput(
            input_id=chosen.input_id if input_id is None else one_each("input_id", input_id, len(chosen.row), "seed links"),
            row=chosen.row,
            col=chosen.col,
            label=_labels(store, chosen, edge_label, options.neg_sampling),
            time=own if ours else edge_label_time,
            input_type=None if store.homogeneous else chosen.edge_type,
        )
        self.input_data.edge = chosen.edge
        self.what = f"{len(chosen.row):,} seed links of {shown_type(chosen.edge_type)}"
        self._kept: list[Any] = []
        if not len(chosen.row):
            warn(
                f"There are no seed links, so there will be no mini-batches: edge_label_index is {chosen.came_from}.",
                stacklevel=3,
            )

    def __len__(self) -> int:
        return len(self.input_data.row)

    @property
    def left_out_types(self) -> list[EdgeType]:
        """See `Seeds.left_out_types`."""
        return [rule.edge_type for rule in self._left_out]

    def check(self, topology: Topology) -> None:
        """Raise if the links are others than when they were chosen."""
        index, source, _, destination = topology.edges[self._chosen_type], *self._chosen_type
        if [topology.vertices[label].keys for label in (source, destination)] != self._ends:
            what, who = "Nodes", f"types {source!r} or {destination!r}" if source != destination else f"type {source!r}"
        elif self._rows is not None and (index.rows, index.adjacency_sum) != self._rows:
            what, who = "Edges", f"type {shown_type(self._chosen_type)}"
        else:
            return
        raise StaleIndexError(
            f"{what} of {who} were added, removed, moved or given other keys since this loader was made, so its seed links are "
            "others now. Make the loader again."
        )

    def starts(
        self,
        sampler: NeighborSampler,
        topology: Topology,
        inputs: Sequence[EdgeSamplerInput],
        counters: Sequence[tuple[int, int]],
    ) -> list[Start]:
        """Return the links, and negatives drawn by the counters, as what mini-batches start from."""
        if self._times is not None:
            self._times.check(sampler, topology, inputs)
        options = self._options
        links = Links(sampler, options.neg_sampling, options.avoid_true_edges, self._left_out, self._kept)
        return links.starts(topology, inputs, [sampler.draw_key(epoch, batch) for epoch, batch in counters])

    def sample(self, sampler: Any, inputs: Any, **counters: int) -> Any:
        """Sample one mini-batch by any sampler's own method."""
        if self._times is not None and isinstance(sampler, NeighborSampler):
            self._times.check(sampler, sampler.graph.topology(), [inputs])
        own: dict[str, Any] = {"avoid_true_edges": True} if self._options.avoid_true_edges else {}
        own |= {"left_out": self._left_out} if self._left_out else {}
        return sampler.sample_from_edges(inputs, neg_sampling=self._options.neg_sampling, **counters, **own)

    def view(self) -> dict[str, Any]:
        """Return what PyG's function reads of a loader of links."""
        return {"neg_sampling": self._options.neg_sampling}

    def identity(self) -> dict[str, Any]:
        """Return what decides the mini-batches."""
        given, negative = self.input_data, self._options.neg_sampling
        return {
            "edge_label_index": [
                list(self._chosen_type),
                len(given.row),
                *map(fingerprint, (given.row, given.col, given.edge)),
            ],
            "edge_label": None if given.label is None else [str(given.label.dtype), fingerprint(given.label)],
            "edge_label_time": fingerprint(given.time),
            "input_id": fingerprint(given.input_id),
            "neg_sampling": negative
            and [negative.mode.value, negative.amount, *map(fingerprint, (negative.src_weight, negative.dst_weight))],
            "avoid_true_edges": self._options.avoid_true_edges,
            "exclude_seed_edges": [[list(r.edge_type), r.turned, r.by_edge] for r in self._left_out],
        }

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_kept": []}


def _labels(store: DuckDBFeatureStore, chosen: ChosenLinks, given: Any, negative: NegativeSampling | None) -> Tensor | None:
    """Return labels as a tensor; as in PyG, those that begin with 0 become larger by 1, since 0 then means "no link"."""
    if given is None:
        return None
    if negative is not None and negative.is_triplet():
        raise RequestError("edge_label has no meaning for triplets, which say themselves what is true; leave it out.")
    if isinstance(given, str):
        if chosen.edge is None:
            raise RequestError(
                f"edge_label={given!r} names a column of {shown_type(chosen.edge_type)}, and these links are pairs of nodes, "
                "without rows there. Give a tensor, or edge ids."
            )
        given = store.get_tensor(None if store.homogeneous else chosen.edge_type, given, index=chosen.edge)
    label = one_each("edge_label", given, len(chosen.row), "seed links")
    assert label is not None
    if negative is not None and label.numel() and label.min() == 0:
        label = label + 1
    return label


def left_out(graph: IndexedGraph, chosen: ChosenLinks, asked: Any) -> tuple[LeftOut, ...]:
    """Return which edges are left out of the neighbourhoods of their mini-batch.

    Those that lead back are found as the edge type of the same table with its keys exchanged; else, where both ends are of one
    type, in the same edge type, and as ``rev_<label>``, as PyG's `ToUndirected` names it.

    Args:
        graph: The graph.
        chosen: The seed links.
        asked: As `LinkOptions.exclude_seed_edges`.

    Raises:
        RequestError: It is neither.
        SchemaError: There is no such edge type.
    """
    if asked is False or asked is None:
        return ()
    by_edge = chosen.edge is not None
    own = LeftOut(chosen.edge_type, by_edge=by_edge)
    if asked is True:
        return (own,)
    if not isinstance(asked, (str, tuple)):
        raise RequestError(f"exclude_seed_edges must be True, False, 'reverse' or an edge type, not {asked!r:.80}.")
    swapped = _swapped(graph, chosen.edge_type)
    source, label, destination = chosen.edge_type
    if asked != "reverse":
        named = graph.type_names.edge(asked, "exclude_seed_edges")
        if (named[0], named[2]) != (destination, source):
            raise SchemaError(
                f"exclude_seed_edges={asked!r} leads from {named[0]!r} to {named[2]!r}, so its edges are not the reverse of "
                f"those of {shown_type(chosen.edge_type)}."
            )
        return own, LeftOut(named, turned=True, by_edge=by_edge and named == swapped)
    if swapped is not None:
        return own, LeftOut(swapped, turned=True, by_edge=by_edge)
    reverse = (destination, f"rev_{label}", source)
    known = [LeftOut(chosen.edge_type, turned=True)] if source == destination else []
    known += [LeftOut(reverse, turned=True)] if reverse in graph.edge_types else []
    if known:
        return own, *known
    back = [t for t in graph.edge_types if (t[0], t[2]) == (destination, source)]
    example = back[0] if back else reverse
    raise SchemaError(
        f"exclude_seed_edges='reverse': no edge type is the reverse of {shown_type(chosen.edge_type)} by its table or its name "
        f"({reverse!r}). Name it: exclude_seed_edges={example!r}"
        + ("." if back else ", once the graph has it; without one, exclude_seed_edges=True leaves out all there is.")
    )


def _swapped(graph: IndexedGraph, edge_type: EdgeType) -> EdgeType | None:
    """Return the edge type of the same table whose source is the destination of this one."""
    this = graph.definition.edge(edge_type)
    for other in graph.definition.edges:
        keys = (other.source, other.source_key, other.destination, other.destination_key)
        swapped = (this.destination, this.destination_key, this.source, this.source_key)
        if other.rows == this.rows and keys == swapped:
            return other.edge_type
    return None
