"""Rows that are no edge since a foreign key of theirs is NULL: which ones, and how many, for people.

A foreign key of a vertex table may be NULL; so may one of an edge table of an inferred graph, whose condition says so. A NULL
in an edge table of a graph that was declared without such a condition dangles, and is no business of this module.
"""

from __future__ import annotations

from collections.abc import Iterable

import duckdb

from dbgnn.schema.model import EdgeTable, PropertyGraph
from dbgnn.schema.render import shown
from dbgnn.sql import quote


def all_there(columns: Iterable[str]) -> str:
    """Return the condition that no column is NULL, as an inferred graph has it, whatever their order; "" for no columns."""
    return " AND ".join(f"{shown(c)} IS NOT NULL" for c in sorted(columns))


def without_end(con: duckdb.DuckDBPyConnection, graph: PropertyGraph, edge: EdgeTable) -> tuple[tuple[str, ...], int]:
    """Return the columns whose NULL means that a row of an edge type's table is no edge, and how many rows have one."""
    columns, rows = graph.optional_columns(edge), edge.rows
    if not columns and edge.condition is not None:
        ends, terms = sorted({*edge.source_key, *edge.destination_key}), f" AND {edge.condition} AND "
        named = tuple(c for c in ends if f" AND {all_there([c])} AND " in terms)
        columns, rows = (named if all_there(named) == edge.condition else ()), edge.table.sql
    if not columns:
        return (), 0
    null = " OR ".join(f"{quote(c)} IS NULL" for c in columns)
    [(count,)] = con.execute(f"SELECT count(*) FROM {rows} AS t WHERE {null}").fetchall()
    return columns, int(count)


def told(table: object, columns: Iterable[str], count: int) -> str:
    """Return the sentence that says so: ``1,234 rows of customer have no city_id``."""
    return f"{count:,} row{'s' * (count != 1)} of {table} ha{'ve' if count != 1 else 's'} no {' or '.join(columns)}"
