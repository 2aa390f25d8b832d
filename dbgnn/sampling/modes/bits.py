"""The random bits of draws by weight, in NumPy: what a statement draws with is sent to it, so both draw the same.

A draw has 62 bits, of two words, all of which decide what the remainder is: hence `mix_well`. With `mix`, draws of one node
depended on each other. A number below a bound is the bits modulo the bound; bits that would favour some numbers are
rejected, and drawn again (attempt 1, 2, and so on). That takes bits near their end, since no bound reaches `BOUND`: few are.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dbgnn.sampling.modes.threads import in_threads
from dbgnn.sampling.random import Words, mix_well

#: So many are the numbers that bits make.
END = 1 << 62

#: Above all totals of a list's weights (`topology.weights`).
BOUND = 1 << 47

#: Keys that are looked at together: what they need stays in the processor's cache.
_TOGETHER = 1 << 13

Bits: TypeAlias = npt.NDArray[np.uint64]


def bits_of(keys: Words, draws: Words, attempt: int = 0) -> Bits:
    """Return the bits of draws for keys; both are broadcast to one shape."""
    twice = draws << np.uint32(1)
    high, low = mix_well(keys ^ twice), mix_well(keys ^ (twice | np.uint32(1)))
    if attempt:
        high, low = mix_well(high ^ np.uint32(attempt)), mix_well(low ^ np.uint32(attempt))
    high &= np.uint32((1 << 30) - 1)
    bits = high.astype(np.uint64)
    bits <<= np.uint64(32)
    bits |= low
    return bits


def numbers_below(bounds: Bits, keys: Words, draws: range) -> Bits:
    """Return one of 0 … bound - 1 of every key and draw, all equally likely: ``[draws, keys]``."""
    each = _numbered(draws)
    bits = bits_of(keys, each[:, None])
    numbers: Bits = bits % bounds
    doubtful = bits > END - BOUND
    if not doubtful.any():
        return numbers
    draw, key = np.nonzero(doubtful)
    attempt = 1
    while len(draw):
        rejected = bits[draw, key] - numbers[draw, key] > END - bounds[key]
        draw, key = draw[rejected], key[rejected]
        bits[draw, key] = bits_of(keys[key], each[draw], attempt)
        numbers[draw, key] = bits[draw, key] % bounds[key]
        attempt += 1
    return numbers


def sent(keys: Words, count: int, attempts: int) -> list[pa.Array]:
    """Return two columns of a frontier, of 64-bit integers: ``bits`` and ``spare``.

    Args:
        keys: The key of every row.
        count: How many draws.
        attempts: How often bits are drawn again.

    Returns:
        Lists of the bits of every draw; and lists of the further ``attempts`` of every draw, one draw after the other, where
        some may be rejected (those above ``END - BOUND``), else NULL.
    """
    bits, missing = np.empty((len(keys), count), dtype=np.uint64), np.empty(len(keys), dtype=np.bool_)
    each = _numbered(range(count))

    def fill(begin: int) -> None:
        some = slice(begin, begin + _TOGETHER)
        bits[some] = bits_of(keys[some, None], each)
        missing[some] = bits[some].max(axis=1, initial=0) <= END - BOUND

    in_threads(fill, range(0, len(keys), _TOGETHER))
    doubtful = keys[~missing]
    spare = np.stack([bits_of(doubtful[:, None], each, attempt) for attempt in range(1, attempts + 1)], axis=2)
    length = np.where(missing, 0, count * attempts)
    return [_lists(np.full(len(keys), count), bits), _lists(length, spare, missing)]


def none_sent(rows: int) -> list[pa.Array]:
    """Return both columns for a statement that draws nothing."""
    return [pa.nulls(rows, pa.list_(pa.int64()))] * 2


def _numbered(draws: range) -> Words:
    return np.arange(draws.start, draws.stop, dtype=np.uint32)


def _lists(lengths: npt.NDArray[np.int64], values: Bits, missing: npt.NDArray[np.bool_] | None = None) -> pa.ListArray:
    ends = np.zeros(len(lengths) + 1, dtype=np.int32)
    np.cumsum(lengths, out=ends[1:])
    mask = None if missing is None else pa.array(missing)
    return pa.ListArray.from_arrays(pa.array(ends), pa.array(values.view(np.int64).ravel()), mask=mask)
