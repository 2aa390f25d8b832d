"""`IndexedGraph`: a property graph of a database with its topology index, as stores, samplers and loaders know it.

Which types it has, when the index is built, verified or seen to be up to date, and how many rows there are. What users do with
a graph beside that stands above, in `graph.py`.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from typing import Any, Self

import duckdb

from dbgnn import schema, topology
from dbgnn.display import Listed
from dbgnn.errors import StaleIndexError
from dbgnn.open_database import OpenDatabase
from dbgnn.schema.model import EdgeType, PropertyGraph, shown_type
from dbgnn.topology import EdgeIndex, Topology, VertexIndex
from dbgnn.translated import translated

#: How often what is missing is built, where others build, or move rows, at the same time.
_ATTEMPTS = 5


class IndexedGraph(Listed):
    """A property graph in a database: its definition, and the index that samplers and stores read; the base of `Graph`."""

    def __init__(self, db: OpenDatabase, definition: PropertyGraph) -> None:
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

    def redefined(self, definition: PropertyGraph) -> Self:
        """Return a graph of the same database by another definition, which knows nothing of its index yet."""
        return type(self)(self.db, definition)

    def build(self, *, dangling: str | None = None, progress: bool | None = None, force: bool = False) -> Self:
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
            topology.forget_lists(self.db)
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

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.db, self.definition)

    def __repr__(self) -> str:
        types = ", ".join([*map(shown_type, self.node_types), *map(shown_type, self.edge_types)])
        return f"dbgnn.Graph({self.name!r}: {types or 'empty'})"
