"""The state of a table that an index is made from: a checksum of what counts, compared with the table as it is.

The checksum of a table is the XOR of ``hash(hash(rowid, key columns))`` over its rows, with their number and the
types of the columns: exact to 64 bits, whoever made the change and in whatever way, and cheap (20 M edges: 80 ms on
two cores). The outer hash matters: ``hash(a, b)`` is at heart an XOR of the hashes of a and b, so without it rows that
exchange their values would leave the checksum as it was.

Triggers would take ``MERGE INTO`` away from the user's tables and miss ALTER and DROP; storage metadata is dearer to
read (58 ms for 2 M rows of FLOAT[128]) and changes with every checkpoint.

Features are not part of it: they are read from the tables as they are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import duckdb

from dbgnn.schema import PropertyGraph, columns
from dbgnn.schema.catalog import all_columns
from dbgnn.schema.keys import check_key_columns, hashed, key_names, key_types
from dbgnn.schema.model import EdgeTable, VertexTable
from dbgnn.schema.row_conditions import OF_A_ROW, check_rows, failed
from dbgnn.sql import quote

#: ``hash()`` may change with DuckDB's version; the number counts changes of what this package stores.
ENGINE = f"DuckDB {duckdb.__version__}, index format 3"


def checksums(part: VertexTable | EdgeTable, kinds: Sequence[str]) -> str:
    """Return the SQL expressions of the number of rows of a part's table, and the checksums of keys and of rows.

    Args:
        part: The part.
        kinds: The types of its key columns.
    """
    names = key_names(part)
    keys = ", ".join(hashed(quote(n), kind) for n, kind in zip(names, kinds, strict=True))
    # The keys alone matter for vertices only: there, rows that moved keep their ids.
    alone = f"coalesce(bit_xor(hash(hash({keys}))), 0)" if isinstance(part, VertexTable) else "0"
    return f"count(*), {alone}, coalesce(bit_xor(hash(hash(rowid, {keys}))), 0)"


@dataclass(frozen=True, slots=True)
class TableState:
    """What a part of the index was made from."""

    table: str
    columns: tuple[tuple[str, str], ...]
    count: int
    keys: str
    rows: str
    engine: str = ENGINE

    @staticmethod
    def of(con: duckdb.DuckDBPyConnection, part: VertexTable | EdgeTable, known: Mapping[str, str]) -> TableState:
        """Compute the state of a table, of which the columns and their SQL types are given, now: one scan of its keys."""
        names = key_names(part)
        check_key_columns(part, known)
        distinct = tuple(dict.fromkeys(names))
        types = dict(zip(distinct, key_types(con, part.table.sql, known, distinct), strict=True))
        kinds = [types[n] for n in names]
        try:
            count, keys, rows = con.execute(f"SELECT {checksums(part, kinds)} FROM {part.rows}").fetchall()[0]
        except OF_A_ROW as error:
            if part.condition is None:
                raise
            raise failed(part, error) from error
        return TableState(part.described, tuple(zip(names, kinds, strict=True)), count, str(keys), str(rows))

    def difference(self, now: TableState) -> str:
        """Say in words what changed."""
        if self.engine != now.engine:
            return f"the index was built by {self.engine}, this is {now.engine}"
        if self.columns != now.columns or self.table != now.table:
            return f"its key columns changed from {_shown(self)} to {_shown(now)}"
        if self.count != now.count:
            return f"it had {self.count:,} rows and has {now.count:,}"
        return "its keys changed" if self.keys != now.keys else "its keys, or the order of its rows, changed"


def part_name(part: VertexTable | EdgeTable) -> str:
    """Return the registry's name of a part: its label or edge type as JSON."""
    return json.dumps(part.label if isinstance(part, VertexTable) else list(part.edge_type))


def table_states(con: duckdb.DuckDBPyConnection, graph: PropertyGraph) -> dict[str, TableState]:
    """Return the state of every part's table, by `part_name`; conditions and views are checked first."""
    check_rows(con, graph)
    parts: list[VertexTable | EdgeTable] = [*graph.vertices, *graph.edges]
    known = all_columns(con)
    return {part_name(p): TableState.of(con, p, known.get(p.table) or columns(con, p.table)) for p in parts}


def end_keys(graph: PropertyGraph, edge: EdgeTable, states: dict[str, TableState]) -> tuple[str, ...]:
    """Return what an edge part depends on at its ends: the count and checksum of the keys of both vertex tables."""
    ends = (states[part_name(graph.vertex(label))] for label in (edge.source, edge.destination))
    return tuple(f"{s.table} {s.columns} {s.count} {s.keys}" for s in ends)


def _shown(state: TableState) -> str:
    return f"{state.table}({', '.join(f'{n} {t}' for n, t in state.columns)})"
