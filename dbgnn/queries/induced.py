"""The graph form: the subgraph of a property graph that conditions, or hops around seeds, leave."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import duckdb

from dbgnn.errors import SchemaError, SqlError, UnknownNameError, near_misses
from dbgnn.queries.query_model import EdgeQuery, NodeQuery
from dbgnn.queries.read_only import ROWID, query_errors
from dbgnn.schema import (
    EdgeTable,
    PropertyGraph,
    TableName,
    TypeNames,
    VertexTable,
    columns,
    current,
    element_columns,
    served_columns,
    tensor_columns,
)
from dbgnn.schema.asked_keys import asked_keys
from dbgnn.schema.catalog import current_database
from dbgnn.schema.encoded import SideTable, beside_rows
from dbgnn.schema.keys import compared, same, vertex_key_types
from dbgnn.schema.model import Label
from dbgnn.schema.reserved import IN_MEMORY, refuse_unasked
from dbgnn.sql import check_filter, quote, quote_all

#: Per node or edge type, a query of the rowids, ``(rid)``, that are chosen.
Chosen = Mapping[Any, str]

#: The attribute that tells the seeds from what was reached from them, and the column of a query that holds it.
SEED_MASK, _SEEDS = "seed_mask", "dbgnn_seeds"


def resolve_labels(names: TypeNames, given: Mapping[Any, Any] | None, what: str) -> dict[Label, Any]:
    """Return a mapping by node or edge type as one by the graph's own."""
    if given is not None and not isinstance(given, Mapping):
        raise SchemaError(f"{what} must be given by node or edge type, {{'paper': …}}, not {given!r}.")
    return names.by_type(given or {}, what)


def conditions(
    con: duckdb.DuckDBPyConnection, definition: PropertyGraph, where: Mapping[Any, str] | None, what: str = "where"
) -> dict[Label, str]:
    """Return the conditions by type, checked; each is one harmless expression over the columns of its table's row."""
    checked: dict[Label, str] = {}
    for label, text in resolve_labels(TypeNames.of_graph(definition, con), where, what).items():
        if not isinstance(text, str):
            raise SqlError(f"{what}[{label!r}] must be a SQL condition, such as 'year >= 2015', not {text!r}.")
        table = _element(definition, label).table
        known = columns(con, table)
        name = f"{what}[{label!r}]"
        checked[label] = check_filter(con, text, where=name, table=(table.schema, table.name), columns=known)
    return checked


def queries_of(
    con: duckdb.DuckDBPyConnection,
    definition: PropertyGraph,
    where: Mapping[Label, str],
    *,
    selected: Mapping[Any, Sequence[str]] | None = None,
    chosen: Chosen | None = None,
    seeds: Mapping[str, str] | None = None,
    keys: Mapping[Any, Any] | bool | None = None,
) -> tuple[list[NodeQuery], list[EdgeQuery]]:
    """Return the queries of a subgraph: nodes in the order of their keys, edges in that of their table.

    Args:
        con: An open connection.
        definition: The graph.
        where: Checked conditions, by type.
        selected: By type, the columns to serve, by the names that PyG sees; types not named serve what a loader fetches.
        chosen: If given, only these types, and of them only these rows.
        seeds: Per node type, a query of the rowids that `SEED_MASK` marks.
        keys: Attach the keys; None: those of nodes where they are not the positions; or by type, see `asked_keys`.

    Raises:
        SchemaError: A column whose name PyG reserves would be served, and was not asked for by its other name.
    """
    definition = current(con, definition)
    named = resolve_labels(TypeNames.of_graph(definition, con), selected, "columns")
    vertices = [v for v in definition.vertices if chosen is None or v.label in chosen]
    edges = [e for e in definition.edges if chosen is None or e.edge_type in chosen]
    served = {v.label: _served(con, definition, v, named.get(v.label)) for v in vertices}
    kept = {e.edge_type: _served(con, definition, e, named.get(e.edge_type)) for e in edges}
    refuse_unasked(con, definition, named, IN_MEMORY, only=[*served, *kept])
    asked, attach = asked_keys(con, definition, keys), keys if keys is None or isinstance(keys, bool) else None
    nodes = [_node_query(con, definition, v, where, served[v.label], chosen, seeds, attach) for v in vertices]
    of_edges = [_edge_query(con, definition, e, where, kept[e.edge_type], chosen) for e in edges]
    return [replace(q, also=asked.get(q.label, ())) for q in nodes], [replace(q, also=asked.get(q.label, ())) for q in of_edges]


def _node_query(
    con: duckdb.DuckDBPyConnection,
    definition: PropertyGraph,
    vertex: VertexTable,
    where: Mapping[Label, str],
    served: tuple[str, ...],
    chosen: Chosen | None,
    seeds: Mapping[str, str] | None,
    keys: bool | None,  # noqa: FBT001 - passed on
) -> NodeQuery:
    table, condition = full_name(con, vertex.table), _condition(vertex, where, chosen)
    mask, attrs, asked = "", _renamed(con, vertex), vertex.label in where or chosen is not None
    if seeds is not None:
        mask, served = f", rowid IN ({seeds[vertex.label]}) AS {_SEEDS}", (*served, _SEEDS)
        attrs[_SEEDS] = SEED_MASK
    ranks = [compared(quote(k), kind) for k, kind in zip(vertex.key, vertex_key_types(con, vertex), strict=True)]
    terms = ", ".join(f"{k} ASC NULLS LAST" for k in ranks)
    order = f" ORDER BY {terms}"
    sides = _sides(con, definition, vertex, served)
    if chosen is None and not sides:
        # Sorting whole rows is slow; a table filled in the order of its key stays as it is.
        row = f"SELECT row({', '.join(ranks)}) AS k FROM {table}{condition}"
        query = f"SELECT coalesce(bool_and(k >= p), true) FROM (SELECT k, lag(k) OVER () AS p FROM ({row}))"
        with query_errors(f"nodes {vertex.label!r}", row):
            order = "" if con.execute(query).fetchall()[0][0] else order
    text = f"SELECT {_all_of(vertex.key)}{mask} FROM {table}{condition}{order}"
    if sides:
        text = beside_rows(f"SELECT {_all_of(vertex.key)}{mask} FROM {table}{condition}", sides)
    return NodeQuery(vertex.label, text, vertex.key, served, filtered=bool(condition), asked=asked, attach=keys, attrs=attrs)


def _sides(
    con: duckdb.DuckDBPyConnection, definition: PropertyGraph, element: VertexTable | EdgeTable, served: Sequence[str]
) -> list[SideTable]:
    """Return the side tables of the columns to serve, which hold what the table does."""
    columns = element_columns(con, definition, element)
    sides = [c.beside for c in columns if isinstance(c.beside, SideTable) and c.name in served]
    for side in sides:
        side.verify(con)
    return sides


def _renamed(con: duckdb.DuckDBPyConnection, element: VertexTable | EdgeTable) -> dict[str, str]:
    """Return the attributes of the columns whose own name means something to PyG: as loaders serve them."""
    return {c.name: c.attr for c in tensor_columns(con, element.table) if c.is_renamed}


def _edge_query(
    con: duckdb.DuckDBPyConnection,
    definition: PropertyGraph,
    edge: EdgeTable,
    where: Mapping[Label, str],
    served: tuple[str, ...],
    chosen: Chosen | None,
) -> EdgeQuery:
    there = [f"{name} IS NOT NULL" for name in map(quote_all, [[c] for c in definition.optional_columns(edge)])]
    condition = _condition(edge, where, chosen, there)
    order = "" if chosen is None else " ORDER BY rowid ASC"  # a semi-join does not keep the order
    columns = _all_of((*edge.source_key, *edge.destination_key))
    text = f"SELECT {columns}, rowid AS {quote(ROWID)} FROM {full_name(con, edge.table)}{condition}"
    sides = _sides(con, definition, edge, served)
    text = beside_rows(text, sides, ROWID) if sides else f"{text}{order}"
    return EdgeQuery(
        edge.edge_type, text, edge.source_key, edge.destination_key, served, rowid=ROWID, attrs=_renamed(con, edge)
    )


def _all_of(keys: Iterable[str]) -> str:
    """Return what to select of a table whose keys are these: a rowid, which can be one, is none of ``*``."""
    return "*, rowid" if "rowid" in keys else "*"


def full_name(con: duckdb.DuckDBPyConnection, table: TableName) -> str:
    """Return a table's name with the database: without it, a temporary table of the user's would hide it."""
    return f"{quote(current_database(con))}.{table.sql}"


def _condition(
    element: VertexTable | EdgeTable, where: Mapping[Label, str], chosen: Chosen | None, also: Sequence[str] = ()
) -> str:
    label: Label = element.label if isinstance(element, VertexTable) else element.edge_type
    parts = [*([where[label]] if label in where else []), *also]
    if chosen is not None:
        parts.append(f"rowid IN ({chosen[label]})")
    return element.where_all(*parts)


def _served(
    con: duckdb.DuckDBPyConnection,
    definition: PropertyGraph,
    element: VertexTable | EdgeTable,
    names: Sequence[str] | None,
) -> tuple[str, ...]:
    if names is None:
        return tuple(c.name for c in served_columns(con, definition, element) if c.reason is None)
    label = element.label if isinstance(element, VertexTable) else element.edge_type
    if isinstance(names, str):
        raise SchemaError(f"columns[{label!r}] must be a sequence of column names, not the string {names!r}.")
    known = {c.name: c.sql_type for c in element_columns(con, definition, element)}
    by_attr = {attr: name for name, attr in _renamed(con, element).items()}
    chosen = [name if name in known else by_attr.get(name, name) for name in names]
    for name in chosen:
        if name not in known:
            where = f"columns[{label!r}]: table {str(element.table)!r} has no column {name!r}"
            raise UnknownNameError(where + near_misses(name, known))
    return tuple(chosen)


def _element(definition: PropertyGraph, label: Label) -> VertexTable | EdgeTable:
    return definition.vertex(label) if isinstance(label, str) else definition.edge(label)


# -- hops ------------------------------------------------------------------------------------------------


@contextmanager
def reached(
    con: duckdb.DuckDBPyConnection,
    definition: PropertyGraph,
    seeds: Mapping[Label, str],
    hops: int,
    where: Mapping[Label, str],
) -> Iterator[tuple[dict[Any, str], dict[str, str]]]:
    """Lend the nodes from which a seed is reached in at most ``hops`` steps along the edges, as messages flow.

    Kept in temporary tables ``(rid, hop)`` of the connection, one per node type; DuckDB spills them.

    Args:
        con: The connection.
        definition: The graph.
        seeds: Checked conditions, by node type.
        hops: How many steps.
        where: Checked conditions that nodes and edges must meet.

    Yields:
        What `queries_of` takes as ``chosen`` (every type of the graph), and as ``seeds``.
    """
    tables = {v.label: f"temp.dbgnn_reached_{uuid.uuid4().hex}" for v in definition.vertices}
    try:
        for v in definition.vertices:
            conds = [c for c in (where.get(v.label), seeds.get(v.label, "false")) if c is not None]
            rows = f"SELECT rowid AS rid, 0 AS hop FROM {full_name(con, v.table)}{v.where_all(*conds)}"
            with query_errors(f"seeds {v.label!r}", rows):
                con.execute(f"CREATE TEMP TABLE {tables[v.label].partition('.')[2]} AS {rows}")
        for hop in range(1, hops + 1):
            added = 0
            for edge in definition.edges:
                with query_errors(f"hop {hop} of {edge.edge_type!r}", step := _step(con, definition, edge, hop, where, tables)):
                    added += con.execute(step).fetchall()[0][0]
            if not added:  # nor will a further hop find any
                break
        chosen: dict[Any, str] = {v.label: f"SELECT rid FROM {tables[v.label]}" for v in definition.vertices}
        chosen |= {e.edge_type: f"SELECT rowid AS rid FROM {full_name(con, e.table)}" for e in definition.edges}
        yield chosen, {label: f"SELECT rid FROM {table} WHERE hop = 0" for label, table in tables.items()}
    finally:
        for table in tables.values():
            # A transaction that has failed refuses every statement, and its end takes the tables away.
            with suppress(duckdb.Error):
                con.execute(f"DROP TABLE IF EXISTS {table}")


def _step(
    con: duckdb.DuckDBPyConnection,
    definition: PropertyGraph,
    edge: EdgeTable,
    hop: int,
    where: Mapping[Label, str],
    tables: Mapping[str, str],
) -> str:
    """Return the statement that adds the sources of the edges into the nodes reached at the hop before."""
    source, destination = definition.vertex(edge.source), definition.vertex(edge.destination)

    def rows(vertex: VertexTable, name: str) -> str:
        keys = ", ".join(f"{quote_all([k])} AS k{i}" for i, k in enumerate(vertex.key))
        condition = _condition(vertex, where, None)
        return f"(SELECT rowid AS rid, {keys} FROM {full_name(con, vertex.table)}{condition}) AS {name}"

    def on(vertex: VertexTable, name: str, own: Sequence[str]) -> str:
        return same(((f"{name}.k{i}", f"e.{quote(c)}") for i, c in enumerate(own)), vertex_key_types(con, vertex))

    edges = f"(SELECT * FROM {full_name(con, edge.table)}{_condition(edge, where, None)}) AS e"
    return f"""INSERT INTO {tables[edge.source]}
        SELECT DISTINCT s.rid, {hop} FROM {edges}
        JOIN {rows(destination, "d")} ON {on(destination, "d", edge.destination_key)}
        SEMI JOIN {tables[edge.destination]} AS f ON f.rid = d.rid AND f.hop = {hop - 1}
        JOIN {rows(source, "s")} ON {on(source, "s", edge.source_key)}
        ANTI JOIN {tables[edge.source]} AS seen ON seen.rid = s.rid"""


def check_seeds(definition: PropertyGraph, seeds: Any, hops: Any) -> dict[str, str]:
    """Return seeds, given as ``(node type, condition)`` or by node type, by node type."""
    if isinstance(hops, bool) or not isinstance(hops, int) or hops < 0:
        raise SchemaError(f"hops must be a number of steps, 0 or more, not {hops!r}.")
    pair = isinstance(seeds, tuple) and len(seeds) == 2
    if not pair and not isinstance(seeds, Mapping):
        raise SchemaError(f"seeds must be (node type, condition), or conditions by node type, not {seeds!r}.")
    given = dict([seeds]) if pair else dict(seeds)
    names = TypeNames.of_graph(definition)
    return {names.node(label, "seeds"): condition for label, condition in given.items()}
