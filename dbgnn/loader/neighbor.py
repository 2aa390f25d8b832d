"""`NeighborLoader`: PyG's loader of the same name, over the stores, without pyg-lib or torch-sparse."""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from inspect import signature
from typing import TYPE_CHECKING, Any, Self
from weakref import WeakSet

import torch
from torch import Tensor
from torch_geometric.data import Data, HeteroData
from torch_geometric.sampler import BaseSampler, NodeSamplerInput
from torch_geometric.sampler.base import HeteroSamplerOutput, SamplerOutput, SubgraphType

from dbgnn.display import Listed, PrintedText
from dbgnn.errors import DbgnnError, RequestError, StaleIndexError
from dbgnn.indexed_graph import IndexedGraph
from dbgnn.loader.assembly import assemble
from dbgnn.loader.attributes import FREE, JUDGED, Attributes
from dbgnn.loader.explain import explain
from dbgnn.loader.given_sampler import check_sampler, check_unused
from dbgnn.loader.lightning import forget_constructor
from dbgnn.loader.pipeline import Pipeline
from dbgnn.loader.seeds import NumberedBatches, SeedDataset, Shuffled, input_nodes, warn_of_nothing
from dbgnn.loader.stats import LoaderStats
from dbgnn.loader.steps import bytes_read, parse_bytes, step_of
from dbgnn.loader.workers import Workers, check_workers
from dbgnn.packs.pack import write as write_pack
from dbgnn.plans.planner import Asked, check_asked
from dbgnn.sampling.modes import Mode
from dbgnn.sampling.numbered import NumberedBatch
from dbgnn.sampling.sampler import NeighborSampler, NumNeighborsType
from dbgnn.schema.names import renamed_columns
from dbgnn.stores import DuckDBFeatureStore, DuckDBGraphStore, open_stores
from dbgnn.stores.pair import stores_of
from dbgnn.translated import keyboard_interrupts

if TYPE_CHECKING:
    from dbgnn.topology import Topology


class NeighborLoader(Listed, Attributes):
    """Mini-batches of sampled neighborhoods with their features, straight from the database.

    The signature is that of ``torch_geometric.loader.NeighborLoader``. Batches are ``HeteroData``, or ``Data`` if the
    stores are homogeneous. Unlike PyG's, it fetches edge features (by ``e_id``), takes seeds in every form, SQL
    included, and gives the same batches for the same ``seed`` whatever ``num_workers`` and threads.

    Args:
        data: ``(feature_store, graph_store)`` of :meth:`dbgnn.Database.get_torch_geometric_remote_backend`, or a
            :class:`dbgnn.Graph`, whose stores are opened.
        num_neighbors: Neighbors per node and hop, as a list, or a list per edge type; -1: all.
        input_nodes: The seeds: a node type; ids as list, range, array, tensor or pandas Series; a boolean mask in the same
            forms; a SQL predicate such as ``"split = 'train'"``; None for all; or a pair of a node type and one of these. The
            node type may be left out where there is only one.
        replace, subgraph_type, disjoint, temporal_strategy, time_attr, weight_attr, mode, time_window, where: See
            :class:`dbgnn.NeighborSampler`.
        input_time: The times of the seeds; not supported yet.
        transform: Called with every batch.
        transform_sampler_output: Called with every sampler output.
        is_sorted: As in PyG, without effect.
        filter_per_worker: Fetch features in the workers (default) or in the main process.
        neighbor_sampler: A sampler to use instead of one made from the arguments above, which must not say otherwise
            (but for ``num_neighbors``, which has no default).
        directed: PyG's deprecated argument; leave it True.
        custom_cls: The class of the batches.
        input_id: The ``input_id`` of the seeds, a tensor; default: as in PyG, of a mask the node ids, otherwise (of ids, a
            type, None, and of a SQL predicate, which PyG does not have) the position among the seeds.
        seed: The seed of the sample. The order of ``shuffle`` is torch's (``generator`` or ``torch.manual_seed``).
        super_batch: How many mini-batches are sampled and fetched together: ``"auto"`` or a number. It changes speed
            and memory, never a mini-batch. Worker processes, and samplers of another kind, sample one at a time: ``1``.
        prefetch: How many mini-batches lie ready while the model trains: ``"auto"`` or a number; 0: no threads. With threads,
            ``transform`` still runs in the training loop, ``transform_sampler_output`` does not.
        plan: How features come that are not in ``cache_bytes``: ``"join"`` (SQL for every mini-batch), ``"shared"`` (the
            distinct rows of a super-batch in memory, by one pass over each table), ``"spooled"`` (by one pass as well, but
            written to a temporary file mini-batch by mini-batch: for features larger than memory), or ``"auto"``.
        cache_bytes: Bytes of features kept in memory, of the rows that are read most: ``"auto"``, a number, or text such as
            ``"2GB"``. As many as all features take, and every row is read once.
        **kwargs: Arguments of ``torch.utils.data.DataLoader``, such as ``batch_size``, ``shuffle``, ``num_workers``. Where no
            other process can open the database, threads do the work of workers: the same mini-batches.

    Attributes named as arguments that can be set, those of its sampler too, take effect from the next epoch on; an epoch that
    runs ends as it began. To set any other of its attributes is an error. Those that a derived class adds, private ones too,
    are its own: what ``filter_fn`` sets while an epoch runs is set on the loader.

    Raises:
        StaleIndexError: Nodes came or went since the loader was made; raised when it is used.
        ConnectionError: ``num_workers > 0`` with a sampler of another kind, but the database is not a file opened read-only.
        RequestError, SqlError, UnknownNameError: See :func:`dbgnn.loader.seeds.input_nodes`.

    Warns:
        UserWarning: There are no seeds, or no edges lead to them; the message says why.
    """

    _internal = frozenset({"has_edge_features"})

    def __init__(
        self,
        data: tuple[DuckDBFeatureStore, DuckDBGraphStore] | IndexedGraph,
        num_neighbors: NumNeighborsType,
        input_nodes: object = None,
        input_time: Tensor | None = None,
        replace: bool = False,  # noqa: FBT001, FBT002 - PyG's signature
        subgraph_type: SubgraphType | str = "directional",
        disjoint: bool = False,  # noqa: FBT001, FBT002 - PyG's signature
        temporal_strategy: str = "uniform",
        time_attr: str | None = None,
        weight_attr: str | None = None,
        transform: Callable[[Any], Any] | None = None,
        transform_sampler_output: Callable[[Any], Any] | None = None,
        is_sorted: bool = False,  # noqa: FBT001, FBT002 - PyG's signature
        filter_per_worker: bool | None = None,  # noqa: FBT001 - PyG's signature
        neighbor_sampler: BaseSampler | None = None,
        directed: bool = True,  # noqa: FBT001, FBT002 - PyG's signature
        custom_cls: Any = None,
        input_id: Tensor | None = None,
        *,
        seed: int = 0,
        super_batch: int | str = "auto",
        prefetch: int | str = "auto",
        plan: str = "auto",
        cache_bytes: int | str = "auto",
        mode: str | Mode | None = None,
        time_window: Any = None,
        where: Mapping[Any, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if input_time is not None:
            raise DbgnnError("input_time is not supported yet; leave it out.")
        if not directed:
            raise DbgnnError("directed=False is PyG's old name for subgraph_type='induced'; use that.")
        if kwargs.get("batch_size", 1) is None:
            raise DbgnnError("batch_size=None makes no mini-batches; give a number, or a batch_sampler.")
        if isinstance(data, IndexedGraph):
            data.db.need_committed("A feature store")
            data = open_stores(data)
        data = stores_of(data)
        given: dict[str, Any] = {
            "replace": replace,
            "subgraph_type": subgraph_type,
            "disjoint": disjoint,
            "temporal_strategy": temporal_strategy,
            "time_attr": time_attr,
            "weight_attr": weight_attr,
            "is_sorted": is_sorted,
            "seed": seed,
            "mode": mode,
            "time_window": time_window,
            "where": where,
        }
        if neighbor_sampler is None:
            neighbor_sampler = NeighborSampler(data, num_neighbors, **given)
        else:
            check_unused(neighbor_sampler, given, {n: p.default for n, p in signature(NeighborLoader).parameters.items()})
        # From here on what NodeLoader.__init__ does, but for the seeds' forms and the numbered batches. Lightning makes a
        # loader again from those attributes that are named as arguments; what the sampler knows goes with the sampler.
        self.__dict__["num_neighbors"] = num_neighbors
        self.data = data
        self.neighbor_sampler = neighbor_sampler
        self.input_nodes = input_nodes
        self.input_time = None
        self.transform = transform
        self.transform_sampler_output = transform_sampler_output
        self.filter_per_worker = True if filter_per_worker is None else filter_per_worker
        self.custom_cls = custom_cls
        self.input_id = input_id
        self.super_batch, self.prefetch, self.plan, self.cache_bytes = super_batch, prefetch, plan, cache_bytes
        store = data[0]
        self._has_edge_attrs = bool(store.edge_tensor_attrs())
        chosen = _seeds(store, input_nodes)
        nodes = chosen.nodes
        if input_id is not None and len(input_id) != len(nodes):
            raise RequestError(f"input_id has {len(input_id):,} entries for {len(nodes):,} seeds; give one per seed.")
        warn_of_nothing(chosen, neighbor_sampler if isinstance(neighbor_sampler, NeighborSampler) else None, stacklevel=2)
        self._seed_label = chosen.label
        self._seed_keys = store.graph.topology().vertices[self._seed_label].keys
        self.input_data = NodeSamplerInput(
            input_id=chosen.input_id if input_id is None else input_id,
            node=nodes,
            time=None,
            input_type=store.group_name(chosen.label),
        )
        self._begin(SeedDataset(len(nodes)), kwargs)
        self._stats = LoaderStats()
        self._made: tuple[Any, Pipeline] | None = None
        self._iterator: Any = None
        self._iterating: Any = None
        self._judge()
        self._ready()
        if type(self).__init__ is NeighborLoader.__init__:
            forget_constructor(self)

    def _begin(self, seeds: SeedDataset, kwargs: dict[str, Any]) -> None:
        """Do what torch's constructor does."""
        kwargs.pop("dataset", None)
        kwargs.pop("collate_fn", None)
        if kwargs.get("shuffle") and len(seeds) and kwargs.get("sampler") is kwargs.get("batch_sampler") is None:
            kwargs |= {"shuffle": False, "sampler": Shuffled(seeds, generator=kwargs.get("generator"))}
        asked = Workers.of(self, kwargs)
        torch.utils.data.DataLoader.__init__(self, seeds, collate_fn=self.collate_fn, **(asked.without() if asked else kwargs))
        # Torch keeps the method of this very object, which would be that of a copy too.
        del self.__dict__["collate_fn"]
        self._batches = NumberedBatches(self.batch_sampler) if self.batch_sampler is not None else None
        self._threads = asked
        if asked:
            self.__dict__.update(asked.attributes())

    def _judge(self) -> None:
        check_sampler(self.node_sampler, self.data[0])
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
        sampler = self.node_sampler
        ours = isinstance(sampler, NeighborSampler) and type(sampler).sample_from_nodes is NeighborSampler.sample_from_nodes
        return ours and type(self).collate_fn is NeighborLoader.collate_fn

    @property
    def _is_ahead(self) -> bool:
        """Whether super-batches are sampled, which is done in this process."""
        return self._samples_itself and (not self.num_workers or self._threads is not None) and self._batches is not None

    @property
    def _pipeline(self) -> Pipeline:
        """The pipeline for the settings as they are now; one that runs keeps the sampler that it began with."""
        sampler = self.node_sampler
        settings = (sampler.graph, sampler._settings, self._asked, self.pin_memory, self.transform_sampler_output)
        if self._made is None or self._made[0] != settings:
            self._made = (
                settings,
                Pipeline(
                    self.data[0],
                    copy.copy(sampler),
                    self.input_data,
                    self._check_seeds,
                    self._asked,
                    pin_memory=self.pin_memory,
                    transform_output=self.transform_sampler_output,
                ),
            )
        return self._made[1]

    def _check_seeds(self, topology: Topology) -> None:
        if topology.vertices[self._seed_label].keys != self._seed_keys:
            raise StaleIndexError(
                f"Nodes of type {self._seed_label!r} were added, removed or given other keys since this loader was made, so "
                "its seeds are other nodes now. Make the loader again."
            )

    # -- iterating -------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Any]:
        self.data[0].graph.db.need_committed("A loader")
        epoch = self._as_now()
        if not self._is_ahead:
            return self._one_by_one(epoch)
        self._draw_base_seed()
        return epoch._epoch()

    def _as_now(self) -> Self:
        """Return the copy that an epoch runs on: a setting that changes while it runs takes effect in the next one."""
        check_sampler(self.node_sampler, self.data[0])
        if self._is_ahead:
            self._pipeline  # noqa: B018 - made here, it serves the epochs to come as well
        now = self._for_an_epoch()
        if type(self.node_sampler) is NeighborSampler:  # one of a derived class may count, or keep what it sees
            now.__dict__["neighbor_sampler"] = copy.copy(self.node_sampler)
        return now

    def _one_by_one(self, epoch: Self) -> Iterator[Any]:
        """Iterate as torch does, with workers that persist if that was asked, until something is set that they must know."""
        if not (self.persistent_workers and self.num_workers):
            made: Iterator[Any] = epoch._get_iterator()
            return made
        settings = [getattr(self.node_sampler, "_settings", None), *(getattr(self, name) for name in (*JUDGED, *FREE[:-1]))]
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
        end = time.perf_counter()
        read = bytes_read()
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
        self._check_seeds(self.data[0].graph.topology())
        inputs = self.input_data[index.tensor() if isinstance(index, NumberedBatch) else index]
        if isinstance(index, NumberedBatch) and isinstance(self.node_sampler, NeighborSampler):
            out = self.node_sampler.sample_from_nodes(inputs, epoch=index.epoch, batch=index.number)
        else:
            out = self.node_sampler.sample_from_nodes(inputs)
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

    # -- what it does ----------------------------------------------------------------------------------

    def _sizes(self) -> tuple[int, int | None]:
        """Return seeds per mini-batch and mini-batches per epoch; None: unknown."""
        total = len(self.input_data.node)
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
            check_sampler(self.node_sampler, self.data[0])
            threads = None if self._threads is None else self._threads.explained(self)
            text = explain(repr(self), self._pipeline.plan(*self._sizes()), self._stats, self._pipeline, threads)
        said = [f"{c.name!r} of {label!r} as {c.attr!r}" for label, found in self.data[0].renamed().items() for c in found]
        text = f"{text}\n  {renamed_columns(said)}" if said else str(text)
        if sql:
            sampler, topology = self.node_sampler, self.data[0].graph.topology()
            shown = (
                sampler.statements(topology) if isinstance(sampler, NeighborSampler) else [(f"{sampler!r} sends its own", "")]
            )
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
        check_sampler(self.node_sampler, self.data[0])
        write_pack(self, path, epochs=epochs, progress=progress)

    # -- processes -------------------------------------------------------------------------------------

    def __copy__(self) -> Self:
        """Return a loader that can be set by itself, and counts epochs and steps by itself."""
        made = object.__new__(type(self))
        made.__dict__.update(self.__dict__)
        made.__dict__.update(
            neighbor_sampler=copy.copy(self.node_sampler),
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
        return (
            f"dbgnn.NeighborLoader({len(self.input_data.node):,} seeds of "
            f"{self.input_data.input_type or self.data[0].graph.name!r}, batch_size={self.batch_size}, {self.node_sampler!r}"
            f"{workers})"
        )


#: The argument of the same name hides the function in `NeighborLoader.__init__`.
_seeds = input_nodes
