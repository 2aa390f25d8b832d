"""What the columns of a task become: times, and targets as tensors. Which columns they are is said by the task."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import torch

from dbgnn.arrow import to_tensor
from dbgnn.errors import DataError, SchemaError
from dbgnn.loader.seeds.task_rows import SeedTimes
from dbgnn.schema import Column
from dbgnn.schema.types import element_type, tensor_type
from dbgnn.sql import quote
from dbgnn.tasks.task_query import TaskQuery

if TYPE_CHECKING:
    from torch import Tensor

#: Names of the columns that are read beside the keys, ``k0``, ``k1`` …
TIME, TARGET = "time", "target"

_INTEGERS = frozenset("TINYINT SMALLINT INTEGER BIGINT HUGEINT UTINYINT USMALLINT UINTEGER UBIGINT UHUGEINT BIGNUM".split())
_NUMBERS = frozenset("FLOAT DOUBLE DECIMAL BOOLEAN".split())

#: Points in time, and the function and the unit in which they are read.
_MOMENTS = dict.fromkeys(
    ["DATE", "TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP WITH TIME ZONE"], ("epoch_us", "us")
) | dict.fromkeys(["TIMESTAMP_NS", "TIMESTAMPTZ_NS"], ("epoch_ns", "ns"))


# -- times -------------------------------------------------------------------------------------------------


def time_read(query: TaskQuery, column: str) -> str:
    """Return the SQL of a column of times: an integer as BIGINT, a date or timestamp counted from 1970 (UTC).

    Raises:
        SchemaError: It is neither.
    """
    kind = query.columns[column]
    if kind in _INTEGERS:
        return f"{quote(column)}::BIGINT"
    if kind in _MOMENTS:
        return f"{_MOMENTS[kind][0]}({quote(column)})"
    raise SchemaError(
        f"time={column!r} of {query.what} is {kind}; times are integers, dates or timestamps. Cast it in the query: "
        f"{quote(column)}::TIMESTAMP AS {quote(column)}."
    )


def seed_times(query: TaskQuery, column: str, table: pa.Table) -> SeedTimes:
    """Return the times that were read.

    Raises:
        DataError: One is NULL or infinite.
    """
    unit = _MOMENTS[query.columns[column]][1] if query.columns[column] in _MOMENTS else None
    query.need_no_null(table, TIME, column, also=" or infinite" if unit else "")
    values = np.array(table.column(TIME).to_numpy(), dtype=np.int64)
    return values if unit is None else values.view(f"datetime64[{unit}]")


# -- targets -----------------------------------------------------------------------------------------------


def target_read(query: TaskQuery, column: str) -> str:
    """Return the SQL of a column of targets, in the type of its tensor: BIGINT or FLOAT, or arrays of them.

    Raises:
        SchemaError: It becomes no tensor.
    """
    tensor = _target(query, column)
    if query.columns[column].startswith("ENUM"):
        return f"enum_code({quote(column)})::BIGINT"
    return f"{quote(column)}::{tensor.sql_type}"


def seed_targets(query: TaskQuery, column: str, table: pa.Table) -> Tensor:
    """Return the targets that were read: float32 or int64 ``[n, …]``.

    Raises:
        DataError: One is or holds NULL, NaN or infinity.
    """
    query.need_no_null(table, TARGET, column)
    try:
        found = to_tensor(table.column(TARGET).combine_chunks(), _target(query, column))
    except DataError as error:  # within an array
        raise DataError(f"The targets of {query.what}: {error} Leave such rows out, or coalesce(…) the values.") from error
    if found.is_floating_point() and not bool((finite := torch.isfinite(found)).all()):
        rows = (~finite).reshape(len(found), -1).any(dim=1)
        raise DataError(
            f"Column {column!r} of {query.what} is NaN or infinite in {int(rows.sum()):,} of {len(rows):,} rows; the first is "
            f"row {int(rows.int().argmax())} of the query, counted from 0. Leave them out: "
            f"SELECT * FROM (…) WHERE isfinite({quote(column)})."
        )
    return found.clone()  # memory of its own


def _target(query: TaskQuery, column: str) -> Column:
    """Return what a column of targets is read as."""
    sql_type = query.columns[column]
    kind, sizes = element_type(sql_type)
    dims = "".join(f"[{size}]" for size in sizes)
    if "" not in sizes and (kind in _INTEGERS or (kind == "ENUM" and not sizes)):
        return tensor_type(column, f"BIGINT{dims}")
    if "" not in sizes and kind in _NUMBERS:
        return tensor_type(column, f"FLOAT{dims}")
    reason = tensor_type(column, sql_type).reason or "a target is a number, a class or a truth value"
    raise SchemaError(f"target={column!r} of {query.what} is {sql_type}, which is no target: {reason}. Cast it in the query.")
