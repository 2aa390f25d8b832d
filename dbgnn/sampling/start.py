"""`Start`: what one mini-batch starts from, with what PyG is told of its seeds. Which seeds there are is a loader's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch_geometric.sampler import HeteroSamplerOutput, SamplerOutput

from dbgnn.sampling.roots import Roots


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """What one mini-batch starts from.

    Attributes:
        roots: The same for the driver.
        metadata: The ``metadata`` of PyG's output.
        trees: Where several seeds belong together, such as the ends of a link: for every seed, through all types, the number of
            what it belongs to, which a disjoint output calls ``batch`` ``[seeds]``; None: every seed is by itself.
    """

    roots: Roots
    metadata: tuple[Any, ...]
    trees: Tensor | None = None

    def tell(self, out: SamplerOutput | HeteroSamplerOutput) -> None:
        """Write on an output what its seeds are."""
        out.metadata = self.metadata
        if self.trees is None or out.batch is None:
            return
        batch: Any = out.batch
        out.batch = (
            {label: self._belonging(trees) for label, trees in batch.items()}
            if isinstance(batch, dict)
            else self._belonging(batch)
        )

    def _belonging(self, trees: Tensor) -> Tensor:
        assert self.trees is not None
        return torch.index_select(self.trees, 0, trees)
