"""The choice by weight among short lists, in NumPy: bit for bit that of the statement (`weighted`), at a fraction of its cost.

A statement hands short lists out whole, with the running totals of their weights, as it does those of which all is taken. To
draw from them there costs several lambdas a draw (300 ns); here many lists make many draws together: a row of every array is
a draw, or a position, and a column is a list.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from dbgnn.sampling.modes.bits import Bits, numbers_below
from dbgnn.sampling.random import Words

#: Lists of at most so many edges are short: a number of so many bits says which of them are taken.
SHORT = 64

Numbers: TypeAlias = npt.NDArray[np.int64]
Picks: TypeAlias = npt.NDArray[np.uint8]

#: Lists that draw together: what they need stays in the processor's cache.
_TOGETHER = 1 << 13

_ONE = np.uint64(1)


def choose(keys: Words, starts: Numbers, lengths: Numbers, totals: Numbers, k: int, tries: list[int]) -> Picks:
    """Return k positions of every list, counted from 0: ``[lists, k]``.

    Args:
        keys: The random key of every list.
        starts: Where it begins in ``totals``.
        lengths: How many edges it has, at most `SHORT`; more than k where each is drawn once.
        totals: The running totals of the weights of all lists.
        k: How many are chosen.
        tries: How many are drawn from all for k different ones: at first, of those that lack some then, and so on; after the
            last one the rest is drawn from what is left. Empty: each is drawn from all again.
    """
    chosen = np.empty((len(keys), k), dtype=np.uint8)
    # Lists of one length need no room for longer ones.
    order = np.argsort(lengths.astype(np.uint8), kind="stable")
    for draws in tries or [k]:
        lacking = []
        for begin in range(0, len(order), _TOGETHER):
            at = order[begin : begin + _TOGETHER]
            lists = _Lists.of(keys[at], starts[at], lengths[at], totals)
            if not tries:
                chosen[at] = lists.drawn(range(k)).T
                continue
            taken = _Taken(lists.drawn(range(draws)), k)
            if draws == tries[-1]:
                lists.finish(taken, draws)
            chosen[at] = taken.chosen[:k].T
            lacking.append(at[taken.lacking])
        order = np.concatenate(lacking) if lacking else order[:0]
    return chosen


@dataclass(frozen=True, slots=True)
class _Lists:
    """Lists that draw together: their keys, and running totals ``[longest, lists]``."""

    keys: Words
    running: Bits

    @classmethod
    def of(cls, keys: Words, starts: Numbers, lengths: Numbers, totals: Numbers) -> _Lists:
        """Return lists that lie in ``totals``; after the last total of a list comes the last total."""
        places = np.minimum(np.arange(lengths.max())[:, None], lengths - 1)
        places += starts
        return cls(keys, totals.view(np.uint64)[places])

    def drawn(self, draws: range) -> Picks:
        """Return the positions that draws lead to, from all edges: ``[draws, lists]``."""
        return _found(self.running, numbers_below(self.running[-1], self.keys, draws))

    def finish(self, taken: _Taken, draws: int) -> None:
        """Take what is missing after so many draws from what is left."""
        lists, weights = np.flatnonzero(taken.lacking), np.diff(self.running, axis=0, prepend=np.uint64(0))
        each = np.arange(len(weights), dtype=np.uint64)[:, None]
        for draw in range(draws, draws + taken.k):
            lists = lists[taken.lacking[lists]]
            if not len(lists):
                break
            left = np.where(taken.those[lists] >> each & _ONE, np.uint64(0), weights[:, lists]).cumsum(axis=0, dtype=np.uint64)
            taken.add(_found(left, numbers_below(left[-1], self.keys[lists], range(draw, draw + 1)))[0], lists)


class _Taken:
    """What was taken of each list: positions ``[k + 1, lists]``, and which, as the bits of a number.

    A position is written to the next place of its list, and stays if it is new; the last place takes what is not wanted.
    """

    def __init__(self, drawn: Picks, k: int) -> None:
        self.k, lists = k, drawn.shape[1]
        self.chosen = np.empty((k + 1, lists), dtype=np.uint8)
        self.those = np.zeros(lists, dtype=np.uint64)
        self._place = np.arange(lists)
        for draw, position in enumerate(drawn):
            self._add(position, full=draw >= k)

    @property
    def lacking(self) -> npt.NDArray[np.bool_]:
        """Whether k are not there yet."""
        return self._place < self.k * len(self._place)

    def _add(self, position: Picks, *, full: bool) -> None:
        """Take a position of each list, if it was not taken and some are wanted still; ``full``: none may be."""
        self.chosen.ravel()[self._place] = position
        bit = _ONE << position.astype(np.uint64)
        new = self.those & bit == 0
        self.those |= bit
        if full:
            new &= self.lacking
        self._place += new * len(new)

    def add(self, position: Picks, lists: Numbers) -> None:
        """Take a position that is new of some lists."""
        self.chosen.ravel()[self._place[lists]] = position
        self.those[lists] |= _ONE << position.astype(np.uint64)
        self._place[lists] += len(self._place)


def _found(running: Bits, numbers: Bits) -> Picks:
    """Return how many running totals of each list are not above its numbers: the position whose part each lies in."""
    found = np.zeros(numbers.shape, dtype=np.uint8)
    below = np.empty(numbers.shape, dtype=np.bool_)
    for total in running[:-1]:
        np.less_equal(total, numbers, out=below)
        found += below.view(np.uint8)
    return found
