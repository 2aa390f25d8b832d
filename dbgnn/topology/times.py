"""When an edge is there: the time columns of edge and node tables, as one integer per edge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import duckdb
import numpy as np
import numpy.typing as npt

from dbgnn.errors import DataError, SchemaError
from dbgnn.schema.catalog import columns
from dbgnn.schema.model import EdgeTable, VertexTable
from dbgnn.sql import quote
from dbgnn.topology.index import EdgeIndex, VertexIndex
from dbgnn.topology.ingredient import Ingredient

#: Times as derived lists have them ``[n]``.
Moments: TypeAlias = npt.NDArray[np.int64]

_INTEGERS = {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER"}
_MOMENTS = {"DATE", "TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP WITH TIME ZONE"}


@dataclass(frozen=True, slots=True)
class Times(Ingredient):
    """An edge is there from the later of two times on: its own, and that of the neighbour it leads to.

    Attributes:
        edge: The column of the edge table; None: edges are timeless.
        node: The column of the neighbour's table; likewise.
    """

    edge: str | None
    node: str | None

    @property
    def read(self) -> list[str]:
        """See `Ingredient.read`."""
        return [name for name in (self.edge, self.node) if name is not None]

    def check(self, con: duckdb.DuckDBPyConnection, index: EdgeIndex, neighbour: VertexIndex) -> None:
        """See `Ingredient.check`."""
        for element, name in ((index.edge, self.edge), (neighbour.vertex, self.node)):
            if name is not None:
                _check(con, element, name)

    def edge_columns(self, con: duckdb.DuckDBPyConnection, index: EdgeIndex) -> dict[str, str]:
        """See `Ingredient.edge_columns`."""
        return {} if self.edge is None else {"time": time_sql(con, index.edge, self.edge)}

    def node_columns(self, con: duckdb.DuckDBPyConnection, neighbour: VertexIndex) -> dict[str, str]:
        """See `Ingredient.node_columns`."""
        return {} if self.node is None else {"time": time_sql(con, neighbour.vertex, self.node)}

    def identity(self) -> dict[str, Any]:
        """See `Ingredient.identity`."""
        return {"times": [self.edge, self.node]}


def time_sql(con: duckdb.DuckDBPyConnection, element: EdgeTable | VertexTable, name: str) -> str:
    """Return a column as BIGINT: an integer as it is, a date or timestamp as microseconds since 1970 (UTC)."""
    kind = columns(con, element.table).get(name)
    if kind in _INTEGERS:
        return f"{quote(name)}::BIGINT"
    if kind in _MOMENTS:
        return f"epoch_us({quote(name)})"
    raise SchemaError(f"Column {name!r} of table {str(element.table)!r} is {kind}; times are integers, dates or timestamps.")


def _check(con: duckdb.DuckDBPyConnection, element: EdgeTable | VertexTable, name: str) -> None:
    query = f"SELECT count(*) FROM {element.table.sql} WHERE {quote(name)} IS NULL"
    [(missing,)] = con.execute(query).fetchall()
    if missing:
        raise DataError(f"Column {name!r} of table {str(element.table)!r} is NULL in {missing:,} rows; a time must be known.")


@dataclass(frozen=True, slots=True)
class Window:
    """How long before a seed's time an edge may be, exclusive.

    Attributes:
        length: In the unit of the times.
    """

    length: int

    def before(self, times: Moments) -> Moments:
        """Return when the window of each time begins."""
        return times - self.length

    def identity(self) -> int:
        """Return what it decides, as JSON has it."""
        return self.length
