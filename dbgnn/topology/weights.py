"""Weights of edges as integers, so that no rounding decides which edge is drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from dbgnn.errors import DataError
from dbgnn.sql import quote
from dbgnn.topology.index import EdgeIndex, VertexIndex
from dbgnn.topology.ingredient import Ingredient

#: The total of a list's weights is less than 2 to this.
BITS = 46


@dataclass(frozen=True, slots=True)
class Weights(Ingredient):
    """How likely edges are, relative to the others of the same node.

    Attributes:
        column: The column of the edge table.
    """

    column: str

    @property
    def read(self) -> list[str]:
        """See `Ingredient.read`."""
        return [self.column]

    def check(self, con: duckdb.DuckDBPyConnection, index: EdgeIndex, neighbour: VertexIndex) -> None:  # noqa: ARG002
        """See `Ingredient.check`."""
        name, table = quote(self.column), index.edge.table
        query = f"SELECT count(*) FROM {table.sql} WHERE {name} IS NULL OR NOT isfinite({name}::DOUBLE) OR {name} < 0"
        [(wrong,)] = con.execute(query).fetchall()
        if wrong:
            raise DataError(f"Column {self.column!r} of table {str(table)!r} is no weight in {wrong:,} rows.")

    def edge_columns(self, con: duckdb.DuckDBPyConnection, index: EdgeIndex) -> dict[str, str]:  # noqa: ARG002
        """See `Ingredient.edge_columns`."""
        return {"weight": f"{quote(self.column)}::DOUBLE"}

    def identity(self) -> dict[str, Any]:
        """See `Ingredient.identity`."""
        return {"weights": self.column}


def accumulated(lists: pa.Table) -> pa.Table:
    """Return lists with ``cum``, the running total of integer weights, instead of ``weights``.

    Of each list the weights are multiplied by the power of two with which their total comes to lie between 2**45 and 2**46,
    and rounded, to 1 at least.
    """
    column = lists["weights"].combine_chunks()
    offsets, weights = column.offsets.to_numpy().astype(np.int64), column.values.to_numpy()
    starts, lengths = offsets[:-1], np.diff(offsets)
    total = np.add.reduceat(weights, starts)
    shift = BITS - 1 - np.frexp(total)[1]
    whole = np.maximum(np.rint(np.ldexp(weights, np.repeat(shift, lengths))), 1).astype(np.int64)
    running = np.cumsum(whole)
    running -= np.repeat(running[starts] - whole[starts], lengths)
    cum = pa.LargeListArray.from_arrays(column.offsets, pa.array(running))
    return lists.drop_columns(["weights"]).append_column("cum", cum)
