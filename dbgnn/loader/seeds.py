"""Seeds of a loader: every form in which a user may give them, and the numbers of their mini-batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from dbgnn.errors import RequestError, UnknownNameError, near_misses

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
        raise RequestError(
            f"input_nodes must say which node type it means, as ('{labels[0] if labels else 'paper'}', …), got {given!r:.80}"
            + near_misses(given, labels)
        )
    group = None if store.homogeneous else label
    num_nodes = store.graph.num_nodes(label)
    if nodes is None:
        return group, torch.arange(num_nodes)
    if isinstance(nodes, str):
        return group, store.node_ids(group, nodes)
    return group, _ids(label, nodes, num_nodes)


def _ids(label: str, nodes: Any, num_nodes: int) -> Tensor:
    ids = nodes.detach().cpu() if isinstance(nodes, Tensor) else torch.as_tensor(np.asarray(nodes))
    if ids.dim() != 1:
        raise RequestError(f"input_nodes of {label!r} must be one-dimensional, not of shape {tuple(ids.shape)}.")
    if ids.numel() == 0:
        return torch.empty(0, dtype=torch.int64)
    if ids.dtype == torch.bool:
        if len(ids) != num_nodes:
            raise RequestError(f"The mask for {label!r} has {len(ids):,} entries, but there are {num_nodes:,} nodes.")
        return ids.nonzero().view(-1)
    if ids.is_floating_point() or ids.is_complex():
        raise RequestError(f"input_nodes of {label!r} must be integer ids, a mask or SQL, not {ids.dtype}.")
    ids = ids.to(torch.int64)
    bad = (ids < 0) | (ids >= num_nodes)
    if bad.any():
        raise RequestError(
            f"input_nodes: {int(ids[bad][0])} is no id of node type {label!r}, which has {num_nodes:,} nodes from 0."
        )
    return ids


class NumberedBatch(list[int]):
    """The indices of one mini-batch, with its epoch and its number in it."""

    epoch: int
    number: int

    @classmethod
    def of(cls, indices: Iterable[int], epoch: int, number: int) -> NumberedBatch:
        """Make one."""
        batch = cls(indices)
        batch.epoch, batch.number = epoch, number
        return batch


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
