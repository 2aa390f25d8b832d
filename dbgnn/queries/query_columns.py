"""What a column of a query becomes: an attribute of which name, and a tensor."""

from __future__ import annotations

import math

from dbgnn.errors import SchemaError
from dbgnn.queries.query_model import EdgeQuery, NodeQuery
from dbgnn.schema import Column, encoder_for
from dbgnn.schema.names import is_read
from dbgnn.schema.types import tensor_type
from dbgnn.sql import quote

#: What PyG reads of edges in memory, though loaders write it: the labels of edges, as PyG's own examples have them.
_OF_EDGES = "edge_label"


def attribute(query: NodeQuery | EdgeQuery, column: str) -> str:
    """Return the attribute that a column becomes."""
    return query.attrs[column] if column in query.attrs else allowed(column, query)


def allowed(name: str, query: NodeQuery | EdgeQuery) -> str:
    """Return the name of an attribute that the user chose; raise if it means something else to PyG.

    Names of PyG's methods are the user's to choose: data["paper"]["keys"] holds the tensor.
    """
    if is_read(name) and not (name == _OF_EDGES and isinstance(query, EdgeQuery)):
        other = quote(name + "_")
        raise SchemaError(
            f"Attribute {name!r} of {query_name(query)} has a name that PyG uses for something else; rename it: in a query "
            f"{quote(name)} AS {other}; of an encoder or attribute, {name + '_'!r}."
        )
    return name


def query_name(query: NodeQuery | EdgeQuery) -> str:
    """Return what messages call a query."""
    return f"{'nodes' if isinstance(query, NodeQuery) else 'edges'} {query.label!r}"


def tensor_column(name: str, sql_type: str, where: str) -> Column:
    """Return what a column of a query becomes as a tensor; raise if it is none."""
    column = tensor_type(name, sql_type)
    if column.reason is not None:
        encoder = encoder_for(column)
        encoded = f", or give it an encoder, such as encoders={{…: {{{name!r}: dbgnn.{encoder}()}}}}" if encoder else ""
        raise SchemaError(
            f"Column {name!r} of {where} has type {sql_type}, which is no tensor: {column.reason}. Leave it out{encoded}."
        )
    return column


def row_bytes(column: Column) -> int:
    """Return the bytes of a value, about."""
    return math.prod(column.shape) * 8 if column.reason is None else 32
