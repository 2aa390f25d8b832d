"""`DuckDBFeatureStore`: PyG's `FeatureStore` over the tables of a property graph."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor
from torch_geometric.data import FeatureStore, TensorAttr

from dbgnn.arrow import dtype_of
from dbgnn.clock import Clock
from dbgnn.display import Listed
from dbgnn.errors import RequestError, SchemaError, UnknownNameError
from dbgnn.schema import Column
from dbgnn.schema.model import Label
from dbgnn.stores import features, key_lookup
from dbgnn.stores.binding import Binding
from dbgnn.stores.gather import gather, gather_into, raise_nulls, rowids
from dbgnn.stores.request import Ids64, Rows, by_position, rows_of
from dbgnn.stores.source import Source
from dbgnn.stores.steady import Steady
from dbgnn.stores.tensor_attr import NODE_ID, DuckDBTensorAttr, ListedEdgeAttr, attr_name, column_name
from dbgnn.stores.tensor_requests import requests_of
from dbgnn.topology import Topology
from dbgnn.topology.distinct import sorted_distinct
from dbgnn.translated import translated

if TYPE_CHECKING:
    from dbgnn.indexed_graph import IndexedGraph
    from dbgnn.stores.graph_store import DuckDBGraphStore


class DuckDBFeatureStore(Listed, FeatureStore):
    """Features of nodes and edges, read from and written to the columns of DuckDB tables.

    Made by :meth:`dbgnn.Database.get_torch_geometric_remote_backend`. A group is a node type (``"paper"``), an edge
    type (``("paper", "cites", "paper")``, or ``"cites"`` where that is one edge type; rows by ``e_id``), or None in a
    homogeneous graph; an attribute is a column. Every column that can become a tensor is reachable by :meth:`get_tensor`; the
    listed ones (:meth:`get_all_tensor_attrs`) are what loaders fetch. A column whose name means something to PyG, such as
    ``batch`` or ``n_id``, is the attribute of that name with ``_`` behind: ``print(graph)`` shows it, and loaders fetch it if
    ``columns=`` names that. The attribute ``n_id`` of a node type is always its ids.

    The index may be None or ``[:]`` (all rows), a slice, a bool mask, or integer ids as tensor, array, list or range,
    with any order and duplicates; one integer gives one row without the rows dimension, as ``x[3]`` does. A uint8 tensor of
    zeros and ones is a mask, as it is to torch. Dates and times
    arrive as int64 (``DATE`` days; ``TIMESTAMP`` and ``TIMESTAMPTZ`` microseconds; ``TIMESTAMP_S``, ``_MS``, ``_NS`` in
    their own unit; since 1970-01-01 UTC), an ``ENUM`` as its int64 code.

    Errors: :class:`UnknownNameError` (a ``KeyError``) for unknown names, :class:`RequestError` (an ``IndexError``) for
    ids out of range, :class:`SchemaError` for columns that are no tensors, :class:`DataError` for NULL without a
    :meth:`fill`, :class:`StaleIndexError`, :class:`ReadOnlyError`.
    """

    _internal = frozenset(
        "columns_at edge_tensor_attrs fills group_name label node_tensor_attrs read_into reading renamed rowids served "
        "serves_with tensor_attr".split()
    )

    def __init__(self, binding: Binding) -> None:
        super().__init__(tensor_attr_cls=DuckDBTensorAttr)
        self._binding = binding
        self._fills: dict[Label, dict[str, float]] = {}
        self._steady = Steady(binding)

    @property
    def graph(self) -> IndexedGraph:
        """The graph as it is now; puts may have extended it."""
        return self._binding.graph

    @property
    def homogeneous(self) -> bool:
        """Whether types have no names: groups and edge types are None, batches are ``Data``."""
        return self._binding.homogeneous

    def serves_with(self, graph_store: DuckDBGraphStore) -> bool:
        """Whether a graph store is of the same graph."""
        return self._binding.is_same(graph_store._binding)

    # -- reading ---------------------------------------------------------------------------------------

    def _get_tensor(self, attr: TensorAttr) -> Tensor:
        return self._multi_get_tensor([attr])[0]

    def _multi_get_tensor(self, attrs: Sequence[TensorAttr]) -> list[Tensor]:
        """Read any number of attributes with one statement per group and index."""
        out: list[Any] = [None] * len(attrs)
        requests = requests_of(self._binding, attrs)
        self._binding.db.need_committed("A feature store")
        topology = self._binding.topology() if requests else None
        for request in requests:
            read = partial(self._read, index=request.index, names=request.names)
            found = self._steady.read(request.label, read, topology, request.names)
            for place, tensor in zip(request.places, found, strict=True):
                out[place] = tensor
        return out

    def _read(self, source: Source, index: Any, names: Sequence[str]) -> list[Tensor]:
        label = source.label
        rows = rows_of(index, source.num_rows, label)
        distinct = {name: None if _is_node_id(source, name) else source.attribute(name) for name in names}
        columns = [c for c in distinct.values() if c is not None]
        found = dict(
            zip(
                [c.attr for c in columns],
                gather(self._binding.db, source, columns, rows, self._fills.get(label, {})),
                strict=True,
            )
        )
        if len(columns) < len(distinct):
            found[NODE_ID] = torch.from_numpy(rows.array().copy())
        tensors = [found[name] if i == names.index(name) else found[name].clone() for i, name in enumerate(names)]
        return [t[0] for t in tensors] if rows.scalar else tensors

    def read_into(
        self,
        label: Label,
        columns: Sequence[Column],
        ids: Ids64,
        outs: Sequence[Tensor],
        *,
        topology: Topology,
        pos: Ids64 | None = None,
        clock: Clock | None = None,
        nulls: str = "error",
    ) -> Ids64:
        """Write rows of some columns into tensors that the caller made; what loaders read with.

        Args:
            label: Node or edge type in the property graph.
            columns: The columns, as they were when the tensors were made.
            ids: int64 ``[n]``.
            outs: Per column `as_kept`, a contiguous tensor ``[m, *shape]`` of its dtype with room for every position.
            topology: The index that the ids are of.
            pos: int64 ``[n]``, distinct rows of ``outs`` to write to; None: 0, 1, …
            clock: Counts the time spent.
            nulls: ``"error"``, or ``"return"``: what NULL without a :meth:`fill` does.

        Returns:
            With ``nulls="return"``, the rows of ``outs`` that hold NULL and so anything, ascending; else none.

        Raises:
            StaleIndexError: The graph changed, so that the ids are other rows now, or a column has another type.
        """

        def read(source: Source, kinds: Sequence[pa.DataType]) -> Ids64:
            rows, db = Rows(ids), self._binding.db
            fills = self._fills.get(label, {})
            found = gather_into(db, source, columns, rows, outs, fills, pos=pos, clock=clock, kinds=kinds)
            if nulls == "return":
                return sorted_distinct(torch.cat(list(found.values())).numpy()) if found else np.empty(0, dtype=np.int64)
            # Nobody asks for the ids but when the error is raised.
            if found:
                raise_nulls(db, self._binding.whole(source), found, lambda: by_position(ids, pos))
            return np.empty(0, dtype=np.int64)

        return self._steady.read_of(topology, label, columns, read)

    def columns_at(self, label: Label, columns: Sequence[Column], ids: Ids64, topology: Topology) -> list[Any]:
        """Return columns of rows, by ids of an index, as they are: tensors of numbers, and lists of Python values."""
        read = partial(key_lookup.columns_of, self._binding.db, columns=columns, rows=Rows(ids))
        return self._steady.read_of(topology, label, columns, lambda source, _: read(source))

    def reading(self, topology: Topology, labels: Sequence[Label]) -> AbstractContextManager[None]:
        """Within, this thread's :meth:`read_into` of these types, each named once, looks only once whether rows moved."""
        return self._steady.together(topology, labels)

    def label(self, group: Any) -> Label:
        """Return the node or edge type of the property graph that a PyG group name means."""
        return self._binding.label(group)

    def group_name(self, label: str) -> str | None:
        """Return the name by which PyG knows a node type: None in a homogeneous graph."""
        return self._binding.group_name(label)

    def fills(self, label: Label) -> dict[str, float]:
        """Return what stands for NULL in the columns of a type, by column."""
        return dict(self._fills.get(label, {}))

    def rowids(self, label: Label, ids: Ids64) -> Ids64:
        """Return the rowids of rows in the table of their type, int64 ``[n]``: the order in which a scan meets them."""
        return self._steady.read(label, lambda source: rowids(self._binding.db, source, ids))

    def renamed(self) -> dict[Label, list[Column]]:
        """Return, by type, the columns that loaders fetch under another name, since theirs means something to PyG."""
        return self._binding.renamed()

    def served(self, label: Label, topology: Topology) -> tuple[tuple[Column, ...], int]:
        """Return the columns of a node or edge type that loaders fetch, and the number of its rows."""
        source = self._binding.source(label, topology)
        return self._binding.fetched(label, topology, source), source.num_rows

    def _get_tensor_size(self, attr: TensorAttr) -> tuple[int, ...] | None:
        """Return the shape without reading a row; None if there is no such attribute."""
        try:
            source = self._binding.source(self._binding.label(attr.group_name))
            name = column_name(attr.attr_name)
            shape = () if _is_node_id(source, name) else source.attribute(name).shape
        except UnknownNameError:
            return None
        rows = rows_of(attr.index, source.num_rows, source.label)
        return shape if rows.scalar else (len(rows), *shape)

    def get_all_tensor_attrs(self) -> list[DuckDBTensorAttr]:
        """Return the attributes that loaders fetch, without an index; fresh objects at every call.

        A node type without any lists ``n_id``: its ids. Edge attributes are listed under their edge type. PyG's loaders set the
        sampled nodes as their index; from what :class:`dbgnn.NeighborSampler` sampled, that leads to the ids of the edges.
        """
        topology = self._binding.topology()
        edges = self.edge_tensor_attrs(topology)
        if self.homogeneous:
            edges = [ListedEdgeAttr(a.group_name, a.attr_name) for a in edges]
        return self.node_tensor_attrs(topology) + edges

    def node_tensor_attrs(self, topology: Topology | None = None) -> list[DuckDBTensorAttr]:
        """Return the node attributes that loaders fetch, by ``n_id``; ``topology``: the index, if it was verified just now."""
        binding, topology = self._binding, topology or self._binding.topology()
        return [
            self.tensor_attr(v.label, name)
            for v in binding.definition.vertices
            for name in [c.attr for c in binding.fetched(v.label, topology)] or [NODE_ID]
        ]

    def edge_tensor_attrs(self, topology: Topology | None = None) -> list[DuckDBTensorAttr]:
        """Return the edge attributes that loaders fetch, by ``e_id``; the group is the edge type in any graph.

        Args:
            topology: The index, if it was verified just now.

        Raises:
            SchemaError: Without type names, nodes have an attribute of the same name, and a ``Data`` holds one of them.
        """
        binding, topology = self._binding, topology or self._binding.topology()
        attrs = [
            self.tensor_attr(e.edge_type, column.attr)
            for e in binding.definition.edges
            for column in binding.fetched(e.edge_type, topology)
        ]
        if binding.homogeneous and attrs:
            of_nodes = [c.attr for c in binding.fetched(binding.definition.vertices[0].label, topology)]
            if both := [a for a in attrs if column_name(a.attr_name) in of_nodes]:
                name, edge_type = both[0].attr_name, both[0].group_name
                raise SchemaError(
                    f"Both nodes and edges of graph {self.graph.name!r} have an attribute {name!r}, and without type names "
                    f"(Data) there is room for one. Leave one out by columns={{{edge_type!r}: […]}}, the columns of edges."
                )
        return attrs

    def tensor_attr(self, label: Label, column: str) -> DuckDBTensorAttr:
        """Return the attribute of a name, as PyG sees it, without an index; a fresh object."""
        return DuckDBTensorAttr(self._binding.group_name(label) if isinstance(label, str) else label, attr_name(column))

    def fill(self, group: Any, attr: str | None, value: float) -> DuckDBFeatureStore:
        """Declare what stands for NULL in a column, also inside of its arrays; returns the store.

        Args:
            group: Node type, edge type, or None in a homogeneous graph.
            attr: The column, or the attribute that it is.
            value: A number the column's dtype holds exactly, such as ``0`` or ``float("nan")``.

        Raises:
            SchemaError: The column's dtype does not hold ``value``.
        """
        source = self._binding.source(self._binding.label(group, "fill"))
        column = source.either(column_name(attr))
        try:
            held = torch.tensor(value, dtype=dtype_of(column)).item()
        except (RuntimeError, TypeError, OverflowError):
            held = None
        is_float = dtype_of(column).is_floating_point
        rounded = is_float and held is not None and math.isinf(held) == math.isinf(value)
        exact = held is not None and (held == value or held != held or rounded)  # noqa: PLR0124 - NaN
        if not exact:
            raise SchemaError(
                f"{value!r} cannot stand for NULL in column {column.name!r} of {source.label!r}, which is {column.dtype}."
            )
        self._fills.setdefault(source.label, {})[column.name] = value
        return self

    # -- keys ------------------------------------------------------------------------------------------

    def keys(self, group: Any, index: Any = None) -> Any:
        """Return the user's own keys of nodes (or of the two ends of edges), in the order of ``index``.

        Returns:
            For a key of one column of numbers a NumPy array ``[n]``, of another type a list of Python values; for a
            composite key, and for edges, a list of tuples.
        """
        label = self._binding.label(group)
        self._binding.db.need_committed("A feature store")

        def read(source: Source) -> Any:
            found = key_lookup.keys_of(self._binding.db, source, rows := rows_of(index, source.num_rows, label))
            return found[0] if rows.scalar else found

        return self._steady.read(label, read)

    def ids(self, group: Any, keys: Any) -> Tensor:
        """Return the ids of nodes by the user's own keys: int64 ``[n]``, in their order; the inverse of :meth:`keys`.

        Args:
            group: Node type, or None in a homogeneous graph.
            keys: List, array, tensor or Arrow array; for a composite key a list of tuples or an Arrow table.

        Raises:
            RequestError: A key does not exist; the message names it.
        """
        label = self._node_label(group, "ids()")
        self._binding.db.need_committed("A feature store")
        return self._steady.read(label, lambda source: key_lookup.ids_of(self._binding.db, source, keys))

    def node_ids(self, group: Any, where: str) -> Tensor:
        """Return the ids, ascending, of the nodes for which a SQL condition is true, such as ``"split = 'train'"``.

        Raises:
            SqlError: The condition is not one harmless expression over the columns of the type's table.
        """
        label = self._node_label(group, "node_ids()")
        self._binding.db.need_committed("A feature store")
        return self._steady.read(label, lambda source: key_lookup.ids_where(self._binding.db, source, where))

    def edge_ids(self, edge_type: Any, where: str) -> Tensor:
        """Return the ids, ascending, of the edges for which a SQL condition over the edge table is true, such as ``"w > 2"``.

        Raises:
            SqlError: The condition is not one harmless expression over the columns of the type's table.
        """
        label = self.graph.type_names.edge(edge_type, "edge_ids()")
        self._binding.db.need_committed("A feature store")
        return self._steady.read(label, lambda source: key_lookup.ids_where(self._binding.db, source, where))

    def _node_label(self, group: Any, what: str) -> str:
        label = self._binding.label(group)
        if not isinstance(label, str):
            raise RequestError(f"{what} is for node types, not for the edge type {label!r}.")
        return label

    # -- writing ---------------------------------------------------------------------------------------

    def _put_tensor(self, tensor: Tensor | np.ndarray[Any, Any], attr: TensorAttr) -> bool:
        """Write a column, or with an index some rows of one; creates table and column where absent. All or nothing."""
        with self._binding.writing("put_tensor"), translated(self._binding.db):
            features.put_column(self._binding, attr.group_name, column_name(attr.attr_name), tensor, attr.index)
        return True

    def update_tensor(self, tensor: Tensor | np.ndarray[Any, Any], *args: Any, **kwargs: Any) -> bool:
        """Write a tensor as :meth:`put_tensor` does: with an index, the other rows stay as they are."""
        return bool(self.put_tensor(tensor, *args, **kwargs))

    def _remove_tensor(self, attr: TensorAttr) -> bool:
        """Drop a column; False if there is none. The rows stay."""
        with self._binding.writing("remove_tensor"), translated(self._binding.db):
            try:
                source = self._binding.source(self._binding.label(attr.group_name))
            except UnknownNameError:
                return False
            name = column_name(attr.attr_name)
            if not any(name in (c.name, c.attr) for c in source.columns.values()):
                return False
            column = source.attribute(name)
            rows = rows_of(attr.index, source.num_rows, source.label)
            if not rows.names_all(source.num_rows):
                raise RequestError(
                    f"remove_tensor takes away all of {name!r} of {source.label!r}, and the index names {len(rows):,} of its "
                    f"{source.num_rows:,} rows; it must be None, or name every row. To change some, put_tensor."
                )
            features.remove_column(self._binding, source, column)
            self._fills.get(source.label, {}).pop(column.name, None)
        return True

    # -- processes -------------------------------------------------------------------------------------

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self._binding, self._fills)

    def __repr__(self) -> str:
        return f"DuckDBFeatureStore({self._binding!s})"


def _is_node_id(source: Source, name: str) -> bool:
    return name == NODE_ID and isinstance(source.label, str)


def _rebuild(binding: Binding, fills: dict[Label, dict[str, float]]) -> DuckDBFeatureStore:
    store = DuckDBFeatureStore(binding)
    store._fills = fills
    return store
