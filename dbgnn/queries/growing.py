"""`Growing`: rows appended to memory that grows without being copied."""

from __future__ import annotations

import math
import mmap

import numpy as np
import torch
from torch import Tensor

from dbgnn.arrow import as_dtype, memory_dtype, opaque

#: Bytes that the memory starts with.
_FIRST = 1 << 20


class Growing:
    """Rows of one dtype and shape, of which nobody knows the number until the last has come.

    Held in a mapping of its own, which Linux makes larger by its page tables alone (``mremap``): every row is
    written once, and what nothing was written to costs nothing.

    Args:
        dtype: NumPy's name of the dtype.
        shape: The shape of one row.
    """

    def __init__(self, dtype: str, shape: tuple[int, ...]) -> None:
        self._name, self._dtype, self._shape = dtype, memory_dtype(dtype), shape
        self._torch: torch.dtype = getattr(torch, dtype)
        self._row_bytes = self._dtype.itemsize * math.prod(shape)
        self._map: mmap.mmap | None = None
        self._rows = 0

    def append(self, values: Tensor) -> None:
        """Write the rows of ``values``, ``[n, *shape]`` of the dtype, behind those that are there.

        Raises:
            ValueError: They are of another dtype or shape.
        """
        if values.dtype != self._torch or tuple(values.shape[1:]) != self._shape:
            raise ValueError(f"{values.dtype} {list(values.shape[1:])} cannot go to {self._name} {list(self._shape)}")
        start, self._rows = self._rows, self._rows + len(values)
        needed = self._rows * self._row_bytes
        if needed == start * self._row_bytes:
            return
        if self._map is None:
            self._map = _anonymous(max(needed, _FIRST))
        elif needed > len(self._map):
            self._map = _resized(self._map, max(needed, 2 * len(self._map)))
        rows = np.frombuffer(self._map, dtype=(np.void, self._row_bytes), count=self._rows)
        rows[start:] = opaque(values.contiguous())

    def finish(self) -> Tensor:
        """Return the rows as a tensor ``[N, *shape]``, which now owns the memory."""
        memory, self._map = self._map, None
        if memory is None:
            return torch.empty((self._rows, *self._shape), dtype=self._torch)
        if len(memory) > (size := max(self._rows * self._row_bytes, mmap.PAGESIZE)):
            memory = _resized(memory, size)
        flat = np.frombuffer(memory, dtype=self._dtype, count=self._rows * math.prod(self._shape))
        return as_dtype(flat.reshape(self._rows, *self._shape), self._name)


def _anonymous(size: int) -> mmap.mmap:
    if not hasattr(mmap, "MAP_PRIVATE"):
        return mmap.mmap(-1, size)
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        memory.madvise(mmap.MADV_HUGEPAGE)
    return memory


def _resized(memory: mmap.mmap, size: int) -> mmap.mmap:
    try:
        memory.resize(size)
    except OSError as error:
        raise MemoryError(f"no memory for {size:,} bytes: {error}") from error
    except (SystemError, ValueError):  # there is no mremap but on Linux
        other = _anonymous(size)
        common = min(size, len(memory))
        other[:common] = memory[:common]
        return other
    return memory
