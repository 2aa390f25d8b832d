"""Conditions on edges and on the nodes that they lead to: which edges a hop may take at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import duckdb

from dbgnn.schema.catalog import columns
from dbgnn.schema.model import EdgeTable, VertexTable
from dbgnn.sql import check_filter
from dbgnn.topology.index import EdgeIndex, VertexIndex
from dbgnn.topology.ingredient import Ingredient


@dataclass(frozen=True, slots=True)
class Conditions(Ingredient):
    """What must be true of an edge and of the neighbour it leads to.

    Attributes:
        edge: A condition over the columns of the edge table; None: all edges.
        node: A condition over the columns of the neighbour's table; likewise.
    """

    edge: str | None
    node: str | None

    @property
    def read(self) -> list[str]:
        """See `Ingredient.read`."""
        return [text for text in (self.edge, self.node) if text is not None]

    def check(self, con: duckdb.DuckDBPyConnection, index: EdgeIndex, neighbour: VertexIndex) -> None:
        """See `Ingredient.check`."""
        self.edge_conditions(con, index)
        self.node_conditions(con, neighbour)

    def edge_conditions(self, con: duckdb.DuckDBPyConnection, index: EdgeIndex) -> list[str]:
        """See `Ingredient.edge_conditions`."""
        return [] if self.edge is None else [_judged(con, index.edge, self.edge)]

    def node_conditions(self, con: duckdb.DuckDBPyConnection, neighbour: VertexIndex) -> list[str]:
        """See `Ingredient.node_conditions`."""
        return [] if self.node is None else [_judged(con, neighbour.vertex, self.node)]

    def identity(self) -> dict[str, Any]:
        """See `Ingredient.identity`."""
        return {"where": [self.edge, self.node]}


def _judged(con: duckdb.DuckDBPyConnection, element: EdgeTable | VertexTable, text: str) -> str:
    table = element.table
    return check_filter(con, text, where=f"table {str(table)!r}", table=(table.schema, table.name), columns=columns(con, table))
