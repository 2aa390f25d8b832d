"""`Pipeline`: from numbered batches of seeds to mini-batches with their features, a super-batch at a time.

Two threads work ahead of the training loop: one samples super-batches and fetches what their features need as a whole, the
other makes mini-batches of them. Without prefetch everything happens in the thread that asks. The numbers of a mini-batch
decide what it holds, so its neighbours in a super-batch, threads and plans do not show in it.
"""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch_geometric.sampler.base import SubgraphType

from dbgnn.clock import Clock
from dbgnn.errors import RequestError
from dbgnn.loader.ahead import Ahead
from dbgnn.loader.assembly import attach
from dbgnn.loader.batch_keys import KeysAsked, read_keys
from dbgnn.loader.seeds.kind import Seeds, spread
from dbgnn.plans.buffers import Buffers
from dbgnn.plans.fetched import Cold, Fetched, Join, Request, RowReader, Shared, Taken, cold_ids
from dbgnn.plans.hot import HotRows
from dbgnn.plans.planner import Asked, Pilot, Plan, ids_of, make_plan
from dbgnn.plans.rows_in_memory import Served
from dbgnn.plans.spooled import Spooled
from dbgnn.sampling.again import again
from dbgnn.sampling.khop import Subgraph
from dbgnn.sampling.numbered import NumberedBatch
from dbgnn.sampling.sampler import NeighborSampler
from dbgnn.sampling.start import Start
from dbgnn.schema.model import Label
from dbgnn.stores.request import Ids64
from dbgnn.translated import keyboard_interrupts

if TYPE_CHECKING:
    from dbgnn.stores import DuckDBFeatureStore
    from dbgnn.topology import Topology


@dataclass(slots=True)
class MiniBatch:
    """One mini-batch on its way through the pipeline.

    Attributes:
        index: Its seeds, as positions among the loader's, with epoch and number.
        start: What it starts from.
        subgraph: What was sampled; None once ``out`` is there.
        out: The same as PyG's sampler output.
        taken: Its features.
        clock: The time spent on it, with its share of the time spent on its super-batch.
    """

    index: NumberedBatch
    start: Start
    subgraph: Subgraph | None
    clock: Clock
    out: Any = None
    taken: Taken = field(default_factory=Taken)


@dataclass(slots=True)
class _SuperBatch:
    """Mini-batches that are fetched together."""

    batches: list[MiniBatch]
    topology: Topology
    fetched: Fetched | None = None


class Pipeline:
    """Makes mini-batches; one per loader.

    Args:
        store: The feature store.
        sampler: The sampler.
        seeds: The seeds of the loader.
        asked: What the user decided about the plan.
        pin_memory: Features go to page-locked memory.
        transform_output: The loader's ``transform_sampler_output``.
        keys: The columns of keys that come along.
    """

    def __init__(
        self,
        store: DuckDBFeatureStore,
        sampler: NeighborSampler,
        seeds: Seeds,
        asked: Asked,
        *,
        pin_memory: bool = False,
        transform_output: Callable[[Any], Any] | None = None,
        keys: KeysAsked | None = None,
    ) -> None:
        self.store, self.sampler, self.seeds = store, sampler, seeds
        self.asked, self.transform_output, self.keys = asked, transform_output, keys or {}
        self.pinned = pin_memory and torch.cuda.is_available()
        self.buffers = Buffers(pinned=self.pinned)
        self._plan: Plan | None = None
        self._hot: HotRows | None = None

    # -- the plan --------------------------------------------------------------------------------------

    @keyboard_interrupts()
    def plan(self, batch_size: int, num_batches: int | None) -> Plan:
        """Return the plan, made at the first call from a pilot of two mini-batches of ``batch_size`` seeds."""
        if self._plan is None:
            self._plan = again(lambda: self._planned(batch_size, num_batches))
            self._hot = HotRows(self.store, self._plan.cache_bytes, once=self._plan.all_hot)
            self.buffers = Buffers(pinned=self.pinned, idle_bytes=self._plan.idle_bytes)
        return self._plan

    def _planned(self, batch_size: int, num_batches: int | None) -> Plan:
        topology = self.store.graph.topology()
        served = self.served(topology)
        pilot = self._pilot(topology, served, batch_size)
        lists = sum(lists.num_bytes for _, _, lists in self.sampler.derived_lists(topology))
        worker = torch.utils.data.get_worker_info()
        return make_plan(
            self.store.graph.db,
            topology,
            served,
            pilot,
            self.asked,
            num_batches,
            lists_bytes=lists,
            processes=1 if worker is None else worker.num_workers,
        )

    def _pilot(self, topology: Topology, served: Sequence[Served], batch_size: int) -> Pilot:
        if not len(self.seeds):
            return Pilot.of([], served)
        inputs = [self.seeds.take(part) for part in spread(len(self.seeds), batch_size)]
        counters = [(0, 0), (0, 1)]
        starts = self.seeds.starts(self.sampler, topology, inputs, counters)
        return Pilot.of(self.sampler.sample_batches(topology, starts, counters), served)

    def served(self, topology: Topology) -> list[Served]:
        """Return the types that have columns to fetch."""
        definition = self.store.graph.definition
        labels: list[Label] = [*(v.label for v in definition.vertices), *(e.edge_type for e in definition.edges)]
        found = [Served(label, *self.store.served(label, topology)) for label in labels]
        return [served for served in found if served.columns]

    @property
    def hot_bytes(self) -> int:
        """Bytes that the hot rows hold now."""
        return 0 if self._hot is None else self._hot.num_bytes

    # -- running ---------------------------------------------------------------------------------------

    def run(self, batches: Iterable[NumberedBatch], batch_size: int, num_batches: int | None) -> Generator[MiniBatch]:
        """Yield a mini-batch for every batch of seeds, in order."""
        chosen = self.plan(batch_size, num_batches)
        served = self.served(self.store.graph.topology())
        supers = self._ahead(self._super_batches(batches, chosen, served), min(chosen.prefetch, 1), "sample")
        ready = self._ahead(self._ready(supers), chosen.prefetch, "deliver")
        try:
            yield from ready
        finally:
            ready.close()

    def _ahead(self, source: Iterator[Any], depth: int, name: str) -> Ahead[Any]:
        db = self.store.graph.db
        return Ahead(source, depth, name=f"dbgnn-{name}", interrupt=lambda: db.cursor().interrupt)

    def _super_batches(self, batches: Iterable[NumberedBatch], chosen: Plan, served: Sequence[Served]) -> Iterator[_SuperBatch]:
        """Sample, and fetch what is fetched for a whole super-batch; the first ones are small (`Plan.first`)."""
        left = iter(batches)
        first = iter(chosen.first)
        while numbers := list(itertools.islice(left, size := next(first, chosen.super_batch))):
            found = self._sample(numbers, chosen)
            found.fetched = self._fetch(found, chosen, served, begins=size < chosen.super_batch)
            yield found

    def _sample(self, numbers: Sequence[NumberedBatch], chosen: Plan) -> _SuperBatch:
        return again(lambda: self._sample_now(numbers, chosen))

    def _sample_now(self, numbers: Sequence[NumberedBatch], chosen: Plan) -> _SuperBatch:
        topology = self.store.graph.topology()
        self.seeds.check(topology)
        found = _SuperBatch([], topology)
        for start in range(0, len(numbers), chosen.statement):
            some = numbers[start : start + chosen.statement]
            clock = Clock()
            counters = [(index.epoch, index.number) for index in some]
            inputs = [self.seeds.take(index.tensor()) for index in some]
            starts = self.seeds.starts(self.sampler, topology, inputs, counters)
            subgraphs = self.sampler.sample_batches(topology, starts, counters, clock)
            found.batches += [
                MiniBatch(index, start, subgraph, clock.share(len(some)))
                for index, start, subgraph in zip(some, starts, subgraphs, strict=True)
            ]
        return found

    def _fetch(self, found: _SuperBatch, chosen: Plan, served: Sequence[Served], *, begins: bool) -> Fetched:
        clock = Clock()
        requests = [self._request(batch, served) for batch in found.batches]
        assert self._hot is not None
        hot = self._hot.rows(requests, served, found.topology, clock, begins=begins)
        reader = RowReader(self.store, found.topology, clock)
        cold: Cold = Join(reader)
        if chosen.plan != "join":
            if not chosen.prefetch:  # memory is short, and no other thread is making a mini-batch
                self.buffers.clear()
            missed = {s: cold_ids(requests, s, hot.get(s.label)) for s in served}
            missed = {s: ids for s, ids in missed.items() if any(map(len, ids))}
            if chosen.plan == "shared" or (begins and len(requests) == 1):  # before the next is sampled, which needs the disk
                cold = Shared(reader, self.buffers, missed)
            else:
                cold = Spooled(reader, missed, temp_folder(self.store))
        share = clock.share(len(found.batches))
        for batch in found.batches:
            for part, seconds in share.seconds.items():
                batch.clock.add(part, seconds)
        return Fetched(requests, served, hot, cold, self.buffers)

    def _request(self, batch: MiniBatch, served: Sequence[Served]) -> Request:
        """Return the rows that a mini-batch needs."""
        if self.transform_output is None and self.sampler.subgraph_type != SubgraphType.bidirectional:
            assert batch.subgraph is not None
            return {s.label: ids_of(batch.subgraph, s.label) for s in served}
        self._finish(batch)
        return {s.label: _rows_of_output(batch.out, s) for s in served}

    def _finish(self, batch: MiniBatch) -> None:
        """Make PyG's output of what was sampled."""
        if batch.subgraph is not None:
            batch.out, batch.subgraph = self.sampler.output(batch.start, batch.subgraph, self.buffers.empty), None
            if self.transform_output is not None:
                batch.out = self.transform_output(batch.out)

    def _ready(self, supers: Ahead[_SuperBatch]) -> Iterator[MiniBatch]:
        """Bring the features of one mini-batch after the other."""
        try:
            for found in supers:
                assert found.fetched is not None
                try:
                    found.batches.reverse()
                    for number in range(len(found.batches)):
                        batch = found.batches.pop()
                        batch.taken = found.fetched.take(number, batch.clock)
                        with batch.clock("relabelling"):
                            self._finish(batch)
                        attach(batch.out, batch.taken.tensors, read_keys(self.store, self.keys, batch.out, found.topology))
                        batch.taken.tensors = {}
                        yield batch
                finally:
                    found.fetched.close()
        finally:
            supers.close()


def _rows_of_output(out: Any, served: Served) -> Ids64:
    """Return the ids of one type in PyG's output, which has no names if it is homogeneous.

    Raises:
        RequestError: ``transform_sampler_output`` left none, or some that are out of range.
    """
    ids = out.node if isinstance(served.label, str) else out.edge
    ids = ids.get(served.label) if isinstance(ids, dict) else ids
    if ids is None or (len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < served.num_rows):
        found = "none" if ids is None else f"{int(ids.min())} to {int(ids.max())}"
        raise RequestError(
            f"After transform_sampler_output the ids of {served.label!r} are {found}, and it has {served.num_rows:,}, "
            "counted from 0."
        )
    rows: Ids64 = ids.numpy()
    return rows


def temp_folder(store: DuckDBFeatureStore) -> str:
    """Return where to put what does not fit in memory: DuckDB's temporary directory, or where that would come to be.

    Beside a file in a place without the permission to write, that is the system's.
    """
    found: str = store.graph.db.cursor().execute("SELECT current_setting('temp_directory')").fetchall()[0][0]
    if not found:
        return tempfile.gettempdir()
    folder = Path(found).expanduser()
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    asked = store.graph.db.settings.temp_directory is not None
    if not asked and not Path(found).expanduser().is_dir() and not os.access(folder, os.W_OK):
        return tempfile.gettempdir()
    return str(folder)
