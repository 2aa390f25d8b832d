"""Nodes drawn as ends of negative links, by counters: the same whatever runs beside them. NumPy only.

A draw is a number of 62 random bits at most, and one that would favour a node is rejected, so nodes are exactly as likely as
their weights, which are integers. Nodes that have a time are drawn from those that are not later than their link.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dbgnn.errors import RequestError
from dbgnn.sampling.random import Words, mix
from dbgnn.sampling.relabel import Ids
from dbgnn.topology.times import Moments

#: The total of weights is less than 2 to this, give or take a node's 1.
_BITS = 60

Whole = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class EndNodes:
    """The nodes that may be one end of a negative link.

    Attributes:
        label: Their type, for messages.
        side: 0: the source; 1: the destination. Both draw numbers of their own.
        num_nodes: How many there are.
        weights: How likely each is ``[num_nodes]``; None: all alike.
        times: When each is there, ascending ``[num_nodes]``; None: always.
        order: The nodes by time ``[num_nodes]``; None where there are no times.
    """

    label: str
    side: int
    num_nodes: int
    weights: Whole | None = None
    times: Moments | None = None
    order: Ids | None = None

    @classmethod
    def of(cls, label: str, side: int, num_nodes: int, weights: Whole | None, times: Moments | None) -> EndNodes:
        """Return the nodes of a type, whose weights and times are by id."""
        if times is None:
            return cls(label, side, num_nodes, None if weights is None else np.cumsum(weights))
        order = np.argsort(times, kind="stable")
        return cls(label, side, num_nodes, None if weights is None else np.cumsum(weights[order]), times[order], order)

    def draw(self, keys: Words, place: Words, attempt: Words, until: Moments | None) -> Ids:
        """Return a node for each draw ``[n]``.

        Args:
            keys: The random key of the mini-batch of each.
            place: Its number within the mini-batch.
            attempt: How often it was drawn before.
            until: The time of its link, where nodes have times.

        Raises:
            RequestError: No node is eligible.
        """
        if not len(place):
            return np.empty(0, dtype=np.int64)
        count = np.full(len(place), self.num_nodes, dtype=np.int64)
        if self.times is not None:
            assert until is not None
            count = np.searchsorted(self.times, until, side="right")
        bound = count if self.weights is None else np.where(count > 0, self.weights[count - 1], 0) if self.num_nodes else count
        if not bound.all():
            early = "" if until is None or self.times is None else f" that is not later than {int(until[bound == 0][0])}"
            weighed = "" if self.weights is None else " with a weight above 0"
            raise RequestError(
                f"There is no node of type {self.label!r}{weighed}{early} to be the end of a negative link; leave out those "
                "seed links, or neg_sampling."
            )
        stream = mix(mix(mix(keys ^ np.uint32(0x6E656700 + self.side)) ^ place) ^ attempt)
        drawn = _below(stream, bound)
        found: Ids = drawn if self.weights is None else np.searchsorted(self.weights, drawn, side="right")
        return found if self.order is None else self.order[found]


def _below(stream: Words, bound: Whole) -> Whole:
    """Return one of 0 … bound - 1 for each stream, every one equally likely."""
    # As many bits as the largest has, so that less than half are rejected; the upper ones, which `mix` mixes best.
    spare = 63 - np.frexp((bound - 1).astype(np.float64))[1].astype(np.int64)
    out = np.empty(len(bound), dtype=np.int64)
    left, count = np.arange(len(bound)), 0
    while len(left):
        high, low = (mix(stream[left] ^ np.uint32(count + half)).astype(np.int64) for half in (1, 2))
        number = ((high << 31) | (low >> 1)) >> spare[left]
        out[left] = number
        left, count = left[number >= bound[left]], count + 2
    return out


def whole_weights(given: npt.NDArray[np.generic], num_nodes: int, name: str) -> Whole:
    """Return weights as integers, int64 ``[num_nodes]``: integers as they are, others in proportion; 0 stays 0, others do not.

    Raises:
        RequestError: There are more or fewer than nodes, one is negative or no number, or all are 0.
    """
    if given.shape != (num_nodes,):
        raise RequestError(f"{name} must have one entry for each of {num_nodes:,} nodes, not the shape {list(given.shape)}.")
    if given.dtype.kind not in "iufb":
        raise RequestError(f"{name} must hold numbers, not {given.dtype}.")
    weights = given.astype(np.float64)
    wrong = np.flatnonzero(~np.isfinite(weights) | (weights < 0))
    if len(wrong):
        raise RequestError(f"{name} must be 0 or more, and that of node {int(wrong[0])} is {given[wrong[0]]}.")
    total = float(weights.sum())
    if not np.isfinite(total):
        weights /= float(num_nodes)
        total = float(weights.sum())
    if total == 0:
        raise RequestError(f"{name} is 0 for every node, so none can be drawn.")
    if given.dtype.kind in "iub" and total < 2.0**_BITS:
        return given.astype(np.int64)
    scaled = np.rint(np.ldexp(weights, _BITS - int(np.frexp(total)[1])))
    return np.where(weights > 0, np.maximum(scaled, 1), 0).astype(np.int64)
