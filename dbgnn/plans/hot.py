"""`HotRows`: the rows read most, kept in RAM; chosen by how often the first super-batch asks for them.

Choosing by counts of a sampled super-batch follows Yang et al., "GNNLab" (EuroSys 2022), who call it pre-sampling: it knows
the fan-out and the seeds, which degrees do not.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from dbgnn.arrow import empty
from dbgnn.clock import Clock
from dbgnn.plans.fetched import Request
from dbgnn.plans.rows_in_memory import RowsInMemory, Served
from dbgnn.schema.model import Label
from dbgnn.stores.request import Ids64

if TYPE_CHECKING:
    from dbgnn.stores import DuckDBFeatureStore
    from dbgnn.topology import Topology


class HotRows:
    """Rows of node types kept in RAM, up to a number of bytes.

    They are read again when anything was committed to the file since, so that features are always those of the tables; in a
    database in memory, where commits leave no trace, for every super-batch.

    Args:
        store: The feature store.
        cache_bytes: The bytes of features to keep; 0: none.
        once: Nobody asked for them: keep none any more if they would have to be read again before as many rows were asked for
            as they are.
    """

    def __init__(self, store: DuckDBFeatureStore, cache_bytes: int, *, once: bool = False) -> None:
        self.store, self.cache_bytes, self._once = store, cache_bytes, once
        self._asked = 0  # rows, since they were read
        self._lock = threading.Lock()  # two epochs of one loader may run at once
        self._pid = os.getpid()
        self._chosen: dict[Label, Ids64] = {}
        self._chosen_of: object = None
        self._rows: dict[Label, RowsInMemory] = {}
        self._rows_of: object = None

    @property
    def num_bytes(self) -> int:
        """Bytes held."""
        return sum(rows.num_bytes for rows in self._rows.values())

    def rows(
        self, requests: Sequence[Request], served: Sequence[Served], topology: Topology, clock: Clock, *, begins: bool = False
    ) -> Mapping[Label, RowsInMemory]:
        """Return the hot rows by type, chosen by ``requests`` at the first call, and as they are in the tables now.

        Where an epoch ``begins`` with requests too few to choose by, none are chosen: those there are, if any, serve it.
        """
        if not self.cache_bytes:
            return {}
        if self._pid != os.getpid():  # a thread of the parent may have held it at the fork, for ever
            self._pid, self._lock = os.getpid(), threading.Lock()
        with self._lock:
            nodes = [s for s in served if isinstance(s.label, str)]
            ids_are = {s.label: topology.vertices[s.label].keys for s in nodes if isinstance(s.label, str)}
            if ids_are != self._chosen_of:  # at first, and when ids mean other nodes
                if begins:
                    return {}
                with clock("scatter"):
                    self._chosen, self._chosen_of = _choose(requests, nodes, self.cache_bytes), ids_are
                self._rows_of = None
            stamp = self.store.graph.db.stamp()
            rows_are = (stamp, tuple(nodes), [self.store.fills(s.label) for s in nodes])
            if self._once and self._rows_of not in (None, rows_are) and self._asked < sum(s.num_rows for s in nodes):
                self.cache_bytes, self._rows = 0, {}
                return {}
            if stamp is None or rows_are != self._rows_of:
                self._rows, self._rows_of, self._asked = {}, None, 0  # before others take their room
                self._rows = {s.label: self._read(s, topology, clock) for s in nodes if s.label in self._chosen}
                self._rows_of = rows_are
            self._asked += sum(len(request[s.label]) for request in requests for s in nodes)
            return self._rows

    def _read(self, served: Served, topology: Topology, clock: Clock) -> RowsInMemory:
        ids = self._chosen[served.label]
        outs = [empty(len(ids), column) for column in served.kept]
        nulls = self.store.read_into(served.label, served.columns, ids, outs, topology=topology, clock=clock, nulls="return")
        rows = RowsInMemory(served, ids, outs)
        rows.forget(ids[nulls])  # asked for one by one, they raise the error that names them
        return rows


def _choose(requests: Sequence[Request], nodes: Sequence[Served], cache_bytes: int) -> dict[Label, Ids64]:
    """Return the ids to keep by node type: all, if they fit, or those asked for most, and each type its share of the bytes."""
    if sum(s.num_bytes for s in nodes) <= cache_bytes:
        return {s.label: np.arange(s.num_rows) for s in nodes}
    asked = {s.label: sum(len(request[s.label]) for request in requests) * s.row_bytes for s in nodes}
    total = max(1, sum(asked.values()))
    chosen = {}
    for s in nodes:
        count = min(s.num_rows, cache_bytes * asked[s.label] // total // s.row_bytes)
        if count:
            chosen[s.label] = _most_asked([request[s.label] for request in requests], s.num_rows, count)
    return chosen


def _most_asked(batches: Sequence[Ids64], num_rows: int, count: int) -> Ids64:
    """Return the ids, ascending, of the ``count`` rows that most mini-batches ask for."""
    asked = np.zeros(num_rows, dtype=np.int32)
    for ids in batches:
        asked[ids] += 1  # once per mini-batch, whatever duplicates its seeds have
    if count >= num_rows:
        return np.arange(num_rows)
    return np.sort(np.argpartition(asked, num_rows - count)[num_rows - count :])
