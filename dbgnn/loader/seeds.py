"""Seeds of a loader: every form in which a user may give them, and the numbers of their mini-batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from dbgnn import schema
from dbgnn.display import warn
from dbgnn.errors import RequestError, UnknownNameError, near_misses
from dbgnn.sampling.numbered import NumberedBatch
from dbgnn.stores.request import refuse_numbers_as_mask, rows_of
from dbgnn.translated import keyboard_interrupts

if TYPE_CHECKING:
    from dbgnn.sampling.sampler import NeighborSampler
    from dbgnn.stores import DuckDBFeatureStore


@dataclass(frozen=True, slots=True)
class Seeds:
    """The seed nodes of a loader.

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
def input_nodes(store: DuckDBFeatureStore, given: object) -> Seeds:
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
        return Seeds(label, torch.arange(num_nodes), came_from=f"all nodes of {label!r}, whose table is empty")
    if isinstance(nodes, str):
        _check_predicate(store, label, nodes)
        ids = store.node_ids(store.group_name(label), nodes)
        return Seeds(label, ids, came_from=f"the nodes of {label!r} for which {nodes!r} is true, and it is for none")
    _check_form(label, nodes, num_nodes)
    rows = rows_of(nodes, num_nodes, label)
    if rows.scalar or isinstance(nodes, np.ma.MaskedArray):
        raise RequestError(f"input_nodes of {label!r} must be a list or a mask of nodes, not {nodes!r:.80}")
    ids = torch.from_numpy(np.array(rows.array()))
    if rows.is_mask:
        return Seeds(label, ids, input_id=ids, came_from=f"a mask of {label!r} without a True")
    return Seeds(label, ids, came_from=f"an empty list of ids of {label!r}")


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


def warn_of_nothing(seeds: Seeds, sampler: NeighborSampler | None, *, stacklevel: int) -> None:
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
    leading = [t for t in sampler.edge_types if t[2] == label]
    if not leading:
        return (
            f"No edge type leads to {label!r}, and sampling follows edges from destination to source, so mini-batches will be "
            f"the seeds alone, with 0 edges. Declare the edges in the other direction too, as another edge type of the same "
            f"table with {label!r} as its destination. The edge types are: {', '.join(map(repr, sampler.edge_types))}."
        )
    edges = sampler.graph.topology().edges
    if all(edges[t].num_edges == 0 for t in leading):
        return (
            f"The edge types that lead to {label!r} have no edges ({', '.join(map(repr, leading))}), so mini-batches will be "
            "the seeds alone."
        )
    return ""


class Shuffled(torch.utils.data.RandomSampler):
    """Torch's own random order, without a list of all indices: 20 M seeds took 0.9 GB for a moment."""

    def __iter__(self) -> Iterator[int]:
        n = len(self.data_source)
        generator = self.generator
        if generator is None:
            generator = torch.Generator()
            generator.manual_seed(int(torch.empty((), dtype=torch.int64).random_().item()))
        for part in torch.randperm(n, generator=generator).split(1 << 16):
            yield from part.tolist()
        torch.randperm(n, generator=generator)  # torch draws once more, so that the next epoch is the same as torch's


class SeedDataset(torch.utils.data.Dataset[int]):
    """Indices 0 … length - 1; hands a batch of them through as it is, so that its number survives the trip to a worker."""

    def __init__(self, length: int) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> int:
        return index

    def __getitems__(self, indices: Sequence[int]) -> Sequence[int]:
        """Return the batch itself."""
        return indices


class NumberedBatches:
    """Numbers the batches of a batch sampler; every iteration is a new epoch."""

    def __init__(self, batches: Any) -> None:
        self.batches = batches
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[NumberedBatch]:
        # A generator: torch makes more iterators than it uses, and only a used one is an epoch.
        epoch, self.epoch = self.epoch, self.epoch + 1
        for number, indices in enumerate(self.batches):
            yield NumberedBatch.of(indices, epoch, number)
