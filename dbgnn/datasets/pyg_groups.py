"""A `Data` or `HeteroData` as what becomes tables: the rows of its types, each checked. Nothing is written here."""

from __future__ import annotations

import keyword
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias
from warnings import catch_warnings, filterwarnings

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor
from torch_geometric import EdgeIndex, Index
from torch_geometric.data import Data, HeteroData

from dbgnn.arrow import as_tensor, sql_type
from dbgnn.datasets.new_graph import check_attribute_names, check_name
from dbgnn.errors import SchemaError, UnknownNameError, near_misses
from dbgnn.schema import EdgeType
from dbgnn.schema.model import Label
from dbgnn.stores.binding import EDGE, NODE

GivenArray: TypeAlias = Tensor | np.ndarray[Any, Any]

#: What a store of PyG may hold beside attributes: the number of nodes, and what `query_to_heterodata` counted.
_NO_ATTRIBUTES = frozenset({"num_nodes", "num_dropped", "num_dangling"})

#: The type of a column that is what DuckDB makes of its Arrow array.
AS_ARROW = "as Arrow"


@dataclass(frozen=True, slots=True)
class Group:
    """The rows of one node or edge type, checked: what becomes a table.

    Attributes:
        label: The node or edge type.
        at: How one writes it in Python, such as ``data['paper']``; for messages.
        count: Number of rows.
        columns: The attributes, ``[count, …]`` each, and their SQL types; a list is an Arrow array, and is not served as a
            tensor.
        edge_index: ``[2, count]`` of an edge type.
    """

    label: Label
    at: str
    count: int
    columns: Mapping[str, tuple[GivenArray | pa.Array, str]]
    edge_index: GivenArray | None = None


def groups(data: Data | HeteroData) -> Iterator[Group]:
    """Yield the node types, then the edge types, each checked but for the values of its edge index."""
    if isinstance(data, HeteroData):
        for key, value in data._global_store.items():
            if value is not None and key not in _NO_ATTRIBUTES:
                raise _of_the_graph(_part("data", key), value, "is of no node or edge type")
        for store in data.node_stores:
            yield _nodes(store._key, f"data[{store._key!r}]", store.to_dict(), _num_nodes(store))
        for store in data.edge_stores:
            yield _edges(store._key, f"data[{', '.join(map(repr, store._key))}]", store.to_dict())
    elif isinstance(data, Data):
        yield from _groups_of_one(data)
    else:
        raise SchemaError(f"from_pyg takes a Data or a HeteroData, not {type(data).__name__}; of a data set, give dataset[0].")


def _groups_of_one(data: Data) -> Iterator[Group]:
    """Tell what is of the nodes and what of the edges, as PyG does: by the number of rows, and if it is both, by the name."""
    attributes = data._store.to_dict()
    num_nodes = _num_nodes(data._store)
    edge_index = attributes.pop("edge_index", None)
    num_edges = None if edge_index is None else _num_edges("data", edge_index)
    nodes, edges = {}, {"edge_index": edge_index}
    for key, value in attributes.items():
        rows = _rows(value)
        if num_edges is not None and rows == num_edges and (rows != num_nodes or "edge" in key):
            edges[key] = value
        else:
            nodes[key] = value
            if value is not None and rows not in (None, num_nodes) and num_edges is not None:
                what = f"has neither a row for each of {num_nodes:,} nodes nor one for each of {num_edges:,} edges"
                raise _of_the_graph(_part("data", key), value, what)
    yield _nodes(NODE, "data", nodes, num_nodes)
    if edge_index is not None:
        yield _edges(EDGE, "data", edges)


def _part(at: str, key: str) -> str:
    """Return an attribute as one writes it in Python, so that ``del`` works on it."""
    plain = key.isidentifier() and not keyword.iskeyword(key)
    return f"{at}.{key}" if plain else f"{at}[{key!r}]"


def check_types(labels: list[Label], wanted: Mapping[Label, str]) -> None:
    """Check that the ends of edges are node types, and that what ``tables`` names is there."""
    for label in labels:
        for end in () if isinstance(label, str) else label[::2]:
            if end not in labels:
                raise SchemaError(f"Edges {label!r} have an end {end!r} without nodes; set data[{end!r}].num_nodes = ….")
    if unknown := [label for label in wanted if label not in labels]:
        raise UnknownNameError(f"tables names {unknown[0]!r}, which is no type of data" + near_misses(unknown[0], labels))


def _nodes(label: str, at: str, attributes: Mapping[str, Any], count: int) -> Group:
    _check_label(label)
    return Group(label, at, count, _columns(at, attributes, count, "nodes"))


def _edges(label: EdgeType, at: str, attributes: dict[str, Any]) -> Group:
    for part in label:
        _check_label(part)
    edge_index = attributes.pop("edge_index", None)
    if edge_index is None:
        _check_no_matrix(at, attributes)
        raise SchemaError(f"{at} has no edge_index; give one, [2, 0] for no edges, or del {at}.")
    count = _num_edges(at, edge_index)
    return Group(label, at, count, _columns(at, attributes, count, "edges"), _plain(edge_index))


def _check_label(label: object) -> None:
    if not isinstance(label, str):
        raise SchemaError(f"The type {label!r} is no text; node types and relations are named by texts.")
    if label:
        check_name(label, "The name of a type")


def _num_nodes(store: Any) -> int:
    """Return the number of nodes: as given, as PyG infers it for sure, or the rows of the first attribute of a node type."""
    with catch_warnings():
        filterwarnings("error", "Unable to accurately infer 'num_nodes'")  # what PyG says where it guesses
        try:
            count = store.num_nodes
        except UserWarning:
            count = None
    if count is None and store._key is not None:
        count = next((rows for value in store.values() if (rows := _rows(value)) is not None), None)
    if count is None:
        at = "data" if store._key is None else f"data[{store._key!r}]"
        raise SchemaError(f"The attributes do not tell how many nodes there are; set {at}.num_nodes = ….")
    return int(count)


def _num_edges(at: str, edge_index: Any) -> int:
    shape = tuple(getattr(edge_index, "shape", ()))
    if not isinstance(edge_index, (Tensor, np.ndarray)) or len(shape) != 2 or shape[0] != 2:
        found = f"of shape {list(shape)}" if shape else f"a {type(edge_index).__name__}"
        raise SchemaError(f"{at}.edge_index must be a tensor of shape [2, E], and is {found}.")
    if not np.issubdtype(as_tensor(edge_index[:, :0]).numpy().dtype, np.integer):
        cast = ".long()" if isinstance(edge_index, Tensor) else ".astype('int64')"
        raise SchemaError(
            f"{at}.edge_index is of {edge_index.dtype}, and names nodes by integers; convert it: {at}.edge_index = "
            f"{at}.edge_index{cast}."
        )
    return int(shape[1])


def _columns(at: str, attributes: Mapping[str, Any], count: int, what: str) -> dict[str, tuple[GivenArray | pa.Array, str]]:
    """Check that every attribute can become a column, and return them with their SQL types."""
    given: dict[str, Any] = {}
    for key, value in attributes.items():
        for name, part in _columns_of(at, key, value).items():
            if name in given:
                raise SchemaError(f"{at} has two columns {name!r}, one of them in the TensorFrame {at}.{key}. Rename one.")
            given[name] = part
    check_attribute_names(at, given)
    _check_no_matrix(at, given)
    return {key: _column(_part(at, key), value, count, what) for key, value in given.items()}


def _columns_of(at: str, key: str, value: Any) -> dict[str, Any]:
    """Return what becomes columns of an attribute: itself, nothing, or the columns of a ``TensorFrame`` under their names."""
    if value is None or key in _NO_ATTRIBUTES:
        return {}
    if not _is_frame(value):
        return {key: value}
    found = {} if value.y is None else {"y": value.y}
    for kind, names in value.col_names_dict.items():
        tensor = value.feat_dict[kind]
        if not isinstance(tensor, Tensor):
            raise SchemaError(
                f"{at}.{key} has {kind} columns ({', '.join(names)}), of no fixed size. Leave them out, or del {at}.{key}."
            )
        found |= {name: tensor[:, i] for i, name in enumerate(names)}
    return found


def _is_frame(value: Any) -> bool:
    """Whether an attribute is a ``TensorFrame`` of pytorch-frame, which may not be installed."""
    return type(value).__name__ == "TensorFrame" and hasattr(value, "col_names_dict")


def _check_no_matrix(at: str, attributes: Mapping[str, Any]) -> None:
    """Raise if edges are given as PyG's adjacency matrix."""
    for key in ("adj", "adj_t"):
        if attributes.get(key) is not None:
            raise SchemaError(
                f"{at}.{key} is an adjacency matrix. Give its entries as {at}.edge_index (torch_geometric.utils.to_edge_index "
                f"reads them off a sparse one; of adj_t they are turned round), and del {at}.{key}."
            )


def _column(at: str, value: Any, count: int, what: str) -> tuple[GivenArray | pa.Array, str]:
    """Check that an attribute can become a column of ``count`` rows, and return it with its SQL type."""
    if isinstance(value, list):
        return _listed(at, value, count, what)
    is_tensor = isinstance(value, Tensor)
    if (
        not (is_tensor or isinstance(value, np.ndarray))
        or isinstance(value, np.ma.MaskedArray)
        or (is_tensor and value.is_nested)
    ):
        raise SchemaError(
            f"{at} is a {type(value).__name__}, and only a plain tensor or array is kept as it is. Convert it (numbers: "
            f"{at} = torch.tensor(…)), or del {at}."
        )
    if not value.ndim or value.shape[0] != count:
        raise _of_the_graph(at, value, f"does not have a row for each of {count:,} {what}")
    plain = _plain(value)
    try:
        return plain, sql_type(as_tensor(plain if _rows(plain) is None else plain[:0]))
    except SchemaError as error:
        raise SchemaError(f"{at} cannot be kept: {error} Or del {at}.") from error


def _listed(at: str, value: list[Any], count: int, what: str) -> tuple[pa.Array, str]:
    """Return a list of Python values, such as the text keys that `query_to_heterodata` attaches, as a column."""
    if len(value) != count:
        raise _of_the_graph(at, value, f"does not have a value for each of {count:,} {what}")
    if value and all(isinstance(each, uuid.UUID) for each in value):
        return pa.array([str(each) for each in value], type=pa.string()), "UUID"
    try:
        array = pa.array(value) if value else pa.array([], type=pa.string())
    except (pa.ArrowException, OverflowError, UnicodeError, TypeError, ValueError) as error:
        raise SchemaError(
            f"{at} is a list of which Arrow makes no column: {error}. Give it values of one type, or del {at}."
        ) from error
    return array.cast(pa.string()) if pa.types.is_null(array.type) else array, AS_ARROW


def _plain(value: GivenArray) -> GivenArray:
    """Return a tensor without what PyG's subclasses remember of it, such as whether it is sorted."""
    return value.as_tensor() if isinstance(value, (EdgeIndex, Index)) else value


def _rows(value: Any) -> int | None:
    """Return the length of the first dimension of a dense tensor or array, or of a list; None for anything else."""
    if isinstance(value, list) or _is_frame(value):
        return len(value)
    if isinstance(value, Tensor) and (value.is_nested or value.layout is not torch.strided):
        return None
    return int(value.shape[0]) if isinstance(value, (Tensor, np.ndarray)) and value.ndim else None


def _of_the_graph(at: str, value: Any, why: str) -> SchemaError:
    shape = getattr(value, "shape", None)
    shown = type(value).__name__ if shape is None else f"{type(value).__name__} of shape {list(shape)}"
    return SchemaError(f"{at} ({shown}) {why}, and nothing else has a place in the tables. Keep it elsewhere, and del {at}.")
