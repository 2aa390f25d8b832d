"""Arrow ⇄ torch: the only place where bytes change hands. Knows neither SQL statements nor stores.

Nothing is copied where the layout allows it: the values of a column become a tensor through DLPack, and a
tensor becomes a column around the tensor's own memory.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from dbgnn.errors import DataError, SchemaError
from dbgnn.schema import Column

#: The torch dtype of each name in `Column.dtype`.
DTYPES: dict[str, torch.dtype] = {
    name: getattr(torch, name) for name in "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float32 float64".split()
}

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

_ARROW_TYPES = {dtype: pa.from_numpy_dtype(name) for name, dtype in DTYPES.items()}

#: The longest array DuckDB takes.
_LONGEST = 100_000


def dtype_of(column: Column) -> torch.dtype:
    """Return the dtype of the tensor that a column becomes."""
    return DTYPES[column.dtype]


def empty(rows: int, column: Column) -> Tensor:
    """Return a fresh tensor ``[rows, *column.shape]``, not initialised.

    Made by NumPy, which asks Linux for huge pages for it; touching fresh memory is a good part of a fetch: 300 k rows of
    FLOAT[128] take 110 ms into memory of NumPy's, 155 ms into torch's.
    """
    return torch.from_numpy(np.empty((rows, *column.shape), dtype=column.dtype))


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


def scatter_(out: Tensor, pos: Tensor, array: pa.Array, column: Column, *, fill: float | None = None) -> Tensor | None:
    """Write the values of an Arrow column to the rows ``pos`` of ``out``.

    Args:
        out: ``[N, *column.shape]``, contiguous, written to.
        pos: int64 ``[len(array)]``, positions in ``out``.
        array: The values.
        column: What they are.
        fill: What stands for NULL.

    Returns:
        None, or the positions in ``out`` whose value is or holds NULL without a ``fill``.
    """
    values, nulls = decode(array, column, fill)
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
    array = rows.numpy().reshape(len(rows), math.prod(rows.shape[1:]))
    return array.view(np.dtype((np.void, array.shape[1] * array.itemsize))).reshape(-1)


def from_tensor(values: Tensor | np.ndarray[Any, Any]) -> pa.Array:
    """Return a tensor as an Arrow column: ``[N]`` as its values, ``[N, *shape]`` as nested fixed-size lists.

    Shares the memory of a contiguous tensor on the CPU (booleans are packed to bits).

    Raises:
        SchemaError: A dtype that no DuckDB column has (float16, bfloat16, complex …), no rows dimension, or an
            array dimension of 0 or of more than 100,000.
    """
    tensor = as_tensor(values)
    sql_type(tensor)
    flat = tensor.reshape(-1)
    if tensor.dtype == torch.bool:
        array = pa.array(flat.numpy())
    else:
        array = pa.Array.from_buffers(_ARROW_TYPES[tensor.dtype], flat.numel(), [None, pa.py_buffer(flat.numpy())])
    for size in reversed(tensor.shape[1:]):
        array = pa.FixedSizeListArray.from_arrays(array, size)
    return array


def as_tensor(values: Tensor | np.ndarray[Any, Any]) -> Tensor:
    """Return features given as tensor or array as a detached, dense, contiguous tensor on the CPU."""
    if isinstance(values, Tensor):
        if values.layout is not torch.strided:
            raise SchemaError(f"A tensor of layout {values.layout} cannot be put into a column; use its .to_dense().")
        return values.detach().cpu().contiguous().resolve_neg().resolve_conj()
    if not isinstance(values, np.ndarray):
        raise SchemaError(f"Features must be a torch.Tensor or numpy.ndarray, not {type(values).__name__}.")
    if values.dtype.name not in DTYPES:
        raise SchemaError(_no_column(f"NumPy dtype {values.dtype}"))
    native = np.require(values, dtype=values.dtype.newbyteorder("="), requirements=["C"])
    return torch.from_numpy(native if native.flags.writeable else native.copy())


def sql_type(tensor: Tensor) -> str:
    """Return the DuckDB type of a column that holds ``tensor``: ``FLOAT[3][2]`` for float32 ``[N, 2, 3]``."""
    base = _SQL_TYPES.get(tensor.dtype)
    if base is None:
        raise SchemaError(_no_column(f"dtype {tensor.dtype}"))
    if tensor.dim() == 0:
        raise SchemaError("A tensor of no dimension has no rows; features need one row per node or edge.")
    for size in tensor.shape[1:]:
        if not 1 <= size <= _LONGEST:
            raise SchemaError(
                f"A tensor of shape {tuple(tensor.shape)} cannot be put into a column: DuckDB's arrays have 1 to "
                f"{_LONGEST:,} elements."
            )
    return base + "".join(f"[{size}]" for size in reversed(tensor.shape[1:]))


def _no_column(what: str) -> str:
    return (
        f"There is no DuckDB column type for {what}; convert first, for example with .float() (half precision) or by "
        "splitting complex numbers."
    )


def decode(array: pa.Array, column: Column, fill: float | None = None) -> tuple[Tensor, Tensor | None]:
    """Return the values as ``[len(array), *shape]``, and the rows that are or hold NULL (None: there are none, or filled).

    Shares the array's memory as `to_tensor` does; the values of rows that hold NULL are anything.
    """
    rows = len(array)
    array, mask = _leaves(array)
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
