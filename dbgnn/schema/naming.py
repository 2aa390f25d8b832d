"""Which node or edge type a user means. One rule for every argument that names one.

A node type is named by its label. An edge type is named by its triple; by its middle, by its two ends, or as PyG joins names
(``'author__writes__paper'``), each where no other edge type has the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import duckdb

from dbgnn.errors import SchemaError, UnknownNameError, near_misses
from dbgnn.schema.catalog import folded, tables
from dbgnn.schema.model import EdgeTable, EdgeType, PropertyGraph

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class TypeNames:
    """The node and edge types that a name may mean.

    Attributes:
        nodes: The node types.
        edges: The edge types.
        of: What has them, such as ``"graph 'papers'"``; for messages.
        graph: The property graph; None where the types are those of queries.
        con: An open connection: messages then tell of tables that are no part of the graph.
    """

    nodes: tuple[str, ...]
    edges: tuple[EdgeType, ...]
    of: str
    graph: PropertyGraph | None = None
    con: duckdb.DuckDBPyConnection | None = None

    @classmethod
    def of_graph(cls, graph: PropertyGraph, con: duckdb.DuckDBPyConnection | None = None) -> TypeNames:
        """Return the names of a graph's types."""
        nodes, edges = (v.label for v in graph.vertices), (e.edge_type for e in graph.edges)
        return cls(tuple(nodes), tuple(edges), f"graph {graph.name!r}", graph, con)

    def find(self, given: object, what: str = "") -> str | EdgeType:
        """Return the node or edge type that the user means; of two with the same name the node type.

        Args:
            given: What the user wrote.
            what: The argument that it was written for; "" for none.

        Raises:
            UnknownNameError: There is none; the message names the near misses, or says what differs.
            SchemaError: Several edge types have this name.
        """
        if (node := self._node(given)) is not None:
            return node
        if (edge := self._edge(given, what)) is not None:
            return edge
        if isinstance(given, (tuple, list)):
            raise self._unknown(given, what, "edge", self.edges)
        raise self._unknown(given, what, "node", [*self.nodes, *dict.fromkeys(t[1] for t in self.edges)])

    def node(self, given: object, what: str = "") -> str:
        """As :meth:`find`, of node types alone."""
        if (found := self._node(given)) is None:
            raise self._unknown(given, what, "node", self.nodes)
        return found

    def edge(self, given: object, what: str = "") -> EdgeType:
        """As :meth:`find`, of edge types alone."""
        if (found := self._edge(given, what)) is None:
            raise self._unknown(given, what, "edge", self.edges)
        return found

    def by_type(self, given: Mapping[Any, _Value], what: str) -> dict[str | EdgeType, _Value]:
        """Return a mapping by node or edge type, as the user names them, as one by their own names.

        Raises:
            SchemaError: Two names mean the same type; and what :meth:`find` raises.
        """
        out: dict[str | EdgeType, _Value] = {}
        for name, value in given.items():
            label = self.find(name, what)
            if label in out:
                raise SchemaError(f"{what}: {label!r} is named twice, the second time as {name!r}; name it once.")
            out[label] = value
        return out

    def _node(self, given: object) -> str | None:
        return next((label for label in self.nodes if label == given), None) if isinstance(given, str) else None

    def _edge(self, given: object, what: str) -> EdgeType | None:
        if isinstance(given, str):
            found = [t for t in self.edges if given in (t[1], "__".join(t))]
        elif isinstance(given, (tuple, list)):
            parts = tuple(given)
            found = [t for t in self.edges if t == parts] or [t for t in self.edges if (t[0], t[2]) == parts]
        else:
            return None
        if len(found) > 1:
            raise SchemaError(
                f"{self._where(what)} has several edge types that {given!r} may mean. Name one by its triple: "
                f"{', '.join(map(repr, found))}."
            )
        return found[0] if found else None

    def _where(self, what: str) -> str:
        return f"{what}: {self.of}" if what else self.of[:1].upper() + self.of[1:]

    def _unknown(self, given: object, what: str, kind: str, known: Iterable[object]) -> UnknownNameError:
        shown = tuple(given) if isinstance(given, list) else given
        return UnknownNameError(
            f"{self._where(what)} has no {kind} type {shown!r}{self.meant(shown)}{near_misses(shown, known)}"
        )

    def meant(self, given: object) -> str:
        """Return what the name is instead, for the message; "" if nothing."""
        if given in self.nodes:
            return ", but a node type of this name"
        if given in self.edges or any(given == t[1] for t in self.edges):
            return ", but an edge type of this name"
        if not isinstance(given, str) or self.graph is None:
            return ""
        name = folded(given)
        for element in self.graph.elements:
            if name in (folded(element.table.name), folded(str(element.table))):
                label = element.edge_type if isinstance(element, EdgeTable) else element.label
                return f"; table {str(element.table)!r} is {label!r}"
        if self.con is not None and any(name in (folded(t.name), folded(str(t))) for t in tables(self.con)):
            return f"; {given!r} is a table, but no part of this graph (CREATE OR REPLACE PROPERTY GRAPH can name it)"
        return ""
