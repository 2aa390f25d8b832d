"""Writing an edge index: its table, the vertex tables where absent, and the definition, in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from dbgnn import schema
from dbgnn.errors import DataError, RequestError, SchemaError, UnknownNameError
from dbgnn.schema import EdgeTable, EdgeType, PropertyGraph, VertexTable
from dbgnn.schema.encoded import forget_encoded
from dbgnn.sql import quote, quote_all
from dbgnn.stores import tables
from dbgnn.stores.binding import EDGE, Binding
from dbgnn.stores.features import new_vertex
from dbgnn.stores.tables import VALUES
from dbgnn.topology import VertexIndex, ids_of_keys

if TYPE_CHECKING:
    import duckdb


def put_edges(binding: Binding, edge_type: Any, edge_index: Any, layout: str, size: Sequence[int | None] | None) -> None:
    """Put all edges of a type, in the order given, which is the order of their ids.

    Args:
        binding: The graph.
        edge_type: ``(source, label, destination)``, known or new; None in a homogeneous graph.
        edge_index: ``(row, col)``, ``(rowptr, col)`` or ``(row, colptr)`` of integers.
        layout: ``"coo"``, ``"csr"`` or ``"csc"``.
        size: Number of source and destination nodes; None: as many as there are, or the largest id + 1.

    Raises:
        RequestError: Not two integer vectors that fit the layout.
        DataError: An endpoint is not below the number of nodes, or that number is not the size given.
        SchemaError: The type exists and its table was not made by ``put_edge_index``.
    """
    label = _label(binding, edge_type)
    row, col, least = _coo(edge_index, layout, label)
    con = binding.db.cursor()
    known = next((e for e in binding.definition.edges if e.edge_type == label), None)
    if known is not None:
        _check_replaceable(con, known, label)
    indexed = _indexed(binding, [label[0], label[2]])  # before the transaction, which would not see an index built for it
    definition = replace(binding.definition, homogeneous=binding.definition.homogeneous or edge_type is None)
    with tables.lending_transaction(con):
        for ends in _ends(label, row, col, size, least):
            definition = _with_nodes(con, definition, label, *ends)
        table = known.table if known is not None else tables.free_name(con, "__".join(label))
        edge, query = _edge_table(con, indexed, definition, label, table)
        if known is not None:
            con.execute(f"DROP TABLE {table.sql}")
        tables.lend(con, pa.table({"src": row.numpy(), "dst": col.numpy(), "pos": np.arange(len(row))}))
        con.execute(f"CREATE TABLE {table.sql} AS {query}")
        tables.set_comment(con, table, tables.EDGES_PUT)
        definition = definition.with_edge(edge)
        schema.save(con, definition)
    binding.redefine(definition)
    binding.rebuild()


def remove_edges(binding: Binding, label: EdgeType) -> None:
    """Take an edge type out of the graph; drop its table if ``put_edge_index`` made it."""
    con = binding.db.cursor()
    edge = binding.definition.edge(label)
    definition = replace(binding.definition, edges=tuple(e for e in binding.definition.edges if e.edge_type != label))
    with tables.lending_transaction(con):
        if edge.table not in definition.tables and tables.comment_of(con, edge.table) == tables.EDGES_PUT:
            con.execute(f"DROP TABLE {edge.table.sql}")
        forget_encoded(con, definition.name, label)
        schema.save(con, definition)
    binding.selection.pop(label, None)
    binding.redefine(definition)


# -- what is asked -----------------------------------------------------------------------------------------


def _label(binding: Binding, edge_type: Any) -> EdgeType:
    if edge_type is None:
        found = binding.edge_label(None)
        if found is not None:
            return found
        node = binding.definition.vertices[0].label if binding.definition.vertices else EDGE[0]
        return (node, EDGE[1], node)
    parts = tuple(edge_type) if isinstance(edge_type, (list, tuple)) else ()
    if len(parts) != 3 or not all(isinstance(p, str) for p in parts):
        raise UnknownNameError(f"An edge type is (source, label, destination), three strings, or None; not {edge_type!r}.")
    if binding.definition.homogeneous and parts not in [e.edge_type for e in binding.definition.edges]:
        raise SchemaError(
            f"Graph {binding.graph.name!r} is homogeneous (it was begun with None as a name); {parts!r} cannot join it."
        )
    return parts


def _coo(edge_index: Any, layout: str, label: EdgeType) -> tuple[Tensor, Tensor, tuple[int | None, int | None]]:
    """Return ``(row, col)`` as int64, and the numbers of source and destination nodes that a pointer tells."""
    try:
        row, col = (_ids(part, label) for part in edge_index)
    except (TypeError, ValueError) as error:
        raise RequestError(f"The edge index of {label!r} must be a pair of integer vectors: {error}") from error
    sizes: tuple[int | None, int | None] = (None, None)
    if layout == "csr":
        sizes, row = (len(row) - 1, None), _expanded(row, len(col), label)
    elif layout == "csc":
        sizes, col = (None, len(col) - 1), _expanded(col, len(row), label)
    if len(row) != len(col):
        raise RequestError(f"The edge index of {label!r} has {len(row):,} sources and {len(col):,} destinations.")
    for part in (row, col):
        if len(part) and int(part.min()) < 0:
            raise RequestError(f"The edge index of {label!r} holds the negative id {int(part.min())}.")
    return row, col, sizes


def _ids(part: Any, label: EdgeType) -> Tensor:
    tensor = part.detach().cpu() if isinstance(part, Tensor) else torch.from_numpy(np.array(part))
    if tensor.dim() != 1:
        raise RequestError(f"The edge index of {label!r} must be made of vectors, not of shape {tuple(tensor.shape)}.")
    if tensor.numel() and (tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool):
        raise RequestError(f"The edge index of {label!r} is of {tensor.dtype}; ids are integers.")
    return tensor.long().contiguous()


def _expanded(ptr: Tensor, num_edges: int, label: EdgeType) -> Tensor:
    counts = ptr.diff()
    if not len(ptr) or int(ptr[0]) != 0 or int(ptr[-1]) != num_edges or (len(counts) and int(counts.min()) < 0):
        raise RequestError(f"The pointer of {label!r} must ascend from 0 to the number of edges, {num_edges:,}.")
    return torch.repeat_interleave(torch.arange(len(counts)), counts)


def _ends(
    label: EdgeType, row: Tensor, col: Tensor, size: Sequence[int | None] | None, least: tuple[int | None, int | None]
) -> list[tuple[str, int, int | None]]:
    """Return, per node type, ``(label, nodes needed, number of nodes given or None)``."""
    given = tuple(size) if size is not None else (None, None)
    needed = [max(int(ids.max()) + 1 if len(ids) else 0, n or 0) for ids, n in ((row, least[0]), (col, least[1]))]
    if label[0] != label[2]:
        return [(label[0], needed[0], given[0]), (label[2], needed[1], given[1])]
    both = [n for n in given if n is not None]
    return [(label[0], max(needed), max(both) if both else None)]


def _check_replaceable(con: duckdb.DuckDBPyConnection, edge: EdgeTable, label: EdgeType) -> None:
    if tables.comment_of(con, edge.table) != tables.EDGES_PUT:
        raise SchemaError(
            f"The edges of {label!r} are table {str(edge.table)!r}, which put_edge_index did not make, so it does not "
            "replace it. Change the "
            "rows with SQL, or take the type out of the graph with remove_edge_index first (the table stays)."
        )
    features = [c for c in schema.columns(con, edge.table) if c not in (*edge.source_key, *edge.destination_key)]
    if features:
        raise SchemaError(
            f"The edges of {label!r} have the attributes {features}, which new edges would lose. "
            "Take them away with remove_tensor, or all edges with remove_edge_index, first."
        )


# -- tables ------------------------------------------------------------------------------------------------


def _with_nodes(
    con: duckdb.DuckDBPyConnection,
    definition: PropertyGraph,
    edge_type: EdgeType,
    label: str,
    needed: int,
    given: int | None,
) -> PropertyGraph:
    """Make sure that a node type has the nodes the edges need: create its table, or let it grow if its nodes were counted."""
    if given is not None and given < needed:
        raise DataError(f"Edges of {edge_type!r} name node {needed - 1:,} of {label!r}, but its size was given as {given:,}.")
    wanted = needed if given is None else given
    comment = tables.NODES_COUNTED if given is None else None
    if label not in [v.label for v in definition.vertices]:
        vertex = new_vertex(con, definition, label)
        tables.create_nodes(con, vertex.table, vertex.key[0], wanted, comment)
        return definition.with_vertex(vertex)
    vertex = definition.vertex(label)
    count = int(tables.one(con, f"SELECT count(*) FROM {vertex.rows}"))
    if tables.comment_of(con, vertex.table) == tables.NODES_COUNTED:
        if wanted > count:
            tables.add_nodes(con, vertex.table, vertex.key[0], count, wanted)
            count = wanted
        if given == count:
            tables.set_comment(con, vertex.table, None)
    if needed > count:
        raise DataError(
            f"Edges of {edge_type!r} name node {needed - 1:,} of {label!r}, but table {str(vertex.table)!r} has {count:,} rows "
            f"(ids 0 to {count - 1:,}). Add the nodes first."
        )
    if given is not None and given != count:
        raise DataError(
            f"The size of {edge_type!r} says {given:,} nodes of {label!r}, but table {str(vertex.table)!r} has {count:,} rows."
        )
    return definition


def _edge_table(
    con: duckdb.DuckDBPyConnection,
    indexed: dict[str, VertexIndex],
    definition: PropertyGraph,
    label: EdgeType,
    table: schema.TableName,
) -> tuple[EdgeTable, str]:
    """Return the edge table, and the query that makes its rows of `VALUES` ``(src, dst, pos)``, in the order of pos."""
    ends = []
    for end, name in (("src", label[0]), ("dst", label[2])):
        vertex = definition.vertex(name)
        columns = (end,) if len(vertex.key) == 1 else tuple(f"{end}_{k}" for k in vertex.key)
        ends.append((end, vertex, columns, indexed.get(name)))
    edge = EdgeTable(table, label[1], label[0], ends[0][2], label[2], ends[1][2])
    if all(_keys_are_ids(con, vertex, index) for _, vertex, _, index in ends):
        return edge, f"SELECT src, dst FROM {VALUES} ORDER BY pos ASC"
    selects, joins = [], []
    for end, vertex, columns, index in ends:
        if _keys_are_ids(con, vertex, index):
            selects.append(f"v.{end} AS {quote(columns[0])}")
            continue
        assert index is not None
        joins.append(f"JOIN ({ids_of_keys(index)}) AS {end}_of ON {end}_of.id = v.{end}")
        selects += [f"{end}_of.k{i} AS {quote(c)}" for i, c in enumerate(columns)]
    return edge, f"SELECT {', '.join(selects)} FROM {VALUES} AS v {' '.join(joins)} ORDER BY v.pos ASC"


def _indexed(binding: Binding, labels: list[str]) -> dict[str, VertexIndex]:
    """Return the indices of the node types that have keys of their own, as they were before this write."""
    known = [label for label in labels if any(v.label == label for v in binding.definition.vertices)]
    if not known:
        return {}
    vertices = binding.topology().vertices
    return {label: vertices[label] for label in known}


def _keys_are_ids(con: duckdb.DuckDBPyConnection, vertex: VertexTable, index: VertexIndex | None) -> bool:
    """Whether key == id: in a table made by a put (checked, as rows may have been deleted), or by the index."""
    if index is not None:
        return index.dense
    key = quote_all(vertex.key)
    return bool(tables.one(con, f"SELECT coalesce(min({key}) = 0 AND max({key}) = count(*) - 1, true) FROM {vertex.rows}"))
