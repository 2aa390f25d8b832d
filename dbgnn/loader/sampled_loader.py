"""`SampledLoader`: everything of a loader of sampled mini-batches but its seeds, and its signature, which is PyG's."""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from inspect import signature
from typing import Any, Self, Unpack
from weakref import WeakSet

import torch
from torch import Tensor
from torch_geometric.data import Data, HeteroData
from torch_geometric.sampler import BaseSampler
from torch_geometric.sampler.base import HeteroSamplerOutput, SamplerOutput

from dbgnn.display import Listed, PrintedText
from dbgnn.errors import DbgnnError, RequestError
from dbgnn.indexed_graph import IndexedGraph
from dbgnn.loader.assembly import assemble
from dbgnn.loader.attributes import FREE, JUDGED, Attributes, of_dbgnn
from dbgnn.loader.batch_keys import keys_identity, loader_keys
from dbgnn.loader.explain import explain, explained_lists
from dbgnn.loader.given_sampler import check_sampler, check_unused
from dbgnn.loader.options import LoaderOptions, SamplerOptions
from dbgnn.loader.pipeline import Pipeline
from dbgnn.loader.seeds.kind import Seeds
from dbgnn.loader.seeds.order import NumberedBatches, SeedDataset, Shuffled
from dbgnn.loader.stats import LoaderStats
from dbgnn.loader.steps import bytes_read, parse_bytes, step_of
from dbgnn.loader.workers import Workers, check_workers
from dbgnn.packs.pack import write as write_pack
from dbgnn.plans.planner import Asked, check_asked
from dbgnn.sampling.asked_neighbors import NumNeighborsType
from dbgnn.sampling.numbered import NumberedBatch
from dbgnn.sampling.sampler import NeighborSampler
from dbgnn.schema.names import renamed_columns
from dbgnn.stores import DuckDBFeatureStore, DuckDBGraphStore, open_stores
from dbgnn.stores.pair import stores_of
from dbgnn.translated import keyboard_interrupts


class SampledLoader(Listed, Attributes):
    """Mini-batches of subgraphs sampled around seeds, with their features; the base of the loaders.

    A loader of other seeds derives from this and from PyG's loader of that kind; its constructor, which has PyG's signature,
    makes the seeds and calls `_begin`.
    """

    transform: Callable[[Any], Any] | None
    transform_sampler_output: Callable[[Any], Any] | None
    custom_cls: Any

    _internal = frozenset({"has_edge_features", "identity", "key_columns", "seeds"})

    @classmethod
    def _sampler_of(
        cls,
        data: object,
        sampler: BaseSampler | None,
        num_neighbors: NumNeighborsType,
        *,
        directed: bool,
        **given: Unpack[SamplerOptions],
    ) -> tuple[tuple[DuckDBFeatureStore, DuckDBGraphStore], BaseSampler]:
        """Return the stores, and the sampler that was given or is made of the arguments.

        Raises:
            DbgnnError: An argument is none that goes with the given sampler.
        """
        if not directed:
            raise DbgnnError("directed=False is PyG's old name for subgraph_type='induced'; use that.")
        if isinstance(data, IndexedGraph):
            data.db.need_committed("A feature store")
            data = open_stores(data)
        stores = stores_of(data)
        if sampler is None:
            return stores, NeighborSampler(stores, num_neighbors, **given)
        check_unused(sampler, given, {n: p.default for n, p in signature(of_dbgnn(cls)).parameters.items()})
        return stores, sampler

    def _begin(
        self,
        stores: tuple[DuckDBFeatureStore, DuckDBGraphStore],
        sampler: BaseSampler,
        seeds: Seeds,
        num_neighbors: NumNeighborsType,
        kwargs: dict[str, Any],
        **options: Unpack[LoaderOptions],
    ) -> None:
        """Do what the constructors of PyG and torch do, but for the seeds' forms and the numbered batches."""
        if kwargs.get("batch_size", 1) is None:
            raise DbgnnError("batch_size=None makes no mini-batches; give a number, or a batch_sampler.")
        # Lightning makes a loader again from its attributes; what the sampler knows goes with the sampler.
        self.__dict__["num_neighbors"] = num_neighbors
        self.data = stores
        self.neighbor_sampler = sampler
        self.__dict__.update(options)
        self.filter_per_worker = options["filter_per_worker"] is not False
        self._seeds = seeds
        self.input_data = seeds.input_data
        self.key_columns = loader_keys(stores[0], options["keys"])
        self._has_edge_attrs = bool(stores[0].edge_tensor_attrs())
        self._begin_torch(SeedDataset(len(seeds)), kwargs)
        self._stats = LoaderStats()
        self._made: tuple[Any, Pipeline] | None = None
        self._iterator: Any = None
        self._iterating: Any = None
        self._judge()
        self._ready()

    def _begin_torch(self, seeds: SeedDataset, kwargs: dict[str, Any]) -> None:
        """Do what torch's constructor does."""
        kwargs.pop("dataset", None)
        kwargs.pop("collate_fn", None)
        if kwargs.get("shuffle") and kwargs.get("sampler") is kwargs.get("batch_sampler") is None:
            # Torch's draws nothing from none: an error, where without shuffle there are no mini-batches.
            drawn = {"sampler": Shuffled(seeds, generator=kwargs.get("generator"))} if len(seeds) else {}
            kwargs |= {"shuffle": False} | drawn
        asked = Workers.of(self, kwargs)
        torch.utils.data.DataLoader.__init__(self, seeds, collate_fn=self.collate_fn, **(asked.without() if asked else kwargs))
        # Torch keeps the method of this very object, which would be that of a copy too.
        del self.__dict__["collate_fn"]
        self._batches = NumberedBatches(self.batch_sampler) if self.batch_sampler is not None else None
        self._threads = asked
        if asked:
            self.__dict__.update(asked.attributes())

    def _judge(self) -> None:
        check_sampler(self.neighbor_sampler, self.data[0])
        check_workers(self, ours=self._samples_itself)
        self._asked = self._checked()

    def _checked(self) -> Asked:
        """Return what the user decided about the plan; `Asked` has None for ``"auto"``."""
        given = {name: getattr(self, name) for name in ("super_batch", "prefetch", "plan", "cache_bytes")}
        if isinstance(given["cache_bytes"], str) and given["cache_bytes"] != "auto":
            given["cache_bytes"] = parse_bytes(self.data[0].graph.db, "cache_bytes", given["cache_bytes"])
        if self._threads and given["prefetch"] == "auto" and self._threads.prefetch is not None:
            given["prefetch"] = self._threads.prefetch
        asked = check_asked(Asked(**{name: None if value == "auto" else value for name, value in given.items()}))
        # One at a time is what these mean; to ask for it is fine.
        plain = (asked.super_batch or 1) == 1 and not asked.prefetch and asked.plan in {None, "join"} and not asked.cache_bytes
        if not self._is_ahead and not plain:
            named = ", ".join(f"{name}={value!r}" for name, value in given.items() if value != "auto")
            why = f"num_workers={self.num_workers}" if self.num_workers else "a sampler of another kind"
            raise RequestError(
                f"With {why}, mini-batches are sampled and fetched one at a time, which rules {named} out. Leave that out, or "
                "use num_workers=0 and dbgnn's own sampler: its threads prefetch."
            )
        return asked

    @property
    def _samples_itself(self) -> bool:
        """Whether mini-batches are sampled by our sampler, and by no method of a derived class."""
        sampler = self.neighbor_sampler
        entry = self._seeds.entry
        ours = isinstance(sampler, NeighborSampler) and getattr(type(sampler), entry) is getattr(NeighborSampler, entry)
        return ours and type(self).collate_fn is SampledLoader.collate_fn

    @property
    def _is_ahead(self) -> bool:
        """Whether super-batches are sampled, which is done in this process."""
        return self._samples_itself and (not self.num_workers or self._threads is not None) and self._batches is not None

    @property
    def _pipeline(self) -> Pipeline:
        """The pipeline for the settings as they are now; one that runs keeps the sampler that it began with."""
        sampler = self.neighbor_sampler
        settings = (sampler.graph, sampler._settings, self._asked, self.pin_memory, self.transform_sampler_output)
        if self._made is None or self._made[0] != settings:
            self._made = (
                settings,
                Pipeline(
                    self.data[0],
                    copy.copy(sampler),
                    self._seeds,
                    self._asked,
                    pin_memory=self.pin_memory,
                    transform_output=self.transform_sampler_output,
                    keys=self.key_columns,
                ),
            )
        return self._made[1]

    # -- iterating -------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override] # torch's is one of its own class
        self.data[0].graph.db.need_committed("A loader")
        epoch = self._as_now()
        if not self._is_ahead:
            return self._one_by_one(epoch)
        self._draw_base_seed()
        return epoch._epoch()

    def _as_now(self) -> Self:
        """Return the copy that an epoch runs on: a setting that changes while it runs takes effect in the next one."""
        check_sampler(self.neighbor_sampler, self.data[0])
        if self._is_ahead:
            self._pipeline  # noqa: B018 - made here, it serves the epochs to come as well
        now = self._for_an_epoch()
        if type(self.neighbor_sampler) is NeighborSampler:  # one of a derived class may count, or keep what it sees
            now.__dict__["neighbor_sampler"] = copy.copy(self.neighbor_sampler)
        return now

    def _one_by_one(self, epoch: Self) -> Iterator[Any]:
        """Iterate as torch does, with workers that persist if that was asked, until something is set that they must know."""
        if not (self.persistent_workers and self.num_workers):
            made: Iterator[Any] = epoch._get_iterator()
            return made
        settings = [getattr(self.neighbor_sampler, "_settings", None), *(getattr(self, name) for name in (*JUDGED, *FREE[:-1]))]
        if self._iterator is not None and all(a is b for a, b in zip(self._iterating, settings, strict=True)):
            self._iterator._reset(self)
        else:
            self._iterator = epoch.__dict__["_iterator"] = None  # ends the workers that there are
            self._iterator, self._iterating = epoch._get_iterator(), settings
        workers: Iterator[Any] = self._iterator
        return workers

    def _epoch(self) -> Iterator[Any]:
        yield from self._run(self._drawn(), transform=True)

    def _draw_base_seed(self) -> None:
        """Draw what torch's own iterators draw first: so a generator's next epoch is the same with and without workers."""
        torch.empty((), dtype=torch.int64).random_(generator=self.generator)

    def _draw(self) -> Iterable[NumberedBatch]:
        """Draw the seeds of the next epoch, as an iteration does."""
        self.data[0].graph.db.need_committed("A loader")
        self._draw_base_seed()
        return self._drawn()

    def _drawn(self) -> Iterable[NumberedBatch]:
        """Draw the seeds of the next epoch, here and now, so that no thread draws random numbers.

        A sampler without a length may have no end; it alone is drawn from as super-batches are made.
        """
        assert self._batches is not None
        try:
            len(self._batches)
        except TypeError:
            return iter(self._batches)
        return list(self._batches)

    def _run(self, batches: Iterable[NumberedBatch], *, transform: bool) -> Generator[Any]:
        """Yield the mini-batches of given batches of seeds, with or without ``transform``."""
        ready = self._pipeline.run(batches, *self._sizes())
        end, read = time.perf_counter(), bytes_read()
        try:
            while True:
                begun = time.perf_counter()
                with keyboard_interrupts():
                    mini = next(ready, None)
                if mini is None:
                    return
                mini.clock.add("waiting", time.perf_counter() - begun)
                batch = self.filter_fn(mini.out) if transform else self._joined(mini.out)
                before, end = end, time.perf_counter()
                so_far, read = read, bytes_read()
                self._stats.add(step_of(mini, end - before, read - so_far))
                del mini
                yield batch
                del batch  # or its memory would not be free until the next one is there
        finally:
            ready.close()

    @property
    def _index_sampler(self) -> Any:
        """What torch draws batches from: numbered, so that a worker knows which batch of which epoch it samples."""
        return super()._index_sampler if self._batches is None else self._batches

    def collate_fn(self, index: Sequence[int] | Tensor) -> Any:
        """Sample the subgraph of one batch of seeds, and fetch its features unless the main process is to."""
        self._seeds.check(self.data[0].graph.topology())
        inputs = self._seeds.take(index.tensor() if isinstance(index, NumberedBatch) else index)
        counters = {}
        if isinstance(index, NumberedBatch) and isinstance(self.neighbor_sampler, NeighborSampler):
            counters = {"epoch": index.epoch, "batch": index.number}
        out = self._seeds.sample(self.neighbor_sampler, inputs, **counters)
        return self.filter_fn(out) if self.filter_per_worker else out

    def filter_fn(self, out: SamplerOutput | HeteroSamplerOutput) -> Data | HeteroData:
        """Join a sampled subgraph with the features of its nodes and edges, and transform it."""
        batch = self._joined(out)
        return batch if self.transform is None else self.transform(batch)

    def _joined(self, out: SamplerOutput | HeteroSamplerOutput) -> Data | HeteroData:
        batch = assemble(self, out)
        if self.pin_memory and (self._is_ahead or not self.num_workers) and torch.cuda.is_available():
            batch = batch.pin_memory()
        return batch

    @property
    def has_edge_features(self) -> bool:
        """Whether mini-batches have features of edges."""
        return self._has_edge_attrs

    @property
    def seeds(self) -> Seeds:
        """What its mini-batches start from."""
        return self._seeds

    def identity(self) -> dict[str, Any]:
        """Return what decides its mini-batches, but for the tables, by name, as JSON has it: for loaders that sample ahead."""
        store, transform, sampler = self.data[0], self.transform_sampler_output, self.neighbor_sampler
        assert isinstance(sampler, NeighborSampler)
        own = {
            "graph": store.graph.name,
            "homogeneous": store.homogeneous,
            "sampler": [type(s).__name__ for s in (self.sampler, self.batch_sampler)],
            "transform_sampler_output": getattr(transform, "__qualname__", type(transform).__qualname__) if transform else None,
        }
        own |= {"batch_size": self.batch_size, "drop_last": self.drop_last}
        return own | keys_identity(self.key_columns) | self._seeds.identity() | sampler.identity()

    # -- what it does ----------------------------------------------------------------------------------

    def _sizes(self) -> tuple[int, int | None]:
        """Return seeds per mini-batch and mini-batches per epoch; None: unknown."""
        total = len(self._seeds)
        try:
            number = len(self)
        except TypeError:
            return min(total, 1024), None
        return self.batch_size or max(1, total // max(1, number)), number

    def stats(self) -> LoaderStats:
        """Return what the steps so far took: time by part, bytes, hit rate, memory. It counts later steps too."""
        return self._stats

    def explain(self, *, sql: bool = False) -> PrintedText:
        """Return what the loader does and why, with estimated and, once it ran, actual sizes: ``print(loader.explain())``.

        Args:
            sql: Show the statements as well that sample.
        """
        if not self._is_ahead:
            workers = f"{self.num_workers or 'no'} worker processes"
            text = f"{self!r}\nMini-batches are sampled and fetched one at a time, in {workers}."
        else:
            check_sampler(self.neighbor_sampler, self.data[0])
            threads = None if self._threads is None else self._threads.explained(self)
            text = explain(repr(self), self._pipeline.plan(*self._sizes()), self._stats, self._pipeline, threads)
        said = [f"{c.name!r} of {label!r} as {c.attr!r}" for label, found in self.data[0].renamed().items() for c in found]
        text = f"{text}\n  {renamed_columns(said)}" if said else str(text)
        sampler, topology = self.neighbor_sampler, self.data[0].graph.topology()
        ours = isinstance(sampler, NeighborSampler)
        text += "".join(f"\n  {line}" for line in (explained_lists(sampler, topology) if ours else []))
        if sql:
            shown = sampler.statements(topology, self._seeds.left_out_types) if ours else [(f"{sampler!r} sends its own", "")]
            text += "".join(f"\n\n-- {what}\n{statement}" for what, statement in shown)
        return PrintedText(text)

    def pack(self, path: str | os.PathLike[str], *, epochs: int = 1, progress: bool | None = None) -> None:
        """Sample and fetch the next ``epochs`` epochs, and keep them as files for :class:`dbgnn.PackedLoader`.

        Resume a killed call by repeating it, with a loader made the same way. ``transform`` takes no part.

        Args:
            path: A folder, made if absent.
            epochs: How many epochs.
            progress: Show a progress bar on what takes more than two seconds; None: as the database does.

        Raises:
            DbgnnError: The folder holds something else, or the pack of another loader.
            ResourceError: The disk is full.
        """
        if not self._is_ahead:
            raise DbgnnError("pack() needs num_workers=0 and dbgnn's own sampler.")
        check_sampler(self.neighbor_sampler, self.data[0])
        write_pack(self, path, epochs=epochs, progress=progress)

    # -- processes -------------------------------------------------------------------------------------

    def __copy__(self) -> Self:
        """Return a loader that can be set by itself, and counts epochs and steps by itself."""
        made = object.__new__(type(self))
        made.__dict__.update(self.__dict__)
        made.__dict__.update(
            neighbor_sampler=copy.copy(self.neighbor_sampler),
            _batches=copy.copy(self._batches),
            _stats=LoaderStats(),
            _iterator=None,
            _origin=None,
            _epochs=WeakSet(),
        )
        return made

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_made": None, "_iterator": None, "_iterating": None, "_origin": None, "_epochs": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state | {"_epochs": WeakSet()})

    def __repr__(self) -> str:
        workers = f", num_workers={self.num_workers}" + (" as threads" if self._threads else "") if self.num_workers else ""
        sampled = f"{self._seeds.what}, batch_size={self.batch_size}, {self.neighbor_sampler!r}"
        return f"dbgnn.{of_dbgnn(type(self)).__name__}({sampled}{workers})"
