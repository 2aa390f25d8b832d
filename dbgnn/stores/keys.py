"""Ids ⇄ the user's own keys, and ids by a SQL condition."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from dbgnn.errors import RequestError, SqlError
from dbgnn.sql import check_filter, first_line
from dbgnn.stores.request import Rows
from dbgnn.stores.select import REQUEST, request_table, select_ids, select_keys, select_where

if TYPE_CHECKING:
    from dbgnn.database import Database
    from dbgnn.stores.binding import Source

#: Key types whose keys come back as a NumPy array; those of all others as a list.
_ARRAYS = frozenset("BOOLEAN TINYINT SMALLINT INTEGER BIGINT UTINYINT USMALLINT UINTEGER UBIGINT FLOAT DOUBLE".split())
_INTEGERS = _ARRAYS - {"BOOLEAN", "FLOAT", "DOUBLE"}

#: What may go wrong while a filter runs without being its fault.
_NOT_OF_THE_FILTER = (
    duckdb.OutOfMemoryException,
    duckdb.IOException,
    duckdb.ConnectionException,
    duckdb.TransactionException,
    duckdb.InterruptException,
)


def keys_of(db: Database, source: Source, rows: Rows) -> Any:
    """Return the keys of ``rows``, in their order, duplicates kept.

    Returns:
        For a key of one column of numbers a NumPy array ``[n]``, of another type a list of Python values (``str``,
        ``uuid.UUID``, ``datetime.date`` …); for a composite key, and for edges, a list of tuples.
    """
    table = db.arrow(select_keys(source), **{REQUEST: request_table(rows.array())})
    kinds = [source.columns[k].sql_type for k in source.keys]
    if len(kinds) == 1 and kinds[0] in _ARRAYS:
        return table.column(0).to_numpy()
    columns = [values_of(column, kind) for column, kind in zip(table.columns, kinds, strict=True)]
    return columns[0] if len(columns) == 1 else list(zip(*columns, strict=True))


def values_of(column: pa.ChunkedArray, kind: str) -> list[Any]:
    """Return a key column of the SQL type ``kind`` as Python values."""
    values: list[Any] = column.to_pylist()
    if kind == "UUID":
        return [v if v is None or isinstance(v, uuid.UUID) else uuid.UUID(v) for v in values]
    return values


def ids_of(db: Database, source: Source, keys: Any) -> Tensor:
    """Return the ids of ``keys`` as an int64 tensor ``[n]``, in their order, duplicates kept.

    Args:
        db: The database.
        source: A node type.
        keys: For a key of one column a list, array, tensor or Arrow array; for a composite one a list of tuples or an
            Arrow table with one column per key column, in the key's order.

    Raises:
        RequestError: A key does not exist, or is not of the key's type.
    """
    kinds = [source.columns[k].sql_type for k in source.keys]
    columns = _key_arrays(source, keys)
    for name, kind, column in zip(source.keys, kinds, columns, strict=True):
        # a cast would round 1.5 to 2 and find it
        if kind in _INTEGERS and pa.types.is_floating(column.type):
            raise RequestError(f"Keys of {source.label!r} are {kind} (column {name!r}), not {column.type}; convert them.")
    request = pa.table({"pos": np.arange(len(columns[0])), **{f"k{i}": c for i, c in enumerate(columns)}})
    try:
        found = db.arrow(select_ids(source, kinds), **{REQUEST: request})
    except (duckdb.ConversionException, duckdb.BinderException) as error:
        raise RequestError(
            f"The keys given for {source.label!r} are not of the key's type ({', '.join(kinds)}): {error}"
        ) from error
    ids = found.column("id")
    if ids.null_count:
        missing = [c[found.column("pos")[i].as_py()].as_py() for c in columns for i in [_first_null(ids)]]
        raise RequestError(
            f"{ids.null_count:,} of the {len(ids):,} keys do not exist in {source.label!r} (table {str(source.table)!r}, key "
            f"{', '.join(source.keys)}); the first is {missing[0] if len(missing) == 1 else tuple(missing)!r}."
        )
    if len(ids) != len(request):
        raise RequestError(f"Some keys of {source.label!r} occur in several rows of table {str(source.table)!r}.")
    return torch.from_numpy(np.array(ids.to_numpy(), dtype=np.int64))


def _first_null(ids: pa.ChunkedArray) -> int:
    return int(np.flatnonzero(ids.is_null().to_numpy())[0])


def _key_arrays(source: Source, keys: Any) -> list[pa.ChunkedArray]:
    """Return one Arrow column per key column."""
    width = len(source.keys)
    if isinstance(keys, pa.Table):
        columns = keys.columns
    elif isinstance(keys, (pa.Array, pa.ChunkedArray)):
        columns = [keys]
    else:
        values = keys.cpu().numpy() if isinstance(keys, Tensor) else keys
        split = [values] if width == 1 else _transposed(source, values)
        columns = [_array(source, part) for part in split]
    if len(columns) != width:
        raise RequestError(f"Keys of {source.label!r} have {width} columns ({', '.join(source.keys)}), not {len(columns)}.")
    return [c if isinstance(c, pa.ChunkedArray) else pa.chunked_array([c]) for c in columns]


def _transposed(source: Source, values: Any) -> list[Any]:
    rows = [tuple(row) if isinstance(row, (tuple, list, np.ndarray)) else (row,) for row in values]
    if wrong := [row for row in rows if len(row) != len(source.keys)]:
        raise RequestError(
            f"A key of {source.label!r} is a tuple of {len(source.keys)} ({', '.join(source.keys)}); found {wrong[0]!r}."
        )
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in source.keys]


def _array(source: Source, values: Any) -> pa.Array:
    if not isinstance(values, np.ndarray):
        values = [str(v) if isinstance(v, uuid.UUID) else v for v in values]
    try:
        array = pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
        raise RequestError(f"The keys given for {source.label!r} are not of one type: {error}") from error
    return array.cast(pa.string()) if pa.types.is_null(array.type) else array


def ids_where(db: Database, source: Source, condition: str) -> Tensor:
    """Return the ids, ascending, of the rows for which a SQL condition over the table's columns is true.

    Raises:
        SqlError: The condition is not one harmless expression of type BOOLEAN, names a column that does not exist, or
            fails for a row.
    """
    with db.relations() as cursor:
        name = (source.table.schema, source.table.name)
        checked = check_filter(cursor, condition, where=repr(source.label), table=name, columns=source.columns)
    try:
        described = db.arrow(f"DESCRIBE SELECT {checked} AS condition FROM {source.table.sql}")
        kind = described.column("column_type")[0].as_py().strip('"')
        if kind != "BOOLEAN":
            raise SqlError(
                f"The filter for {source.label!r} must be a condition, of type BOOLEAN, but {condition!r} is of type {kind}; "
                "compare it with something."
            )
        found = db.arrow(select_where(source, checked))
    except _NOT_OF_THE_FILTER:
        raise
    except duckdb.Error as error:
        raise SqlError(
            f"The filter for {source.label!r} does not fit table {str(source.table)!r}: {condition!r}: {first_line(error)}. "
            f"Its columns: {', '.join(f'{c.name} {c.sql_type}' for c in source.columns.values())}."
        ) from error
    return torch.from_numpy(np.array(found.column(0).to_numpy(), dtype=np.int64))
