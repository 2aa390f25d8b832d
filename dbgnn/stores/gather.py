"""Reading rows as tensors: one statement for any number of columns, streamed and scattered into fresh tensors.

A streamed result has no order, so every row carries its position. Chunks are small enough to be scattered while they
are still in the cache.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from dbgnn.arrow import empty, scatter_
from dbgnn.errors import DataError, StaleIndexError
from dbgnn.schema import Column
from dbgnn.stores.keys import keys_of
from dbgnn.stores.request import Rows
from dbgnn.stores.select import REQUEST, passes_for, request_table, select_rows

if TYPE_CHECKING:
    from dbgnn.database import Database
    from dbgnn.stores.binding import Source

#: Bytes of feature values per chunk of the stream, and the rows it may have.
_CHUNK_BYTES, _CHUNK_ROWS = 4 << 20, (2048, 122_880)


def gather(db: Database, source: Source, columns: Sequence[Column], rows: Rows, fills: Mapping[str, float]) -> list[Tensor]:
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
    outs = [empty(len(rows), c) for c in columns]
    if not len(rows) or not columns:
        return outs
    span = rows.ids if isinstance(rows.ids, range) else None
    row_bytes = sum(out.element_size() * (out.numel() // len(rows)) for out in outs)
    chunk = max(_CHUNK_ROWS[0], min(_CHUNK_ROWS[1], _CHUNK_BYTES // row_bytes))
    nulls: dict[str, list[Tensor]] = {}
    found = 0
    tables = {} if span is not None else {REQUEST: request_table(rows.array())}
    passes = passes_for(source.num_rows, columns, len(rows))
    with db.relations(**tables) as cursor:
        reader = cursor.sql(select_rows(source, columns, span, passes=passes)).to_arrow_reader(chunk)
        with reader:
            for batch in reader:
                pos = _positions(batch.column(0))
                found += len(pos)
                for i, (column, out) in enumerate(zip(columns, outs, strict=True), 1):
                    bad = scatter_(out, pos, batch.column(i), column, fill=fills.get(column.name))
                    if bad is not None:
                        nulls.setdefault(column.name, []).append(bad)
    if found != len(rows):
        raise StaleIndexError(
            f"Table {str(source.table)!r} changed while {len(rows):,} rows were read: {found:,} were there. Try again."
        )
    if nulls:
        name, bad_rows = next(iter(nulls.items()))
        raise _null_error(db, source, name, torch.cat(bad_rows), rows)
    return outs


def _positions(array: pa.Array) -> Tensor:
    return from_dlpack(array)


def _null_error(db: Database, source: Source, name: str, positions: Tensor, rows: Rows) -> DataError:
    first = rows.array()[int(positions.min())]
    (key,) = keys_of(db, source, Rows(np.array([first])))
    names = ", ".join(source.keys)
    return DataError(
        f"Column {name!r} of table {str(source.table)!r} is NULL, or holds NULL, in {len(positions):,} of the "
        f"{len(rows):,} rows "
        f"asked for; the first has the key ({names}) = {key!r} (id {first}). Fill the column with SQL, or declare "
        "what stands for "
        f"NULL: feature_store.fill({source.label!r}, {name!r}, 0)."
    )
