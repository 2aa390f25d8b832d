"""Which keys of nodes and edges come along, by what ``keys=`` of loaders and of `graph.to_heterodata` says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import duckdb

from dbgnn.errors import SchemaError, UnknownNameError, near_misses
from dbgnn.schema.catalog import ROWID, ROWID_TYPE, columns, primary_keys
from dbgnn.schema.model import EdgeTable, Label, PropertyGraph, TableName, VertexTable
from dbgnn.schema.naming import TypeNames
from dbgnn.schema.types import Column, named_columns

#: What ``keys=`` may be; for messages.
_FORMS = "True, or by node or edge type True or columns, {'pays': 'tx_id'}"


def asked_keys(con: duckdb.DuckDBPyConnection, graph: PropertyGraph, given: Any) -> dict[Label, tuple[Column, ...]]:
    """Return the columns that come along, by type; types without any are left out.

    Args:
        con: An open connection.
        graph: The graph.
        given: None or False: none; True: the keys of all nodes, and of edges the primary keys of their tables, but where
            those are the nodes'; or by type True, a column or several.

    Raises:
        SchemaError: It is something else, or the table of an edge type has no primary key.
        UnknownNameError: There is no such type or column.
    """
    if given is None or given is False:
        return {}
    types: Mapping[Label, VertexTable | EdgeTable] = {
        **{v.label: v for v in graph.vertices},
        **{e.edge_type: e for e in graph.edges},
    }
    primary = primary_keys(con)
    if given is True:
        nodes = {v.table for v in graph.vertices}
        wanted = {label: _own(e, primary) for label, e in types.items() if isinstance(e, VertexTable) or e.table not in nodes}
    elif isinstance(given, Mapping):
        asked = TypeNames.of_graph(graph, con).by_type(given, "keys")
        wanted = {label: _names(label, types[label], names, primary) for label, names in asked.items()}
    else:
        raise SchemaError(f"keys must be {_FORMS}, not {given!r}.")
    return {label: tuple(_found(con, label, types[label], names)) for label, names in wanted.items() if names}


def _own(element: VertexTable | EdgeTable, primary: Mapping[TableName, tuple[str, ...]]) -> tuple[str, ...]:
    return element.key if isinstance(element, VertexTable) else primary.get(element.table, ())


def _names(
    label: Label, element: VertexTable | EdgeTable, given: Any, primary: Mapping[TableName, tuple[str, ...]]
) -> tuple[str, ...]:
    """Return the columns that are asked for of one type."""
    if given is None or given is False:
        return ()
    if given is True:
        if not (own := _own(element, primary)):
            raise SchemaError(f"keys[{label!r}]: table {str(element.table)!r} has no primary key. Name a column of it instead.")
        return own
    names = (given,) if isinstance(given, str) else tuple(given) if isinstance(given, Sequence) else ()
    if not names or not all(isinstance(name, str) for name in names):
        raise SchemaError(f"keys[{label!r}]: keys must be {_FORMS}, not {given!r}.")
    return names


def _found(
    con: duckdb.DuckDBPyConnection, label: Label, element: VertexTable | EdgeTable, names: Sequence[str]
) -> Iterator[Column]:
    rowid = {ROWID: ROWID_TYPE} if isinstance(element, VertexTable) and ROWID in element.key else {}
    known = {c.name: c for c in named_columns({**columns(con, element.table), **rowid})}
    by_name = {c.attr: c for c in known.values()} | known
    for name in dict.fromkeys(names):
        if name not in by_name:
            raise UnknownNameError(
                f"keys[{label!r}]: table {str(element.table)!r} has no column {name!r}" + near_misses(name, known)
            )
        if (column := by_name[name]).packed:
            raise SchemaError(f"keys[{label!r}]: column {name!r} is a feature, which columns= names.")
        yield column
