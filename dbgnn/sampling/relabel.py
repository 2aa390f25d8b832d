"""From node ids to positions in a mini-batch, in NumPy.

Direct-address tables find new nodes and renumber edges without a hash (440 k edges: 11 ms); where the
tables would be too large, or a node counts once per subgraph, sorted arrays do the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from dbgnn.topology.distinct import begins

#: Ids of nodes or edges: int32 where they fit, else int64.
Ids: TypeAlias = npt.NDArray[np.signedinteger[Any]]
#: Positions in a mini-batch.
Positions: TypeAlias = npt.NDArray[np.int32]

#: Nodes up to which direct-address tables are used: 5 bytes each, per node type and thread.
TABLE_LIMIT = 1 << 26


#: With so many nodes for each that was found, sorting those costs less than a pass over all.
_SPARSE = 256


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
        few = len(self._found) > _SPARSE * sum(map(len, found))
        new = self._new_among_few(known, found) if few else self._new(known, found)
        # Backwards, so that of duplicates the first copy is written last, and stays.
        self._position[known[::-1]] = np.arange(len(known) - 1, -1, -1, dtype=np.int32)
        self._position[new] = np.arange(len(known), len(known) + len(new), dtype=np.int32)
        return new, [self._position[nodes] for nodes in found]

    def _new(self, known: Ids, found: Sequence[Ids]) -> Ids:
        """Return the new nodes, sorted, by a pass over all nodes of the type."""
        try:
            for nodes in found:
                self._found[nodes] = True
            self._found[known] = False
            return np.flatnonzero(self._found)
        finally:
            self._found[:] = False

    def _new_among_few(self, known: Ids, found: Sequence[Ids]) -> Ids:
        """Return the same, by a sort of those found."""
        nodes = np.concatenate(found)
        self._position[nodes] = -1
        self._position[known] = 0
        new = nodes[self._position[nodes] < 0]
        marks = np.arange(len(new), dtype=np.int32)
        self._position[new] = marks
        return np.sort(new[self._position[new] == marks])  # the last writer of each wins: distinct


class SortedNumbering:
    """`Numbering` by sorted arrays: for very many nodes, and for nodes numbered together with their subgraph."""

    def number(self, known: Ids, found: Sequence[Ids]) -> tuple[Ids, list[Positions]]:
        """See `Numbering.number`."""
        there, first = np.unique(known, return_index=True)
        nodes = np.concatenate(found)
        order = np.argsort(nodes)
        nodes = nodes[order]
        first_of = begins(nodes)
        distinct = nodes[first_of]
        place = np.minimum(np.searchsorted(there, distinct), max(len(there) - 1, 0))
        is_known = there[place] == distinct if len(there) else np.zeros(len(distinct), dtype=np.bool_)
        new = distinct[~is_known]
        of_distinct = np.empty(len(distinct), dtype=np.int32)
        of_distinct[is_known] = first[place[is_known]]
        of_distinct[~is_known] = np.arange(len(known), len(known) + len(new), dtype=np.int32)
        positions = np.empty(len(nodes), dtype=np.int32)
        positions[order] = of_distinct[np.cumsum(first_of) - 1]
        return new, np.split(positions, np.cumsum([len(part) for part in found])[:-1])
