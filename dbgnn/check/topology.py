"""The graph's structure: keys, edges without nodes, edges twice, self loops, degrees, nodes without edges.

Every end of an edge table is grouped once, into a temporary table ``(k0, k1, …, degree)`` with a row per key: what has no
node, how degrees are distributed and which nodes have no edge is all read off it, and the edges are not scanned again.
It needs no topology index, and is how one finds out why an index cannot be built.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np

from dbgnn.check.column_values import EXAMPLES, Checked, examples
from dbgnn.check.report import Finding
from dbgnn.schema.key_values import carried, key_rows, shown_value
from dbgnn.schema.keys import compared, same
from dbgnn.schema.model import EdgeTable, PropertyGraph, VertexTable
from dbgnn.schema.no_edge import told, without_end
from dbgnn.sql import quote


@dataclass(frozen=True, slots=True)
class EdgeEnd:
    """One end of an edge table.

    Attributes:
        word: ``"source"`` or ``"destination"``.
        vertex: The vertex table there.
        columns: The edge table's columns that hold its key.
        types: The types of the key, with collations.
        degrees: The name of the temporary table ``(k0, k1, …, degree)``, a row per key.
    """

    word: str
    vertex: VertexTable
    columns: tuple[str, ...]
    types: tuple[str, ...]
    degrees: str

    @property
    def nodes(self) -> str:
        """SQL of the keys of the vertex table, ``(k0, k1, …)``, for FROM."""
        return f"(SELECT {_numbered(self.vertex.key)} FROM {self.vertex.rows}) AS v"

    @property
    def all_nodes(self) -> str:
        """As :attr:`nodes`, with the rows that the condition of the node type leaves out; called ``a``."""
        return f"(SELECT {_numbered(self.vertex.key)} FROM {self.vertex.table.sql}) AS a"

    def same(self, degrees: str, nodes: str) -> str:
        """Return the condition under which a row of the degrees and a row of the nodes, so called, have the same key."""
        return same(((f"{degrees}.k{i}", f"{nodes}.k{i}") for i in range(len(self.columns))), self.types)


def check_vertex_keys(con: duckdb.DuckDBPyConnection, part: Checked) -> Iterator[Finding]:
    """Yield NULL and repeated keys of a vertex table, by two scans of its key columns."""
    column, total = ", ".join(part.keys), _count(con, part)
    is_null = " OR ".join(f"{quote(name)} IS NULL" for name in part.keys)
    [(nulls, rids)] = con.execute(f"SELECT count(*), min(rowid, {EXAMPLES}) FROM {part.rows} WHERE {is_null}").fetchall()
    if nulls:
        yield part.finding(
            "error", "NULL keys", column, nulls, total, f"{nulls:,} of {total:,} rows have NULL in the key",
            examples=examples(con, part, rids) if len(part.keys) > 1 else (), remedy="Delete them, or give them keys.",
        )  # fmt: skip
    rows = _repeated(con, part, part.keys, part.key_types)
    if rows:
        extra = int(rows[0][-1])
        collated = [kind for kind in part.key_types if " COLLATE " in kind]
        under = f", as {collated[0]} compares them" if collated else ""
        yield part.finding(
            "error", "duplicate keys", column, extra, total,
            f"{extra:,} of {total:,} rows repeat the key of another{under}",
            examples=tuple(_key(row[:-2]) for row in rows),
            remedy="A key names one row: delete the others, or declare as the KEY the columns that differ.",
        )  # fmt: skip


def check_no_edge(con: duckdb.DuckDBPyConnection, part: Checked, graph: PropertyGraph, edge: EdgeTable) -> Iterator[Finding]:
    """Yield how many rows are no edge since a foreign key is NULL, by one scan of it."""
    columns, count = without_end(con, graph, edge)
    if count:
        total = _count(con, part) + count
        text = f"{told(edge.table, columns, count)}: no edge"
        yield part.finding("info", "no edge", ", ".join(columns), count, total, text)


def check_loops(con: duckdb.DuckDBPyConnection, part: Checked, ends: Sequence[EdgeEnd]) -> Iterator[Finding]:
    """Yield self loops, by one scan of the edges."""
    source, destination = ends
    if source.vertex.label != destination.vertex.label:
        return
    pairs = zip(map(quote, source.columns), map(quote, destination.columns), strict=True)
    loop = same(pairs, source.types)
    [(total, loops, rids)] = con.execute(
        f"SELECT count(*), count(*) FILTER (WHERE {loop}), min(rowid, {EXAMPLES}) FILTER (WHERE {loop}) FROM {part.rows}"
    ).fetchall()
    if loops:
        text = f"{loops:,} of {total:,} edges lead from a node to itself"
        yield part.finding("info", "self loops", None, loops, total, text, examples=examples(con, part, rids))


def check_duplicates(con: duckdb.DuckDBPyConnection, part: Checked, ends: Sequence[EdgeEnd]) -> Iterator[Finding]:
    """Yield edges between the same two nodes, by one GROUP BY, which spills."""
    types = {name: kind for end in ends for name, kind in zip(end.columns, end.types, strict=True)}
    rows = _repeated(con, part, tuple(types), tuple(types.values()))
    if rows:
        extra, total = int(rows[0][-1]), _count(con, part)
        yield part.finding(
            "warning", "duplicate edges", None, extra, total,
            f"{extra:,} of {total:,} edges repeat another's ends",
            examples=tuple(_key(row[:-2]) for row in rows),
            remedy="Parallel edges are kept and sampled as often as they are there; SELECT DISTINCT drops them.",
        )  # fmt: skip


def group_end(con: duckdb.DuckDBPyConnection, part: Checked, end: EdgeEnd) -> None:
    """Make the temporary table of an end, unless another edge type has: the keys, and how many edges each has."""
    con.execute(
        f"CREATE TEMP TABLE IF NOT EXISTS {end.degrees} AS SELECT {_compared(end.columns, end.types)}, count(*) AS degree "
        f"FROM {part.rows} WHERE {_all_there(end.columns)} GROUP BY ALL"
    )


def check_end(con: duckdb.DuckDBPyConnection, part: Checked, end: EdgeEnd, nodes: int) -> Iterator[Finding]:
    """Yield edges whose node at this end is missing, and the degrees of the nodes; ``nodes`` is how many there are."""
    total, column = _count(con, part), ", ".join(end.columns)
    [(keyed,)] = con.execute(f"SELECT coalesce(sum(degree), 0) FROM {end.degrees}").fetchall()
    lost = f"FROM {end.degrees} AS d ANTI JOIN {end.nodes} ON {end.same('d', 'v')}"
    [(missing,)] = con.execute(f"SELECT coalesce(sum(degree), 0) {lost}").fetchall()
    nulls, missing = total - int(keyed), int(missing)
    if missing and end.vertex.condition is not None:  # the table has some of them, and the condition does not
        hidden_rows = f"{lost} SEMI JOIN {end.all_nodes} ON {end.same('d', 'a')}"
        [(hidden,)] = con.execute(f"SELECT coalesce(sum(degree), 0) {hidden_rows}").fetchall()
        if hidden:
            text = f"{int(hidden):,} of {total:,} edges have a {end.word} that the condition of {end.vertex.label!r} leaves out"
            yield part.finding("info", "left out", column, int(hidden), total, text)
        lost = f"{lost} ANTI JOIN {end.all_nodes} ON {end.same('d', 'a')}"
        missing -= int(hidden)
    is_incomplete = bool(missing) or end.vertex.condition is not None
    if nulls or missing:
        first = _first(con, f"SELECT * {lost}", end.types) if missing else []
        null = f", {nulls:,} of them NULL" if nulls else ""
        yield part.finding(
            "error", "dangling", column, nulls + missing, total,
            f"{nulls + missing:,} of {total:,} edges have a {end.word} that is no key of {str(end.vertex.table)!r}{null}",
            examples=tuple(_key(row[:-1]) for row in first),
            detail={shown_value(_key(row[:-1])): int(row[-1]) for row in first},
            remedy="Add the nodes, delete the edges, or leave them out by graph.build(dangling='drop').",
        )  # fmt: skip
    there = f"SEMI JOIN {end.nodes} ON {end.same('d', 'v')}" if is_incomplete else ""
    found = con.sql(f"SELECT degree, count(*) AS n FROM {end.degrees} AS d {there} GROUP BY degree ORDER BY degree ASC")
    histogram = found.to_arrow_table()
    if nodes:
        yield _degrees(part, end, histogram["degree"].to_numpy(), histogram["n"].to_numpy(), nodes)


def _degrees(part: Checked, end: EdgeEnd, degrees: np.ndarray, counts: np.ndarray, nodes: int) -> Finding:
    """Return the quantiles of a histogram of degrees: the smallest that so large a part of the nodes does not exceed."""
    zero = nodes - int(counts.sum())
    if zero:
        degrees, counts = np.concatenate([[0], degrees]), np.concatenate([[zero], counts])
    upto = np.cumsum(counts)

    def quantile(percent: int) -> int:
        return int(degrees[np.searchsorted(upto, max(-(-nodes * percent // 100), 1))])

    detail = {
        "zero": zero,
        "min": quantile(0),
        "median": quantile(50),
        "mean": float((degrees * counts).sum() / nodes),
        "p90": quantile(90),
        "p99": quantile(99),
        "max": quantile(100),
    }
    text = f"a node is the {end.word} of {detail['mean']:,.2f} edges on average, of {detail['max']:,} at most"
    return part.finding("info", "degrees", ", ".join(end.columns), nodes - zero, nodes, text, detail=detail)


def check_isolated(con: duckdb.DuckDBPyConnection, part: Checked, ends: Sequence[EdgeEnd]) -> Iterator[Finding]:
    """Yield the nodes that no edge begins or ends at; ``ends`` are those at this node type."""
    alone = " ".join(f"ANTI JOIN {end.degrees} AS d{n} ON {end.same(f'd{n}', 'v')}" for n, end in enumerate(ends))
    nodes = f"SELECT rowid AS rid, {_numbered(part.keys)} FROM {part.rows} WHERE {_all_there(part.keys)}"
    [(count, rids)] = con.execute(f"SELECT count(*), min(rid, {EXAMPLES}) FROM ({nodes}) AS v {alone}").fetchall()
    total = _count(con, part)
    if count:
        yield part.finding(
            "warning", "isolated", None, count, total, f"{count:,} of {total:,} nodes have no edge of any type",
            examples=examples(con, part, rids), remedy="They are loaded without neighbours; is an edge table missing?",
        )  # fmt: skip


def _count(con: duckdb.DuckDBPyConnection, part: Checked) -> int:
    return int(con.execute(f"SELECT count(*) FROM {part.rows}").fetchall()[0][0])


def _repeated(
    con: duckdb.DuckDBPyConnection, part: Checked, names: Sequence[str], types: Sequence[str]
) -> list[tuple[Any, ...]]:
    """Return the first values that these columns hold more than once, how often, and how many rows are too many in all."""
    groups = (
        f"SELECT {_compared(names, types)}, count(*) AS n FROM {part.rows} WHERE {_all_there(names)} GROUP BY ALL "
        "HAVING count(*) > 1"
    )
    return _first(con, f"SELECT *, sum(n - 1) OVER () AS extra FROM ({groups})", types)


def _first(con: duckdb.DuckDBPyConnection, query: str, types: Sequence[str]) -> list[tuple[Any, ...]]:
    """Return the first rows, by key, of a query of ``(k0, k1, …)`` and other columns, as Python values."""
    keys = ", ".join(carried(f"k{i}", kind) for i, kind in enumerate(types))
    rest = f"* EXCLUDE ({', '.join(f'k{i}' for i in range(len(types)))})"
    order = ", ".join(f"{compared(f'k{i}', kind)} ASC NULLS LAST" for i, kind in enumerate(types))
    return key_rows(con, f"SELECT {keys}, {rest} FROM ({query}) ORDER BY {order} LIMIT {EXAMPLES}", types)


def _compared(names: Sequence[str], types: Sequence[str]) -> str:
    """Return the columns as ``k0``, ``k1`` …, so that GROUP BY takes equal keys for one."""
    return ", ".join(f"{compared(quote(name), kind)} AS k{i}" for i, (name, kind) in enumerate(zip(names, types, strict=True)))


def _numbered(names: Sequence[str]) -> str:
    return ", ".join(f"{quote(name)} AS k{i}" for i, name in enumerate(names))


def _all_there(names: Sequence[str]) -> str:
    return " AND ".join(f"{quote(name)} IS NOT NULL" for name in names)


def _key(values: Sequence[object]) -> object:
    return values[0] if len(values) == 1 else tuple(values)
