"""From a staged relation ``(id, c0, c1, …)`` to where its rows belong: columns of a type's own table, or a side table.

What is staged may be an Arrow table or a table of the database. `Target` says whether it can go there, and moves it, within
a transaction of the caller. Ids stay what they are, and so does what loaders fetch, unless asked otherwise.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import duckdb

from dbgnn import schema
from dbgnn.errors import DataError, ReadOnlyError, RequestError, SchemaError, StaleIndexError, UnknownNameError
from dbgnn.schema import EdgeTable, PropertyGraph, TableName, VertexTable
from dbgnn.schema.catalog import folded
from dbgnn.schema.key_values import carried, key_rows, shown_key
from dbgnn.schema.keys import compared, same, table_key_types
from dbgnn.schema.render import shown_table
from dbgnn.sql import quote, quote_all
from dbgnn.stores import features, tables
from dbgnn.stores.binding import Binding, Source
from dbgnn.topology import Topology, same_ids, verify
from dbgnn.writeback.side import side_table

if TYPE_CHECKING:
    from dbgnn.indexed_graph import IndexedGraph

#: What `write_back` and `predict` can do instead.
ASIDE = "Write to a side table with into='…', which is joined by key."

_Element = TypeVar("_Element", VertexTable, EdgeTable)


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

    def _verify(self, con: duckdb.DuckDBPyConnection) -> None:
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

    # -- what may be written -----------------------------------------------------------------------------

    def check(self, con: duckdb.DuckDBPyConnection, kinds: Mapping[str, str]) -> None:
        """Raise if columns of these SQL types cannot go there; before anything is staged.

        Raises:
            SchemaError: A column is a key, is of another type, or is indexed; or the side table lacks the keys.
            DataError: DuckDB would move rows of the table to other places, which a constraint or the ids of edges forbid.
        """
        if not kinds:
            raise SchemaError(f"There is no column to write to {self.source.label!r}; name at least one.")
        for name in kinds:
            if not name:
                raise SchemaError(f"A column to write to {self.source.label!r} has the name ''; give it another.")
            if name.lower() in {k.lower() for k in self.source.keys}:
                raise SchemaError(
                    f"Column {name!r} is a key of {self.source.label!r} (table {str(self.source.table)!r}); write under "
                    "another name, and change keys with SQL."
                )
            if [other.lower() for other in kinds].count(name.lower()) > 1:
                raise SchemaError(f"Column {name!r} is named twice; to DuckDB names that differ by case are one.")
            if name.lower() == "rowid":
                raise SchemaError("A column 'rowid' would hide DuckDB's own; write under another name.")
        if self.into is None:
            self._check_attributes(kinds)
            self._check_types(con, self.source.table, {name: c.sql_type for name, c in self.source.columns.items()}, kinds)
            self._check_place(con, kinds)
        elif (side := self._side(con)) is not None:
            known = schema.columns(con, side)
            self._check_types(con, side, known, kinds)
            self._check_keys(side, known)

    def _check_attributes(self, kinds: Mapping[str, str]) -> None:
        """Raise if a new column has the name under which PyG sees another one, which would get another name by that."""
        seen = {c.attr.lower(): c for c in self.source.columns.values() if c.is_renamed}
        for name in kinds:
            if name not in self.source.columns and (other := seen.get(name.lower())) is not None:
                raise SchemaError(
                    f"Loaders serve column {other.name!r} of table {str(self.source.table)!r} as {other.attr!r}, so a new "
                    f"column cannot have the name {name!r}. Write under another."
                )

    def _check_types(
        self, con: duckdb.DuckDBPyConnection, table: TableName, known: Mapping[str, str], kinds: Mapping[str, str]
    ) -> None:
        for name, kind in kinds.items():
            tables.check_new_column(table, name, known)
            if known.get(name, kind) != kind:
                # What foreign keys or indexes depend on, DuckDB does not alter.
                drop = f", or drop the column first: ALTER TABLE {shown_table(table)} DROP COLUMN {quote(name)}"
                listed = table == self.source.table and name in (self.source.element.properties or ())
                raise SchemaError(
                    f"Column {name!r} of table {str(table)!r} is {known[name]}, the values are {kind}. Convert them, or write "
                    f"under another name{'' if listed or tables.bound_by(con, table) else drop}."
                )

    def _check_keys(self, side: TableName, known: Mapping[str, str]) -> None:
        for key in self.source.keys:
            if known.get(key) != (kind := self.source.columns[key].sql_type):
                raise SchemaError(
                    f"Table {str(side)!r} cannot hold values of {self.source.label!r}: its rows need the key column {key!r} "
                    f"of type {kind}, and it has {known.get(key, 'none')}. Name another table; it is made if absent."
                )

    def _check_place(self, con: duckdb.DuckDBPyConnection, kinds: Mapping[str, str]) -> None:
        """Raise if the table itself cannot take the columns without a change of what the ids mean."""
        table = self.source.table
        bound = tables.bound_by(con, table)
        if bound is None:
            return
        for name in kinds:
            if name in self.source.columns and features.is_indexed(con, self.source, name):
                raise SchemaError(
                    f"Column {name!r} of table {str(table)!r} is part of an index or constraint; change it with SQL, or write "
                    "under another name."
                )
        nested = [name for name, kind in kinds.items() if _is_nested(kind)]
        if not nested:
            return
        where = f"Column {nested[0]!r} ({kinds[nested[0]]}) cannot be written to table {str(table)!r}"
        if any(edge.table == table for edge in self.graph.definition.edges):
            raise DataError(
                f"{where}: DuckDB moves rows whose arrays change, the ids of edges are their order, and the table cannot be "
                f"written again in its order, because it has {bound}. {self.remedy}"
            )
        if by := next((key for key in schema.foreign_keys(con) if key.target == table), None):
            raise DataError(
                f"{where}: DuckDB moves rows whose arrays change, and the foreign key of table {str(by.table)!r} holds them. "
                f"{self.remedy}"
            )

    def _side(self, con: duckdb.DuckDBPyConnection) -> TableName | None:
        """Return the side table, as the catalog spells it, if it is there."""
        assert self.into is not None
        try:
            return schema.find_table(con, self.into.name, self.into.schema)
        except UnknownNameError:
            return None

    # -- moving ------------------------------------------------------------------------------------------

    def move(self, con: duckdb.DuckDBPyConnection, staged: str, kinds: Mapping[str, str]) -> tuple[int, PropertyGraph]:
        """Write what is staged, in the caller's transaction; then, after its commit, call `settle`.

        Args:
            con: The connection that has the transaction.
            staged: The relation ``(id, c0, c1, …)``, as SQL names it; ids are in range.
            kinds: The columns in that order, with their SQL types.

        Returns:
            The number of rows, and the graph's definition after the commit.

        Raises:
            RequestError: An id comes twice.
            DataError: A row has a value already, under ``on_conflict="error"``; or parallel edges for a side table.
            StaleIndexError: Rows were moved or changed at the last moment.
        """
        self._verify(con)
        self.check(con, kinds)
        (count, distinct) = con.execute(f"SELECT count(*), count(DISTINCT id) FROM {staged}").fetchall()[0]
        if count != distinct:
            (twice, times) = con.execute(
                f"SELECT id, count(*) FROM {staged} GROUP BY id HAVING count(*) > 1 ORDER BY id ASC LIMIT 1"
            ).fetchall()[0]
            raise RequestError(
                f"The {count:,} ids of {self.source.label!r} name {distinct:,} rows: id {twice} comes {times} times. Give each "
                "row once."
            )
        if self.into is not None:
            self._move_aside(con, staged, kinds)
            return count, self.graph.definition
        self._move_into(con, staged, kinds)
        if self.serve:
            schema.unmark_written(con, self.source.table, kinds)
            return count, self._listing(con, kinds)
        schema.mark_written(con, self.source.table, [name for name in kinds if name not in self.source.columns])
        return count, schema.current(con, self.graph.definition)

    def settle(self, definition: PropertyGraph, kinds: Mapping[str, str]) -> None:
        """Serve the definition that `move` returned, and bring the index up to date with rows that were moved."""
        self.graph.definition = definition
        if self.moves_rows(kinds):
            self.graph.build(progress=False)

    def moves_rows(self, kinds: Mapping[str, str]) -> bool:
        """Whether rows of the type's own table move, because it is made again or arrays change in place."""
        return self.into is None and any(map(_is_nested, kinds.values()))

    def _by_rowid(self, staged: str, kinds: Mapping[str, str]) -> str:
        """Return a query of ``(rid, c0, c1, …)``."""
        columns = "".join(f", s.c{i}" for i in range(len(kinds)))
        if self.source.map_table is None:
            return f"SELECT s.id AS rid{columns} FROM {staged} AS s"
        return f"SELECT m.rid{columns} FROM {staged} AS s JOIN {self.source.map_table} AS m ON m.id = s.id"

    def _move_into(self, con: duckdb.DuckDBPyConnection, staged: str, kinds: Mapping[str, str]) -> None:
        table, written = self.source.table, self._by_rowid(staged, kinds)
        new = [name for name in kinds if name not in self.source.columns]
        self._check_conflict(con, table, f"({written}) AS w JOIN {table.sql} AS t ON t.rowid = w.rid", set(kinds) - set(new))
        if tables.bound_by(con, table) is None and any(map(_is_nested, kinds.values())):
            self._remake(con, written, kinds, new)
            return
        for name in new:
            con.execute(f"ALTER TABLE {table.sql} ADD COLUMN {quote(name)} {kinds[name]}")
        con.execute(f"UPDATE {table.sql} AS t SET {_assignments(kinds)} FROM ({written}) AS w WHERE t.rowid = w.rid")

    def _remake(self, con: duckdb.DuckDBPyConnection, written: str, kinds: Mapping[str, str], new: list[str]) -> None:
        """Make the table again in the order of its rows, with the values beside them: only those are sorted, not whole rows."""
        table = self.source.table
        kept = [f"NULL::{kind}" if name in new else f"t.{quote(name)}" for name, kind in kinds.items()]
        columns = ", ".join(f"c{i}" for i in range(len(kinds)))
        replaced = ", ".join(f"v.c{i} AS {quote(name)}" for i, name in enumerate(kinds) if name not in new)
        added = "".join(f", v.c{i} AS {quote(name)}" for i, name in enumerate(kinds) if name in new)
        tables.remake(
            con,
            table,
            f"""SELECT t.*{f" REPLACE ({replaced})" if replaced else ""}{added}
            FROM {table.sql} AS t POSITIONAL JOIN (
              SELECT {columns} FROM (
                {written}
                UNION ALL
                SELECT t.rowid AS rid, {", ".join(kept)} FROM {table.sql} AS t ANTI JOIN ({written}) AS w ON w.rid = t.rowid
              ) ORDER BY rid ASC
            ) AS v""",
        )

    def _move_aside(self, con: duckdb.DuckDBPyConnection, staged: str, kinds: Mapping[str, str]) -> None:
        source, keys = self.source, self.source.keys
        types = self._key_types(con)
        side = self._side(con)
        if side is None:
            assert self.into is not None
            side = self.into
            columns = [f"{quote(k)} {kind}" for k, kind in zip(keys, types, strict=True)]
            columns += [f"{quote(name)} {kind}" for name, kind in kinds.items()]
            con.execute(f"CREATE TABLE {side.sql} ({', '.join(columns)}, PRIMARY KEY ({quote_all(keys)}))")
            schema.mark_written(con, side, kinds, whole=True)
        known = schema.columns(con, side)
        if new := [name for name in kinds if name not in known]:
            for name in new:
                con.execute(f"ALTER TABLE {side.sql} ADD COLUMN {quote(name)} {kinds[name]}")
            schema.mark_written(con, side, new)
        # Names of our own: a key may be called c0.
        named = ", ".join(f"t.{quote(k)} AS k{i}" for i, k in enumerate(keys))
        values = "".join(f", w.c{i}" for i in range(len(kinds)))
        by_key = (
            f"SELECT {named}{values} FROM ({self._by_rowid(staged, kinds)}) AS w "
            f"JOIN {source.table.sql} AS t ON t.rowid = w.rid"
        )
        if isinstance(source.element, EdgeTable):
            self._check_parallel(con, by_key, kinds)
        on = same(((f"t.{quote(k)}", f"w.k{i}") for i, k in enumerate(keys)), types)
        self._check_conflict(con, side, f"({by_key}) AS w JOIN {side.sql} AS t ON {on}", set(kinds) & set(known))
        con.execute(f"UPDATE {side.sql} AS t SET {_assignments(kinds)} FROM ({by_key}) AS w WHERE {on}")
        con.execute(
            f"INSERT INTO {side.sql} ({quote_all([*keys, *kinds])}) "
            f"SELECT * FROM ({by_key}) AS w ANTI JOIN {side.sql} AS t ON {on}"
        )

    def _check_conflict(self, con: duckdb.DuckDBPyConnection, table: TableName, joined: str, names: set[str]) -> None:
        """Raise under ``on_conflict="error"`` if one of the rows ``t`` of a join has a value already."""
        if self.on_conflict == "update" or not names:
            return
        some = " OR ".join(f"t.{quote(name)} IS NOT NULL" for name in sorted(names))
        types = self._key_types(con)
        named = [(f"t.{quote(name)}", kind) for name, kind in zip(self.source.keys, types, strict=True)]
        keys = ", ".join(carried(key, kind) for key, kind in named)
        order = ", ".join(f"{compared(key, kind)} ASC NULLS LAST" for key, kind in named)
        query = f"SELECT {keys}, count(*) OVER () AS n FROM {joined} WHERE {some} ORDER BY {order} LIMIT 1"
        if found := key_rows(con, query, types):
            *key, count = found[0]
            raise DataError(
                f"{count:,} of the rows of table {str(table)!r} have a value in {', '.join(sorted(names))} already; the first "
                f"has {self._shown(key)}. Leave them out, or write with on_conflict='update'."
            )

    def _shown(self, key: Sequence[Any]) -> str:
        return shown_key(self.source.keys, key)

    def _key_types(self, con: duckdb.DuckDBPyConnection) -> tuple[str, ...]:
        """Return the types of the keys, with collations."""
        names = self.source.keys
        found = dict(zip(dict.fromkeys(names), table_key_types(con, self.source.table, names), strict=True))
        return tuple(found[name] for name in names)

    def _check_parallel(self, con: duckdb.DuckDBPyConnection, by_key: str, kinds: Mapping[str, str]) -> None:
        types = self._key_types(con)
        keys = ", ".join(carried(f"min(k{i})", kind) for i, kind in enumerate(types))
        groups = ", ".join(compared(f"k{i}", kind) for i, kind in enumerate(types))
        query = f"SELECT {keys}, count(*) AS n FROM ({by_key}) GROUP BY {groups} HAVING count(*) > 1 LIMIT 1"
        if found := key_rows(con, query, types):
            *key, count = found[0]
            bound = tables.bound_by(con, self.source.table) is not None and any(map(_is_nested, kinds.values()))
            single = ", and write numbers, not arrays: a column for each" if bound else ""
            raise DataError(
                f"{count:,} parallel edges of {self.source.label!r} have {self._shown(key)}: table {str(self.into)!r} could "
                f"not hold a row for each. Leave into out{single}."
            )

    # -- what loaders fetch ------------------------------------------------------------------------------

    def _listing(self, con: duckdb.DuckDBPyConnection, names: Collection[str]) -> PropertyGraph:
        """Return this graph's definition, in which a type that lists its PROPERTIES lists these columns; save it as that."""
        current, label = schema.current(con, self.graph.definition), self.source.label
        element = current.vertex(label) if isinstance(label, str) else current.edge(label)
        if element.properties is None or not (new := [n for n in names if n not in element.properties]):
            return current  # what foreign keys give has them already

        listed_now = (*element.properties, *new)

        def listing(elements: tuple[_Element, ...]) -> tuple[_Element, ...]:
            return tuple(replace(each, properties=listed_now) if each == element else each for each in elements)

        listed = replace(current, vertices=listing(current.vertices), edges=listing(current.edges))
        if listed.name in schema.graph_names(con):
            schema.save(con, listed)
        return listed


def _same(one: TableName, other: TableName) -> bool:
    return (folded(one.schema), folded(one.name)) == (folded(other.schema), folded(other.name))


def _assignments(kinds: Mapping[str, str]) -> str:
    return ", ".join(f"{quote(name)} = w.c{i}" for i, name in enumerate(kinds))


def _is_nested(kind: str) -> bool:
    """Whether an UPDATE of a column of this type moves its rows."""
    return kind.endswith("]") or kind.startswith(("STRUCT", "MAP", "UNION"))
