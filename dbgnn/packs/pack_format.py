"""What a mini-batch is in a pack: how it becomes a record batch of a part, and a batch again.

``part-00000.arrow``, … are Arrow IPC files with one record batch per mini-batch, of a single column of bytes: the first row
describes the mini-batch in JSON, every further row is a tensor. Rows are padded so that each tensor starts at a multiple of
64 bytes of the file (Arrow aligns to 8), as fresh tensors do. No pickle: reading a pack runs no code of its maker's. Whatever
a part holds, reading gives what a loader could have packed, or a :class:`DataError`.

The files of a pack are in `pack_files.py`; when packs are made and replayed, in `pack.py`.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor
from torch_geometric.data import Data, HeteroData
from torch_geometric.data.storage import EdgeStorage, NodeStorage

from dbgnn import documents
from dbgnn.arrow import DTYPES
from dbgnn.documents import MalformedError, shortened
from dbgnn.errors import DataError
from dbgnn.packs.pack_arrow import ArrowFile
from dbgnn.packs.pack_check import Claims, check_batch, check_bool
from dbgnn.packs.pack_files import damaged_pack

DataBatch: TypeAlias = Data | HeteroData

#: The schema of all Arrow files of a pack.
SCHEMA = pa.schema([pa.field("bytes", pa.large_binary(), nullable=False)])

#: Where the first record batch of a file begins: after the magic bytes ``ARROW1`` and two zeros, and the schema.
_FIRST = 8 + SCHEMA.serialize().size

_ALIGNMENT = 64

#: The dtypes of tensors by name: those of columns, and what a transform may make of them.
_DTYPES = DTYPES | {
    name: getattr(torch, name) for name in "float16 bfloat16 complex32 complex64 complex128 float8_e4m3fn float8_e5m2".split()
}

#: What a storage keeps for itself: not part of what a batch holds.
_INTERNAL = frozenset({"_mapping", "_parent", "_key", "_cached_attr"})

#: The most that describes a mini-batch. Its numbers are in tensors; what is beside them is short.
_BOUNDS = documents.Bounds(size=8 << 20, depth=None, values=1 << 18)

#: How deep lists, tuples and dicts may lie in each other; a dict takes three levels of JSON.
_DEPTH = 32

#: The same for a mini-batch that was not read before.
_NEW = replace(_BOUNDS, depth=4 * _DEPTH)

#: The most dimensions that torch shows and NumPy knows, and bytes beyond which sizes overflow.
_DIMS, _LARGEST = 32, 1 << 62


# -- batch to record batch -----------------------------------------------------------------------------


class PartWriter:
    """Writes parts; the memory in which record batches are put together is kept from one to the next."""

    def __init__(self) -> None:
        self._memory = np.empty(0, dtype=np.uint8)

    def write(
        self,
        file: BinaryIO,
        batches: Iterator[DataBatch],
        *,
        first: int,
        until: int,
        claims: Claims,
        progress: Callable[[], object],
    ) -> int:
        """Write batches to a file until it has ``until`` bytes; return their number, at least 1 if there is any.

        Args:
            file: The file, empty.
            batches: The batches.
            first: The number of the first one, for messages.
            until: The number of bytes after which the part is full.
            claims: What the manifest says of nodes and edges.
            progress: Called after every batch.
        """
        count = 0
        with pa.ipc.new_file(file, SCHEMA) as writer:
            at = _FIRST
            for batch in batches:
                writer.write_batch(self._record(batch, at=at, name=f"batch {first + count}", claims=claims))
                del batch  # or its memory would not be free until the next one is there
                at, count = file.tell(), count + 1
                progress()
                if at >= until:
                    break
        return count

    def _record(self, batch: DataBatch, *, at: int, name: str, claims: Claims) -> pa.RecordBatch:
        """Return a batch as record batch that will begin at byte ``at`` of its file; refuse what reading would refuse."""
        text, tensors = _describe(batch, name)
        try:
            documents.check_bounds(text, _BOUNDS)
        except ValueError as error:
            raise DataError(
                f"{name}: what it holds beside its tensors {error}, the most that a pack takes. Make tensors of long lists, or "
                "add them in the transform of PackedLoader."
            ) from error
        try:
            check_batch(batch, claims)
            for tensor in tensors:
                if tensor.dtype == torch.bool:
                    check_bool(tensor.contiguous())
        except ValueError as error:
            raise DataError(
                f"{name}: {error}, which a pack cannot hold. Change it in the transform of PackedLoader instead of here."
            ) from error
        sizes = [tensor.numel() * tensor.element_size() for tensor in tensors]
        ends = np.cumsum([0, len(text), *map(_aligned, sizes)])
        # A record batch is a header, the offsets and the bytes; the size of the first two does not depend on the bytes.
        begin = at + pa.ipc.get_record_batch_size(column(np.zeros_like(ends), self._memory[:0]))
        ends[1:] += _aligned(begin + len(text)) - (begin + len(text))
        if len(self._memory) < ends[-1] + _ALIGNMENT:
            self._memory = np.empty(ends[-1] * 5 // 4 + _ALIGNMENT, dtype=np.uint8)
        memory = self._memory[_aligned(ends[1]) - ends[1] :][: ends[-1]]  # tensors are aligned here, too
        memory[: len(text)] = np.frombuffer(text, dtype=np.uint8)
        memory[len(text) : ends[1]] = ord(" ")
        for tensor, size, start, end in zip(tensors, sizes, ends[1:-1], ends[2:], strict=True):
            if size:
                to = torch.frombuffer(memory, dtype=tensor.dtype, count=tensor.numel(), offset=int(start))
                to.view(tensor.shape).copy_(tensor)
            memory[start + size : end] = 0
        return column(ends, memory)


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def column(ends: np.ndarray[Any, Any], memory: np.ndarray[Any, Any]) -> pa.RecordBatch:
    """Return a record batch whose row i is the bytes ``ends[i]`` to ``ends[i + 1]`` of some memory."""
    buffers = [None, pa.py_buffer(ends.astype(np.int64)), pa.py_buffer(memory)]
    return pa.record_batch([pa.Array.from_buffers(pa.large_binary(), len(ends) - 1, buffers)], schema=SCHEMA)


def _describe(batch: DataBatch, name: str) -> tuple[bytes, list[Tensor]]:
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
        stores.append(_value([store._key, dict(store), private], tensors, named, 1))
    return json.dumps([type(batch).__name__, stores]).encode(), tensors


def _value(value: Any, tensors: list[Tensor], name: str, depth: int) -> Any:
    """Return a value as JSON: what JSON lacks becomes an object with one key or, a tensor, with its three."""
    kind = type(value)
    if value is None or kind in {bool, int, float, str}:
        return value
    if depth > _DEPTH:
        raise _no_value(name, f"more than {_DEPTH} lists, tuples or dicts in each other")
    if kind is list:
        return [_value(item, tensors, name, depth + 1) for item in value]
    if kind is tuple:
        return {"tuple": [_value(item, tensors, name, depth + 1) for item in value]}
    if kind is dict:
        return {
            "dict": [
                [_value(key, tensors, name, depth + 1), _value(item, tensors, f"{name}, {key!r}", depth + 1)]
                for key, item in value.items()
            ]
        }
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


class Part:
    """The batches of a part.

    Their tensors lie in a private mapping of the file: writing to them changes neither the file nor what another mapping of it
    shows. The mapping goes when the last tensor in it does.

    Args:
        file: The file; it may be closed afterwards.
        path: Its path, for messages.
        count: How many batches it has, as the manifest says.

    Raises:
        DataError: The file is not a part of a pack.
    """

    def __init__(self, file: BinaryIO, path: Path, count: int) -> None:
        self._path, self._count = path, count
        try:
            self._mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
            self._mapping.madvise(mmap.MADV_SEQUENTIAL)
            self._rows = ArrowFile.of(memoryview(self._mapping))
            self._values = _Values(self._mapping)
        except (OSError, ValueError) as error:
            raise damaged_pack(path, str(error)) from error
        if len(self._rows) != count:
            raise damaged_pack(path, f"holds {len(self._rows):,} mini-batches where {count:,} were written")

    def check(self, claims: Claims) -> None:
        """Read all batches, and compare each with what the manifest says of nodes and edges.

        Raises:
            DataError: The part holds what no loader packs.
        """
        for number in range(self._count):
            try:
                check_batch(self._batch(number, new=True), claims)
            except ValueError as error:
                raise self._damaged(number, error) from error

    def read(self, start: int, stop: int) -> Iterator[DataBatch]:
        """Yield the batches ``start … stop - 1``.

        Raises:
            DataError: One is no batch.
        """
        for number in range(start, stop):
            try:
                batch = self._batch(number)
            except ValueError as error:
                raise self._damaged(number, error) from error
            yield batch
            del batch  # or its memory would not be free until the next one is there

    def _damaged(self, number: int, error: ValueError) -> DataError:
        return damaged_pack(self._path, f"holds a mini-batch {number} that is none: it {error}")

    def _batch(self, number: int, *, new: bool = False) -> DataBatch:
        """Return a batch; of a ``new`` one the truth values are looked at, too."""
        rows = self._rows.rows(number)
        if not 2 <= len(rows) <= _BOUNDS.values:
            raise MalformedError(f"has {len(rows) - 1:,} rows")
        ends = rows.tolist()
        content = self._values.read(ends, new=new)
        if not isinstance(content, list) or len(content) != 2 or content[0] not in ("Data", "HeteroData"):
            raise MalformedError(f"is described as {shortened(content)}")
        return _batch(content[0], content[1])


def _batch(name: str, stores: Any) -> DataBatch:
    batch: DataBatch = Data() if name == "Data" else HeteroData()
    if not isinstance(stores, list) or (name == "Data" and len(stores) != 1):
        raise MalformedError(f"is {name} of {shortened(stores)}")
    seen: set[Any] = set()
    for entry in stores:
        if not isinstance(entry, list) or len(entry) != 3:
            raise MalformedError(f"has the store {shortened(entry)}")
        key, values, private = entry
        if not isinstance(values, dict) or not isinstance(private, dict):
            raise MalformedError(f"has a store {shortened(key)} of {shortened(values)} and {shortened(private)}")
        if not _is_key(key, name, len(seen)) or key in seen:
            raise MalformedError(f"has the store {shortened(key)} after {len(seen)} others")
        seen.add(key)
        store = _store(batch, key)
        for attribute in private:
            if not isinstance(attribute, str) or attribute[:1] != "_" or attribute in _INTERNAL or hasattr(store, attribute):
                raise MalformedError(f"has {shortened(attribute)} where private attributes are")
        store._mapping.update(values)
        vars(store).update(private)
    return batch


def _is_key(key: Any, name: str, number: int) -> bool:
    """Whether a store may have this key: the first None, and those of HeteroData a type each."""
    if name == "Data" or number == 0:
        return key is None
    return isinstance(key, str) or (isinstance(key, tuple) and len(key) == 3 and all(isinstance(part, str) for part in key))


class _Values:
    """Values of batches, made of JSON while it is parsed; tensors are taken from the rows, each once and in order."""

    def __init__(self, mapping: mmap.mmap) -> None:
        self._mapping = mapping
        self._decoder = json.JSONDecoder(object_hook=self._object)
        self._ends: list[int] = []
        self._used, self._new = 0, False

    def read(self, ends: list[int], *, new: bool) -> Any:
        """Return what the first row says: inverse of `_value`."""
        self._ends, self._used, self._new = ends, 0, new
        made = documents.parse(self._mapping[ends[0] : ends[1]], _NEW if new else _BOUNDS, self._decoder)
        if self._used != len(ends) - 2:
            raise MalformedError(f"has {len(ends) - 2:,} tensors and names {self._used:,}")
        return made

    def _object(self, said: dict[str, Any]) -> Any:
        if len(said) == 3 and "tensor" in said and "dtype" in said and "shape" in said:
            return self._tensor(said["tensor"], said["dtype"], said["shape"])
        if len(said) == 1:
            if type(items := said.get("tuple")) is list:
                return tuple(items)
            if type(items := said.get("dict")) is list:
                return _dict(items)
        raise MalformedError(f"holds {shortened(said)}, which is no value of a batch")

    def _tensor(self, said: Any, name: Any, shape: Any) -> Tensor:
        number = self._used = self._used + 1
        if type(said) is not int or said != number or number + 1 >= len(self._ends):
            raise MalformedError(f"names the tensor {shortened(said)} where {number} of {len(self._ends) - 2} should be")
        if type(name) is not str or (dtype := _DTYPES.get(name)) is None:
            raise MalformedError(f"has a tensor of the dtype {shortened(name)}")
        if type(shape) is not list or len(shape) > _DIMS:
            raise MalformedError(f"has a tensor of the shape {shortened(shape)}")
        count, largest = 1, dtype.itemsize
        for n in shape:
            if type(n) is not int or n < 0:
                raise MalformedError(f"has a tensor of the shape {shortened(shape)}")
            count *= n
            largest *= n or 1
        start, size = self._ends[number], count * dtype.itemsize
        if largest >= _LARGEST or not size <= self._ends[number + 1] - start < size + 2 * _ALIGNMENT:
            raise MalformedError(f"has a tensor of {name} {shortened(shape)} in {self._ends[number + 1] - start:,} bytes")
        if start % _ALIGNMENT:
            raise MalformedError(f"has a tensor that begins at byte {start:,}, between two places for one")
        if not count:
            return torch.empty(shape, dtype=dtype)
        made = torch.frombuffer(self._mapping, dtype=dtype, count=count, offset=start)
        if self._new and dtype is torch.bool:
            check_bool(made)
        return made if len(shape) == 1 else made.view(shape)


def _dict(items: list[Any]) -> dict[Any, Any]:
    made: dict[Any, Any] = {}
    for item in items:
        if type(item) is not list or len(item) != 2:
            raise MalformedError(f"holds {shortened(item)} where a key and its value should be")
        key = item[0]
        if (type(key) is not str and not _is_hashable(key)) or key in made:
            raise MalformedError(f"holds {shortened(key)} for a key")
        made[key] = item[1]
    return made


def _is_hashable(key: Any) -> bool:
    return key is None or isinstance(key, str | int | float) or (isinstance(key, tuple) and all(map(_is_hashable, key)))


def _store(batch: DataBatch, key: Any) -> Any:
    """Return the storage of a key, made if it is not there; PyG's warnings about names came when the batch was packed."""
    if isinstance(batch, Data) or key is None:
        return batch.stores[0]
    if isinstance(key, tuple):
        return batch._edge_store_dict.setdefault(key, EdgeStorage(_parent=batch, _key=key))
    return batch._node_store_dict.setdefault(key, NodeStorage(_parent=batch, _key=key))
