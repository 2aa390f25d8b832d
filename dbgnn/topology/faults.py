"""What in the tables keeps an index from being built, as errors that name the rows: NULL and repeated keys, dangling edges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from dbgnn.errors import DataError
from dbgnn.schema.key_values import carried, key_rows, shown_value
from dbgnn.schema.keys import compared
from dbgnn.schema.model import EdgeTable, EdgeType, VertexTable, shown_type
from dbgnn.sql import quote

#: How many values a message names.
_SHOWN = 3


def check_keys(con: duckdb.DuckDBPyConnection, vertex: VertexTable, types: Sequence[str]) -> None:
    """Raise :class:`DataError` if a key is NULL, or several rows have one key; ``types`` are those of the key."""
    table, name = vertex.rows, vertex.described
    is_null = " OR ".join(f"{quote(k)} IS NULL" for k in vertex.key)
    [(nulls,)] = con.execute(f"SELECT count(*) FROM {table} WHERE {is_null}").fetchall()
    if nulls:
        raise DataError(f"{nulls:,} rows of vertex table {name!r} have NULL in the key {vertex.key}; delete or fill them.")
    keys = [(quote(k), kind) for k, kind in zip(vertex.key, types, strict=True)]
    first, last = (", ".join(carried(f"{pick}({k}, rowid)", kind) for k, kind in keys) for pick in ("arg_min", "arg_max"))
    by = ", ".join(compared(k, kind) for k, kind in keys)
    twice = key_rows(
        con,
        f"SELECT {first}, {last}, count(*) AS n FROM {table} GROUP BY {by} HAVING count(*) > 1 "
        f"ORDER BY min(rowid) ASC LIMIT {_SHOWN + 1}",
        (*types, *types),
    )
    if twice:
        told = "; ".join(_repeated(row, len(keys)) for row in twice[:_SHOWN])
        more = ", …" if len(twice) > _SHOWN else ""
        raise DataError(f"The key {vertex.key} of vertex table {name!r} is not unique: {told}{more}")


def _repeated(row: Sequence[object], width: int) -> str:
    """Return a key that several rows have; where they spell it in several ways, with two of them."""
    one, other = (shown_value(part[0] if width == 1 else tuple(part)) for part in (row[:width], row[width : 2 * width]))
    return f"{one} {row[-1]} times" if one == other else f"{one} and {other} are one key to DuckDB, {row[-1]} times"


@dataclass(frozen=True, slots=True)
class End:
    """One end of an edge table.

    Attributes:
        name: ``"src"`` or ``"dst"``.
        vertex: The vertex table there.
        columns: The edge table's columns that hold its key.
        types: The types of the key, with collations.
    """

    name: str
    vertex: VertexTable
    columns: tuple[str, ...]
    types: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Resolved:
    """The edges of a type with their ends.

    Attributes:
        edge: The edge table.
        ends: Its source and its destination.
        query: A query of ``(rid, src, dst)``, NULL for an end that does not exist.
        total: How many edges there are.
        dropped: How many of them miss an end.
    """

    edge: EdgeTable
    ends: tuple[End, ...]
    query: str
    total: int
    dropped: int


def dangling(con: duckdb.DuckDBPyConnection, found: Resolved, edge_types: Sequence[EdgeType]) -> str:
    """Return which ends the edges of these types, all of the same rows, miss: every value once, with its number of edges."""
    edge, told = found.edge, []
    for end in found.ends:
        keys = [(f"e.{quote(name)}", kind) for name, kind in zip(end.columns, end.types, strict=True)]
        shown = ", ".join(carried(f"arg_min({key}, e.rowid)", kind) for key, kind in keys)
        rows = key_rows(
            con,
            f"SELECT {shown}, count(*) AS n, count(*) OVER () AS total FROM ({found.query}) AS r "
            f"JOIN {edge.table.sql} AS e ON e.rowid = r.rid WHERE r.{end.name} IS NULL "
            f"GROUP BY {', '.join(compared(key, kind) for key, kind in keys)} ORDER BY min(e.rowid) ASC LIMIT {_SHOWN}",
            end.types,
        )
        for *values, edges, _ in rows:
            key = ", ".join(f"{name}={shown_value(value)}" for name, value in zip(end.columns, values, strict=True))
            told.append(f"{key} is no key of {str(end.vertex.table)!r} ({edges:,} edge{'s' * (edges != 1)})")
        if rows and rows[0][-1] > len(rows):
            told.append(f"{rows[0][-1] - len(rows):,} more values of {', '.join(end.columns)}")
    return (
        f"{found.dropped:,} rows of edge table {str(edge.table)!r} have an endpoint that does not exist (dangling edges of "
        f"{' and '.join(map(shown_type, edge_types))}): {'; '.join(told)}"
    )
