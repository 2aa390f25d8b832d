"""From a parsed statement to a `PropertyGraph` that fits the database: names found, keys comparable, properties possible."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import duckdb

from dbgnn.errors import SchemaError, SqlError, UnknownNameError, near_misses
from dbgnn.schema.catalog import (
    ROWID,
    check_tables,
    columns,
    current_database,
    find_column,
    find_table,
    folded,
    foreign_keys,
    key_columns,
    primary_keys,
    table_of_view,
)
from dbgnn.schema.encoded import forget_encoded
from dbgnn.schema.graph_statement import CreateGraph, EdgeSpec, EndSpec, Properties, Statement, TableRef, VertexSpec
from dbgnn.schema.keys import check_reference, vertex_key_types
from dbgnn.schema.model import EdgeTable, PropertyGraph, TableName, VertexTable, View
from dbgnn.schema.registry import find_graph, forget_index, graph_names, remove_graph, save, stored, transaction
from dbgnn.schema.remedy import remedy
from dbgnn.schema.render import shown, shown_table
from dbgnn.schema.row_conditions import always_null, check_condition, run_condition
from dbgnn.schema.types import Column, tensor_columns
from dbgnn.schema.views import find_view, seen_through
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
            forget_encoded(con, known)
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
        vertices=tuple(replace(v, properties=None, view=None) for v in graph.vertices),
        edges=tuple(replace(e, properties=None, view=None) for e in graph.edges),
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


@dataclass(frozen=True, slots=True)
class _Named:
    """What an entry of a statement names: rows and columns of a table.

    Attributes:
        table: The table.
        called: What it was named by, the table or a view.
        condition: Which rows; None: all.
        view: The view.
        hidden: The columns of the table that the view does not show.
    """

    table: TableName
    called: str
    condition: str | None = None
    view: View | None = None
    hidden: frozenset[str] = frozenset()

    def column(self, con: duckdb.DuckDBPyConnection, name: str) -> str:
        """Return a column as the catalog spells it; raise :class:`UnknownNameError` where there is none to be seen."""
        found = find_column(con, self.table, name)
        if found in self.hidden and self.view is not None:
            shown = [c for c in columns(con, self.table) if c not in self.hidden]
            raise UnknownNameError(f"View {str(self.view.name)!r} has no column {name!r}" + near_misses(name, shown))
        return found

    def key(self, con: duckdb.DuckDBPyConnection, names: Iterable[str]) -> tuple[str, ...]:
        """Return the columns of a key; ``rowid``, which is no column, can be one by itself."""
        names = tuple(names)
        return (ROWID,) if [folded(name) for name in names] == [ROWID] else tuple(self.column(con, name) for name in names)


def _named(con: duckdb.DuckDBPyConnection, spec: VertexSpec | EdgeSpec) -> _Named:
    """Find the table, or the view of a table, that an entry names; its condition is checked, and run once."""
    ref = spec.table
    try:
        table = _table(con, ref)
    except UnknownNameError:
        raise
    except SchemaError:
        if (view := find_view(con, ref.name, ref.schema)) is None:
            raise
        return _of_view(con, view, spec)
    if spec.condition is not None:
        check_condition(con, table, spec.condition)
    return _Named(table, table.name, spec.condition)


def _of_view(con: duckdb.DuckDBPyConnection, view: TableName, spec: VertexSpec | EdgeSpec) -> _Named:
    seen = seen_through(con, view)
    if spec.condition is not None:
        both = f"({seen.condition}) AND ({spec.condition})" if seen.condition else spec.condition
        raise SchemaError(
            f"{str(view)!r} is a view of table {str(seen.table)!r}; a condition goes with the table: "
            f"{shown_table(seen.table)} AS {shown(spec.alias or view.name)} … WHERE {both}."
        )
    if seen.condition is not None:
        try:
            check_condition(con, seen.table, seen.condition)
        except SqlError as error:
            raise SchemaError(
                f"{str(view)!r} is a view whose condition a graph cannot use: {str(error).rstrip('.')}. "
                f"{table_of_view(con, view)}"
            ) from error
    hidden = frozenset(columns(con, seen.table)) - set(seen.columns)
    return _Named(seen.table, view.name, seen.condition, View(seen.name, seen.definition), hidden)


def _table(con: duckdb.DuckDBPyConnection, ref: TableRef) -> TableName:
    current = current_database(con)
    if ref.catalog is not None and ref.catalog.lower() != current.lower():
        raise SchemaError(f"The table {str(ref)!r} is in another database; a graph's tables are all in {current!r}.")
    return find_table(con, ref.name, ref.schema)


def _vertex(con: duckdb.DuckDBPyConnection, spec: VertexSpec) -> VertexTable:
    named = _named(con, spec)
    table = named.table
    if spec.key is not None:
        key = named.key(con, spec.key)
    else:
        found = primary_keys(con).get(table)
        if found is None or named.hidden.intersection(found):
            shown_columns = [c for c in columns(con, table) if c not in named.hidden]
            what = "table" if named.view is None else "view"
            raise SchemaError(
                f"The {what} {named.called!r} has no primary key; say which columns identify a row: {spec.reference} KEY (…)"
                f" (there are: {', '.join(shown_columns)})."
            )
        key = found
    label = spec.label or spec.alias or named.called
    properties = _properties(con, named, spec.properties, set(key), nodes_too=False)
    vertex = VertexTable(table, label, key, properties, named.condition, named.view)
    vertex_key_types(con, vertex)
    run_condition(con, vertex)
    return vertex


def _edge(con: duckdb.DuckDBPyConnection, spec: EdgeSpec, vertices: dict[str, VertexTable]) -> EdgeTable:
    named = _named(con, spec)
    named.key(con, spec.key or ())
    source, source_key = _end(con, named, spec.source, vertices, "SOURCE")
    destination, destination_key = _end(con, named, spec.destination, vertices, "DESTINATION")
    edge = EdgeTable(
        table=named.table,
        label=spec.label or spec.alias or named.called,
        source=source.label,
        source_key=source_key,
        destination=destination.label,
        destination_key=destination_key,
        properties=_properties(
            con,
            named,
            spec.properties,
            {*source_key, *destination_key},
            nodes_too=any(v.table == named.table for v in vertices.values()),
        ),
        condition=named.condition,
        view=named.view,
    )
    run_condition(con, edge)
    return edge


def _end(
    con: duckdb.DuckDBPyConnection, named: _Named, end: EndSpec, vertices: dict[str, VertexTable], word: str
) -> tuple[VertexTable, tuple[str, ...]]:
    """Return the vertex table at one end, and the edge table's columns in the order of its key."""
    table = named.table
    vertex = _referred(con, end.vertex, vertices, f"The edge table {str(table)!r}: {word}")
    if end.columns is None:
        own, theirs = _foreign_key(con, table, vertex, word)
    else:
        own = named.key(con, end.columns)
        theirs = vertex.key if end.references is None else _Named(vertex.table, vertex.label).key(con, end.references)
    where = f"The edge table {str(table)!r}: {word} KEY ({', '.join(own)}) REFERENCES {end.vertex} ({', '.join(theirs)})"
    if ROWID in (*own, *vertex.key) and (own != vertex.key or table != vertex.table):
        raise SchemaError(
            f"{where}: DuckDB gives rows other rowids, so that only edges of the same table can name its rows by rowid. Give "
            f"{str(vertex.table)!r} a key, and name that: {_with_key(con, vertex.table)}"
        )
    if set(theirs) != set(vertex.key):
        raise SchemaError(f"{where}: the KEY of {str(end.vertex)!r} is ({', '.join(vertex.key)}); refer to these columns.")
    if len(own) != len(theirs):
        raise SchemaError(f"{where}: {len(own)} and {len(theirs)} columns; each column of the key needs one.")
    by_key = dict(zip(theirs, own, strict=True))
    check_reference(con, table, vertex, [by_key[key] for key in vertex.key], f"{where}: ")
    return vertex, tuple(by_key[key] for key in vertex.key)


def _with_key(con: duckdb.DuckDBPyConnection, table: TableName) -> str:
    """Return the statements that give a table a column of numbers to know its rows by."""
    known = {folded(name) for name in columns(con, table)}
    name = next(n for n in ("id", *(f"id_{i}" for i in range(2, len(known) + 3))) if n not in known)
    return f"ALTER TABLE {shown_table(table)} ADD COLUMN {name} BIGINT; UPDATE {shown_table(table)} SET {name} = rowid"


def _referred(con: duckdb.DuckDBPyConnection, ref: TableRef, vertices: dict[str, VertexTable], where: str) -> VertexTable:
    """Find a vertex table by its alias or name, or else by its label or its name with the schema."""
    if ref.schema is not None:
        table = find_view(con, ref.name, ref.schema) or _table(con, ref)
        found = [v for v in vertices.values() if v.table == table and v.view is None] or [
            v for v in vertices.values() if v.view is not None and v.view.name == table
        ]
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
    con: duckdb.DuckDBPyConnection, named: _Named, clause: Properties | None, keys: set[str], *, nodes_too: bool
) -> tuple[str, ...] | None:
    """Return the names as the catalog spells them; None stands for what is served where nothing is said.

    For edges whose table is a vertex table too (``nodes_too``) that is nothing, so that ALL COLUMNS is a list there. Of a view
    that hides columns, what is served is a list.
    """
    if clause is None and (nodes_too or not named.hidden):
        return None
    if clause == Properties() and not nodes_too and not named.hidden:
        return None
    clause, table = clause or Properties(), named.table
    found = {c.name: c for c in tensor_columns(con, table)}
    if clause.names is None:
        constraints = key_columns(con).get(table, {})
        keys |= {name for name in found if folded(name) in constraints}
        nulls = frozenset[str]() if named.condition is None else always_null(named.condition)
        keys |= {name for name in found if folded(name) in nulls}
        without = {named.column(con, name) for name in clause.without} | keys | named.hidden
        back, others = written(con), (c.name for c in found.values() if c.reason is None)
        return tuple(name for name in others if name not in without and not back.column(table, name))
    names = tuple(named.column(con, name) for name in clause.names)
    for name in names:
        if (reason := found[name].reason) is not None:
            raise SchemaError(
                f"The column {name!r} of {str(table)!r} is {found[name].sql_type} and cannot be served as a tensor: {reason}. "
                f"Leave it out of PROPERTIES{_or_convert(found[name], table)}"
            )
    return names


def _or_convert(column: Column, table: TableName) -> str:
    """Return what to do with a column of a graph that is not declared yet, so that nothing of the graph's can be of help."""
    statement = remedy(column, table, None)
    return f", or convert it: {statement}." if statement else "."
