"""Nodes as the seeds of a loader, and every form in which a user may give them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric.loader import NodeLoader
from torch_geometric.sampler import NodeSamplerInput

from dbgnn import schema
from dbgnn.display import warn
from dbgnn.errors import RequestError, StaleIndexError, UnknownNameError, near_misses
from dbgnn.loader.seeds.kind import Seeds, fingerprint, one_each
from dbgnn.sampling.start import Start
from dbgnn.schema import INFERRED, INFERRED_BOTH
from dbgnn.stores.request import refuse_numbers_as_mask, rows_of
from dbgnn.translated import keyboard_interrupts

if TYPE_CHECKING:
    from dbgnn.loader.seeds.input_times import InputTimes
    from dbgnn.sampling.sampler import NeighborSampler
    from dbgnn.stores import DuckDBFeatureStore
    from dbgnn.topology import Topology


class NodeSeeds(Seeds):
    """Nodes of one type.

    Args:
        store: The feature store.
        chosen: Which nodes.
        input_id: What a batch calls ``input_id``, one per seed; None: as `ChosenNodes` has it.
        times: The times that were given; None: none were.

    Raises:
        RequestError: ``input_id`` is not one number for each.
    """

    entry = "sample_from_nodes"
    filter_fn = NodeLoader.filter_fn

    def __init__(
        self,
        store: DuckDBFeatureStore,
        chosen: ChosenNodes,
        input_id: Tensor | None = None,
        times: InputTimes | None = None,
    ) -> None:
        self.chosen, self._given_times = chosen, times
        self._label = chosen.label
        self._keys = store.graph.topology().vertices[chosen.label].keys
        self.input_data = NodeSamplerInput(
            input_id=chosen.input_id if input_id is None else one_each("input_id", input_id, len(chosen.nodes), "seeds"),
            node=chosen.nodes,
            time=None if times is None else times.values,
            input_type=store.group_name(chosen.label),
        )
        self.what = f"{len(chosen.nodes):,} seeds of {self.input_data.input_type or store.graph.name!r}"

    def __len__(self) -> int:
        return len(self.input_data.node)

    def check(self, topology: Topology) -> None:
        """Raise if the nodes of their type are others than when they were chosen."""
        if topology.vertices[self._label].keys != self._keys:
            raise StaleIndexError(
                f"Nodes of type {self._label!r} were added, removed or given other keys since this loader was made, so "
                "its seeds are other nodes now. Make the loader again."
            )

    def starts(
        self,
        sampler: NeighborSampler,
        topology: Topology,
        inputs: Sequence[NodeSamplerInput],
        counters: Sequence[tuple[int, int]],  # noqa: ARG002 - other kinds draw something by them
    ) -> list[Start]:
        """Return the nodes as what mini-batches start from."""
        if self._given_times is not None:
            self._given_times.check(sampler)
        return sampler.starts(topology, inputs)

    def sample(self, sampler: Any, inputs: Any, **counters: int) -> Any:
        """Sample one mini-batch."""
        if self._given_times is not None:
            self._given_times.check(sampler)
        return super().sample(sampler, inputs, **counters)

    def identity(self) -> dict[str, Any]:
        """Return what decides the mini-batches."""
        given = self.input_data
        return {
            "input_nodes": [given.input_type, len(given.node), fingerprint(given.node)],
            "input_id": fingerprint(given.input_id),
            "input_time": fingerprint(given.time),
        }


@dataclass(frozen=True, slots=True)
class ChosenNodes:
    """The nodes that a user chose as seeds.

    Attributes:
        label: Their type in the property graph.
        nodes: Their ids, int64 ``[n]``.
        input_id: What a batch calls ``input_id`` where the user gives none: the ids of a mask's nodes, as in PyG; None: the
            position among the seeds.
        came_from: What they were given as, for messages.
    """

    label: str
    nodes: Tensor
    input_id: Tensor | None = None
    came_from: str = "input_nodes"


@keyboard_interrupts()
def input_nodes(store: DuckDBFeatureStore, given: object) -> ChosenNodes:
    """Return the seeds for any form of ``input_nodes``.

    Args:
        store: The feature store.
        given: A node type; ids as list, range, array, tensor or pandas Series; a boolean mask over all nodes, in the same
            forms; a SQL predicate; None for all nodes; or a pair of a node type and one of these. The node type may be left
            out where there is only one; then a string that is no node type is a predicate.

    Raises:
        RequestError: Ids that are no integers, out of range, a mask of the wrong length or of numbers, or features.
        SqlError: The predicate is not one harmless expression.
        UnknownNameError: No such node type.
    """
    label, nodes = _of_one_type(store, given)
    num_nodes = store.graph.num_nodes(label)
    if nodes is None:
        return ChosenNodes(label, torch.arange(num_nodes), came_from=f"all nodes of {label!r}, whose table is empty")
    if isinstance(nodes, str):
        _check_predicate(store, label, nodes)
        ids = store.node_ids(store.group_name(label), nodes)
        return ChosenNodes(label, ids, came_from=f"the nodes of {label!r} for which {nodes!r} is true, and it is for none")
    _check_form(label, nodes, num_nodes)
    rows = rows_of(nodes, num_nodes, label)
    if rows.scalar or isinstance(nodes, np.ma.MaskedArray):
        raise RequestError(f"input_nodes of {label!r} must be a list or a mask of nodes, not {nodes!r:.80}")
    ids = torch.from_numpy(np.array(rows.array()))
    if rows.is_mask:
        return ChosenNodes(label, ids, input_id=ids, came_from=f"a mask of {label!r} without a True")
    return ChosenNodes(label, ids, came_from=f"an empty list of ids of {label!r}")


def _of_one_type(store: DuckDBFeatureStore, given: object) -> tuple[str, Any]:
    """Return the node type, and what is given of its nodes."""
    graph, labels = store.graph, store.graph.node_types
    if isinstance(given, str) and given in labels and not (store.homogeneous and _is_column(store, given, given)):
        return given, None
    if isinstance(given, (tuple, list)) and len(given) == 2 and isinstance(given[0], str):
        return graph.type_names.node(given[0], "input_nodes"), given[1]
    if isinstance(given, Mapping):
        raise RequestError(
            f"input_nodes is a {type(given).__name__}, but the seeds of a loader are of one node type: give a pair, such as "
            f"({next(iter(given), labels[0] if labels else 'paper')!r}, ids), and make a loader per type."
        )
    if len(labels) == 1:
        return labels[0], given
    example = labels[0] if labels else "<node type>"
    raise RequestError(
        f"input_nodes must say which node type it means, as ({example!r}, …), got {given!r:.80}"
        + (graph.type_names.meant(given) + near_misses(given, labels) if isinstance(given, str) else near_misses(None, labels))
    )


def _is_column(store: DuckDBFeatureStore, label: str, name: str) -> bool:
    return name in schema.columns(store.graph.db.cursor(), store.graph.definition.vertex(label).table)


def _check_predicate(store: DuckDBFeatureStore, label: str, text: str) -> None:
    """Raise if a predicate is rather a node type misspelled."""
    if text.isidentifier() and not _is_column(store, label, text):
        known = [text] if text in store.graph.node_types else store.graph.node_types
        raise UnknownNameError(f"input_nodes: {text!r} is no node type and no column of {label!r}" + near_misses(text, known))


def _check_form(label: str, nodes: Any, num_nodes: int) -> None:
    """Raise if what is given cannot be ids or a mask, or looks like something else."""
    array: Any = nodes
    if not isinstance(nodes, (np.ndarray, Tensor)):
        if not isinstance(nodes, (list, tuple)) and not hasattr(nodes, "__array__"):
            return
        try:
            array = np.asarray(nodes)
        except ValueError:  # of no shape; what is the matter is said where the ids are read
            return
    if isinstance(array, np.ndarray) and array.dtype.kind in "US":
        raise RequestError(
            f"input_nodes of {label!r} must be integer ids, a mask or SQL, not text; "
            f"feature_store.ids({label!r}, keys) turns keys into ids."
        )
    refuse_numbers_as_mask(array, num_nodes, f"input_nodes of {label!r}")
    shape = tuple(array.shape)
    if len(shape) > 1:
        is_column = int(np.prod(shape)) == shape[0] and "float" not in str(array.dtype)
        what = ": .view(-1) makes a tensor flat, .ravel() an array." if is_column else ". These look like features."
        raise RequestError(
            f"input_nodes of {label!r} has {len(shape)} dimensions, {list(shape)}, and dtype {array.dtype}. Ids, or a boolean "
            f"mask of {num_nodes:,} nodes, have one dimension{what}"
        )


def warn_of_nothing(seeds: ChosenNodes, sampler: NeighborSampler | None, *, stacklevel: int) -> None:
    """Say why there will be no mini-batches, or none with an edge.

    Args:
        seeds: The seeds.
        sampler: What samples around them; None: another's, of which nothing is known.
        stacklevel: As of `warnings.warn`, from the caller on.
    """
    said = ""
    if not len(seeds.nodes):
        said = f"There are no seeds, so there will be no mini-batches: input_nodes is {seeds.came_from}."
    elif sampler is not None and sampler.fanout.num_hops and sampler.edge_types:
        said = _no_edges(seeds.label, sampler)
    if said:
        warn(said, stacklevel=stacklevel + 1)


def _no_edges(label: str, sampler: NeighborSampler) -> str:
    """Return why no edge will be sampled around seeds of a type; "" if some may be."""
    lead, way, end = "lead to", "destination to source", "destination"
    if sampler.fanout.backward:
        lead, way, end = "leave", "source to destination", "source"
    starting = [t for t in sampler.edge_types if sampler.fanout.ends(t)[0] == label]
    if not starting:
        remedy = (
            f"Declare the edges in the other direction too, as another edge type of the same table with {label!r} as its {end}."
        )
        if sampler.graph.name == INFERRED:
            remedy = f"The graph {INFERRED_BOTH!r} has every edge type in both directions: db.graph({INFERRED_BOTH!r})."
        return (
            f"No edge types {lead} {label!r}, and sampling follows edges from {way}, so mini-batches will be "
            f"the seeds alone, with 0 edges. {remedy} The edge types are: {', '.join(map(repr, sampler.edge_types))}."
        )
    edges = sampler.graph.topology().edges
    if all(edges[t].num_edges == 0 for t in starting):
        return (
            f"The edge types that {lead} {label!r} have no edges ({', '.join(map(repr, starting))}), so mini-batches will be "
            "the seeds alone."
        )
    return ""
