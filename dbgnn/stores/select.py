"""The SQL of reading: rows by id, keys by id, ids by key. Pure functions from a `Source` to text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from dbgnn.schema import Column
from dbgnn.schema.encoded import VALUE
from dbgnn.schema.key_values import carried
from dbgnn.schema.keys import same, sql_type_of
from dbgnn.sql import quote
from dbgnn.stores.request import Ids64

if TYPE_CHECKING:
    from dbgnn.stores.source import Source

#: The Arrow table of a request, ``(id, pos)``; a name no user's table has.
REQUEST = "dbgnn_request"


def projection(column: Column) -> str:
    """Return the SQL expression of a column of the table ``t`` that arrives as the column's tensor type."""
    name = f"t.{quote(column.name if column.beside is None else VALUE)}" + (f".{quote(column.packed)}" if column.packed else "")
    # An ENUM arrives as a dictionary, whose codes are of the batch and not of the type.
    return f"enum_code({name})::BIGINT" if column.sql_type.startswith("ENUM") else name


def select_rows(source: Source, columns: Sequence[Column], rows: range | None, *, passes: int = 1) -> str:
    """Return a query of ``(pos, columns…)``.

    Args:
        source: The table and its ids.
        columns: What to read: of the type's own table, or all of one side table.
        rows: None: the rows of the registered table `REQUEST` ``(id, pos)``; a range: those ids, at their distance
            from its start.
        passes: Over how many scans of the table the rows of `REQUEST` are spread (see `passes_for`).
    """
    values = ", ".join(["", *map(projection, columns)])
    side = columns[0].beside
    table, ids, rid = source.table.sql, source.map_table, "t.rowid"
    if side is not None:  # an id is its rowid there, or it holds the rowids of the type's own table
        table, ids, rid = (side.table, ids, "t.id") if side.by_rowid else (side.table, None, rid)
    if rows is None:
        scans = []
        for i in range(passes):
            request = REQUEST if passes == 1 else f"(FROM {REQUEST} WHERE pos % {passes} = {i})"
            joined = (
                f"{table} AS t JOIN {request} AS r ON {rid} = r.id"
                if ids is None
                else f"{request} AS r JOIN {ids} AS m ON m.id = r.id JOIN {table} AS t ON {rid} = m.rid"
            )
            scans.append(f"SELECT r.pos{values} FROM {joined}")
        return " UNION ALL ".join(scans)
    column = rid if ids is None else "m.id"
    origin = f"{table} AS t" if ids is None else f"{table} AS t JOIN {ids} AS m ON m.rid = {rid}"
    is_all = rows == range(source.num_rows) and source.element.condition is None  # a condition may leave out the rows behind
    where = "" if is_all else f" WHERE {column} BETWEEN {rows.start} AND {rows.stop - 1}"
    shift = f" - {rows.start}" if rows.start else ""
    return f"SELECT {column}{shift} AS pos{values} FROM {origin}{where}"


def passes_for(num_rows: int, columns: Sequence[Column], requested: int) -> int:
    """Return over how many scans to spread a request: 2 where that makes DuckDB skip what it would read, else 1.

    DuckDB's scan of an ``ARRAY[n]`` column skips rows nobody asked for only while the others make up at most n / 2 ranges
    of its vector of 2048 rows; above that it reads the whole vector. Two scans with half of the rows each stay below.
    100 k of 2 M rows of FLOAT[128]: 42 ms instead of 53; 60 k or 150 k: no gain.
    """
    widest = max((c.shape[0] for c in columns if len(c.shape) == 1 and not c.packed), default=0)
    per_vector = requested * 2048 / num_rows
    return 2 if widest >= 64 and 0.55 < per_vector / widest < 0.85 else 1


def request_table(ids: Ids64, pos: Ids64 | None = None) -> pa.Table:
    """Return the ids as the Arrow table `REQUEST`; ``pos``: where each goes, by default one after the other."""
    return pa.table({"id": ids, "pos": np.arange(len(ids)) if pos is None else pos})


def select_keys(source: Source, names: Sequence[str], types: Sequence[str]) -> str:
    """Return a query of columns of these types, carried, for the registered table `REQUEST`, in its order."""
    keys = ", ".join(carried(f"t.{quote(name)}", kind) for name, kind in zip(names, types, strict=True))
    table = source.table.sql
    if source.map_table is None:
        return f"SELECT {keys} FROM {REQUEST} AS r JOIN {table} AS t ON t.rowid = r.id ORDER BY r.pos ASC"
    joined = f"{REQUEST} AS r JOIN {source.map_table} AS m ON m.id = r.id JOIN {table} AS t ON t.rowid = m.rid"
    return f"SELECT {keys} FROM {joined} ORDER BY r.pos ASC"


def select_ids(source: Source, types: Sequence[str]) -> str:
    """Return a query of ``(pos, id)`` for the registered table `REQUEST` ``(pos, k0, k1, …)``; id is NULL for no key."""
    pairs = [
        (f"t.{quote(k)}", f"r.k{i}::{sql_type_of(kind)}") for i, (k, kind) in enumerate(zip(source.keys, types, strict=True))
    ]
    table, on = source.table.sql, same(pairs, types)
    if source.map_table is None:
        return (
            f"SELECT r.pos, t.rowid AS id FROM {REQUEST} AS r LEFT JOIN {source.element.rows} AS t ON {on} ORDER BY r.pos ASC"
        )
    return (
        f"SELECT r.pos, m.id FROM {REQUEST} AS r LEFT JOIN ({table} AS t JOIN {source.map_table} AS m ON m.rid = t.rowid) "
        f"ON {on} ORDER BY r.pos ASC"
    )


def select_where(source: Source, condition: str) -> str:
    """Return a query of the ids, ascending, of the rows for which the checked ``condition`` is true."""
    rows = f"SELECT rowid AS rid FROM {source.table.sql}{source.element.where_all(condition)}"
    if source.map_table is None:
        return f"SELECT rid AS id FROM ({rows}) ORDER BY id ASC"
    return f"SELECT m.id FROM ({rows}) AS f JOIN {source.map_table} AS m ON m.rid = f.rid ORDER BY m.id ASC"
