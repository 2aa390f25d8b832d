"""Arrow arrays as encoders take them: plain values, where they are NULL, and what stands in for it."""

from __future__ import annotations

import datetime as dt
import math
from decimal import Decimal, InvalidOperation
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from dbgnn.arrow import to_tensor
from dbgnn.errors import DataError, SchemaError
from dbgnn.schema import Column
from dbgnn.schema.remedy import cast_to

#: One flag a row.
Flags: TypeAlias = np.ndarray[Any, np.dtype[np.bool_]]


def plain(array: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Return an array as one piece, without dictionaries (DuckDB sends ENUMs so) and with times in UTC without a zone."""
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    if pa.types.is_dictionary(array.type):
        return array.dictionary_decode()
    if is_list(array.type) and pa.types.is_dictionary(array.type.value_type):
        return array.cast(pa.list_(array.type.value_type.value_type))
    if pa.types.is_timestamp(array.type) and array.type.tz is not None:
        return array.cast(pa.timestamp(array.type.unit))
    return array


def is_list(kind: pa.DataType) -> bool:
    """Whether the type is a list, of any length or of one."""
    found: bool = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return found


def is_text(kind: pa.DataType) -> bool:
    """Whether the type is one of Arrow's types of text."""
    found: bool = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    return found


def null_rows(array: pa.Array) -> Flags | None:
    """Return which rows are NULL or hold a NULL element; None: no row does."""
    rows: Flags | None = np.array(array.is_null()) if array.null_count else None
    if not is_list(array.type):
        return rows
    held = np.zeros(len(array), dtype=bool) if rows is None else rows
    if pa.types.is_fixed_size_list(array.type):
        if (inner := null_rows(_elements(array))) is not None:
            held = held | inner.reshape(len(array), -1).any(axis=1)
    elif (inner := null_rows(array.flatten())) is not None:
        held[pc.list_parent_indices(array).to_numpy()[inner]] = True
    return held if held.any() else None


def fill_nulls(array: pa.Array, fill: Any, *, outer: Flags | None = None) -> pa.Array:
    """Return an array with ``fill`` in the place of every NULL; of a list that is NULL, one with this element.

    Args:
        array: The array.
        fill: The value; None: 0, false or "".
        outer: Which rows are NULL because the list around them is.
    """
    gone = outer
    if array.null_count:
        own = array.is_null().to_numpy(zero_copy_only=False)
        gone = own if outer is None else outer | own
    if pa.types.is_fixed_size_list(array.type):
        size = array.type.list_size
        inner = None if gone is None else np.repeat(gone, size)
        return pa.FixedSizeListArray.from_arrays(fill_nulls(_elements(array), fill, outer=inner), size)
    if is_list(array.type):
        return _fill_lists(array, fill, gone)
    return array if gone is None else pc.if_else(pa.array(gone), scalar(fill, array.type), array)


def scalar(fill: Any, kind: pa.DataType) -> pa.Scalar:
    """Return the value that stands for NULL as one of an Arrow type; dates and times may be given as ISO text.

    Raises:
        SchemaError: It is no value of the type.
    """
    if fill is None:
        fill = "" if is_text(kind) else 0
    try:
        if pa.types.is_decimal(kind):
            return pa.scalar(Decimal(str(fill)), kind)
        given = pa.scalar(fill)
        return given.cast(pa.int32()).cast(kind) if pa.types.is_date32(kind) and not is_text(given.type) else given.cast(kind)
    except (pa.ArrowException, InvalidOperation, OverflowError) as error:
        raise SchemaError(f"fill={fill!r} cannot stand for NULL in a column that arrives as {kind}: {error}") from error


def numbers(array: pa.Array, name: str) -> Tensor:
    """Return an array without NULL as a tensor of its own dtype, ``[n]`` or ``[n, *shape]``; times as int64 in their unit.

    Raises:
        SchemaError: It holds no numbers, truth values, dates or times.
    """
    if pa.types.is_decimal(array.type):
        array = _decimals(array, name)
    kind, shape = array.type, []
    while pa.types.is_fixed_size_list(kind):
        shape.append(kind.list_size)
        kind = kind.value_type
    dtype = "bool" if pa.types.is_boolean(kind) else "int64" if pa.types.is_temporal(kind) else str(kind)
    dtype = {"float": "float32", "double": "float64"}.get(dtype, dtype)
    if not (pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind) or is_time(kind)):
        raise SchemaError(
            f"Column {name!r} arrives as {array.type}, which is no number. Text and ENUMs take OneHot, Ordinal, Hash or "
            "Text, lists MultiHot."
        )
    return to_tensor(array, Column(name, str(array.type), dtype, tuple(shape)))


def _decimals(array: pa.Array, name: str) -> pa.Array:
    """Return decimals as float64: fractions are rounded, as ever; whole numbers have to be held exactly.

    Raises:
        DataError: A whole number is beyond 2**53 and not held exactly.
    """
    floats = array.cast(pa.float64())
    far = pc.greater_equal(pc.abs(floats), 2.0**53)
    if array.type.scale <= 0 and pc.any(far).as_py():
        whole, given = floats.filter(far), array.filter(far)
        lost = given.filter(pc.not_equal(whole.cast(pa.decimal256(76, 0)), given.cast(pa.decimal256(76, 0))))
        if len(lost):
            raise DataError(
                f"Column {name!r} holds {lost[0].as_py()}, which float64 cannot hold. Use Normalize({name!r}), or for "
                f"identifiers Hash or Ordinal of its text. {cast_to(name, 'VARCHAR')}."
            )
    return floats


def is_time(kind: pa.DataType) -> bool:
    """Whether the type is a date or a point in time."""
    found: bool = pa.types.is_date32(kind) or pa.types.is_timestamp(kind)
    return found


def as_floats(values: Tensor, dtype: str, name: str) -> np.ndarray[Any, Any]:
    """Return numbers as floats; those that come from decimal fractions are rounded, as ever.

    Args:
        values: Of any dtype.
        dtype: ``"float32"`` or ``"float64"``.
        name: The column, for messages.

    Raises:
        DataError: A whole number is not held exactly, or a finite one becomes infinite.
    """
    given = (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    with np.errstate(over="ignore"):
        out = given.astype(dtype)
    if given.dtype.kind == "f":
        lost = np.isinf(out) & ~np.isinf(given) if out.itemsize < given.itemsize else None
    else:
        lost = None if given.dtype.itemsize < 4 else ~_exact(given, np.finfo(dtype).nmant + 1)
    if lost is not None and lost.any():
        remedies = "Use dtype='float64', " if dtype == "float32" else "Use "
        others = int(lost.sum()) - 1
        more = f" (and {others:,} more of {given.size:,} values)" if others else ""
        raise DataError(
            f"Column {name!r} holds {given[lost][0].item()!r}{more}, which {dtype} cannot hold. {remedies}Normalize({name!r}), "
            "for times Datetime, or for identifiers Hash or Ordinal."
        )
    return out


def text_of(value: Any) -> Any:
    """Return a value as JSON can hold it, NumPy's as Python's: dates and times (in UTC) as ISO text, decimals, NaN and
    infinity as text, anything else as it is.
    """
    if isinstance(value, np.generic):
        value = str(value) if isinstance(value, np.datetime64) else value.item()
    if isinstance(value, Decimal) or (isinstance(value, float) and not math.isfinite(value)):
        return str(value)
    if isinstance(value, dt.datetime) and value.tzinfo is not None:
        value = value.astimezone(dt.UTC).replace(tzinfo=None)  # as `plain` has them
    return value.isoformat() if isinstance(value, dt.date) else value


def _exact(whole: np.ndarray[Any, Any], bits: int) -> Flags:
    """Return which integers need no more than this many significant bits."""
    if whole.dtype.kind == "u":
        size = whole.astype(np.uint64)
    else:
        wide = whole.astype(np.int64)
        size = np.where(wide < 0, ~wide.view(np.uint64) + np.uint64(1), wide.view(np.uint64))
    lowest = size & (~size + np.uint64(1))
    exact: Flags = size // np.maximum(lowest, np.uint64(1)) < np.uint64(1 << bits)
    return exact


def _elements(array: pa.FixedSizeListArray) -> pa.Array:
    """Return the elements of all lists, those of NULL lists too, which hold anything."""
    size = array.type.list_size
    return array.values.slice(array.offset * size, len(array) * size)


def _fill_lists(array: pa.Array, fill: Any, gone: Flags | None) -> pa.Array:
    elements = fill_nulls(array.flatten(), fill)  # without those of NULL lists
    if gone is None:
        gone = np.zeros(len(array), dtype=bool)
    lengths = array.value_lengths().fill_null(0).to_numpy()
    where = (np.cumsum(lengths) - lengths)[gone]
    order = np.insert(np.arange(len(elements)), where, len(elements))
    elements = pa.concat_arrays([elements, pa.array([scalar(fill, elements.type).as_py()], elements.type)])
    offsets = np.concatenate([[0], np.cumsum(np.where(gone, 1, lengths))]).astype(np.int32)
    return pa.ListArray.from_arrays(offsets, elements.take(pa.array(order)))
