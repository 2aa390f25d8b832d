"""The property graph as data: which table is which node or edge type. Frozen; knows no connection.

Source of the terms: SQL/PGQ (ISO/IEC 9075-16:2023), ``CREATE PROPERTY GRAPH``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeAlias

from dbgnn.errors import SchemaError, UnknownNameError, near_misses
from dbgnn.sql import quote
from dbgnn.terminal import one_line

#: A PyG edge type: (source node type, relation, destination node type).
EdgeType = tuple[str, str, str]

#: The name of a node type (its label) or of an edge type, in the property graph.
Label: TypeAlias = str | EdgeType


def shown_type(label: Label) -> str:
    """Return a node or edge type for people, such as ``user-rated-movie``, on one line."""
    return one_line(label if isinstance(label, str) else "-".join(label))


@dataclass(frozen=True, slots=True)
class TableName:
    """A table of the database: schema and name, unquoted."""

    name: str
    schema: str = "main"

    @property
    def sql(self) -> str:
        """The quoted, schema-qualified name."""
        return f"{quote(self.schema)}.{quote(self.name)}"

    def __str__(self) -> str:
        return self.name if self.schema == "main" else f"{self.schema}.{self.name}"


@dataclass(frozen=True, slots=True)
class View:
    """A view that a graph names in the place of the table that it is a part of.

    Attributes:
        name: The view.
        definition: Its text in DuckDB's catalog when the graph was declared, by which a change is seen.
    """

    name: TableName
    definition: str


class _ChosenRows:
    """The rows of a table that are nodes or edges: all of them, or those for which a condition is true."""

    __slots__ = ()

    table: TableName
    condition: str | None
    view: View | None

    @property
    def rows(self) -> str:
        """SQL of the rows, for FROM: their columns and ``rowid``."""
        return self.rows_in("")

    def rows_in(self, database: str) -> str:
        """As :attr:`rows`, by the full name of the table; ``database`` is quoted, with a point behind it."""
        if self.condition is None:
            return f"{database}{self.table.sql}"
        return f"(SELECT rowid, * FROM {database}{self.table.sql} WHERE {self.where})"

    @property
    def where(self) -> str:
        """SQL of the condition in parentheses; ``true`` where there is none. The line ends a comment."""
        return "true" if self.condition is None else f"({self.condition}\n)"

    def where_all(self, *conditions: str) -> str:
        """Return the WHERE for rows of the table that fulfil the condition and others; "" where there is none."""
        parts = [*([] if self.condition is None else [self.where]), *conditions]
        return f" WHERE {' AND '.join(parts)}" if parts else ""

    @property
    def described(self) -> str:
        """The table and the condition, for people."""
        return str(self.table) if self.condition is None else f"{self.table} WHERE {self.condition}"


@dataclass(frozen=True, slots=True)
class VertexTable(_ChosenRows):
    """A table whose rows are the nodes of one type.

    Attributes:
        table: The table.
        label: The PyG node type; the name of the table unless ``LABEL`` says otherwise.
        key: The columns that identify a row; of any type, one or more.
        properties: The columns served as tensors; None: every column that can become one.
        condition: A SQL condition over the columns of a row, checked; only rows for which it is true count. None: all.
        view: The view by which the graph names the table, its columns and the condition; None: it names the table.
    """

    table: TableName
    label: str
    key: tuple[str, ...]
    properties: tuple[str, ...] | None = None
    condition: str | None = None
    view: View | None = None


@dataclass(frozen=True, slots=True)
class EdgeTable(_ChosenRows):
    """A table whose rows are the edges of one type.

    Attributes:
        table: The table.
        label: The middle of the PyG edge type; the name of the table unless ``LABEL`` says otherwise.
        source: The label of the vertex table at the source.
        source_key: The columns of this table that hold the source's key, in the order of that key.
        destination: The label of the vertex table at the destination.
        destination_key: The columns of this table that hold the destination's key.
        properties: The columns served as tensors; None: every column that can become one.
        condition: A SQL condition over the columns of a row, checked; only rows for which it is true count. None: all.
        view: The view by which the graph names the table, its columns and the condition; None: it names the table.
    """

    table: TableName
    label: str
    source: str
    source_key: tuple[str, ...]
    destination: str
    destination_key: tuple[str, ...]
    properties: tuple[str, ...] | None = None
    condition: str | None = None
    view: View | None = None

    @property
    def edge_type(self) -> EdgeType:
        """The PyG edge type."""
        return (self.source, self.label, self.destination)


@dataclass(frozen=True, slots=True)
class PropertyGraph:
    """A named set of vertex and edge tables.

    Attributes:
        name: The name in ``CREATE PROPERTY GRAPH name``.
        vertices: The vertex tables; labels are distinct.
        edges: The edge tables; edge types are distinct.
        homogeneous: One vertex and at most one edge table that PyG sees without type names (the keys
            are None, batches are ``Data``). Set where a user puts tensors with the group name None.
    """

    name: str
    vertices: tuple[VertexTable, ...] = ()
    edges: tuple[EdgeTable, ...] = ()
    homogeneous: bool = False

    def __post_init__(self) -> None:
        labels = [v.label for v in self.vertices]
        if twice := {x for x in labels if labels.count(x) > 1}:
            raise SchemaError(f"Property graph {self.name!r}: the vertex label {min(twice)!r} is used twice.")
        types = [e.edge_type for e in self.edges]
        if twice_e := {x for x in types if types.count(x) > 1}:
            raise SchemaError(
                f"Property graph {self.name!r}: the edge type {min(twice_e)!r} is defined twice; give one a LABEL."
            )
        for edge in self.edges:
            for end, key in ((edge.source, edge.source_key), (edge.destination, edge.destination_key)):
                if len(self.vertex(end).key) != len(key):
                    raise SchemaError(
                        f"Property graph {self.name!r}: edge table {str(edge.table)!r} refers to {end!r} by {len(key)} "
                        f"column(s) {key}, but its key has {len(self.vertex(end).key)}: {self.vertex(end).key}."
                    )
        if self.homogeneous and (len(self.vertices) > 1 or len(self.edges) > 1):
            raise SchemaError(f"Property graph {self.name!r} is homogeneous; it takes one vertex and one edge table.")

    def vertex(self, label: str) -> VertexTable:
        """Return the vertex table with this label; raise :class:`UnknownNameError` otherwise."""
        for v in self.vertices:
            if v.label == label:
                return v
        raise UnknownNameError(
            f"Property graph {self.name!r} has no node type {label!r}" + near_misses(label, [v.label for v in self.vertices])
        )

    def edge(self, edge_type: EdgeType) -> EdgeTable:
        """Return the edge table of this edge type; raise :class:`UnknownNameError` otherwise."""
        for e in self.edges:
            if e.edge_type == tuple(edge_type):
                return e
        raise UnknownNameError(
            f"Property graph {self.name!r} has no edge type {edge_type!r}"
            + near_misses(edge_type, [e.edge_type for e in self.edges])
        )

    def optional_columns(self, edge: EdgeTable) -> tuple[str, ...]:
        """Return the columns whose NULL means that there is no edge: the foreign key of a vertex table (``customer.city``)."""
        source, destination = self.vertex(edge.source), self.vertex(edge.destination)
        if edge.table == source.table and edge.source_key == source.key:
            return edge.destination_key
        if edge.table == destination.table and edge.destination_key == destination.key:
            return edge.source_key
        return ()

    def rows_of(self, element: VertexTable | EdgeTable) -> str:
        """Return SQL of the rows that are nodes or edges of one type, for FROM: their columns and ``rowid``.

        Edges with an end that is no node are among them.
        """
        optional = self.optional_columns(element) if isinstance(element, EdgeTable) else ()
        if not optional:
            return element.rows
        where = element.where_all(*(f"{quote(name)} IS NOT NULL" for name in optional))
        return f"(SELECT rowid, * FROM {element.table.sql}{where})"

    @property
    def elements(self) -> tuple[VertexTable | EdgeTable, ...]:
        """The vertex tables, then the edge tables."""
        return (*self.vertices, *self.edges)

    @property
    def tables(self) -> tuple[TableName, ...]:
        """The tables of the graph, each once: those of the vertices, then those of the edges."""
        return tuple(dict.fromkeys([*(v.table for v in self.vertices), *(e.table for e in self.edges)]))

    def with_vertex(self, vertex: VertexTable) -> PropertyGraph:
        """Return a copy with ``vertex`` added, or put in the place of the one with its label."""
        kept = tuple(v for v in self.vertices if v.label != vertex.label)
        return replace(self, vertices=(*kept, vertex))

    def with_edge(self, edge: EdgeTable) -> PropertyGraph:
        """Return a copy with ``edge`` added, or put in the place of the one with its edge type."""
        kept = tuple(e for e in self.edges if e.edge_type != edge.edge_type)
        return replace(self, edges=(*kept, edge))
