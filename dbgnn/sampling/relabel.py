"""From node ids to positions in a mini-batch, in NumPy.

Direct-address tables find new nodes and renumber edges without a sort or a hash (525 k edges: TODO ms); where the
tables would be too large, or nodes are told apart by subgraph as well, sorted arrays do the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

#: Ids of nodes or edges: int32 where they fit, else int64.
Ids: TypeAlias = npt.NDArray[np.signedinteger[Any]]
#: Positions in a mini-batch.
Positions: TypeAlias = npt.NDArray[np.int32]

#: Nodes up to which direct-address tables are used: 5 bytes each, per node type and thread.
TABLE_LIMIT = 1 << 26


def id_type(count: int) -> type[np.signedinteger[Any]]:
    """Return the type of ids 0 … count - 1."""
    return np.int32 if count < 2**31 else np.int64


class Numbering(Protocol):
    """Numbers the nodes of one batch and node type."""

    def number(self, known: Ids, found: Sequence[Ids]) -> tuple[Ids, list[Positions]]:
        """Number the nodes that a hop found.

        Args:
            known: The nodes that have positions 0, 1, …; a duplicate stands for its first copy.
            found: Arrays of nodes, known or new; at least one.

        Returns:
            The new nodes, sorted, whose positions follow; and for each array of ``found`` its positions.
        """


class TableNumbering:
    """`Numbering` by tables over all nodes of the type; not for two threads at once."""

    def __init__(self, num_nodes: int) -> None:
        self._found = np.zeros(num_nodes, dtype=np.bool_)  # all False between calls
        self._position = np.empty(num_nodes, dtype=np.int32)

    def number(self, known: Ids, found: Sequence[Ids]) -> tuple[Ids, list[Positions]]:
        """See `Numbering.number`."""
        known, *found = (nodes.astype(np.intp, copy=False) for nodes in (known, *found))  # what NumPy indexes with
        try:
            for nodes in found:
                self._found[nodes] = True
            self._found[known] = False
            new = np.flatnonzero(self._found)
        finally:
            self._found.fill(False)
        # Backwards, so that of duplicates the first copy is written last, and stays.
        self._position[known[::-1]] = np.arange(len(known) - 1, -1, -1, dtype=np.int32)
        self._position[new] = np.arange(len(known), len(known) + len(new), dtype=np.int32)
        return new, [self._position[nodes] for nodes in found]


class SortedNumbering:
    """`Numbering` by sorted arrays: for very many nodes, and for nodes numbered together with their subgraph."""

    def number(self, known: Ids, found: Sequence[Ids]) -> tuple[Ids, list[Positions]]:
        """See `Numbering.number`."""
        there, first = np.unique(known, return_index=True)
        new = np.setdiff1d(np.concatenate(found), there)
        everything = np.concatenate([there, new])
        order = np.argsort(everything)
        everything = everything[order]
        positions = np.concatenate([first, np.arange(len(known), len(known) + len(new))]).astype(np.int32)[order]
        return new, [positions[np.searchsorted(everything, nodes)] for nodes in found]
