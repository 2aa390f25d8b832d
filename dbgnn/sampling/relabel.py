"""From node ids to positions in a mini-batch, in NumPy.

A direct-address table finds new nodes and renumbers edges without a sort or a hash (448 k edges: 11 ms); where the
table would be too large, or nodes are told apart by subgraph as well, sorted arrays do the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int64]

#: Nodes up to which a direct-address table is used: 4 bytes each, per node type and thread.
TABLE_LIMIT = 1 << 26


class Numbering(Protocol):
    """Numbers the nodes of one batch and node type."""

    def number(self, known: Ids, found: Sequence[Ids]) -> tuple[Ids, list[Ids]]:
        """Number the nodes that a hop found.

        Args:
            known: The nodes that have positions 0, 1, …; a duplicate stands for its first copy.
            found: Arrays of nodes, known or new.

        Returns:
            The new nodes, sorted, whose positions follow; and for each array of ``found`` its positions.
        """


class TableNumbering:
    """`Numbering` by a table over all nodes of the type, filled and cleared at every call; not for two threads at once."""

    def __init__(self, num_nodes: int) -> None:
        self._table = np.full(num_nodes, -1, dtype=np.int32)

    def number(self, known: Ids, found: Sequence[Ids]) -> tuple[Ids, list[Ids]]:
        """See `Numbering.number`."""
        table = self._table
        # Backwards, so that of duplicates the first copy is written last, and stays.
        table[known[::-1]] = np.arange(len(known) - 1, -1, -1, dtype=np.int32)
        new = np.empty(0, dtype=np.int64)
        try:
            candidates = np.concatenate([nodes[table[nodes] < 0] for nodes in found]) if found else new
            marks = np.arange(len(candidates), dtype=np.int32)
            table[candidates] = marks
            new = np.sort(candidates[table[candidates] == marks])  # the last writer of each id wins: distinct
            table[new] = np.arange(len(known), len(known) + len(new), dtype=np.int32)
            return new, [table[nodes].astype(np.int64) for nodes in found]
        finally:
            table[known] = -1
            table[new] = -1


class SortedNumbering:
    """`Numbering` by sorted arrays: for very many nodes, and for nodes numbered together with their subgraph."""

    def number(self, known: Ids, found: Sequence[Ids]) -> tuple[Ids, list[Ids]]:
        """See `Numbering.number`."""
        there, positions = np.unique(known, return_index=True)
        candidates = np.concatenate(found) if found else np.empty(0, dtype=np.int64)
        new = np.setdiff1d(candidates, there)
        everything = np.concatenate([there, new])
        order = np.argsort(everything)
        everything = everything[order]
        positions = np.concatenate([positions, np.arange(len(known), len(known) + len(new))])[order]
        return new, [positions[np.searchsorted(everything, nodes)] for nodes in found]
