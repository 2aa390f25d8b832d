"""`Binding`: the graph that a feature store and a graph store serve, and how PyG's names map to its tables.

Both stores share one, so that what one writes the other sees. Reading and writing rows live elsewhere.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dbgnn import schema
from dbgnn.errors import ReadOnlyError, SchemaError, UnknownNameError, near_misses
from dbgnn.indexed_graph import IndexedGraph
from dbgnn.schema import Column, EdgeType, PropertyGraph, VertexTable
from dbgnn.schema.catalog import all_columns, key_columns
from dbgnn.schema.model import Label
from dbgnn.schema.named_beside import named_beside
from dbgnn.schema.reserved import refuse_unasked
from dbgnn.schema.types import served
from dbgnn.stores.source import Source
from dbgnn.topology import EdgeIndex, Topology, VertexIndex
from dbgnn.translated import keyboard_interrupts

if TYPE_CHECKING:
    from dbgnn.open_database import OpenDatabase

#: The graph that an empty database starts, and the labels where PyG gives none (``group_name=None``, ``edge_type=None``).
NEW_GRAPH = "graph"
NODE = "node"
EDGE: EdgeType = (NODE, "to", NODE)


class Binding:
    """The graph behind a pair of stores.

    Args:
        graph: The property graph, in its database.
        selection: Per label, the columns a loader fetches; labels not in it fetch all that are served.
        homogeneous: PyG sees no type names: keys are None.
    """

    def __init__(
        self,
        graph: IndexedGraph,
        *,
        selection: Mapping[Label, tuple[str, ...]] | None = None,
        homogeneous: bool = False,
    ) -> None:
        definition = graph.definition
        self.db = graph.db
        self.graph = graph
        self.selection = dict(selection or {})
        self._homogeneous = homogeneous
        self._dangling: str | None = "error"
        self._lock = threading.RLock()
        self._sources: tuple[object, dict[Label, Source]] = (None, {})
        if homogeneous and (len(definition.vertices) > 1 or len(definition.edges) > 1):
            raise SchemaError(
                f"Graph {definition.name!r} has {len(definition.vertices)} vertex and {len(definition.edges)} edge tables; "
                "homogeneous=True needs one vertex table and at most one edge table. Leave it out to get HeteroData."
            )

    @property
    def definition(self) -> PropertyGraph:
        """The property graph as it is now."""
        return self.graph.definition

    @property
    def homogeneous(self) -> bool:
        """Whether PyG sees the graph without type names."""
        return self._homogeneous or self.definition.homogeneous

    def is_same(self, other: Binding) -> bool:
        """Whether both serve the same graph of the same database, with or without type names."""
        if self is other:
            return True
        return self.db.is_same(other.db) and self.graph.name == other.graph.name and self.homogeneous == other.homogeneous

    # -- names -----------------------------------------------------------------------------------------

    def node_label(self, group: object) -> str | None:
        """Return the label that a PyG node type means; None if the graph does not have it (yet)."""
        if group is None:
            self._need_homogeneous("group_name=None")
            vertices = self.definition.vertices
            return vertices[0].label if vertices else None
        return next((v.label for v in self.definition.vertices if v.label == group), None)

    def edge_label(self, edge_type: object) -> EdgeType | None:
        """Return the edge type of the graph that PyG's means; None if the graph does not have it (yet)."""
        if edge_type is None:
            self._need_homogeneous("edge_type=None")
            edges = self.definition.edges
            return edges[0].edge_type if edges else None
        wanted = tuple(edge_type) if isinstance(edge_type, (list, tuple)) else None
        return next((e.edge_type for e in self.definition.edges if e.edge_type == wanted), None)

    def label(self, group: object, what: str = "") -> Label:
        """Return the node or edge type that a PyG group name means; see :class:`dbgnn.schema.TypeNames`.

        Args:
            group: What the user wrote.
            what: The argument it was written for; "" for none.

        Raises:
            UnknownNameError: The graph has no such type; the message names the near misses.
            SchemaError: Several edge types have this name.
        """
        found = self.edge_label(group) if isinstance(group, (list, tuple)) else self.node_label(group)
        return self.graph.type_names.find(group, what) if found is None else found

    def _need_homogeneous(self, what: str) -> None:
        if not self.homogeneous and (self.definition.vertices or self.definition.edges):
            raise UnknownNameError(
                f"{what} is for homogeneous graphs, but the types of graph {self.graph.name!r} have names; name one"
                + near_misses(None, [v.label for v in self.definition.vertices])
                + ", or open the stores with homogeneous=True."
            )

    def group_name(self, label: str) -> str | None:
        """Return the name by which PyG knows a node type: None in a homogeneous graph."""
        return None if self.homogeneous else label

    def edge_name(self, edge_type: EdgeType) -> EdgeType | None:
        """Return the name by which PyG knows an edge type: None in a homogeneous graph."""
        return None if self.homogeneous else edge_type

    # -- tables ----------------------------------------------------------------------------------------

    def topology(self) -> Topology:
        """Return the verified topology index."""
        return self.graph.topology()

    @keyboard_interrupts()
    def source(self, label: Label, topology: Topology | None = None) -> Source:
        """Return what is known of a type; read again only after a commit to the file.

        Args:
            label: The type.
            topology: The index, verified just now; None: it is verified.
        """
        topology = self.topology() if topology is None else topology
        stamp = self.db.stamp()
        known_at, sources = self._sources
        if stamp is None or known_at != (stamp, id(self.graph)):
            sources = {}
            self._sources = ((stamp, id(self.graph)), sources)
        index: VertexIndex | EdgeIndex
        index = topology.vertices[label] if isinstance(label, str) else topology.edges[label]
        found = sources.get(label)
        if found is None or found.index != index:
            found = sources[label] = self._read_source(label, index)
        return found

    def source_of(self, label: Label, topology: Topology, columns: Sequence[Column]) -> Source:
        """Return a type as it was when some of its columns were looked at; nothing is read."""
        index: VertexIndex | EdgeIndex = topology.vertices[label] if isinstance(label, str) else topology.edges[label]
        return Source(label, index.element, {c.name: c for c in columns}, tuple(c.name for c in columns), index)

    def whole(self, source: Source) -> Source:
        """Return what `source_of` returned, with all columns of the table."""
        return self._read_source(source.label, source.index)

    def _read_source(self, label: Label, index: VertexIndex | EdgeIndex) -> Source:
        con = self.db.cursor()
        definition = schema.current(con, self.definition)
        element = definition.vertex(label) if isinstance(label, str) else definition.edge(label)
        columns = {c.name: c for c in schema.element_columns(con, definition, element)}
        served = [c.name for c in schema.served_columns(con, definition, element) if c.reason is None]
        chosen = self.selection.get(label)
        for name in chosen or ():
            if name not in columns and (other := named_beside(con, element, name, columns.values())) is not None:
                columns[name] = other
        return Source(label, element, columns, tuple(served if chosen is None else [n for n in chosen if n in columns]), index)

    def select_columns(self, columns: Mapping[Any, Sequence[str]]) -> None:
        """Have loaders fetch these columns, by type, and all that are served of types not named.

        Args:
            columns: Names as PyG sees them: those of the columns, but where PyG reserves one.

        Raises:
            UnknownNameError, SchemaError: There is no such type or column, or it is no tensor.
            SchemaError: A column whose name PyG reserves would be fetched, and was not asked for by its other name.
        """
        for group, names in columns.items():
            if isinstance(names, str):
                raise SchemaError(f"columns[{group!r}] must be a sequence of column names, not the string {names!r}.")
            label = self.label(group, "columns")
            if label in self.selection:
                raise SchemaError(f"columns: {label!r} is named twice, the second time as {group!r}; name it once.")
            self.selection[label] = tuple(dict.fromkeys(self._selected(label, names)))
        refuse_unasked(self.db.cursor(), self.definition, {self.label(group): names for group, names in columns.items()})

    def _selected(self, label: Label, names: Sequence[str]) -> Iterator[str]:
        """Yield the columns of these names, as the table calls them."""
        element = self.definition.vertex(label) if isinstance(label, str) else self.definition.edge(label)
        columns = schema.element_columns(self.db.cursor(), self.definition, element)
        by_name = {c.attr: c for c in columns} | {c.name: c for c in columns}
        for name in names:
            found = by_name.get(name)
            if found is None and (found := named_beside(self.db.cursor(), element, name, by_name.values())) is not None:
                by_name[name] = found
            if found is None:
                usable = [c.attr for c in columns if c.reason is None]
                raise UnknownNameError(
                    f"columns[{label!r}]: table {str(element.table)!r} has no column {name!r}" + near_misses(name, usable)
                )
            if found.reason is not None:
                raise SchemaError(
                    f"columns[{label!r}]: column {name!r} of table {str(element.table)!r} has type "
                    f"{found.sql_type}, which is no tensor: {schema.why(found, element.table, label)}."
                )
            yield found.name

    @keyboard_interrupts()
    def fetched(self, label: Label, topology: Topology | None = None, source: Source | None = None) -> tuple[Column, ...]:
        """Return the columns of a type that loaders fetch.

        Args:
            label: The type.
            topology: The index, verified just now; None: it is verified.
            source: What :meth:`source` returned just now; None: it is asked.

        Raises:
            SchemaError: One whose name PyG reserves came to the table after the stores were opened, so nobody asked for it.
        """
        source = self.source(label, topology) if source is None else source
        columns = tuple(source.columns[name] for name in source.listed)
        if label not in self.selection and any(c.is_renamed for c in columns):
            chosen = {known: self.source(known, topology) for known in self.selection}
            asked = {known: [of.columns[name].attr for name in of.listed] for known, of in chosen.items()}
            refuse_unasked(self.db.cursor(), self.definition, asked)
        return columns

    def renamed(self) -> dict[Label, list[Column]]:
        """Return, by type, the columns that loaders fetch under other names than their own; of types whose table is there."""
        con = self.db.cursor()
        definition, types = schema.current(con, self.definition), all_columns(con)
        back, keys, made = schema.written(con), key_columns(con), schema.encoded(con, definition)
        out: dict[Label, list[Column]] = {}
        for element in definition.elements:
            label: Label = element.label if isinstance(element, VertexTable) else element.edge_type
            if element.table not in types:
                continue
            columns = served(definition, element, types[element.table], back, keys, made)
            chosen = self.selection.get(label)
            fetched = [c for c in columns if (c.reason is None if chosen is None else c.name in chosen) and c.is_renamed]
            if fetched:
                out[label] = fetched
        return out

    # -- writing ---------------------------------------------------------------------------------------

    @contextmanager
    def writing(self, what: str) -> Iterator[None]:
        """Hold the stores' lock around a write, to the graph as the file has it now; refuse it on a read-only database."""
        if self.db.read_only:
            raise ReadOnlyError(f"{what} has to write, but {self.db!s} is open read-only. Connect with read_only=False.")
        self.db.need_no_transaction(what)
        with self._lock:
            self.redefine(schema.current(self.db.cursor(), self.definition))
            dropped = [e.edge for e in self.topology().edges.values() if e.dropped] if self.definition.edges else []
            ends = {end for edge in dropped for end in (edge.source, edge.destination)}
            by_condition = any(self.definition.vertex(end).condition is not None for end in ends)
            # An edge that a condition leaves out is no edge that dangles: then it is as the last time.
            self._dangling = None if by_condition else "drop" if dropped else "error"
            yield

    def rebuild(self) -> None:
        """Bring the index up to date after a write; edges that were dropped as dangling stay dropped."""
        self.graph.build(dangling=self._dangling)

    def redefine(self, definition: PropertyGraph) -> None:
        """Serve another definition from now on; called after the transaction that saved it."""
        if definition != self.definition:
            self.graph = self.graph.redefined(definition)

    def select(self, label: Label, name: str, *, present: bool) -> None:
        """Add a column that was put to the selection of its type, or take one away that was removed."""
        chosen = self.selection.get(label)
        if chosen is not None and (name in chosen) != present:
            self.selection[label] = (*chosen, name) if present else tuple(n for n in chosen if n != name)

    # -- processes -------------------------------------------------------------------------------------

    def __reduce__(self) -> tuple[Any, ...]:
        return _bind, (self.graph, self.selection, self._homogeneous)

    def __str__(self) -> str:
        types = [repr(v.label) for v in self.definition.vertices] + [repr(e.edge_type) for e in self.definition.edges]
        kind = "homogeneous graph" if self.homogeneous else "graph"
        return f"{kind} {self.graph.name!r} of {self.db!s}: {', '.join(types) or 'empty'}"


def _bind(graph: IndexedGraph, selection: dict[Label, tuple[str, ...]], homogeneous: bool) -> Binding:  # noqa: FBT001 - pickle passes by position
    return Binding(graph, selection=selection, homogeneous=homogeneous)


@keyboard_interrupts()
def definition_to_serve(db: OpenDatabase, name: str | None) -> PropertyGraph:
    """Return the definition of the graph asked for; a new, empty one for None on a database without any table."""
    con = db.cursor()
    if name is None and not schema.graph_names(con) and not schema.tables(con):
        return PropertyGraph(NEW_GRAPH)
    return schema.load(con, name)


@keyboard_interrupts()
def bind(graph: IndexedGraph, columns: Mapping[Any, Sequence[str]] | None, *, homogeneous: bool) -> Binding:
    """Return a binding for `open_stores`; its graph is its own, which puts may extend."""
    definition = graph.definition
    if homogeneous and not definition.vertices:
        definition = replace(definition, homogeneous=True)
    binding = Binding(graph.redefined(definition), homogeneous=homogeneous)
    binding.select_columns(columns or {})
    return binding
