"""Counter-based random numbers.

There is no state. A number is ``mix`` of a chain of counters (seed, epoch, batch, hop, edge type, destination,
draw), so a sample depends on nothing else: not on threads, processes, or how many batches one statement holds.

``mix`` is two rounds of the 32-bit multiply-xorshift finaliser known as "lowbias" hashing (C. Wellons, 2018;
its constant 0x45d9f3b is T. Mueller's).
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

_FACTOR = np.uint32(0x45D9F3B)
_SHIFT = np.uint32(16)
#: Keeps counters that are all zero from giving zero (2**32 divided by the golden ratio).
_START = 0x9E3779B9

Words: TypeAlias = npt.NDArray[np.uint32]


def mix(x: Words) -> Words:
    """Return 32 random bits for each 32-bit number in the array ``x``."""
    for _ in range(2):
        x = x ^ (x >> _SHIFT)
        x *= _FACTOR
    return x


def fold(*counters: int) -> int:
    """Return one 32-bit key for a chain of counters of up to 64 bits each."""
    key = mix(np.array([_START], dtype=np.uint32))
    for counter in counters:
        for word in (counter & 0xFFFFFFFF, (counter >> 32) & 0xFFFFFFFF):
            key = mix(key ^ np.uint32(word))
    return int(key[0])


def below(words: Words, bound: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Return integers from 0 … bound - 1, every one equally likely.

    It is ``(word * bound) >> 32``. A word that would favour some integer is rejected (D. Lemire, "Fast random integer
    generation in an interval", 2019) and mixed with 1, 2, and so on until one is not.

    Args:
        words: Random bits ``[…]``.
        bound: 1 … 2**32 - 1, of the same shape.
    """
    product = words * bound
    low = product.astype(np.uint32)
    rejected = np.flatnonzero(low < bound)  # so few that the division costs nothing
    attempt = 0
    while len(rejected):
        limit = bound.ravel()[rejected]
        rejected = rejected[low.ravel()[rejected] < 2**32 % limit]
        attempt += 1
        again = mix(words.ravel()[rejected] ^ np.uint32(attempt)) * bound.ravel()[rejected]
        product.ravel()[rejected], low.ravel()[rejected] = again, again.astype(np.uint32)
    return product >> np.uint64(32)
