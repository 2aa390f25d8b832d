"""What `graph.encode` made: columns of node and edge tables, and side tables in the place of columns that a table cannot take.

``dbgnn.encoded`` has a row per encoded column of a graph: where it is, which columns it was made from, and the encoder as JSON.
A side table ``dbgnn.encoded_<n>(id, src, value)`` of nodes holds its rows in the order of their ids, so that a row's id is its
rowid. ``src`` is a hash of the key and of the columns that were encoded: it says which row of the node table a value is of,
without an index, and the XOR of all says whether the values still are those of the table. An edge has no key: there ``id`` is
the rowid of its row in the edge table, in whose order they are, ``src`` a hash of the columns that were encoded, and the XOR is
of both. They go with their graph.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from dbgnn.errors import SchemaError, StaleIndexError
from dbgnn.schema.catalog import OWN_SCHEMA, ROWID, ROWID_TYPE, create_own_schema, folded, has_own_table, own_columns, own_table
from dbgnn.schema.model import EdgeTable, EdgeType, Label, PropertyGraph, TableName, VertexTable
from dbgnn.sql import quote

#: ``hash()`` may change with DuckDB's version; the number counts changes of what is kept.
ENGINE = f"DuckDB {duckdb.__version__}, encoded 1"

_TABLE = "encoded"
_COLUMNS = dict.fromkeys(
    ("graph", "label", "column_name", "side", "sql_type", "keys", "sources", "covered", "engine", "document"), "VARCHAR"
)

#: What a side table is called, and what it holds; the values' type is the encoder's.
_SIDE = re.compile(r"encoded_[0-9]{1,9}")
_SIDE_COLUMNS = {"id": "BIGINT", "src": "UBIGINT"}

#: Stands for the table in what is hashed; no name holds it, since names hold no NUL.
ROWS_MARK = "\0"

#: The column of a side table that holds what was encoded.
VALUE = "value"


@dataclass(frozen=True, slots=True)
class SideTable:
    """A table of dbgnn's with the values of a column that its node or edge table does not have.

    Attributes:
        table: Its quoted name, with the database.
        of: The node or edge table.
        rows: SQL of those of its rows that are nodes or edges, for FROM.
        label: The node or edge type.
        column: What the column is called.
        sql_type: The type of the values.
        hashed: The hash of a row of that table, as SQL, in which the table is `ROWS_MARK`; "" where a column is gone.
        engine: What hashed it.
        is_there: Whether the table is there, and is what dbgnn made.
    """

    table: str
    of: TableName
    rows: str
    label: Label
    column: str
    sql_type: str
    hashed: str
    engine: str
    is_there: bool = True

    def src(self, rows: str) -> str:
        """Return the SQL of the hash of a row of its node or edge table, which is called ``rows``."""
        return self.hashed.replace(ROWS_MARK, quote(rows))

    @property
    def by_rowid(self) -> bool:
        """Whether its ids are rowids of an edge table."""
        return not isinstance(self.label, str)

    @property
    def stale(self) -> str | None:
        """Why nothing can be read from it, whatever the tables hold; None: that is for them to say."""
        if not self.is_there:
            return "the table of dbgnn's that held its values is gone, or is another"
        if self.engine != ENGINE:
            return f"it was encoded by {self.engine}, and this is {ENGINE}"
        return None if self.hashed else "a column that it was encoded from, or the key, is gone or another"

    @property
    def stale_query(self) -> str:
        """SQL of one row: the number of rows of both tables, whether they hold the same, and are in the order of ids."""
        now, then, ordered = self.src("t"), "src", "id = rowid"
        if self.by_rowid:
            now, then, ordered = f"hash(hash(t.rowid, {now}))", "hash(hash(id, src))", "true"
        return f"""
            SELECT t.n, s.n, t.x = s.x, s.ordered
            FROM (SELECT count(*) AS n, coalesce(bit_xor({now}), 0) AS x FROM {self.rows} AS t) AS t,
              (SELECT count(*) AS n, coalesce(bit_xor({then}), 0) AS x, coalesce(bool_and({ordered}), true) AS ordered
               FROM {self.table}) AS s"""

    def difference(self, con: duckdb.DuckDBPyConnection) -> str | None:
        """Return in words why the values are not those of the table as it is now; None: they are."""
        if (reason := self.stale) is not None:
            return reason
        try:
            [(now, then, same, ordered)] = con.execute(self.stale_query).fetchall()
        except (duckdb.CatalogException, duckdb.BinderException):
            return "it was encoded again, or a column that it was encoded from is gone"
        if now != then:
            return f"the table had {then:,} rows and has {now:,}"
        if not ordered:
            return "the values were changed by hand"
        if same:
            return None
        return "rows that it was encoded from changed" + (", or DuckDB moved them" if self.by_rowid else "")

    def verify(self, con: duckdb.DuckDBPyConnection) -> None:
        """Raise :class:`StaleIndexError` unless the values are those of the table as this connection sees it."""
        if (why := self.difference(con)) is not None:
            raise StaleIndexError(f"{self.told(why)} A loader that is running has to be made again.")

    def told(self, why: str) -> str:
        """Return the sentences that say that it is stale, and what to do."""
        return (
            f"Encoded column {self.column!r} of {self.label!r} (table {str(self.of)!r}) is stale: {why}. Encode it again, "
            f"graph.encode({self.label!r}, {self.column!r}), which encodes what is new or changed; or leave it out by columns=."
        )


@dataclass(frozen=True, slots=True)
class EncodedColumn:
    """What the file says of one encoded column.

    Attributes:
        label: The node or edge type.
        name: The column.
        side: The name of the side table; None: it is a column of the type's own table.
        keys: The key columns that were hashed; none of edges.
        sources: The columns that the encoder reads.
        covered: Those of them whose NULL the encoder's policy takes care of.
        engine: What hashed the rows.
        sql_type: The type of the side table's values; "" where there is none.
        is_there: Whether the side table is there, and is what dbgnn made.
    """

    label: Label
    name: str
    side: str | None
    keys: tuple[str, ...]
    sources: tuple[str, ...]
    covered: tuple[str, ...]
    engine: str
    sql_type: str = ""
    is_there: bool = True


@dataclass(frozen=True, slots=True)
class EncodedColumns:
    """The encoded columns of a graph.

    Attributes:
        graph: The graph.
        columns: The columns.
        home: The quoted schema of the side tables.
    """

    graph: PropertyGraph
    columns: tuple[EncodedColumn, ...] = ()
    home: str = ""

    def beside(self, element: VertexTable | EdgeTable, types: Mapping[str, str]) -> list[SideTable]:
        """Return the side tables of an element whose table has columns of these types; its own columns come first."""
        own = {folded(name) for name in types}
        return [
            side_table(f"{self.home}.{quote(str(c.side))}", self.graph, element, types, c)
            for c in self._of(element)
            if c.side is not None and folded(c.name) not in own
        ]

    def covered(self, element: VertexTable | EdgeTable, types: Mapping[str, str]) -> dict[str, str]:
        """Return the columns whose NULL an encoder took care of, with the encoded column that is served in their place."""
        there = [c for c in self._of(element) if c.side is not None or c.name in types]
        return {source: c.name for c in there for source in c.covered if folded(source) != folded(c.name)}

    def _of(self, element: VertexTable | EdgeTable) -> list[EncodedColumn]:
        label = element.label if isinstance(element, VertexTable) else element.edge_type
        return [c for c in self.columns if c.label == label]


def hashed_keys(element: VertexTable | EdgeTable) -> tuple[str, ...]:
    """Return the key columns that are hashed with what is encoded: edges have no key, their rows are known by rowid."""
    return element.key if isinstance(element, VertexTable) else ()


def side_table(
    table: str, graph: PropertyGraph, element: VertexTable | EdgeTable, types: Mapping[str, str], column: EncodedColumn
) -> SideTable:
    """Return the side table of a column, by its quoted name."""
    types = {ROWID: ROWID_TYPE, **types}
    there = column.keys == hashed_keys(element) and all(name in types for name in (*column.keys, *column.sources))
    return SideTable(
        table,
        element.table,
        graph.rows_of(element),
        column.label,
        column.name,
        column.sql_type,
        row_hash(element, types, column.sources) if there else "",
        column.engine,
        column.is_there,
    )


def row_hash(element: VertexTable | EdgeTable, types: Mapping[str, str], sources: Iterable[str]) -> str:
    """Return the SQL of the hash of a row: of its key, and of the columns that are encoded; the table is `ROWS_MARK`."""
    # The outer hash matters: ``hash(a, b)`` is at heart an XOR.
    types = {ROWID: ROWID_TYPE, **types}
    terms = (_hashed(name, types[name]) for name in dict.fromkeys((*hashed_keys(element), *sources)))
    return f"hash(hash({', '.join(terms)}))"


#: Types of which ``hash()`` is good enough: it is the XOR of the halves of 128 bits, and that of text knows collations.
_PLAIN = re.compile(r"(BOOLEAN|U?(TINY|SMALL|BIG)INT|U?INTEGER|FLOAT|DOUBLE|DATE|TIMESTAMP[A-Z_ ]*)(\[\d*\])*")


def _hashed(name: str, sql_type: str) -> str:
    column = f"{ROWS_MARK}.{quote(name)}"
    return column if _PLAIN.fullmatch(sql_type) else f"{column}::VARCHAR COLLATE C"


def encoded(con: duckdb.DuckDBPyConnection, graph: PropertyGraph) -> EncodedColumns:
    """Return the encoded columns of a graph.

    Raises:
        SchemaError: The file holds something else under that name.
    """
    if not has_own_table(con, _TABLE, _COLUMNS):
        return EncodedColumns(graph)
    table = own_table(con, _TABLE)
    rows = con.execute(
        f"SELECT label, column_name, side, sql_type, keys, sources, covered, engine FROM {table} WHERE graph = ? "
        "ORDER BY label ASC, column_name ASC",
        [graph.name],
    ).fetchall()
    return EncodedColumns(graph, tuple(_read(con, row) for row in rows), table.rpartition(".")[0])


def _read(con: duckdb.DuckDBPyConnection, row: tuple[Any, ...]) -> EncodedColumn:
    label, name, side, kind, keys, sources, covered, engine = row
    texts = [_text(text) for text in (label, keys, sources, covered)]
    ours = side is None or (isinstance(side, str) and isinstance(kind, str) and _SIDE.fullmatch(side))
    of = texts[0] if isinstance(texts[0], str) else _edge_type(texts[0])
    if not (ours and of is not None and isinstance(name, str) and isinstance(engine, str)) or not all(
        isinstance(names, list) and all(isinstance(each, str) for each in names) for names in texts[1:]
    ):
        raise SchemaError(
            f"{OWN_SCHEMA}.{_TABLE} holds a row that dbgnn did not write: {str(row)[:200]}. Drop the table, which is "
            f"DROP TABLE {own_table(con, _TABLE)}, and encode again."
        )
    known = {} if side is None else own_columns(con, side) or {}
    is_there = side is None or list(known.items()) == [*_SIDE_COLUMNS.items(), (VALUE, kind)]
    names = [tuple(map(str, each)) for each in texts[1:]]
    return EncodedColumn(of, name, side, names[0], names[1], names[2], engine, kind or "", is_there)


def _edge_type(found: object) -> EdgeType | None:
    """Return the edge type that JSON holds as a list; None where it is none."""
    if not (isinstance(found, list) and len(found) == 3 and all(isinstance(part, str) for part in found)):
        return None
    source, label, destination = found
    return source, label, destination


def _text(text: object) -> Any:
    """Return what JSON holds; None where it is none."""
    try:
        return json.loads(text)  # type: ignore[arg-type] # or TypeError
    except (ValueError, TypeError, RecursionError):
        return None


def beside_rows(rows: str, sides: Sequence[SideTable], rowid: str = "rowid") -> str:
    """Return a query of rows of a table, given as one, with their values of side tables, in the order of the ids.

    Args:
        rows: The query.
        sides: Side tables that hold what the table does, each of the same type.
        rowid: The column of the query with the rowids, of edges.
    """
    values = "".join(f", s{i}.{VALUE} AS {quote(side.column)}" for i, side in enumerate(sides))
    found = (f"id = t.{quote(rowid)}" if side.by_rowid else f"src = {side.src('t')}" for side in sides)
    joins = " ".join(f"JOIN {side.table} AS s{i} ON s{i}.{on}" for i, (side, on) in enumerate(zip(sides, found, strict=True)))
    return f"SELECT t.*{values} FROM ({rows}) AS t {joins} ORDER BY s0.id ASC"


# -- writing -----------------------------------------------------------------------------------------------


def document_of(con: duckdb.DuckDBPyConnection, graph: PropertyGraph, label: Label, name: str) -> str | None:
    """Return the JSON of the encoder that a column was made with; None where the file does not know."""
    if not has_own_table(con, _TABLE, _COLUMNS):
        return None
    rows = con.execute(
        f"SELECT document FROM {own_table(con, _TABLE)} WHERE graph = ? AND label = ? AND column_name = ?",
        [graph.name, json.dumps(label), name],
    ).fetchall()
    return rows[0][0] if rows else None


def new_side(con: duckdb.DuckDBPyConnection) -> str:
    """Return a name for a side table that none has; dbgnn's own schema is there afterwards."""
    create_own_schema(con)
    query = "SELECT table_name FROM duckdb_tables() WHERE database_name = current_database() AND schema_name = ?"
    known = {name for (name,) in con.execute(query, [OWN_SCHEMA]).fetchall()}
    return next(name for n in range(len(known) + 1) if (name := f"{_TABLE}_{n}") not in known)


def keep_encoded(con: duckdb.DuckDBPyConnection, graph: PropertyGraph, column: EncodedColumn, document: str) -> None:
    """Say in the file, in the caller's transaction, what a column was encoded from; its side table before is dropped."""
    create_own_schema(con)
    columns = ", ".join(f"{name} {kind}" for name, kind in _COLUMNS.items())
    table = own_table(con, _TABLE)
    con.execute(f"CREATE TABLE IF NOT EXISTS {table} ({columns})")
    forget_encoded(con, graph.name, column.label, column.name, keep=column.side)
    lists = [json.dumps(names) for names in (column.keys, column.sources, column.covered)]
    row = [graph.name, json.dumps(column.label), column.name, column.side, column.sql_type, *lists, column.engine, document]
    con.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row)


def forget_encoded(
    con: duckdb.DuckDBPyConnection, graph: str, label: Label | None = None, name: str | None = None, *, keep: str | None = None
) -> None:
    """Drop, in the caller's transaction, what was encoded of a graph, a type or one column; columns of user's tables stay.

    Args:
        con: The connection.
        graph: The name of the graph.
        label: The node or edge type; None: all.
        name: The column of that type; None: all.
        keep: A side table that is not dropped.
    """
    known = own_columns(con, _TABLE)
    if known is None or list(known) != list(_COLUMNS):
        return  # there is none, or it is none of dbgnn's
    table = own_table(con, _TABLE)
    where, params = "graph = ?", [graph]
    if label is not None:
        where, params = f"{where} AND label = ?", [*params, json.dumps(label)]
    if name is not None:
        where, params = f"{where} AND lower(column_name) = lower(?)", [*params, name]
    sides = con.execute(f"SELECT side FROM {table} WHERE {where}", params).fetchall()
    con.execute(f"DELETE FROM {table} WHERE {where}", params)
    for (side,) in sides:
        if isinstance(side, str) and _SIDE.fullmatch(side) and side != keep:
            con.execute(f"DROP TABLE IF EXISTS {own_table(con, side)}")
