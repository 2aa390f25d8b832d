"""Arrow ⇄ torch: the only place where bytes change hands. Knows neither SQL statements nor stores.

Nothing is copied where the layout allows it: the values of a column become a tensor through DLPack, and a
tensor becomes a column around the tensor's own memory.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from dbgnn.errors import DataError, SchemaError
from dbgnn.schema import Column
from dbgnn.schema.key_values import python_values
from dbgnn.schema.packed import BY_ROW, HALVES, SCALE, layout, packed_type

_PLAIN: dict[str, torch.dtype] = {
    name: getattr(torch, name) for name in "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float32 float64".split()
}

#: The torch dtype of each name in `Column.dtype`.
DTYPES: dict[str, torch.dtype] = _PLAIN | {name: getattr(torch, name) for name in HALVES}

#: The SQL type whose column holds a tensor of this dtype.
_SQL_TYPES: dict[torch.dtype, str] = {
    torch.bool: "BOOLEAN",
    torch.int8: "TINYINT",
    torch.int16: "SMALLINT",
    torch.int32: "INTEGER",
    torch.int64: "BIGINT",
    torch.uint8: "UTINYINT",
    torch.uint16: "USMALLINT",
    torch.uint32: "UINTEGER",
    torch.uint64: "UBIGINT",
    torch.float32: "FLOAT",
    torch.float64: "DOUBLE",
}

#: torch moves unsigned integers wider than 8 bits only as what they look like.
_CARRIERS = {torch.uint16: torch.int16, torch.uint32: torch.int32, torch.uint64: torch.int64}

_ARROW_TYPES = {dtype: pa.from_numpy_dtype(name) for name, dtype in _PLAIN.items()}

#: The words that packed columns hold their bytes in, by how many they hold.
_WORDS = {1: pa.uint8(), 2: pa.uint16(), 4: pa.uint32(), 8: pa.uint64()}

_HALVES = {getattr(torch, name): name for name in HALVES}

#: Rows that are made floats of at a time: what lies between stays in the cache.
_EXPANDED = 1024

#: The longest array DuckDB takes.
_LONGEST = 100_000


def dtype_of(column: Column) -> torch.dtype:
    """Return the dtype of the tensor that a column becomes."""
    return DTYPES[column.dtype]


def memory_dtype(name: str) -> np.dtype[Any]:
    """Return NumPy's dtype for memory that holds values of a dtype in `DTYPES`; NumPy has no bfloat16."""
    return np.dtype("int16" if name == "bfloat16" else name)


def as_dtype(memory: np.ndarray[Any, Any], name: str) -> Tensor:
    """Return memory of `memory_dtype` as a tensor of that dtype, which shares it."""
    tensor = torch.from_numpy(memory)
    return tensor.view(torch.bfloat16) if name == "bfloat16" else tensor


def as_kept(column: Column) -> Column:
    """Return the column whose tensor is what a packed column keeps of its rows, byte by byte; any other column as it is.

    Rows are moved about as that, and floats are made of them once a mini-batch has all of them (`expand`): a quarter of the
    bytes moves.
    """
    return replace(column, dtype="uint8", shape=(SCALE + column.shape[0],)) if column.packed == BY_ROW else column


def empty(rows: int, column: Column) -> Tensor:
    """Return a fresh tensor ``[rows, *column.shape]``, not initialised.

    Made by NumPy, which asks Linux for huge pages for it; touching fresh memory is a good part of a fetch: 300 k rows of
    FLOAT[128] take 110 ms into memory of NumPy's, 155 ms into torch's.
    """
    return as_dtype(np.empty((rows, *column.shape), dtype=memory_dtype(column.dtype)), column.dtype)


def to_tensor(array: pa.Array | pa.ChunkedArray, column: Column, *, fill: float | None = None) -> Tensor:
    """Return an Arrow column as a tensor ``[len(array), *column.shape]``.

    Shares the array's memory where it can: one chunk, no NULL, no bits (booleans), no days (dates).
    Such a tensor is not to be written to unless the array is nobody else's.

    Args:
        array: The values, as DuckDB hands them over; fixed-size lists of any depth for arrays.
        column: What they are.
        fill: What stands for NULL, also inside of arrays; None: NULL is an error.

    Raises:
        DataError: A value is NULL and there is no ``fill``.
    """
    chunks = array.chunks if isinstance(array, pa.ChunkedArray) else [array]
    parts = []
    for chunk in chunks:
        part, nulls = decode(chunk, column, fill)
        if nulls is not None:
            raise DataError(
                f"Column {column.name!r} holds NULL in {len(nulls)} of {len(chunk)} values; the first: {int(nulls[0])}."
            )
        parts.append(part)
    if len(parts) == 1:
        return parts[0]
    return torch.cat(parts) if parts else torch.empty((0, *column.shape), dtype=dtype_of(column))


def is_number(column: Column) -> bool:
    """Whether the values of a key are numbers, which are a tensor: neither times nor of an ENUM."""
    return column.reason is None and not column.unit


def key_values(values: pa.ChunkedArray, column: Column) -> Any:
    """Return a carried key column as a tensor, or where it is none, as a list of Python values, of which NULL is None."""
    return to_tensor(values, column) if is_number(column) else python_values(values, column.sql_type)


def scatter_(out: Tensor, pos: Tensor, array: pa.Array, column: Column, *, fill: float | None = None) -> Tensor | None:
    """Write the values of an Arrow column to the rows ``pos`` of ``out``.

    Args:
        out: ``[N, *column.shape]`` of the column `as_kept`, contiguous, written to.
        pos: int64 ``[len(array)]``, positions in ``out``.
        array: The values.
        column: What they are.
        fill: What stands for NULL.

    Returns:
        None, or the positions in ``out`` whose value is or holds NULL without a ``fill``.
    """
    values, nulls = decode(array, as_kept(column), fill)
    if len(values):
        # NumPy copies whole rows as opaque bytes, in this thread: 100 k rows of 512 bytes take 7 ms, against 17 with
        # torch's index_copy_, whose threads also wait for the cores that DuckDB's are using.
        target, rows = opaque(out), opaque(values)
        if target.dtype != rows.dtype:  # NumPy would cut them off, or fill them up
            raise SchemaError(f"Column {column.name!r} arrived with {rows.itemsize} bytes a row instead of {target.itemsize}.")
        target[pos.numpy()] = rows
    return None if nulls is None else pos[nulls]


def opaque(rows: Tensor) -> np.ndarray[Any, Any]:
    """Return a contiguous tensor's rows, each one element of as many bytes; shares memory."""
    bits = rows.view(torch.int16) if rows.dtype == torch.bfloat16 else rows
    array = bits.numpy().reshape(len(rows), math.prod(rows.shape[1:]))
    return array.view(np.dtype((np.void, array.shape[1] * array.itemsize))).reshape(-1)


def from_tensor(values: Tensor | np.ndarray[Any, Any], kind: str | None = None) -> pa.Array:
    """Return a tensor as an Arrow column: ``[N]`` as its values, ``[N, *shape]`` as nested fixed-size lists.

    Shares the memory of a contiguous tensor on the CPU (booleans are packed to bits).

    Args:
        values: The tensor, or an array.
        kind: The type of the column that it is for, where that may be another than `sql_type` says: halves in other words.

    Raises:
        SchemaError: A dtype that no column has (complex, float8 …), no rows dimension, or an array dimension of 0 or of more
            than 100,000.
    """
    tensor = as_tensor(values)
    own = sql_type(tensor)
    if tensor.dtype in _HALVES:
        return _packed(tensor, own if kind is None else kind)
    flat = tensor.reshape(-1)
    if tensor.dtype == torch.bool:
        array = pa.array(flat.numpy())
    else:
        array = pa.Array.from_buffers(_ARROW_TYPES[tensor.dtype], flat.numel(), [None, pa.py_buffer(flat.numpy())])
    for size in reversed(tensor.shape[1:]):
        array = pa.FixedSizeListArray.from_arrays(array, size)
    return array


def codes_array(rows: Tensor) -> pa.Array:
    """Return rows of codes, uint8 ``[N, n + 8]`` as a column keeps them, as its Arrow array; shares memory."""
    return _packed(rows, packed_type(BY_ROW, (rows.shape[1] - SCALE,)))


def _packed(rows: Tensor, kind: str) -> pa.Array:
    form, width, sizes = layout(kind)
    bits = opaque(rows)
    array = pa.Array.from_buffers(_WORDS[width], bits.nbytes // width, [None, pa.py_buffer(bits)])
    for size in sizes:
        array = pa.FixedSizeListArray.from_arrays(array, size)
    return pa.StructArray.from_arrays([array], [form])


def as_tensor(values: Tensor | np.ndarray[Any, Any]) -> Tensor:
    """Return features given as tensor or array as a detached, dense, contiguous tensor on the CPU."""
    if isinstance(values, Tensor):
        if values.layout is not torch.strided:
            raise SchemaError(f"A tensor of layout {values.layout} cannot be put into a column; use its .to_dense().")
        return values.detach().cpu().contiguous().resolve_neg().resolve_conj()
    if not isinstance(values, np.ndarray):
        raise SchemaError(f"Features must be a torch.Tensor or numpy.ndarray, not {type(values).__name__}.")
    if values.dtype.name not in DTYPES or values.dtype.name == "bfloat16":  # what ml_dtypes adds to NumPy, torch does not take
        raise SchemaError(_no_column(f"NumPy dtype {values.dtype}"))
    native = np.require(values, dtype=values.dtype.newbyteorder("="), requirements=["C"])
    return torch.from_numpy(native if native.flags.writeable else native.copy())


def sql_type(tensor: Tensor) -> str:
    """Return the DuckDB type of a column that holds ``tensor``: ``FLOAT[3][2]`` for float32 ``[N, 2, 3]``."""
    base, half = _SQL_TYPES.get(tensor.dtype), _HALVES.get(tensor.dtype)
    if base is None and half is None:
        raise SchemaError(_no_column(f"dtype {tensor.dtype}"))
    if tensor.dim() == 0:
        raise SchemaError("A tensor of no dimension has no rows; features need one row per node or edge.")
    for size in tensor.shape[1:]:
        if not 1 <= size <= _LONGEST:
            raise SchemaError(
                f"A tensor of shape {tuple(tensor.shape)} cannot be put into a column: DuckDB's arrays have 1 to "
                f"{_LONGEST:,} elements."
            )
    if half is not None:
        return packed_type(half, tuple(tensor.shape[1:]))
    assert base is not None
    return base + "".join(f"[{size}]" for size in reversed(tensor.shape[1:]))


def _no_column(what: str) -> str:
    return (
        f"There is no DuckDB column type for {what}; convert first, for example with .half() (floats of 8 bits) or by "
        "splitting complex numbers."
    )


def decode(array: pa.Array, column: Column, fill: float | None = None) -> tuple[Tensor, Tensor | None]:
    """Return the values as ``[len(array), *shape]``, and the rows that are or hold NULL (None: there are none, or filled).

    Shares the array's memory as `to_tensor` does; the values of rows that hold NULL are anything.

    Args:
        array: The values; of a packed column the column itself, or what its field holds.
        column: What they are; of rows of codes `as_kept` for the bytes themselves.
        fill: What stands for NULL.
    """
    rows = len(array)
    if column.packed and pa.types.is_struct(array.type):
        array = array.flatten()[0]  # NULL where the STRUCT is
    array, mask = _leaves(array)
    if column.packed:
        tensor = _bytes(array, column, rows)
        mask = None if mask is None else np.repeat(mask, tensor.numel() // len(mask))
        if column.packed == BY_ROW:
            return _rows_of_codes(tensor, mask, column, fill)
        tensor = tensor.view(dtype_of(column)).reshape(rows, *column.shape)
        mask = None if mask is None else mask[::2]
    else:
        tensor = _primitive(array, column).reshape(rows, *column.shape)
    if mask is None:
        return tensor, None
    is_null = torch.from_numpy(mask).reshape(rows, *column.shape)
    if fill is not None:
        # masked_fill knows no unsigned integers; `where` moves them in the right width.
        filled = torch.tensor(fill, dtype=tensor.dtype)
        carrier = _CARRIERS.get(tensor.dtype)
        if carrier is None:
            return torch.where(is_null, filled, tensor), None
        return torch.where(is_null, filled.view(carrier), tensor.view(carrier)).view(tensor.dtype), None
    return tensor, is_null.reshape(rows, -1).any(dim=1).nonzero().view(-1)


def _bytes(array: pa.Array, column: Column, rows: int) -> Tensor:
    """Return an Arrow array of words as the bytes of its rows, uint8 ``[rows, k]``; what is NULL holds anything."""
    width = SCALE + column.shape[0] if column.dtype == "float32" else column.shape[0] if column.packed == BY_ROW else 0
    width = width or 2 * math.prod(column.shape)
    if not pa.types.is_unsigned_integer(array.type) or len(array) * array.type.bit_width != 8 * rows * width:
        raise SchemaError(f"Column {column.name!r} arrived as {array.type}, which is not what {column.sql_type} is made of.")
    words = _primitive(array, replace(column, dtype=str(array.type)))
    return words.view(torch.uint8).reshape(rows, width)


def _rows_of_codes(
    kept: Tensor, mask: np.ndarray[Any, Any] | None, column: Column, fill: float | None
) -> tuple[Tensor, Tensor | None]:
    """Return rows of codes as their bytes or as floats, as `decode` does."""
    nulls = None if mask is None else torch.from_numpy(mask.reshape(len(kept), -1).any(axis=1)).nonzero().view(-1)
    if nulls is not None and fill is not None:
        constant = np.zeros(kept.shape[1], dtype=np.uint8)  # codes 0 and scale 0, above the value
        constant[-4:] = np.frombuffer(np.float32(fill).tobytes(), dtype=np.uint8)
        kept = kept.clone()
        kept[nulls] = torch.from_numpy(constant)
        nulls = None
    if column.dtype == "uint8":
        return kept, nulls
    return expanded(kept, column), nulls


def expanded(kept: Tensor, column: Column) -> Tensor:
    """Return what a column `as_kept` is served as: itself, or of rows of codes the floats, in fresh memory."""
    if column.packed != BY_ROW:
        return kept
    out = empty(len(kept), column)
    expand(kept, out)
    return out


def expand(kept: Tensor, out: Tensor) -> None:
    """Write the floats that rows of codes stand for, ``scale · code + least``, to ``out``.

    In this thread, by NumPy: 300 k rows of 128 take 18 ms. torch's kernel for these rows (``embedding_bag_byte_unpack``) takes
    8 ms of an idle machine, but its threads wait for each other at every call, and beside DuckDB's that was seconds.

    Args:
        kept: uint8 ``[n, k + 8]``: k codes, then scale and least value, float32.
        out: float32 ``[n, k]``.
    """
    given, floats = kept.numpy(), out.numpy()
    for start in range(0, len(given), _EXPANDED):
        rows, made = given[start : start + _EXPANDED], floats[start : start + _EXPANDED]
        last = np.ascontiguousarray(rows[:, -SCALE:]).view(np.float32)
        with np.errstate(all="ignore"):  # of rows that are NULL, which hold anything
            np.copyto(made, rows[:, :-SCALE])
            made *= last[:, :1]
            made += last[:, 1:]


def _leaves(array: pa.Array) -> tuple[pa.Array, np.ndarray[Any, Any] | None]:
    """Strip the fixed-size lists: the values, and which of them are NULL by themselves or by a list around them."""
    mask: np.ndarray[Any, Any] | None = None
    while True:
        if array.null_count:
            own = array.is_null().to_numpy(zero_copy_only=False)
            mask = own if mask is None else mask | own
        if not pa.types.is_fixed_size_list(array.type):
            return array, mask
        size = array.type.list_size
        # .values is the child of the whole, unsliced array; .flatten() would leave the NULL lists out
        array = array.values.slice(array.offset * size, len(array) * size)
        mask = None if mask is None else np.repeat(mask, size)


def _primitive(array: pa.Array, column: Column) -> Tensor:
    """Return a flat Arrow array as a tensor of the column's dtype; what is NULL holds anything."""
    kind, dtype = array.type, dtype_of(column)
    if len(array) == 0:
        return torch.empty(0, dtype=dtype)
    if array.null_count:
        array = pa.Array.from_buffers(kind, len(array), [None, array.buffers()[1]], offset=array.offset)
    if pa.types.is_boolean(kind):
        return torch.from_numpy(array.to_numpy(zero_copy_only=False))
    if pa.types.is_temporal(kind):
        array = array.view(pa.int32() if kind.bit_width == 32 else pa.int64())
    if not (pa.types.is_integer(array.type) or pa.types.is_floating(array.type)):
        raise SchemaError(f"Column {column.name!r} of type {column.sql_type} arrived as {kind}, which is no tensor.")
    tensor = from_dlpack(array)
    return tensor if tensor.dtype == dtype else tensor.to(dtype)
