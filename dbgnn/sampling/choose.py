"""Which neighbours a node takes: positions in its list, in NumPy. Uniform and exact; no SQL, no ids.

Without replacement it is R. Floyd's algorithm (J. Bentley, "Programming pearls: a sample of brilliance", 1987):
for i = 1 … k draw one of the first ``degree - k + i`` positions; where that is taken already, take the last of them, which
cannot be. The cost does not grow with the degree of a hub.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from dbgnn.sampling.random import Words, below, mix

Counts: TypeAlias = npt.NDArray[np.int32]

#: Random numbers that are worked on together: few enough for the processor's cache.
_BLOCK = 1 << 16

#: Up to this k, every draw is compared with those before it; beyond, draws are sorted.
_COMPARED = 256


def counts(degree: Counts, k: int, *, replace: bool) -> Counts:
    """Return how many neighbours each node takes: int32 ``[n]``.

    Args:
        degree: int32 ``[n]``.
        k: Neighbours per node; -1: all.
        replace: Draw with replacement.
    """
    if k < 0:
        return degree
    return np.where(degree > 0, np.int32(k), np.int32(0)) if replace else np.minimum(degree, np.int32(k))


def choose(key: Words, degree: Counts, k: int, *, replace: bool) -> npt.NDArray[np.int32]:
    """Return the positions that each node takes, from 0, in the order of their draws: int32 ``[n, k]``.

    Args:
        key: The random key of each node, ``[n]``.
        degree: int32 ``[n]``, at least 1, or more than ``k`` if drawn without replacement.
        k: Neighbours per node, at least 1.
        replace: Draw with replacement.
    """
    chosen = np.empty((len(key), k), dtype=np.int32)
    draw = np.arange(k, dtype=np.int32)[:, None]
    rows = max(1, _BLOCK // k)
    for start in range(0, len(key), rows):
        part = slice(start, start + rows)
        words = mix(key[part] ^ draw.view(np.uint32))
        last = degree[part] - np.int32(1) if replace else degree[part] - np.int32(k) + draw
        positions = below(words, np.broadcast_to(last, words.shape).astype(np.uint64) + np.uint64(1)).astype(np.int32)
        chosen[part] = (positions if replace else _distinct(positions, last)).T
    return chosen


def _distinct(drawn: npt.NDArray[np.int32], last: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Return the draws ``[k, n]``, with ``last`` in the place of those that are taken already."""
    if len(drawn) > _COMPARED:
        return np.where(_taken(drawn, last), last, drawn)
    for i in range(1, len(drawn)):
        np.copyto(drawn[i], last[i], where=(drawn[:i] == drawn[i]).any(axis=0))
    return drawn


def _taken(drawn: npt.NDArray[np.int32], last: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
    """Return which draws are taken already, without going through them one by one.

    What a draw finds taken was drawn before, or is the last position of a draw that found its own taken.
    """
    order = np.argsort(drawn, axis=0, kind="stable")
    again = np.diff(np.take_along_axis(drawn, order, axis=0), axis=0) == 0
    taken = np.zeros(drawn.shape, dtype=np.bool_)
    np.put_along_axis(taken, order[1:], again, axis=0)
    before = drawn - last[0]  # the draw whose last position this is
    chained = (before >= 0) & (before < np.arange(len(drawn))[:, None])
    before[~chained] = 0
    while True:
        more = taken | (chained & np.take_along_axis(taken, before, axis=0))
        if (more == taken).all():
            return taken
        taken = more
