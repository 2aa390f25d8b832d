"""`from_networkx`: a networkx graph into tables, by way of Arrow, which types the attributes.

Needs no networkx of its own: whoever has a graph has it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from torch import Tensor

from dbgnn import schema
from dbgnn.database import Database
from dbgnn.datasets.new_graph import check_attribute_names, check_name, check_target, free_column, free_graph_name
from dbgnn.display import warn
from dbgnn.errors import SchemaError, UnknownNameError, near_misses
from dbgnn.graph import Graph
from dbgnn.schema import EdgeTable, EdgeType, PropertyGraph, TableName, VertexTable
from dbgnn.schema.catalog import check_tables
from dbgnn.schema.model import Label
from dbgnn.schema.reserved import unasked
from dbgnn.stores import tables
from dbgnn.stores.binding import EDGE, NODE
from dbgnn.translated import translated

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True, slots=True)
class _TypeRows:
    """The nodes or edges of one type, as a table to be.

    Attributes:
        label: The node or edge type.
        table: The rows: keys, and attributes.
        keys: The key of a node, or those of the source and the destination.
        attributes: The names of the attributes.
    """

    label: Label
    table: pa.Table
    keys: tuple[str, ...]
    attributes: list[str]


def from_networkx(
    G: Any,  # noqa: N803 - networkx' and PyG's name
    db: Database,
    *,
    name: str | None = None,
    node_attrs: Sequence[str] | None = None,
    edge_attrs: Sequence[str] | None = None,
    node_type: str | None = None,
    edge_type: str | None = None,
) -> Graph:
    """Write a networkx graph into tables of nodes and of edges, and declare them a property graph.

    The nodes' names are kept as their keys, in a column ``id``; so ids go by the order of the names, not of ``G.nodes``.
    Attributes become columns of the types that Arrow sees in them: Python's floats DOUBLE, lists of one length
    ``DOUBLE[n]``. Text and the like is in the tables for SQL and for encoders; numbers and arrays are served as tensors. An
    attribute that a node or edge does not have is NULL there. ``G.graph`` is not kept.

    Without ``node_type`` and ``edge_type`` there is one table of nodes and one of edges. With them there is one per type,
    with the attributes that any node or edge of the type has; of what PyG's ``to_networkx`` makes of a
    ``HeteroData``, these are ``node_type="type", edge_type="type"``.

    Args:
        G: A ``Graph``, ``DiGraph``, ``MultiGraph`` or ``MultiDiGraph``. An undirected edge is written in both directions, a
            self loop once, as PyG's ``from_networkx`` does. Keys of a multigraph's edges are in a column ``key``.
        db: Where to.
        name: The name of the property graph; None: ``"graph"``.
        node_attrs: The attributes of nodes to write; None: all but ``node_type``.
        edge_attrs: The attributes of edges to write; None: all but ``edge_type``.
        node_type: The attribute of nodes that holds their type, a text; None: all are of type ``"node"``.
        edge_type: The attribute of edges that holds their relation, a text, or the whole edge type, a triple. The ends'
            types are those of the nodes; None: every relation is ``"to"``.

    Returns:
        The graph. Without types it is homogeneous, so that ``graph.to_data()`` gives a ``Data``.

    Raises:
        SchemaError: Names of nodes of one type that are neither all integers nor all texts; values of an attribute of which
            Arrow makes no column; names that are one to DuckDB; a node or edge without a type, or with one that is no
            text; a graph of that name is there already.
        UnknownNameError: No node or edge has an attribute that is asked for.
        ReadOnlyError: The database is open read-only.
    """
    check_target(db, "from_networkx")
    if not all(hasattr(G, part) for part in ("nodes", "edges", "is_directed", "is_multigraph")):
        raise SchemaError(f"from_networkx takes a networkx graph, not {type(G).__name__}.")
    types, nodes = _nodes(G, node_attrs, node_type)
    key_types = {each.label: each.table.schema.field(each.keys[0]).type for each in nodes}
    edges = _edges(G, edge_attrs, edge_type, types, key_types)
    con = db.cursor()
    with translated(db):
        definition = PropertyGraph(free_graph_name(con, name), homogeneous=node_type is None and edge_type is None)
        with tables.writing_uncompressed(con), tables.lending_transaction(con):
            for each in [*nodes, *edges]:
                definition = _create(con, definition, each)
            schema.save(con, definition)
        if said := unasked(con, definition):
            warn(f"from_networkx has kept all attributes. {said}", stacklevel=2)
        return Graph(db, definition)


def _nodes(graph: Any, wanted: Sequence[str] | None, node_type: str | None) -> tuple[dict[Any, str], list[_TypeRows]]:
    """Return the type of every node, and the tables of nodes by type, in the order in which the types come."""
    found: dict[str, tuple[list[Any], list[Any]]] = {} if node_type is not None else {NODE: ([], [])}
    types = {}
    for name, own in graph.nodes(data=True):
        label = types[name] = NODE if node_type is None else _text(own, node_type, "node", name)
        names, attributes = found.setdefault(label, ([], []))
        names.append(name)
        attributes.append(own)
    if not found:
        raise SchemaError(
            f"from_networkx: G has no nodes, so that node_type={node_type!r} names no types. Leave node_type out."
        )
    chosen = _chosen((own for _, attributes in found.values() for own in attributes), wanted, "node", node_type)
    rows = []
    for label, (names, attributes) in found.items():
        check_name(label, f"node_type={node_type!r}: a type")
        columns = _columns(attributes, chosen, "node")
        key = free_column("id", columns)
        rows.append(_TypeRows(label, pa.table({key: _keys(names), **columns}), (key,), list(columns)))
    return types, rows


def _edges(
    graph: Any,
    wanted: Sequence[str] | None,
    edge_type: str | None,
    types: Mapping[Any, str],
    key_types: Mapping[Any, pa.DataType],
) -> list[_TypeRows]:
    """Return the tables of edges by type, in the order in which the types come."""
    directed = graph if graph.is_directed() else graph.to_directed(as_view=True)
    is_multi = graph.is_multigraph()
    one_type = edge_type is None and list(key_types) == [NODE]
    found: dict[EdgeType, tuple[list[Any], list[Any], list[Any], list[Any]]] = {EDGE: ([], [], [], [])} if one_type else {}
    for source, destination, *key, own in directed.edges(keys=True, data=True) if is_multi else directed.edges(data=True):
        label = EDGE[1]
        if edge_type is not None:
            ends = types[source], types[destination]
            label = _relation(own, edge_type, (source, destination, *key), ends, directed=graph.is_directed())
        rows = found.setdefault((types[source], label, types[destination]), ([], [], [], []))
        rows[0].append(source)
        rows[1].append(destination)
        rows[2].extend(key)
        rows[3].append(own)
    chosen = _chosen((own for *_, attributes in found.values() for own in attributes), wanted, "edge", edge_type)
    for _, relation, _ in found:
        check_name(relation, f"edge_type={edge_type!r}: a relation")
    return [_edge_rows(label, rows, chosen, key_types, is_multi=is_multi) for label, rows in found.items()]


def _edge_rows(
    label: EdgeType,
    rows: tuple[list[Any], list[Any], list[Any], list[Any]],
    chosen: list[str],
    key_types: Mapping[Any, pa.DataType],
    *,
    is_multi: bool,
) -> _TypeRows:
    sources, destinations, keys, attributes = rows
    found = _columns(attributes, chosen, "edge")
    src, dst = free_column("src", found), free_column("dst", found)
    columns = {
        src: pa.array(sources, type=key_types[label[0]]),
        dst: pa.array(destinations, type=key_types[label[2]]),
    }
    if is_multi:
        columns[free_column("key", found)] = _column("the keys of edges", keys)
    return _TypeRows(label, pa.table({**columns, **found}), (src, dst), list(found))


# -- types -----------------------------------------------------------------------------------------------


def _type_of(own: Mapping[Any, Any], attribute: str, what: str, name: Any) -> Any:
    """Return the value of the attribute that holds the type of the node or edge ``name``."""
    if attribute not in own:
        at = _at(what, name)
        raise UnknownNameError(
            f"{what}_type: {at} has no attribute {attribute!r}{near_misses(attribute, own)}. Set it, "
            f"{at}[{attribute!r}] = '…', or name an attribute that every {what} has."
        )
    return own[attribute]


def _text(own: Mapping[Any, Any], attribute: str, what: str, name: Any) -> str:
    """Return a type, which is a text."""
    value = _type_of(own, attribute, what, name)
    if not isinstance(value, str):
        raise SchemaError(
            f"{what}_type: {_at(what, name)}[{attribute!r}] is {value!r}, and types are named by texts. Make texts of all: "
            f"for *_, own in G.{what}s(data=True): own[{attribute!r}] = str(own[{attribute!r}])"
        )
    return value


def _relation(own: Mapping[Any, Any], attribute: str, name: tuple[Any, ...], ends: tuple[str, str], *, directed: bool) -> str:
    """Return the relation of an edge, given as that or as a triple, which has to fit the types of the ends."""
    value = _type_of(own, attribute, "edge", name)
    if not _is_edge_type(value):
        return _text(own, attribute, "edge", name)
    if value[::2] != ends and (directed or value[::-2] != ends):
        at = f"{_at('edge', name)}[{attribute!r}]"
        raise SchemaError(
            f"edge_type: {at} is {value!r}, but the edge leads from a node of type {ends[0]!r} to one of type {ends[1]!r}. "
            f"Give the relation alone: {at} = {value[1]!r}"
        )
    return str(value[1])


def _is_edge_type(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 3 and all(isinstance(part, str) for part in value)


def _at(what: str, name: Any) -> str:
    """Return a node or edge as one writes it in Python."""
    return f"G.{what}s[{', '.join(map(repr, name)) if what == 'edge' else repr(name)}]"


# -- columns ---------------------------------------------------------------------------------------------


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


def _chosen(
    attributes: Iterable[Mapping[Any, Any]], wanted: Sequence[str] | None, what: str, type_attribute: str | None
) -> list[str]:
    """Return the names of the attributes to write."""
    known = list(dict.fromkeys(name for own in attributes for name in own))
    if isinstance(wanted, str):
        raise SchemaError(f"{what}_attrs must be a sequence of names, not the text {wanted!r}: {what}_attrs=[{wanted!r}].")
    for name in wanted or ():
        if name not in known:
            raise UnknownNameError(f"{what}_attrs: no {what} has an attribute {name!r}" + near_misses(name, known))
    return [name for name in known if name != type_attribute] if wanted is None else list(wanted)


def _columns(attributes: list[Mapping[Any, Any]], chosen: list[str], what: str) -> dict[str, pa.Array]:
    """Return the attributes of the nodes or edges of one type, by name, as Arrow columns."""
    there = {name for own in attributes for name in own}
    names = [name for name in chosen if name in there]
    check_attribute_names(f"G.{what}s", names)
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


def _create(con: duckdb.DuckDBPyConnection, definition: PropertyGraph, rows: _TypeRows) -> PropertyGraph:
    """Make the table of a type, fill it, and return the definition with it."""
    label = rows.label
    table = tables.free_name(con, label if isinstance(label, str) else "__".join(label))
    check_tables(con, [table])
    tables.lend(con, rows.table)
    con.execute(f"CREATE TABLE {table.sql} AS FROM {tables.VALUES}")
    properties = _properties(con, table, rows.attributes)
    if isinstance(label, str):
        return definition.with_vertex(VertexTable(table, label, rows.keys, properties))
    source, relation, destination = label
    src, dst = rows.keys
    return definition.with_edge(EdgeTable(table, relation, source, (src,), destination, (dst,), properties))


def _properties(con: duckdb.DuckDBPyConnection, table: TableName, names: Sequence[str]) -> tuple[str, ...]:
    """Return those attributes that can be served as tensors."""
    return tuple(c.name for c in schema.tensor_columns(con, table) if c.reason is None and c.name in names)
