"""What a pack is on disk: its manifest, its parts, and how a mini-batch becomes a record batch and a batch again.

A pack is a folder. ``pack.json`` says what decides its batches, how many there are, and size and checksum of every file.
``part-00000.arrow``, … are Arrow IPC files with one record batch per mini-batch, of a single column of bytes: the first row
describes the mini-batch in JSON, every further row is a tensor. Rows are padded so that each tensor starts at a multiple of
64 bytes of the file (Arrow aligns to 8), as fresh tensors do. No pickle: reading a pack runs no code of its maker's.

When packs are made and replayed is in `pack.py`.
"""

from __future__ import annotations

import errno
import json
import math
import mmap
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from io import BufferedReader
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import torch
import xxhash
from torch import Tensor
from torch_geometric.data import Data, HeteroData
from torch_geometric.data.storage import EdgeStorage, NodeStorage

from dbgnn.arrow import DTYPES
from dbgnn.errors import DataError, ResourceError

Batch: TypeAlias = Data | HeteroData

MANIFEST = "pack.json"
_FORMAT, _VERSION = "dbgnn pack", 1

_SCHEMA = pa.schema([pa.field("bytes", pa.large_binary(), nullable=False)])

#: Where the first record batch of a file begins: after the magic bytes ``ARROW1`` and two zeros, and the schema.
_FIRST = 8 + _SCHEMA.serialize().size

_ALIGNMENT = 64

#: The dtypes of tensors by name: those of columns, and what a transform may make of them.
_DTYPES = DTYPES | {
    name: getattr(torch, name) for name in "float16 bfloat16 complex32 complex64 complex128 float8_e4m3fn float8_e5m2".split()
}

#: What a storage keeps for itself: not part of what a batch holds.
_INTERNAL = frozenset({"_mapping", "_parent", "_key", "_cached_attr"})


# -- files ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StoredFile:
    """Size and checksum (xxh3_64) of a file, and the number of mini-batches in it."""

    batches: int
    bytes: int
    xxh3_64: str

    @classmethod
    def of(cls, path: Path, batches: int) -> StoredFile:
        """Read a file through."""
        with path.open("rb") as file:
            return cls(batches, path.stat().st_size, _checksum(file))

    @contextmanager
    def open(self, path: Path, *, verify: bool) -> Iterator[BufferedReader]:
        """Open the file and check its length; with ``verify`` read it through and compare its checksum too.

        Raises:
            DataError: It is missing, shorter, longer, or holds other bytes.
        """
        try:
            file = path.open("rb")
        except OSError as error:
            raise _damaged(path, f"cannot be read ({error.strerror})") from error
        with file:
            if (found := os.fstat(file.fileno()).st_size) != self.bytes:
                raise _damaged(path, f"has {found:,} bytes where {self.bytes:,} were written")
            if verify and _checksum(file) != self.xxh3_64:
                raise _damaged(path, "does not hold what was written to it: its checksum is wrong")
            yield file


def _checksum(file: BufferedReader) -> str:
    digest, block = xxhash.xxh3_64(), memoryview(bytearray(1 << 20))
    while count := file.readinto(block):
        digest.update(block[:count])
    return digest.hexdigest()


def _damaged(path: Path, what: str) -> DataError:
    return DataError(f"The pack {str(path.parent)!r} is damaged: {path.name} {what}. Delete the folder and pack again.")


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Lend a temporary path, and give the file written there its name once it is on the disk: it is there whole or not at all.

    Raises:
        ResourceError: The disk is full, or the folder cannot be written to.
    """
    temporary = path.with_name(path.name + ".tmp")
    with _translated(path.parent):
        try:
            yield temporary
            _sync(temporary)
            temporary.replace(path)
            _sync(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _translated(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
            raise ResourceError(
                f"The disk is full while packing into {str(folder)!r}: {error}. Free space, and pack again with the same "
                "loader: it continues after the last complete part."
            ) from error
        raise ResourceError(f"The pack {str(folder)!r} cannot be written: {error}.") from error


# -- manifest ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Manifest:
    """What ``pack.json`` says.

    Attributes:
        loader: What decides the batches, by name.
        epochs: Number of mini-batches of every epoch.
        order: The file with the seeds of every mini-batch, there until the pack is complete.
        parts: The complete parts, in the order of their mini-batches.
    """

    loader: dict[str, Any]
    epochs: tuple[int, ...]
    order: StoredFile
    parts: tuple[StoredFile, ...] = ()

    @property
    def packed(self) -> int:
        """Number of mini-batches that are packed."""
        return sum(part.batches for part in self.parts)

    @property
    def complete(self) -> bool:
        """Whether every mini-batch is packed."""
        return self.packed == sum(self.epochs)

    def with_part(self, part: StoredFile) -> Manifest:
        """Return the manifest with one more part."""
        return replace(self, parts=(*self.parts, part))

    def write(self, folder: Path) -> None:
        """Write it to its folder."""
        with whole(folder / MANIFEST) as temporary:
            temporary.write_bytes(_render({"format": _FORMAT, "version": _VERSION, **asdict(self)}))

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read the manifest of a pack, complete or not, and check that its parts are there.

        Raises:
            DataError: There is no pack, it was made by a newer version, or a byte is not as it was written.
        """
        path = folder / MANIFEST
        try:
            text = path.read_bytes()
        except OSError as error:
            raise DataError(
                f"There is no pack in {str(folder)!r}: {MANIFEST} cannot be read ({error.strerror}). Make one with "
                "loader.pack(path)."
            ) from error
        try:
            content = json.loads(text)
        except ValueError as error:
            raise _damaged(path, "is no JSON") from error
        if not isinstance(content, dict) or content.get("format") != _FORMAT:
            raise DataError(f"{str(path)!r} is not the manifest of a dbgnn pack. Make a pack with loader.pack(path).")
        content.pop("xxh3_64", None)
        if _render(content) != text:  # holds for manifests of every version, so it comes first
            raise _damaged(path, "does not hold what was written to it: its checksum is wrong")
        if content["version"] != _VERSION:
            raise DataError(
                f"The pack {str(folder)!r} was made by a newer dbgnn: {MANIFEST} says version {content['version']}, this dbgnn "
                f"reads version {_VERSION}. Upgrade dbgnn, or pack again with this one."
            )
        parts = tuple(StoredFile(**part) for part in content["parts"])
        for number, part in enumerate(parts):
            with part.open(part_path(folder, number), verify=False):
                pass
        return cls(content["loader"], tuple(content["epochs"]), StoredFile(**content["order"]), parts)


def part_path(folder: Path, number: int) -> Path:
    """Return the path of a part."""
    return folder / f"part-{number:05}.arrow"


def _render(content: Mapping[str, Any]) -> bytes:
    """Return the manifest's text; the checksum it ends with is that of the text without it."""
    checksum = xxhash.xxh3_64_hexdigest(json.dumps(content, indent=1).encode())
    return json.dumps({**content, "xxh3_64": checksum}, indent=1).encode() + b"\n"


# -- batch to record batch -----------------------------------------------------------------------------


class PartWriter:
    """Writes parts; the memory in which record batches are put together is kept from one to the next."""

    def __init__(self) -> None:
        self._memory = np.empty(0, dtype=np.uint8)

    def write(self, path: Path, batches: Iterator[Batch], *, first: int, until: int, progress: Callable[[], object]) -> int:
        """Write batches to a file until it has ``until`` bytes; return their number, at least 1 if there is any.

        Args:
            path: The file.
            batches: The batches; those that are not written stay in the iterator.
            first: The number of the first batch, for error messages.
            until: Bytes after which the part is full.
            progress: Called after every batch.
        """
        count = 0
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, _SCHEMA) as writer:
            at = _FIRST
            for batch in batches:
                writer.write_batch(self._record(batch, at=at, name=f"batch {first + count}"))
                del batch  # or its memory would not be free until the next one is there
                at, count = file.tell(), count + 1
                progress()
                if at >= until:
                    break
        return count

    def _record(self, batch: Batch, *, at: int, name: str) -> pa.RecordBatch:
        """Return a batch as record batch that will begin at byte ``at`` of its file."""
        text, tensors = _describe(batch, name)
        sizes = [tensor.numel() * tensor.element_size() for tensor in tensors]
        ends = np.cumsum([0, len(text), *map(_aligned, sizes)])
        # A record batch is a header, the offsets and the bytes; the size of the first two does not depend on the bytes.
        begin = at + pa.ipc.get_record_batch_size(_column(np.zeros_like(ends), self._memory[:0]))
        ends[1:] += _aligned(begin + len(text)) - (begin + len(text))
        if len(self._memory) < ends[-1] + _ALIGNMENT:
            self._memory = np.empty(ends[-1] * 5 // 4 + _ALIGNMENT, dtype=np.uint8)
        memory = self._memory[_aligned(ends[1]) - ends[1] :][: ends[-1]]  # tensors are aligned here, too
        memory[: len(text)] = np.frombuffer(text, dtype=np.uint8)
        memory[len(text) : ends[1]] = ord(" ")
        for tensor, size, start, end in zip(tensors, sizes, ends[1:-1], ends[2:], strict=True):
            if size:
                _tensor(memory, int(start), tensor.dtype, tensor.shape).copy_(tensor)
            memory[start + size : end] = 0
        return _column(ends, memory)


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def _column(ends: np.ndarray[Any, Any], memory: np.ndarray[Any, Any]) -> pa.RecordBatch:
    buffers = [None, pa.py_buffer(ends.astype(np.int64)), pa.py_buffer(memory)]
    return pa.record_batch([pa.Array.from_buffers(pa.large_binary(), len(ends) - 1, buffers)], schema=_SCHEMA)


def _describe(batch: Batch, name: str) -> tuple[bytes, list[Tensor]]:
    """Return what a batch is, as JSON that names its tensors by number, and the tensors."""
    if type(batch) not in {Data, HeteroData}:
        raise DataError(
            f"{name} is a {type(batch).__name__}; a pack holds Data and HeteroData. Leave out custom_cls, and convert in the "
            "transform of PackedLoader."
        )
    tensors: list[Tensor] = []
    stores = []
    for store in batch.stores:
        named = name if store._key is None else f"{name}, {store._key!r}"
        private = {key: value for key, value in vars(store).items() if key not in _INTERNAL}
        stores.append(_value([store._key, dict(store), private], tensors, named))
    return json.dumps([type(batch).__name__, stores]).encode(), tensors


def _value(value: Any, tensors: list[Tensor], name: str) -> Any:
    """Return a value as JSON: what JSON lacks becomes an object with one key or, a tensor, with its three."""
    kind = type(value)
    if value is None or kind in {bool, int, float, str}:
        return value
    if kind is list:
        return [_value(item, tensors, name) for item in value]
    if kind is tuple:
        return {"tuple": [_value(item, tensors, name) for item in value]}
    if kind is dict:
        items = value.items()
        return {"dict": [[_value(key, tensors, name), _value(item, tensors, f"{name}, {key!r}")] for key, item in items]}
    if kind is not Tensor:
        raise _no_value(name, f"a {kind.__module__}.{kind.__qualname__}")
    dtype = str(value.dtype).removeprefix("torch.")
    if value.layout is not torch.strided or value.device.type != "cpu" or value.requires_grad or dtype not in _DTYPES:
        raise _no_value(
            name, f"a tensor of {value.dtype} and {value.layout} on {value.device}, requires_grad={value.requires_grad}"
        )
    tensors.append(value)
    return {"tensor": len(tensors), "dtype": dtype, "shape": list(value.shape)}


def _no_value(name: str, what: str) -> DataError:
    return DataError(
        f"{name} is {what}, which a pack cannot hold: it holds dense tensors on the CPU without gradient, numbers, strings, "
        "None, and lists, tuples and dicts of them. Leave it out, and add it in the transform of PackedLoader."
    )


# -- record batch to batch -----------------------------------------------------------------------------


def read_part(file: BufferedReader, start: int, stop: int) -> Iterator[Batch]:
    """Yield the batches ``start … stop - 1`` of a part.

    Their tensors lie in a private mapping of the file, a new one at every call: writing to them changes neither the file nor
    what is read later. The mapping goes when the last tensor in it does.
    """
    mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    mapping.madvise(mmap.MADV_SEQUENTIAL)
    buffer = pa.py_buffer(mapping)
    reader = pa.ipc.open_file(buffer)
    for number in range(start, stop):
        rows = reader.get_batch(number).column(0)
        _, offsets, data = rows.buffers()
        begins = np.frombuffer(offsets, dtype=np.int64) + (data.address - buffer.address)
        name, stores = json.loads(mapping[begins[0] : begins[1]])
        yield _batch(name, stores, mapping, begins)


def _batch(name: str, stores: Any, mapping: mmap.mmap, begins: np.ndarray[Any, Any]) -> Batch:
    batch: Batch = Data() if name == "Data" else HeteroData()
    for key, values, private in _read(stores, mapping, begins):
        store = _store(batch, key)
        store._mapping.update(values)
        vars(store).update(private)
    return batch


def _read(value: Any, mapping: mmap.mmap, begins: np.ndarray[Any, Any]) -> Any:
    """Inverse of `_value`."""
    if isinstance(value, list):
        return [_read(item, mapping, begins) for item in value]
    if not isinstance(value, dict):
        return value
    if "tuple" in value:
        return tuple(_read(value["tuple"], mapping, begins))
    if "dict" in value:
        return dict(_read(value["dict"], mapping, begins))
    return _tensor(mapping, int(begins[value["tensor"]]), _DTYPES[value["dtype"]], value["shape"])


def _tensor(memory: Any, start: int, dtype: torch.dtype, shape: Sequence[int]) -> Tensor:
    """Return the bytes of some memory from ``start`` on as a tensor; it shares the memory and keeps it."""
    count = math.prod(shape)
    if not count:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(memory, dtype=dtype, count=count, offset=start).view(shape)


def _store(batch: Batch, key: Any) -> Any:
    """Return the storage of a key, made if it is not there; PyG's warnings about names came when the batch was packed."""
    if isinstance(batch, Data) or key is None:
        return batch.stores[0]
    if isinstance(key, tuple):
        return batch._edge_store_dict.setdefault(key, EdgeStorage(_parent=batch, _key=key))
    return batch._node_store_dict.setdefault(key, NodeStorage(_parent=batch, _key=key))
