"""`query_to_heterodata`: from ad-hoc SQL to PyG's objects in memory; the way in of all three forms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from types import NoneType
from typing import Any

import duckdb
from torch_geometric.data import Data, HeteroData

from dbgnn.encoders import Encoders
from dbgnn.errors import SchemaError, SqlError, UnknownNameError, near_misses
from dbgnn.indexed_graph import IndexedGraph
from dbgnn.open_database import OpenDatabase
from dbgnn.parse_tree import walk
from dbgnn.queries import induced
from dbgnn.queries.assembling import Reader
from dbgnn.queries.callers_tables import python_tables
from dbgnn.queries.pattern import match
from dbgnn.queries.query_model import EdgeQuery, NodeQuery, Options
from dbgnn.queries.read_only import Params, check_query, tree_of
from dbgnn.schema import EdgeType, TypeNames, transaction
from dbgnn.schema.keys import check_keys_are_there
from dbgnn.schema.row_conditions import check_rows
from dbgnn.translated import translated


def query_to_heterodata(
    con: OpenDatabase | duckdb.DuckDBPyConnection,
    query: str | None = None,
    *,
    nodes: Mapping[str, str] | None = None,
    edges: Mapping[EdgeType, str] | None = None,
    keys: Mapping[str, str | Sequence[str]] | bool | None = None,
    graph: IndexedGraph | str | None = None,
    columns: Mapping[Any, Sequence[str]] | None = None,
    params: Params = None,
    encoders: Any = None,
    fit: Mapping[Any, str] | None = None,
    splits: Mapping[Any, Any] | None = None,
    time: Mapping[Any, str] | None = None,
    attributes: Mapping[str, Mapping[str, str]] | None = None,
    reverse: bool = False,
    undirected: bool | str = False,
    self_loops: bool = False,
    dangling: str | None = None,
    progress: bool | None = None,
) -> HeteroData:
    """Return what SQL selects as a PyG object in memory.

    *By type*: ``nodes`` and ``edges`` say, per type, which query gives them. Nodes are numbered in the order of their rows::

        query_to_heterodata(
            db,
            nodes={"paper": "SELECT id, x, y FROM paper WHERE year >= 2015"},
            edges={("paper", "cites", "paper"): "SELECT src, dst FROM cites"},
        )

    The first column of a node query is its key (``keys`` names others); an edge query begins with the source's key and the
    destination's. All other columns become attributes of their names. No property graph, and no index, is needed, and a
    query may read views, attached databases, Parquet and CSV files by path, and by the name of a variable a DataFrame, whose
    columns are read and whose index may say nothing.

    *By pattern*: ``query`` is one SELECT over the tables of a property graph, and the result every distinct node and
    edge that it matches, nodes in the order of their keys::

        query_to_heterodata(db, "SELECT u, r, m FROM users u JOIN ratings r ON … JOIN movies m ON … WHERE r.rating >= 4")

    *By graph*: see :meth:`dbgnn.Graph.to_heterodata`.

    Args:
        con: A database, which threads may share, or a plain DuckDB connection, one per thread.
        query: The pattern.
        nodes: Per node type, a SELECT.
        edges: Per edge type, a SELECT.
        keys: By type: per node type, the column or columns that identify a row. By pattern: whether to attach the key
            columns; None: where they are not the positions.
        graph: By pattern: the property graph, or its name; None: the only one.
        columns: By pattern: per node or edge type, the columns to take; types not named take what a loader fetches.
        params: Values bound to the queries: by name (``$name``); by pattern also by position.
        encoders: Per type and attribute, an encoder, such as ``{"movie": {"x": MultiHot("genres")}}``, or :class:`Encoders`.
            A column that only encoders read is no attribute by itself.
        fit: Per type, a condition on the rows that encoders are fitted on, such as ``"split = 'train'"``; else all.
        splits: Per type, what becomes ``train_mask`` and the like: a column, conditions by name, :class:`HashSplit` or
            :class:`TimeSplit`.
        time: Per type, the column that becomes ``time``.
        attributes: Per node type and attribute, a SELECT of key and value, one row per node: ``{"paper": {"y": "SELECT …"}}``.
        reverse: Add ``rev_…`` types: every edge the other way round.
        undirected: Give edges within one node type both directions: True, or how values of the edges that then are the
            same are joined: ``"add"``, ``"mean"``, ``"min"``, ``"max"``.
        self_loops: Add the edges from a node to itself that are missing.
        dangling: What an edge is whose end is not among the nodes: ``"error"``, or ``"drop"``, which leaves it out and
            counts it in ``data.num_dropped[edge_type]``. None: drop where the nodes were filtered. Of the edges left out,
            ``data.num_dangling[edge_type]`` counts those that have an end in no row of the table, whatever a node query
            leaves out; it has no number where the query does not tell (a join, a subquery, GROUP BY …).
        progress: Show progress bars on what takes more than two seconds; None: as the database does.

    Returns:
        Per node type attributes ``[N, …]``, per edge type ``edge_index`` (int64 ``[2, E]``) and attributes ``[E, …]``, of the
        dtypes of the columns. Empty results give empty tensors of the same dtypes. Keys that are no tensors (text,
        UUID …) are lists.

    Raises:
        SqlError: A query is not one SELECT that only reads, or cannot be run.
        UnknownNameError: A type, column or graph does not exist.
        SchemaError: A column cannot become a tensor, or types of keys do not fit.
        DataError: NULL or duplicate keys, NULL features, dangling edges.
    """
    if not isinstance(con, (OpenDatabase, duckdb.DuckDBPyConnection)):
        raise TypeError(f"con must be a dbgnn.Database or a DuckDB connection, not {type(con).__name__}; see dbgnn.connect().")
    db = con if isinstance(con, OpenDatabase) else OpenDatabase.around(con)
    options = {
        "encoders": encoders,
        "fit": fit,
        "splits": splits,
        "time": time,
        "attributes": attributes,
        "reverse": reverse,
        "undirected": undirected,
        "self_loops": self_loops,
        "dangling": dangling,
        "progress": progress,
    }
    if (query is None) == (nodes is None):
        raise SchemaError("Give either a query (by pattern), or nodes= and edges= (by type).")
    for name, mapping in (("nodes", nodes), ("edges", edges)):
        if not isinstance(mapping or {}, Mapping):
            raise SchemaError(f"{name} must be queries by type, {{'paper': 'SELECT …'}}, not {mapping!r}.")
    if isinstance(graph, IndexedGraph) and not graph.db.is_same(db):
        raise SchemaError(f"graph: {graph!r} is of {graph.db!s}, not of {db!s}.")
    texts = [query, *(nodes or {}).values(), *(edges or {}).values(), *_of_attributes(attributes)]
    con = db.idle_statements("query_to_heterodata")
    with translated(db), python_tables(con, _readable(con, texts)):
        if query is not None:
            if edges is not None or isinstance(keys, Mapping):
                raise SchemaError("A pattern says by itself which nodes and edges there are; leave out edges= and keys={…}.")
            definition = db.which_graph(graph)[1] if graph is None or isinstance(graph, str) else graph.definition
            return _by_pattern(db, definition, query, keys, columns, params, options)
        if graph is not None or columns is not None:
            raise SchemaError("graph= and columns= are for a pattern; by type, the queries say which columns there are.")
        if params is not None and not isinstance(params, Mapping):
            raise SchemaError("params must be given by name, {'name': value}, since there are several queries.")
        assert nodes is not None
        return _by_type(db, nodes, edges or {}, keys, params, options)


def to_heterodata(
    graph: IndexedGraph,
    where: Mapping[Any, str] | None = None,
    *,
    columns: Mapping[Any, Sequence[str]] | None = None,
    seeds: Any = None,
    hops: int = 0,
    keys: Mapping[Any, Any] | bool | None = None,
    **options: Any,
) -> HeteroData:
    """Return the subgraph of a property graph; documented at :meth:`dbgnn.Graph.to_heterodata`."""
    definition, db = graph.definition, graph.db
    with translated(db):
        con = db.idle_statements("to_heterodata")
        db.need_catalog(con)
        check_keys_are_there(con, definition)
        check_rows(con, definition)
        checked = induced.conditions(con, definition, where)
        opts = _options(db, TypeNames.of_graph(definition, con), options)
        texts = _readable(con, _of_attributes(opts.attributes))
        if seeds is None:
            if hops:
                raise SchemaError("hops needs seeds, such as seeds=('paper', \"year = 2020\").")
            with python_tables(con, texts), transaction(con):
                return Reader(con, opts).data(*induced.queries_of(con, definition, checked, selected=columns, keys=keys))
        starts = induced.conditions(con, definition, induced.check_seeds(definition, seeds, hops), "seeds")
        hood = induced.reached(con, definition, starts, hops, checked)
        with python_tables(con, texts), transaction(con), hood as (chosen, marked):
            queries = induced.queries_of(con, definition, checked, selected=columns, chosen=chosen, seeds=marked, keys=keys)
            return Reader(con, opts).data(*queries)


def to_data(graph: IndexedGraph, where: Mapping[Any, str] | None = None, **options: Any) -> Data:
    """Return the same as :func:`to_heterodata` of a graph of one node and at most one edge type, as ``Data``."""
    definition = graph.definition
    if len(definition.vertices) != 1 or len(definition.edges) > 1:
        raise SchemaError(
            f"Graph {definition.name!r} has {len(definition.vertices)} node and {len(definition.edges)} edge types; Data has "
            "one of each. Use to_heterodata()."
        )
    hetero, data = to_heterodata(graph, where, **options), Data()
    stores = [hetero[definition.vertices[0].label]]
    stores += [hetero[e.edge_type] for e in definition.edges]
    extra = [t for t in hetero.edge_types if t not in [e.edge_type for e in definition.edges]]
    if extra:
        raise SchemaError(f"reverse=True adds the edge type {extra[0]!r}, and Data has one; use undirected=True.")
    for store in [hetero._global_store, *stores]:
        for name, value in store.items():
            if name in data and name != "num_nodes":
                raise SchemaError(f"Both nodes and edges have an attribute {name!r}; Data cannot. Leave one out by columns=.")
            data[name] = value
    return data


def _by_pattern(
    db: OpenDatabase, definition: Any, query: str, keys: Any, columns: Any, params: Params, options: dict[str, Any]
) -> HeteroData:
    con = db.statements()
    db.need_catalog(con)
    check_keys_are_there(con, definition)
    check_rows(con, definition)
    opts = _options(db, TypeNames.of_graph(definition, con), options)
    with transaction(con), match(con, definition, query, params) as found:
        chosen: dict[Any, str] = {**found.nodes, **found.edges}
        return Reader(con, opts).data(*induced.queries_of(con, definition, {}, selected=columns, chosen=chosen, keys=keys))


def _by_type(
    db: OpenDatabase,
    nodes: Mapping[str, str],
    edges: Mapping[EdgeType, str],
    keys: Any,
    params: Mapping[str, object] | None,
    options: dict[str, Any],
) -> HeteroData:
    con = db.statements()
    if keys is not None and not isinstance(keys, Mapping):
        raise SchemaError("keys must say, per node type, which columns identify a row, such as {'rating': ('user', 'movie')}.")
    for label in nodes:
        if not isinstance(label, str):
            raise SchemaError(f"nodes: a node type is a name, not {label!r}.")
    for edge_type in edges:
        _check_edge_type(edge_type, nodes)
    names = TypeNames(tuple(nodes), tuple(edges), "the set of queries")
    named_keys = {names.node(label, "keys"): key for label, key in (keys or {}).items()}
    node_queries = []
    for label, text in nodes.items():
        checked = check_query(con, text, where=f"nodes {label!r}")
        key: Any = named_keys.get(label)
        if not isinstance(key, (str, Sequence, NoneType)):
            raise SchemaError(f"keys[{label!r}] must name the columns that identify a row, not {key!r}.")
        named = (key,) if isinstance(key, str) else None if key is None else tuple(key)
        node_queries.append(NodeQuery(label, checked, named, filtered=_filters(con, checked)))
    edge_queries = [EdgeQuery(t, check_query(con, text, where=f"edges {t!r}")) for t, text in edges.items()]
    return Reader(con, _options(db, names, options), params).data(node_queries, edge_queries)


def _check_edge_type(edge_type: Any, nodes: Mapping[str, str]) -> None:
    if not (isinstance(edge_type, tuple) and len(edge_type) == 3 and all(isinstance(part, str) for part in edge_type)):
        raise SchemaError(f"edges: an edge type is (source, relation, destination), not {edge_type!r}.")
    for end in edge_type[::2]:
        if end not in nodes:
            raise UnknownNameError(
                f"edges: {edge_type!r} has the node type {end!r}, which nodes= lacks" + near_misses(end, nodes)
            )


def _of_attributes(attributes: Any) -> list[Any]:
    given = list(attributes.values()) if isinstance(attributes, Mapping) else []
    return [text for queries in given if isinstance(queries, Mapping) for text in queries.values()]


def _readable(con: duckdb.DuckDBPyConnection, texts: Sequence[Any]) -> Iterator[str]:
    """Yield the texts that are queries; what is wrong with the others is said where it is known what they are for."""
    for text in texts:
        with suppress(SqlError):
            yield check_query(con, text, where="a query")


def _filters(con: duckdb.DuckDBPyConnection, text: str) -> bool:
    """Whether a checked query gives other rows than those of one table, as far as its text shows."""
    node = tree_of(con, text, "a query")[0]["node"]
    if node["type"] != "SELECT_NODE" or node["from_table"]["type"] not in {"BASE_TABLE", "TABLE_FUNCTION"}:
        return True
    clauses = "where_clause", "group_expressions", "having", "qualify", "sample"
    return (
        text.startswith("(")
        or any(node[clause] for clause in clauses)
        or bool(node["cte_map"]["map"] or node["from_table"].get("sample"))
        or any(modifier["type"] != "ORDER_MODIFIER" for modifier in node["modifiers"])
        or any(part.get("class") == "SUBQUERY" for part in walk(node))
    )


def _options(db: OpenDatabase, names: TypeNames, given: dict[str, Any]) -> Options:
    """Return the options, with names of types resolved."""
    out: dict[str, Any] = {k: v for k, v in given.items() if v is not None}
    out.setdefault("progress", db.settings.progress)
    for name in ("fit", "splits", "time", "attributes"):
        if not isinstance(out.get(name, {}), Mapping):
            raise SchemaError(f"{name} must be given by node or edge type, {{'paper': …}}, not {out[name]!r}.")
        if name == "attributes":
            out[name] = {names.node(label, name): queries for label, queries in out.get(name, {}).items()}
        elif name in out:
            out[name] = induced.resolve_labels(names, out[name], name)
    if not isinstance(out.get("encoders", {}), (Mapping, Encoders)):
        raise SchemaError(f"encoders must be given by node or edge type, {{'paper': {{'x': …}}}}, not {out['encoders']!r}.")
    if isinstance(out.get("encoders"), Mapping):
        out["encoders"] = induced.resolve_labels(names, out["encoders"], "encoders")
    return Options(**out)
