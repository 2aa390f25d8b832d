"""`Source`: one node or edge type as the tables have it now, with its columns and its part of the topology index."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dbgnn import schema
from dbgnn.errors import SchemaError, UnknownNameError, near_misses
from dbgnn.schema import Column, EdgeTable, TableName, VertexTable
from dbgnn.schema.model import Label
from dbgnn.topology import EdgeIndex, VertexIndex


@dataclass(frozen=True, slots=True)
class Source:
    """One node or edge type as the tables have it now: what to read from, and the ids.

    Attributes:
        label: The node or edge type.
        element: Its table in the property graph.
        columns: Every column of the table, by name; those with a ``reason`` are no tensors.
        listed: The names of those a loader fetches.
        index: Its part of the topology index.
    """

    label: Label
    element: VertexTable | EdgeTable
    columns: Mapping[str, Column]
    listed: tuple[str, ...]
    index: VertexIndex | EdgeIndex

    @property
    def table(self) -> TableName:
        """The table."""
        return self.element.table

    @property
    def num_rows(self) -> int:
        """Number of nodes or edges."""
        return self.index.num_nodes if isinstance(self.index, VertexIndex) else self.index.num_edges

    @property
    def map_table(self) -> str | None:
        """The quoted table ``(id, rid)``; None where every id equals the rowid."""
        return self.index.map_table

    @property
    def keys(self) -> tuple[str, ...]:
        """The columns that hold keys: those of the node, or those of the edge's two ends."""
        return key_columns(self.element)

    def attribute(self, name: str) -> Column:
        """Return the column that PyG sees under a name.

        Raises:
            UnknownNameError: There is none. A column whose name means something else to PyG is seen under another.
            SchemaError: It cannot become a tensor; the message says why and what to cast to.
        """
        found = self.columns.get(name)
        if found is not None and not found.is_renamed:
            return self.column(name)
        renamed = next((c for c in self.columns.values() if c.is_renamed and c.attr == name), None)
        if renamed is not None:
            return self.column(renamed.name)
        if found is not None:
            raise UnknownNameError(
                f"Column {name!r} of table {str(self.table)!r} is the attribute {found.attr!r}: {name!r} means something else "
                "to PyG."
            )
        usable = [c.attr for c in self.columns.values() if c.reason is None]
        raise UnknownNameError(
            f"{self.label!r} (table {str(self.table)!r}) has no attribute {name!r}" + near_misses(name, usable)
        )

    def either(self, name: str) -> Column:
        """Return a column by its own name, or by that under which PyG sees it; no two columns share one of them."""
        return self.column(name) if name in self.columns else self.attribute(name)

    def column(self, name: str) -> Column:
        """Return a column that becomes a tensor, by its own name.

        Raises:
            UnknownNameError: There is no such column.
            SchemaError: It cannot become a tensor; the message says why and what to cast to.
        """
        found = self.columns.get(name)
        if found is None:
            usable = [n for n, c in self.columns.items() if c.reason is None]
            raise UnknownNameError(
                f"{self.label!r} (table {str(self.table)!r}) has no attribute {name!r}" + near_misses(name, usable)
            )
        if found.reason is not None:
            raise SchemaError(
                f"Column {found.name!r} of table {str(self.table)!r} has type {found.sql_type}, which is no tensor: "
                f"{schema.why(found, self.table, self.label)}."
            )
        return found


def key_columns(element: VertexTable | EdgeTable) -> tuple[str, ...]:
    """Return the columns that hold keys: those of the node, or those of the edge's two ends."""
    if isinstance(element, VertexTable):
        return element.key
    return (*element.source_key, *(c for c in element.destination_key if c not in element.source_key))
