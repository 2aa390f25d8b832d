"""What derived lists may be made from beside the index: the base of times, weights and conditions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import duckdb

from dbgnn.topology.index import EdgeIndex, VertexIndex


class Ingredient(ABC):
    """Something that derived lists hold or heed; a frozen dataclass. What is left out here reads nothing."""

    __slots__ = ()

    @property
    def of_edges(self) -> list[str]:
        """The columns and conditions that it reads of the edge table, for messages."""
        return []

    @property
    def of_nodes(self) -> list[str]:
        """The same of the table of the nodes that lists lead to."""
        return []

    @abstractmethod
    def check(self, con: duckdb.DuckDBPyConnection, index: EdgeIndex, neighbour: VertexIndex) -> None:
        """Raise if the tables do not have what it needs, naming table, column, key and remedy."""

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """Return what it decides, as JSON has it."""

    def edge_columns(self, con: duckdb.DuckDBPyConnection, index: EdgeIndex) -> dict[str, str]:  # noqa: ARG002
        """Return expressions over the edge table, by name."""
        return {}

    def node_columns(self, con: duckdb.DuckDBPyConnection, neighbour: VertexIndex) -> dict[str, str]:  # noqa: ARG002
        """Return expressions over the table of the nodes that lists lead to, by name."""
        return {}

    def edge_conditions(self, con: duckdb.DuckDBPyConnection, index: EdgeIndex) -> list[str]:  # noqa: ARG002
        """Return what must be true of an edge."""
        return []

    def node_conditions(self, con: duckdb.DuckDBPyConnection, neighbour: VertexIndex) -> list[str]:  # noqa: ARG002
        """Return what must be true of the node that an edge leads to."""
        return []
