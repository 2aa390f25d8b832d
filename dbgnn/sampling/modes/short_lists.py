"""The choice by weight among short lists, in NumPy: bit for bit that of the statement (`weighted`), at a fraction of its cost.

A statement hands short lists out whole, with the running totals of their weights, as it does those of which all is taken. To
draw from them there costs several lambdas a draw (300 ns); here all lists draw together, one draw after the other.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from dbgnn.sampling.random import Words, mix

#: Lists of at most so many edges are short.
SHORT = 64

Numbers: TypeAlias = npt.NDArray[np.int64]

#: A list longer than those that are looked at together ends with totals that no number reaches.
_NEVER = np.iinfo(np.int64).max

#: Lists that are looked at together: what they need stays in the processor's cache.
_TOGETHER = 1 << 13


def choose(keys: Words, lengths: Numbers, totals: Numbers, k: int, *, replace: bool, tries: int) -> Numbers:
    """Return k positions of every list, counted from 0: ``[lists, k]``.

    Args:
        keys: The random key of every list.
        lengths: How many edges it has; more than k where each is drawn once.
        totals: The running totals of the weights of all lists, one list after the other.
        k: How many are drawn.
        replace: Each is drawn from all again.
        tries: How many are drawn from all for k different ones, before the rest is drawn from what is left.
    """
    ends = np.cumsum(lengths)
    chosen = np.empty((len(keys), k), dtype=np.int64)
    for begin in range(0, len(keys), _TOGETHER):
        some = slice(begin, begin + _TOGETHER)
        of = lengths[some]
        running = np.full((len(of), int(of.max())), _NEVER)
        running[np.arange(running.shape[1]) < of[:, None]] = totals[ends[begin] - lengths[begin] : ends[begin + len(of) - 1]]
        lists = _Lists(keys[some].astype(np.uint32), running, running[np.arange(len(of)), of - 1])
        chosen[some] = lists.repeated(k) if replace else lists.different(k, tries)
    return chosen


class _Lists:
    """Lists that draw together: keys, running totals ``[lists, longest]`` and the last total of each."""

    def __init__(self, keys: Words, running: Numbers, total: Numbers) -> None:
        self.keys, self.running, self.total = keys, running, total

    def drawn(self, draw: int) -> Numbers:
        """Return the position that a draw of each list leads to, from all of its edges."""
        return _found(self.running, _number(self.keys, draw, self.total))

    def repeated(self, k: int) -> Numbers:
        """Return k positions of each list, drawn from all."""
        return np.stack([self.drawn(draw) for draw in range(k)], axis=1)

    def different(self, k: int, tries: int) -> Numbers:
        """Return k different positions of each list: those of the first draws, then of what is left."""
        taken = _Taken(len(self.keys), self.running.shape[1], k)
        lists = self
        for draw in range(tries):
            lists = lists._still(taken)
            if not len(lists.keys):
                return taken.chosen
            taken.add(lists.drawn(draw))
        lists = lists._still(taken)
        weights = np.diff(lists.running, axis=1, prepend=0)
        weights[lists.running == _NEVER] = 0
        for draw in range(tries, tries + k):
            if not (wanting := taken.count[taken.rows] < k).any():
                break
            taken.rows, weights, lists = taken.rows[wanting], weights[wanting], lists._of(wanting)
            left = np.where(taken.those[taken.rows], 0, weights).cumsum(axis=1)
            taken.add(_found(left, _number(lists.keys, draw, left[:, -1])))
        return taken.chosen

    def _still(self, taken: _Taken) -> _Lists:
        """Return the lists that lack some, once they are fewer by a quarter: to copy them costs as much as a draw of all."""
        wanting = taken.count[taken.rows] < taken.chosen.shape[1]
        if 4 * np.count_nonzero(wanting) > 3 * len(wanting):
            return self
        taken.rows = taken.rows[wanting]
        return self._of(wanting)

    def _of(self, wanting: npt.NDArray[np.bool_]) -> _Lists:
        return _Lists(self.keys[wanting], self.running[wanting], self.total[wanting])


class _Taken:
    """What was taken of each list: positions, how many, and which; ``rows`` are the lists that are drawn from now."""

    def __init__(self, lists: int, longest: int, k: int) -> None:
        self.chosen = np.empty((lists, k), dtype=np.int64)
        self.count = np.zeros(lists, dtype=np.int64)
        self.those = np.zeros((lists, longest), dtype=np.bool_)
        self.rows: Numbers = np.arange(lists)

    def add(self, position: Numbers) -> None:
        """Take a position of each of the ``rows``, if it was not taken and some are wanted still."""
        new = ~self.those[self.rows, position] & (self.count[self.rows] < self.chosen.shape[1])
        rows, position = self.rows[new], position[new]
        self.those[rows, position] = True
        self.chosen[rows, self.count[rows]] = position
        self.count[rows] += 1


def _found(running: Numbers, number: Numbers) -> Numbers:
    """Return how many running totals of each list are not above its number: the position whose part it lies in."""
    found: Numbers = np.count_nonzero(running <= number[:, None], axis=1)
    return found


def _number(keys: Words, draw: int, bound: Numbers) -> Numbers:
    """Return one of 0 … bound - 1 for every key, all equally likely: what would favour some is drawn again."""
    high, low = mix(keys ^ np.uint32(2 * draw)), mix(keys ^ np.uint32(2 * draw + 1))
    bits = _bits(high, low)
    rest = bits % bound
    again = np.flatnonzero(bits - rest > (1 << 62) - bound)
    attempt = 1
    while len(again):
        bits[again] = _bits(mix(high[again] ^ np.uint32(attempt)), mix(low[again] ^ np.uint32(attempt)))
        rest[again] = bits[again] % bound[again]
        again = again[bits[again] - rest[again] > (1 << 62) - bound[again]]
        attempt += 1
    return rest


def _bits(high: Words, low: Words) -> Numbers:
    return ((high & np.uint32((1 << 30) - 1)).astype(np.int64) << 32) | low.astype(np.int64)
