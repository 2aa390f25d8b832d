"""The statements about property graphs as data, as they were written; what the names stand for is not known here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TableRef:
    """A table's name as written; schema None: not said."""

    name: str
    schema: str | None = None
    catalog: str | None = None

    def __str__(self) -> str:
        return ".".join(part for part in (self.catalog, self.schema, self.name) if part is not None)


@dataclass(frozen=True, slots=True)
class Properties:
    """A properties clause. ``names`` None: all columns but those in ``without``."""

    names: tuple[str, ...] | None = None
    without: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class VertexSpec:
    """One entry of ``VERTEX TABLES`` as written; None: not said."""

    table: TableRef
    alias: str | None = None
    key: tuple[str, ...] | None = None
    label: str | None = None
    properties: Properties | None = None
    condition: str | None = None

    @property
    def reference(self) -> str:
        """The name by which edges refer to it."""
        return self.alias if self.alias is not None else self.table.name


@dataclass(frozen=True, slots=True)
class EndSpec:
    """One end of an edge table as written. ``columns`` None: the foreign key; ``references`` None: the vertex's key."""

    vertex: TableRef
    columns: tuple[str, ...] | None = None
    references: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class EdgeSpec:
    """One entry of ``EDGE TABLES`` as written."""

    table: TableRef
    source: EndSpec
    destination: EndSpec
    alias: str | None = None
    key: tuple[str, ...] | None = None
    label: str | None = None
    properties: Properties | None = None
    condition: str | None = None


@dataclass(frozen=True, slots=True)
class CreateGraph:
    """A ``CREATE PROPERTY GRAPH`` statement."""

    name: str
    vertices: tuple[VertexSpec, ...]
    edges: tuple[EdgeSpec, ...] = ()
    or_replace: bool = False
    if_not_exists: bool = False


@dataclass(frozen=True, slots=True)
class DropGraph:
    """A ``DROP PROPERTY GRAPH`` statement."""

    name: str
    if_exists: bool = False


Statement = CreateGraph | DropGraph
