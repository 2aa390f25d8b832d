"""`Graph`: what users have of a property graph of a database. What `db.graph(name)` returns.

Reading it into memory, writing back, checking, and how it shows itself; what its index is stands in `indexed_graph.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dbgnn import schema, topology
from dbgnn.check import CheckReport, check
from dbgnn.display import Shown
from dbgnn.errors import StaleIndexError
from dbgnn.indexed_graph import IndexedGraph
from dbgnn.translated import translated

if TYPE_CHECKING:
    import torch
    from torch_geometric.data import Data, HeteroData

    from dbgnn.database import Database
    from dbgnn.writeback.materialise import Materialised


class Graph(IndexedGraph, Shown):
    """A property graph in a database: its definition, and the index that samplers and stores read.

    Made by :meth:`Database.graph`. ``print(graph)`` shows types, counts, keys, tensor columns, and every
    column left out with the reason.
    """

    _internal = frozenset({"latest", "redefined", "see", "topology", "type_names", "was_seen"})

    db: Database

    # -- in memory, and back -----------------------------------------------------------------------------

    def to_heterodata(
        self,
        where: Mapping[Any, str] | None = None,
        *,
        columns: Mapping[Any, Sequence[str]] | None = None,
        seeds: Any = None,
        hops: int = 0,
        keys: Mapping[Any, Any] | bool | None = None,
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
            keys: Attach the key columns as attributes of their names, as PyG sees them; of edges the primary keys of their
                tables. None: those of nodes, where they are not the positions. Or by node or edge type,
                ``{"pays": "tx_id"}``: True, a column or several. Numbers are tensors, others lists.
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
        self, label: Any, name: str, encoder: Any = None, *, fit: str | None = None, progress: bool | None = None
    ) -> Materialised:
        """Materialise an encoded column: fit the encoder in SQL, and write what it makes to a column that loaders fetch.

        A table with a key, constraint or index takes no new column of arrays: a table of dbgnn's holds them, served like one.
        ``fitted.update()`` of what this returns encodes the rows that are new or changed since.

        Args:
            label: The node or edge type.
            name: The column to write.
            encoder: An encoder of columns of the type's table, such as ``dbgnn.MultiHot("genres")``; or what this returned
                before, which encodes the rows that are new or changed; None: what the file keeps for the column, likewise.
            fit: A condition on the rows that it is fitted on; None: all.
            progress: Show a progress bar; None: as the database does.

        Returns:
            The fitted encoder; its ``num_encoded`` says how many rows were encoded.

        Raises:
            SchemaError: An encoder that makes no tensors, or a column that cannot take them.
            DataError: A value is NULL under ``null='error'``, or cannot be encoded; the message names its key.
            ReadOnlyError: The database is open read-only.
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

        Of a loader of an :class:`dbgnn.EntityTask` or :class:`dbgnn.LinkTask`, a table of its own gets a row per row of the
        task: the key columns and the time as its query calls them, and ``pred``.

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

    def check(self, *, time_attr: str | None = None, index: bool = False, progress: bool | None = None) -> CheckReport:
        """Look for what would spoil training: dangling edges, NULL and duplicate keys, NaN, isolated nodes, and more.

        Reads every table a few times, in bounded memory, writes nothing, and needs no index. ``print(report)`` shows it.

        Args:
            time_attr: The name of the columns that say when, as a loader takes it: which rows have no time, and which edges a
                seed at the time of its row never has?
            index: Compare the whole topology index with the tables, too: every id and every edge. Costs about what building it
                does.
            progress: Show a progress bar on what takes more than two seconds; None: as the database does.

        Raises:
            ConnectionError: A transaction is open, whose changes would not be seen.
            SchemaError: ``time_attr`` names columns that are no times, or times of two kinds.
            UnknownNameError: No table has a column ``time_attr``.
        """
        self.db.need_committed("graph.check()")
        with translated(self.db):
            shown = self.db.settings.progress if progress is None else progress
            timeline = None
            if time_attr is not None:
                from dbgnn.sampling.asked_times import timeline_asked  # noqa: PLC0415 - torch

                timeline = timeline_asked(self, time_attr, {})
            return check(self.db, self.definition, progress=shown, index=index, timeline=timeline)

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
        dropped = [f"{e.dropped:,} {self._left_out(e.edge)}" for e in found.edges.values() if e.dropped]
        why = (
            "that of a stranger's file is not believed"
            if self.db.settings.untrusted
            else "the file is open read-only and lacks it"
        )
        where = [f"in memory, since {why}"] if found.in_memory else []
        return "; ".join(["Index: built and up to date", *where, *dropped])

    def _left_out(self, edge: schema.EdgeTable) -> str:
        """Return what to say of edges that were left out for want of an end."""
        ends = (self.definition.vertex(edge.source), self.definition.vertex(edge.destination))
        if all(end.condition is None for end in ends):
            return f"dangling edges of {edge.edge_type!r} left out"
        return f"edges of {edge.edge_type!r} left out, an end of which is no node, by a condition or since it is in no row"

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
