"""Seeds of a loader: every form in which a user may give them, and the numbers of their mini-batches."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from dbgnn import schema
from dbgnn.errors import RequestError, UnknownNameError, near_misses
from dbgnn.stores.request import rows_of

if TYPE_CHECKING:
    from dbgnn.stores import DuckDBFeatureStore


def input_nodes(store: DuckDBFeatureStore, given: object) -> tuple[str | None, Tensor]:
    """Return node type (None if homogeneous) and int64 ids of the seeds, for any form of ``input_nodes``.

    Args:
        store: The feature store.
        given: A node type; ids as list, range, array or tensor; a boolean mask over all nodes; a SQL predicate;
            None for all nodes; or a pair of a node type and one of these. The node type may be left out where
            there is only one; then a string that is no node type is a predicate.

    Raises:
        RequestError: Ids that are no integers, out of range, or a mask of the wrong length.
        SqlError: The predicate is not one harmless expression.
        UnknownNameError: No such node type.
    """
    labels = store.graph.node_types
    if isinstance(given, str) and given in labels and not store.homogeneous:
        label, nodes = given, None
    elif isinstance(given, (tuple, list)) and len(given) == 2 and isinstance(given[0], str):
        label, nodes = given
        if label not in labels:
            raise UnknownNameError(
                f"input_nodes: graph {store.graph.name!r} has no node type {label!r}" + near_misses(label, labels)
            )
    elif len(labels) == 1:
        label, nodes = labels[0], given
    else:
        example = labels[0] if labels else "<node type>"
        raise RequestError(
            f"input_nodes must say which node type it means, as ({example!r}, …), got {given!r:.80}"
            + near_misses(given, labels)
        )
    group = None if store.homogeneous else label
    num_nodes = store.graph.num_nodes(label)
    if nodes is None:
        return group, torch.arange(num_nodes)
    if isinstance(nodes, str):
        if nodes.isidentifier() and nodes not in schema.columns(
            store.graph.db.cursor(), store.graph.definition.vertex(label).table
        ):
            raise UnknownNameError(
                f"input_nodes: {nodes!r} is no node type and no column of {label!r}" + near_misses(nodes, labels)
            )
        return group, store.node_ids(group, nodes)
    return group, _ids(label, nodes, num_nodes)


def _ids(label: str, nodes: Any, num_nodes: int) -> Tensor:
    text = nodes if isinstance(nodes, np.ndarray) else np.asarray(nodes) if isinstance(nodes, (list, tuple)) else None
    if text is not None and text.dtype.kind in "US":
        raise RequestError(
            f"input_nodes of {label!r} must be integer ids, a mask or SQL, not text; "
            f"feature_store.ids({label!r}, keys) turns keys into ids."
        )
    rows = rows_of(nodes, num_nodes, label)
    if rows.scalar or isinstance(nodes, np.ma.MaskedArray):
        raise RequestError(f"input_nodes of {label!r} must be a list or a mask of nodes, not {nodes!r:.80}")
    return torch.from_numpy(np.array(rows.array()))


class NumberedBatch(array):  # type: ignore[type-arg] # Python 3.11 has no array[int] at run time
    """The indices of one mini-batch, with its epoch and its number in it; 4 or 8 bytes an index, where a list takes 36."""

    epoch: int
    number: int

    @classmethod
    def of(cls, indices: Iterable[int], epoch: int, number: int) -> NumberedBatch:
        """Make one."""
        given = list(indices)
        try:
            batch = cls("i", given)
        except OverflowError:
            batch = cls("q", given)
        batch.epoch, batch.number = epoch, number
        return batch

    def tensor(self) -> Tensor:
        """Return the indices, int64 ``[n]``."""
        return torch.from_numpy(np.array(self, dtype=np.int64))


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
