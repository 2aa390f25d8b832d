"""npy files as checked columns, and their rows as Arrow batches that share the memory-mapped bytes.

What may go into which column is decided here, before the first row is written: values are never rounded,
clipped or parsed, and pickled objects are never loaded. Format: NEP 1, ``numpy.lib.format``.
"""

from __future__ import annotations

import math
import mmap
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dbgnn import files
from dbgnn.errors import CopyError
from dbgnn.ingest.npy_header import RecordsError, read_header
from dbgnn.ingest.target import TargetColumn
from dbgnn.schema.packed import BY_ROW, HALVES, layout, packed_type

Array = NDArray[Any]

#: Rows of a DuckDB row group. Batches of as many rows fill one each, so that no thread writes half of
#: another's: 2 M x 128 floats took 1.9 s in such batches, 3.1-3.9 s in batches of 8 k to 64 k rows.
ROW_GROUP = 122_880

#: Bytes a batch may copy, where its values cannot be shared with the file as they lie; a batch is alive per thread.
COPY_LIMIT = 32 << 20

_INTEGERS: dict[str, type[np.integer[Any]]] = {
    "tinyint": np.int8,
    "smallint": np.int16,
    "integer": np.int32,
    "bigint": np.int64,
    "utinyint": np.uint8,
    "usmallint": np.uint16,
    "uinteger": np.uint32,
    "ubigint": np.uint64,
}
_WIDE_INTEGERS = {"hugeint": -(2**127), "uhugeint": 0}
_FLOATS = {"float": np.float32, "double": np.float64}
_TIMES = {
    "date": "datetime64[D]",
    "timestamp": "datetime64[us]",
    "timestamp_s": "datetime64[s]",
    "timestamp_ms": "datetime64[ms]",
    "timestamp_ns": "datetime64[ns]",
}
#: The least and the greatest count of days or other units that DuckDB reads back. The greatest of all means infinity;
#: reading one beyond can end in an error that invalidates the whole database.
_TIME_LIMITS = {
    "date": (-(2**31 - 2), 2**31 - 2),
    "timestamp": (-9_223_372_022_400_000_000, 2**63 - 2),
    "timestamp_s": (-9_223_372_022_400, 9_223_372_036_854),
    "timestamp_ms": (-9_223_372_022_400_000, 9_223_372_036_854_775),
    "timestamp_ns": (-(2**63 - 2), 2**63 - 2),
}
_TEXTS = ("varchar", "enum", "uuid")


@dataclass(frozen=True, slots=True)
class NpySource:
    """The rows of one column.

    Attributes:
        column: The column they go to.
        file: The file they come from.
        array: ``[N, *column.dims]``, a view of the memory-mapped file.
        dtype: The native dtype that a batch is brought to; that of the array where nothing has to be done.
        where: Table, file and column, for messages.
    """

    column: TargetColumn
    file: str
    array: Array
    dtype: np.dtype[Any]
    where: str

    @property
    def copied_row_bytes(self) -> int:
        """Bytes of one row that a batch has to copy; 0 where it shares the file's pages."""
        shared = self.dtype == self.array.dtype and self.dtype.kind in "iuf" and self.array.flags.c_contiguous
        return 0 if shared else max(1, int(np.prod(self.array.shape[1:]))) * self.dtype.itemsize

    def arrow(self, start: int, stop: int) -> pa.Array:
        """Return rows ``start`` to ``stop`` as an Arrow array; nested fixed-size lists for arrays.

        Raises:
            CopyError: The file has become shorter.
        """
        check_size(self.array, self.where)
        chunk = np.ascontiguousarray(self.array[start:stop], dtype=self.dtype)
        if self.column.leaf in HALVES:
            form, width, sizes = layout(self.column.sql_type)
            values = pa.array(chunk.reshape(-1).view(f"u{width}"))
        else:
            form, values, sizes = "", pa.array(chunk.reshape(-1)), tuple(reversed(chunk.shape[1:]))
        for size in sizes:
            values = pa.FixedSizeListArray.from_arrays(values, size)
        return pa.StructArray.from_arrays([values], [form]) if form else values


def open_array(file: str, table: str) -> Array:
    """Map an npy file of at least one dimension into memory, read-only.

    Raises:
        CopyError: The file is missing, unreadable, not npy, cut short, or holds Python objects or records.
    """
    path = os.path.expanduser(file)
    try:
        array = _map(path)
    except RecordsError as error:
        raise CopyError(
            f"COPY {table}: {file!r} holds records ({error}). "
            "Save every field as a file of its own: np.save('field.npy', a['field'])."
        ) from error
    except FileNotFoundError as error:
        hint = " Patterns are not expanded; name every file." if set(file) & set("*?[") else ""
        raise CopyError(f"COPY {table}: there is no file {file!r} (looked in {os.getcwd()!r}).{hint}") from error
    except OSError as error:
        raise CopyError(f"COPY {table}: {file!r} cannot be read: {error.strerror or error}.") from error
    except (ValueError, EOFError) as error:
        raise CopyError(f"COPY {table}: {_unreadable(file, str(error))}") from error
    if array.ndim == 0:
        raise CopyError(f"COPY {table}: {file!r} holds a single value, not rows. Save an array of shape [N] or [N, n].")
    if 0 in array.shape[1:]:
        raise CopyError(f"COPY {table}: {file!r} has shape {array.shape}; rows without values fit no column.")
    return array


def _map(path: str) -> Array:
    """Map the array in a file; like ``numpy.lib.format.open_memmap``, but compares the sizes before it computes with them."""
    with files.opened(path) as file:
        header = read_header(file)
        size = os.fstat(file.fileno()).st_size
        if math.prod(header.shape) and not header.dtype.itemsize:
            raise ValueError(f"values of {header.dtype} take no bytes")
        needed = header.size + math.prod(header.shape) * header.dtype.itemsize
        if needed > size:
            raise EOFError(f"EOF after {size:,} of {needed:,} bytes")
        if needed < size:
            raise ValueError(f"trailing: {size - needed:,} of {size:,} bytes")
        mapped = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)
    return np.ndarray(header.shape, header.dtype, buffer=mapped, offset=header.size, order="F" if header.fortran else "C")


def check_size(array: Array, where: str) -> None:
    """Raise if the file under ``array`` has become shorter since it was mapped: reading on would kill the process.

    Raises:
        CopyError: It has.
    """
    base: object = array
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, mmap.mmap) and (size := base.size()) < len(base):
        raise CopyError(
            f"{where}: the file was cut short while it was read, {size:,} of {len(base):,} bytes are left. No row was kept. "
            "Write it again, under another name first, and rename it when it is complete."
        )


def _unreadable(file: str, reason: str) -> str:
    if "Python objects" in reason:
        return (
            f"{file!r} holds Python objects (dtype object), which are never unpickled. "
            "Save numbers or text: np.save(file, a.astype('float32')) or a.astype(str)."
        )
    if "magic string is not correct" in reason:
        return f"{file!r} is not an npy file ({reason}). Write it with np.save; npz archives must be unpacked."
    if reason.startswith("trailing: "):
        return (
            f"{file!r} goes on behind its rows ({reason.removeprefix('trailing: ')}), as where several arrays were saved to "
            "one file. Save every array to a file of its own."
        )
    if "EOF" in reason:
        return f"{file!r} is cut short: it ends before its rows do ({reason}). Write or download it again."
    return f"{file!r} has a damaged npy header ({reason}). Write it again with np.save."


def check_source(array: Array, column: TargetColumn, file: str, table: str) -> NpySource:
    """Check that every value of ``array`` goes into ``column`` unchanged; whole-file checks read it once.

    Raises:
        CopyError: Another number of dimensions, another size, a dtype the column cannot hold, or one value it cannot.
    """
    where = f"COPY {table}: {file!r} into column {column.name!r} {column.sql_type}"
    shape, dims = array.shape[1:], column.dims
    if len(shape) != len(dims) or any(want not in (None, have) for want, have in zip(dims, shape, strict=True)):
        raise CopyError(f"{where}: {_shape_remedy(array, column)}")
    return NpySource(column, file, array, _check_values(array, column.leaf, where), where)


def _shape_remedy(array: Array, column: TargetColumn) -> str:
    wanted = ", ".join(["N", *("any" if d is None else str(d) for d in column.dims)])
    text = f"the file has shape {array.shape}, the column takes [{wanted}]. "
    leaf = column.sql_type.split("[")[0]
    declared = leaf + "".join(f"[{n}]" for n in reversed(array.shape[1:]))
    if column.leaf in HALVES:
        declared = packed_type(column.leaf, array.shape[1:])
    if array.ndim == 2 and array.shape[1] == 1 and not column.dims:
        return text + "Save a.reshape(-1)."
    if array.ndim == 1 and column.dims == (1,):
        return text + "Save a.reshape(-1, 1)."
    return text + f"Declare the column {declared}, or save the array in the other shape."


def _check_values(array: Array, leaf: str, where: str) -> np.dtype[Any]:
    """Return the native dtype to hand to DuckDB, which widens or narrows it exactly; raise where it could not."""
    kind = array.dtype.kind
    native = array.dtype.newbyteorder("=")
    if kind in "iu":
        if leaf in _INTEGERS or leaf in _WIDE_INTEGERS:
            _check_range(array, leaf, where)
            return native
        if leaf in _FLOATS:
            _check_exact(array, np.dtype(_FLOATS[leaf]), where)
            return native
        if leaf in ("decimal", "bignum"):
            return native
    elif kind == "f" and leaf in _FLOATS:
        if array.dtype.itemsize <= np.dtype(_FLOATS[leaf]).itemsize:
            return np.dtype(np.float32) if native == np.float16 else native
        raise CopyError(
            f"{where}: {array.dtype} would be rounded. Save a.astype('{np.dtype(_FLOATS[leaf])}'){_or_double(native, leaf)}."
        )
    elif (native == np.float16 and leaf == "float16") or (kind == "b" and leaf == "boolean"):
        return native
    elif (kind == "U" and leaf in _TEXTS) or (kind == "S" and leaf == "blob"):
        _check_text(array, where)
        return native
    elif kind == "M" and leaf in _TIMES:
        _check_times(array, leaf, where)
        return np.dtype(_TIMES[leaf])
    raise CopyError(f"{where}: dtype {array.dtype} does not fit. {_dtype_remedy(native, leaf)}")


def _or_double(dtype: np.dtype[Any], leaf: str) -> str:
    return ", or declare the column DOUBLE" if leaf == "float" and dtype == np.float64 else ""


def _dtype_remedy(dtype: np.dtype[Any], leaf: str) -> str:
    """What to save instead, or how to declare the column."""
    if leaf in _INTEGERS:
        note = " (after deciding how to round)" if dtype.kind == "f" else ""
        return f"Save a.astype('{np.dtype(_INTEGERS[leaf])}'){note}, or declare the column as the file is."
    if leaf in _FLOATS:
        return f"Save a.astype('{np.dtype(_FLOATS[leaf])}')."
    if leaf in _TIMES:
        return f"Save a.astype('{_TIMES[leaf]}')."
    if leaf == "float16":
        return "Save a.astype('float16') where that rounds as you want it, and look for values that become inf (np.isinf)."
    if leaf == "bfloat16":
        return "npy has no bfloat16; put a tensor: feature_store.put_tensor."
    if leaf == BY_ROW:
        return "COPY into a column FLOAT[n], and make codes of that with graph.encode and dbgnn.Quantize."
    if leaf in _TEXTS:
        return "Save a.astype(str)."
    if leaf == "boolean":
        return "Save a.astype(bool)."
    if leaf == "blob":
        return "Save an array of bytes (dtype S)."
    if leaf == "timestamp with time zone":
        return "numpy's times have no zone: declare the column TIMESTAMP."
    if leaf == "decimal":
        return "Save whole numbers, or declare the column DOUBLE."
    return "COPY from npy fills numbers, BOOLEAN, VARCHAR, ENUM, UUID, BLOB, DATE, TIMESTAMP, and arrays and lists of them."


def _chunks(array: Array, where: str) -> Iterator[tuple[int, Array]]:
    step = max(1, COPY_LIMIT // max(1, array.nbytes // max(1, len(array))))
    for start in range(0, len(array), step):
        check_size(array, where)
        yield start, array[start : start + step]


def _refuse(where: str, chunk: Array, bad: Array, start: int, why: str) -> None:
    """Raise for the first value that ``bad`` marks, if any."""
    if not bad.any():
        return
    at = np.unravel_index(int(np.argmax(bad)), bad.shape)
    position = f" (position {', '.join(map(str, at[1:]))})" if len(at) > 1 else ""
    shown = repr(chunk[at].item()) if chunk.dtype.kind in "US" else str(chunk[at])
    raise CopyError(f"{where}: row {start + int(at[0])}{position} holds {shown}, {why}")


def _check_range(array: Array, leaf: str, where: str) -> None:
    have = np.iinfo(array.dtype)
    if leaf in _WIDE_INTEGERS:
        low, high, wider = _WIDE_INTEGERS[leaf], 2**127 - 1, "HUGEINT"
    else:
        want = np.iinfo(_INTEGERS[leaf])
        low, high, wider = int(want.min), int(want.max), "BIGINT" if array.dtype != np.uint64 else "UBIGINT"
    if low <= have.min and have.max <= high:
        return
    for start, chunk in _chunks(array, where):
        if int(chunk.min()) < low or int(chunk.max()) > high:
            bad = np.zeros(chunk.shape, dtype=bool)
            if have.min < low:
                bad |= chunk < max(low, have.min)
            if have.max > high:
                bad |= chunk > min(high, have.max)
            remedy = "Declare the column with a signed type." if low == 0 and have.min < 0 else f"Declare the column {wider}."
            _refuse(where, chunk, bad, start, f"outside {low} to {high}. {remedy}")


def _check_exact(array: Array, target: np.dtype[Any], where: str) -> None:
    """Refuse whole numbers that a float cannot hold: above 2**24 for float32, above 2**53 for float64."""
    have = np.iinfo(array.dtype)
    exact = 2 ** (np.finfo(target).nmant + 1)
    if -exact <= have.min and have.max <= exact:
        return
    for start, chunk in _chunks(array, where):
        rounded = chunk.astype(target)
        # The cast back is undefined for what rounds up to 2**63 or 2**64, which is never exact anyway.
        over = rounded >= target.type(float(have.max))
        bad = over | (np.where(over, target.type(0), rounded).astype(array.dtype) != chunk)
        _refuse(where, chunk, bad, start, f"which {target} cannot hold exactly. Declare the column BIGINT{_double(target)}.")


def _double(target: np.dtype[Any]) -> str:
    return " or DOUBLE" if target == np.float32 else ""


def _check_times(array: Array, leaf: str, where: str) -> None:
    """Refuse times that change in the unit of the column, cut off or beyond what it reaches."""
    target = np.dtype(_TIMES[leaf])
    low, high = _TIME_LIMITS[leaf]
    if np.datetime_data(array.dtype)[0] == "generic":
        raise CopyError(f"{where}: datetime64 without a unit says nothing. Save a.astype('{target}').")
    for start, chunk in _chunks(array, where):
        native = chunk.astype(array.dtype.newbyteorder("="))
        times = native.astype(target)
        counts = times.view(np.int64)
        bad = ((times.astype(native.dtype) != native) | (counts < low) | (counts > high)) & ~np.isnat(native)
        _refuse(where, native, bad, start, f"which {target} cannot hold. {_time_remedy(leaf)}")


def _time_remedy(leaf: str) -> str:
    if leaf == "date":
        return "Declare the column TIMESTAMP, or save days that DATE reaches."
    return "Declare the column TIMESTAMP or TIMESTAMP_NS, whichever reaches and parts the times."


def _check_text(array: Array, where: str) -> None:
    """Refuse text and bytes with a zero before another character: they would be cut off there."""
    unit = np.dtype(np.uint32 if array.dtype.kind == "U" else np.uint8)
    width = array.dtype.itemsize // unit.itemsize
    if width < 2:
        return
    for start, chunk in _chunks(array, where):
        empty = np.ascontiguousarray(chunk).view(unit).reshape(*chunk.shape, width) == 0
        bad = (empty[..., :-1] & ~empty[..., 1:]).any(axis=-1)
        _refuse(where, chunk, bad, start, "with a NUL character inside, where it would be cut. Take it out before saving.")


def batch_rows(sources: tuple[NpySource, ...]) -> int:
    """Rows of one batch: a row group, or fewer where copies would pass :data:`COPY_LIMIT`."""
    copied = sum(source.copied_row_bytes for source in sources)
    rows = ROW_GROUP
    while rows > 1 and rows * copied > COPY_LIMIT:
        rows = (rows + 1) // 2
    return rows
