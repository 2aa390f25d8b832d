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

#: The total of a list's weights is about 2 to this: the 62 random bits of a draw hardly ever favour one of so few numbers.
BITS = 46

#: A longer list has a guide into its running totals; in others a search is as short.
GUIDED = 64

#: A guide leaves fewer places than this to look at.
NEAR = 8

#: How many parts of a guide there may be to a total.
_FINER = (1, 4)

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
        [(count,)] = con.execute(f"SELECT count(*) FROM {edge.rows} WHERE {wrong}").fetchall()
        if count:
            raise DataError(
                f"{count:,} rows of edge table {str(edge.table)!r} have NULL, NaN, an infinite or a negative weight "
                f"({self.column!r}): {_first(con, edge, self.column, wrong, count)}. Edges of weight 0 are never drawn; to "
                f"have these be such edges: UPDATE {edge.table.sql} SET {name} = 0{edge.where_all(f'({wrong})')}"
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
        f"SELECT {shown}, {quote(name)}::VARCHAR FROM {edge.rows} WHERE {wrong} ORDER BY rowid ASC LIMIT {_SHOWN}",
        types,
    )
    told = [
        f"{', '.join(f'{key}={shown_value(value)}' for key, value in zip(keys, values, strict=True))} has {weight or 'NULL'}"
        for *values, weight in rows
    ]
    return "; ".join(told) + (", …" if count > len(rows) else "")


def accumulated(lists: pa.Table) -> pa.Table:
    """Return lists with ``cum``, the running total of integer weights, its ``guide`` and ``width``, instead of ``weights``.

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
    width, guide = _guides(running, starts, lengths)
    return lists.drop_columns(["weights"]).append_column("cum", cum).append_column("width", width).append_column("guide", guide)


def _guides(
    running: npt.NDArray[np.int64], starts: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]
) -> tuple[pa.Array, pa.LargeListArray]:
    """Return where to look for a number in a running total: a table as of H. Chen and Y. Asau (1974), NULL for short lists.

    The numbers are cut into parts of one ``width``, and element b + 1 of ``guide`` says how many totals are at most b widths,
    up to all of them. There are as many parts as totals, or a few times as many where the totals of some part would be `NEAR`
    or more; where they still are, there is no guide.
    """
    width, guided = np.zeros(len(lengths), dtype=np.int64), np.zeros(len(lengths), dtype=np.bool_)
    left = np.flatnonzero(lengths > GUIDED)
    for finer in _FINER:
        width[left] = np.maximum(running[starts[left] + lengths[left] - 1] // (finer * lengths[left]), 1)
        _, begin, not_above = _parts(running, starts[left], lengths[left], width[left])
        most = np.maximum.reduceat(np.diff(not_above, append=0), begin) if len(left) else begin
        guided[left] = most < NEAR
        left = left[most >= NEAR]
    size, _, not_above = _parts(running, starts[guided], lengths[guided], width[guided])
    ends = np.zeros(len(lengths) + 1, dtype=np.int64)
    ends[1:][guided] = size
    values, missing = pa.array(not_above.astype(np.int32)), pa.array(~guided)
    return pa.array(width, mask=~guided), pa.LargeListArray.from_arrays(pa.array(np.cumsum(ends)), values, mask=missing)


def _parts(
    running: npt.NDArray[np.int64], starts: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64], width: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return how many elements each guide has, where it begins, and all of them."""
    before, size = np.cumsum(lengths) - lengths, running[starts + lengths - 1] // width + 2
    begin = np.cumsum(size) - size
    places = np.arange(lengths.sum()) + np.repeat(starts - before, lengths)
    # The first bound that is not below a total.
    bound = -(-running[places] // np.repeat(width, lengths)) + np.repeat(begin, lengths)
    not_above = np.cumsum(np.bincount(bound, minlength=int(size.sum()))) - np.repeat(before, size)
    return size, begin, not_above


def _whole(weights: npt.NDArray[Any], shift: npt.NDArray[Any], lengths: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Return weights times 2 to the shift of their list, rounded."""
    whole: npt.NDArray[np.int64] = np.rint(np.ldexp(weights, np.repeat(shift, lengths))).astype(np.int64)
    return whole
