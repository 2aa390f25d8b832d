"""`Target`: where rows that are written go, columns of a type's own table or a side table, and whether that is still there.

What may be written to it stands in `dbgnn.writeback.writable`, the SQL that writes in `dbgnn.writeback.moving`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import duckdb

from dbgnn import schema
from dbgnn.errors import ReadOnlyError, SchemaError, StaleIndexError, UnknownNameError
from dbgnn.schema import TableName
from dbgnn.schema.catalog import ROWID, folded
from dbgnn.schema.keys import table_key_types
from dbgnn.stores.binding import Binding
from dbgnn.stores.source import Source
from dbgnn.topology import Topology, same_ids, verify
from dbgnn.writeback.side import side_table

if TYPE_CHECKING:
    from dbgnn.indexed_graph import IndexedGraph

#: What `write_back` and `predict` can do instead.
ASIDE = "Write to a side table with into='…', which is joined by key."


@dataclass(frozen=True, slots=True)
class Target:
    """Where values by node id (or edge id) go.

    Attributes:
        graph: The graph.
        topology: The index that ids are of.
        source: The node or edge type, and its table.
        into: A side table; None: columns of the type's own table.
        on_conflict: ``"update"``, or ``"error"`` where a row has a value already.
        serve: Whether loaders fetch new columns of the type's own table from now on.
        remedy: What the caller can do where that table does not take a column; for messages.
    """

    graph: IndexedGraph
    topology: Topology
    source: Source
    into: TableName | None = None
    on_conflict: str = "update"
    serve: bool = False
    remedy: str = ASIDE

    @staticmethod
    def of(
        graph: IndexedGraph,
        label: Any,
        *,
        into: str | TableName | None,
        on_conflict: str = "update",
        serve: bool = False,
        remedy: str = ASIDE,
    ) -> Target:
        """Return the target that a caller names.

        Raises:
            ReadOnlyError: The database is open read-only.
            UnknownNameError: There is no such node or edge type, or no such schema.
            SchemaError: ``into`` names a table of the graph or none, or ``on_conflict`` is neither of the two.
        """
        if graph.db.read_only:
            raise ReadOnlyError(f"Writing to {label!r} needs {graph.db!s} open for writing. Connect with read_only=False.")
        graph.db.need_no_transaction(f"Writing to {label!r}")
        if on_conflict not in ("update", "error"):
            raise SchemaError(f"on_conflict must be 'update' or 'error', not {on_conflict!r}.")
        if into == "":
            raise SchemaError(f"into='' names no side table for {label!r}; for columns of its own table, leave into out.")
        binding = Binding(graph.redefined(graph.definition))
        topology, source = binding.topology(), binding.source(binding.label(label, "write_back"))
        side = into if into is None or isinstance(into, TableName) else side_table(graph.db.cursor(), into)
        if side is not None and any(_same(side, table) for table in graph.definition.tables):
            raise SchemaError(
                f"into={str(side)!r} is a table of graph {graph.name!r}; a side table is one of its own. For columns of the "
                f"table of {source.label!r} itself, leave into out."
            )
        if side is not None and ROWID in source.keys:
            raise SchemaError(
                f"The rows of {source.label!r} (table {str(source.table)!r}) are known by rowid, which DuckDB changes, so no "
                "other table can be keyed by it. Leave into out, for columns of that table; or give it a key."
            )
        return Target(graph, topology, source, side, on_conflict, serve, remedy)

    def now(self) -> Target:
        """Return the same target as the tables are now: rows may have moved, and columns come, since this one was made.

        Raises:
            StaleIndexError: Its ids are other rows now.
        """
        label = self.source.label
        now = Target.of(self.graph, label, into=self.into, on_conflict=self.on_conflict, serve=self.serve, remedy=self.remedy)
        if not same_ids(self.topology, now.topology, label):
            raise self._stale()
        return now

    def verify(self, con: duckdb.DuckDBPyConnection) -> None:
        """Raise :class:`StaleIndexError` unless ids are the rows that this transaction sees: others may be quicker."""
        label = self.source.label
        try:
            now = verify(con, self.graph.definition)
        except StaleIndexError as error:
            raise self._stale() from error
        index = now.vertices[label] if isinstance(label, str) else now.edges[label]
        if not same_ids(self.topology, now, label) or index.map_table != self.source.map_table:
            raise self._stale()

    def _stale(self) -> StaleIndexError:
        return StaleIndexError(
            f"The rows of {self.source.label!r} (table {str(self.source.table)!r}) changed while values for them were "
            "computed, so that their ids are other rows now. Nothing was written; repeat the call."
        )

    def find_side(self, con: duckdb.DuckDBPyConnection) -> TableName | None:
        """Return the side table, as the catalog spells it, if it is there."""
        assert self.into is not None
        try:
            return schema.find_table(con, self.into.name, self.into.schema)
        except UnknownNameError:
            return None

    def moves_rows(self, kinds: Mapping[str, str]) -> bool:
        """Whether rows of the type's own table move, because it is made again or arrays change in place."""
        return self.into is None and any(map(moves_its_row, kinds.values()))

    def key_types(self, con: duckdb.DuckDBPyConnection) -> tuple[str, ...]:
        """Return the types of the keys, with collations."""
        names = self.source.keys
        found = dict(zip(dict.fromkeys(names), table_key_types(con, self.source.table, names), strict=True))
        return tuple(found[name] for name in names)


def _same(one: TableName, other: TableName) -> bool:
    return (folded(one.schema), folded(one.name)) == (folded(other.schema), folded(other.name))


def moves_its_row(kind: str) -> bool:
    """Whether an UPDATE of a column of this type moves its rows."""
    return kind.endswith("]") or kind.startswith(("STRUCT", "MAP", "UNION"))
