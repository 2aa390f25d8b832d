"""`Graph`: a property graph of a database, with its topology index. What `db.graph(name)` returns."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import duckdb

from dbgnn import schema, topology
from dbgnn.display import Listed, Shown
from dbgnn.errors import StaleIndexError
from dbgnn.schema.model import EdgeType, PropertyGraph, shown_type
from dbgnn.topology import EdgeIndex, Topology, VertexIndex
from dbgnn.translated import translated

if TYPE_CHECKING:
    import torch
    from torch_geometric.data import Data, HeteroData

    from dbgnn.check import CheckReport
    from dbgnn.database import Database
    from dbgnn.encoders import FittedEncoder


#: How often what is missing is built, where others build, or move rows, at the same time.
_ATTEMPTS = 5


class Graph(Listed, Shown):
    """A property graph in a database: its definition, and the index that samplers and stores read.

    Made by :meth:`Database.graph`. ``print(graph)`` shows types, counts, keys, tensor columns, and every
    column left out with the reason.
    """

    _internal = frozenset({"latest", "see", "topology", "type_names", "was_seen"})

    def __init__(self, db: Database, definition: PropertyGraph) -> None:
        self.db = db
        self.definition = definition
        self._lock = threading.RLock()
        self._pid = os.getpid()
        self._verified: tuple[tuple[int, object], Topology] | None = None
        self._seen: dict[str | EdgeType, tuple[tuple[int, object], VertexIndex | EdgeIndex]] = {}

    @property
    def name(self) -> str:
        """The name in ``CREATE PROPERTY GRAPH``."""
        return self.definition.name

    @property
    def node_types(self) -> list[str]:
        """The labels of the vertex tables."""
        return [v.label for v in self.definition.vertices]

    @property
    def edge_types(self) -> list[EdgeType]:
        """``(source, label, destination)`` of every edge table."""
        return [e.edge_type for e in self.definition.edges]

    def metadata(self) -> tuple[list[str], list[EdgeType]]:
        """Return ``(node_types, edge_types)``, as ``HeteroData.metadata()`` does: ``to_hetero(model, graph.metadata())``."""
        return self.node_types, self.edge_types

    @property
    def type_names(self) -> schema.TypeNames:
        """What its node and edge types are called: which one a user means."""
        return schema.TypeNames.of_graph(self.definition, self.db.cursor())

    def build(self, *, dangling: str | None = None, progress: bool | None = None, force: bool = False) -> Graph:
        """Build the topology index, or bring it up to date; only parts whose tables changed are built.

        It is also built at first use, so a call is needed only after a change of the tables, for
        ``dangling='drop'``, or to choose the moment. Where the database is open read-only, what the file lacks is kept in
        memory, and every process builds its own.

        Args:
            dangling: What to do with edges whose endpoint does not exist: ``"error"``, or ``"drop"`` them, counted in
                :meth:`num_dropped`. None: as the last time, at first ``"error"``.
            progress: Show progress bars on what takes more than two seconds; None: as the database does.
            force: Build every part again.

        Raises:
            DataError: NULL or duplicate keys, or dangling edges.
        """
        self.db.need_committed("graph.build()")
        shown = self.db.settings.progress if progress is None else progress
        with self._locked(), self.db.build_lock, translated(self.db):
            topology.build(
                self.db, self.definition, dangling=dangling, progress=shown, force=force, memory_only=self.db.settings.untrusted
            )
            if self.db.read_only:
                self.db.built_in_memory[self.name] = dangling
            self._verified = None
        return self

    def topology(self) -> Topology:
        """Return the index, verified against the tables; build it where there is none yet.

        Verified once per process and again after any commit to the file; between commits this costs
        microseconds. In an in-memory database, where commits leave no trace, every call verifies.

        Raises:
            StaleIndexError: A table changed since the index was built.
        """
        with self._locked(), translated(self.db):
            stamp: tuple[int, object] = (os.getpid(), self.db.stamp())
            if self._verified is not None:
                if stamp[1] is not None and self._verified[0] == stamp:
                    return self._verified[1]
                if self._verified[0][0] == stamp[0] and topology.is_up_to_date(
                    self.db.cursor(), self.definition, self._verified[1]
                ):
                    self._verified = (stamp, self._verified[1])
                    return self._verified[1]
            try:
                found = topology.verify(self.db.cursor(), self.definition, memory_only=self.db.settings.untrusted)
            except topology.IncompleteIndexError:
                found, stamp = self._build_missing()
            except StaleIndexError:
                if self.name not in self.db.built_in_memory:
                    raise
                found, stamp = self._build_missing()  # as the process did that this one comes from
            self._verified = (stamp, found)
            return found

    def latest(self) -> Topology:
        """Return the index as it was last verified in this process, which costs nothing."""
        verified = self._verified
        return verified[1] if verified is not None and verified[0][0] == os.getpid() else self.topology()

    def was_seen(self, label: str | EdgeType, stamp: object, index: VertexIndex | EdgeIndex) -> bool:
        """Whether the table of a type was seen to be as this index of it says while the file had this stamp."""
        now, verified = (os.getpid(), stamp), self._verified
        if verified is not None and verified[0] == now:
            known = verified[1].vertices.get(label) if isinstance(label, str) else verified[1].edges.get(label)
            if known == index:
                return True
        return self._seen.get(label) == (now, index)

    def see(self, label: str | EdgeType, stamp: object, index: VertexIndex | EdgeIndex) -> None:
        """Note for :meth:`was_seen` that it was."""
        self._seen[label] = ((os.getpid(), stamp), index)

    def _build_missing(self) -> tuple[Topology, tuple[int, object]]:
        """Build what is missing, unless another thread has done so by now, and return the index and the file's stamp."""
        with self.db.build_lock:
            for attempt in range(_ATTEMPTS):
                stamp = (os.getpid(), self.db.stamp())
                try:
                    return topology.verify(self.db.cursor(), self.definition, memory_only=self.db.settings.untrusted), stamp
                except StaleIndexError:
                    if attempt == _ATTEMPTS - 1:
                        raise
                # Another connection to the file may build at the same time; what it has built is found in the next turn.
                with suppress(duckdb.TransactionException, duckdb.ConstraintException):
                    self.build(dangling=self.db.built_in_memory.get(self.name))
        raise AssertionError

    def _locked(self) -> threading.RLock:
        """Return the lock; a new one in a forked child, where another thread may have held it at the fork for ever."""
        if self._pid != os.getpid():
            self._pid, self._lock = os.getpid(), threading.RLock()
        return self._lock

    def num_nodes(self, label: str) -> int:
        """Number of nodes of a type."""
        known = self.type_names.node(label)
        return self.topology().vertices[known].num_nodes

    def num_edges(self, edge_type: EdgeType | str) -> int:
        """Number of edges of a type, without those dropped as dangling."""
        known = self.type_names.edge(edge_type)
        return self.topology().edges[known].num_edges

    def num_dropped(self, edge_type: EdgeType | str) -> int:
        """Number of edges that ``build(dangling='drop')`` left out."""
        known = self.type_names.edge(edge_type)
        return self.topology().edges[known].dropped

    # -- in memory, and back -----------------------------------------------------------------------------

    def to_heterodata(
        self,
        where: Mapping[Any, str] | None = None,
        *,
        columns: Mapping[Any, Sequence[str]] | None = None,
        seeds: Any = None,
        hops: int = 0,
        keys: bool | None = None,
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
        """Return the graph, or the subgraph that conditions and hops leave, as a PyG object in memory.

        Nodes come in the order of their keys, edges in that of their table; no index is needed. Of a whole graph the position
        of a node is its id in loaders (``n_id``)::

            data = graph.to_heterodata({"paper": "year >= 2015", "cites": "weight > 0"})

        Args:
            where: Per node type, edge type, or middle of an edge type, a condition over the columns of its table. Edges
                keep both ends.
            columns: Per type, the columns to take, by the names that PyG sees; types not named take what a loader fetches.
            seeds: ``(node type, condition)``, or conditions by node type: take only the nodes from which a seed is reached
                in at most ``hops`` steps along the edges, and the edges among them. The bool attribute ``seed_mask`` marks
                the seeds.
            hops: How many steps.
            keys: Attach the key columns as attributes of their names, as PyG sees them; None: where they are not the positions.
            encoders: See :func:`dbgnn.query_to_heterodata`, as for all that follow.
            fit: Conditions on the rows that encoders are fitted on.
            splits: What becomes ``train_mask`` and the like.
            time: The column that becomes ``time``.
            attributes: Attributes by queries of key and value.
            reverse: Add ``rev_…`` edge types.
            undirected: Give edges within one node type both directions.
            self_loops: Add the edges from a node to itself that are missing.
            dangling: ``"error"`` or ``"drop"`` for edges whose end is not among the nodes; None: drop, counted in
                ``data.num_dropped``, where nodes were left out. ``data.num_dangling`` counts those of them that have an end
                in no row of the table.
            progress: Show progress bars; None: as the database does.

        Raises:
            SqlError, UnknownNameError, SchemaError, DataError: As :func:`dbgnn.query_to_heterodata`.
        """
        from dbgnn.queries.heterodata import to_heterodata  # noqa: PLC0415 - torch is imported only where tensors are asked for

        return to_heterodata(
            self,
            where,
            columns=columns,
            seeds=seeds,
            hops=hops,
            keys=keys,
            encoders=encoders,
            fit=fit,
            splits=splits,
            time=time,
            attributes=attributes,
            reverse=reverse,
            undirected=undirected,
            self_loops=self_loops,
            dangling=dangling,
            progress=progress,
        )

    def to_data(self, where: Mapping[Any, str] | None = None, **options: Any) -> Data:
        """Return the same as :meth:`to_heterodata`, which takes the same arguments, as ``Data``.

        Raises:
            SchemaError: The graph has more than one node or edge type, or both have an attribute of the same name.
        """
        from dbgnn.queries.heterodata import to_data  # noqa: PLC0415 - as above

        return to_data(self, where, **options)

    def encode(
        self, label: str, name: str, encoder: Any, *, fit: str | None = None, progress: bool | None = None
    ) -> FittedEncoder:
        """Materialise an encoded column: fit the encoder in SQL, and write what it makes to a column that loaders fetch.

        Args:
            label: The node type.
            name: The column to write.
            encoder: An encoder of columns of the type's table, such as ``dbgnn.MultiHot("genres")``.
            fit: A condition on the rows that it is fitted on; None: all.
            progress: Show a progress bar; None: as the database does.

        Returns:
            The fitted encoder.
        """
        from dbgnn.writeback.materialise import encode  # noqa: PLC0415 - as above

        return encode(self, label, name, encoder, fit=fit, progress=progress)

    def write_back(
        self,
        label: Any,
        *,
        n_id: Any = None,
        keys: Any = None,
        into: str | None = None,
        on_conflict: str = "update",
        progress: bool | None = None,
        **columns: Any,
    ) -> int:
        """Write tensors, such as predictions or embeddings, to columns of a node type's table or to a table of their own.

        ``graph.write_back("paper", n_id=batch.n_id, pred=logits.argmax(-1))``. Everything is written in one transaction, or
        nothing. What is written is no feature: loaders fetch what they fetched before. To serve a new column, name it in the
        graph's ``PROPERTIES``, or in ``columns=`` of the stores.

        Args:
            label: The node type; an edge type works with ``n_id`` for its ``e_id``.
            n_id: int64 ``[n]``: ids as loaders give them.
            keys: The user's own keys instead: a list, array or tensor; for a composite key a list of tuples. Without
                either, the rows are all nodes in the order of their keys.
            into: A table of its own, ``"table"`` or ``"schema.table"``, made if absent, with the key columns as primary key;
                None: columns of the node table, added if absent.
            on_conflict: ``"update"``, or ``"error"`` where a row has a value already.
            progress: Show a progress bar; None: as the database does.
            columns: Tensors or arrays by name: ``[n]``, or ``[n, k]`` for a column ``FLOAT[k]``.

        Returns:
            The number of rows written.

        Raises:
            RequestError: Ids out of range or twice, unknown keys, or another number of values than of rows.
            SchemaError: A column is a key, of another type or shape than the values, or of a dtype that DuckDB does not have.
            DataError: A value is there already (``on_conflict="error"``), or the table cannot take arrays.
            ReadOnlyError: The database is open read-only.
        """
        from dbgnn.writeback.write import write_back  # noqa: PLC0415 - as above

        return write_back(
            self, label, n_id=n_id, keys=keys, into=into, on_conflict=on_conflict, progress=progress, columns=columns
        )

    def predict(
        self,
        model: torch.nn.Module,
        loader: Iterable[Any],
        into: str,
        *,
        forward: Callable[[Any, Any], Any] | None = None,
        device: Any = None,
        resume: bool = True,
        progress: bool | None = None,
    ) -> int:
        """Run a model over a loader, and write what it says of the seed nodes to a column.

        Streams; what was computed is kept in the file as it grows. Resume an interrupted call by repeating it.

        Args:
            model: Called in evaluation mode, without gradients.
            loader: A ``NeighborLoader``, dbgnn's or PyG's, over this graph.
            into: ``"paper.pred"``: a column of a node type; ``"pred"``, ``"schema.pred"`` or ``"schema.table.column"``: a
                table of its own.
            forward: ``forward(model, batch)``, which returns one row per seed or per node of the batch; None:
                ``model(batch)``.
            device: Where the batches are moved to; None: where the model's parameters are.
            resume: Keep what an interrupted call has computed, and compute the rest; False: compute all.
            progress: Show a progress bar; None: as the database does.

        Returns:
            The number of rows written.
        """
        from dbgnn.writeback.predict import predict  # noqa: PLC0415 - as above

        return predict(self, model, loader, into, forward=forward, device=device, resume=resume, progress=progress)

    def check(self, *, index: bool = False, progress: bool | None = None) -> CheckReport:
        """Look for what would spoil training: dangling edges, NULL and duplicate keys, NaN, isolated nodes, and more.

        Reads every table a few times, in bounded memory, writes nothing, and needs no index. ``print(report)`` shows it.

        Args:
            index: Compare the whole topology index with the tables, too: every id and every edge. Costs about what building it
                does.
            progress: Show a progress bar on what takes more than two seconds; None: as the database does.

        Raises:
            ConnectionError: A transaction is open, whose changes would not be seen.
        """
        from dbgnn.check import check  # noqa: PLC0415 - as above

        self.db.need_committed("graph.check()")
        with translated(self.db):
            shown = self.db.settings.progress if progress is None else progress
            return check(self.db, self.definition, progress=shown, index=index)

    def __reduce__(self) -> tuple[Any, ...]:
        return Graph, (self.db, self.definition)

    def __str__(self) -> str:
        return f"{schema.describe(self.db.cursor(), self.definition)}\n\n{self._index_line()}"

    def _index_line(self) -> str:
        try:
            found = topology.verify(self.db.cursor(), self.definition, memory_only=self.db.settings.untrusted)
        except topology.IncompleteIndexError:
            if self.db.settings.untrusted:
                return self._unbelieved_line()
            return "Index: not built yet; it is built at first use, or by graph.build()"
        except StaleIndexError as error:
            return f"Index: {error}"
        dropped = [f"{e.dropped:,} dangling edges of {t!r} left out" for t, e in found.edges.items() if e.dropped]
        why = (
            "that of a stranger's file is not believed"
            if self.db.settings.untrusted
            else "the file is open read-only and lacks it"
        )
        where = [f"in memory, since {why}"] if found.in_memory else []
        return "; ".join(["Index: built and up to date", *where, *dropped])

    def _unbelieved_line(self) -> str:
        """Return what the index in a file says of itself that is open as a stranger's, where none was built in memory yet."""
        try:
            topology.verify(self.db.cursor(), self.definition)
            state = "built and up to date by its own checksums"
        except topology.IncompleteIndexError:
            return "Index: not built yet; it is built at first use, or by graph.build()"
        except StaleIndexError:
            state = "stale or damaged"
        return f"Index: in the file, {state}; that of a stranger's file is not believed, so the first use builds one in memory"

    def __repr__(self) -> str:
        types = ", ".join([*map(shown_type, self.node_types), *map(shown_type, self.edge_types)])
        return f"dbgnn.Graph({self.name!r}: {types or 'empty'})"
