"""What the index tables hold: their checksums, made when they are built and compared once per state of the file.

The checksum of a map is the XOR of ``hash(hash(id, rid))`` over its rows, that of adjacency lists the XOR of
``hash(hash(dst, nbrs, eids))``; both with the numbers of rows, and of edges. It sees whatever became of the tables by
accident: an UPDATE, a restore that ended half-way. Whoever writes the tables can write a checksum as well, so samplers and
stores check the bounds of all they read besides, and `compare.py` compares an index with the tables it was made from.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import duckdb

from dbgnn.sql import quote
from dbgnn.topology.home import table_in
from dbgnn.topology.stored import StoredPart


@dataclass(frozen=True, slots=True)
class Contents:
    """What one index table holds.

    Attributes:
        checksum: Of its rows, with their number.
        entries: Rows of a map, edges of adjacency lists.
        regular: Ids are the places of their rows; every list of neighbours has as many edge ids, and at least one.
        rids: Of a map, the XOR and the sum of its rowids, to compare with those of the table; else "".
    """

    checksum: str
    entries: int
    regular: bool
    rids: str


def map_contents(con: duckdb.DuckDBPyConnection, table: str) -> Contents:
    """Return what a map table, quoted, holds."""
    return read_contents(con, [map_query(table)])[0]


def adjacency_contents(con: duckdb.DuckDBPyConnection, table: str) -> Contents:
    """Return what a table of adjacency lists, quoted, holds."""
    return read_contents(con, [adjacency_query(table)])[0]


def map_query(table: str) -> str:
    """Return the query of what a map table holds, one row for `read_contents`."""
    return f"""
        SELECT count(*) AS n, count(*) AS entries, coalesce(bit_xor(hash(hash(id, rid))), 0) AS checksum,
          coalesce(bool_and(coalesce(id = rowid AND rid >= 0, false)), true) AS regular, {_rids("rid")} AS rids
        FROM {table}"""


def adjacency_query(table: str) -> str:
    """Return the query of what adjacency lists hold, likewise."""
    return f"""
        SELECT count(*) AS n, coalesce(sum(len(nbrs)), 0)::BIGINT AS entries,
          coalesce(bit_xor(hash(hash(dst, nbrs, eids))), 0) AS checksum,
          coalesce(bool_and(coalesce(len(nbrs) = len(eids) AND len(nbrs) > 0, false)), true) AS regular, '' AS rids
        FROM {table}"""


def read_contents(con: duckdb.DuckDBPyConnection, queries: Sequence[str]) -> list[Contents]:
    """Run queries of contents as one statement, and return what each found."""
    if not queries:
        return []
    numbered = [f"SELECT {i} AS i, n, entries, checksum, regular, rids FROM ({query})" for i, query in enumerate(queries)]
    rows = sorted(con.execute(" UNION ALL ".join(numbered)).fetchall())
    return [Contents(f"{n} {entries} {checksum}", entries, regular, rids) for _, n, entries, checksum, regular, rids in rows]


def damage(con: duckdb.DuckDBPyConnection, parts: Iterable[tuple[str, StoredPart]]) -> dict[str, str]:
    """Return, by index table, in what it is not as it was built; one scan of each.

    Args:
        con: A connection.
        parts: Parts of the index, whose tables are there and of the right columns, with the SQL of the rows they are of.
    """
    asked: list[tuple[str, str, StoredPart]] = []
    queries = []
    for of, part in parts:
        if part.map_table is not None:
            asked.append((part.map_table, of, part))
            queries.append(map_query(table_in(part.home, part.map_table)))
        if part.adjacency is not None:
            asked.append((part.adjacency, of, part))
            queries.append(adjacency_query(table_in(part.home, part.adjacency)))
    found: dict[str, str] = {}
    for (name, of, part), now in zip(asked, read_contents(con, queries), strict=True):
        if fault := _fault(con, name, of, part, now):
            found[name] = fault
    return found


def _fault(con: duckdb.DuckDBPyConnection, name: str, of: str, part: StoredPart, now: Contents) -> str | None:
    kept = part.state.map if name == part.map_table else part.state.adjacency
    if now.checksum != kept:
        return "is not what was built: its rows were edited, or some are missing"
    if not now.regular:
        return "has ids out of their places" if name == part.map_table else "has lists of different length, or empty ones"
    if now.entries != part.num_rows:
        return f"holds {now.entries:,} entries instead of {part.num_rows:,}"
    if name == part.map_table and part.num_rows == part.state.own.count:
        [(rids,)] = con.execute(f"SELECT {_rids('rowid')} FROM {of}").fetchall()
        if now.rids != rids:
            return "does not lead to every row once"
    return None


def _rids(column: str) -> str:
    name = column if column == "rowid" else quote(column)
    return f"coalesce(bit_xor(hash({name})), 0)::VARCHAR || ' ' || coalesce(sum({name}), 0)::VARCHAR"
