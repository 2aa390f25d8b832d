"""A `CREATE PROPERTY GRAPH` to start from, without foreign keys: guessed by names and types, measured in the rows."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import duckdb

from dbgnn.schema.catalog import all_columns, folded, primary_keys
from dbgnn.schema.keys import no_key
from dbgnn.schema.model import EdgeTable, PropertyGraph, TableName, VertexTable
from dbgnn.schema.render import shown, shown_table, to_sql
from dbgnn.schema.reverse_types import in_both_directions
from dbgnn.schema.types import comparable
from dbgnn.sql import quote
from dbgnn.terminal import one_line

#: How many rows of a table are looked at, its first, and after how many seconds no further column is. One column takes a GROUP
#: BY of so many values, and one scan of the key that they may refer to.
_ROWS, _SECONDS = 1_000_000, 5.0

#: The share of values that have to be keys for a column to be taken for a foreign key: a few orphans are usual, half is chance.
_SHARE = 0.9

#: Types that refer to nothing, though DuckDB could compare them.
_NO_REFERENCES = frozenset("BOOLEAN FLOAT DOUBLE DATE TIMESTAMP".split())

#: Where nothing can be proposed: the form, which is no statement.
_FORM = (
    "CREATE PROPERTY GRAPH <name> VERTEX TABLES (<table> KEY (<column>)) "
    "EDGE TABLES (<table> SOURCE KEY (<column>) REFERENCES <vertex table> DESTINATION KEY (<column>) REFERENCES <vertex table>)"
)


def suggest(con: duckdb.DuckDBPyConnection, known: Sequence[TableName]) -> str:
    """Return what to do to declare a graph over these tables: a statement, and as comments of it what was measured for it.

    A table's key is its primary key, or a column ``id`` or ``<table>_id``, or else its first column or one that is called as a
    column of another table, of which the values are all there and differ. A column refers to a vertex table where it is called
    after it or its key, or in a table without a key where only its type fits, and its values are keys there.
    """
    if not (tables := [table for table in known if sum(other.name == table.name for other in known) == 1]):
        return f"Make tables of nodes and edges, and declare it: {_FORM}."
    measured = _Measured(con, all_columns(con))
    primary, vertices = primary_keys(con), []
    for table in tables:
        key = primary.get(table) or measured.key(table, tables)
        if key is not None:
            vertices.append(VertexTable(table, table.name, key))
    edges: list[EdgeTable] = []
    for table in tables:
        node = next((v for v in vertices if v.table == table), None)
        edges += measured.edges(table, node, vertices)
    names = ", ".join(one_line(shown_table(table)) for table in tables)
    if not vertices:
        return f"No column of {names} is a key: each has NULL or repeats a value. Declare the graph in this form: {_FORM}."
    graph = PropertyGraph("graph", tuple(vertices), tuple(in_both_directions(edges)))
    notes = "\n".join(f"-- {one_line(note)}" for note in measured.notes)
    return f"Declare one; a proposal, with what was measured for it:\n{notes}\n{to_sql(graph)}"


@dataclass(slots=True)
class _Measured:
    """What was looked at, and what it showed.

    Attributes:
        con: The connection.
        types: The SQL types of the columns of every table.
        notes: What to tell of it.
        end: When to stop looking, by the monotonic clock.
    """

    con: duckdb.DuckDBPyConnection
    types: Mapping[TableName, Mapping[str, str]]
    notes: list[str] = field(default_factory=list)
    end: float = field(default_factory=lambda: time.monotonic() + _SECONDS)

    def key(self, table: TableName, tables: Sequence[TableName]) -> tuple[str, ...] | None:
        """Return the column that identifies the rows of a table, as far as was seen."""
        others = [other for other in tables if other != table]
        of_others = {folded(name) for other in others for name in self.types[other]}
        names = [name for name, kind in self.types[table].items() if no_key(kind) is None]
        named = [name for name in names if name.lower() in _key_names(table)]
        # A column that is called after another table refers to it, also where no row repeats a value.
        own = [n for n in names if self._may_refer(table, n) and not any(_is_named(n.lower(), other.name) for other in others)]
        shared = [name for name in own if folded(name) in of_others]
        first = [name for name in own if name == names[0]]
        for name in dict.fromkeys([*named, *shared, *first]):
            found = self._differ(table, name)
            if found is None and name not in named:
                continue  # without rows only a name tells
            if found is None or found[0] == found[1]:
                self.notes.append(f"{shown_table(table)} ({shown(name)}): {self._of_key(found)}")
                return (name,)
            if name in named:
                rows, different = found
                self.notes.append(
                    f"{shown_table(table)} ({shown(name)}) is no key: {different:,} different values in {rows:,} rows"
                )
        return None

    def edges(self, table: TableName, node: VertexTable | None, vertices: Sequence[VertexTable]) -> list[EdgeTable]:
        """Return the edge types of a table: what its rows refer to if they are nodes, else from one to another."""
        own = _key_names(table)
        names = [name for name in self.types[table] if self._may_refer(table, name) and not (node and name in node.key)]
        ends = [(name, end) for name in names if (end := self._named_end(table, name, vertices)) is not None]
        if node is None and len(ends) < 2:
            known = {name for name, _ in ends}
            rest = [name for name in names if name not in known and name.lower() not in own]
            # Small integers are keys of many a table by chance: beside (user_id, friend) it is the users again.
            others = [end for _, end in ends] or vertices
            ends += [(name, end) for name in rest if (end := self._typed_end(table, name, others)) is not None]
            ends.sort(key=lambda end: names.index(end[0]))
        if node is not None:
            return [EdgeTable(table, name, node.label, node.key, end.label, (name,)) for name, end in ends]
        if len(ends) < 2:
            return []
        (source, one), (destination, other) = ends[:2]
        return [EdgeTable(table, table.name, one.label, (source,), other.label, (destination,))]

    def _named_end(self, table: TableName, name: str, vertices: Sequence[VertexTable]) -> VertexTable | None:
        """Return the vertex table after which a column is called, if its values are keys there."""
        low = name.lower()
        named = [v for v in self._fitting(table, name, vertices) if _is_after(low, v)]
        return next((v for v in named if self._refers(table, name, v, "")), None)

    def _typed_end(self, table: TableName, name: str, vertices: Sequence[VertexTable]) -> VertexTable | None:
        """Return a vertex table after which a column is not called, but its values are keys there."""
        low = name.lower()
        others = [v for v in self._fitting(table, name, vertices) if not _is_after(low, v)]
        return next((v for v in others if self._refers(table, name, v, " (which its name does not say)")), None)

    def _fitting(self, table: TableName, name: str, vertices: Sequence[VertexTable]) -> list[VertexTable]:
        kind = self.types[table][name]
        return [v for v in vertices if len(v.key) == 1 and comparable(kind, self.types[v.table][v.key[0]])]

    def _refers(self, table: TableName, name: str, vertex: VertexTable, but: str) -> bool:
        """Whether the values of a column are keys of a vertex table; notes what was seen, but of a guess that was wrong."""
        what = f"{shown_table(table)} ({shown(name)}) → {shown(vertex.label)} ({shown(vertex.key[0])})"
        found = self._matches(table, name, vertex)
        if found is None:
            self.notes.append(f"{what}: not measured, {self._unseen()}{but}")
            return True
        values, keys = found
        is_end = keys >= _SHARE * values
        if is_end or not but:
            first = f"in the first {_ROWS:,} rows, " if self._is_long(table) else ""
            refused = "" if is_end else "; left out"
            self.notes.append(f"{what}: {first}{keys / values:.1%} of {values:,} different values are keys{but}{refused}")
        return is_end

    def _may_refer(self, table: TableName, name: str) -> bool:
        kind = self.types[table][name]
        return no_key(kind) is None and kind.partition(" ")[0].partition("_")[0] not in _NO_REFERENCES

    def _rows(self, table: TableName, name: str) -> str:
        return f"(SELECT {quote(name)} AS v FROM {table.sql} LIMIT {_ROWS})"

    def _differ(self, table: TableName, name: str) -> tuple[int, int] | None:
        """Return how many rows there are and how many different values; None: no row, or no time."""
        if time.monotonic() > self.end:
            return None
        query = f"SELECT count(*), count(DISTINCT v) FROM {self._rows(table, name)}"
        [(rows, different)] = self.con.execute(query).fetchall()
        return (rows, different) if rows else None

    def _matches(self, table: TableName, name: str, vertex: VertexTable) -> tuple[int, int] | None:
        """Return how many different values a column has and how many of them are keys; None: no value, or no time."""
        if time.monotonic() > self.end:
            return None
        different = f"(SELECT DISTINCT v FROM {self._rows(table, name)} WHERE v IS NOT NULL)"
        [(values,)] = self.con.execute(f"SELECT count(*) FROM {different}").fetchall()
        if not values:
            return None
        [(keys,)] = self.con.execute(
            f"SELECT count(*) FROM {different} AS d SEMI JOIN {vertex.table.sql} AS t ON t.{quote(vertex.key[0])} = d.v"
        ).fetchall()
        return values, keys

    def _is_long(self, table: TableName) -> bool:
        return bool(self.con.execute(f"SELECT count(*) > {_ROWS} FROM {table.sql}").fetchall()[0][0])

    def _of_key(self, found: tuple[int, int] | None) -> str:
        if found is None:
            return f"a key by its name, not measured, {self._unseen()}"
        first = "the first " if found[0] == _ROWS else ""
        return f"a key: {first}{found[0]:,} rows have as many values and no NULL"

    def _unseen(self) -> str:
        return "since there are no values" if time.monotonic() <= self.end else f"since {_SECONDS:.0f} s had passed"


def _stems(name: str) -> set[str]:
    """Return a table's name and its singular, as far as it is formed with an s."""
    low = name.lower()
    return {low, low[:-1] if low.endswith("s") and len(low) > 1 else low}


def _key_names(table: TableName) -> set[str]:
    """Return what the key of a table may be called, in lower case."""
    return {"id", "key", *(stem + end for stem in _stems(table.name) for end in ("_id", "id", "_key"))}


def _is_after(column: str, vertex: VertexTable) -> bool:
    """Whether a column, in lower case, is called after a vertex table (user_id, buyer_user) or as its key (tailnum)."""
    key = vertex.key[0].lower()
    return (column == key and key not in {"id", "key"}) or _is_named(column, vertex.label)


def _is_named(column: str, table: str) -> bool:
    """Whether a column, in lower case, begins or ends with a table's name."""
    stems = _stems(table)
    return any(map(column.startswith, stems)) or column.endswith(
        tuple(f"_{stem}{end}" for stem in stems for end in ("", "_id", "id", "_key"))
    )
