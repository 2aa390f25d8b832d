"""`DuckDBGraphStore`: PyG's `GraphStore` over the edge tables of a property graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch_geometric.data import EdgeAttr, GraphStore
from torch_geometric.data.graph_store import EdgeLayout

from dbgnn.display import Listed
from dbgnn.errors import SchemaError, UnknownNameError
from dbgnn.schema import EdgeType
from dbgnn.stores import edges
from dbgnn.stores.adjacency import coo, csc, csr
from dbgnn.stores.binding import Binding
from dbgnn.translated import translated

if TYPE_CHECKING:
    from dbgnn.indexed_graph import IndexedGraph

_READ = {EdgeLayout.COO: coo, EdgeLayout.CSC: csc, EdgeLayout.CSR: csr}


class DuckDBGraphStore(Listed, GraphStore):
    """Edges of the edge tables, served from the topology index in every layout.

    Made by :meth:`dbgnn.Database.get_torch_geometric_remote_backend`. An edge type is ``(source, label, destination)``, or
    None in a homogeneous graph; one edge type is one set of edges, whichever layout it was put in or is asked for.

    The id of an edge (``e_id``) is its rank in table order, which is the order of ``put_edge_index``. COO comes in that
    order. CSC is sorted by (destination, source, ``e_id``) and CSR by (source, destination, ``e_id``); ``csc()`` and ``csr()``
    return the ``e_id`` of each edge as ``perm``. Everything is int64; sizes are the numbers of nodes of both types,
    isolated ones included.
    """

    def __init__(self, binding: Binding) -> None:
        super().__init__()
        self._binding = binding

    @property
    def graph(self) -> IndexedGraph:
        """The graph as it is now; puts may have extended it."""
        return self._binding.graph

    @property
    def homogeneous(self) -> bool:
        """Whether types have no names: groups and edge types are None, batches are ``Data``."""
        return self._binding.homogeneous

    # -- reading ---------------------------------------------------------------------------------------

    def _known(self, edge_type: Any) -> EdgeType:
        found = self._binding.edge_label(edge_type)
        return self.graph.type_names.edge(edge_type) if found is None else found

    def _get_edge_index(self, edge_attr: EdgeAttr) -> tuple[Tensor, Tensor]:
        row, col, _ = self._edge_to_layout(edge_attr, edge_attr.layout)
        return row, col

    def get_all_edge_attrs(self) -> list[EdgeAttr]:
        """Return CSC, then COO, of every edge type, with sizes.

        COO is listed so that PyG's own temporal sampling, which needs neighbours sorted by time and cannot know that ours
        are not, is refused by PyG instead of going wrong.
        """
        topology = self._binding.topology()
        attrs = []
        for edge in self._binding.definition.edges:
            index, name = topology.edges[edge.edge_type], self._binding.edge_name(edge.edge_type)
            size = (index.num_src, index.num_dst)
            attrs += [EdgeAttr(name, "csc", is_sorted=True, size=size), EdgeAttr(name, "coo", is_sorted=False, size=size)]
        return attrs

    def _edge_to_layout(self, attr: EdgeAttr, layout: EdgeLayout, store: bool = False) -> tuple[Tensor, Tensor, Tensor | None]:  # noqa: ARG002, FBT001, FBT002 - PyG's signature; every layout is stored already
        edge_type = self._known(attr.edge_type)
        self._binding.db.need_committed("A graph store")
        with translated(self._binding.db):
            return _READ[EdgeLayout(layout)](self._binding.db, self._binding.topology().edges[edge_type])

    def _edges_to_layout(self, layout: EdgeLayout, edge_types: list[Any] | None = None, store: bool = False) -> Any:  # noqa: FBT001, FBT002 - PyG's signature
        known = [e.edge_type for e in self._binding.definition.edges]
        if self._binding.homogeneous and edge_types is None:
            if not known:
                raise UnknownNameError(f"Graph {self.graph.name!r} has no edges; put_edge_index first.")
            return self._edge_to_layout(EdgeAttr(None, layout), layout, store)
        if edge_types is None:
            _check_joined_names(known)
        # Under the names that were asked for: a homogeneous type's may be None, as link loaders ask for all its edges.
        asked = known if edge_types is None else edge_types
        found = {t: self._edge_to_layout(EdgeAttr(t, layout), layout, store) for t in asked}
        return tuple({t: parts[i] for t, parts in found.items()} for i in range(3))

    # -- writing ---------------------------------------------------------------------------------------

    def _put_edge_index(self, edge_index: Any, edge_attr: EdgeAttr) -> bool:
        """Put all edges of a type; creates tables where absent, replaces edges put before. All or nothing."""
        with self._binding.writing("put_edge_index"), translated(self._binding.db):
            edges.put_edges(self._binding, edge_attr.edge_type, edge_index, edge_attr.layout.value, edge_attr.size)
        return True

    def _remove_edge_index(self, edge_attr: EdgeAttr) -> bool:
        """Take an edge type, in every layout, out of the graph; False if there is none.

        A table made by ``put_edge_index`` is dropped; one made by anybody else stays.
        """
        with self._binding.writing("remove_edge_index"), translated(self._binding.db):
            try:
                found = self._known(edge_attr.edge_type)
            except UnknownNameError:
                return False
            edges.remove_edges(self._binding, found)
        return True

    # -- processes -------------------------------------------------------------------------------------

    def __reduce__(self) -> tuple[Any, ...]:
        return DuckDBGraphStore, (self._binding,)

    def __repr__(self) -> str:
        return f"DuckDBGraphStore({self._binding!s})"


def _check_joined_names(edge_types: list[EdgeType]) -> None:
    """PyG's own samplers name an edge type by joining it with ``__``, and would merge two that join to one."""
    joined: dict[str, EdgeType] = {}
    for edge_type in edge_types:
        name = "__".join(edge_type)
        other = joined.setdefault(name, edge_type)
        if other != edge_type:
            raise SchemaError(
                f"PyG's own samplers call both edge types {other!r} and {edge_type!r} {name!r} and would merge them. "
                "Use dbgnn's "
                "NeighborSampler or NeighborLoader, which keep them apart, or rename one with LABEL."
            )
