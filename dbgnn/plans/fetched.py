"""How the features of sampled mini-batches are brought: hot rows from RAM, cold rows by one of three plans.

`Fetched` is made once per super-batch, and hands out the tensors of one mini-batch after the other. The plans differ only
in the cold rows: *join* asks DuckDB for each mini-batch, *shared* brings the distinct rows of the super-batch into RAM,
*spooled* writes them to a temporary file, mini-batch by mini-batch (see `spooled`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np
from torch import Tensor

from dbgnn.arrow import dtype_of, expand
from dbgnn.clock import Clock
from dbgnn.plans.buffers import Buffers
from dbgnn.plans.rows_in_memory import RowsInMemory, Served
from dbgnn.schema.model import Label
from dbgnn.stores.request import Ids64
from dbgnn.topology.distinct import sorted_distinct

if TYPE_CHECKING:
    from dbgnn.stores import DuckDBFeatureStore
    from dbgnn.topology import Topology

#: The rows that a mini-batch needs: ids by node or edge type, with duplicates where the mini-batch has them.
Request: TypeAlias = Mapping[Label, Ids64]


@dataclass(slots=True)
class Taken:
    """The features of one mini-batch.

    Attributes:
        tensors: By type and attribute, ``[n, *shape]``.
        rows: Number of rows of all types.
        hits: How many of them were hot.
        num_bytes: Bytes of all tensors.
    """

    tensors: dict[Label, dict[str, Tensor]] = field(default_factory=dict)
    rows: int = 0
    hits: int = 0
    num_bytes: int = 0


class Cold(Protocol):
    """Brings the cold rows of one super-batch."""

    def together(self, labels: Sequence[Label]) -> AbstractContextManager[None]:
        """Within, rows of these types are read."""

    def read(self, batch: int, served: Served, ids: Ids64, pos: Ids64 | None, outs: Sequence[Tensor], clock: Clock) -> None:
        """Write the rows ``ids`` that mini-batch number ``batch`` asked for into ``outs``, at ``pos`` (None: 0, 1, …)."""

    def close(self) -> None:
        """Free what it holds."""


class RowReader:
    """Reads rows of one state of the graph.

    Args:
        store: The feature store.
        topology: The index that the ids are of.
        clock: Counts what is read for the super-batch as a whole.
    """

    def __init__(self, store: DuckDBFeatureStore, topology: Topology, clock: Clock) -> None:
        self.store, self.topology, self.clock = store, topology, clock

    def read(
        self, served: Served, ids: Ids64, outs: Sequence[Tensor], *, pos: Ids64 | None = None, clock: Clock | None = None
    ) -> None:
        """Write rows into ``outs``, at ``pos`` (None: 0, 1, …)."""
        clock = self.clock if clock is None else clock
        wide = ids.astype(np.int64, copy=False)  # DuckDB would cast, and then not see which blocks it can skip
        self.store.read_into(served.label, served.columns, wide, outs, topology=self.topology, pos=pos, clock=clock)


class Join:
    """Cold rows by one SQL join per mini-batch and type."""

    def __init__(self, reader: RowReader) -> None:
        self._reader = reader

    def together(self, labels: Sequence[Label]) -> AbstractContextManager[None]:
        """See `Cold.together`."""
        return self._reader.store.reading(self._reader.topology, labels)

    def read(self, batch: int, served: Served, ids: Ids64, pos: Ids64 | None, outs: Sequence[Tensor], clock: Clock) -> None:  # noqa: ARG002 - every batch by itself
        """See `Cold.read`."""
        self._reader.read(served, ids, outs, pos=pos, clock=clock)

    def close(self) -> None:
        """Nothing is held."""


class Shared:
    """Cold rows of a whole super-batch in RAM, brought by one pass over each table."""

    def __init__(self, reader: RowReader, buffers: Buffers, cold: Mapping[Served, Sequence[Ids64]]) -> None:
        self._rows: dict[Label, RowsInMemory] = {}
        for served, batches in cold.items():
            ids = distinct(batches, served.num_rows)
            outs = [buffers.empty((len(ids), *c.shape), c.dtype) for c in served.kept]
            reader.read(served, ids, outs)
            with reader.clock("scatter"):
                self._rows[served.label] = RowsInMemory(served, ids, outs)

    def together(self, labels: Sequence[Label]) -> AbstractContextManager[None]:  # noqa: ARG002 - they are in RAM
        """See `Cold.together`."""
        return nullcontext()

    def read(self, batch: int, served: Served, ids: Ids64, pos: Ids64 | None, outs: Sequence[Tensor], clock: Clock) -> None:  # noqa: ARG002 - all batches share
        """See `Cold.read`."""
        with clock("scatter"):
            rows = self._rows[served.label]
            rows.take(rows.find(ids), outs, pos)

    def close(self) -> None:
        """Give the rows back to the buffers."""
        self._rows.clear()


class Fetched:
    """The features of a super-batch, about to be handed out.

    Args:
        requests: What each mini-batch needs.
        served: The types and their columns.
        hot: The hot rows, by type.
        cold: Brings the others.
        buffers: Where the tensors come from.
    """

    def __init__(
        self,
        requests: list[Request],
        served: Sequence[Served],
        hot: Mapping[Label, RowsInMemory],
        cold: Cold,
        buffers: Buffers,
    ) -> None:
        self._requests, self._served, self._hot, self._cold, self._buffers = requests, served, hot, cold, buffers

    def take(self, batch: int, clock: Clock) -> Taken:
        """Return the features of one mini-batch; of each once."""
        taken = Taken()
        request, self._requests[batch] = self._requests[batch], {}
        cold: list[tuple[Served, Ids64, Ids64 | None, list[Tensor]]] = []
        for served in self._served:
            ids = request[served.label]
            outs = [self._buffers.empty((len(ids), *c.shape), c.dtype) for c in served.kept]
            missed, pos = self._fill(served, ids, outs, clock)
            if len(missed):
                cold.append((served, missed, pos, outs))
            taken.hits += len(ids) - len(missed)
            taken.tensors[served.label] = dict(zip(served.names, outs, strict=True))
            taken.rows += len(ids)
        if cold:
            with self._cold.together([served.label for served, *_ in cold]):
                for served, missed, pos, outs in cold:
                    self._cold.read(batch, served, missed, pos, outs, clock)
        with clock("scatter"):
            for served in self._served:
                self._expand(served, taken.tensors[served.label])
        taken.num_bytes = sum(out.nbytes for outs in taken.tensors.values() for out in outs.values())
        return taken

    def _expand(self, served: Served, tensors: dict[str, Tensor]) -> None:
        """Put the floats that rows of codes stand for in their place, once all rows are there."""
        for column in served.columns:
            kept = tensors[column.attr]
            if kept.dtype != dtype_of(column):
                out = self._buffers.empty((len(kept), *column.shape), column.dtype)
                expand(kept, out)
                tensors[column.attr] = out

    def _fill(self, served: Served, ids: Ids64, outs: Sequence[Tensor], clock: Clock) -> tuple[Ids64, Ids64 | None]:
        """Write the hot rows of one type; return the ids of the others, and where they go (None: 0, 1, …)."""
        hot = self._hot.get(served.label)
        if hot is None or not len(ids):
            return ids, None
        with clock("scatter"):
            slots = hot.find(ids)
            misses = np.flatnonzero(slots < 0)
            if not len(misses):
                hot.take(slots, outs)
            else:
                hits = np.flatnonzero(slots >= 0)
                hot.take(slots[hits], outs, hits)
        return ids[misses], misses

    def close(self) -> None:
        """Free what the super-batch holds."""
        self._cold.close()


def cold_ids(requests: Sequence[Request], served: Served, hot: RowsInMemory | None) -> list[Ids64]:
    """Return, per mini-batch, the ids of a type that are not hot, in the order of the request."""
    asked = [request[served.label] for request in requests]
    return asked if hot is None else [ids[hot.find(ids) < 0] for ids in asked]


def distinct(batches: Sequence[Ids64], num_rows: int) -> Ids64:
    """Return every id once, ascending, as int64."""
    total = sum(map(len, batches))
    if num_rows > 64 * total:  # a bit per row would be more than the ids
        return sorted_distinct(np.concatenate([*batches, np.empty(0, dtype=np.int64)]))
    asked = np.zeros(num_rows, dtype=bool)
    for ids in batches:
        asked[ids] = True
    return np.flatnonzero(asked)
