"""The Arrow IPC file as far as packs use it: one column of bytes, and in every record batch the places of its rows.

Read by hand, since files come from strangers: Arrow's own reader decompresses what says that it is compressed, reads any type,
and trusts offsets until it is asked to validate. What is no pack's file is refused before a byte of its rows is looked at;
every number is compared with the file's size first, and nothing is allocated on the word of the file.

The layout is that of Arrow's columnar format 1.4, https://arrow.apache.org/docs/format/Columnar.html, whose metadata are
flatbuffers: a table points back to its vtable, which says where its fields lie.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from dbgnn.documents import MalformedError

RowEnds: TypeAlias = npt.NDArray[np.int64]

_MAGIC = b"ARROW1"
_BEGIN = 8
_END_OF_STREAM = b"\xff\xff\xff\xff\x00\x00\x00\x00"

#: Version 5 of the format's metadata, the kinds of messages, and the type of a column of bytes with 64-bit offsets.
_V5, _SCHEMA, _RECORD_BATCH, _LARGE_BINARY = 4, 1, 3, 19

_BLOCK = np.dtype([("offset", "<i8"), ("metadata", "<i4"), ("padding", "<i4"), ("body", "<i8")])


@dataclass(frozen=True, slots=True)
class ArrowFile:
    """The record batches of a file.

    Attributes:
        memory: The whole file.
        blocks: Where each of them lies: ``offset``, and the sizes of ``metadata`` and ``body``, one after the other.
    """

    memory: memoryview
    blocks: npt.NDArray[Any]

    @classmethod
    def of(cls, memory: memoryview) -> ArrowFile:
        """Read the end of a file, which says where its record batches lie.

        Raises:
            MalformedError: It is no Arrow file, has another schema, or its record batches do not follow each other from the
                schema to the end.
        """
        size = len(memory)
        if size < _BEGIN + len(_END_OF_STREAM) + 4 + len(_MAGIC) or bytes(memory[:_BEGIN]) != _MAGIC + b"\0\0":
            raise MalformedError("is no Arrow file")
        if bytes(memory[-len(_MAGIC) :]) != _MAGIC:
            raise MalformedError("does not end as an Arrow file")
        try:
            return cls(memory, _blocks(memory, size))
        except struct.error as error:
            raise MalformedError(f"has metadata that point out of themselves ({error})") from error

    def __len__(self) -> int:
        return len(self.blocks)

    def rows(self, number: int) -> RowEnds:
        """Return where the rows of a record batch lie in the file: row i from ``ends[i]`` to ``ends[i + 1]``.

        Returns:
            int64 ``[rows + 1]``, ascending; all within the file.

        Raises:
            MalformedError: It is compressed, has NULL, or another number or size of buffers than a column of bytes.
        """
        start, metadata, _, body = self.blocks[number].item()
        try:
            return self._rows(self.memory[start : start + metadata], start + metadata, body)
        except struct.error as error:
            raise MalformedError(f"has metadata that point out of themselves ({error})") from error

    def _rows(self, metadata: memoryview, start: int, body: int) -> RowEnds:
        batch = _message(metadata, _RECORD_BATCH, body)
        if batch.at(3):
            raise MalformedError("is compressed, and packs are not")
        if batch.at(4):
            raise MalformedError("has buffers of a variable number")
        nodes, count = batch.vector(1, 16)
        buffers, buffers_count = batch.vector(2, 16)
        if (count, buffers_count) != (1, 3):
            raise MalformedError(f"has {count} columns of {buffers_count} buffers instead of one of three")
        length, nulls = struct.unpack_from("<qq", batch.data, nodes)
        _, validity, first, size, data, data_size = struct.unpack_from("<qqqqqq", batch.data, buffers)
        if nulls or validity or batch.number(0, "<q") != length:
            raise MalformedError("has NULL, or numbers of rows that differ")
        if not (length >= 0 and first >= 0 and first % 8 == 0 and first + 8 * (length + 1) <= first + size <= body):
            raise MalformedError(f"has {size:,} bytes of offsets for {length:,} rows in {body:,} bytes")
        if not (data >= first + size and data_size >= 0 and data + data_size <= body):
            raise MalformedError(f"has {data_size:,} bytes of rows from byte {data:,} on in {body:,} bytes")
        # A copy, so that what is checked stays as it is; what overflows is less than the one before.
        begin = start + data
        ends: RowEnds = np.frombuffer(self.memory, dtype="<i8", count=length + 1, offset=start + first) + begin
        if ends[0] != begin or (ends[1:] < ends[:-1]).any() or ends[-1] > begin + data_size:
            raise MalformedError("has rows that do not follow each other within it")
        return ends


def _blocks(memory: memoryview, size: int) -> npt.NDArray[Any]:
    (footer_size,) = struct.unpack_from("<i", memory, size - len(_MAGIC) - 4)
    start = size - len(_MAGIC) - 4 - footer_size
    if footer_size <= 0 or start < _BEGIN + len(_END_OF_STREAM):
        raise MalformedError(f"has a footer of {footer_size:,} bytes in {size:,}")
    footer = _Table.root(memory[start : start + footer_size])
    if footer.number(0, "<h") != _V5:
        raise MalformedError("is of another version of the Arrow format")
    if footer.vector(2, _BLOCK.itemsize)[1]:
        raise MalformedError("has dictionaries, and packs have none")
    _check_schema(footer.table(1))
    at, count = footer.vector(3, _BLOCK.itemsize)
    blocks = np.frombuffer(footer.data, dtype=_BLOCK, count=count, offset=at).copy() if count else np.empty(0, _BLOCK)
    continuation, schema_size = struct.unpack_from("<Ii", memory, _BEGIN)
    if continuation != 0xFFFFFFFF or not 0 < schema_size <= start - _BEGIN - 8:
        raise MalformedError("does not begin with a schema")
    _check_schema(_message(memory[_BEGIN : _BEGIN + 8 + schema_size], _SCHEMA, 0))
    _check_order(blocks, _BEGIN + 8 + schema_size, start - len(_END_OF_STREAM))
    if bytes(memory[start - len(_END_OF_STREAM) : start]) != _END_OF_STREAM:
        raise MalformedError("has no end of its record batches")
    return blocks


def _check_order(blocks: npt.NDArray[Any], begin: int, end: int) -> None:
    """Raise unless the record batches follow each other from ``begin`` to ``end`` without gaps."""
    offset, metadata, body = (blocks[name] for name in ("offset", "metadata", "body"))
    sizes_fit = (metadata > 8).all() and all(((sizes >= 0) & (sizes <= end)).all() for sizes in (offset, metadata, body))
    if sizes_fit:
        ends = offset + metadata
        ends += body
        first, last = (int(offset[0]), int(ends[-1])) if len(blocks) else (begin, begin)
        if first == begin and last == end and np.array_equal(ends[:-1], offset[1:]):
            return
    raise MalformedError(f"has record batches that do not follow each other from byte {begin:,} to byte {end:,}")


def _message(data: memoryview, kind: int, body: int) -> _Table:
    """Return the header of a message."""
    continuation, size = struct.unpack_from("<Ii", data)
    if continuation != 0xFFFFFFFF or size != len(data) - 8:
        raise MalformedError(f"has a message of {size:,} bytes in {len(data):,}")
    message = _Table.root(data[8:])
    if (message.number(0, "<h"), message.number(1, "<B"), message.number(3, "<q")) != (_V5, kind, body):
        raise MalformedError("has a message of another version, kind or size than its place says")
    return message.table(2)


def _check_schema(schema: _Table) -> None:
    fields, count = schema.vector(1, 4)
    if schema.number(0, "<h") or schema.at(2) or schema.at(3) or count != 1:
        raise MalformedError("has another schema than packs have: one column, little-endian, without metadata")
    field = schema.pointed(fields)
    if field.number(2, "<B") != _LARGE_BINARY or field.number(1, "<B") or field.at(4) or field.at(6) or field.vector(5, 4)[1]:
        raise MalformedError("has a column that is not of bytes, as packs have them")


@dataclass(frozen=True, slots=True)
class _Table:
    """A table of a flatbuffer; `struct` refuses what would lie outside of its bytes."""

    data: memoryview
    start: int

    @classmethod
    def root(cls, data: memoryview) -> _Table:
        (start,) = struct.unpack_from("<I", data)
        return cls(data, start)

    def at(self, field: int) -> int:
        """Return where a field lies; 0: it is not there."""
        (back,) = struct.unpack_from("<i", self.data, self.start)
        vtable = self.start - back
        if vtable < 0:
            raise MalformedError("has metadata that point before themselves")
        (size,) = struct.unpack_from("<H", self.data, vtable)
        if 4 + 2 * field + 2 > size:
            return 0
        (offset,) = struct.unpack_from("<H", self.data, vtable + 4 + 2 * field)
        return self.start + offset if offset else 0

    def number(self, field: int, form: str) -> int:
        """Return a number; 0, the default of all that are read here, where it is not there."""
        at = self.at(field)
        return int(struct.unpack_from(form, self.data, at)[0]) if at else 0

    def pointed(self, at: int) -> _Table:
        """Return the table to which the offset at a place points."""
        (offset,) = struct.unpack_from("<I", self.data, at)
        return _Table(self.data, at + offset)

    def table(self, field: int) -> _Table:
        """Return a table in this one."""
        if not (at := self.at(field)):
            raise MalformedError("lacks a part of its metadata")
        return self.pointed(at)

    def vector(self, field: int, size: int) -> tuple[int, int]:
        """Return where the items of a vector begin, and how many there are; they lie within the bytes."""
        if not (at := self.at(field)):
            return 0, 0
        (offset,) = struct.unpack_from("<I", self.data, at)
        (count,) = struct.unpack_from("<I", self.data, at + offset)
        first = at + offset + 4
        if first + count * size > len(self.data):
            raise MalformedError("has lists in its metadata that are longer than these")
        return first, count
