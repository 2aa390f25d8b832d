"""Ids ⇄ the user's own keys, and ids by a SQL condition."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from dbgnn.arrow import is_number, key_values
from dbgnn.errors import DataError, RequestError, SqlError
from dbgnn.parse_tree import short
from dbgnn.schema import Column
from dbgnn.schema.key_values import ARRAYS, given_keys, python_values
from dbgnn.schema.keys import key_types, kind_of
from dbgnn.sql import check_filter, first_line
from dbgnn.stores.request import Rows
from dbgnn.stores.select import REQUEST, request_table, select_ids, select_keys, select_where
from dbgnn.topology import damaged

if TYPE_CHECKING:
    from dbgnn.open_database import OpenDatabase
    from dbgnn.stores.source import Source

#: What may go wrong while a filter runs without being its fault.
_NOT_OF_THE_FILTER = (
    duckdb.OutOfMemoryException,
    duckdb.IOException,
    duckdb.ConnectionException,
    duckdb.TransactionException,
    duckdb.InterruptException,
)


def keys_of(db: OpenDatabase, source: Source, rows: Rows) -> Any:
    """Return the keys of ``rows``, in their order, duplicates kept.

    Returns:
        For a key of one column of numbers, or TIMESTAMP_NS, a NumPy array ``[n]`` of one's own, of another type a list of
        Python values (``str``, ``uuid.UUID``, ``datetime.date`` …); for a composite key, and for edges, a list of tuples.
    """
    types = _key_types(db, source)
    table = _by_id(db, source, source.keys, types, rows)
    if len(types) == 1 and kind_of(types[0]) in ARRAYS:
        return np.array(table.column(0).to_numpy())
    columns = [python_values(column, kind) for column, kind in zip(table.columns, types, strict=True)]
    return columns[0] if len(columns) == 1 else list(zip(*columns, strict=True))


def columns_of(db: OpenDatabase, source: Source, columns: Sequence[Column], rows: Rows) -> list[Any]:
    """Return columns of ``rows`` as they are, in their order: tensors of numbers, and lists of Python values.

    Raises:
        DataError: A number is NULL.
    """
    table = _by_id(db, source, [c.name for c in columns], [c.sql_type for c in columns], rows)
    for column, values in zip(columns, table.columns, strict=True):
        if values.null_count and is_number(column):
            raise DataError(
                f"Column {column.name!r} of table {str(source.table)!r} is NULL in {values.null_count:,} of the {len(rows):,} "
                "rows asked for, and keys= makes a tensor of its numbers. Fill it with SQL, or name another column."
            )
    return [key_values(values, column) for column, values in zip(columns, table.columns, strict=True)]


def _by_id(db: OpenDatabase, source: Source, names: Sequence[str], types: Sequence[str], rows: Rows) -> pa.Table:
    table = db.arrow(select_keys(source, names, types), **{REQUEST: request_table(rows.array())})
    if len(table) != len(rows):
        raise damaged(source.index, f"of {len(rows):,} ids, {len(table):,} lead to a row")
    return table


def _key_types(db: OpenDatabase, source: Source) -> tuple[str, ...]:
    types = {name: column.sql_type for name, column in source.columns.items()}
    with db.relations() as cursor:
        found = dict(zip(dict.fromkeys(source.keys), key_types(cursor, source.table.sql, types, source.keys), strict=True))
    return tuple(found[name] for name in source.keys)


def ids_of(db: OpenDatabase, source: Source, keys: Any) -> Tensor:
    """Return the ids of ``keys`` as an int64 tensor ``[n]``, in their order, duplicates kept.

    Args:
        db: The database.
        source: A node type.
        keys: For a key of one column a list, array, tensor or Arrow array; for a composite one a list of tuples or an
            Arrow table with one column per key column, in the key's order.

    Raises:
        RequestError: A key does not exist, or is not of the key's type.
    """
    types = _key_types(db, source)
    columns = _key_arrays(source, types, keys)
    request = pa.table({"pos": np.arange(len(columns[0])), **{f"k{i}": c for i, c in enumerate(columns)}})
    try:
        found = db.arrow(select_ids(source, types), **{REQUEST: request})
    except (duckdb.ConversionException, duckdb.BinderException, duckdb.InvalidInputException) as error:
        raise RequestError(
            f"The keys given for {source.label!r} are not of the key's type ({', '.join(types)}): {first_line(error)}"
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


def _key_arrays(source: Source, types: Sequence[str], keys: Any) -> list[pa.ChunkedArray]:
    """Return one Arrow column per key column."""
    width = len(source.keys)
    if isinstance(keys, pa.Table):
        columns = keys.columns
    elif isinstance(keys, (pa.Array, pa.ChunkedArray)):
        columns = [keys]
    else:
        values = keys.cpu().numpy() if isinstance(keys, Tensor) else keys
        columns = [values] if width == 1 else _transposed(source, values)
    if len(columns) != width:
        raise RequestError(f"Keys of {source.label!r} have {width} columns ({', '.join(source.keys)}), not {len(columns)}.")
    arrays = [
        given_keys(column, kind, source.label, name) for name, kind, column in zip(source.keys, types, columns, strict=True)
    ]
    return [array if isinstance(array, pa.ChunkedArray) else pa.chunked_array([array]) for array in arrays]


def _transposed(source: Source, values: Any) -> list[Any]:
    rows = [tuple(row) if isinstance(row, (tuple, list, np.ndarray)) else (row,) for row in values]
    if wrong := [row for row in rows if len(row) != len(source.keys)]:
        raise RequestError(
            f"A key of {source.label!r} is a tuple of {len(source.keys)} ({', '.join(source.keys)}); found {wrong[0]!r}."
        )
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in source.keys]


def ids_where(db: OpenDatabase, source: Source, condition: str) -> Tensor:
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
                f"The filter for {source.label!r} must be a condition, of type BOOLEAN, but {short(condition)!r} is of type "
                f"{kind}; compare it with something."
            )
        found = db.arrow(select_where(source, checked))
    except _NOT_OF_THE_FILTER:
        raise
    except duckdb.Error as error:
        raise SqlError(
            f"The filter for {source.label!r} does not fit table {str(source.table)!r}: {short(condition)!r}: "
            f"{first_line(error)}. Its columns: {', '.join(f'{c.name} {c.sql_type}' for c in source.columns.values())}."
        ) from error
    return torch.from_numpy(np.array(found.column(0).to_numpy(), dtype=np.int64))
