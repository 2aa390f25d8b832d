"""From a parsed statement to a `PropertyGraph` that fits the database: names found, keys comparable, properties possible."""

from __future__ import annotations

from dataclasses import replace

import duckdb

from dbgnn.errors import SchemaError, UnknownNameError, near_misses
from dbgnn.schema.catalog import (
    check_tables,
    columns,
    current_database,
    find_column,
    find_table,
    folded,
    foreign_keys,
    key_columns,
    primary_keys,
)
from dbgnn.schema.ddl import CreateGraph, EdgeSpec, EndSpec, Properties, Statement, TableRef, VertexSpec
from dbgnn.schema.keys import check_reference, vertex_key_types
from dbgnn.schema.model import EdgeTable, PropertyGraph, TableName, VertexTable
from dbgnn.schema.registry import find_graph, forget_index, graph_names, remove_graph, save, stored, transaction
from dbgnn.schema.remedy import remedy
from dbgnn.schema.types import Column, tensor_columns
from dbgnn.schema.written import written


def run(con: duckdb.DuckDBPyConnection, statement: Statement) -> None:
    """Carry out a parsed statement in one transaction, or in the one that is open.

    Raises:
        UnknownNameError: A graph, table, column or vertex table does not exist; with the near misses.
        SchemaError: The graph exists already, a key does not fit, a property cannot become a tensor, or a table's schema has
            the name of the database.
    """
    with transaction(con):
        known = find_graph(con, statement.name)
        if not isinstance(statement, CreateGraph):
            if known is not None:
                remove_graph(con, known)
            elif not statement.if_exists:
                names = graph_names(con)
                raise UnknownNameError(f"There is no property graph {statement.name!r}" + near_misses(statement.name, names))
            return
        if known is not None and statement.if_not_exists:
            return
        if known is not None and not statement.or_replace:
            raise SchemaError(f"The property graph {known!r} exists already; use CREATE OR REPLACE PROPERTY GRAPH, or DROP it.")
        graph = resolve(con, statement)
        if known is not None:
            if not _is_topology(con, known, graph):
                forget_index(con, known)
            graph = replace(graph, name=known)
        save(con, graph)


def _is_topology(con: duckdb.DuckDBPyConnection, name: str, graph: PropertyGraph) -> bool:
    """Whether the index of the graph kept under a name is one of this graph."""
    try:
        return _topology(stored(con, name)) == _topology(graph)
    except SchemaError:  # what is kept there is not what dbgnn wrote; it is being replaced
        return False


def _topology(graph: PropertyGraph) -> PropertyGraph:
    """The graph without what an index does not depend on."""
    return replace(
        graph,
        name="",
        vertices=tuple(replace(v, properties=None) for v in graph.vertices),
        edges=tuple(replace(e, properties=None) for e in graph.edges),
    )


def resolve(con: duckdb.DuckDBPyConnection, statement: CreateGraph) -> PropertyGraph:
    """Return the graph that the statement describes, with the names as the catalog spells them.

    Raises:
        UnknownNameError, SchemaError: as :func:`run`.
    """
    vertices: dict[str, VertexTable] = {}
    for spec in statement.vertices:
        if folded(spec.reference) in vertices:
            raise SchemaError(
                f"The vertex table {spec.reference!r} is there twice; give one an alias (AS), which is then its label."
            )
        vertices[folded(spec.reference)] = _vertex(con, spec)
    edges = tuple(_edge(con, spec, vertices) for spec in statement.edges)
    graph = PropertyGraph(statement.name, tuple(vertices.values()), edges)
    check_tables(con, graph.tables)
    return graph


def _table(con: duckdb.DuckDBPyConnection, ref: TableRef) -> TableName:
    current = current_database(con)
    if ref.catalog is not None and ref.catalog.lower() != current.lower():
        raise SchemaError(f"The table {str(ref)!r} is in another database; a graph's tables are all in {current!r}.")
    return find_table(con, ref.name, ref.schema)


def _vertex(con: duckdb.DuckDBPyConnection, spec: VertexSpec) -> VertexTable:
    table = _table(con, spec.table)
    if spec.key is not None:
        key = tuple(find_column(con, table, name) for name in spec.key)
    else:
        found = primary_keys(con).get(table)
        if found is None:
            raise SchemaError(
                f"The table {str(table)!r} has no primary key; say which columns identify a row: {spec.reference} KEY (…)"
                f" (there are: {', '.join(columns(con, table))})."
            )
        key = found
    label = spec.label or spec.alias or table.name
    vertex = VertexTable(table, label, key, _properties(con, table, spec.properties, set(key), nodes_too=False))
    vertex_key_types(con, vertex)
    return vertex


def _edge(con: duckdb.DuckDBPyConnection, spec: EdgeSpec, vertices: dict[str, VertexTable]) -> EdgeTable:
    table = _table(con, spec.table)
    for name in spec.key or ():
        find_column(con, table, name)
    source, source_key = _end(con, table, spec.source, vertices, "SOURCE")
    destination, destination_key = _end(con, table, spec.destination, vertices, "DESTINATION")
    return EdgeTable(
        table=table,
        label=spec.label or spec.alias or table.name,
        source=source.label,
        source_key=source_key,
        destination=destination.label,
        destination_key=destination_key,
        properties=_properties(
            con,
            table,
            spec.properties,
            {*source_key, *destination_key},
            nodes_too=any(v.table == table for v in vertices.values()),
        ),
    )


def _end(
    con: duckdb.DuckDBPyConnection, table: TableName, end: EndSpec, vertices: dict[str, VertexTable], word: str
) -> tuple[VertexTable, tuple[str, ...]]:
    """Return the vertex table at one end, and the edge table's columns in the order of its key."""
    vertex = _referred(con, end.vertex, vertices, f"The edge table {str(table)!r}: {word}")
    if end.columns is None:
        own, theirs = _foreign_key(con, table, vertex, word)
    else:
        own = tuple(find_column(con, table, name) for name in end.columns)
        theirs = vertex.key if end.references is None else tuple(find_column(con, vertex.table, n) for n in end.references)
    where = f"The edge table {str(table)!r}: {word} KEY ({', '.join(own)}) REFERENCES {end.vertex} ({', '.join(theirs)})"
    if set(theirs) != set(vertex.key):
        raise SchemaError(f"{where}: the KEY of {str(end.vertex)!r} is ({', '.join(vertex.key)}); refer to these columns.")
    if len(own) != len(theirs):
        raise SchemaError(f"{where}: {len(own)} and {len(theirs)} columns; each column of the key needs one.")
    by_key = dict(zip(theirs, own, strict=True))
    check_reference(con, table, vertex, [by_key[key] for key in vertex.key], f"{where}: ")
    return vertex, tuple(by_key[key] for key in vertex.key)


def _referred(con: duckdb.DuckDBPyConnection, ref: TableRef, vertices: dict[str, VertexTable], where: str) -> VertexTable:
    """Find a vertex table by its alias or name, or else by its label or its name with the schema."""
    if ref.schema is not None:
        table = _table(con, ref)
        found = [v for v in vertices.values() if v.table == table]
    elif (vertex := vertices.get(folded(ref.name))) is not None:
        return vertex
    else:
        found = [v for v in vertices.values() if folded(v.label) == folded(ref.name)]
    if len(found) > 1:
        raise SchemaError(f"{where}: {str(ref)!r} is several vertex tables; refer to one by its alias.")
    if not found:
        raise UnknownNameError(f"{where}: VERTEX TABLES has no {str(ref)!r}" + near_misses(ref, vertices))
    return found[0]


def _foreign_key(
    con: duckdb.DuckDBPyConnection, table: TableName, vertex: VertexTable, word: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    found = [f for f in foreign_keys(con) if f.table == table and f.target == vertex.table]
    if len(found) != 1:
        several = "), (".join(", ".join(f.columns) for f in found)
        have = f"several foreign keys, ({several})," if found else "no foreign key"
        raise SchemaError(
            f"The edge table {str(table)!r}: it has {have} to {str(vertex.table)!r}; write {word} KEY (…) REFERENCES "
            f"{vertex.table.name} ({', '.join(vertex.key)})."
        )
    return found[0].columns, found[0].target_columns


def _properties(
    con: duckdb.DuckDBPyConnection, table: TableName, clause: Properties | None, keys: set[str], *, nodes_too: bool
) -> tuple[str, ...] | None:
    """Return the names as the catalog spells them; None stands for what is served where nothing is said.

    For edges whose table is a vertex table too (``nodes_too``) that is nothing, so that ALL COLUMNS is a list there.
    """
    if clause is None or (clause == Properties() and not nodes_too):
        return None
    found = {c.name: c for c in tensor_columns(con, table)}
    if clause.names is None:
        constraints = key_columns(con).get(table, {})
        keys |= {name for name in found if folded(name) in constraints}
        without, back = {find_column(con, table, name) for name in clause.without} | keys, written(con)
        all_others = (c.name for c in found.values() if c.reason is None and c.name not in without)
        return tuple(name for name in all_others if not back.column(table, name))
    names = tuple(find_column(con, table, name) for name in clause.names)
    for name in names:
        if (reason := found[name].reason) is not None:
            raise SchemaError(
                f"The column {name!r} of {str(table)!r} is {found[name].sql_type} and cannot be served as a tensor: {reason}. "
                f"Leave it out of PROPERTIES{_or_convert(found[name], table)}"
            )
    return names


def _or_convert(column: Column, table: TableName) -> str:
    """Return what to do with a column of a graph that is not declared yet, so that nothing of the graph's can be of help."""
    statement = remedy(column, table, ("", "", ""))
    return f", or convert it: {statement}." if statement else "."
