"""The random bits of draws by weight, in NumPy: what a statement draws with is sent to it, so both draw the same.

A draw has 62 bits, of two words. A number below a bound is the bits modulo the bound; bits that would favour some numbers are
rejected, and drawn again (attempt 1, 2, and so on). That takes bits near their end, since no bound reaches `BOUND`: few are.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dbgnn.sampling.random import Words, mix

#: So many are the numbers that bits make.
END = 1 << 62

#: Above all totals of a list's weights (`topology.weights`).
BOUND = 1 << 47

Bits: TypeAlias = npt.NDArray[np.uint64]


def bits_of(keys: Words, draws: npt.NDArray[np.int64], attempt: int = 0) -> Bits:
    """Return the bits of draws: those of ``keys`` ``[n]`` and ``draws`` ``[m, 1]`` for each of both, ``[m, n]``."""
    high, low = (mix(keys ^ (2 * draws + word).astype(np.uint32)) for word in (0, 1))
    if attempt:
        high, low = (mix(words ^ np.uint32(attempt)) for words in (high, low))
    high &= np.uint32((1 << 30) - 1)
    return (high.astype(np.uint64) << np.uint64(32)) | low


def numbers_below(bounds: Bits, keys: Words, draws: range) -> Bits:
    """Return one of 0 … bound - 1 of every key and draw, all equally likely: ``[draws, keys]``."""
    each = np.arange(draws.start, draws.stop)[:, None]
    bits = bits_of(keys, each)
    numbers: Bits = bits % bounds
    doubtful = bits > END - BOUND
    if not doubtful.any():
        return numbers
    draw, key = np.nonzero(doubtful)
    attempt = 1
    while len(draw):
        rejected = bits[draw, key] - numbers[draw, key] > END - bounds[key]
        draw, key = draw[rejected], key[rejected]
        bits[draw, key] = bits_of(keys[key], each[draw, 0], attempt)
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
    each = np.arange(count)[:, None]
    bits = bits_of(keys, each)
    some = np.flatnonzero((bits > END - BOUND).any(axis=0))
    spare = np.stack([bits_of(keys[some], each, attempt) for attempt in range(1, attempts + 1)], axis=1)
    length = np.zeros(len(keys), dtype=np.int32)
    length[some] = count * attempts
    missing = np.ones(len(keys), dtype=np.bool_)
    missing[some] = False
    return [
        _lists(np.full(len(keys), count, dtype=np.int32), bits.T),
        _lists(length, spare.transpose(2, 0, 1), missing),
    ]


def none_sent(rows: int) -> list[pa.Array]:
    """Return both columns for a statement that draws nothing."""
    return [pa.nulls(rows, pa.list_(pa.int64()))] * 2


def _lists(lengths: npt.NDArray[np.int32], values: Bits, missing: npt.NDArray[np.bool_] | None = None) -> pa.ListArray:
    ends = np.zeros(len(lengths) + 1, dtype=np.int32)
    np.cumsum(lengths, out=ends[1:])
    mask = None if missing is None else pa.array(missing)
    return pa.ListArray.from_arrays(pa.array(ends), pa.array(values.astype(np.int64).ravel()), mask=mask)
