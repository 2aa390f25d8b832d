"""Counter-based random numbers: one function, as SQL and in NumPy, bit for bit the same.

There is no state. A number is ``mix`` of a chain of counters (seed, epoch, batch, hop, edge type, destination,
draw), so a sample depends on nothing else: not on threads, processes, or how many batches one statement holds.

``mix`` is two rounds of the 32-bit multiply-xorshift finaliser known as "lowbias" hashing (C. Wellons, 2018;
its constant 0x45d9f3b is T. Mueller's). DuckDB's ``hash()`` costs about the same and may change with its version.

Of its bits the upper half is good, and the lower the worse, the lower they are: bit 0 of neighbouring counters agrees or
disagrees 98 times in 100. So a number is made of the upper bits, by a product or a comparison, or of all bits of `mix_well`.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

MASK = 0xFFFFFFFF
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


def mix_well(x: Words) -> Words:
    """Return 32 random bits likewise, the lower as good as the upper ones, for numbers that are made of all of them."""
    x = mix(mix(x))
    x ^= x >> _SHIFT
    return x


def round_sql(x: str) -> str:
    """Return one of the two rounds of `mix` as a SQL expression; ``x`` is a column of type BIGINT."""
    return f"((xor({x}, {x} >> {_SHIFT}) * {_FACTOR}) & {MASK})"


def fold(*counters: int) -> int:
    """Return one 32-bit key for a chain of counters of up to 64 bits each."""
    key = mix(np.array([_START], dtype=np.uint32))
    for counter in counters:
        for word in (counter & 0xFFFFFFFF, (counter >> 32) & 0xFFFFFFFF):
            key = mix(key ^ np.uint32(word))
    return int(key[0])
