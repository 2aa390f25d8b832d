"""`Buffers`: memory for the tensors of mini-batches, used again once a mini-batch is gone. Knows nothing of mini-batches."""

from __future__ import annotations

import math
import threading
import weakref
from collections import deque
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dbgnn.arrow import DTYPES, as_dtype, memory_dtype
from dbgnn.errors import DbgnnError

_Bytes = np.ndarray[Any, Any]

#: Smaller tensors are not worth the bookkeeping: malloc itself uses such memory again.
_SMALL = 64 << 10

#: A new buffer is larger than asked for by this part, so that the next mini-batch, a little larger, fits too.
#: What is never written to takes no memory.
_SLACK = 1 / 8

#: A buffer serves requests down to this part of its size; a tiny tensor does not hold on to a large buffer.
_LEAST_USE = 1 / 2


#: Rows start where cache lines do, if they are as long; to scatter rows of 512 bytes then takes a tenth less time.
_LINE = 64


class Buffers:
    """Hands out tensors whose memory is used again when nothing refers to it any more.

    Writing to fresh memory costs its page faults: a tensor of 150 MB takes 17 ms to fill, 6 ms in memory used before.
    The memory of a tensor is free when the tensor, its views, and all arrays and tensors that share its storage are gone;
    so whatever a user keeps is never overwritten. Safe to use from many threads; tensors may end in any.

    Args:
        pinned: Allocate page-locked memory for copies to a CUDA device. Torch then keeps the memory for use
            again by itself, and waits for the copies that are under way.
        idle_bytes: How much memory that nothing refers to is kept; those used least recently go first.

    Raises:
        DbgnnError: ``pinned`` without a CUDA device.
    """

    def __init__(self, *, pinned: bool = False, idle_bytes: int = 512 << 20) -> None:
        if pinned and not torch.cuda.is_available():
            raise DbgnnError("Pinned memory needs a CUDA device, and torch finds none; use pinned=False.")
        self._pinned = pinned
        self._idle_bytes = idle_bytes
        self._lock = threading.Lock()
        self._idle: list[_Bytes] = []  # guarded by the lock; the one used last is last
        self._returned: deque[_Bytes] = deque()  # free, but not yet among the idle ones; appending needs no lock

    def empty(self, shape: tuple[int, ...], dtype: str) -> Tensor:
        """Return a contiguous tensor, not initialised.

        Args:
            shape: Its shape.
            dtype: NumPy's name of its dtype, as in ``Column.dtype``.
        """
        if self._pinned:
            return torch.empty(shape, dtype=DTYPES[dtype], pin_memory=True)
        kind = memory_dtype(dtype)
        size = math.prod(shape) * kind.itemsize
        if size < _SMALL:
            return as_dtype(np.empty(shape, kind), dtype)
        memory = self._take(size)
        # torch keeps this very object for as long as the storage lives, whatever tensors and arrays share it.
        lease = memory[:size].view(kind).reshape(shape).view(_Lease)
        weakref.finalize(lease, _give_back, weakref.ref(self), memory).atexit = False
        return as_dtype(lease, dtype)

    @property
    def idle(self) -> int:
        """Bytes that are kept and that nothing refers to."""
        with self._lock:
            self._sort_in()
            return sum(memory.nbytes for memory in self._idle)

    def clear(self) -> None:
        """Give the memory that nothing refers to back to the system."""
        with self._lock:
            self._sort_in()
            self._idle.clear()

    def _take(self, size: int) -> _Bytes:
        with self._lock:
            self._sort_in()
            fitting = [i for i, memory in enumerate(self._idle) if size <= memory.nbytes <= size / _LEAST_USE]
            if fitting:
                return self._idle.pop(min(fitting, key=lambda i: self._idle[i].nbytes))
        memory = np.empty(int(size * (1 + _SLACK)) + _LINE, np.uint8)
        return memory[-memory.ctypes.data % _LINE :]

    def _sort_in(self) -> None:
        """Put what came back among the idle ones; the caller holds the lock."""
        while self._returned:
            self._idle.append(self._returned.popleft())
        excess = sum(memory.nbytes for memory in self._idle) - self._idle_bytes
        while excess > 0:
            excess -= self._idle.pop(0).nbytes


class _Lease(np.ndarray[Any, Any]):
    """An array that can be referred to weakly, so that its end can be seen."""


def _give_back(buffers: weakref.ref[Buffers], memory: _Bytes) -> None:
    """Return memory that nothing refers to any more. Runs in any thread, at any moment."""
    ring = buffers()
    if ring is None:
        return
    ring._returned.append(memory)
    # Never wait: the garbage collector may have come here from within the lock, in the thread that holds it. Whoever
    # holds the lock, or takes it next, finds the memory.
    if ring._lock.acquire(blocking=False):
        try:
            ring._sort_in()
        finally:
            ring._lock.release()
