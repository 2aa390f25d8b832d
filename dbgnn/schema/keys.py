"""Keys: which types they may have, and the SQL that says when two of them are the same key.

One notion of equality holds wherever keys meet: DuckDB's ``=`` for the type of the vertex table's column, under the
collation that this column declares. ``SET default_collation`` does not change it: every expression here names its collation.
A *key type* is a SQL type with the collation, such as ``VARCHAR COLLATE NOCASE``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence

import duckdb

from dbgnn.errors import SchemaError, UnknownNameError
from dbgnn.schema.catalog import DECLARE_AGAIN, ROWID, ROWID_TYPE, columns, first_row
from dbgnn.schema.model import EdgeTable, PropertyGraph, TableName, VertexTable
from dbgnn.schema.render import shown, shown_table
from dbgnn.schema.types import comparable
from dbgnn.sql import quote, quote_all

#: The types of keys: those that DuckDB takes for a PRIMARY KEY. Of each, equal values are one value there and back.
_KINDS = frozenset(
    "BOOLEAN TINYINT SMALLINT INTEGER BIGINT HUGEINT UTINYINT USMALLINT UINTEGER UBIGINT UHUGEINT BIGNUM FLOAT DOUBLE DECIMAL "
    "VARCHAR JSON BLOB BIT UUID ENUM GEOMETRY DATE TIME TIME_NS TIMESTAMP TIMESTAMP_S TIMESTAMP_MS TIMESTAMP_NS "
    "TIMESTAMPTZ_NS".split()
) | {"TIME WITH TIME ZONE", "TIMESTAMP WITH TIME ZONE"}

#: Why others are not.
_REASONS = {
    "INTERVAL": "'1 month' and '30 days' are equal to DuckDB",
    "VARIANT": "values of different types are equal to DuckDB",
}

#: Integers of 128 bits, whose ``hash()`` is the XOR of their halves: that of 0 and of 2**64 + 1 is the same.
_WIDE = frozenset(["HUGEINT", "UHUGEINT", "UUID"])

_COLLATE = " COLLATE "

#: What compares text byte by byte, which is also what no collation means.
_BINARY = frozenset(["", "binary", "c", "posix"])


def kind_of(key_type: str) -> str:
    """Return a type without its parameters, length and collation: ``DECIMAL(4,1)`` is ``DECIMAL``; an array is ``[]``."""
    return "[]" if key_type.endswith("]") else re.split(r"\(| COLLATE ", key_type)[0].strip()


def sql_type_of(key_type: str) -> str:
    """Return the SQL type of a key type, without its collation, for casts."""
    return key_type.partition(_COLLATE)[0]


def key_types(
    con: duckdb.DuckDBPyConnection, rows: str, types: Mapping[str, str], names: Iterable[str], params: object = None
) -> tuple[str, ...]:
    """Return the key types of columns.

    Args:
        con: The connection.
        rows: SQL of the rows, for FROM.
        types: The SQL types of their columns.
        names: The columns; each counts once.
        params: The values that ``rows`` wants bound.

    Raises:
        SchemaError: A column has a collation that DuckDB does not tell, since the rows are Arrow's or want values bound.
    """
    names = list(dict.fromkeys(names))
    types = {ROWID: ROWID_TYPE, **types}
    text = [name for name in names if kind_of(types[name]) == "VARCHAR"]
    found = _collations(con, rows, text, params) if text else {}
    return tuple(types[n] + (f"{_COLLATE}{found[n]}" if found.get(n) else "") for n in names)


def _collations(con: duckdb.DuckDBPyConnection, rows: str, names: Sequence[str], params: object) -> dict[str, str]:
    """Return the collations of text columns; "" compares byte by byte. The catalog does not tell; the planned query does."""
    query = f"SELECT {quote_all(names)} FROM {rows}"
    planned = json.loads(con.execute("SELECT system.main.json_serialize_plan(?)", [query]).fetchall()[0][0])
    if planned["error"]:
        for name in names:
            _need_no_collation(con, rows, name, params)
        return {}
    selected = planned["plans"][0]["expressions"]
    infos = [expression["return_type"]["type_info"] or {} for expression in selected]
    found = {name: str(info.get("collation") or "") for name, info in zip(names, infos, strict=True)}
    return {name: "" if collation.lower() in _BINARY else collation for name, collation in found.items()}


def _need_no_collation(con: duckdb.DuckDBPyConnection, rows: str, name: str, params: object) -> None:
    try:
        # DuckDB does not combine two collations.
        con.execute(f"DESCRIBE SELECT {quote(name)} = ('' COLLATE C) FROM {rows}", params).fetchall()
    except duckdb.BinderException as error:
        if "collation" not in str(error):
            raise
        raise SchemaError(
            f"Key column {name!r} has a collation, which DuckDB does not tell of a query over Arrow tables or bound values. "
            f"Name the one that compares bytes: {quote(name)} COLLATE C AS {quote(name)}."
        ) from error


def table_key_types(con: duckdb.DuckDBPyConnection, table: TableName, names: Iterable[str]) -> tuple[str, ...]:
    """Return the key types of columns of a table that is there."""
    return key_types(con, table.sql, columns(con, table), names)


# -- SQL ---------------------------------------------------------------------------------------------------


def compared(expression: str, key_type: str) -> str:
    """Return what to write for a key, or for what refers to it, in ``=``, GROUP BY and ORDER BY.

    Args:
        expression: SQL of a value of the key's type.
        key_type: The type of the vertex table's key, also where the value is an edge table's.
    """
    kind, collation = kind_of(key_type), key_type.partition(_COLLATE)[2]
    if kind == "VARCHAR":
        return f"{expression} COLLATE {quote(collation or 'C')}"
    return f"{expression}::VARCHAR COLLATE C" if kind == "JSON" else expression


def same(pairs: Iterable[tuple[str, str]], types: Iterable[str]) -> str:
    """Return the condition that all pairs of expressions are equal as keys of these types."""
    equal = (f"{compared(one, kind)} = {compared(other, kind)}" for (one, other), kind in zip(pairs, types, strict=True))
    return " AND ".join(equal)


def hashed(expression: str, key_type: str) -> str:
    """Return what to hash for a key, so that no two keys that differ have the same hash but by chance."""
    kind = kind_of(key_type)
    if kind == "VARCHAR":
        return f"{expression} COLLATE C"  # DuckDB hashes what a collation makes of a text
    wide = kind in _WIDE or (kind == "DECIMAL" and int(re.split(r"[(,]", key_type)[1]) > 18)
    return f"{expression}::VARCHAR COLLATE C" if wide or kind == "JSON" else expression


# -- which columns are keys ----------------------------------------------------------------------------------


def key_names(part: VertexTable | EdgeTable) -> tuple[str, ...]:
    """Return the columns of a part's table that identify its nodes: its key, or those of both ends."""
    return part.key if isinstance(part, VertexTable) else (*part.source_key, *part.destination_key)


def check_key_columns(part: VertexTable | EdgeTable, known: Collection[str]) -> None:
    """Raise :class:`UnknownNameError` if a part's table, of which the columns are given, lacks one of its keys."""
    if missing := [name for name in key_names(part) if name not in known and name != ROWID]:
        raise UnknownNameError(
            f"The table {str(part.table)!r} has no column {missing[0]!r}, which the property graph uses as a key. "
            f"{DECLARE_AGAIN}"
        )


def check_keys_are_there(con: duckdb.DuckDBPyConnection, graph: PropertyGraph) -> None:
    """Raise :class:`UnknownNameError` if a table of the graph is gone, or lacks a key: it was altered, or never had one."""
    parts: list[VertexTable | EdgeTable] = [*graph.vertices, *graph.edges]
    for part in parts:
        check_key_columns(part, columns(con, part.table))


# -- what can be a key -------------------------------------------------------------------------------------


def no_key(key_type: str) -> str | None:
    """Return why a column of this type cannot be a key; None: it can."""
    kind = kind_of(key_type)
    if kind in _KINDS:
        return None
    return _REASONS.get(kind, "DuckDB has no index of such values")


def vertex_key_types(con: duckdb.DuckDBPyConnection, vertex: VertexTable) -> tuple[str, ...]:
    """Return the types of a vertex table's key.

    Raises:
        SchemaError: A column is of a type that no key has; the message says how to make one.
    """
    types = table_key_types(con, vertex.table, vertex.key)
    for name, key_type in zip(vertex.key, types, strict=True):
        if (reason := no_key(key_type)) is not None:
            table, known = shown_table(vertex.table), columns(con, vertex.table)
            new = next(n for n in (f"{name}_text", *(f"{name}_text{i}" for i in range(2, 99))) if n not in known)
            raise SchemaError(
                f"Column {name!r} of vertex table {str(vertex.table)!r} is {key_type}, which cannot be a key: {reason}. Make a "
                f"text of it, and name that in KEY and REFERENCES, for edge tables likewise: ALTER TABLE {table} ADD COLUMN "
                f"{shown(new)} VARCHAR; UPDATE {table} SET {shown(new)} = {shown(name)}::VARCHAR."
            )
    return types


def fits(key_type: str, column_type: str) -> bool:
    """Whether a column of an edge table may refer to a key: the types are comparable, the collation is the key's or none."""
    if not comparable(sql_type_of(key_type), sql_type_of(column_type)):
        return False
    own = column_type.partition(_COLLATE)[2]
    return not own or own == key_type.partition(_COLLATE)[2]


def check_reference(
    con: duckdb.DuckDBPyConnection, table: TableName, vertex: VertexTable, names: Sequence[str], where: str = ""
) -> None:
    """Raise :class:`SchemaError` unless columns of an edge table can be compared with a vertex table's key.

    Args:
        con: The connection.
        table: The edge table.
        vertex: The vertex table at this end.
        names: The columns of the edge table, in the order of the key.
        where: What the message begins with.
    """
    own = table_key_types(con, table, names)
    by_name = dict(zip(dict.fromkeys(names), own, strict=True))
    where = where or f"The edge table {str(table)!r}: "
    for name, key, key_type in zip(names, vertex.key, vertex_key_types(con, vertex), strict=True):
        if not fits(key_type, by_name[name]):
            raise SchemaError(
                f"{where}column {name!r} of {str(table)!r} is {by_name[name]}, but column {key!r} of {str(vertex.table)!r} is "
                f"{key_type}. Give both one type: {_retyped(con, table, name, key_type)}."
            )


def check_key_types(con: duckdb.DuckDBPyConnection, graph: PropertyGraph) -> None:
    """Raise :class:`SchemaError` if a key of the graph is of a type that cannot be one, or an end does not fit its key."""
    for vertex in graph.vertices:
        vertex_key_types(con, vertex)
    for edge in graph.edges:
        for label, names in ((edge.source, edge.source_key), (edge.destination, edge.destination_key)):
            check_reference(con, edge.table, graph.vertex(label), names)


def _retyped(con: duckdb.DuckDBPyConnection, table: TableName, name: str, key_type: str) -> str:
    """Return the statement that gives a column the type of a key; DuckDB alters none that an index or a constraint holds."""
    query = """
        SELECT 1 FROM duckdb_tables() WHERE database_name = current_database() AND schema_name = $schema
          AND table_name = $name AND index_count > 0
        UNION ALL
        SELECT 1 FROM duckdb_constraints() WHERE database_name = current_database() AND schema_name = $schema
          AND (table_name = $name OR referenced_table = $name) AND constraint_type <> 'NOT NULL'
        UNION ALL
        SELECT 1 FROM duckdb_columns() WHERE database_name = current_database() AND schema_name = $schema
          AND table_name = $name AND column_name = $column AND is_generated"""
    held = first_row(con, query, {"schema": table.schema, "name": table.name, "column": name})
    if held is None:
        return f"ALTER TABLE {shown_table(table)} ALTER {shown(name)} TYPE {key_type}"
    base, _, collation = key_type.partition(_COLLATE)
    value = f"{shown(name)}::{base} COLLATE {quote(collation or 'C')}" if base == "VARCHAR" else f"{shown(name)}::{base}"
    made = shown_table(TableName(f"{table.name}_retyped", table.schema))
    return f"CREATE TABLE {made} AS SELECT * REPLACE ({value} AS {shown(name)}) FROM {shown_table(table)}, and use {made}"
