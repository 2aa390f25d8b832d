"""A property graph as the statement that declares it."""

from __future__ import annotations

from collections.abc import Sequence

from dbgnn.schema.model import EdgeTable, PropertyGraph, TableName, VertexTable
from dbgnn.sql import quote

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_")

#: Words that SQL or the statement's grammar would read as something else.
_WORDS = frozenset(
    "all and any are array as asc case check column columns constraint create default desc destination distinct edge else end "
    "except false for foreign from grant group having if in into key label limit no node not null offset on or order primary "
    "properties property references relationship returning select source table tables then to true union unique using vertex "
    "when where window with".split()
)


def to_sql(graph: PropertyGraph) -> str:
    """Return ``CREATE PROPERTY GRAPH …`` for this graph; running it declares an equal one (``homogeneous`` has no syntax)."""
    vertices = ",\n".join(f"    {_vertex(v)}" for v in graph.vertices)
    text = f"CREATE PROPERTY GRAPH {shown(graph.name)}\n  VERTEX TABLES (\n{vertices}\n  )"
    if graph.edges:
        edges = ",\n".join(f"    {_edge(e, graph)}" for e in graph.edges)
        text += f"\n  EDGE TABLES (\n{edges}\n  )"
    return text + ";"


def shown(name: str) -> str:
    """Return a name as one would write it: quoted only where it has to be."""
    plain = set(name) <= _PLAIN and not name[:1].isdigit() and name not in _WORDS
    return name if plain and name else quote(name)


def shown_table(table: TableName) -> str:
    """Return a table's name as one would write it."""
    return shown(table.name) if table.schema == "main" else f"{shown(table.schema)}.{shown(table.name)}"


def _list(names: Sequence[str]) -> str:
    return "(" + ", ".join(map(shown, names)) + ")"


def _properties(names: tuple[str, ...] | None) -> str:
    if names is None:
        return ""
    return f" PROPERTIES {_list(names)}" if names else " NO PROPERTIES"


def _vertex(v: VertexTable) -> str:
    alias = "" if v.label == v.table.name else f" AS {shown(v.label)}"
    return f"{shown_table(v.table)}{alias} KEY {_list(v.key)}{_properties(v.properties)}"


def _edge(e: EdgeTable, graph: PropertyGraph) -> str:
    label = "" if e.label == e.table.name else f" LABEL {shown(e.label)}"
    ends = " ".join(
        f"{word} KEY {_list(columns)} REFERENCES {shown(vertex)} {_list(graph.vertex(vertex).key)}"
        for word, columns, vertex in (("SOURCE", e.source_key, e.source), ("DESTINATION", e.destination_key, e.destination))
    )
    return f"{shown_table(e.table)} {ends}{label}{_properties(e.properties)}"
