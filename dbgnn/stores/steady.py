"""Reading rows by id while others write: what is read is of the rows that the ids mean, or it is an error.

An id leads to a rowid, and DuckDB moves rows to other rowids when an array of theirs is updated, and when a checkpoint
fills gaps. So a read counts only if the table is as it was indexed. Where nothing was committed to the file since that was
last seen, its stamp says so for microseconds. Otherwise the checksum of this one table and the read are one transaction, so
that nothing can come in between; in memory, where commits leave no trace, this is done for every read, or once for all reads
of a mini-batch (100 k rows: 0.5 ms).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import duckdb
import pyarrow as pa

from dbgnn.errors import StaleIndexError
from dbgnn.schema import Column
from dbgnn.stores.select import projection
from dbgnn.topology import are_as_indexed, same_ids
from dbgnn.translated import translated

if TYPE_CHECKING:
    from dbgnn.schema.encoded import SideTable
    from dbgnn.schema.model import Label
    from dbgnn.schema.named_beside import NamedBeside
    from dbgnn.stores.binding import Binding
    from dbgnn.stores.source import Source
    from dbgnn.topology import EdgeIndex, Topology, VertexIndex

_T = TypeVar("_T")

_Side: TypeAlias = "SideTable | NamedBeside"

#: How often a read begins again because rows moved; each time the index is brought up to date first.
_ATTEMPTS = 20


class Steady:
    """Reads of the rows of a binding's tables.

    Args:
        binding: The graph that the ids are of.
    """

    def __init__(self, binding: Binding) -> None:
        self._binding = binding
        self._kinds: dict[str, pa.DataType] = {}
        self._held = threading.local()
        #: The stamp of the file with which side tables were seen to hold what their node tables do.
        self._fresh: dict[_Side, object] = {}

    def read(
        self, label: Label, read: Callable[[Source], _T], topology: Topology | None = None, names: Sequence[str] = ()
    ) -> _T:
        """Return what ``read`` makes of a type's table as it is now.

        Args:
            label: The type.
            read: Called with the table.
            topology: The index, verified just now; None: it is verified.
            names: The attributes that it reads.

        Raises:
            StaleIndexError: The table changed since the index was built, or since one of them was encoded.
        """
        with translated(self._binding.db):
            now = self._binding.topology() if topology is None else topology
            for _ in range(_ATTEMPTS):
                source = self._binding.source(label, now)
                sides = _sides(c for c in source.columns.values() if c.attr in names)
                done, result = self._read(label, source.index, lambda source=source: read(source), sides)  # type: ignore[misc]
                if done:
                    return result
                now = self._binding.topology()
        raise self._too_fast()

    def read_of(
        self, topology: Topology, label: Label, columns: Sequence[Column], read: Callable[[Source, Sequence[pa.DataType]], _T]
    ) -> _T:
        """Return what ``read`` makes of a type's table, for ids of ``topology``, and of the columns as they were then.

        Args:
            topology: The index that the ids are of.
            label: The type.
            columns: Its columns.
            read: Called with the table, and the Arrow type of every column.

        Raises:
            StaleIndexError: The ids mean other rows now, or a column has another type.
        """
        binding, kinds, sides = self._binding, [self._kind(c) for c in columns], _sides(columns)
        with translated(binding.db):
            now = binding.graph.latest()
            for _ in range(_ATTEMPTS):
                if not same_ids(topology, now, label):
                    self._leave()
                    now = binding.topology()
                if not same_ids(topology, now, label):
                    raise StaleIndexError(
                        f"{label!r} of {binding!s} changed after its mini-batches were sampled, so their ids are other rows "
                        "now. Start a new epoch; if nodes came or went, make the loader again."
                    )
                source = binding.source_of(label, now, columns)
                try:
                    done, result = self._read(label, source.index, lambda source=source: read(source, kinds), sides)  # type: ignore[misc]
                except duckdb.BinderException:
                    for column in columns:
                        binding.source(label).column(column.name)  # names the one that is gone
                    raise
                if done:
                    return result
                now = binding.topology()
        raise self._too_fast()

    @contextmanager
    def together(self, topology: Topology, labels: Sequence[Label]) -> Iterator[None]:
        """Have this thread's reads of some types within be of one state of the file, which is looked at once for all of them.

        Where the stamp of the file says enough, or where rows moved, every read looks for itself as ever.

        Args:
            topology: The index that the ids are of.
            labels: The types, each once.
        """
        db, graph = self._binding.db, self._binding.graph
        stamp, now = db.stamp(), graph.latest()
        with ExitStack() as held, translated(db):
            if len(labels) > 1 and all(same_ids(topology, now, label) for label in labels):
                indexes = {label: _part(now, label) for label in labels}
                if stamp is None or not all(graph.was_seen(label, stamp, index) for label, index in indexes.items()):
                    held.enter_context(db.snapshot())
                    if are_as_indexed(db.cursor(), list(indexes.values())):
                        held.callback(vars(self._held).clear)
                        self._held.indexes, self._held.end = indexes, held.close
                    else:
                        held.close()
            yield

    def _read(
        self, label: Label, index: VertexIndex | EdgeIndex, read: Callable[[], _T], sides: tuple[_Side, ...]
    ) -> tuple[bool, _T]:
        """Read; ``(False, …)`` where the table is not as it was indexed, or the index was built again."""
        db, graph = self._binding.db, self._binding.graph
        if getattr(self._held, "indexes", {}).get(label) == index:
            for side in sides:
                side.verify(db.cursor())
            return True, read()
        self._leave()
        stamp = db.stamp()
        fresh = all(self._fresh.get(side) == stamp for side in sides)
        if stamp is not None and fresh and graph.was_seen(label, stamp, index):
            try:
                result = read()
            except (StaleIndexError, duckdb.CatalogException):
                if db.stamp() == stamp:
                    raise
            else:
                if db.stamp() == stamp:
                    return True, result
            stamp = db.stamp()
        with db.snapshot():
            if not are_as_indexed(db.cursor(), [index]):
                return False, None  # type: ignore[return-value]
            for side in sides:
                side.verify(db.cursor())
            try:
                result = read()
            except duckdb.CatalogException:  # a table of the index that another build has dropped
                return False, None  # type: ignore[return-value]
        if stamp is not None and db.stamp() == stamp:
            graph.see(label, stamp, index)
            self._fresh.update(dict.fromkeys(sides, stamp))
        return True, result

    def _leave(self) -> None:
        """End what :meth:`together` began: another thread has brought the index up to date, which that state does not show."""
        if (end := getattr(self._held, "end", None)) is not None:
            end()

    def _kind(self, column: Column) -> pa.DataType:
        """Return the Arrow type by which values of a column arrive."""
        found = self._kinds.get(column.sql_type)
        if found is None:
            value = f"SELECT NULL::{column.sql_type} AS {_VALUE}"
            query = f"SELECT {projection(replace(column, name=_VALUE))} FROM ({value}) AS t"
            found = self._kinds[column.sql_type] = self._binding.db.arrow(query).schema.types[0]
        return found

    def _too_fast(self) -> StaleIndexError:
        return StaleIndexError(f"The tables of {self._binding!s} change faster than they are read.")


def _part(topology: Topology, label: Label) -> VertexIndex | EdgeIndex:
    return topology.vertices[label] if isinstance(label, str) else topology.edges[label]


def _sides(columns: Iterable[Column]) -> tuple[_Side, ...]:
    return tuple(dict.fromkeys(c.beside for c in columns if c.beside is not None))


_VALUE = "value"
