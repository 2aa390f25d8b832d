"""`from_pyg`: a `Data` or `HeteroData`, in memory or memory-mapped, into tables and a property graph.

All is looked at first, then written in slices, in one transaction. What a table cannot keep exactly is an error.
"""

from __future__ import annotations

import keyword
import math
import uuid
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias
from warnings import catch_warnings, filterwarnings

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor
from torch_geometric import EdgeIndex, Index
from torch_geometric.data import Data, HeteroData
from tqdm import tqdm

from dbgnn import schema
from dbgnn.arrow import as_tensor, from_tensor, sql_type
from dbgnn.database import Database, translated
from dbgnn.errors import DataError, ReadOnlyError, SchemaError, UnknownNameError, near_misses
from dbgnn.etl.write import column_kinds
from dbgnn.graph import Graph
from dbgnn.schema import EdgeTable, EdgeType, PropertyGraph, VertexTable
from dbgnn.schema.catalog import check_tables, folded
from dbgnn.schema.registry import find_graph
from dbgnn.schema.reserved import ALL, unasked
from dbgnn.sql import quote
from dbgnn.stores import tables
from dbgnn.stores.binding import EDGE, NEW_GRAPH, NODE, Label, key_columns

if TYPE_CHECKING:
    import duckdb

Array: TypeAlias = Tensor | np.ndarray[Any, Any]

#: How much of a table is handed to DuckDB at a time. Larger slices are written out early and again, which leaves gaps in the
#: file: 340 MB of data made one of 334 MB with 16 MiB, of 525 MB with 64 MiB, and took longer.
SLICE_BYTES = 16 << 20

#: What a store of PyG may hold beside attributes: the number of nodes, and what `query_to_heterodata` counted.
_NO_ATTRIBUTES = frozenset({"num_nodes", "num_dropped", "num_dangling"})

#: The type of a column that is what DuckDB makes of its Arrow array.
_AS_ARROW = "as Arrow"


@dataclass(frozen=True, slots=True)
class _Group:
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
    columns: Mapping[str, tuple[Array | pa.Array, str]]
    edge_index: Array | None = None


def from_pyg(
    data: Data | HeteroData,
    db: Database,
    *,
    name: str | None = None,
    tables: Mapping[Label, str] | None = None,
    progress: bool | None = None,
) -> Graph:
    """Write a PyG graph into tables of its own, and declare them a property graph.

    ``graph.to_heterodata()``, or ``graph.to_data()`` of a `Data`, gives the same graph back: attributes, dtypes, shapes and
    order. Every node type becomes a table with a key ``id`` of 0 … N - 1, every edge type one with the keys ``src`` and ``dst``
    of its ends (with ``_`` behind where an attribute has that name), and every attribute a column: ``[N]`` of its scalar type,
    float32 ``[N, k]`` as ``FLOAT[k]``. NumPy arrays come back as tensors. A list with a value per row, such as text
    keys, is a column for SQL and for encoders, not served as a tensor; a pytorch-frame ``TensorFrame`` becomes columns of the
    names that it has (and ``y``), which come back as tensors. Rows are written in slices, so that
    memory-mapped tensors may be larger than memory.

    An attribute whose name means something to PyG's loaders, such as ``n_id`` or ``batch``, is written too. It comes back with
    ``_`` behind, where ``columns=`` of stores or of ``to_heterodata`` names it so; a warning shows the ``columns=`` to give.

    Args:
        data: The graph. ``num_dropped`` and ``num_dangling``, which ``query_to_heterodata`` sets, are left out, and so are
            attributes that are None.
        db: Where to.
        name: The name of the property graph; None: ``"graph"``.
        tables: Names of the tables, by node and edge type (of a `Data`: ``"node"`` and ``("node", "to", "node")``). Others are
            named after their type, with a number behind where the file has a table of that name.
        progress: Show a progress bar on what takes more than two seconds; None: as the database does.

    Returns:
        The graph. Its index is built at first use, or by ``graph.build()``.

    Raises:
        SchemaError: Something that a table does not keep: an attribute that has no row per node or edge, or is no list and no
            dense tensor of booleans, integers, float32 or float64. Names that DuckDB does not tell apart. A graph or table of
            that name is there already.
        DataError: An edge names a node that does not exist.
        ReadOnlyError: The database is open read-only.
    """
    check_target(db, "from_pyg")
    groups = list(_groups(data))
    _check_types([group.label for group in groups], tables or {})
    shown = db.settings.progress if progress is None else progress
    con = db.cursor()
    with translated(db):
        empty = PropertyGraph(free_graph_name(con, name), homogeneous=isinstance(data, Data))
        graph = Graph(db, _write(con, empty, groups, tables or {}, progress=shown))
        if said := unasked(con, graph.definition, {}, ALL):
            warnings.warn(f"from_pyg has kept all attributes. {said}", UserWarning, stacklevel=2)
        return graph


def check_target(db: object, what: str) -> None:
    """Raise unless ``db`` is a database that can be written to."""
    if not isinstance(db, Database):
        raise SchemaError(f"{what} writes to a Database, not {type(db).__name__}: dbgnn.connect(path or connection) makes one.")
    if db.read_only:
        raise ReadOnlyError(f"{what} has to write, but {db!s} is open read-only. Connect with read_only=False.")
    db.need_no_transaction(what)


def free_graph_name(con: duckdb.DuckDBPyConnection, name: str | None) -> str:
    """Return the name of a graph to be made; raise :class:`SchemaError` if there is such a graph."""
    name = NEW_GRAPH if name is None else name
    check_name(name, "The name of the graph")
    if (known := find_graph(con, name)) is not None:
        raise SchemaError(
            f"There is a property graph {known!r} already. Give this one another name (name=…), or DROP PROPERTY GRAPH "
            f"{quote(known)} first; its tables stay."
        )
    return name


def check_name(name: object, what: str) -> None:
    """Raise :class:`SchemaError` unless ``name`` is a text that DuckDB takes for a name."""
    if not isinstance(name, str) or not name or "\0" in name or any("\ud800" <= c <= "\udfff" for c in name):
        raise SchemaError(f"{what} is {name!r}; it must be a text, not empty, without NUL and lone surrogates.")


def check_columns(at: str, names: Iterable[str]) -> None:
    """Raise :class:`SchemaError` if the attributes of a type cannot be columns of one table; ``at`` is the type in Python."""
    seen: dict[str, str] = {}
    for name in names:
        check_name(name, f"The name of an attribute of {at}")
        other = seen.setdefault(folded(name), name)
        if other != name:
            raise SchemaError(f"{at} has the attributes {other!r} and {name!r}, which DuckDB does not tell apart. Rename one.")
        if folded(name) == "rowid":
            raise SchemaError(f"{at} has an attribute {name!r}, which is DuckDB's word for the place of a row. Rename it.")


def free_column(wanted: str, taken: Iterable[str]) -> str:
    """Return ``wanted``, with as many ``_`` behind as it takes to be none of the columns ``taken``."""
    others = {folded(name) for name in taken}
    while wanted in others:
        wanted += "_"
    return wanted


# -- looking at the data ---------------------------------------------------------------------------------


def _groups(data: Data | HeteroData) -> Iterator[_Group]:
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


def _groups_of_one(data: Data) -> Iterator[_Group]:
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


def _check_types(labels: list[Label], wanted: Mapping[Label, str]) -> None:
    """Check that the ends of edges are node types, and that what ``tables`` names is there."""
    for label in labels:
        for end in () if isinstance(label, str) else label[::2]:
            if end not in labels:
                raise SchemaError(f"Edges {label!r} have an end {end!r} without nodes; set data[{end!r}].num_nodes = ….")
    if unknown := [label for label in wanted if label not in labels]:
        raise UnknownNameError(f"tables names {unknown[0]!r}, which is no type of data" + near_misses(unknown[0], labels))


def _nodes(label: str, at: str, attributes: Mapping[str, Any], count: int) -> _Group:
    _check_label(label)
    return _Group(label, at, count, _columns(at, attributes, count, "nodes"))


def _edges(label: EdgeType, at: str, attributes: dict[str, Any]) -> _Group:
    for part in label:
        _check_label(part)
    edge_index = attributes.pop("edge_index", None)
    if edge_index is None:
        _check_no_matrix(at, attributes)
        raise SchemaError(f"{at} has no edge_index; give one, [2, 0] for no edges, or del {at}.")
    count = _num_edges(at, edge_index)
    return _Group(label, at, count, _columns(at, attributes, count, "edges"), _plain(edge_index))


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


def _columns(at: str, attributes: Mapping[str, Any], count: int, what: str) -> dict[str, tuple[Array | pa.Array, str]]:
    """Check that every attribute can become a column, and return them with their SQL types."""
    given: dict[str, Any] = {}
    for key, value in attributes.items():
        for name, part in _columns_of(at, key, value).items():
            if name in given:
                raise SchemaError(f"{at} has two columns {name!r}, one of them in the TensorFrame {at}.{key}. Rename one.")
            given[name] = part
    check_columns(at, given)
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


def _column(at: str, value: Any, count: int, what: str) -> tuple[Array | pa.Array, str]:
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
    return array.cast(pa.string()) if pa.types.is_null(array.type) else array, _AS_ARROW


def _plain(value: Array) -> Array:
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


# -- writing ---------------------------------------------------------------------------------------------


def _write(
    con: duckdb.DuckDBPyConnection, empty: PropertyGraph, groups: list[_Group], wanted: Mapping[Label, str], *, progress: bool
) -> PropertyGraph:
    """Make the tables, fill them, and save and return the definition."""
    counts = {group.label: group.count for group in groups}
    bar = tqdm(total=sum(counts.values()), desc="from_pyg", unit=" rows", unit_scale=True, delay=2, disable=not progress)
    definition = empty
    with bar, tables.write_settings(con), tables.transaction(con):
        for group in groups:
            element = _element(con, group, wanted.get(group.label))
            definition = definition.with_vertex(element) if isinstance(element, VertexTable) else definition.with_edge(element)
            typed = [(key, "BIGINT") for key in key_columns(element)]
            arrow = {name: array for name, (array, kind) in group.columns.items() if kind == _AS_ARROW}
            typed += [(name, kind) for name, (_, kind) in group.columns.items()]
            typed = [(name, column_kinds(con, {name: arrow[name]})[name] if name in arrow else kind) for name, kind in typed]
            con.execute(f"CREATE TABLE {element.table.sql} ({', '.join(f'{quote(name)} {kind}' for name, kind in typed)})")
            for rows in _slices(group):
                values = [*map(from_tensor, _keys(group, rows, counts)), *(_cut(v, rows) for v, _ in group.columns.values())]
                tables.lend(con, pa.table(values, names=[str(i) for i in range(len(values))]))
                con.execute(f"INSERT INTO {element.table.sql} FROM {tables.VALUES}")
                bar.update(len(values[0]))
        schema.save(con, definition)
    return definition


def _element(con: duckdb.DuckDBPyConnection, group: _Group, wanted: str | None) -> VertexTable | EdgeTable:
    """Return the vertex or edge table to be made of a type; its name is free."""
    if wanted is not None:
        check_name(wanted, f"The table for {group.label!r}")
    base = wanted or (group.label if isinstance(group.label, str) else "__".join(group.label))
    table = tables.free_name(con, base)
    if wanted is not None and table.name != wanted:
        raise SchemaError(f"tables gives {group.label!r} the table {wanted!r}, but there is one of that name. Give another.")
    check_tables(con, [table])
    names = tuple(group.columns)
    served = tuple(name for name, (value, _) in group.columns.items() if not isinstance(value, pa.Array))
    if isinstance(group.label, str):
        return VertexTable(table, group.label, (free_column("id", names),), served)
    source, label, destination = group.label
    src, dst = free_column("src", names), free_column("dst", names)
    return EdgeTable(table, label, source, (src,), destination, (dst,), served)


def _slices(group: _Group) -> Iterator[slice]:
    """Yield the rows of a type in slices of about `SLICE_BYTES`."""
    values = [value for value, _ in group.columns.values()]
    heads = [as_tensor(value[:0]) for value in values if not isinstance(value, pa.Array)]
    width = 16 + sum(head.element_size() * math.prod(head.shape[1:]) for head in heads)
    width += sum(value.nbytes // max(len(value), 1) for value in values if isinstance(value, pa.Array))
    step = max(1, SLICE_BYTES // width)
    for start in range(0, group.count, step):
        yield slice(start, min(start + step, group.count))


def _cut(value: Array | pa.Array, rows: slice) -> pa.Array:
    return (
        value.slice(rows.start, rows.stop - rows.start) if isinstance(value, pa.Array) else from_tensor(as_tensor(value[rows]))
    )


def _keys(group: _Group, rows: slice, counts: Mapping[Label, int]) -> list[Tensor]:
    """Return the keys of these rows: those of nodes, or those of both ends of edges, which must exist."""
    if isinstance(group.label, str):
        return [torch.arange(rows.start, rows.stop)]
    assert group.edge_index is not None
    source, _, destination = group.label
    found = []
    for row, end in enumerate((source, destination)):
        ids = as_tensor(group.edge_index[row, rows]).to(torch.int64)
        for worst in (int(ids.min()), int(ids.max())):
            if not 0 <= worst < counts[end]:
                raise _no_such_node(group, worst, end, counts)
        found.append(ids)
    return found


def _no_such_node(group: _Group, worst: int, end: str, counts: Mapping[Label, int]) -> DataError:
    """Return the error for an edge to a node that does not exist, with what takes such edges out."""
    assert not isinstance(group.label, str)
    index = f"{group.at}.edge_index"
    inside = " & ".join(f"({index}[{i}] >= 0) & ({index}[{i}] < {counts[e]})" for i, e in enumerate(group.label[::2]))
    kept = inside if group.at == "data" else f"{{{group.label!r}: {inside}}}"
    return DataError(
        f"{index} names node {worst:,} of {end!r}, of which there are {counts[end]:,}. Give data the nodes that it lacks, or "
        f"take such edges out: data = data.edge_subgraph({kept})."
    )
