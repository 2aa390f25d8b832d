"""`Seeds`: what the mini-batches of a loader start from, of any kind. Everything else is the same for all loaders.

A new kind of seeds is one file beside this one. Draws of its own, such as negatives, are made by counters from the key of their
mini-batch, so that they are the same whatever runs beside them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
import xxhash
from torch import Tensor

from dbgnn.errors import RequestError
from dbgnn.sampling.sampler import NeighborSampler
from dbgnn.sampling.start import Start
from dbgnn.schema.model import EdgeType

if TYPE_CHECKING:
    from dbgnn.loader.seeds.task_rows import TaskRows
    from dbgnn.topology import Topology


class Seeds(ABC):
    """What the mini-batches of a loader start from.

    Attributes:
        input_data: All of them, as PyG's samplers take them; an index gives some.
        what: What they are, for messages and the loader's repr.
    """

    #: The method of a sampler that samples around them.
    entry: ClassVar[str]

    #: PyG's function that makes a mini-batch of an output; called with what it reads of a loader.
    filter_fn: ClassVar[Callable[[Any, Any], Any]]

    input_data: Any
    what: str

    @property
    def left_out_types(self) -> list[EdgeType]:
        """Edge types of which some edges are left out of their mini-batch."""
        return []

    #: The rows of the task that they are; None: they are no task's.
    rows: TaskRows | None = None

    @abstractmethod
    def __len__(self) -> int:
        """Return how many there are."""

    @abstractmethod
    def check(self, topology: Topology) -> None:
        """Raise if an index is not the one that they are of."""

    @abstractmethod
    def starts(
        self, sampler: NeighborSampler, topology: Topology, inputs: Sequence[Any], counters: Sequence[tuple[int, int]]
    ) -> list[Start]:
        """Return what mini-batches start from.

        Args:
            sampler: What samples around them.
            topology: The graph's verified index.
            inputs: Per mini-batch, its part of ``input_data``.
            counters: Per mini-batch, its epoch and its number.
        """

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """Return what decides the mini-batches, by name, as JSON has it."""

    def take(self, index: Any) -> Any:
        """Return some of the seeds, by their positions, as PyG's samplers take them."""
        return self.input_data[index]

    def sample(self, sampler: Any, inputs: Any, **counters: int) -> Any:
        """Sample one mini-batch by any sampler's own method.

        Args:
            sampler: One of PyG's kind.
            inputs: What `take` gave.
            **counters: For our sampler, ``epoch`` and ``batch``.
        """
        return getattr(sampler, self.entry)(inputs, **counters)

    def view(self) -> dict[str, Any]:
        """Return what `filter_fn` reads of a loader beside what all loaders have, by name."""
        return {}

    def finish(self, batch: Any) -> None:  # noqa: B027 - most kinds add nothing
        """Add to a mini-batch what PyG does not know of."""


def fingerprint(values: Tensor | None) -> str | None:
    """Return a digest of a tensor's bytes; None of none."""
    return None if values is None else xxhash.xxh3_64_hexdigest(values.contiguous().numpy().data)


def one_each(name: str, given: Any, count: int, seeds: str) -> Tensor | None:
    """Return what a user gives for each seed, in any form, as a tensor ``[count, …]``; None of nothing.

    Raises:
        RequestError: It is no such tensor.
    """
    if given is None:
        return None
    try:
        values = given.detach().cpu() if isinstance(given, Tensor) else torch.from_numpy(np.array(given))
    except (TypeError, ValueError) as error:
        raise RequestError(f"{name} must be a tensor, or numbers in another form, one per seed, not {given!r:.80}.") from error
    if not values.dim() or len(values) != count:
        has = f"{len(values):,} entries" if values.dim() else "no dimension"
        raise RequestError(f"{name} has {has} for {count:,} {seeds}; give one per {seeds.removesuffix('s')}.")
    return values


def spread(total: int, size: int) -> tuple[Tensor, Tensor]:
    """Return positions of seeds from all over for two mini-batches, which share none if there are enough."""
    n = min(size, total)
    picked = torch.arange(2 * n) * max(1, total // (2 * n)) % total
    return picked[0::2], picked[1::2]
