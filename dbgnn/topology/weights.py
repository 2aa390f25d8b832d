"""Weights of edges as integers, so that no rounding decides which edge is drawn."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from dbgnn.errors import DataError, SchemaError
from dbgnn.schema.catalog import columns
from dbgnn.schema.key_values import carried, key_rows, shown_value
from dbgnn.schema.model import EdgeTable
from dbgnn.sql import quote
from dbgnn.topology.index import EdgeIndex, VertexIndex
from dbgnn.topology.ingredient import Ingredient

#: The total of a list's weights is about 2 to this: 61 bits of random numbers hardly ever favour one of so few numbers.
BITS = 46

#: A longer list has a guide into its running totals; in others a search is as short.
GUIDED = 64

#: Weights are brought to integers of so many bits in all, and from there to `BITS`.
_COARSE = 61

#: How many rows a message names.
_SHOWN = 3

_NUMBERS = {
    *("BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT"),
    *("UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT", "FLOAT", "DOUBLE"),
}
_DECIMAL = re.compile(r"DECIMAL\(\d+,(\d+)\)")


@dataclass(frozen=True, slots=True)
class Weights(Ingredient):
    """How likely edges are, relative to the others of the same node.

    Attributes:
        column: The column of the edge table.
    """

    column: str

    @property
    def of_edges(self) -> list[str]:
        """See `Ingredient.of_edges`."""
        return [self.column]

    def check(self, con: duckdb.DuckDBPyConnection, index: EdgeIndex, neighbour: VertexIndex) -> None:  # noqa: ARG002
        """See `Ingredient.check`."""
        edge, name = index.edge, quote(self.column)
        weight_sql(con, edge, self.column)
        wrong = f"{name} IS NULL OR NOT isfinite({name}::DOUBLE) OR {name}::DOUBLE < 0"
        [(count,)] = con.execute(f"SELECT count(*) FROM {edge.table.sql} WHERE {wrong}").fetchall()
        if count:
            raise DataError(
                f"{count:,} rows of edge table {str(edge.table)!r} have NULL, NaN, an infinite or a negative weight "
                f"({self.column!r}): {_first(con, edge, self.column, wrong, count)}. Edges of weight 0 are never drawn; to "
                f"have these be such edges: UPDATE {edge.table.sql} SET {name} = 0 WHERE {wrong}"
            )

    def edge_columns(self, con: duckdb.DuckDBPyConnection, index: EdgeIndex) -> dict[str, str]:
        """See `Ingredient.edge_columns`."""
        return {"weight": weight_sql(con, index.edge, self.column)}

    def identity(self) -> dict[str, Any]:
        """See `Ingredient.identity`."""
        return {"weights": self.column}


def weight_sql(con: duckdb.DuckDBPyConnection, edge: EdgeTable, name: str) -> str:
    """Return a column as DOUBLE; that of a DECIMAL as the integer that it is kept as, which DOUBLE holds exactly.

    Raises:
        SchemaError: It is not of numbers.
    """
    kind = columns(con, edge.table).get(name, "not there")
    if kind in _NUMBERS:
        return f"{quote(name)}::DOUBLE"
    if (decimal := _DECIMAL.fullmatch(kind)) is not None:
        return f"round({quote(name)}::DOUBLE * 1e{decimal[1]})"
    raise SchemaError(f"Column {name!r} of table {str(edge.table)!r} is {kind}; weights are numbers.")


def _first(con: duckdb.DuckDBPyConnection, edge: EdgeTable, name: str, wrong: str, count: int) -> str:
    """Return the first rows that are wrong, by the keys of their ends."""
    kinds = columns(con, edge.table)
    keys = [*edge.source_key, *edge.destination_key]
    types = [kinds[key] for key in keys]
    shown = ", ".join(carried(quote(key), kind) for key, kind in zip(keys, types, strict=True))
    rows = key_rows(
        con,
        f"SELECT {shown}, {quote(name)}::VARCHAR FROM {edge.table.sql} WHERE {wrong} ORDER BY rowid ASC LIMIT {_SHOWN}",
        types,
    )
    told = [
        f"{', '.join(f'{key}={shown_value(value)}' for key, value in zip(keys, values, strict=True))} has {weight or 'NULL'}"
        for *values, weight in rows
    ]
    return "; ".join(told) + (", …" if count > len(rows) else "")


def accumulated(lists: pa.Table) -> pa.Table:
    """Return lists with ``cum``, the running total of integer weights, and its ``guide``, instead of ``weights``.

    The weights of each list are multiplied by the power of two with which their total comes to lie between 2**45 and 2**46,
    and rounded, to 1 at least. So integers stay as they are to one another, and others keep the precision that they can have.
    No floating point is summed: how NumPy does that may differ between machines.
    """
    column = lists["weights"].combine_chunks()
    offsets, weights = column.offsets.to_numpy().astype(np.int64), column.values.to_numpy()
    starts, lengths = offsets[:-1], np.diff(offsets)
    coarse = _COARSE - np.frexp(np.maximum.reduceat(weights, starts))[1] - np.frexp(lengths)[1]
    total = np.add.reduceat(_whole(weights, coarse, lengths), starts)
    whole = np.maximum(_whole(weights, coarse + BITS - np.frexp(total)[1], lengths), 1)
    running = np.cumsum(whole)
    running -= np.repeat(running[starts] - whole[starts], lengths)
    cum = pa.LargeListArray.from_arrays(column.offsets, pa.array(running))
    guide = _guides(running, starts, lengths)
    return lists.drop_columns(["weights"]).append_column("cum", cum).append_column("guide", guide)


def _guides(running: npt.NDArray[np.int64], starts: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]) -> pa.LargeListArray:
    """Return where to look for a number in a running total: a table as of H. Chen and Y. Asau (1974), NULL for short lists.

    The numbers are cut into parts of one width, ``total // length``, so there are about as many parts as totals. Element
    b + 1 says how many totals are at most b widths, up to all of them.
    """
    long = lengths > GUIDED
    first, length = starts[long], lengths[long]
    total = running[first + length - 1]
    width = total // length
    before, size = np.cumsum(length) - length, total // width + 2
    begin = np.cumsum(size) - size
    places = np.arange(length.sum()) + np.repeat(first - before, length)
    # The part that a total ends in, and the first one that it is below.
    part = -(-running[places] // np.repeat(width, length)) + np.repeat(begin, length)
    not_above = np.cumsum(np.bincount(part, minlength=int(size.sum()))) - np.repeat(before, size)
    ends = np.zeros(len(lengths) + 1, dtype=np.int64)
    ends[1:][long] = size
    return pa.LargeListArray.from_arrays(pa.array(np.cumsum(ends)), pa.array(not_above.astype(np.int32)), mask=pa.array(~long))


def _whole(weights: npt.NDArray[Any], shift: npt.NDArray[Any], lengths: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Return weights times 2 to the shift of their list, rounded."""
    whole: npt.NDArray[np.int64] = np.rint(np.ldexp(weights, np.repeat(shift, lengths))).astype(np.int64)
    return whole
