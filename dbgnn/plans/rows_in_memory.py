"""`RowsInMemory`: some rows of a node or edge type in RAM, found by id; and moving rows between arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from dbgnn.arrow import as_kept, memory_dtype, opaque
from dbgnn.schema import Column
from dbgnn.schema.model import Label
from dbgnn.stores.request import Ids64

#: Rows of a type up to which a direct-address table finds them: 4 bytes each. Beyond, a search in the sorted ids.
_TABLE_LIMIT = 1 << 26

#: Rows moved at a time where both ends are scattered; what they hold then stays in the cache.
_CHUNK = 8192


@dataclass(frozen=True, slots=True)
class Served:
    """The columns of a node or edge type that a loader fetches.

    Attributes:
        label: The type.
        columns: The columns, at least one.
        num_rows: Number of nodes or edges of the type.
    """

    label: Label
    columns: tuple[Column, ...]
    num_rows: int

    @property
    def names(self) -> list[str]:
        """The names under which PyG sees the columns."""
        return [c.attr for c in self.columns]

    @property
    def kept(self) -> tuple[Column, ...]:
        """The columns as their rows are moved and held: of rows of codes the bytes (`as_kept`)."""
        return tuple(map(as_kept, self.columns))

    @property
    def row_bytes(self) -> int:
        """Bytes of one row of all columns, as it is moved and held."""
        return sum(width(c) for c in self.kept)

    @property
    def handed_bytes(self) -> int:
        """Bytes of one row of all columns while a mini-batch is put together of it, and in the mini-batch."""
        return sum(width(c) + (width(as_kept(c)) if as_kept(c) != c else 0) for c in self.columns)

    @property
    def num_bytes(self) -> int:
        """Bytes of all rows."""
        return self.num_rows * self.row_bytes


def width(column: Column) -> int:
    """Return the bytes of one value of a column."""
    return int(np.prod(column.shape, dtype=np.int64)) * memory_dtype(column.dtype).itemsize


class RowsInMemory:
    """Rows of one node or edge type, found by id. Not changed once it is made.

    Args:
        served: The type and its columns.
        ids: int64 ``[n]``, distinct; the ids of the rows.
        tensors: Per column in ``served.kept``, ``[n, *shape]``.
    """

    def __init__(self, served: Served, ids: Ids64, tensors: Sequence[Tensor]) -> None:
        self.tensors = list(tensors)
        self._rows = [opaque(tensor) for tensor in tensors]
        self._slots: Any = None
        if served.num_rows <= _TABLE_LIMIT:
            self._slots = np.full(served.num_rows, -1, dtype=np.int32)
            self._slots[ids] = np.arange(len(ids), dtype=np.int32)
        else:
            order = np.argsort(ids)
            self._sorted, self._order = ids[order], order

    @property
    def num_bytes(self) -> int:
        """Bytes held, with the table that finds rows."""
        found_by = self._sorted.nbytes + self._order.nbytes if self._slots is None else self._slots.nbytes
        return int(sum(t.nbytes for t in self.tensors) + found_by)

    def find(self, ids: Ids64) -> Ids64:
        """Return where each id is, -1 where it is not."""
        if self._slots is not None:
            return np.asarray(self._slots[ids])
        if not len(self._sorted):
            return np.full(len(ids), -1)
        at = np.minimum(np.searchsorted(self._sorted, ids), len(self._sorted) - 1)
        return np.where(self._sorted[at] == ids, self._order[at], -1)

    def forget(self, ids: Ids64) -> None:
        """Find these rows no more; for its maker alone."""
        if self._slots is not None:
            self._slots[ids] = -1
        elif len(ids):
            kept = ~np.isin(self._sorted, ids)
            self._sorted, self._order = self._sorted[kept], self._order[kept]

    def take(self, slots: Ids64, outs: Sequence[Tensor], pos: Ids64 | None = None) -> None:
        """Write the rows at ``slots`` into ``outs``, one tensor per column, at ``pos`` (None: 0, 1, …)."""
        for rows, out in zip(self._rows, outs, strict=True):
            move(rows, slots, opaque(out), pos)


def move(rows: np.ndarray[Any, Any], index: Ids64, out: np.ndarray[Any, Any], pos: Ids64 | None = None) -> None:
    """Do ``out[pos] = rows[index]`` on opaque rows, without a copy between; ``pos`` None: one after the other.

    ``np.take`` in clip mode writes straight into ``out`` (463 k rows of 512 bytes: 37 ms; ``out[:] = rows[index]`` 77 ms).
    """
    if pos is None:
        np.take(rows, index, out=out, mode="clip")
        return
    for start in range(0, len(pos), _CHUNK):
        part = slice(start, start + _CHUNK)
        out[pos[part]] = rows[index[part]]
