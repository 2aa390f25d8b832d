"""`Graph`: a property graph of a database, with its topology index. What `db.graph(name)` returns."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

from dbgnn import schema, topology
from dbgnn.errors import StaleIndexError, UnknownNameError, near_misses
from dbgnn.schema.model import EdgeType, PropertyGraph
from dbgnn.topology import Topology

if TYPE_CHECKING:
    from dbgnn.database import Database


class Graph:
    """A property graph in a database: its definition, and the index that samplers and stores read.

    Made by :meth:`Database.graph`. ``print(graph)`` shows types, counts, keys, tensor columns, and every
    column left out with the reason.
    """

    def __init__(self, db: Database, definition: PropertyGraph) -> None:
        self.db = db
        self.definition = definition
        self._lock = threading.RLock()
        self._pid = os.getpid()
        self._verified: tuple[object, Topology] | None = None

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

    def build(self, *, dangling: str | None = None, progress: bool | None = None, force: bool = False) -> Graph:
        """Build the topology index, or bring it up to date; only parts whose tables changed are built.

        It is also built at first use, so a call is needed only after a change of the tables, for
        ``dangling='drop'``, or to choose the moment.

        Args:
            dangling: What to do with edges whose endpoint does not exist: ``"error"``, or ``"drop"`` them, counted in
                :meth:`num_dropped`. None: as the last time, at first ``"error"``.
            progress: Show progress bars on what takes more than two seconds; None: as the database does.
            force: Build every part again.

        Raises:
            DataError: NULL or duplicate keys, or dangling edges.
            ReadOnlyError: The database is open read-only.
        """
        from dbgnn.database import translated  # noqa: PLC0415 - database.py imports this module

        shown = self.db.settings.progress if progress is None else progress
        with self.db.build_lock, self._locked(), translated(self.db):
            topology.build(self.db, self.definition, dangling=dangling, progress=shown, force=force)
            self._verified = None
        return self

    def topology(self) -> Topology:
        """Return the index, verified against the tables; build it where there is none yet.

        Verified once per process and again after any commit to the file; between commits this costs
        microseconds. In an in-memory database every call verifies.

        Raises:
            StaleIndexError: A table changed since the index was built, or there is none and the database is read-only.
        """
        from dbgnn.database import translated  # noqa: PLC0415 - database.py imports this module

        with self._locked(), translated(self.db):
            stamp: tuple[int, object] = (os.getpid(), self.db.stamp())
            if stamp[1] is not None and self._verified is not None and self._verified[0] == stamp:
                return self._verified[1]
            try:
                found = topology.verify(self.db.cursor(), self.definition)
            except topology.IncompleteIndexError as error:
                if self.db.read_only:
                    raise StaleIndexError(
                        f"{error} But {self.db!s} is open read-only: open it once with read_only=False and call graph.build()."
                    ) from error
                found, stamp = self._build_missing()
            self._verified = (stamp, found)
            return found

    def _build_missing(self) -> tuple[Topology, tuple[int, object]]:
        """Build what is missing, unless another thread has done so meanwhile, and return the index and the file's stamp."""
        with self.db.build_lock:
            for attempt in (0, 1):
                stamp = (os.getpid(), self.db.stamp())
                try:
                    return topology.verify(self.db.cursor(), self.definition), stamp
                except topology.IncompleteIndexError:
                    if attempt:
                        raise
                    self.build()
        raise AssertionError

    def _locked(self) -> threading.RLock:
        """Return the lock; a new one in a forked child, where another thread may have held it at the fork for ever."""
        if self._pid != os.getpid():
            self._pid, self._lock = os.getpid(), threading.RLock()
        return self._lock

    def num_nodes(self, label: str) -> int:
        """Number of nodes of a type."""
        index = self.topology().vertices.get(label)
        if index is None:
            raise UnknownNameError(f"Graph {self.name!r} has no node type {label!r}" + near_misses(label, self.node_types))
        return index.num_nodes

    def num_edges(self, edge_type: EdgeType) -> int:
        """Number of edges of a type, without those dropped as dangling."""
        self.definition.edge(edge_type)
        return self.topology().edges[edge_type].num_edges

    def num_dropped(self, edge_type: EdgeType) -> int:
        """Number of edges that ``build(dangling='drop')`` left out."""
        self.definition.edge(edge_type)
        return self.topology().edges[edge_type].dropped

    def __reduce__(self) -> tuple[Any, ...]:
        return Graph, (self.db, self.definition)

    def __str__(self) -> str:
        return f"{schema.describe(self.db.cursor(), self.definition)}\n\n{self._index_line()}"

    def _index_line(self) -> str:
        try:
            edges = topology.verify(self.db.cursor(), self.definition).edges
        except topology.IncompleteIndexError:
            return "Index: not built yet; it is built at first use, or by graph.build()"
        except StaleIndexError as error:
            return f"Index: {error}"
        dropped = [f"{e.dropped:,} dangling edges of {t!r} left out" for t, e in edges.items() if e.dropped]
        return "; ".join(["Index: built and true", *dropped])

    def __repr__(self) -> str:
        types = ", ".join([*self.node_types, *("-".join(t) for t in self.edge_types)])
        return f"dbgnn.Graph({self.name!r}: {types or 'empty'})"
