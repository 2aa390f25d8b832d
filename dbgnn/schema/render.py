"""A property graph as the statement that declares it."""

from __future__ import annotations

from collections.abc import Sequence

from dbgnn.schema.model import EdgeTable, PropertyGraph, TableName, VertexTable
from dbgnn.sql import quote

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_")

#: Words that SQL (as DuckDB 2.0 reads it) or the statement's grammar would read as something else.
_WORDS = frozenset(
    (
        "all analyse analyze and anti any are array as asc asof asymmetric at authorization binary both by case cast check "
        "collate collation column columns concurrently constraint create cross default deferrable desc describe destination "
        "distinct do edge else end except false fetch for foreign freeze from full glob grant group having if ilike in "
        "initially inner intersect into is isnull join key label lambda lateral leading left like limit natural no node not "
        "notnull null offset on only or order outer overlaps pivot pivot_longer pivot_wider placing positional primary "
        "properties property qualify references relationship returning right select semi show similar some source summarize "
        "symmetric table tables tablesample then to trailing true union unique unpack unpivot using variadic verbose vertex "
        "when where window with"
    ).split()
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
    named = v.table if v.view is None else v.view.name
    alias = "" if v.label == named.name else f" AS {shown(v.label)}"
    return f"{shown_table(named)}{alias} KEY {_list(v.key)}{_properties(v.properties)}{_condition(v)}"


def _edge(e: EdgeTable, graph: PropertyGraph) -> str:
    named = e.table if e.view is None else e.view.name
    label = "" if e.label == named.name else f" LABEL {shown(e.label)}"
    ends = " ".join(
        f"{word} KEY {_list(columns)} REFERENCES {shown(vertex)} {_list(graph.vertex(vertex).key)}"
        for word, columns, vertex in (("SOURCE", e.source_key, e.source), ("DESTINATION", e.destination_key, e.destination))
    )
    return f"{shown_table(named)} {ends}{label}{_properties(e.properties)}{_condition(e)}"


def _condition(element: VertexTable | EdgeTable) -> str:
    """Return the condition where the statement has to say it, behind all else; that of a view is the view's."""
    return "" if element.condition is None or element.view is not None else f" WHERE {element.condition}"
