"""Packs: whole epochs of mini-batches, sampled once and kept as files, and `PackedLoader`, which replays them.

A pack is sampled ahead of the training, once, for any number of later runs. Its files are in
`pack_files.py`, what they hold in `pack_format.py` and `pack_order.py`.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sized
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from dbgnn import files
from dbgnn.display import Listed
from dbgnn.documents import shortened
from dbgnn.errors import DataError, DbgnnError, RequestError
from dbgnn.packs.pack_check import Claims
from dbgnn.packs.pack_files import MANIFEST, NAMES, ORDER, Manifest, StoredFile, part_path, state_of, whole
from dbgnn.packs.pack_format import DataBatch, Part, PartWriter
from dbgnn.packs.pack_order import read_order, write_order
from dbgnn.progress import Bar
from dbgnn.sampling.numbered import NumberedBatch
from dbgnn.schema import EdgeTable, VertexTable
from dbgnn.topology.derived import lists_of
from dbgnn.topology.stored import stored_parts
from dbgnn.topology.table_state import part_name

if TYPE_CHECKING:
    from dbgnn.stores import DuckDBFeatureStore, DuckDBGraphStore

#: A part is full with so many bytes: what a kill costs at most, and what stays mapped as long as one of its batches is kept.
PART_BYTES = 256 << 20


class Packable(Protocol):
    """A loader, as far as its mini-batches are packed."""

    @property
    def data(self) -> tuple[DuckDBFeatureStore, DuckDBGraphStore]:
        """The stores that it reads."""

    @property
    def seeds(self) -> Sized:
        """What its mini-batches start from."""

    @property
    def neighbor_sampler(self) -> Any:
        """What samples: a `NeighborSampler`."""

    @property
    def batch_sampler(self) -> Any:
        """What draws their order."""

    def identity(self) -> dict[str, Any]:
        """Return what decides its mini-batches, but for the tables, by name, as JSON has it."""

    def __len__(self) -> int: ...

    def _draw(self) -> Iterable[NumberedBatch]:
        """Draw the seeds of the next epoch, mini-batch by mini-batch."""

    def _run(self, batches: Iterable[NumberedBatch], *, transform: bool) -> Generator[Any]:
        """Yield the mini-batches of these seeds."""


def write(loader: Packable, path: str | os.PathLike[str], *, epochs: int = 1, progress: bool | None = None) -> None:
    """Pack the next ``epochs`` epochs of a loader into a folder, without the loader's ``transform``.

    After a kill, a crash or a full disk, the same call continues after the last complete part, and the pack becomes byte for
    byte what it would have been; the order of the seeds is that drawn at the first call. On a complete pack it does nothing.
    Features are read as they are: do not change them while a pack is being made.

    Args:
        loader: The loader.
        path: The folder; made if it is not there.
        epochs: How many.
        progress: Show a progress bar on what takes more than two seconds; None: as the database does.

    Raises:
        DataError: The folder holds a damaged pack, or a batch something that a pack cannot hold.
        DbgnnError: The folder holds the pack of another loader, or other files, or another process is packing into it.
        RequestError: ``epochs`` is less than 1, or the loader's batch sampler has no length.
        ResourceError: The disk is full.
    """
    folder = Path(path).expanduser()
    if epochs < 1:
        raise RequestError(f"epochs must be 1 or more, not {epochs}.")
    with _locked(folder):
        files.drop_unfinished(folder, NAMES)
        manifest = _begun(loader, folder, epochs)
        if not manifest.complete:
            shown = loader.data[0].graph.db.settings.progress if progress is None else progress
            _write_parts(loader, folder, manifest, shown=shown)
        (folder / ORDER).unlink(missing_ok=True)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Make the folder and hold it against other processes; a lock of the kernel's, so that it goes with a killed process."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise DbgnnError(f"Cannot pack into {str(folder)!r}, which must be a folder: {error.strerror}.") from error
    try:
        with contextlib.suppress(OSError):  # a file system without locks, as NFS may be
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise DbgnnError(
                    f"{str(folder)!r} is being packed into already. Wait for that, or pack into another folder."
                ) from error
        yield
    finally:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # a forked worker may hold a copy of the descriptor
        os.close(descriptor)


def _begun(loader: Packable, folder: Path, epochs: int) -> Manifest:
    """Return the manifest of the pack in the folder, or begin one: draw the order of the seeds of all epochs, and keep it."""
    now = {"epochs": epochs, **_decisive(loader)}
    names = set(os.listdir(folder))
    if MANIFEST in names:
        manifest = Manifest.read(folder)
        _compare(folder, manifest.loader, now)
        return manifest
    if others := names - {ORDER}:  # what a kill leaves before there is a manifest
        raise DbgnnError(f"{str(folder)!r} holds {min(others)!r} and no pack. Pack into a folder that is new or empty.")
    with whole(folder / ORDER) as file:
        counts = write_order(file, (list(loader._draw()) for _ in range(epochs)))
        order = StoredFile.of(file, sum(counts))
    manifest = Manifest(now, counts, order, claims=Claims.of(now))
    manifest.write(folder)
    return manifest


def _drawn(loader: Packable, folder: Path, manifest: Manifest) -> Iterator[NumberedBatch]:
    """Yield the seeds of every mini-batch that is not packed."""
    path = folder / ORDER
    with manifest.order.open(path, verify=True) as file:
        yield from read_order(file, path, manifest.packed, counts=manifest.epochs, seeds=len(loader.seeds))


def _write_parts(loader: Packable, folder: Path, manifest: Manifest, *, shown: bool) -> None:
    total, writer = sum(manifest.epochs), PartWriter()
    drawn = _drawn(loader, folder, manifest)
    with (
        Bar(total=total, initial=manifest.packed, desc=f"pack {folder.name}", unit=" batches", disable=not shown) as bar,
        contextlib.closing(loader._run(drawn, transform=False)) as batches,
    ):
        while not manifest.complete:
            target = part_path(folder, len(manifest.parts))
            with whole(target) as file:
                count = writer.write(
                    file, batches, first=manifest.packed, until=PART_BYTES, claims=manifest.claims, progress=bar.update
                )
                if count == 0:
                    raise DbgnnError(f"{loader!r} gave {manifest.packed:,} of {total:,} mini-batches and ended.")
                part = StoredFile.of(file, count)
            manifest = manifest.with_part(part)
            manifest.write(folder)


# -- what decides the batches --------------------------------------------------------------------------


def _decisive(loader: Packable) -> dict[str, Any]:
    """Return what decides the mini-batches of a loader, by name, as JSON has it."""
    found = {
        **loader.identity(),
        "mini-batches per epoch": _length(loader),
        **_tables(loader),
        **_read_to_sample(loader),
    }
    return json.loads(json.dumps(found))  # type: ignore[no-any-return] # as it is when read again


def _tables(loader: Packable) -> dict[str, Any]:
    """Return the checksums of nodes and edges, and the columns that are served."""
    store = loader.data[0]
    graph = store.graph
    topology = graph.topology()
    stored = stored_parts(graph.db.cursor(), graph.name).parts
    found: dict[str, Any] = {}
    elements: list[VertexTable | EdgeTable] = [*graph.definition.vertices, *graph.definition.edges]
    for element in elements:
        label = element.label if isinstance(element, VertexTable) else element.edge_type
        own, fills = stored[part_name(element)].state.own, store._fills.get(label, {})
        # Nodes are numbered by key, edges as their rows lie: only for edges does it matter when rows move.
        found[f"keys of {label!r}"] = [own.count, own.rows if isinstance(label, tuple) else own.keys, own.engine]
        found[f"columns of {label!r}"] = [
            [c.attr, c.dtype, *c.shape, fills.get(c.name)] for c in store.served(label, topology)[0]
        ]
    return found


def _read_to_sample(loader: Packable) -> dict[str, Any]:
    """Return the checksums of what the sampler reads of the tables beside keys: times, weights, conditions."""
    graph, fanout = loader.data[0].graph, loader.neighbor_sampler.fanout
    topology, found = graph.topology(), {}
    for edge_type in topology.edges:
        hops = dict.fromkeys(fanout.derivation(edge_type, hop) for hop in range(max(fanout.num_hops, 1)))
        if derived := [derivation for derivation in hops if derivation.parts]:
            lists = [lists_of(graph.db, topology, topology.edges[edge_type], derivation) for derivation in derived]
            found[f"times, weights and conditions of {edge_type!r}"] = [each.checksum for each in lists]
    for label in () if fanout.timeline is None else fanout.timeline.nodes:
        found[f"times of {label!r}"] = fanout.timeline.checksum(graph.db.cursor(), topology.vertices[label])
    return found


def _length(loader: Packable) -> int:
    try:
        return len(loader)
    except TypeError:
        raise RequestError(
            f"{type(loader.batch_sampler).__name__} has no length and may be endless, so its epochs cannot be packed. Give it "
            "a method __len__."
        ) from None


def _compare(folder: Path, packed: dict[str, Any], now: dict[str, Any]) -> None:
    """Raise if the loader is not the one that began the pack."""
    names = [name for name in dict.fromkeys([*packed, *now]) if packed.get(name) != now.get(name)]
    if names:
        differences = "; ".join(
            f"{name}: {shortened(packed.get(name))} there, {shortened(now.get(name))} now" for name in names
        )
        raise DbgnnError(
            f"{str(folder)!r} holds the pack of another loader; they differ in {differences}. Use a loader like the one that "
            "began it, or pack into another folder."
        )


# -- replay --------------------------------------------------------------------------------------------


class PackedLoader(Listed):
    """Replays the mini-batches that :meth:`dbgnn.NeighborLoader.pack` wrote, without graph and database.

    Every iteration is the next epoch of the pack, and after the last the first again. The batches are bit for bit those of the
    loader. Their tensors are slices of the memory-mapped files; they may be written to, which changes a copy of the page and
    never the file, and kept. Before the first mini-batch of a file is handed out, its checksum is compared, and all that it
    holds is checked: a pack may come from anybody. Do not change the files of a pack while it is replayed.

    Args:
        path: The folder.
        transform: Called with every batch.

    Raises:
        DataError: The pack is missing, incomplete, damaged, or of a newer version; at once, or when the file is reached.
    """

    def __init__(self, path: str | os.PathLike[str], *, transform: Callable[[Any], Any] | None = None) -> None:
        self.path = Path(path).expanduser()
        self.transform = transform
        self._manifest = Manifest.read(self.path)
        if not self._manifest.complete:
            raise DataError(
                f"The pack {str(self.path)!r} is incomplete: it holds {self._manifest.packed:,} of "
                f"{sum(self._manifest.epochs):,} mini-batches. Call loader.pack(path) again: it continues from there."
            )
        self._verified: dict[int, tuple[int, ...]] = {}
        self._epoch = 0

    @property
    def num_epochs(self) -> int:
        """Number of epochs in the pack."""
        return len(self._manifest.epochs)

    def set_epoch(self, epoch: int) -> None:
        """Make ``epoch``, counted from 0, the one that the next iteration replays; past the last it begins with 0 again."""
        if epoch < 0:
            raise RequestError(f"epoch must be 0 or more, not {epoch}.")
        self._epoch = epoch % self.num_epochs

    def __len__(self) -> int:
        """Return the number of mini-batches of the next epoch; all have the same, unless a batch sampler varied."""
        return self._manifest.epochs[self._epoch]

    def __iter__(self) -> Iterator[Any]:
        epoch = self._epoch
        self.set_epoch(epoch + 1)
        start = sum(self._manifest.epochs[:epoch])
        for batch in self._read(start, start + self._manifest.epochs[epoch]):
            yield batch if self.transform is None else self.transform(batch)

    def _read(self, start: int, stop: int) -> Iterator[DataBatch]:
        """Yield the mini-batches ``start … stop - 1`` of the pack."""
        first = 0
        for number, part in enumerate(self._manifest.parts):
            begin, end = max(start - first, 0), min(stop - first, part.batches)
            first += part.batches
            if begin >= end:
                continue
            path = part_path(self.path, number)
            with part.open(path, verify=False) as file:
                seen = state_of(file)
                new = self._verified.get(number) != seen
                if new:
                    part.verify(file, path)
                mapped = Part(file, path, part.batches)
                if new:
                    mapped.check(self._manifest.claims)
                    self._verified[number] = seen
                yield from mapped.read(begin, end)

    def __repr__(self) -> str:
        size = sum(part.bytes for part in self._manifest.parts)
        return (
            f"dbgnn.PackedLoader({str(self.path)!r}: {self.num_epochs} epoch{'s' * (self.num_epochs != 1)}, "
            f"{self._manifest.packed:,} mini-batch{'es' * (self._manifest.packed != 1)}, {size / 1e6:,.1f} MB)"
        )
