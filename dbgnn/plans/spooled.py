"""The plan *spooled*: the cold rows of a super-batch go to a temporary file, mini-batch by mini-batch.

For features larger than memory. DuckDB's blocks hold some hundred rows, so mini-batches that fetch their rows one by one read
most of the table each; one pass over it serves a whole super-batch instead. What the pass brings is written in the order of
the table, so every mini-batch's part grows from front to back, and is read back in one go (Liu et al., "DiskGNN", SIGMOD
2025, pack features the same way, ahead of training).

The file has no name (it is unlinked as soon as it is made), so nothing is left behind, whatever happens to the process.
"""

from __future__ import annotations

import errno
import os
import weakref
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from torch import Tensor

from dbgnn import files
from dbgnn.arrow import empty, opaque
from dbgnn.clock import Clock
from dbgnn.errors import ResourceError
from dbgnn.plans.fetched import RowReader, distinct
from dbgnn.plans.rows_in_memory import RowsInMemory, Served, move, width
from dbgnn.schema.model import Label
from dbgnn.stores.request import Ids64

_Bytes: TypeAlias = npt.NDArray[np.uint8]

#: Bytes of features that one statement of the pass brings.
_SLICE_BYTES = 64 << 20

#: Bytes written or read back at a time; they are moved from or to their places while they are in the processor's cache.
_MOVED_BYTES = 4 << 20


@dataclass(slots=True)
class _Part:
    """The rows of one type that one mini-batch asked for.

    Attributes:
        ranks: int32 or int64 ``[n]``, ascending: the rank of each row among all rows of the super-batch, in the table's order.
        order: Position of each of them in the mini-batch's request.
        offset: Where its first column begins in the file; the others follow.
    """

    ranks: Ids64
    order: Ids64
    offset: int


class Spooled:
    """Cold rows of a super-batch, by way of a temporary file.

    Args:
        reader: Reads the rows.
        cold: By type, the ids that each mini-batch needs.
        folder: Where the temporary file goes.

    Raises:
        ResourceError: The disk is full, or the folder cannot be written to.
    """

    def __init__(self, reader: RowReader, cold: Mapping[Served, Sequence[Ids64]], folder: str) -> None:
        self._folder = folder
        self._parts: dict[tuple[int, Served], _Part] = {}
        self._end = 0
        try:
            self._file = files.unnamed(folder)
        except OSError as error:
            raise ResourceError(
                f"The plan 'spooled' cannot write to {folder!r} ({error}). Point temp_directory of dbgnn.connect() to a folder "
                "with room, or choose another plan."
            ) from error
        # A super-batch that nobody comes to read, as after `break`, gives its space back too.
        self._closed = weakref.finalize(self, self._file.close)
        try:
            for served, batches in cold.items():
                self._pack(reader, served, batches)
        except BaseException:
            self.close()
            raise

    @property
    def num_bytes(self) -> int:
        """Bytes written."""
        return self._end

    def _pack(self, reader: RowReader, served: Served, batches: Sequence[Ids64]) -> None:
        with reader.clock("scatter"):
            ids = distinct(batches, served.num_rows)
            ids = ids[np.argsort(reader.store.rowids(served.label, ids), kind="stable")]  # in the order of the table
            parts = self._plan(served, ids, batches)
        step = max(1, _SLICE_BYTES // served.row_bytes)
        outs = [empty(min(step, len(ids)), c) for c in served.kept]
        for start in range(0, len(ids), step):
            some = ids[start : start + step]
            views = [out[: len(some)] for out in outs]
            reader.read(served, some, views)
            with reader.clock("scatter"):
                for part in parts:
                    self._write(part, served, views, start)

    def _plan(self, served: Served, ids: Ids64, batches: Sequence[Ids64]) -> list[_Part]:
        """Lay out the file: where every mini-batch's rows go, and in which order."""
        by_rank = RowsInMemory(served, ids, [])
        parts = []
        for number, asked in enumerate(batches):
            ranks = by_rank.find(asked)
            order = np.argsort(ranks, kind="stable")  # sorted hop by hop already, which a stable sort makes use of
            self._parts[number, served] = part = _Part(ranks[order], order.astype(np.int32), self._end)
            parts.append(part)
            self._end += len(asked) * served.row_bytes
        return parts

    def _write(self, part: _Part, served: Served, views: Sequence[Tensor], start: int) -> None:
        """Append to a mini-batch's part those of its rows that are among ``views``: the rows of the pass from ``start`` on."""
        first, last = np.searchsorted(part.ranks, [start, start + len(views[0])])
        if first == last:
            return
        index, offset = part.ranks[first:last] - start, part.offset
        for column, view in zip(served.kept, views, strict=True):
            size, rows = width(column), opaque(view)
            memory = np.empty(_MOVED_BYTES // size + 1, dtype=rows.dtype)
            for begin in range(0, len(index), len(memory)):
                some = index[begin : begin + len(memory)]
                moved = memory[: len(some)]
                move(rows, some, moved)
                self._write_all(moved.view(np.uint8), offset + (first + begin) * size)
            offset += len(part.ranks) * size

    def _write_all(self, data: _Bytes, offset: int) -> None:
        view = memoryview(data.data)
        try:
            while view:
                done = os.pwrite(self._file.fileno(), view, offset)
                view, offset = view[done:], offset + done
        except OSError as error:
            if error.errno not in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
                raise
            raise ResourceError(
                f"No room in {self._folder!r} for the spooled rows of a super-batch ({self._end / 1e9:.1f} GB). Free space, "
                "point temp_directory of dbgnn.connect() elsewhere, or make super_batch smaller."
            ) from error

    def together(self, labels: Sequence[Label]) -> AbstractContextManager[None]:  # noqa: ARG002 - they are in the file
        """See `Cold.together`."""
        return nullcontext()

    def read(self, batch: int, served: Served, ids: Ids64, pos: Ids64 | None, outs: Sequence[Tensor], clock: Clock) -> None:  # noqa: ARG002 - known since the pass
        """See `Cold.read`."""
        part = self._parts[batch, served]
        offset = part.offset
        to = part.order if pos is None else pos[part.order]
        with clock("features"):
            for out in outs:
                target = opaque(out)
                memory = np.empty((_MOVED_BYTES // target.itemsize + 1) * target.itemsize, dtype=np.uint8).view(target.dtype)
                for begin in range(0, len(to), len(memory)):
                    rows = memory[: len(to) - begin]
                    self._read_all(rows.view(np.uint8), offset)
                    target[to[begin : begin + len(rows)]] = rows
                    offset += rows.nbytes

    def _read_all(self, data: _Bytes, offset: int) -> None:
        view = memoryview(data.data)
        while view:
            done = os.preadv(self._file.fileno(), [view], offset)
            if not done:
                raise ResourceError(f"The temporary file of spooled rows in {self._folder!r} was cut off while it was read.")
            view, offset = view[done:], offset + done

    def close(self) -> None:
        """Give up the file, and with it its space on the disk."""
        self._parts.clear()
        self._closed()
