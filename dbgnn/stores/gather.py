"""Reading rows as tensors: one statement for any number of columns, streamed and scattered into tensors.

A streamed result has no order, so every row carries its position. Chunks are small enough to be scattered while they
are still in the cache.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import duckdb
import numpy as np
import pyarrow as pa
import torch
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from dbgnn import schema
from dbgnn.arrow import as_kept, empty, expanded, scatter_
from dbgnn.clock import Clock
from dbgnn.errors import DataError, StaleIndexError
from dbgnn.schema import Column
from dbgnn.stores.key_lookup import keys_of
from dbgnn.stores.request import Ids64, Rows
from dbgnn.stores.select import REQUEST, passes_for, request_table, select_rows
from dbgnn.topology import damaged, ids_within

if TYPE_CHECKING:
    from dbgnn.open_database import OpenDatabase
    from dbgnn.stores.source import Source

#: Bytes of feature values per chunk of the stream, and the rows it may have.
_CHUNK_BYTES, _CHUNK_ROWS = 4 << 20, (2048, 122_880)


def gather(db: OpenDatabase, source: Source, columns: Sequence[Column], rows: Rows, fills: Mapping[str, float]) -> list[Tensor]:
    """Return, per column, the values of ``rows`` as a fresh tensor ``[len(rows), *column.shape]``, in their order.

    Args:
        db: The database.
        source: The table and its ids.
        columns: What to read; each can become a tensor.
        rows: Which rows.
        fills: What stands for NULL, by column name.

    Raises:
        DataError: A value is NULL and its column has no fill value.
        StaleIndexError: Rows went missing while they were read.
    """
    outs = [empty(len(rows), as_kept(c)) for c in columns]
    nulls = gather_into(db, source, columns, rows, outs, fills)
    raise_nulls(db, source, nulls, rows.array)
    return [expanded(out, column) for out, column in zip(outs, columns, strict=True)]


def gather_into(
    db: OpenDatabase,
    source: Source,
    columns: Sequence[Column],
    rows: Rows,
    outs: Sequence[Tensor],
    fills: Mapping[str, float],
    *,
    pos: Ids64 | None = None,
    clock: Clock | None = None,
    kinds: Sequence[pa.DataType] | None = None,
) -> dict[str, Tensor]:
    """Write the values of ``rows`` into ``outs``, one tensor per column.

    Args:
        db: The database.
        source: The table and its ids.
        columns: What to read; each can become a tensor.
        rows: Which rows.
        outs: Per column `as_kept`, a contiguous tensor ``[n, *column.shape]`` with room for every position.
        fills: What stands for NULL, by column name.
        pos: int64 ``[len(rows)]``, distinct positions in ``outs``; None: 0, 1, …
        clock: Counts the time of DuckDB as ``features``, that of writing as ``scatter``.
        kinds: The Arrow types that the columns have to arrive in; None: any.

    Returns:
        By column name, the positions whose value is or holds NULL without a fill value.

    Raises:
        StaleIndexError: Rows went missing while they were read.
    """
    if not len(rows) or not columns:
        return {}
    tables: dict[str, list[int]] = {}  # a statement for each: the type's own table, and those beside it
    for i, column in enumerate(columns):
        tables.setdefault("" if column.beside is None else column.beside.table, []).append(i)
    if len(tables) > 1:
        found_null: dict[str, Tensor] = {}
        for places in tables.values():
            of, to = [columns[i] for i in places], [outs[i] for i in places]
            of_kinds = None if kinds is None else [kinds[i] for i in places]
            found_null |= gather_into(db, source, of, rows, to, fills, pos=pos, clock=clock, kinds=of_kinds)
        return found_null
    nulls: dict[str, list[Tensor]] = {}
    clock = Clock() if clock is None else clock
    start = time.perf_counter()
    written = found = 0.0
    span = rows.ids if isinstance(rows.ids, range) and pos is None else None
    row_bytes = sum(out[:1].nbytes for out in outs)
    chunk = max(_CHUNK_ROWS[0], min(_CHUNK_ROWS[1], _CHUNK_BYTES // max(row_bytes, 1)))
    lent = {} if span is not None else {REQUEST: request_table(rows.array(), pos)}
    passes = passes_for(source.num_rows, columns, len(rows))
    with db.relations(**lent) as cursor, _stream_errors():
        reader = cursor.sql(select_rows(source, columns, span, passes=passes)).to_arrow_reader(chunk)
        changed = _changed(columns, reader.schema.types[1:], kinds)
        with reader:
            for batch in reader if changed is None else ():
                begun = time.perf_counter()
                there = _positions(batch.column(0), source, None if span is None else len(rows))
                found += len(there)
                for i, (column, out) in enumerate(zip(columns, outs, strict=True), 1):
                    bad = scatter_(out, there, batch.column(i), column, fill=fills.get(column.name))
                    if bad is not None:
                        nulls.setdefault(column.name, []).append(bad)
                written += time.perf_counter() - begun
    if changed is not None:
        now = schema.columns(db.cursor(), source.table).get(changed.name, "another")
        raise StaleIndexError(
            f"Column {changed.name!r} of table {str(source.table)!r} was {changed.sql_type} when this epoch began and is {now} "
            "now. Start a new epoch."
        )
    clock.add("scatter", written)
    clock.add("features", time.perf_counter() - start - written)
    if found != len(rows):
        raise StaleIndexError(
            f"Table {str(source.table)!r} changed while {len(rows):,} rows were read: {int(found):,} were there. Try again."
        )
    return {name: torch.cat(parts) for name, parts in nulls.items()}


def _changed(columns: Sequence[Column], found: Sequence[pa.DataType], kinds: Sequence[pa.DataType] | None) -> Column | None:
    """Return the first column that arrives in another type than it has to."""
    wanted = found if kinds is None else kinds
    return next((c for c, now, before in zip(columns, found, wanted, strict=True) if now != before), None)


@contextmanager
def _stream_errors() -> Iterator[None]:
    """Turn what Arrow makes of an error in the middle of a stream into what DuckDB raises before it."""
    try:
        yield
    except OSError as error:
        text = str(error)
        kind = duckdb.OutOfMemoryException if "Out of Memory" in text else duckdb.IOException
        raise (duckdb.InterruptException if "INTERRUPT" in text.upper() else kind)(text) from error


def rowids(db: OpenDatabase, source: Source, ids: Ids64) -> Ids64:
    """Return the rowids of rows: int64 ``[len(ids)]``, in their order."""
    if source.map_table is None:
        return ids
    found = db.arrow(
        f"SELECT r.pos, m.rid FROM {REQUEST} AS r JOIN {source.map_table} AS m ON m.id = r.id",
        **{REQUEST: request_table(ids)},
    )
    if len(found) != len(ids) or found.column(1).null_count:
        raise damaged(source.index, f"{source.map_table} lacks an id, or has one twice")
    out = np.empty(len(ids), dtype=np.int64)
    out[found.column(0).to_numpy()] = found.column(1).to_numpy()
    return out


def raise_nulls(db: OpenDatabase, source: Source, nulls: Mapping[str, Tensor], ids: Callable[[], Ids64]) -> None:
    """Raise a `DataError` that names the first of the rows whose values are NULL, if there are any.

    Args:
        db: The database.
        source: The table and its ids.
        nulls: By column name, positions, as `gather_into` returns them.
        ids: Returns the id of the row at every position.
    """
    if not nulls:
        return
    name, positions = next(iter(nulls.items()))
    asked = ids()
    first = asked[int(positions.min())]
    (key,) = keys_of(db, source, Rows(np.array([first])))
    key = key.item() if isinstance(key, np.generic) else key
    names = ", ".join(source.keys)
    raise DataError(
        f"Column {name!r} of table {str(source.table)!r} is NULL, or holds NULL, in {len(positions):,} of the "
        f"{len(asked):,} rows "
        f"asked for; the first has the key ({names}) = {key!r} (id {first}). Fill the column with SQL, or declare "
        "what stands for "
        f"NULL: feature_store.fill({source.label!r}, {name!r}, 0)."
    )


def _positions(array: pa.Array, source: Source, end: int | None) -> Tensor:
    """Return positions as a tensor; those that come from ids of the index only if they are of 0 … end - 1."""
    if end is not None:
        ids_within(array, end, "position", source.index)
    return from_dlpack(array)
