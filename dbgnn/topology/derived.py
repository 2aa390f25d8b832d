"""Lists derived from the adjacency lists: sorted by time, with weights, narrowed by conditions, or from source to destination.

They are kept in memory, in a database attached to the same DuckDB instance (which spills them to disk like all else), and
made at the first use in a process. What of the user's tables went into them is compared by a checksum whenever the index is.
What a list says of an edge's time, weight and conditions is in `times.py`, `weights.py` and `conditions.py`.
"""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import duckdb
import pyarrow.compute as pc

from dbgnn.errors import StaleIndexError
from dbgnn.progress import Bar
from dbgnn.schema.catalog import OWN_SCHEMA
from dbgnn.schema.model import EdgeTable, VertexTable, shown_type
from dbgnn.sql import quote
from dbgnn.topology.conditions import Conditions
from dbgnn.topology.cut import cut_into_lists
from dbgnn.topology.home import lists_home, table_in
from dbgnn.topology.index import EdgeIndex, Topology, VertexIndex
from dbgnn.topology.ingredient import Ingredient
from dbgnn.topology.times import Times
from dbgnn.topology.weights import Weights, accumulated

if TYPE_CHECKING:
    from dbgnn.open_database import OpenDatabase

#: Edges per chunk of the sorted stream.
CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Derivation:
    """What the lists of an edge type hold beside neighbours and edge ids, and which edges they leave out.

    Attributes:
        times: Lists are sorted by it, then by (neighbour, edge id), and hold it as ``times``; for windows over two times,
            the earlier one as ``earlier``.
        weights: Lists hold the running total of integer weights as ``cum``, long ones a ``guide`` into it; edges of weight zero
            are left out.
        conditions: Only edges for which they are true are kept.
        backward: Lists are of the sources, and hold destinations.
    """

    times: Times | None = None
    weights: Weights | None = None
    conditions: Conditions | None = None
    backward: bool = False

    def __bool__(self) -> bool:
        return self != PLAIN

    @property
    def parts(self) -> list[Ingredient]:
        """What it is made from beside the index."""
        return [part for part in (self.times, self.weights, self.conditions) if part is not None]

    def identity(self) -> dict[str, Any]:
        """Return what decides the lists besides the tables, as JSON has it."""
        found: dict[str, Any] = {"backward": self.backward} if self.backward else {}
        for part in self.parts:
            found |= part.identity()
        return found


#: The adjacency lists as they are.
PLAIN = Derivation()


@dataclass(frozen=True, slots=True)
class Lists:
    """Lists that a hop reads.

    Attributes:
        table: Quoted name of a table ``(dst, nbrs, eids)``, with ``times``, and ``cum``, ``width``, ``guide``, where they were
            asked for.
        derivation: What they are.
        longest: Length of the longest list; 0 where it was not counted.
        num_edges: How many edges they hold.
        checksum: Of what they were made from of the edge table and of that of the nodes they lead to; "" where nothing was.
        num_bytes: How large they are; 0 for the adjacency lists themselves.
        seconds: How long it took to make them.
    """

    table: str
    derivation: Derivation = PLAIN
    longest: int = 0
    num_edges: int = 0
    checksum: tuple[str, str] = ("", "")
    num_bytes: int = 0
    seconds: float = 0.0


def lists_of(db: OpenDatabase, topology: Topology, index: EdgeIndex, derivation: Derivation) -> Lists:
    """Return the lists of an edge type, made at the first use.

    Args:
        db: The database.
        topology: The verified index.
        index: The edge type.
        derivation: What they are to hold.

    Raises:
        DataError: A time or weight is NULL, NaN, infinite or negative; with its key.
        SchemaError, SqlError: A column does not exist or is of another type, or a condition is not one.
        StaleIndexError: What they were made from has changed since; ``graph.build()`` forgets them.
    """
    if not derivation:
        return Lists(index.adjacency, num_edges=index.num_edges)
    return _kept(db).lists(db, topology, index, derivation)


def forget_lists(db: OpenDatabase) -> None:
    """Forget lists whose tables have changed: they are made again at the next use."""
    _kept(db).forget_stale(db)


#: Numbers of tables: two databases of one process may share an instance of DuckDB, and with it the database in memory.
_NUMBERS = itertools.count(1)


@dataclass(slots=True)
class _Made:
    """Lists, and when they were last compared with the tables."""

    index: EdgeIndex
    neighbour: VertexIndex
    lists: Lists
    query: str
    stamp: object


@dataclass(slots=True)
class _Kept:
    """The derived lists of one database in one process, and the names of their tables, of those under way too."""

    lock: threading.RLock = field(default_factory=threading.RLock)
    made: dict[tuple[str, Derivation], _Made] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)

    def lists(self, db: OpenDatabase, topology: Topology, index: EdgeIndex, derivation: Derivation) -> Lists:
        key = (index.adjacency + index.adjacency_sum, derivation)
        with self.lock:
            found = self.made.get(key)
            if found is None:
                self._forget_other_builds(db, index)
                found = self.made[key] = self._make(db, topology, index, derivation)
                return found.lists
            stamp = db.stamp()
            if stamp is None or found.stamp != stamp:
                _need_same(db.cursor(), found)
                found.stamp = stamp
            return found.lists

    def forget_stale(self, db: OpenDatabase) -> None:
        with self.lock:
            for key, found in list(self.made.items()):
                try:
                    same = _checksum(db.cursor(), found.query) == found.lists.checksum
                except duckdb.Error:  # a column or table is gone
                    same = False
                if not same:
                    self._drop(db, key)

    def _forget_other_builds(self, db: OpenDatabase, index: EdgeIndex) -> None:
        """Drop lists that were made from adjacency lists which are gone. Those of another graph may be of the same tables."""
        for key, found in list(self.made.items()):
            replaced = found.index.adjacency == index.adjacency and found.index.adjacency_sum != index.adjacency_sum
            if replaced or not _is_there(db, found.index.adjacency):
                self._drop(db, key)

    def _drop(self, db: OpenDatabase, key: tuple[str, Derivation]) -> None:
        table = self.made.pop(key).lists.table
        db.cursor().execute(f"DROP TABLE IF EXISTS {table}")
        self.names.discard(table)

    def _make(self, db: OpenDatabase, topology: Topology, index: EdgeIndex, derivation: Derivation) -> _Made:
        source, target = (topology.vertices[label] for label in (index.edge.source, index.edge.destination))
        neighbour = target if derivation.backward else source
        stamp, home, writer = db.stamp(), lists_home(db.cursor()), db.new_cursor()
        table = table_in(home, f"lists_{next(_NUMBERS)}")
        self.names.add(table)
        try:
            _drop_orphans(writer, home)
            with db.snapshot():  # what is checked is what is read
                reader = db.cursor()
                for part in derivation.parts:
                    part.check(reader, index, neighbour)
                query = _checksum_query(reader, index, neighbour, derivation)
                before, began = _checksum(reader, query), time.perf_counter()
                longest, count, size = _write(db, reader, writer, table, index, neighbour, derivation)
            lists = Lists(table, derivation, longest, count, before, size, time.perf_counter() - began)
            made = _Made(index, neighbour, lists, query, stamp)
            _need_same(db.cursor(), made)
        except BaseException:
            with suppress(duckdb.Error):
                writer.execute(f"DROP TABLE IF EXISTS {table}")
            self.names.discard(table)
            raise
        else:
            return made
        finally:
            writer.close()


class _All:
    """The lists of every database of this process, in the one place where a forked child can be given another."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        self.lock, self.of = threading.Lock(), WeakKeyDictionary[Any, _Kept]()


_all = _All()
# A thread of the parent that holds the lock does not exist in the child; nor do the parent's lists.
os.register_at_fork(after_in_child=_all.renew)


def _kept(db: OpenDatabase) -> _Kept:
    with _all.lock:
        return _all.of.setdefault(db, _Kept())


def _drop_orphans(con: duckdb.DuckDBPyConnection, home: str) -> None:
    """Drop lists of databases that are closed or gone, where something else keeps the instance, such as a connection."""
    query = "SELECT table_name FROM duckdb_tables() WHERE database_name = ? AND schema_name = ?"
    there = [table_in(home, name) for (name,) in con.execute(query, [home, OWN_SCHEMA]).fetchall()]
    with _all.lock:  # after that: a name is noted before its table is made
        live = {name for db, kept in _all.of.items() if not db.closed for name in [*kept.names]}
    for table in set(there) - live:
        con.execute(f"DROP TABLE IF EXISTS {table}")


def _is_there(db: OpenDatabase, table: str) -> bool:
    try:
        db.cursor().execute(f"FROM {table} LIMIT 0").fetchall()
    except duckdb.CatalogException:
        return False
    return True


def _need_same(con: duckdb.DuckDBPyConnection, made: _Made) -> None:
    """Raise :class:`StaleIndexError` if what lists were made from is not what it was; it names the tables."""
    try:
        now = _checksum(con, made.query)
    except (duckdb.ProgrammingError, duckdb.DataError):  # a column or table is gone, or a condition fails for a row
        now = None
    before, derivation = made.lists.checksum, made.lists.derivation
    if now == before:
        return
    of_edges = [name for part in derivation.parts for name in part.of_edges]
    of_nodes = [name for part in derivation.parts for name in part.of_nodes]
    sides: list[tuple[VertexTable | EdgeTable, list[str]]] = [(made.index.edge, of_edges), (made.neighbour.vertex, of_nodes)]
    told = [
        f"table {str(element.table)!r} (read of it: {', '.join(map(repr, read))})"
        for side, (element, read) in enumerate(sides)
        if read and (now is None or now[side] != before[side])
    ]
    raise StaleIndexError(
        f"What the lists of {shown_type(made.index.edge.edge_type)} were made from has changed in {' and in '.join(told)}. "
        "Call graph.build() to use it as it is now."
    )


# -- SQL -------------------------------------------------------------------------------------------------


def rows_by_id(index: VertexIndex | EdgeIndex, columns: str, conditions: Sequence[str] = ()) -> str:
    """Return a query of ``(id, …)`` over the rows of a type's table for which all conditions are true."""
    where = index.element.where_all(*(f"{c} IS TRUE" for c in conditions))
    rows = f"SELECT rowid AS rid, {columns} FROM {index.element.table.sql}{where}"  # no name beside those of the table
    if index.map_table is None:
        return f"SELECT rid AS id, * FROM ({rows})"
    return f"SELECT m.id, r.* FROM ({rows}) AS r JOIN {index.map_table} AS m ON m.rid = r.rid"


def _write(
    db: OpenDatabase,
    reader: duckdb.DuckDBPyConnection,
    writer: duckdb.DuckDBPyConnection,
    table: str,
    index: EdgeIndex,
    neighbour: VertexIndex,
    derivation: Derivation,
) -> tuple[int, int, int]:
    """Write the lists; return the length of the longest one, the number of edges, and the size in bytes."""
    kinds = dict(reader.execute(f"SELECT column_name, column_type FROM (DESCRIBE {index.adjacency})").fetchall())
    at, other = kinds["dst"], kinds["nbrs"].removesuffix("[]")
    at, other = (other, at) if derivation.backward else (at, other)
    columns = f"dst {at}, nbrs {other}[], eids {kinds['eids']}"
    columns += ", times BIGINT[]" if derivation.times else ""
    columns += ", earlier BIGINT[]" if derivation.times and derivation.times.earlier else ""
    columns += ", cum BIGINT[], width BIGINT, guide INTEGER[]" if derivation.weights else ""
    writer.execute(f"CREATE TABLE {table} ({columns})")
    longest = count = size = 0
    shown = db.settings.progress
    with Bar(
        total=index.num_edges, desc=f"lists of {shown_type(index.edge.edge_type)}", unit=" edges", disable=not shown
    ) as bar:
        stream = reader.sql(_ordered(reader, index, neighbour, derivation)).to_arrow_reader(CHUNK)
        for lists, edges in cut_into_lists(iter(stream)):
            part = accumulated(lists) if derivation.weights else lists
            longest = max(longest, int(pc.max(pc.list_value_length(part["nbrs"])).as_py() or 0))
            count, size = count + edges, size + part.nbytes
            writer.register("dbgnn_part", part)
            writer.execute(f"INSERT INTO {table} BY NAME FROM dbgnn_part")
            writer.unregister("dbgnn_part")
            bar.update(edges)
    return longest, count, size


def _ordered(con: duckdb.DuckDBPyConnection, index: EdgeIndex, neighbour: VertexIndex, derivation: Derivation) -> str:
    """Return the query of the edges in the order of the lists: ``(dst, nbrs, eids[, times][, earlier][, weights])``."""
    at, other = ("s", "dst") if derivation.backward else ("dst", "s")
    read = _Read.of(con, index, neighbour, derivation)
    joins = ""
    for name, rows, columns, conditions, on in (
        ("edges", index, read.edge_columns, read.edge_conditions, "u.e"),
        ("nodes", neighbour, read.node_columns, read.node_conditions, f"u.{other}"),
    ):
        if columns or conditions:
            shown = ", ".join([f"{sql} AS {column}" for column, sql in columns.items()] or ["true AS there"])
            joins += f"\nJOIN ({rows_by_id(rows, shown, conditions)}) AS {name} ON {name}.id = {on}"
    selected, order, where = f"u.{at} AS dst, u.{other} AS nbrs, u.e AS eids", "1 ASC, 2 ASC, 3 ASC", ""
    if derivation.times:
        sides = {"edges": read.edge_columns, "nodes": read.node_columns}
        times = [f"{name}.time" for name, columns in sides.items() if "time" in columns]
        selected, order = f"{selected}, greatest({', '.join(times)}) AS times", "1 ASC, 4 ASC, 2 ASC, 3 ASC"
        selected += f", least({', '.join(times)}) AS earlier" if derivation.times.earlier else ""
    if derivation.weights:
        selected, where = f"{selected}, edges.weight AS weights", "\nWHERE edges.weight > 0"
    return f"""SELECT {selected}
FROM (SELECT dst, unnest(nbrs) AS s, unnest(eids) AS e FROM {index.adjacency}) AS u{joins}{where}
ORDER BY {order}"""


@dataclass(frozen=True, slots=True)
class _Read:
    """What is read of the tables of an edge type and of its neighbours: expressions by name, and conditions."""

    edge_columns: dict[str, str]
    node_columns: dict[str, str]
    edge_conditions: list[str]
    node_conditions: list[str]

    @classmethod
    def of(cls, con: duckdb.DuckDBPyConnection, index: EdgeIndex, neighbour: VertexIndex, derivation: Derivation) -> _Read:
        read = cls({}, {}, [], [])
        for part in derivation.parts:
            read.edge_columns.update(part.edge_columns(con, index))
            read.node_columns.update(part.node_columns(con, neighbour))
            read.edge_conditions.extend(part.edge_conditions(con, index))
            read.node_conditions.extend(part.node_conditions(con, neighbour))
        return read


def _checksum_query(con: duckdb.DuckDBPyConnection, index: EdgeIndex, neighbour: VertexIndex, derivation: Derivation) -> str:
    """Return the query of a checksum of all that the lists are made from, beside the index."""
    read = _Read.of(con, index, neighbour, derivation)
    of_edges = [*read.edge_columns.values(), *read.edge_conditions]
    of_nodes = [*read.node_columns.values(), *read.node_conditions]
    keys = ", ".join(map(quote, neighbour.vertex.key))
    sums = [
        f"(SELECT bit_xor(hash(hash({row}, {', '.join(values)}))) FROM {_rows(element)})::VARCHAR" if values else "''"
        for element, row, values in (  # edges are numbered as they lie, nodes by their keys
            (index.edge, "rowid", of_edges),
            (neighbour.vertex, keys, of_nodes),
        )
    ]
    return f"SELECT {', '.join(sums)}"


def _rows(element: VertexTable | EdgeTable) -> str:
    """Return SQL of the rows for the end of a query, in which conditions may name the table."""
    return f"{element.table.sql}{element.where_all()}"


def _checksum(con: duckdb.DuckDBPyConnection, query: str) -> tuple[str, str]:
    """Return the checksums of the edge table and of that of the neighbours."""
    [(of_edges, of_nodes)] = con.execute(query).fetchall()
    return str(of_edges), str(of_nodes)
