"""What a mode is to the hop that it chooses for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol


class Step(NamedTuple):
    """A named step of a statement: the columns that it makes of those of the step before."""

    name: str
    columns: str


class Mode(Protocol):
    """A way to choose among a node's edges; frozen, so that a sampler's settings are."""

    def steps(self, k: int, words: int) -> Sequence[Step]:
        """Return the steps from ``joined(at, key, nbrs, eids, deg)`` to a last one with `KEPT` and ``p``.

        Args:
            k: How many edges a node is to have at most, 1 or more; all is not a matter of the mode.
            words: How many random words to try per draw. They are the beginning of one endless sequence, so their number
                never shows in the sample; where all are rejected, the statement fails with `draws.TOO_FEW`.

        Returns:
            Steps; ``p`` is a list of positions, counted from 1, in the order in which edges are handed out.
        """

    def identity(self) -> dict[str, Any]:
        """Return what decides the sample, as JSON has it; of two modes with the same identity every sample is the same."""


#: What every step hands on: the place of the node in the request, its neighbours and edges, and how many they are.
KEPT = '"at", nbrs, eids, deg'
