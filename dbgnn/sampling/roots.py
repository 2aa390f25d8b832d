"""What one mini-batch starts from, for any kind of seeds and any driver. NumPy only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dbgnn.sampling.relabel import Ids
from dbgnn.schema.model import EdgeType
from dbgnn.topology.times import Moments

_NO_TIMES = np.empty(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Excluded:
    """Edges of one type that are not to be sampled.

    Attributes:
        at: The node whose list each is in: its destination ``[n]``.
        edge: Its edge id ``[n]``.
    """

    at: Ids
    edge: Ids


@dataclass(frozen=True, slots=True)
class Roots:
    """What one mini-batch starts from.

    Attributes:
        seeds: Node ids by node type; duplicates are kept.
        times: In a sample by time, the time of each, int64, as derived lists have it; else empty.
        excluded: Edges that are left out of this mini-batch, by edge type.
    """

    seeds: Mapping[str, Ids]
    times: Mapping[str, Moments] = field(default_factory=dict)
    excluded: Mapping[EdgeType, Excluded] = field(default_factory=dict)

    def times_by_tree(self) -> Moments:
        """Return the time of every seed, as disjoint subgraphs are numbered: through all types."""
        return np.concatenate([self.times[label] for label in self.seeds]) if self.times and self.seeds else _NO_TIMES


def excluded_lists(given: Sequence[Excluded | None], node: Ids, sizes: Sequence[int]) -> pa.ListArray | None:
    """Return, for every node of a frontier, the edges that are left out of its mini-batch and lead to it; None: none do.

    Args:
        given: Per mini-batch, what is left out.
        node: The nodes, mini-batch by mini-batch.
        sizes: How many are of each.
    """
    there = [(number, each) for number, each in enumerate(given) if each is not None and len(each.edge)]
    if not there:
        return None
    width = max(int(node.max(initial=0)), *(int(each.at.max()) for _, each in there)) + 1
    place = np.repeat(np.arange(len(sizes)), sizes) * width + node
    found = np.concatenate([number * width + each.at.astype(np.int64) for number, each in there])
    edge = np.concatenate([each.edge.astype(np.int64) for _, each in there])
    order = np.lexsort((edge, found))
    found, edge = found[order], edge[order]
    # An edge may be left out twice, as the loop that is its own reverse; it is one gap in its list.
    first = np.append(True, (found[1:] != found[:-1]) | (edge[1:] != edge[:-1]))
    found, edge = found[first], edge[first]
    begin, end = np.searchsorted(found, place, "left"), np.searchsorted(found, place, "right")
    length = end - begin
    if not length.any():
        return None
    starts = np.cumsum(length) - length
    values = edge[np.arange(int(length.sum())) - np.repeat(starts, length) + np.repeat(begin, length)]
    offsets = pa.array(np.append(starts, len(values)).astype(np.int32), mask=np.append(length == 0, False))
    return pa.ListArray.from_arrays(offsets, pa.array(values))


def not_excluded(given: Sequence[Excluded | None], number: Ids, edge: Ids) -> slice | npt.NDArray[np.bool_]:
    """Return which edges of mini-batches stay, as an index of them.

    Args:
        given: Per mini-batch, what is left out.
        number: The mini-batch of each edge ``[m]``.
        edge: Its edge id ``[m]``.
    """
    there = [(at, each) for at, each in enumerate(given) if each is not None and len(each.edge)]
    if not there:
        return slice(None)
    kept = np.ones(len(edge), dtype=bool)
    for at, each in there:
        kept &= (number != at) | ~np.isin(edge, each.edge)
    return kept
