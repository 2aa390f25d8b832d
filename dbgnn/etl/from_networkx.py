"""`from_networkx`: a networkx graph into two tables, by way of Arrow, which types the attributes.

Needs no networkx of its own: whoever has a graph has it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from torch import Tensor

from dbgnn import schema
from dbgnn.database import Database, translated
from dbgnn.errors import SchemaError, UnknownNameError, near_misses
from dbgnn.etl.from_pyg import check_columns, check_target, free_column, free_graph_name
from dbgnn.graph import Graph
from dbgnn.schema import EdgeTable, PropertyGraph, TableName, VertexTable
from dbgnn.schema.catalog import check_tables
from dbgnn.stores import tables
from dbgnn.stores.binding import EDGE, NODE

if TYPE_CHECKING:
    import duckdb


def from_networkx(
    G: Any,  # noqa: N803 - networkx' and PyG's name
    db: Database,
    *,
    name: str | None = None,
    node_attrs: Sequence[str] | None = None,
    edge_attrs: Sequence[str] | None = None,
) -> Graph:
    """Write a networkx graph into a table of nodes and one of edges, and declare them a property graph.

    The nodes' names are kept as their keys, in a column ``id``; so ids go by the order of the names, not of ``G.nodes``.
    Attributes become columns of the types that Arrow sees in them: Python's floats DOUBLE, lists of one length
    ``DOUBLE[n]``. Text and the like is in the tables for SQL and for encoders; numbers and arrays are served as tensors. An
    attribute that a node or edge does not have is NULL there. ``G.graph`` is not kept.

    Args:
        G: A ``Graph``, ``DiGraph``, ``MultiGraph`` or ``MultiDiGraph``. An undirected edge is written in both directions, a
            self loop once, as PyG's ``from_networkx`` does. Keys of a multigraph's edges are in a column ``key``.
        db: Where to.
        name: The name of the property graph; None: ``"graph"``.
        node_attrs: The attributes of nodes to write; None: all.
        edge_attrs: The attributes of edges to write; None: all.

    Returns:
        The graph; homogeneous, so that ``graph.to_data()`` gives a ``Data``.

    Raises:
        SchemaError: Names of nodes that are neither all integers nor all texts; values of an attribute of which Arrow makes no
            column; names that DuckDB does not tell apart; a graph of that name is there already.
        UnknownNameError: No node or edge has an attribute that is asked for.
        ReadOnlyError: The database is open read-only.
    """
    check_target(db, "from_networkx")
    if not all(hasattr(G, part) for part in ("nodes", "edges", "is_directed", "is_multigraph")):
        raise SchemaError(f"from_networkx takes a networkx graph, not {type(G).__name__}.")
    nodes, node_key, served = _nodes(G, node_attrs)
    edges, edge_keys, served_edges = _edges(G, edge_attrs, nodes.schema.field(node_key).type)
    con = db.cursor()
    with translated(db):
        definition = PropertyGraph(free_graph_name(con, name), homogeneous=True)
        with tables.write_settings(con), tables.transaction(con):
            table = _create(con, NODE, nodes)
            definition = definition.with_vertex(VertexTable(table, NODE, (node_key,), _properties(con, table, served)))
            table = _create(con, "__".join(EDGE), edges)
            properties = _properties(con, table, served_edges)
            src, dst = edge_keys
            definition = definition.with_edge(EdgeTable(table, EDGE[1], NODE, (src,), NODE, (dst,), properties))
            schema.save(con, definition)
        return Graph(db, definition)


def _nodes(graph: Any, wanted: Sequence[str] | None) -> tuple[pa.Table, str, list[str]]:
    """Return the table of nodes, its key and its attributes."""
    names, attributes = [], []
    for name, own in graph.nodes(data=True):
        names.append(name)
        attributes.append(own)
    found = _columns(attributes, wanted, "node")
    key = free_column("id", found)
    return pa.table({key: _keys(names), **found}), key, list(found)


def _edges(graph: Any, wanted: Sequence[str] | None, key_type: pa.DataType) -> tuple[pa.Table, tuple[str, str], list[str]]:
    """Return the table of edges, the keys of its ends and its attributes."""
    directed = graph if graph.is_directed() else graph.to_directed(as_view=True)
    is_multi = graph.is_multigraph()
    ends: tuple[list[Any], list[Any], list[Any]] = ([], [], [])
    attributes = []
    for source, destination, *key, own in directed.edges(keys=True, data=True) if is_multi else directed.edges(data=True):
        ends[0].append(source)
        ends[1].append(destination)
        ends[2].extend(key)
        attributes.append(own)
    found = _columns(attributes, wanted, "edge")
    src, dst = free_column("src", found), free_column("dst", found)
    columns = {src: pa.array(ends[0], type=key_type), dst: pa.array(ends[1], type=key_type)}
    if is_multi:
        columns[free_column("key", found)] = _column("the keys of edges", ends[2])
    return pa.table({**columns, **found}), (src, dst), list(found)


def _keys(names: list[Any]) -> pa.Array:
    """Return the names of nodes as a key column: BIGINT or VARCHAR."""
    kinds = [_kind(name) for name in names]
    if (odd := next((i for i, kind in enumerate(kinds) if kind is None or kind != kinds[0]), None)) is not None:
        raise SchemaError(f"The names of nodes must be all integers or all texts, and {names[odd]!r} is another. {_RENAME}")
    try:
        return pa.array(names, type=kinds[0] if kinds else pa.int64())
    except (pa.ArrowException, OverflowError, UnicodeError) as error:
        raise SchemaError(f"The names of nodes make no key column: {error}. {_RENAME}") from error


def _kind(name: object) -> pa.DataType | None:
    if isinstance(name, str):
        return _TEXT
    return _INTEGER if isinstance(name, (int, np.integer)) and not isinstance(name, bool) else None


_INTEGER, _TEXT = pa.int64(), pa.string()

#: What to do with other names.
_RENAME = "networkx.convert_node_labels_to_integers(G, label_attribute='name') gives them numbers."


def _columns(attributes: list[Mapping[Any, Any]], wanted: Sequence[str] | None, what: str) -> dict[str, pa.Array]:
    """Return the attributes of all nodes or edges, by name, as Arrow columns."""
    known = list(dict.fromkeys(name for own in attributes for name in own))
    if isinstance(wanted, str):
        raise SchemaError(f"{what}_attrs must be a sequence of names, not the text {wanted!r}.")
    for name in wanted or ():
        if name not in known:
            raise UnknownNameError(f"{what}_attrs: no {what} has an attribute {name!r}" + near_misses(name, known))
    names = known if wanted is None else list(wanted)
    check_columns(f"G.{what}s", names)
    return {name: _column(f"the attribute {name!r} of {what}s", [own.get(name) for own in attributes]) for name in names}


def _column(what: str, values: Iterable[Any]) -> pa.Array:
    try:
        array = pa.array([_plain(value) for value in values])
        # Only None: text, which is not served.
        return array.cast(pa.string()) if pa.types.is_null(array.type) else _fixed(array)
    except (pa.ArrowException, OverflowError, UnicodeError, TypeError, ValueError) as error:
        raise SchemaError(
            f"Arrow makes no column of {what}: {error}. Give all of them values of one type, or leave them out by "
            "naming the others."
        ) from error


def _plain(value: Any) -> Any:
    """Return what Arrow reads of a tensor or array: a scalar, a vector, or lists of vectors."""
    if isinstance(value, Tensor):
        value = value.detach().cpu().numpy()
    if not isinstance(value, np.ndarray) or value.ndim == 1:
        return value
    return value.item() if value.ndim == 0 else [_plain(row) for row in value]


def _fixed(array: pa.Array) -> pa.Array:
    """Return lists that all have one length as fixed-size lists, at every depth."""
    if not pa.types.is_list(array.type) or array.null_count == len(array):
        return array
    lengths = pc.min_max(pc.list_value_length(array)).as_py()
    if lengths["min"] != lengths["max"] or not lengths["min"]:
        return array
    inner, missing = _fixed(array.flatten()), array.is_null()  # where there is none, nothing is in `flatten`
    if not array.null_count:
        return pa.FixedSizeListArray.from_arrays(inner, lengths["min"])
    places = np.repeat(np.cumsum(~missing.to_numpy(zero_copy_only=False)) - 1, lengths["min"]).clip(0) * lengths["min"]
    places += np.tile(np.arange(lengths["min"]), len(array))
    return pa.FixedSizeListArray.from_arrays(inner.take(pa.array(places)), lengths["min"], mask=missing)


def _create(con: duckdb.DuckDBPyConnection, wanted: str, rows: pa.Table) -> TableName:
    table = tables.free_name(con, wanted)
    check_tables(con, [table])
    tables.lend(con, rows)
    con.execute(f"CREATE TABLE {table.sql} AS FROM {tables.VALUES}")
    return table


def _properties(con: duckdb.DuckDBPyConnection, table: TableName, names: Sequence[str]) -> tuple[str, ...]:
    """Return those attributes that can be served as tensors."""
    return tuple(c.name for c in schema.tensor_columns(con, table) if c.reason is None and c.name in names)
