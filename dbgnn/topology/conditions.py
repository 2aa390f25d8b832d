"""Conditions on edges and on the nodes that they lead to: which edges a hop may take at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import duckdb

from dbgnn.errors import SqlError
from dbgnn.parse_tree import short
from dbgnn.schema.catalog import columns
from dbgnn.schema.model import EdgeTable, VertexTable
from dbgnn.sql import check_filter, first_line
from dbgnn.topology.index import EdgeIndex, VertexIndex
from dbgnn.topology.ingredient import Ingredient


@dataclass(frozen=True, slots=True)
class Conditions(Ingredient):
    """What must be true of an edge and of the neighbour it leads to; NULL is not true.

    Attributes:
        edge: A condition over the columns of the edge table; None: all edges.
        node: A condition over the columns of the neighbour's table; likewise.
    """

    edge: str | None
    node: str | None

    @property
    def of_edges(self) -> list[str]:
        """See `Ingredient.of_edges`."""
        return [] if self.edge is None else [self.edge]

    @property
    def of_nodes(self) -> list[str]:
        """See `Ingredient.of_nodes`."""
        return [] if self.node is None else [self.node]

    def check(self, con: duckdb.DuckDBPyConnection, index: EdgeIndex, neighbour: VertexIndex) -> None:
        """See `Ingredient.check`."""
        for element, texts in ((index.edge, self.of_edges), (neighbour.vertex, self.of_nodes)):
            for text in texts:
                condition = check_condition(con, element, text)
                try:
                    con.execute(f"SELECT count(*) FROM {element.table.sql}{element.where_all(condition)}").fetchall()
                except (duckdb.ConversionException, duckdb.InvalidInputException, duckdb.OutOfRangeException) as error:
                    raise _unfit(element, text, first_line(error)) from error

    def edge_conditions(self, con: duckdb.DuckDBPyConnection, index: EdgeIndex) -> list[str]:
        """See `Ingredient.edge_conditions`."""
        return [check_condition(con, index.edge, text) for text in self.of_edges]

    def node_conditions(self, con: duckdb.DuckDBPyConnection, neighbour: VertexIndex) -> list[str]:
        """See `Ingredient.node_conditions`."""
        return [check_condition(con, neighbour.vertex, text) for text in self.of_nodes]

    def identity(self) -> dict[str, Any]:
        """See `Ingredient.identity`."""
        return {"where": [self.edge, self.node]}


def check_condition(con: duckdb.DuckDBPyConnection, element: EdgeTable | VertexTable, text: str) -> str:
    """Return a condition over the columns of one row of a table, as SQL in parentheses.

    Raises:
        SqlError: It is not one harmless expression (see `dbgnn.sql.check_filter`) of type BOOLEAN.
    """
    table = element.table
    name = (table.schema, table.name)
    condition = check_filter(con, text, where=f"table {str(table)!r}", table=name, columns=columns(con, table))
    try:
        [(_, kind, *_)] = con.execute(f"DESCRIBE SELECT {condition} AS condition FROM {table.sql}").fetchall()
    except (duckdb.BinderException, duckdb.ConversionException, duckdb.InvalidInputException) as error:
        raise _unfit(element, text, first_line(error)) from error
    if kind != "BOOLEAN":
        raise _unfit(element, text, f"it is {kind}, and a condition is BOOLEAN; compare it with something")
    return condition


def _unfit(element: EdgeTable | VertexTable, text: str, why: str) -> SqlError:
    return SqlError(f"The condition {short(text)!r} does not fit table {str(element.table)!r}: {why}.")
