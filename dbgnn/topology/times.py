"""When an edge is there: the time columns of edge and node tables, as one integer per edge.

All times of a sampler are in one unit: integers as they are, dates and timestamps as microseconds since 1970 (UTC), or as
nanoseconds if a column is TIMESTAMP_NS. How far back a seed looks is in `window.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import duckdb
import numpy as np
import numpy.typing as npt

from dbgnn.errors import DataError, SchemaError
from dbgnn.schema.catalog import columns
from dbgnn.schema.model import EdgeTable, EdgeType, Label, VertexTable
from dbgnn.schema.render import shown, shown_table
from dbgnn.sql import ascending, quote, quote_all
from dbgnn.topology.index import EdgeIndex, VertexIndex
from dbgnn.topology.ingredient import Ingredient

#: Times as derived lists have them ``[n]``.
Moments: TypeAlias = npt.NDArray[np.int64]

#: The units of times: integers as they are, microseconds and nanoseconds since 1970 (UTC).
NUMBER, MICROSECONDS, NANOSECONDS = "number", "us", "ns"

_INTEGERS = set("TINYINT SMALLINT INTEGER BIGINT HUGEINT UTINYINT USMALLINT UINTEGER UBIGINT UHUGEINT".split())
_FINEST = {"TIMESTAMP_NS", "TIMESTAMPTZ_NS"}
_MOMENTS = {"DATE", "TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP WITH TIME ZONE"}

#: The smallest integer is no time, so that the time before all others can be written.
BEFORE_ALL = int(np.iinfo(np.int64).min)

#: So many rows are named that have no time.
_SHOWN = 3


def unit_of(sql_type: str) -> str | None:
    """Return the unit of the times of a type of DuckDB's; None: it has none."""
    if sql_type in _INTEGERS:
        return NUMBER
    if sql_type in _FINEST:
        return NANOSECONDS
    return MICROSECONDS if sql_type in _MOMENTS else None


def as_time(expression: str, sql_type: str, unit: str) -> str:
    """Return a SQL expression as BIGINT in a unit; NULL where that cannot hold it, as of an infinite date."""
    if unit == NUMBER:
        return f"nullif(TRY_CAST({expression} AS BIGINT), {BEFORE_ALL + 1} - 1)"
    if sql_type in _FINEST:
        return f"epoch_ns(CASE WHEN isfinite({expression}) THEN {expression} END)"
    return f"TRY(epoch_us({expression}){' * 1000' if unit == NANOSECONDS else ''})"


@dataclass(frozen=True, slots=True)
class TimeColumn:
    """The column of a table that says when.

    Attributes:
        name: Its name.
        fill: The time of rows in which it is NULL; None: there must be none.
    """

    name: str
    fill: int | None = None

    def sql(self, con: duckdb.DuckDBPyConnection, element: EdgeTable | VertexTable, unit: str) -> str:
        """Return the times of the rows of its table, as BIGINT.

        Raises:
            SchemaError: It is not there, or has no times in this unit.
        """
        kind = columns(con, element.table).get(self.name)
        if kind is None:
            raise SchemaError(f"Table {str(element.table)!r} has no column {self.name!r} any more, which says when.")
        own = unit_of(kind)
        if own is None or (own == NUMBER) != (unit == NUMBER) or (own, unit) == (NANOSECONDS, MICROSECONDS):
            raise SchemaError(
                f"Column {self.name!r} of table {str(element.table)!r} is {kind}; times are integers, or dates and timestamps, "
                "and all of a sampler's are of one kind. Make the sampler again if the type was changed."
            )
        time = as_time(quote(self.name), kind, unit)
        return time if self.fill is None else f"coalesce({time}, {self.fill})"

    def check(self, con: duckdb.DuckDBPyConnection, element: EdgeTable | VertexTable, unit: str) -> None:
        """Raise if a row has no time.

        Raises:
            DataError: The column is NULL, infinite, or larger than an int64 in the unit; with the first keys.
            SchemaError: See `sql`.
        """
        name, time = quote(self.name), TimeColumn(self.name).sql(con, element, unit)
        null = "false" if self.fill is not None else f"{name} IS NULL"
        beyond = f"{name} IS NOT NULL AND {time} IS NULL"
        query = f"SELECT count(*), count(*) FILTER (WHERE {null}), count(*) FILTER (WHERE {beyond}) FROM {element.rows}"
        [(total, missing, outside)] = con.execute(query).fetchall()
        said = f"Column {self.name!r} of table {str(element.table)!r} is"
        if missing:
            label = element.label if isinstance(element, VertexTable) else element.edge_type
            fill = f" Or declare what it stands for: feature_store.fill({label!r}, {self.name!r}, 0)." if unit == NUMBER else ""
            raise DataError(
                f"{said} NULL in {missing:,} of {total:,} rows ({_first(con, element, null)}), and a sample by time needs one "
                f"in each. Write them: UPDATE {shown_table(element.table)} SET {shown(self.name)} = … WHERE "
                f"{shown(self.name)} IS NULL.{fill}"
            )
        if outside:
            raise DataError(
                f"{said} infinite, or beyond what 64 bits hold, in {outside:,} of {total:,} rows "
                f"({_first(con, element, beyond)}). Write times that are within, such as the earliest or latest of the others."
            )


def _first(con: duckdb.DuckDBPyConnection, element: EdgeTable | VertexTable, condition: str) -> str:
    """Return the keys of the first rows for which a condition is true, in words."""
    vertex = isinstance(element, VertexTable)
    keys = element.key if isinstance(element, VertexTable) else (*element.source_key, *element.destination_key)
    query = f"SELECT {quote_all(keys)} FROM {element.rows} WHERE {condition} ORDER BY {ascending(keys)} LIMIT {_SHOWN}"
    rows = ", ".join(repr(row[0] if len(row) == 1 else row) for row in con.execute(query).fetchall())
    return f"the first by {'key' if vertex else 'source and destination'}: {rows}"


@dataclass(frozen=True, slots=True)
class Timeline:
    """Which columns of a graph say when; types without one are timeless.

    Attributes:
        unit: Of all of its times.
        nodes: By node type.
        edges: By edge type.
    """

    unit: str
    nodes: Mapping[str, TimeColumn]
    edges: Mapping[EdgeType, TimeColumn]

    def of(self, label: Label) -> TimeColumn | None:
        """Return the column of a type; None: it is timeless."""
        return self.nodes.get(label) if isinstance(label, str) else self.edges.get(label)

    def identity(self) -> dict[str, Any]:
        """Return what it decides, as JSON has it."""
        nodes = [[label, column.name, column.fill] for label, column in self.nodes.items()]
        edges = [[list(label), column.name, column.fill] for label, column in self.edges.items()]
        return {"unit": self.unit, "nodes": nodes, "edges": edges}

    def checksum(self, con: duckdb.DuckDBPyConnection, vertex: VertexIndex) -> str:
        """Return a checksum of the times of nodes that have some, by their keys."""
        rows, time = vertex.vertex.rows, self.nodes[vertex.vertex.label].sql(con, vertex.vertex, self.unit)
        hashed = f"hash(hash({quote_all(vertex.vertex.key)}, {time}))"
        return str(con.execute(f"SELECT bit_xor({hashed}) FROM {rows}").fetchall()[0][0])


@dataclass(frozen=True, slots=True)
class Times(Ingredient):
    """An edge is there from the later of two times on: its own, and that of the neighbour it leads to.

    Attributes:
        edge: The column of the edge table; None: edges are timeless.
        node: The column of the neighbour's table; likewise.
        unit: Of both.
        earlier: Lists hold the earlier of the two as well, as ``earlier``, for windows.
    """

    edge: TimeColumn | None
    node: TimeColumn | None
    unit: str = NUMBER
    earlier: bool = False

    @property
    def of_edges(self) -> list[str]:
        """See `Ingredient.of_edges`."""
        return [] if self.edge is None else [self.edge.name]

    @property
    def of_nodes(self) -> list[str]:
        """See `Ingredient.of_nodes`."""
        return [] if self.node is None else [self.node.name]

    def check(self, con: duckdb.DuckDBPyConnection, index: EdgeIndex, neighbour: VertexIndex) -> None:
        """See `Ingredient.check`."""
        if self.edge is not None:
            self.edge.check(con, index.edge, self.unit)
        if self.node is not None:
            self.node.check(con, neighbour.vertex, self.unit)

    def edge_columns(self, con: duckdb.DuckDBPyConnection, index: EdgeIndex) -> dict[str, str]:
        """See `Ingredient.edge_columns`."""
        return {} if self.edge is None else {"time": self.edge.sql(con, index.edge, self.unit)}

    def node_columns(self, con: duckdb.DuckDBPyConnection, neighbour: VertexIndex) -> dict[str, str]:
        """See `Ingredient.node_columns`."""
        return {} if self.node is None else {"time": self.node.sql(con, neighbour.vertex, self.unit)}

    def identity(self) -> dict[str, Any]:
        """See `Ingredient.identity`."""
        columns = [None if column is None else [column.name, column.fill] for column in (self.edge, self.node)]
        return {"times": [*columns, self.unit, self.earlier]}
